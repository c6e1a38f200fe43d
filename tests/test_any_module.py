"""Users' own modules, unmodified: whatever is in them, and whatever is done with them later."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isoshare import (
    Bank,
    SearchSpace,
    SharingPlan,
    apply_plan,
    count_parameters,
    extra_loss,
    find_sites,
)
from isoshare.space.apply import plan_macs
from isoshare.space.methods import METHODS
from isoshare.space.passes.forward_pass import network_costs
from isoshare.space.sites import left_private
from tests.fakes import first_options

BANKS: dict[str, dict[str, Any]] = {
    **first_options(),
    "kernel": {},
    "anchored": {},
    "filter_basis": {"shared_rank": 3, "unique_rank": 1},
    "slice_generator": {"slice_size": 2, "code_size": 4},
    "low_rank": {"rank": 2},
}


class Mixture(nn.Module):
    """A bit of everything: what can share, what cannot, and a convolution that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)
        self.strided = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.grouped = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, groups=2) for _ in range(2))
        self.depthwise = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(2))
        self.tied = nn.Conv2d(8, 8, 1)
        self.tied_too = nn.Conv2d(8, 8, 1)
        self.tied_too.weight = self.tied.weight
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.sequence = nn.Conv1d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, height, width)."""
        x = self.strided(self.dilated(torch.relu(self.stem(x))))
        x = self.twice(torch.relu(self.twice(x)))
        for layer in (*self.grouped, *self.depthwise, self.tied, self.tied_too):
            x = torch.relu(layer(x)) + x
        x = self.norm(self.up(x))
        logits: Tensor = self.head(self.sequence(x.flatten(2)).mean(dim=2))
        return logits


def plan_by(method: str) -> SharingPlan:
    sites = ("dilated", "strided", "twice")
    return SharingPlan((Bank(method, BANKS[method], sites),))


def mixed_plan() -> SharingPlan:
    return SharingPlan(
        (
            Bank("filter_basis", BANKS["filter_basis"], ("dilated", "twice")),
            Bank("slice_generator", BANKS["slice_generator"], ("stem", "strided", "grouped.0")),
            Bank("anchored", {}, ("depthwise.0", "depthwise.1")),
        )
    )


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def shared_mixture(plan: SharingPlan) -> nn.Module:
    torch.manual_seed(0)
    return apply_plan(Mixture(), plan)


PLANS = [plan_by(method) for method in METHODS] + [mixed_plan()]
IDS = [*METHODS, "mixed"]


def test_what_cannot_share_is_said() -> None:
    private = dict(left_private(Mixture()))
    assert set(private) == {"tied", "tied_too"}
    assert "already tied" in private["tied"]
    assert len(find_sites(Mixture())) == 11


def test_an_empty_plan_leaves_outputs_bit_equal_and_existing_ties_tied() -> None:
    network = Mixture()
    same: Any = apply_plan(network, SharingPlan())
    assert torch.equal(same(images()), copy.deepcopy(network)(images()))
    assert same.tied.weight is same.tied_too.weight


@pytest.mark.parametrize("plan", PLANS, ids=IDS)
def test_a_mixture_is_shared_counted_and_trained(plan: SharingPlan) -> None:
    network = Mixture()
    space = SearchSpace(find_sites(network), count_parameters(network))
    shared = shared_mixture(plan)
    assert count_parameters(shared) == space.trainable_parameters(plan)
    optimizer = torch.optim.Adam(shared.parameters(), lr=0.01)
    before = [tensor.detach().clone() for tensor in shared.parameters()]
    for _ in range(2):  # a residual that is zero lets no gradient through in the first step
        loss = shared(images()).square().mean()
        extra = extra_loss(shared)
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
    for (name, tensor), old in zip(shared.named_parameters(), before, strict=True):
        if name != "up.bias":  # the batch normalisation behind it cancels it
            assert not torch.equal(tensor, old), name


def test_a_convolution_that_is_called_twice_costs_twice() -> None:
    network = Mixture()
    sites = find_sites(network)
    where = network_costs(network, sites, images(1)).positions
    assert where["strided"] == 25
    assert where["twice"] == 50
    assert where["dilated"] == 100
    both = plan_macs(SharingPlan(), sites, where)
    assert both - plan_macs(SharingPlan(), sites, {**where, "twice": 25}) == 25 * 8 * 8 * 9


@pytest.mark.parametrize("plan", PLANS, ids=IDS)
def test_compiled_networks_compute_the_same(plan: SharingPlan) -> None:
    shared = shared_mixture(plan)
    compiled: Any = torch.compile(copy.deepcopy(shared), backend="aot_eager")
    for network in (shared, compiled):
        network(images()).sum().backward()
    assert torch.allclose(compiled(images()), shared(images()), atol=1e-5)
    gradients = [
        (tensor.grad, again.grad)
        for tensor, again in zip(shared.parameters(), compiled.parameters(), strict=True)
    ]
    for expected, found in gradients:
        assert expected is not None
        assert found is not None
        assert torch.allclose(expected, found, atol=1e-4)
    torch._dynamo.reset()


@pytest.mark.parametrize("plan", PLANS, ids=IDS)
def test_networks_can_be_exported(plan: SharingPlan) -> None:
    shared = shared_mixture(plan).eval()
    with torch.no_grad():
        expected = shared(images())  # cached kernels are not baked into the program
    program = torch.export.export(shared, (images(),))
    assert torch.allclose(program.module()(images()), expected, atol=1e-5)
    stored = sum(tensor.numel() for tensor in program.parameters())
    assert stored <= sum(
        tensor.numel() for _, tensor in shared.named_parameters(remove_duplicate=False)
    )


@pytest.mark.parametrize("plan", PLANS, ids=IDS)
def test_several_seeds_can_be_stacked(plan: SharingPlan) -> None:
    from torch.func import functional_call, stack_module_state, vmap

    networks = [shared_mixture(plan).eval() for _ in range(2)]
    state = stack_module_state(networks)

    def one(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
        output: Tensor = functional_call(networks[0], (parameters, buffers), (x,))
        return output

    both = vmap(one, in_dims=(0, 0, None))(*state, images())
    assert torch.allclose(both[0], networks[0](images()), atol=1e-5)


def test_data_parallel_processes_stay_together(tmp_path: Path) -> None:
    """Two processes on different halves of a batch end with the weights of one on all of it."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, str(script), str(tmp_path)]
    root = Path(__file__).parent.parent
    workers = [
        subprocess.Popen([*command, str(rank)], cwd=root, env={"PYTHONPATH": str(root)})
        for rank in (0, 1)
    ]
    assert [worker.wait(timeout=500) for worker in workers] == [0, 0]
    zero, one, alone = (torch.load(tmp_path / f"{name}.pt") for name in ("0", "1", "alone"))
    for name, tensor in zero.items():
        assert torch.equal(tensor, one[name])
        assert torch.allclose(tensor, alone[name], atol=1e-5)


WORKER = """
import sys
import torch
from torch import nn, distributed
from torch.nn.parallel import DistributedDataParallel
from tests.test_any_module import BANKS, shared_mixture, mixed_plan, images
from isoshare.space.methods import METHODS

folder, rank = sys.argv[1], int(sys.argv[2])
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
)

def trained(network, parts):
    network.eval()  # batch statistics differ between halves
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        network(parts).square().mean().backward()
        optimizer.step()
    return network

plan = mixed_plan()
parallel = DistributedDataParallel(shared_mixture(plan))
trained(parallel, images(4)[rank::2])
torch.save(parallel.module.state_dict(), f"{folder}/{rank}.pt")
if rank == 0:
    torch.save(trained(shared_mixture(plan), images(4)).state_dict(), f"{folder}/alone.pt")
distributed.destroy_process_group()
"""
