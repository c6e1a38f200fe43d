"""What 8 bits cost networks that were trained: test accuracy in float32 and in both formats.

    python benchmarks/int8_accuracy.py --dataset folder:PATH --weights FILE [--depth 20]
        [--backbone cifar_mobilenet_v2 --precision float32] [--resolution 16]
        [--plans unshared+pairs+...]
        [--epochs 1] [--images 45000] [--tested 4000] [--int8-epochs 0]
        [--out benchmarks/results/int8_accuracy.jsonl]

The networks and plans of benchmarks/projection.py, and everything in a filter basis: published
weights, or those that isoshare train wrote for another backbone, projected so that outputs agree,
then fine-tuned. 8 bits are fitted to 512 training images, and then as they are or --int8-epochs
later, on the training images, written. Rows are kept in --out, and a second call goes on from
there. Prints a table in Markdown with the standard error of the difference (the images on which
exactly one of the two is right), and the share of the test images that get another class than in
float32.
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

from benchmarks.kept import Row, keep, kept
from benchmarks.projection import RESNET, Bench, plans
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
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites

FITTED, BATCH = 512, 64
FORMATS = (ONNX, TFLITE)
KEY = ("backbone", "depth", "weights", "resolution", "plan", "epochs", "images", "int8_epochs")
COLUMNS = ("network", "plan", "parameters", "float32", "in 8 bits", "ONNX int8", "TFLite int8")


def main() -> None:
    """Measure what is not in the file yet, and print all."""
    options = parse()
    use_threads(1)
    rows = kept(options.out)
    known = {tuple(row[key] for key in KEY) for row in rows}
    bench = Bench(options)
    for name in options.plans.split("+"):
        asked = [
            {**vars(options), "weights": Path(options.weights).name, "plan": name, "int8_epochs": n}
            for n in sorted({0, options.int8_epochs})
        ]
        asked = [one for one in asked if tuple(one[key] for key in KEY) not in known]
        if not asked:
            continue
        plan = plan_of(name, bench.source)
        network = trained(bench, plan)
        for one in asked:
            rows.append({key: one[key] for key in KEY} | measured(bench, plan, network, one))
            keep(options.out, rows[-1])
    print(table(rows))


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--backbone", default=RESNET)
    parser.add_argument("--depth", type=int, default=20, help=f"of {RESNET}")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--precision", default="auto", help="of the fine-tuning")
    parser.add_argument("--plans", default="unshared+pairs+last stage tied")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, default=45_000)
    parser.add_argument("--tested", type=int, default=4_000)
    parser.add_argument("--int8-epochs", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/int8_accuracy.jsonl"))
    parser.set_defaults(distill=False, batch_size=128, learning_rate=0.05)
    return parser.parse_args()


def plan_of(name: str, network: nn.Module) -> SharingPlan:
    """By its name."""
    if name != "basis":
        return plans(network)[name]
    space = SearchSpace(find_sites(network), count_parameters(network), ("filter_basis",))
    return space.fully_shared_plan()


def measured(bench: Bench, plan: SharingPlan, network: nn.Module, asked: Row) -> Row:
    """One network written in both formats, after so many epochs in 8 bits, and tested."""
    images, labels = bench.test.normalised(bench.test.images), bench.test.labels
    with torch.no_grad():
        found = torch.cat([network(part).argmax(1) for part in torch.split(images, 500)])
    epochs = asked["int8_epochs"]
    tune = tuned_once(bench, epochs) if epochs else None
    row: Row = {
        "parameters": count_parameters(network),
        "tested": len(labels),
        "fitted": FITTED,
        "accuracy": float((found == labels).float().mean()),
        "torch": torch.__version__,
    }
    for form in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net"
            export_int8(network, path, PlanFile.of(plan), fitted(bench.train), form, tune=tune)
            again = form.run(path, images).argmax(1)
        row[form.name] = {
            **difference(found == labels, again == labels),
            "other": float((found != again).float().mean()),
        }
    return row


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
    network, _ = inherit(bench.source, plan, bench.known.importance)
    if plan.banks:
        match_outputs(network, bench.source, plan, bench.known.inputs)
        calibrate(network, bench.train)
    if bench.options.epochs:
        finish(bench.training(network), None, None)
    return network.eval()


def difference(before: Tensor, after: Tensor) -> Row:
    """Accuracy, and how many points it is from before, with the standard error of these."""
    changed = after.float() - before.float()
    return {
        "accuracy": float(after.float().mean()),
        "points": 100 * float(changed.mean()),
        "error": 100 * sqrt(float(changed.var()) / len(changed)),
    }


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", len(COLUMNS) * "|---" + "|"]
    for row in rows:
        depth = f"-{row['depth']}" if row["backbone"] == RESNET else ""
        cells = [
            f"{row['backbone']}{depth}",
            row["plan"],
            f"{row['parameters']:,}",
            f"{row['accuracy']:.2%}",
            f"{row['int8_epochs']} epochs" if row["int8_epochs"] else "as rounded",
        ]
        for one in (row[form.name] for form in FORMATS):
            change = f"{one['points']:+.2f} ± {one['error']:.2f}"
            cells.append(f"{one['accuracy']:.2%} ({change}), {one['other']:.2%} other")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
