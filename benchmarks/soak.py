"""Whether the service stays as it is for hours: memory, descriptors, times of answers, and losses.

    python benchmarks/soak.py [--minutes 10] [--readers 20] [--streams 50] [--trials 500]
        [--out benchmarks/results/soak.jsonl]

The service is the real command, on a database in a temporary folder, and is asked by loopback. A
study of ``--trials`` trials is there; readers ask for pages, figures, tables and metrics, once a
second each; streams of events stay open. Meanwhile searches that a table answers are launched,
stopped, resumed and deleted, and between two of them the file of the database goes away for some
seconds; every other time a copy of it comes back. Answers of 503 count as right only then.

Prints a table by minute (requests, 95th percentile, resident memory, descriptors, threads) and
adds a line of JSON to ``--out``. "lost" names whatever is not as it must be: an answer that failed,
a stream that ended by itself or was not told of the last change, a trial that had been counted and
is not in the database, a deed that the audit has not. "shutdown" are the seconds from SIGINT, with
all streams open, to the end of the process.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import keep
from benchmarks.service import fill, milliseconds, serving
from benchmarks.soak_work import Work
from isoshare.storage.store import Store

ADDRESSES = (
    "/",
    "/fragments/studies",
    "/api/v1/studies",
    "/studies/big",
    "/api/v1/studies/big/front",
    "/api/v1/studies/big/figure",
    "/api/v1/studies/big/trials?sort=-accuracy&limit=50",
    "/studies/big/facts",
    "/launch",
    "/metrics",
)
SAMPLE_SECONDS = 2.0


class Soak:
    """What readers, streams and a sampler see of one service. lost: what is not as it must be."""

    def __init__(self, port: int, process: int) -> None:
        self.port, self.process = port, process
        self.began = time.monotonic()
        self.over = threading.Event()
        self.answers: list[tuple[int, float]] = []
        self.samples: list[tuple[int, int, int, int]] = []
        self.last: dict[int, str] = {}
        self.lost: Counter[str] = Counter()
        self.work = Work(port, self.lost)

    @property
    def minute(self) -> int:
        """The one that runs, from 0."""
        return int((time.monotonic() - self.began) / 60)

    def read(self, number: int) -> None:
        """Ask in turn, once a second."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.over.wait(0.05 * number % 1):
            address = ADDRESSES[number % len(ADDRESSES)]
            away = self.work.away
            started = time.perf_counter()
            try:
                connection.request("GET", address)
                answer = connection.getresponse()
                answer.read()
            except OSError as error:
                self.lost[f"GET {address}: {type(error).__name__}"] += 1
                connection.close()
                continue
            took = time.perf_counter() - started
            self.answers.append((self.minute, took))
            gone = answer.status == 503 and (away or self.work.away or self.work.just_back)
            if answer.status != 200 and not gone:
                self.lost[f"GET {address}: {answer.status}"] += 1
            number += 1
            self.over.wait(max(0.0, 1 - took))

    def follow(self, number: int) -> None:
        """Be told of changes until the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/api/v1/events")
        answer = connection.getresponse()
        while line := answer.readline():
            if line.startswith(b"data:"):
                self.last[number] = line.decode().strip()
        if not self.over.is_set():
            self.lost["a stream ended by itself"] += 1

    def sample(self) -> None:
        """Look at the process of the service."""
        folder = Path(f"/proc/{self.process}")
        while not self.over.wait(SAMPLE_SECONDS):
            status = dict(
                line.split(":", 1) for line in (folder / "status").read_text().splitlines()
            )
            held = len(list((folder / "fd").iterdir()))
            threads, kilobytes = int(status["Threads"]), int(status["VmRSS"].split()[0])
            self.samples.append((self.minute, kilobytes // 1024, held, threads))

    def run(self, minutes: float, readers: int, streams: int, file: Path) -> None:
        """All of it, for so long; streams are still open afterwards."""
        followers = [threading.Thread(target=self.follow, args=(n,)) for n in range(streams)]
        others = [threading.Thread(target=self.read, args=(n,)) for n in range(readers)]
        for thread in (*followers, *others, threading.Thread(target=self.sample)):
            thread.daemon = True
            thread.start()
        while time.monotonic() - self.began < 60 * minutes:
            self.work.round(file)
        self.work.check_audit()
        time.sleep(2)  # streams are told within a second of the last change
        told = Counter(self.last.values())
        if len(self.last) < streams or len(told) > 1:
            self.lost[f"{streams} streams were last told {dict(told)}"] += 1

    def rows(self) -> list[dict[str, Any]]:
        """One for each minute: the most of its samples."""
        rows = []
        for minute in sorted({row[0] for row in self.answers}):
            seen = [row[1:] for row in self.samples if row[0] == minute]
            most = [max(column) for column in zip(*seen, strict=True)] or [0, 0, 0]
            times = milliseconds([took for at, took in self.answers if at == minute])
            rows.append(
                {"minute": minute + 1, **times}
                | dict(zip(("rss_mib", "descriptors", "threads"), most, strict=True))
            )
        return rows


def missing(url: str, counted: dict[str, int], lost: Counter[str]) -> None:
    """Note trials that were counted and are not in the database."""
    store = Store(url)
    for name, number in counted.items():
        there = sum(trial.state == "finished" for trial in store.trials(name))
        if there < number:
            lost[f"{name} has {there} finished trials, {number} were counted"] += 1
    store.close()


def main() -> None:
    """Fill, serve, soak, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/soak.jsonl"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "soak.db"
        url = f"sqlite:///{file}"
        fill(url, options.trials)
        with serving(url) as (port, process):
            soak = Soak(port, process)
            soak.work.counted["big"] = options.trials
            soak.run(options.minutes, options.readers, options.streams, file)
            soak.over.set()
            stopped = time.perf_counter()
        shutdown = round(time.perf_counter() - stopped, 2)
        missing(url, soak.work.counted, soak.lost)
    for row in soak.rows():
        print(*(f"{key} {value}" for key, value in row.items()), sep="  ")
    report = {key: value for key, value in vars(options).items() if key != "out"}
    report |= {"rows": soak.rows(), "deeds": dict(soak.work.deeds), "lost": dict(soak.lost)}
    report |= {"shutdown": shutdown, "load": os.getloadavg()[0], "cpus": os.cpu_count()}
    report |= {"python": platform.python_version()}
    print(json.dumps({key: value for key, value in report.items() if key != "rows"}, indent=2))
    keep(options.out, report)


if __name__ == "__main__":
    main()
