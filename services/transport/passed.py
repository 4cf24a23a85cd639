"""Listening sockets that were opened by who started us: `fd://3`, `fd://NAME`, `fd://` (sd_listen_fds(3)).

The port is the service manager's: below 1024 without a right of ours, and held over a restart, when connections wait
instead of being refused.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.transport.sockets import BindError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SCHEME = "fd://"
_FIRST = 3
"""The number of the first descriptor that systemd passes."""


def is_passed(bind: str) -> bool:
    """Whether this names a socket that was passed, and not an address."""
    return bind.startswith(SCHEME)


def check_passed(bind: str) -> str:
    """Return it where it can name a socket: a number from 3 on, a name, or nothing. Raises BindError."""
    name = bind.removeprefix(SCHEME)
    if name.isdigit() and (not name.isascii() or int(name) < _FIRST or int(name) > 2**20):
        raise BindError(f"'{bind}' is no socket: descriptors that are passed begin with fd://{_FIRST}")
    if not name.isprintable() or any(sign in name for sign in ":/ "):
        raise BindError(
            f"'{bind}' is no socket: write fd://3, fd://NAME (FileDescriptorName=) or fd:// for all of them"
        )
    return bind


@dataclass(slots=True)
class Passed:
    """The sockets that were passed to this process, by descriptor; each is taken once."""

    names: dict[int, str] = field(default_factory=dict)
    meant_for: int | None = None
    """The process they were meant for, where it is not this one: then none is here."""
    _taken: set[int] = field(default_factory=set)

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Passed:
        """Take LISTEN_FDS and its kin out of the environment: no child is to believe that they are its own."""
        count, names = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_FDNAMES", "")
        process = environment.pop("LISTEN_PID", "")
        if not (count.isascii() and count.isdigit() and process.isascii() and process.isdigit()):
            return cls()
        if int(process) != os.getpid():
            return cls(meant_for=int(process))
        numbers = range(_FIRST, _FIRST + int(count))
        spoken = [*names.split(":"), *[""] * len(numbers)] if names else [""] * len(numbers)
        return cls(dict(zip(numbers, spoken, strict=False)))

    def claim(self, *binds: str) -> dict[str, list[socket.socket]]:
        """The sockets that each of these names means. `fd://` means those that none of the others does.

        Raises:
            BindError: there is none of that name or number, it is named twice, or it does not listen for streams.
        """
        asked = [bind for bind in binds if is_passed(bind)]
        if twice := [bind for bind in asked if asked.count(bind) > 1]:
            raise BindError(f"cannot listen on {twice[0]}: it is named twice, and can have one use")
        numbers = {bind: self._numbers(bind) for bind in asked if bind != SCHEME}
        if SCHEME in asked:
            spoken_for = {number for found in numbers.values() for number in found}
            numbers[SCHEME] = [number for number in self.names if number not in spoken_for]
            if not numbers[SCHEME]:
                raise BindError(f"no socket was passed that {SCHEME} could mean: {self._why()}")
        return {bind: [self._adopt(bind, number) for number in found] for bind, found in numbers.items()}

    @property
    def left(self) -> list[int]:
        """The descriptors of those that nobody has claimed: who connects to them waits for ever."""
        return [number for number in self.names if number not in self._taken]

    def _numbers(self, bind: str) -> list[int]:
        name = bind.removeprefix(SCHEME)
        if name.isdigit():
            return [int(name)]
        found = [number for number, named in self.names.items() if named == name]
        if not found:
            there = ", ".join(sorted({named for named in self.names.values() if named}))
            raise BindError(f"no socket named '{name}' was passed: " + (f"there are {there}" if there else self._why()))
        return found

    def _why(self) -> str:
        if self.meant_for is not None:
            return (
                f"the sockets are for process {self.meant_for} (LISTEN_PID), and this is {os.getpid()}: "
                "start handclasp-serve itself, not through a shell or `uv run`"
            )
        if not self.names:
            return "LISTEN_FDS is not set: start it from a systemd socket unit, or try systemd-socket-activate"
        return "each has another use"

    def _adopt(self, bind: str, number: int) -> socket.socket:
        if number in self._taken:
            raise BindError(f"cannot listen on {bind}: descriptor {number} is named twice")
        try:
            sock = socket.socket(fileno=os.dup(number))
        except OSError as error:
            why = self._why() if self.meant_for is not None else f"it is no socket ({error.strerror})"
            raise BindError(f"cannot listen on {bind}: {why}") from None
        if sock.type is not socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise BindError(f"cannot listen on {bind}: the socket does not listen for streams (use ListenStream=)")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        os.close(number)  # ours is another one, which is not passed on to what the application starts
        self._taken.add(number)
        return sock
