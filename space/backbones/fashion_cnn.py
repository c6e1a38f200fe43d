"""The Fashion-MNIST network of Kheradpisheh, Mirsadeghi, Masquelier 2022, arXiv 2109.13208.

Three 3x3 convolutions with batch normalisation, max pooling after the last two, then four linear
layers; no biases anywhere else than in batch normalisation. The second and third convolution are
isomorphic. The paper trains a spiking network through this one, of the same weights: every step is
a module of one sequence, so that activations can be replaced, and the sequence can be cut where
the image has become a current, after ``bn1``.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from isoshare.space.errors import BackboneError

HIDDEN = (2560, 1152, 256)


def fashion_cnn(
    width: int = 128, image_size: int = 28, classes: int = 10, in_channels: int = 1
) -> nn.Sequential:
    """19,599,744 parameters for Fashion-MNIST: 10 classes of gray images of 28x28 pixels.

    width: channels; image_size: height and width of the images in pixels, which the first linear
    layer depends on. Takes (batch, in_channels, image_size, image_size), returns logits (batch,
    classes). Raises BackboneError for no channel, or an image too small to be halved twice.
    """
    if width < 1:
        raise BackboneError(f"width must be at least 1 channel, got {width}")
    if image_size < 4:
        raise BackboneError(f"image_size must be at least 4 pixels, got {image_size}")
    steps = OrderedDict[str, nn.Module]()
    for place, channels in enumerate((in_channels, width, width), start=1):
        steps[f"conv{place}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        steps[f"bn{place}"] = nn.BatchNorm2d(width)
        steps[f"relu{place}"] = nn.ReLU()
        if place > 1:
            steps[f"pool{place}"] = nn.MaxPool2d(2)
    steps["flatten"] = nn.Flatten()
    features = width * (image_size // 4) ** 2
    for place, hidden in enumerate(HIDDEN, start=4):
        steps[f"linear{place}"] = nn.Linear(features, hidden, bias=False)
        steps[f"relu{place}"] = nn.ReLU()
        features = hidden
    steps["head"] = nn.Linear(features, classes, bias=False)
    return nn.Sequential(steps)
