"""Regression: a network that finds three keypoints in an image, by a training loop of one's own.

The error is in pixels and to be minimised.
"""

import torch
from torch import nn

import isoshare

SIZE = 32


def faces(count, seed):
    """Noisy images (count, 1, 32, 32) of two eyes and a mouth, and where they are, in pixels."""
    random = torch.Generator().manual_seed(seed)
    middle = 16 + 8 * (torch.rand(count, 1, 2, generator=random) - 0.5)
    scale = 0.7 + 0.6 * torch.rand(count, 1, 1, generator=random)
    points = middle + scale * torch.tensor([[-7.0, -5.0], [7.0, -5.0], [0.0, 7.0]])
    points += torch.randn(count, 3, 2, generator=random)
    x = torch.arange(SIZE).reshape(1, 1, 1, SIZE)
    y = x.transpose(2, 3)
    far = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    drawn = (torch.tensor([1.0, 1.0, -1.0]).reshape(1, 3, 1, 1) * torch.exp(-far / 6)).sum(1, True)
    return drawn + 0.1 * torch.randn(drawn.shape, generator=random), points.flatten(1)


def net(width=10, blocks=5):
    convs = [
        part
        for block in range(blocks)
        for part in (nn.Conv2d(width, width, 3, stride=1 + block % 2, padding=1), nn.ReLU())
    ]
    side = SIZE // 2 ** (blocks // 2)
    head = [nn.Flatten(), nn.Linear(width * side**2, 6)]
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), *convs, *head)


def main(trials=8, epochs=5, count=400):
    (x, y), (x_test, y_test) = faces(count, seed=0), faces(count // 4, seed=1)

    def evaluate(network, trial):
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
        for epoch in range(1, epochs + 1):
            for batch in torch.randperm(count).split(25):
                loss = (network(x[batch]) * SIZE - y[batch]).abs().mean()
                if (extra := isoshare.extra_loss(network)) is not None:
                    loss = loss + extra
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                off = (network(x_test) * SIZE - y_test).reshape(-1, 2).norm(dim=1).mean().item()
            trial.report({"pixels": off}, epoch)
            if trial.should_stop():
                break
        return {"pixels": off}

    study = isoshare.create_study(net, objectives={"pixels": "minimize", "parameters": "minimize"})
    study.optimize(evaluate, n_trials=trials)
    print(study.trials_dataframe().query("on_front")[["pixels", "parameters", "sharing"]])
    return study


if __name__ == "__main__":
    main()
