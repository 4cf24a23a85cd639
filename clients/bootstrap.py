"""A first credential for who has nothing but a one-time token and the fingerprint of the authority.

Nothing is told to a server before it is known to be the right one: a first handshake shows its chain, unverified, and
says nothing. If the authority with that fingerprint is in it, a second one trusts this authority alone, verifies the
server by it, host name included, and only then the token leaves.
"""

from __future__ import annotations

import hmac
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from clients.api import Reply, origin
from clients.enrolling import ENROLL_PATH, FIELDS, Application
from clients.errors import BadResponse, CredentialProblem, InvalidRequest, ServerNotTrusted, TimedOut, Unreachable
from clients.rpc.errors import raise_for_connect
from clients.tls import HTTPVersion, server_context
from clients.translation import translate
from pki.credential import is_occupied
from pki.trust import TrustBundle, is_authority

if TYPE_CHECKING:
    from pathlib import Path

    from clients.enrolling import Renewed

TIMEOUT = 30.0


def enroll(
    url: str, token: str, fingerprint: str, folder: Path, version: HTTPVersion, *, timeout: float = TIMEOUT
) -> Renewed:
    """Have a credential made in `folder`, which must not hold one yet. Every failure is a ClientError."""
    url, wanted = origin(url), _fingerprint(fingerprint)
    if not token.strip():
        raise InvalidRequest("the token is empty: pass what `handclasp-pki token` has printed")
    if is_occupied(folder):
        raise CredentialProblem(f"{folder} holds a credential already: pass another --out, or renew that one")
    anchor = _pinned(url, wanted, timeout)
    context = server_context(TrustBundle((anchor,)), version)
    application = Application()
    settings: dict[str, Any] = {"http1": version is HTTPVersion.HTTP1, "http2": version is HTTPVersion.HTTP2}
    with (
        translate(url, context, folder.absolute().name),
        httpx.Client(verify=context, trust_env=False, timeout=timeout, **settings) as http,
    ):
        answer = http.post(url + ENROLL_PATH, content=application.enrollment(token.strip()), headers=FIELDS)
    raise_for_connect(Reply(answer.status_code, answer.http_version, dict(answer.headers), answer.content))
    made = application.enrolled(answer.content)
    if anchor not in made.trust:
        raise BadResponse("the server hands out a trust bundle without the authority that it was pinned by", status=200)
    made.save(folder)
    return made


def _fingerprint(text: str) -> bytes:
    """SHA-256 in hexadecimal, with or without colons."""
    try:
        found = bytes.fromhex(text.replace(":", "").strip())
    except ValueError:
        found = b""
    if len(found) != 32:
        raise InvalidRequest(
            "the fingerprint is no SHA-256: `handclasp-pki token` prints that of the authority, 64 hexadecimal digits"
        )
    return found


def _pinned(url: str, wanted: bytes, timeout: float) -> x509.Certificate:
    """The authority of this fingerprint in the server's chain. Nothing is sent, and nothing verified yet."""
    for certificate in _presented(url, timeout):
        if hmac.compare_digest(certificate.fingerprint(hashes.SHA256()), wanted) and is_authority(certificate):
            return certificate
    raise ServerNotTrusted(
        f"{url}: no authority with this fingerprint vouches for the server: another server, or another authority's; "
        "the token was not sent"
    )


def _presented(url: str, timeout: float) -> list[x509.Certificate]:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 443
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([HTTPVersion.HTTP1.value, HTTPVersion.HTTP2.value])
    try:
        with (
            socket.create_connection((host, port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            # Public from Python 3.13 on, where it returns bytes; before, `ssl` keeps it one attribute further in.
            connection: Any = tls if hasattr(tls, "get_unverified_chain") else getattr(tls, "_sslobj")  # noqa: B009
            chain = connection.get_unverified_chain() or ()
            der = [one if isinstance(one, bytes) else ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain]
            return [x509.load_der_x509_certificate(one) for one in der]
    except TimeoutError:
        raise TimedOut(f"{url}: timed out: no connection in time (--timeout SECONDS waits longer)") from None
    except socket.gaierror as error:
        raise Unreachable(f"{url}: the host is not known: check the name in --url") from error
    except ssl.SSLError as error:
        reason = (error.reason or "it ended").replace("_", " ").lower()
        raise Unreachable(f"{url}: no TLS there: {reason}: is this the address of --enroll-bind?") from error
    except (OSError, ValueError) as error:
        raise Unreachable(f"{url}: no connection: {error}: is this the address of --enroll-bind?") from error
