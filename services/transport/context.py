"""TLS policy -> an OpenSSL context that requires and verifies a client certificate. Nothing here is optional.

The context trusts the anchors of one bundle and nothing else: no system roots are ever loaded. It is built anew for
each Snapshot and never changed afterwards.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto
from OpenSSL._util import exception_from_error_queue, ffi, lib

from pki.errors import CredentialError, IdentityError, PKIError
from pki.identity import Identity, Purpose, has_purpose
from services.transport.path import path_of
from services.transport.revocations import NO_REVOCATIONS, Objection
from services.transport.tls_policy import TLSPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pki.credential import Credential
    from pki.trust import TrustBundle
    from services.transport.engine import Config
    from services.transport.revocations import Revocations

_SSL_MODE_NO_AUTO_CHAIN = 0x8
"""From openssl/ssl.h; pyOpenSSL names no constant. Without it OpenSSL completes the chain that it sends from the trust
store, and the trust anchor goes along on every handshake."""

_INVALID_PURPOSE = SSL.X509VerificationCodes.ERR_INVALID_PURPOSE  # OpenSSL's alert for it: unsupported_certificate
_CERT_REJECTED = SSL.X509VerificationCodes.ERR_CERT_REJECTED  # bad_certificate
_OBJECTIONS = {
    Objection.REVOKED: SSL.X509VerificationCodes.ERR_CERT_REVOKED,  # certificate_revoked
    # Nothing is wrong with the certificate itself. What OpenSSL has no alert for is certificate_unknown, "some other
    # issue" (RFC 8446 section 6.2); the codes that name a list say certificate_expired and unknown_ca.
    Objection.STALE: SSL.X509VerificationCodes.ERR_DIFFERENT_CRL_SCOPE,
    Objection.MISSING: SSL.X509VerificationCodes.ERR_DIFFERENT_CRL_SCOPE,
}

_SECURITY_LEVEL = b"@SECLEVEL=2"
"""112 bits: RSA and DH from 2048, curves from 224, no SHA-1 signatures, whatever the library was built with."""


_TLS12_SUITES = {
    TLSPolicy.DEFAULT: b"ECDHE-ECDSA-AES256-GCM-SHA384",
    TLSPolicy.MODERN: b"ECDHE-ECDSA-AES256-GCM-SHA384",  # unused: the minimum version is 1.3
    TLSPolicy.INTERMEDIATE: b":".join(
        [
            b"ECDHE-ECDSA-AES256-GCM-SHA384",
            b"ECDHE-RSA-AES256-GCM-SHA384",
            b"ECDHE-ECDSA-CHACHA20-POLY1305",
            b"ECDHE-RSA-CHACHA20-POLY1305",
            b"ECDHE-ECDSA-AES128-GCM-SHA256",
            b"ECDHE-RSA-AES128-GCM-SHA256",
        ]
    ),
}


class UnverifiedClientsError(ValueError):
    """The listener's Config asks for anything but `ssl.CERT_REQUIRED`."""


class NoCommonProtocolError(Exception):
    """The client offered application protocols (ALPN), and none is ours."""

    def __init__(self, offered: Sequence[bytes]) -> None:
        super().__init__(
            "no common application protocol: the client offers " + b", ".join(offered).decode("ascii", "replace")
        )


@dataclass(slots=True)
class Judgement:
    """What the verification of one handshake found: OpenSSL's callback writes it, the connection reads it.

    Either `identity` is set, or `reason` says why the certificate was refused. `certificate` is the one meant: the
    leaf, or the certificate of the chain that failed.
    """

    identity: Identity | None = None
    reason: str | None = None
    certificate: x509.Certificate | None = None
    above: list[x509.Certificate] = field(default_factory=list)
    """The certificates above the one that is looked at, the one that signed it last."""


