"""HTTP/1.1 by hand over mutual TLS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.wire import PATIENCE, Ended, Line, Reply, connect

if TYPE_CHECKING:
    import ssl


class Line1(Line):
    """One HTTP/1.1 connection."""

    def __init__(self, port: int, context: ssl.SSLContext, *, receive_buffer: int | None = None) -> None:
        super().__init__(connect(port, context, receive_buffer=receive_buffer))
        self.left = bytearray()

    def get(self, path: str = "/", method: str = "GET", *, more: str = "", timeout: float = PATIENCE) -> Reply:
        self.send_bytes(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n".encode())
        return self.reply(method, timeout=timeout)

    def reply(self, method: str = "GET", *, timeout: float = PATIENCE) -> Reply:
        """The next reply. One that is cut off is not `whole`."""
        until = time.monotonic() + timeout
        reply = Reply()
        try:
            while True:
                status, fields = self._head(until)
                if status >= 200 or status == 101:
                    break
                reply.informational.append((status, fields))
            reply.status, reply.headers = status, fields
            if method == "HEAD" or reply.status in (101, 204, 304):
                pass
            elif "chunked" in reply.headers.get("transfer-encoding", ""):
                self._chunks(reply, until)
            elif "content-length" in reply.headers:
                self._exactly(int(reply.headers["content-length"]), reply.body, until)
            else:
                self._to_the_end(reply, until)
        except Ended:
            return reply
        reply.whole = True
        return reply

    def ending(self, timeout: float = PATIENCE) -> str:
        """How the server ends the connection, after all that comes before (it is in `left`)."""
        until = time.monotonic() + timeout
        try:
            while True:
                self._more(until)
        except Ended as end:
            return str(end)

    def _more(self, until: float) -> None:
        self.left += self.recv(until - time.monotonic())

    def _line(self, until: float) -> str:
        while b"\r\n" not in self.left:
            self._more(until)
        line, _, rest = bytes(self.left).partition(b"\r\n")
        self.left = bytearray(rest)
        return line.decode("latin-1")

    def _head(self, until: float) -> tuple[int, dict[str, str]]:
        status, fields = int(self._line(until).split()[1]), {}
        while line := self._line(until):
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def _exactly(self, size: int, into: bytearray, until: float) -> None:
        size += len(into)
        while True:
            take = size - len(into)
            into += self.left[:take]
            del self.left[:take]
            if len(into) == size:
                return
            self._more(until)

    def _chunks(self, reply: Reply, until: float) -> None:
        while size := int(self._line(until), 16):
            self._exactly(size, reply.body, until)
            self._line(until)
        self._line(until)

    def _to_the_end(self, reply: Reply, until: float) -> None:
        try:
            while True:
                reply.body += self.left
                self.left.clear()
                self._more(until)
        except Ended as end:
            if str(end) != "close_notify":
                raise
