"""Under which conditions a study was measured, and what to be careful about, for its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isoshare.search.results.describe import counted, training_length
from isoshare.search.results.scaling_alone import scaling_curve
from isoshare.search.results.study_results import Results, excluded_in_words


def conditions_of(results: Results) -> dict[str, str]:
    """Data, training, machine and versions, as they were recorded."""
    study, config = results.study, results.study.config
    measured = [m for trial in results.finished for m in trial.measurements]
    seeds = sorted({m.seed for m in measured})
    devices = sorted({str(m.conditions["device"]) for m in measured if "device" in m.conditions})
    data = study.context.dataset
    return {
        "data": f"{data.name}, fingerprint {data.fingerprint}; "
        f"{config.validation:.0%} of the training images kept for validation",
        "backbone": f"{config.backbone} {_pairs(config.backbone_arg)}".strip(),
        "evaluator": f"{config.evaluator}, {training_length(config)}",
        "training": f"batches of {config.batch_size}, {config.optimizer} at a peak rate of "
        f"{config.learning_rate:g}, augmentation {config.augment}, precision {config.precision}",
        "seeds": f"{len(seeds)}, the same for all plans" if seeds else "-",
        "device": ", ".join(devices) or "-",
        "versions": _pairs(study.context.versions),
        "started": f"{study.created:%Y-%m-%d %H:%M} UTC",
        "trainings": f"{len(measured)}, {sum(m.seconds for m in measured) / 60:,.1f} minutes",
    }


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def caveats_of(results: Results, tested: bool) -> tuple[str, ...]:
    """Sentences; tested: whether the front was measured on the test images."""
    config = results.study.config
    failed = sum(trial.state == "failed" for trial in results.trials)
    stopped = sum(trial.state == "stopped" for trial in results.trials)
    said = [
        "The plans were chosen by their validation accuracy, so that of the chosen ones is a "
        "little too good.",
        "The test images were used once, for the plans on the front, after the search had ended."
        if tested
        else "Nothing has been measured on the test images yet.",
        f"Accuracies are of short trainings ({training_length(config)}): they rank "
        "plans, they are not what a full training reaches.",
        "± is the standard error over seeds; it does not cover the choice of images.",
    ]
    if scaling_curve(results):
        said.append(
            "Sharing is compared with the best unshared networks of the search, interpolated at "
            "equal parameters; the plans of the front were chosen among many, so that their lead "
            "is a little too good."
        )
    beyond = excluded_in_words(results)
    said += [f"{beyond}."] if beyond else []
    said += [f"{counted(failed, 'trial')} failed."] if failed else []
    said += [f"{counted(stopped, 'trial')} ended early."] if stopped else []
    return tuple(said)
