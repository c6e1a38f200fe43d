"""What devices hold of shared networks, beside what is counted: bytes, arenas, milliseconds.

    python benchmarks/device.py [--networks resnet20,...] [--methods unshared,kernel,...]
        [--rounds 50] [--formats onnx,...] [--out benchmarks/results/device.jsonl]

Everything that can share by a method does; weights and images are random. For each file: bytes
that are counted (device_bytes) and that it has; of ONNX files what onnxruntime keeps of weights;
what a fresh process has more of after loading and after the first run; the arena of TFLite Micro.
Each shared file is timed beside the unshared one, in one process, one thread, batch of one. The
format torch.onnx is what torch.onnx.export makes of the same network by itself. Rows are kept in
--out, and a second call goes on from there. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.kept import Row, keep, kept
from benchmarks.micro import arena_of
from isoshare import Bank, apply_plan, count_parameters, find_sites
from isoshare.space.apply import deployed
from isoshare.space.backbones import build_backbone
from isoshare.space.costs.closed_form import device_bytes
from isoshare.space.exports.int8 import Int8Format
from isoshare.space.exports.onnx_file import save_onnx
from isoshare.space.exports.onnx_int8 import ONNX
from isoshare.space.exports.quantised import quantised
from isoshare.space.exports.tflite.export import FAST_TFLITE, TFLITE
from isoshare.space.exports.tracing import traced
from isoshare.space.methods import METHODS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import Site

NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[int, int, int]]] = {
    "ResNet-20": ("resnet_cifar", {"depth": 20}, (3, 32, 32)),
    "ResNet-56": ("resnet_cifar", {"depth": 56}, (3, 32, 32)),
    "ConvMixer": ("convmixer", {"width": 64, "depth": 8}, (3, 32, 32)),
    "MobileNetV2": ("cifar_mobilenet_v2", {}, (3, 32, 32)),
    "ResNet-18": ("resnet_small_images", {}, (3, 32, 32)),
}
FORMATS: dict[str, tuple[Int8Format | None, str]] = {
    "onnx": (None, "float32"),
    "onnx-int8": (ONNX, "int8"),
    "tflite": (TFLITE, "int8"),
    "tflite --fast": (FAST_TFLITE, "int8"),
}
"""By name: what writes it in 8 bits, and what device_bytes counts for it."""
PLAIN = "torch.onnx"
"""The same network by PyTorch's own export, for comparison."""
ALL_FORMATS = {**FORMATS, PLAIN: FORMATS["onnx"]}
UNSHARED = "unshared"
WIDE = "filter_basis wide"
"""As many filters as a site has out-channels, and none unique."""
FITTED = 8
PROCESS = Path(__file__).with_name("runtimes.py")


def main() -> None:
    """Measure what is not in the file yet, and print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--methods", default=",".join((UNSHARED, *METHODS)))
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/device.jsonl"))
    options = parser.parse_args()
    rows = kept(options.out)
    for name in options.networks.split(","):
        known = {row["method"] for row in rows if row["network"] == name}
        asked = [one for one in options.methods.split(",") if one not in known]
        if not asked:
            continue
        for row in measured(name, asked, options.rounds, options.formats.split(",")):
            rows.append(row)
            keep(options.out, row)
    print(table(rows))


def measured(name: str, methods: Sequence[str], rounds: int, forms: Sequence[str]) -> Iterator[Row]:
    """A row for each method and format of one network."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        little = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        small = write_all(folder / "small", little, NOTHING, forms)
        beside = write_all(folder / UNSHARED, *shared(name, UNSHARED), forms)
        for method in methods:
            network, plan = shared(name, method)
            is_new = method != UNSHARED
            files = write_all(folder / method, network, plan, forms) if is_new else beside
            for form, path in files.items():
                yield {
                    "network": name,
                    "method": method,
                    "format": form,
                    "counted": counted(name, plan, ALL_FORMATS[form][1]),
                    "file": path.stat().st_size,
                    **held(path, small[form]),
                    **timed(path, beside[form], rounds),
                }


NOTHING = PlanFile.of(SharingPlan())


