"""The spiking twin of any network with ReLU: same modules, literally the same parameters.

Kheradpisheh, Mirsadeghi, Masquelier 2022, arXiv 2109.13208: where the network has a ReLU, the twin
has integrate-and-fire neurons, which add up their input current and spike when it reaches the
threshold. The network's first layers, up to the first activation, see the image itself and are
evaluated once: their output is the same current at each time step. From there on everything sees
spikes, step by step, and one more layer of neurons turns the logits into spikes to be counted.

A layer needs of the layer before nothing but the spikes of all steps, so the steps go through a
layer together, as one large batch. Nothing of a neuron outlives a forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from isoshare.evaluators.training.gradient_accumulation import EvaluationError

THRESHOLD = 2.0
"""Of every neuron. What is above it when a neuron spikes is lost."""

ACTIVATIONS = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_"}
"""What neurons stand in for, by the names of torch's functions. A neuron spikes at most once a
step, so it is bounded as ReLU6 is; hardtanh is how torch computes that."""

JOINS = {"add", "add_", "sub", "sub_", "mul", "mul_", "cat", "concat", "concatenate"}
"""Where the output of different layers meets."""

NO_TWIN = {
    *("gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu"),
    *("sigmoid", "hardsigmoid", "logsigmoid", "hardswish", "tanh", "softplus", "softsign"),
    *("softmax", "log_softmax", "softmin", "glu", "threshold", "clamp", "clamp_min", "clip"),
    *("layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize"),
    *("scaled_dot_product_attention", "multi_head_attention_forward", "maximum", "minimum"),
}
"""What is neither linear, nor ReLU, nor pooling: no integrate-and-fire neuron computes it."""


def integrate_and_fire(currents: Tensor) -> Tensor:
    """The spikes, 0 or 1, of neurons that start at rest; both (time steps, ...).

    Each step adds its current to the potential; a neuron that reaches the threshold spikes and
    starts again from 0.
    """
    spikes = torch.empty_like(currents, memory_format=torch.contiguous_format)
    potential = torch.zeros_like(currents[0])
    for current, spike in zip(currents, spikes, strict=True):
        potential += current
        torch.ge(potential, THRESHOLD, out=spike)
        potential.addcmul_(potential, spike, value=-1)
    return spikes


class SpikingTwin(nn.Module):
    """A copy of ``network`` with neurons for its activations, and its very parameters.

    Buffers, such as the running statistics of batch normalisation, are the twin's own. Stays in
    evaluation mode whatever ``network`` does; never differentiated.

    target_spikes: how many spikes of an output stand for a logit of 1: by default as many as a
        neuron gives for a current of 1.
    """

    def __init__(
        self, network: nn.Module, time_steps: int, target_spikes: float | None = None
    ) -> None:
        super().__init__()
        shared = {id(tensor): tensor for tensor in network.parameters()}
        self.network = copy.deepcopy(network, memo=shared).eval()
        self.time_steps = time_steps
        self.target_spikes = target_spikes or time_steps / THRESHOLD

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Spike counts (batch, classes) of the last layer, and all spikes an image (batch,).

        images: (batch, channels, height, width). Raises EvaluationError for a network that no
        spiking network can stand in for.
        """
        neurons = _Neurons(len(images), self.time_steps)
        with neurons:
            currents = self.network(images)
        spikes = neurons.fire(currents, "the output")
        return spikes.view(self.time_steps, len(images), -1).sum(0), neurons.spikes


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch normalisations with statistics, those of sharing methods included."""
    parts = (part for part in network.modules() if isinstance(part, _BatchNorm))
    return [part for part in parts if part.running_mean is not None]


class _Neurons(TorchFunctionMode):
    """For one forward pass, neurons take the place of every activation that is called.

    Activations are caught as calls, so it does not matter whether the network has modules for
    them. A tensor has ``batch`` rows as long as it is the same at all steps, and afterwards
    ``batch`` rows for each step, step after step.
    """

    def __init__(self, batch: int, time_steps: int) -> None:
        super().__init__()
        self.batch, self.time_steps = batch, time_steps
        self.spikes = torch.zeros(batch)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name, options = getattr(func, "__name__", ""), kwargs or {}
        if name in ACTIVATIONS and (not name.startswith("hardtanh") or _starts_at_0(args, options)):
            return self.fire(args[0] if args else options["input"], name)
        if name.rstrip("_") in NO_TWIN | {"hardtanh"}:
            raise EvaluationError(
                f"the network calls {name}, which has no spiking counterpart: take a backbone "
                "made of convolutions, linear layers, batch normalisation, pooling and ReLU, or "
                "another evaluator"
            )
        return func(*(self._joined(args) if name in JOINS else args), **options)

    def fire(self, currents: Tensor, name: str) -> Tensor:
        """The spikes of all steps, from the currents of all steps or of one that stays the same."""
        rows, whole = len(currents), self.batch * self.time_steps
        if rows not in {self.batch, whole}:
            raise EvaluationError(
                f"{name} got {rows} rows for a batch of {self.batch} in {self.time_steps} time "
                "steps: a spiking network needs the images in the first dimension everywhere"
            )
        shape = (self.time_steps, self.batch, *currents.shape[1:])
        spikes = integrate_and_fire(
            currents.expand(shape) if rows == self.batch else currents.view(shape)
        )
        self.spikes = self.spikes.to(spikes) + spikes.flatten(2).sum((0, 2))
        return spikes.flatten(0, 1)

    def _joined(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """What is constant is repeated where it meets spikes: sums and concatenations."""
        tensors = [t for t in _leaves(args) if t.ndim]
        timed = {t.ndim for t in tensors if len(t) == self.batch * self.time_steps}

        def repeated(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(map(repeated, value))
            if isinstance(value, Tensor) and value.ndim in timed and len(value) == self.batch:
                return value.repeat(self.time_steps, *[1] * (value.ndim - 1))
            return value

        return tuple(map(repeated, args))


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value] if isinstance(value, Tensor) else []


def _starts_at_0(args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    return bool(options.get("min_val", args[1] if len(args) > 1 else -1.0) == 0)
