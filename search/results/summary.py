"""What a search leaves behind when it ends: files, and what a user would type next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoshare.evaluators import code_options
from isoshare.search.pareto import knee
from isoshare.search.results.choose import plan_file
from isoshare.search.results.pictures.figures import front_figure
from isoshare.search.results.pictures.front_page import write_html
from isoshare.search.results.study_results import Results, excluded_in_words
from isoshare.space.backbones import is_own


def write_results(results: Results, folder: Path) -> None:
    """Write ``front.html`` and the ``plan.json`` of the knee into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_html(front_figure(results), folder / "front.html")
    plan_file(results.study, knee(results.front)).save(folder / "plan.json")


def why_empty(results: Results) -> str:
    """Why a search that has ended has no front."""
    if results.front.excluded:
        return f"{excluded_in_words(results)}: lower the limit, or train longer with --epochs"
    if not any(trial.state == "failed" for trial in results.trials):
        return "no training has come to its end: give more time, or train shorter with --epochs"
    reason = next(trial.error for trial in results.trials if trial.state == "failed")
    return f"all {len(results.trials)} trials failed; the first one: {reason}"


def next_commands(results: Results, folder: Path) -> list[str]:
    """Look at the plan, take a smaller one, search on."""
    study = results.study
    own = trust(study.config.backbone)
    both = trust(study.config.backbone, study.config.options)
    limit = 1.5 * min(trial.exact.get("parameters", 0) for trial in results.front.members)
    more = min(2 * len(results.outcomes), study.context.plans)
    return [
        f"inspect {folder / 'plan.json'}{own}",
        f"export {study.name} --max-parameters {int(limit)} -o small.json",
        f"resume {study.name} --trials {more}{both}",
    ]


def trust(backbone: str, options: Mapping[str, Any] | None = None) -> str:
    """What a command needs more, that imports a backbone or other code of the user's own."""
    said = f" --backbone {backbone}" if backbone and is_own(backbone) else ""
    named = code_options(options or {}).items()
    return said + "".join(f" --{name} {value}" for name, value in named)
