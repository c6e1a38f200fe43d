"""Several plans of one backbone, trained as one network.

Where a method does no more than make kernels, all plans of a backbone are one function of different
kernels. So these are stacked, whatever they are made of, and one vectorised pass
(``torch.func.vmap``) computes all plans; gradients flow back through the stack into each plan's own
banks.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from evaluators.batches import Batches
from evaluators.checkpoints import Checkpoint
from evaluators.stacking import Forward, TrainedAsOne
from evaluators.training import Training, TrainingSettings
from space.apply import effective, extra_loss


def train_plans(
    networks: Sequence[nn.Module],
    backbone: nn.Module,
    data: Batches,
    settings: TrainingSettings,
    seed: int,
) -> Forward:
    """Train networks that are ``backbone`` under different plans; all see the same batches.

    Returns them as one function of normalised images, in evaluation mode, as ``train`` does; the
    networks themselves stay half trained. In float32. Raises ValueError for a plan whose method
    does more than make kernels, EvaluationError as ``train`` does.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        training = _PlansTraining(
            *(networks, data, settings, [seed] * len(networks)), backbone=backbone
        )
        training.run(None, Checkpoint(None))
    return lambda images: training.stack(images)[0]


@dataclass
class _PlansTraining(Training):
    """A training of several plans that is under way."""

    backbone: nn.Module = field(kw_only=True)

    def trained_as_one(self) -> TrainedAsOne:
        """The plans."""
        return PlansAsOne(self.networks, self.backbone)


class PlansAsOne:
    """Networks that are ``backbone`` under different plans, called as one (``TrainedAsOne``)."""

    def __init__(self, networks: Sequence[nn.Module], backbone: nn.Module) -> None:
        self._networks, self._skeleton = list(networks), copy.deepcopy(backbone)
        self._shared = _shared_convolutions(networks, backbone)
        states = [dict(network.named_parameters(remove_duplicate=False)) for network in networks]
        alone = [
            name
            for name, _ in backbone.named_parameters()
            if name.rpartition(".")[0] not in self._shared
        ]
        self._own = {name: _leaf([state[name] for state in states]) for name in alone}
        kept = [dict(network.named_buffers()) for network in networks]
        self._buffers = {name: torch.stack([one[name] for one in kept]) for name in kept[0]}
        banks = {
            f"plan {place}.{name}.{key}": tensor
            for place, network in enumerate(networks)
            for name in self._shared
            for key, tensor in network.get_submodule(name).named_parameters()
        }
        once = {id(tensor): tensor for tensor in banks.values()}
        trained = [*self._own.values(), *once.values()]
        self.parameters: list[Tensor] = [tensor for tensor in trained if tensor.requires_grad]
        self.tensors: dict[str, Tensor] = {**self._own, **banks, **self._buffers}
        self._has_loss = any(extra_loss(network) is not None for network in networks)
        self._call = vmap(self._one, randomness="different")

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (plans, batch, channels, height, width); returns (plans, batch, classes), and
        what is added to the loss, (plans,).
        """
        logits: Tensor = self._call({**self._own, **self._kernels()}, self._buffers, images)
        return logits.float(), self._extra(logits)

    def train(self, mode: bool) -> None:
        """Training mode, or evaluation mode."""
        self._skeleton.train(mode)

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._skeleton, (parameters, buffers), (x,))
        return logits

    def _kernels(self) -> dict[str, Tensor]:
        """Kernels and biases of the shared convolutions, stacked over the plans."""
        made: dict[str, Tensor] = {}
        for name in self._shared:
            hosts: list[Any] = [network.get_submodule(name) for network in self._networks]
            parts = [effective(host) for host in hosts]
            made[f"{name}.weight"] = torch.stack([part.kernel for part in parts])
            biases = [part.bias for part in parts if part.bias is not None]
            if biases:
                made[f"{name}.bias"] = torch.stack(biases)
        return made

    def _extra(self, logits: Tensor) -> Tensor:
        if not (self._has_loss and self._skeleton.training):
            return logits.new_zeros(len(logits))
        found = [extra_loss(network) for network in self._networks]
        return torch.stack([logits.new_zeros(()) if one is None else one for one in found])


def _shared_convolutions(networks: Sequence[nn.Module], backbone: nn.Module) -> list[str]:
    """The names of those that share, or are made, in one plan at least. Raises ValueError."""
    found = []
    tied = [_tied(network) for network in networks]
    for name, own in backbone.named_modules():
        parts = [network.get_submodule(name) for network in networks]
        is_other = any(type(part) is not type(own) for part in parts)
        if isinstance(own, nn.Conv2d):
            if is_other or any(name in names for names in tied):
                found.append(name)
        elif is_other:
            raise ValueError(f"a plan changes more than kernels: {name!r} is another module")
    statistics = {key for network in networks for key, _ in network.named_buffers()}
    if added := statistics - {key for key, _ in backbone.named_buffers()}:
        raise ValueError(f"a plan adds statistics, {min(added)!r}: it does more than make kernels")
    return found


def _tied(network: nn.Module) -> set[str]:
    """The modules that hold a tensor which another one holds, too."""
    named = list(network.named_parameters(remove_duplicate=False))
    uses = Counter(id(tensor) for _, tensor in named)
    return {name.rpartition(".")[0] for name, tensor in named if uses[id(tensor)] > 1}


def _leaf(tensors: Sequence[Tensor]) -> Tensor:
    """Stacked, and trained if they are."""
    return torch.stack([tensor.detach() for tensor in tensors]).requires_grad_(
        tensors[0].requires_grad
    )
