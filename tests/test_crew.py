"""How many workers there are: as many as can measure, beside those that cannot."""

from __future__ import annotations

from isoshare.search.drivers.inline import run_inline
from isoshare.search.drivers.ray_worker import WorkerPool
from tests.fakes import FakeEvaluator, MakeEngine


def started(crew: WorkerPool) -> int:
    """So many workers Tune is asked for, one after the other, until there are enough."""
    count = 0
    while crew.suggest(f"worker{count}") == {}:
        count += 1
    return count


def test_one_more_is_started_for_each_that_refuses(make_engine: MakeEngine) -> None:
    crew = WorkerPool(make_engine(), workers=2)
    assert started(crew) == 2
    crew.refusing.add("worker0")
    assert started(crew) == 1
    assert not crew.spares_one()


def test_one_that_refused_and_came_up_elsewhere_makes_another_one_end(
    make_engine: MakeEngine,
) -> None:
    crew = WorkerPool(make_engine(), workers=2)
    started(crew)
    crew.refusing.add("worker0")
    started(crew)
    crew.refusing.discard("worker0")
    assert [crew.spares_one(), crew.spares_one()] == [True, False]
    assert started(crew) == 0


def test_none_is_started_when_the_search_is_over(make_engine: MakeEngine) -> None:
    engine = make_engine(trials=3)
    run_inline(engine, FakeEvaluator())
    assert WorkerPool(engine, workers=2).suggest("worker") == WorkerPool.FINISHED
