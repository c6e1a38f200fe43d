"""Let torchvision be imported beside a CPU build of torch.

torchvision's wheel on the package index is a CUDA build. Beside a CPU build of torch its compiled
operators do not load, and ``import torchvision`` fails with "operator torchvision::nms does not
exist", because it registers shapes for operators that nobody declared. Data sets, transforms and
classification models need none of these operators, so declaring their schemas is enough. Where
the real operators load, this does nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_declared: list[object] = []  # keeps the library alive: its operators vanish with it


def declare_missing() -> None:
    """Declare the operators that ``import torchvision`` expects, if they cannot be loaded."""
    import torch

    if _declared or _compiled_operators_load():
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS.values():
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


def _compiled_operators_load() -> bool:
    import torch

    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return True  # not installed: its import shall say so
    libraries = sorted(Path(found.origin).parent.glob("_C*.so"))
    try:
        for library in libraries:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(libraries) and hasattr(torch.ops.torchvision, "nms")
