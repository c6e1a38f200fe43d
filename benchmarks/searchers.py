"""SEARCHERS: ways to search the plans of a table of ShareBench, ours and those of other libraries.

Each is a function that measures plans until ``SpentError`` is raised. The libraries get a plan as
the answers that a sampler of Optuna's would give, one categorical parameter each, all of them
always: answers that a plan does not ask for have no effect. Both objectives are minimised: the
share of images that are wrong, and the logarithm of the parameters beside the unshared network's.
Their settings are their own defaults unless a comment says why not.
"""

from __future__ import annotations

import json
import logging
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch

from benchmarks.search_efficiency import SCORES
from benchmarks.search_task import PATIENCE, Task
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.search.pareto import Axis
from isoshare.search.proposals.foresight import Foresight
from isoshare.search.proposals.proposer import Proposer
from isoshare.search.proposals.sampler import History
from isoshare.search.samplers import SAMPLERS
from isoshare.search.samplers.ehvi import ParetoFront2D
from isoshare.search.samplers.expected_improvement import START
from isoshare.search.solver.predicted_front import predicted_front
from isoshare.search.workflows.preparation.foresight import spread
from isoshare.space.plan import SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.storage.records import MeasurementRecord, TrialRecord

ABSENT = "-"
"""What stands for an answer that a plan does not ask for."""
GP_START = 10
"""Plans before the first fit of a Gaussian process: the first plans of all, then random ones."""


def ours(
    sampler: str, task: Task, foresight: Foresight | None = None, most: float = math.inf
) -> None:
    """A row of SAMPLERS, which proposes what ``launch`` would, for so many trials at most."""
    rows = {name: OBJECTIVES[name] for name in ("accuracy", "parameters")}
    axes = [Axis(name, row.direction, row.worst(task.space) or 0.0) for name, row in rows.items()]
    trials: dict[int, TrialRecord] = {}
    seen: set[str] = set()
    history = History(
        task.space,
        axes,
        (),
        trials,
        lambda plan: plan.fingerprint not in seen,
        task.seed,
        foresight,
    )
    made = SAMPLERS[sampler].make(history)
    proposer = Proposer(history, made)
    while len(trials) < most and (proposal := proposer.propose(number := len(trials))) is not None:
        plan = proposal.plan
        seen.add(plan.fingerprint)
        made.memory(plan)
        wrong, _ = task.measure(plan)
        values = {"accuracy": 1 - wrong}
        measured = MeasurementRecord(task.seed, "validation", {}, values, 0.0)
        exact = {"parameters": float(task.space.trainable_parameters(plan))}
        trials[number] = TrialRecord(
            number, plan, proposal.origin, "finished", exact, {}, measurements=(measured,)
        )
        made.tell(trials[number])


def solved_first(task: Task) -> None:
    """Ours with ``--solve-first``: it knows the scores of the trained network that plans inherit
    from, as benchmarks/solve.py keeps them.
    """
    scores = PlanScores.of(json.loads(SCORES.read_text())[task.name])
    assert isinstance(task.space, SearchSpace), "tables over variants have no scores"
    ours("ehvi", task, Foresight(scores, tuple(spread(predicted_front(task.space, scores)))))


