"""The commands `handclasp-http1` and `handclasp-http2`: words to calls, answers to stdout."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients import enrolling_cli
from clients.api import checked_path, greet_path, read_greeting, read_whoami
from clients.enrolling_cli import (
    DaemonOption,
    FingerprintOption,
    FolderOption,
    OutOption,
    SocketOption,
    TokenFileOption,
    TokenOption,
)
from clients.errors import BadResponse, ClientError, CredentialProblem
from clients.session import TIMEOUT, SyncSession
from pki import completions, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clients.api import Reply

DEFAULT_URL = "https://localhost:8443"

UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help=f"The server. [{DEFAULT_URL}, or HANDCLASP_URL]")
]
CredentialOption = Annotated[
    str | None,
    typer.Option("--credential", metavar="FOLDER", help="tls.crt, tls.key, ca.crt. [HANDCLASP_CREDENTIAL]"),
]
JsonOption = Annotated[bool | None, typer.Option("--json", help="Answers as JSON, one a line.")]
RepeatOption = Annotated[int | None, typer.Option("--repeat", metavar="N", min=1, help="Ask so many times. [1]")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", min=0.001, help=f"Patience for an answer. [{TIMEOUT:g}]")
]


@dataclass(frozen=True, slots=True)
class Options:
    """What may be said before the command as well as behind it; behind it wins."""

    url: str | None = None
    credential: str | None = None
    json: bool | None = None
    repeat: int | None = None
    timeout: float | None = None

    def with_later(self, *later: Any) -> Options:
        """These, but for what was said again."""
        names = ("url", "credential", "json", "repeat", "timeout")
        return replace(self, **{n: value for n, value in zip(names, later, strict=True) if value is not None})


def run(program: str, client: type[SyncSession]) -> int:
    """Run the command with this client; return the exit code."""
    return shell.run(_command(program, client), program, (ClientError,))


def _command(program: str, client: type[SyncSession]) -> typer.Typer:
    app = shell.new_app()

    @app.callback(invoke_without_command=True, help=_help(program, client), epilog=shell.EXIT_CODES)
    def root(
        context: typer.Context,
        url: UrlOption = None,
        credential: CredentialOption = None,
        as_json: JsonOption = None,
        repeat: RepeatOption = None,
        timeout: TimeoutOption = None,
        version: shell.VersionOption = False,  # noqa: ARG001 - its callback answers
        show_completion: completions.ShowOption = None,  # noqa: ARG001
        install_completion: completions.InstallOption = None,  # noqa: ARG001
    ) -> None:
        context.obj = Options().with_later(url, credential, as_json, repeat, timeout)
        if context.invoked_subcommand is None:
            _ask(client, context.obj, greet_path(None), _greeting)

    @app.command(
        help=_with_examples(
            "Be greeted by the name in our certificate.",
            f"{program} greet --credential state/credentials/alice",
            f"{program} greet --greeting Hi --json",
            f"{program} greet --repeat 1000                       over one connection",
        )
    )
    def greet(
        context: typer.Context,
        greeting: Annotated[str | None, typer.Option("--greeting", metavar="WORD", help="Instead of Hello.")] = None,
        url: UrlOption = None,
        credential: CredentialOption = None,
        as_json: JsonOption = None,
        repeat: RepeatOption = None,
        timeout: TimeoutOption = None,
    ) -> None:
        options = context.obj.with_later(url, credential, as_json, repeat, timeout)
        _ask(client, options, greet_path(greeting), _greeting)

    @app.command(
        help=_with_examples(
            "Show what the server knows of us: identity, certificate, connection.",
            f"{program} whoami --credential state/credentials/alice",
            f"{program} whoami --url https://web.example.com --json",
        )
    )
    def whoami(
        context: typer.Context,
        url: UrlOption = None,
        credential: CredentialOption = None,
        as_json: JsonOption = None,
        repeat: RepeatOption = None,
        timeout: TimeoutOption = None,
    ) -> None:
        _ask(client, context.obj.with_later(url, credential, as_json, repeat, timeout), "/whoami", _whoami)

    @app.command(
        help=_with_examples(
            "Get any path of the server. Other answers than 2xx are errors, but for --json, which has the status.",
            f"{program} get /healthz --credential state/credentials/alice",
            f"{program} get /whoami --json",
        )
    )
    def get(
        context: typer.Context,
        path: Annotated[str, typer.Argument(metavar="PATH", help="For example /healthz.")],
        url: UrlOption = None,
        credential: CredentialOption = None,
        as_json: JsonOption = None,
        repeat: RepeatOption = None,
        timeout: TimeoutOption = None,
    ) -> None:
        options = context.obj.with_later(url, credential, as_json, repeat, timeout)
        _ask(client, options, checked_path(path), _page)

    @app.command(
        help=_with_examples(
            "Renew our certificate at a server that runs with --enrollment; new key, same names.",
            f"{program} renew --credential state/credentials/alice",
            f"{program} renew --daemon                            whenever it falls due, until stopped",
        )
    )
    def renew(
        context: typer.Context,
        daemon: DaemonOption = False,
        url: UrlOption = None,
        credential: CredentialOption = None,
        as_json: JsonOption = None,
        timeout: TimeoutOption = None,
    ) -> None:
        options = context.obj.with_later(url, credential, as_json, None, timeout)
        with _session(client, options) as session:
            enrolling_cli.renew(program, session, daemon=daemon, as_json=bool(options.json))

    @app.command(
        help=_with_examples(
            "Get a first certificate for a one-time token, at a server's --enroll-bind.",
            "handclasp-pki token alice --email alice@example.com > token      where the authority is",
            f"{program} enroll --url https://localhost:8444 --fingerprint SHA256 --token-file token --out FOLDER",
        )
    )
    def enroll(
        context: typer.Context,
        fingerprint: FingerprintOption,
        out: OutOption = None,
        token: TokenOption = None,
        token_file: TokenFileOption = None,
        url: UrlOption = None,
        as_json: JsonOption = None,
        timeout: TimeoutOption = None,
    ) -> None:
        options = context.obj.with_later(url, None, as_json, None, timeout)
        said = enrolling_cli.token_of(token, token_file)
        patience = options.timeout or TIMEOUT
        folder = enrolling_cli.folder_of(out, options.credential)
        enrolling_cli.enroll(
            client.version, _url(options), said, fingerprint, folder, timeout=patience, as_json=bool(options.json)
        )

    @app.command(
        help=_with_examples(
            "Keep a folder at what a SPIFFE Workload API gives, until stopped. Needs handclasp[spiffe].",
            f"{program} workload --socket unix:///run/spire/agent.sock --out credential",
        )
    )
    def workload(out: FolderOption, socket: SocketOption = None) -> None:
        enrolling_cli.workload(program, out, socket)

    return app


def _with_examples(what: str, *examples: str) -> str:
    lines = "\n".join(f"  {example}" for example in examples)
    return f"{what}\n\n\b\n{lines}\n"


def _help(program: str, client: type[SyncSession]) -> str:
    return f"""Call a server over mutual TLS and {client.version}.

