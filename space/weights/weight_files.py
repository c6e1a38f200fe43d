"""Files of trained weights and of names for them: what is in them, as it stands there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.space.errors import WeightsError, in_one_line
from isoshare.space.strict_json import read_json

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
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
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
    return {key: one for key, one in content.items() if isinstance(one, torch.Tensor)}, ""


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
    return names


def file_digest(path: Path) -> str:
    """Sixteen hexadecimal digits of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror or error)
    if "weights_only" in str(error) or "Unsupported" in str(error):
        return (
            "it holds objects that would have to be executed, or is no file of torch.save: save "
            "network.state_dict() alone, or safetensors"
        )
    first = in_one_line(error, 150)
    kind = "safetensors" if path.suffix == ".safetensors" else "torch.save"
    return f"it is no file of {kind}, or was cut short ({first})"


def kinds_of(content: Mapping[str, Any]) -> str:
    """A few keys of what a file holds, with their types."""
    shown = [f"{str(key)[:40]} ({type(one).__name__})" for key, one in list(content.items())[:3]]
    return ", ".join(shown) or "nothing"
