"""Whom `handclasp-serve --explain-policy` is asked about: a certificate, or a name that one would hold."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pki.errors import UsageError
from pki.identity import Identity
from pki.pem import parse_certificates
from services.authorization.authorizers import PatternError, key_of

if TYPE_CHECKING:
    from pki.identity import Kind

_KINDS: dict[str, Kind] = {"email": "email", "uri": "uri", "dns": "dns"}
_OTHER_FACTS = ("sha256", "issuer")


def identity_of(who: str) -> Identity:
    """`email:alice@example.com`, `uri:...`, `dns:...`, `sha256:...`; or a certificate, or the folder of a credential.

    An email and a URI go without their kind. Raises UsageError, and IdentityError for a certificate that names nobody.
    """
    path = Path(who)
    kind, _, name = who.partition(":")
    if kind in _KINDS or kind in _OTHER_FACTS:
        return _named(kind, name)
    if "://" in who:
        return _named("uri", who)
    if "@" in who and not path.exists():
        return _named("email", who)
    try:
        return Identity.from_certificate(
            parse_certificates((path / "tls.crt" if path.is_dir() else path).read_bytes())[0]
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{who!r} is no identity: write email:NAME, uri:NAME, dns:NAME or a file ({why})") from error


def _named(kind: str, name: str) -> Identity:
    """Who has this name, or of whose certificate this one thing is known."""
    try:
        name = key_of(f"{kind}:{name}").partition(":")[2]  # checked and spelled as in a certificate
    except PatternError as error:
        raise UsageError(f"{f'{kind}:{name}'!r} is no identity: {error}") from None
    if kind != "dns" and "*" in name:
        raise UsageError(f"{f'{kind}:{name}'!r} is a pattern: name one of those whom it means")
    now = datetime.now(UTC)
    return Identity(
        name=name,
        kind=_KINDS.get(kind, "cn"),
        emails=(name,) if kind == "email" else (),
        uris=(name,) if kind == "uri" else (),
        dns_names=(name,) if kind == "dns" else (),
        serial="",
        sha256=name if kind == "sha256" else "",
        not_before=now,
        not_after=now,
        issuer=name if kind == "issuer" else "",
    )
