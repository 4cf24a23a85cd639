"""An HTTP/2 server over mutual TLS that does what a test scripts: refuses, goes away, answers what is wrong."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Script = Callable[["Conversation", int], None]
    """Called with the number of a stream once its request is whole."""


class Conversation:
    """One connection."""

    def __init__(self, sock: ssl.SSLSocket, number: int) -> None:
        self._sock, self.number = sock, number
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.flush()

    def answer(
        self, stream: int, *, status: int = 200, kind: str = "application/grpc", body: bytes = b"", **trailers: str
    ) -> None:
        self.h2.send_headers(stream, [(":status", str(status)), ("content-type", kind)])
        if trailers:
            self.h2.send_data(stream, body)
            self.h2.send_headers(stream, [(n.replace("_", "-"), v) for n, v in trailers.items()], end_stream=True)
        else:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()

    def flush(self) -> None:
        self._sock.sendall(self.h2.data_to_send())

    def run(self, script: Script) -> None:
        while data := self._sock.recv(65_536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, h2.events.StreamEnded):
                    script(self, event.stream_id)
            self.flush()


@contextmanager
def scripted(credential: Path, script: Script) -> Iterator[tuple[int, list[int]]]:
    """Serve by the script; the port, and the numbers of the streams that were asked on each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credential / "tls.crt", credential / "tls.key")
    context.set_alpn_protocols(["h2"])
    asked: list[int] = []

    def noted(conversation: Conversation, stream: int) -> None:
        asked.append(conversation.number)
        script(conversation, stream)

    def serve(plain: socket.socket, number: int) -> None:
        with suppress(OSError, ssl.SSLError), context.wrap_socket(plain, server_side=True) as sock:
            Conversation(sock, number).run(noted)

    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        number = 0
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                number += 1
                threading.Thread(target=serve, args=(plain, number), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        listener.close()
