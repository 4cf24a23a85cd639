"""The options of `handclasp-pki`, as types, and those that every command shares."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pki.authority_files import check_passphrase, read_passphrase
from pki.errors import StateError, UsageError
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.presentation import say_note
from pki.state import State

_DEFAULT_STATE = "state"

StateOption = Annotated[
    str | None,
    typer.Option("--state", metavar="DIR", help="State folder, ./state by default; or set HANDCLASP_STATE."),
]
PassphraseOption = Annotated[
    str | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="Passphrase of the authority's key; or set HANDCLASP_CA_PASSPHRASE.",
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Inventory elsewhere, postgresql+psycopg://...; or set HANDCLASP_DATABASE.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
NameArgument = Annotated[str | None, typer.Argument(metavar="NAME", help="What the credential is called here.")]
EmailOption = Annotated[list[str] | None, typer.Option("--email", metavar="ADDRESS", help="May be repeated.")]
UriOption = Annotated[list[str] | None, typer.Option("--uri", metavar="URI", help="May be repeated.")]
DnsOption = Annotated[list[str] | None, typer.Option("--dns", metavar="NAME", help="May be repeated.")]
IpOption = Annotated[list[str] | None, typer.Option("--ip", metavar="ADDRESS", help="May be repeated.")]
DaysOption = Annotated[int | None, typer.Option("--days", metavar="N", help="Life in days.")]
KeyOption = Annotated[KeyType | None, typer.Option("--key", help="Key type, p256 by default; ml-dsa-* experimental.")]
OutOption = Annotated[
    str | None, typer.Option("--out", metavar="FOLDER", help="Where to write it: DIR/credentials/NAME by default.")
]
EnsureOption = Annotated[bool, typer.Option("--ensure", help="Do nothing where it is there and valid.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@dataclass(frozen=True, slots=True)
class Shared:
    """What may be said before the command as well as behind it; behind it wins."""

    state: str | None
    passphrase_file: str | None
    database: str | None = None

    @classmethod
    def of(
        cls, context: typer.Context, state: str | None, passphrase_file: str | None, database: str | None = None
    ) -> Shared:
        """These, the gaps filled from the words before."""
        before = context.obj if isinstance(context.obj, Shared) else cls(None, None)
        return cls(
            before.state if state is None else state,
            before.passphrase_file if passphrase_file is None else passphrase_file,
            before.database if database is None else database,
        )

    def lifecycle(self) -> Lifecycle:
        """The Lifecycle that was asked for, by options or by the environment."""
        if self.state is None:
            folder = Path(os.environ.get("HANDCLASP_STATE") or _DEFAULT_STATE)
        else:
            folder = path_of(self.state, "--state")
        database = os.environ.get("HANDCLASP_DATABASE") or None if self.database is None else self.database
        return Lifecycle(State(folder), self._passphrase(), database, requester(), say_note)

    def _passphrase(self) -> bytes | None:
        if self.passphrase_file is not None:
            return read_passphrase(path_of(self.passphrase_file, "--passphrase-file"))
        passphrase = os.environb.get(b"HANDCLASP_CA_PASSPHRASE")
        return None if passphrase is None else check_passphrase(passphrase)


def requester() -> str:
    """Who runs this command, as the inventory remembers it: `user@host`."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user need not have a name
        user = str(os.geteuid())
    return f"{user}@{socket.gethostname()}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal. Elsewhere `--yes` has to be said: UsageError. Who says no ends the command: StateError."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is nobody to ask: pass --yes")
    if not typer.confirm(question, err=True):
        raise StateError("nothing was changed, as the answer was no")


def path_of(text: str, what: str) -> Path:
    """A path that was typed. Raises UsageError for an empty one, which would be the current folder."""
    if not text:
        raise UsageError(f"{what} is empty: pass a path")
    return Path(text)


def current_time() -> datetime:
    """The one look at the clock: a command passes it to all that it calls."""
    return datetime.now(UTC)
