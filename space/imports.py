"""Import code that a user has named, and say where it fails: their own error, their own line."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isoshare.space.errors import BackboneError

ROOM = Path(__file__).parent.parent
INSTALLED = ("site-packages", "dist-packages")
"""Folders of code that is found in the same way on any machine where it is installed."""


def import_named(module: str, attribute: str, what: str) -> Any:
    """``attribute`` of ``module``. Raises BackboneError with a sentence that begins with ``what``.

    torchvision, and what builds on it, can be imported beside a CPU build of torch.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise BackboneError(f"cannot import {what}: {module!r} is not the name of a module")
    _declare_operators(module)
    try:
        return getattr(import_module(module), attribute)
    except (ModuleNotFoundError, ValueError) as error:
        missing = getattr(error, "name", None) or ""
        if isinstance(error, ModuleNotFoundError) and not f"{module}.".startswith(f"{missing}."):
            raise BackboneError(_failed(what, module, error)) from error
        reason, way_out = str(error), f"that {module!r} is installed or on PYTHONPATH"
    except AttributeError as error:
        if getattr(error, "obj", None) is not sys.modules.get(module):
            raise BackboneError(_failed(what, module, error)) from error
        reason, way_out = str(error), f"what {module!r} defines"
    except (Exception, SystemExit) as error:  # a module may raise anything, or be a script
        raise BackboneError(_failed(what, module, error)) from error
    raise BackboneError(f"cannot import {what}: {reason}; check the spelling and {way_out}")


def is_installed(path: Path) -> bool:
    """Whether a file or folder belongs to what was installed."""
    return not set(INSTALLED).isdisjoint(path.parts)


def where_raised(error: BaseException) -> str:
    """The last line of code that is neither ours nor Python's: " (mine.py, line 3)", or ""."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and not _is_ours(frame.filename)
    ]
    own = [frame for frame in frames if not is_installed(Path(frame.filename))]
    own = [frame for frame in own if not frame.filename.startswith(sys.base_prefix)] or frames
    return f" ({_shown(own[-1].filename)}, line {own[-1].lineno})" if own else ""


def _shown(filename: str) -> str:
    """The path of a file; of one that is installed only what is the same on every machine."""
    parts = Path(filename).parts
    at = max((place for place, part in enumerate(parts) if part in INSTALLED), default=None)
    return filename if at is None else str(Path(*parts[at + 1 :]))


def _failed(what: str, module: str, error: BaseException) -> str:
    """The sentence for a module that is there and does not work."""
    kind = type(error).__name__
    reason = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    hint = "guard what only a script does by if __name__ == '__main__'"
    way_out = hint if isinstance(error, SystemExit) else "mend it, then try again"
    return (
        f"cannot import {what}: module {module!r} fails with {kind}: {reason}"
        f"{where_raised(error)}; {way_out}"
    )


def _is_ours(filename: str) -> bool:
    path = Path(filename).resolve()
    rooms = ("space", "evaluators", "search", "storage", "isoshare")
    return any(path.is_relative_to(ROOM / room) for room in rooms)


def _declare_operators(module: str) -> None:
    """Let torchvision be imported, by whatever module, where it is installed."""
    if module.split(".", maxsplit=1)[0] in {"isoshare", "torch"} or "torchvision" in sys.modules:
        return
    if find_spec("torchvision") is not None:
        from isoshare.space.backbones import torchvision_operators

        torchvision_operators.declare_missing()
