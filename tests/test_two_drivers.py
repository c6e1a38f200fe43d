"""Two drivers started on one study, as real processes: the second is refused while the first lives,
takes over when it is dead, and a first one that was taken over stops with a sentence.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from isoshare.search.drivers.inline import run_inline
from isoshare.search.engine import Engine
from isoshare.search.workflows.launch import prepare_resume, start
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.storage.opening.database import BusyStudyError, StoreError
from isoshare.storage.store import Store
from tests.postgresql import Server
from tests.processes import PROGRAM, finished, wait_until
from tests.test_lease import silent

PATIENCE = 120
TABLE = ("--driver", "simulate", "--table", "sharebench-digits")
TINY = ("--backbone", "resnet_cifar", "--backbone-arg", "depth=8", "--replicates", "1")
WITHIN = 20
"""Seconds in which a search ends that is told to, whatever its workers are doing."""


@contextmanager
def launched(folder: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A driver in a process of its own; what is left of it in the end is killed."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "launch", "--study", "s", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def resumed(folder: Path, url: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Another driver, from its start to its end."""
    command = [sys.executable, str(PROGRAM), "resume", "s", "--storage", url]
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_of_many_that_come_at_once_one_gets_the_study(
    store: Store, url: str, make_engine: Callable[..., object]
) -> None:
    make_engine()
    rivals = [Store(url) for _ in range(6)]
    together, said = threading.Barrier(len(rivals)), list[str]()

    def run(rival: Store) -> None:
        together.wait()
        try:
            rival.take_lease("study")
            said.append("has it")
        except StoreError as error:
            said.append(str(error))

    threads = [threading.Thread(target=run, args=(rival,)) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("has it") == 1
    assert sum("is being run since" in one for one in said) == len(rivals) - 1
    for rival in rivals:
        rival.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_driver_outlives_its_server_keeps_others_out_and_is_replaced_once_it_is_dead(
    store: Store, url: str, tmp_path: Path, postgresql: Server
) -> None:
    with launched(tmp_path, *TABLE, "--trials", 1600, "--storage", url) as driver:
        wait_until(lambda: finished(store) >= 5, driver, PATIENCE)
        refused = resumed(tmp_path, url)
        assert refused.returncode == 2
        assert "study 's' is being run since 2" in refused.stderr
        assert f"by process {driver.pid} on " in refused.stderr
        assert refused.stderr.count("\n") == 1
        postgresql.kill()
        time.sleep(8)  # the driver says so after 3 s of waiting, which may begin late
        postgresql.start()
        before = finished(store)
        wait_until(lambda: finished(store) > before, driver, PATIENCE)
        driver.send_signal(signal.SIGKILL)
        _, said = driver.communicate()
    assert said.startswith("warning: the database does not answer: waiting for it; ")
    assert said.count("\n") == 1
    there = store.trials("s")
    done = resumed(tmp_path, url, "--trials", len(there) + 3)
    assert done.returncode == 0, done.stderr
    trials = store.trials("s")
    assert [trial.state for trial in trials] == ["finished"] * (len(there) + 3)
    for trial in there:
        if trial.state == "finished":
            assert trials[trial.number].measurements[:1] == trial.measurements


def test_a_driver_that_was_taken_over_stops_with_a_sentence(
    store: Store, url: str, tmp_path: Path
) -> None:
    search = ("--trials", 4, "--epochs", 4, "--workers", 1, "--sampler", "random")
    with launched(tmp_path, *TINY, *search, "--storage", url) as driver:
        wait_until(lambda: finished(store) >= 1, driver, PATIENCE)
        successor, prepared = taken_over(store)
        _, said = driver.communicate(timeout=60)
    assert driver.returncode == 1
    warned, error = said.splitlines()
    assert warned.startswith("warning: sharing can touch 6% of the parameters ")
    assert error.startswith("error: study 's' was taken over by process ")
    assert "nothing more is written here; go on with: " in error
    assert error.endswith("resume s")
    there = store.trials("s")
    run_inline(successor, prepared.evaluator)
    assert [trial.state for trial in store.trials("s")] == ["finished"] * 4
    assert [len(trial.samples("accuracy")) for trial in store.trials("s")] == [1] * 4
    for trial in there:
        if trial.state == "finished":
            assert store.trials("s", [trial.number])[0].measurements[:1] == trial.measurements


def taken_over(store: Store) -> tuple[Engine, Prepared]:
    """The study "s" for this process, however soon its driver is heard of again."""
    for _ in range(100):
        silent(store, 3600)
        with suppress(BusyStudyError):
            return start(prepared := prepare_resume("s", store, {}), store), prepared
    raise AssertionError("the study never was free")


LONG = ("--backbone-arg", "depth=32", "--backbone-arg", "width=64", "--epochs", 3)
"""Epochs of twice some twenty seconds, by two workers on two cores."""


def test_a_search_in_the_middle_of_long_epochs_ends_within_seconds(
    store: Store, url: str, tmp_path: Path
) -> None:
    two = ("--trials", 6, "--workers", 2, "--backbone", "resnet_cifar", "--replicates", 1)
    with launched(tmp_path, *LONG, *two, "--storage", url) as driver:
        wait_until(lambda: bool(store.studies()) and len(store.trials("s")) == 2, driver, PATIENCE)
        time.sleep(1)
        told = time.monotonic()
        driver.send_signal(signal.SIGTERM)
        _, said = driver.communicate(timeout=60)
        seconds = time.monotonic() - told
    assert driver.returncode == 130
    assert said.startswith("error: interrupted; go on with: ")
    assert [trial.state for trial in store.trials("s")] == ["running"] * 2
    store.take_lease("s")  # it is free at once
    assert seconds < WITHIN
    print(f"ended {seconds:.1f} s after SIGTERM")
