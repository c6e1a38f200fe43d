"""Small backbones that ``torch.func.vmap`` cannot follow, or that train in ways of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Small(nn.Module):
    """A stem, two equal convolutions, a head."""

    def __init__(self, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(4, classes)

    def block(self, place: int, x: Tensor) -> Tensor:
        """x: (batch, 4, height, width)."""
        y: Tensor = torch.relu(self.body[place](x)) + x
        return y

    def features(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width); returns (batch, 4)."""
        x = self.stem(x)
        for place in range(2):
            x = self.block(place, x)
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        """x: (batch, channels, height, width)."""
        return self.head(self.features(x))


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The sign."""
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Straight through, near zero."""
        return gradient * (ctx.saved_tensors[0].abs() < 1)


class Binary(Small):
    """A custom autograd function."""

    def block(self, place: int, x: Tensor) -> Tensor:
        signs: Any = _Sign.apply(x)  # type: ignore[no-untyped-call]
        return super().block(place, signs)


class Branching(Small):
    """The way through it depends on the data."""

    def block(self, place: int, x: Tensor) -> Tensor:
        return super().block(place, x) if x.abs().mean().item() > 0 else x


class Recurrent(Small):
    """An LSTM."""

    def __init__(self, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__(classes, in_channels)
        self.rnn = nn.LSTM(4, 4, batch_first=True)

    def features(self, x: Tensor) -> Tensor:
        rows: Tensor = self.rnn(self.stem(x).mean(2).transpose(1, 2))[0]
        return rows[:, -1] + super().features(x)


class Checkpointed(Small):
    """Computes its blocks again in the backward pass."""

    def block(self, place: int, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(super().block, place, x, use_reentrant=False)
        return found


class Auxiliary(Small):
    """A second output, with a head of its own, in training only."""

    def __init__(self, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__(classes, in_channels)
        self.auxiliary = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Any:
        found = self.features(x)
        return (self.head(found), self.auxiliary(found)) if self.training else self.head(found)


class Late(Small):
    """A part that takes part from its second pass in training on."""

    def __init__(self, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__(classes, in_channels)
        self.late, self.passes = nn.Linear(4, classes), 0

    def forward(self, x: Tensor) -> Any:
        self.passes += self.training
        found = self.features(x)
        return self.head(found) + (self.late(found) if self.passes > 1 else 0)
