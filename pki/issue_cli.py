"""`handclasp-pki issue server|client|peer`: which names each of them takes, into a Request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pki import shell
from pki.lifecycle import Request
from pki.names import Names
from pki.options import (
    DaysOption,
    DnsOption,
    EmailOption,
    EnsureOption,
    IpOption,
    KeyOption,
    NameArgument,
    OutOption,
    PassphraseOption,
    Shared,
    StateOption,
    UriOption,
    current_time,
    path_of,
)
from pki.presentation import say_outcome
from pki.profiles import ClientProfile, PeerProfile, ServerProfile

if TYPE_CHECKING:
    from pathlib import Path

issue_app = shell.new_app()


@issue_app.callback()
def issue(context: typer.Context, state: StateOption = None, passphrase_file: PassphraseOption = None) -> None:
    """Make the credential of a server, a client, or a peer, which is both.

    \b
    handclasp-pki issue server web --dns localhost --ip 127.0.0.1 --ip ::1
    handclasp-pki issue client alice --email alice@example.com --days 30
    handclasp-pki issue peer billing --dns billing.internal --uri spiffe://example.org/billing
    """
    context.obj = Shared.of(context, state, passphrase_file)


@issue_app.command("server")
def issue_server(
    context: typer.Context,
    name: NameArgument,
    dns: DnsOption = None,
    ip: IpOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    out: OutOption = None,
    ensure: EnsureOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """For a server: the DNS names and IP addresses that clients connect to. Lives 30 days.

    Without any, NAME is the DNS name where it can be one.

    \b
    handclasp-pki issue server localhost
    handclasp-pki issue server web --dns localhost --ip 127.0.0.1 --ip ::1
    handclasp-pki issue server web --dns www.example.com --dns example.com --key p384
    """
    names = Names.parse(name, dns_names=dns or (), ip_addresses=ip or ())
    request = Request(ServerProfile(), names, days, key, _folder(out))
    _issue(Shared.of(context, state, passphrase_file), request, ensure=ensure)


@issue_app.command("client")
def issue_client(
    context: typer.Context,
    name: NameArgument,
    email: EmailOption = None,
    uri: UriOption = None,
    dns: DnsOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    out: OutOption = None,
    ensure: EnsureOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """For a client: the email, URI or DNS name that servers know it by. Lives 7 days.

    \b
    handclasp-pki issue client alice --email alice@example.com
    handclasp-pki issue client billing --uri spiffe://example.org/billing --out /etc/billing/tls
    """
    names = Names.parse(name, emails=email or (), uris=uri or (), dns_names=dns or ())
    request = Request(ClientProfile(), names, days, key, _folder(out))
    _issue(Shared.of(context, state, passphrase_file), request, ensure=ensure)


@issue_app.command("peer")
def issue_peer(
    context: typer.Context,
    name: NameArgument,
    email: EmailOption = None,
    uri: UriOption = None,
    dns: DnsOption = None,
    ip: IpOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    out: OutOption = None,
    ensure: EnsureOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """For a service that serves and calls. Lives 30 days.

    \b
    handclasp-pki issue peer billing --dns billing.internal --uri spiffe://example.org/billing
    """
    names = Names.parse(name, emails=email or (), uris=uri or (), dns_names=dns or (), ip_addresses=ip or ())
    request = Request(PeerProfile(), names, days, key, _folder(out))
    _issue(Shared.of(context, state, passphrase_file), request, ensure=ensure)


def _issue(shared: Shared, request: Request, *, ensure: bool) -> None:
    say_outcome(shared.lifecycle().issue(request, now=current_time(), ensure=ensure))


def _folder(out: str | None) -> Path | None:
    return None if out is None else path_of(out, "--out")
