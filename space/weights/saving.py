"""Weights of a shared network in a file: each shared tensor once, the plan beside them.

The file is in the safetensors format, which holds tensors and text and can execute nothing. Its
metadata has the whole plan file under ``isoshare.plan``, so that the network can be built again
from the file alone where its backbone can be imported.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from isoshare.space.apply import apply_plan
from isoshare.space.backbones import build_backbone, check_named
from isoshare.space.errors import PlanError, WeightsError, in_one_line, short
from isoshare.space.files import atomic_write, check_path
from isoshare.space.plan import PlanFile, SharingPlan
from isoshare.space.type_checks import check_network

if TYPE_CHECKING:
    from torch import Tensor, nn

PLAN_KEY = "isoshare.plan"


def save_weights(network: nn.Module, path: str | Path, plan: PlanFile) -> None:
    """Write the tensors of a shared network and its plan, the whole file or nothing.

    Raises IsoshareError for a network that keeps more than tensors, or that shares otherwise.
    """
    from safetensors.torch import save_model

    check_network(network)
    check_path(path)
    _check_plan(network, plan)
    _check_tensors(network)
    laid_out: Any = SimpleNamespace(state_dict=lambda: contiguous_state(network))
    with atomic_write(path) as half:
        half.touch()
        usual = half.stat().st_mode
        save_model(laid_out, str(half), {PLAN_KEY: plan.text})
        half.chmod(usual)  # safetensors lets nobody else read what it writes


def _check_plan(network: nn.Module, plan: PlanFile) -> None:
    given: Any = plan
    if not isinstance(given, PlanFile):
        way_out = "PlanFile.of(plan) makes one" if isinstance(given, SharingPlan) else "give one"
        raise PlanError(f"weights are saved with a PlanFile, got {short(given)}: {way_out}")
    if not shares_by(network, plan.plan):
        raise WeightsError(
            "the network shares otherwise than by this plan, so nobody could read its file: give "
            "the network that apply_plan returned"
        )


def _check_tensors(network: nn.Module) -> None:
    from torch import Tensor

    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"a file of weights holds tensors alone, but the network keeps {short(value)} as "
                f"{name!r}: return a tensor from get_extra_state, or write network.state_dict() "
                "with torch.save"
            )


def shares_by(network: nn.Module, plan: SharingPlan) -> bool:
    """Whether the sites of each bank have a tensor in common, and those of different banks none."""
    sites = dict(network.named_modules())
    seen: set[int] = set()
    for bank in plan.banks:
        if not all(name in sites for name in bank.sites):
            return False
        tensors = [_tensors_of(sites[name]) for name in bank.sites]
        every = {tensor for own in tensors for tensor in own}
        if not set.intersection(*tensors) or seen & every:
            return False
        seen |= every
    return True


def _tensors_of(layer: nn.Module) -> set[int]:
    return {id(tensor) for tensor in (*layer.parameters(), *layer.buffers())}


def without_numbers(path: Path) -> list[str]:
    """The tensors of a file that have NaN; which of them are masks, which may be infinite, no file
    says.
    """
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return [name for name in file.keys() if bool(file.get_tensor(name).isnan().any())]  # noqa: SIM118  no dict


def contiguous_state(network: nn.Module) -> dict[str, Tensor]:
    """The ``state_dict`` of a network in the layout of files, whatever the layout in memory; what
    is one tensor under several names stays one.
    """
    made: dict[tuple[object, ...], Tensor] = {}
    state = network.state_dict()
    key = {name: (t.device, t.data_ptr(), t.shape, t.stride()) for name, t in state.items()}
    return {name: made.setdefault(key[name], t.contiguous()) for name, t in state.items()}


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Read the tensors of a file into ``network``, shared by the same plan, and return it.

    Raises WeightsError, and then nothing is promised about the weights of ``network``.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_network(network)
    check_path(path)
    _check_ties(network, path)
    try:
        network.load_state_dict(_under_all_names(load_file(str(path)), network))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {in_one_line(error)}") from error
    except (RuntimeError, SafetensorError) as error:
        reason = in_one_line(error)
        raise WeightsError(
            f"{path} does not fit the network: {reason}; share the network by the plan in the file "
            "(isoshare.space.weights.saving.read_plan) before its weights are loaded"
        ) from error
    return network


def _under_all_names(stored: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a file, which has one name of each, under every name that the network has."""
    state = {
        name: (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        for name, tensor in network.state_dict().items()
    }
    known = {state[name]: tensor for name, tensor in stored.items() if name in state}
    return {name: known[key] for name, key in state.items() if key in known} | stored


def _check_ties(network: nn.Module, path: str | Path) -> None:
    """Raise WeightsError where what is one tensor in the file is several in the network, or the
    other way round: of each tensor the file has one name, and in its metadata all others.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            stored, first = set(file.keys()), file.metadata() or {}
    except (OSError, SafetensorError):
        return  # whoever loads it says so
    state = {name: id(tensor) for name, tensor in network.state_dict(keep_vars=True).items()}
    own = {tensor: name for name, tensor in state.items() if name in stored}
    for name, tensor in state.items():
        here, there = own.get(tensor), name if name in stored else first.get(name)
        if here != there and (here or there in state):
            raise WeightsError(
                f"{path} is of a network that shares otherwise ({name} is not the same tensor as "
                f"{here or there} in both): share yours by the plan in the file "
                "(isoshare.space.weights.saving.read_plan) before its weights are loaded"
            )


def read_plan(path: str | Path) -> PlanFile:
    """The plan in a file of weights. Raises WeightsError or PlanError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error}") from error
    except SafetensorError as error:
        raise WeightsError(
            f"cannot read {path} as weights ({in_one_line(error)}): name a file that 'isoshare "
            "train' has written"
        ) from error
    if PLAN_KEY not in metadata:
        raise WeightsError(f"{path} holds no plan: it was not written by Isoshare")
    return PlanFile.parse(metadata[PLAN_KEY])


def load_network(path: str | Path, backbone: str | None = None) -> nn.Module:
    """The trained network of a file, in evaluation mode, built from nothing but the file.

    backbone: the name of a backbone of your own, as it stands in the file: only code that you name
        is imported. Raises WeightsError, PlanError or BackboneError.
    """
    file = read_plan(path)
    if file.backbone is None:
        raise WeightsError(
            f"the plan in {path} names no backbone: build yours, share it by that plan "
            "(isoshare.space.weights.saving.read_plan) and call load_weights"
        )
    check_named(file.backbone.name, backbone, str(path))
    unshared = build_backbone(file.backbone.name, file.backbone.arguments)
    return load_weights(apply_plan(unshared, file.plan, weights="fresh"), path).eval()
