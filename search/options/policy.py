"""Options that say how the search spends its budget, and what it looks for."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from isoshare.search.options.definition import FROZEN, LARGEST, option


class PolicyConfig(BaseModel):
    """The search policy."""

    model_config = FROZEN
    GROUP: ClassVar = "Search policy"

    objectives: tuple[str, ...] = option(
        ("accuracy", "parameters"),
        "What is traded against what, two or more of: accuracy, parameters, macs, bytes, "
        "device_bytes, device_bytes_int8, activation_memory, latency, spikes; those that a "
        "function of your own measures as NAME:max or NAME:min.",
        metavar="A,B",
    )
    trials: int = option(
        40, "The number of distinct plans to measure.", metavar="N", ge=1, le=10**6
    )
    sampler: str = option(
        "ehvi",
        "Proposes plans: ehvi (expected hypervolume improvement; knows which layers share), local "
        "(steps from the front), random, or Optuna's nsga2, tpe or gp.",
        metavar="S",
    )
    solve_first: bool = option(
        False,
        "inherit: score the trained network first; the plans it foresees on the front are measured "
        "first, and its scores guide the sampler while few plans are measured.",
        shown="with trained weights",
    )
    repeats: float = option(
        0.0,
        "The share of the trials that measure plans of the front again, with new seeds.",
        metavar="X",
        ge=0,
        lt=1,
    )
    rungs: tuple[int, ...] = option(
        (),
        "Stop unpromising trainings after these numbers of epochs.",
        metavar="N,M",
        shown="none",
    )
    reduction_factor: int = option(
        3, "One in N trainings continues from a rung.", metavar="N", ge=2, le=1000
    )
    stop_at: float | None = option(
        help="Stop when at most this share of the hypervolume is likely still to be gained: 0.01.",
        metavar="X",
        gt=0,
        lt=1,
    )
    max_parameters: int | None = option(
        help="Never measure a network with more parameters.", metavar="N", ge=1, le=LARGEST
    )
    max_macs: int | None = option(
        help="Never measure one with more multiply-accumulates per image.",
        metavar="N",
        ge=1,
        le=LARGEST,
    )
    max_bytes: int | None = option(
        help="Never measure one with more bytes when saved.", metavar="N", ge=1, le=LARGEST
    )
    max_device_bytes: int | None = option(
        help="Never measure one with more bytes on a device.", metavar="N", ge=1
    )
    max_device_bytes_int8: int | None = option(
        help="Never measure one with more bytes there in int8.", metavar="N", ge=1
    )
    min_accuracy: float | None = option(
        help="Keep less accurate plans off the front.", metavar="X", gt=0, le=1
    )
    seed: int = option(0, "The same seed repeats the search.", metavar="N", ge=0, le=2**31)
