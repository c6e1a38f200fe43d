"""Our samplers for whoever has a study of plain Optuna: they propose, Optuna asks and tells.

sampler = PlanSampler(space, ("accuracy", "parameters"))
study = optuna.create_study(sampler=sampler, directions=sampler.directions)
study.optimize(lambda trial: measure(space.suggest(trial)), n_trials=40)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.search.pareto import Axis
from isoshare.search.proposals.proposer import Proposer
from isoshare.search.proposals.sampler import History
from isoshare.search.samplers import SAMPLERS, SamplerRow, sampler_row
from isoshare.search.samplers.optuna_sampler import OPTUNA_SAMPLERS
from isoshare.space.errors import IsoshareError, one_of
from isoshare.space.plan import SharingPlan
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import MeasurementRecord, TrialRecord
from isoshare.storage.records import TrialState as State

STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "failed",
    TrialState.RUNNING: "running",
}


class PlanSampler(BaseSampler):
    """Proposes plans of ``space`` to a study of Optuna's, the same that ``launch`` would.

    objectives: names of OBJECTIVES, in the order of the values that the study is told; sampler: a
    row of SAMPLERS that is not Optuna's own. Parameters of a trial that belong to no plan are drawn
    at random. One sampler serves one study, in one process. Raises IsoshareError for unknown names
    and for objectives that the sampler cannot trade.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[str] = ("accuracy", "parameters"),
        *,
        sampler: str = "ehvi",
        seed: int = 0,
    ) -> None:
        self._space = space
        self._axes = [_axis(name, space) for name in objectives]
        self._trials: dict[int, TrialRecord] = {}
        self._known: set[str] = set()
        history = History(space, self._axes, (), self._trials, self._is_new, seed)
        self._proposer = Proposer(history, _ours(sampler).make(history))
        self._chance = RandomSampler(seed)
        self._answers: dict[int, dict[str, str]] = {}

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Of the objectives, as ``optuna.create_study`` takes them."""
        return [axis.direction for axis in self._axes]

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """Empty: which parameters a trial has depends on its plan."""
        return {}

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Empty, as the space is."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """One choice of the plan that is proposed for the trial when it asks for the first one."""
        if trial.number not in self._answers:
            self._answers[trial.number] = self._choices(study, trial.number)
        if param_name in self._answers[trial.number]:
            return self._answers[trial.number][param_name]
        return self._chance.sample_independent(study, trial, param_name, param_distribution)

    def _choices(self, study: Study, number: int) -> dict[str, str]:
        """A new plan as parameters; whatever chance gives when every plan is known."""
        for there in study.get_trials(deepcopy=False):
            if there.number != number:
                self._take_up(there)
        proposal = self._proposer.propose(number)
        if proposal is None:
            return {}
        self._put(TrialRecord(number, proposal.plan, proposal.origin, "running", {}, {}))
        return self._space.parameters(proposal.plan)

    def _take_up(self, there: FrozenTrial) -> None:
        """Bring our record of a trial up to date; one that never chose a plan is left out."""
        known, state = self._trials.get(there.number), STATES.get(there.state, "running")
        if known is not None and known.state == state:
            return
        plan = known.plan if known is not None else self._plan_of(there)
        if plan is None:
            return
        trial = TrialRecord(there.number, plan, "sampler", state, {}, {})
        if state == "finished":
            values = dict(zip((axis.name for axis in self._axes), there.values, strict=True))
            measured = MeasurementRecord(0, "validation", {}, values, 0.0)
            trial = replace(trial, measurements=(measured,))
        self._put(trial)

    def _plan_of(self, there: FrozenTrial) -> SharingPlan | None:
        try:
            return self._space.suggest(FixedTrial(there.params))
        except ValueError:  # its parameters are not those of a plan of this space, or not yet
            return None

    def _put(self, trial: TrialRecord) -> None:
        self._trials[trial.number] = trial
        self._known.add(trial.plan.fingerprint)

    def _is_new(self, plan: SharingPlan) -> bool:
        return plan.fingerprint not in self._known


def _ours(name: str) -> SamplerRow:
    """The row of a sampler that Optuna does not have itself."""
    if name in OPTUNA_SAMPLERS:
        raise IsoshareError(
            f"sampler {name!r} is Optuna's own: give the study that one, or choose "
            f"{' or '.join(repr(ours) for ours in SAMPLERS if ours not in OPTUNA_SAMPLERS)}"
        )
    return sampler_row(name)


def _axis(name: str, space: Space) -> Axis:
    """An objective of a space."""
    if name not in OBJECTIVES:
        raise IsoshareError(one_of("objective", name, OBJECTIVES))
    row = OBJECTIVES[name]
    return Axis(name, row.direction, row.worst(space) or 0.0, row.unit)
