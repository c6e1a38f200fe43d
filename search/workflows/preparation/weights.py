"""The trained weights that a user has given, checked against the network that they are for."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from isoshare.search.options.evaluation import EvaluationConfig
from isoshare.search.options.space import SpaceConfig
from isoshare.space.backbones import build_backbone
from isoshare.space.plan import Variant
from isoshare.space.variants.arguments import labels
from isoshare.space.weights.trained_weights import GivenWeights, TrainedWeights


def given_weights(options: EvaluationConfig) -> GivenWeights:
    """Where they come from; false if none were given."""
    return GivenWeights(options.weights, options.weight_map, options.new_head, options.pretrained)


def whose_weights(
    space: SpaceConfig, options: EvaluationConfig, variants: Collection[Variant]
) -> Iterator[str]:
    """Sentences that say which weights were taken, where a file has several, and which of the
    variants of the backbone have them, and where the others get theirs.

    Raises WeightsError if none has.
    """
    given = given_weights(options)
    fitting = given.fitting(space.backbone, space.backbone_arg, variants)
    yield from {found.choice for found in fitting.values() if found.choice}
    if not space.vary or not given:
        return
    what = f"{given.file} fits" if given.file else f"weights of {space.backbone} are on offer for"
    named = labels(list(fitting))
    if len(fitting) == len(variants):
        yield f"{what} all {len(variants)} variants, and each starts from its weights"
        return
    several = len(fitting) > 1
    whose = f"{len(fitting)} of the {len(variants)} variants, {named}" if several else named
    left = len(variants) - len(fitting)
    others = "the other one is" if left == 1 else f"the {left} others are"
    yield (
        f"{what} {whose}; {others} trained first, for {options.pretrain_epochs} epochs, so how "
        "they were trained is part of how variants differ"
    )


def trained_backbone(
    space: SpaceConfig, options: EvaluationConfig, variant: Variant = ()
) -> tuple[nn.Module, TrainedWeights]:
    """The backbone, or a variant of it, with the weights that were given. Raises WeightsError or
    BackboneError.
    """
    arguments = {**space.backbone_arg, **dict(variant)}
    network = build_backbone(space.backbone, arguments)
    found = given_weights(options).read(network, space.backbone, arguments)
    network.load_state_dict(found.state)
    return network.eval(), found
