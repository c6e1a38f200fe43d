"""Augmentation: windows of the padded image, mirror images, squares; each seed on its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from isoshare.evaluators.data.augmentation import Augmentation

ALL = Augmentation(crop=2, flip=True, cutout=3)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def pictures(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """No pixel is zero."""
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_the_same_seed_does_the_same_and_another_seed_something_else(dtype: torch.dtype) -> None:
    images = pictures(16, 3, 8, 8, dtype=dtype)
    before = images.clone()
    first, again, other = (ALL(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (images.shape, dtype)
    assert torch.equal(images, before)


def test_a_generator_goes_on_where_it_was() -> None:
    generator, images = seeded(1), pictures(16, 3, 8, 8)
    assert not torch.equal(ALL(images, generator), ALL(images, generator))


@pytest.mark.parametrize("augmentation", [ALL, Augmentation(crop=4), Augmentation(cutout=2)])
def test_seeds_side_by_side_are_augmented_as_seeds_alone(augmentation: Augmentation) -> None:
    images = pictures(3, 16, 1, 8, 6)
    together = augmentation(images, seeded(5, 6, 7))
    alone = [augmentation(images[place], seeded(5 + place)) for place in range(3)]
    assert torch.equal(together, torch.stack(alone))
    shared = images[:1].expand(3, -1, -1, -1, -1)  # the same images for all, not copied
    assert augmentation(shared, seeded(5, 6, 7)).shape == images.shape


def test_a_crop_is_a_window_of_the_padded_image_and_all_windows_occur() -> None:
    images = pictures(600, 2, 5, 7)
    cropped = Augmentation(crop=1)(images, seeded(0))
    padded = functional.pad(images, (1, 1, 1, 1))
    windows = [padded[:, :, y : y + 5, x : x + 7] for y in range(3) for x in range(3)]
    same = torch.stack([(window == cropped).flatten(1).all(1) for window in windows])
    assert same.any(0).all()
    shares = same.float().mean(1)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert (shares - 1 / 9).abs().max() < 0.05


def test_half_of_the_images_are_mirrored() -> None:
    images = pictures(400, 2, 5, 6)
    flipped = Augmentation(flip=True)(images, seeded(0))
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_cutout_blackens_one_square_of_which_a_part_may_lie_outside(size: int) -> None:
    side = 9
    images = pictures(600, 2, side, side)
    cut = Augmentation(cutout=size)(images, seeded(0))
    hidden = cut == 0
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert torch.equal(cut[~hidden], images[~hidden])
    tall, wide = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    area = hidden[:, 0].sum((1, 2))
    assert torch.equal(area, tall * wide)  # a rectangle
    assert tall.max() == wide.max() == size
    assert area.min() >= (size - size // 2) ** 2 if size % 2 else area.min() >= (size // 2) ** 2
    inside = ((side - size + 1) / side) ** 2  # the share of centres that keep the square inside
    assert (area == size**2).float().mean() == pytest.approx(inside, abs=0.06)
    assert hidden[:, 0].any(0).all()  # every pixel of the image is reached


def test_crop_and_flip_together_are_a_mirrored_window() -> None:
    images = pictures(300, 1, 4, 4)
    both = Augmentation(crop=1, flip=True)(images, seeded(0))
    padded = functional.pad(images, (1, 1, 1, 1))
    windows = [padded[:, :, y : y + 4, x : x + 4] for y in range(3) for x in range(3)]
    candidates = torch.stack([*windows, *(window.flip(-1) for window in windows)])
    assert (candidates == both).flatten(2).all(2).any(0).all()


def test_no_augmentation_is_no_work() -> None:
    images = pictures(4, 1, 4, 4)
    assert Augmentation()(images, seeded(0)) is images


@pytest.mark.parametrize(("shape", "seeds"), [((2, 4, 1, 4, 4), 1), ((4, 1, 4, 4), 2), ((4, 4), 1)])
def test_generators_must_fit_the_shape(shape: tuple[int, ...], seeds: int) -> None:
    with pytest.raises(ValueError, match="needs one for each seed"):
        ALL(pictures(*shape), seeded(*range(seeds)))
