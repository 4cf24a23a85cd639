"""A SPIFFE Workload API on a Unix socket: what an agent gives, from an authority of its own, over real gRPC."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe._proto import workload_pb2, workload_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography import x509

    from tests.support.issuer import Issued


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """Gives every caller the latest credential, and the next one when there is one."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._given: list[Any] = []
        self.ended = False

    def give(self, issued: Issued, spiffe_id: str, *authorities: x509.Certificate) -> None:
        key = issued.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        svid = workload_pb2.X509SVID(
            spiffe_id=spiffe_id,
            x509_svid=issued.certificate.public_bytes(Encoding.DER),
            x509_svid_key=key,
            bundle=b"".join(authority.public_bytes(Encoding.DER) for authority in authorities),
        )
        with self._news:
            self._given.append(workload_pb2.X509SVIDResponse(svids=[svid]))
            self._news.notify_all()

    def FetchX509SVID(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802 - gRPC's
        # The specification's guard against requests that were forged through a browser.
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        told = 0
        while not self.ended and context.is_active():
            with self._news:
                self._news.wait_for(lambda told=told: len(self._given) > told or self.ended, 0.2)  # type: ignore[misc]
                news, told = self._given[told:], len(self._given)
            yield from news[-1:]


@contextmanager
def agent(socket: Path) -> Iterator[Agent]:
    """Serve on the socket."""
    made = Agent()
    server = grpc.server(ThreadPoolExecutor(4))
    workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(made, server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield made
    finally:
        made.ended = True
        server.stop(0).wait()
