"""What is measured on held-out examples of any kind: a metric of the user's own, or the usual."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from isoshare.evaluators.data.examples import mapped
from isoshare.evaluators.own_code.trial import EvaluateError

Metric = Any
"""``metric(outputs, targets)``, or an object with ``update``, ``compute`` and ``reset``."""


def measured(
    pairs: Iterable[tuple[Any, Any]],
    metric: Metric | None,
    loss: Callable[[Any, Any], Tensor],
    objectives: Sequence[str],
) -> Any:
    """The metric of all outputs and targets, which come batch by batch. Raises EvaluateError."""
    on_cpu = ((mapped(_to_cpu, output), targets) for output, targets in pairs)
    if metric is None:
        return _usual(on_cpu, loss, objectives)
    if all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset")):
        metric.reset()
        for output, targets in on_cpu:
            metric.update(output, targets)
        found = metric.compute()
        return {name: found[name] for name in objectives} if _has(found, objectives) else found
    outputs, targets = zip(*on_cpu, strict=True)
    return metric(joined(outputs), joined(targets))


def joined(batches: Sequence[Any]) -> Any:
    """Outputs or targets of all batches as one: tensors end to end, lists as one list."""
    first = batches[0]
    if isinstance(first, Mapping):
        return {key: joined([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(joined, zip(*batches, strict=True)))
    if isinstance(first, Tensor):
        return torch.cat([batch[None] if not batch.ndim else batch for batch in batches])
    return [one for batch in batches for one in batch]


def _usual(
    pairs: Iterable[tuple[Any, Any]],
    loss: Callable[[Any, Any], Tensor],
    objectives: Sequence[str],
) -> dict[str, float]:
    right = total = summed = examples = 0.0
    for output, targets in pairs:
        if "accuracy" in objectives:
            hits = _classes(output, targets) == targets
            right, total = right + hits.sum().item(), total + hits.numel()
        if "loss" in objectives:
            count = len(targets)
            summed, examples = summed + loss(output, targets).item() * count, examples + count
    known = {"accuracy": right / max(total, 1), "loss": summed / max(examples, 1)}
    return {name: known[name] for name in objectives}


def _classes(output: Any, targets: Any) -> Tensor:
    fits = isinstance(output, Tensor) and isinstance(targets, Tensor) and output.ndim > 1
    if not fits or output.argmax(1).shape != targets.shape:
        raise EvaluateError(
            "accuracy needs outputs (batch, classes, ...) and targets (batch, ...), which these "
            "are not: give a metric of your own"
        )
    return output.argmax(1)  # type: ignore[no-any-return]


def _has(found: Any, objectives: Sequence[str]) -> bool:
    return isinstance(found, Mapping) and all(name in found for name in objectives)


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.float().cpu() if tensor.dtype == torch.bfloat16 else tensor.cpu()
