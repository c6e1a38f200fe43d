"""Hypervolume that a plan may add, where one of two objectives is known exactly.

The cost of a plan (its parameters, say) is known before it is trained, so only the accuracy is
uncertain, and the expected hypervolume improvement (Emmerich et al. 2006, IEEE TEVC 10(4)) has a
closed form: the sum, over the stretches of cost to the right of the plan between two corners of the
staircase of the front, of their lengths times the expected improvement over the height there.
Costs are compared by their logarithms: halving a network counts the same wherever it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class ParetoFront2D:
    """The border of what is dominated: from ``edges[k]`` to ``edges[k + 1]`` the height is
    ``heights[k]``. Costs are logarithms; the last edge is the reference, left of the first edge
    the height is that of the reference.
    """

    edges: Numbers
    heights: Numbers
    floor: float

    @classmethod
    def of(cls, costs: Numbers, values: Numbers, reference: tuple[float, float]) -> ParetoFront2D:
        """reference: the largest cost and the least value that count."""
        most, floor = reference
        inside = costs < most
        order = np.argsort(costs[inside], kind="stable")
        heights = np.maximum.accumulate(np.maximum(values[inside][order], floor))
        corners = np.diff(heights, prepend=floor) > 0  # where nothing rises there is no edge
        return cls(np.append(costs[inside][order][corners], most), heights[corners], floor)

    @property
    def hypervolume(self) -> float:
        """The area under the staircase, above the floor."""
        return float(np.diff(self.edges) @ (self.heights - self.floor))

    def expected_improvement(self, costs: Numbers, mean: Numbers, std: Numbers) -> Numbers:
        """How much hypervolume plans of these costs are expected to add, one by one."""
        edges = np.concatenate([[-np.inf], self.edges])
        heights = np.concatenate([[self.floor], self.heights])
        # Of each stretch only what lies right of the plan.
        lengths = np.clip(edges[1:] - np.maximum(edges[:-1], costs[:, None]), 0, None)
        gains: Numbers = np.sum(lengths * improvement_over(heights, mean, std), axis=1)
        return gains


def improvement_over(heights: Numbers, mean: Numbers, std: Numbers) -> Numbers:
    """How far normal values are expected to rise above heights, (plans, heights)."""
    sigma = np.maximum(std, 1e-12)[:, None]
    above = mean[:, None] - heights
    z = above / sigma
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    rise: Numbers = above * ndtr(z) + sigma * density
    return rise


def hypervolumes(costs: Numbers, values: Numbers, reference: tuple[float, float]) -> Numbers:
    """The hypervolumes of many sets of values for plans of the same costs, (sets,).

    costs: logarithms, (plans,); values: (sets, plans).
    """
    most, floor = reference
    inside = costs < most
    order = np.argsort(costs[inside], kind="stable")
    heights = np.maximum.accumulate(np.maximum(values[:, inside][:, order], floor), axis=1)
    widths = np.diff(np.append(costs[inside][order], most))
    volumes: Numbers = (heights - floor) @ widths
    return volumes
