"""What a data set costs: loading it twice, sharing it among workers, augmenting it.

    python benchmarks/loading.py FOLDER [--workers 2] [--rounds 3]

Loads the image folder with an empty cache and again with what the first left there, each in a new
process. Hands it to Ray workers, once as it is and once as ``numpy.memmap`` arrays, and measures
how much each worker's own memory grows while it reads all images. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import ray
import torch

from isoshare.evaluators.data.data_cache import cache_folder
from isoshare.evaluators.data.datasets import PARTS, Dataset, load_dataset
from isoshare.evaluators.data.folders.decoding import decode
from isoshare.evaluators.data.folders.folder_listing import list_folder
from isoshare.evaluators.data.splits import Part
from isoshare.evaluators.training.batches import use_threads

ROOT = Path(__file__).resolve().parent.parent
BATCH = 512
LOAD = """import sys, time; from isoshare.evaluators.data.datasets import load_dataset
start = time.perf_counter(); load_dataset(sys.argv[1], 0.2); print(time.perf_counter() - start)"""


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The median time of one call."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def load_in_new_process(name: str) -> float:
    """Seconds, imports not counted."""
    command = [sys.executable, "-c", LOAD, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return round(float(done.stdout), 2)


def as_memmaps(dataset: Dataset) -> Dataset:
    """The same arrays in the type that numpy gives to mapped files."""
    (entry,) = (cache_folder() / "prepared").iterdir()

    def mapped(name: str) -> np.memmap:
        return np.load(entry / f"{name}.npy", mmap_mode="r")  # type: ignore[no-any-return]

    parts = {name: Part(mapped(f"{name}-images"), mapped(f"{name}-labels")) for name in PARTS}
    return replace(dataset, **parts)  # type: ignore[arg-type]


def own_memory() -> float:
    """MiB that only this process has."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


@ray.remote(num_cpus=1)
class Worker:
    """One process that reads all images."""

    def __init__(self) -> None:
        self.kept: list[Dataset] = []

    def growth(self, reference: list[Any]) -> float:
        """MiB by which its own memory grows."""
        before = own_memory()
        self.kept.append(ray.get(reference[0]))
        for part in (self.kept[-1].train, self.kept[-1].validation, self.kept[-1].test):
            part.images.max()
        return round(own_memory() - before, 1)


def worker_memory(datasets: Iterable[Dataset], workers: int) -> list[list[float]]:
    """For each data set the growth of each worker."""
    path = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init(address="local", num_cpus=workers, log_to_driver=False, runtime_env=path)
    processes = [Worker.remote() for _ in range(workers)]  # type: ignore[attr-defined]
    grown = []
    for dataset in datasets:
        reference = ray.put(dataset)
        grown.append(ray.get([process.growth.remote([reference]) for process in processes]))
    ray.shutdown()
    return grown


def decode_with(threads: int, paths: list[str], size: tuple[int, int, int]) -> None:
    """Decode all paths."""
    channels, height, width = size
    work = partial(decode, height=height, width=width, channels=channels)
    if threads == 1:
        list(map(work, paths))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, paths))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    use_threads(1)
    name = f"folder:{options.folder.resolve()}"
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ISOSHARE_CACHE"] = cache
        loads = [load_in_new_process(name) for _ in range(1 + options.rounds)]
        dataset = load_dataset(name, 0.2)
        shared, copied = worker_memory([dataset, as_memmaps(dataset)], options.workers)
        size = dataset.train.images.shape[1:]
        paths = list(list_folder(options.folder.resolve()).train.paths[:5000])
        batch = torch.from_numpy(dataset.train.images[:BATCH]).float()
    threads = {n: seconds(partial(decode_with, n, paths, size), options.rounds) for n in (1, 2)}
    augment = partial(dataset.augmentation, batch, [torch.Generator().manual_seed(0)])
    parts = (dataset.train, dataset.validation, dataset.test)
    report = {
        "images": sum(map(len, parts)),
        "MiB": round(sum(part.images.nbytes for part in parts) / 2**20, 1),
        "first load, s": loads[0],
        "later loads, s": loads[1:],
        "own memory of each worker, MiB": {"as it is": shared, "as memmaps": copied},
        "time of two decoding threads / one": round(threads[2] / threads[1], 2),
        f"augmenting {len(batch)} images, ms": round(1000 * seconds(augment, 20), 1),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
