"""`handclasp-pki`: words into Lifecycle calls, and outcomes into words. It decides nothing.

The answer goes to stdout, notes and errors to stderr, each of them one line. Exit codes: 0 done, 1 the state does
not allow it, 2 the request makes no sense, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pki import shell
from pki.authority import lifetime_of
from pki.errors import PKIError, UsageError
from pki.facts import Facts, read_certificates
from pki.issue_cli import issue_app
from pki.keys import KeyType
from pki.names import Names
from pki.options import (
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
    entry_json,
    facts_json,
    say,
    say_json,
    say_outcome,
    show_entries,
    show_facts,
)
from pki.self_signed import write_self_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pki.lifecycle import Outcome

# From so many names on, a rotation takes long enough to show how far it is.
_PROGRESS_FROM = 10

app = shell.new_app()
app.add_typer(issue_app, name="issue")


@app.callback()
def root(
    context: typer.Context,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    version: shell.VersionOption = False,  # noqa: ARG001 -- its callback answers
) -> None:
    """A private authority for mutual TLS: makes, renews and shows certificates.

    \b
    handclasp-pki init                                            an authority in ./state
    handclasp-pki issue server web --dns localhost --ip 127.0.0.1 for a server
    handclasp-pki issue client alice --email alice@example.com    for a client
    handclasp-pki list                                            what there is
    handclasp-pki rotate --all                                    new keys, new dates, same names
    handclasp-pki inspect state/credentials/alice                 what a certificate says
    """
    context.obj = Shared.of(context, state, passphrase_file)


@app.command()
def init(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="The authority's name.")] = "Handclasp CA",
    key: KeyOption = None,
    days: DaysOption = None,
    ensure: EnsureOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make the authority. Never overwrites one.

    \b
    handclasp-pki init
    handclasp-pki init --name "Example CA" --key p384 --days 1825
    HANDCLASP_CA_PASSPHRASE=... handclasp-pki init               its key encrypted
    """
    lifecycle = Shared.of(context, state, passphrase_file).lifecycle()
    authority, action = lifecycle.init(name, key=key or KeyType.P256, days=days, now=current_time(), ensure=ensure)
    certificate = authority.certificate
    made = "made" if action == "issued" else "kept"
    say(f"{made} the authority in {lifecycle.state.authority}, valid until {certificate.not_valid_after_utc:%Y-%m-%d}")


@app.command()
def rotate(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ones.")] = None,
    all_names: Annotated[bool, typer.Option("--all", help="Every name there is.")] = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """New key, new certificate; same names, profile and life. Readers find the old pair or the new one.

    \b
    handclasp-pki rotate alice bob
    handclasp-pki rotate --all
    """
    if bool(names) == all_names:
        raise UsageError("say which to rotate: one NAME or several, or --all")
    lifecycle = Shared.of(context, state, passphrase_file).lifecycle()
    count = len(names or lifecycle.state.names())
    with _progress(count) as advance:
        outcomes = lifecycle.rotate(names or None, now=current_time(), on_each=advance)
    for outcome in outcomes:
        say_outcome(outcome)
    if not outcomes:
        say("nothing has been issued yet, so there is nothing to rotate")


@app.command("self-signed")
def self_signed(
    email: EmailOption = None,
    dns: DnsOption = None,
    ip: IpOption = None,
    key: Annotated[KeyType, typer.Option("--key", help="Key type.")] = KeyType.P521,
    days: Annotated[int, typer.Option("--days", metavar="N", help="Life in days.")] = 30,
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Where to write the two files.")] = ".",
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
    say(f"made {folder / 'cert.pem'} and {folder / 'key.pem'} for {names.described()}, valid until {end}")


@app.command("list")
def list_names(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """The names that were issued, and how each one stands.

    \b
    handclasp-pki list
    handclasp-pki list --json
    """
    now = current_time()
    entries = Shared.of(context, state, passphrase_file).lifecycle().entries(now=now)
    if as_json:
        say_json([entry_json(entry) for entry in entries])
    elif entries:
        show_entries(entries, now)
    else:
        say("nothing has been issued yet")


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


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Callable[[Outcome], None] | None]:
    """A bar on a terminal, where there is enough to wait for."""
    if count < _PROGRESS_FROM or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rotating", total=count)
        yield lambda _: bar.advance(task)
