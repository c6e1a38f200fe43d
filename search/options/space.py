"""Options that say what is searched: the network, and how its layers may share weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar, Self

from pydantic import BaseModel, field_validator, model_validator

from isoshare.search.options.definition import FROZEN, ConfigError, as_typed, option

Arguments = dict[str, bool | int | float | str]
Varied = dict[str, tuple[bool | int | float | str, ...]]
MOST_VARIANTS = 256


def _all_methods() -> tuple[str, ...]:
    from isoshare.space.methods import METHODS  # reads the models of all methods

    return tuple(METHODS)


class SpaceConfig(BaseModel):
    """The search space."""

    model_config = FROZEN
    GROUP: ClassVar = "Search space"

    backbone: str = option(
        "resnet_cifar",
        "The network: for small images cifar_densenet121, cifar_mobilenet_v2, cifar_resnet26, "
        "cifar_resnext50, cifar_shufflenet_v2, convmixer, dacnn_mix, dacnn_plain, densenet_bc, "
        "fashion_cnn, resnet_cifar, resnet_small_images, resnext50_filters, se_resnet; for large "
        "ones resnet18, resnet34, resnet50, resnet101, resnext50, densenet121, mobilenet_v2, "
        "mobilenet_v2_expanded, shufflenet_v2; or package.module:function of your own.",
        metavar="B",
        shown="a small resnet_cifar",
        min_length=1,
    )
    backbone_arg: Arguments = option(
        {}, "An argument of the backbone, such as depth=20; may be repeated.", metavar="K=V"
    )
    vary: Varied = option(
        {},
        "An argument of the backbone that the search chooses too, with its values, such as "
        "width=8,12,16; may be repeated.",
        metavar="K=A,B",
    )
    methods: tuple[str, ...] = option(
        help="How sites may share: kernel, one for several; anchored, one with private 1x1 "
        "regulators; filter_basis, shared filters with private coefficients; slice_generator, "
        "kernels generated from codes; low_rank, one with private low-rank residuals.",
        metavar="A,B",
        shown="all",
        make=_all_methods,
        min_length=1,
    )

    @field_validator("backbone_arg")
    @classmethod
    def _are_arguments(cls, given: Arguments) -> Arguments:
        check_arguments(given)
        return given

    @field_validator("vary")
    @classmethod
    def _can_vary(cls, given: Varied) -> Varied:
        check_values(given)
        return given

    @model_validator(mode="after")
    def _vary_what_is_given(self) -> Self:
        for name, values in self.vary.items():
            value = self.backbone_arg.get(name, values[0])
            if value not in values:
                raise ConfigError(
                    f"--backbone-arg {name}={as_typed(value)} is not among the values of --vary "
                    f"{name}={as_typed(values)}: add it there, or leave the argument out"
                )
        return self


def check_values(given: Varied) -> None:
    """Raise ConfigError unless these are values that arguments of a function can take."""
    for name, values in given.items():
        for value in values:
            check_arguments({name: value})
        if len(set(values)) < max(1, len(values)):
            typed = f"{name}={as_typed(values)}"
            raise ConfigError(f"vary must give different values, one or more, got {typed}")
    variants = prod(map(len, given.values()))
    if variants > MOST_VARIANTS:
        raise ConfigError(
            f"vary may make {MOST_VARIANTS} variants, each a network that is built and counted "
            f"first, got {variants:,}: give fewer values"
        )


def check_arguments(given: Mapping[str, Any]) -> None:
    """Raise ConfigError unless these can be typed as arguments of a function."""
    for key, value in given.items():
        if not key.isidentifier() or not str(value).isprintable():
            raise ConfigError(f"backbone_arg must look like depth: 20, got {key!r}: {value!r}")
