"""Output of the command line: to a terminal, to a pipe, and errors."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from isoshare.space.errors import IsoshareError

if TYPE_CHECKING:
    from rich.console import Console

    from isoshare.evaluators.training.trainer import Report
    from isoshare.storage.store import Store

T = TypeVar("T")

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


def open_console(stderr: bool = False) -> Console:
    """The console for output that people read."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() else 140  # a pipe has no width: do not break lines for it
    return Console(width=wide, stderr=stderr)


def spinner(text: str) -> AbstractContextManager[Any]:
    """A spinner on a terminal: importing torch and reading data takes seconds."""
    console = open_console()
    return console.status(text) if console.is_terminal else nullcontext()


def with_epochs(work: Callable[[Report], T], failed: str) -> T:
    """Show a bar over the epochs of a training. A training that fails ends the program.

    failed: what to say then; ``{}`` is the reason.
    """
    from isoshare.evaluators.training.gradient_accumulation import EvaluationError
    from isoshare.search.cli.progress import open_epochs

    try:
        with open_epochs(open_console(stderr=True)) as report:
            return work(report)
    except EvaluationError as error:
        fail(failed.format(error), FAILED)


def print_json(document: Any) -> None:
    """Print JSON for another program."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def warn(sentence: str) -> None:
    """Write a warning to stderr, beside what is piped."""
    sys.stderr.write(f"warning: {sentence}\n")


def fail(message: str, code: int) -> NoReturn:
    """End the program with one sentence."""
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(code)


def usage_message(error: Any) -> str:
    """The error that Typer found in the command line, with the option concerned."""
    from pydantic import ValidationError

    message = error.format_message() if hasattr(error, "format_message") else str(error)
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        message += f", got {cause.errors()[0]['input']!r}"
    return " ".join(message.split())


def writing(path: Path, write: Callable[[Path], T]) -> T:
    """Write a file; a path that cannot be written is a wrong request. Raises IsoshareError."""
    try:
        return write(path)
    except OSError as error:
        raise IsoshareError(f"cannot write {path}: {error.strerror}") from error


def program() -> str:
    """How this program was called, so that suggested commands can be typed as shown."""
    if not _from_source():
        return Path(sys.argv[0]).name
    python = Path(sys.executable)
    local = python.is_relative_to(Path.cwd())
    return f"{python.relative_to(Path.cwd()) if local else 'python'} {os.path.relpath(sys.argv[0])}"


def _from_source() -> bool:
    return Path(sys.argv[0]).name == "run_search.py"


def open_to_read(url: str | None) -> Store:
    """The same for who changes nothing: ``url`` may be an archive. Raises IsoshareError."""
    from isoshare.search.workflows.administration.open_archive import readable
    from isoshare.storage.opening.database import default_url

    return open_store(readable(url or default_url()))


def open_store(url: str | None) -> Store:
    """The database at ``url``, or the default one. Raises StoreError."""
    from isoshare.storage.opening.database import default_url
    from isoshare.storage.store import Store

    return Store(url or default_url())
