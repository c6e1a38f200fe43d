"""Backbones: published counts, the output shape, and refusals that say what is allowed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from space.apply import count_parameters
from space.backbones import BACKBONES, build_backbone, default_arguments
from space.errors import BackboneError


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (32, 464_154), (56, 853_018)])
def test_resnet_cifar_has_the_published_size(depth: int, parameters: int) -> None:
    assert count_parameters(build_backbone("resnet_cifar", {"depth": depth})) == parameters


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_take_classes_and_channels_from_the_data(name: str) -> None:
    arguments = default_arguments(name, {"classes": 7, "in_channels": 2, "other": 1})
    assert arguments == {"classes": 7, "in_channels": 2}
    assert build_backbone(name, arguments)(torch.randn(3, 2, 8, 8)).shape == (3, 7)


def test_the_shortcut_appends_channels_of_zeros() -> None:
    network = build_backbone("resnet_cifar", {"depth": 8, "width": 2})
    block: Any = network.get_submodule("stages.1.0")
    x = torch.randn(1, 2, 6, 6)
    shortcut = block._shortcut(x)
    assert torch.equal(shortcut[:, :2], x[:, :, ::2, ::2])
    assert shortcut.shape == (1, 4, 3, 3)
    assert not shortcut[:, 2:].any()


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
        ("resnet_cifar", {"deep": 20}, "it takes depth, width, classes, in_channels"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(BackboneError, match=says):
        build_backbone(name, arguments)


def test_torchvision_can_be_imported_after_its_operators_are_declared() -> None:
    code = (
        "from space.backbones.torchvision_operators import declare_missing as declare\n"
        "declare(); declare()\n"
        "import torchvision; print(torchvision.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
