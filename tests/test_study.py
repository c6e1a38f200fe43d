"""The Python API: studies of one's own network, measured by one's own function."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import isoshare
from isoshare.evaluators.own_code.trial import Trial
from isoshare.search.drivers.interrupt import interruption
from isoshare.search.jobs import DriverError
from isoshare.search.study import Study
from isoshare.space.errors import IsoshareError
from isoshare.storage.records import TrialRecord
from tests.fakes import Command, ThreeSites

ROOT = Path(__file__).parent.parent
OBJECTIVES = {"miou": "maximize", "parameters": "minimize"}
KERNEL: dict[str, Any] = {"methods": ["kernel"], "objectives": OBJECTIVES}


def less_is_worse(network: nn.Module, trial: Trial) -> float:
    """A value that the plan decides, and the seed a little."""
    assert isinstance(network, nn.Module)
    return 0.9 - 0.03 * sum(len(bank.sites) - 1 for bank in trial.plan.banks) + 0.001 * trial.seed


def reporting(network: nn.Module, trial: Trial) -> float:
    value = less_is_worse(network, trial)
    for epoch in range(1, 5):
        trial.report(value * epoch / 4, epoch)
        if trial.should_stop():
            return 0.0
    return value


def rows(study: Study) -> list[Any]:
    """What a database holds of the trials, but for times."""
    return [
        (
            *(t.number, t.plan.fingerprint, t.origin, t.state, t.exact, t.error),
            *((m.seed, m.split, m.fidelity["epochs"], m.values) for m in t.measurements),
        )
        for t in study.trials
    ]


def by_hand(study: Study, evaluate: Callable[[nn.Module, Trial], float], trials: int) -> None:
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, evaluate(trial.network(), trial))


@pytest.mark.parametrize(
    ("way", "rungs"),
    # By hand a stopped trial that goes on after all is one more that is asked for.
    [("again", (1, 3)), ("interrupted", (1, 3)), ("interrupted", ()), ("ask and tell", ())],
)
def test_all_ways_leave_the_same_rows(way: str, rungs: tuple[int, ...], url: str) -> None:
    expected = isoshare.create_study(ThreeSites(4), rungs=rungs, **KERNEL)  # in memory
    expected.optimize(reporting, n_trials=9)
    study = isoshare.create_study(ThreeSites(4), "s", storage=url, rungs=rungs, **KERNEL)
    if way == "again":
        study.optimize(reporting, n_trials=4)
        study.optimize(reporting, n_trials=5)
    elif way == "ask and tell":
        by_hand(study, reporting, 9)
    else:
        calls = iter(range(100))

        def clumsy(network: nn.Module, trial: Trial) -> float:
            if next(calls) in (2, 5):
                raise KeyboardInterrupt
            return reporting(network, trial)

        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                study.optimize(clumsy, n_trials=9)
            study = isoshare.load_study("s", url)
        study.optimize(clumsy, n_trials=9)
    assert rows(study) == rows(expected)
    assert study.results.front.hypervolume == expected.results.front.hypervolume > 0


def test_ray_measures_the_same_plans_as_this_process(url: str) -> None:
    """A lambda and a local function travel; with two workers the order is not the same."""
    factor = 1.0
    study = isoshare.create_study(ThreeSites(3), "s", storage=url, **KERNEL)
    study.optimize(lambda net, trial: factor * less_is_worse(net, trial), n_trials=5, n_jobs=2)
    alone = isoshare.create_study(ThreeSites(3), **KERNEL)
    alone.optimize(less_is_worse, n_trials=5)
    assert {t.plan: t.value("miou") for t in study.trials} == {
        t.plan: t.value("miou") for t in alone.trials
    }


def test_everything_that_is_shown(tmp_path: Path) -> None:
    study = isoshare.create_study(ThreeSites(4), "mine", **KERNEL)
    assert "no trial has finished" in study._repr_html_()
    study.optimize(less_is_worse, n_trials=6, replicates=2)
    table = study.trials_dataframe()
    assert list(table["number"]) == list(range(6))
    assert {"miou", "miou_error", "parameters", "on_front", "sharing"} <= set(table)
    assert study.plot_front().layout.xaxis.title.text == "parameters (less is better)"
    plan = study.best("smallest").plan
    drawn = study.plot_plan(study.best("smallest"))
    assert sum(len(bars.x) for bars in drawn.data) == 4
    study.export(tmp_path / "plan.json", study.best("smallest"))
    assert isoshare.SharingPlan.load(tmp_path / "plan.json") == plan
    assert study.best("miou").number == 0
    assert study.best(max_parameters=10**6) == study.best("miou")
    assert "<table>" in study._repr_html_()
    assert "data:image/png" in study._repr_html_()


def test_the_model_stays_as_it_was_and_networks_start_seeded() -> None:
    model = ThreeSites(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    study = isoshare.create_study(model, **KERNEL)
    trial = study.ask()
    one, other = trial.network(), trial.network()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert torch.equal(one.state_dict()[name], other.state_dict()[name])
        assert not torch.equal(one.state_dict()[name], tensor)
    inheriting = isoshare.create_study(model, weights="inherit", **KERNEL)
    kept = inheriting.ask().network().state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())


def test_an_objective_that_has_no_known_worst_value() -> None:
    study = isoshare.create_study(
        lambda: ThreeSites(3), objectives={"rmse": "minimize", "parameters": "minimize"}
    )
    study.optimize(lambda net, trial: 2.0 + len(trial.plan.banks), n_trials=6)
    assert study.results.front.reference_point["rmse"] == 4.0
    assert study.results.front.hypervolume > 0
    assert study.best("rmse").number == 0


def test_names_and_directions_make_no_difference_to_the_default_sampler() -> None:
    """What it learns of an objective to minimise is what it learns of one to maximise."""
    proposed = []
    for objectives, sign in (
        ({"bytes": "minimize", "gain": "maximize"}, 1),
        ({"rmse": "minimize", "bytes": "minimize"}, -1),
    ):
        study = isoshare.create_study(
            ThreeSites(5),
            methods=["kernel"],
            objectives=objectives,
            example_input=torch.zeros(1, 2, 8, 8),
        )
        study.optimize(lambda *asked, sign=sign: sign * (less_is_worse(*asked) - 2), n_trials=15)
        assert study._record.config.sampler == "ehvi"
        proposed.append([trial.plan for trial in study.trials])
    assert proposed[0] == proposed[1]


def test_what_ehvi_cannot_serve_goes_to_another_sampler() -> None:
    two = {"a": "maximize", "b": "minimize", "parameters": "minimize"}
    with pytest.warns(UserWarning, match="tpe takes its place"):
        study = isoshare.create_study(ThreeSites(3), objectives=two)
    study.optimize(lambda net, trial: {"a": 1, "b": len(trial.plan.banks)}, n_trials=4)
    assert all(trial.state == "finished" for trial in study.trials)


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (None, "gave None as miou"),
        (float("nan"), "gave nan as miou: has the training diverged"),
        ({"iou": 0.5}, "unknown objective 'iou': choose one of miou"),
        ({}, "gave no miou"),
        ("0.9", "gave '0.9' as miou"),
        (torch.ones(3), "gave a Tensor as miou"),
        (torch.ones(1, requires_grad=True) * 2, "tensor with its graph as miou"),
    ],
)
def test_what_is_no_value_fails_its_trial_with_a_sentence(result: Any, sentence: str) -> None:
    study = isoshare.create_study(ThreeSites(3), **KERNEL)
    study.optimize(lambda net, trial: result, n_trials=1)
    (trial,) = study.trials
    assert trial.state == "failed"
    assert sentence in trial.error


def test_failures_all_alike_stop_the_search_and_say_where() -> None:
    study = isoshare.create_study(ThreeSites(4), **KERNEL)

    def broken(network: nn.Module, trial: Trial) -> float:
        raise ValueError(f"first line\nno file for trial {trial.number}")

    with pytest.raises(DriverError, match=r"5 trials in a row .* no file for trial 4 \(test_study"):
        study.optimize(broken, n_trials=20)
    assert [trial.state for trial in study.trials] == ["failed"] * 5


class Idle(ThreeSites):
    """Its last convolution is made and never called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.convs[1](self.convs[0](x)).mean((2, 3)))
        return logits


