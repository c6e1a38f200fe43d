"""Versions of what decides a result, read without importing any of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

RECORDED = ("torch", "torchvision", "ray", "optuna", "numpy", "scikit-learn")
SAME_EVERYWHERE = ("torch", "torchvision")
"""Other builds of these measure other values; of Python and Ray, Ray itself sees to it."""

VERSION = re.compile(r"""^__version__ = ['"]([^'"]+)['"]""", re.MULTILINE)


def versions() -> dict[str, str]:
    """What is recorded with each measurement."""
    return {"python": platform.python_version(), **{name: _version(name) for name in RECORDED}}


def other_versions(at_driver: Mapping[str, str]) -> str:
    """In words, where this machine differs from that of the driver; empty if nowhere."""
    found = {name: _version(name) for name in SAME_EVERYWHERE}
    return " and ".join(
        f"{name} is {here} there and {at_driver[name]} where the search was started"
        for name, here in found.items()
        if here != at_driver[name]
    )


def _version(package: str) -> str:
    try:
        return _build(package) if package in SAME_EVERYWHERE else version(package)
    except PackageNotFoundError:
        return "missing"


def _build(package: str) -> str:
    """The version with its build, ``2.13.0+cu130``: wheels from PyPI say that in a file alone."""
    known, spec = version(package), find_spec(package)
    file = Path(spec.origin or "").with_name("version.py") if spec else Path()
    found = VERSION.search(file.read_text()) if file.is_file() else None
    return found[1] if found else known
