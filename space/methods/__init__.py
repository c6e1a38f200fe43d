"""METHODS: the ways in which the sites of a bank can share weights, one row each.

This table is read wherever plans are read, so it must stay free of torch: a row names the options
of a method and the module that implements it; the module is imported when a network is built.

One more method is one module with the functions of ``SharingMethod`` and one row here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import nn

    from space.sites import Site


class Options(BaseModel):
    """The options of a method, complete with defaults; an unknown option is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class KernelOptions(Options):
    """Kernel sharing has no options."""


class SharingMethod(Protocol):
    """What the module of a method provides. ``options`` are those of its row, complete."""

    def check(self, sites: Sequence[Site], options: dict[str, Any]) -> None:
        """Raise PlanError, naming both shapes, if these sites cannot form one bank."""

    def parameters(self, sites: Sequence[Site], options: dict[str, Any]) -> int:
        """Trainable parameters of the bank and of what its sites keep, in closed form."""

    def share(self, network: nn.Module, sites: Sequence[Site], options: dict[str, Any]) -> None:
        """Make the sites of ``network`` share, in place. ``sites`` are in module order."""


@dataclass(frozen=True)
class MethodRow:
    """One row of METHODS.

    module: where the implementation is, imported on first use.
    options: the pydantic model of its options.
    trivial_alone: True if a bank of one site is the same network as no bank.
    """

    module: str
    options: type[Options]
    trivial_alone: bool

    @property
    def implementation(self) -> SharingMethod:
        """The module itself (imports torch)."""
        return cast(SharingMethod, import_module(self.module))


METHODS: dict[str, MethodRow] = {
    "kernel": MethodRow("space.methods.kernel", KernelOptions, trivial_alone=True),
}
