"""Lightning: a LightningModule around the shared network, trained by Trainer.fit.

Its epochs are reported as they end, so that the search can stop what is worse than others.
"""

import logging
import warnings

from isoshare.space.backbones.torchvision_operators import declare_missing

declare_missing()  # torchvision's usual wheel lacks them beside a CPU build of torch

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import isoshare

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")  # of few workers for its loaders


class Classifier(lightning.LightningModule):
    def __init__(self, network, trial):
        super().__init__()
        self.network, self.trial = network, trial

    def training_step(self, batch, _):
        x, y = batch
        return cross_entropy(self.network(x), y) + (isoshare.extra_loss(self.network) or 0)

    def validation_step(self, batch, _):
        x, y = batch
        self.log("accuracy", (self.network(x).argmax(1) == y).float().mean(), on_epoch=True)

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.trial.report(self.trainer.callback_metrics["accuracy"], self.current_epoch + 1)
            self.trainer.should_stop = self.trial.should_stop()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def net(width=8, blocks=5):
    convs = [p for _ in range(blocks) for p in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10)]
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), *convs, *head)


def main(trials=6, epochs=3, count=800):
    digits = load_digits()
    x, y = torch.tensor(digits.images).float().unsqueeze(1) / 8 - 1, torch.tensor(digits.target)
    train = DataLoader(TensorDataset(x[:count], y[:count]), batch_size=50, shuffle=True)
    held_out = DataLoader(TensorDataset(x[count:], y[count:]), batch_size=200)

    def evaluate(network, trial):
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu" if trial.device.type == "cpu" else "gpu",
            default_root_dir=trial.directory,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(network, trial), train, held_out)
        return trainer.callback_metrics["accuracy"]

    study = isoshare.create_study(net, rungs=(1,))
    study.optimize(evaluate, n_trials=trials)
    print(study.trials_dataframe().query("on_front")[["accuracy", "parameters", "sharing"]])
    return study


if __name__ == "__main__":
    main()
