"""The measured window: clocks of both processes at its start and at its end."""

from __future__ import annotations

import sys
import time

import psutil

from tests.bench.load.outcome import Outcome


class Window:
    """Opens when the server is warm; `close` says what happened in between."""

    def __init__(self, server_pid: int, done: int) -> None:
        self._server_pid = server_pid
        self._done = done
        self._server_cpu = _cpu_of(server_pid)
        self._load_cpu = time.process_time()
        self._start = time.perf_counter()

    def close(self, done: int, tls: str) -> Outcome:
        """`done` counts from the same beginning as the one that the window was opened with."""
        seconds = time.perf_counter() - self._start
        load_cpu = time.process_time() - self._load_cpu
        return Outcome(done - self._done, seconds, load_cpu, _cpu_of(self._server_pid) - self._server_cpu, tls=tls)


def _cpu_of(pid: int) -> float:
    """Seconds of CPU time of all the threads of a process, to the nanosecond where the system tells it."""
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) makes of the pid
    times = psutil.Process(pid).cpu_times()  # ticks of 10 ms
    return times.user + times.system
