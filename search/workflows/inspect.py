"""Look at a backbone, or at the effect of a plan on one, before any search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.search.results.choose import image_shape
from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones import Argument, build_backbone, check_named
from isoshare.space.costs.closed_form import NetworkCosts, device_bytes
from isoshare.space.errors import PlanError
from isoshare.space.methods import METHODS
from isoshare.space.methods.device import TARGETS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.passes.sample_pass import own_sample
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.published import PUBLISHED, references
from isoshare.space.reach import out_of_reach, reach, wide_reach
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import (
    Site,
    describe_signature,
    find_sites,
    isomorphic_groups,
    left_private,
    searched_sites,
)
from isoshare.space.weights.trained_weights import GivenWeights

if TYPE_CHECKING:
    from torch import nn

USUAL_SIDES = (32, 224, 28)


def inspect_backbone(name: str, arguments: Mapping[str, Argument]) -> dict[str, Any]:
    """What can be shared in a backbone. Raises BackboneError."""
    backbone = build_backbone(name, arguments)
    sites, unshared = find_sites(backbone), count_parameters(backbone)
    space = SearchSpace(sites, unshared)
    everything = SearchSpace(sites, unshared, tuple(METHODS), references(name, sites))
    return {
        "backbone": name,
        "arguments": dict(arguments),
        "parameters": space.unshared,
        "reach": reach(sites, unshared),
        "wide_reach": wide_reach(searched_sites(sites, unshared), unshared),
        "out_of_reach": [place._asdict() for place in out_of_reach(backbone)],
        "fully_shared": space.trainable_parameters(space.fully_shared_plan()),
        "smallest": space.trainable_parameters(everything.smallest_plan),
        "groups": [
            {
                "signature": {
                    "kernel_size": list(group[0].kernel_size),
                    "in_channels": group[0].in_channels,
                    "out_channels": group[0].out_channels,
                    "groups": group[0].groups,
                    "kind": group[0].kind,
                },
                "shape": describe_signature(group[0].signature),
                "sites": [site.name for site in group],
            }
            for group in isomorphic_groups(sites)
        ],
        "plans": space.count(),
        "plans_of_all_methods": everything.count(),
        "references": {
            title: space.trainable_parameters(plan) for title, plan in everything.references.items()
        },
        "left_private": [
            {"site": site, "reason": reason} for site, reason in left_private(backbone)
        ],
    }


def inspect_weights(
    name: str, arguments: Mapping[str, Argument], options: Mapping[str, Any]
) -> dict[str, Any]:
    """What of trained weights fits a backbone. options: weights, weight_map, new_head, pretrained.
    Raises WeightsError.
    """
    given = GivenWeights(
        options.get("weights"),
        options.get("weight_map"),
        bool(options.get("new_head")),
        bool(options.get("pretrained")),
    )
    found = given.read(build_backbone(name, arguments), name, arguments)
    return {
        "file": given.file,
        "entry": found.entry,
        "others": list(found.others),
        "tensors": len(found.state) - len(found.new),
        "new_head": list(found.new),
        "fingerprint": found.fingerprint,
    }


def published_plans() -> list[dict[str, Any]]:
    """The networks and plans of the papers, as they were printed."""
    return [
        {
            "paper": row.paper,
            "title": row.title,
            "network": row.network,
            "backbone": row.backbone,
            "arguments": row.arguments,
            "classes": row.classes,
            "unshared": row.unshared,
            "shared": row.shared,
            "reading": row.reading,
        }
        for row in PUBLISHED
    ]


def inspect_plan(path: Path, named: str | None = None) -> dict[str, Any]:
    """What a plan file makes of its backbone, built and counted; named: a backbone that is trusted.
    Raises PlanError or BackboneError.
    """
    file = PlanFile.load(path)
    if file.backbone is None:
        raise PlanError(
            f"{path} names no backbone, so its sites cannot be checked: add "
            '"backbone": {"name": ..., "arguments": {...}}'
        )
    check_named(file.backbone.name, named, str(path))
    backbone = build_backbone(file.backbone.name, file.backbone.arguments)
    unshared = count_parameters(backbone)
    sample = own_sample(file.backbone.name, image_shape(file))
    shared = count_parameters(apply_plan(backbone, file.plan, weights="fresh", sample=sample))
    sites = find_sites(backbone)
    device = _device_bytes(backbone, sites, file)
    order = [site.name for site in sites]
    return {
        "plan": str(path),
        "fingerprint": file.plan.fingerprint,
        "backbone": file.backbone.name,
        "arguments": file.backbone.arguments,
        "parameters": {"unshared": unshared, "shared": shared},
        "ratio": shared / unshared,
        "device_bytes": device,
        "banks": file.plan.documents(order),
    }


def _device_bytes(
    backbone: nn.Module, sites: Sequence[Site], file: PlanFile
) -> dict[str, dict[str, int]] | None:
    """What a device holds, unshared and shared, in float32 and int8; None where nobody knows what
    the network takes.
    """
    costs = _costs(backbone, sites, file)
    if costs is None:
        return None
    return {
        target: {
            "unshared": device_bytes(SharingPlan(), sites, costs, target),
            "shared": device_bytes(file.plan, sites, costs, target),
        }
        for target in TARGETS
    }


def _costs(backbone: nn.Module, sites: Sequence[Site], file: PlanFile) -> NetworkCosts | None:
    """From an image as the plan file says it, or else of a usual size."""
    import torch

    channels = sites[0].in_channels if sites else 3
    known = image_shape(file)
    for shape in [known] if known else [(channels, side, side) for side in USUAL_SIDES]:
        try:
            return network_costs(backbone, sites, torch.zeros(1, *shape))
        except Exception:
            continue
    return None
