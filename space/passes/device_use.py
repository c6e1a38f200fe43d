"""How one image uses the layers of a network, and what a device holds beside its sites."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from isoshare.space.methods.device import Held, Uses, one_kernel
from isoshare.space.sites import Site

Layer = _ConvNd | nn.Linear


@dataclass
class _Seen:
    """calls: of each layer. behind: for each layer the normalisations of its output. absorbed:
    all of these. made: the outputs of layers, kept so that no other tensor gets their identity.
    """

    calls: dict[nn.Module, int] = field(default_factory=dict)
    behind: dict[nn.Module, set[nn.Module]] = field(default_factory=dict)
    absorbed: set[nn.Module] = field(default_factory=set)
    made: dict[int, tuple[nn.Module, Any]] = field(default_factory=dict)

    def layer(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        """A layer was called."""
        self.calls[module] = self.calls.get(module, 0) + 1
        self.made[id(output)] = (module, output)

    def norm(self, module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        """A normalisation was called."""
        if inputs and id(inputs[0]) in self.made:
            self.behind.setdefault(self.made[id(inputs[0])][0], set()).add(module)
            self.absorbed.add(module)

    def uses(self, module: nn.Module) -> Uses:
        """Of a layer; one that is used in ways that are not seen counts as called."""
        return Uses(self.calls.get(module, 1), len(self.behind.get(module, ())))


def device_use(
    module: nn.Module, sites: Sequence[Site], image: Tensor
) -> tuple[dict[str, Uses], Held]:
    """How ``image`` uses each site, and what the device holds beside them."""
    trial = copy.deepcopy(module).eval().float()
    seen = _Seen()
    for part in trial.modules():
        if isinstance(part, Layer):
            part.register_forward_hook(seen.layer)
        elif isinstance(part, _BatchNorm):
            part.register_forward_hook(seen.norm)
    with torch.no_grad():
        trial(image)
    named = {site.name: trial.get_submodule(site.name) for site in sites}
    return {name: seen.uses(part) for name, part in named.items()}, _rest(trial, named, seen)


def _rest(network: nn.Module, sites: Mapping[str, nn.Module], seen: _Seen) -> Held:
    """All that is not a site, nor a normalisation that a layer takes up."""
    inside = set(sites.values())
    by_kernel: dict[int, list[Any]] = {}
    others: dict[int, int] = {}
    held = Held()
    for part in network.modules():
        if part in inside or part in seen.absorbed:
            continue
        if isinstance(part, Layer) and part._parameters.get("weight") is not None:
            by_kernel.setdefault(id(part.weight), []).append(part)
        elif isinstance(part, _BatchNorm):
            width = part.num_features  # a factor and a shift a channel: a convolution of 1x1
            held = held.plus(Held(width, width, width))
        else:
            others |= _elements(part)
    held = held.plus(*(_layers(layers, seen) for layers in by_kernel.values()))
    return held.plus(Held(sum(others.values())))


def _layers(layers: Sequence[Any], seen: _Seen) -> Held:
    """Those that have one kernel."""
    first = layers[0]
    width = getattr(first, "out_channels", 0) or first.out_features
    has_bias = any(layer.bias is not None for layer in layers)
    return one_kernel(first.weight.numel(), width, has_bias, map(seen.uses, layers))


def _elements(part: nn.Module) -> dict[int, int]:
    """Of the tensors of a module itself that are not counters, by identity."""
    own = (*part._parameters.values(), *part._buffers.values())
    return {id(one): one.numel() for one in own if one is not None and one.is_floating_point()}