def optuna_integers(task: Task) -> None:
    """Optuna's TPE, each answer as a number, whose neighbours it takes for alike."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def measured(trial: optuna.Trial) -> tuple[float, float]:
        numbers = {name: trial.suggest_int(name, 0, len(of) - 1) for name, of in levels.items()}
        return task.measure(task.plan_of({name: levels[name][at] for name, at in numbers.items()}))

    levels = {name: answers for name, answers in task.levels.items() if len(answers) > 1}
    sampler = optuna.samplers.TPESampler(seed=task.seed, multivariate=True)
    study = optuna.create_study(sampler=sampler, directions=["minimize", "minimize"])
    for plan in task.starts:
        answers = task.answers(plan)
        study.enqueue_trial({name: of.index(answers[name]) for name, of in levels.items()})
    study.optimize(measured)


def botorch(task: Task, begin: Callable[[Task], None]) -> None:
    """BoTorch's Gaussian process over categories and one number, the size, on the accuracy alone;
    the expected hypervolume improvement is exact, as the size is known, and looks at all plans.
    """
    begin(task)
    plans = list(task.table.plans)
    places = {plan.fingerprint: place for place, plan in enumerate(plans)}
    sizes = np.array([task.size(plan) for plan in plans])
    coded = torch.tensor(np.column_stack([sizes / -sizes.min(), _codes(task, plans)]))
    known, right = [places[one] for one in task.accuracy], list(task.accuracy.values())
    model = None
    while True:
        model = _gaussian_process(coded[known], right, model)
        with torch.no_grad():
            belief = model.posterior(coded)
        mean = belief.mean.squeeze(-1).numpy()
        deviation = belief.variance.sqrt().squeeze(-1).numpy()
        stairs = ParetoFront2D.of(sizes[known], mean[known], (0.0, 0.0))
        gains = stairs.expected_improvement(sizes, mean, deviation)
        gains[known] = -1
        known.append(int(gains.argmax()))
        right.append(1 - task.measure(plans[known[-1]])[0])


def at_random(task: Task) -> None:
    """The first plans of all, then random ones."""
    for plan in task.starts:
        task.measure(plan)
    while len(task.accuracy) < GP_START:
        task.measure(task.new_plan())


def as_ours(task: Task) -> None:
    """The plans that ours begins with, until its surrogate is asked."""
    ours("local", task, most=START)


def _gaussian_process(coded: Any, right: list[float], last: Any) -> Any:
    """Fitted from where the last one was, if there is one: then fewer steps are enough."""
    from botorch.models import MixedSingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim.fit import fit_gpytorch_mll_scipy
    from gpytorch.mlls import ExactMarginalLogLikelihood

    target = torch.tensor(right, dtype=torch.double)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # categories are not in the unit cube
        model = MixedSingleTaskGP(
            coded, target, list(range(1, coded.shape[1])), outcome_transform=Standardize(1)
        )
        if last is not None:
            there = last.state_dict().items()
            known = {name: one for name, one in there if not name.startswith("outcome_transform")}
            model.load_state_dict(known, strict=False)
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll_scipy(likelihood, options={"maxiter": 200 if last is None else 30})
    return model


def _codes(task: Task, plans: Iterable[SharingPlan]) -> list[list[float]]:
    """The number of each answer; an answer that a plan does not ask for is one more category."""
    columns = {
        name: {answer: float(place) for place, answer in enumerate([ABSENT, *levels])}
        for name, levels in task.levels.items()
    }
    given = [task.space.parameters(plan) for plan in plans]
    return [[of[one.get(name, ABSENT)] for name, of in columns.items()] for one in given]


def smac(task: Task) -> None:
    """SMAC3: random forest and ParEGO; fitted anew to every trial instead of every eighth, and 500
    candidates instead of 5,000, which is most of the space and a tenth of the time.
    """
    from ConfigSpace import CategoricalHyperparameter, Configuration, ConfigurationSpace
    from smac import HyperparameterOptimizationFacade as Facade
    from smac import Scenario
    from smac.runhistory.dataclasses import TrialValue

    logging.getLogger("smac").setLevel(logging.ERROR)
    levels = list(task.levels.values())
    space = ConfigurationSpace(seed=task.seed)
    space.add([CategoricalHyperparameter(f"p{at}", of) for at, of in enumerate(levels)])
    first = [
        Configuration(space, {f"p{at}": one for at, one in enumerate(task.answers(plan).values())})
        for plan in task.starts
    ]
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space,
            output_directory=folder,
            objectives=["wrong", "size"],
            deterministic=True,
            n_trials=(1 + PATIENCE) * task.trials,
            seed=task.seed,
        )
        design = Facade.get_initial_design(
            scenario, n_configs=max(GP_START - len(first), 1), additional_configs=first
        )
        facade = Facade(
            scenario,
            lambda config, seed=0: None,
            initial_design=design,
            acquisition_maximizer=Facade.get_acquisition_maximizer(scenario, challengers=500),
            multi_objective_algorithm=Facade.get_multi_objective_algorithm(scenario),
            config_selector=Facade.get_config_selector(scenario, retrain_after=1),
            logging_level=False,
            overwrite=True,
        )
        while True:
            asked = facade.ask()
            answers = (asked.config[f"p{at}"] for at in range(len(levels)))
            plan = task.plan_of(dict(zip(task.levels, answers, strict=True)))
            facade.tell(asked, TrialValue(cost=list(task.measure(plan))), save=False)


def syne_tune_ehvi(task: Task) -> None:
    """Syne Tune's expected hypervolume improvement, by BoTorch over one-hot codes.

    In double precision from end to end: it leaves some tensors in single precision by itself, and
    BoTorch 0.18 refuses a mixture.
    """
    from syne_tune.config_space import choice
    from syne_tune.optimizer.schedulers.multiobjective.expected_hyper_volume_improvement import (
        ExpectedHyperVolumeImprovement,
    )

    searcher = ExpectedHyperVolumeImprovement(
        {name: choice(levels) for name, levels in task.levels.items()},
        points_to_evaluate=[task.answers(plan) for plan in task.starts],
        num_init_random=GP_START,
        random_seed=task.seed,
    )
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.double)
    try:
        for number in count():
            answers = searcher.suggest()
            searcher.on_trial_complete(number, answers, list(task.measure(task.plan_of(answers))))
    finally:
        torch.set_default_dtype(usual)


def syne_tune_moasha(task: Task) -> None:
    """Syne Tune's MO-ASHA: random plans, stopped after some epochs if others are better by then."""
    from datetime import datetime

    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import choice
    from syne_tune.optimizer.scheduler import SchedulerDecision
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    for plan in task.starts:
        task.measure(plan)
    np.random.seed(task.seed)
    scheduler = MOASHA(
        {name: choice(levels) for name, levels in task.levels.items()},
        ["wrong", "size"],
        time_attr="epoch",
        max_t=task.epochs,
        random_seed=task.seed,
    )
    number = 0
    while True:
        answers = scheduler.suggest().config
        plan, trial = task.plan_of(answers), Trial(number, answers, datetime.now())
        scheduler.on_trial_add(trial)
        number += 1
        for epoch in range(1, task.epochs + 1):
            wrong, size = task.measure(plan, epoch)
            result = {"epoch": epoch, "wrong": wrong, "size": size}
            if scheduler.on_trial_result(trial, result) == SchedulerDecision.STOP:
                break


