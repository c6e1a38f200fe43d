"""Which studies are asked for: searched, filtered and sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isoshare.search.service.errors import Problem
from isoshare.search.service.models import State, StudyDetail
from isoshare.search.service.studies.known_studies import Studies
from isoshare.space.errors import one_of

KEYS: dict[str, Callable[[StudyDetail], Any]] = {
    "created": lambda study: study.created,
    "name": lambda study: study.name.lower(),
    "state": lambda study: study.state,
    "backbone": lambda study: study.backbone or "",
    "dataset": lambda study: study.dataset or "",
    "finished": lambda study: study.finished,
    "front_size": lambda study: study.front_size,
    "hypervolume": lambda study: study.hypervolume,
}


@dataclass(frozen=True)
class StudyQuery:
    """search: words that name, tags, note, backbone, data set or state must have, all of them.
    sort: one of KEYS, with a minus the other way round.
    """

    search: str = ""
    state: State | None = None
    tag: str = ""
    sort: str = "-created"

    @property
    def is_plain(self) -> bool:
        """Whether it asks for all, the newest first: no study has to be read to know them."""
        return self == StudyQuery()


def found(studies: Studies, query: StudyQuery, start: int, most: int) -> tuple[list[Any], int]:
    """Some of the studies that are asked for, from ``start``, and how many there are in all.

    Raises Problem for an unknown order.
    """
    names = studies.names()
    if query.is_plain:
        return [studies.detail(name) for name in names[start : start + most]], len(names)
    chosen = _sorted([one for name in names if _fits(one := studies.detail(name), query)], query)
    return chosen[start : start + most], len(chosen)


def _fits(study: StudyDetail, query: StudyQuery) -> bool:
    if query.state is not None and study.state != query.state:
        return False
    if query.tag and query.tag not in study.tags:
        return False
    parts = (study.name, study.backbone, study.dataset, study.state, study.note, *study.tags)
    text = " ".join(part.lower() for part in parts if part)
    return all(word in text for word in query.search.lower().split())


def _sorted(studies: Sequence[StudyDetail], query: StudyQuery) -> list[StudyDetail]:
    name = query.sort.removeprefix("-")
    if name not in KEYS:
        raise Problem("invalid", one_of("order", name, KEYS))
    return sorted(studies, key=KEYS[name], reverse=query.sort.startswith("-"))
