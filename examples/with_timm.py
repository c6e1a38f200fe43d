"""timm: one of its networks, with its own data pipeline, optimizer and metric.

The images are a folder of files, read and augmented by timm's loaders.
"""

import tempfile
from pathlib import Path

from isoshare.space.backbones.torchvision_operators import declare_missing

declare_missing()  # torchvision's usual wheel lacks them beside a CPU build of torch

import timm
import timm.data
import timm.optim
import timm.utils
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import isoshare

IMAGE = (3, 32, 32)


def write_images(folder, count):
    """The digits of scikit-learn as ``train/CLASS/*.png`` and ``validation/CLASS/*.png``."""
    digits = load_digits()
    for number in range(count):
        part = "validation" if number % 4 == 0 else "train"
        place = folder / part / str(digits.target[number])
        place.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] * 15.9).astype("uint8")
        Image.fromarray(pixels).convert("RGB").save(place / f"{number}.png")


def net():
    return timm.create_model("test_resnet", num_classes=10)


def main(trials=5, epochs=4, count=320):
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), count)
        loaders = {
            part: timm.data.create_loader(
                timm.data.create_dataset("", root=folder, split=part),
                input_size=IMAGE,
                batch_size=32,
                is_training=part == "train",
                use_prefetcher=False,
                hflip=0.0,  # a mirrored digit is another one
                num_workers=0,
                persistent_workers=False,
            )
            for part in ("train", "validation")
        }

        def evaluate(network, trial):
            optimizer = timm.optim.create_optimizer_v2(network, opt="adamw", lr=0.005)
            for _ in range(epochs):
                network.train()
                for images, labels in loaders["train"]:
                    loss = cross_entropy(network(images.to(trial.device)), labels.to(trial.device))
                    if (extra := isoshare.extra_loss(network)) is not None:
                        loss = loss + extra
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            network.eval()
            right = timm.utils.AverageMeter()
            with torch.no_grad():
                for images, labels in loaders["validation"]:
                    output = network(images.to(trial.device)).cpu()
                    (share,) = timm.utils.accuracy(output, labels)
                    right.update(share.item(), len(labels))
            return right.avg / 100

        study = isoshare.create_study(net)
        study.optimize(evaluate, n_trials=trials)
    print(study.trials_dataframe().query("on_front")[["accuracy", "parameters", "sharing"]])
    return study


if __name__ == "__main__":
    main()
