"""Commands that search: launch, resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoshare.search.cli import options
from isoshare.search.cli.option_types import takes
from isoshare.search.cli.session import search_on_terminal, tell_outlook
from isoshare.search.cli.terminal import open_store, spinner
from isoshare.search.options import OPTIONS, RESUME_OPTIONS
from isoshare.space.errors import IsoshareError

if TYPE_CHECKING:
    from isoshare.search.workflows.preparation.prepared import Prepared
    from isoshare.storage.store import Store

RUN_AGAIN = {
    name: OPTIONS[name] for name in ("workers", "plans_per_worker", "ray_address", "out", "timeout")
}
"""Options of a launch that a later run may set anew."""


@takes(OPTIONS)
def launch(
    given: dict[str, Any],
    config: options.ConfigFile = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Search a network for its best sharing plans.

    Without --backbone: a first search of minutes, a small ResNet on digits with settings for it.

    Example: isoshare launch --backbone resnet_cifar --backbone-arg depth=20
    --dataset digits --trials 60
    """
    if as_json and not dry_run:
        raise IsoshareError("--json prints what a search would do: add --dry-run")
    with spinner("preparing"):
        prepared, store = checked_launch(config, given)
    if dry_run:
        raise SystemExit(tell_outlook(prepared, as_json))
    raise SystemExit(search_on_terminal(prepared, store))


@takes({**RESUME_OPTIONS, **RUN_AGAIN})
def resume(given: dict[str, Any], name: options.Name, storage: options.Storage = None) -> None:
    """Continue a search, or give a finished one more trials.

    Example: isoshare resume digits-resnet_cifar-1 --trials 80
    """
    with spinner("preparing"):
        prepared, store = checked_resume(name, storage, given)
    raise SystemExit(search_on_terminal(prepared, store))


def checked_launch(file: Path | None, given: dict[str, Any]) -> tuple[Prepared, Store]:
    """A search with what is typed and what a file says. Raises IsoshareError."""
    from isoshare.search.config import load_config
    from isoshare.search.options.words import read_words

    config = load_config(file, read_words(given))
    store = open_store(config.storage)

    from isoshare.search.workflows.launch import prepare

    return prepare(config, store), store


def checked_resume(
    name: str, storage: str | None, changes: dict[str, Any]
) -> tuple[Prepared, Store]:
    """A study that is to go on. Raises IsoshareError."""
    store = open_store(storage)
    store.check_idle(name)  # an unknown or running study is told before torch is imported

    from isoshare.search.workflows.launch import prepare_resume

    return prepare_resume(name, store, changes), store
