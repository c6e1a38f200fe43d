"""The trained weights that a user has given, checked against the network that they are for."""

from __future__ import annotations

from torch import nn

from isoshare.search.options.evaluation import EvaluationConfig
from isoshare.search.options.space import SpaceConfig
from isoshare.space.backbones import build_backbone
from isoshare.space.weights.trained_weights import GivenWeights, TrainedWeights


def given_weights(options: EvaluationConfig) -> GivenWeights:
    """Where they come from; false if none were given."""
    return GivenWeights(options.weights, options.weight_map, options.new_head, options.pretrained)


def check_weights(space: SpaceConfig, options: EvaluationConfig) -> None:
    """Raise WeightsError now if weights that were given do not fit the backbone."""
    if given_weights(options):
        trained_backbone(space, options)


def trained_backbone(
    space: SpaceConfig, options: EvaluationConfig
) -> tuple[nn.Module, TrainedWeights]:
    """The backbone with the weights that were given. Raises WeightsError or BackboneError."""
    network = build_backbone(space.backbone, space.backbone_arg)
    found = given_weights(options).read(network, space.backbone, space.backbone_arg)
    network.load_state_dict(found.state)
    return network.eval(), found
