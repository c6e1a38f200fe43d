"""Eight writers and a polling reader on one SQLite file: none is ever told that it is locked.

ISOSHARE_WRITE_SECONDS sets for how long: a few seconds by default, 60 by ``make chaos``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from isoshare.search.results.study_results import load_results
from isoshare.storage.store import Store
from tests.test_store import CONFIG, CONTEXT

SECONDS = float(os.environ.get("ISOSHARE_WRITE_SECONDS", "4"))
WRITERS = 8
ROOT = Path(__file__).parent.parent
WRITER = f"""
import sys, time
from datetime import UTC, datetime
from isoshare.space.plan import Bank, SharingPlan
from isoshare.storage.records import MeasurementRecord, StudyRecord, TrialRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import StudyConfig, StudyContext

url, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
store = Store(url)
config, context = StudyConfig.read({CONFIG!r}), StudyContext.read({CONTEXT!r})
store.create_study(StudyRecord(name, datetime.now(UTC), config, context))
store.take_lease(name)
print("ready", flush=True)
sys.stdin.readline()
number, until = 0, time.monotonic() + seconds
while time.monotonic() < until:
    plan = SharingPlan((Bank("kernel", {{}}, (name, f"site{{number}}")),))
    trial = TrialRecord(number, plan, "sampler", "running", {{"parameters": 5}}, {{}})
    store.add_trial(name, trial)
    store.renew_lease(name)
    for seed in range(2):
        one = MeasurementRecord(seed, "validation", {{"epochs": 2}}, {{"accuracy": 0.5}}, 1.0)
        store.add_measurements(name, number, [one], finished=seed == 1)
    number += 1
print(number)
"""


def start_writer(url: str, name: str) -> subprocess.Popen[str]:
    """A process that makes a study, waits for a line, and writes."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, name, str(SECONDS)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_no_writer_and_no_reader_is_ever_told_that_the_database_is_locked(url: str) -> None:
    names = [f"s{place}" for place in range(WRITERS)]
    writers = [start_writer(url, name) for name in names]  # all of them make the same new file
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n", writer.communicate()[1]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    store, reads, slowest, seen = Store(url), 0, 0.0, 0
    known = [0] * WRITERS
    while any(writer.poll() is None for writer in writers):
        start = time.monotonic()
        finished = sum(study.finished for study in store.studies())
        assert finished >= seen
        place = reads % WRITERS
        outcomes = len(load_results(store, names[place]).outcomes)
        assert outcomes >= known[place]
        known[place] = outcomes
        slowest = max(slowest, time.monotonic() - start)
        seen, reads = finished, reads + 1
        time.sleep(0.01)
    ends = [writer.communicate() for writer in writers]
    assert [error for _, error in ends if error] == []
    for name, (counted, _) in zip(names, ends, strict=True):
        trials = store.trials(name)
        assert len(trials) == int(counted) > 0
        assert all(len(trial.samples("accuracy")) == 2 for trial in trials)
    store.close()
    assert reads > SECONDS
    print(f"{sum(int(c) for c, _ in ends)} trials, {reads} reads, slowest {slowest:.2f} s")