def one_step(network: nn.Module, trial: Trial) -> float:
    """A training, as short as can be."""
    images = torch.randn(4, 2, 8, 8)
    loss = network(images).square().mean()
    loss.backward()
    return float(loss.detach())


def test_layers_that_a_training_never_uses_end_the_search() -> None:
    """Without a sample of the input it is the first training that shows them."""
    study = isoshare.create_study(Idle(3), **KERNEL)
    with pytest.raises(DriverError, match=r"'convs.2' had no gradient .* example_input"):
        study.optimize(one_step, n_trials=4)
    assert [trial.state for trial in study.trials] == ["failed"]
    by_hand = isoshare.create_study(Idle(3), **KERNEL)
    trial = by_hand.ask()
    value = one_step(trial.network(), trial)
    with pytest.raises(DriverError, match=r"'convs\.2' had no gradient"):
        by_hand.tell(trial, value)
    assert ([one.state for one in by_hand.trials], trial.made) == (["failed"], None)
    told = isoshare.create_study(Idle(3), example_input=torch.zeros(1, 2, 8, 8), **KERNEL)
    told.optimize(one_step, n_trials=2)
    assert [trial.state for trial in told.trials] == ["finished"] * 2
    assert all("convs.2" not in bank.sites for t in told.trials for bank in t.plan.banks)
    used = isoshare.create_study(ThreeSites(3), **KERNEL)
    used.optimize(one_step, n_trials=3)
    assert [trial.state for trial in used.trials] == ["finished"] * 3


