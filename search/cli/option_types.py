"""Options of a search as options of a command: made from their definitions in search/options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from isoshare.search.cli.completion import backbone_names, dataset_names
from isoshare.search.options import Option

COMPLETION = {"backbone": backbone_names, "dataset": dataset_names}

Command = Callable[..., None]


class GroupedCommand(TyperCommand):
    """A command whose help shows options under the headings of their parts."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write each group under its heading, in the order of the options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is not None:
                plain = f"{param.param_type_name.capitalize()}s"  # Options, Arguments
                heading = getattr(param, "rich_help_panel", None) or plain
                groups.setdefault(heading, []).append(row)
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def option_info(option: Option, default: str | None = None, group: str | None = None) -> Any:
    """What Typer needs of an option.

    default: what its help says in place of its own default. group: the heading it stands under.
    """
    may_be_on = option.kind == "flag" and option.default != "false"
    return typer.Option(
        f"{option.flag}/--no-{option.flag[2:]}" if may_be_on else option.flag,
        metavar=option.metavar,
        show_default=(option.default if default is None else default) or False,
        help=option.help,
        autocompletion=COMPLETION.get(option.name),
        rich_help_panel=group,
    )


def takes(options: Mapping[str, Option], **defaults: str) -> Callable[[Command], Command]:
    """Give a command these options: it finds those that were typed in its parameter ``given``.

    defaults: what the help says of those that have another default with this command.
    """
    made = [_parameter(option, defaults.get(name)) for name, option in options.items()]

    def decorate(command: Command) -> Command:
        own = signature(command, eval_str=True).parameters.values()
        parameters = [*(one for one in own if one.name != "given"), *made]

        @wraps(command)
        def run(**typed: Any) -> None:
            found = {name: typed.pop(name) for name in options}
            command(given={k: v for k, v in found.items() if v is not None}, **typed)

        run.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _parameter(option: Option, default: str | None) -> Parameter:
    info = option_info(option, default, option.group)
    annotation: Any = Annotated[_type(option) | None, info]
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _type(option: Option) -> Any:
    """The type that Typer parses: a list is typed as one word, arguments one by one."""
    if option.kind == "choice" and isinstance(option.choices[0], str):
        return Literal[option.choices]
    plain: dict[str, Any] = {"flag": bool, "mapping": list[str], "lists": list[str], "choice": int}
    number = int if option.whole else float
    return plain.get(option.kind, number if option.kind == "number" else str)
