"""Apply a plan to a network: the only place where a site is replaced."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from isoshare.space.errors import BackboneError, PlanError, listed, one_of, short, typed_in_one_line
from isoshare.space.methods import METHODS
from isoshare.space.methods.checks import check_size
from isoshare.space.plan import Bank, SharingPlan
from isoshare.space.sites import Site, sites_and_private
from isoshare.space.type_checks import check_network, check_plan
from isoshare.space.variants.matching import check_variant, told_variant

if TYPE_CHECKING:
    from torch import Tensor, nn


def apply_plan(
    module: nn.Module,
    plan: SharingPlan,
    weights: Literal["fresh", "inherit"] | None = None,
    *,
    sample: Any = None,
) -> nn.Module:
    """A copy of ``module`` whose sites share weights as ``plan`` says.

    ``module`` stays as it was. Without banks the copy computes exactly what ``module`` does. A
    tensor shared by several sites is one ``nn.Parameter``: trained once, counted once.

    weights: fresh initialises what is shared anew; inherit projects the kernels of ``module``, if
        it is trained, onto the banks (training goes on from there: the statistics of batch
        normalisation are still those of ``module``). None is fresh, with a TrainedWeightsWarning
        if a normalisation shows that ``module`` has been trained.
    sample: an input of ``module``, of two images or more, for a pass forward and back that shows
        whether every shared tensor acts: PlanError for a site that takes no part, or whose weight
        is read past its method. Without it that is not looked at.

    ``load_state_dict`` of the copy refuses the weights of an unshared network.

    Raises PlanError if the plan names a site that ``module`` lacks or that cannot share, if the
    sites of a bank do not fit together, or if a plan from a file names a variant of its backbone
    and counts something else on ``module``; then nothing has been built. BackboneError if
    ``module`` is none.
    """
    check_plan(plan)
    if weights not in (None, "fresh", "inherit"):
        raise PlanError(one_of("weights", weights, ("fresh", "inherit")))
    sites, private = sites_and_private(module)
    try:
        banks = fit(plan, sites, private)
    except PlanError as error:
        raise PlanError(f"{error}{told_variant(plan)}") from error
    unshared = count_parameters(module)
    if plan.variant and plan.counts is not None:
        check_variant(plan, plan.counts, module, (unshared, plan_parameters(plan, sites, unshared)))
    if banks and weights is None:
        _warn_of_training(module)
    if banks and sample is not None:
        check_sample(module, banks, sample)
    shared = shared_copy(module, banks)
    if banks and weights == "inherit":
        from isoshare.space.inheritance import project_weights

        project_weights(module, shared, banks)
    return shared


def shared_copy(module: nn.Module, banks: Sequence[tuple[Bank, list[Site]]]) -> nn.Module:
    """A copy of ``module`` that shares by ``banks``, with fresh weights for what is shared.

    banks: as ``fit`` returns them for the sites of ``module``, which is not looked at again.
    """
    from isoshare.space.inheritance import refuse_disagreement
    from isoshare.space.meta_device import keep_ties
    from isoshare.space.network_copy import copy_network

    shared = copy_network(module)
    for bank, sites in banks:
        METHODS[bank.method].implementation.share(shared, sites, bank.options)
    if banks:
        shared.register_load_state_dict_pre_hook(refuse_disagreement)  # type: ignore[no-untyped-call]
        keep_ties(shared)
    return shared


def check_sample(module: nn.Module, banks: Sequence[tuple[Bank, list[Site]]], sample: Any) -> None:
    """Raise PlanError unless a pass on ``sample`` shows that every tensor of ``banks`` acts."""
    from isoshare.space.passes.sample_pass import check_acting, taking_part

    sites = [site for _, members in banks for site in members]
    try:
        known = taking_part(module, sites, sample)
    except Exception as error:  # whatever the user's network raises
        raise PlanError(
            f"the network cannot take the sample: {typed_in_one_line(error)}; give one that it can "
            "be trained on, or none"
        ) from error
    check_acting(module, banks, sample, known)


def bake(network: nn.Module, plan: SharingPlan) -> nn.Module:
    """A copy of a shared network, for evaluation only, whose sites are ordinary convolutions.

    network: shared by ``plan``. What was computed from shared tensors becomes a kernel of its own,
    so the copy may be larger; sites that merely hold the same kernel go on sharing it.
    """
    from isoshare.space.methods.parts.computed_weight import ComputedWeight
    from isoshare.space.network_copy import copy_network

    baked = copy_network(network).eval()
    for name, (weight, bias) in plain_kernels(baked, plan).items():
        conv = baked.get_submodule(name)
        if isinstance(conv, ComputedWeight):
            conv.become_plain(weight, bias)
    return baked


def deployed(network: nn.Module, plan: SharingPlan) -> nn.Module:
    """A copy of a shared network, for evaluation only, made of ordinary layers that keep shared
    tensors shared: no site computes a tensor of its own from them, if its method can help it.

    network: shared by ``plan``.
    """
    from isoshare.space.network_copy import copy_network

    copied = copy_network(network).eval()
    for bank in plan.banks:
        for name in bank.sites:
            METHODS[bank.method].implementation.deploy(copied.get_submodule(name))
    return copied


def plain_kernels(network: nn.Module, plan: SharingPlan) -> dict[str, tuple[Tensor, Tensor | None]]:
    """For each site of ``plan``, which shares ``network``, kernel and bias of the ordinary
    convolution that computes the same in evaluation. Gradients go through them.
    """
    return {
        name: METHODS[bank.method].implementation.to_dense(network.get_submodule(name))
        for bank in plan.banks
        for name in bank.sites
    }


def fit(
    plan: SharingPlan, sites: Sequence[Site], private: Mapping[str, str] | None = None
) -> list[tuple[Bank, list[Site]]]:
    """The banks of ``plan`` with their sites in module order, checked against a network.

    sites: those of the network, in module order; private: its other convolutions with the
    reason why they cannot share. Raises PlanError.
    """
    by_name = {site.name: site for site in sites}
    fitted = []
    for bank in plan.banks:
        for name in bank.sites:
            if name not in by_name:
                raise PlanError(_unknown_site(name, by_name, private or {}))
        chosen = set(bank.sites)
        members = [site for site in sites if site.name in chosen]
        METHODS[bank.method].implementation.check(members, bank.options)
        check_size(bank.method, members, bank.options)
        fitted.append((bank, members))
    return fitted


def plan_parameters(plan: SharingPlan, sites: Sequence[Site], unshared: int) -> int:
    """Trainable parameters of the shared network, in closed form: nothing is built.

    unshared: those of the network without a plan.
    """
    total = unshared
    for bank, members in fit(plan, sites):
        total -= sum(site.parameters for site in members)
        total += METHODS[bank.method].parameters(members, bank.options)
    return total


def plan_macs(plan: SharingPlan, sites: Sequence[Site], positions: Mapping[str, int]) -> int:
    """Multiply-accumulates of all sites for one image, in closed form; the rest stays as it was.

    positions: for each site the positions of its output, over all its calls
    (``NetworkCosts.positions``).
    """
    macs = {site.name: site.kernel_parameters for site in sites}
    for bank, members in fit(plan, sites):
        each = METHODS[bank.method].implementation.macs(members, bank.options)
        macs |= dict(zip((site.name for site in members), each, strict=True))
    return sum(each * positions[name] for name, each in macs.items())


def extra_loss(module: nn.Module) -> Tensor | None:
    """The sum of what the methods in ``module`` add to the training loss; None without any."""
    check_network(module)
    found = (row.implementation.extra_loss(module) for row in METHODS.values())
    losses = [loss for loss in found if loss is not None]
    return sum(losses[1:], losses[0]) if losses else None


def count_parameters(module: nn.Module) -> int:
    """Unique trainable parameters of ``module``: a shared tensor counts once.

    Raises BackboneError for a lazy module, whose parameters have no shape yet, and for no module.
    """
    from torch.nn.parameter import is_lazy

    check_network(module)
    for name, part in module.named_modules():
        if any(is_lazy(tensor) for tensor in part._parameters.values()):
            raise BackboneError(
                f"module {name!r} ({type(part).__name__}) is lazy: its shape is known only after "
                "a first forward pass; let the function that makes the network run one"
            )
    return sum(tensor.numel() for tensor in module.parameters() if tensor.requires_grad)


def _warn_of_training(module: nn.Module) -> None:
    from isoshare.space.inheritance import TrainedWeightsWarning, signs_of_training

    if signs := signs_of_training(module):
        warnings.warn(
            f"{type(module).__name__} is not freshly initialised ({signs}), and what a plan shares "
            "starts with fresh weights: to keep what it has learned pass weights='inherit', to "
            "start afresh weights='fresh'",
            TrainedWeightsWarning,
            stacklevel=3,
        )


def _unknown_site(name: str, known: Iterable[str], private: Mapping[str, str]) -> str:
    if name in private:
        return f"site {name!r} cannot share: {private[name]}; remove it from the plan"
    names = list(known)
    return f"the network has no site {short(name)}: it has {listed(names, 6) or 'no sites at all'}"
