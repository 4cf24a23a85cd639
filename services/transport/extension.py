"""The ASGI TLS extension, version 0.2: what an application may know of the connection, under the standard's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.peer import Peer

_TLS_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

_CIPHER_SUITES = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
}
"""OpenSSL's names of the suites that the policies allow -> their numbers in IANA's TLS Cipher Suites registry."""


def tls_extension(peer: Peer, server_cert: str) -> dict[str, Any]:
    """Return the value of `scope["extensions"]["tls"]` for every request on the peer's connection.

    `client_cert_error` is always None: a certificate that fails verification ends the handshake, not the request.
    """
    return {
        "server_cert": server_cert,
        "client_cert_chain": list(peer.chain),
        "client_cert_name": peer.subject,
        "client_cert_error": None,
        "tls_version": _TLS_VERSIONS.get(peer.tls_version),
        "cipher_suite": _CIPHER_SUITES.get(peer.cipher),
    }
