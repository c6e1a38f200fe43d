"""Processes of this machine, for tests that kill them."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from isoshare.storage.store import Store

PROGRAM = Path(__file__).parent.parent / "run_search.py"


def wait_until(true: Callable[[], bool], driver: subprocess.Popen[str], seconds: float) -> None:
    """Until something holds, which the driver must live to see."""
    deadline = time.monotonic() + seconds
    while not true():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, "the search did not get anywhere"
        time.sleep(0.05)


def finished(store: Store) -> int:
    """How many trials of all studies have finished."""
    return sum(study.finished for study in store.studies())


def ray_workers(ancestor: int) -> list[int]:
    """The processes below ``ancestor`` in which Ray Tune trains."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            process = int(head.split()[0])
            parents[process], names[process] = int(rest.split()[1]), head.split("(", 1)[1]
    found = []
    for process, name in names.items():
        above = process
        while above not in (ancestor, 0):
            above = parents.get(above, 0)
        if above == ancestor and name.startswith("ray::") and "train" in _command(process):
            found.append(process)
    return found


def _command(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""
