"""Take a plan out of a study: choose a trial, write its plan file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from isoshare.evaluators.objectives import is_known_exact
from isoshare.search.pareto import Axis, Front, knee
from isoshare.search.results.study_results import Results
from isoshare.space.errors import IsoshareError, one_of
from isoshare.space.plan import PlanFile
from isoshare.storage.records import StudyRecord, TrialRecord

Best = Literal["knee", "accuracy", "smallest"]


@dataclass(frozen=True)
class Selection:
    """Which trial a user means: a number, or what ``choose`` takes."""

    best: Best | None = None
    max_parameters: int | None = None
    min_accuracy: float | None = None
    trial: int | None = None


def chosen(results: Results, choice: Selection) -> TrialRecord:
    """The trial of a choice. Raises IsoshareError."""
    if choice.trial is not None:
        return trial_by_number(results, choice.trial)
    return choose(results.front, choice.best, choice.max_parameters, choice.min_accuracy)


def choose(
    front: Front,
    best: Best | str | None = None,
    max_parameters: int | None = None,
    min_accuracy: float | None = None,
) -> TrialRecord:
    """The trial on the front that the user means.

    Within a parameter limit the most accurate one, above an accuracy the smallest one, else the
    knee, unless ``best`` says otherwise: ``knee``, ``smallest``, or an objective of the study. With
    objectives of the user's own, the first that is measured stands for the accuracy.
    Raises IsoshareError if no trial on the front fits.
    """
    members = [
        trial
        for trial in front.members
        if (max_parameters is None or _need(trial, "parameters") <= max_parameters)
        and (min_accuracy is None or _need(trial, "accuracy") >= min_accuracy)
    ]
    if not members and front.members:
        raise IsoshareError(_nothing_fits(front, max_parameters, min_accuracy))
    if best is None:
        best = merit(front) if max_parameters else "smallest" if min_accuracy else "knee"
    if not members or best == "knee":
        return knee(replace(front, members=tuple(members)))
    if best == "smallest":
        return min(members, key=lambda trial: _need(trial, "parameters"))
    signs = {axis.name: axis.sign for axis in front.axes}
    if best not in signs:
        raise IsoshareError(one_of("choice", best, ["knee", "smallest", *signs]))
    return min(members, key=lambda trial: signs[best] * _need(trial, best))


def merit_axis(front: Front) -> Axis:
    """The first objective of a study that is measured: how good a plan is."""
    return next((axis for axis in front.axes if not is_known_exact(axis.name)), front.axes[0])


def merit(front: Front) -> str:
    """Its name."""
    return merit_axis(front).name


def trial_by_number(results: Results, number: int) -> TrialRecord:
    """Any finished trial. Raises IsoshareError."""
    if any(one.number == number for one in results.compared):
        return results.load([number])[0]
    raise IsoshareError(
        f"trial {number} is not among the {len(results.compared)} finished trials of this study: "
        "'isoshare pareto STUDY' lists those on the front"
    )


def plan_file(study: StudyRecord, trial: TrialRecord) -> PlanFile:
    """All that is needed to apply the plan of a trial and to know where it comes from."""
    context, network = study.context, study.context.of(trial.plan)
    return PlanFile.of(
        trial.plan,
        order=[site.name for site in network.sites],
        backbone=asdict(context.backbone_of(trial.plan)),
        parameters={
            "unshared": network.unshared,
            "shared": trial.value("parameters"),
        },
        measured=_measured(trial),
        provenance={
            "study": study.name,
            "trial": trial.number,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": dict(context.versions),
            "dataset": context.dataset.document(),
            "fingerprint": trial.plan.fingerprint,
            "config": study.config.document(),
            "conditions": trial.measurements[0].conditions if trial.measurements else {},
        },
    )


def _measured(trial: TrialRecord) -> list[dict[str, Any]]:
    return [
        {
            "objective": objective,
            "value": value,
            "split": m.split,
            "fidelity": m.fidelity,
            "seed": m.seed,
        }
        for m in sorted(trial.measurements, key=lambda m: (m.split != "validation", m.seed))
        for objective, value in m.values.items()
    ]


def _need(trial: TrialRecord, objective: str) -> float:
    value = trial.value(objective)
    if value is None:
        raise IsoshareError(
            f"this study did not search for {objective}, so a plan cannot be chosen by it: "
            "use --best knee or --trial N"
        )
    return value


def _nothing_fits(front: Front, most: int | None, least: float | None) -> str:
    wanted = [f"at most {most:,} parameters"] if most is not None else []
    wanted += [f"at least {least} accuracy"] if least is not None else []
    has = [f"{min(_need(t, 'parameters') for t in front.members):,.0f} parameters or more"]
    if least is not None or merit(front) == "accuracy":
        has.append(f"{max(_need(t, 'accuracy') for t in front.members):.4f} accuracy or less")
    return f"no plan on the front has {' and '.join(wanted)}: they have {' and '.join(has)}"


def image_shape(plan: PlanFile) -> tuple[int, ...] | None:
    """Channels, height and width of an image, as the data of the plan had it."""
    for part in ("input", "dataset"):
        found = plan.provenance.get(part)
        if isinstance(found, dict) and "image" in found:
            return tuple(found["image"])
    return None
