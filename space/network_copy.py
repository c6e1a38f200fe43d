"""Copy a network with everything in it, also where ``copy.deepcopy`` gives up.

What only passes through a network is copied as a value: a tensor that a forward pass has left
behind is cut off from that pass, a lock is a new lock. A function that remembers modules of the
network, as hooks do, is made again for those of the copy: otherwise the copy would go on using
the original. What cannot be copied at all, such as a generator, is named.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterator
from types import CellType, FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from isoshare.space.errors import BackboneError, in_one_line

Network = TypeVar("Network", bound=nn.Module)
LOCKS: tuple[tuple[type, Any], ...] = (
    (type(threading.Lock()), threading.Lock),
    (type(threading.RLock()), threading.RLock),
)
PLAIN = frozenset((bool, int, float, str, type(None)))
CONTAINERS = frozenset((dict, OrderedDict, list, set))
DEEPEST = 6
"""Containers within containers that are looked into for what a module holds."""


def copy_network(network: Network) -> Network:
    """A copy that shares nothing with ``network``, which stays as it was.

    Raises BackboneError, naming the module and the attribute, for what cannot be copied.
    """
    memo: dict[int, Any] = {}
    held = [value for _, value in held_values(network)]
    for value in held:
        if isinstance(value, Tensor) and not value.is_leaf:
            memo[id(value)] = value.detach().clone().requires_grad_(value.requires_grad)
        memo.update({id(value): make() for kind, make in LOCKS if type(value) is kind})
    simple = dict(memo)
    try:
        _clone_tensors([value for value in held if type(value) is Tensor], memo)
        for part in reversed(list(network.modules())):  # what is inside comes first
            _copy_part(part, memo)
        copied = copy.deepcopy(network, memo)
        for tensor in (one for one in copied.parameters() if not one.is_leaf):
            tensor.detach_().requires_grad_()  # scripted ones remember of whom they are a copy
        if any(isinstance(value, FunctionType | weakref.ref) for value in held):
            _remake_functions(network, copied, memo)
    except Exception as error:  # whatever an attribute raises that was never meant to be copied
        raise BackboneError(_uncopied(network, simple, error)) from error
    return copied


def _clone_tensors(tensors: list[Tensor], memo: dict[int, Any]) -> None:
    """Copy the tensors that have their memory to themselves, as the statistics of normalisations
    have: ``copy.deepcopy`` takes thirty times as long, since it has to find out who shares it.
    """
    users = Counter(
        tensor.untyped_storage().data_ptr()
        for tensor in {id(tensor): tensor for tensor in tensors}.values()
        if _is_simple(tensor)
    )
    for tensor in tensors:
        if id(tensor) not in memo and _is_simple(tensor):
            storage = tensor.untyped_storage()
            if users[storage.data_ptr()] == 1 and storage.nbytes() == tensor.nbytes:
                memo[id(tensor)] = tensor.clone()


def _is_simple(tensor: Tensor) -> bool:
    """Whether numbers in memory are all that there is to a tensor."""
    is_plain = tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)
    has_more = tensor.requires_grad or tensor.grad is not None or bool(vars(tensor))
    return is_plain and not (has_more or tensor.is_conj())


def _copy_part(part: nn.Module, memo: dict[int, Any]) -> None:
    """What ``copy.deepcopy`` does with an ordinary module, without what it spends on finding out
    that most attributes are plain.
    """
    kind: Any = type(part)
    if id(part) in memo or not _is_copied_by_attributes(kind) or "__deepcopy__" in vars(part):
        return
    memo[id(part)] = made = kind.__new__(kind)
    before: dict[str, Any] = part.__getstate__()  # type: ignore[no-untyped-call]
    state = {name: _copied_value(value, memo) for name, value in before.items()}
    made.__setstate__(state)


@functools.lru_cache(1024)
def _is_copied_by_attributes(kind: type[Any]) -> bool:
    """Whether a class leaves it to Python how it is copied."""
    own = ("__deepcopy__", "__getnewargs__", "__getnewargs_ex__")
    usual = ("__reduce_ex__", "__reduce__", "__getstate__", "__new__")
    return (
        kind not in copyreg.dispatch_table
        and not any(hasattr(kind, name) for name in own)
        and all(getattr(kind, name) is getattr(nn.Module, name) for name in usual)
        and not any("__slots__" in vars(base) for base in kind.__mro__[:-1])
    )


def _copied_value(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in PLAIN or (kind is tuple and _holds_nothing(value)):
        return value
    if kind in CONTAINERS and not value:
        return memo.setdefault(id(value), kind())
    if kind is dict and id(value) not in memo:  # of parameters, buffers, modules
        made: dict[Any, Any] = {}
        memo[id(value)] = made
        made.update((key, _copied_value(held, memo)) for key, held in value.items())
        return made
    return copy.deepcopy(value, memo)


def held_values(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """What the modules of ``network`` hold beside parameters and modules that are registered, also
    within containers, hooks and what functions remember: each with the place, as ``body.refs``.
    """
    for path, part in network.named_modules():
        seen: set[int] = set()
        for name, value in vars(part).items():
            if name not in {"_parameters", "_modules"} and not _holds_nothing(value):
                place = f"{path}.{name}".lstrip(".")
                yield from ((place, held) for held in _within(value, seen, DEEPEST))


def _holds_nothing(value: Any) -> bool:
    """Whether there is nothing to look at, as in most attributes of most modules."""
    kind = type(value)
    if kind is tuple:
        return all(type(one) in PLAIN for one in value)
    return kind in PLAIN or (kind in CONTAINERS and not value)


def _within(value: Any, seen: set[int], depth: int) -> Iterator[Any]:
    """The value, and what it holds; modules are not entered."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    if depth == 0 or isinstance(value, nn.Module | Tensor):
        return
    for held in _held_by(value):
        yield from _within(held, seen, depth - 1)


