"""Trained weights from a file as people have them: found in it, renamed, and checked.

A file may be written by ``torch.save`` or safetensors; its tensors may lie under ``state_dict`` or
a like name, and their own names may have the prefixes that wrappers leave. A backbone may ship
names that published weights have, ``backbones/NAME.weights.json``; any others come from a file of
that kind. A tensor that does not fit is never left out without a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.space.backbones import Argument, build_backbone
from isoshare.space.backbones.pretrained import pretrained_state
from isoshare.space.errors import WeightsError
from isoshare.space.plan import Variant
from isoshare.space.weights.weight_files import (
    ENTRIES,
    Names,
    Tensors,
    entries_with_tensors,
    file_digest,
    kinds_of,
    read_file,
    read_names,
    shipped_names,
    tensors_of,
    without_broken_counters,
)
from isoshare.space.weights.weight_misfits import COUNTERS, Misfit, head_tensors, same_kind

if TYPE_CHECKING:
    from torch import nn

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What wrappers write before each name: DataParallel, torch.compile, Lightning, and classes."""


@dataclass(frozen=True)
class TrainedWeights:
    """Weights that fit a network.

    state: its ``state_dict``; what was not in the file is as the network had it. new: the tensors
    of a head that starts afresh. entry: where in the file they were, empty at its top; others:
    where else in it there are weights. digest: sixteen hexadecimal digits of the file.
    """

    state: Tensors
    new: tuple[str, ...] = ()
    entry: str = ""
    others: tuple[str, ...] = ()
    digest: str = ""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the tensors, whatever file they came in."""
        sums = hashlib.sha256()
        for name, tensor in sorted(self.state.items()):
            sums.update(name.encode())
            sums.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return sums.hexdigest()[:16]

    @property
    def choice(self) -> str:
        """The sentence about a file that holds weights in several places; else empty."""
        if not self.others:
            return ""
        return (
            f"the weights are those under {self.entry!r}; there are others in the file under "
            f"{', '.join(map(repr, self.others))}: to take those, save them in a file of their own"
        )


@dataclass(frozen=True)
class GivenWeights:
    """Where trained weights of a backbone come from, as a user says it.

    file: a file with them; names: a file with renamed modules (``read_names``), in place of those
    that ship with the backbone; pretrained: those that whoever wrote the network offers;
    new_head: whether a head for another number of classes is left out.
    """

    file: str | None = None
    names: str | None = None
    new_head: bool = False
    pretrained: bool = False

    def __post_init__(self) -> None:
        for flag, value in (("weight-map", self.names), ("new-head", self.new_head)):
            if value and not self:
                raise WeightsError(f"--{flag} is about trained weights: add --weights FILE")
        if self.file is not None and self.pretrained:
            raise WeightsError("--weights and --pretrained are both given: leave one of them out")

    def __bool__(self) -> bool:
        return self.file is not None or self.pretrained

    def read(
        self, network: nn.Module, backbone: str, arguments: Mapping[str, Argument]
    ) -> TrainedWeights:
        """The weights for ``network``, which the backbone of this name has made with ``arguments``.

        Raises WeightsError.
        """
        names = read_names(self.names) if self.names else shipped_names(backbone)
        asked: dict[str, Any] = {"new_head": self.new_head, "names": names}
        if self.file is not None:
            return read_trained(self.file, network, f"backbone {backbone!r}", **asked)
        problem = f"the weights that backbone {backbone!r} offers do not fit its arguments"
        return fit_trained(pretrained_state(backbone, arguments), network, problem, **asked)

    def fitting(
        self, backbone: str, arguments: Mapping[str, Argument], variants: Collection[Variant]
    ) -> dict[Variant, TrainedWeights]:
        """The weights for each of ``variants`` that they fit, others left out; none of no weights.

        Raises WeightsError, with the reason for the first one, if they fit none.
        """
        found: dict[Variant, TrainedWeights] = {}
        refused: list[WeightsError] = []
        for variant in variants if self else ():
            chosen = {**arguments, **dict(variant)}
            try:
                found[variant] = self.read(build_backbone(backbone, chosen), backbone, chosen)
            except WeightsError as error:
                refused.append(error)
        if len(refused) > 1 and not found:
            raise WeightsError(f"none of {len(refused)} variants has such weights: {refused[0]}")
        if refused and not found:
            raise refused[0]
        return found


def read_trained(
    path: str | Path,
    network: nn.Module,
    title: str = "the network",
    *,
    new_head: bool = False,
    names: Names | None = None,
) -> TrainedWeights:
    """The weights in a file for ``network``, which stays as it is.

    title: what the network is called in messages; the others as in ``fit_trained``.
    Raises WeightsError, which says what does not fit and what is the likeliest reason.
    """
    content = read_file(Path(path))
    found, entry = tensors_of(content)
    if not found:
        raise WeightsError(
            f"{path} holds no tensors, only {kinds_of(content)}: it must be a state_dict, or a "
            f"dictionary with one under {', '.join(ENTRIES[:4])} or a like name"
        )
    problem = f"{path} does not fit {title}"
    fitted = fit_trained(found, network, problem, new_head=new_head, names=names)
    others = tuple(entries_with_tensors(content)[1:])
    return replace(fitted, entry=entry, others=others, digest=file_digest(Path(path)))


def fit_trained(
    found: Tensors,
    network: nn.Module,
    problem: str = "the weights do not fit the network",
    *,
    new_head: bool = False,
    names: Names | None = None,
) -> TrainedWeights:
    """Trained tensors under the names that ``network`` has for them; it stays as it is.

    problem: how the message begins if they do not fit; new_head: leave out a head for another
    number of classes; names: renamed modules, used where more fits with them.
    Raises WeightsError.
    """
    wanted = network.state_dict()
    found = without_broken_counters(found)
    candidates = [state for some in ({}, names or {}) for state in _named(found, wanted, some)]
    fitting = max(  # with the shortest names, where none fits better
        reversed(candidates),
        key=lambda state: sum(same_kind(state.get(name), wanted[name]) for name in wanted),
    )
    state, new = _fitted(fitting, network, new_head, problem)
    return TrainedWeights(state, new)


def _named(found: Tensors, wanted: Tensors, names: Names) -> Iterator[Tensors]:
    """``found`` under the names that the network may know it by."""
    state = {name.replace("_orig_mod.", ""): tensor for name, tensor in found.items()}
    yield _renamed(state, names)
    first = {name.partition(".")[0] for name in wanted}
    if len(first) == 1:  # the network is a wrapper itself
        outer = first.pop()
        yield {f"{outer}.{name}": tensor for name, tensor in _renamed(state, names).items()}
    while prefix := _common_prefix(state):
        shorter = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        if len(shorter) < len(state):  # both x and model.x: one of them would be lost
            return
        state = shorter
        yield _renamed(state, names)


def _common_prefix(state: Tensors) -> str:
    """The prefix that most names have."""
    for prefix in PREFIXES:
        if sum(name.startswith(prefix) for name in state) > len(state) / 2:
            return prefix
    return ""


def _renamed(state: Tensors, names: Names) -> Tensors:
    """By the longest module path in ``names``; nothing where two tensors would have one name."""
    renamed: Tensors = {}
    for name, tensor in state.items():
        parts = name.split(".")
        heads = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        old = next((head for head in heads if head in names), "")
        new = names[old] if old else ""
        if new is None:
            continue
        here = new + name[len(old) :]
        if here in renamed:
            return {}
        renamed[here] = tensor
    return renamed


def _fitted(
    state: Tensors, network: nn.Module, new_head: bool, problem: str
) -> tuple[Tensors, tuple[str, ...]]:
    """A state_dict of the network, and what of its head the file has nothing for."""
    wanted = network.state_dict()
    misfit = Misfit.between(state, wanted, head_tensors(network))
    new = misfit.head if new_head else ()
    if misfit.without(new):
        raise WeightsError(f"{problem}: {misfit.sentence(new_head)}")
    kept = {*new, *(name for name in wanted if name.endswith(COUNTERS) and name not in state)}
    made = {
        name: tensor.detach().clone() if name in kept else state[name].to(tensor.dtype)
        for name, tensor in wanted.items()
    }
    for name, tensor in made.items():
        if name not in kept and not tensor.isfinite().all():
            raise WeightsError(
                f"{problem}: {name} has values that are not finite, so its training has diverged; "
                "take a checkpoint of before"
            )
    return made, new