def test_wrong_requests_are_sentences(url: str) -> None:
    class Locked(ThreeSites):
        def __init__(self) -> None:
            super().__init__()
            self.handle = sys.stdout

    with pytest.raises(IsoshareError, match="cannot be copied"):
        isoshare.create_study(Locked())
    study = isoshare.create_study(Locked, "s", storage=url, **KERNEL)
    with pytest.raises(IsoshareError, match="exists already"):
        isoshare.create_study(ThreeSites(), "s", storage=url)
    with pytest.raises(IsoshareError, match="NAME:max"):
        isoshare.create_study(ThreeSites(), objectives={"miou": "up", "parameters": "minimize"})
    with pytest.raises(IsoshareError, match="'accuracy' is one to maximize"):
        isoshare.create_study(ThreeSites(), objectives=("accuracy:min", "parameters"))
    with pytest.raises(IsoshareError, match="known without a training"):
        isoshare.create_study(
            ThreeSites(), objectives=("parameters", "macs"), example_input=torch.zeros(1, 2, 8, 8)
        )
    with pytest.raises(IsoshareError, match="example_input"):
        isoshare.create_study(ThreeSites(), objectives=("accuracy", "macs"))
    with pytest.raises(IsoshareError, match="n_trials has to be at least 1"):
        study.optimize(less_is_worse, n_trials=0)
    with pytest.raises(IsoshareError, match="a whole number, got '5'"):
        study.optimize(less_is_worse, n_trials="5")  # type: ignore[arg-type]
    with pytest.raises(IsoshareError, match="timeout has to be seconds, more than 0, got '2h'"):
        study.optimize(less_is_worse, timeout="2h")  # type: ignore[arg-type]
    with pytest.raises(IsoshareError, match="has to be a function of a network and a trial, got 3"):
        study.optimize(3)  # type: ignore[arg-type]
    with pytest.raises(IsoshareError, match="or a name, got a int"):
        isoshare.create_study(3)  # type: ignore[arg-type]
    with pytest.raises(IsoshareError, match="objectives are several"):
        isoshare.create_study(ThreeSites(), objectives="accuracy")
    with pytest.raises(IsoshareError, match="has to be a tensor"):
        isoshare.create_study(ThreeSites(), example_input=[[0.0]])  # type: ignore[arg-type]
    with pytest.raises(IsoshareError, match="does not use --epochs"):
        isoshare.create_study(ThreeSites(), epochs=3)
    with pytest.raises(IsoshareError, match="unknown study 'none'"):
        isoshare.load_study("none", url)
    with pytest.raises(IsoshareError, match="layers have changed"):
        isoshare.load_study("s", url, model=ThreeSites(5)).optimize(less_is_worse, n_trials=1)


