"""One image through a network: how often its sites compute, and what is alive meanwhile.

An *activation* is a tensor that was computed from the image, or the image itself; kernels are none,
not even generated ones. A tensor counts with its whole storage, once however many views it has,
from the operator that makes it until the last reference is gone. Scratch memory inside an operator
is not counted, so the figure is the same on every machine: the least that an allocator must have.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from isoshare.space.costs.closed_form import Call, NetworkCosts
from isoshare.space.layers import positions
from isoshare.space.passes.device_use import device_use
from isoshare.space.sites import Site, registered_after

FLOPS_A_MAC = 2


def network_costs(module: nn.Module, sites: Sequence[Site], image: Tensor) -> NetworkCosts:
    """What ``image`` (1, channels, height, width) costs ``module``, which stays as it is; both in
    float32, whatever they are in.
    """
    trial = copy.deepcopy(module).eval().float()
    image = image.float() if image.is_floating_point() else image
    macs, stored = count_macs(trial, image), count_bytes(trial)
    uses, rest = device_use(trial, sites, image)
    calls: dict[str, list[Call]] = {site.name: [] for site in sites}
    norm_calls: dict[str, list[Call]] = {}
    live = _LiveActivations(image)
    for site in sites:
        _record(trial.get_submodule(site.name), live, calls[site.name])
        norm = registered_after(trial, site)
        if isinstance(norm, _BatchNorm):
            _record(norm, live, norm_calls.setdefault(site.name, []))
    with torch.no_grad(), live:
        trial(image)
    in_sites = sum(
        site.kernel_parameters * call.positions for site in sites for call in calls[site.name]
    )
    return NetworkCosts(
        other_macs=macs - in_sites,
        stored=stored,
        peak=live.peak,
        calls={name: tuple(found) for name, found in calls.items()},
        norm_calls={name: tuple(found) for name, found in norm_calls.items()},
        uses=uses,
        rest=rest,
    )


def count_macs(network: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of a network in evaluation mode, counted operator by operator."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops()) // FLOPS_A_MAC


def count_activations(network: nn.Module, image: Tensor) -> int:
    """Bytes of the activations that are alive at once, at most, in evaluation mode."""
    live = _LiveActivations(image)
    with torch.no_grad(), live:
        network(image)
    return live.peak


def count_bytes(network: nn.Module) -> int:
    """Bytes of a file that holds each tensor of ``network.state_dict()`` once, without names."""
    tensors = network.state_dict(keep_vars=True).values()
    once = {id(tensor): tensor for tensor in tensors if isinstance(tensor, Tensor)}
    return sum(tensor.numel() * tensor.element_size() for tensor in once.values())


class _LiveActivations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what is computed from ``image`` while it is active.

    peak: the most bytes that were alive at once; since_mark: the same since the last ``mark``.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = self.since_mark = 0
        self._add(image)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator and look at what is alive when it is done."""
        output = func(*args, **(kwargs or {}))
        if any(self._follows(leaf) for leaf in tree_leaves((args, kwargs))):
            for leaf in tree_leaves(output):
                self._add(leaf)
            self.since_mark = max(self.since_mark, self._bytes())
            self.peak = max(self.peak, self.since_mark)
        return output

    def mark(self) -> int:
        """Bytes that are alive now."""
        self.since_mark = self._bytes()
        return self.since_mark

    def _bytes(self) -> int:
        self._alive = {key: one for key, one in self._alive.items() if not _is_gone(one[0])}
        return sum(size for _, size in self._alive.values())

    def _follows(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata in self._alive

    def _add(self, leaf: Any) -> None:
        if isinstance(leaf, Tensor):
            storage = leaf.untyped_storage()
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            self._alive[storage._cdata] = (reference, storage.nbytes())


def _is_gone(storage: StorageWeakRef) -> bool:
    return bool(storage.expired())  # type: ignore[no-untyped-call]


def _record(module: nn.Module, live: _LiveActivations, calls: list[Call]) -> None:
    """Append a ``Call`` to ``calls`` whenever ``module`` is called."""
    waiting: list[int] = []

    def before(_module: nn.Module, _inputs: Any) -> None:
        waiting.append(live.mark())

    def after(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        start = waiting.pop()
        extra = live.since_mark - start - output.numel() * output.element_size()
        applied = positions(module, inputs[0], output)
        calls.append(Call(start, max(0, extra), applied))

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)
