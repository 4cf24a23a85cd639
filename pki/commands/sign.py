"""`handclasp-pki sign`: a signing request and the names that it shall have, into Lifecycle.sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pki.commands.issue import AgainOption
from pki.csr import SigningRequest
from pki.errors import UsageError
from pki.issuing import Request
from pki.names import Names
from pki.options import (
    DatabaseOption,
    DaysOption,
    DnsOption,
    EmailOption,
    IpOption,
    JsonOption,
    PassphraseOption,
    Shared,
    StateOption,
    UriOption,
    current_time,
    path_of,
)
from pki.presentation import say, say_json, say_note, timestamp
from pki.profiles import LEAF_PROFILES

# As `issue` has it: who connects is not named by an address, and what is connected to is a host.
_UNUSED = {"server": ("--email", "--uri"), "client": ("--ip",), "peer": ()}


def sign(
    context: typer.Context,
    csr: Annotated[str, typer.Argument(metavar="CSR", help="The request, PEM or DER.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called here, and in its subject.")],
    profile: Annotated[Literal["client", "server", "peer"], typer.Option("--profile", help="What it is for.")],
    email: EmailOption = None,
    uri: UriOption = None,
    dns: DnsOption = None,
    ip: IpOption = None,
    days: DaysOption = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="Where to write it: ./NAME by default.")
    ] = None,
    again: AgainOption = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make a certificate for a key that stays where it is: tls.crt and ca.crt. Of the request only the key is used.

    Names and purpose are what is said here. For new dates, make a new key and a new request.

    \b
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj / -keyout tls.key -out alice.csr
    handclasp-pki sign alice.csr alice --profile client --email alice@example.com
    handclasp-pki sign web.csr web --profile server --dns web.example.com --days 90 --out web
    """
    folder = None if out is None else path_of(out, "--out")
    request = request_of(name, profile, email=email, uri=uri, dns=dns, ip=ip, days=days, out=folder)
    wanted = SigningRequest.load(path_of(csr, "CSR"))
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    done = lifecycle.sign(wanted, request, now=current_time(), again=again)
    if as_json:
        say_json(
            {
                "action": "signed",
                "name": name,
                "profile": done.profile,
                "serial": format(done.certificate.serial_number, "x"),
                "not_after": timestamp(done.certificate.not_valid_after_utc),
                "folder": str(done.folder),
                "clamped": done.clamped,
            }
        )
        return
    end = f"{done.certificate.not_valid_after_utc:%Y-%m-%d}"
    say(f"signed {done.profile} {name} ({done.names.described()}), valid until {end}, in {done.folder}")
    if done.clamped:
        say_note(f"{name} ends on {end} with its authority, not after {done.days} days")


def request_of(
    name: str,
    profile: str,
    *,
    email: list[str] | None,
    uri: list[str] | None,
    dns: list[str] | None,
    ip: list[str] | None,
    days: int | None,
    out: Path | None = None,
) -> Request:
    """What is asked for, for a key that is elsewhere. Raises UsageError for a name that has no place there."""
    given = {"--email": email, "--uri": uri, "--ip": ip}
    for option in _UNUSED[profile]:
        if given[option]:
            raise UsageError(f"{option} has no place in the certificate of a {profile}")
    names = Names.parse(name, emails=email or (), uris=uri or (), dns_names=dns or (), ip_addresses=ip or ())
    return Request(LEAF_PROFILES[profile], names, days, out=out)
