"""Trained weights as people have them are found, renamed and checked; what does not fit is told."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from isoshare.space.backbones import build_backbone
from isoshare.space.errors import WeightsError
from isoshare.space.weights.trained_weights import GivenWeights, read_trained
from isoshare.space.weights.weight_files import read_names, shipped_names

SMALL = {"depth": 8, "width": 4}


def network(**other: int) -> nn.Module:
    return build_backbone("resnet_cifar", {**SMALL, **other})


def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    trained = network()
    return {
        name: torch.rand_like(one.float()).to(one) for name, one in trained.state_dict().items()
    }


def published(known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under the names that published CIFAR ResNets have."""
    back = {new: old for old, new in shipped_names("resnet_cifar").items()}
    renamed = {}
    for name, tensor in known.items():
        new = next(new for new in back if new is not None and name.startswith(f"{new}."))
        renamed[f"{back[new]}{name.removeprefix(new)}"] = tensor
    return renamed


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state().items()}


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "weights.pt")
    return folder / "weights.pt"


FORMS: dict[str, Any] = {
    "plain": state,
    "state_dict": lambda: {"state_dict": state(), "best": 0.5, "epoch": 3},
    "model": lambda: {"optimizer": {}, "model": state()},
    "lightning": lambda: {"state_dict": prefixed("model.")},
    "parallel and compiled": lambda: {"model_state": prefixed("module._orig_mod.")},
    "ema alone": lambda: {"ema": {"decay": 0.9, "shadow": state()}},
    "compiled inside": lambda: {
        name.replace("stages.", "stages._orig_mod."): one for name, one in state().items()
    },
    "published": lambda: {"state_dict": {f"module.{n}": t for n, t in published(state()).items()}},
    "half precision": lambda: {
        n: t.half() if t.is_floating_point() else t for n, t in state().items()
    },
    "without counters": lambda: {n: t for n, t in state().items() if "num_batches" not in n},
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_wherever_programs_put_them(tmp_path: Path, form: str) -> None:
    target = network()
    before = {name: one.clone() for name, one in target.state_dict().items()}
    given = GivenWeights(str(saved(tmp_path, FORMS[form]())))
    found = given.read(target, "resnet_cifar", SMALL)
    assert all(torch.equal(one, before[name]) for name, one in target.state_dict().items())
    target.load_state_dict(found.state)
    for name, one in state().items():
        if "num_batches" not in name:
            assert torch.allclose(target.state_dict()[name], one, atol=1e-3), name


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(prefixed("module."), tmp_path / "w.safetensors")
    found = read_trained(tmp_path / "w.safetensors", network())
    assert all(torch.equal(found.state[name], one) for name, one in state().items())
    assert found.digest != read_trained(saved(tmp_path, state()), network()).digest


def test_a_wrapped_network_takes_the_weights_of_what_it_wraps(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = network()

    found = read_trained(saved(tmp_path, state()), Wrapper())
    assert torch.equal(found.state["encoder.stem.weight"], state()["stem.weight"])


def test_names_come_from_a_file_and_may_leave_something_out(tmp_path: Path) -> None:
    renamed = {name.replace("stem.", "first."): one for name, one in state().items()}
    path = saved(tmp_path, {**renamed, "aux.weight": torch.ones(2)})
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"first": "stem", "aux": None}))
    found = GivenWeights(str(path), str(names)).read(network(), "resnet_cifar", SMALL)
    assert torch.equal(found.state["stem.weight"], state()["stem.weight"])


