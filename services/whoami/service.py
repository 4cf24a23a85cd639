"""The caller's identity and connection as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from services.peer import Peer


def describe(peer: Peer, http_version: str) -> dict[str, Any]:
    """Return what is known of the caller, ready for JSON. Dates are ISO 8601 in UTC."""
    identity = peer.identity
    return {
        "name": identity.name,
        "kind": identity.kind,
        "emails": list(identity.emails),
        "uris": list(identity.uris),
        "dns_names": list(identity.dns_names),
        "serial": identity.serial,
        "sha256": identity.sha256,
        "not_before": _iso(identity.not_before),
        "not_after": _iso(identity.not_after),
        "http_version": http_version,
        "tls_version": peer.tls_version,
        "cipher": peer.cipher,
        "group": peer.group,
        "alpn": peer.alpn,
    }


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
