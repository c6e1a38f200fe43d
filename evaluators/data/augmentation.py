"""Augmentation: random crops, mirror images and cut-out squares, for a whole batch at once.

It is read without torch, because the table of data sets says which one a data set gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor
Augment = Literal["auto", "none", "standard"]
"""none: images stay as they are. standard: what usually suits images of this kind. auto: that, but
mirrored only where a data set is known to show the same then.
"""


@dataclass(frozen=True)
class Augmentation:
    """What is done to each image, by chance. Without arguments: nothing.

    crop: pixels of zeros around the image, of which a window of the image's own size is cut.
    flip: left and right are exchanged for half of the images.
    cutout: side of a square of zeros; its centre lies anywhere in the image, so that a part of it
        may lie outside (DeVries and Taylor 2017, arXiv 1708.04552).

    Zero is black for bytes and the mean for normalised images.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """A new tensor like ``images``: (seeds, batch, channels, height, width), any type.

        Without seeds, (batch, channels, height, width), it takes one generator. What happens to
        the images of a seed follows from its generator alone, whatever seeds stand beside it.
        The generators may be those of the processor while the images are on an accelerator.
        """
        seeds = images.shape[0] if images.ndim == 5 else 1
        if images.ndim not in {4, 5} or len(generators) != seeds:
            raise ValueError(
                f"{len(generators)} generators for images of shape {tuple(images.shape)}: "
                "(seeds, batch, channels, height, width) needs one for each seed"
            )
        if self == Augmentation():
            return images
        batch, channels, height, width = images.shape[-4:]
        rows, columns, inside = self._sources(generators, batch, height, width)
        flat = images.reshape(seeds * batch, channels, height * width)
        source = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None]
        source = source.to(images.device).expand(-1, channels, -1)
        hidden = ~inside.to(images.device).flatten(1)[:, None]
        return flat.gather(2, source).masked_fill(hidden, 0).reshape(images.shape)

    def _sources(
        self, generators: Sequence[torch.Generator], batch: int, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Where each pixel comes from: rows (n, height), columns (n, width), and whether it shows.

        n: all images, seed after seed. Pixels that do not show, (n, height, width), name a source
        in the image nevertheless.
        """
        import torch

        def draw(below: int) -> Tensor:
            size = (batch, 1)
            return torch.cat(
                [torch.randint(below, size, generator=g, device=g.device) for g in generators]
            )

        device = generators[0].device
        down, across = torch.arange(height, device=device), torch.arange(width, device=device)
        rows = down + draw(2 * self.crop + 1) - self.crop
        mirrored = draw(2) == 1 if self.flip else torch.zeros_like(rows[:, :1], dtype=torch.bool)
        columns = torch.where(mirrored, across.flip(0), across)
        columns = columns + draw(2 * self.crop + 1) - self.crop
        inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
        if self.cutout:
            tall = _within(down - draw(height) + self.cutout // 2, self.cutout)
            wide = _within(across - draw(width) + self.cutout // 2, self.cutout)
            inside = inside & ~(tall[:, :, None] & wide[:, None, :])
        return rows.clamp(0, height - 1), columns.clamp(0, width - 1), inside


def _within(place: Tensor, length: int) -> Tensor:
    return (place >= 0) & (place < length)
