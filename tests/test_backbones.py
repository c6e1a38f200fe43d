"""Backbones: published counts, the output shape, and refusals that say what is allowed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from isoshare.search.workflows.inspect import inspect_plan
from isoshare.search.workflows.train import prepare_training
from isoshare.space.apply import apply_plan, count_parameters
from isoshare.space.backbones import BACKBONES, build_backbone, check_named, default_arguments
from isoshare.space.errors import BackboneError
from isoshare.space.imports import where_raised
from isoshare.space.plan import Bank, PlanFile, SharingPlan
from isoshare.space.sites import find_sites, isomorphic_groups

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def shapes_only(name: str, **arguments: Any) -> nn.Module:
    """A backbone that can be counted and shared, but has no numbers: built at once at any size."""
    with torch.device("meta"):
        return build_backbone(name, arguments)


def tied(backbone: nn.Module) -> nn.Module:
    """One kernel, and one bias, for each isomorphic group."""
    groups = isomorphic_groups(find_sites(backbone))
    banks = (Bank("kernel", {}, tuple(site.name for site in group)) for group in groups)
    return apply_plan(backbone, SharingPlan(tuple(banks)), weights="fresh")


def outputs(network: nn.Module, names: list[str], images: torch.Tensor) -> list[torch.Tensor]:
    """What the modules of these names return for ``images``."""
    seen: list[torch.Tensor] = []
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda *call: seen.append(call[2]))
    network(images)
    return seen


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("resnet_cifar", {"depth": 20}, 269_722),
        ("resnet_cifar", {"depth": 32, "shortcut": "pad"}, 464_154),
        ("resnet_cifar", {"depth": 56, "shortcut": "pad"}, 853_018),
        ("resnet_small_images", {"depth": 18, "classes": 100}, 11_220_132),
        ("resnet_small_images", {"depth": 34, "classes": 100}, 21_328_292),
        ("densenet_bc", {"depth": 40, "growth": 36}, 1_542_682),
        ("fashion_cnn", {}, 19_599_744),
    ],
)
def test_unshared_backbones_have_the_published_size(
    name: str, arguments: dict[str, Any], parameters: int
) -> None:
    assert count_parameters(shapes_only(name, **arguments)) == parameters


@pytest.mark.parametrize(
    ("name", "depth", "parameters"),
    [("dacnn_plain", 14, 167_396), ("dacnn_plain", 18, 168_164), ("dacnn_mix", 18, 4_918_244)],
)
def test_a_kernel_for_each_width_gives_dacnn_its_published_size(
    name: str, depth: int, parameters: int
) -> None:
    assert count_parameters(tied(shapes_only(name, depth=depth, classes=100))) == parameters


def test_a_regulator_for_each_block_gives_dacnn_mix_its_other_published_size() -> None:
    """A regulator is a 1x1 convolution without bias after the second normalisation."""
    network = tied(shapes_only("dacnn_mix", classes=100))
    ends = [part for name, part in network.named_modules() if name.endswith("bn2")]
    regulators = sum(part.num_features**2 for part in ends if isinstance(part, nn.BatchNorm2d))
    assert count_parameters(network) + regulators == 5_614_564


@pytest.mark.parametrize("width", [4, 10])
@pytest.mark.parametrize("shared", [False, True])
def test_dacnn_14_follows_the_formula(width: int, shared: bool) -> None:
    """P = 27C + C + s(9C² + C) + 13·2C + (C+1)·classes, s = 1 if shared else 12."""
    backbone = shapes_only("dacnn_plain", depth=14, width=width, classes=7)
    kernels = 1 if shared else 12
    expected = 28 * width + kernels * (9 * width**2 + width) + 26 * width + (width + 1) * 7
    assert count_parameters(tied(backbone) if shared else backbone) == expected


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize("width", [4, 10])
@pytest.mark.parametrize("shared", [False, True])
def test_plain_dacnn_follows_the_formula(depth: int, width: int, shared: bool) -> None:
    """P = 27C + 2C + s·9C² + N·4C + (C+1)·classes, s = 1 if shared else 2N."""
    backbone = shapes_only("dacnn_plain", depth=depth, width=width, classes=7)
    blocks = sum(BLOCKS[depth])
    kernels = 1 if shared else 2 * blocks
    expected = 29 * width + kernels * 9 * width**2 + blocks * 4 * width + (width + 1) * 7
    assert count_parameters(tied(backbone) if shared else backbone) == expected


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize("width", [4, 10])
@pytest.mark.parametrize("shared", [False, True])
def test_mixed_dacnn_follows_the_formula(depth: int, width: int, shared: bool) -> None:
    """P = 29C + Σ_i [s·(9C_i² + C_i) + n_i·4C_i] + (8C+1)·classes
    + Σ_{i>1} [9C_{i-1}C_i + C_i + C_{i-1}C_i + 2C_i], s = 1 if shared, else how many there are."""
    backbone = shapes_only("dacnn_mix", depth=depth, width=width, classes=7)
    expected = 29 * width + (8 * width + 1) * 7
    for place, blocks in enumerate(BLOCKS[depth]):
        channels, before = width * 2**place, width * 2**place // 2
        kernels = 1 if shared else 2 * blocks - bool(place)
        expected += kernels * (9 * channels**2 + channels) + blocks * 4 * channels
        if place:
            expected += 10 * before * channels + 3 * channels
    assert count_parameters(tied(backbone) if shared else backbone) == expected


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize("width", [4, 10])
def test_resnet_small_images_follows_the_formula(depth: int, width: int) -> None:
    """P = 29C + Σ_i [9C_{i-1}C_i + (2n_i - 1)·9C_i² + n_i·4C_i] + Σ_{i>1} [C_{i-1}C_i + 2C_i]
    + (8C+1)·classes."""
    expected = 29 * width + (8 * width + 1) * 7
    for place, blocks in enumerate(BLOCKS[depth]):
        channels = width * 2**place
        before = channels // 2 if place else channels
        expected += 9 * before * channels + (2 * blocks - 1) * 9 * channels**2
        expected += blocks * 4 * channels
        if place:
            expected += before * channels + 2 * channels
    backbone = shapes_only("resnet_small_images", depth=depth, width=width, classes=7)
    assert count_parameters(backbone) == expected


@pytest.mark.parametrize("depth", [10, 22])
@pytest.mark.parametrize("growth", [3, 12])
def test_densenet_bc_follows_the_formula(depth: int, growth: int) -> None:
    """A bottleneck on C channels has 2C + 4kC + 8k + 36k², a transition 2C + C·(C//2)."""
    channels = 2 * growth
    expected = 27 * channels
    for stage in range(3):
        for _ in range((depth - 4) // 6):
            expected += 2 * channels + 4 * growth * channels + 8 * growth + 36 * growth**2
            channels += growth
        if stage < 2:
            expected += 2 * channels + channels * (channels // 2)
            channels //= 2
    expected += 2 * channels + (channels + 1) * 7
    assert count_parameters(shapes_only("densenet_bc", depth=depth, growth=growth, classes=7)) == (
        expected
    )


@pytest.mark.parametrize("image_size", [4, 8, 15, 32])
@pytest.mark.parametrize("width", [4, 10])
def test_fashion_cnn_follows_the_formula(image_size: int, width: int) -> None:
    """P = 9C + 2·9C² + 3·2C + (S//4)²·C·2560 + 2560·1152 + 1152·256 + 256·classes."""
    arguments = {"width": width, "image_size": image_size, "classes": 7}
    network = shapes_only("fashion_cnn", **arguments)
    expected = 15 * width + 18 * width**2 + (image_size // 4) ** 2 * width * 2560
    expected += 2560 * 1152 + 1152 * 256 + 256 * 7
    assert count_parameters(network) == expected
    images = torch.empty(2, 1, image_size, image_size, device="meta")
    assert network(images).shape == (2, 7)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_take_their_arguments_from_the_data_and_use_every_parameter(name: str) -> None:
    side = 64 if "torchvision" in BACKBONES[name] or "expanded" in name else 8
    known = {"classes": 7, "in_channels": 2, "image_size": side, "other": 1}
    arguments = default_arguments(name, known)
    assert {"classes", "in_channels"} <= set(arguments) <= {"classes", "in_channels", "image_size"}
    network = build_backbone(name, arguments)
    logits = network(torch.randn(3, 2, side, side))
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(tensor.grad is not None for tensor in network.parameters())


@pytest.mark.parametrize(("shortcut", "in_front"), [("append", 0), ("pad", 1)])
def test_the_shortcut_adds_channels_of_zeros(shortcut: str, in_front: int) -> None:
    network = build_backbone("resnet_cifar", {"depth": 8, "width": 3, "shortcut": shortcut})
    block: Any = network.get_submodule("stages.1.0")
    x = torch.randn(1, 3, 6, 6)
    added = block._shortcut(x)
    assert added.shape == (1, 6, 3, 3)
    assert torch.equal(added[:, in_front : in_front + 3], x[:, :, ::2, ::2])
    assert not added[:, :in_front].any()
    assert not added[:, in_front + 3 :].any()


def test_dacnn_halves_the_images_of_the_paper_and_survives_small_ones() -> None:
    for depth, names, sides in (
        (14, [f"layers.{place}" for place in (1, 3, 6, 9, 12)], [32, 16, 8, 4, 2]),
        (18, [f"stages.{place}" for place in range(4)], [32, 16, 8, 4]),
    ):
        network = build_backbone("dacnn_plain", {"depth": depth, "width": 2})
        seen = outputs(network, names, torch.randn(2, 3, 32, 32))
        assert [x.shape[-1] for x in seen] == sides
        for side in (28, 5, 1):
            assert network.eval()(torch.randn(1, 3, side, side)).shape == (1, 10)


@pytest.mark.parametrize(
    "name", ["dacnn_plain", "dacnn_mix", "resnet_cifar", "resnet_small_images"]
)
def test_a_block_ends_with_its_second_convolution_and_normalisation(name: str) -> None:
    block = shapes_only(name).get_submodule("stages.1.0")
    parts = [part for part, _ in block.named_children()]
    assert parts[:4] == ["conv1", "bn1", "conv2", "bn2"]


def test_fashion_cnn_is_a_sequence_of_modules_without_biases() -> None:
    network = shapes_only("fashion_cnn")
    assert isinstance(network, nn.Sequential)
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear)
    assert {type(part) for part in network} == set(kinds)
    biases = [name for name, _ in network.named_parameters() if name.endswith("bias")]
    assert biases == ["bn1.bias", "bn2.bias", "bn3.bias"]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("resnet", {}, "unknown backbone 'resnet': choose one of .*resnet_cifar.*package.module"),
        ("no.such:thing", {}, "cannot import backbone 'no.such:thing'"),
        ("math:nothing", {}, "has no attribute 'nothing'"),
        ("math:pi", {}, "is a float, not a function"),
        ("math:sqrt", {"x": 4.0}, "it takes x"),
        ("builtins:dict", {}, "must return a torch.nn.Module"),
        ("resnet_cifar", {"depth": 21}, "depth must be 6n [+] 2"),
        ("resnet_cifar", {"width": 0}, "width must be at least 1"),
        ("resnet_cifar", {"shortcut": "b"}, "unknown shortcut 'b': choose one of append, pad"),
        ("resnet_cifar", {"deep": 20}, "it takes depth, width, classes, in_channels, shortcut"),
        ("resnet_small_images", {"depth": 50}, "depth must be one of 18, 34, got 50"),
        ("resnet_small_images", {"width": 0}, "width must be at least 1"),
        ("dacnn_plain", {"depth": 16}, "depth must be one of 14, 18, 34, got 16"),
        ("dacnn_plain", {"width": 0}, "width must be at least 1"),
        ("dacnn_mix", {"depth": 15}, "depth must be one of 14, 18, 34, got 15"),
        ("densenet_bc", {"depth": 41}, "depth must be 6n [+] 4"),
        ("densenet_bc", {"depth": 4}, "depth must be 6n [+] 4"),
        ("densenet_bc", {"growth": 0}, "growth must be at least 1"),
        ("fashion_cnn", {"width": 0}, "width must be at least 1"),
        ("fashion_cnn", {"image_size": 3}, "image_size must be at least 4 pixels, got 3"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(BackboneError, match=says):
        build_backbone(name, arguments)


def test_torchvision_can_be_imported_after_its_operators_are_declared() -> None:
    code = (
        "from isoshare.space.backbones.torchvision_operators import declare_missing as declare\n"
        "declare(); declare()\n"
        "import torchvision; print(torchvision.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["os:system", "torchvision.datasets.utils:download_url"])
def test_code_that_only_a_file_names_is_not_imported(name: str, tmp_path: Path) -> None:
    file = PlanFile.of(SharingPlan(), backbone={"name": name, "arguments": {"command": "false"}})
    path = tmp_path / "plan.json"
    file.save(path)
    refusal = rf"names backbone '{name}', which is code .*: if you trust it, .*--backbone {name}"
    asked: list[Callable[[], object]] = [
        lambda: inspect_plan(path),
        lambda: prepare_training(path, tmp_path / "n.safetensors", "fresh", {}),
        lambda: prepare_training(path, tmp_path / "n.safetensors", "fresh", {"backbone": "other"}),
    ]
    for request in asked:
        with pytest.raises(BackboneError, match=refusal):
            request()
    check_named(name, name, "the command line")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("x = 1\ndef f(:\n", r"fails with SyntaxError: invalid syntax \(.*broken.py, line 2\)"),
        ("\nimport not_there\n", r"No module named 'not_there' \(.*broken.py, line 2\); mend it"),
        ("\n\n1 / 0\n", r"ZeroDivisionError: division by zero \(.*broken.py, line 3\)"),
        ("import os\nos.nothing\n", r"AttributeError: .* \(.*broken.py, line 2\)"),
        ("raise SystemExit(3)\n", r"SystemExit: 3 \(.*broken.py, line 1\); guard"),
        ("def f():\n    raise SystemExit(7)\n", r"failed with \{\}: SystemExit: 7 \(.*, line 2\)"),
        ("def f():\n    raise ValueError('a\\nb')\n", r"failed with \{\}: ValueError: a b \("),
        ("from torch import nn\nf = nn.ReLU()\n", r"is a network: name a function that makes one"),
        (
            "from torch import nn\nclass f(nn.Module):\n    def __init__(self):\n        pass\n",
            r"returned a f that cannot be looked into: AttributeError: .*; its __init__ must call",
        ),
        (
            "from torch import nn\nclass f(nn.Module):\n    def modules(self):\n        1 / 0\n",
            r"returned a f that cannot be looked into: ZeroDivisionError: division by zero",
        ),
        ("def f():\n    return 1 / 0\n", r"failed with \{\}: .* \(.*broken.py, line 2\)"),
        ("def g(): ...\n", "has no attribute 'f'; check the spelling and what 'broken' defines"),
    ],
)
def test_a_module_of_ones_own_that_fails_gives_its_own_error_and_line(
    code: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(BackboneError, match=sentence):
        build_backbone("broken:f", {})


def test_a_number_that_torch_cannot_hold_is_told_in_one_line() -> None:
    with pytest.raises(BackboneError, match=r"failed with \{'width': .*Error: .+") as told:
        build_backbone("resnet_cifar", {"width": 10**30})
    assert "\n" not in str(told.value)


def test_a_module_of_ones_own_may_import_torchvision(tmp_path: Path) -> None:
    """In a process of its own, where nothing has prepared it yet."""
    (tmp_path / "mine.py").write_text("from torchvision.models import resnet18\n")
    script = "from isoshare.space.backbones import build_backbone as b; b('mine:resnet18', {})"
    root = str(Path(__file__).parent.parent)
    subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": f"{tmp_path}:{root}"}, check=True
    )


def test_an_error_of_a_library_is_placed_without_the_folders_of_this_machine() -> None:
    with pytest.raises(ValueError, match="in_channels must be divisible") as raised:
        nn.Conv2d(3, 4, 1, groups=2)
    assert where_raised(raised.value).startswith(f" ({__file__}, line ")
    assert raised.value.__traceback__ is not None
    beyond = raised.value.with_traceback(raised.value.__traceback__.tb_next)
    assert where_raised(beyond).startswith(" (torch/nn/modules/conv.py, line ")
