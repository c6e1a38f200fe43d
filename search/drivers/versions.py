"""Versions of what decides a result, read without importing any of it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

RECORDED = ("torch", "torchvision", "ray", "optuna", "numpy", "scikit-learn")
SAME_EVERYWHERE = ("torch", "torchvision")
"""Other builds of these measure other values; of Python and Ray, Ray itself sees to it."""


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
        return version(package)
    except PackageNotFoundError:
        return "missing"
