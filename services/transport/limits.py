"""How much of everything a client may ask for, and why as much. `Limits` is what an operator can set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one process; seconds and counts. `services.settings` says what each is for, and has the defaults."""

    max_connections: int = 10_000
    max_connections_per_identity: int = 1_000
    max_handshakes: int = 1_000
    header_timeout: float = 10.0
    stall_timeout: float = 60.0
    drain_timeout: float = 30.0
    max_resets: int = 1_000
    resets_per_second: int = 33
    max_control_frames: int = 1_000
    control_frames_per_second: int = 500
    max_continuations: int = 32


STREAM_WINDOW = 131_072
"""Bytes that a client may send on a stream beyond what its application has read. Together with
`h2_max_concurrent_streams` it bounds the memory that one connection's uploads can hold: 100 x 128 KiB."""

CONNECTION_WINDOW = 1_048_576
"""Bytes that a client may send on all its streams beyond what has reached this process. Given back on arrival, not when
an application reads: one upload that nobody reads must not stop the others."""

WRITE = 65_536
"""Bytes of frames that are gathered before they are encrypted and sent."""

UPLOAD_PATIENCE = 30.0
"""Seconds that the rest of a request is taken and thrown away after its response is complete. A reset at once (RFC 9113
section 8.1 allows it) makes several clients lose the response."""

DRAIN_PING = b"drained?"
DRAIN_PATIENCE = 5.0
"""Seconds after which a client that does not answer PING is taken to have read our GOAWAY."""

SLICE, SMALLEST_SLICE = 16_384, 256
"""Bytes that are parsed at once: a limit that is broken is seen before the rest of the flood is worked off. A
connection whose bytes take long (a hundred requests fit into 4 KiB) has them parsed in smaller slices."""

TURN = 0.002
"""Seconds for which one connection's bytes are parsed before the others have their turn."""

OUTBOUND_LIMIT = 1_048_576
"""Bytes owed to a peer that does not read, from which nothing is read from it either: answers to PING and SETTINGS
would be gathered without end."""

LAST_WORDS = 1_024
"""Bytes that a stream may still say when its caller is cut: a refusal, the close frame of a WebSocket."""
