"""Processes of this machine, for tests that kill them."""

from __future__ import annotations

import contextlib
from pathlib import Path


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
