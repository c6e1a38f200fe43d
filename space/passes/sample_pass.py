"""One backward pass on a sample: what of a network takes part in it, and whether banks act.

A layer that nobody calls gets no gradient, and neither does a tensor that a method has added where
the network reads a kernel past the method. Several passes are made, in training and in evaluation
and on inputs that vary, before a tensor counts as one that gets none: ways through a network may
depend on chance and on the data. Where all get one, a kernel may still be read past its method:
then the network computes something else once its sites are made ordinary layers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from isoshare.space.backbones import is_own
from isoshare.space.errors import PlanError, typed_in_one_line
from isoshare.space.methods import METHODS
from isoshare.space.methods.parts.computed_weight import ComputedWeight
from isoshare.space.network_copy import copy_network
from isoshare.space.passes.values import tensors_in, varied
from isoshare.space.plan import Bank
from isoshare.space.sites import Site

PASSES = 6
"""At most; one is enough for most networks."""
CLOSE = {torch.float16: 0.05, torch.bfloat16: 0.05}
"""Of the largest output, within which outputs count as equal; 1e-3 for finer types."""
Banks = Sequence[tuple[Bank, Sequence[Site]]]


def sample_images(shape: Sequence[int], count: int = 2) -> Tensor:
    """(count, *shape) of noise, the same each time."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def sample_like(example: Tensor, count: int = 2) -> Tensor:
    """(count, ...) of noise, as one input, (1, ...); whole numbers may be places in a table."""
    if example.is_floating_point():
        return sample_images(example.shape[1:], count)
    return example[:1].repeat(count, *(1 for _ in example.shape[1:]))


def own_sample(backbone: str, shape: Sequence[int] | None) -> Tensor | None:
    """Images of ``shape`` for a backbone of the user's own; None for those that are known to call
    their layers, or where no shape is known.
    """
    return sample_images(shape) if shape and is_own(backbone) else None


def taking_part(network: nn.Module, sites: Sequence[Site], sample: Any) -> set[str]:
    """The names of the sites whose weight gets a gradient; ``network`` stays as it is.

    sample: an input, of two or more images where a normalisation counts them. Raises whatever the
    network does if no pass succeeds.
    """
    weights = {f"{site.name}.weight".lstrip("."): site.name for site in sites}
    reached = _reached(copy_network(network), sample, set(weights))
    return {weights[name] for name in reached & set(weights)}


def check_acting(network: nn.Module, banks: Banks, sample: Any, known: Collection[str]) -> None:
    """Raise PlanError, naming the site, unless every tensor of the banks acts.

    network: unshared, it stays as it is; known: the sites that take part in it (``taking_part``).
    """
    for _, sites in banks:
        for site in sites:
            if site.name not in known:
                raise PlanError(
                    f"{site.name!r} gets no gradient from a sample: nothing calls it or reads its "
                    "weight; leave it out of the plan"
                )
    trial, methods = copy_network(network), {s.name: b.method for b, sites in banks for s in sites}
    before: dict[str, Any] = {name: trial.get_submodule(name).weight for name in methods}
    with torch.random.fork_rng():
        for bank, sites in banks:
            METHODS[bank.method].implementation.share(trial, sites, bank.options)
    with _untouched(network, methods):
        _check_gradients(trial, methods, before, sample)
    _check_kernels(trial, methods, sample)


@contextmanager
def _untouched(network: nn.Module, sites: Iterable[str]) -> Iterator[None]:
    """Raise PlanError if what is done with a copy of ``network`` gives these sites gradients."""
    weights: dict[str, Any] = {site: network.get_submodule(site).weight for site in sites}
    kept = {site: weight.grad for site, weight in weights.items()}
    for weight in weights.values():
        weight.grad = None
    try:
        yield
        for site, weight in weights.items():
            if weight.grad is not None:
                raise PlanError(
                    f"a copy of the network computes with {site!r} of the network that was copied: "
                    "something outside of both, such as a global name, leads there; reach the "
                    "layer through its owner, or leave the site out of the plan"
                )
    finally:
        for site, weight in weights.items():
            weight.grad = kept[site]


