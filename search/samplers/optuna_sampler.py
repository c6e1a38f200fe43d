"""Optuna's samplers as samplers of ours: a study of Optuna's in memory that is asked and told.

It is rebuilt from our own trials, so the database is the only truth. Before each proposal Optuna's
sampler is seeded by study, trial number and attempt: a resumed search proposes what the
uninterrupted one would have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from isoshare.search.proposals.proposer import CHANCE
from isoshare.search.proposals.sampler import History, Sampler
from isoshare.space.plan import SharingPlan
from isoshare.storage.records import TrialRecord

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # in a notebook tqdm, which Optuna imports, wants widgets
    import optuna
    from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
    from optuna.trial import FixedTrial, TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)

OPTUNA_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    # Deb et al. 2002; a population that a search of some dozen trials can turn over.
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=16),
    # Ozaki et al. 2022; constant_liar keeps parallel workers from proposing the same plan, group
    # models together what is asked together: the options of a method only where it is chosen.
    "tpe": lambda seed: TPESampler(
        seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10
    ),
    # Takes several seconds per proposal after some hundred trials.
    "gp": lambda seed: GPSampler(seed=seed),
}


def make_optuna_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler of Optuna under this name of OPTUNA_SAMPLERS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return OPTUNA_SAMPLERS[name](seed)


class OptunaSampler(Sampler):
    """Asks a study of Optuna's for vectors of choices, and tells it what has become of them."""

    def __init__(self, name: str, history: History) -> None:
        super().__init__(history)
        self._study = optuna.create_study(
            sampler=make_optuna_sampler(name, history.seed),
            directions=[axis.direction for axis in history.axes],
        )
        self._asked: dict[str, optuna.Trial] = {}
        for trial in history.trials.values():
            self._restore(trial)

    def propose(self, number: int) -> SharingPlan | None:
        """What Optuna proposes; None if it insists on a known plan, or finds no new one."""
        before = None
        for attempt in range(CHANCE):
            reseed(self._study.sampler, self._history.seed_of(number, attempt))
            trial = self._study.ask()
            plan = self._history.space.suggest(trial)
            if self._history.may_be_proposed(plan):
                self._asked[plan.fingerprint] = trial
                return plan
            # Told as failed, it leaves the sampler's knowledge as it is.
            self._study.tell(trial, state=TrialState.FAIL)
            if plan == before:
                return None
            before = plan
        return None

    def memory(self, plan: SharingPlan) -> dict[str, Any]:
        """The parameters and attributes of Optuna's trial; a plan of others is put to Optuna."""
        if plan.fingerprint not in self._asked:
            self._study.enqueue_trial(self._history.space.parameters(plan))
            self._asked[plan.fingerprint] = trial = self._study.ask()
            self._history.space.suggest(trial)
        asked = self._asked[plan.fingerprint]
        frozen = asked.storage.get_trial(asked._trial_id)
        return {"params": dict(frozen.params), "system_attrs": dict(frozen.system_attrs)}

    def tell(self, trial: TrialRecord) -> None:
        """Tell Optuna the values of a trial that has ended, and how far it exceeds limits."""
        if trial.state == "stopped":
            return
        asked, values = self._asked.pop(trial.plan.fingerprint), self._history.values(trial)
        if values is None:
            self._study.tell(asked, state=TrialState.FAIL)
            return
        for name, much in self._history.violations(trial).items():
            asked.set_constraint(name, much)
        self._study.tell(asked, values, TrialState.COMPLETE)

    def _restore(self, trial: TrialRecord) -> None:
        """Take up a trial of an earlier run; one without values has failed or is under way."""
        space, values = self._history.space, self._history.values(trial)
        params = trial.proposal["params"]
        try:
            space.suggest(fixed := FixedTrial(params))
        except ValueError:  # told in the words of an earlier version
            params = space.parameters(trial.plan)
            space.suggest(fixed := FixedTrial(params))
        is_open = trial.state in ("running", "stopped")
        ended = TrialState.FAIL if values is None else TrialState.COMPLETE
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING if is_open else ended,
                values=values,
                params=params,
                distributions=fixed.distributions,
                system_attrs=trial.proposal["system_attrs"],
                constraints=None if values is None else self._history.violations(trial),
            )
        )
        if is_open:
            added = self._study.get_trials(deepcopy=False)[-1]
            self._asked[trial.plan.fingerprint] = optuna.Trial(self._study, added._trial_id)


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Seed a sampler and the samplers within it anew.

    Optuna offers that only with a random seed. A new sampler for each proposal would do as well,
    but it compares the search space with every earlier trial, which was most of TPE's time.
    """
    for part in (sampler, *vars(sampler).values()):
        if isinstance(part, BaseSampler) and hasattr(part, "_rng"):
            part._rng.rng.seed(seed)
