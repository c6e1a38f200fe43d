"""Networks that do more with their convolutions than call them: served right, or refused in words.

For each odd network and each method: what is built is what was counted, gradients reach every
tensor of every bank, the baked copy computes the same, and the original stays untouched.
"""

from __future__ import annotations

import copy
import pickle
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval, parametrizations, parametrize, prune

from isoshare.space.apply import apply_plan, bake, count_parameters, plan_parameters
from isoshare.space.backbones import torchvision_operators
from isoshare.space.errors import BackboneError, IsoshareError, PlanError, WeightsError
from isoshare.space.methods import METHODS
from isoshare.space.network_copy import copy_network
from isoshare.space.passes.acting_sites import acting_sites
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.search_space import SearchSpace
from isoshare.space.sites import find_sites, left_private
from tests.fakes import first_options

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.(jit.script|nn.utils.weight_norm).*deprecated"),
    pytest.mark.filterwarnings("ignore:Complex modules are a new feature"),
]
OPTIONS: dict[str, dict[str, Any]] = {
    **first_options(),
    "kernel": {},
    "anchored": {},
    "filter_basis": {"shared_rank": 4, "unique_rank": 1, "orthogonality": 0.0},
    "slice_generator": {"slice_size": 4, "code_size": 4},
    "low_rank": {"rank": 2},
}
SITES = ("body.0", "body.1", "body.2")


def conv(**changes: Any) -> nn.Conv2d:
    return nn.Conv2d(8, 8, 3, **{"padding": 1, **changes})


