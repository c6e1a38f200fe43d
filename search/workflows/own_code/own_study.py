"""Make a study ready whose backbone and training are the caller's own: objects, not names."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from isoshare.evaluators import OWN
from isoshare.evaluators.data.data_cache import cache_folder
from isoshare.evaluators.network_source import Model, NetworkSource, Weights, warn_of_chance
from isoshare.evaluators.objectives import is_exact, objective_name, objective_row
from isoshare.evaluators.own_code.by_value import dumps, loads
from isoshare.evaluators.own_code.own_batches import check_taken
from isoshare.evaluators.own_code.own_training import Training
from isoshare.evaluators.training.conditions import device_conditions
from isoshare.evaluators.user_function import Evaluate, UserFunction
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.constraints import check_possible, exact_limits
from isoshare.search.defaults import unserved
from isoshare.search.drivers.versions import versions
from isoshare.search.samplers import sampler_row
from isoshare.search.workflows.preparation.prepared import Prepared, check_study, new_study
from isoshare.search.workflows.preparation.recorded_space import reference_of
from isoshare.search.workflows.preparation.varying import has_changed, whole_space, with_reference
from isoshare.space.errors import IsoshareError, short
from isoshare.space.files import atomic_write
from isoshare.space.inheritance import TrainedWeightsWarning, signs_of_training
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord, StudyContext

Objectives = Sequence[str] | Mapping[str, str]
NO_DATA = DatasetRecord(OWN, OWN)
"""What is recorded in place of a data set: only the function knows what it trains on."""


def make_own_study(
    source: NetworkSource, config: SearchConfig, store: Store, example: torch.Tensor | None
) -> StudyRecord:
    """Check a new study and store it. Raises IsoshareError.

    example: an input of the backbone, (1, ...), for objectives that count what it costs.
    """
    check_study(config.study, store)
    sampler_row(config.sampler)
    if example is not None and not isinstance(example, torch.Tensor):
        kind = type(example).__name__
        raise IsoshareError(f"example_input has to be a tensor, (1, ...), got a {kind}")
    if example is not None and not config.vary:
        check_taken(source.backbone(), example, "example_input")
    space = own_space(source, config, None if example is None else example[:1])
    if source.weights == "inherit":
        warn_of_chance(source, space.members)
    config = with_reference(config, space)
    check_possible(exact_limits(config.document()), space)
    study = new_study(config, store, space, NO_DATA)
    store.create_study(study)
    if example is not None:
        store.change_study(study.name, {}, {"seen": True})
    return study


def prepare_own(
    study: StudyRecord,
    source: NetworkSource,
    evaluate: Evaluate | None,
    changes: Mapping[str, Any],
    is_new: bool = False,
) -> Prepared:
    """A run of a study, which is stored already unless it is new.

    Raises IsoshareError if the backbone is not the one it had.

    evaluate: None where trials are asked for and told by hand.
    """
    if evaluate is not None and not callable(evaluate):
        raise IsoshareError(
            f"evaluate has to be a function of a network and a trial, got {short(evaluate)}"
        )
    config = make_config({**study.config.options, **changes, "study": study.name})
    space = own_space(source, config, None, study.context)
    if has_changed(space, study.context):
        raise IsoshareError(
            f"the model is not what study {study.name!r} was made with: its layers have changed; "
            "create a new study for it"
        )
    seen = study.context.more.get("seen") or isinstance(evaluate, Training)
    measure = UserFunction(
        evaluate or _by_hand,
        source,
        measured_names(study),
        own_folder("trials", study),
        sites=() if seen else tuple(site.name for site in space.sites),
    )
    conditions = {"evaluator": config.evaluator, **device_conditions(), **versions()}
    return Prepared(is_new, config, study, space, measure, conditions)


def measured_names(study: StudyRecord) -> tuple[str, ...]:
    """The objectives of a study that its function has to measure."""
    asked = study.config.objectives
    return tuple(objective_name(one) for one in asked if not is_exact(one))


def new_source(model: Model, weights: Weights | None, varied: bool = False) -> NetworkSource:
    """Where the networks of a new study come from. weights: None is fresh, with a
    TrainedWeightsWarning where that loses what a trained model has learned. varied: whether the
    arguments of the model are.
    """
    source = NetworkSource.of(model, weights or "fresh")
    if varied:
        _check_variable(source)
    elif weights is None:
        made = source.model if isinstance(source.model, torch.nn.Module) else source.backbone()
        if signs := signs_of_training(made):
            warnings.warn(
                f"{source.name} is trained ({signs}), and trials start without what it has "
                "learned: to keep that create the study with weights='inherit', to start afresh "
                "with weights='fresh'",
                TrainedWeightsWarning,
                stacklevel=3,
            )
    return source


def able_sampler(sampler: str, objectives: tuple[str, ...]) -> str:
    """The sampler, or the one that takes its place, with a warning."""
    if sampler != "ehvi" or not (why := unserved(objectives)):
        return sampler
    warnings.warn(f"{why}: tpe takes its place", stacklevel=3)
    return "tpe"


def with_directions(objectives: Objectives) -> tuple[str, ...]:
    """Objectives as the options of a search have them: ``miou:maximize``. Raises IsoshareError."""
    if isinstance(objectives, str):
        raise IsoshareError(
            f"objectives are several, as ('accuracy', 'parameters'), got {objectives!r}"
        )
    if not isinstance(objectives, Iterable):
        raise IsoshareError(
            f"objectives are names, as ('accuracy', 'parameters'), got {objectives}"
        )
    pairs = objectives.items() if isinstance(objectives, Mapping) else ()
    asked = tuple(f"{name}:{way}" for name, way in pairs) or tuple(objectives)
    check_measured(asked)
    return asked


def _check_variable(source: NetworkSource) -> None:
    """Raise IsoshareError unless networks can be made of any arguments."""
    if isinstance(source.model, torch.nn.Module):
        raise IsoshareError(
            "vary chooses arguments, and a module has none: give create_study the function that "
            "makes it, or its name"
        )


def check_measured(objectives: Sequence[str]) -> None:
    """Raise IsoshareError if there would be nothing for a function to measure."""
    if all(map(is_exact, objectives)):
        raise IsoshareError(
            f"objectives {', '.join(objectives)} are all known without a training: add what "
            "evaluate measures, as in {'miou': 'maximize', 'parameters': 'minimize'}"
        )


def remember_source(store: Store, study: StudyRecord, source: NetworkSource) -> None:
    """Keep the backbone in the user's cache, so that ``load_study`` finds it on this machine.

    One that cannot be kept has to be given to ``load_study`` again.
    """
    store.change_study(study.name, {}, {"weights": source.weights})
    if store.is_in_memory:
        return
    path = own_folder("backbones", study)
    model = type(source.model) if isinstance(source.model, torch.nn.Module) else source.model
    with suppress(IsoshareError, OSError):
        data = dumps(source, "the model", model)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as half:
                half.write_bytes(data)


def recalled_source(study: StudyRecord, model: Model | None) -> NetworkSource:
    """The backbone of a stored study: the one that is given, or the one that was kept here.

    Raises IsoshareError if there is neither.
    """
    weights = study.context.more.get("weights", "fresh")
    if model is not None:
        return NetworkSource.of(model, weights, reference_of(study))
    path = own_folder("backbones", study)
    try:
        source = loads(path.read_bytes()) if path is not None else None
    except Exception:  # whatever code it needs that is not here
        source = None
    if isinstance(source, NetworkSource):
        return source
    raise IsoshareError(
        f"the model of study {study.name!r} is not kept on this machine: give it again, "
        f"load_study({study.name!r}, model=...)"
    )


def own_folder(kind: str, study: StudyRecord) -> Path | None:
    """A place in the user's cache that belongs to one study of one database alone."""
    key = hashlib.sha256(f"{study.name} {study.created.timestamp()}".encode()).hexdigest()[:16]
    with suppress(OSError):
        return cache_folder() / kind / key
    return None


def own_space(
    source: NetworkSource,
    config: SearchConfig,
    example: torch.Tensor | None,
    recorded: StudyContext | None = None,
) -> Space:
    """The space of all plans, with a warning about variants that are left out of it.

    example: one input, (1, ...); recorded: known costs.
    """
    limits = (limit.objective for limit in exact_limits(config.document()))
    asked = [*config.objectives, *limits]
    needy = [name for name in asked if objective_row(name).of_an_image]
    if needy and example is None and recorded is None:
        raise IsoshareError(
            f"{' and '.join(needy)} depend on the input: give one, create_study(..., "
            "example_input=torch.zeros(1, 3, 32, 32))"
        )
    space, left_out = whole_space(
        config.space, lambda variant: source.backbone(0, variant), example, asked, recorded
    )
    for sentence in left_out:
        warnings.warn(sentence, stacklevel=4)
    return space


def _by_hand(*_: Any) -> float:
    raise IsoshareError("this study is asked and told by hand: it has no function to call")
