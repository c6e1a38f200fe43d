"""What a study has recorded: JSON of any version becomes values, and the same JSON again."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from isoshare.search.config import make_config
from isoshare.search.workflows.preparation.prepared import study_record
from isoshare.storage.study_values import DatasetRecord, StudyConfig, StudyContext
from tests.fakes import space_with_costs
from tests.test_store import CONFIG, CONTEXT


def test_a_study_of_the_first_version_is_read() -> None:
    config, context = StudyConfig.read(CONFIG), StudyContext.read(CONTEXT)
    assert (config.backbone, config.trials, config.methods) == ("resnet_cifar", 3, ("kernel",))
    assert (config.replicates, config.stop_at) == (1, None)
    assert [site.name for site in context.sites] == ["a", "b"]
    assert context.sites[0].kernel_size == (1, 1)
    assert (context.plans, context.objectives["accuracy"].unit) == (2, "")
    assert (context.dataset.image, context.costs) == (None, None)
    assert config.document() == CONFIG


def test_what_is_written_is_what_was_read() -> None:
    config = make_config({"objectives": ("accuracy", "macs"), "rungs": (1, 2)})
    data = DatasetRecord("digits", "0" * 16, (1, 8, 8))
    study = study_record("s", config, space_with_costs(3), data)
    assert study.context.costs is not None
    document = study.context.document()
    assert StudyContext.read(document) == study.context
    assert StudyContext.read(document).document() == document
    assert make_config(study.config.options) == config


def test_what_a_later_version_has_recorded_is_kept() -> None:
    later = {**CONTEXT, "weather": {"sun": True}}
    assert StudyContext.read(later).document()["weather"] == {"sun": True}
    assert StudyConfig.read({**CONFIG, "colour": "red"}).document()["colour"] == "red"
    site: dict[str, Any] = {**CONTEXT["sites"][0], "mood": 1}  # type: ignore[index]
    with pytest.raises(TypeError, match="mood"):
        StudyContext.read({**CONTEXT, "sites": [site]})


def test_every_option_it_knows_is_one_of_a_search() -> None:
    known = {one.name for one in fields(StudyConfig)} - {"options"}
    assert known < {*make_config({}).document()}
    with pytest.raises(FrozenInstanceError):
        StudyConfig.read(CONFIG).trials = 4  # type: ignore[misc]
