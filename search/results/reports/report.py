"""A study as one self-contained page to send to a colleague: what was asked, under which
conditions, what came out, how to repeat it, and what to be careful about. Torch-free.

``study_report`` gathers what is said, ``write_report`` fills search/results/report.html with it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from isoshare.search.config import SearchConfig
from isoshare.search.constraints import limits_of
from isoshare.search.options import OPTIONS
from isoshare.search.options.definition import as_typed
from isoshare.search.pareto import knee, with_unit
from isoshare.search.results.choose import plan_file
from isoshare.search.results.describe import plan_in_short, with_error
from isoshare.search.results.gains import gains_in_words
from isoshare.search.results.pictures.drawing import front_html
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.pictures.plan_picture import PlanPicture, plan_picture
from isoshare.search.results.pictures.plan_svg import draw_svg, in_words
from isoshare.search.results.reports.report_notes import caveats_of, conditions_of
from isoshare.search.results.scaling_alone import sharing_in_words
from isoshare.search.results.study_results import Results
from isoshare.space.files import atomic_write
from isoshare.space.methods import METHODS
from isoshare.storage.records import StudyRecord, TrialRecord

NO_OPTION = {"workers", "out", "ray_address", "backbone_arg", "vary", "study", "storage"}
"""Options of a search that do not change its outcome, or are written in their own way."""


@dataclass(frozen=True)
class Row:
    """A plan of the front, in words; chosen: the one that the report is about."""

    number: int
    cells: tuple[str, ...]
    words: str
    chosen: bool


@dataclass(frozen=True)
class Report:
    """Everything the page says; columns and the cells of a row belong together."""

    study: str
    question: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    trial: int
    answer: str
    gains: tuple[str, ...]
    picture: PlanPicture
    conditions: Mapping[str, str]
    commands: tuple[str, ...]
    caveats: tuple[str, ...]
    plan: str


def study_report(results: Results, trial: TrialRecord | None = None) -> Report:
    """The report about one trial, by default the knee. Raises IsoshareError without a front."""
    study, front = results.study, results.front
    trial = trial or knee(front)
    context, network = study.context, study.context.of(trial.plan)
    tested = any(member.samples("accuracy", "test") for member in front.members)
    axes = [with_unit(axis) for axis in front.axes]
    cells = partial(_cells, results, tested=tested)
    members = (*front.members, *(() if trial in front.members else (trial,)))
    return Report(
        study=study.name,
        question=_question(results),
        columns=("trial", *axes, *(("on test images",) if tested else ()), "share"),
        rows=tuple(
            Row(
                one.number,
                cells(one),
                plan_in_short(one.plan, context.of(one.plan).sites),
                one == trial,
            )
            for one in members
        ),
        trial=trial.number,
        answer=_answer(results, trial),
        gains=gains_in_words(results),
        picture=plan_picture(network.sites, trial.plan, network.unshared),
        conditions=conditions_of(results),
        commands=_commands(study, trial),
        caveats=caveats_of(results, tested),
        plan=plan_file(study, trial).text,
    )


def write_report(results: Results, path: Path, trial: TrialRecord | None = None) -> None:
    """Write the page, whole or not at all. Raises IsoshareError and OSError."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    report = study_report(results, trial)
    environment = Environment(
        loader=PackageLoader("isoshare.search.results.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        report=report,
        figure=front_html(front_figure(results)),
        svg=draw_svg(report.picture),
        words=in_words(report.picture),
        brief=brief_of,
        typed=in_lines,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    with atomic_write(path) as half:
        half.write_text(page, encoding="utf-8")


def brief_of(method: str, options: Mapping[str, Any]) -> str:
    """A method and its options in few words: ``basis S8U1``."""
    return METHODS[method].brief.format(**options)


def launch_command(study: StudyRecord) -> str:
    """The command that starts the same search again."""
    config = study.config
    words = ["isoshare", "launch", "--study", study.name, "--backbone", config.backbone]
    for key, value in config.backbone_arg.items():
        words += ["--backbone-arg", f"{key}={value}"]
    for key, values in config.vary.items():
        words += ["--vary", f"{key}={as_typed(values)}"]
    for key, field in SearchConfig.model_fields.items():
        value = config.options.get(key)
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        if key in NO_OPTION or key == "backbone" or value is None or value == default:
            continue
        words.append(OPTIONS[key].flag)
        if value is not True:
            words.append(as_typed(value))
    return shlex.join(words)


def in_lines(command: str, width: int = 96) -> str:
    """A long command over several lines, as a shell takes it."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if len(lines[-1]) + len(word) >= width:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def _question(results: Results) -> tuple[str, ...]:
    study, config = results.study, results.study.config
    sites = study.context.sites
    methods = "; ".join(METHODS[name].summary for name in config.methods)
    limits = [limit.flag for limit in limits_of(config.options)]
    plans = study.context.plans
    shown = f"{plans:,}" if plans < 10**12 else f"{plans:.1e}"
    said = [
        f"Which of the {len(sites)} convolutions of {config.backbone} can share their weights, "
        f"and how, on {config.dataset}?",
        f"There are {shown} possible plans. The search measured {len(results.finished)} of them, "
        f"proposed by {config.sampler}, for {' and '.join(config.objectives)}. Sites may "
        f"share by: {methods}.",
    ]
    return (*said, *((f"Limits: {', '.join(limits)}.",) if limits else ()))


def _answer(results: Results, trial: TrialRecord) -> str:
    """The chosen plan in one sentence, beside the unshared network if that was measured."""
    unshared = results.study.context.unshared
    said = f"Trial {trial.number}"
    shared = trial.value("parameters")
    if shared is not None:
        said += f" has {shared:,.0f} of {unshared:,} parameters ({shared / unshared:.0%})"
    said += f" and an accuracy of {with_error(trial, 'accuracy')} on the validation images"
    if trial.samples("accuracy", "test"):
        said += f", {with_error(trial, 'accuracy', 'test')} on the test images"
    if worth := sharing_in_words(results, trial):
        said += f"; {worth}"
    whole = next((one for one in results.finished if one.origin == "unshared"), None)
    if whole is None or whole == trial:
        return f"{said}."
    return f"{said}; the unshared network {with_error(whole, 'accuracy')} on validation."


def _cells(results: Results, trial: TrialRecord, tested: bool) -> tuple[str, ...]:
    parameters = trial.value("parameters")
    share = parameters / results.study.context.unshared if parameters is not None else None
    return (
        f"{trial.number}",
        *(with_error(trial, axis.name) for axis in results.front.axes),
        *((with_error(trial, "accuracy", "test"),) if tested else ()),
        "-" if share is None else f"{share:.0%}",
    )


def _commands(study: StudyRecord, trial: TrialRecord) -> tuple[str, ...]:
    name = shlex.quote(study.name)
    return (
        launch_command(study),
        f"isoshare export {name} --trial {trial.number} -o plan.json",
        "isoshare reproduce plan.json",
        "isoshare train plan.json -o model.safetensors",
    )
