"""How parameters move: the settings of a training, and the optimizer that they ask for."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from isoshare.evaluators.data.augmentation import Augment
from isoshare.evaluators.training.vmap_ensemble import Precision

Kind = TypeVar("Kind", bound=type[torch.optim.Optimizer])


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    learning_rate: the peak of the schedule. label_smoothing: the share of each label that is spread
    over all classes. augment: see ``Augment``.
    precision: auto is bfloat16 where the device gains from it. compile: by ``torch.compile``.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["sgd", "adamw"] = "sgd"
    label_smoothing: float = 0.0
    augment: Augment = "auto"
    precision: Precision = "auto"
    compile: bool = False


def uncompiled(kind: Kind) -> Kind:
    """An optimizer that does not import torch's compiler only to be left alone by it.

    torch's own do, at their first step, which costs every process that trains 1.5 s of CPU. What
    wraps their functions for that is taken off; what they compute stays the same.
    """
    shielded = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in shielded}
    bare["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(Kind, type(kind.__name__, (kind,), bare))


SGD = uncompiled(torch.optim.SGD)
AdamW = uncompiled(torch.optim.AdamW)


def complete_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Give a parameter that gets its first gradient now the momentum, zero, that it has had.

    The fused steps of stochastic gradient descent need it, once other parameters have theirs.
    """
    if not (isinstance(optimizer, torch.optim.SGD) and optimizer.state):
        return
    for tensor in optimizer.param_groups[0]["params"]:
        if tensor.grad is not None and optimizer.state[tensor].get("momentum_buffer") is None:
            optimizer.state[tensor]["momentum_buffer"] = torch.zeros_like(tensor)


def optimizer_of(parameters: list[Tensor], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Weight decay applies to every parameter. Steps are fused where all parameters are real."""
    rate, fused = settings.learning_rate, all(map(torch.is_floating_point, parameters))
    if settings.optimizer == "adamw":
        return AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.01, fused=fused)
    return SGD(parameters, lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=fused)


def one_cycle(
    parameters: list[Tensor], settings: TrainingSettings, steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The optimizer of ``parameters``, and the learning rate of each of ``steps``."""
    optimizer = optimizer_of(parameters, settings)
    rate = settings.learning_rate
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
