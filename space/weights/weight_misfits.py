"""What of a file of weights does not fit a network, and the likeliest reason, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

COUNTERS = ("num_batches_tracked", "n_averaged")
"""What batch normalisation and averages of weights count; nothing depends on it."""
OF_SHARING = (".regulator.", ".coefficients.", ".basis", ".generator", ".codes", ".left", ".right")


@dataclass(frozen=True)
class Misfit:
    """Names of tensors that do not fit.

    missing: the network has them alone; left_over: the file does. other_shape: both have them, as
    "name 100x64 for 10x64". head: of those missing or of another shape, the ones of the head.
    same_shapes: whether the file has the same shapes in the same order, whatever their names.
    """

    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    other_shape: Mapping[str, str]
    head: tuple[str, ...]
    classes: tuple[int, int] | None
    same_shapes: bool

    @classmethod
    def between(
        cls, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], head: Sequence[str]
    ) -> Misfit:
        """state: of the file; wanted: of the network; head: names of the tensors of its head."""
        missing = [name for name in wanted if name not in state and not name.endswith(COUNTERS)]
        left_over = [name for name in state if name not in wanted and not name.endswith(COUNTERS)]
        other = {
            name: f"{name} {_shape(state[name])} for {_shape(tensor)}"
            for name, tensor in wanted.items()
            if name in state and not same_kind(state[name], tensor)
        }
        apart = [name for name in head if name in other or name in missing]
        new = [name for name in apart if name in missing or _other_classes(state, wanted, name)]
        classes = [(len(state[name]), len(wanted[name])) for name in new if name in other]
        shapes = [
            [_shape(one) for name, one in named.items() if not name.endswith(COUNTERS)]
            for named in (state, wanted)
        ]
        return cls(
            tuple(missing),
            tuple(left_over),
            other,
            tuple(new),
            classes[0] if classes else None,
            shapes[0] == shapes[1],
        )

    def without(self, names: Sequence[str]) -> list[str]:
        """All names that do not fit, but for ``names``."""
        every = [*self.missing, *self.left_over, *self.other_shape]
        return [name for name in every if name not in names]

    def sentence(self, new_head: bool) -> str:
        """What does not fit, by three examples each, and why it may be so."""
        new = self.head if new_head else ()
        parts = [
            _examples([n for n in self.missing if n not in new], "of the network not in the file"),
            _examples(self.left_over, "of the file without a place in the network"),
            _examples([t for n, t in self.other_shape.items() if n not in new], "of other shapes"),
        ]
        return f"{'; '.join(filter(None, parts))}; {self._reason(new_head)}"

    def _reason(self, new_head: bool) -> str:
        if not new_head and self.head and not self.without(self.head):
            found = f"{self.classes[0]} classes, not {self.classes[1]}" if self.classes else "none"
            return f"its head is for {found}: --new-head leaves it out, to start afresh"
        if any(part in name for name in self.left_over for part in OF_SHARING):
            return "its network shares weights already: give the weights of the unshared network"
        if self.missing and self.same_shapes:
            return (
                "its layers are the same under other names: --weight-map names a file that says "
                f'which, like {{"{_module(self.left_over[0])}": "{_module(self.missing[0])}"}}'
            )
        if self.other_shape and not (self.missing or self.left_over):
            return "its network is as deep and of another width: compare --backbone-arg"
        if not self.other_shape and not (self.missing and self.left_over):
            return (
                f"its network has {'fewer' if self.missing else 'more'} layers, those that both "
                "have are the same: compare --backbone-arg"
            )
        return (
            "it is most likely of another network: compare --backbone and --backbone-arg, or name "
            "renamed layers in a file for --weight-map"
        )


def head_tensors(network: nn.Module) -> tuple[str, ...]:
    """The names of weight and bias of the last layer, which has one output a class."""
    owners = [
        name
        for name, part in network.named_modules()
        if (weight := part._parameters.get("weight")) is not None and weight.dim() > 1
    ]
    if not owners:
        return ()
    last = network.get_submodule(owners[-1])
    return tuple(
        f"{owners[-1]}.{leaf}".lstrip(".")
        for leaf in ("weight", "bias")
        if last._parameters.get(leaf) is not None
    )


def same_kind(found: Tensor | None, wanted: Tensor) -> bool:
    """Whether one can take the place of the other."""
    return (
        found is not None
        and found.shape == wanted.shape
        and found.is_floating_point() == wanted.is_floating_point()
    )


def _other_classes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> bool:
    """Whether two tensors differ in the number of their rows alone."""
    found, own = state[name].shape, wanted[name].shape
    return found[1:] == own[1:] and len(found) == len(own) and found[0] != own[0]


def _examples(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {'tensor' if len(names) == 1 else 'tensors'} {what} ({shown})"


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _shape(tensor: Tensor) -> str:
    sides = "x".join(map(str, tensor.shape)) or "a number"
    return sides if tensor.is_floating_point() else f"{sides} of {str(tensor.dtype)[6:]}"
