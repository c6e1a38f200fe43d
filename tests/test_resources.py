"""What a worker takes of a machine."""

from __future__ import annotations

import pytest

from isoshare.search.drivers.resources import share_of
from isoshare.space.errors import IsoshareError


@pytest.mark.parametrize(
    ("workers", "accelerators", "part"), [(2, 1, 1 / 2), (1, 4, 1), (4, 4, 1), (6, 4, 1 / 2)]
)
def test_workers_share_the_accelerators_evenly_and_all_find_room(
    workers: int, accelerators: float, part: float
) -> None:
    there = {"CPU": 8, "GPU": accelerators}
    assert share_of(workers, 1, None, there) == {"CPU": 1, "GPU": part}
    assert accelerators * int(1 / part) >= workers


def test_without_accelerators_none_is_asked_for() -> None:
    assert share_of(2, 1, None, {"CPU": 2}) == {"CPU": 1}


def test_what_is_asked_for_is_taken_and_what_is_not_there_refused() -> None:
    there = {"CPU": 4, "GPU": 1}
    assert share_of(8, 2, 0.25, there) == {"CPU": 2, "GPU": 0.25}
    assert share_of(8, 0.5, 0, there) == {"CPU": 0.5}
    with pytest.raises(IsoshareError, match="--cpus-per-trial 6, and there are 4 CPUs in all"):
        share_of(1, 6, None, there)
    with pytest.raises(IsoshareError, match="--gpus-per-trial 2, and there are 1 GPUs in all"):
        share_of(1, 1, 2, there)
