"""Large networks as files, the whole way: sizes, outputs, a fresh process.

One case here; all of them, every method on three backbones, with ISOSHARE_ALL_EXPORTS=1 (minutes).
"""

from __future__ import annotations

import os
from itertools import product

import pytest

from benchmarks.exports import BACKBONES, exported
from isoshare.space.methods import METHODS

ALL = list(product(BACKBONES, METHODS))
CASES = ALL if os.environ.get("ISOSHARE_ALL_EXPORTS") == "1" else [("resnet_cifar", "filter_basis")]


@pytest.mark.parametrize(("backbone", "method"), CASES)
def test_files_keep_their_limits(backbone: str, method: str) -> None:
    row = exported(backbone, method)
    assert row.keeps_limits, row
    assert row.unique <= row.safetensors  # nothing is missing
    assert 4 * row.parameters <= row.onnx  # a normalisation may be two vectors of four there
