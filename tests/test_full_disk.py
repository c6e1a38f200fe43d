"""A disk that is really full: nothing is half written, a sentence says so, and it can go on.

The disk is a tmpfs of some megabytes, mounted in name spaces of a process of its own, which needs
no privileges where user name spaces are allowed. Where they are not (as in most containers), that
process may write no file beyond a size instead: the kernel refuses the same writes of SQLite, of
its write-ahead log and of exports, with EFBIG in place of ENOSPC.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN_SPACES = ("unshare", "--user", "--map-root-user", "--mount")
ROOM = 1_000_000
"""Bytes that are left when the search begins."""
WHY = {"mounted": "No space left on device", "limited": "File too large"}


class Disk:
    """A small disk, or files of a limited size, and how many bytes are left."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        self._is_mounted = kind == "mounted"
        self._filler = folder / "filler"
        if self._is_mounted:
            mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
            subprocess.run(mount, check=True)
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def leave(self, room: int | None) -> None:
        """So many bytes are left from now on; None: as many as there are."""
        if not self._is_mounted:
            most = resource.RLIM_INFINITY if room is None else room
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            return
        self._filler.unlink(missing_ok=True)
        if room is not None:
            free = os.statvfs(self.folder)
            with self._filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_bsize - room))

    def files(self) -> dict[str, int]:
        """What lies there, SQLite's own files left out, with sizes."""
        names = {path.name: path for path in self.folder.iterdir() if path.is_file()}
        ours = {name for name in names if not name.startswith(("i.db", "filler"))}
        return {name: names[name].stat().st_size for name in ours}


def isoshare(*arguments: object) -> tuple[int, str]:
    """One command in this process: exit code and what it said on stderr."""
    from isoshare.search.cli import main as cli

    sys.argv = ["isoshare", *map(str, arguments)]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
    raise AssertionError("a command ends with an exit code")


def scenario(kind: str, folder: Path) -> None:
    """What the process with the small disk does; an assertion that fails ends it."""
    disk, why = Disk(kind, folder), WHY[kind]
    storage = ("--storage", f"sqlite:///{folder}/i.db")
    search = ("--driver", "simulate", "--table", "sharebench-digits", "--sampler", "random")
    disk.leave(ROOM)
    code, said = isoshare("launch", *search, "--trials", 1000, "--study", "s", *storage)
    assert code == 1, said
    assert said.startswith(f"error: the database sqlite:///{folder}/i.db failed: d"), said
    assert said.endswith("what it holds is whole; go on with: isoshare resume s\n"), said
    assert said.count("\n") == 1
    writers_leave_nothing(disk, why, storage)
    there = trials_of(folder)
    assert 10 < len(there) < 1000, len(there)
    disk.leave(None)
    out = ("--out", folder / "out")
    code, said = isoshare("resume", "s", "--trials", len(there) + 20, *storage, *out)
    assert code == 0, said
    now = trials_of(folder)
    assert [trial.state for trial in now] == ["finished"] * (len(there) + 20)
    for before in there:
        if before.state == "finished":
            assert now[before.number].measurements[: len(before.measurements)] == (
                before.measurements
            )
    print(f"{kind}: {len(there)} trials, then full; {len(now)} after there was room")


def trials_of(folder: Path) -> list:  # type: ignore[type-arg]
    """The trials of the study, from a database that SQLite finds in order."""
    from isoshare.storage.store import Store

    store = Store(f"sqlite:///{folder}/i.db")
    with store._database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    trials = store.trials("s")
    store.close()
    return trials


def writers_leave_nothing(disk: Disk, why: str, storage: tuple[str, str]) -> None:
    """Whatever is written beside a database on a full disk is refused, or is what it was."""
    folder = disk.folder
    disk.leave(None)
    writers = {
        "plan.json": ("export", "s", "-o", folder / "plan.json"),
        "optuna.db": ("export", "s", "--format", "optuna", "-o", folder / "optuna.db"),
        "study.gz": ("studies", "--archive", "s", "-o", folder / "study.gz"),
        "front.html": ("pareto", "s", "--html", folder / "front.html"),
        "front.png": ("pareto", "s", "--png", folder / "front.png"),
        "report.html": ("report", "s", "-o", folder / "report.html"),
    }
    (folder / "plan.json").write_text("as it was")
    disk.leave(0)
    for name, command in writers.items():
        code, said = isoshare(*command, *storage)
        assert (code, said) == (2, f"error: cannot write {folder / name}: {why}\n")
        assert disk.files() == {"plan.json": len("as it was")}, name
    disk.leave(None)
    assert (folder / "plan.json").read_text() == "as it was"


def spaces_allowed() -> bool:
    """Whether a process may have a disk of its own here."""
    if shutil.which("unshare") is None:
        return False
    tried = [*OWN_SPACES, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


KINDS = ("mounted" if spaces_allowed() else "limited",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_stops_a_search_and_every_writer_with_a_sentence(
    kind: str, tmp_path: Path
) -> None:
    code = f"from tests.test_full_disk import *; scenario({kind!r}, Path({str(tmp_path)!r}))"
    spaces = OWN_SPACES if kind == "mounted" else ()
    done = subprocess.run(
        [*spaces, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
