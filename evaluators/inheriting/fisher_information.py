"""On which elements of its kernels a trained network depends: their Fisher information.

One backward pass over a batch gives the gradients of single images too: a layer's input and the
gradient of its output make them up, as long as images do not mix and the layer is used as it is.
Whether this is so is tried on two images; layers where it is not are left to ``torch.func.vmap``,
which holds the gradients of a batch for all of them at once and takes several times as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from isoshare.evaluators.sensitivities.site_statistics import windows
from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.vmap_ensemble import outputs_of
from isoshare.space.layers import TRANSPOSED, groups_of
from isoshare.space.sites import find_sites

BATCH, TRIED = 16, 2
"""Images at once, and images on which both ways are compared."""
ROUNDING = 1e-3
"""Of the largest: farther apart, two sums of squares are not the same."""


def fisher(network: nn.Module, data: Batches, images: int = 256) -> dict[str, Tensor]:
    """The diagonal of the empirical Fisher information of each site's kernel: the mean over images
    of the squared gradient of its loss. The network is in evaluation mode for that.
    """
    network.eval()
    names = [site.name for site in find_sites(network)]
    squares = {name: torch.zeros_like(_kernel(network, name)) for name in names}
    first = next(data.first(min(images, TRIED), TRIED))
    quick = _agreeing(_by_layer(network, names, *first), _by_image(network, names, *first))
    slow = [name for name in names if name not in quick]
    for batch in data.first(images, BATCH):
        for name, found in _by_layer(network, quick, *batch).items():
            squares[name] += found
        for name, found in _by_image(network, slow, *batch).items():
            squares[name] += found
    return {name: one / min(images, len(data.labels)) for name, one in squares.items()}


def _agreeing(tried: dict[str, Tensor], known: dict[str, Tensor]) -> list[str]:
    """The layers of which both say the same."""
    return [
        name
        for name, found in tried.items()
        if bool((found - known[name]).abs().max() <= ROUNDING * known[name].max())
    ]


def _by_image(
    network: nn.Module, names: Collection[str], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """The sum of the squared gradients, image by image."""
    if not names:
        return {}
    keys = {name: _key(name) for name in names}
    state = {key: tensor.detach() for key, tensor in network.named_parameters()}
    state |= dict(network.named_buffers())
    kernels = {key: state.pop(key) for key in keys.values()}

    def loss(chosen: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits, *_ = outputs_of(functional_call(network, {**state, **chosen}, (image[None],)))
        return functional.cross_entropy(logits, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))(kernels, images, labels)
    return {name: each[key].square().sum(0) for name, key in keys.items()}


@torch.enable_grad()
def _by_layer(
    network: nn.Module, names: Collection[str], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """The same of all layers that were called with as many inputs as there are images."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)

    def see(name: str, _: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if inputs and output.requires_grad:
            calls[name].append((inputs[0].detach(), output))
        return output.clone()  # what comes next may write into it

    layers = {name: network.get_submodule(name) for name in names}
    layers = {name: one for name, one in layers.items() if not isinstance(one, TRANSPOSED)}
    hooks = [one.register_forward_hook(partial(see, name)) for name, one in layers.items()]
    try:
        logits, *_ = outputs_of(network(images.detach().requires_grad_()))
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [output for some in calls.values() for _, output in some]
    if not outputs:
        return {}
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    gradients = iter(torch.autograd.grad(loss, outputs, allow_unused=True))
    squares: dict[str, Tensor] = {}
    for name, some in calls.items():
        seen = [(given, gradient) for (given, _), gradient in zip(some, gradients, strict=False)]
        if all(one is not None and len(one) == len(images) for pair in seen for one in pair):
            squares[name] = _squares(layers[name], seen)
    return squares


@torch.no_grad()
def _squares(layer: Any, calls: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Of the gradients of a kernel, the sum over images, from the inputs of all its calls and the
    gradients of their outputs.
    """
    given = torch.cat([_given(layer, one) for one, _ in calls], 2)
    asked = torch.cat([_asked(layer, one) for _, one in calls], 2)
    given, asked = (
        one.reshape(len(one), groups_of(layer), -1, one.shape[-1]) for one in (given, asked)
    )
    if given.shape[-1] == 1:  # the square of a product is that of its factors
        squares = torch.einsum("ngop,ngip->goi", asked.square(), given.square())
    else:
        squares = (asked @ given.mT).square_().sum(0)
    return squares.reshape(layer.weight.shape)


def _given(layer: Any, images: Tensor) -> Tensor:
    """From what each position is computed, (images, groups x fan-in, positions)."""
    if isinstance(layer, nn.Linear):
        return _asked(layer, images)
    seen, dimensions = windows(layer, images), len(layer.kernel_size)
    return (
        seen.movedim(tuple(range(2, 2 + dimensions)), tuple(range(-dimensions, 0)))
        .flatten(-dimensions)
        .flatten(1, -2)
    )


def _asked(layer: Any, outputs: Tensor) -> Tensor:
    """(images, channels, positions)."""
    if isinstance(layer, nn.Linear):
        return outputs.flatten(1, -2).mT if outputs.dim() > 2 else outputs[..., None]
    return outputs.flatten(2)


def _kernel(network: nn.Module, name: str) -> Tensor:
    return network.get_parameter(_key(name))


def _key(name: str) -> str:
    """Of the kernel of a site; a network that is a layer itself is a site without a name."""
    return f"{name}.weight".lstrip(".")
