"""The server's half of the handshake: TCP bytes in, a verified peer and an ASGI scope out.

Read in this order: `context` (TLS policy to OpenSSL context), `snapshot` and `source` (the trust a connection is
judged by), `connection` (bytes to TLS to HTTP), `http1` and `http2`, `worker` (the process).
"""
