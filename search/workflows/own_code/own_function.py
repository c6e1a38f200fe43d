"""Make a search ready whose plans a function of the user's own measures, named on the command line.

It is ``package.module:function``, and imported only because the user named it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from isoshare.evaluators import OWN, code_options
from isoshare.evaluators.network_source import NetworkSource
from isoshare.search.config import SearchConfig
from isoshare.search.constraints import check_possible, exact_limits
from isoshare.search.workflows.own_code.own_study import (
    NO_DATA,
    check_measured,
    own_space,
    prepare_own,
)
from isoshare.search.workflows.preparation.prepared import Prepared, new_study
from isoshare.search.workflows.preparation.varying import with_reference
from isoshare.space.backbones import build_backbone
from isoshare.space.errors import IsoshareError
from isoshare.space.imports import import_named
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store


def prepare_function(config: SearchConfig, store: Store) -> Prepared:
    """A new search. Raises IsoshareError."""
    evaluate = named_function("evaluator", config.evaluator)
    check_measured(config.objectives)
    space = own_space(_source(config), config, None)
    config = with_reference(config, space)
    source = _source(config)
    check_possible(exact_limits(config.document()), space)
    study = new_study(config, store, space, NO_DATA)
    return prepare_own(study, source, evaluate, {}, is_new=True)


def prepare_function_resume(study: StudyRecord, config: SearchConfig) -> Prepared:
    """The rest of one, whose code the user has named. Raises IsoshareError."""
    changes = {"trials": config.trials, "workers": config.workers}
    evaluate = named_function("evaluator", config.evaluator)
    return prepare_own(study, _source(config), evaluate, changes)


def check_code_named(study: StudyRecord, given: Mapping[str, Any]) -> None:
    """Refuse code of the user's own that only the database names. Raises IsoshareError.

    given: what they have named, by option.
    """
    if study.config.evaluator == OWN:
        raise IsoshareError(
            f"study {study.name!r} was made in Python, with a function that is not named: go on "
            f"with isoshare.load_study({study.name!r}, ...).optimize(...)"
        )
    for option, asked in code_options(study.config.options).items():
        if given.get(option) != asked:
            raise IsoshareError(
                f"study {study.name!r} names {option} {asked!r}, which is code that would be "
                f"imported and run: if you trust it, name it too, with --{option} {asked}"
            )


def _source(config: SearchConfig) -> NetworkSource:
    return NetworkSource(partial(build_backbone, config.backbone, config.backbone_arg))


def named_function(kind: str, name: str) -> Any:
    """The function of this name. Raises IsoshareError. kind: what it is, for messages."""
    module, _, attribute = name.partition(":")
    found = import_named(module, attribute, f"{kind} {name!r}")
    if not callable(found):
        raise IsoshareError(f"{kind} {name!r} is a {type(found).__name__}, not a function")
    return found
