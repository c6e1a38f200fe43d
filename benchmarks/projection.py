"""How much of what a trained network knows survives its projection onto a plan?

    python benchmarks/projection.py --dataset folder:PATH --weights FILE [--depth 20] [--epochs 0]
        [--plans pairs+tied] [--starts kernels,outputs,channels] [--distill] [--images 45000]
        [--batch-size 128] [--learning-rate 0.05]

Ten plans of all methods and the unshared network, a CIFAR ResNet with published weights (shortcut
"pad"). Start "kernels" projects kernels alone, "outputs" also matches what sites compute,
"channels" renumbers hidden channels before that, as a search does. Test accuracy right away, batch
normalisation estimated again on 2,048 training images, or after epochs of fine-tuning: SGD, crop
and flip, seed 0. Seconds are of the processor, one thread. --backbone names another network,
--resolution the pixels that images are shrunk to. Every row is kept in --out, and a second call
goes on from there. Prints a table.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import Row, keep, kept
from isoshare.evaluators.data.datasets import Dataset, load_dataset
from isoshare.evaluators.data.splits import DataOptions, stratified_subset, take
from isoshare.evaluators.inheriting.channel_alignment import TrainedNetwork, aligned
from isoshare.evaluators.inheriting.fisher_information import fisher
from isoshare.evaluators.inheriting.weight_projection import calibrate, inherit
from isoshare.evaluators.sensitivities.output_matching import (
    BATCH,
    IMAGES,
    input_statistics,
    match_outputs,
)
from isoshare.evaluators.training.batches import Batches, normalised, use_threads
from isoshare.evaluators.training.distillation import DistilledTraining, Teacher
from isoshare.evaluators.training.optimizers import TrainingSettings
from isoshare.evaluators.training.scoring import accuracy
from isoshare.evaluators.training.trainer import TrainingRun, finish
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import find_sites, isomorphic_groups
from isoshare.space.weights.trained_weights import GivenWeights

RESNET = "resnet_cifar"
KEY = (
    *("weights", "plan", "start", "epochs", "distill", "images", "tested"),
    *("batch_size", "learning_rate"),
)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--plans")
    parser.add_argument("--starts", default="kernels,outputs,channels")
    parser.add_argument("--distill", action="store_true")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--images", type=int, default=45_000)
    parser.add_argument("--tested", type=int, default=4_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/projection.jsonl"))
    parser.add_argument("--backbone", default=RESNET)
    parser.add_argument("--resolution", type=int)
    parser.set_defaults(precision="auto")
    return parser.parse_args()


def plans(network: nn.Module) -> dict[str, SharingPlan]:
    """Ten plans by name, from all private to all tied; ranks grow with the width.

    Of convolutions alone; those with a kernel for each channel are left out of bases, low ranks and
    the generator.
    """
    convolutions = [site for site in find_sites(network) if site.is_image_convolution]
    groups = [[site.name for site in one] for one in isomorphic_groups(convolutions)]
    dense = [one for one in isomorphic_groups(convolutions) if one[0].groups == 1]
    names = [[site.name for site in one] for one in dense]
    pairs = [one[start : start + 2] for one in groups for start in range(0, len(one) - 1, 2)]
    least = [max(1, min(one[0].out_channels, one[0].in_channels) // 16) for one in dense]

    def basis(shared: int, unique: int, parts: list[list[str]]) -> SharingPlan:
        ranks = [{"shared_rank": shared * m, "unique_rank": unique * m} for m in least]
        return of("filter_basis", parts, *ranks)

    everything = [name for one in names for name in one]
    return {
        "unshared": SharingPlan(),
        "pairs": of("kernel", pairs),
        "basis 16/1, first blocks private": basis(16, 1, [_later(one) for one in names]),
        "tied": of("kernel", groups),
        "last stage in pairs": of("kernel", [one for one in pairs if one[0] in groups[-1]]),
        "last stage tied": of("kernel", groups[-1:]),
        "anchored": of("anchored", groups),
        "anchored pairs": of("anchored", pairs),
        "basis 8/0": basis(8, 0, names),
        "low rank 8": of("low_rank", names, {"rank": 8}),
        "generator 16-128": of(
            "slice_generator", [everything], {"slice_size": 16, "code_size": 128}
        ),
    }


def _later(names: list[str]) -> list[str]:
    """Without the first block of each stage; in other networks without the first layer of each."""
    in_stages = [name for name in names if name.startswith("stages.")]
    return [name for name in in_stages if name.split(".")[2] != "0"] or names[1:]


def of(method: str, parts: list[list[str]], *options: Row) -> SharingPlan:
    """A bank for each part, with its options, or all with the same."""
    chosen = options if len(options) == len(parts) else [*options, {}][:1] * len(parts)
    banks = (Bank(method, one, tuple(part)) for one, part in zip(chosen, parts, strict=True))
    return SharingPlan(tuple(banks))


class Bench:
    """The trained network and its data, once for all rows."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        data = load_dataset(options.dataset, 0.1, DataOptions(resolution=options.resolution))
        arguments: dict[str, Argument] = {"classes": data.classes}
        if options.backbone == RESNET:
            arguments |= {"depth": options.depth, "shortcut": "pad"}
        self.source = build_backbone(options.backbone, arguments)
        given = GivenWeights(options.weights).read(self.source, options.backbone, arguments)
        self.source.load_state_dict(given.state)
        self.source.eval()
        self.train = normalised(data.train, data.train, data.augmentation)
        self.test = tested(data, options.tested)
        began = time.process_time()
        importance = fisher(self.source, self.train)
        fishing = time.process_time() - began
        inputs = input_statistics(self.source, self.train.first(IMAGES, BATCH))
        self.known = TrainedNetwork(self.source, importance, inputs)
        self.once = {"kernels": fishing, "outputs": time.process_time() - began}

    def row(self, name: str, plan: SharingPlan, start: str) -> Row:
        """One row, measured."""
        once = self.once["kernels" if start == "kernels" else "outputs"]
        options, began, known = self.options, time.process_time() - once, self.known
        if start == "channels":
            known = aligned(known, plan, next(self.train.first(BATCH, BATCH))[0])
        network, _ = inherit(known.network, plan, known.importance)
        if start != "kernels":
            match_outputs(network, known.network, plan, known.inputs, importance=known.importance)
        calibrate(network, self.train)
        seconds = time.process_time() - began
        if options.epochs:
            finish(self.training(network), None, None)
        network.eval()
        (right,) = accuracy(lambda images: network(images[0])[None], 1, self.test, 500)
        return {
            **self.key(name, start),
            "parameters": count_parameters(network),
            "accuracy": right,
            "projection_seconds": round(seconds, 1),
            "torch": torch.__version__,
        }

    def key(self, name: str, start: str) -> Row:
        """What tells a row from others."""
        asked = {**vars(self.options), "weights": Path(self.options.weights).name}
        return {key: {**asked, "plan": name, "start": start}[key] for key in KEY}

    def training(self, network: nn.Module) -> TrainingRun:
        """The fine-tuning."""
        data = self.some()
        options = self.options
        settings = TrainingSettings(
            options.epochs, options.batch_size, options.learning_rate, precision=options.precision
        )
        if options.distill:
            teacher = Teacher(self.source)
            return DistilledTraining([network], data, settings, [0], teacher=teacher)
        return TrainingRun([network], data, settings, [0])

    def some(self) -> Batches:
        """As many training images as are asked for."""
        index = torch.randperm(len(self.train.labels), generator=torch.Generator().manual_seed(0))
        some = index[: self.options.images]
        return replace(self.train, images=self.train.images[some], labels=self.train.labels[some])


def tested(data: Dataset, count: int) -> Batches:
    """A stratified choice of test images."""
    some = stratified_subset(data.test.labels, min(count, len(data.test.labels)))
    return normalised(take(data.test, some), data.train)


def main() -> None:
    """Measure what is missing and print everything."""
    options = parse()
    use_threads(1)
    bench = Bench(options)
    chosen = options.plans.split("+") if options.plans else None
    done = [{key: row[key] for key in KEY} for row in kept(options.out)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name, plan in plans(bench.source).items():
        for start in options.starts.split(","):
            is_wanted = (chosen is None or name in chosen) and (plan.banks or start == "kernels")
            if is_wanted and bench.key(name, start) not in done:
                keep(options.out, bench.row(name, plan, start))
    for row in kept(options.out):
        print(" | ".join(str(row[key]) for key in (*KEY[1:], "parameters", "accuracy")))


if __name__ == "__main__":
    main()
