"""The pictures of docs/concepts.md: drawn by the product, from networks and a search.

    python benchmarks/pictures.py [--out docs/pictures]

The search is answered by a table, so that it takes seconds and always finds the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare import count_parameters, find_sites
from isoshare.search.config import make_config
from isoshare.search.drivers.simulated import run_simulated
from isoshare.search.pareto import knee, values_of
from isoshare.search.results.pictures.drawing import BLUE, GREY, INK
from isoshare.search.results.pictures.figures import axis_title, front_figure
from isoshare.search.results.pictures.plan_picture import plan_picture
from isoshare.search.results.pictures.plan_svg import draw_svg
from isoshare.search.results.study_results import Results, load_results
from isoshare.search.workflows.launch import prepare, start
from isoshare.space.backbones import build_backbone
from isoshare.space.patterns import kernels
from isoshare.space.sites import searched_sites
from isoshare.storage.store import Store

SEARCH = {"driver": "simulate", "table": "sharebench-digits", "trials": 100, "workers": 1}


def groups_svg() -> str:
    """The isomorphic groups of a ResNet-20, one bank each."""
    network = build_backbone("resnet_cifar", {"depth": 20})
    sites = searched_sites(find_sites(network), count_parameters(network))
    return draw_svg(plan_picture(sites, kernels()(sites), count_parameters(network)))


def simulated_search() -> Results:
    """A search that a table answers."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/isoshare.db")
        prepared = prepare(make_config(SEARCH), store)
        run_simulated(start(prepared, store), prepared.evaluator, workers=1)
        results = load_results(store, prepared.study.name)
        results.finished  # noqa: B018  read while the database is there
        store.close()
    return results


def plan_svg(results: Results) -> str:
    """The knee of a search."""
    study, chosen = results.study, knee(results.front)
    return draw_svg(plan_picture(study.context.sites, chosen.plan, study.context.unshared))


def write_hypervolume(results: Results, path: Path) -> None:
    """The front of a search, and what it dominates."""
    figure, front = front_figure(results), results.front
    drawing = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = drawing.add_subplot()
    xs, ys = zip(*figure.staircase, strict=True)
    most, floor = front.reference_point["parameters"], front.reference_point["accuracy"]
    axes.fill_between([*xs, most], [*ys, ys[-1]], floor, color=BLUE, alpha=0.12, linewidth=0)
    axes.plot([*xs, most], [*ys, ys[-1]], color=BLUE, linewidth=1.2)
    for trials, marker, color, size, name in (
        (results.finished, "o", GREY, 3, "dominated"),
        (front.members, "o", BLUE, 5, "Pareto front"),
        ((knee(front),), "D", BLUE, 9, "knee"),
    ):
        points = np.array([values_of(front.axes, trial) for trial in trials])
        axes.plot(points[:, 1], points[:, 0], marker, color=color, markersize=size, label=name)
    axes.plot(most, floor, "x", color=INK, markersize=9, clip_on=False, label="reference point")
    y_axis, x_axis = front.axes
    axes.set(xlabel=axis_title(x_axis), ylabel=axis_title(y_axis), ylim=(floor, 1))
    axes.set_title(f"hypervolume {front.hypervolume:,.0f}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.legend(loc="outside lower center", ncols=4, frameon=False)
    drawing.savefig(path, format="png")


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    results = simulated_search()
    (folder / "groups.svg").write_text(groups_svg())
    (folder / "plan.svg").write_text(plan_svg(results))
    write_hypervolume(results, folder / "hypervolume.png")


if __name__ == "__main__":
    main()
