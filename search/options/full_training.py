"""Which options of a search a full training of one plan takes, and its defaults."""

from __future__ import annotations

EPOCHS = 60
"""As long as a training that a network is deployed after."""

OF_IMAGES = ("dataset", "subset", "resolution", "channels", "data_folder", "augment")
"""Options that say which images a network has learned; its file has them."""

OF_THE_SEARCH = (
    *("dataset", "resolution", "channels", "data_folder", "batch_size", "optimizer"),
    *("learning_rate", "label_smoothing", "augment"),
)
"""Options whose defaults are those of the search that found the plan, as its file has them."""

WEIGHTS = ("weights", "weight_map", "new_head", "pretrained")
"""Options that say where trained weights of the unshared network come from."""

DISTILLATION = ("distill", "distill_temperature", "distill_weight")
"""Options that say how it is learned from."""

OF_VARIANTS = (
    *("pretrain_epochs", "batch_size", "optimizer", "learning_rate", "label_smoothing", "augment"),
    *("precision", "compile"),
)
"""Options that say how the variants of a backbone are trained before a plan is solved over them."""

OWN = ("epochs", "subset", "precision", "compile", "seed", *WEIGHTS, *DISTILLATION)
"""Options that a full training decides for itself."""
