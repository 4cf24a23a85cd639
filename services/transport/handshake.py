"""What a handshake leaves behind: the peer, or a line in the log that says why there is none."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from services.peer import Peer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from cryptography import x509

    from pki.identity import Identity

log = structlog.get_logger("handclasp.transport")

Address = tuple[str, int] | None


def endpoint(transport: asyncio.BaseTransport, which: str) -> Address:
    """Return host and port of one end, `peername` or `sockname`; None where the socket has none."""
    found = transport.get_extra_info(which)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


def peer_of(tls: Any, identity: Identity, chain: Sequence[x509.Certificate], address: Address, generation: int) -> Peer:
    """Gather what is known of a verified caller. `tls` is the pyOpenSSL connection whose handshake is done."""
    return Peer(
        identity=identity,
        subject=chain[0].subject.rfc4514_string(),
        chain=tuple(map(_pem, chain)),
        tls_version=tls.get_protocol_version_name(),
        cipher=tls.get_cipher_name() or "",
        group=tls.get_group_name(),
        alpn=tls.get_alpn_proto_negotiated().decode("ascii") or None,
        address=address,
        generation=generation,
    )


def log_refusal(reason: str, address: Address, certificate: x509.Certificate | None) -> None:
    """Say why nobody was let in, and what was presented: nothing of it was verified."""
    log.warning(
        "handshake refused",
        reason=reason,
        address=address[0] if address else None,
        **(_presented(certificate) if certificate is not None else {}),
    )


def _presented(certificate: x509.Certificate) -> dict[str, str]:
    try:
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        subject = "unreadable"
    return {"presented_subject": subject, "presented_serial": format(certificate.serial_number, "x")}


@lru_cache(maxsize=1024)
def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
