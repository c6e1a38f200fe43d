"""Commands about what a database holds: studies, pareto, report, upgrade."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from isoshare.search.cli import options
from isoshare.search.cli.terminal import (
    open_console,
    open_store,
    open_to_read,
    print_json,
    program,
    spinner,
    writing,
)


def studies(
    as_json: options.Json = False,
    delete: options.DeleteStudy = None,
    archive: options.ArchiveStudy = None,
    output: options.ArchiveFile = None,
    restore: options.RestoreStudy = None,
    name: options.RestoreAs = None,
    yes: options.Yes = False,
    storage: options.Storage = None,
) -> None:
    """List, delete, archive or restore studies.

    Example: isoshare studies --archive digits-resnet_cifar-1 -o study.gz
    """
    from isoshare.search.results.listing import studies_json, studies_table

    asked = (delete, archive, output, restore, name)
    changes = any(part is not None for part in asked)
    store, console = (open_store if changes else open_to_read)(storage), open_console()
    if changes:
        from isoshare.search.workflows.administration.manage import Request, carry_out, in_short

        request = Request(*asked)
        if delete is not None and not yes:
            typer.confirm(f"delete {in_short(store, delete)}?", abort=True, err=True)
        with spinner("working"):
            done = writing(output or Path(), partial(carry_out, request, store))
        console.print(done, highlight=False, soft_wrap=True)
    elif as_json:
        print_json(studies_json(store.studies()))
    elif known := store.studies():
        console.print(studies_table(known))
    else:
        console.print(f"no studies yet: '{program()} launch' makes one")


def pareto(
    name: options.Name,
    as_json: options.Json = False,
    html: options.Html = None,
    png: options.Png = None,
    storage: options.Storage = None,
) -> None:
    """Show the Pareto front of a study.

    Example: isoshare pareto digits-resnet_cifar-1 --html front.html
    """
    from isoshare.search.results.pictures.drawing import write_png
    from isoshare.search.results.pictures.figures import front_figure
    from isoshare.search.results.pictures.front_page import write_html
    from isoshare.search.results.study_results import load_results
    from isoshare.search.results.tables import front_json, front_table

    results = load_results(open_to_read(storage), name)
    if html is not None:
        writing(html, partial(write_html, front_figure(results)))
    if png is not None:
        writing(png, partial(write_png, front_figure(results)))
    if as_json:
        print_json(front_json(results))
    elif html is None and png is None:
        open_console().print(front_table(results))


def report(
    name: options.Name,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="report.html", help="Where to write it.")
    ],
    trial: Annotated[
        int | None,
        typer.Option(metavar="N", show_default="the knee", help="The trial whose plan is shown."),
    ] = None,
    storage: options.Storage = None,
) -> None:
    """Write a report on a study as one self-contained page.

    Example: isoshare report digits-resnet_cifar-1 -o report.html
    """
    from isoshare.search.results.choose import trial_by_number
    from isoshare.search.results.reports.report import write_report
    from isoshare.search.results.study_results import load_results

    results = load_results(open_to_read(storage), name)
    shown = None if trial is None else trial_by_number(results, trial)
    writing(output, lambda path: write_report(results, path, shown))
    size = output.stat().st_size / 1e6
    open_console().print(f"wrote {output} ({size:.1f} MB, everything inside)", highlight=False)


def upgrade(storage: options.Storage = None) -> None:
    """Upgrade the database schema; studies stay as they are.

    Example: isoshare upgrade --storage sqlite:///isoshare.db
    """
    from isoshare.search.workflows.administration.manage import upgrade_database

    store = open_store(storage)
    with spinner("upgrading"):
        done = upgrade_database(store)
    open_console().print(done, highlight=False)
