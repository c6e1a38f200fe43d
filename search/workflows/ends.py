"""The ends of trainings: kept while their plans are on the front, so that its tests train nothing.

Workers of this machine leave them in the checkpoint folder of the study. Those of a cluster may
have folders that nobody else sees, so there nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from isoshare.search.engine import Engine
from isoshare.storage.records import TrialRecord


def forget_beaten(engine: Engine, folder: Path | None) -> Callable[[TrialRecord], None]:
    """To be called with each trial that has ended: deletes what no test will ask for.

    What has left the front never returns. When a search is done, whatever is left goes too.
    """
    before: dict[int, TrialRecord] = {}

    def forget(ended: TrialRecord) -> None:
        if folder is None:
            return
        front = {trial.number: trial for trial in engine.search_state.front.members}
        if engine.done and not engine.stopping.is_asked:
            _forget(folder, "")
        for number, trial in {**before, ended.number: ended}.items():
            if number not in front and trial.state == "finished" and not engine.runs(number):
                _forget(folder, trial.plan.fingerprint)
        before.clear()
        before.update(front)

    return forget


def _forget(folder: Path, fingerprint: str) -> None:
    with suppress(OSError):
        for file in folder.glob(f"{fingerprint}*.pt"):
            file.unlink(missing_ok=True)
        folder.rmdir()