def server_context(
    config: Config,
    credential: Credential,
    trust: TrustBundle,
    policy: TLSPolicy = TLSPolicy.DEFAULT,
    revocations: Revocations = NO_REVOCATIONS,
) -> SSL.Context:
    """Build the context that handshakes run under while this credential and this trust are the current ones.

    Raises:
        UnverifiedClientsError: `config.verify_mode` is not `ssl.CERT_REQUIRED`.
        CredentialError: OpenSSL refuses the credential, for example for a weak key.
    """
    if config.verify_mode is not ssl.CERT_REQUIRED:
        raise UnverifiedClientsError(
            f"this listener verifies every client: verify_mode must be CERT_REQUIRED, not {config.verify_mode!r}"
        )
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION if policy is TLSPolicy.MODERN else SSL.TLS1_2_VERSION)
    context.set_cipher_list(_TLS12_SUITES[policy] + b":" + _SECURITY_LEVEL)
    context.set_options(
        SSL.OP_CIPHER_SERVER_PREFERENCE
        | SSL.OP_NO_COMPRESSION  # RFC 9113 section 9.2.1
        | SSL.OP_NO_RENEGOTIATION  # RFC 9113 section 9.2.1
        | SSL.OP_NO_TICKET
    )
    # A resumed session would skip the checks after trust has changed (CVE-2025-23419, CVE-2025-68121).
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _SSL_MODE_NO_AUTO_CHAIN)
    try:
        _present(context, credential)
        _trust_only(context, trust)
    except (SSL.Error, crypto.Error, ValueError, TypeError) as error:
        raise CredentialError(f"OpenSSL refuses the credential: {reason_of(error)}") from error
    _verify_clients(context, _Verifier(trust, revocations))
    context.set_alpn_select_callback(_alpn_selector([name.encode("ascii") for name in config.alpn_protocols]))
    return context


def _present(context: SSL.Context, credential: Credential) -> None:
    context.use_certificate(credential.leaf)
    for intermediate in _presented(credential.chain):
        context.add_extra_chain_cert(intermediate)
    # pyOpenSSL takes the kinds of keys that it knows; its OpenSSL knows others as well, ML-DSA among them.
    encoded = credential.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key = crypto.load_privatekey(crypto.FILETYPE_ASN1, encoded)
    if not lib.SSL_CTX_use_PrivateKey(context._context, key._pkey):
        exception_from_error_queue(SSL.Error)
    context.check_privatekey()


