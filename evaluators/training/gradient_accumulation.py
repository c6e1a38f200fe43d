"""Do with less memory: a batch that does not fit is computed in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SMALLEST_PIECE = 8
"""Images: below it batch normalisation has too few to learn from, and memory is not the trouble."""


class EvaluationError(Exception):
    """A plan that was trained, or could not be, without a usable result."""


class Pieces:
    """Into how many pieces a batch is cut: one, twice as many each time memory runs out.

    The gradient is that of the whole batch, but for batch normalisation, which sees each piece by
    itself: its statistics are noisier, and those of the attempt that failed stay in its averages.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def backward(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        parameters: Sequence[Tensor],
    ) -> Tensor:
        """Add the gradient of ``loss``, a mean over images (seeds, batch, ...); returns the loss.

        parameters: those that get the gradient. Raises EvaluationError below SMALLEST_PIECE.
        """
        while True:
            try:
                return self._attempt(loss, images, labels)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # Only here are the tensors of the failed attempt free: the error held them.
            self._halve(images, reason)
            for parameter in parameters:
                parameter.grad = None

    def _attempt(
        self, loss: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor
    ) -> Tensor:
        total = torch.zeros((), device=labels.device)
        for some, theirs in zip(
            images.chunk(self.count, 1), labels.chunk(self.count, 1), strict=True
        ):
            part = loss(some, theirs) * (some.shape[1] / images.shape[1])
            part.backward()  # type: ignore[no-untyped-call]
            total += part.detach()
        return total

    def _halve(self, images: Tensor, reason: str) -> None:
        seeds, batch = images.shape[:2]
        if batch // (2 * self.count) < SMALLEST_PIECE:
            raise EvaluationError(
                f"out of memory even with {-(-batch // self.count)} images at a time"
                f"{f' for each of {seeds} seeds' if seeds > 1 else ''}: take fewer workers, a "
                f"smaller --resolution or a smaller backbone ({reason})"
            )
        self.count *= 2
        _release()


def call_in_pieces(forward: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """``forward`` of images (seeds, batch, ...), in halves where the memory does not suffice."""
    try:
        return forward(images)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or images.shape[1] < 2 * SMALLEST_PIECE:
            raise
    _release()
    return torch.cat([call_in_pieces(forward, half) for half in images.chunk(2, 1)], dim=1)


def is_out_of_memory(error: BaseException) -> bool:
    """Of the accelerator, or of the machine: for that torch has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
