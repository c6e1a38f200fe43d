"""Data sets of any kind, with the user's own loss and metric, and Isoshare's own training."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

import isoshare
from isoshare.evaluators.data.own_data import OwnData, own_data
from isoshare.evaluators.data.splits import DatasetError
from isoshare.search.config import make_config
from isoshare.search.drivers.inline import run_inline
from isoshare.search.study import Study
from isoshare.search.workflows.launch import prepare, prepare_resume, start
from isoshare.space.errors import IsoshareError
from isoshare.storage.store import Store
from tests.fakes import Command, ThreeSites
from tests.own_tasks import SeriesNet, hits, named_loss, series

HITS = {"hits": "maximize", "parameters": "minimize"}
LOSS = {"loss": "minimize", "parameters": "minimize"}


class Pictures(torch.utils.data.Dataset[Any]):
    """Pictures of Pillow with a mask each, mirrored by chance."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, place: int) -> Any:
        image = np.full((4, 5, 3), 10 * place, np.uint8)
        image[0] = 255
        flipped = random.random() < 0.5
        return Image.fromarray(image[::-1].copy() if flipped else image), np.eye(4, dtype=np.uint8)


class Rows:
    """As Hugging Face's data sets: rows by name, several at once."""

    shape = (5, 3)

    def __len__(self) -> int:
        return 5

    def __getitems__(self, places: list[int]) -> list[dict[str, Any]]:
        return [{"audio": [0.5] * 8, "label": one, "note": f"no. {one}"} for one in places]

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.__getitems__([place])[0]


BOXES = [(torch.rand(3, 8, 8), {"boxes": torch.rand(n % 3, 4), "n": n}) for n in range(5)]
GREY = (np.zeros((6, 7, 9), np.uint8), list(range(6)))
SEVERAL = ({"ids": np.arange(12).reshape(6, 2), "mask": np.ones((6, 2))}, np.ones(6))


@pytest.mark.parametrize(
    ("part", "inputs", "targets"),
    [
        (series()[0], ((2, 1, 16), torch.float32), ((2,), torch.int64)),
        (Pictures(), ((2, 3, 4, 5), torch.float32), ((2, 4, 4), torch.int64)),
        (GREY, ((2, 1, 7, 9), torch.float32), ((2,), torch.int64)),
        (torch.utils.data.Subset(Pictures(), [0, 1, 2]), ((2, 3, 4, 5), torch.float32), None),
        (BOXES, ((2, 3, 8, 8), torch.float32), [{"boxes": (0, 4), "n": ()}, {"boxes": (1, 4)}]),
        (Rows(), ((2, 8), torch.float32), None),
        (SEVERAL, {"ids": (2, 2), "mask": (2, 2)}, ((2,), torch.float32)),
    ],
)
def test_examples_of_any_kind(part: Any, inputs: Any, targets: Any) -> None:
    data = own_data({"train": part, "test": part}, 0.3)
    assert len(data.train) + len(data.validation) == len(data.test)
    found, wanted = data.test.batch([0, 1])
    for value, expected in ((found, inputs), (wanted, targets)):
        if isinstance(expected, tuple):
            assert (tuple(value.shape), value.dtype) == expected
        elif isinstance(expected, dict):
            shapes = {k: tuple(v.shape) for k, v in value.items() if isinstance(v, Tensor)}
            assert shapes == {k: v for k, v in expected.items() if v is not None}
        elif expected is not None:
            assert [tuple(one["boxes"].shape) for one in value] == [(0, 4), (1, 4)]
    if part is BOXES:
        assert data.shape == (3, 8, 8)
    assert found["mask"].dtype == torch.float32 if isinstance(found, dict) else found.max() <= 3


def test_the_split_is_always_the_same_and_nothing_is_in_two_parts() -> None:
    first, again = (own_data(series(), 0.25, 20) for _ in range(2))
    assert (len(first.train), len(first.validation), len(first.test)) == (15, 5, 12)
    assert np.array_equal(first.validation.index, again.validation.index)
    assert not set(first.validation.index) & set(first.train.index)
    smaller = own_data(series(), 0.25, 10)
    chosen = {*first.train.index, *first.validation.index}
    assert {*smaller.train.index, *smaller.validation.index} <= chosen


def test_fingerprints_see_what_changed_and_forgive_chance() -> None:
    (x, y), test = series()
    before = own_data(((x, y), test), 0.2).fingerprint()
    assert own_data(((x.copy(), y), test), 0.2).fingerprint() == before
    assert own_data(((x + 1, y), test), 0.2).fingerprint() != before
    assert own_data(((x, 1 - y), test), 0.2).fingerprint() != before
    assert own_data(((x[:-1], y[:-1]), test), 0.2).fingerprint() != before
    pictures = own_data((Pictures(), Pictures()), 0.2)
    random.seed(1)
    once = pictures.fingerprint()
    random.seed(2)
    assert pictures.fingerprint() == once


