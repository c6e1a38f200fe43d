"""Make a search ready to run: check the request, build what it needs, store the study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.data.datasets import Dataset, load_dataset, moved_to
from isoshare.evaluators.evaluator import Evaluator
from isoshare.evaluators.objectives import OBJECTIVES
from isoshare.evaluators.probes import PROBES, Probed, probe
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.constraints import check_possible, exact_limits
from isoshare.search.engine import Engine
from isoshare.search.samplers import sampler_row
from isoshare.search.workflows.evaluator import conditions_of, evaluator_of
from isoshare.search.workflows.prepared import Prepared, check_study, new_study, study_context
from isoshare.search.workflows.tabular import prepare_tabular, prepare_tabular_resume
from isoshare.space.apply import count_parameters
from isoshare.space.backbones import Argument, build_backbone, check_named, default_arguments
from isoshare.space.costs import NetworkCosts
from isoshare.space.errors import BackboneError, IsoshareError
from isoshare.space.forward_pass import network_costs
from isoshare.space.methods import METHODS
from isoshare.space.published import references
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites
from isoshare.storage.records import StudyRecord, sites_of
from isoshare.storage.store import Store


def prepare(config: SearchConfig, store: Store) -> Prepared:
    """Check everything that can be wrong with a new search. Raises IsoshareError."""
    sampler_row(config.sampler)
    if config.table is not None:
        return prepare_tabular(config, store)
    check_study(config, store)
    dataset = load_dataset(config.dataset, config.validation, config.data_options)
    config = with_arguments(config, dataset)
    space = _space(config, dataset)
    check_possible(exact_limits(config.document()), space)
    data = {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "image": list(dataset.train.images.shape[1:]),
    }
    study = new_study(config, store, study_context(config, space, data))
    return _prepared(True, config, study, space, dataset)


def prepare_resume(name: str, store: Store, changes: dict[str, Any]) -> Prepared:
    """Check everything that can be wrong with going on. Raises IsoshareError.

    changes: options of this run: trials (at least as many as there are), workers, data_folder,
        ray_address, out.
    """
    study = store.study(name)
    check_named(study.config["backbone"], changes.get("backbone"), f"study {name!r}")
    if "data_folder" in changes:
        changes = {**changes, **moved_to(study.config["dataset"], changes["data_folder"])}
    config = make_config({**study.config, **changes, "study": name})
    there = len(store.trials(name))
    if config.trials < there:
        raise IsoshareError(
            f"study {name!r} has {there} trials already: --trials must be at least {there}, "
            f"got {config.trials}"
        )
    sampler_row(config.sampler)
    if config.table is not None:
        return prepare_tabular_resume(config, study)
    dataset = load_dataset(config.dataset, config.validation, config.data_options)
    known = study.context["dataset"]["fingerprint"]
    if dataset.fingerprint != known:
        raise IsoshareError(
            f"data set {config.dataset!r} is not what study {name!r} was started on: its "
            f"fingerprint is {dataset.fingerprint}, not {known}; launch a new study for it"
        )
    space = _space(config, dataset, study.context.get("costs"))
    if (sites_of(study), study.context["unshared"]) != (space.sites, space.unshared):
        raise IsoshareError(
            f"backbone {config.backbone!r} is not what study {name!r} was started with: its "
            "convolutions have changed; launch a new study for it"
        )
    return _prepared(False, config, study, space, dataset)


def start(prepared: Prepared, store: Store) -> Engine:
    """Store the study, or its new budget, and return the engine that a driver can run.

    Takes the lease of the study, for ``heartbeat`` to keep. Raises StoreError if it is taken.
    """
    study, config = prepared.study, prepared.config
    if prepared.is_new:
        store.create_study(study)
    store.take_lease(study.name)
    if not prepared.is_new:
        store.set_budget(study.name, config.trials)
    sampler = sampler_row(config.sampler).make
    return Engine(store, study, config, prepared.space, sampler, prepared.conditions)


def with_arguments(config: SearchConfig, dataset: Dataset) -> SearchConfig:
    """The backbone's arguments, with classes and channels of the data where it takes them."""
    known: dict[str, Argument] = {
        "classes": dataset.classes,
        "num_classes": dataset.classes,
        "in_channels": dataset.in_channels,
        "image_size": dataset.train.images.shape[-1],
    }
    fitting = default_arguments(config.backbone, known)
    return config.model_copy(update={"backbone_arg": {**fitting, **config.backbone_arg}})


def _space(
    config: SearchConfig, dataset: Dataset, known: dict[str, Any] | None = None
) -> SearchSpace:
    """known: the costs that the study has recorded, which stay what they were."""
    backbone = build_backbone(config.backbone, config.backbone_arg)
    check_output(backbone, dataset, config.backbone)
    sites = find_sites(backbone)
    published = references(config.backbone, sites)
    costs = NetworkCosts.of(known) if known else _costs(config, backbone, dataset)
    space = SearchSpace(sites, count_parameters(backbone), config.methods, published, costs)
    if space.count() == 1:
        raise BackboneError(
            f"backbone {config.backbone!r} has no convolutions that method "
            f"{' or '.join(config.methods)} could share: try --methods {','.join(METHODS)}"
        )
    return space


def _costs(
    config: SearchConfig, backbone: torch.nn.Module, dataset: Dataset
) -> NetworkCosts | None:
    """What one image costs the backbone, if the search asks for anything of that kind."""
    limits = exact_limits(config.document())
    asked = [*config.objectives, *(limit.objective for limit in limits)]
    needy = [name for name in asked if OBJECTIVES[name].of_an_image]
    if not needy:
        return None
    image = torch.zeros(1, *dataset.train.images.shape[1:])
    try:
        costs = network_costs(backbone, find_sites(backbone), image)
        return replace(costs, measured=probe(needy, backbone, image))
    except Exception as error:  # whatever the user's network raises
        raise BackboneError(
            f"backbone {config.backbone!r} cannot be followed with a single image, as "
            f"{' and '.join(needy)} need: {type(error).__name__}: {error}"
        ) from error


def check_output(backbone: torch.nn.Module, dataset: Dataset, name: str) -> None:
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
    made = evaluator_of(config, dataset, checkpoint_folder(study.name))
    evaluator = _probed(made, config, dataset)
    conditions = conditions_of(config, dataset)
    warm_up = getattr(made, "prepare", None)
    return Prepared(is_new, config, study, space, evaluator, warm_up, conditions, dataset.warnings)


def _probed(measure: Evaluator, config: SearchConfig, dataset: Dataset) -> Evaluator:
    """``measure``, with the probes that are objectives of the search."""
    names = tuple(name for name in config.objectives if name in PROBES)
    shape = dataset.train.images.shape[1:]
    return Probed(measure, names, config.backbone, config.backbone_arg, shape) if names else measure
