"""`handclasp-pki token`: names that somebody may enroll under, once, into Lifecycle.invite."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from cryptography.hazmat.primitives import hashes

from pki.commands.issue import AgainOption
from pki.commands.sign import request_of
from pki.durations import parse_duration
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
)
from pki.presentation import say, say_json, say_note, timestamp


def token(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called here, and in its subject.")],
    profile: Annotated[Literal["client", "server", "peer"], typer.Option("--profile", help="What it is for.")] = (
        "client"
    ),
    email: EmailOption = None,
    uri: UriOption = None,
    dns: DnsOption = None,
    ip: IpOption = None,
    days: DaysOption = None,
    ttl: Annotated[str, typer.Option("--ttl", metavar="SPAN", help="How long the token is good for.")] = "10m",
    again: AgainOption = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make a one-time token: who has it gets a first certificate of these names, for a key of their own.

    The token alone goes to stdout. It is worth one certificate until it expires, so hand it over like a password.
    A server answers it where it runs with --enroll-bind.

    \b
    handclasp-pki token alice --email alice@example.com --ttl 10m
    handclasp-http2 enroll --url https://pki.internal:8444 --fingerprint SHA256 --token-file token --out alice
    """
    request = request_of(name, profile, email=email, uri=uri, dns=dns, ip=ip, days=days)
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    made = lifecycle.invite(request, parse_duration(ttl), now=current_time(), again=again)
    fingerprint = made.anchor.fingerprint(hashes.SHA256()).hex()
    if as_json:
        say_json(
            {
                "token": made.token,
                "name": name,
                "profile": made.row.profile,
                "expires": timestamp(made.row.expires_at),
                "fingerprint": fingerprint,
            }
        )
        return
    say(made.token)
    say_note(
        f"for {made.row.profile} {name} ({made.row.names.described()}), once, until {timestamp(made.row.expires_at)}; "
        f"the authority's --fingerprint is {fingerprint}"
    )
