"""The options of the command line: what each one takes, and what its help says.

One type an option; a command names those it has. Read without torch, so that help answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from isoshare.search.cli.completion import backbone_names, dataset_names, study_names

Name = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="The name of a study.", autocompletion=study_names),
]
Format = Annotated[
    Literal["json", "safetensors", "onnx", "optuna"],
    typer.Option(
        help="json, the plan; safetensors, trained weights with the plan; onnx, the trained "
        "network as a graph; optuna, all trials for optuna-dashboard."
    ),
]
Image = Annotated[
    str | None,
    typer.Option(metavar="CxHxW", help="onnx: an input image, where the file does not say it."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other tools.")]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        show_default="sqlite:///isoshare.db, or ISOSHARE_STORAGE",
        help="The database of the studies.",
    ),
]
DeleteStudy = Annotated[
    str | None,
    typer.Option(
        "--delete",
        metavar="NAME",
        help="Remove this study; asks first.",
        autocompletion=study_names,
    ),
]
ArchiveStudy = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="NAME",
        help="Write this study to a file (-o).",
        autocompletion=study_names,
    ),
]
RestoreStudy = Annotated[
    Path | None,
    typer.Option("--restore", metavar="FILE", help="Add the study of such a file."),
]
RestoreAs = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="With --restore: what it is called now.")
]
ArchiveFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Where to write the archive."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Remove without asking.")]
Html = Annotated[Path | None, typer.Option(metavar="F", help="Write the interactive picture.")]
Png = Annotated[Path | None, typer.Option(metavar="F", help="Write the picture.")]
Best = Annotated[
    Literal["knee", "accuracy", "smallest"] | None, typer.Option(help="Which plan of the front.")
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V", help="An argument of the backbone; may be repeated."),
]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        show_default="isoshare-out/STUDY",
        help="Where the picture and the plan are written.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", show_default="one a CPU", help="Trainings that run side by side."),
]
CpusPerTrial = Annotated[
    float | None,
    typer.Option(metavar="X", show_default="1.0", help="CPUs, and threads, of one training."),
]
GpusPerTrial = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        show_default="an even share",
        help="Accelerators of one training; below 1, trainings share one.",
    ),
]
RayAddress = Annotated[
    str | None, typer.Option(metavar="A", help="An existing Ray cluster to run on.")
]

# What only a new search has, in the order of its help.
ConfigFile = Annotated[
    Path | None,
    typer.Option(metavar="F.toml", help="Read options from a file; those given here win."),
]
StudyName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", show_default="DATASET-BACKBONE-N", help="What the search is called."
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="B",
        autocompletion=backbone_names,
        show_default="a small resnet_cifar",
        help="For small images convmixer, dacnn_mix, dacnn_plain, densenet_bc, fashion_cnn, "
        "resnet_cifar, resnet_small_images, se_resnet; for large ones resnet18, resnet34, "
        "resnet50, resnet101, resnext50, densenet121, mobilenet_v2, mobilenet_v2_expanded, "
        "shufflenet_v2; or package.module:function of your own.",
    ),
]
TrustedBackbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="B",
        help="A backbone of your own, as it stands in the file or study: only code that you name "
        "is imported.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="D",
        autocompletion=dataset_names,
        show_default="digits",
        help="digits, cifar10, cifar100, svhn, fashion_mnist, or folder:PATH with "
        "train/CLASS/ and test/CLASS/, or CLASS/.",
    ),
]
Subset = Annotated[
    int | None, typer.Option(metavar="N", help="Only so many training images, stratified.")
]
Resolution = Annotated[int | None, typer.Option(metavar="N", help="Shrink images to NxN pixels.")]
Channels = Annotated[
    int | None, typer.Option(metavar="1|3", help="Make images grey, or repeat grey.")
]
DataFolder = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", show_default="the cache folder", help="Where downloads are, or go."
    ),
]
NewBudget = Annotated[
    int | None, typer.Option(metavar="N", help="A new budget, at least what there is.")
]
MovedData = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Where the same images are now, if they have moved."),
]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        show_default="kernel,anchored,filter_basis,slice_generator",
        help="How sites may share: kernel, one for several; anchored, and private 1x1 "
        "regulators; filter_basis, shared filters and private coefficients; slice_generator, "
        "kernels made from codes.",
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        show_default="accuracy,parameters",
        help="What is traded against what, two or three of: accuracy, parameters, macs, "
        "bytes, activation_memory, latency, spikes.",
    ),
]
Evaluator = Annotated[
    str | None,
    typer.Option(
        metavar="E",
        show_default="train",
        help="How a plan is measured: train, a short training from scratch; inherit, starting "
        "from the trained unshared network; spiking, a spiking network trained through it.",
    ),
]
PretrainEpochs = Annotated[
    int | None,
    typer.Option(metavar="N", show_default="30", help="inherit: training of the unshared network."),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="inherit: its weights instead, a state_dict of yours."),
]
TimeSteps = Annotated[
    int | None, typer.Option(metavar="N", show_default="15", help="spiking: steps of time.")
]
Trials = Annotated[
    int | None, typer.Option(metavar="N", show_default="40", help="Distinct plans to measure.")
]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", show_default="15", help="Length of a training.")
]
Replicates = Annotated[
    int | None,
    typer.Option(metavar="N", show_default="2", help="Trainings of a plan, one a seed."),
]
BatchSize = Annotated[
    int | None, typer.Option(metavar="N", show_default="64", help="Images a step.")
]
Optimizer = Annotated[
    Literal["sgd", "adamw"] | None,
    typer.Option(show_default="sgd", help="How a network learns."),
]
LearningRate = Annotated[
    float | None,
    typer.Option(metavar="X", show_default="0.1", help="The peak of the schedule."),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        metavar="X", show_default="0.0", help="The share of a label spread over all classes."
    ),
]
Augment = Annotated[
    Literal["none", "standard"] | None,
    typer.Option(
        show_default="standard", help="Shift and mirror training images as suits the data set."
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(show_default="auto", help="auto: bfloat16 where the device gains from it."),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile", show_default="False", help="Compile each network: for long trainings."
    ),
]
Validation = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        show_default="0.2",
        help="Fraction of the training images that is kept for measuring.",
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        show_default="ehvi",
        help="Who proposes plans: ehvi (expected hypervolume improvement; knows who shares), "
        "local (steps from the front), random, or Optuna's nsga2, tpe or gp.",
    ),
]
Repeats = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        show_default="0.0",
        help="Share of the trials that measure plans of the front again, with new seeds.",
    ),
]
Rungs = Annotated[
    str | None,
    typer.Option(
        metavar="N,M",
        show_default="none",
        help="Stop trainings that promise little after these numbers of epochs.",
    ),
]
ReductionFactor = Annotated[
    int | None,
    typer.Option(metavar="N", show_default="3", help="One in N trainings goes on from a rung."),
]
StopAt = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="End when at most this share of the hypervolume is likely still to be gained: 0.01.",
    ),
]
Driver = Annotated[
    str | None,
    typer.Option(
        metavar="D",
        show_default="ray",
        help="What runs the trainings: ray, or simulate, which reads them from --table.",
    ),
]
Table = Annotated[
    str | None,
    typer.Option(
        metavar="T",
        help="A table of ShareBench for --driver simulate: sharebench-digits, or a file.",
    ),
]
MaxParameters = Annotated[
    int | None, typer.Option(metavar="N", help="Never measure a network of more parameters.")
]
MaxMacs = Annotated[
    int | None,
    typer.Option(metavar="N", help="Never measure one of more multiply-accumulates an image."),
]
MaxBytes = Annotated[
    int | None, typer.Option(metavar="N", help="Never measure one of more bytes when saved.")
]
MinAccuracy = Annotated[
    float | None, typer.Option(metavar="X", help="Keep less accurate plans off the front.")
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", show_default="0", help="The same seed repeats the search."),
]

# What a service has.
Host = Annotated[
    str, typer.Option(metavar="H", help="Where it listens; all but loopback need --token-file.")
]
Port = Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="0: any that is free.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Lines 'read TOKEN' and 'launch TOKEN': who may do what."),
]
PublicHosts = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A name under which a reverse proxy shows the service."),
]
AllowedBackbones = Annotated[
    list[str] | None,
    typer.Option(
        metavar="B",
        show_default="those that ship with Isoshare",
        help="A backbone that clients may search; may be repeated.",
    ),
]
AllowedDatasets = Annotated[
    list[str] | None,
    typer.Option(
        metavar="D",
        show_default="all but folders",
        help="A data set that clients may search; may be repeated.",
    ),
]
Searches = Annotated[
    int, typer.Option(metavar="N", min=0, help="How many searches may run at once.")
]
StateFolder = Annotated[
    Path, typer.Option(metavar="DIR", help="What it keeps about the searches it has started.")
]
