"""Which code travels to the workers of a cluster."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from isoshare.search.drivers.runtime_env import code_for

ROOT = Path(__file__).resolve().parent.parent
OURS = [ROOT / "isoshare"]


@pytest.mark.parametrize("backbone", ["resnet_cifar", "torchvision.models:resnet18"])
def test_known_backbones_need_our_packages_alone(backbone: str) -> None:
    assert code_for(backbone) == OURS


def test_what_is_installed_does_not_travel() -> None:
    assert code_for("torchvision.ops:MLP") == OURS


def test_a_backbone_travels_with_the_modules_beside_it_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "shipped_blocks.py": "WIDTH = 4",
        "shipped_parts/__init__.py": "",
        "shipped_net.py": "import shipped_blocks, shipped_parts\ndef build(): ...",
        "not_imported.py": "raise RuntimeError",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import_module("shipped_net")
    here = tmp_path.resolve()
    found = code_for("shipped_net:build")
    assert found[: len(OURS)] == OURS
    assert found[len(OURS) :] == [
        here / name for name in ("shipped_blocks.py", "shipped_net.py", "shipped_parts")
    ]
    for name in ("shipped_blocks", "shipped_net", "shipped_parts"):
        monkeypatch.delitem(sys.modules, name)


def test_what_a_script_defines_travels_with_the_modules_beside_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook there is no script."""
    (tmp_path / "shipped_helper.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("shipped_helper")
    script = tmp_path / "script.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    assert set(code_for("__main__:Net")) == {*OURS, tmp_path.resolve() / "shipped_helper.py"}
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    assert code_for("__main__:Net") == OURS
    monkeypatch.delitem(sys.modules, "shipped_helper")


def test_a_backbone_in_a_package_travels_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shipped_package").mkdir()
    (tmp_path / "shipped_package" / "net.py").write_text("def build(): ...")
    monkeypatch.syspath_prepend(tmp_path)
    assert code_for("shipped_package.net:build") == [*OURS, tmp_path.resolve() / "shipped_package"]
