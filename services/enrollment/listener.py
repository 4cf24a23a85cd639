"""The listener for those who have no certificate yet: one call, and nothing of the application.

It is apart from the transport, which demands a certificate of everybody: nothing there is optional for its sake. TLS
is asyncio's here, under the credential that is in force, and nobody is asked for a certificate. The chain that it
sends goes up to the trust anchor, so that who knows the anchor's fingerprint alone can pin the server by it.
"""

from __future__ import annotations

import ssl
import tempfile
from typing import TYPE_CHECKING, Any

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from pki.credential import locate
from pki.errors import PKIError
from pki.pem import to_pem
from services.answer import Answer, is_grpc
from services.contracts.handclasp.enrollment.v1.enrollment_connect import BootstrapServiceASGIApplication
from services.endings import bind_failures
from services.enrollment.rpc import MAX_REQUEST, Bootstrap
from services.terms import legible, terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.enrollment.service import Enrollment
    from services.transport.source import CredentialSource

log = structlog.get_logger("handclasp.enrollment")

_TLS12_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Bootstrapping:
    """The application and the TLS context of that listener."""

    def __init__(self, enrollment: Enrollment, source: CredentialSource) -> None:
        """Raises PKIError where the credential cannot be presented."""
        self._source = source
        service = BootstrapServiceASGIApplication(Bootstrap(enrollment), **terms(MAX_REQUEST))
        self.app = _Only(service, enrollment)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_ciphers(_TLS12_SUITES)
        self.context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self._present()

    def observe(self, event: str, _: Mapping[str, Any]) -> None:
        """Present another credential once it is in force: new handshakes see it."""
        if event == "reload.accepted":
            try:
                self._present()
            except (PKIError, ssl.SSLError, OSError) as error:
                log.error("the listener for enrollment presents the credential before", reason=str(error))  # noqa: TRY400

    def _present(self) -> None:
        """The leaf alone is loaded: OpenSSL then makes the chain of what it finds in the store, the anchor included."""
        snapshot = self._source.snapshot
        leaf, *above = snapshot.credential.chain
        self.context.load_verify_locations(cadata=to_pem((*above, *snapshot.trust)).decode())
        with tempfile.NamedTemporaryFile(suffix=".crt") as file:
            file.write(leaf.public_bytes(Encoding.PEM))
            file.flush()
            self.context.load_cert_chain(file.name, locate(self._source.folder).key)


class _Only:
    """One service, whose path says so; 404 for all else, whoever asks."""

    def __init__(self, service: BootstrapServiceASGIApplication, enrollment: Enrollment) -> None:
        self._service, self._enrollment = service, enrollment

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http" and scope["path"] == f"{self._service.path}/Enroll":
            host = (scope.get("client") or ("",))[0]
            bind_failures(lambda _, code, reason: self._enrollment.nonsense(f"{code}: {reason}", host))
            answer = Answer(scope["path"][1:], scope["headers"], send)
            if scope["http_version"] != "2" and is_grpc(scope["headers"]):
                await _take(receive)
                await answer.needs_http2("gRPC needs HTTP/2; Connect and gRPC-Web do not")
            else:
                scope["headers"] = legible(scope["headers"])
                await self._service(scope, receive, answer)
        elif scope["type"] == "http":
            await _take(receive)
            words = b"one-time tokens are taken here, and nothing else is\n"
            head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(words))]
            await send({"type": "http.response.start", "status": 404, "headers": head})
            await send({"type": "http.response.body", "body": words})
        else:
            await send({"type": "websocket.close"})


async def _take(receive: Any) -> None:
    """The request's body, thrown away: answered before, Hypercorn would close on who sends it. In bounds."""
    taken = 0
    while taken <= MAX_REQUEST:
        message = await receive()
        taken += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _live(receive: Any, send: Any) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
