"""Read an archive of a study as if it were a database."""

from __future__ import annotations

import tempfile
from pathlib import Path

from isoshare.storage.store import Store

_copies: list[tempfile.TemporaryDirectory[str]] = []
"""Removed when the process ends."""


def readable(storage: str) -> str:
    """The URL of a database to read from: ``storage`` itself, or a copy of the archive that it is.

    storage: a URL, or the path of a file that ``studies --archive`` has written. Nothing that is
    written to a copy would last. Raises ArchiveError for another file.
    """
    if "://" in storage or not Path(storage).is_file():
        return storage
    # Its models take a while to be made: nobody who reads a database shall wait for them.
    from isoshare.search.workflows.administration.archive import restore_archive

    folder = tempfile.TemporaryDirectory(prefix="isoshare-archive-")
    _copies.append(folder)
    url = f"sqlite:///{folder.name}/archive.db"
    with Store(url) as store:
        restore_archive(store, Path(storage))
    return url
