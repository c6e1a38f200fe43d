"""How fast the service answers while a search writes: many trials or many studies, many readers.

    python benchmarks/service.py [--studies 1] [--trials 10000] [--readers 20] [--seconds 30]
        [--rate 2] [--rounds 20] [--storage URL]

A process of its own measures plans of a study with a fake evaluator, ``--rate`` a second, and so
changes it all the time. The service is the real command. Readers ask in turn, once a second each,
from their own threads: with one study for its page, its front, its figure and a page of its trials;
with several, of which ten have ``--trials`` trials and the others twenty, for the list of studies
as page, as part of a page and as JSON, while one more reader is told of changes.
Prints JSON: for each address the seconds of the first answer after the service has started, the
number of requests, median, 95th percentile and most, in milliseconds; and with one study the time
from a trial's end in the database until an open page in Chromium shows it. ``--storage`` is a new
SQLite file if none is named, and is filled if it is empty.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.evaluator import Measured
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.drivers.heartbeat import heartbeat
from isoshare.search.engine import Engine
from isoshare.search.samplers import sampler_row
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord

ROOT = Path(__file__).resolve().parent.parent
ADDRESSES = (
    "/studies/big",
    "/api/v1/studies/big/front",
    "/api/v1/studies/big/figure",
    "/api/v1/studies/big/trials?sort=-accuracy&limit=50",
)
LISTS = ("/", "/fragments/studies", "/api/v1/studies")
LARGE, FEW = 10, 20
"""Of many studies so many are large, and the others have so few trials."""
REPLICATES = 2


def space() -> SearchSpace:
    """A ResNet-56: 50 sites in three groups, all methods."""
    backbone = build_backbone("resnet_cifar", {"depth": 56})
    return SearchSpace(find_sites(backbone), count_parameters(backbone))


def config(trials: int) -> SearchConfig:
    """A search that nobody would wait for."""
    asked = {"trials": trials, "replicates": REPLICATES, "workers": 1, "sampler": "random"}
    return make_config({"backbone": "resnet_cifar", "backbone_arg": {"depth": 56}, **asked})


def measure(engine: Engine, unshared: int) -> bool:
    """End one trial at once: accuracy rises with parameters, with noise."""
    job = engine.ask()
    if job is None:
        return False
    luck = int(job.plan.fingerprint, 16) / 16**16
    sites = sum(len(bank.sites) - 1 for bank in job.plan.banks)
    value = 0.95 - 0.3 * sites / 50 + 0.1 * luck
    engine.tell(
        job.number,
        [Measured(seed, {"accuracy": value + 0.01 * seed}, 0.1) for seed in job.seeds],
    )
    return unshared > 0


def fill(url: str, trials: int) -> None:
    """A study with so many finished trials, and room for as many."""
    shared, options = space(), config(2 * trials)
    store = Store(url)
    store.create_study(study_record("big", options, shared, DatasetRecord("none", "none")))
    engine = Engine(store, store.study("big"), options, shared, sampler_row(options.sampler).make)
    for _ in range(trials):
        measure(engine, shared.unshared)
    store.close()


def is_empty(url: str) -> bool:
    """Whether a database has no studies yet."""
    store = Store(url)
    there = store.studies()
    store.close()
    return not there


def copy(url: str, studies: int) -> None:
    """So many more studies with the first trials of "big"; few of them are large."""
    store = Store(url)
    study, trials = store.study("big"), store.trials("big")
    for number in range(studies):
        some = trials if number < LARGE - 1 else trials[:FEW]
        store.restore_study(replace(study, name=f"study-{number}"), partial(iter, some))
    store.close()


def write(url: str, trials: int, rate: float) -> None:
    """Go on with the study "big", so many trials a second."""
    store, shared = Store(url), space()
    store.take_lease("big")
    with heartbeat(store, "big"):
        more = config(2 * trials)
        engine = Engine(store, store.study("big"), more, shared, sampler_row(more.sampler).make)
        while measure(engine, shared.unshared):
            time.sleep(1 / rate)


class Readers:
    """Threads that ask the service and take the time."""

    def __init__(self, port: int, addresses: Sequence[str]) -> None:
        self._port, self._addresses = port, addresses
        self._stop = threading.Event()
        self.times: dict[str, list[float]] = defaultdict(list)

    def run(self, readers: int, seconds: float) -> None:
        """So many readers for so long."""
        threads = [threading.Thread(target=self._read, args=(n,)) for n in range(readers)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()

    def _read(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        turn = number
        time.sleep(number / 20)
        while not self._stop.is_set():
            address = self._addresses[turn % len(self._addresses)]
            started = time.perf_counter()
            connection.request("GET", address)
            answer = connection.getresponse()
            body = answer.read()
            self.times[address].append(time.perf_counter() - started)
            assert answer.status == 200, body[:200]
            turn += 1
            time.sleep(max(0.0, 1 - (time.perf_counter() - started)))


def first_answer(port: int, address: str) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", address)
    answer = connection.getresponse()
    assert answer.read()
    assert answer.status == 200
    return round(time.perf_counter() - started, 2)


def cpu_seconds(process: int) -> float:
    """What a process has taken of the processor so far; other work does not count."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(url: str) -> Iterator[tuple[int, int]]:
    """The service in a process of its own; yields its port and the number of the process."""
    line = [sys.executable, str(ROOT / "run_search.py"), "serve", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        service = subprocess.Popen(
            [*line, "--storage", url, "--state", folder],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert service.stdout is not None
        found = re.search(r":(\d+)/", service.stdout.readline())
        assert found is not None
        try:
            yield int(found[1]), service.pid
        finally:
            service.send_signal(signal.SIGINT)
            service.wait(30)


@contextmanager
def writing(url: str, trials: int, rate: float) -> Iterator[None]:
    """A search of another process."""
    spawn = multiprocessing.get_context("spawn")
    writer = spawn.Process(target=write, args=(url, trials, rate))
    writer.start()
    try:
        time.sleep(20)  # it reads the study before it writes
        yield
    finally:
        writer.kill()
        writer.join()


def until_shown(port: int, url: str, rounds: int) -> list[float]:
    """Seconds from a trial's end in the database until the open page has drawn it."""
    from playwright.sync_api import sync_playwright

    store, shared = Store(url), space()
    options = config(rounds + 1)
    store.create_study(study_record("small", options, shared, DatasetRecord("none", "none")))
    engine = Engine(store, store.study("small"), options, shared, sampler_row(options.sampler).make)
    measure(engine, shared.unshared)
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/studies/small")
        plot = page.locator("#front[data-points]")
        plot.wait_for()
        for _ in range(rounds):
            page.wait_for_timeout(700)
            before = plot.get_attribute("data-version")
            measure(engine, shared.unshared)
            stored = time.perf_counter()
            while plot.get_attribute("data-version") == before:
                page.wait_for_timeout(20)
            found.append(time.perf_counter() - stored)
        browser.close()
    store.close()
    return found


def milliseconds(times: list[float]) -> dict[str, float]:
    """Number, median, 95th percentile and most."""
    ordered = sorted(1000 * value for value in times)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    median = statistics.median(ordered)
    return {
        "n": len(ordered),
        "median": round(median),
        "p95": round(p95),
        "most": round(ordered[-1]),
    }


def watch(port: int) -> None:
    """Be told of changes of all studies, as the page of studies is."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/api/v1/events")
    answer = connection.getresponse()
    while answer.readline():
        pass


def main() -> None:
    """Fill, serve, read, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--storage", default=None)
    options = parser.parse_args()
    report: dict[str, Any] = {"options": vars(options)}
    with tempfile.TemporaryDirectory() as folder:
        url = options.storage or f"sqlite:///{folder}/benchmark.db"
        if is_empty(url):
            fill(url, options.trials)
            copy(url, options.studies - 1)
        addresses = ADDRESSES if options.studies == 1 else LISTS
        with serving(url) as (port, process):
            before = cpu_seconds(process)
            report["first answers, s"] = {key: first_answer(port, key) for key in addresses}
            report["they took of the processor, s"] = round(cpu_seconds(process) - before, 2)
            if options.studies == 1 and options.rounds:
                shown = until_shown(port, url, options.rounds)
                report["from store to screen, alone"] = milliseconds(shown)
            threading.Thread(target=watch, args=(port,), daemon=True).start()
            with writing(url, options.trials, options.rate):
                readers = Readers(port, addresses)
                readers.run(options.readers, options.seconds)
            report["answers"] = {key: milliseconds(row) for key, row in readers.times.items()}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