class Net(nn.Module):
    """A stem, three equal convolutions with a normalisation each, a head."""

    def __init__(self, make: Callable[[], nn.Module] = conv) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.ModuleList(make() for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.head = nn.Linear(8, 5)

    def convolved(self, place: int, x: Tensor) -> Tensor:
        """What the convolution of one place makes of x."""
        y: Tensor = self.body[place](x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, height, width)."""
        x = self.stem(x)
        for place, norm in enumerate(self.norms):
            x = functional.relu(norm(self.convolved(place, x))) + x
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class ReadsKernels(Net):
    """Convolves by itself, with kernels that it centres (weight standardisation, CDC)."""

    def convolved(self, place: int, x: Tensor) -> Tensor:
        one: Any = self.body[place]
        kernel = one.weight - one.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, kernel, one.bias, padding=1)


class ReadsType(Net):
    """Asks a kernel for its type, as timm's EdgeNeXt and XCiT do."""

    def convolved(self, place: int, x: Tensor) -> Tensor:
        one: Any = self.body[place]
        return super().convolved(place, x.to(one.weight.dtype))


class Keeps(Net):
    """Holds something beside its modules."""

    def __init__(self, held: Callable[[Net], Any]) -> None:
        super().__init__()
        self.held = held(self)


def own_forward() -> nn.Module:
    """Convolutions with a forward of their own on the instance."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight.tanh(), self.bias, padding=1)

    network = Net()
    for part in network.body:
        part.forward = types.MethodType(forward, part)
    return network


def wrapped_forward() -> nn.Module:
    """A forward that remembers the one it replaces."""
    network = Net()
    for part in network.body:
        part.forward = _doubled(part.forward)
    return network


def _doubled(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: forward(2 * x)


def hooked() -> nn.Module:
    """A hook that uses the kernel of another convolution."""
    network = Net()
    first: Any = network.body[0]
    network.stem.register_forward_hook(lambda _, __, output: output * first.weight.mean())
    return network


def max_norm() -> nn.Module:
    """A hook that writes into the kernel before each pass."""

    def limit(part: Any, _: Any) -> None:
        part.weight.data = torch.renorm(part.weight.data, 2, 0, 0.5)

    network = Net()
    for part in network.body:
        part.register_forward_pre_hook(limit)
    return network


def with_biases(change: Callable[[Any], object]) -> nn.Module:
    network = Net()
    change(network.body)
    return network


def frozen_biases(places: int) -> nn.Module:
    return with_biases(lambda body: [body[i].bias.requires_grad_(False) for i in range(places)])


def sparse(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().to_sparse())


def masked(name: str) -> nn.Module:
    return with_biases(lambda body: _prune(body[0], name))


def _prune(part: Any, name: str) -> None:
    prune.l1_unstructured(part, name, 0.5)  # type: ignore[no-untyped-call]


class Halved(nn.Module):
    def forward(self, tensor: Tensor) -> Tensor:
        """A parametrisation."""
        return tensor / 2


def parametrised_bias() -> nn.Module:
    return with_biases(lambda body: parametrize.register_parametrization(body[0], "bias", Halved()))


def after_a_pass() -> nn.Module:
    """Old spectral normalisation and a kept output leave tensors of the last pass behind."""
    network = Net()
    nn.utils.spectral_norm(network.stem)
    network.register_buffer("last", network.body[0](torch.randn(1, 8, 4, 4)))
    network(images()).sum().backward()
    return network


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def plan_by(method: str, sites: tuple[str, ...] = SITES) -> SharingPlan:
    return SharingPlan((Bank(method, OPTIONS[method], sites),))


SERVED: dict[str, Callable[[], nn.Module]] = {
    "plain": Net,
    "the owner reads kernels": ReadsKernels,
    "the owner reads types": ReadsType,
    "a forward of its own": own_forward,
    "a wrapped forward": wrapped_forward,
    "a hook reads a kernel": hooked,
    "frozen biases": lambda: frozen_biases(3),
    "a frozen bias": lambda: frozen_biases(1),
    "a lock": lambda: Keeps(lambda _: {"lock": threading.Lock()}),
    "after a training pass": after_a_pass,
    "double": lambda: Net().double(),
    "bfloat16": lambda: Net().bfloat16(),
    "float16": lambda: Net().half(),
}


def closeness(dtype: torch.dtype) -> float:
    return 1e-4 if dtype in {torch.float32, torch.float64} else 0.05


@pytest.mark.parametrize("method", OPTIONS)
@pytest.mark.parametrize("make", SERVED.values(), ids=SERVED)
def test_every_tensor_acts_and_is_counted(make: Callable[[], nn.Module], method: str) -> None:
    torch.manual_seed(0)
    network, plan = make(), plan_by(method)
    x = images().to(next(network.parameters()).dtype)
    before = network.eval()(x)
    shared = apply_plan(network, plan, weights="fresh")
    expected = plan_parameters(plan, find_sites(network), count_parameters(network))
    assert count_parameters(shared) == expected
    for part in (shared.train(), shared.eval()):
        part(x).float().square().sum().backward()
    known = {name for name, _ in network.named_parameters()}
    for name, tensor in shared.named_parameters():
        if name not in known and tensor.requires_grad:
            assert tensor.grad is not None, name
    found, baked = shared(x), bake(shared, plan)(x)
    assert torch.allclose(found, baked, atol=closeness(x.dtype), rtol=closeness(x.dtype))
    assert torch.equal(network.eval()(x), before)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "tied biases": (
        lambda: with_biases(lambda body: setattr(body[1], "bias", body[0].bias)),
        "its bias is already tied",
    ),
    "a pruned kernel": (lambda: masked("weight"), "its kernel is computed"),
    "a pruned bias": (lambda: masked("bias"), "its bias is computed"),
    "a parametrised bias": (parametrised_bias, "is computed from other tensors"),
    "old weight norm": (lambda: Net(lambda: nn.utils.weight_norm(conv())), "is computed"),
    "weight norm": (lambda: Net(lambda: parametrizations.weight_norm(conv())), "is computed"),
    "spectral norm": (lambda: Net(lambda: parametrizations.spectral_norm(conv())), "is computed"),
    "a list of kernels": (
        lambda: Keeps(lambda network: [[part.weight for part in network.body]]),
        "its kernel is held by attribute 'held' too",
    ),
    "scripted convolutions": (lambda: Net(lambda: torch.jit.script(conv())), "scripted"),
    "a kernel of another shape": (
        lambda: with_biases(lambda body: setattr(body[0], "weight", nn.Parameter(torch.ones(2)))),
        "its kernel has another shape than the layer says: (2,)",
    ),
    "a sparse kernel": (
        lambda: with_biases(lambda body: setattr(body[0], "weight", sparse(body[0].weight))),
        "its kernel is stored as torch.sparse_coo",
    ),
    "an empty kernel": (
        lambda: with_biases(lambda body: setattr(body[0], "weight", nn.Parameter(torch.ones(0)))),
        "its kernel has no elements",
    ),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_stays_private_with_a_reason(
    make: Callable[[], nn.Module], reason: str
) -> None:
    network = make()
    assert reason in dict(left_private(network))["body.0"]
    with pytest.raises(PlanError, match=r"site 'body.0' cannot share: "):
        apply_plan(network, plan_by("kernel"))


@pytest.mark.parametrize("method", ["anchored", "filter_basis", "slice_generator"])
@pytest.mark.parametrize("way", ["hook", "initialisation", "reset", "pruning"])
def test_writing_into_a_computed_kernel_is_refused(method: str, way: str) -> None:
    shared = apply_plan(max_norm() if way == "hook" else Net(), plan_by(method))
    part: Any = shared.get_submodule("body.0")
    with pytest.raises(PlanError, match=r"'body\.0'.* (method kernel|(is|are) computed)"):  # noqa: PT012
        if way == "initialisation":
            nn.init.zeros_(part.weight.data)
        elif way == "reset":
            part.reset_parameters()
        elif way == "pruning":
            _prune(part, "weight")
        shared(images())


@pytest.mark.parametrize("method", OPTIONS)
def test_a_convolution_is_fused_with_its_normalisation(method: str) -> None:
    shared: Any = apply_plan(Net(), plan_by(method))
    shared(images())  # statistics
    shared.eval()
    x = torch.randn(2, 8, 6, 6)
    fused = fuse_conv_bn_eval(shared.body[1], shared.norms[1])
    assert type(fused) is nn.Conv2d
    assert torch.allclose(fused(x), shared.norms[1](shared.body[1](x)), atol=1e-4)
    assert type(shared.body[1]) is (nn.Conv2d if method == "kernel" else type(shared.body[0]))


class Blocks(nn.Module):
    """Each convolution with its normalisation beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*[one for _ in range(3) for one in (conv(), nn.BatchNorm2d(8))])

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 8, height, width)."""
        y: Tensor = self.body(x)
        return y


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_normalisation_with_a_regulator_is_not_fused_and_else_as_ever(
    momentum: float | None,
) -> None:
    network: Any = Blocks()
    for place in (1, 3, 5):
        network.body[place].momentum = momentum
    options = {"every": 2, "regulator_after": "batch_norm"}
    plan = SharingPlan((Bank("anchored", options, ("body.0", "body.2", "body.4")),))
    shared: Any = apply_plan(network, plan)
    tied: Any = apply_plan(network, SharingPlan((Bank("kernel", {}, plan.sites),)))
    x = torch.randn(2, 8, 6, 6)
    for part in (shared, tied):
        part(x)
        part(2 * x)
    assert torch.allclose(shared(x), tied(x), atol=1e-5)  # regulators start as the identity
    assert torch.allclose(shared.eval()(x), tied.eval()(x), atol=1e-5)
    with pytest.raises(PlanError, match=r"behind 'body.4' is followed by a regulator.*fuse_conv"):
        fuse_conv_bn_eval(shared.body[4], shared.body[5])
    fuse_conv_bn_eval(shared.body[2], shared.body[3])
    assert copy.deepcopy(shared)(x).equal(shared(x))


@pytest.mark.parametrize("method", OPTIONS)
def test_scripting_works_or_is_refused_with_the_way_out(method: str) -> None:
    plan = plan_by(method)
    shared = apply_plan(Scriptable(), plan).eval()
    if method != "kernel":
        with pytest.raises(PlanError, match=r"torch.jit.script cannot compile 'body\.0'.*bake"):
            torch.jit.script(shared)
    scripted: Any = torch.jit.script(bake(shared, plan))
    assert torch.allclose(scripted(images()), shared(images()), atol=1e-4)


class Scriptable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(conv(), conv(), conv())

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, height, width)."""
        y: Tensor = self.body(self.stem(x))
        return y


