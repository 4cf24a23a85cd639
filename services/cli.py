"""`handclasp-serve`: words to settings, settings to processes.

What serves is imported when something is to be served: help, completions and the version are there at once.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pki import completions, shell
from services.transport.tls_policy import TLSPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.settings import Settings
    from services.transport.snapshot import Snapshot
    from services.transport.sockets import Address

_HELP = """Serve an ASGI application over mutual TLS.

\b
  handclasp-serve                                  the greeter, on localhost:8443
  handclasp-serve shop.web:app                     your own application
  handclasp-serve shop.web:app --bind 0.0.0.0:443 --workers 4
  handclasp-serve --credential /run/secrets/web    a folder with tls.crt, tls.key and ca.crt
  handclasp-serve --admin-bind 127.0.0.1:9443      /livez, /readyz and /metrics, without a certificate
  handclasp-serve --bind fd://                     on the sockets that systemd passes

Every option is also an environment variable (HANDCLASP_TLS_POLICY) and a key of handclasp.toml (tls_policy). Limits
(HANDCLASP_MAX_BODY, max_body) are set by these two alone: docs/operations.md has them all.
"""


def _expected() -> tuple[type[Exception], ...]:
    """What the user can have done wrong."""
    from pki.errors import PKIError
    from services.loading import AppNotFoundError
    from services.server import AuditLogError
    from services.settings import SettingsError
    from services.transport.engine import LifespanFailureError, LifespanTimeoutError
    from services.transport.sockets import BindError

    return (
        AuditLogError,
        SettingsError,
        AppNotFoundError,
        PKIError,
        BindError,
        LifespanFailureError,
        LifespanTimeoutError,
    )


def serve(
    app: Annotated[
        str | None, typer.Argument(metavar="[APP]", help="MODULE:ATTRIBUTE of an ASGI application; else the greeter.")
    ] = None,
    credential: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="tls.crt, tls.key and ca.crt. [state/credentials/localhost]")
    ] = None,
    bind: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT|fd://", help="Repeatable; port 0 is any. [localhost:8443]")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes that share the port. [1]")] = None,
    tls_policy: Annotated[TLSPolicy | None, typer.Option(help="Which TLS versions and suites. [default]")] = None,
    json_logs: Annotated[bool | None, typer.Option("--json-logs", help="Log JSON lines.")] = None,
    access_log: Annotated[bool | None, typer.Option(help="Log a line a request. [yes]")] = None,
    graceful_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="For requests in flight when the server stops. [30s]")
    ] = None,
    drain_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="For requests in flight on a connection that is drained. [30s]")
    ] = None,
    crl: Annotated[
        str | None, typer.Option(metavar="require|use-if-present", help="Whether ca.crl must be there.")
    ] = None,
    recycle_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Drain connections that met an earlier certificate. [never]")
    ] = None,
    server_name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Repeatable: other hosts are answered 421. [all]")
    ] = None,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="Who may do what, in TOML. [everybody]")] = None,
    authorizer: Annotated[
        str | None, typer.Option(metavar="MODULE:ATTRIBUTE", help="A function that is asked as well. [none]")
    ] = None,
    explain_policy: Annotated[
        tuple[str, str, str] | None,
        typer.Option(metavar="IDENTITY METHOD PATH", help="Say which rule decides, and end."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="That as JSON.")] = False,
    admin_bind: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|unix:PATH|fd://NAME", help="/livez, /readyz and /metrics over plain HTTP. [nowhere]"
        ),
    ] = None,
    admin_public: Annotated[
        bool | None, typer.Option("--admin-public", help="Let --admin-bind be reached by other machines.")
    ] = None,
    audit_log: Annotated[str | None, typer.Option(metavar="FILE", help="JSON lines; - is stderr.")] = None,
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="The authority's, for the page of it.")] = None,
    enrollment: Annotated[
        bool | None, typer.Option("--enrollment", help="Renew callers' certificates, with the authority in --state.")
    ] = None,
    enroll_bind: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where one-time tokens are worth a certificate. [nowhere]")
    ] = None,
    enrollment_lifetime: Annotated[
        str | None, typer.Option(metavar="TIME", help="Life of what is issued here. [as the inventory has it]")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Passphrase of the authority's key.")
    ] = None,
    traces: Annotated[
        bool | None, typer.Option("--traces", help="OpenTelemetry spans; OTEL_* variables say where to.")
    ] = None,
    max_requests: Annotated[int | None, typer.Option(metavar="N", help="Replace a worker after N. [never]")] = None,
    ask: Annotated[
        str | None,
        typer.Option("--probe", metavar="livez|readyz|URL", help="Ask a server's admin listener, and end: 0 is yes."),
    ] = None,
    version: shell.VersionOption = False,  # noqa: ARG001 - its callback answers
    show_completion: completions.ShowOption = None,  # noqa: ARG001
    install_completion: completions.InstallOption = None,  # noqa: ARG001
) -> None:
    spoken = {
        "app": app,
        "credential": credential,
        "bind": tuple(bind or ()) or None,
        "workers": workers,
        "tls_policy": tls_policy,
        "json_logs": json_logs,
        "access_log": access_log,
        "graceful_timeout": graceful_timeout,
        "drain_timeout": drain_timeout,
        "crl": crl,
        "recycle_after": recycle_after,
        "server_names": tuple(server_name or ()) or None,
        "policy": policy,
        "authorizer": authorizer,
        "admin_bind": admin_bind,
        "admin_public": admin_public,
        "audit_log": audit_log,
        "state": state,
        "enrollment": enrollment,
        "enroll_bind": enroll_bind,
        "enrollment_lifetime": enrollment_lifetime,
        "passphrase_file": passphrase_file,
        "traces": traces,
        "max_requests": max_requests,
    }
    from pki.errors import UsageError
    from services import logs
    from services.processes import run
    from services.settings import Settings

    settings = Settings.read(**{name: value for name, value in spoken.items() if value is not None})
    if as_json and explain_policy is None:
        raise UsageError("--json goes with --explain-policy: logs are JSON with --json-logs")
    if explain_policy is not None:
        raise typer.Exit(_explain(settings, *explain_policy, as_json=as_json))
    if ask is not None:
        from services.probe import probe

        yes, said = probe(settings, ask)
        typer.echo(said, err=not yes)
        raise typer.Exit(0 if yes else 1)
    logs.configure(json=settings.json_logs)

    def announce(snapshot: Snapshot, addresses: Sequence[Address]) -> None:
        typer.echo(ready_line(settings, snapshot, addresses))

    raise typer.Exit(run(settings, announce))


def _explain(settings: Settings, who: str, method: str, path: str, *, as_json: bool) -> int:
    """Print what the policy says, and by which rule; the exit code is 1 where it says no."""
    from pki.errors import UsageError
    from services.authorization.explaining import identity_of
    from services.authorization.policy import Policy
    from services.settings import SettingsError

    if settings.policy is None:
        raise SettingsError("there is no policy to explain: name one with --policy FILE")
    if not path.startswith("/") and "://" not in path:
        raise UsageError(f"{path!r} is no path: it begins with /")
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", method):  # a token, RFC 9110 section 5.6.2
        raise UsageError(f"{method!r} is no method: it is a word such as GET, or websocket")
    policy = Policy.load(settings.policy)
    for doubt in policy.doubts():
        shell.complain("handclasp-serve", "warning", f"{settings.policy}: {doubt}")
    websocket = method.lower() == "websocket"
    decision = policy.decide(
        identity_of(who), "GET" if websocket else method.upper(), path.encode(), "websocket" if websocket else "http"
    )
    if as_json:
        rule = decision.rule
        found = None if rule is None else {"number": rule.number, "line": rule.line, "path": rule.written}
        typer.echo(json.dumps({"allowed": decision.allowed, "reason": decision.reason, "rule": found}))
        return 0 if decision.allowed else 1
    where = "" if decision.rule is None else f": {settings.policy}:{decision.rule.line}, {decision.rule.written}"
    asked = f"; {settings.authorizer} is asked next" if decision.allowed and settings.authorizer is not None else ""
    typer.echo(f"{'allowed' if decision.allowed else 'denied'}: {decision.reason}{where}{asked}")
    return 0 if decision.allowed else 1


def ready_line(settings: Settings, snapshot: Snapshot, addresses: Sequence[Address]) -> str:
    """One line: the address, the credential's name and expiry, and what to try."""
    urls = " ".join(f"https://{address}" for address in addresses)
    expires = snapshot.credential.leaf.not_valid_after_utc
    return (
        f"Handclasp is ready: {urls}  (credential {settings.credential.absolute().name}, expires {expires:%Y-%m-%d})"
        f" - try: uv run just http1, uv run just http2, handclasp-http2 greet --url https://{addresses[0]}"
    )


def main() -> int:
    """Run the command, and return its exit code: 2 for a wrong word, 1 for what cannot be served."""
    app = shell.new_app()
    app.command(help=_HELP, epilog=shell.EXIT_CODES, context_settings=shell.SETTINGS)(serve)
    return shell.run(app, "handclasp-serve", _expected)
