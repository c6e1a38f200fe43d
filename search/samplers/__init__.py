"""SAMPLERS: who proposes the next plan. One more sampler is one row here.

A sampler looks at what has been measured and chooses a plan (search/proposals/sampler.py). Whatever
it draws at random comes from seeds of study and trial number, and whatever it has to know is in the
trials: a resumed search continues as if it had never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from isoshare.search.proposals.sampler import MakeSampler, Sampler
from isoshare.search.samplers.expected_improvement import ImprovementSampler
from isoshare.search.samplers.local_search import LocalSampler
from isoshare.search.samplers.optuna_sampler import OptunaSampler
from isoshare.space.errors import IsoshareError, one_of


@dataclass(frozen=True)
class SamplerRow:
    """One row of SAMPLERS. make: called with the history of the search."""

    summary: str
    make: MakeSampler


SAMPLERS: dict[str, SamplerRow] = {
    "ehvi": SamplerRow("expected hypervolume improvement over plans", ImprovementSampler),
    "local": SamplerRow("a step away from a plan of the front", LocalSampler),
    "random": SamplerRow("random plans", Sampler),
    "nsga2": SamplerRow("Optuna's NSGA-II", partial(OptunaSampler, "nsga2")),
    "tpe": SamplerRow("Optuna's tree of Parzen estimators", partial(OptunaSampler, "tpe")),
    "gp": SamplerRow("Optuna's Gaussian process", partial(OptunaSampler, "gp")),
}


def sampler_row(name: str) -> SamplerRow:
    """The row of this name. Raises IsoshareError."""
    if name not in SAMPLERS:
        raise IsoshareError(one_of("sampler", name, SAMPLERS))
    return SAMPLERS[name]
