"""The code that travels to the workers of a cluster: ours, and a backbone of the user's own."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import isoshare
from isoshare.space.backbones import is_own
from isoshare.space.imports import is_installed


def code_for(backbone: str) -> list[Path]:
    """Packages and modules that a worker imports: ours, the backbone's, and what that one, which
    has been built here, has imported from beside itself. What is installed does not travel.
    """
    ours = [Path(isoshare.__file__).resolve().parent]
    if not is_own(backbone):
        return ours
    name = backbone.partition(":")[0].partition(".")[0]
    place = _script() if name == "__main__" else _place(find_spec(name))
    if place is None or is_installed(place):
        return ours
    loaded = [module.__spec__ for name, module in sys.modules.items() if "." not in name]
    beside = {found for found in map(_place, loaded) if found and found.parent == place.parent}
    itself = set() if name == "__main__" else {place}  # what a script defines travels by value
    return [*ours, *sorted({*beside, *itself} - set(ours))]


def _script() -> Path | None:
    """The file that Python was started with; None in a notebook, whose functions travel alone."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file).resolve() if file else None


def _place(spec: ModuleSpec | None) -> Path | None:
    """The folder of a package or the file of a module; None where there is neither."""
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    file = spec.origin if spec is not None else None
    return Path(file).resolve() if file and file.endswith(".py") else None
