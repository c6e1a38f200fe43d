"""The live view: one line for each trial where there is no terminal, one bar where there is."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from isoshare.search.cli.progress import Clock, open_steps, open_view
from isoshare.search.drivers.inline import run_inline
from tests.fakes import FakeEvaluator, MakeEngine


def watch(make_engine: MakeEngine, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
    engine = make_engine()
    with open_view(console) as view:
        engine.on_change = lambda: view.update(engine.progress())
        run_inline(engine, FakeEvaluator())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_count_every_trial_and_every_test(make_engine: MakeEngine) -> None:
    lines = watch(make_engine, terminal=False).splitlines()
    trials = [line for line in lines if line.startswith("trials")]
    assert [int(re.findall(r"\d+", line)[0]) for line in trials] == list(range(1, 13))
    assert re.fullmatch(
        r"trials 5/12, 1 running, 0 failed, front \d+, hypervolume [\d.,]+, "
        r"(at most [\d.]+% to gain, )?[\d.e-]+ s per trial, [\d.e-]+ s left",
        trials[4],
    )
    tests = [line for line in lines if line.startswith("tested")]
    front = re.findall(r"front (\d+)", trials[-1])
    assert tests[-1].startswith(f"tested {front[0]}/{front[0]} of the front")
    assert len(lines) == len(trials) + len(tests)


def test_a_terminal_shows_one_bar_and_leaves_nothing_behind(make_engine: MakeEngine) -> None:
    text = watch(make_engine, terminal=True)
    assert "testing the front" in text
    assert "hypervolume" in text
    assert text.rstrip().endswith("\x1b[2K")  # the line is cleared at the end


def test_steps_are_a_bar_on_a_terminal_and_one_line_elsewhere() -> None:
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
        with open_steps(console, "measuring") as heard:
            for done in range(4):
                heard(done + 1, 4)
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert text.rstrip().endswith("\x1b[2K") if terminal else text == "measuring\n"


def test_a_long_work_says_elsewhere_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=140)
    with open_steps(console, "measuring") as heard:
        for done in range(0, 101, 10):
            heard(done, 100)
            now[0] += 20
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[:3] == [
        "measuring",
        "measuring: 20%, 2:40 min left",
        "measuring: 40%, 2:00 min left",
    ]
    assert len(lines) == 5  # and nothing more once all is done


def test_the_end_is_estimated_from_what_this_run_has_done(make_engine: MakeEngine) -> None:
    engine, clock, seen = make_engine(), Clock(), []
    engine.on_change = lambda: seen.append(clock.left(engine.progress()))
    run_inline(engine, FakeEvaluator())
    assert seen[0] == "? left"
    assert seen[-1].endswith(" per trial, 0 s left")
