"""The code that travels to the workers of a cluster: ours, and a backbone of the user's own."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from space.backbones import is_own

OUR_PACKAGES = ("space", "evaluators", "storage", "search")
INSTALLED = ("site-packages", "dist-packages")


def code_for(backbone: str) -> list[Path]:
    """Packages and modules that a worker imports: ours, the backbone's, and what that one has
    imported from beside itself. What is installed does not travel: every node must have it.
    """
    here = Path(__file__).resolve().parent.parent
    ours = [here / name for name in OUR_PACKAGES]
    if not is_own(backbone):
        return ours
    place = _place(import_module(backbone.partition(":")[0].partition(".")[0]))
    if place is None or set(INSTALLED) & set(place.parts):
        return ours
    tops = [module for name, module in sys.modules.items() if "." not in name]
    beside = {found for found in map(_place, tops) if found and found.parent == place.parent}
    return [*ours, *sorted(beside - set(ours))]


def _place(module: ModuleType) -> Path | None:
    """The folder of a package or the file of a module; None where there is neither."""
    if folders := list(getattr(module, "__path__", [])):
        return Path(folders[0]).resolve()
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and file.endswith(".py") else None
