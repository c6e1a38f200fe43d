"""What becomes of a shared network in an ExecuTorch file, with XNNPACK and with portable kernels.

    python -m venv --system-site-packages VENV; VENV/bin/pip install executorch
    VENV/bin/python benchmarks/executorch_files.py [--networks ResNet-20,...]
        [--out benchmarks/results/executorch.jsonl]

Everything that can share a kernel does; weights and images are random. ``norms``: as torch has
them; ``apart``: each batch normalisation as a product and a sum, so that nobody folds it into a
kernel that others use. For each file: its bytes; how far its logits are from torch's, at most; what
a fresh process has more of after loading and after the first run, less what it has of a network of
one small convolution; milliseconds of one image on one thread, the fastest of 30. Rows are kept in
--out, and a second call goes on from there. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.device import UNSHARED, shared
from benchmarks.kept import Row, keep, kept
from benchmarks.runtimes import private_bytes
from isoshare.space.apply import deployed

METHODS = (UNSHARED, "kernel")
NORMS = ("norms", "apart")
DELEGATES = ("xnnpack", "portable")
ROUNDS = 30


def main() -> None:
    """Measure what is not in the file yet, and print all."""
    if sys.argv[1:2] == ["--run"]:
        print(json.dumps(run(*map(Path, sys.argv[2:]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="ResNet-20")
    here = Path(__file__).parent / "results" / "executorch.jsonl"
    parser.add_argument("--out", type=Path, default=here)
    options = parser.parse_args()
    for asked in itertools.product(options.networks.split(","), METHODS, NORMS, DELEGATES):
        key = dict(zip(("network", "method", "written", "delegate"), asked, strict=True))
        if not any(key.items() <= row.items() for row in kept(options.out)):
            keep(options.out, key | measured(*asked))
    print(table(kept(options.out)))


def measured(name: str, method: str, norms: str, delegate: str) -> Row:
    """One file, written, loaded and run."""
    network, plan = shared(name, method)
    network = deployed(network, plan.plan)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
            # as different as those of trained networks
            part.running_var *= 1 + torch.rand_like(part.running_var)
    if norms == "apart":
        network = apart(network)
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = [write(small, place / "small", delegate), write(network, place / "it", delegate)]
        again = [sys.executable, __file__, "--run", *map(str, files)]
        done = subprocess.run(again, capture_output=True, text=True, check=True)
        found: Row = json.loads(done.stdout.splitlines()[-1])
        return {"file": files[1].stat().st_size, **found}


def apart(network: nn.Module) -> nn.Module:
    """Each batch normalisation as a product and a sum."""
    made = copy.deepcopy(network)
    for name, norm in list(made.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            owner, _, last = name.rpartition(".")
            setattr(made.get_submodule(owner), last, ProductAndSum(norm))
    return made


class ProductAndSum(nn.Module):
    """What a batch normalisation computes in evaluation."""

    factor: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * factor
        self.register_buffer("factor", factor.detach().view(1, -1, 1, 1))
        self.register_buffer("shift", shift.detach().view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """The same shape."""
        return images * self.factor + self.shift


def write(network: nn.Module, path: Path, delegate: str) -> Path:
    """A file, and beside it an image with the logits that torch computes."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    parts = [XnnpackPartitioner()] if delegate == "xnnpack" else []
    with torch.no_grad():
        program = to_edge_transform_and_lower(
            torch.export.export(network, (image,)), partitioner=parts
        )
        torch.save((image, network(image)), path.with_suffix(".pt"))
    path.write_bytes(program.to_executorch().buffer)
    return path


def run(small: Path, path: Path) -> Row:
    """In a fresh process: what it holds, and what it computes."""
    from executorch.runtime import Runtime

    def loaded(file: Path) -> object:
        return Runtime.get().load_program(file).load_method("forward")

    torch.set_num_threads(1)
    first: Tensor = torch.load(small.with_suffix(".pt"))[0]
    kept_alive = loaded(small)
    kept_alive.execute([first])  # type: ignore[attr-defined]
    image, logits = torch.load(path.with_suffix(".pt"))
    began = private_bytes()
    method = loaded(path)
    after_loading = private_bytes() - began
    (found,) = method.execute([image])  # type: ignore[attr-defined]
    after_running = private_bytes() - began
    off = (found - logits).abs().max().item()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        method.execute([image])  # type: ignore[attr-defined]
        times.append(1000 * (time.perf_counter() - start))
    scale = logits.abs().max().item()
    return {
        "loaded": after_loading,
        "first": after_running,
        "off": off / scale,
        "ms": round(min(times), 3),
    }


def table(rows: list[Row]) -> str:
    """In Markdown; bytes in kB."""
    lines = [
        "| network | plan | normalisations | run by | file | private, loaded | private, first run "
        "| furthest logit off | ms |",
        "|---|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        sizes = (f"{row[name] / 1000:,.0f}" for name in ("file", "loaded", "first"))
        names = (row["network"], row["method"], row["written"], row["delegate"])
        cells = (*names, *sizes, f"{row['off']:.1%}", f"{row['ms']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
