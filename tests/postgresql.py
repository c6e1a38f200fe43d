"""A real PostgreSQL server on loopback, from the machine's binaries, for tests that need one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

BINARIES = [*map(Path, os.environ["PATH"].split(os.pathsep))]
NOT_ROOT = ("postgres", "nobody")
"""PostgreSQL refuses to run as root; then it runs as the first of these users."""


def binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``: of the path, or the newest of Debian's."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in [*BINARIES, *debian]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return (folder / "postgres").resolve().parent
    return None


@dataclass
class Server:
    """One server in a folder of its own; it can be killed and started again."""

    binaries: Path
    folder: Path
    user: str | None
    port: int
    process: subprocess.Popen[bytes] | None = None
    databases: int = field(default=0)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self.folder}"
        folder = str(self.folder / "data")
        command = [str(self.binaries / "postgres"), "-D", folder, *options.split()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, user=self.user, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL the server, and wait until its children have noticed."""
        assert self.process is not None
        children = self._children()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + 30
        while any(map(_alive, children)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.process = None

    def pause(self) -> None:
        """SIGSTOP it and its children: connections stay and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT them."""
        self._signal_all(signal.SIGCONT)

    def new_database(self) -> str:
        """The URL of an empty database."""
        self.databases += 1
        name = f"test{self.databases}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://isoshare@127.0.0.1:{self.port}/{name}"

    def initialise(self) -> None:
        """Make the folder of a new server."""
        if self.user:
            shutil.chown(self.folder, self.user)
        where = ("-D", str(self.folder / "data"), "-U", "isoshare", "--auth=trust", "-N")
        command = [str(self.binaries / "initdb"), *where]
        subprocess.run(command, cwd=self.folder, user=self.user, check=True, capture_output=True)

    def _address(self, database: str) -> str:
        return f"postgresql://isoshare@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self._address("postgres")).close()
            return True
        return False

    def _signal_all(self, what: signal.Signals) -> None:
        assert self.process is not None
        for process in (self.process.pid, *map(int, self._children())):
            with suppress(ProcessLookupError):
                os.kill(process, what)

    def _children(self) -> list[str]:
        assert self.process is not None
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@contextmanager
def running_server() -> Iterator[Server]:
    """A server as long as the context lasts. Skips the test where there are no binaries."""
    found = binaries()
    if found is None:
        pytest.skip("PostgreSQL is not installed here: no initdb and postgres in PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="isoshare-postgresql-"))
    server = Server(found, folder, _other_user(), port)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.process.send_signal(signal.SIGQUIT)
            server.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: str) -> bool:
    """Whether a process runs; one that has ended may be left as a zombie that nobody asks for."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _other_user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in NOT_ROOT if name in known)
