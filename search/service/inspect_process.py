"""What needs torch, asked of another process: looking at a backbone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from threading import BoundedSemaphore
from typing import Any

from isoshare.search.options.definition import as_typed
from isoshare.search.options.space import check_arguments
from isoshare.search.service.errors import Problem
from isoshare.search.service.processes import PROGRAM

SECONDS = 60
"""So long may it take."""
AT_ONCE = BoundedSemaphore(2)


def inspect(backbone: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What ``isoshare inspect BACKBONE --json`` prints. Raises Problem, ConfigError."""
    check_arguments(arguments)
    words = [f"--backbone-arg={key}={as_typed(value)}" for key, value in arguments.items()]
    line = [str(PROGRAM), "inspect", *words, "--json"]
    found: dict[str, Any] = json.loads(_run([*line, "--", backbone]))
    return found


def _run(arguments: Sequence[str]) -> str:
    # Whoever waits here holds a thread that every other answer needs.
    if not AT_ONCE.acquire(blocking=False):
        raise Problem(
            "too_many_requests",
            "other networks are being inspected: try again in some seconds",
            headers={"Retry-After": "5"},
        )
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Problem(
            "invalid", f"this takes longer than {SECONDS} s: the network is too large"
        ) from error
    finally:
        AT_ONCE.release()
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        said = lines[-1].removeprefix("error: ") if lines else f"exit code {done.returncode}"
        raise Problem("invalid", said)
    return done.stdout