\b
  {program} --credential state/credentials/alice          be greeted
  {program} whoami --credential FOLDER --json             what the server knows of us
  {program} get /healthz --url https://localhost:8443     any path
  {program} greet --repeat 1000                           over one connection
  {program} renew --daemon --credential FOLDER            a new certificate in time
  {program} enroll --url https://localhost:8444 --fingerprint SHA256 --token-file token --out FOLDER

HANDCLASP_CREDENTIAL and HANDCLASP_URL stand for --credential and --url.
"""


def _ask(client: type[SyncSession], options: Options, path: str, present: Callable[[Reply, bool], bytes]) -> None:
    count = options.repeat or 1
    with _session(client, options) as session, _progress(count) as advance:
        for _ in range(count):
            answer = present(session.get(path), bool(options.json))
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()
            advance()


def _session(client: type[SyncSession], options: Options) -> SyncSession:
    """Raises MissingCredential, CredentialProblem, InvalidRequest."""
    folder = options.credential or os.environ.get("HANDCLASP_CREDENTIAL")
    if not folder:
        raise MissingCredential(
            "which credential? pass --credential FOLDER or set HANDCLASP_CREDENTIAL; "
            "`handclasp-pki issue client NAME --email ADDRESS` makes one"
        )
    return client(_url(options), folder, timeout=options.timeout or TIMEOUT)


def _url(options: Options) -> str:
    return options.url or os.environ.get("HANDCLASP_URL") or DEFAULT_URL


class MissingCredential(CredentialProblem):
    """No credential folder was named."""

    exit_code = 2


def _greeting(reply: Reply, as_json: bool) -> bytes:
    message = read_greeting(reply)
    if as_json:
        return _line(json.dumps({"message": message, "http_version": reply.http_version}))
    return _line(shell.visible(message))


def _whoami(reply: Reply, as_json: bool) -> bytes:
    facts = asdict(read_whoami(reply))
    if as_json:
        return _line(json.dumps(facts))
    width = max(map(len, facts))
    lines = (f"{name:<{width}}  {', '.join(v) if isinstance(v, tuple) else v}" for name, v in facts.items())
    return b"".join(_line(shell.visible(line.rstrip())) for line in lines)


def _page(reply: Reply, as_json: bool) -> bytes:
    if as_json:
        page = {
            "status": reply.status,
            "http_version": reply.http_version,
            "headers": dict(reply.headers),
            "body": reply.text,
        }
        return _line(json.dumps(page))
    if not 200 <= reply.status < 300:
        raise BadResponse(f"the server answered {reply.status}", status=reply.status)
    return reply.body if reply.body.endswith(b"\n") else reply.body + b"\n"


def _line(text: str) -> bytes:
    return text.encode() + b"\n"


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, where there is something to wait for and the answers do not run over it."""
    if count < 2 or not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    from rich.progress import MofNCompleteColumn, Progress

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=shell.console(stderr=True)) as bar:
        task = bar.add_task("asking", total=count)
        yield lambda: bar.advance(task)
