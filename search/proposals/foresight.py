"""What a trained network says of plans before any of them has been measured."""

from __future__ import annotations

from dataclasses import dataclass

from isoshare.evaluators.sensitivities.plan_scores import PlanScores
from isoshare.space.plan import SharingPlan

SOLVED = "solved"
"""The origin of a trial whose plan was predicted to be on the front."""


@dataclass(frozen=True)
class Foresight:
    """scores: what each plan is expected to cost. starts: plans that are measured first, since no
    other one is expected to be better for what it has.
    """

    scores: PlanScores
    starts: tuple[SharingPlan, ...]
