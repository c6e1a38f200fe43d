"""Drivers, workers and nodes are killed at random while searches run; nothing may be lost.

A real cluster of three Ray nodes and real searches on digits. By default one search, on PostgreSQL,
loses one node; ISOSHARE_KILLS sets how many kills there are, more than 100 by ``make chaos``, and
from two on another search on SQLite runs beside it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from isoshare.search.cli.terminal import FAILED
from isoshare.search.drivers.versions import versions
from isoshare.search.engine import ATTEMPTS
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store
from tests.chaos.nodes import NODES, OTHER_TORCH
from tests.postgresql import Server
from tests.processes import PROGRAM, ray_workers

KILLS = int(os.environ.get("ISOSHARE_KILLS", "1"))
KINDS = ("node", "driver", "worker")
SEEDS, WORKERS, BUDGET, PATIENCE = 2, 2, 100_000, 300
LAUNCH = (
    f"launch --study s --backbone resnet_cifar --backbone-arg depth=14 --backbone-arg width=2 "
    f"--trials {BUDGET} --epochs 2 --replicates {SEEDS} --workers {WORKERS}"
).split()

Key = tuple[int, int, str]
"""Number of a trial, seed and split: what may be measured once."""


@dataclass
class Nodes:
    """The cluster; ``address`` is where it is joined."""

    process: subprocess.Popen[str]
    address: str

    def lose(self, place: int) -> None:
        """Kill one node with all its processes; another one joins."""
        self.order("leave", place)
        self.order("join", place)

    def kill_a_worker(self, rng: random.Random) -> None:
        """SIGKILL one of the processes that train; there is one sooner or later."""
        deadline = time.monotonic() + PATIENCE
        while not (workers := ray_workers(self.process.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(rng.choice(workers), signal.SIGKILL)

    def order(self, *words: object) -> None:
        """Have one node leave or join, and wait until it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*words, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline().strip() == words[0]


