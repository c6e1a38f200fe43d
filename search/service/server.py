"""Runs the service until it is told to stop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from isoshare.search.service.app import make_app
from isoshare.search.service.runs import inspect_process
from isoshare.search.service.runs.driver_files import DriverFiles
from isoshare.search.service.runs.one_service import alone_in
from isoshare.search.service.settings import Settings
from isoshare.space.errors import IsoshareError

HOLDING_ON_SECONDS = 0.5
"""So long may requests take to end when the service stops; uvicorn waits for parts of it, too."""


class Server(uvicorn.Server):
    """Ends the streams of events, and what networks are looked at, first: they would hold the
    service open.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C, or a request to terminate."""
        self.config.app.state.hub.close()  # type: ignore[union-attr]
        inspect_process.give_up()
        super().handle_exit(sig, frame)


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Listen and answer. Raises IsoshareError if the port cannot be had, or if another service
    keeps its files in the same folder.
    """
    folder = DriverFiles(settings.folder, settings.storage).folder
    with contextlib.nullcontext() if settings.read_only else alone_in(folder):
        _serve(settings, say)


def _serve(settings: Settings, say: Callable[[str], None]) -> None:
    app = make_app(settings)
    for note in app.state.studies.set_aside:
        say(f"warning: a note about a search could not be read and was set aside as {note}")
    listening = _listen(settings)
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{port}{settings.root_path}/"
    say(f"Isoshare is at {address} (Ctrl-C stops it; searches go on)")
    with contextlib.suppress(KeyboardInterrupt):  # raised again when all is closed
        Server(config_of(app, settings)).run(sockets=[listening])


def config_of(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the service."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.hosts),
        timeout_graceful_shutdown=HOLDING_ON_SECONDS,  # type: ignore[arg-type]
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(2048)  # whoever comes between now and the first answer waits
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise IsoshareError(
            f"cannot listen on {settings.host} port {settings.port}: {reason.lower()}; choose "
            "another --port (0: any that is free) or --host"
        ) from error
    return listening
