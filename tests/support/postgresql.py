"""A real PostgreSQL: a server a test session, on a Unix socket in a folder of its own, and a database a test."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_USER = "handclasp"
_START = 60
# Nothing here outlives the session: what makes a crash survivable is left out.
_HASTE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=60", "shared_buffers=32MB")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `process` is its postmaster."""

    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, host: Sequence[str] = (), address: str = "", callers: str = "") -> Server:
        """Initialise and start one. Skips the test where the machine has no PostgreSQL.

        `host`: words in front of the command that run it elsewhere; there it listens on this address too, and lets in
        whoever calls from that network.
        """
        programs = Path(require("postgresql")).parent
        # Short: a socket's path has 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="hc-pg-", dir="/tmp"))
        # It refuses to run as root.
        drop: dict[str, object] = {}
        if os.geteuid() == 0:
            account = _account()
            os.chown(folder, account.pw_uid, account.pw_gid)
            drop = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = folder / "data"
        settings = ("--username", _USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
        made = subprocess.run(
            [programs / "initdb", "--no-sync", *settings, "--pgdata", data],
            capture_output=True, text=True, timeout=_START, check=False, cwd=folder, **drop,  # type: ignore[call-overload]
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        if callers:
            with (data / "pg_hba.conf").open("a") as file:
                file.write(f"host all all {callers} trust\n")
        options = [word for setting in (*_HASTE, f"listen_addresses={address}") for word in ("-c", setting)]
        if host and drop:  # another namespace takes root, and is entered first
            host = [*host, "setpriv", "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
            drop = {}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*host, programs / "postgres", "-D", data, "-k", folder, *options],
                stdout=log, stderr=log, cwd=folder, **drop,  # type: ignore[call-overload]
            )  # fmt: skip
        server = cls(folder, process)
        server.wait()
        return server

    def wait(self) -> None:
        """Until it answers. Fails with its log."""
        import psycopg

        deadline = time.monotonic() + _START
        while True:
            try:
                psycopg.connect(self.conninfo("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)

    def conninfo(self, database: str) -> str:
        """The database in libpq's words."""
        return f"host={self.folder} user={_USER} dbname={database}"

    def url(self, database: str) -> str:
        """The database as `--database` takes it."""
        return f"postgresql+psycopg://{_USER}@/{database}?host={self.folder}"

    def execute(self, statement: str) -> None:
        """Run one statement as the superuser, outside of any transaction."""
        import psycopg

        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def stop(self) -> None:
        """End it at once: there is nothing to keep."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=_START)
        shutil.rmtree(self.folder, ignore_errors=True)


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """The server of this session, or of this worker of it."""
    server = Server.start()
    yield server
    server.stop()


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """A database that is empty."""
    name = f"test_{next(_numbers)}"
    postgresql_server.execute(f"CREATE DATABASE {name}")
    yield postgresql_server.url(name)
    postgresql_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def inventory_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An inventory's database that is empty, of either kind, as `--database` takes it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/inventory.db"
    return str(request.getfixturevalue("postgresql_url"))


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is nobody else to run it as")
