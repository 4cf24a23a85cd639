"""The limit of the library: handshakes by pyOpenSSL, one fixed answer each, and nothing else.

A loop of its own without asyncio, HTTP or identity: the same OpenSSL, protocol, certificates and verification as our
server's, so what it does in a second is the most that any server on this library can do.
"""

from __future__ import annotations

import select
import socket
import sys
from contextlib import suppress
from pathlib import Path

from OpenSSL import SSL

from tests.bench.app import BY_CONSTANT

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BY_CONSTANT),
    BY_CONSTANT,
)


def context_for(credential: Path) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate_chain_file(str(credential / "tls.crt"))
    context.use_privatekey_file(str(credential / "tls.key"))
    context.load_verify_locations(str(credential / "ca.crt"))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_alpn_select_callback(lambda _, offered: b"http/1.1" if b"http/1.1" in offered else offered[0])
    return context


def serve(listener: socket.socket, context: SSL.Context) -> None:
    """Until the process is ended."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    open_now: dict[int, SSL.Connection] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                raw, _ = listener.accept()
                raw.setblocking(False)
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = SSL.Connection(context, raw)
                connection.set_accept_state()
                open_now[raw.fileno()] = connection
                poll.register(raw, select.EPOLLIN)
            elif _is_done(open_now[descriptor]):
                poll.unregister(descriptor)
                open_now.pop(descriptor).close()


def _is_done(connection: SSL.Connection) -> bool:
    """Go on with a connection; return whether its end has come."""
    try:
        request = connection.recv(65_536)  # which shakes hands where that is not done
        if request:
            connection.send(_ANSWER)
    except SSL.WantReadError:
        return False
    except (SSL.Error, OSError):  # the client's goodbye as well
        with suppress(SSL.Error, OSError):
            connection.shutdown()
        return True
    return False


def main(port: int, credential: Path) -> None:
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        listener.setblocking(False)
        serve(listener, context_for(credential))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