def _presented(chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The intermediates of a chain: the trust anchor is the client's to have (RFC 8446 section 4.4.2)."""
    return [certificate for certificate in chain[1:] if certificate.subject != certificate.issuer]


def _trust_only(context: SSL.Context, trust: TrustBundle) -> None:
    store = context.get_cert_store()
    if store is None:  # pragma: no cover - a context has its store from birth
        raise SSL.Error("the context has no certificate store")
    for anchor in trust.anchors:
        store.add_cert(crypto.X509.from_cryptography(anchor))
        context.add_client_ca(anchor)  # named in the CertificateRequest (RFC 8446 section 4.2.4)
    # An anchor need not be self-signed: trust stops at the authority that the operator named.
    store.set_flags(crypto.X509StoreFlags.X509_STRICT | crypto.X509StoreFlags.PARTIAL_CHAIN)


def reason_of(error: Exception) -> str:
    """OpenSSL's own words, for example `unsupported protocol`, from the error queue that pyOpenSSL hands out."""
    queue = error.args[0] if error.args else None
    if isinstance(queue, list) and queue:
        return str(queue[0][-1])
    return str(error) or type(error).__name__


class _Verifier:
    """OpenSSL's verify callback: called for each certificate of a chain, trust anchor first, leaf (depth 0) last."""

    def __init__(self, trust: TrustBundle, revocations: Revocations) -> None:
        self._trust = trust
        self._revocations = revocations
        self.error = _CERT_REJECTED
        """The X509_V_ERR_* of the last refusal that was ours: it decides the alert."""

    def __call__(self, tls: SSL.Connection, presented: crypto.X509, code: int, depth: int, ok: int) -> bool:
        judgement: Judgement = tls.get_app_data()
        try:
            return self._judge(judgement, presented, code, depth, ok)
        except Exception as error:  # noqa: BLE001 - a stranger's certificate: nothing it does may pass for a yes
            self.error = _CERT_REJECTED
            judgement.reason = f"the certificate cannot be read: {type(error).__name__}"
            return False

    def _judge(self, judgement: Judgement, presented: crypto.X509, code: int, depth: int, ok: int) -> bool:
        if not ok:
            judgement.reason = ffi.string(lib.X509_verify_cert_error_string(code)).decode()
            judgement.certificate = presented.to_cryptography()
            return False
        if depth:
            if self._revocations:
                judgement.above.append(presented.to_cryptography())
            return True
        leaf = judgement.certificate = presented.to_cryptography()
        if self._revocations:
            objection = self._revocations.objection(path_of((leaf, *reversed(judgement.above))), datetime.now(UTC))
            if objection is not None:
                self.error = _OBJECTIONS[objection]
                judgement.reason = objection.value
                return False
        self.error = _CERT_REJECTED
        # An authority signs, it does not call; but for the certificate that is its own authority, and trusted as such.
        if _is_authority(leaf) and leaf not in self._trust:
            self.error = _INVALID_PURPOSE
            judgement.reason = "an authority's certificate, not a client's"
            return False
        # OpenSSL lets a certificate pass that has no extended key usage at all: here the purpose must be present.
        if not _is_client(leaf):
            self.error = _INVALID_PURPOSE
            judgement.reason = "not a client's certificate: clientAuth is not among its extended key usages"
            return False
        try:
            judgement.identity = _identity(leaf)
        except IdentityError as error:
            judgement.reason = str(error)
            return False
        return True


def _verify_clients(context: SSL.Context, verifier: _Verifier) -> None:
    """Require a certificate of every client, and have what we refuse ourselves end in an alert that says so.

    pyOpenSSL's callback has no way to say why it refuses: OpenSSL then sends `internal_error`, and the client looks for
    the fault on our side. So pyOpenSSL's own C callback is called by one of ours, which sets the error behind it.
    """
    mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT | SSL.VERIFY_CLIENT_ONCE
    try:
        context.set_verify(mode, verifier)
    except MemoryError:  # cffi's, where the kernel forbids what its callbacks are made of
        raise PKIError(
            "OpenSSL's callbacks take memory that is writable and executable, and this process may have none: "
            "leave MemoryDenyWriteExecute= out of its systemd unit"
        ) from None
    helper: Any = context._verify_helper
    judge = helper.callback

    def judge_and_say_why(ok: int, store_context: Any) -> int:
        accepted: int = judge(ok, store_context)
        if ok and not accepted:
            lib.X509_STORE_CTX_set_error(store_context, verifier.error)
        return accepted

    # The helper lives as long as the context and its connections: it keeps both callbacks alive.
    helper.judge = judge
    helper.callback = ffi.callback("int (*)(int, X509_STORE_CTX *)", judge_and_say_why)
    lib.SSL_CTX_set_verify(context._context, mode, helper.callback)


# What follows is said by a certificate's bytes alone, whoever trusts it: a client that comes again is not read again.


@lru_cache(maxsize=1024)
def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


@lru_cache(maxsize=1024)
def _is_client(certificate: x509.Certificate) -> bool:
    return has_purpose(certificate, Purpose.CLIENT)


@lru_cache(maxsize=1024)
def _identity(certificate: x509.Certificate) -> Identity:
    return Identity.from_certificate(certificate)


def _alpn_selector(ours: Sequence[bytes]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    def select(_: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in ours:
            if protocol in offered:
                return protocol
        # pyOpenSSL makes of an exception here the fatal alert no_application_protocol (RFC 7301 section 3.2).
        raise NoCommonProtocolError(offered)

    return select
