"""What sharing costs in time: forward and backward of each method beside the unshared network.

    python benchmarks/methods.py [--depth 56] [--batch 64] [--rounds 9]

A CIFAR ResNet on random 32x32 images, training mode, one thread, float32; every round times the
unshared network and each plan in turn, and a ratio is taken within the round. Prints JSON with
the median ratio, its quartiles, and the ratio of multiply-accumulates of the sites.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
from rich.console import Console
from rich.progress import track
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare.space.apply import apply_plan, count_parameters, extra_loss, plan_macs
from isoshare.space.backbones import build_backbone
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.patterns import Pattern, basis, generator, kernels
from isoshare.space.plan import SharingPlan
from isoshare.space.sites import find_sites

PATTERNS: dict[str, Pattern] = {
    "kernel": kernels(),
    "anchored": kernels(method="anchored"),
    "anchored, every second site": kernels(method="anchored", every=2),
    "filter_basis S8U0": basis(8, 0),
    "filter_basis S8U1": basis(8, 1),
    "filter_basis S16U0": basis(16, 0),
    "filter_basis S16U1": basis(16, 1),
    "filter_basis S16U1, no orthogonality": basis(16, 1, orthogonality=0.0),
    "slice_generator 16-72": generator(16, 72),
    "slice_generator 16-128": generator(16, 128),
    "slice_generator 16-128, binary": generator(16, 128, generator="binary"),
}


def step(network: nn.Module, images: torch.Tensor) -> float:
    """Seconds of one forward and backward pass with what the methods add to the loss."""
    started = time.perf_counter()
    loss = network(images).square().mean()
    extra = extra_loss(network)
    (loss if extra is None else loss + extra).backward()
    seconds = time.perf_counter() - started
    network.zero_grad(set_to_none=True)
    return seconds


def ratios(timings: dict[str, list[float]], unshared: str) -> dict[str, dict[str, object]]:
    """Median and quartiles of each network's time over that of the unshared one."""
    found: dict[str, dict[str, object]] = {}
    for name, seconds in timings.items():
        within = [one / base for one, base in zip(seconds, timings[unshared], strict=True)]
        low, _, high = quantiles(within, n=4)
        found[name] = {
            "time": round(median(within), 3),
            "quartiles": [round(low, 3), round(high, 3)],
        }
    return found


def measure(depth: int, batch: int, rounds: int, show: Callable[..., object]) -> dict[str, object]:
    """All plans of one network."""
    backbone = build_backbone("resnet_cifar", {"depth": depth})
    sites = find_sites(backbone)
    images = torch.randn(batch, 3, 32, 32)
    where = network_costs(backbone, sites, images[:1]).positions
    plans = {"unshared": SharingPlan(), "unshared again": SharingPlan()}
    plans |= {name: pattern(sites) for name, pattern in PATTERNS.items()}
    networks = {name: apply_plan(backbone, plan) for name, plan in plans.items()}
    for network in networks.values():
        step(network, images)
    timings: dict[str, list[float]] = {name: [] for name in plans}
    for _ in show(range(rounds)):  # type: ignore[attr-defined]
        for name, network in networks.items():
            timings[name].append(step(network, images))
    found: dict[str, object] = {}
    base = plan_macs(SharingPlan(), sites, where)
    for name, ratio in ratios(timings, "unshared").items():
        macs = round(plan_macs(plans[name], sites, where) / base, 3)
        found[name] = {"parameters": count_parameters(networks[name]), "macs": macs, **ratio}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=56)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def show(rounds: range) -> object:
        return track(rounds, "measuring", console=Console(stderr=True))

    found = measure(options.depth, options.batch, options.rounds, show)
    print(json.dumps({**vars(options), "torch": torch.__version__, "plans": found}, indent=2))


if __name__ == "__main__":
    main()
