"""What systemd is told of a service of `Type=notify`: sd_notify(3), a datagram of `NAME=value` lines to a socket.

Our own: of the libraries, those that are kept (cysystemd, systemd-python) bind libsystemd, which has to be there to
build them, and the pure ones (sdnotify) have had no release since 2017. None says since when a reload is under way.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

log = structlog.get_logger("handclasp.notify")

_PATIENCE = 1.0
"""Seconds to wait where the receiver's queue is full: a service does not hang because its manager does."""


@dataclass(slots=True)
class Notifier:
    """The one who started us, where that is somebody to be told; else every word is lost, and nothing fails."""

    address: str | None = None
    watchdog: float | None = None
    """Seconds within which we have to be heard of, again and again. None: nobody watches."""
    _status: str = ""

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Notifier:
        """Take NOTIFY_SOCKET and WATCHDOG_USEC out of the environment: neither workers nor applications speak for us.

        A watchdog of another process (WATCHDOG_PID) is not ours to answer.
        """
        address = environment.pop("NOTIFY_SOCKET", None)
        period, watched = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        if address is not None and address[:1] not in ("/", "@"):
            log.warning("NOTIFY_SOCKET is no socket's path: nobody is told that the service is ready", address=address)
            address = None
        ours = watched in ("", str(os.getpid()))
        usec = int(period) if period.isascii() and period.isdigit() and ours else 0
        return cls(address, usec / 1e6 if usec and address is not None else None)

    def ready(self, status: str) -> None:
        """It serves."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """It looks at its files anew, from this moment on."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self, *, sound: bool) -> None:
        """It has looked at them, and serves: by them where they are sound, by what it had before where not."""
        refused = "; the last reload was refused: what was there before goes on serving, the log says why"
        self._send("READY=1", f"STATUS={self._status}{'' if sound else refused}")

    def stopping(self) -> None:
        """It takes nothing new, and ends when what is under way has ended."""
        self._send("STOPPING=1", "STATUS=draining: requests under way end, no new ones begin")

    def alive(self) -> None:
        """It answers: the watchdog's time begins anew."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self.address is None:
            return
        # A name in the abstract namespace begins with a NUL, written as @.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE)
                sock.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.warning("the service manager was not told", said=lines[0], reason=error.strerror or str(error))
