"""What trained networks get right: accuracy and loss on images that were held out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from isoshare.evaluators.training.batches import Batches
from isoshare.evaluators.training.gradient_accumulation import call_in_pieces
from isoshare.evaluators.training.vmap_ensemble import Forward


def accuracy(forward: Forward, seeds: int, data: Batches, batch_size: int = 1024) -> list[float]:
    """For each seed the share of images whose largest logit is their label, from 0 to 1."""
    correct = torch.zeros(seeds, dtype=torch.long, device=data.labels.device)
    for logits, labels in _answers(forward, seeds, data, batch_size):
        correct += (logits.argmax(-1) == labels).sum(-1)
    return [count / len(data.labels) for count in correct.tolist()]


def accuracy_and_loss(forward: Forward, data: Batches, batch_size: int = 1024) -> dict[str, float]:
    """Of one network: the share of images that are right, and the mean cross-entropy in nats."""
    right, total = 0, 0.0
    for logits, labels in _answers(forward, 1, data, batch_size):
        right += int((logits[0].argmax(-1) == labels).sum())
        total += float(functional.cross_entropy(logits[0], labels, reduction="sum"))
    return {"accuracy": right / len(data.labels), "loss": total / len(data.labels)}


@torch.no_grad()
def _answers(
    forward: Forward, seeds: int, data: Batches, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (seeds, batch, classes) with their labels (batch,)."""
    for start in range(0, len(data.labels), batch_size):
        images = data.normalised(data.images[start : start + batch_size])
        labels = data.labels[start : start + batch_size]
        yield call_in_pieces(forward, images.expand(seeds, *images.shape)), labels