def shared(name: str, method: str) -> tuple[nn.Module, PlanFile]:
    """A network in which all that can share does, with weights and statistics of its own."""
    torch.manual_seed(0)
    backbone, arguments, image = NETWORKS[name]
    unshared = build_backbone(backbone, arguments)
    plan = SharingPlan()
    if method != UNSHARED:
        sites, kind = find_sites(unshared), "filter_basis" if method == WIDE else method
        plan = SearchSpace(sites, count_parameters(unshared), (kind,)).fully_shared_plan()
        plan = widened(plan, sites) if method == WIDE else plan
    network = apply_plan(unshared, plan)
    with torch.no_grad():
        network.train()(torch.randn(FITTED, *image))
        for tensor in network.parameters():  # no two tensors are equal by chance
            tensor.add_(0.001 * torch.randn_like(tensor))
    return network.eval(), PlanFile.of(plan)


def widened(plan: SharingPlan, sites: Sequence[Site]) -> SharingPlan:
    """Its filter bases with ranks as in ``WIDE``."""
    width = {site.name: site.out_channels for site in sites}
    banks = (
        Bank(bank.method, {"shared_rank": width[bank.sites[0]], "unique_rank": 0}, bank.sites)
        for bank in plan.banks
    )
    return SharingPlan(tuple(banks))


def counted(name: str, plan: PlanFile, target: str) -> int:
    """device_bytes of a plan."""
    backbone, arguments, image = NETWORKS[name]
    unshared = build_backbone(backbone, arguments)
    sites = find_sites(unshared)
    costs = network_costs(unshared, sites, torch.zeros(1, *image))
    return device_bytes(plan.plan, sites, costs, target)  # type: ignore[arg-type]


def write_all(
    folder: Path, network: nn.Module, plan: PlanFile, forms: Sequence[str] = tuple(FORMATS)
) -> dict[str, Path]:
    """The network in every format."""
    folder.mkdir(exist_ok=True)
    image = (3, 32, 32)
    images = torch.randn(FITTED, *image, generator=torch.Generator().manual_seed(1))
    made = quantised(traced(deployed(network.eval(), plan.plan), images[:1]), [images])
    files = {}
    for name in forms:
        form, _ = ALL_FORMATS[name]
        files[name] = folder / f"{name}.{name.split(' ')[0].split('-')[0]}"
        if name == PLAIN:
            some, names = (images[:1],), ["images"]
            torch.onnx.export(network, some, files[name], input_names=names, external_data=False)
        elif form is None:
            save_onnx(network, files[name], plan, image)
        else:
            form.save(made, files[name], plan)
    return files


def held(path: Path, small: Path) -> Row:
    """What a runtime holds."""
    loaded, first = process("memory", small, path)
    weights: Row = {"loaded": loaded, "first": first}
    if path.suffix == ".onnx":
        return {"weights": onnx_weights(path), **weights}
    arena, activations = arena_of(path) or (None, None)
    return {"arena": arena, "activations": activations, **weights}


def onnx_weights(path: Path) -> int:
    """Bytes of initialisers of the model that onnxruntime makes of a file by default."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(options.optimized_model_filepath).graph
    return sum(onnx.numpy_helper.to_array(one).nbytes for one in graph.initializer)


def timed(path: Path, beside: Path, rounds: int) -> Row:
    """Milliseconds of a file and of the unshared one beside it, and quartiles of the quotient."""
    (own, other), quotient = process("latency", rounds, path, beside)
    found = {"ms": own, "unshared_ms": other, "rounds": rounds}
    return {**found, "quotient": quotient, "clock": "processor"}


def process(*arguments: object) -> Any:
    """What a fresh process prints."""
    command = [sys.executable, str(PROCESS), *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def quartiles(row: Row) -> str:
    """How many times as long as the unshared file: the median round, and half of all rounds."""
    low, median, high = row.get("quotient") or (0.0, 0.0, 0.0)
    return f"{median:.2f} ({low:.2f} to {high:.2f})" if median else ""


COLUMNS = ("counted", "file", "weights", "loaded", "first", "arena", "activations")


def table(rows: Sequence[Row]) -> str:
    """In Markdown, a line for each row; bytes in kB."""
    lines = [
        "| network | method | format | device_bytes | file | weights in onnxruntime | private, "
        "loaded | private, first run | arena | of it activations | ms | of unshared | by rounds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sizes = [row.get(one) for one in COLUMNS]
        cells = [row["network"], row["method"], row["format"]]
        cells += ["" if size is None else f"{size / 1000:,.0f}" for size in sizes]
        cells += [f"{row['ms']:.2f}", f"{row['ms'] / row['unshared_ms']:.2f}", quartiles(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