class Stream(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Any:
        return stream()


def stream() -> Any:
    yield torch.zeros(3), 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (stream(), "is .training set, test set., or a dictionary"),
        ((stream(), stream()), "the training set has no length"),
        ((Stream(), GREY), "the training set has no length"),
        (series()[0], "the training set has no targets"),
        ((GREY, ([], [])), "the test set is empty"),
        (((GREY[0], [1, 2]), GREY), "has 6 inputs and 2 targets"),
        (([(torch.ones(2), 0)], GREY), "at least 2 are needed"),
    ],
)
def test_what_is_no_data_set(given: Any, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        own_data(given, 0.2)


def test_what_is_no_example() -> None:
    def batch(*examples: Any) -> OwnData:
        data = own_data((list(examples), list(examples)), 0.5)
        data.test.batch([0, 1])
        return data

    with pytest.raises(DatasetError, match=r"different shapes, .2,. and .3,.: resize or pad"):
        batch((torch.ones(2), 0), (torch.ones(3), 0))
    with pytest.raises(DatasetError, match=r"is .input, target., or a dictionary"):
        batch(torch.ones(2), torch.ones(2))
    with pytest.raises(DatasetError, match="numbers, arrays, tensors or images, got a str"):
        batch(("a", 0), ("b", 0))
    with pytest.raises(DatasetError, match="--subset must be at most 36"):
        own_data(series(), 0.2, 37)


def values(study: Study) -> list[Any]:
    return [
        (
            t.plan.fingerprint,
            t.state,
            [(m.seed, m.fidelity["epochs"], m.values) for m in t.measurements],
        )
        for t in study.trials
    ]


def test_a_study_in_python_with_outputs_by_name() -> None:
    def searched(interrupted: bool) -> Study:
        calls = iter(range(1000))

        def metric(outputs: Any, targets: Any) -> dict[str, float]:
            if interrupted and next(calls) in (1, 3):
                raise KeyboardInterrupt
            return hits(outputs, targets)

        network = SeriesNet(2, 1, named=True)
        study = isoshare.create_study(network, objectives=HITS, methods=["kernel"], rungs=(1,))
        training = isoshare.Training(series, named_loss, metric, epochs=2, batch_size=8)
        for _ in range(3):
            try:
                study.optimize(training, n_trials=3)
                break
            except KeyboardInterrupt:
                pass
        return study

    straight = searched(interrupted=False)
    assert values(searched(interrupted=True)) == values(straight)
    assert len(straight.front) >= 1
    assert {t.state for t in straight.trials} <= {"finished", "stopped"}


def test_the_usual_loss_and_metrics() -> None:
    study = isoshare.create_study(
        SeriesNet(2, 1), objectives=("accuracy", "parameters"), methods=["kernel"]
    )
    training = isoshare.Training(series(), epochs=12, batch_size=4, learning_rate=0.05)
    study.optimize(training, n_trials=1)
    assert (study.best().value("accuracy") or 0) > 0.8  # it learns
    points = [(torch.rand(1, 16), torch.rand(2)) for _ in range(8)]
    study = isoshare.create_study(SeriesNet(2, 1), objectives=LOSS, methods=["kernel"])
    study.optimize(isoshare.Training((points, points), epochs=1), n_trials=1)
    assert 0 < (study.best().value("loss") or 0) < 10


def test_a_metric_with_update_and_compute() -> None:
    class Counting:
        def reset(self) -> None:
            self.right = self.all = 0

        def update(self, output: Tensor, target: Tensor) -> None:
            self.right, self.all = (
                self.right + int((output.argmax(1) == target).sum()),
                self.all + 1,
            )

        def compute(self) -> dict[str, Any]:
            return {"hits": torch.tensor(self.right / self.all), "more": torch.ones(3)}

    study = isoshare.create_study(SeriesNet(2, 1), objectives=HITS, methods=["kernel"])
    study.optimize(isoshare.Training(series, metric=Counting(), epochs=1), n_trials=1)
    assert study.trials[0].state == "finished"


def test_wrong_requests_of_a_training_are_sentences() -> None:
    study = isoshare.create_study(SeriesNet(2, 1), "s", objectives=HITS, methods=["kernel"])

    def said(**options: Any) -> str:
        data = options.pop("data", series)
        with pytest.raises(IsoshareError) as raised:
            study.optimize(isoshare.Training(data, **options), n_trials=1)
        return str(raised.value)

    assert "hits is measured by a metric of your own" in said()
    assert "(own_tasks.py, line" in said(
        loss=named_loss, metric=hits
    )  # the output is no dictionary
    assert "has to be a tensor without dimensions, got a Tensor of shape (2, 2)" in said(
        loss=lambda output, target: output, metric=hits
    )
    three = [(torch.ones(1, 16), torch.ones(3))] * 4
    (x, y), test = series()
    study.optimize(isoshare.Training(series, metric=lambda *_: 0.5, epochs=1), n_trials=1)
    assert "its fingerprint is" in said(data=((x + 1, y), test), metric=hits)
    fresh = isoshare.create_study(SeriesNet(2, 1), objectives=LOSS, methods=["kernel"])
    with pytest.raises(IsoshareError, match=r"shape .2, 2. and targets .2, 3."):
        fresh.optimize(isoshare.Training((three, three)), n_trials=1)


def test_a_network_that_does_not_fit_the_data_is_told_at_once() -> None:
    study = isoshare.create_study(ThreeSites(3), objectives=LOSS, methods=["kernel"])
    with pytest.raises(IsoshareError, match="do not fit together"):
        study.optimize(isoshare.Training(series), n_trials=1)
    assert not study.trials


OWN = ("--backbone", "tests.own_tasks:SeriesNet", "--dataset", "tests.own_tasks:series")


def test_a_search_with_code_that_is_named(store: Store, url: str, command: Command) -> None:
    """It tests its front on the test set, and goes on where the code is named again."""
    own = {"loss": "tests.own_tasks:named_loss", "metric": "tests.own_tasks:hits"}
    mine = {"backbone": OWN[1], "dataset": OWN[3], **own}
    named = {**mine, "backbone_arg": {"named": True}}
    asked = {"objectives": ("hits:max", "macs"), "methods": ["kernel"], "trials": 2}
    options = {**named, **asked, "study": "s", "epochs": 1, "replicates": 1}
    prepared = prepare(make_config(options), store)
    run_inline(start(prepared, store), prepared.evaluator)
    store.release_lease("s")
    study = isoshare.load_study("s", url)
    arguments = study.results.study.config.backbone_arg
    assert arguments == {"classes": 2, "in_channels": 1, "named": True}
    assert all(trial.value("macs") for trial in study.trials)
    assert all(trial.value("hits", "test") is not None for trial in study.front)
    assert not prepare_resume("s", store, {**mine, "trials": 3}).is_new
    code, _, error = command("resume", "s", "--storage", url, "--trials", 3, *OWN[:2])
    assert (code, "--dataset tests.own_tasks:series" in error) == (2, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--dataset", "digits", "--loss", "a:b"), "--loss is for a data set of your own"),
        ((*OWN, "--loss", "dice"), "--loss is named package.module:function"),
        ((*OWN, "--resolution", 8), "does not use --resolution"),
        ((*OWN, "--evaluator", "spiking"), "take --evaluator train or inherit"),
        ((*OWN, "--evaluator", "inherit"), "starts from weights that are given"),
        ((*OWN, "--objectives", "miou:max,parameters"), "add --metric"),
        ((*OWN[:3], "tests.own_tasks:none"), "has no attribute 'none'"),
        ((*OWN[:3], "tests.own_tasks:OWN"), "has no attribute 'OWN'"),
        (("train", "--dataset", "a:b"), "which only a search trains on"),
    ],
)
def test_wrong_options_are_sentences(command: Command, words: Any, sentence: str) -> None:
    first = ("launch", "--storage", "sqlite://") if words[0] != "train" else ()
    if words[0] == "train":
        words = ("solve", "resnet_cifar", "--pretrained", *words[1:], "--max-bytes", 9, "-o", "p")
    code, _, error = command(*first, *words)
    assert (code, sentence in error) == (2, True), error


def test_weights_of_ones_own_are_inherited(tmp_path: Any, store: Store) -> None:
    """Without an epoch of fine-tuning a plan that shares nothing is the trained network itself."""
    network = SeriesNet(2, 1)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    options = {"weights": str(tmp_path / "w.pt"), "epochs": 0, "methods": ["kernel"]}
    named = {"backbone": OWN[1], "dataset": OWN[3], "objectives": ("loss:min", "parameters")}
    prepared = prepare(make_config({**named, **options, "study": "s", "trials": 1}), store)
    run_inline(start(prepared, store), prepared.evaluator)
    (trial,) = store.trials("s")
    data = own_data(series(), 0.2)
    inputs, targets = data.validation.batch(range(len(data.validation)))
    assert trial.value("loss") == pytest.approx(cross_entropy(network(inputs), targets).item())


def test_data_that_differ_on_a_node_are_refused() -> None:
    training = isoshare.Training(series).knowing("0" * 16)
    with pytest.raises(DatasetError, match="is not what the study was started on"):
        training.check()