def _held_by(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, FunctionType):
        return [*_remembered(value), *(value.__defaults__ or ())]
    if hasattr(value, "__self__") and hasattr(value, "__func__"):
        return [value.__self__]
    return []


def _remembered(function: FunctionType) -> list[Any]:
    """What a function has taken from where it was defined."""
    return [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]


def _remake_functions(network: nn.Module, copied: nn.Module, memo: dict[int, Any]) -> None:
    """Give the copy functions and weak references that lead to modules of its own."""
    ours = {id(part) for part in network.modules()} | {id(t) for t in network.parameters()}

    def remade(held: Any) -> Any:
        if isinstance(held, weakref.ref):
            return weakref.ref(memo[id(held())]) if id(held()) in ours else held
        if not (isinstance(held, FunctionType) and _remembers(held, ours)):
            return held
        return memo.setdefault(id(held), _remade(held, memo))

    for part in copied.modules():
        for name, value in vars(part).items():
            if _holds_nothing(value):
                continue
            if isinstance(value, FunctionType | weakref.ref):
                vars(part)[name] = remade(value)
            elif isinstance(value, dict) and name not in {"_parameters", "_modules"}:
                value.update({key: remade(held) for key, held in value.items()})
            elif isinstance(value, list):
                value[:] = [remade(held) for held in value]


def _remembers(function: FunctionType, ours: set[int]) -> bool:
    """Whether what a function remembers, itself or within, belongs to the network."""
    return any(
        id(held) in ours or id(getattr(held, "__self__", None)) in ours
        for held in _within(function, set(), DEEPEST)
    )


def _remade(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """The same function, which remembers copies."""
    cells = function.__closure__ or ()
    copies = tuple(
        CellType() if _is_empty(cell) else CellType(copy.deepcopy(cell.cell_contents, memo))
        for cell in cells
    )
    defaults = copy.deepcopy(function.__defaults__, memo)
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, defaults, copies or None
    )
    made.__kwdefaults__, made.__qualname__ = function.__kwdefaults__, function.__qualname__
    made.__dict__.update(function.__dict__)
    return made


def _is_empty(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  the only way to ask
    except ValueError:
        return True
    return False


def _uncopied(network: nn.Module, memo: dict[int, Any], error: Exception) -> str:
    """The sentence that names what does not let itself be copied; memo: what has been."""
    reason = in_one_line(error, 200)
    for path, part in network.named_modules():
        for name, value in vars(part).items():
            if name in {"_parameters", "_modules"}:
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                return (
                    f"the network cannot be copied: module {path!r} ({type(part).__name__}) holds "
                    f"{type(value).__name__} {name!r}, {reason}; make it where it is used, or set "
                    "it to None before the network is shared"
                )
    return (
        f"the network ({type(network).__name__}) cannot be copied: {type(error).__name__}: "
        f"{reason}; give it a __deepcopy__, or remove what cannot be copied"
    )
