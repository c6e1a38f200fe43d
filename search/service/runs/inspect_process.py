"""What needs torch, asked of another process: looking at a backbone, or at a search before it is
launched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from isoshare.search.options.definition import as_typed
from isoshare.search.options.space import check_arguments
from isoshare.search.service.errors import Problem
from isoshare.search.service.runs.launching import about
from isoshare.search.service.runs.processes import PROGRAM

SECONDS = 60
"""So long may it take."""
AT_ONCE = BoundedSemaphore(2)
_children: set[subprocess.Popen[str]] = set()


def inspect(backbone: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What ``isoshare inspect BACKBONE --json`` prints. Raises Problem, ConfigError."""
    check_arguments(arguments)
    words = [f"--backbone-arg={key}={as_typed(value)}" for key, value in arguments.items()]
    line = [str(PROGRAM), "inspect", *words, "--json"]
    found: dict[str, Any] = json.loads(_run([*line, "--", backbone]))
    return found


def look_ahead(options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``isoshare launch --dry-run --json`` prints of a search with these options. It looks at
    no database: whoever asks knows that the name is free. Raises Problem.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "options.json"
        file.write_text(json.dumps(options))
        line = [str(PROGRAM), "launch", f"--config={file}", "--dry-run", "--json"]
        found: dict[str, Any] = json.loads(_run(line, f"sqlite:///{folder}/empty.db"))
    return found


def _run(arguments: Sequence[str], storage: str = "") -> str:
    # Whoever waits here holds a thread that every other answer needs.
    if not AT_ONCE.acquire(blocking=False):
        raise Problem(
            "too_many_requests",
            "other networks are being inspected: try again in some seconds",
            headers={"Retry-After": "5"},
        )
    try:
        database = {"ISOSHARE_STORAGE": storage} if storage else {}
        return _output([sys.executable, *arguments], database)
    except subprocess.TimeoutExpired as error:
        raise Problem(
            "invalid",
            f"this takes longer than {SECONDS} s: the network is too large, or its images have to "
            "be fetched first",
        ) from error
    finally:
        AT_ONCE.release()


def _output(line: Sequence[str], environment: Mapping[str, str]) -> str:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**os.environ, **environment},
    ) as child:
        _children.add(child)
        try:
            output, said = child.communicate(timeout=SECONDS)
        finally:
            child.kill()
            _children.discard(child)
    if child.returncode:
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        told = lines[-1].removeprefix("error: ") if lines else f"exit code {child.returncode}"
        raise about("invalid", told)
    return output


def give_up() -> None:
    """End what is under way: nobody waits for it any more when the service stops."""
    for child in tuple(_children):
        child.kill()
