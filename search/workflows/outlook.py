"""What a search is about to do, before anything of it is stored or started."""

from __future__ import annotations

from typing import Any

from isoshare.search.results.describe import pretraining_in_words
from isoshare.search.workflows.preparation.cost import trial_seconds
from isoshare.search.workflows.preparation.prepared import Prepared
from isoshare.space.reach import reach
from isoshare.space.sites import describe_signature, isomorphic_groups


def outlook(prepared: Prepared) -> dict[str, Any]:
    """The network, the size of its search space, and about how long the search will take.

    reach: the share of the parameters that sharing can touch. smallest: parameters of the smallest
    plan. seconds_per_trial: tried out now, None where it cannot be; seconds: of all trials, so many
    at a time; starting workers, measuring the front again and training unshared networks, of which
    a note tells, add to it.
    """
    config, space = prepared.config, prepared.space
    each = trial_seconds(prepared, ())
    at_once = max(1, min(config.workers, config.trials))
    groups = isomorphic_groups(space.sites)
    ahead = prepared.evaluator.pretraining(space.members)
    return {
        "study": prepared.study.name,
        "backbone": config.backbone,
        "arguments": config.backbone_arg,
        "dataset": config.dataset,
        "parameters": space.unshared,
        "smallest": space.trainable_parameters(space.cheapest(space.trainable_parameters)),
        "reach": reach(space.sites, space.unshared),
        "groups": [
            {"shape": describe_signature(group[0].signature), "sites": len(group)}
            for group in groups
        ],
        "plans": space.count(),
        "trials": config.trials,
        "workers": config.workers,
        "seconds_per_trial": each,
        "seconds": None if each is None else each * -(-config.trials // at_once),
        "notes": [*prepared.notes, *([pretraining_in_words(ahead)] if ahead else [])],
        "warnings": [*prepared.warnings],
    }
