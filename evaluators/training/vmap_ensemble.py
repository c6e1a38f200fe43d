"""Networks of one architecture as one function, however many, in the arithmetic that is quickest.

A small network spends its time in calling operators, not in computing. Several seeds of one plan
are therefore trained side by side as one network with one more dimension (``torch.func.vmap``):
eight seeds of a small ResNet take about as long as four of them one after another. A larger network
computes: it gains from bfloat16 and from channels that lie beside each other instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from isoshare.evaluators.training.batches import threads_for_now
from isoshare.evaluators.training.gradient_accumulation import EvaluationError
from isoshare.space.apply import extra_loss
from isoshare.space.errors import typed_in_one_line
from isoshare.space.network_copy import copy_network

Forward = Callable[[Tensor], Tensor]
"""Images (seeds, batch, channels, height, width) to logits (seeds, batch, classes)."""

Precision = Literal["auto", "float32", "bfloat16"]

STACKABLE_WORK = 1e9
"""Parameters x pixels x batch size up to which a network is small: where an operator takes longer
than its call, seeds one after another are as fast as side by side (benchmarks/stacking.py), and
bfloat16 begins to pay (benchmarks/throughput.py)."""


def worth_stacking(network: nn.Module, images: Tensor, batch_size: int) -> bool:
    """Whether seeds are trained side by side: a rule, not a timing, so that it repeats."""
    parameters = sum(tensor.numel() for tensor in network.parameters())
    pixels = images.shape[-1] * images.shape[-2]
    return parameters * pixels * batch_size <= STACKABLE_WORK


def fitting_threads(
    network: nn.Module, images: Tensor, batch_size: int
) -> AbstractContextManager[None]:
    """As many threads as a training of one network can use: in a small one they would wait for each
    other, and add in another order.
    """
    return threads_for_now(1) if worth_stacking(network, images, batch_size) else nullcontext()


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it: without them it is slower, not quicker."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def trains_in_bfloat16(precision: Precision, device: torch.device, small: bool = False) -> bool:
    """What a precision means on a device; small: a network too small to gain from it."""
    return precision == "bfloat16" or (
        precision == "auto" and not small and computes_bfloat16(device)
    )


def why_one_by_one(network: nn.Module, images: Tensor) -> str:
    """Why ``torch.func.vmap`` cannot train several of ``network``, or "": a step of two is tried.

    images: a few of them (batch, channels, height, width). ``network`` stays as it was.
    """
    try:
        with torch.random.fork_rng():
            stack = Stack([copy_network(network), copy_network(network)])
            stack.train(True)
            logits, *_ = stack(images.expand(2, *images.shape))
            logits.sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a network does that vmap does not know
        return typed_in_one_line(error, 160)
    return ""


class TrainedAsOne(Protocol):
    """What a training needs of whatever it trains.

    parameters: what an optimizer moves. tensors: parameters and buffers by name, the whole state.
    """

    parameters: list[Tensor]
    tensors: dict[str, Tensor]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of images (seeds, batch, channels, height, width) the logits (seeds, batch, classes), and
        what is added to the loss, (seeds,); in training then the logits of auxiliary outputs."""

    def trained(self, images: Tensor) -> Tensor:
        """Logits alone, in evaluation mode: a Forward."""

    def train(self, mode: bool) -> None:
        """Training mode, or evaluation mode."""


class Stack:
    """Networks of one architecture, called as one (``TrainedAsOne``).

    One network is called as it is, and trained in place; several must allow ``torch.func.vmap``,
    and compute in float32 always, because autocast reaches only some of the operators under it.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        precision: Precision = "float32",
        *,
        small: bool = True,
        compiled: bool = False,
    ) -> None:
        wrapped = [_WithExtraLoss(network) for network in networks]
        self._is_single = len(wrapped) == 1
        where = next(iter(networks[0].parameters())).device
        self.bfloat16 = self._is_single and trains_in_bfloat16(precision, where, small)
        self._channels_last = self._is_single and not small
        self._device = where.type
        parameters: dict[str, Tensor]
        buffers: dict[str, Tensor]
        call: Callable[[Tensor], tuple[Tensor, ...]]
        if self._is_single:
            self._module = wrapped[0]
            if self._channels_last:
                self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            parameters = dict(self._module.named_parameters())
            buffers = dict(self._module.named_buffers())
            call = self._one_network
        else:
            parameters, buffers = stack_module_state(wrapped)
            self._module = copy_network(wrapped[0])
            call = self._many_networks(parameters, buffers)
        self.parameters: list[Tensor] = list(parameters.values())
        self.tensors: dict[str, Tensor] = {**parameters, **buffers}
        self._call = torch.compile(call) if compiled else call

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits, and what the sharing methods add to the loss, (seeds,), in training mode."""
        with torch.autocast(self._device, torch.bfloat16, enabled=self.bfloat16):
            logits, extra, *auxiliary = self._call(images)
        return logits.float(), extra, *(output.float() for output in auxiliary)

    def trained(self, images: Tensor) -> Tensor:
        """Logits alone, in evaluation mode: a Forward."""
        self.train(False)
        return self(images)[0]

    def train(self, mode: bool) -> None:
        """Training mode, or evaluation mode."""
        self._module.train(mode)

    def _one_network(self, images: Tensor) -> tuple[Tensor, ...]:
        x = images[0]
        if self._channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return tuple(output[None] for output in self._module(x))

    def _many_networks(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]
    ) -> Callable[[Tensor], tuple[Tensor, ...]]:
        skeleton = self._module

        def one(
            params: dict[str, Tensor], state: dict[str, Tensor], x: Tensor
        ) -> tuple[Tensor, ...]:
            outputs: tuple[Tensor, ...] = functional_call(skeleton, (params, state), (x,))
            return outputs

        stacked = vmap(one, randomness="different")
        return lambda x: stacked(parameters, buffers, x)


class _WithExtraLoss(nn.Module):
    """A network that returns what its sharing methods add to the loss beside its logits, and in
    training its auxiliary outputs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.has_loss = extra_loss(network) is not None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (batch, channels, height, width); returns (batch, classes), a scalar, and (batch,
        classes) of each auxiliary output. Raises EvaluationError for other outputs.
        """
        logits, *auxiliary = outputs_of(self.network(x))
        if not self.training:
            auxiliary = []
        if not (self.has_loss and self.training):
            return logits, logits.new_zeros((), dtype=torch.float32), *auxiliary
        with torch.autocast(x.device.type, enabled=False):
            extra = extra_loss(self.network)
        return logits, logits.new_zeros(()) if extra is None else extra, *auxiliary


def outputs_of(found: Any) -> list[Tensor]:
    """What a network returns: its logits (batch, classes), then those of auxiliary outputs.

    found: one tensor, or several in a tuple, list or dict, the logits first. Raises
    EvaluationError for anything else.
    """
    several = list(found.values()) if isinstance(found, dict) else found
    outputs = list(several) if isinstance(several, list | tuple) else [several]
    outputs = [output for output in outputs if output is not None]
    for output in outputs:
        if not isinstance(output, Tensor) or output.shape != outputs[0].shape:
            shapes = [list(getattr(one, "shape", ())) or type(one).__name__ for one in outputs]
            raise EvaluationError(
                "a network must return logits, and beside them nothing but auxiliary outputs of "
                f"the same shape: it returned {shapes}"
            )
    return outputs