def test_a_cell_that_is_interrupted_while_ray_starts_can_be_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was imported or started by half could not be: the interruption is heard afterwards."""
    seen: list[str] = []

    @contextmanager
    def ray_cluster(*_: object, **__: object) -> Iterator[dict[str, float]]:
        signal.raise_signal(signal.SIGINT)
        seen.append("up")
        yield {"CPU": 1}
        seen.append("down")

    fakes = {
        "ray_cluster": SimpleNamespace(ray_cluster=ray_cluster),
        "ray_driver": SimpleNamespace(run_on_ray=lambda *_: seen.append("run")),
    }
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, f"isoshare.search.drivers.{name}", fake)
    study, before = isoshare.create_study(ThreeSites(4), **KERNEL), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(lambda _, trial: float(trial.number), n_trials=3, n_jobs=2)
    assert (seen, signal.getsignal(signal.SIGINT)) == (["up"], before)
    study.optimize(lambda _, trial: float(trial.number), n_trials=3)
    assert [trial.state for trial in study.trials] == ["finished"] * 3


def test_a_thread_that_is_not_the_main_one_leaves_signals_alone() -> None:
    def search() -> object:
        with interruption() as asked:
            asked.check()
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(search).result() is signal.getsignal(signal.SIGINT)
    with interruption() as here:
        assert signal.getsignal(signal.SIGINT) is here


def test_what_cannot_travel_is_named_before_ray_is_started() -> None:
    class Locked(ThreeSites):
        def __init__(self) -> None:
            super().__init__()
            self.convs.lock = threading.Lock()  # type: ignore[assignment]

    lock = threading.Lock()
    for model, evaluate, sentence in (
        (Locked(), less_is_worse, "^the model .* because of its attribute 'convs.lock': leave it"),
        (
            ThreeSites(),
            lambda *_: float(lock.locked()),
            "cannot pickle '_thread.lock' object; leav",
        ),
    ):
        study = isoshare.create_study(model, **KERNEL)
        with pytest.raises(IsoshareError, match=sentence):
            study.optimize(evaluate, n_trials=1, n_jobs=2)


def test_exact_objectives_beside_own_ones() -> None:
    study = isoshare.create_study(
        ThreeSites(3),
        objectives={"miou": "maximize", "macs": "minimize"},
        example_input=torch.zeros(1, 2, 8, 8),
        max_bytes=100_000,
    )
    study.optimize(less_is_worse, n_trials=3)
    assert all(trial.value("macs") for trial in study.trials)


def test_the_time_ends_a_search() -> None:
    study = isoshare.create_study(ThreeSites(4), **KERNEL)

    def slow(network: nn.Module, trial: Trial) -> float:
        for epoch in range(1, 100):
            time.sleep(0.05)
            trial.report(0.5, epoch)
            if trial.should_stop():
                break
        return 0.5

    started = time.monotonic()
    study.optimize(slow, timeout=0.3)
    assert time.monotonic() - started < 2
    (trial,) = study.trials
    assert trial.state == "stopped"
    assert 1 <= trial.measurements[0].fidelity["epochs"] < 50
    study.optimize(less_is_worse, timeout=60)  # as many as fit: all there are
    assert len(study.trials) == 15


def test_a_callback_can_stop() -> None:
    study, seen = isoshare.create_study(ThreeSites(4), **KERNEL), []

    def watch(study: Study, trial: TrialRecord) -> None:
        seen.append((trial.number, trial.value("miou")))
        if trial.number == 2:
            study.stop()

    study.optimize(less_is_worse, n_trials=10, callbacks=[watch])
    assert [number for number, _ in seen] == [0, 1, 2]


def test_the_folder_of_a_trial_outlives_a_killed_worker_and_not_the_trial(url: str) -> None:
    study = isoshare.create_study(ThreeSites(3), "s", storage=url, **KERNEL)
    seen: list[Path] = []

    def evaluate(network: nn.Module, trial: Trial) -> float:
        there = trial.directory / "there"
        if not there.exists():
            there.touch()
            seen.append(there)
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        study.optimize(evaluate, n_trials=1)
    assert seen[0].exists()
    isoshare.load_study("s", url).optimize(evaluate, n_trials=1)
    assert [trial.state for trial in study.trials] == ["finished"]
    assert not seen[0].exists()


KILLED = """
import os, sys
import isoshare
from tests.fakes import Command, ThreeSites
from tests.test_study import KERNEL, less_is_worse

def work(url, calls):
    def called():
        nonlocal calls
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), 9)

    try:
        study = isoshare.load_study("s", url)
    except isoshare.IsoshareError:
        study = isoshare.create_study(ThreeSites(3), "s", storage=url, **KERNEL)
    called()
    while len(study.trials) < 4 or study.trials[-1].state == "running":
        trial = study.ask()
        called()
        study.tell(trial, less_is_worse(trial.network(), trial))
        called()

for calls in (0, 1, 2, 1, 100):
    child = os.fork()
    if child == 0:
        work(sys.argv[1], calls)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_asking_survives_a_kill_between_any_two_calls(url: str) -> None:
    command = [sys.executable, "-c", KILLED, url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*["-9"] * 4, "0"]
    expected = isoshare.create_study(ThreeSites(3), **KERNEL)
    by_hand(expected, less_is_worse, 4)
    assert rows(isoshare.load_study("s", url)) == rows(expected)


def test_importing_is_light() -> None:
    script = textwrap.dedent("""
        import sys, time
        before = time.process_time()
        import isoshare
        assert time.process_time() - before < 0.1
        print(sorted({"torch", "ray", "optuna"} & set(sys.modules)))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_command_line_says_how_a_study_of_python_goes_on(url: str, command: Command) -> None:
    isoshare.create_study(ThreeSites(3), "s", storage=url, **KERNEL)
    code, _, error = command("resume", "s", "--storage", url, "--trials", 50)
    assert (code, "isoshare.load_study('s'" in error) == (2, True)
