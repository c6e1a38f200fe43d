"""Several plans of one backbone, trained as one network.

Where a method does no more than make kernels, all plans of a backbone are one function of different
kernels. So these are stacked, whatever they are made of, and one vectorised pass
(``torch.func.vmap``) computes all plans; gradients flow back through the stack into each plan's own
banks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from isoshare.space.apply import extra_loss, plain_kernels
from isoshare.space.layers import LAYERS
from isoshare.space.plan import SharingPlan


class PlansAsOne:
    """Networks that are ``backbone`` under some plans, called as one (``TrainedAsOne``).

    They compute in float32, and stay half trained until ``write_back``. Raises ValueError for a
    plan whose method does more than make kernels.
    """

    def __init__(
        self, plans: Sequence[SharingPlan], networks: Sequence[nn.Module], backbone: nn.Module
    ) -> None:
        for network in networks:
            if reason := more_than_kernels(network, backbone):
                raise ValueError(reason)
        self._plans, self._networks = plans, networks
        self._skeleton = copy.deepcopy(backbone)
        sites = (name for plan in plans for bank in plan.banks for name in bank.sites)
        self._shared = list(dict.fromkeys(sites))
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

    def trained(self, images: Tensor) -> Tensor:
        """Logits alone, in evaluation mode: a Forward."""
        self.train(False)
        return self(images)[0]

    def train(self, mode: bool) -> None:
        """Training mode, or evaluation mode."""
        self._skeleton.train(mode)

    @torch.no_grad()
    def write_back(self) -> None:
        """Give each network what it has learnt."""
        for place, network in enumerate(self._networks):
            parameters = dict(network.named_parameters(remove_duplicate=False))
            tensors = {**parameters, **dict(network.named_buffers())}
            for name, stacked in {**self._own, **self._buffers}.items():
                tensors[name].copy_(stacked[place])

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._skeleton, (parameters, buffers), (x,))
        return logits

    def _kernels(self) -> dict[str, Tensor]:
        """Kernels and biases of what is shared in any plan, stacked over the plans."""
        several = [plain_kernels(*pair) for pair in zip(self._networks, self._plans, strict=True)]
        made: dict[str, Tensor] = {}
        for name in self._shared:
            parts = [
                kernels[name] if name in kernels else _own_kernel(network, name)
                for kernels, network in zip(several, self._networks, strict=True)
            ]
            made[f"{name}.weight"] = torch.stack([kernel for kernel, _ in parts])
            biases = [bias for _, bias in parts if bias is not None]
            if biases:
                made[f"{name}.bias"] = torch.stack(biases)
        return made

    def _extra(self, logits: Tensor) -> Tensor:
        if not (self._has_loss and self._skeleton.training):
            return logits.new_zeros(len(logits))
        found = [extra_loss(network) for network in self._networks]
        return torch.stack([logits.new_zeros(()) if one is None else one for one in found])


def more_than_kernels(network: nn.Module, backbone: nn.Module) -> str:
    """In what a network differs from its backbone beside kernels, or nothing."""
    for name, own in backbone.named_modules():
        part = network.get_submodule(name)
        if not isinstance(own, LAYERS) and type(part) is not type(own):
            return f"a plan changes more than kernels: {name!r} is another module"
    known = {key for key, _ in backbone.named_buffers()}
    if added := {key for key, _ in network.named_buffers()} - known:
        return f"a plan adds statistics, {min(added)!r}: it does more than make kernels"
    return ""


def _own_kernel(network: nn.Module, name: str) -> tuple[Tensor, Tensor | None]:
    """Of a convolution that is private in this plan."""
    conv: Any = network.get_submodule(name)
    return conv.weight, conv.bias


def _leaf(tensors: Sequence[Tensor]) -> Tensor:
    """Stacked, and trained if they are."""
    return torch.stack([tensor.detach() for tensor in tensors]).requires_grad_(
        tensors[0].requires_grad
    )
