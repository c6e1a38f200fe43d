"""What 8 bits cost networks that were trained: test accuracy in float32 and in both formats.

    python benchmarks/int8_accuracy.py --dataset folder:PATH --weights FILE [--depth 20]
        [--plans unshared+pairs+...] [--epochs 1] [--images 45000] [--tested 4000]
        [--int8-epochs 0]

The networks and plans of benchmarks/projection.py: published weights, projected so that outputs
agree, then fine-tuned. 8 bits are fitted to 512 training images, and then as they are or
--int8-epochs later, on the training images, written. Prints a table in Markdown with the standard
error of the difference (the images on which exactly one of the two is right), and the share of the
test images that get another class than in float32.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from math import sqrt
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.projection import Bench, plans
from isoshare.evaluators.inheriting.weight_projection import calibrate, inherit
from isoshare.evaluators.sensitivities.output_matching import match_outputs
from isoshare.evaluators.training.batches import Batches, use_threads
from isoshare.evaluators.training.quantisation_aware import answer_alike
from isoshare.evaluators.training.trainer import finish
from isoshare.space.apply import count_parameters
from isoshare.space.exports.fake_quantised import FakeQuantised
from isoshare.space.exports.int8 import Tune, export_int8
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.tflite.export import TFLITE
from isoshare.space.plan import PlanFile, SharingPlan

FITTED, BATCH = 512, 64


def main() -> None:
    """Print a row for each plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--plans", default="unshared+pairs+last stage tied")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, default=45_000)
    parser.add_argument("--tested", type=int, default=4_000)
    parser.add_argument("--int8-epochs", type=int, default=0)
    options = parser.parse_args()
    options.distill = False
    use_threads(1)
    bench = Bench(options)
    known = plans(bench.source)
    print(
        "| plan | parameters | float32 | fine-tuned | ONNX int8 | TFLite int8 |\n"
        + 6 * "|---"
        + "|"
    )
    for name in options.plans.split("+"):
        network = trained(bench, known[name])
        for epochs in sorted({0, options.int8_epochs}):
            print(row(bench, name, known[name], network, epochs), flush=True)


def row(bench: Bench, name: str, plan: SharingPlan, network: nn.Module, epochs: int) -> str:
    """One network written in both formats, after so many epochs in 8 bits, and tested."""
    images, labels = bench.test.normalised(bench.test.images), bench.test.labels
    with torch.no_grad():
        found = torch.cat([network(part).argmax(1) for part in torch.split(images, 500)])
    right = float((found == labels).float().mean())
    cells = [name, f"{count_parameters(network):,}", f"{right:.2%}", f"{epochs} epochs"]
    tune = tuned_once(bench, epochs) if epochs else None
    for form in (ONNX, TFLITE):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net"
            export_int8(network, path, PlanFile.of(plan), fitted(bench.train), form, tune=tune)
            again = form.run(path, images).argmax(1)
        other = float((found != again).float().mean())
        cells.append(f"{difference(found == labels, again == labels)}, {other:.2%} other")
    return f"| {' | '.join(cells)} |"


def fitted(train: Batches) -> list[Tensor]:
    """Images that 8 bits are fitted to."""
    some = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))[:FITTED]
    return list(torch.split(train.normalised(train.images[some]), BATCH))


def tuned_once(bench: Bench, epochs: int) -> Tune:
    """The same fine-tuning for both formats."""
    learnt: list[dict[str, Tensor]] = []

    def tune(student: FakeQuantised, teacher: nn.Module) -> None:
        if learnt:
            student.load_state_dict(learnt[0])
            return
        answer_alike(student, teacher, bench.some(), epochs)
        learnt.append(student.state_dict())

    return tune


def trained(bench: Bench, plan: SharingPlan) -> nn.Module:
    """Projected and fine-tuned."""
    network, _ = inherit(bench.source, plan, bench.importance)
    if plan.banks:
        match_outputs(network, bench.source, plan, bench.inputs)
    calibrate(network, bench.train)
    if bench.options.epochs:
        finish(bench.training(network), None, None)
    return network.eval()


def difference(before: Tensor, after: Tensor) -> str:
    """Accuracy, and how many points it is from before, with the standard error of these."""
    changed = after.float() - before.float()
    points, count = float(changed.mean()), len(changed)
    error = sqrt(float(changed.var()) / count)
    return f"{float(after.float().mean()):.2%} ({100 * points:+.2f} ± {100 * error:.2f})"


if __name__ == "__main__":
    main()
