"""Hugging Face: a vision transformer of `transformers`, trained by its Trainer on a `datasets` set.

Linear layers of the transformer share as convolutions do.
"""

from isoshare.space.backbones.torchvision_operators import declare_missing

declare_missing()  # torchvision's usual wheel lacks them beside a CPU build of torch

import datasets
import transformers
from sklearn.datasets import load_digits

import isoshare

transformers.logging.set_verbosity_error()


def net():
    """A small vision transformer; its heads and widths are the configuration's."""
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            **{"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10},
            **{"hidden_size": 32, "intermediate_size": 64},
            **{"num_hidden_layers": 3, "num_attention_heads": 2},
        )
    )


class Reported(transformers.TrainerCallback):
    """Tells the search what each epoch has come to, and stops when it says so."""

    def __init__(self, trial):
        self.trial = trial

    def on_evaluate(self, args, state, control, metrics, **_):
        self.accuracy = metrics["eval_accuracy"]
        self.trial.report(self.accuracy, round(state.epoch))
        control.should_training_stop = self.trial.should_stop()


class Trainer(transformers.Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **options):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **options)
        loss = loss + (isoshare.extra_loss(model) or 0)
        return (loss, outputs) if return_outputs else loss


def accuracy(prediction):
    return {"accuracy": (prediction.predictions.argmax(1) == prediction.label_ids).mean()}


def main(trials=4, epochs=4, count=600):
    digits = load_digits()
    pixels = (digits.images[:, None] / 8 - 1).astype("float32")
    whole = datasets.Dataset.from_dict({"pixel_values": pixels, "labels": digits.target})
    whole = whole.with_format("torch").train_test_split(train_size=count, test_size=300, seed=0)

    def evaluate(network, trial):
        settings = transformers.TrainingArguments(
            output_dir=str(trial.directory),
            num_train_epochs=epochs,
            per_device_train_batch_size=50,
            per_device_eval_batch_size=300,
            learning_rate=0.005,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=trial.seed,
            use_cpu=trial.device.type == "cpu",
        )
        trainer = Trainer(
            model=network,
            args=settings,
            train_dataset=whole["train"],
            eval_dataset=whole["test"],
            compute_metrics=accuracy,
            callbacks=[reported := Reported(trial)],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        return reported.accuracy

    study = isoshare.create_study(net)
    study.optimize(evaluate, n_trials=trials)
    print(study.trials_dataframe().query("on_front")[["accuracy", "parameters", "sharing"]])
    return study


if __name__ == "__main__":
    main()
