"""Objects of the user's own as bytes that another process can read, with the code they need.

Functions of a notebook, of a script, and of modules that are not installed travel with their code;
what is installed is imported where it arrives.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
from torch import nn

from isoshare.evaluators.own_code.trial import EvaluateError
from isoshare.space.imports import is_installed

STANDARD = sysconfig.get_paths()["stdlib"]


def dumps(thing: Any, said: str, *code: object) -> bytes:
    """``thing`` as bytes. said: what it is; code: functions and classes whose modules travel too.

    Raises EvaluateError that names what cannot travel.
    """
    with _travelling(code):
        try:
            return bytes(cloudpickle.dumps(thing))
        except EvaluateError:  # of a part, which knows better
            raise
        except Exception as error:  # whatever a user's object raises
            raise EvaluateError(
                f"{said} cannot be sent to another process: {_reason(error)}; leave it out, or "
                "take n_jobs=1"
            ) from error


def loads(data: bytes) -> Any:
    """What ``dumps`` was given."""
    return cloudpickle.loads(data)


def stubborn_attribute(module: nn.Module) -> str | None:
    """The attribute of a module that cannot be turned into bytes: ``encoder.lock``."""
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                cloudpickle.dumps(value)
            except Exception:
                return f"{name}.{key}".lstrip(".")
    return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


@contextmanager
def _travelling(code: tuple[object, ...]) -> Iterator[None]:
    """The modules of the user's own that define ``code`` travel by value for a while."""
    modules = {module for one in code if (module := _own_module(one)) is not None}
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            with suppress(ValueError):
                cloudpickle.unregister_pickle_by_value(module)


def _own_module(thing: object) -> ModuleType | None:
    name = getattr(thing, "__module__", None) or ""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or file is None or name == "__main__":
        return None
    path = Path(file)
    ours = "isoshare" in path.parts
    return None if ours or is_installed(path) or path.is_relative_to(STANDARD) else module
