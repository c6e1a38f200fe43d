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
    with_epochs,
    writing,
)


def solve_on_terminal(
    backbone: str, output: Path | None, sweep: Path | None, as_json: bool, given: dict[str, Any]
) -> int:
    """Solve for the budgets in ``given``; returns the exit code. Raises IsoshareError."""
    from isoshare.search.options.words import read_words
    from isoshare.space.errors import IsoshareError
    from isoshare.space.files import check_writable

    if output is None and sweep is None:
        raise IsoshareError("nothing would be written: give -o plan.json, --sweep F.csv, or both")
    for path in (output, sweep):
        if path is not None:
            check_writable(path)
    options = read_words(given)

    from isoshare.search.cli.progress import MEASURING, open_steps

    with spinner("preparing"):
        from isoshare.search.workflows.solve import prepare_solving, solve_plan, solver_for

        solving = prepare_solving(backbone, options, needs_budget=output is not None)
    for warning in solving.warnings:
        warn(warning)
    if solving.variants is not None:
        _train(solving.variants)
    with open_steps(open_console(stderr=True), MEASURING) as heard:
        solver = solver_for(solving, heard)
    done: dict[str, Any] = {}
    if output is not None:
        done = writing(output, partial(solve_plan, solving, solver))
    if sweep is not None:
        done |= {"sweep": str(sweep), "plans": _sweep(solving, solver, sweep)}
    if as_json:
        print_json(done)
    else:
        open_console().print(_sentences(done, given, backbone), highlight=False, soft_wrap=True)
    return DONE


def _train(variants: Any) -> None:
    """Say what is trained, and show a bar over the epochs."""
    from isoshare.search.results.describe import pretraining_in_words

    with spinner("training some steps"):
        ahead = variants.ahead()
    if ahead is not None:
        said = pretraining_in_words(ahead, "network")
        open_console(stderr=True).print(said, highlight=False, soft_wrap=True)
    with_epochs(variants.train, "a variant cannot be trained: {}")


def _sweep(solving: Any, solver: Any, path: Path) -> int:
    from isoshare.search.results.pictures.drawing import write_scores_png
    from isoshare.search.solver.sweep import write_sweep

    front = solver.front()
    writing(path, partial(write_sweep, front, solving.space))
    expected = [(one.cost, one.accuracy) for one in front if one.accuracy is not None]
    points = expected or [(one.cost, one.score) for one in front]
    what = "expected accuracy" if expected else "expected cost of sharing"
    draw = partial(write_scores_png, points, solving.config.backbone, what)
    writing(path.with_suffix(".png"), draw)
    return len(front)


def _of_variant(done: dict[str, Any]) -> list[str]:
    from isoshare.space.variants.arguments import label

    if "arguments" not in done:
        return []
    chosen = label(tuple(done["arguments"].items()))
    return [f"variant {chosen}, expected accuracy {done['expected_accuracy']:.3f} on validation"]


def _next(done: dict[str, Any], given: dict[str, Any], backbone: str) -> str:
    """What to type next: weights of the user may be those of another variant."""
    from isoshare.search.results.summary import trust

    train = f"{program()} train {done['plan']}{trust(backbone)}"
    if "arguments" in done:
        return f"train it: {train} -o model.safetensors"
    weights = given.get("weights", "FILE")
    return f"fine-tune it: {train} --weights {weights} --epochs 10 -o model.safetensors"


def _sentences(done: dict[str, Any], given: dict[str, Any], backbone: str) -> str:
    from isoshare.search.results.describe import counted

    lines = []
    if "plan" in done:
        counts = done["parameters"]
        share = counts["shared"] / counts["unshared"]
        lines += [
            f"wrote {done['plan']}: {done['sites']} sites in {counted(done['banks'], 'bank')}, "
            f"{counts['shared']:,} parameters ({share:.0%} of {counts['unshared']:,}), "
            f"{done['bytes']:,} bytes, expected cost {done['score']:.3g}",
            *_of_variant(done),
            _next(done, given, backbone),
        ]
    if "sweep" in done:
        lines.append(f"wrote the predicted front, {done['plans']} plans, to {done['sweep']}")
    return "\n".join(lines)
