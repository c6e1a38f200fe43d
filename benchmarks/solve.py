"""How good are plans that are solved from scores alone, and how long does that take?

    python benchmarks/solve.py --dataset folder:PATH [--weights FILE] [--parts ...]

On each table of ShareBench the unshared network is trained as the table's was (of digits
for 20 epochs), scored once, and every plan's score is compared with the mean over the table's
seeds: Spearman's correlation, the partial one with the logarithm of the parameters held fixed, with
bootstrap intervals over the plans, and the true hypervolume of the predicted front as a share of
the true front's. Scores by how far outputs move, alone and with the loss that tied pairs add, and
the accuracy without fine-tuning of every plan (--inherit, minutes). The second kind is kept in
benchmarks/results/table_scores.json, for benchmarks/search_efficiency.py.

Seconds of the processor, one thread, to score ResNet-20 (with --weights, or random ones) and
torchvision's ResNet-50 on random images of 224x224 pixels, and to solve for one and two budgets.

Every part that is finished is kept in --out, and a second call goes on from there. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ranking import interval
from benchmarks.search_efficiency import SCORES
from benchmarks.sharebench import evaluator
from benchmarks.truth import score, true_front, truth_of
from isoshare.evaluators.data.datasets import load_dataset
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.sensitivities.output_matching import BATCH, IMAGES
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.evaluators.sensitivities.sensitivity import score_sharing
from isoshare.evaluators.sharebench import Table
from isoshare.evaluators.training.batches import normalised, use_threads
from isoshare.evaluators.training.scoring import accuracy_and_loss
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.constraints import exact_limits
from isoshare.search.solver.plan_solver import PlanSolver
from isoshare.search.solver.predicted_front import predicted_front
from isoshare.search.workflows.preparation.scores import scores_on
from isoshare.search.workflows.preparation.tabular import table_space
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.methods import METHODS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.space.weights.trained_weights import GivenWeights

TABLES = ("sharebench-digits", "sharebench-cifar10", "sharebench-cifar10-16")
WITH_LOSS = "outputs and loss"
Found = dict[str, Any]


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="CIFAR-10, as folder:PATH")
    parser.add_argument("--weights", help="of a ResNet-20 for CIFAR-10")
    parser.add_argument("--parts", default="sharebench-digits,sharebench-cifar10,resnet20,resnet50")
    parser.add_argument("--inherit", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/solve.json"))
    return parser.parse_args()


def heir_of(table: str, dataset: str | None) -> InheritingEvaluator:
    """What the unshared network of a table comes from, without fine-tuning."""
    made: TrainingEvaluator = evaluator(table, dataset)
    if isinstance(made, InheritingEvaluator):
        return made
    asked = (made.backbone, made.arguments, made.dataset, made.settings)
    return InheritingEvaluator(*asked, pretrain_epochs=20)


def of_table(name: str, options: argparse.Namespace) -> Found:
    """Correlations and hypervolumes of one table."""
    heir = heir_of(name, options.dataset if "cifar10" in name else None)
    heir.prepare()
    table, network = Table.load(name), heir.unshared()
    space = table_space(table)
    assert isinstance(space, SearchSpace), "the tables that are solved have one backbone"
    found: Found = {}
    for kind, loss in (("outputs", None), (WITH_LOSS, functional.cross_entropy)):
        began = time.process_time()
        scores = score_sharing(network, space, heir.train_batches.first(IMAGES, BATCH), loss=loss)
        seconds = time.process_time() - began
        order = np.array([-scores.plan(plan) for plan in table.plans])
        found[kind] = {**compared(table, order), "seconds": round(seconds, 1)}
        found[kind]["front"] = hypervolume_share(name, space, scores)
    kept = json.loads(SCORES.read_text()) if SCORES.exists() else {}
    SCORES.write_text(json.dumps({**kept, name: scores.document()}) + "\n")
    if options.inherit:
        rows = [accuracy(heir, plan) for plan in track(table.plans, console=Console(stderr=True))]
        found["0 epochs of inheritance"] = compared(table, np.array(rows))
    return found


def compared(table: Table, order: NDArray[Any]) -> Found:
    """Spearman and partial Spearman of a score with what is true."""
    space = table_space(table)
    truth = table.accuracy("validation")[:, :, -1].mean(axis=1)
    size = np.log([space.trainable_parameters(plan) for plan in table.plans])
    return interval(order, truth, size, 500)


def hypervolume_share(name: str, space: SearchSpace, scores: PlanScores) -> Found:
    """Of the predicted front, without a trial."""
    plans = [one.plan for one in predicted_front(space, scores)]
    truth, reference = truth_of(name)
    points = [truth[plan.fingerprint] for plan in plans if plan.fingerprint in truth]
    return {"plans": len(plans), "share": round(score(points, reference) / true_front(name)[0], 3)}


def accuracy(heir: InheritingEvaluator, plan: SharingPlan) -> float:
    """Without fine-tuning, on the validation images."""
    network = heir.network(plan, 0).eval()
    found = accuracy_and_loss(lambda images: network(images[0])[None], heir.held_out["validation"])
    return found["accuracy"]


def resnet20(options: argparse.Namespace) -> Found:
    """Times of ResNet-20 on CIFAR-10."""
    arguments: dict[str, Argument] = {"depth": 20, "shortcut": "pad"}
    network = build_backbone("resnet_cifar", arguments)
    if options.weights:
        given = GivenWeights(options.weights)
        network.load_state_dict(given.read(network, "resnet_cifar", arguments).state)
    part = load_dataset(options.dataset, 0.1).train
    data = normalised(part, part)
    return times(network, lambda space: scores_on(data, network, space), (3, 32, 32))


def resnet50(_: argparse.Namespace) -> Found:
    """Times of ResNet-50 on noise: what the images show does not change them."""
    images = torch.randn(64, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    parts = [(one, torch.zeros(len(one)).long()) for one in torch.split(images, 16)]
    network = build_backbone("resnet50", {})

    def heard(done: int, steps: int) -> None:
        print(f"{done} of {steps} after {time.process_time():.0f} s", file=sys.stderr, flush=True)

    def measure(space: SearchSpace) -> PlanScores:
        return score_sharing(network, space, parts, heard=heard)

    return times(network, measure, (3, 224, 224))


def times(
    network: torch.nn.Module,
    measure: Callable[[SearchSpace], PlanScores],
    image: tuple[int, int, int],
) -> Found:
    """Seconds for scores of all methods, and for plans."""
    sites = find_sites(network)
    costs = network_costs(network.eval(), sites, torch.zeros(1, *image))
    space = SearchSpace(sites, count_parameters(network), tuple(METHODS), costs=costs)
    found: Found = {"plans": float(f"{space.count():.3g}")}
    scores, found["scoring"] = timed(lambda: measure(space))
    kept = PlanScores.of(json.loads(json.dumps(scores.document())))
    solver, found["options"] = timed(lambda: PlanSolver(space, kept))
    parameters = exact_limits({"max_parameters": space.unshared // 2})
    most = exact_limits({"max_parameters": space.unshared // 2, "max_bytes": space.unshared * 3})
    found["one budget"] = timed(lambda: solver.solve(parameters))[1]
    found["two budgets"] = timed(lambda: solver.solve(most))[1]
    return found


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives and the seconds of the processor that it took."""
    began = time.process_time()
    made = work()
    return made, round(time.process_time() - began, 2)


def main() -> None:
    """Measure what is missing and print everything."""
    options = parse()
    use_threads(1)
    found: Found = json.loads(options.out.read_text()) if options.out.exists() else {}
    parts: dict[str, Callable[[argparse.Namespace], Found]] = {
        **{name: partial(of_table, name) for name in TABLES},
        "resnet20": resnet20,
        "resnet50": resnet50,
    }
    for name in options.parts.split(","):
        if name not in found:
            found[name] = parts[name](options)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
