"""Our trainer beside a plain PyTorch loop: the same network, images, batch size and machine.

    python benchmarks/throughput.py --dataset folder:PATH [--width 8] [--rounds 5] [--one-thread]

The plain loop is what a tutorial has: a ``DataLoader`` with 2 workers, torchvision's transforms
(crop, flip, tensor, normalise), float32, SGD. Once it has torch's own number of threads, once one.
Ours augments too; it runs as one training with all cores, and as a search runs it: one training of
one thread a core, side by side. All take turns. Then the time each needs to a validation accuracy:
the plain loop until an epoch reaches it, ours with the shortest of some schedules that ends above
it. Every run is a process of its own. Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.evaluators.data import datasets
from isoshare.evaluators.data.splits import DataOptions, Part
from isoshare.evaluators.training.batches import device, normalised, use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import train
from isoshare.space.backbones import build_backbone
from isoshare.space.backbones.torchvision_operators import declare_missing

declare_missing()
from torchvision import transforms  # noqa: E402  its operators are declared first

CORES = os.cpu_count() or 1
WARM_UP = 3
"""Batches."""
SCHEDULES = (2, 3, 4, 6, 8, 12)
LONGEST = 30
"""Epochs after which the plain loop is given up."""


@dataclass(frozen=True)
class Task:
    """What is trained; seeds: so many networks side by side in each of our processes."""

    data: datasets.Dataset
    width: int
    batch: int
    seeds: int

    def network(self) -> nn.Module:
        """The same weights each time."""
        torch.manual_seed(0)
        arguments = {
            "depth": 14,
            "width": self.width,
            "classes": self.data.classes,
            "in_channels": self.data.in_channels,
        }
        return build_backbone("resnet_cifar", arguments).to(device())


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images one at a time, as torchvision's own data sets give them."""

    def __init__(self, part: Part, transform: transforms.Compose) -> None:
        self.images, self.labels, self.transform = part.images, part.labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = transforms.functional.to_pil_image(self.images[index].transpose(1, 2, 0))
        return self.transform(picture), int(self.labels[index])


