"""What a study shows of itself to whoever has it in Python: trials, front, tables, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isoshare.search.results.choose import choose, trial_by_number
from isoshare.search.results.study_results import Results, load_results
from isoshare.storage.records import StudyRecord, TrialRecord
from isoshare.storage.store import Store

if TYPE_CHECKING:
    import pandas


class NotebookView:
    """A study that is looked at, and never changed."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store

    def __repr__(self) -> str:
        return f"<Study {self.name!r}: {len(self.results.outcomes)} trials>"

    @property
    def results(self) -> Results:
        """The study as it is in the database now."""
        return load_results(self._store, self.name)

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials by number, each with ``plan``, ``state``, ``value(objective)``."""
        return self._store.trials(self.name)

    @property
    def front(self) -> list[TrialRecord]:
        """The trials that none dominates, by the last objective."""
        return list(self.results.front.members)

    def best(
        self,
        by: str | None = None,
        max_parameters: int | None = None,
        min_accuracy: float | None = None,
    ) -> TrialRecord:
        """One trial of the front.

        by: ``knee``, ``smallest``, or an objective, which is best; by default the best measured one
            within ``max_parameters``, the smallest of at least ``min_accuracy``, else the knee.
        Raises IsoshareError if none fits.
        """
        return choose(self.results.front, by, max_parameters, min_accuracy)

    def trials_dataframe(self) -> pandas.DataFrame:
        """All trials, one row each, as a table of pandas."""
        from isoshare.search.results.in_python.dataframe import trials_dataframe

        return trials_dataframe(self.results)

    def plot_front(self) -> Any:
        """The front as a ``plotly.graph_objects.Figure``."""
        from isoshare.search.results.pictures.drawing import draw_interactive
        from isoshare.search.results.pictures.figures import front_figure

        return draw_interactive(front_figure(self.results))

    def plot_plan(self, trial: TrialRecord | int | None = None) -> Any:
        """The plan of a trial, by default of the knee, as a ``plotly.graph_objects.Figure``."""
        from isoshare.search.results.pictures.plan_figure import draw_plan
        from isoshare.search.results.pictures.plan_picture import plan_picture

        plan = self._chosen(trial).plan
        network = self._record.context.of(plan)
        return draw_plan(plan_picture(network.sites, plan, network.unshared))

    def _repr_html_(self) -> str:
        from isoshare.search.results.in_python.study_card import study_card

        return study_card(self.results)

    @property
    def _record(self) -> StudyRecord:
        return self._store.study(self.name)

    def _chosen(self, trial: TrialRecord | int | None) -> TrialRecord:
        if isinstance(trial, TrialRecord):
            return trial
        return self.best("knee") if trial is None else trial_by_number(self.results, trial)
