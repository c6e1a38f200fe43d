"""Taking a plan or a trained network home: formats, choices, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import onnxruntime
import pytest
import torch

from isoshare.search.cli import options
from isoshare.search.workflows.exporting.export import FORMATS
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.weights.saving import PLAN_KEY, load_network, read_plan, save_weights
from tests.fakes import Command


@pytest.fixture(autouse=True)
def folder(small_search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run: a folder of its own, with the database of the search."""
    monkeypatch.setenv("ISOSHARE_STORAGE", f"sqlite:///{small_search / 'isoshare.db'}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_offers_the_formats_of_the_table() -> None:
    assert get_args(get_args(options.Format)[0]) == tuple(FORMATS)
    assert all(row.summary for row in FORMATS.values())


@pytest.mark.parametrize("name", FORMATS)
def test_a_study_is_exported_in_every_format(command: Command, folder: Path, name: str) -> None:
    path = folder / f"out.{name}"
    code, out, err = command("export", "s", "--format", name, "--epochs", 1, "-o", path)
    assert code == 0, err
    assert f"wrote {path}" in out or f"to {path}" in out
    assert ("a study keeps no weights" in err) == FORMATS[name].needs_weights
    assert path.exists()
    assert not list(folder.glob("*.part"))


def test_a_trained_file_is_exported_without_its_study(command: Command, folder: Path) -> None:
    assert command("export", "s", "-o", "plan.json")[0] == 0
    assert command("train", "plan.json", "--epochs", 1, "-o", "net.safetensors")[0] == 0
    for name in ("onnx", "json", "safetensors"):
        code, _, err = command("export", "net.safetensors", "--format", name, "-o", f"n.{name}")
        assert (code, err) == (0, "")
    assert read_plan("n.safetensors") == read_plan("net.safetensors") == PlanFile.load("n.json")
    assert PlanFile.load("n.json").plan == PlanFile.load("plan.json").plan
    told = PlanFile.load("n.json").provenance["input"]
    assert told["image"] == [1, 8, 8]
    images = torch.randint(0, 256, (7, *told["image"])).float()
    scaled = (images - torch.tensor(told["mean"])) / torch.tensor(told["deviation"])
    modes = [Path(name).stat().st_mode for name in ("net.safetensors", "n.onnx", "n.json")]
    assert len(set(modes)) == 1  # who may read one may read all
    session = onnxruntime.InferenceSession("n.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": scaled.numpy()})
    with torch.no_grad():
        expected = load_network("net.safetensors")(scaled)
    assert (torch.from_numpy(found) - expected).abs().max() < 1e-5
    assert json.loads(session.get_modelmeta().custom_metadata_map[PLAN_KEY])["banks"]
    asked = ("net.safetensors", "--format", "onnx", "--image", "1x9x7", "-o", "other.onnx")
    code, out, _ = command("export", *asked)
    assert (code, "trained on images of 1x8x8: try" in out) == (0, True)


def test_weights_that_were_trained_for_an_export_that_fails_are_named(
    command: Command, folder: Path
) -> None:
    (folder / "n.onnx.part").mkdir()
    code, _, err = command("export", "s", "--format", "onnx", "--epochs", 1, "-o", "n.onnx")
    assert code == 2
    assert "cannot write n.onnx: Is a directory; the trained weights are in n.safetensors" in err
    assert load_network("n.safetensors")


def test_weights_beside_an_export_are_not_written_over(command: Command, folder: Path) -> None:
    (folder / "n.safetensors").write_bytes(b"of another training")
    code, _, err = command("export", "s", "--format", "onnx", "--epochs", 1, "-o", "n.onnx")
    assert code == 2
    assert "would write over n.safetensors" in err
    assert "isoshare export n.safetensors -o n.onnx" in err
    assert (folder / "n.safetensors").read_bytes() == b"of another training"


def test_weights_that_are_no_numbers_are_named(command: Command, folder: Path) -> None:
    conv = torch.nn.Conv2d(1, 4, 3)
    conv.weight.data[0] = float("nan")
    save_weights(torch.nn.Sequential(conv), "net.safetensors", PlanFile.of(SharingPlan()))
    code, _, err = command("export", "net.safetensors", "--format", "safetensors", "-o", "n.st")
    assert code == 2
    assert "weights that are NaN or infinite cannot be exported, and these are: 0.weight" in err
    assert not Path("n.st").exists()


