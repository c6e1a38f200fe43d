"""How a service is run, checked before it listens."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from isoshare.evaluators.data.datasets import DATASETS, full_name, row_name
from isoshare.search.options import OPTIONS
from isoshare.search.workflows.administration.open_archive import readable
from isoshare.space.backbones import BACKBONES
from isoshare.space.errors import IsoshareError, one_of
from isoshare.storage.opening.database import default_url

Role = Literal["read", "launch"]
ROLES: tuple[Role, ...] = ("read", "launch")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BACKBONE_NAMES = tuple(BACKBONES)
DATASET_NAMES = tuple(name for name in DATASETS if ":" not in name)
SHORTEST_TOKEN, MOST_NAME = 16, 60
MOST = {
    "trials": 100_000,
    "workers": 256,
    "replicates": 1_000,
    "cpus_per_trial": 256,
    "backbone_arg": 25_000,
}
"""What a client may ask for, where the operator says nothing else (``serve --most``). The last is
of every number among a backbone's arguments; ImageNet-21k has 21,841 classes.
"""


@dataclass(frozen=True)
class Caller:
    """Who sends a request: what they may do, and the name of their token, if it has one."""

    role: Role
    name: str = ""


@dataclass(frozen=True)
class Tokens:
    """Who may do what. Without any, everybody who reaches the service may do everything."""

    digests: tuple[tuple[Caller, bytes], ...] = ()

    def caller(self, token: str) -> Caller | None:
        """Who has a token; every known one is compared, in the same time."""
        given = _digest(token)
        found = [caller for caller, known in self.digests if hmac.compare_digest(known, given)]
        return max(found, key=lambda caller: ROLES.index(caller.role), default=None)


@dataclass(frozen=True)
class Settings:
    """One service.

    folder: what it keeps about the searches it started. hosts: names by which a reverse proxy
        makes it known. backbones, datasets: what may be launched. searches: how many may run at
        once. rate: requests a second from one address, on average. max_age: seconds for which
        what was read from the database counts as new. body_seconds: how long a request may take to
        arrive. streams: of events, that may be open at once, in all and for one address.
        root_path: under which a proxy serves it. access_log: what is written of each request.
        read_only: whether nobody may change anything. most: the largest values of options that
        clients may launch with.
    """

    storage: str
    host: str = "127.0.0.1"
    port: int = 8000
    folder: Path = Path("isoshare-service")
    tokens: Tokens = Tokens()
    hosts: tuple[str, ...] = ()
    backbones: tuple[str, ...] = BACKBONE_NAMES
    datasets: tuple[str, ...] = DATASET_NAMES
    searches: int = 2
    rate: float = 100.0
    max_age: float = 0.2
    body_bytes: int = field(default=64 * 1024)
    body_seconds: float = 20.0
    streams: int = 256
    streams_per_client: int = 64
    read_only: bool = False
    root_path: str = ""
    access_log: Literal["off", "text", "json"] = "off"
    most: Mapping[str, float] = field(default_factory=lambda: dict(MOST))

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.tokens.digests:
            raise IsoshareError(
                f"--host {self.host} lets other machines in, so they must show who they are: name "
                "a --token-file with lines like 'read TOKEN' and 'launch TOKEN'"
            )
        if self.hosts and not self.tokens.digests:
            raise IsoshareError(
                f"--public-host {self.hosts[0]} lets others in, so they must show who they are: "
                "name a --token-file with lines like 'ada launch TOKEN' and 'bob read TOKEN'"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the service."""
        return self.host in LOOPBACK


def make_settings(given: Mapping[str, Any]) -> Settings:
    """Settings from the options of the command line. Raises IsoshareError."""
    file = given.get("token_file")
    datasets = tuple(full_name(name) for name in given.get("allow_dataset", DATASET_NAMES))
    for name in datasets:
        if row_name(name) not in DATASETS:
            raise IsoshareError(one_of("data set", name, DATASETS))
    storage, read_only = given.get("storage") or default_url(), given.get("read_only", False)
    return Settings(
        storage=readable(storage) if read_only else storage,
        read_only=read_only,
        root_path=_root(given.get("root_path", "")),
        access_log=given.get("access_log", "off"),
        host=given["host"],
        port=given["port"],
        folder=given["state"],
        tokens=read_tokens(file) if file else Tokens(),
        hosts=tuple(given.get("public_host", ())),
        backbones=tuple(given.get("allow_backbone", BACKBONE_NAMES)),
        datasets=datasets,
        searches=given["searches"],
        most={**MOST, **dict(map(_most, given.get("most", ())))},
    )


def _root(path: str) -> str:
    """A path as ``/isoshare``; empty for ``/``. Raises IsoshareError."""
    parts = [part for part in path.split("/") if part]
    if not all(re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*", part) for part in parts):
        raise IsoshareError(f"--root-path must look like /isoshare, got {path!r}")
    return "".join(f"/{part}" for part in parts)


def _most(text: str) -> tuple[str, float]:
    """One ``--most trials=500``. Raises IsoshareError."""
    name, equals, value = text.partition("=")
    numbers = [key for key, option in OPTIONS.items() if option.kind == "number" or key in MOST]
    if name not in numbers:
        raise IsoshareError(one_of("option with a number", name, numbers))
    try:
        most = float(value) if equals else math.nan
    except ValueError:
        most = math.nan
    if not math.isfinite(most):
        raise IsoshareError(f"--most must look like trials=500, got {text!r}")
    return name, most


def read_tokens(file: Path) -> Tokens:
    """The tokens of a file with lines ``role token``. Raises IsoshareError; no token is shown."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IsoshareError(f"cannot read the token file {file}: {error}") from error
    rows = [(place, line.split()) for place, line in enumerate(lines, start=1)]
    digests = tuple(_row(file, *row) for row in rows if row[1] and not row[1][0].startswith("#"))
    if not digests:
        raise IsoshareError(f"{file} has no tokens: write lines like 'launch TOKEN'")
    return Tokens(digests)


def _row(file: Path, place: int, words: list[str]) -> tuple[Caller, bytes]:
    where = f"{file}, line {place}"
    if len(words) not in (2, 3):
        raise IsoshareError(
            f"{where}: a line is a name, a role and a token, like 'ada launch TOKEN', or a role "
            "and a token"
        )
    name, role, token = words if len(words) == 3 else ("", *words)
    if role not in ROLES:
        raise IsoshareError(f"{where}: {one_of('role', role, ROLES)}")
    if len(token) < SHORTEST_TOKEN:
        raise IsoshareError(
            f"{where}: a token has {SHORTEST_TOKEN} characters or more, this one has {len(token)}; "
            'make one with: python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return Caller(role, name[:MOST_NAME]), _digest(token)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
