"""Whom `handclasp-serve --explain-policy` is asked about: a certificate, or a name that one would hold."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pki.errors import UsageError
from pki.identity import Identity
from pki.pem import parse_certificates

if TYPE_CHECKING:
    from pki.identity import Kind

_KINDS: dict[str, Kind] = {"email": "email", "uri": "uri", "dns": "dns"}


def identity_of(who: str) -> Identity:
    """`email:alice@example.com`, `uri:...`, `dns:...`; or a certificate, or the folder of a credential.

    Raises UsageError, and IdentityError for a certificate that names nobody.
    """
    kind, _, name = who.partition(":")
    if name and kind in _KINDS:
        return _named(_KINDS[kind], name)
    path = Path(who)
    try:
        return Identity.from_certificate(
            parse_certificates((path / "tls.crt" if path.is_dir() else path).read_bytes())[0]
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{who!r} is no identity: write email:NAME, uri:NAME, dns:NAME or a file ({why})") from error


def _named(kind: Kind, name: str) -> Identity:
    domain = name if kind == "dns" else name.rpartition("@")[2]
    if kind == "email":
        name = name.removesuffix(domain) + domain.lower()
    now = datetime.now(UTC)
    return Identity(
        name=name,
        kind=kind,
        emails=(name,) if kind == "email" else (),
        uris=(name,) if kind == "uri" else (),
        dns_names=(name.lower(),) if kind == "dns" else (),
        serial="",
        sha256="",
        not_before=now,
        not_after=now,
        issuer="",
    )
