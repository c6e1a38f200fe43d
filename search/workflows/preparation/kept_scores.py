"""Scores of trained networks that are measured once and kept, half-finished ones too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from torch import nn

from isoshare.evaluators.data.data_cache import cache_folder
from isoshare.evaluators.sensitivities.output_matching import IMAGES
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.evaluators.sensitivities.sensitivity import Heard
from isoshare.evaluators.training.batches import Batches
from isoshare.search.drivers.versions import versions
from isoshare.search.workflows.preparation.kept_moves import KeptMoves
from isoshare.search.workflows.preparation.scores import scores_on
from isoshare.space.files import atomic_write
from isoshare.space.search_space import SearchSpace
from isoshare.space.weights.trained_weights import TrainedWeights

SCORES = 5
"""Counts up when the same network and images give other scores than before."""


def kept_scores(
    data: Callable[[], Batches],
    network: nn.Module,
    space: SearchSpace,
    named: Sequence[object],
    heard: Heard | None = None,
) -> PlanScores:
    """The scores of a network, from the cache if they have been measured before, or some of them.

    data: gives the training images, where something has to be measured on them. named: the backbone
    and its arguments, which weights alone do not tell, and the fingerprint of the data set. heard:
    as in ``scores_on``. Raises IsoshareError for layers that cannot be scored.
    """
    path = _place(network, space, named)
    if path is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return PlanScores.of(json.loads(path.read_text()))
    known = KeptMoves(path and path.with_suffix(".jsonl"))
    scores = scores_on(data(), network, space, heard, known)
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as half:
                half.write_text(json.dumps(scores.document()))
            known.drop()
    return scores


def weights_digest(network: nn.Module) -> str:
    """What tells these weights from others."""
    return TrainedWeights(network.state_dict()).fingerprint


def _place(network: nn.Module, space: SearchSpace, named: Sequence[object]) -> Path | None:
    """Where the scores of this network, on these images, are kept; None without a cache."""
    digest, torch = weights_digest(network), versions()["torch"]
    asked = [SCORES, IMAGES, *named, list(space.methods), digest, torch]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
    try:
        return cache_folder() / "scores" / f"{name}.json"
    except OSError:
        return None
