"""The benchmark of devices: what fresh processes hold of a file, and how long it takes them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from benchmarks.device import NOTHING, UNSHARED, held, table, timed, write_all


def test_a_larger_network_holds_more_and_takes_longer(tmp_path: Path) -> None:
    first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    wide = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 1024, 3, 8))
    small = write_all(tmp_path / "small", first, NOTHING, ["tflite"])
    large = write_all(tmp_path / "large", wide, NOTHING, ["tflite"])
    weights = 16 * 27 + 1024 * 144
    found = {**held(large["tflite"], small["tflite"]), **timed(large["tflite"], small["tflite"], 9)}
    assert weights <= large["tflite"].stat().st_size < 1.2 * weights
    assert 30 * 30 * 16 <= found["activations"] < found["arena"] < 1_000_000
    assert found["loaded"] <= found["first"]
    assert found["first"] >= 30 * 30 * 16
    assert found["ms"] > found["unshared_ms"]
    row = {
        **found,
        "network": "wide",
        "method": UNSHARED,
        "format": "tflite",
        "counted": 1,
        "file": 2,
    }
    assert table([row]).splitlines()[-1].startswith("| wide | unshared | tflite | 0 | 0 |")
