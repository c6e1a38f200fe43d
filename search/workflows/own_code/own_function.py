"""Make a search ready whose plans a function of the user's own measures, named on the command line.

It is ``package.module:function``, and imported only because the user named it there.
"""

from __future__ import annotations

from functools import partial

from isoshare.evaluators import OWN
from isoshare.evaluators.network_source import NetworkSource
from isoshare.evaluators.user_function import Evaluate
from isoshare.search.config import SearchConfig
from isoshare.search.constraints import check_possible, exact_limits
from isoshare.search.workflows.own_code.own_study import (
    NO_DATA,
    check_measured,
    own_space,
    prepare_own,
)
from isoshare.search.workflows.prepared import Prepared, new_study
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import IsoshareError
from isoshare.space.imports import import_named
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store


def prepare_function(config: SearchConfig, store: Store) -> Prepared:
    """A new search. Raises IsoshareError."""
    evaluate = _function(config.evaluator)
    check_measured(config.objectives)
    source = _source(config)
    space = own_space(source, config, ())
    check_possible(exact_limits(config.document()), space)
    study = new_study(config, store, space, NO_DATA)
    return prepare_own(study, source, evaluate, {}, is_new=True)


def prepare_function_resume(
    study: StudyRecord, config: SearchConfig, named: str | None
) -> Prepared:
    """The rest of one. named: what the user has named. Raises IsoshareError."""
    asked = study.config.evaluator
    if asked == OWN:
        raise IsoshareError(
            f"study {study.name!r} was made in Python, with a function that is not named: go on "
            f"with isoshare.load_study({study.name!r}, ...).optimize(...)"
        )
    if named != asked:
        raise IsoshareError(
            f"study {study.name!r} names evaluator {asked!r}, which is code that would be imported "
            f"and run: if you trust it, name it too, with --evaluator {asked}"
        )
    changes = {"trials": config.trials, "workers": config.workers}
    return prepare_own(study, _source(config), _function(asked), changes)


def _source(config: SearchConfig) -> NetworkSource:
    return NetworkSource(partial(build_backbone, config.backbone, config.backbone_arg))


def _function(name: str) -> Evaluate:
    """The function of this name. Raises IsoshareError."""
    module, _, attribute = name.partition(":")
    found = import_named(module, attribute, f"evaluator {name!r}")
    if not callable(found):
        kind = type(found).__name__
        raise IsoshareError(f"evaluator {name!r} is a {kind}, not a function")
    return found  # type: ignore[no-any-return]
