"""Convolutions whose kernel a method computes: for everybody else they have a ``weight`` still.

Reading ``weight`` and ``bias`` gives those of the ordinary convolution that computes the same in
evaluation, and gradients go through them: an owner or a hook that convolves by itself convolves
with the shared weights. Writing into what was read would be lost, so it is refused; a parameter
that is *assigned* to ``weight`` makes the convolution an ordinary, private one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isoshare.space.errors import PlanError

TEMPORARY = {"_read", "_made"}
"""What a convolution keeps only until it computes the next time."""


class ComputedWeightConv2d(nn.Conv2d):
    """A convolution that computes its kernel from other tensors.

    site: its name in the network that was shared.
    """

    site: str

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """Kernel (out, in/groups, k, k) and bias of the convolution that computes the same."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The kernel (out, in/groups, k, k), to be read."""
        self.check_unwritten()
        kernel = self.dense()[0]
        if _has_numbers(kernel):
            self.__dict__["_read"] = (kernel, kernel.data_ptr(), kernel.detach().clone())
        return kernel

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """The bias (out,), to be read."""
        return self.dense()[1]

    @property
    def own_bias(self) -> Tensor | None:
        """The bias that the convolution was made with."""
        return self._parameters["bias"]

    def check_unwritten(self) -> None:
        """Raise PlanError if somebody has written into the kernel that was read last."""
        read = self.__dict__.pop("_read", None)
        if read is None or not _has_numbers(read[0]):
            return
        kernel, place, before = read
        if kernel.data_ptr() != place or not torch.equal(kernel.detach(), before):
            raise PlanError(
                f"something writes into the weight of {self.site!r}, which is computed there and "
                "would not keep it: share that site by method kernel, initialise a network before "
                "it is shared, or leave it out of the plan"
            )

    def become_plain(self, weight: Tensor, bias: Tensor | None) -> None:
        """Turn into an ``nn.Conv2d`` of its own; its place and its hooks stay."""
        for name in TEMPORARY:
            self.__dict__.pop(name, None)
        self.__class__ = nn.Conv2d  # type: ignore[assignment]
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
        """As ever, but pruning and weight normalisation have no kernel here: PlanError."""
        if name.startswith(("weight_", "bias_")):
            raise PlanError(
                f"the weight of {self.site!r} is computed from shared tensors, so it cannot be "
                f"replaced by {name!r}: prune or normalise after isoshare.space.apply.bake, or "
                "share that site by method kernel"
            )
        super().register_parameter(name, param)

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


def _has_numbers(kernel: Tensor) -> bool:
    """Not while a compiler traces, nor under ``torch.func``: there is nothing to compare then."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or type(kernel) is not Tensor
        or kernel.is_meta
        or torch._C._functorch.is_functorch_wrapped_tensor(kernel)
    )
