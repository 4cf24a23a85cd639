"""`handclasp-pki issue server|client|peer`: which names each of them takes, into a Request, or into many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from pki import shell
from pki.commands.progress import progress
from pki.errors import UsageError
from pki.issuing import Request
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
    NameArgument,
    OutOption,
    PassphraseOption,
    Shared,
    StateOption,
    UriOption,
    current_time,
    path_of,
)
from pki.people import load_people
from pki.presentation import outcome_json, say, say_json, say_note, say_outcome
from pki.profiles import ClientProfile, PeerProfile, Profile, ServerProfile

issue_app = shell.new_app()

AgainOption = Annotated[bool, typer.Option("--again", help="Although the name was revoked.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="One for each line of a CSV: name,email,uri,dns,ip,days."),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed: one name with its options, or a file of many."""

    profile: Profile
    name: str | None
    sans: dict[str, list[str] | None]
    days: int | None
    key: KeyType | None
    out: str | None
    ensure: bool
    again: bool
    people: str | None
    as_json: bool

    def answer(self, shared: Shared) -> None:
        """Issue it, or them. Raises UsageError for words that do not go together."""
        if self.people is not None:
            self._many(shared, self.people)
            return
        if self.name is None:
            raise UsageError("Missing argument 'NAME', or --from FILE")
        sans = {kind: values or () for kind, values in self.sans.items()}
        out = None if self.out is None else path_of(self.out, "--out")
        request = Request(self.profile, Names.parse(self.name, **sans), self.days, self.key, out)
        outcome = shared.lifecycle().issue(request, now=current_time(), ensure=self.ensure, again=self.again)
        if self.as_json:
            say_json(outcome_json(outcome))
        else:
            say_outcome(outcome)

    def _many(self, shared: Shared, people: str) -> None:
        if self.name is not None or any(self.sans.values()) or self.out or self.ensure or self.again:
            raise UsageError("--from takes names from the file: of the other options only --days and --key go with it")
        now = current_time()
        like = Request(self.profile, Names(""), self.days, self.key)
        lines = load_people(path_of(people, "--from"), like, now=now)
        lifecycle = shared.lifecycle()
        with progress("issuing", len(lines)) as advance:
            done = lifecycle.issue_many(lines, now=now, advance=advance)
        kept = f", kept {done.kept}" if done.kept else ""
        if self.as_json:
            counts = {"issued": done.issued, "kept": done.kept, "clamped": done.clamped, "lapsed": done.lapsed}
            say_json({"profile": self.profile.label, "folder": str(lifecycle.state.folder / "credentials"), **counts})
            return
        say(f"issued {done.issued} {self.profile.label} credentials{kept}, in {lifecycle.state.folder / 'credentials'}")
        if done.clamped:
            say_note(f"{done.clamped} of them end earlier than asked for, with their authority")
        if done.lapsed:
            say_note(
                f"{done.lapsed} of those that were kept are revoked, on hold or have ended: see `handclasp-pki list`"
            )


@issue_app.callback()
def issue(
    context: typer.Context,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make the credential of a server, a client, or a peer, which is both.

    \b
    handclasp-pki issue server web --dns localhost --ip 127.0.0.1 --ip ::1
    handclasp-pki issue client alice --email alice@example.com --days 30
    handclasp-pki issue peer billing --dns billing.internal --uri spiffe://example.org/billing
    """
    context.obj = Shared.of(context, state, passphrase_file, database)


@issue_app.command("server")
def issue_server(
    context: typer.Context,
    name: NameArgument = None,
    dns: DnsOption = None,
    ip: IpOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    out: OutOption = None,
    ensure: EnsureOption = False,
    again: AgainOption = False,
    people: FromOption = None,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """For a server: the DNS names and IP addresses that clients connect to. Lives 30 days.

    Without any, NAME is the DNS name where it can be one.

    \b
    handclasp-pki issue server localhost
    handclasp-pki issue server web --dns localhost --ip 127.0.0.1 --ip ::1
    handclasp-pki issue server web --dns www.example.com --dns example.com --key p384
    """
    sans = {"dns_names": dns, "ip_addresses": ip}
    asked = Asked(
        ServerProfile(), name, sans, days, key, out, ensure=ensure, again=again, people=people, as_json=as_json
    )
    asked.answer(Shared.of(context, state, passphrase_file, database))


@issue_app.command("client")
def issue_client(
    context: typer.Context,
    name: NameArgument = None,
    email: EmailOption = None,
    uri: UriOption = None,
    dns: DnsOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    out: OutOption = None,
    ensure: EnsureOption = False,
    again: AgainOption = False,
    people: FromOption = None,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """For a client: the email, URI or DNS name that servers know it by. Lives 7 days.

    \b
    handclasp-pki issue client alice --email alice@example.com
    handclasp-pki issue client billing --uri spiffe://example.org/billing --out /etc/billing/tls
    handclasp-pki issue client --from people.csv
    """
    sans = {"emails": email, "uris": uri, "dns_names": dns}
    asked = Asked(
        ClientProfile(), name, sans, days, key, out, ensure=ensure, again=again, people=people, as_json=as_json
    )
    asked.answer(Shared.of(context, state, passphrase_file, database))


@issue_app.command("peer")
def issue_peer(
    context: typer.Context,
    name: NameArgument = None,
    email: EmailOption = None,
    uri: UriOption = None,
    dns: DnsOption = None,
    ip: IpOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    out: OutOption = None,
    ensure: EnsureOption = False,
    again: AgainOption = False,
    people: FromOption = None,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """For a service that serves and calls. Lives 30 days.

    \b
    handclasp-pki issue peer billing --dns billing.internal --uri spiffe://example.org/billing
    """
    sans = {"emails": email, "uris": uri, "dns_names": dns, "ip_addresses": ip}
    asked = Asked(PeerProfile(), name, sans, days, key, out, ensure, again, people, as_json)
    asked.answer(Shared.of(context, state, passphrase_file, database))
