"""Detection: a network with two heads finds boxes, measured by torchmetrics' mAP at IoU 0.5.

One head says which cells of a grid hold the middle of a box, the other how large it is.
"""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu

from isoshare.space.backbones.torchvision_operators import declare_missing

declare_missing()  # torchvision's usual wheel lacks them beside a CPU build of torch

from torchmetrics.detection import MeanAveragePrecision

import isoshare

SIZE, CELL = 64, 8


def scenes(count, seed):
    """Noisy images (count, 3, 64, 64) with one to three boxes each, (n, 4) as x1 y1 x2 y2."""
    random = torch.Generator().manual_seed(seed)
    images, boxes = 0.2 * torch.randn(count, 3, SIZE, SIZE, generator=random), []
    for image in images:
        cells = torch.randperm((SIZE // 16) ** 2, generator=random)[: 1 + len(boxes) % 3]
        shift = torch.randint(-2, 3, (1, 2), generator=random)
        middles = torch.stack([cells % 4, cells // 4], 1) * 16 + 8 + shift
        halves = torch.randint(3, 8, (len(cells), 2), generator=random)
        found = torch.cat([middles - halves, middles + halves], 1)
        for x1, y1, x2, y2 in found.tolist():
            image[:, y1:y2, x1:x2] += 0.5 + torch.rand(3, 1, 1, generator=random)
        boxes.append(found.float())
    return images, boxes


def targets(boxes):
    """A grid (n, 4, 8, 8) of how far the sides are from the middle's cell; NaN where none is."""
    grid = torch.full((len(boxes), 4, SIZE // CELL, SIZE // CELL), torch.nan)
    for cells, some in zip(grid, boxes, strict=True):
        x, y = ((some[:, :2] + some[:, 2:]) / 2 // CELL).long().T
        centre = torch.stack([x, y], 1) * CELL + CELL / 2
        cells[:, y, x] = torch.cat([centre - some[:, :2], some[:, 2:] - centre], 1).T
    return grid


class Detector(nn.Module):
    def __init__(self, width=12, blocks=6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 1 + (n < 2), 1), nn.BatchNorm2d(width))
            for n in range(blocks)
        )
        self.is_there, self.sides = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 4, 1)

    def forward(self, x):
        x = relu(self.stem(x))
        for block in self.blocks:
            x = relu(block(x))
        return {"is_there": self.is_there(x).squeeze(1), "sides": CELL * self.sides(x)}


def found(output, most=5):
    """The likeliest boxes of each image, as torchmetrics wants them."""
    scores, cells = output["is_there"].sigmoid().flatten(1).topk(most)
    sides = output["sides"].flatten(2).gather(2, cells[:, None].expand(-1, 4, -1))
    across = SIZE // CELL
    centre = torch.stack([cells % across, cells // across], 1) * CELL + CELL / 2
    boxes = torch.cat([centre - sides[:, :2], centre + sides[:, 2:]], 1).transpose(1, 2)
    return [
        {"boxes": b, "scores": s, "labels": torch.zeros(most, dtype=torch.long)}
        for b, s in zip(boxes, scores, strict=True)
    ]


def main(trials=5, epochs=8, count=128):
    (x, boxes), (x_test, boxes_test) = scenes(count, seed=0), scenes(count // 4, seed=1)
    wanted = targets(boxes)
    is_there = ~wanted[:, 0].isnan()
    truth = [{"boxes": b, "labels": torch.zeros(len(b), dtype=torch.long)} for b in boxes_test]

    def evaluate(network, trial):
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
        for batch in (b for _ in range(epochs) for b in torch.randperm(count).split(16)):
            output, there = network(x[batch]), is_there[batch]
            off = output["sides"].movedim(1, 3)[there] - wanted[batch].movedim(1, 3)[there]
            loss = binary_cross_entropy_with_logits(output["is_there"], there.float())
            loss = loss + off.abs().mean() / CELL + (isoshare.extra_loss(network) or 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        metric = MeanAveragePrecision(iou_thresholds=[0.5])
        with torch.no_grad():
            metric.update(found(network(x_test)), truth)
        return {"map50": metric.compute()["map_50"]}

    study = isoshare.create_study(
        Detector, objectives={"map50": "maximize", "parameters": "minimize"}
    )
    study.optimize(evaluate, n_trials=trials)
    print(study.trials_dataframe().query("on_front")[["map50", "parameters", "sharing"]])
    return study


if __name__ == "__main__":
    main()
