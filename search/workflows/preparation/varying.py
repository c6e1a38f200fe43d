"""The search space of a backbone, or of all the variants of it that a search asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor, nn

from isoshare.search.options.space import SpaceConfig
from isoshare.search.workflows.preparation.network import network_space
from isoshare.space.errors import BackboneError, in_one_line
from isoshare.space.methods import METHODS
from isoshare.space.plan import Variant
from isoshare.space.search_space import SearchSpace
from isoshare.space.variants.arguments import combinations, label
from isoshare.space.variants.variant_space import Space, VariantSpace
from isoshare.storage.study_values import StudyContext

ARGUMENTS = re.compile(r"(?<= failed) with \{.*?\}")
"""What a sentence says of the arguments of a function, in which variants differ."""
Build = Callable[[Variant], nn.Module]
"""Makes the unshared network of a variant, () of the arguments alone; raises BackboneError where it
cannot be, or does not fit the data."""
Config = TypeVar("Config", bound=SpaceConfig)


def whole_space(
    options: SpaceConfig,
    build: Build,
    image: Tensor | None,
    asked: Sequence[str],
    recorded: StudyContext | None = None,
) -> tuple[Space, tuple[str, ...]]:
    """The space of a search, and sentences about variants that are left out of it.

    The arguments as in ``network_space``. Raises BackboneError where no variant is possible, or
    none has anything to share.
    """

    def made(variant: Variant) -> SearchSpace:
        known = recorded.network(variant) if recorded else None
        return network_space(build(variant), options, image, asked, known, variant)

    if not options.vary:
        space: Space = made(())
        refused: dict[Variant, BackboneError] = {}
    elif recorded:
        space = _union({one.variant: made(one.variant) for one in recorded.variants}, options)
        refused = {}
    else:
        space, refused = _possible(options, made)
    if space.count() == len(space.members):
        raise BackboneError(
            f"backbone {options.backbone!r} has no layers that method "
            f"{' or '.join(options.methods)} could share: {_way_out(options)}"
        )
    return space, _said(refused)


def _way_out(options: SpaceConfig) -> str:
    if set(options.methods) < set(METHODS):
        return f"try --methods {','.join(METHODS)}"
    return f"'inspect {options.backbone}' says why they stay private"


def with_reference(config: Config, space: Space) -> Config:
    """The options, whose backbone has the arguments of the variant that sizes are compared with."""
    arguments = {**config.backbone_arg, **dict(space.variant)}
    return config.model_copy(update={"backbone_arg": arguments})


def has_changed(space: Space, context: StudyContext) -> bool:
    """Whether these are not the layers, variant by variant, that a study was started with."""
    recorded = [context.network(variant) for variant in space.members]
    made = space.members.values()
    return [(one.sites, one.unshared) for one in recorded] != [
        (one.sites, one.unshared) for one in made
    ]


def _possible(
    options: SpaceConfig, made: Callable[[Variant], SearchSpace]
) -> tuple[VariantSpace, dict[Variant, BackboneError]]:
    members: dict[Variant, SearchSpace] = {}
    refused: dict[Variant, BackboneError] = {}
    for variant in combinations(options.vary):
        try:
            members[variant] = made(variant)
        except BackboneError as error:
            refused[variant] = error
    if not members:
        raise BackboneError(
            f"none of the {len(refused)} variants is possible: {next(iter(refused.values()))}"
        )
    return _union(members, options), refused


def _union(members: Mapping[Variant, SearchSpace], options: SpaceConfig) -> VariantSpace:
    """The union; its reference is the largest of those with the arguments that are given."""
    given = {key: one for key, one in options.backbone_arg.items() if key in options.vary}
    fitting = {
        variant: space.unshared
        for variant, space in members.items()
        if given.items() <= dict(variant).items()
    }
    if not fitting:
        wanted = " ".join(f"{key}={value}" for key, value in given.items())
        raise BackboneError(f"no variant with {wanted}, which --backbone-arg asks for, is possible")
    return VariantSpace(members, options.vary, max(fitting, key=fitting.__getitem__))


def _said(refused: Mapping[Variant, BackboneError]) -> tuple[str, ...]:
    """Variants that are refused for the same reason in one sentence."""
    by_reason: dict[str, list[str]] = {}
    for variant, error in refused.items():
        reason = ARGUMENTS.sub("", in_one_line(error), count=1)
        by_reason.setdefault(reason, []).append(label(variant))
    return tuple(
        f"left out {', '.join(labels[:4])}{' and more' if len(labels) > 4 else ''} "
        f"({len(labels)} of the variants): {reason}"
        for reason, labels in by_reason.items()
    )
