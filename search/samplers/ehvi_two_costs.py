"""Hypervolume that a plan may add, where two of three objectives are known exactly.

As in search/samplers/ehvi.py, only the value is uncertain. What is dominated is a staircase over
the plane of the two costs: over each cell of the grid that the costs of the front draw, its height
is that of the best plan which costs no more in either way. The expected improvement is the sum,
over the cells to the right of and above a plan, of their areas times the expected improvement over
the height there (Yang et al. 2019, Swarm and Evolutionary Computation 44, for more uncertain
objectives). Costs are logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoshare.search.pareto import hypervolume, nondominated
from isoshare.search.samplers.ehvi import Numbers, improvement_over

CHUNK = 256
"""Plans whose cells are looked at together: so many times the cells in memory."""


@dataclass(frozen=True)
class ParetoFront3D:
    """The surface of what is dominated: from ``first[i]`` to ``first[i + 1]`` of the first cost and
    ``second[j]`` to ``second[j + 1]`` of the second the height is ``heights[i, j]``.

    The first edges are minus infinity, the last ones the references.
    """

    first: Numbers
    second: Numbers
    heights: Numbers
    floor: float

    @classmethod
    def of(
        cls, costs: Numbers, values: Numbers, reference: tuple[float, float, float]
    ) -> ParetoFront3D:
        """costs: (plans, 2); reference: the largest costs and the least value that count."""
        *most, floor = reference
        inside = (costs < most).all(axis=1) & (values > floor)
        costs, values = costs[inside], values[inside]
        on_it = nondominated(np.column_stack([costs, -values]))  # the others draw no edge of it
        costs, values = costs[on_it], values[on_it]
        edges = [
            np.concatenate([[-np.inf], np.unique(of_axis), [limit]])
            for of_axis, limit in zip(costs.T, most, strict=True)
        ]
        heights = np.full((len(edges[0]) - 1, len(edges[1]) - 1), floor)
        places = [
            np.searchsorted(edge, of_axis) for edge, of_axis in zip(edges, costs.T, strict=True)
        ]
        np.maximum.at(heights, (places[0], places[1]), values)
        heights = np.maximum.accumulate(np.maximum.accumulate(heights, axis=0), axis=1)
        return cls(edges[0], edges[1], heights, floor)

    @property
    def hypervolume(self) -> float:
        """The volume under the surface, above the floor."""
        lengths = np.diff(self.first[1:]), np.diff(self.second[1:])
        return float(lengths[0] @ (self.heights[1:, 1:] - self.floor) @ lengths[1])

    def expected_improvement(self, costs: Numbers, mean: Numbers, std: Numbers) -> Numbers:
        """How much hypervolume plans of these costs, (plans, 2), are expected to add."""
        levels, places = np.unique(self.heights, return_inverse=True)
        places = places.reshape(self.heights.shape)
        gains = np.empty(len(mean))
        for start in range(0, len(mean), CHUNK):
            some = slice(start, start + CHUNK)
            over = improvement_over(levels, mean[some], std[some])[:, places]
            wide = _beyond(self.first, costs[some, 0])
            high = _beyond(self.second, costs[some, 1])
            gains[some] = np.einsum("pi,pij,pj->p", wide, over, high)
        return gains


def hypervolumes_of_two_costs(
    costs: Numbers, values: Numbers, reference: tuple[float, float, float]
) -> Numbers:
    """The hypervolumes of many sets of values for plans of the same costs, (sets,).

    costs: (plans, 2); values: (sets, plans).
    """
    *most, floor = reference
    return np.array(
        [hypervolume(np.column_stack([costs, -one]), [*most, -floor]) for one in values]
    )


def _beyond(edges: Numbers, costs: Numbers) -> Numbers:
    """Of each stretch between edges the length that lies beyond each cost, (costs, stretches)."""
    return np.clip(edges[1:] - np.maximum(edges[:-1], costs[:, None]), 0, None)
