"""BACKBONES: the networks that ship with Isoshare, unshared, by name.

A row is ``module:function``; the function takes keyword arguments and returns an ``nn.Module``.
One more backbone is one file and one row here. Any other network is named in the same way on the
command line, ``package.module:function``, and imported only because the user named it there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from isoshare.space.errors import BackboneError, one_of, typed_in_one_line
from isoshare.space.imports import import_named, where_raised

if TYPE_CHECKING:
    from torch import nn

Argument = bool | int | float | str

BACKBONES: dict[str, str] = {
    "cifar_densenet121": "isoshare.space.backbones.cifar_networks:cifar_densenet121",
    "cifar_mobilenet_v2": "isoshare.space.backbones.cifar_networks:cifar_mobilenet_v2",
    "cifar_resnet26": "isoshare.space.backbones.cifar_networks:cifar_resnet26",
    "cifar_resnext50": "isoshare.space.backbones.cifar_networks:cifar_resnext50",
    "cifar_shufflenet_v2": "isoshare.space.backbones.cifar_networks:cifar_shufflenet_v2",
    "convmixer": "isoshare.space.backbones.convmixer:convmixer",
    "dacnn_mix": "isoshare.space.backbones.dacnn:dacnn_mix",
    "dacnn_plain": "isoshare.space.backbones.dacnn:dacnn_plain",
    "densenet121": "isoshare.space.backbones.torchvision_networks:densenet121",
    "densenet_bc": "isoshare.space.backbones.densenet_bc:densenet_bc",
    "fashion_cnn": "isoshare.space.backbones.fashion_cnn:fashion_cnn",
    "mobilenet_v2": "isoshare.space.backbones.torchvision_networks:mobilenet_v2",
    "mobilenet_v2_expanded": "isoshare.space.backbones.mobilenet_v2_expanded:mobilenet_v2_expanded",
    "resnet101": "isoshare.space.backbones.torchvision_networks:resnet101",
    "resnet18": "isoshare.space.backbones.torchvision_networks:resnet18",
    "resnet34": "isoshare.space.backbones.torchvision_networks:resnet34",
    "resnet50": "isoshare.space.backbones.torchvision_networks:resnet50",
    "resnet_cifar": "isoshare.space.backbones.resnet_cifar:resnet_cifar",
    "resnet_small_images": "isoshare.space.backbones.resnet_small_images:resnet_small_images",
    "resnext50": "isoshare.space.backbones.torchvision_networks:resnext50",
    "resnext50_filters": "isoshare.space.backbones.resnext_filters:resnext50_filters",
    "se_resnet": "isoshare.space.backbones.se_resnet:se_resnet",
    "shufflenet_v2": "isoshare.space.backbones.torchvision_networks:shufflenet_v2",
}


FRAMES = "\nException raised from "
"""After it torch lists the C++ functions that it was in, which help nobody here."""
TRUSTED_PREFIX = "torchvision.models:"
"""What stands there builds networks."""


def is_own(name: str) -> bool:
    """Whether a backbone is code of the user's own, that naming it would run."""
    return name not in BACKBONES and not name.startswith(TRUSTED_PREFIX)


def check_named(name: str, named: str | None, where: str) -> None:
    """Refuse code of others that only a file or a database names. Raises BackboneError.

    named: what the user has named. where: what names the backbone, as ``plan.json``.
    """
    if is_own(name) and name != named:
        raise BackboneError(
            f"{where} names backbone {name!r}, which is code that would be imported and run: if "
            f"you trust it, name it too, with --backbone {name}"
        )


def build_backbone(
    name: str, arguments: Mapping[str, Argument], /, **varied: Argument
) -> nn.Module:
    """The network that ``name`` makes with ``arguments``, of which ``varied`` take the place.

    Raises BackboneError.
    """
    factory, arguments = factory_of(name), {**arguments, **varied}
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise BackboneError(
            f"backbone {name!r} cannot be called with these arguments: {error}; "
            f"it takes {_parameters(factory)}"
        ) from error
    except ValueError:
        pass  # a built-in without a signature: the call itself will tell
    return _call(name, factory, arguments)


def default_arguments(name: str, known: Mapping[str, Argument]) -> dict[str, Argument]:
    """Those of ``known`` (classes, in_channels of a data set) that the backbone takes."""
    try:
        taken = inspect.signature(factory_of(name)).parameters
    except ValueError:
        return {}
    return {key: value for key, value in known.items() if key in taken}


def _call(
    name: str, factory: Callable[..., object], arguments: Mapping[str, Argument]
) -> nn.Module:
    from torch import nn

    if isinstance(factory, nn.Module):
        raise BackboneError(
            f"backbone {name!r} is a network: name a function that makes one, so that each trial "
            "has its own"
        )
    try:
        network = factory(**arguments)
    except (BackboneError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a user's constructor raises, sys.exit() too
        said = " ".join(str(error).partition(FRAMES)[0].split())
        raise BackboneError(
            f"backbone {name!r} failed with {dict(arguments)}: {type(error).__name__}: {said}"
            f"{where_raised(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise BackboneError(
            f"a backbone must return a torch.nn.Module, {name!r} returned {type(network).__name__}"
        )
    _check_readable(name, network)
    return network


def _check_readable(name: str, network: nn.Module) -> None:
    """Raise BackboneError for a network that does not tell its modules or parameters."""
    try:
        for part in network.modules():
            list(part.parameters())
        list(network.named_modules())
    except Exception as error:  # of an overridden method, or where Module.__init__ never ran
        raise BackboneError(
            f"backbone {name!r} returned a {type(network).__name__} that cannot be looked into: "
            f"{typed_in_one_line(error)}; its __init__ must call super().__init__(), and its "
            "modules and parameters must be as torch.nn.Module has them"
        ) from error


def factory_of(name: str) -> Callable[..., object]:
    """The function that makes the backbone of this name. Raises BackboneError."""
    place = BACKBONES.get(name, name)
    module, colon, attribute = place.partition(":")
    if not colon:
        raise BackboneError(
            one_of("backbone", name, BACKBONES) + ", or give package.module:function of your own"
        )
    factory = import_named(module, attribute, f"backbone {name!r}")
    if not callable(factory):
        raise BackboneError(f"backbone {name!r} is a {type(factory).__name__}, not a function")
    return factory  # type: ignore[no-any-return]


def _parameters(factory: Callable[..., object]) -> str:
    return ", ".join(inspect.signature(factory).parameters) or "no arguments"
