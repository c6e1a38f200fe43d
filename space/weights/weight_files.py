"""Files of trained weights and of names for them: what is in them, as it stands there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.space.errors import WeightsError, in_one_line
from isoshare.space.strict_json import read_json
from isoshare.space.weights.weight_misfits import COUNTERS

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]
Names = Mapping[str, str | None]
"""Module path in the file to module path in the network; None leaves it out."""

ENTRIES = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params"),
    *("module", "weights", "state_dict_ema", "model_ema", "ema_state_dict", "ema", "shadow"),
)
"""Where training programs put the weights in what they save, in the order they are looked for."""


def read_file(path: Path) -> Mapping[str, Any]:
    """What a file of safetensors or of ``torch.save`` holds; nothing in it is executed.

    Raises WeightsError.
    """
    import torch

    try:
        if _is_safetensors(path):
            return _read_safetensors(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the bytes of a file lead it to
        raise WeightsError(f"cannot read weights from {path}: {_reason(path, error)}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, no state_dict: save network.state_dict()"
        )
    return content


def tensors_of(content: Mapping[str, Any]) -> tuple[Tensors, str]:
    """The tensors of a state_dict, wherever it lies in ``content``, and the path to it."""
    import torch

    for entry in ENTRIES:
        if isinstance(content.get(entry), Mapping):
            found, below = tensors_of(content[entry])
            if found:
                return found, f"{entry}.{below}".rstrip(".")
    tensors = {key: one for key, one in content.items() if isinstance(one, torch.Tensor)}
    return {key: one for key, one in tensors.items() if isinstance(key, str)}, ""


def without_broken_counters(found: Tensors) -> Tensors:
    """Without what a normalisation counts in numbers that are not whole any more: a checkpoint is
    easily made half precision as a whole.
    """
    return {
        name: one
        for name, one in found.items()
        if not (name.endswith(COUNTERS) and one.is_floating_point())
    }


def entries_with_tensors(content: Mapping[str, Any]) -> list[str]:
    """Where in ``content`` weights lie, those first that ``tensors_of`` takes."""
    entries = [entry for entry in ENTRIES if isinstance(content.get(entry), Mapping)]
    return [entry for entry in entries if tensors_of(content[entry])[0]]


def read_names(path: str | Path) -> Names:
    """The names of a file such as ``{"conv1": "stem", "aux": null}``. Raises WeightsError."""
    try:
        names = read_json(Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read names of weights from {path}: {error}") from error
    if not isinstance(names, dict) or not all(
        isinstance(name, str | None) for name in names.values()
    ):
        raise WeightsError(
            f"{path} must be a JSON object of module paths in the file of weights to those in the "
            'network, such as {"conv1": "stem", "aux": null}'
        )
    places = [place for place in names.values() if place is not None]
    if twice := next((one for one in places if places.count(one) > 1), None):
        raise WeightsError(f"{path} gives the name {twice!r} to several modules: leave one")
    return names


def shipped_names(backbone: str) -> Names:
    """Those that published weights of a backbone have, if it comes with such a file."""
    path = Path(__file__).parents[1] / "backbones" / f"{Path(backbone).name}.weights.json"
    return read_names(path) if path.is_file() else {}


def file_digest(path: Path) -> str:
    """Sixteen hexadecimal digits of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _is_safetensors(path: Path) -> bool:
    """By its content: eight bytes for the length of a header in JSON, whatever it is called."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{" or path.suffix == ".safetensors"


def _read_safetensors(path: Path) -> Tensors:
    """Its tensors, those that are one under each of their names: the file says which they are."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        names = file.metadata() or {}
    return {name: found[kept] for name, kept in names.items() if kept in found} | found


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror or error)
    if "weights_only" in str(error) or "Unsupported" in str(error):
        return (
            "it holds objects that would have to be executed, or is no file of torch.save: save "
            "network.state_dict() alone, or safetensors"
        )
    if path.stat().st_size == 0:
        return "it is empty"
    first = in_one_line(error, 150).partition(". ")[0]
    kind = "safetensors" if path.suffix == ".safetensors" else "torch.save"
    return f"it is no file of {kind}, or was cut short ({first})"


def kinds_of(content: Mapping[str, Any]) -> str:
    """A few keys of what a file holds, with their types."""
    shown = [f"{str(key)[:40]} ({type(one).__name__})" for key, one in list(content.items())[:3]]
    return ", ".join(shown) or "nothing"
