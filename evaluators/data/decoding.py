"""Decode one image file of whatever kind to bytes of one size: grey or colour, upright, opaque."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from isoshare.evaluators.data.splits import Images

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before it is decoded."""

    height: int
    width: int
    is_grey: bool


def read_header(path: str) -> Header:
    """Raises whatever Pillow raises for a file that it cannot read."""
    with Image.open(path) as image:
        return Header(image.height, image.width, image.mode in GREY_MODES)


def decode(path: str, height: int, width: int, channels: int) -> Images:
    """One image (channels, height, width), brought to this size whatever its proportions.

    Each pixel is the mean of the area that it covers; an image that is too small repeats its own.
    Transparent pixels show white. Raises whatever Pillow raises for a broken file.
    """
    with Image.open(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        plain = _plain(image, "L" if channels == 1 else "RGB")
    if plain.size != (width, height):
        plain = plain.resize((width, height), Image.Resampling.BOX)
    pixels = np.asarray(plain)
    return pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """8 bits a channel, in mode "L" or "RGB"."""
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of an unknown range")
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        wide = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((wide // 256).astype(np.uint8))
    elif image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours)
    return image.convert(mode)
