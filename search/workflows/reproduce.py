"""Repeat the measurements of an exported plan under its recorded conditions, and compare.

All that decides a measurement stands in the plan file: the options of its search, the fingerprint
of its data, seeds, versions and device. On the same versions and processor the numbers come out bit
for bit; elsewhere they differ by noise, and by how much is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from isoshare.evaluators import EVALUATORS, is_own_evaluator
from isoshare.evaluators.data.datasets import Dataset
from isoshare.evaluators.training.batches import use_threads
from isoshare.evaluators.training.trainer import Report
from isoshare.evaluators.training_evaluator import TrainingEvaluator
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.workflows.preparation.evaluator import conditions_of, evaluator_of, load_data
from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones import build_backbone, check_named
from isoshare.space.errors import IsoshareError, PlanError
from isoshare.space.plan import PlanFile, Split

__all__ = ["Reproduction", "prepare_reproduction", "run_reproduction"]

Verdict = Literal["bit-equal", "within noise", "differs"]

STANDARD_ERRORS = 3
"""Means of this many standard errors of their difference apart are not the same by chance."""
ONE_SEED = 0.05
"""The relative difference that is taken for noise where one seed tells nothing about it."""
SAME = ("device", "bfloat16", "python", "torch", "numpy", "torchvision")
"""Conditions on which bits depend."""

Samples = dict[int, float]


@dataclass(frozen=True)
class Comparison:
    """One objective on one part of the data; errors are standard errors of the mean over seeds."""

    objective: str
    split: str
    seeds: int
    recorded: float
    recorded_error: float | None
    reproduced: float
    reproduced_error: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Reproduction:
    """A checked request: nothing has been trained yet.

    recorded: by part of the data and objective, the value of each seed. changed: what is not as it
    was when the plan was measured, in words; then bits may differ.
    """

    plan: PlanFile
    config: SearchConfig
    dataset: Dataset
    evaluator: TrainingEvaluator
    recorded: dict[tuple[Split, str], Samples]
    changed: tuple[str, ...]


def prepare_reproduction(path: Path, named: str | None = None) -> Reproduction:
    """Check a request, its data first. Raises IsoshareError.

    named: a backbone that is trusted.
    """
    file = PlanFile.load(path)
    config = _config(file, path)
    check_named(config.backbone, named, str(path))
    if is_own_evaluator(config.evaluator):
        raise IsoshareError(
            f"{path} was measured by a function of its user's own: only that can measure it again"
        )
    dataset = load_data(config.data)
    known = file.provenance.get("dataset", {}).get("fingerprint")
    if dataset.fingerprint != known:
        raise IsoshareError(
            f"data set {config.dataset!r} is not what the plan was measured on: its fingerprint is "
            f"{dataset.fingerprint}, not {known}; find the same images, or train the plan on these "
            "with 'isoshare train'"
        )
    recorded = _recorded(file, config)
    if not recorded:
        raise PlanError(f"{path} holds no measurement of its search: nothing to compare with")
    evaluator = evaluator_of(config.space, config.training, config.evaluation, dataset)
    assert isinstance(evaluator, TrainingEvaluator), "all rows of EVALUATORS are"
    now = conditions_of(config.evaluation, dataset)
    return Reproduction(file, config, dataset, evaluator, recorded, _changed(file, now))


def run_reproduction(request: Reproduction, report: Report) -> dict[str, Any]:
    """Train once for each part of the data and compare; what ``--json`` prints.

    report: hears of each epoch. Raises EvaluationError.
    """
    use_threads(1)  # as workers do: more threads add in another order
    request.evaluator.prepare(report)
    rows = [_compare_parameters(request)]
    for split in dict.fromkeys(split for split, _ in request.recorded):
        wanted = {name: found for (part, name), found in request.recorded.items() if part == split}
        measured = _measure(request, split, sorted(next(iter(wanted.values()))), report)
        size = len({"validation": request.dataset.validation, "test": request.dataset.test}[split])
        rows += [
            compare(name, split, found, {seed: measured[seed][name] for seed in found}, size)
            for name, found in wanted.items()
        ]
    verdicts = {row.verdict for row in rows}
    worst = next(one for one in ("differs", "within noise", "bit-equal") if one in verdicts)
    return {
        "fingerprint": request.plan.plan.fingerprint,
        "verdict": worst,
        "changed": list(request.changed),
        "objectives": [asdict(row) for row in rows],
    }


def compare(
    objective: str, split: str, recorded: Samples, reproduced: Samples, images: int
) -> Comparison:
    """Whether two sets of measurements are the same, seed by seed or but for noise.

    Noise is three standard errors of the difference of the means. Of one seed that is the binomial
    error of an accuracy over ``images``, and a twentieth of the value of anything else.
    """
    before, after = list(recorded.values()), [reproduced[seed] for seed in recorded]
    errors = _error(before), _error(after)
    difference = abs(fmean(after) - fmean(before))
    if errors[0] is not None and errors[1] is not None:
        noise = STANDARD_ERRORS * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    elif objective == "accuracy":
        noise = STANDARD_ERRORS * (2 * before[0] * (1 - before[0]) / images) ** 0.5
    else:
        noise = ONE_SEED * abs(before[0])
    verdict: Verdict = "within noise" if difference <= noise else "differs"
    verdict = "bit-equal" if before == after else verdict
    means = fmean(before), fmean(after)
    return Comparison(
        objective, split, len(before), means[0], errors[0], means[1], errors[1], verdict
    )


def _compare_parameters(request: Reproduction) -> Comparison:
    """A count has no noise."""
    file = request.plan
    built = build_backbone(request.config.backbone, request.config.backbone_arg)
    now = count_parameters(apply_plan(built, file.plan, weights="fresh"))
    before = file.parameters.shared if file.parameters else now
    verdict: Verdict = "bit-equal" if now == before else "differs"
    return Comparison("parameters", "-", 0, before, None, now, None, verdict)


def _measure(
    request: Reproduction, split: Split, seeds: Sequence[int], report: Report
) -> dict[int, dict[str, float]]:
    epochs, found = request.config.epochs, {}
    for step in request.evaluator(request.plan.plan, seeds, split, range(1, epochs)):
        mean = fmean(one.values["accuracy"] for one in step)
        report(step[0].epochs or epochs, epochs, {"accuracy": mean})
        found.update({one.seed: one.values for one in step if one.epochs is None})
    return found


def _config(file: PlanFile, path: Path) -> SearchConfig:
    """The options of the search that the plan comes from."""
    known = file.provenance.get("config")
    if not isinstance(known, dict) or file.backbone is None:
        raise PlanError(
            f"{path} does not say how it was measured (backbone and provenance.config): export it "
            "from its study with 'isoshare export'"
        )
    if known.get("table") is not None:
        raise PlanError(
            f"{path} was measured by table {known['table']!r}, whose seeds are its own: train the "
            "plan with 'isoshare train' instead"
        )
    backbone = {"backbone": file.backbone.name, "backbone_arg": file.backbone.arguments}
    return make_config({**known, **backbone})


def _recorded(file: PlanFile, config: SearchConfig) -> dict[tuple[Split, str], Samples]:
    """The measurements of the search at its full length, of what its evaluator measures."""
    found: dict[tuple[Split, str], Samples] = {}
    for one in file.measured:
        measured = one.objective in EVALUATORS[config.evaluator].measures
        if measured and one.fidelity == {"epochs": config.epochs}:
            found.setdefault((one.split, one.objective), {})[one.seed] = one.value
    return found


def _changed(file: PlanFile, now: Mapping[str, Any]) -> tuple[str, ...]:
    before = {**file.provenance.get("versions", {}), **file.provenance.get("conditions", {})}
    return tuple(
        f"{name} {before[name]} → {now[name]}"
        for name in SAME
        if name in before and before[name] != now.get(name)
    )


def _error(samples: Sequence[float]) -> float | None:
    return stdev(samples) / len(samples) ** 0.5 if len(samples) > 1 else None
