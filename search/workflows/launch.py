"""Prepare a search: check the request, build what it needs, store the study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from isoshare.evaluators import CODE, is_own_dataset, is_own_evaluator
from isoshare.evaluators.data.data_cache import checkpoint_folder
from isoshare.evaluators.data.datasets import Dataset, moved_to
from isoshare.evaluators.data.description import describe_dataset
from isoshare.search.config import SearchConfig, make_config
from isoshare.search.constraints import check_possible, exact_limits
from isoshare.search.engine import Engine
from isoshare.search.samplers import sampler_row
from isoshare.search.workflows.own_code.own_dataset import prepare_dataset, prepare_dataset_resume
from isoshare.search.workflows.own_code.own_function import (
    check_code_named,
    prepare_function,
    prepare_function_resume,
)
from isoshare.search.workflows.preparation.evaluator import (
    conditions_of,
    evaluator_of,
    load_data,
    one_by_one,
    probed,
)
from isoshare.search.workflows.preparation.foresight import foresight_of
from isoshare.search.workflows.preparation.network import (
    check_output,
    fitting_arguments,
    network_remarks,
)
from isoshare.search.workflows.preparation.prepared import Prepared, check_study, new_study
from isoshare.search.workflows.preparation.tabular import prepare_tabular, prepare_tabular_resume
from isoshare.search.workflows.preparation.varying import (
    has_changed,
    whole_space,
    with_reference,
)
from isoshare.search.workflows.preparation.weights import whose_weights
from isoshare.space.backbones import build_backbone, check_named
from isoshare.space.errors import IsoshareError
from isoshare.space.plan import Variant
from isoshare.space.variants.variant_space import Space
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord, StudyContext


def prepare(config: SearchConfig, store: Store) -> Prepared:
    """Check a new search completely before anything is stored. Raises IsoshareError."""
    sampler_row(config.sampler)
    check_study(config.study, store)
    if config.table is not None:
        return prepare_tabular(config, store)
    if is_own_evaluator(config.evaluator):
        return prepare_function(config, store)
    if is_own_dataset(config.dataset):
        return prepare_dataset(config, store)
    dataset = load_data(config.data)
    config = config.model_copy(update={"backbone_arg": fitting_arguments(config.space, dataset)})
    space, left_out = _space(config, dataset)
    config = with_reference(config, space)
    whose = tuple(whose_weights(config.space, config.evaluation, space.members))
    check_possible(exact_limits(config.document()), space)
    data = DatasetRecord(dataset.name, dataset.fingerprint, dataset.image_shape)
    study = new_study(config, store, space, data)
    backbone = build_backbone(config.backbone, config.backbone_arg)
    remarks = network_remarks(backbone, space, config.space, config.evaluator)
    prepared = _prepared(True, config, study, space, dataset)
    warnings = (*prepared.warnings, *left_out, *remarks)
    return replace(prepared, warnings=warnings, notes=(*prepared.notes, *whose))


def prepare_resume(name: str, store: Store, changes: dict[str, Any]) -> Prepared:
    """Check a search that is to continue. Raises IsoshareError.

    changes: options of this run: trials (at least as many as there are), workers, data_folder,
        ray_address, out.
    """
    study, changes = store.study(name), dict(changes)
    named = {option: changes.pop(option, None) for option in CODE}
    check_code_named(study, named)
    check_named(study.config.backbone, changes.get("backbone"), f"study {name!r}")
    if "data_folder" in changes:
        changes = {**changes, **moved_to(study.config.dataset, changes["data_folder"])}
    config = make_config({**study.config.options, "timeout": None, **changes, "study": name})
    there = len(store.trials(name))
    if config.trials < there:
        raise IsoshareError(
            f"study {name!r} has {there} trials already: --trials must be at least {there}, "
            f"got {config.trials}"
        )
    sampler_row(config.sampler)
    if config.table is not None:
        return prepare_tabular_resume(config, study)
    if is_own_evaluator(config.evaluator):
        return prepare_function_resume(study, config)
    if is_own_dataset(config.dataset):
        return prepare_dataset_resume(study, config)
    dataset = load_data(config.data)
    known = study.context.dataset.fingerprint
    if dataset.fingerprint != known:
        raise IsoshareError(
            f"data set {config.dataset!r} is not what study {name!r} was started on: its "
            f"fingerprint is {dataset.fingerprint}, not {known}; launch a new study for it"
        )
    space, _ = _space(config, dataset, study.context)
    if has_changed(space, study.context):
        raise IsoshareError(
            f"backbone {config.backbone!r} is not what study {name!r} was started with: its "
            "layers have changed; launch a new study for it"
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
        if study.context.scores is not None:  # maybe only now: it was interrupted before it had any
            store.change_study(study.name, {}, {"scores": dict(study.context.scores)})
    sampler = sampler_row(config.sampler).make
    foresight = foresight_of(study, prepared.space)
    return Engine(store, study, config, prepared.space, sampler, prepared.conditions, foresight)


def _space(
    config: SearchConfig, dataset: Dataset, recorded: StudyContext | None = None
) -> tuple[Space, tuple[str, ...]]:
    """The search space of the named backbone, after a check that it fits the data, and what is left
    out of it.
    """

    def build(variant: Variant) -> nn.Module:
        backbone = build_backbone(config.backbone, config.backbone_arg, **dict(variant))
        check_output(backbone, dataset, config.backbone)
        return backbone

    bounded = (limit.objective for limit in exact_limits(config.document()))
    asked = [*config.objectives, *bounded]
    image = torch.zeros(1, *dataset.image_shape)
    return whole_space(config.space, build, image, asked, recorded)


def _prepared(
    is_new: bool,
    config: SearchConfig,
    study: StudyRecord,
    space: Space,
    dataset: Dataset,
) -> Prepared:
    made = evaluator_of(
        config.space,
        config.training,
        config.evaluation,
        dataset,
        checkpoint_folder(study.name),
        keeps_ends=config.ray_address is None,
    )
    evaluator = probed(made, config.objectives, config.space, dataset.image_shape)
    conditions = conditions_of(config.evaluation, dataset)
    warnings = (*dataset.warnings, *one_by_one(config, made, dataset))
    notes = describe_dataset(dataset, config.augment)
    return Prepared(is_new, config, study, space, evaluator, conditions, warnings, notes)
