"""The commands `renew` and `enroll`: a credential by a call, once or for as long as somebody lets it run."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.bootstrap import enroll as enroll_at
from clients.errors import InvalidRequest
from clients.renewal import AutoRenew
from pki import shell
from pki.credential import Credential

if TYPE_CHECKING:
    from clients.session import SyncSession
    from clients.tls import HTTPVersion

TokenOption = Annotated[
    str | None, typer.Option("--token", metavar="TOKEN", help="What `handclasp-pki token` printed. [HANDCLASP_TOKEN]")
]
TokenFileOption = Annotated[
    str | None, typer.Option("--token-file", metavar="FILE", help="It in a file, `-` is stdin: not seen in `ps`.")
]
FingerprintOption = Annotated[
    str, typer.Option("--fingerprint", metavar="SHA256", help="Of the authority, which the server has to be of.")
]
OutOption = Annotated[
    str | None,
    typer.Option("--out", metavar="FOLDER", help="Where to write it. [HANDCLASP_CREDENTIAL, else ./credential]"),
]
FolderOption = Annotated[str, typer.Option("--out", metavar="FOLDER", help="Where to keep it.")]
SocketOption = Annotated[
    str | None, typer.Option("--socket", metavar="unix:///PATH", help="The agent's. [SPIFFE_ENDPOINT_SOCKET]")
]
DaemonOption = Annotated[bool, typer.Option("--daemon", help="Renew it in time until stopped.")]


def renew(program: str, session: SyncSession, *, daemon: bool, as_json: bool) -> None:
    """Renew the session's credential now, or whenever it falls due until SIGTERM or SIGINT."""
    if daemon and as_json:
        raise InvalidRequest("--json is for an answer that ends: leave --daemon or --json out")
    if daemon:
        _watch(program, session)
        return
    session.renew()
    _say("renewed", session.folder, as_json=as_json)


def enroll(
    version: HTTPVersion, url: str, token: str, fingerprint: str, folder: Path, *, timeout: float, as_json: bool
) -> None:
    """Make a first credential in a folder."""
    enroll_at(url, token, fingerprint, folder, version, timeout=timeout)
    _say("enrolled", folder, as_json=as_json)


def folder_of(out: str | None, credential: str | None) -> Path:
    """Where a first credential goes: what was said, where the other commands look for theirs, or `credential` here."""
    if out is not None and not out:
        raise InvalidRequest("--out is empty: pass a folder")
    return Path(out or credential or os.environ.get("HANDCLASP_CREDENTIAL") or "credential")


def token_of(token: str | None, file: str | None) -> str:
    """The token that was said. Raises InvalidRequest where none was, or two were."""
    if token is not None and file is not None:
        raise InvalidRequest("say --token or --token-file, not both")
    if file == "-":
        return sys.stdin.readline()
    if file is not None:
        try:
            return Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'no text'}") from error
    token = token or os.environ.get("HANDCLASP_TOKEN")
    if not token:
        raise InvalidRequest("which token? pass --token-file FILE, --token TOKEN, or set HANDCLASP_TOKEN")
    return token


def _watch(program: str, session: SyncSession) -> None:
    stopping = _until_stopped(program)
    renewal = AutoRenew(session)
    typer.echo(f"renewing {session.folder} in time")
    sys.stdout.flush()
    renewal.run(stopping)


def workload(program: str, out: str, socket: str | None) -> None:
    """Keep a folder at what a SPIFFE Workload API gives, until SIGTERM or SIGINT."""
    from clients.workload import WorkloadCredential

    if not out:
        raise InvalidRequest("--out is empty: pass a folder")
    stopping = _until_stopped(program)
    with WorkloadCredential(out, socket):
        stopping.wait()


def _until_stopped(program: str) -> threading.Event:
    """Set by the signals; until then, what the daemons log is printed."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    logger = logging.getLogger("handclasp")
    logger.addHandler(_Complaints(program))
    logger.setLevel(logging.INFO)
    return stopping


class _Complaints(logging.Handler):
    """What happened goes to stdout, what went wrong is a line on stderr."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno <= logging.INFO:
            typer.echo(shell.visible(text))
            sys.stdout.flush()
        else:
            shell.complain(self._program, record.levelname.lower(), text)


def _say(what: str, folder: Path, *, as_json: bool) -> None:
    leaf: Any = Credential.load(folder).leaf
    if as_json:
        facts = {"subject": leaf.subject.rfc4514_string(), "serial": f"{leaf.serial_number:x}"}
        end = leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        typer.echo(json.dumps({"action": what, "folder": str(folder), **facts, "not_after": end}))
        return
    typer.echo(
        shell.visible(
            f"{what} {folder}: {leaf.subject.rfc4514_string()}, serial {leaf.serial_number:x}, "
            f"valid until {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        )
    )
