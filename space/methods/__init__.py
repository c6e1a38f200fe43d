"""METHODS: the ways in which the sites of a bank can share weights, one row each.

This table is read wherever plans are read, so it must stay free of torch: a row names the options
of a method and the module that implements it; the module is imported when a network is built or
its size is asked for.

One more method is one module with the functions of ``SharingMethod`` and one row here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field

from isoshare.space.methods import counts

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm

    from isoshare.space.methods.device import Held, Uses
    from isoshare.space.sites import Site


class Options(BaseModel):
    """The options of a method, complete with defaults; an unknown option is refused.

    An option whose default is None is left out of a plan while it is None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class KernelOptions(Options):
    """orthogonality: the weight of a loss that keeps the filters of the kernel orthonormal."""

    orthogonality: float | None = Field(None, gt=0)


class AnchoredOptions(Options):
    """Where the private 1x1 convolutions of an anchored bank are.

    every: every n-th site of the bank has one, counted back from its last site.
    regulator_after: directly after the shared convolution, or after the batch normalisation that
        is registered next to it.
    """

    every: int = Field(1, ge=1)
    regulator_after: Literal["convolution", "batch_norm"] = "convolution"


class FilterBasisOptions(Options):
    """How many filters a site computes, and how they are kept apart.

    shared_rank, unique_rank: filters of the bank, and of each site alone.
    orthogonality: the weight λ of the loss that keeps the filters orthonormal.
    orthogonal_unique: whether the unique filters take part in that loss.
    """

    shared_rank: int = Field(ge=1)
    unique_rank: int = Field(0, ge=0)
    orthogonality: float = Field(10.0, ge=0)
    orthogonal_unique: bool = True


class LowRankOptions(Options):
    """rank: of the private matrix that is added to the shared kernel, in each group."""

    rank: int = Field(ge=1)


class SliceGeneratorOptions(Options):
    """The size of the generator and whether it is trained.

    slice_size: S, a slice has S x S x kernel height x kernel width elements.
    code_size: c, trained numbers from which a slice is made.
    generator: trained; reused, frozen with the weights of another network's; or binary, frozen
        at random signs times a half.
    """

    slice_size: int = Field(ge=1)
    code_size: int = Field(ge=1)
    generator: Literal["trained", "reused", "binary"] = "trained"


FLOAT_BYTES = 4
"""Networks are trained and saved in float32."""


class ActivationElements(NamedTuple):
    """Numbers an output position of a site that are alive at once while it computes, beside what
    was alive when it was called; 0 where the site computes as it did unshared.

    convolution: during its first convolution. after: during what follows in the site.
    normalisation: during the batch normalisation beside it.
    """

    convolution: int = 0
    after: int = 0
    normalisation: int = 0


class SharingMethod(Protocol):
    """What the module of a method provides. ``options`` are those of its row, complete.

    ``sites`` are those of one bank, in module order.
    """

    def check(self, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
        """Raise PlanError, naming both shapes, if these sites cannot form one bank."""

    def option_values(self, sites: Sequence[Site]) -> dict[str, tuple[Any, ...]]:
        """The values of each option that are worth trying on these sites, in rising order.

        Options left out keep their defaults.
        """

    def macs(self, sites: Sequence[Site], options: Mapping[str, Any]) -> list[int]:
        """For each site the multiply-accumulates of one position at which its kernel is applied, in
        closed form: of the output, or of the input of a transposed convolution.
        """

    def stored_bytes(self, sites: Sequence[Site], options: Mapping[str, Any]) -> int:
        """Bytes of the bank and of what its sites keep in a file that holds each tensor once:
        trained, frozen, and buffers; in closed form.
        """

    def activation_elements(
        self, sites: Sequence[Site], options: Mapping[str, Any]
    ) -> list[ActivationElements]:
        """For each site the activations that are alive while it computes, in closed form.

        Kernels and other tensors that do not depend on the image are no activations.
        """

    def held(self, sites: Sequence[Site], options: Mapping[str, Any], uses: Sequence[Uses]) -> Held:
        """What a device holds of the bank and of what its sites keep, in closed form.

        uses: how an image uses each site.
        """

    def deploy(self, host: nn.Module) -> None:
        """Turn a site, made by ``share``, in place into ordinary layers, for evaluation only, that
        compute the same and keep the tensors that are shared; so that no runtime makes a copy of
        them for the site.
        """

    def share(self, network: nn.Module, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
        """Make the sites of ``network`` share, in place, and initialise what is new."""

    def project(
        self,
        network: nn.Module,
        sites: Sequence[Site],
        options: Mapping[str, Any],
        kernels: Sequence[Tensor],
        importance: Sequence[Tensor],
    ) -> list[Tensor]:
        """Set the weights of a bank of ``network`` to come close to trained kernels.

        kernels: the weights of the sites as their layers store them, unshared; importance: for each
        element how much the loss depends on it. Returns the weights that come out, up to a positive
        factor for each site, which the batch normalisation behind it takes away.
        """

    def to_dense(self, conv: nn.Module) -> tuple[Tensor, Tensor | None]:
        """Weight, as the layer stores one, and bias of the ordinary layer that computes what a
        site, made by ``share``, computes in evaluation.
        """

    def norms_to_calibrate(self, network: nn.Module) -> list[_BatchNorm]:
        """The normalisations within its convolutions: ``project`` takes them for the identity, so
        whoever projects makes them that on the data.
        """

    def extra_loss(self, network: nn.Module, sites: Collection[str] | None = None) -> Tensor | None:
        """What training adds to the loss, if anything: for all banks, or what depends on sites."""


@dataclass(frozen=True)
class MethodRow:
    """One row of METHODS.

    module: where the implementation is, imported on first use.
    options: the pydantic model of its options.
    parameters: trainable ones of a bank and of what its sites keep, in closed form.
    trivial_alone: True if a bank of one site is the same network as no bank.
    network_wide: True if a network has one bank for each kernel size, whatever the other shapes;
        otherwise each isomorphic group is divided into banks of its own.
    summary: the method in a few words; brief: a bank of it in fewer, with its options.
    """

    module: str
    options: type[Options]
    parameters: Callable[[Sequence[Site], Mapping[str, Any]], int]
    summary: str
    brief: str
    trivial_alone: bool = False
    network_wide: bool = False

    @property
    def implementation(self) -> SharingMethod:
        """The module itself (imports torch)."""
        return cast(SharingMethod, import_module(self.module))


METHODS: dict[str, MethodRow] = {
    "kernel": MethodRow(
        "isoshare.space.methods.kernel",
        KernelOptions,
        counts.kernel,
        "one kernel for several sites",
        "kernel",
        trivial_alone=True,
    ),
    "anchored": MethodRow(
        "isoshare.space.methods.anchored",
        AnchoredOptions,
        counts.anchored,
        "one kernel, then private 1x1 convolutions",
        "anchored 1/{every}",
    ),
    "filter_basis": MethodRow(
        "isoshare.space.methods.filter_basis",
        FilterBasisOptions,
        counts.filter_basis,
        "shared filters, private 1x1 coefficients",
        "basis S{shared_rank}U{unique_rank}",
    ),
    "slice_generator": MethodRow(
        "isoshare.space.methods.slice_generator",
        SliceGeneratorOptions,
        counts.slice_generator,
        "kernels generated from private codes",
        "generator {slice_size}-{code_size}",
        network_wide=True,
    ),
    "low_rank": MethodRow(
        "isoshare.space.methods.low_rank",
        LowRankOptions,
        counts.low_rank,
        "one kernel, then private low-rank residuals",
        "low rank {rank}",
    ),
}
