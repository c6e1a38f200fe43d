"""Networks on the meta device: tensors that are one stay one where they are given memory.

``to_empty`` makes a tensor of its own for each name, so that what is shared would be trained apart.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Replaced = dict[nn.Parameter, nn.Parameter]
"""By tensor on the meta device, what has taken its place."""


def keep_ties(network: nn.Module) -> None:
    """From now on ``to_empty`` of ``network``, or of any part of it, keeps its ties."""
    users = Counter(tensor for part in network.modules() for tensor in _on_meta(part).values())
    replaced: Replaced = {}
    for part in network.modules():
        if any(users[tensor] > 1 for tensor in _on_meta(part).values()):
            vars(part)["_apply"] = functools.partial(_apply, part, replaced)


def _apply(
    part: Any, replaced: Replaced, change: Callable[[Tensor], Tensor], recurse: bool = True
) -> nn.Module:
    """``nn.Module._apply``, after which a tensor that was another one's too is so again."""
    before = _on_meta(part)
    type(part)._apply(part, change, recurse)
    for name, tensor in before.items():
        found = part._parameters[name]
        if found is not tensor:
            part._parameters[name] = replaced.setdefault(tensor, found)
    if not _on_meta(part):
        del vars(part)["_apply"]
    done: nn.Module = part
    return done


def _on_meta(part: nn.Module) -> dict[str, nn.Parameter]:
    return {
        name: tensor
        for name, tensor in part._parameters.items()
        if tensor is not None and tensor.is_meta
    }
