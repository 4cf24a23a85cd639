"""The client's half of the handshake: one authority, one credential, one HTTP version.

Nothing comes from the environment: no system roots, no `SSL_CERT_FILE`. What OpenSSL leaves open is checked when the
handshake is done, before a byte is sent: that the certificate is a server's, and that the server speaks our protocol.
"""

from __future__ import annotations

import ssl
from enum import Enum
from typing import TYPE_CHECKING, Any

from cryptography import x509

from clients.errors import ClientError, CredentialProblem, ServerNotTrusted, WrongProtocol
from pki.credential import Credential, load_folder, locate
from pki.errors import PKIError
from pki.identity import Purpose, has_purpose

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pki.trust import TrustBundle

_TLS12_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption. TLS 1.3 has nothing else."""


class HTTPVersion(Enum):
    """An HTTP version under its ALPN name (RFC 7301)."""

    HTTP1 = "http/1.1"
    HTTP2 = "h2"

    def __str__(self) -> str:
        return "HTTP/2" if self is HTTPVersion.HTTP2 else "HTTP/1.1"


class ClientContext(ssl.SSLContext):
    """A context that offers one protocol, and whose connections are checked before they are used."""

    version: HTTPVersion
    credential: Credential | None = None
    """What is presented to the server; None: nothing."""

    def set_alpn_protocols(self, _: Iterable[str]) -> None:
        """Offer our one protocol, whatever httpcore asks for: it would offer HTTP/1.1 beside HTTP/2, always."""
        super().set_alpn_protocols([self.version.value])

    def check(self, connection: ssl.SSLSocket | ssl.SSLObject) -> None:
        """Judge a connection whose handshake is done.

        Raises:
            ServerNotTrusted: the certificate has no serverAuth in its EKU (OpenSSL accepts one without any EKU).
            WrongProtocol: the server did not agree to our HTTP version.
        """
        presented = connection.getpeercert(binary_form=True)
        if presented is None or not has_purpose(x509.load_der_x509_certificate(presented), Purpose.SERVER):
            raise ServerNotTrusted(
                "the server's certificate is not a server's: serverAuth is not among its extended key usages"
            )
        agreed = connection.selected_alpn_protocol()
        # A server that knows no ALPN speaks HTTP/1.1 (RFC 9113 section 3.2).
        if (agreed or HTTPVersion.HTTP1.value) != self.version.value:
            raise WrongProtocol(f"the server does not speak {self.version}: use the client for the other version")


class _CheckedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        try:
            _check(self)
        except ClientError:
            self.close()  # `ssl` closes it for errors of its own alone
            raise


class _CheckedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self)


def _check(connection: ssl.SSLSocket | ssl.SSLObject) -> None:
    context: Any = connection.context
    context.check(connection)


def client_context(folder: Path, version: HTTPVersion) -> ClientContext:
    """Build the context of a client whose credential folder is `folder`.

    Raises:
        CredentialProblem: the folder cannot be used; the message says why and what to do.
    """
    try:
        credential, trust = load_folder(folder)
        paths = locate(folder)
    except PKIError as error:
        raise CredentialProblem(f"our credential: {error}") from error
    if not has_purpose(credential.leaf, Purpose.CLIENT):
        raise CredentialProblem(
            f"our credential: the certificate in {folder} is not a client's (clientAuth is missing from its EKU): "
            "issue one with `handclasp-pki issue client NAME`"
        )
    context = server_context(trust, version)
    context.credential = credential
    try:
        context.load_cert_chain(paths.certificate, paths.key)
    except (ssl.SSLError, OSError) as error:
        raise CredentialProblem(f"our credential: {folder} cannot be loaded: {error}") from error
    return context


def server_context(trust: TrustBundle, version: HTTPVersion) -> ClientContext:
    """The context of a client that trusts these authorities and nothing else, and presents nothing yet."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.version = version
    context.sslsocket_class = _CheckedSocket
    context.sslobject_class = _CheckedObject
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_SUITES)
    context.hostname_checks_common_name = False  # RFC 9525 section 6.3
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=trust.to_pem().decode("ascii"))
    context.set_alpn_protocols([])
    return context