@dataclass
class Search:
    """One search and what of it has been seen in the database."""

    url: str
    nodes: Nodes
    folder: Path
    seen: dict[Key, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """One store for all looks: it waits for a database that it has met."""
        self.store = Store(self.url)

    def start(self, *command: str) -> None:
        """A new driver."""
        with (self.folder / "log").open("a") as log:
            self.driver = subprocess.Popen(
                [sys.executable, str(PROGRAM), *command, *self._where()],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def _where(self) -> list[str]:
        places = {"storage": self.url, "ray-address": self.nodes.address, "out": self.folder}
        return [f"--{name}={place}" for name, place in places.items()]

    def kill(self) -> None:
        """SIGKILL the driver; the next one goes on at once."""
        self.driver.kill()
        self.driver.wait()
        self.start("resume", "s", "--workers", str(WORKERS))

    def wait_for_more(self) -> None:
        """Until something has been measured that was not there before."""
        known, deadline = len(self.seen), time.monotonic() + PATIENCE
        while len(self.check()) <= known:
            assert self.driver.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def check(self) -> dict[Key, float]:
        """The invariants; returns what is measured."""
        trials = self.store.trials("s") if any(self.store.studies()) else []
        now = measurements(trials)
        assert {key: now.get(key) for key in self.seen} == self.seen, "what was measured is lost"
        assert [trial.number for trial in trials] == list(range(len(trials)))
        assert len({trial.plan.fingerprint for trial in trials}) == len(trials), "a plan came twice"
        assert sum(trial.state == "running" for trial in trials) <= WORKERS
        for trial in trials:
            if trial.state == "finished":
                assert len(trial.samples("accuracy")) == SEEDS
            if trial.state == "failed":
                assert trial.attempts >= ATTEMPTS
                assert "died" in (trial.error or "")
        self.seen = now
        return now

    def finish(self) -> list[TrialRecord]:
        """Stop where it is, and let a last driver end it with two trials more."""
        self.driver.kill()
        self.driver.wait()
        self.check()
        budget = len(self.store.trials("s")) + 2
        self.start("resume", "s", "--trials", str(budget), "--workers", str(WORKERS))
        assert self.driver.wait(PATIENCE) == 0, (self.folder / "log").read_text()
        self.check()
        trials = self.store.trials("s")
        assert len(trials) == budget
        assert {trial.state for trial in trials} <= {"finished", "failed"}
        assert (self.folder / "plan.json").exists()
        return trials

    def refuses_to_go_on_without_a_node_that_can_train(self) -> None:
        """All that is left is the node with another build of torch."""
        for place in range(NODES):
            self.nodes.order("leave", place)
        self.start("resume", "s", "--trials", str(BUDGET), "--workers", "1")
        assert self.driver.wait(PATIENCE) == FAILED
        last = (self.folder / "log").read_text().splitlines()[-1]
        assert last.startswith("error: no node of the cluster can train, as ")
        assert (
            f"torch is {OTHER_TORCH} there and {versions()['torch']} where the search was" in last
        )
        assert "; go on with: " in last


def measurements(trials: list[TrialRecord]) -> dict[Key, float]:
    """Accuracies by what may be measured once."""
    found: dict[Key, float] = {}
    for trial in trials:
        for one in trial.measurements:
            key = (trial.number, one.seed, one.split)
            assert key not in found, "something was counted twice"
            found[key] = one.values["accuracy"]
    return found


@contextmanager
def running_nodes(folder: Path) -> Iterator[Nodes]:
    """The cluster as long as the context lasts."""
    with (folder / "nodes.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nodes.py")), str(folder / "other")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, (folder / "nodes.log").read_text()
        try:
            yield Nodes(process, address)
        finally:
            process.communicate()


def test_random_kills_lose_nothing_and_count_nothing_twice(
    tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "chaos" * 8)
    rng, seconds = random.Random(0), defaultdict(list)
    urls = {"postgresql": postgresql.new_database()}
    if KILLS > 1:
        urls["sqlite"] = f"sqlite:///{tmp_path / 'chaos.db'}"
    with running_nodes(tmp_path) as nodes:
        searches = []
        for name, url in urls.items():
            (tmp_path / name).mkdir()
            searches.append(Search(url, nodes, tmp_path / name))
            searches[-1].start(*LAUNCH)
        for search in searches:
            search.wait_for_more()
        for turn in range(KILLS):
            kind = KINDS[turn % len(KINDS)]
            time.sleep(rng.random())
            started = time.monotonic()
            kill(kind, nodes, searches, rng)
            for search in searches:
                search.wait_for_more()
            seconds[kind].append(time.monotonic() - started)
        trials = [trial for search in searches for trial in search.finish()]
        searches[0].refuses_to_go_on_without_a_node_that_can_train()
    for search in searches:
        search.store.close()
    report(trials, seconds)


def kill(kind: str, nodes: Nodes, searches: list[Search], rng: random.Random) -> None:
    """SIGKILL one of a kind."""
    if kind == "driver":
        rng.choice(searches).kill()
    elif kind == "worker":
        nodes.kill_a_worker(rng)
    else:
        nodes.lose(rng.randrange(NODES))


def report(trials: list[TrialRecord], seconds: dict[str, list[float]]) -> None:
    """What ``make chaos`` shows: a line of JSON."""
    failed = [trial.error for trial in trials if trial.state == "failed"]
    print(
        json.dumps(
            {
                "kills": {kind: len(of) for kind, of in seconds.items()},
                "seconds until both searches go on, median and most": {
                    kind: [round(median(of), 1), round(max(of), 1)] for kind, of in seconds.items()
                },
                "trials": len(trials),
                "measurements": sum(len(trial.measurements) for trial in trials),
                "recorded as failed": failed,
                "attempts, most": max(trial.attempts for trial in trials),
            }
        )
    )
