"""A batch normalisation with a regulator behind it: where a bank of anchored.py asks for one."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from isoshare.space.errors import PlanError
from isoshare.space.methods.parts.computed_weight import OfAnyLayer


class RegulatedNorm(OfAnyLayer):
    """The batch normalisation of an anchored convolution, followed by the regulator.

    Who reads its ``weight`` normalises by itself, or folds it into a convolution, and would leave
    the regulator out: that is refused.
    """

    site: str
    regulator: Any

    def forward(self, input: Tensor) -> Tensor:
        """input: (batch, channels, height, width)."""
        y: Tensor = self.regulator(self._normalised(input))
        return y

    @property
    def weight(self) -> Tensor:
        """Not to be read: PlanError."""
        raise PlanError(
            f"the normalisation behind {self.site!r} is followed by a regulator, which is lost "
            "where its weight is read, as fuse_conv_bn_eval does: leave both as they are, or share "
            "with regulator_after='convolution'"
        )

    def _normalised(self, x: Tensor) -> Tensor:
        """As PyTorch's own layer, which reads its weight."""
        norm: Any = self
        norm._check_input_dim(x)
        momentum = norm.momentum or 0.0
        if self.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:
                momentum = 1.0 / float(norm.num_batches_tracked)
        kept = (norm.running_mean, norm.running_var)
        by_batch = self.training or kept[0] is None
        if self.training and not norm.track_running_stats:
            kept = (None, None)
        affine = (self._parameters["weight"], self._parameters["bias"])
        return functional.batch_norm(x, *kept, *affine, by_batch, momentum, norm.eps)
