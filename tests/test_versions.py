"""Other builds are named, the same ones are not."""

from __future__ import annotations

import torch

from isoshare.search.drivers.versions import other_versions, versions


def test_the_same_builds_are_no_difference() -> None:
    assert versions()["torch"] == torch.__version__
    assert other_versions(versions()) == ""


def test_another_build_is_named_and_other_packages_do_not_matter() -> None:
    there = {**versions(), "torch": "2.12.0+cu126", "numpy": "1.0"}
    sentence = other_versions(there)
    assert sentence == (
        f"torch is {torch.__version__} there and 2.12.0+cu126 where the search was started"
    )
    assert other_versions({**there, "torchvision": "missing"}).startswith(f"{sentence} and torch")
