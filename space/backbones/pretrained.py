"""The weights that torchvision, timm or a backbone of one's own offer for their networks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from isoshare.space.backbones import TRUSTED_PREFIX, Argument, factory_of
from isoshare.space.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


def pretrained_state(backbone: str, arguments: Mapping[str, Argument]) -> dict[str, Tensor]:
    """The ``state_dict`` of a backbone with the weights that its authors have trained.

    A network of torchvision has torchvision's default weights; any other function is called with
    ``pretrained=True``, as timm's are, if it takes that. Asks the network (or torch's cache) for
    them. Raises WeightsError.
    """
    factory: Any = factory_of(backbone)
    name = _torchvision_name(backbone, factory)
    if name is None and "pretrained" not in _parameters(factory):
        raise WeightsError(
            f"backbone {backbone!r} offers no weights of its own, only torchvision's networks and "
            "functions with an argument 'pretrained' do: give a file with --weights"
        )
    try:
        network: Any = (
            _of_torchvision(name) if name else factory(**{**arguments, "pretrained": True})
        )
    except Exception as error:  # whatever the download, or the user's function, raises
        raise WeightsError(
            f"cannot get the weights that {backbone!r} offers: {type(error).__name__}: {error}; "
            "fetch their file where there is a network, and give it with --weights"
        ) from error
    state: dict[str, Tensor] = network.state_dict()
    return state


def _torchvision_name(backbone: str, factory: Any) -> str | None:
    """What torchvision calls the network, if it is one of its own."""
    if backbone.startswith(TRUSTED_PREFIX):
        return backbone.removeprefix(TRUSTED_PREFIX)
    return str(factory.args[0]) if isinstance(factory, partial) else None


def _of_torchvision(name: str) -> Any:
    from torchvision import models

    return models.get_model(name, weights="DEFAULT")


def _parameters(factory: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except ValueError:  # a built-in function
        return {}
