"""Where the service is, if a reverse proxy serves it under a path: ``--root-path /isoshare``."""

from __future__ import annotations

from starlette.types import Scope


def place(scope: Scope, root: str) -> None:
    """Say in a request that the service is at ``root``, whether the proxy has left that off the
    path or not.
    """
    path = scope["path"]
    if not (path == root or path.startswith(f"{root}/")):
        path = f"{root}{path}"
    scope.update(root_path=root, path=path, raw_path=path.encode())


def under(scope: Scope) -> str:
    """The path of a request below the place of the service."""
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    return path[len(root) :] or "/" if root and path.startswith(root) else path
