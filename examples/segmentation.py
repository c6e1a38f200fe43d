"""Semantic segmentation: a U-Net on drawn scenes, measured by the IoU.

Data, loss and metric are given to Isoshare's own loop; the test set measures the front.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, max_pool2d

import isoshare


def scenes(count, seed, size=32):
    """Noisy images (count, 3, size, size) and their classes: 0 background, 1 discs, 2 boxes."""
    random = torch.Generator().manual_seed(seed)
    grid = torch.arange(size)
    y, x = grid[:, None], grid[None, :]
    images = 0.3 * torch.randn(count, 3, size, size, generator=random)
    classes = torch.zeros(count, size, size, dtype=torch.long)
    for image, shown in zip(images, classes, strict=True):
        for kind in (1, 2):
            cx, cy, radius = (size * torch.rand(3, generator=random)).tolist()
            dx, dy = (x - cx).abs(), (y - cy).abs()
            inside = (dx**2 + dy**2).sqrt() if kind == 1 else torch.maximum(dx, dy)
            inside = inside < 4 + radius / 5
            shown[inside] = kind
            image[:, inside] += torch.rand(3, 1, generator=random)
            image[kind, inside] += 0.5
    return images, classes


class Block(nn.Sequential):
    def __init__(self, before, width):
        super().__init__(
            *(nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        )


class UNet(nn.Module):
    """Of one width, so that blocks of all depths may share."""

    def __init__(self, width=12, depth=3, classes=3):
        super().__init__()
        self.down = nn.ModuleList(Block(width if level else 3, width) for level in range(depth))
        self.bottom = Block(width, width)
        self.up = nn.ModuleList(Block(2 * width, width) for _ in range(depth))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        kept = []
        for block in self.down:
            kept.append(block(x))
            x = max_pool2d(kept[-1], 2)
        x = self.bottom(x)
        for block in self.up:
            x = block(torch.cat([interpolate(x, scale_factor=2), kept.pop()], 1))
        return self.head(x)


def iou(outputs, classes):
    """The mean over the classes of intersection / union, of all images together."""
    found = outputs.argmax(1)
    both = [((found == one) & (classes == one)).sum() for one in range(3)]
    either = [((found == one) | (classes == one)).sum() for one in range(3)]
    return {"iou": sum(b / e for b, e in zip(both, either, strict=True)) / 3}


def main(trials=10, epochs=4, count=160):
    data = scenes(count, seed=0), scenes(count // 4, seed=1)
    study = isoshare.create_study(UNet, objectives={"iou": "maximize", "parameters": "minimize"})
    training = isoshare.Training(
        data,
        cross_entropy,
        iou,
        epochs=epochs,
        batch_size=16,
        optimizer="adamw",
        learning_rate=0.01,
    )
    study.optimize(training, n_trials=trials)
    print(study.trials_dataframe().query("on_front")[["iou", "parameters", "sharing"]])
    return study


if __name__ == "__main__":
    main()
