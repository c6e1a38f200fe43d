"""The pictures of the service's pages: taken by a browser, of searches that this command makes.

    python benchmarks/screenshots.py [--out docs/service/pictures] [--all]

Searches are answered by tables, in seconds and always alike; the real command serves them to
Chromium. Written are the pictures that the documents show; with ``--all`` every page at 1440 and
390 pixels, light and dark, in its whole height, to be looked at. It fails where a page has an error
or is wider than the window, and with ``--all`` where axe finds something serious.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.service import serving
from isoshare.search.config import make_config
from isoshare.search.drivers.simulated import run_simulated
from isoshare.search.pareto import knee
from isoshare.search.results.study_results import load_results
from isoshare.search.workflows.launch import prepare, start
from isoshare.storage.records import NoteRecord
from isoshare.storage.store import Store

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
HEIGHTS = {1440: 1000, 390: 844}
TABLE: dict[str, Any] = {"driver": "simulate", "workers": 1}
SEARCHES: tuple[dict[str, Any], ...] = (
    {"study": "cifar10-random", "table": "sharebench-cifar10", "trials": 60, "sampler": "random"},
    {
        "study": "digits-three",
        "table": "sharebench-digits",
        "trials": 60,
        "objectives": ("accuracy", "parameters", "macs"),
    },
    {"study": "cifar10-ehvi", "table": "sharebench-cifar10", "trials": 60},
)
PATIENCE = 120_000


class Shot(NamedTuple):
    """One picture: of which page, how wide, in which colours."""

    page: str
    width: int
    scheme: Scheme

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.page}-{self.width}-{self.scheme}.png"


SHOWN = (
    Shot("study", 1440, "light"),
    Shot("three", 1440, "dark"),
    Shot("launch", 1440, "light"),
)
"""What the documents show."""


def make_studies(url: str) -> dict[str, str]:
    """Search, and note something; returns the path of each page by its name."""
    store = Store(url)
    for search in SEARCHES:
        prepared = prepare(make_config({**TABLE, **search}), store)
        run_simulated(start(prepared, store), prepared.evaluator, workers=1)
        store.release_lease(prepared.study.name)
    store.write_note("cifar10-ehvi", NoteRecord(None, "The one for the paper.", ("paper",)))
    best = knee(load_results(store, "cifar10-ehvi").front).number
    store.close()
    return {
        "studies": "/",
        "study": "/studies/cifar10-ehvi",
        "three": "/studies/digits-three",
        "plan": f"/studies/cifar10-ehvi/trials/{best}",
        "compare": "/compare?a=cifar10-ehvi&b=cifar10-random",
        "launch": "/launch",
        "audit": "/audit",
        "api": "/api",
    }


def wait_until_drawn(page: Page) -> None:
    """Pages with streams are never idle, so what has to be there is waited for."""
    page.wait_for_load_state("load")
    if page.locator("#front").count():
        page.wait_for_selector("#front[data-points]", timeout=PATIENCE)
    if page.locator("#effects").count():  # asked for once somebody comes near it
        page.locator("#effects").scroll_into_view_if_needed()
        page.wait_for_selector("#effects[data-rows]", timeout=PATIENCE)
        page.locator("h1").scroll_into_view_if_needed()
    page.wait_for_timeout(300)


def take(browser: Browser, address: str, shot: Shot, file: Path, *, whole: bool) -> list[str]:
    """Take one picture; returns what is wrong with the page. whole: also what is below."""
    size = {"width": shot.width, "height": HEIGHTS[shot.width]}
    context = browser.new_context(viewport=size, color_scheme=shot.scheme)  # type: ignore[arg-type]
    page, wrong = context.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(f"{shot.file}: {error}"))
    page.goto(address, timeout=PATIENCE)
    wait_until_drawn(page)
    wide = page.locator("html").evaluate("element => element.scrollWidth")
    if wide > shot.width:
        wrong.append(f"{shot.file}: {wide} pixels wide")
    page.screenshot(path=file, full_page=whole)
    if whole:
        wrong += [f"{shot.file}: axe says {said}" for said in serious(page)]
    context.close()
    return wrong


def serious(page: Page) -> list[str]:
    """What axe finds that keeps people out."""
    found = Axe().run(page).response["violations"]
    return [one["help"] for one in found if one["impact"] in ("serious", "critical")]


def shots(pages: dict[str, str], *, every: bool) -> Iterator[Shot]:
    """Those that are wanted."""
    yield from (Shot(*row) for row in product(pages, HEIGHTS, SCHEMES)) if every else SHOWN


def main() -> None:
    """Search, serve, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/service/pictures"))
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        url = f"sqlite:///{folder}/isoshare.db"
        pages = make_studies(url)
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        with serving(url) as (port, _):
            for shot in shots(pages, every=options.all):
                address = f"http://127.0.0.1:{port}{pages[shot.page]}"
                file = options.out / shot.file
                wrong += take(browser, address, shot, file, whole=options.all)
        browser.close()
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
