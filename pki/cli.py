"""`handclasp-pki`: words into Lifecycle calls, and outcomes into words. It decides nothing.

The answer goes to stdout, notes and errors to stderr, each of them one line. Exit codes: 0 done, 1 the state does
not allow it, 2 the request makes no sense, 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pki import completions, shell
from pki.authority import lifetime_of
from pki.authority_files import ROOT_KEY
from pki.commands.init_toml import FromOption, TomlOption, write_starter
from pki.commands.intermediate import IntermediateOption, RootPassphraseOption, root_passphrase
from pki.errors import PKIError, UsageError
from pki.facts import Facts, common_name, read_certificates
from pki.keys import KeyType
from pki.names import Names
from pki.options import (
    DatabaseOption,
    DaysOption,
    DnsOption,
    EmailOption,
    EnsureOption,
    IpOption,
    JsonOption,
    KeyOption,
    PassphraseOption,
    Shared,
    StateOption,
    current_time,
    path_of,
)
from pki.presentation import (
    PROGRAM,
    facts_json,
    say,
    say_json,
    say_note,
    show_facts,
    timestamp,
)
from pki.self_signed import write_self_signed

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each is imported when it is asked for.
_COMMANDS = {
    "apply": "pki.commands.apply:apply",
    "issue": "pki.commands.issue:issue_app",
    "renew": "pki.commands.renew:renew",
    "rotate": "pki.commands.renew:rotate",
    "revoke": "pki.commands.revoke:revoke",
    "unhold": "pki.commands.revoke:unhold",
    "crl": "pki.commands.revoke:crl",
    "rotate-ca": "pki.commands.rotate_ca:rotate_ca_app",
    "sign": "pki.commands.sign:sign",
    "token": "pki.commands.token:token",
    "export": "pki.commands.export:export",
    "verify": "pki.commands.check:verify",
    "doctor": "pki.commands.check:doctor",
    "list": "pki.commands.inventory:list_certificates",
    "prune": "pki.commands.inventory:prune",
    "upgrade": "pki.commands.inventory:upgrade",
}

app = shell.new_app(cls=shell.lazy_group(_COMMANDS))


@app.callback(epilog=shell.EXIT_CODES)
def root(
    context: typer.Context,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
    version: shell.VersionOption = False,  # noqa: ARG001 -- its callback answers
    show_completion: completions.ShowOption = None,  # noqa: ARG001
    install_completion: completions.InstallOption = None,  # noqa: ARG001
) -> None:
    """A private authority for mutual TLS: makes, renews and shows certificates.

    \b
    handclasp-pki init                                            an authority in ./state
    handclasp-pki apply                                           all that handclasp.toml describes
    handclasp-pki issue server web --dns localhost --ip 127.0.0.1 for a server
    handclasp-pki issue client alice --email alice@example.com    for a client
    handclasp-pki list                                            what there is
    handclasp-pki renew --due                                     new dates for what will soon end
    handclasp-pki revoke --name alice --reason keyCompromise      nobody lets alice in any more
    handclasp-pki rotate --all                                    new keys, new dates, same names
    handclasp-pki inspect state/credentials/alice                 what a certificate says
    handclasp-pki verify tls.crt                                  would our server accept it, and why not
    handclasp-pki doctor                                          what is wrong here, or soon will be
    handclasp-pki export alice --p12                              a file for browsers and phones
    """
    context.obj = Shared.of(context, state, passphrase_file, database)


@app.command()
def init(
    context: typer.Context,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Its name. [Handclasp CA]")] = None,
    key: KeyOption = None,
    days: DaysOption = None,
    ensure: EnsureOption = False,
    intermediate: IntermediateOption = False,
    root_passphrase_file: RootPassphraseOption = None,
    described: FromOption = None,
    toml: TomlOption = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make the authority and the inventory. Never overwrites one.

    \b
    handclasp-pki init
    handclasp-pki init --name "Example CA" --key p384 --days 1825
    HANDCLASP_CA_PASSPHRASE=... handclasp-pki init               its key encrypted
    handclasp-pki init --intermediate                            a root for the safe, and an authority below it
    handclasp-pki init --database postgresql+psycopg://pki@db/handclasp
    handclasp-pki init --toml                                    for teams: a handclasp.toml to begin with
    handclasp-pki init --from handclasp.toml                     the authority that it describes
    """
    shared = Shared.of(context, state, passphrase_file, database)
    if toml:
        if described is not None or ensure or intermediate:
            raise UsageError("--toml makes no authority: of the other options --name, --key and --days go with it")
        write_starter(name, key, days)
        return
    if described is not None:
        from pki.commands.apply import described as where
        from pki.description import Description

        file = Description.load(path_of(described, "--from"))
        shared = where(shared, file)
        name = file.authority.name if name is None else name
        key, days = key or file.authority.key, file.authority.days if days is None else days
        intermediate = intermediate or file.authority.intermediate
    lifecycle, name = shared.lifecycle(), "Handclasp CA" if name is None else name
    tell = say_note if as_json else say
    passphrase = root_passphrase(root_passphrase_file, tell=tell) if intermediate else None
    authority, action = lifecycle.init(
        name,
        key=key or KeyType.P256,
        days=days,
        now=current_time(),
        ensure=ensure,
        root_passphrase=passphrase,
    )
    certificate = authority.certificate
    made = "made" if action == "issued" else "kept"
    if as_json:
        end = timestamp(certificate.not_valid_after_utc)
        say_json(
            {
                "action": made,
                "name": common_name(certificate),
                "not_after": end,
                "folder": str(lifecycle.state.authority),
            }
        )
        return
    say(f"{made} the authority in {lifecycle.state.authority}, valid until {certificate.not_valid_after_utc:%Y-%m-%d}")
    if intermediate and action == "issued":
        root = lifecycle.state.authority / ROOT_KEY
        say_note(f"move {root} to a medium that goes offline: it signs nothing here any more")
    if described is not None:
        say_note(f"its names are not made yet: `handclasp-pki apply {described}`")


