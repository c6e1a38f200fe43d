"""The Python API: a study made from the caller's own network and own training.

    study = isoshare.create_study(model, name="mine", storage="sqlite:///isoshare.db")
    study.optimize(evaluate, n_trials=40)
    study.plot_front()

It is thin: what is proposed, stored and resumed is decided by the engine, for the command line as
for this. Names follow Optuna where Optuna has one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from isoshare.evaluators import OWN
from isoshare.evaluators.network_source import Model, NetworkSource, Weights
from isoshare.evaluators.own_code.trial import Trial
from isoshare.evaluators.user_function import Evaluate
from isoshare.search.config import make_config
from isoshare.search.defaults import unserved
from isoshare.search.engine import Engine
from isoshare.search.results.progress_line import ProgressLine
from isoshare.search.results.study_view import NotebookView
from isoshare.search.workflows.cost import trial_seconds
from isoshare.search.workflows.own_code.asking import Asking
from isoshare.search.workflows.own_code.optimize import RunOptions, begin_call, run_study
from isoshare.search.workflows.own_code.own_dataset import with_known_data
from isoshare.search.workflows.own_code.own_study import (
    check_measured,
    make_own_study,
    new_source,
    prepare_own,
    recalled_source,
    remember_source,
)
from isoshare.search.workflows.recorded_space import reference_of
from isoshare.space.errors import IsoshareError
from isoshare.storage.database import default_url
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store

if TYPE_CHECKING:
    import torch

Objectives = Sequence[str] | Mapping[str, str]
Callback = Callable[["Study", TrialRecord], object]


def create_study(
    model: Model,
    name: str | None = None,
    objectives: Objectives = ("accuracy", "parameters"),
    methods: Sequence[str] | None = None,
    max_parameters: int | None = None,
    sampler: str = "ehvi",
    seed: int = 0,
    storage: str | None = None,
    weights: Weights | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    *,
    rungs: Sequence[int] = (),
    example_input: torch.Tensor | None = None,
    **options: Any,
) -> Study:
    """A new study of how ``model`` can share its weights.

    Args:
        model: a ``torch.nn.Module``, which stays as it is; a function that makes one; or a name, as
            ``--backbone`` takes it.
        name: of the study in its database; by default one that is free.
        objectives: what is traded, two or more. Those that ``evaluate`` measures have a direction,
            ``{"miou": "maximize", "parameters": "minimize"}``; ``accuracy`` has one. Exact ones,
            known without training: ``parameters``, ``macs``, ``bytes``, ``activation_memory``.
        methods: how layers may share, by default in all ways (``isoshare inspect`` lists them).
        max_parameters: larger networks are never measured.
        sampler: proposes plans. One that cannot serve the objectives gives way to ``tpe``, warned.
        seed: the same seed repeats the search.
        storage: a database, ``sqlite:///FILE`` or ``postgresql+psycopg://...``; None: memory.
        weights: ``fresh``: drawn anew for each seed, by ``reset_parameters``; ``inherit``: the
            model's, projected. None: fresh, with a TrainedWeightsWarning if it is trained.
        vary: arguments of the function with their values, which the search chooses too:
            ``{"width": [8, 12, 16]}``.
        rungs: epochs after which a trial that ``report`` shows to be worse than others is stopped.
        example_input: one input of the model, (1, ...), for ``macs``, ``bytes`` and the like.
        options: more options of a search: ``max_macs``, ``max_bytes``, ``reduction_factor``.

    Raises:
        IsoshareError: a wrong option, a name that is taken, a model that cannot share.
    """
    source = new_source(model, weights, bool(vary))
    url, asked = storage or "sqlite://", _written(objectives)
    check_measured(asked)
    sampler = _able_sampler(sampler, asked)
    given = {
        **{"study": name, "backbone": source.name, "evaluator": OWN, "objectives": asked},
        **{"methods": methods, "max_parameters": max_parameters, "sampler": sampler, "workers": 1},
        **{"seed": seed, "storage": url, "rungs": tuple(rungs), "vary": vary, **options},
    }
    config = make_config({key: value for key, value in given.items() if value is not None})
    store = Store(url)
    record = make_own_study(source, config, store, example_input)
    source = replace(source, arguments=reference_of(record))
    store.change_study(record.name, {}, {"weights": source.weights})
    if not store.is_in_memory:
        remember_source(record, source)
    return Study(store, record.name, source)


def load_study(name: str, storage: str | None = None, model: Model | None = None) -> Study:
    """A study that is there already, to look at it or to go on with it.

    Args:
        name: of the study.
        storage: the database, by default the one of the command line: ``ISOSHARE_STORAGE``, or
            ``isoshare.db`` in the current folder.
        model: the network it was made with. On the machine where the study was made it may be left
            out: it is kept in the cache folder.

    Raises:
        IsoshareError: there is no such study, or it cannot be read.
    """
    store = Store(storage or default_url())
    record = store.study(name)
    source = None if model is None else recalled_source(record, model)
    return Study(store, name, source)


class Study(NotebookView):
    """One search: its plans, what was measured of them, and the front.

    Made by ``create_study`` and ``load_study``.
    """

    def __init__(self, store: Store, name: str, source: NetworkSource | None) -> None:
        super().__init__(store, name)
        self._source = source
        self._asking: Asking | None = None
        self._running: Engine | None = None

    def optimize(
        self,
        evaluate: Evaluate,
        n_trials: int | None = None,
        timeout: float | None = None,
        n_jobs: int = 1,
        replicates: int = 1,
        callbacks: Sequence[Callback] = (),
        show_progress_bar: bool = True,
        ray_address: str | None = None,
    ) -> None:
        """Measure plans with ``evaluate(network, trial)``.

        What an earlier call left when it was interrupted or killed is finished first; the same call
        again goes on to the number of trials that it asked for then.

        Args:
            evaluate: trains ``network``, a ``torch.nn.Module`` on ``trial.device``, as it likes,
                and returns a number, or several by the names of the objectives. ``Training`` makes
                one from data, a loss and a metric.
            n_trials: so many more plans; None: 40, or as many as fit into ``timeout``.
            timeout: seconds after which no trial is started, and one that runs is stopped at its
                next report.
            n_jobs: so many trials at the same time. One runs in this process, more on Ray.
            replicates: trainings of each plan, with different seeds; a plan's value is their mean.
            callbacks: called with the study and each trial that has ended; ``study.stop()`` there
                ends the search.
            show_progress_bar: one line on a terminal or in a notebook.
            ray_address: a Ray cluster, ``auto`` or HOST:PORT.

        Raises:
            IsoshareError: a wrong request, or a study that another process runs.
            DriverError: workers keep dying, or five trials in a row failed in the same way.
        """
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        goal = begin_call(self._record, self._store, n_trials, timeout)
        changes = {"trials": goal, "replicates": replicates, "workers": n_jobs}
        evaluate = with_known_data(self._record, self._store, self._known_source, evaluate)
        prepared = prepare_own(self._record, self._known_source, evaluate, changes)
        line = ProgressLine(show_progress_bar, timeout, n_jobs)
        if line.is_shown:
            line.expected = trial_seconds(prepared, self.trials)

        def ended(trial: TrialRecord, engine: Engine) -> None:
            self._running = engine
            for callback in callbacks:
                callback(self, trial)

        options = RunOptions(timeout, n_jobs, ray_address)
        try:
            run_study(prepared, self._store, options, line.update, ended)
        finally:
            self._running = None
            line.close()

    def stop(self) -> None:
        """Start no more trials: called by a callback while ``optimize`` runs."""
        if self._running is not None:
            self._running.stopping.ask()

    def ask(self) -> Trial:
        """The next plan to be measured, by hand. One that was asked for and never told, by a
        process that was killed, comes first.

        Raises IsoshareError when there are no more plans, or another process runs the study.
        """
        if self._asking is None:
            prepared = prepare_own(self._record, self._known_source, None, {"replicates": 1})
            self._asking = Asking(prepared, self._store)
        return self._asking.ask()

    def tell(
        self, trial: Trial, values: Any = None, state: Literal["finished", "failed"] = "finished"
    ) -> None:
        """What came of a trial that was asked for; one that was told to stop has ended already.

        values: as ``evaluate`` returns them; with ``state="failed"``, why, in words.
        Raises IsoshareError for what is no value; the trial is still to be told then.
        """
        if self._asking is None:
            raise IsoshareError(f"trial {trial.number} was asked for by another study object")
        if state == "failed":
            self._asking.fail(trial, str(values or "told as failed"))
        else:
            self._asking.tell(trial, values)

    @property
    def _known_source(self) -> NetworkSource:
        """The backbone; it is looked for when it is needed."""
        if self._source is None:
            self._source = recalled_source(self._record, None)
        return self._source


def _able_sampler(sampler: str, objectives: tuple[str, ...]) -> str:
    """The sampler, or the one that takes its place, with a warning."""
    if sampler != "ehvi" or not (why := unserved(objectives)):
        return sampler
    warnings.warn(f"{why}: tpe takes its place", stacklevel=3)
    return "tpe"


def _written(objectives: Objectives) -> tuple[str, ...]:
    """Objectives as the options of a search have them: ``miou:maximize``."""
    pairs = objectives.items() if isinstance(objectives, Mapping) else ()
    return tuple(f"{name}:{way}" for name, way in pairs) or tuple(objectives)
