"""Solve: a plan for a budget from a trained network, by scores that are measured once and kept."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from isoshare.evaluators.data.data_cache import cache_folder
from isoshare.evaluators.data.datasets import Dataset
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.evaluators.training.batches import normalised
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.constraints import exact_limits
from isoshare.search.drivers.versions import versions
from isoshare.search.solver.plan_solver import ADDITIVE, PlanSolver, Solved
from isoshare.search.workflows.preparation.evaluator import load_data
from isoshare.search.workflows.preparation.network import (
    check_output,
    fitting_arguments,
    network_space,
)
from isoshare.search.workflows.preparation.scores import IMAGES, LOSS_IMAGES, Heard, scores_on
from isoshare.search.workflows.preparation.weights import given_weights, trained_backbone
from isoshare.space.errors import IsoshareError
from isoshare.space.files import atomic_write
from isoshare.space.plan import PlanFile
from isoshare.space.search_space import SearchSpace

SCORES = 2
"""Counts up when the same network and images give other scores than before."""


@dataclass(frozen=True)
class Solving:
    """A checked request: nothing has been measured yet."""

    config: SearchConfig
    dataset: Dataset
    space: SearchSpace
    network: torch.nn.Module
    digest: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user about the data."""
        return self.dataset.warnings


def prepare_solving(backbone: str, options: Mapping[str, Any], needs_budget: bool) -> Solving:
    """Check everything that can be wrong. Raises IsoshareError.

    options: those of a search that say what may be shared, on which images, and within which
    budgets. needs_budget: whether one plan is wanted, and not the whole front alone.
    """
    config = make_config({"backbone": backbone, **options})
    if needs_budget and not exact_limits(config.document()):
        raise IsoshareError(
            "a plan is solved for a budget: give --max-parameters, --max-bytes, --max-macs or "
            "--max-device-bytes"
        )
    if not given_weights(config.evaluation):
        raise IsoshareError(
            "a plan is solved from a trained network: give its weights with --weights FILE, or "
            "--pretrained"
        )
    if config.new_head:
        raise IsoshareError(
            "--new-head is not trained yet, so nothing can be measured with it: train the network "
            "on your images first, and give those weights"
        )
    dataset = load_data(config.data)
    config = config.model_copy(update={"backbone_arg": fitting_arguments(config.space, dataset)})
    network, found = trained_backbone(config.space, config.evaluation)
    check_output(network, dataset, config.backbone)
    space = network_space(network, config.space, dataset.image_shape, ADDITIVE)
    return Solving(config, dataset, space, network, found.fingerprint)


def scores_for(solving: Solving, heard: Heard | None = None) -> PlanScores:
    """The scores of the network, from the cache if they have been measured before.

    heard: is told how many of how many offers are measured.
    """
    path = _cached(solving)
    if path is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return PlanScores.of(json.loads(path.read_text()))
    data = normalised(solving.dataset.train, solving.dataset.train)
    scores = scores_on(data, solving.network, solving.space, heard)
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as half:
                half.write_text(json.dumps(scores.document()))
    return scores


def solve_plan(solving: Solving, solver: PlanSolver, output: Path) -> dict[str, Any]:
    """Write the plan of the lowest score within the given budgets; returns what ``--json`` prints.

    Raises IsoshareError if no plan keeps them.
    """
    config, space = solving.config, solving.space
    solved = solver.solve(exact_limits(config.document()))
    parameters = {
        "unshared": space.unshared,
        "shared": space.trainable_parameters(solved.plan),
    }
    _file_of(solving, solved, parameters).save(output)
    return {
        "plan": str(output),
        "fingerprint": solved.plan.fingerprint,
        "score": solved.score,
        "parameters": parameters,
        "macs": space.macs(solved.plan),
        "bytes": space.stored_bytes(solved.plan),
        "banks": len(solved.plan.banks),
        "sites": len(solved.plan.sites),
    }


def write_sweep(front: Sequence[Solved], space: SearchSpace, path: Path) -> None:
    """The predicted front as CSV: a row a plan, with its banks as JSON."""
    with atomic_write(path) as half, half.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["parameters", "bytes", "macs", "score", "fingerprint", "banks"])
        for one in front:
            plan = one.plan
            costs = space.trainable_parameters(plan), space.stored_bytes(plan), space.macs(plan)
            rows.writerow([*costs, one.score, plan.fingerprint, json.dumps(plan.documents())])


def _file_of(solving: Solving, solved: Solved, parameters: dict[str, int]) -> PlanFile:
    config, dataset = solving.config, solving.dataset
    return PlanFile.of(
        solved.plan,
        order=[site.name for site in solving.space.sites],
        backbone={"name": config.backbone, "arguments": config.backbone_arg},
        parameters=parameters,
        provenance={
            "solved": {"score": solved.score, "weights": solving.digest},
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


def _cached(solving: Solving) -> Path | None:
    """Where the scores of this network, on these images, are kept."""
    config = solving.config
    asked = [
        *(SCORES, IMAGES, LOSS_IMAGES, config.backbone, config.backbone_arg, list(config.methods)),
        *(solving.digest, solving.dataset.fingerprint, versions()["torch"]),
    ]
    name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]
    try:
        return cache_folder() / "scores" / f"{name}.json"
    except OSError:
        return None
