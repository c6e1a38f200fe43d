"""Data sets, losses and metrics of a user's own, as the command line names them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def series() -> Any:
    """(n, channels, steps) and a class each, as arrays."""
    x = torch.randn(48, 1, 16, generator=torch.Generator().manual_seed(0))
    y = (x.mean((1, 2)) > 0).long()
    return (x[:36].numpy(), y[:36].numpy()), (x[36:].numpy(), y[36:].numpy())


class SeriesNet(nn.Module):
    """1-D convolutions; its outputs are a dictionary if it is asked for that."""

    def __init__(
        self, classes: int = 3, in_channels: int = 2, named: bool = False, width: int = 4
    ) -> None:
        super().__init__()
        self.stem = nn.Conv1d(in_channels, width, 3, padding=1)
        self.convs = nn.Sequential(*(nn.Conv1d(width, width, 3, padding=1) for _ in range(3)))
        self.head = nn.Linear(width, classes)
        self.named = named

    def forward(self, x: Tensor) -> Any:
        """x: (batch, channels, steps)."""
        logits = self.head(self.convs(self.stem(x).relu()).mean(-1))
        return {"logits": logits, "power": x.square().mean((1, 2))} if self.named else logits


def named_loss(output: dict[str, Tensor], target: Tensor) -> Tensor:
    return functional.cross_entropy(output["logits"], target)


def hits(output: dict[str, Tensor], target: Tensor) -> dict[str, float]:
    assert len(output["power"]) == len(target) in (7, 12)  # all held-out examples at once
    return {"hits": float((output["logits"].argmax(1) == target).float().mean())}


def changing() -> Any:
    """Another data set with each call."""
    changing.calls += 1  # type: ignore[attr-defined]
    (x, y), test = series()
    return (x + changing.calls, y), test  # type: ignore[attr-defined]


changing.calls = 0  # type: ignore[attr-defined]
