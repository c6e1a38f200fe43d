"""What a trained network says of the plans of a search, before the first one is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoshare.evaluators.inheriting.inheriting_evaluator import InheritingEvaluator
from isoshare.evaluators.probes import Probed
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.evaluators.sensitivities.sensitivity import Heard
from isoshare.search.constraints import fits, limits_of
from isoshare.search.proposals.foresight import Foresight
from isoshare.search.solver.plan_solver import Solved, countable
from isoshare.search.solver.predicted_front import predicted_front
from isoshare.search.workflows.preparation.kept_scores import kept_scores
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store

STARTS = 4
"""Plans of the predicted front that are measured first (benchmarks/search_efficiency.py)."""


def foresight_of(study: StudyRecord, space: Space) -> Foresight | None:
    """From the scores that are kept with the study; None if there are none."""
    if study.context.scores is None or not isinstance(space, SearchSpace):
        return None
    scores = PlanScores.of(study.context.scores)
    limits = [one for one in limits_of(study.config.document()) if one.is_exact]
    traded = [name for name in study.config.objectives if name in countable(space)]
    front = predicted_front(space, scores, traded[0] if traded else "parameters")
    allowed = [one for one in front if fits(limits, space, one.plan)]
    return Foresight(scores, tuple(spread(allowed)))


def is_unforeseen(prepared: Prepared, store: Store) -> bool:
    """Whether a search was interrupted while its trained network was asked, before any trial."""
    asked = prepared.config.solve_first and prepared.study.context.scores is None
    return asked and not store.trials(prepared.study.name, [0])


def with_scores(prepared: Prepared, heard: Heard | None = None) -> Prepared:
    """The search with the scores of the network that its plans inherit from, to be kept with it.

    Its evaluator must have been prepared. heard: is told how much of how much work is done.
    Raises IsoshareError for layers that cannot be scored.
    """
    inner = prepared.evaluator
    evaluator = inner.evaluator if isinstance(inner, Probed) else inner
    space = prepared.space
    if not isinstance(evaluator, InheritingEvaluator) or not isinstance(space, SearchSpace):
        return prepared
    config, dataset = prepared.config, evaluator.dataset
    named = (config.backbone, config.backbone_arg, dataset.fingerprint)
    scores = kept_scores(lambda: evaluator.train_batches, evaluator.unshared(), space, named, heard)
    context = replace(prepared.study.context, scores=scores.document())
    return replace(prepared, study=replace(prepared.study, context=context))


def spread(front: Sequence[Solved]) -> list[SharingPlan]:
    """So many plans of a front, evenly by the logarithm of what they cost, first every other one:
    a search that ends early has seen both halves.
    """
    if not front:
        return []
    costs = np.log([one.cost for one in front])
    wanted = np.linspace(costs[0], costs[-1], STARTS)
    places = [int(np.abs(costs - cost).argmin()) for cost in wanted]
    return [front[place].plan for place in dict.fromkeys([*places[::2], *places[1::2]])]
