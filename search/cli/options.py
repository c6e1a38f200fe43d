"""Options that only the command line has: what each one takes, and what its help says.

One type per option; a command names those it has. Those of a search are in search/options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from isoshare.search.cli.completion import study_names
from isoshare.search.cli.option_types import option_info
from isoshare.search.options import OPTIONS, RESUME_OPTIONS

Name = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="The name of a study.", autocompletion=study_names),
]
Storage = Annotated[str | None, option_info(OPTIONS["storage"])]
Arguments = Annotated[list[str] | None, option_info(OPTIONS["backbone_arg"])]
TrustedBackbone = Annotated[str | None, option_info(RESUME_OPTIONS["backbone"])]
Format = Annotated[
    Literal["json", "safetensors", "onnx", "onnx-int8", "tflite", "optuna"],
    typer.Option(
        help="json, the plan; safetensors, trained weights with the plan; onnx, the trained "
        "network as a graph; onnx-int8, the same in 8 bits; tflite, in 8 bits for LiteRT and "
        "TFLite Micro; optuna, all trials for optuna-dashboard."
    ),
]
Image = Annotated[
    str | None,
    typer.Option(
        metavar="CxHxW", help="onnx: the shape of an input image, if the file does not say it."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other tools.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would be searched and how long it takes; store nothing."
    ),
]
DeleteStudy = Annotated[
    str | None,
    typer.Option(
        "--delete",
        metavar="NAME",
        help="Delete this study; asks first.",
        autocompletion=study_names,
    ),
]
ArchiveStudy = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="NAME",
        help="Write this study to a file, named by -o.",
        autocompletion=study_names,
    ),
]
RestoreStudy = Annotated[
    Path | None,
    typer.Option("--restore", metavar="FILE", help="Add the study of such a file to the database."),
]
RestoreAs = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="With --restore: its new name.")
]
ArchiveFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Where to write the archive."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Delete without asking.")]
Html = Annotated[Path | None, typer.Option(metavar="F", help="Write an interactive plot.")]
Png = Annotated[Path | None, typer.Option(metavar="F", help="Write a plot.")]
Best = Annotated[
    Literal["knee", "accuracy", "smallest"] | None,
    typer.Option(help="The plan of the front to take."),
]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Read options from a TOML or JSON file; those given here win."
    ),
]

# What a service has.
Host = Annotated[
    str,
    typer.Option(
        metavar="H", help="The address to listen on; any but loopback needs --token-file."
    ),
]
Port = Annotated[
    int, typer.Option(metavar="P", min=0, max=65535, help="The port; 0 takes any free one.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file of lines 'NAME read TOKEN' or 'NAME launch TOKEN': who may do what.",
    ),
]
PublicHosts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="A host name under which a reverse proxy serves it; may be repeated."
    ),
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
    int, typer.Option(metavar="N", min=0, help="The number of searches that may run at once.")
]
Most = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OPTION=N",
        show_default="trials=100000, workers=256, replicates=1000, cpus_per_trial=256",
        help="The largest value of an option that clients may launch with; may be repeated.",
    ),
]
ReadOnly = Annotated[
    bool,
    typer.Option(
        "--read-only",
        help="Only show studies; --storage may then be an archive that 'studies' wrote.",
    ),
]
RootPath = Annotated[
    str,
    typer.Option(
        metavar="PATH",
        show_default="none",
        help="The path under which a reverse proxy serves it, such as /isoshare.",
    ),
]
AccessLog = Annotated[
    Literal["off", "text", "json"],
    typer.Option(help="What is written to stderr of each request: text, or a JSON line."),
]
StateFolder = Annotated[
    Path, typer.Option(metavar="DIR", help="The folder for what it keeps about its searches.")
]