def _check_gradients(
    trial: nn.Module, methods: Mapping[str, str], before: Mapping[str, Tensor], sample: Any
) -> None:
    """See ``check_acting``; trial: shared. before: by site, the weights that it had."""
    wanted = dict(_added(trial, methods))
    held = {site: trial.get_submodule(site)._parameters.get("weight") for site in methods}
    try:
        reached = _reached(trial, sample, set(wanted))
    except PlanError:
        raise
    except Exception as error:  # whatever the user's network raises
        raise PlanError(
            f"a network that shares {next(iter(methods))!r} by method "
            f"{next(iter(methods.values()))} cannot compute: {typed_in_one_line(error)}; "
            "share by method kernel, or leave its sites out of the plan"
        ) from error
    for site, weight in held.items():
        if trial.get_submodule(site)._parameters.get("weight") is not weight:
            raise PlanError(
                f"the network puts another tensor in the place of the weight of {site!r} when it "
                "computes, which is shared no more then: leave the site out of the plan"
            )
    now = {id(tensor) for tensor in trial.parameters()}
    for site, tensor in before.items():
        if id(tensor) not in now and tensor.grad is not None:
            raise PlanError(
                f"the network computes with the weight that {site!r} had before it was shared: "
                "something beside its modules holds it; read the weight of the layer there, or "
                "leave the site out of the plan"
            )
    for name, site in wanted.items():
        if name not in reached:
            raise PlanError(
                f"the network reads the weight of {site!r} past method {methods[site]}: {name!r} "
                "gets no gradient from a sample; share that site by another method, or leave it "
                "out of the plan"
            )


def _check_kernels(trial: nn.Module, methods: Mapping[str, str], sample: Any) -> None:
    """Raise PlanError if ordinary layers in the place of sites compute something else, as soon as
    what methods have added is other than they start with; trial: shared, it is changed.
    """
    names = {name for name, _ in _added(trial, methods)}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for name, tensor in trial.named_parameters():
            if name in names:
                tensor.add_(torch.randn_like(tensor) * (0.05 + 0.1 * tensor.abs().mean()))
    plain = copy_network(trial.eval()).eval()
    for name, method in methods.items():
        layer = plain.get_submodule(name)
        if isinstance(layer, ComputedWeight):
            layer.become_plain(*METHODS[method].implementation.to_dense(layer))
    inputs = (sample, varied(sample, 1), varied(sample, 2))
    if all(_differ(trial, plain, one) for one in inputs):
        raise PlanError(
            f"the network reads weights of {next(iter(methods))!r} or other sites of method "
            f"{' or '.join(sorted(set(methods.values())))} past it, so they would be trained as "
            "one network and counted as another; share by method kernel, or leave them private"
        )


def _differ(one: nn.Module, other: nn.Module, inputs: Any) -> bool:
    """Whether the outputs of two networks do; what is not finite is not compared."""
    found: list[list[Tensor]] = []
    seen: set[Any] = set()  # of what layers give, which is coarse where a network autocasts
    for network in (one, other):
        hook = register_module_forward_hook(lambda *call: seen.add(getattr(call[-1], "dtype", 0)))
        with torch.random.fork_rng(), torch.no_grad(), hook:
            torch.manual_seed(0)
            found.append(list(tensors_in(network(inputs), 6)))
    close = max(CLOSE.get(kind, 1e-3) for kind in seen | {t.dtype for t in found[0]})
    for a, b in zip(*found, strict=True):
        if a.is_floating_point() and a.numel() and bool(a.isfinite().all() and b.isfinite().all()):
            most = close * float(a.abs().max())
            if a.shape != b.shape or float((a - b).abs().max()) > most:
                return True
    return False


def _added(trial: nn.Module, methods: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The trainable tensors of banks with a site of each; those of a normalisation that a method
    has changed belong to the site that it follows.
    """
    for path, part in trial.named_modules():
        site = path if path in methods else str(getattr(part, "site", ""))
        if site in methods:
            for name, tensor in part.named_parameters(path):
                if tensor.requires_grad:
                    yield name, site


def _reached(network: nn.Module, sample: Any, wanted: set[str]) -> set[str]:
    """The names, aliases too, of parameters that some pass has given a gradient.

    wanted: those that are waited for. Raises what the first pass did if none succeeds.
    """
    reached: set[str] = set()
    problems = []
    for place in range(PASSES):
        network.train(place % 2 == 0)
        try:
            _pass(network, sample if place < 2 else varied(sample, place), place)
        except Exception as error:  # whatever the user's network raises
            problems.append(error)
            continue
        named = network.named_parameters(remove_duplicate=False)
        reached |= {name for name, tensor in named if tensor.grad is not None}
        if wanted <= reached:
            break
    if len(problems) == PASSES:
        raise problems[0]
    return reached


def _pass(network: nn.Module, sample: Any, seed: int) -> None:
    """Gradients of everything that the network gives."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        given = [t for t in tensors_in(network(sample), 6) if t.requires_grad]
        real = [torch.view_as_real(t) if t.is_complex() else t for t in given]
        if real:
            torch.autograd.backward([t.sum() for t in real])