@pytest.mark.parametrize("method", OPTIONS)
def test_a_shared_network_can_be_copied_and_pickled_after_its_kernels_were_read(
    method: str,
) -> None:
    shared = apply_plan(ReadsKernels(), plan_by(method))
    shared(images()).sum().backward()
    shared.eval()
    for again in (copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))):
        assert torch.equal(again(images()), shared(images()))
        assert count_parameters(again) == count_parameters(shared)


def halve(part: Any, name: str = "weight") -> None:
    parametrize.register_parametrization(part, name, Halved())


CHANGES_OF_WEIGHTS: dict[str, Callable[[Any], object]] = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "parametrised": halve,
    "parametrised bias": lambda part: halve(part, "bias"),
    "old weight norm": nn.utils.weight_norm,
    "pruned": lambda part: _prune(part, "weight"),
    "pruned bias": lambda part: _prune(part, "bias"),
    "pruned in whole filters": lambda part: prune.ln_structured(part, "weight", 0.5, 2, 0),  # type: ignore[no-untyped-call]
    "pruned at random": lambda part: prune.random_unstructured(part, "weight", 0.5),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("method", sorted(set(OPTIONS) - {"kernel"}))
@pytest.mark.parametrize("change", CHANGES_OF_WEIGHTS.values(), ids=CHANGES_OF_WEIGHTS)
def test_a_computed_weight_is_not_replaced_after_sharing(
    change: Callable[[Any], object], method: str
) -> None:
    shared: Any = apply_plan(Net(), plan_by(method)).eval()
    before = shared(images())
    with pytest.raises(PlanError, match=r"'body\.0' are computed .* before .* after .*bake"):
        change(shared.body[0])
    if method in {"filter_basis", "slice_generator"} or change is not nn.utils.weight_norm:
        assert torch.equal(shared(images()), before)


