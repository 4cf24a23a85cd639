"""Why, in few words: of the reasons that are logged, those that metrics tell apart.

By how a reason begins: further on it may quote a stranger. What is in no row is "other".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHER = "other"

REFUSED = {
    "peer did not return a certificate": "no certificate",
    "no certificate was verified": "no certificate",
    "its certificate is revoked": "revoked",
    "the revocation list of its authority is stale": "stale revocation list",
    "there is no revocation list": "no revocation list",
    "certificate has expired": "expired",
    "certificate is not yet valid": "not yet valid",
    "unable to get local issuer certificate": "unknown authority",
    "unable to get issuer certificate": "unknown authority",
    "unable to verify the first certificate": "unknown authority",
    "self-signed certificate": "unknown authority",
    "an authority's certificate": "not a client's",
    "not a client's certificate": "not a client's",
    "unsuitable certificate purpose": "not a client's",
    "the certificate names nobody": "no identity",
    "the certificate holds": "no identity",
    "the certificate has several": "no identity",
    "the email": "no identity",
    "the URI": "no identity",
    "the DNS name": "no identity",
    "the SPIFFE ID": "no identity",
    "the common name": "no identity",
    "a SPIFFE ID": "no identity",
    "an empty": "no identity",
    "the certificate cannot be read": "malformed certificate",
    "plain HTTP": "plain HTTP",
    "no handshake within": "too slow",
    "it was the slowest": "too many",
    "too many connections": "too many",
    "the client closed the connection": "client left",
    "unexpected eof": "client left",
    "no common application protocol": "no common protocol",
    "unsupported protocol": "no common version",
    "wrong version number": "no common version",
    "no shared cipher": "no common cipher",
    "no suitable": "no common cipher",
    "tlsv1 alert": "refused by the client",
    "tlsv13 alert": "refused by the client",
    "sslv3 alert": "refused by the client",
    "ssl/tls alert": "refused by the client",
}
ENDED = {
    "its certificate is revoked": "revoked",
    "its certificate has expired": "expired",
    "its authority is no longer trusted": "authority removed",
    "the revocation list of its authority is stale": "stale revocation list",
    "there is no revocation list": "no revocation list",
    "the server's certificate was replaced": "recycled",
    "streams reset": "limit",
    "too many": "limit",
    "the request's head": "limit",
    "a stream's window": "limit",
    "the peer takes nothing": "limit",
}


def word(table: Mapping[str, str], reason: str) -> str:
    """The word of the first row with which the reason begins."""
    return next((word for beginning, word in table.items() if reason.startswith(beginning)), OTHER)
