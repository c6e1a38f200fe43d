"""Solve: a plan for a budget from a trained network, by scores that are measured once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from isoshare.evaluators.data.datasets import Dataset
from isoshare.evaluators.inheriting.pretrained_evaluator import PretrainedEvaluator
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.evaluators.sensitivities.sensitivity import Heard
from isoshare.evaluators.training.batches import normalised
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.constraints import exact_limits
from isoshare.search.drivers.versions import versions
from isoshare.search.options.full_training import OF_VARIANTS
from isoshare.search.solver.plan_solver import ADDITIVE, PlanSolver, Solved
from isoshare.search.solver.variant_solver import VariantSolver
from isoshare.search.workflows.preparation.evaluator import evaluator_of, load_data
from isoshare.search.workflows.preparation.kept_scores import kept_scores, weights_digest
from isoshare.search.workflows.preparation.network import (
    check_output,
    fitting_arguments,
    network_space,
)
from isoshare.search.workflows.preparation.varying import whole_space, with_reference
from isoshare.search.workflows.preparation.weights import (
    given_weights,
    trained_backbone,
    whose_weights,
)
from isoshare.search.workflows.solve_variants import TrainedVariants
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import PlanFile, Variant
from isoshare.space.variants.variant_space import Space


@dataclass(frozen=True)
class Solving:
    """A checked request: nothing has been measured yet.

    network: the trained network of a variant of the backbone, () where it is not varied. variants:
    where it is, what has to be trained first. warnings: sentences for the user.
    """

    config: SearchConfig
    dataset: Dataset
    space: Space
    network: Callable[[Variant], torch.nn.Module]
    variants: TrainedVariants | None = None
    warnings: tuple[str, ...] = ()


def prepare_solving(backbone: str, options: Mapping[str, Any], needs_budget: bool) -> Solving:
    """Check everything that can be wrong. Raises IsoshareError.

    options: those of a search that say what may be shared, on which images, and within which
    budgets. needs_budget: whether one plan is wanted, and not the whole front alone.
    """
    config = make_config({"backbone": backbone, "evaluator": "inherit", **options})
    if needs_budget and not exact_limits(config.document()):
        raise IsoshareError(
            "a plan is solved for a budget: give --max-parameters, --max-bytes, --max-macs or "
            "--max-device-bytes"
        )
    if not given_weights(config.evaluation) and not config.vary:
        raise IsoshareError(
            "a plan is solved from a trained network: give its weights with --weights FILE, or "
            "--pretrained; only variants of a backbone, with --vary, are trained here"
        )
    if config.new_head:
        raise IsoshareError(
            "--new-head is not trained yet, so nothing can be measured with it: train the network "
            "on your images first, and give those weights"
        )
    idle = [name for name in OF_VARIANTS if name in options]
    if idle and not config.vary:
        raise IsoshareError(
            f"--{idle[0].replace('_', '-')} says how variants of a backbone are trained: add "
            "--vary, or leave it out"
        )
    dataset = load_data(config.data)
    config = config.model_copy(update={"backbone_arg": fitting_arguments(config.space, dataset)})
    if config.vary:
        return _of_variants(config, dataset)
    network, taken = trained_backbone(config.space, config.evaluation)
    check_output(network, dataset, config.backbone)
    image = torch.zeros(1, *dataset.image_shape)
    space = network_space(network, config.space, image, ADDITIVE)
    said = (*dataset.warnings, *filter(None, [taken.choice]))
    return Solving(config, dataset, space, lambda _: network, warnings=said)


def _of_variants(config: SearchConfig, dataset: Dataset) -> Solving:
    def build(variant: Variant) -> torch.nn.Module:
        backbone = build_backbone(config.backbone, config.backbone_arg, **dict(variant))
        check_output(backbone, dataset, config.backbone)
        return backbone

    image = torch.zeros(1, *dataset.image_shape)
    space, left_out = whole_space(config.space, build, image, ADDITIVE)
    config = with_reference(config, space)
    whose = whose_weights(config.space, config.evaluation, space.members)
    evaluator = evaluator_of(config.space, config.training, config.evaluation, dataset)
    assert isinstance(evaluator, PretrainedEvaluator), "weights are inherited"
    variants = TrainedVariants(evaluator, space)
    said = (*dataset.warnings, *left_out, *whose)
    return Solving(config, dataset, space, variants.network, variants, said)


def solver_for(solving: Solving, heard: Heard | None = None) -> PlanSolver | VariantSolver:
    """What solves for any budget, once all scores are there.

    heard: is told how much of how much work is done, for each variant anew.
    """
    members = solving.space.members
    solvers = {
        variant: PlanSolver(space, _scores(solving, variant, heard))
        for variant, space in members.items()
    }
    known = solving.variants
    if known is None:
        return solvers[()]
    return VariantSolver(solvers, {variant: known.ends(variant) for variant in solvers})


def _scores(solving: Solving, variant: Variant, heard: Heard | None) -> PlanScores:
    config, dataset = solving.config, solving.dataset
    named = (config.backbone, {**config.backbone_arg, **dict(variant)}, dataset.fingerprint)
    space, network = solving.space.members[variant], solving.network(variant)
    images = partial(normalised, dataset.train, dataset.train)
    return kept_scores(images, network, space, named, heard)


def solve_plan(
    solving: Solving, solver: PlanSolver | VariantSolver, output: Path
) -> dict[str, Any]:
    """Write the plan of the lowest score within the given budgets; returns what ``--json`` prints.

    Raises IsoshareError if no plan keeps them.
    """
    solved = solver.solve(exact_limits(solving.config.document()))
    space = solving.space.members[solved.plan.variant]
    parameters = {
        "unshared": space.unshared,
        "shared": space.trainable_parameters(solved.plan),
    }
    _file_of(solving, solved, parameters).save(output)
    return {
        "plan": str(output),
        "fingerprint": solved.plan.fingerprint,
        "score": solved.score,
        **_expected(solved),
        "parameters": parameters,
        "macs": space.macs(solved.plan),
        "bytes": space.stored_bytes(solved.plan),
        "banks": len(solved.plan.banks),
        "sites": len(solved.plan.sites),
    }


def _expected(solved: Solved) -> dict[str, Any]:
    """Which variant was chosen, by which accuracy; nothing of a backbone that is not varied."""
    if solved.accuracy is None:
        return {}
    return {"arguments": dict(solved.plan.variant), "expected_accuracy": solved.accuracy}


def _file_of(solving: Solving, solved: Solved, parameters: dict[str, int]) -> PlanFile:
    config, dataset = solving.config, solving.dataset
    arguments = {**config.backbone_arg, **dict(solved.plan.variant)}
    return PlanFile.of(
        solved.plan,
        order=[site.name for site in solving.space.members[solved.plan.variant].sites],
        backbone={"name": config.backbone, "arguments": arguments},
        parameters=parameters,
        provenance={
            "solved": {
                "score": solved.score,
                "weights": weights_digest(solving.network(solved.plan.variant)),
                **_expected(solved),
            },
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "dataset": {
                "name": dataset.name,
                "fingerprint": dataset.fingerprint,
                "image": list(dataset.image_shape),
            },
            "fingerprint": solved.plan.fingerprint,
            "config": config.document(),
        },
    )