@pytest.mark.parametrize("change", CHANGES_OF_WEIGHTS.values(), ids=CHANGES_OF_WEIGHTS)
def test_a_kernel_that_is_shared_as_it_is_can_be_changed(change: Callable[[Any], object]) -> None:
    shared: Any = apply_plan(Net(), plan_by("kernel"))
    change(shared.body[0])
    shared(images()).square().sum().backward()
    assert all(tensor.grad is not None for tensor in shared.parameters())


@pytest.mark.parametrize("method", OPTIONS)
def test_a_tensor_of_a_bank_can_be_parametrised_itself(method: str) -> None:
    own = {"anchored": "regulator", "filter_basis": "coefficients"}.get(method)
    name = {"slice_generator": "codes", "low_rank": "left"}.get(method, "weight")
    shared: Any = apply_plan(Net(), plan_by(method)).eval()
    part = getattr(shared.body[0], own) if own else shared.body[0]
    before = shared(images())
    halve(part, name)
    shared(images()).square().sum().backward()
    assert part.parametrizations[name].original.grad is not None
    assert method == "low_rank" or not torch.equal(shared(images()), before)  # it starts at zero


class ByName(Net):
    """Calls its layers by the names of their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.ConvTranspose2d(8, 8, 2, 2) for _ in range(2))

    def convolved(self, place: int, x: Tensor) -> Tensor:
        y: Tensor = self.body[place](input=x)
        for layer in self.up:
            y = layer(input=functional.max_pool2d(y, 2), output_size=x.shape[2:])
        return y


@pytest.mark.parametrize("method", OPTIONS)
def test_layers_are_called_by_the_names_of_their_arguments(method: str) -> None:
    both = method in {"kernel", "slice_generator", "low_rank"}
    banks = [SITES, ("up.0", "up.1")] if both else [SITES]
    plan = SharingPlan(tuple(Bank(method, OPTIONS[method], sites) for sites in banks))
    network = ByName()
    shared = apply_plan(network, plan, sample=images())
    for part in (shared.train(), shared.eval()):
        part(images()).square().sum().backward()
    assert torch.allclose(shared(images()), bake(shared, plan)(images()), atol=1e-4)
    sites = find_sites(network)
    chosen = [site for site in sites if site.name in plan.sites]
    acting = acting_sites(network, chosen, count_parameters(network), [method], images())
    assert acting == tuple(chosen)


def test_what_cannot_be_copied_is_named() -> None:
    network = Keeps(lambda _: (number for number in range(3)))
    with pytest.raises(BackboneError, match=r"module '' \(Keeps\) holds generator 'held'.*None"):
        apply_plan(network, SharingPlan())


def test_a_copy_has_functions_of_its_own() -> None:
    network = wrapped_forward()
    shared = apply_plan(network, SharingPlan())
    shared(images()).sum().backward()
    assert all(tensor.grad is None for tensor in network.parameters())


def test_what_holds_a_lock_deep_inside_is_named_too() -> None:
    network = Keeps(lambda _: threading.Thread(target=print))
    with pytest.raises(BackboneError, match=r"module '' \(Keeps\) holds Thread 'held'.*None"):
        apply_plan(network, SharingPlan())


def test_weak_references_lead_into_the_copy() -> None:
    network: Any = Keeps(lambda kept: weakref.ref(kept.body[0]))
    shared: Any = apply_plan(network, plan_by("kernel"))
    assert network.held() is network.body[0]
    assert shared.held() is shared.body[0]
    other = nn.ReLU()
    assert copy_network(Keeps(lambda _: weakref.ref(other))).held() is other


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("method", OPTIONS)
def test_a_shared_network_is_traced_and_trained_on(method: str, mode: str) -> None:
    shared = apply_plan(Net(), plan_by(method)).train(mode == "training")
    copied = copy.deepcopy(shared)
    traced = torch.fx.symbolic_trace(shared)
    assert torch.equal(traced(images()), copied(images()))
    traced(images()).square().sum().backward()
    assert all(tensor.grad is not None for tensor in shared.parameters())
    assert count_parameters(traced) == count_parameters(copied)
    with torch.no_grad():
        for tensor in traced.parameters():
            tensor.add_(0.1)
    assert torch.equal(traced.eval()(images()), shared.eval()(images()))
    copy.deepcopy(shared)


def test_a_regulator_behind_a_normalisation_is_traced() -> None:
    options = {"regulator_after": "batch_norm"}
    plan = SharingPlan((Bank("anchored", options, ("body.0", "body.2", "body.4")),))
    shared, x = apply_plan(Blocks(), plan), torch.randn(2, 8, 6, 6)
    assert torch.equal(torch.fx.symbolic_trace(shared)(x), shared(x))


@pytest.mark.parametrize("method", OPTIONS)
def test_a_shared_network_is_exported_by_torch_and_compiled(method: str) -> None:
    shared, x = apply_plan(Net(), plan_by(method)).eval(), images()
    exported: Any = torch.export.export(shared, (x,)).module()
    compiled = torch.compile(shared, backend="eager", fullgraph=True)
    for other in (exported, compiled):
        assert torch.allclose(other(x), shared(x), atol=1e-5)


def test_lazy_modules_are_refused_before_anything_is_counted() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LazyConv2d(8, 3))
    for request in (count_parameters, lambda lazy: apply_plan(lazy, SharingPlan())):
        with pytest.raises(IsoshareError, match=r"module '1' \(LazyConv2d\) is lazy.*first"):
            request(network)
    network(images())
    assert len(find_sites(network)) == 2


def test_a_filter_basis_of_complex_kernels_is_refused() -> None:
    network = Net().to(torch.complex64)
    assert apply_plan(network, plan_by("kernel"))
    with pytest.raises(WeightsError, match=r"those of 'body.0' are torch.complex64"):
        apply_plan(network, plan_by("kernel"), weights="inherit")
    with pytest.raises(PlanError, match=r"real kernels, that of 'body.0' is complex"):
        apply_plan(network, plan_by("filter_basis"))


def test_a_network_without_sites_is_looked_at_and_not_searched() -> None:
    for network in (nn.Sequential(nn.ReLU()), Net().requires_grad_(False)):
        sites, unshared = find_sites(network), count_parameters(network)
        for methods in (tuple(METHODS), *((method,) for method in METHODS)):
            space = SearchSpace(sites, unshared, methods)
            assert (sites, space.count(), space.fully_shared_plan()) == ((), 1, SharingPlan())


def averaged(kind: str) -> Callable[[nn.Module], Any]:
    """Who keeps a moving average of a network, and the network in it."""
    if kind == "torch":
        return torch.optim.swa_utils.AveragedModel
    torchvision_operators.declare_missing()
    from timm.utils.model_ema import ModelEmaV2, ModelEmaV3

    return {"timm": ModelEmaV2, "timm 3": ModelEmaV3}[kind]


@pytest.mark.parametrize("method", OPTIONS)
@pytest.mark.parametrize("kind", ["torch", "timm", "timm 3"])
def test_a_moving_average_of_a_shared_network_is_one(kind: str, method: str) -> None:
    shared: Any = apply_plan(Net(), plan_by(method))
    average = averaged(kind)(shared)
    update = average.update_parameters if kind == "torch" else average.update
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.1)
    for _ in range(3):
        shared(images()).square().mean().backward()
        optimizer.step()
        update(shared)
    kept = average.module.eval()
    assert count_parameters(kept) == count_parameters(shared)
    bank = [kept.body[place] for place in range(3)]
    tensor = {"filter_basis": "basis", "slice_generator": "generator"}.get(method, "weight")
    assert len({id(part._parameters[tensor]) for part in bank}) == 1
    found, baked = kept(images()), bake(kept, plan_by(method))(images())
    assert torch.allclose(found, baked, atol=1e-4)
    assert not torch.equal(found, shared.eval()(images()))
    again = apply_plan(Net(), plan_by(method))
    again.load_state_dict(kept.state_dict())
    assert torch.equal(again.eval()(images()), found)


class SeesNothing(Net):
    """Calls its layers for none as well, as detectors do where they have found nothing."""

    def convolved(self, place: int, x: Tensor) -> Tensor:
        return super().convolved(place, x) + super().convolved(place, x[:0]).sum()


@pytest.mark.parametrize("method", METHODS)
def test_batches_of_nothing_are_taken(method: str) -> None:
    plan = SharingPlan((Bank(method, OPTIONS[method], SITES),))
    apply_plan(SeesNothing(), plan).train()(images()).sum().backward()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("low_rank", {"rank": 10**30}),
        ("filter_basis", {"shared_rank": 10**9}),
        ("slice_generator", {"slice_size": 10**6, "code_size": 10**6}),
    ],
)
def test_options_that_fill_the_memory_are_refused_first(
    method: str, options: dict[str, Any]
) -> None:
    with pytest.raises(PlanError, match=r"parameters where its sites, 'body.0' among them, have"):
        apply_plan(Net(), SharingPlan((Bank(method, options, SITES),)))
