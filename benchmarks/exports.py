"""How large exported networks are, and how exact: every method on three backbones, both formats.

    python benchmarks/exports.py [--backbones resnet18,...] [--methods kernel,...]

Every site that can share by a method does. ONNX files are run in onnxruntime beside torch; weights
are loaded into a fresh network in a fresh process. Exits with 1 where a limit is broken. Prints a
table in Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from isoshare import apply_plan, count_parameters, find_sites
from isoshare.space.backbones import build_backbone
from isoshare.space.exports.onnx_file import save_onnx
from isoshare.space.methods import METHODS
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.weights.saving import load_weights, save_weights

BACKBONES: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "resnet_cifar": ({"depth": 20}, (3, 32, 32)),
    "resnet18": ({}, (3, 224, 224)),
    "mobilenet_v2": ({}, (3, 224, 224)),
}
"""Arguments and an image of each."""
PARITY = 1e-5
IMAGES = 2


@dataclass(frozen=True)
class Exported:
    """One network in its files.

    unique: bytes of its tensors, each once. onnx, baked, safetensors: bytes of the files.
    difference, baked_difference: the largest one between the logits of onnxruntime and torch.
    largest: the largest logit. same: whether a fresh process computes the same bits from the file.
    """

    backbone: str
    method: str
    parameters: int
    unique: int
    onnx: int
    baked: int
    safetensors: int
    difference: float
    baked_difference: float
    largest: float
    same: bool

    @property
    def limit(self) -> float:
        """Bytes that a file may have."""
        return 1.02 * self.unique + 100_000

    @property
    def keeps_limits(self) -> bool:
        """Whether sizes and outputs are as promised; a baked file may be larger."""
        small = self.onnx <= self.limit and self.safetensors <= self.limit
        return small and max(self.difference, self.baked_difference) < PARITY and self.same

    def __str__(self) -> str:
        beyond = [f"+{size - self.unique:,}" for size in (self.safetensors, self.onnx)]
        differences = [f"{one:.1e}" for one in (self.difference, self.baked_difference)]
        sizes = (f"{self.parameters:,}", f"{self.unique:,}", *beyond, f"{self.baked:,}")
        numbers = (*sizes, f"{self.largest:.2g}", *differences)
        return f"| {' | '.join((self.backbone, self.method, *numbers))} |"


def exported(backbone: str, method: str) -> Exported:
    """Share a network, write its files, and look at them."""
    network, plan = shared(backbone, method)
    arguments, image = BACKBONES[backbone]
    images = torch.randn(IMAGES, *image, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(images)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plan.save(folder / "plan.json")
        save_onnx(network, folder / "net.onnx", plan, image)
        save_onnx(network, folder / "baked.onnx", plan, image, bake=True)
        save_weights(network, folder / "net.safetensors", plan)
        np.save(folder / "images.npy", images.numpy())
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        difference, baked = (
            float((run(folder / name, images) - expected).abs().max())
            for name in ("net.onnx", "baked.onnx")
        )
        fresh = multiprocessing.get_context("spawn")
        # With other threads sums are added in another order, and the last bits differ.
        with ProcessPoolExecutor(
            1, fresh, torch.set_num_threads, (torch.get_num_threads(),)
        ) as pool:
            again = pool.submit(elsewhere, folder, backbone, arguments).result()
    return Exported(
        backbone,
        method,
        count_parameters(network),
        unique_bytes(network),
        sizes["net.onnx"],
        sizes["baked.onnx"],
        sizes["net.safetensors"],
        difference,
        baked,
        float(expected.abs().max()),
        bool(np.array_equal(again, expected.numpy())),
    )


def shared(backbone: str, method: str) -> tuple[nn.Module, PlanFile]:
    """A network in which all that can share does, with weights and statistics of its own."""
    torch.manual_seed(0)
    arguments, image = BACKBONES[backbone]
    unshared = build_backbone(backbone, arguments)
    space = SearchSpace(find_sites(unshared), count_parameters(unshared), (method,))
    plan = space.fully_shared_plan()
    network = apply_plan(unshared, plan)
    with torch.no_grad():
        network.train()(torch.randn(4, *image))
        for tensor in network.parameters():  # no two tensors are equal by chance
            tensor.add_(0.001 * torch.randn_like(tensor))
    return network.eval(), PlanFile.of(plan)


def run(path: Path, images: Tensor) -> Tensor:
    """The logits of a file in onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    return torch.from_numpy(logits)


def elsewhere(folder: Path, backbone: str, arguments: dict[str, Any]) -> NDArray[np.float32]:
    """What a process that knows nothing but the files computes."""
    torch.manual_seed(1234)
    unshared = build_backbone(backbone, arguments)
    network = apply_plan(unshared, SharingPlan.load(folder / "plan.json"))
    load_weights(network, folder / "net.safetensors").eval()
    images = torch.from_numpy(np.load(folder / "images.npy"))
    with torch.no_grad():
        logits: NDArray[np.float32] = network(images).numpy()
    return logits


def unique_bytes(network: nn.Module) -> int:
    """Of all tensors of a network, each once."""
    tensors = {id(t): t for t in network.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    print(
        "| backbone | method | parameters | tensors | safetensors | ONNX | ONNX, baked "
        "| largest logit | difference | baked |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    kept = True
    for backbone in options.backbones.split(","):
        for method in options.methods.split(","):
            row = exported(backbone, method)
            kept = kept and row.keeps_limits
            print(f"{row}{'' if row.keeps_limits else ' breaks a limit'}", flush=True)
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
