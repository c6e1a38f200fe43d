"""Every option of a search, defined once: its type, bounds, default, help and heading.

One more option is one field of one part. The command line, the form, the REST description and TOML
files follow.
"""

from __future__ import annotations

from isoshare.search.options.data import DataConfig
from isoshare.search.options.definition import Option, read_options
from isoshare.search.options.evaluation import EvaluationConfig
from isoshare.search.options.policy import PolicyConfig
from isoshare.search.options.resuming import ResumeConfig
from isoshare.search.options.running import RunConfig
from isoshare.search.options.space import SpaceConfig
from isoshare.search.options.training import TrainingConfig

__all__ = ["OPTIONS", "PARTS", "RESUME_OPTIONS", "Option"]

PARTS = (SpaceConfig, DataConfig, TrainingConfig, EvaluationConfig, PolicyConfig, RunConfig)
"""What ``search/config.py`` is put together from, in the order in which people read it."""

OPTIONS: dict[str, Option] = {
    name: found for part in PARTS for name, found in read_options(part).items()
}
"""Those of a new search."""
RESUME_OPTIONS = read_options(ResumeConfig)
"""Those of a search that goes on, where they mean something else."""