@app.command("self-signed")
def self_signed(
    email: EmailOption = None,
    dns: DnsOption = None,
    ip: IpOption = None,
    key: Annotated[KeyType, typer.Option("--key", help="Key type; ml-dsa-* experimental.")] = KeyType.P521,
    days: Annotated[int, typer.Option("--days", metavar="N", help="Life in days.")] = 30,
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Where to write the two files.")] = ".",
    as_json: JsonOption = False,
) -> None:
    """One certificate that is authority, server and client at once: cert.pem and key.pem. Needs no init.

    \b
    handclasp-pki self-signed
    handclasp-pki self-signed --email bob@example.com --dns bob.example.com --out bob
    """
    names = Names.parse(
        "self-signed",
        emails=email or ("alice@example.com",),
        dns_names=dns or (() if ip else ("localhost",)),
        ip_addresses=ip or (() if dns else ("127.0.0.1", "::1")),
    )
    folder = path_of(out, "--out")
    made = write_self_signed(folder, names, key, now=current_time(), lifetime=lifetime_of(days))
    end = f"{made.leaf.not_valid_after_utc:%Y-%m-%d}"
    if as_json:
        files = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
        say_json(files | {"names": names.described(), "not_after": timestamp(made.leaf.not_valid_after_utc)})
        return
    say(f"made {folder / 'cert.pem'} and {folder / 'key.pem'} for {names.described()}, valid until {end}")


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="PEM, DER, or a credential folder.")],
    as_json: JsonOption = False,
) -> None:
    """What a certificate says, and each one of its chain.

    \b
    handclasp-pki inspect state/credentials/alice
    handclasp-pki inspect cert.pem --json
    """
    now = current_time()
    leaf, *others = (Facts.of(certificate) for certificate in read_certificates(path_of(file, "FILE")))
    if as_json:
        say_json(facts_json(leaf, now) | {"chain": [facts_json(facts, now) for facts in others]})
        return
    show_facts(leaf, now)
    for facts in others:
        say("")
        show_facts(facts, now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    return shell.run(app, PROGRAM, (PKIError,), arguments)
