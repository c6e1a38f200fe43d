"""Audio: 1-D convolutions that tell instruments from generated tones.

Trials that are worse than others after the first epochs are stopped.
"""

import torch
from torch import nn

import isoshare

OVERTONES = {"flute": [1, 0, 0, 0], "clarinet": [1, 0, 0.7, 0], "violin": [1, 0.8, 0.6, 0.5]}
RATE = 4_000


def tones(count, seed, samples=800):
    """Tones (count, 1, samples) of any pitch and phase, in noise, and who plays them."""
    random = torch.Generator().manual_seed(seed)
    players = torch.randint(len(OVERTONES), (count,), generator=random)
    strength = torch.tensor(list(OVERTONES.values()))[players].unsqueeze(2)
    pitch = 150 + 250 * torch.rand(count, 1, 1, generator=random)
    phase = torch.rand(count, 4, 1, generator=random)
    turns = torch.arange(1, 5).reshape(1, 4, 1) * pitch * torch.arange(samples) / RATE + phase
    wave = (strength * torch.sin(2 * torch.pi * turns)).sum(1, keepdim=True)
    return wave + 0.5 * torch.randn(wave.shape, generator=random), players


def net(width=12, blocks=4):
    convs = [
        part
        for _ in range(blocks)
        for part in (
            nn.Conv1d(width, width, 9, stride=2, padding=4),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
    ]
    head = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, len(OVERTONES))]
    return nn.Sequential(nn.Conv1d(1, width, 9, stride=2, padding=4), nn.ReLU(), *convs, *head)


def main(trials=10, epochs=4, count=400):
    data = tones(count, seed=0), tones(count // 4, seed=1)
    study = isoshare.create_study(net, objectives=("accuracy", "parameters"), rungs=(2,))
    training = isoshare.Training(data, epochs=epochs, optimizer="adamw", learning_rate=0.01)
    study.optimize(training, n_trials=trials)
    print(study.trials_dataframe().query("on_front")[["accuracy", "parameters", "sharing"]])
    return study


if __name__ == "__main__":
    main()
