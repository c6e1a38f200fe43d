"""The Python API: a study made from the caller's own network and own training.

    study = isoshare.create_study(model, name="mine", storage="sqlite:///isoshare.db")
    study.optimize(evaluate, n_trials=40)
    study.plot_front()

The engine decides what is proposed, stored and resumed. Names follow Optuna where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isoshare.evaluators import OWN
from isoshare.evaluators.network_source import Model, NetworkSource, Weights
from isoshare.evaluators.own_code.trial import Trial
from isoshare.evaluators.user_function import Evaluate
from isoshare.search.config import requested
from isoshare.search.engine import Engine
from isoshare.search.results.in_python.progress_line import ProgressLine
from isoshare.search.results.in_python.study_view import NotebookView
from isoshare.search.workflows.own_code.asking import Asking
from isoshare.search.workflows.own_code.optimize import RunOptions, begin_call, run_study
from isoshare.search.workflows.own_code.own_dataset import with_known_data
from isoshare.search.workflows.own_code.own_export import Format, Taken, export_study
from isoshare.search.workflows.own_code.own_study import (
    Objectives,
    able_sampler,
    make_own_study,
    new_source,
    prepare_own,
    recalled_source,
    remember_source,
    with_directions,
)
from isoshare.search.workflows.preparation.cost import trial_seconds
from isoshare.search.workflows.preparation.recorded_space import reference_of
from isoshare.space.errors import IsoshareError
from isoshare.space.files import check_path
from isoshare.storage.opening.database import default_url
from isoshare.storage.records import TrialRecord
from isoshare.storage.store import Store

if TYPE_CHECKING:
    import torch

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
        weights: ``fresh``: drawn anew for each seed, by ``reset_parameters``; ``inherit``: those
            that the model has, projected. None: fresh, with a TrainedWeightsWarning if it has any.
        vary: arguments of the function that the search chooses too: ``{"width": [8, 12, 16]}``.
        rungs: epochs after which a trial that ``report`` shows to be worse than others is stopped.
        example_input: one input of the model, (1, ...), for ``macs``, ``bytes`` and the like.
        options: more of a search: ``max_macs``, ``max_bytes``, ``reduction_factor``.

    Raises:
        IsoshareError: a wrong option, a name that is taken, a model that cannot share.
    """
    source = new_source(model, weights, bool(vary))
    url, asked = storage or "sqlite://", with_directions(objectives)
    given = {
        **{"study": name, "backbone": source.name, "evaluator": OWN, "objectives": asked},
        **{"methods": methods, "max_parameters": max_parameters, "seed": seed, "storage": url},
        **{"sampler": able_sampler(sampler, asked), "rungs": tuple(rungs), "vary": vary},
        **{"workers": 1, **options},
    }
    config = requested({key: value for key, value in given.items() if value is not None})
    store = Store(url)
    record = make_own_study(source, config, store, example_input)
    source = replace(source, arguments=reference_of(record))
    remember_source(store, record, source)
    return Study(store, record.name, source)


def load_study(name: str, storage: str | None = None, model: Model | None = None) -> Study:
    """A study that is there, by its name, to look at it or to go on with it.

    Args:
        storage: the database; None: ``ISOSHARE_STORAGE``, or ``isoshare.db`` in this folder.
        model: the network it was made with; it is kept in the cache folder of the machine.

    Raises:
        IsoshareError: there is no such study, or it cannot be read.
    """
    store = Store(storage or default_url())
    record = store.study(name)
    return Study(store, name, None if model is None else recalled_source(record, model))


class Study(NotebookView):
    """One search, made by ``create_study`` or ``load_study``: its plans, values and front."""

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

        What an interrupted call has left is finished first; the same call again goes on to the
        number of trials that it asked for.

        Args:
            evaluate: trains ``network``, a ``torch.nn.Module`` on ``trial.device``, as it likes,
                and returns a number, or several by the names of the objectives. ``Training`` makes
                one from data, a loss and a metric.
            n_trials: so many more plans; None: 40, or as many as fit into ``timeout``.
            timeout: seconds after which no trial is started, and one that runs is stopped at its
                next report; they count from when the first can start: Ray is started before.
            n_jobs: so many trials at the same time. One runs in this process, more on Ray.
            replicates: trainings of each plan, with different seeds; a plan's value is their mean.
            callbacks: called with the study and each trial that ended; may ``study.stop()``.
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
        line.expected = trial_seconds(prepared, self.trials) if line.is_shown else None

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
        """Start no more trials: for callbacks."""
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
        """What came of a trial that was asked for; one that was told to stop has ended.

        values: as ``evaluate`` returns them; with ``state="failed"``, why, in words.
        Raises IsoshareError for no value (it is still to be told then), DriverError as optimize.
        """
        if self._asking is None:
            number = getattr(trial, "number", trial)
            raise IsoshareError(f"trial {number} was asked for by another study object")
        self._asking.conclude(trial, values, state)

    def export(
        self,
        path: str | Path,
        trial: TrialRecord | int | None = None,
        format: Format | None = None,
        *,
        network: torch.nn.Module | None = None,
        example_input: torch.Tensor | None = None,
        batches: Sequence[torch.Tensor] = (),
        bake: bool = False,
        int8_epochs: int = 0,
    ) -> str:
        """Write the plan of a trial, by default of the knee, or the network that it has become.

        Args:
            format: ``json``, the plan; ``safetensors``, ``onnx``, ``onnx-int8`` or ``tflite``, the
                network; ``optuna``, all trials. None: by the ending of ``path``.
            network: shared by that plan and trained; a study keeps no weights.
            example_input: one input, (1, ...), for ONNX.
            batches: inputs (batch, ...) that 8 bits are fitted to, and trained on ``int8_epochs``.
            bake: of ``onnx``: give each site its own kernel.

        Returns a sentence that says what was written. Raises IsoshareError.
        """
        check_path(path)
        taken = Taken(network, example_input, batches, bake, int8_epochs)
        return export_study(self.results, trial, Path(path), format, taken)

    @property
    def _known_source(self) -> NetworkSource:
        """The backbone, looked for when it is needed."""
        if self._source is None:
            self._source = recalled_source(self._record, None)
        return self._source
