"""The network of a search: whether it fits the data, what of it can be shared, what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from isoshare.evaluators.data.datasets import Dataset
from isoshare.evaluators.objectives import objective_row
from isoshare.evaluators.probes import probe
from isoshare.search.options.space import SpaceConfig
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import Argument, default_arguments, is_own
from isoshare.space.costs.closed_form import NetworkCosts
from isoshare.space.errors import BackboneError, typed_in_one_line
from isoshare.space.inheritance import signs_of_training
from isoshare.space.methods import METHODS
from isoshare.space.network_copy import copy_network
from isoshare.space.passes.acting_sites import acting_sites, participation
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.passes.sample_pass import sample_like
from isoshare.space.plan import Variant
from isoshare.space.published import references
from isoshare.space.reach import reach, wide_reach
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site, find_sites, searched_sites
from isoshare.space.variants.variant_space import Space
from isoshare.storage.study_values import NetworkRecord

LITTLE = 0.2
"""Of the parameters: who searches for a smaller network will not find one."""


def fitting_arguments(options: SpaceConfig, dataset: Dataset) -> dict[str, Argument]:
    """The backbone's arguments, with the classes and channels of the data if it takes them."""
    known: dict[str, Argument] = {
        "classes": dataset.classes,
        "num_classes": dataset.classes,
        "in_channels": dataset.in_channels,
        "image_size": dataset.image_shape[-1],
    }
    return {**default_arguments(options.backbone, known), **options.backbone_arg}


def check_output(backbone: nn.Module, dataset: Dataset, name: str) -> None:
    """Raise BackboneError unless ``backbone`` can be copied, and turns images of the data into
    logits.

    One forward pass of two images: whatever does not fit shall say so before anything is trained.
    """
    images = torch.zeros(2, *dataset.image_shape)
    count_parameters(backbone)
    try:
        with torch.no_grad():
            logits = copy_network(backbone.eval())(images)
    except BackboneError:
        raise
    except Exception as error:  # whatever the user's network raises
        raise BackboneError(
            f"backbone {name!r} cannot take images of shape {dataset.image_shape} of data "
            f"set {dataset.name!r}: {typed_in_one_line(error)}"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, dataset.classes):
        raise BackboneError(
            f"backbone {name!r} must return logits (batch, {dataset.classes}) for data set "
            f"{dataset.name!r}, it returned {shape}; set its classes with --backbone-arg"
        )


def network_space(  # noqa: PLR0913, PLR0917  one for each thing a space is made of
    backbone: nn.Module,
    options: SpaceConfig,
    image: torch.Tensor | None,
    asked: Sequence[str],
    recorded: NetworkRecord | None = None,
    variant: Variant = (),
) -> SearchSpace:
    """The search space of a network.

    image: one input of the network, (1, ...). asked: the objectives that are traded or bounded;
        what one input costs is found out if any needs it. recorded: what a study that goes
        on knows of its layers and their costs, which stay what they were: an earlier version may
        have searched fewer layers. variant: which of the backbone's it is.
    """
    sites, unshared = find_sites(backbone), count_parameters(backbone)
    chosen = recorded.sites if recorded else searched_sites(sites, unshared)
    names = {site.name for site in chosen}
    sites = tuple(site for site in sites if site.name in names)
    if recorded:
        sites = _as_recorded(sites, recorded.sites)
    elif image is not None and is_own(options.backbone):
        sites = acting_sites(backbone, sites, unshared, options.methods, sample_like(image))
    published = references(options.backbone, sites)
    known = recorded.costs if recorded else None
    costs = NetworkCosts.of(known) if known else None
    needy = [name for name in asked if objective_row(name).of_an_image]
    if needy and costs is None and image is not None:
        costs = _costs(backbone, sites, options.backbone, image, needy)
    return SearchSpace(sites, unshared, options.methods, published, costs, variant)


def network_remarks(
    backbone: nn.Module, space: Space, options: SpaceConfig, evaluator: str
) -> Iterator[str]:
    """Sentences about what a search of this network cannot do, or would lose."""
    touched = reach(space.sites, space.unshared)
    if touched < LITTLE:
        wide = [method for method in options.methods if METHODS[method].network_wide]
        most = f" ({wide_reach(space.sites, space.unshared):.0%} by {wide[0]})" if wide else ""
        yield (
            f"sharing can touch {touched:.0%} of the parameters of {options.backbone!r}{most}: the "
            "rest is in layers that have no counterpart or cannot share; "
            f"'inspect {options.backbone}' says where"
        )
    found = searched_sites(find_sites(backbone), space.unshared)
    yield from participation(found, space.sites)
    if evaluator != "inherit" and (signs := signs_of_training(backbone)):
        yield (
            f"backbone {options.backbone!r} is trained ({signs}), and plans start with fresh "
            "weights where they share: --evaluator inherit with --weights or --pretrained keeps "
            "what it has learned"
        )


def _as_recorded(sites: Sequence[Site], recorded: Sequence[Site]) -> tuple[Site, ...]:
    """The sites of a study that goes on: what was found out about them on a sample still holds."""
    marked = {site.name for site in recorded if site.subclass}
    return tuple(replace(site, subclass=site.subclass or site.name in marked) for site in sites)


def _costs(
    backbone: nn.Module,
    sites: Sequence[Site],
    name: str,
    image: torch.Tensor,
    needy: Sequence[str],
) -> NetworkCosts:
    """What one image costs the unshared network."""
    try:
        costs = network_costs(backbone, sites, image)
        return replace(costs, measured=probe(needy, backbone, image))
    except Exception as error:  # whatever the user's network raises
        raise BackboneError(
            f"backbone {name!r} cannot be followed with a single image, as "
            f"{' and '.join(needy)} need: {type(error).__name__}: {error}"
        ) from error
