"""What a search leaves behind when it ends: files, and what a user would type next."""

from __future__ import annotations

from pathlib import Path

from search.results.export import plan_file
from search.results.figures import front_figure, write_html
from search.results.pareto import Results, knee


def write_results(results: Results, folder: Path) -> None:
    """Write ``front.html`` and the ``plan.json`` of the knee into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_html(front_figure(results), folder / "front.html")
    plan_file(results.study, knee(results.front)).save(folder / "plan.json")


def next_commands(results: Results, folder: Path) -> list[str]:
    """Look at the plan, take a smaller one, search on."""
    study = results.study
    limit = 1.5 * min(trial.exact.get("parameters", 0) for trial in results.front.members)
    more = min(2 * len(results.trials), int(study.context["plans"]))
    return [
        f"inspect {folder / 'plan.json'}",
        f"export {study.name} --max-parameters {int(limit)} -o small.json",
        f"resume {study.name} --trials {more}",
    ]
