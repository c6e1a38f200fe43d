"""The command that serves pages and a REST API."""

from __future__ import annotations

from pathlib import Path

import typer

from isoshare.search.cli import options


def serve(
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    storage: options.Storage = None,
    token_file: options.TokenFile = None,
    public_host: options.PublicHosts = None,
    allow_backbone: options.AllowedBackbones = None,
    allow_dataset: options.AllowedDatasets = None,
    searches: options.Searches = 2,
    most: options.Most = None,
    root_path: options.RootPath = "",
    access_log: options.AccessLog = "off",
    read_only: options.ReadOnly = False,
    state: options.StateFolder = Path("isoshare-service"),
) -> None:
    """Serve web pages and a REST API.

    Launch searches, watch their fronts, and download plans.

    Example: isoshare serve --port 8000
    """
    given = {key: value for key, value in locals().items() if value is not None}
    from isoshare.search.service.server import serve
    from isoshare.search.service.settings import make_settings

    serve(make_settings(given), typer.echo)
