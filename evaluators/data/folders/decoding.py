"""Decode one image file of whatever kind to bytes of one size: grey or colour, upright, opaque."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from isoshare.evaluators.data.splits import Images

SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Of Pillow's, pictures and nothing else: PostScript in a file that is called .png would be run."""
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
DEPTHS = (8, 10, 12, 14, 16)
"""Bits a pixel that cameras and scanners give, in files of 16 or more."""
ORIENTATION, ON_ITS_SIDE = 0x0112, range(5, 9)
"""How a camera was held, in EXIF."""


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded: its size when it stands upright.

    largest: of its values, where they are deeper than 8 bits.
    """

    height: int
    width: int
    is_grey: bool
    largest: int | None = None

    @property
    def is_deep(self) -> bool:
        """Whether its pixels may have more than 8 bits."""
        return self.largest is not None


def read_header(path: str) -> Header:
    """Raises whatever Pillow raises for a file that it cannot read, ValueError for what is no
    picture of up to 16 bits. Deep images are decoded for that.
    """
    if not Path(path).is_file():
        raise ValueError("there is no file")  # to open a pipe would wait for ever
    with _opened(path) as image:
        upright = image.getexif().get(ORIENTATION) not in ON_ITS_SIDE
        width, height = image.size if upright else image.size[::-1]
        if image.mode == "F":
            raise ValueError("pixels are floating-point numbers of an unknown range")
        largest = _largest(image) if image.mode.startswith("I") else None
        return Header(height, width, image.mode in GREY_MODES, largest)


def bits_of(headers: Iterable[Header]) -> int:
    """How many bits a pixel the deep ones of some images have: as few as hold all their values."""
    largest = max((header.largest or 0 for header in headers), default=0)
    return next(bits for bits in DEPTHS if largest < 2**bits)


def decode(path: str, height: int, width: int, channels: int, bits: int = 16) -> Images:
    """One image (channels, height, width), brought to this size whatever its proportions.

    bits: those of a pixel in deep images, see ``bits_of``; they come down to 8. Each pixel is the
    mean of the area that it covers; an image that is too small repeats its own. Transparent pixels
    show white. Raises whatever Pillow raises for a broken file.
    """
    with _opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        plain = _plain(image, "L" if channels == 1 else "RGB", bits)
    if plain.size != (width, height):
        plain = plain.resize((width, height), Image.Resampling.BOX)
    pixels = np.asarray(plain)
    return pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)


def _opened(path: str) -> Image.Image:
    Image.init()  # before that Pillow knows but the most common formats
    return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])


def _largest(image: Image.Image) -> int:
    pixels = np.asarray(image)
    least, most = int(pixels.min()), int(pixels.max())
    if least < 0 or most >= 2 ** DEPTHS[-1]:
        raise ValueError(f"pixels are whole numbers from {least} to {most}, not of 16 bits")
    return most


def _plain(image: Image.Image, mode: str, bits: int) -> Image.Image:
    """8 bits a channel, in mode "L" or "RGB"."""
    if image.mode.startswith("I"):  # deep grey, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    elif image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours)
    return image.convert(mode)
