"""Progress of a running search: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from isoshare.evaluators import is_own_evaluator
from isoshare.search.defaults import unserved
from isoshare.search.jobs import Progress
from isoshare.search.options.durations import span
from isoshare.search.results.describe import counted, pace_in_words
from isoshare.storage.records import StudyRecord

MEASURING = "measuring what sharing costs"
SECONDS_BETWEEN_LINES = 30


def headline(study: StudyRecord, trials: int) -> str:
    """One line that says what is searched, in Rich markup."""
    config = study.config
    own = is_own_evaluator(config.evaluator)
    long = "" if own else f"{counted(config.epochs, 'epoch')} and "
    data = config.evaluator if own else config.dataset
    why = unserved(config.objectives) if config.sampler == "tpe" else ""
    instead = f"; {why}: tpe takes its place" if why else ""
    return (
        f"study [bold]{study.name}[/]: {study.context.plans:,} plans of "
        f"{config.backbone} on {escape(data)}, {counted(trials, 'trial')} of "
        f"{long}{counted(config.replicates, 'seed')}{instead}"
    )


class View(Protocol):
    """Shows a running search."""

    def update(self, progress: Progress) -> None:
        """Something has changed."""


@contextmanager
def open_view(console: Console, deadline: float | None = None) -> Iterator[View]:
    """The view that fits the console; it is closed at the end, whatever happens.

    deadline: of the search, in seconds of ``time.time``.
    """
    if console.is_terminal:
        with _bar(console) as bar:
            yield LiveView(bar, Clock(deadline))
    else:
        yield PlainView(console, Clock(deadline))


@contextmanager
def open_epochs(console: Console) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """Show the epochs of one training: a bar on a terminal, one line per epoch elsewhere."""
    if not console.is_terminal:
        yield lambda epoch, epochs, values: console.print(
            f"epoch {epoch}/{epochs}, {_first(values)}", highlight=False
        )
        return
    columns = (
        SpinnerColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[value]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, value="", visible=False)  # there may be no training

        def report(epoch: int, epochs: int, values: Mapping[str, float]) -> None:
            bar.update(task, visible=True, completed=epoch, total=epochs, value=_first(values))

        yield report


@contextmanager
def open_steps(console: Console, text: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much work of how much is done: a bar on a terminal, elsewhere lines now and then."""
    if not console.is_terminal:
        console.print(text, highlight=False)
        yield _Lines(console, text).heard
        return
    columns = (SpinnerColumn(), TextColumn(text), BarColumn(bar_width=24), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


class _Lines:
    """How far a work is, and when it ends, twice a minute."""

    def __init__(self, console: Console, text: str) -> None:
        self._console, self._text = console, text
        self._began: tuple[float, int] | None = None
        self._said = time.monotonic()

    def heard(self, done: int, of: int) -> None:
        """So much of so much is done."""
        now = time.monotonic()
        self._began = self._began or (now, done)
        if done < of and now - self._said >= SECONDS_BETWEEN_LINES:
            self._said, (began, before) = now, self._began
            left = (now - began) * (of - done) / max(1, done - before)
            known = f", {span(left)} left" if done > before else ""
            self._console.print(f"{self._text}: {done / of:.0%}{known}", highlight=False)


def _first(values: Mapping[str, float]) -> str:
    """The first of the values of an epoch, with its name."""
    name, value = next(iter(values.items()))
    return f"{name} {value:.4f}"


class Clock:
    """Estimates the end from what this run has done so far."""

    def __init__(self, deadline: float | None = None) -> None:
        self._started, self._deadline = time.monotonic(), deadline
        self._at_start: int | None = None

    def left(self, progress: Progress) -> str:
        """What a trial takes and what is left, ``12 s per trial, 1:05 min left``, or ``? left``
        while nothing is done yet.
        """
        done = _done(progress) + progress.tests_done
        if self._at_start is None:
            self._at_start = done
        here = done - self._at_start
        if not here:
            return "? left"
        tests = progress.tests or len(progress.front.members)
        pace = (time.monotonic() - self._started) / here
        seconds = None if self._deadline is None else self._deadline - time.time()
        return pace_in_words(pace, max(0, progress.budget + tests - done), seconds)


class LiveView:
    """A progress bar over the budget, with the front and the time left."""

    def __init__(self, bar: Bar, clock: Clock) -> None:
        self._bar, self._clock = bar, clock
        self._task = bar.add_task("starting workers", total=None, count="", facts="")

    def update(self, progress: Progress) -> None:
        """Something has changed."""
        testing = progress.tests > 0
        facts = "  ".join([*_facts(progress), self._clock.left(progress)])
        done, total = _done(progress), progress.budget
        if testing:
            done, total = progress.tests_done, progress.tests
        self._bar.update(
            self._task,
            description="testing the front" if testing else "searching",
            completed=done,
            total=total,
            count=f"{done}/{total}",
            facts=facts,
        )


class PlainView:
    """One line per finished trial."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console, self._clock = console, clock
        self._seen: tuple[int, int] | None = None
        self._shown: tuple[int, int] | None = None

    def update(self, progress: Progress) -> None:
        """Something has changed; what has ended is shown one change later, when others run."""
        left = self._clock.left(progress)
        state = (_done(progress), progress.tests_done)
        if self._seen is None:
            self._shown = state
        if state != self._seen or state == self._shown:
            self._seen = state
            return
        self._shown = state
        if progress.tests_done:
            text = f"tested {progress.tests_done}/{progress.tests} of the front, {left}"
        else:
            facts = ", ".join(_facts(progress))
            text = f"trials {state[0]}/{progress.budget}, {facts}, {left}"
        self._console.print(text, highlight=False)


def _done(progress: Progress) -> int:
    """How much of the budget has been measured."""
    return progress.finished + progress.failed + progress.stopped + progress.repeats


def _facts(progress: Progress) -> list[str]:
    """What is worth knowing beside how far the search is."""
    some = {"stopped early": progress.stopped, "repeats": progress.repeats}
    gain = [] if progress.remaining is None else [f"at most {progress.remaining:.1%} to gain"]
    return [
        f"{progress.running} running",
        f"{progress.failed} failed",
        *(f"{count} {name}" for name, count in some.items() if count),
        f"front {len(progress.front.members)}",
        f"hypervolume {progress.front.hypervolume:,.5g}",
        *gain,
    ]


def _bar(console: Console) -> Bar:
    return Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[facts]}"),
        console=console,
        transient=True,
    )