def plain_epochs(task: Task, network: nn.Module) -> Generator[Iterator[int]]:
    """Epochs without end, each of which gives the size of every batch after its step."""
    part = task.data.train
    pixels = torch.from_numpy(part.images).float().div_(255)
    mean, deviation = pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3))
    del pixels
    steps = [
        transforms.RandomCrop(part.images.shape[-1], padding=part.images.shape[-1] // 8),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(mean.tolist(), deviation.tolist()),
    ]
    pictures = Pictures(part, transforms.Compose(steps))
    loader = DataLoader(pictures, task.batch, shuffle=True, num_workers=2, drop_last=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def epoch() -> Iterator[int]:
        network.train()
        for images, labels in loader:
            loss = functional.cross_entropy(network(images.to(device())), labels.to(device()))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()  # tutorials print it
            yield len(labels)

    while True:
        yield epoch()


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for, the loader's."""
    own, theirs = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime


def plain_speed(task: Task, seconds: float) -> tuple[float, float]:
    """Images a second, and images a second of CPU time, from the fourth batch on."""
    done, started, spent = 0, 0.0, 0.0
    epochs = plain_epochs(task, task.network())
    for batch, size in enumerate(chain.from_iterable(epochs)):
        if batch < WARM_UP:
            started, spent = time.perf_counter(), cpu_seconds()
            continue
        done += size
        if (elapsed := time.perf_counter() - started) > seconds:
            break
    epochs.close()
    gc.collect()  # which ends the loader's processes, so that their time is counted
    return done / elapsed, done / (cpu_seconds() - spent)


def our_speed(task: Task, seconds: float) -> tuple[float, float]:
    """The same of ours: epochs of some batches, after a first one that warms up."""
    images = 16 * task.batch
    some = Part(task.data.train.images[:images], task.data.train.labels[:images])
    times: list[tuple[float, float]] = []

    def report(epoch: int, epochs: int, values: object) -> bool:
        times.append((time.perf_counter(), cpu_seconds()))
        return times[-1][0] - times[0][0] > seconds

    settings = TrainingSettings(10_000, task.batch, 0.1)
    data = normalised(some, task.data.train, task.data.augmentation)
    networks = [task.network() for _ in range(task.seeds)]
    train(networks, data, settings, range(task.seeds), report=report)
    done = images * task.seeds * (len(times) - 1)
    return done / (times[-1][0] - times[0][0]), done / (times[-1][1] - times[0][1])


def plain_time(task: Task, goal: float) -> dict[str, float | None]:
    """Seconds of training, without those of measuring, until the accuracy is reached."""
    network, spent = task.network(), 0.0
    held_out = normalised(task.data.validation, task.data.train)
    for number, epoch in enumerate(plain_epochs(task, network), start=1):
        started = time.perf_counter()
        for _ in epoch:
            pass
        spent += time.perf_counter() - started
        network.eval()
        (value,) = accuracy(lambda images: network(images[0])[None], 1, held_out)
        if value >= goal or number == LONGEST:
            reached = spent if value >= goal else None
            return {"seconds": reached, "epochs": number, "accuracy": value}
    raise AssertionError("the epochs have no end")


def our_time(task: Task, goal: float) -> dict[str, float | None]:
    """Seconds of training of the shortest schedule that ends above the accuracy."""
    data = normalised(task.data.train, task.data.train, task.data.augmentation)
    held_out = normalised(task.data.validation, task.data.train)
    for epochs in SCHEDULES:
        started = time.perf_counter()
        forward = train([task.network()], data, TrainingSettings(epochs, task.batch, 0.2), [0])
        spent = time.perf_counter() - started
        (value,) = accuracy(forward, 1, held_out)
        if value >= goal:
            return {"seconds": spent, "epochs": epochs, "accuracy": value}
    return {"seconds": None, "epochs": SCHEDULES[-1], "accuracy": value}


WAYS: dict[str, tuple[str, int, int]] = {  # what, threads, side by side
    "plain": ("plain_speed", 0, 1),
    "plain, one thread": ("plain_speed", 1, 1),
    "ours, one training": ("our_speed", CORES, 1),
    "ours, a training a core": ("our_speed", 1, CORES),
}


def in_processes(what: str, threads: int, count: int, argument: float) -> list[Any]:
    """What ``count`` processes at once return."""
    command = [sys.executable, __file__, *sys.argv[1:], "--run", what, "--argument", str(argument)]
    command += ["--threads", str(threads)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return [json.loads(process.communicate()[0]) for process in running]


def against_plain(speeds: dict[str, list[float]]) -> dict[str, object]:
    """The speeds of each way, and how many times those of the plain loop they are, by round."""
    found: dict[str, object] = {}
    for name, ours in speeds.items():
        rows: dict[str, object] = {"all": [round(speed) for speed in ours]}
        for plain in speeds.keys() & {"plain", "plain, one thread"}:
            ratios = [a / b for a, b in zip(ours, speeds[plain], strict=True)]
            shown = (median(ratios), min(ratios), max(ratios))
            rows[f"times {plain}"] = "{:.2f} ({:.2f} to {:.2f})".format(*shown)
        found[name] = rows
    return found


def compare(options: argparse.Namespace) -> dict[str, object]:
    """All ways in turn, then the times to an accuracy."""
    report: dict[str, object] = {"options": vars(options), "device": str(device())}
    ways = {name: way for name, way in WAYS.items() if way[1] == 1 or not options.one_thread}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds):
        for name, way in ways.items():
            speeds = in_processes(*way, options.seconds)
            wall[name].append(sum(speed for speed, _ in speeds))
            cpu[name].append(median(speed for _, speed in speeds))
        print(f"round {turn + 1}: {wall} {cpu}", file=sys.stderr)
    if options.rounds:
        report["images a second"] = against_plain(wall)
        report["images a second of CPU time"] = against_plain(cpu)
    if options.goal:
        report[f"time to {options.goal}, one thread each"] = {
            name: [in_processes(what, 1, 1, options.goal)[0] for _ in range(options.repeats)]
            for name, what in (("plain", "plain_time"), ("ours", "our_time"))
        }
    return report


def main() -> None:
    """Measure and print; with --run, be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--subset", type=int, default=12_500)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--one-thread", action="store_true", help="only ways of one thread")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--goal", type=float, default=0.55, help="0 to leave it out")
    parser.add_argument("--repeats", type=int, default=2, help="of the time to the goal")
    for own in ("--run", "--argument", "--threads"):
        parser.add_argument(own, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.run:
        print(json.dumps(compare(options), indent=2))
        return
    if int(options.threads):
        use_threads(int(options.threads))
    wanted = DataOptions(subset=options.subset, resolution=options.resolution)
    data = datasets.load_dataset(options.dataset, 0.2, wanted)
    task = Task(data, options.width, options.batch, options.seeds)
    work = {f.__name__: f for f in (plain_speed, our_speed, plain_time, our_time)}[options.run]
    print(json.dumps(work(task, float(options.argument))))


if __name__ == "__main__":
    main()
