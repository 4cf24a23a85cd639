"""Exceptions of httpx, httpcore, ssl and the socket -> ours. The one place that knows theirs."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from clients.errors import (
    CertificateRefused,
    ClientError,
    ConnectionLost,
    ServerNotTrusted,
    TimedOut,
    Unreachable,
    WrongHostName,
    WrongProtocol,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clients.tls import ClientContext

_ALERTS = {
    "BAD_CERTIFICATE": "bad certificate",
    "CERTIFICATE_EXPIRED": "certificate expired",
    "CERTIFICATE_REQUIRED": "certificate required",
    "CERTIFICATE_REVOKED": "certificate revoked",
    "CERTIFICATE_UNKNOWN": "certificate unknown",
    "UNKNOWN_CA": "unknown CA",
    "UNSUPPORTED_CERTIFICATE": "unsupported certificate",
    "ACCESS_DENIED": "access denied",
    "DECRYPT_ERROR": "decrypt error",
}
"""Alerts that mean our certificate, as OpenSSL spells them in a `reason` (RFC 8446 section 6.2)."""

_MEANINGS = {
    "unknown CA": "it does not trust the authority that issued it",
    "certificate required": "it wants one and got none",
    "unsupported certificate": "it is not for clients, or of a kind that the server does not take",
    "certificate revoked": "it was revoked",
}

# X509_V_ERR_* of openssl/x509_vfy.h
_HOST_NAME_MISMATCH, _IP_ADDRESS_MISMATCH = 62, 64
_NOT_YET_VALID, _EXPIRED = 9, 10


@contextmanager
def translate(url: str, context: ClientContext, name: str) -> Iterator[None]:
    """Turn what httpx raises into a ClientError. `name` is what our credential folder is called."""
    try:
        yield
    except httpx.TimeoutException as error:
        missing = "connection" if isinstance(error, httpx.ConnectTimeout) else "answer"
        raise TimedOut(f"{url}: timed out: no {missing} in time (--timeout SECONDS waits longer)") from error
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise _translated(error, url, context, name) from error


def _translated(error: Exception, url: str, context: ClientContext, name: str) -> ClientError:
    for cause in _causes(error):
        if isinstance(cause, ClientError):
            return cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _not_trusted(cause, url)
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return _tls(cause.reason, url, context, name)
        if isinstance(cause, socket.gaierror):
            return Unreachable(f"{url}: the host is not known: check the name in --url")
        if isinstance(cause, ConnectionRefusedError):
            return Unreachable(f"{url}: nobody listens there: is the server running? start it with handclasp-serve")
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"{url}: no connection: {_innermost(error)}")
    return _lost(error, url, context, name)


def _lost(error: Exception, url: str, context: ClientContext, name: str) -> ClientError:
    expired = _own_expiry(context, name)
    if expired:
        return CertificateRefused(f"{url} closed the connection: {expired}", alert="none was seen")
    return ConnectionLost(
        f"{url} closed the connection before it answered ({_innermost(error)}): if this was the first request, it most "
        "likely refuses our certificate, and its log says why"
    )


def _not_trusted(error: ssl.SSLCertVerificationError, url: str) -> ServerNotTrusted:
    if error.verify_code in (_HOST_NAME_MISMATCH, _IP_ADDRESS_MISMATCH):
        return WrongHostName(
            f"{url}: the server's certificate is for other names ({error.verify_message.rstrip('.')}): "
            "call it by one of its names, or issue it one with this"
        )
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        return ServerNotTrusted(
            f"{url}: the server's certificate is not valid now ({error.verify_message}): rotate it, or set the clock"
        )
    return ServerNotTrusted(
        f"{url}: the server's certificate is not vouched for by our ca.crt ({error.verify_message}): "
        "another server, or another authority's"
    )


def _tls(reason: str, url: str, context: ClientContext, name: str) -> ClientError:
    for spelling, alert in _ALERTS.items():
        if reason.endswith(f"ALERT_{spelling}"):
            meaning = _own_expiry(context, name) or _MEANINGS.get(alert)
            words = f"{url}: the server refused our certificate: {alert}"
            return CertificateRefused(words + (f" ({meaning})" if meaning else ""), alert=alert)
    if reason.endswith("ALERT_NO_APPLICATION_PROTOCOL"):
        return WrongProtocol(
            f"{url}: the server does not speak {context.version}: use the client for the other version"
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "PACKET_LENGTH_TOO_LONG" in reason:
        return WrongProtocol(f"{url}: the server speaks no TLS on this port: check the port in --url")
    if "ALERT_PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return WrongProtocol(f"{url}: no common TLS version: we speak 1.2 and 1.3")
    if "ALERT_HANDSHAKE_FAILURE" in reason or "ALERT_INSUFFICIENT_SECURITY" in reason:
        return CertificateRefused(
            f"{url}: the server refused the handshake: no common cipher suite or signature, or no certificate it takes",
            alert="handshake failure",
        )
    words = reason.replace("_", " ").lower()
    if "UNEXPECTED_EOF" in reason:
        return _lost(ssl.SSLError(words), url, context, name)
    return ConnectionLost(f"{url}: TLS failed: {words}")


def _own_expiry(context: ClientContext, name: str) -> str | None:
    end = None if context.credential is None else context.credential.leaf.not_valid_after_utc
    if end is None or end > datetime.now(UTC):
        return None
    return f"ours expired on {end:%Y-%m-%d %H:%M} UTC: get a new one with `handclasp-pki rotate {name}`"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _innermost(error: Exception) -> str:
    *_, last = _causes(error)
    return " ".join(str(last).split()) or type(last).__name__