def test_exporting_a_file_onto_itself_keeps_it(command: Command, folder: Path) -> None:
    asked = ("--format", "safetensors", "-o", "n.safetensors")
    assert command("export", "s", "--epochs", 1, *asked)[0] == 0
    before = (folder / "n.safetensors").read_bytes()
    code, _, _ = command(
        "export", "n.safetensors", "--format", "safetensors", "-o", "n.safetensors"
    )
    assert (code, (folder / "n.safetensors").read_bytes()) == (0, before)


def test_wrong_requests_are_sentences(command: Command, folder: Path) -> None:
    assert command("export", "s", "-o", "plan.json")[0] == 0
    network = PlanFile.load("plan.json")
    bare = network.model_copy(update={"provenance": {}})
    from isoshare import apply_plan
    from isoshare.space.backbones import build_backbone

    assert network.backbone is not None
    built = build_backbone(network.backbone.name, network.backbone.arguments)
    save_weights(apply_plan(built, network.plan), "bare.safetensors", bare)
    (folder / "text.safetensors").write_text("hello")
    onnx = ("--format", "onnx", "-o", "x.onnx")
    int8 = ("--format", "onnx-int8", "-o", "x.onnx")
    where = {"input": {"image": [1, 9, 9], "mean": [0.0], "deviation": [1.0]}}
    other = network.model_copy(update={"provenance": where})
    save_weights(apply_plan(built, network.plan), "other.safetensors", other)
    for arguments, says in (
        (("bare.safetensors", "--fast", *int8), "--fast is for tflite, not for onnx-int8"),
        (("bare.safetensors", "--bake", *int8), "--bake is for onnx, not for onnx-int8"),
        (("bare.safetensors", "--dataset", "digits", *onnx), "for onnx-int8 and tflite, not for"),
        (("s", "--image", "1x8x8", "-o", "x.json"), "--image is for onnx, not for json"),
        (("bare.safetensors", *onnx), "add --image, like --image 3x32x32"),
        (("bare.safetensors", "--image", "32", *onnx), "channels, height and width"),
        (("bare.safetensors", "--image", "0x8x8", *onnx), "channels, height and width"),
        (
            ("bare.safetensors", "--image", "3x8x8", *onnx),
            "cannot take images of 3x8x8: Given groups=1",
        ),
        (("bare.safetensors", "--image", "1x1000000x1000000", *onnx), "do not fit into memory"),
        (("bare.safetensors", "--format", "onnx", "-o", "."), "it is a folder"),
        (("bare.safetensors", "--format", "json", "-o", "bare.safetensors"), "is the file that is"),
        (("plan.json", *onnx), "name a file that 'isoshare train' has written"),
        (("bare.safetensors", "--best", "knee", *onnx), "nothing to choose"),
        (("bare.safetensors", *int8), "does not say how its images are normalised"),
        (("bare.safetensors", "--format", "tflite", "-o", "x"), "does not say how its images are"),
        (("other.safetensors", *int8), "name its images, like --dataset digits"),
        (("other.safetensors", "--dataset", "digits", *int8), "digits are 1x8x8, the network was"),
        (("none.safetensors", *onnx), "cannot read none.safetensors"),
        (("text.safetensors", *onnx), "cannot read text.safetensors"),
        (("nothing", *onnx), "unknown study 'nothing'"),
        (("s", "--trial", 99, *onnx), "trial 99 is not among"),
        (("s", "--format", "pickle", "-o", "x"), "'pickle' is not one of"),
        (("s", "--format", "onnx", "-o", "/no/such/x.onnx"), "there is no folder"),
        (("bare.safetensors", "--format", "json", "-o", "/no/such/x"), "there is no folder"),
    ):
        code, out, err = command("export", *arguments)
        assert code == 2, arguments
        assert says in err
        assert err.count("\n") <= 2
        assert out == ""
    assert not list(folder.glob("x*"))
    code, _, err = command("export", "bare.safetensors", "--image", "1x8x8", *onnx)
    assert code == 0, err
