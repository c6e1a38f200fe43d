"""How much of its score does a network keep whose bytes in flash are a sixth of the unshared ones?

    python benchmarks/flash.py --dataset digits --epochs 30
    python benchmarks/flash.py --dataset folder:PATH --resolution 16 --epochs 6
    python benchmarks/flash.py --dataset folder:PATH --resolution 16 --trained unshared.safetensors
        solved.safetensors
    options: [--depth 56] [--plans unshared+tied] [--out benchmarks/results/flash.jsonl]

The anchor is HyperTinyPW (Shaalan 2026, MLSys, arXiv 2603.24916), which reports 6.31 times fewer
bytes in flash at 95 % of the score or more, all that belongs to the network counted. Here that is
what a device holds of it (kernels, scales, biases), and beside it the whole file for TFLite Micro,
which has the tables that describe layers as well. A CIFAR
ResNet is trained from scratch, each plan with the same rate, epochs and seed, written in 8 bits and
tested once in LiteRT, on all test images. --trained: networks that ``isoshare train`` has written,
all from the same weights, are written and tested so, by the name of their file. Rows are kept in
--out, and a second call goes on from there. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.int8_accuracy import fitted
from benchmarks.kept import Row, keep, kept
from benchmarks.projection import plans
from isoshare.evaluators.data.datasets import Dataset, load_dataset
from isoshare.evaluators.data.splits import DataOptions
from isoshare.evaluators.training.batches import Batches, normalised, use_threads
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.trainer import TrainingRun, finish
from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones import build_backbone
from isoshare.space.costs.closed_form import device_bytes
from isoshare.space.exports.int8 import export_int8
from isoshare.space.exports.tflite.export import TFLITE
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.sites import find_sites
from isoshare.space.weights.saving import load_network, read_plan

KEY = ("data", "depth", "side", "epochs", "plan", "seed", "weights")
"""Rows of networks that are trained from scratch have no weights."""
UNSHARED = "unshared"
RATE = 0.2
ANCHOR = 6.31


def main() -> None:
    """Train what is not in the file yet, and print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--depth", type=int, default=56)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--plans", default=f"{UNSHARED}+tied")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trained", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/flash.jsonl"))
    options = parser.parse_args()
    rows = kept(options.out)
    done = [{key: row[key] for key in KEY if key in row} for row in rows]
    data = load_dataset(options.dataset, 0.1, DataOptions(resolution=options.resolution))
    use_threads(1)
    for path in options.trained:
        asked = asked_of(path, data, Path(options.dataset).name)
        if asked not in done:
            rows.append(row_of_trained(path, asked, data))
            keep(options.out, rows[-1])
    for seed in range(0 if options.trained else options.seeds):
        for name in options.plans.split("+"):
            asked = {
                "data": Path(options.dataset).name,
                "depth": options.depth,
                "side": data.image_shape[1],
                "epochs": options.epochs,
                "plan": name,
                "seed": seed,
            }
            if asked not in done:
                rows.append(row_of(asked, data))
                keep(options.out, rows[-1])
    print(table(rows))


def row_of(asked: Row, data: Dataset) -> Row:
    """One training, its file, and what the file gets right."""
    train = normalised(data.train, data.train, data.augmentation)
    test = normalised(data.test, data.train)
    torch.manual_seed(asked["seed"])
    given = {"classes": data.classes, "in_channels": data.in_channels}
    unshared = build_backbone("resnet_cifar", {"depth": asked["depth"], **given})
    plan = plans(unshared)[asked["plan"]]
    network = apply_plan(unshared, plan)
    began = time.process_time()
    settings = TrainingSettings(asked["epochs"], 128, RATE)
    finish(TrainingRun([network], train, settings, [asked["seed"]]), None, None)
    seconds = round(time.process_time() - began)
    done = measured(network, unshared, plan, train, test)
    return {**asked, **done, "seconds": seconds}


def asked_of(path: Path, data: Dataset, name: str) -> Row:
    """What tells the row of a file that ``isoshare train`` has written from others."""
    file = read_plan(path)
    assert file.backbone is not None, "train writes it"
    last = file.measured[-1]
    return {
        "data": name,
        "depth": file.backbone.arguments["depth"],
        "side": data.image_shape[1],
        "epochs": last.fidelity["epochs"],
        "plan": path.stem,
        "seed": last.seed,
        "weights": "trained",
    }


def row_of_trained(path: Path, asked: Row, data: Dataset) -> Row:
    """What the network in a file gets right."""
    file, network = read_plan(path), load_network(path)
    assert file.backbone is not None, "train writes it"
    train = normalised(data.train, data.train, data.augmentation)
    test = normalised(data.test, data.train)
    unshared = build_backbone(file.backbone.name, file.backbone.arguments)
    done = measured(network, unshared, file.plan, train, test)
    return {**asked, **done}


def measured(
    network: nn.Module, unshared: nn.Module, plan: SharingPlan, train: Batches, test: Batches
) -> Row:
    """Sizes of a trained network, and what it gets right, as it is and as a file in 8 bits."""
    sites = find_sites(unshared)
    costs = network_costs(unshared, sites, test.normalised(test.images[:1]))
    size, logits = as_file(network.eval(), plan, train, test)
    with torch.no_grad():
        parts = torch.split(test.images, 500)
        expected = torch.cat([network(test.normalised(part)) for part in parts])
    return {
        "parameters": count_parameters(network),
        "float32": 4 * sum(one.numel() for one in {*network.parameters(), *network.buffers()}),
        "held": device_bytes(plan, sites, costs, "int8"),
        "file": size,
        "accuracy": right(expected, test),
        "accuracy_int8": right(logits, test),
        "train_images": len(train.labels),
        "test_images": len(test.labels),
        "torch": torch.__version__,
    }


def as_file(
    network: nn.Module, plan: SharingPlan, train: Batches, test: Batches
) -> tuple[int, Tensor]:
    """Bytes of the file in 8 bits, and its logits for the test images."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.tflite"
        export_int8(network, path, PlanFile.of(plan), fitted(train), TFLITE)
        return path.stat().st_size, TFLITE.run(path, test.normalised(test.images))


def right(logits: Tensor, test: Batches) -> float:
    """The share of the test images that get their class."""
    return float((logits.argmax(1) == test.labels).float().mean())


def table(rows: list[Row]) -> str:
    """In Markdown, each row beside the unshared one of its kind."""
    lines = [
        "| network | plan | epochs, seed | parameters | held | unshared : this | file "
        "| unshared : this | float32 | 8 bits | of unshared |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    base = {kind_of(row): row for row in rows if row["plan"] == UNSHARED}
    for row in rows:
        beside = base[kind_of(row)]
        cells = [
            f"ResNet-{row['depth']}, {row['data']} {row['side']}x{row['side']}",
            row["plan"],
            f"{row['epochs']}{'*' * ('weights' in row)}, {row['seed']}",
            f"{row['parameters']:,}",
            f"{row['held']:,}",
            f"{beside['held'] / row['held']:.2f}",
            f"{row['file']:,}",
            f"{beside['file'] / row['file']:.2f}",
            f"{row['accuracy']:.2%}",
            f"{row['accuracy_int8']:.2%}",
            f"{row['accuracy_int8'] / beside['accuracy_int8']:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def kind_of(row: Row) -> tuple[object, ...]:
    """What plans that are compared have in common."""
    return tuple(row.get(key) for key in KEY if key != "plan")


if __name__ == "__main__":
    main()
