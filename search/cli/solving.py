"""What solve does on a terminal: measure, show how far it is, write, say what is next."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from isoshare.search.cli.terminal import (
    DONE,
    open_console,
    print_json,
    program,
    spinner,
    warn,
    writing,
)


def solve_on_terminal(
    backbone: str, output: Path | None, sweep: Path | None, as_json: bool, given: dict[str, Any]
) -> int:
    """Solve for the budgets in ``given``; returns the exit code. Raises IsoshareError."""
    from isoshare.search.options.words import read_words
    from isoshare.space.errors import IsoshareError

    if output is None and sweep is None:
        raise IsoshareError("nothing would be written: give -o plan.json, --sweep F.csv, or both")
    options = read_words(given)

    with spinner("measuring what sharing costs"):
        from isoshare.search.solver.plan_solver import PlanSolver
        from isoshare.search.workflows.solve import prepare_solving, scores_for, solve_plan

        solving = prepare_solving(backbone, options, needs_budget=output is not None)
        solver = PlanSolver(solving.space, scores_for(solving))
    for warning in solving.warnings:
        warn(warning)
    done: dict[str, Any] = {}
    if output is not None:
        done = writing(output, partial(solve_plan, solving, solver))
    if sweep is not None:
        done |= {"sweep": str(sweep), "plans": _sweep(solving, solver, sweep)}
    if as_json:
        print_json(done)
    else:
        open_console().print(_sentences(done, given), highlight=False, soft_wrap=True)
    return DONE


def _sweep(solving: Any, solver: Any, path: Path) -> int:
    from isoshare.search.results.pictures.drawing import write_scores_png
    from isoshare.search.workflows.solve import write_sweep

    front = solver.front()
    writing(path, partial(write_sweep, front, solving.space))
    points = [(one.cost, one.score) for one in front]
    writing(path.with_suffix(".png"), partial(write_scores_png, points, solving.config.backbone))
    return len(front)


def _sentences(done: dict[str, Any], given: dict[str, Any]) -> str:
    from isoshare.search.results.describe import counted

    lines = []
    if "plan" in done:
        counts = done["parameters"]
        share = counts["shared"] / counts["unshared"]
        lines += [
            f"wrote {done['plan']}: {done['sites']} sites in {counted(done['banks'], 'bank')}, "
            f"{counts['shared']:,} parameters ({share:.0%} of {counts['unshared']:,}), "
            f"{done['bytes']:,} bytes, expected cost {done['score']:.3g}",
            f"fine-tune it: {program()} train {done['plan']} --weights "
            f"{given.get('weights', 'FILE')} --epochs 10 -o model.safetensors",
        ]
    if "sweep" in done:
        lines.append(f"wrote the predicted front, {done['plans']} plans, to {done['sweep']}")
    return "\n".join(lines)
