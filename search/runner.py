"""Make a search ready to run: check the request, build what it needs, store the study."""

from __future__ import annotations

import platform
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from evaluators import EVALUATORS
from evaluators.datasets import Dataset, load_dataset
from evaluators.evaluate import Measure
from evaluators.objectives import OBJECTIVES
from evaluators.training import TrainingSettings, device
from search.config import SearchConfig, make_config
from search.engine import Engine
from search.results.words import sites_of
from search.samplers import check_sampler
from space.apply import count_parameters
from space.backbones import Argument, build_backbone, default_arguments
from space.errors import BackboneError, IsoshareError
from space.methods import METHODS
from space.published import references
from space.search_space import SearchSpace
from space.sites import find_sites
from storage.records import StudyRecord
from storage.store import Store

VERSIONS = ("torch", "torchvision", "ray", "optuna", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Prepared:
    """A checked search: nothing has been stored or started yet.

    is_new: its study is to be made. warnings: sentences for the user about the data.
    """

    is_new: bool
    config: SearchConfig
    study: StudyRecord
    space: SearchSpace
    measure: Measure
    conditions: dict[str, Any]
    warnings: tuple[str, ...] = ()


def prepare(config: SearchConfig, store: Store) -> Prepared:
    """Check everything that can be wrong with a new search. Raises IsoshareError."""
    check_sampler(config.sampler)
    if config.study is not None:
        store.check_free(config.study)
    dataset = load_dataset(config.dataset, config.validation, config.data_options)
    config = _with_arguments(config, dataset)
    space = _space(config, dataset)
    name = config.study or _free_name(store, config)
    data = {"name": dataset.name, "fingerprint": dataset.fingerprint}
    context = study_context(config, space, data)
    study = StudyRecord(name, datetime.now(UTC), config.document(), context)
    return _prepared(True, config, study, space, dataset)


def prepare_resume(name: str, store: Store, changes: dict[str, Any]) -> Prepared:
    """Check everything that can be wrong with going on. Raises IsoshareError.

    changes: options of this run: trials (at least as many as there are), workers, ray_address, out.
    """
    study = store.study(name)
    config = make_config({**study.config, **changes, "study": name})
    there = len(store.trials(name))
    if config.trials < there:
        raise IsoshareError(
            f"study {name!r} has {there} trials already: --trials must be at least {there}, "
            f"got {config.trials}"
        )
    check_sampler(config.sampler)
    dataset = load_dataset(config.dataset, config.validation, config.data_options)
    known = study.context["dataset"]["fingerprint"]
    if dataset.fingerprint != known:
        raise IsoshareError(
            f"data set {config.dataset!r} is not what study {name!r} was started on: its "
            f"fingerprint is {dataset.fingerprint}, not {known}; launch a new study for it"
        )
    space = _space(config, dataset)
    if (sites_of(study), study.context["unshared"]) != (space.sites, space.unshared):
        raise IsoshareError(
            f"backbone {config.backbone!r} is not what study {name!r} was started with: its "
            "convolutions have changed; launch a new study for it"
        )
    return _prepared(False, config, study, space, dataset)


def start(prepared: Prepared, store: Store) -> Engine:
    """Store the study, or its new budget, and return the engine that a driver can run."""
    study, config = prepared.study, prepared.config
    if prepared.is_new:
        store.create_study(study)
    else:
        store.set_budget(study.name, config.trials)
    return Engine(store, study, config, prepared.space, prepared.conditions)


def _with_arguments(config: SearchConfig, dataset: Dataset) -> SearchConfig:
    """The backbone's arguments, with classes and channels of the data where it takes them."""
    known: dict[str, Argument] = {
        "classes": dataset.classes,
        "num_classes": dataset.classes,
        "in_channels": dataset.in_channels,
        "image_size": dataset.train.images.shape[-1],
    }
    fitting = default_arguments(config.backbone, known)
    return config.model_copy(update={"backbone_arg": {**fitting, **config.backbone_arg}})


def _space(config: SearchConfig, dataset: Dataset) -> SearchSpace:
    backbone = build_backbone(config.backbone, config.backbone_arg)
    _check_output(backbone, dataset, config.backbone)
    sites = find_sites(backbone)
    published = references(config.backbone, sites)
    space = SearchSpace(sites, count_parameters(backbone), config.methods, published)
    if space.count() == 1:
        raise BackboneError(
            f"backbone {config.backbone!r} has no convolutions that method "
            f"{' or '.join(config.methods)} could share: try --methods {','.join(METHODS)}"
        )
    smallest = space.trainable_parameters(space.smallest_plan)
    if config.max_parameters is not None and config.max_parameters < smallest:
        raise IsoshareError(
            f"no plan has at most {config.max_parameters:,} parameters: the smallest has "
            f"{smallest:,}; raise --max-parameters or take a smaller backbone"
        )
    return space


def _check_output(backbone: torch.nn.Module, dataset: Dataset, name: str) -> None:
    """One small forward pass: a backbone that does not fit the data shall say so now."""
    images = torch.zeros(2, *dataset.train.images.shape[1:])
    try:
        with torch.no_grad():
            logits = backbone.eval()(images)
        shape = tuple(logits.shape)
    except Exception as error:  # whatever the user's network raises
        raise BackboneError(
            f"backbone {name!r} cannot take images of shape {tuple(images.shape[1:])} of data "
            f"set {dataset.name!r}: {error}"
        ) from error
    if shape != (2, dataset.classes):
        raise BackboneError(
            f"backbone {name!r} must return logits (batch, {dataset.classes}) for data set "
            f"{dataset.name!r}, it returned {shape}; set its classes with --backbone-arg"
        )


def _prepared(
    is_new: bool, config: SearchConfig, study: StudyRecord, space: SearchSpace, dataset: Dataset
) -> Prepared:
    settings = TrainingSettings(
        config.epochs, config.batch_size, config.learning_rate, config.optimizer
    )
    row = EVALUATORS[config.evaluator]
    options = {name: getattr(config, name) for name in row.options}
    evaluator = row.make(config.backbone, config.backbone_arg, dataset, settings, **options)
    conditions = {
        "evaluator": config.evaluator,
        **options,
        "device": str(device()),
        "dataset": dataset.fingerprint,
        **_versions(),
    }
    return Prepared(is_new, config, study, space, evaluator, conditions, dataset.warnings)


def _free_name(store: Store, config: SearchConfig) -> str:
    """A name that can be typed: digits-resnet_cifar-1, the number after the last one."""
    taken = {summary.name for summary in store.studies()}
    data = re.sub(r"[^\w.-]+", "-", Path(config.dataset).name)  # of a folder its last part
    stem = f"{data}-{config.backbone.rpartition(':')[2]}"
    numbers = range(1, len(taken) + 2)
    return next(name for name in (f"{stem}-{number}" for number in numbers) if name not in taken)


def study_context(
    config: SearchConfig, space: SearchSpace, dataset: dict[str, str]
) -> dict[str, Any]:
    """What readers of the study need without torch and without the backbone."""
    return {
        "backbone": {"name": config.backbone, "arguments": config.backbone_arg},
        "sites": [{**asdict(site), "kernel_size": list(site.kernel_size)} for site in space.sites],
        "unshared": space.unshared,
        "plans": str(space.count()),  # may be beyond what JSON readers hold in a number
        "objectives": {
            name: {
                "direction": OBJECTIVES[name].direction,
                "reference": OBJECTIVES[name].worst(space),
            }
            for name in config.objectives
        },
        "dataset": dataset,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}
