"""How far a search is, in one line that is written over itself: on a terminal or in a notebook.

Nothing runs beside the search: the line changes when a trial does.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from isoshare.search.jobs import Progress
from isoshare.search.results.describe import counted, pace_in_words, unknown_pace

WIDTH = 24


class ProgressLine:
    """Shows a search of ``seconds`` at most; silent where nobody watches.

    workers: trials at the same time. expected: seconds of one trial, if they are known beforehand.
    """

    def __init__(self, is_shown: bool, seconds: float | None = None, workers: int = 1) -> None:
        self._started = 0.0
        self._seconds, self._workers = seconds, workers
        self.expected: float | None = None
        self._done_before: int | None = None
        self._shown = ""
        self._notebook = _notebook() if is_shown else None
        self.is_shown = is_shown and (self._notebook is not None or sys.stderr.isatty())

    def update(self, progress: Progress) -> None:
        """Something has changed."""
        if not self.is_shown:
            return
        text = self._text(progress)
        if self._notebook is not None:
            self._notebook.update({"text/plain": text}, raw=True)
        else:
            sys.stderr.write(f"\r{text.ljust(len(self._shown))}")
            sys.stderr.flush()
        self._shown = text

    def close(self) -> None:
        """The search has ended; its last line stays."""
        if self._shown and self._notebook is None:
            sys.stderr.write("\n")

    def _text(self, progress: Progress) -> str:
        done = progress.finished + progress.failed + progress.stopped
        filled = WIDTH * done // max(1, progress.budget)
        parts = [
            f"{'█' * filled}{'░' * (WIDTH - filled)} {done}/{counted(progress.budget, 'trial')}",
            *([f"{progress.failed} failed"] if progress.failed else []),
            *([f"{progress.stopped} stopped early"] if progress.stopped else []),
            f"front {len(progress.front.members)}",
            self._pace(done, progress.budget),
        ]
        return ", ".join(parts)

    def _pace(self, done: int, budget: int) -> str:
        """What a trial takes, and how many fit into the time or how long the rest takes."""
        if self._done_before is None:
            self._done_before, self._started = done, time.monotonic()  # Ray is up now
        here, spent = done - self._done_before, time.monotonic() - self._started
        if not here and self.expected is None:
            return unknown_pace(self._seconds)
        pace = spent / here if here else (self.expected or 0) / self._workers
        left = None if self._seconds is None else self._seconds - spent
        return pace_in_words(pace, budget - done, left)


def _notebook() -> Any:
    """Where a notebook shows the line; None outside of one."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