def neps(algorithm: str, task: Task) -> None:
    """NePS' MO-ASHA; or PriMO, which begins so, knows a good plan for each objective and goes on
    with a Gaussian process on their weighted sum.
    """
    from neps import AskAndTell, algorithms
    from neps.space import HPOCategorical, HPOInteger, SearchSpace

    random.seed(task.seed)
    np.random.seed(task.seed)
    torch.manual_seed(task.seed)
    levels = {name: HPOCategorical(of) for name, of in task.levels.items() if len(of) > 1}
    space = SearchSpace({**levels, "epochs": HPOInteger(1, task.epochs, is_fidelity=True)})
    made: Any
    if algorithm == "primo":
        good = {"wrong": task.space.unshared_plan(), "size": task.space.smallest_plan}
        centers = {
            name: {key: task.answers(plan)[key] for key in levels} for name, plan in good.items()
        }
        trust = {name: dict.fromkeys(levels, 0.25) for name in good}
        made = algorithms.primo(space, prior_centers=centers, prior_confidences=trust)
    else:
        made = algorithms.moasha(space)
    optimizer = AskAndTell(made)
    last = max(getattr(made, "bracket_optimizer", made).rung_to_fid)
    for place, plan in enumerate(task.starts, 1):
        answers = {key: task.answers(plan)[key] for key in levels}
        told = {"objective_to_minimize": list(task.measure(plan))}
        config = {**answers, "epochs": task.epochs}
        name = f"{place}_rung_{last}"  # as it names its own
        optimizer.tell_custom(config_id=name, config=config, result=told)
    while True:
        trial = optimizer.ask()
        measured = task.measure(task.plan_of(trial.config), trial.config["epochs"])
        optimizer.tell(trial, {"objective_to_minimize": list(measured)})


SEARCHERS: dict[str, Callable[[Task], None]] = {
    "ehvi": partial(ours, "ehvi"),
    "ehvi --solve-first": solved_first,
    "local": partial(ours, "local"),
    "random": partial(ours, "random"),
    "Optuna NSGA-II": partial(ours, "nsga2"),
    "Optuna TPE": partial(ours, "tpe"),
    "Optuna TPE on integers": optuna_integers,
    "BoTorch": partial(botorch, begin=at_random),
    "BoTorch from our start": partial(botorch, begin=as_ours),
    "SMAC3": smac,
    "Syne Tune EHVI": syne_tune_ehvi,
    "Syne Tune MO-ASHA": syne_tune_moasha,
    "NePS MO-ASHA": partial(neps, "moasha"),
    "NePS PriMO": partial(neps, "primo"),
}
