"""How well are plans of several variants of a backbone compared, before any of them is trained?

    python benchmarks/solve_variants.py [--out benchmarks/results/solve_variants.json]

On sharebench-variants each unshared network is trained for 20 epochs and scored once, and every
plan's expected value is compared with the mean over the table's seeds: Spearman's correlation, the
partial one with the logarithm of the parameters held fixed, with bootstrap intervals over the
plans, and the true hypervolume of the predicted front as a share of the true front's. Expected is
what ``solve --vary`` expects, between the accuracies of the unshared and of the fully shared
network, which is trained from scratch for as long, and what was tried in its place.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ranking import interval
from benchmarks.sharebench import evaluator
from benchmarks.solve import Found, accuracy
from benchmarks.truth import score, true_front, truth_of
from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.evaluators.sharebench import Table
from isoshare.evaluators.training.batches import use_threads
from isoshare.search.workflows.preparation.scores import scores_on
from isoshare.search.workflows.preparation.tabular import table_space
from isoshare.search.workflows.solve_variants import TrainedVariants
from isoshare.space.plan import SharingPlan, Variant

TABLE = "sharebench-variants"
EPOCHS, MENDED = 20, 4
"""Of both ends, and of the fine-tuning that was tried as the second end."""


@dataclass(frozen=True)
class Known:
    """Of a variant: the scores of its trained network, its accuracy, and that of its fully shared
    network from scratch, as projected, and after some epochs of fine-tuning.
    """

    scores: PlanScores
    unshared: float
    shared: float
    projected: float
    mended: float
    whole: SharingPlan

    def between(self, plan: SharingPlan, end: float) -> float:
        """What is expected between the unshared network and an end of the fully shared one."""
        part = self.scores.plan(plan) / self.scores.plan(self.whole)
        return self.unshared - part * (self.unshared - end)


EXPECTED: dict[str, Callable[[Known, SharingPlan], float]] = {
    "between unshared and fully shared (solve)": lambda of, plan: of.between(plan, of.shared),
    "the second end fine-tuned for 4 epochs": lambda of, plan: of.between(plan, of.mended),
    "the second end projected, not trained": lambda of, plan: of.between(plan, of.projected),
    "accuracy of the unshared variant": lambda of, _: of.unshared,
}


def known_variants() -> Iterator[tuple[Variant, Known]]:
    """All variants of the table, trained and scored."""
    made, space = evaluator(TABLE, None), table_space(Table.load(TABLE))
    asked = (made.backbone, made.arguments, made.dataset)
    heir = InheritingEvaluator(*asked, made.settings, pretrain_epochs=EPOCHS)
    heir.prepare(variants=space.members)
    tuning = replace(heir, settings=replace(made.settings, epochs=MENDED))
    tuning._trained.update(heir._trained)
    ends = TrainedVariants(heir, space)
    for variant, member in space.members.items():
        network, whole = heir.unshared(variant), member.fully_shared_plan()
        measured = ends.ends(variant)
        ((tuned,),) = tuning(whole, (0,), "validation")
        yield (
            variant,
            Known(
                scores=scores_on(heir.train_batches, network, member),
                unshared=measured.unshared,
                shared=measured.shared,
                projected=accuracy(heir, whole),
                mended=tuned.values["accuracy"],
                whole=whole,
            ),
        )


def compared(expected: NDArray[np.float64]) -> Found:
    """What is expected of all plans of the table, beside what is true of them."""
    table = Table.load(TABLE)
    space, truth = table_space(table), table.accuracy("validation")[:, :, -1].mean(axis=1)
    size = np.array([space.trainable_parameters(plan) for plan in table.plans])
    of_plan, reference = truth_of(TABLE)
    front: list[SharingPlan] = []
    highest = -np.inf
    for place in np.lexsort((-expected, size)):
        if expected[place] > highest:
            highest = expected[place]
            front.append(table.plans[place])
    points = [of_plan[plan.fingerprint] for plan in front]
    share = score(points, reference) / true_front(TABLE)[0]
    found = {"front": {"plans": len(front), "share": round(share, 3)}}
    return {**interval(expected, truth, np.log(size), 500), **found}


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).parent / "results" / "solve_variants.json"
    parser.add_argument("--out", type=Path, default=here)
    out = parser.parse_args().out
    use_threads(1)
    known, plans = dict(known_variants()), Table.load(TABLE).plans
    found = {
        name: compared(np.array([expect(known[plan.variant], plan) for plan in plans]))
        for name, expect in EXPECTED.items()
    }
    out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
