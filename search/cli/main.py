"""The command line of Isoshare: it parses, calls and prints.

Nothing heavy is imported before a command needs it, so that help answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from isoshare.search.cli.commands.exporting import export
from isoshare.search.cli.commands.plans import inspect, reproduce, solve, train
from isoshare.search.cli.commands.searches import launch, resume
from isoshare.search.cli.commands.service import serve
from isoshare.search.cli.commands.studies import pareto, report, studies, upgrade
from isoshare.search.cli.option_types import GroupedCommand
from isoshare.search.cli.terminal import DONE, INTERRUPTED, WRONG, fail, usage_message

app = typer.Typer(
    help="Search which convolutions of a CNN can share their weights, and take the best plan home.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich's help takes as long as all the rest of the answer
)
COMMANDS = (
    *(launch, resume, studies, pareto, export, report),
    *(solve, train, reproduce, inspect, upgrade, serve),
)
for command in COMMANDS:
    app.command(cls=GroupedCommand)(command)


def main() -> None:
    """Run a command; a wrong request is one sentence on stderr and exit code 2."""
    from isoshare.search.drivers.interrupt import listen
    from isoshare.space.errors import IsoshareError

    listen()
    sys.path.append(str(Path.cwd()))  # --backbone my_module:network of the current folder
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        raise SystemExit(app(prog_name=Path(sys.argv[0]).name, standalone_mode=False) or DONE)
    except IsoshareError as error:
        fail(str(error), WRONG)
    except typer.TyperException as error:
        fail(usage_message(error), WRONG)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", INTERRUPTED)


if __name__ == "__main__":
    main()
