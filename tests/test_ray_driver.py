"""What a worker takes of a machine; the driver itself is tested through the command line."""

from __future__ import annotations

import pytest

from search.ray_driver import _share


@pytest.mark.parametrize(
    ("workers", "accelerators", "part"), [(2, 1, 1 / 2), (1, 4, 1), (4, 4, 1), (6, 4, 1 / 2)]
)
def test_workers_share_the_accelerators_evenly_and_all_find_room(
    workers: int, accelerators: float, part: float
) -> None:
    assert _share(workers, accelerators) == {"CPU": 1, "GPU": part}
    assert accelerators * int(1 / part) >= workers


def test_without_accelerators_none_is_asked_for() -> None:
    assert _share(2, 0) == {"CPU": 1}