REFUSED: dict[str, tuple[Any, str]] = {
    "deeper": (
        lambda: build_backbone("resnet_cifar", {**SMALL, "depth": 14}).state_dict(),
        r"30 tensors of the file without a place .*stages.0.1.conv1.weight, .*more layers",
    ),
    "wider": (lambda: network(width=8).state_dict(), r"stem.weight 8x3x3x3 for 4x3x3x3.*width"),
    "classes": (
        lambda: network(classes=7).state_dict(),
        r"head.weight 7x16 for 10x16.*for 7 classes, not 10: --new-head",
    ),
    "headless": (
        lambda: {n: t for n, t in state().items() if not n.startswith("head")},
        "2 tensors of the network not in the file .*--new-head",
    ),
    "renamed": (
        lambda: {f"x{name}": one for name, one in state().items()},
        r'other names: --weight-map .*\{"xstem": "stem"\}',
    ),
    "another": (lambda: nn.Linear(3, 4).state_dict(), "most likely of another network"),
    "shared": (
        lambda: {**state(), "stages.0.0.conv1.generator": torch.ones(3)},
        "shares weights already",
    ),
    "shared, with residuals": (
        lambda: {**state(), "stages.0.0.conv1.left": torch.ones(3)},
        "shares weights already",
    ),
    "diverged": (lambda: {**state(), "stem.weight": torch.full((4, 3, 3, 3), torch.nan)}, "finite"),
    "whole numbers": (
        lambda: {**state(), "head.bias": torch.ones(10, dtype=torch.int8)},
        "head.bias 10 of int8 for 10",
    ),
    "no tensors": (lambda: {"epoch": 3}, r"holds no tensors, only epoch \(int\)"),
    "a list": (lambda: [1, 2], "holds a list, no state_dict"),
    "objects": (lambda: {"args": argparse.Namespace(a=1), **state()}, "would have to be executed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_told_with_its_likeliest_reason(tmp_path: Path, case: str) -> None:
    make, sentence = REFUSED[case]
    with pytest.raises(WeightsError, match=sentence):
        read_trained(saved(tmp_path, make()), network())


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("none.pt", "text.pt", "text.safetensors", "."):
        with pytest.raises(WeightsError, match="cannot read weights from"):
            read_trained(tmp_path / name, network())
    cut = saved(tmp_path, state()).read_bytes()[:3000]
    (tmp_path / "cut.pt").write_bytes(cut)
    with pytest.raises(WeightsError, match="cannot read weights from"):
        read_trained(tmp_path / "cut.pt", network())


@pytest.mark.parametrize(
    "head", [{}, {"head.weight": torch.ones(7, 16), "head.bias": torch.ones(7)}]
)
def test_a_new_head_is_left_as_it_was(tmp_path: Path, head: dict[str, Tensor]) -> None:
    others = {n: t for n, t in state().items() if not n.startswith("head")}
    target = network()
    found = read_trained(saved(tmp_path, {**others, **head}), target, new_head=True)
    assert found.new == ("head.weight", "head.bias")
    assert torch.equal(found.state["head.weight"], target.state_dict()["head.weight"])
    with pytest.raises(WeightsError, match=r"stem\.weight"):
        read_trained(
            saved(tmp_path, {**others, "stem.weight": torch.ones(2)}), target, new_head=True
        )


def test_offered_weights_are_those_of_the_function() -> None:
    found = GivenWeights(pretrained=True).read(offering(), f"{__name__}:offering", {})
    assert torch.equal(found.state["weight"], torch.full((2, 3), 5.0))


def offering(pretrained: bool = False) -> nn.Module:
    made = nn.Linear(3, 2)
    if pretrained:
        nn.init.constant_(made.weight, 5.0)
    return made


def test_options_about_weights_need_some() -> None:
    for options in ({"names": "names.json"}, {"new_head": True}):
        with pytest.raises(WeightsError, match="add --weights FILE"):
            GivenWeights(**options)
    with pytest.raises(WeightsError, match="leave one of them out"):
        GivenWeights("w.pt", pretrained=True)


def test_a_backbone_that_offers_none_says_so() -> None:
    with pytest.raises(WeightsError, match="offers no weights of its own"):
        GivenWeights(pretrained=True).read(network(), "resnet_cifar", SMALL)


def test_a_backbone_knows_the_names_of_its_published_weights(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"depth": 8, "width": 4}
    network = build_backbone("resnet_cifar", arguments)
    published = {"stem": "conv1", "bn": "bn1", "head": "linear"}
    published |= {f"stages.{place}": f"layer{place + 1}" for place in range(3)}
    state = {}
    for name, tensor in network.state_dict().items():
        old = next(one for one in published if name.startswith(f"{one}."))
        state[f"module.{published[old]}{name[len(old) :]}"] = tensor + 1
    torch.save({"state_dict": state}, tmp_path / "published.th")
    given = GivenWeights(str(tmp_path / "published.th"))
    found = given.read(network, "resnet_cifar", arguments)
    assert torch.equal(found.state["stem.weight"], network.state_dict()["stem.weight"] + 1)


def test_weights_beside_others_are_named(tmp_path: Path) -> None:
    twice = {"model": state(), "model_ema": {n: t.clone() for n, t in state().items()}}
    found = read_trained(saved(tmp_path, twice), network())
    assert (found.entry, found.others) == ("model", ("model_ema",))
    assert "those under 'model'; there are others in the file under 'model_ema'" in found.choice
    assert not read_trained(saved(tmp_path, state()), network()).choice


def test_counters_of_half_precision_are_left_as_they_are(tmp_path: Path) -> None:
    target = network()
    halved = {name: tensor.half() for name, tensor in target.state_dict().items()}
    found = read_trained(saved(tmp_path, halved), target)
    assert all(found.state[n].dtype == t.dtype for n, t in target.state_dict().items())


def test_an_empty_file_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    with pytest.raises(WeightsError, match=r"it is empty$"):
        read_trained(tmp_path / "empty.pt", network())


def test_no_tensor_takes_the_place_of_another(tmp_path: Path) -> None:
    """Student and teacher in one file, two modules of one new name."""
    known, other = state(), {n: torch.zeros_like(t) for n, t in state().items()}
    both = {**{f"model.{name}": tensor for name, tensor in other.items()}, **known}
    with pytest.raises(WeightsError, match=r"without a place in the network \(model\.stem"):
        read_trained(saved(tmp_path, {**both, "model.more": torch.ones(1)}), network())
    (tmp_path / "names.json").write_text('{"a": "stem", "b": "stem"}')
    with pytest.raises(WeightsError, match="gives the name 'stem' to several modules"):
        read_names(tmp_path / "names.json")
    with pytest.raises(WeightsError, match="a place in the network"):
        read_trained(
            saved(tmp_path, {**known, "a.weight": known["stem.weight"] + 1}),
            network(),
            names={"a": "stem"},
        )


def test_files_of_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "weights.bin")
    assert read_trained(tmp_path / "weights.bin", network()).digest


def test_tensors_with_several_names_are_read_under_each(tmp_path: Path) -> None:
    trained: Any = network()
    trained.also = trained.stem
    save_model(trained, str(tmp_path / "tied.safetensors"))
    target: Any = network()
    target.also = target.stem
    found = read_trained(tmp_path / "tied.safetensors", target)
    assert torch.equal(found.state["also.weight"], trained.stem.weight)


def test_averages_and_odd_keys_do_not_matter(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(network()).state_dict()
    assert "n_averaged" in averaged
    assert read_trained(saved(tmp_path, averaged), network()).state
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_trained(saved(tmp_path, {0: torch.ones(2)}), network())


def test_a_head_that_is_left_out_may_be_broken(tmp_path: Path) -> None:
    head = {"head.weight": torch.full((7, 16), torch.nan), "head.bias": torch.ones(7)}
    assert read_trained(saved(tmp_path, {**state(), **head}), network(), new_head=True).new
