"""The benchmark that grows a study without training still counts what takes its time."""

from __future__ import annotations

import argparse

from benchmarks.scaling import simulate


def test_each_part_of_a_trial_takes_some_time() -> None:
    asked = {"trials": 40, "workers": 4, "sampler": "random", "segment": 20, "storage": ""}
    grown = simulate(argparse.Namespace(**asked))["growth"]
    assert [row["trials"] for row in grown] == [20, 40]
    for row in grown:
        parts = [row[f"{name}, ms"] for name in ("proposal", "database", "engine")]
        assert min(parts) > 0
        assert sum(parts) <= 1.01 * row["processor, ms"] + 0.02
