"""The options of a search in the words of people who fill in a form, not of a command line.

An option without a row has the name and the help of its definition.
"""

from __future__ import annotations

import re

from isoshare.evaluators import EVALUATORS
from isoshare.search.options import OPTIONS, Option

HEADINGS = {
    "Search space": "The network",
    "Data": "The images",
    "Training": "How a network is trained",
    "Evaluation": "What measuring needs",
    "Search policy": "Which plans are tried and kept",
    "Running": "The machine",
}
"""By the heading that options have on the command line."""

WORDS: dict[str, tuple[str, str]] = {
    "study": ("Name of the search", "Letters, digits, and the signs _ . and -"),
    "backbone": ("Network", "One of those that this server allows."),
    "backbone_arg": ("Size of the network", "What its function takes, such as depth=20 width=2."),
    "vary": (
        "Sizes to choose from",
        "What of its size the search chooses too, with the values to try: width=8,12,16.",
    ),
    "methods": ("Ways of sharing", "What layers of the same shape may do with their kernels."),
    "dataset": ("Images", "One of the data sets that this server allows."),
    "subset": ("Training images", "Use only so many, of each class its share."),
    "resolution": ("Side of an image", "Shrink images to so many pixels in height and width."),
    "channels": ("Colour channels", "1: convert to grey. 3: repeat the grey channel."),
    "validation": ("Kept for measuring", "The part of the training images: 0.2 is a fifth."),
    "epochs": ("Epochs", "How often a training sees each image."),
    "optimizer": ("Optimizer", "How weights are updated."),
    "augment": ("Shift and mirror images", "Standard: mirror those of a folder, too."),
    "precision": ("Precision", "Automatic: bfloat16 where the device gains from it."),
    "compile": ("Compile each network", "Pays for long trainings."),
    "evaluator": ("How a plan is measured", "The fields below are those that go with it."),
    "pretrain_epochs": (
        "Epochs of the unshared network",
        "How long it is trained, once, before plans take its weights over.",
    ),
    "new_head": (
        "New last layer",
        "Leave out that of the trained weights: it is for another number of classes.",
    ),
    "pretrained": (
        "Take weights that are ready",
        "Those that torchvision or timm offer for this network, in place of training it.",
    ),
    "distill": (
        "Learn from the unshared network",
        "Networks learn what it answers to each image, beside the labels.",
    ),
    "distill_temperature": ("Softening of its answers", "1: as they are; more: softer."),
    "distill_weight": ("Weight of its answers", "1: labels do not count."),
    "time_steps": ("Time steps", "So long the spiking network is simulated for each image."),
    "replicates": ("Trainings per plan", "Each with a seed of its own; their mean counts."),
    "objectives": ("What is traded", "Two or more. The front holds what no plan beats in all."),
    "trials": ("Plans to measure", "More plans, a better front."),
    "sampler": ("What proposes plans", ""),
    "solve_first": (
        "Ask the trained network first",
        "Plans that are expected to be best are measured first.",
    ),
    "repeats": (
        "Measured again",
        "The share of the trials that measure plans of the front once more, with new seeds.",
    ),
    "rungs": (
        "Stop poor trainings after",
        "Numbers of epochs, such as 2, 4; only the best go on from there.",
    ),
    "reduction_factor": ("One in how many goes on", "From where poor trainings are stopped."),
    "stop_at": (
        "Stop early",
        "When at most this share of the hypervolume is still to be gained: 0.01.",
    ),
    "max_parameters": ("Parameters at most", "No larger network is measured."),
    "max_macs": ("Multiply-accumulates at most", "For one image; no dearer network is measured."),
    "max_bytes": ("Bytes in a file at most", "No larger network is measured."),
    "max_device_bytes": ("Bytes on a device at most", "No larger network is measured."),
    "max_device_bytes_int8": (
        "Bytes on a device in int8 at most",
        "No larger network is measured.",
    ),
    "min_accuracy": ("Accuracy at least", "Plans below it stay off the front."),
    "seed": ("Seed", "The same seed repeats the search."),
    "workers": ("Trainings at the same time", "Each takes its share of the machine."),
    "timeout": (
        "Time limit",
        "After it nothing is started, and trainings end with their epoch: 90s, 30m, 2h, 1d. "
        "It begins when the first training can start.",
    ),
    "table": (
        "Instead of training",
        "Look results up in a table that was measured before: a search of seconds.",
    ),
    "cpus_per_trial": ("CPUs per training", "As many threads as well."),
    "gpus_per_trial": ("Accelerators per training", "Below 1, trainings share one."),
    "plans_per_worker": (
        "Plans trained as one",
        "A number or auto: quicker for small networks; values differ by rounding.",
    ),
}
"""Label and help."""

CHOICES: dict[tuple[str, str], str] = {
    **{("evaluator", name): row.summary for name, row in EVALUATORS.items()},
    ("sampler", "ehvi"): "expected gain of hypervolume; knows which layers share",
    ("sampler", "local"): "steps from plans on the front",
    ("sampler", "random"): "chance",
    ("sampler", "nsga2"): "Optuna's NSGA-II",
    ("sampler", "tpe"): "Optuna's TPE",
    ("sampler", "gp"): "Optuna's Gaussian process",
    ("objectives", "macs"): "multiply-accumulates",
    ("objectives", "bytes"): "bytes in a file",
    ("objectives", "device_bytes"): "bytes on a device",
    ("objectives", "device_bytes_int8"): "bytes on a device in int8",
    ("optimizer", "sgd"): "SGD with momentum",
    ("optimizer", "adamw"): "AdamW",
}
"""Values whose names do not say what they are."""
NAMES = ("backbone", "dataset", "table", "study")
"""Options whose values are names: they are shown as they are."""


def label(option: Option) -> str:
    """What stands above the field of an option."""
    plain = option.name.replace("_", " ").capitalize()
    return WORDS.get(option.name, (plain, ""))[0]


def help_text(option: Option) -> str:
    """What stands below it."""
    return WORDS.get(option.name, ("", option.help))[1]


def in_words(key: str, value: str) -> str:
    """A value of an option: ``bytes on a device``; several with commas."""
    if key in NAMES or OPTIONS[key].kind not in ("choice", "list", "text"):
        return value
    parts = [CHOICES.get((key, part), part.replace("_", " ")) for part in value.split(",")]
    return ", ".join("automatic" if part == "auto" else part for part in parts)


def without_flags(message: str) -> str:
    """A sentence that speaks of options by their names here: “Epochs” in place of ``--epochs``."""
    said = re.sub(r"^(wrong option )?([a-z_]+): ", _leave_out, message)
    return re.sub(r"--([a-z][a-z0-9-]*)", _quoted, said)


def _leave_out(found: re.Match[str]) -> str:
    return "" if found[2] in OPTIONS else found[0]


def _quoted(found: re.Match[str]) -> str:
    option = OPTIONS.get(found[1].replace("-", "_"))
    return found[0] if option is None else f"“{label(option)}”"
