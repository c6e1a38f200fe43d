"""The trained weights that a user has given, checked against the network that they are for."""

from __future__ import annotations

from torch import nn

from isoshare.search.config import SearchConfig
from isoshare.space.backbones import build_backbone
from isoshare.space.trained_weights import GivenWeights, TrainedWeights


def given_weights(config: SearchConfig) -> GivenWeights:
    """Where they come from; false if none were given."""
    return GivenWeights(config.weights, config.weight_map, config.new_head, config.pretrained)


def check_weights(config: SearchConfig) -> None:
    """Raise WeightsError now if weights that were given do not fit the backbone."""
    if given_weights(config):
        trained_backbone(config)


def trained_backbone(config: SearchConfig) -> tuple[nn.Module, TrainedWeights]:
    """The backbone with the weights that were given. Raises WeightsError or BackboneError."""
    network = build_backbone(config.backbone, config.backbone_arg)
    found = given_weights(config).read(network, config.backbone, config.backbone_arg)
    network.load_state_dict(found.state)
    return network.eval(), found
