"""Make a search ready on a data set of the user's own, trained on by Isoshare's own loop."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from isoshare.evaluators import USUAL
from isoshare.evaluators.data.splits import DatasetError
from isoshare.evaluators.inheriting.pretrained_evaluator import FINE_TUNING_RATE
from isoshare.evaluators.network_source import NetworkSource
from isoshare.evaluators.own_code.own_loop import called
from isoshare.evaluators.own_code.own_training import Training
from isoshare.evaluators.user_function import Evaluate, in_user_words
from isoshare.search.config import SearchConfig
from isoshare.search.constraints import check_possible, exact_limits
from isoshare.search.workflows.own_code.own_function import named_function
from isoshare.search.workflows.own_code.own_study import (
    check_measured,
    measured_names,
    own_space,
    prepare_own,
)
from isoshare.search.workflows.preparation.prepared import Prepared, new_study
from isoshare.search.workflows.preparation.varying import with_reference
from isoshare.search.workflows.preparation.weights import trained_backbone
from isoshare.space.backbones import Argument, build_backbone, default_arguments
from isoshare.space.errors import BackboneError, IsoshareError, WeightsError, short
from isoshare.space.passes.acting_sites import acting_sites, participation
from isoshare.space.plan import Variant
from isoshare.space.variants.arguments import combinations
from isoshare.storage.records import StudyRecord
from isoshare.storage.store import Store
from isoshare.storage.study_values import DatasetRecord


def prepare_dataset(config: SearchConfig, store: Store) -> Prepared:
    """A new search. Raises IsoshareError."""
    check_measured(config.objectives)
    training = _training(config)
    fitting = default_arguments(config.backbone, training.data.facts())
    arguments = {"backbone_arg": {**fitting, **config.backbone_arg}}
    config = config.model_copy(update=arguments)
    inputs, _ = training.data.train.batch([0])
    example = inputs if isinstance(inputs, torch.Tensor) else None
    space = own_space(_source(config), config, example)
    config = with_reference(config, space)
    source = _source(config)
    check_possible(exact_limits(config.document()), space)
    fingerprint = training.data.fingerprint()
    study = new_study(
        config, store, space, DatasetRecord(config.dataset, fingerprint, training.data.shape or ())
    )
    check_training(training, source, study)
    return prepare_own(study, source, training.knowing(fingerprint), {}, is_new=True)


def prepare_dataset_resume(study: StudyRecord, config: SearchConfig) -> Prepared:
    """The rest of one, whose code the user has named. Raises IsoshareError."""
    training = _training(config).knowing(study.context.dataset.fingerprint)
    training.check()
    changes = {"trials": config.trials, "workers": config.workers}
    return prepare_own(study, _source(config), training, changes)


def with_known_data(
    study: StudyRecord, store: Store, source: NetworkSource, evaluate: Evaluate
) -> Evaluate:
    """A function that is given in Python; of a training, the data are those of earlier calls.

    Raises IsoshareError.
    """
    if not callable(evaluate):
        raise IsoshareError(
            f"evaluate has to be a function of a network and a trial, got {short(evaluate)}"
        )
    if not isinstance(evaluate, Training):
        return evaluate
    check_training(evaluate, source, study)
    known = study.context.more.get("data")
    if known is not None:
        training = evaluate.knowing(known)
        training.check()
        return training
    found = evaluate.data.fingerprint()
    store.change_study(study.name, {}, {"data": found})
    return evaluate.knowing(found)


def check_training(training: Training, source: NetworkSource, study: StudyRecord) -> None:
    """Two examples through the unshared network: what can only fail shall fail before it starts.

    Raises IsoshareError.
    """
    if training.metric is None and (unknown := {*measured_names(study)} - {*USUAL}):
        raise IsoshareError(
            f"{' and '.join(sorted(unknown))} is measured by a metric of your own: give one, or "
            f"take {' or '.join(USUAL)} as the objective"
        )
    network = source.backbone().eval()
    try:
        inputs, targets = training.data.train.batch([0, 1 % len(training.data.train)])
        with torch.no_grad():
            training.loss(called(network, inputs), targets)
    except IsoshareError:
        raise
    except Exception as error:  # whatever data, network or loss of the user's own raise
        raise DatasetError(
            "two examples of the data set, the network and the loss do not fit together: "
            f"{in_user_words(error, type(network).forward)}"
        ) from error
    _check_acting(network, inputs, study)


def _check_acting(network: nn.Module, inputs: Any, study: StudyRecord) -> None:
    """Raise IsoshareError where the study would share what does not act: without an example it
    could not know.
    """
    known, methods = study.context, study.config.methods
    acting = acting_sites(network, known.sites, known.unshared, methods, inputs)
    if said := " ".join(participation(known.sites, acting)):
        raise IsoshareError(
            f"{said}; make the study with create_study(..., example_input=...), which leaves out "
            "what cannot share"
        )


def _training(config: SearchConfig) -> Training:
    """What trains, of the code that is named."""
    inherits = config.evaluator == "inherit"
    rate = config.learning_rate * (FINE_TUNING_RATE if inherits else 1)
    options = ("epochs", "batch_size", "optimizer", "label_smoothing", "precision")
    given: dict[str, Any] = {name: getattr(config, name) for name in options}
    found: dict[str, Any] = {
        name: None if value is None else named_function(name, value)
        for name, value in (("loss", config.loss), ("metric", config.metric))
    }
    return Training(
        named_function("data set", config.dataset),
        **found,
        **given,
        learning_rate=rate,
        validation=config.validation,
        subset=config.subset,
    )


def _source(config: SearchConfig) -> NetworkSource:
    """Where networks start: anew, or from weights that were given."""
    if config.evaluator != "inherit":
        return NetworkSource(partial(build_backbone, config.backbone, config.backbone_arg))
    if config.new_head or not (config.weights or config.pretrained):
        raise IsoshareError(
            "on a data set of your own evaluator 'inherit' starts from weights that are given, and "
            "with their own head: add --weights FILE or --pretrained, or take --evaluator train"
        )
    if config.vary:
        return NetworkSource(GivenVariants(config), "inherit")
    network, _ = trained_backbone(config.space, config.evaluation)
    return NetworkSource.of(network, "inherit")


class GivenVariants:
    """Makes the variants of a backbone that the given weights fit. Nobody could train the others
    here, so they are left out of the search. The networks travel to workers.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._own = {name: one for name, one in config.backbone_arg.items() if name in config.vary}
        self._networks: dict[Variant, nn.Module] = {}
        self._refused: dict[Variant, str] = {}
        for variant in combinations(config.vary):
            try:
                network, _ = trained_backbone(config.space, config.evaluation, variant)
                self._networks[variant] = network
            except (BackboneError, WeightsError) as error:
                self._refused[variant] = str(error)

    def __call__(self, **arguments: Argument) -> nn.Module:
        """The trained network, of which plans take copies. Raises BackboneError."""
        variant = tuple(sorted({**self._own, **arguments}.items()))
        if variant in self._refused:
            raise BackboneError(self._refused[variant])
        return self._networks[variant]
