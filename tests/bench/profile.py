"""Where a request's microseconds go: our server under load, and a flame graph of it.

  just profile h2                      HTTP/2, Quart: h2.svg, and the functions that cost most
  just profile h1 --bare               HTTP/1.1, without a framework
  just profile h2 --all-on             with guard, audit and metrics
  just profile connections             new connections
  just profile download-h1             ten megabytes down, over HTTP/1.1; download-h2 over HTTP/2
  just profile h2 --out /tmp/h2.svg --seconds 20

py-spy looks a thousand times a second at the stacks, from outside: the server does not know. A function's own time is
that without those that it calls, but with the C code under it: OpenSSL, the socket, uvloop.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.bench import loads, machine
from tests.bench.contestants import OURS, WITH_ALL, Contestant
from tests.bench.credentials import Credentials
from tests.bench.figures import BARE, DOWN, QUART
from tests.bench.measuring import positive
from tests.bench.servers import ServerFailedError, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_KINDS = {
    "h2": {"kind": "requests", "protocol": "h2", "streams": 10},
    "h1": {"kind": "requests", "protocol": "h1"},
    "connections": {"kind": "handshakes", "protocol": "h1"},
    "download-h1": {"kind": "requests", "protocol": "h1", **DOWN, "connections": 2},
    "download-h2": {"kind": "requests", "protocol": "h2", **DOWN, "connections": 2},
}
_SHOWN = 25
_RATE = 1000


class ProfilerError(Exception):
    """py-spy is missing, or may not look at the server; the message says which."""


def own_shares(collapsed: Iterable[str]) -> list[tuple[str, float]]:
    """`thread;a;b;c 12` lines -> each innermost function of the main thread and its part, the highest first."""
    found: Counter[str] = Counter()
    for line in collapsed:
        stack, _, count = line.rpartition(" ")
        if "MainThread" in stack.partition(";")[0] and count.isdigit():
            found[stack.rpartition(";")[2]] += int(count)
    return [(name, count / found.total()) for name, count in found.most_common()]


def _spy(pid: int, seconds: float, form: str, out: Path) -> None:
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise ProfilerError("py-spy is not installed: uv sync --group bench")
    command = [spy, "record", "--pid", str(pid), "--rate", str(_RATE), "--duration", str(round(seconds) or 1)]
    command += ["--function", "--threads"]
    done = subprocess.run(
        [*command, "--format", form, "--output", str(out)], capture_output=True, text=True, check=False
    )
    if done.returncode or not out.exists():
        words = (done.stderr or done.stdout).strip().splitlines()
        raise ProfilerError(f"py-spy: {words[-1] if words else 'it says nothing'}")


def profile(
    what: str, contestant: Contestant, application: str, seconds: float, out: Path
) -> tuple[float, Sequence[tuple[str, float]]]:
    """Load our server and look at it; return its microseconds of CPU time for each answer, unwatched, and the shares.

    Of a download each megabyte counts as an answer.

    Raises:
        NoLoadError, ServerFailedError, VoidError, ProfilerError: what could not be done.
    """
    cores = machine.Cores.choose()
    with tempfile.TemporaryDirectory(prefix="handclasp-profile-") as name, machine.pinned(cores.load):
        folder = Path(name)
        loads.build(folder)
        stage = Stage(Credentials.make(folder / "state"), folder, programs=folder)
        with stage.running(contestant, application, cores) as server:
            options = {
                "port": server.port,
                "server-pids": ",".join(map(str, server.pids)),
                "credential": stage.credentials.client,
                "expect": OURS.body.decode(),
                "connections": 8,
                **_KINDS[what],
            }
            with loads.LoadProcess(folder / "load", {**options, "window": "2s"}) as load:
                each = (1e12 if "download" in options else 1e6) / load.measure(2).rate_of_cpu
            # Twice as long as both looks: it is ended when they are done.
            with loads.LoadProcess(folder / "load", {**options, "window": f"{4 * seconds + 20:g}s"}) as load:
                load.begin()
                _spy(server.pids[0], seconds, "flamegraph", out)
                _spy(server.pids[0], seconds, "raw", folder / "raw")
            return each, own_shares((folder / "raw").read_text(encoding="utf-8").splitlines())


def main() -> int:
    """Run it; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        prog="just profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=_KINDS, default="h2", help="which load [h2]")
    parser.add_argument("--bare", action="store_true", help="an ASGI application without a framework")
    parser.add_argument("--all-on", action="store_true", help="with a policy, an audit log and metrics")
    parser.add_argument("--seconds", type=positive(float), default=10.0, metavar="S", help="of looking, twice [10]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the flame graph [h2.svg, for example]")
    given = parser.parse_args()
    out = given.out or Path(f"{given.what}.svg")
    try:
        each, shares = profile(
            given.what,
            WITH_ALL if given.all_on else OURS,
            BARE if given.bare or given.what.startswith("download") else QUART,
            given.seconds,
            out,
        )
    except (loads.NoLoadError, loads.VoidError, ServerFailedError, ProfilerError, RuntimeError, OSError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    megabyte = " megabyte" if given.what.startswith("download") else ""
    table = Table(
        title=f"{each:,.0f} microseconds of CPU time each{megabyte}; the flame graph is in {out}", title_justify="left"
    )
    for heading in ("function", "own time", "microseconds each"):
        table.add_column(heading, justify="left" if heading == "function" else "right")
    for name, share in shares[:_SHOWN]:
        table.add_row(name, f"{share:.1%}", f"{share * each:.1f}")
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
