"""Shell completion of names: studies, backbones, data sets. Torch-free."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from isoshare.space.errors import IsoshareError


def study_names(ctx: Any, incomplete: str) -> list[str]:
    """The studies of the database named so far; none if it cannot be read."""
    from isoshare.storage.opening.database import default_url
    from isoshare.storage.store import Store

    try:
        with closing(Store(ctx.params.get("storage") or default_url())) as store:
            names = [study.name for study in store.studies()]
    except IsoshareError:  # while a shell completes there is no place for a sentence
        return []
    return [name for name in names if name.startswith(incomplete)]


def backbone_names(incomplete: str) -> list[str]:
    """The backbones that have a short name."""
    from isoshare.space.backbones import BACKBONES

    return [name for name in BACKBONES if name.startswith(incomplete)]


def dataset_names(incomplete: str) -> list[str]:
    """The data sets; for folders, the fixed prefix."""
    from isoshare.evaluators.data.datasets import DATASETS

    names = (name.removesuffix("PATH") for name in DATASETS)
    return [name for name in names if name.startswith(incomplete)]
