"""Ray for as long as a search lasts: on this machine, or the cluster that is joined."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import isoshare.search.drivers.ray_settings  # noqa: F401  Ray reads them when it is imported

# isort: split
import ray
from ray.exceptions import RayError

from isoshare.search.drivers.interrupt import hears_signals
from isoshare.search.drivers.resources import Share, share_of
from isoshare.space.errors import IsoshareError

CLIENT = "ray://"


@contextmanager
def ray_cluster(
    workers: int,
    address: str | None = None,
    cpus: float = 1,
    gpus: float | None = None,
    code: Sequence[Path] = (),
) -> Iterator[Share]:
    """Ray for as long as the context lasts: this machine, or the cluster at ``address``.

    cpus and gpus: of one worker; gpus None: an even share of what is there. code: packages and
    modules that the nodes of the cluster get. Gives what one worker takes.
    Raises IsoshareError if there is no cluster to join, or no room for a worker in it.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        _start(workers, address, cpus, code)
        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield share_of(workers, cpus, gpus, there)
    finally:
        ray.shutdown()
        if before is not None and hears_signals():
            signal.signal(signal.SIGTERM, before)


def _start(workers: int, address: str | None, cpus: float, code: Sequence[Path]) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address:
        _join(address, {"py_modules": [*map(str, code)]}, quiet)
    else:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen on loopback only
        ray.init(
            address="local", num_cpus=math.ceil(workers * cpus), include_dashboard=False, **quiet
        )
    if hears_signals():
        # A machine that is shut down sends SIGTERM, which Ray takes for itself: take it as Ctrl-C.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    for name in ("ray.tune", "ray.air", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Ray prints news of dead workers on stdout, between our own lines, and has no switch for it.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _join(address: str, environment: dict[str, Any], options: dict[str, Any]) -> None:
    """Join a cluster; its nodes get the ``environment``. Raises IsoshareError."""
    if address.startswith(CLIENT):
        raise IsoshareError(
            f"cannot search through Ray's client, as {address!r} asks: start the search on a "
            "machine of the cluster, with --ray-address host:port"
        )
    host, colon, port = address.rpartition(":")
    try:
        if colon and port.isdigit():  # where nobody listens Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, runtime_env=environment, **options)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise IsoshareError(
            f"cannot join the Ray cluster at {address!r}: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """Why a cluster cannot be joined, and what to do."""
    said = str(error).partition("\n")[0].rstrip(".")
    if "authentication token" not in said.lower():
        return f"{said}; check the address"
    return (
        "its token is not here: copy ~/.ray/auth_token of a machine of the cluster to the same "
        "place, or join one that was started without tokens with RAY_AUTH_MODE=disabled in the "
        "environment"
    )
