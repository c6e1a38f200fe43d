"""Layers whose weight a method computes: for everybody else they have a ``weight`` still.

Reading ``weight`` and ``bias`` gives those of the ordinary layer that computes the same in
evaluation, and gradients go through them: an owner or a hook that computes by itself computes
with the shared weights. Writing into what was read would be lost, so it is refused; a parameter
that is *assigned* to ``weight`` makes the layer an ordinary, private one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from isoshare.space.errors import PlanError
from isoshare.space.layers import class_of
from isoshare.space.methods import FLOAT_BYTES

TRACED_AS_ONE = "torch.nn"
"""torch.fx takes a layer as one step of its graph where its class says so, as convolutions do. It
would look into others, and what depends on trained tensors alone would be a constant from then on.
"""

TEMPORARY = {"_read", "_made"}
"""What a layer keeps only until it computes the next time."""


class OfAnyLayer(nn.Module):
    """What a method does in the place of a layer of PyTorch's, whichever it is (``become``).

    method, layer: the two classes that the class of an instance is made of.
    """

    method: ClassVar[type[nn.Module]]
    layer: ClassVar[type[nn.Module]]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The class is made while it is used, so copies and pickles name what it is made of.
        return _bare, (self.method, self.layer), self.__getstate__()  # type: ignore[no-untyped-call]


def become(host: Any, method: type[nn.Module], layer: type[nn.Module]) -> None:
    """Make a layer one of ``method``, still one of class ``layer``; its place and hooks stay."""
    host.__class__ = _class(method, layer)  # type: ignore[arg-type]


@lru_cache(None)
def _class(method: type[nn.Module], layer: type[nn.Module]) -> type[nn.Module]:
    name = f"{method.__name__}{layer.__name__}"
    inside = {"method": method, "layer": layer, "__module__": TRACED_AS_ONE}
    return type(name, (method, layer), inside)


def _bare(method: type[nn.Module], layer: type[nn.Module]) -> nn.Module:
    made = _class(method, layer)  # type: ignore[arg-type]
    return made.__new__(made)


class ComputedWeight(OfAnyLayer):
    """A layer that computes its weight from other tensors.

    site: its name in the network that was shared.
    """

    site: str

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """Weight, as the layer stores one, and bias of the layer that computes the same."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """The weight, as the layer stores one, to be read."""
        self.check_unwritten()
        weight = self.dense()[0]
        if _has_numbers(weight):
            self.__dict__["_read"] = (weight, weight.data_ptr(), weight.detach().clone())
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The bias (out,), to be read."""
        return self.dense()[1]

    @property
    def own_bias(self) -> Tensor | None:
        """The bias that the layer was made with."""
        return self._parameters["bias"]

    def is_rounded_twice(self) -> bool:
        """Whether it computes in evaluation and in half precision, where a second layer would round
        once more than the ordinary one does.
        """
        tensors = [tensor for tensor in self._parameters.values() if tensor is not None]
        return not self.training and tensors[0].element_size() < FLOAT_BYTES

    def held_weight(self) -> nn.Parameter:
        """The tensor that is registered as its weight. Raises PlanError if it is there no more."""
        weight = self._parameters.get("weight")
        if weight is None:
            raise PlanError(
                f"the kernel of {self.site!r} has been pruned or parametrised after it was shared: "
                "do that to the network before, then the site stays private"
            )
        return weight

    def check_unwritten(self) -> None:
        """Raise PlanError if somebody has written into the weight that was read last."""
        read = self.__dict__.pop("_read", None)
        if read is None or not _has_numbers(read[0]):
            return
        weight, place, before = read
        if weight.data_ptr() != place or not torch.equal(weight.detach(), before):
            raise PlanError(
                f"something writes into the weight of {self.site!r}, which is computed there and "
                "would not keep it: share that site by method kernel, initialise a network before "
                "it is shared, or leave it out of the plan"
            )

    def become_plain(self, weight: Tensor, bias: Tensor | None) -> None:
        """Turn into an ordinary layer of its own; its place and its hooks stay."""
        for name in TEMPORARY:
            self.__dict__.pop(name, None)
        self.__class__ = self.layer  # type: ignore[assignment]
        self._parameters.clear()
        self._modules.clear()
        self.register_parameter("weight", nn.Parameter(weight.detach()))
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach()))

    def reset_parameters(self) -> None:
        """Not after sharing: PlanError."""
        raise PlanError(
            f"the weight of {self.site!r} is computed, it cannot be set anew: call "
            "reset_parameters before the network is shared"
        )

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As ever, but pruning and weight normalisation have no weight here: PlanError."""
        if name.startswith(("weight_", "bias_")):
            self._parameters.setdefault("weight", None)  # old weight_norm has deleted it before
            raise self._irreplaceable(f"replaced by {name!r}")
        super().register_parameter(name, param)

    def __delattr__(self, name: str) -> None:
        """As ever, but what stands in the place of weight and bias stays: PlanError."""
        if name in {"weight", "bias"}:  # as register_parametrization begins, and old spectral_norm
            raise self._irreplaceable("deleted, parametrised or normalised")
        super().__delattr__(name)

    def _irreplaceable(self, what: str) -> PlanError:
        self.__dict__.pop("_read", None)  # whatever was written there has come to nothing
        return PlanError(
            f"weight and bias of {self.site!r} are computed from shared tensors and cannot be "
            f"{what}: prune, parametrise or normalise the layer before the network is shared, then "
            "it stays private, or after isoshare.space.apply.bake"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight" and isinstance(value, nn.Parameter):
            self.become_plain(value, self.dense()[1])
            value = nn.Parameter(value.detach(), value.requires_grad)
        nn.Module.__setattr__(self, name, value)

    def __prepare_scriptable__(self) -> nn.Module:
        raise PlanError(
            f"torch.jit.script cannot compile {self.site!r}, whose weight is computed: script "
            "isoshare.space.apply.bake(network, plan), or use torch.export"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in TEMPORARY}


class CachedWeight(ComputedWeight):
    """A layer whose weight depends on nothing but its tensors: in training it is computed for each
    forward pass, in evaluation once until the tensors change.

    A change is seen by their version counters. Fused optimizers and writing through ``.data`` do
    not advance these, so a forward pass with gradients, which precedes every step, empties the
    cache too, and so does ``eval()``.
    """

    _made: tuple[object, Tensor] | None = None

    def sources(self) -> tuple[Tensor, ...]:
        """The tensors that the weight depends on."""
        raise NotImplementedError

    def made_weight(self) -> Tensor:
        """The weight, from the cache where that is safe."""
        if self.training or torch.is_grad_enabled() or not self._is_cacheable():
            self._made = None
            return self.dense()[0]
        state = [(id(t), t._version, t.data_ptr()) for t in self.sources()]
        if self._made is None or self._made[0] != state:
            self._made = (state, self.dense()[0])
        return self._made[1]

    def train(self, mode: bool = True) -> Self:
        """Also empties the cache."""
        self._made = None
        return super().train(mode)

    def _is_cacheable(self) -> bool:
        """Not while a compiler traces, nor while ``torch.func`` puts other tensors in place."""
        ordinary = all(isinstance(tensor, nn.Parameter) for tensor in self.sources())
        return ordinary and not torch.compiler.is_compiling()


def become_computed(
    host: Any, method: type[ComputedWeight], site: str, keeps_weight: bool = False
) -> None:
    """Make the layer of a site one of ``method``; without ``keeps_weight`` it has none any more."""
    if not keeps_weight:
        host._parameters["weight"] = None  # its name stays, as that of a bias that is not there
    become(host, method, class_of(host))
    host.site = site


def _has_numbers(weight: Tensor) -> bool:
    """Not while a compiler traces, nor under ``torch.func``: there is nothing to compare then."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or type(weight) is not Tensor
        or weight.is_meta
        or torch._C._functorch.is_functorch_wrapped_tensor(weight)
    )
