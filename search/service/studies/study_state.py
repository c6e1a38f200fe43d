"""What state a study is in, and the sentence that says why: from its driver and its trials."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from isoshare.search.service.models import State
from isoshare.search.service.runs.driver_files import Driver, option_of
from isoshare.search.service.runs.processes import is_alive
from isoshare.search.service.studies.snapshot import Snapshot
from isoshare.storage.change_feed import StudyVersion
from isoshare.storage.records import RunningDriver

LOST = "its driver ended without a word: it was killed, or the machine went down"


@dataclass(frozen=True)
class Standing:
    """option: of the search, which the message is about, where it names one."""

    state: State
    message: str = ""

    @property
    def option(self) -> str | None:
        """The option of the search that the message names."""
        return option_of(self.message) if self.state == "failed" else None


def standing_unstored(driver: Driver, complaint: str) -> Standing:
    """Of a search of which nothing is in the database."""
    if is_alive(driver):
        return Standing("starting")
    if driver.stopping:
        nothing = "before anything was stored; Resume begins it again as it was asked for"
        return Standing("interrupted", f"{_stopped(driver)} {nothing}")
    return Standing("failed", complaint or _end_of(driver))


def standing(snapshot: Snapshot, driver: Driver | None, complaint: str) -> Standing:
    """Of a study that nobody else runs."""
    if driver is not None and is_alive(driver):
        return Standing("running")
    if snapshot.complete or (driver is not None and driver.exit_code == 0):
        failed = not snapshot.results.finished
        return Standing("failed", complaint or "all trials failed") if failed else FINISHED
    if driver is not None and driver.stopping:
        return Standing("interrupted", _stopped(driver))
    if complaint and not complaint.startswith("interrupted"):
        return Standing("failed", complaint)
    if driver is None:
        return Standing("interrupted")
    said = "its driver was interrupted, but not from here" if complaint else _end_of(driver)
    return Standing("interrupted", said)


def running_elsewhere(driver: RunningDriver, complaint: str = "") -> Standing:
    """Of a study that a driver runs which this service has not started. complaint: of one that it
    has started under this name: others may have been faster.
    """
    said = (
        f"it is run by process {driver.process} on {driver.host}, which this service has not "
        "started: stop it there, with Ctrl-C"
    )
    refused = f". What was launched here under this name ended: {complaint}" if complaint else ""
    return Standing("running", said + refused)


def has_ended(driver: Driver | None) -> bool:
    """Whether a driver of this service ran and does not run now."""
    return driver is not None and not is_alive(driver)


def other_driver(driver: Driver | None, glance: StudyVersion | None) -> RunningDriver | None:
    """Who runs a study, if it is no driver of this service."""
    ours = driver is not None and is_alive(driver)
    return None if ours or glance is None else glance.driver


FINISHED = Standing("finished")


def _stopped(driver: Driver) -> str:
    return f"stopped by {driver.stopped_by or 'you'}"


def _end_of(driver: Driver) -> str:
    """How a driver ended that said nothing itself."""
    code = driver.exit_code
    if code is None:
        return LOST
    if code >= 0:
        return f"its driver ended with exit code {code} and without a word"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    short = ", often because the machine ran out of memory" if name == "SIGKILL" else ""
    return f"its driver was killed by {name}{short}"
