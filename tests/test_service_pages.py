"""The pages in a real browser, with a real search behind them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from isoshare.search.service.runs.driver_files import Driver
from isoshare.search.service.runs.processes import is_alive
from isoshare.search.service.settings import Settings
from isoshare.storage.change_feed import WatchedStore
from tests.fakes import FakeEvaluator
from tests.service_fakes import engine_of, settings_of, two_studies, without_time
from tests.test_architecture import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 500_000
"""Milliseconds: a busy machine needs its time to start Ray."""
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@contextmanager
def service(settings: Settings) -> Iterator[str]:
    """The real command in a process of its own; yields its address."""
    line = [sys.executable, str(ROOT / "run_search.py"), "serve", "--port", "0"]
    line += ["--storage", settings.storage, "--state", str(settings.folder / "state")]
    process = subprocess.Popen(
        line,
        cwd=settings.folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
        for driver in filter(is_alive, drivers_of(settings)):
            os.kill(driver.pid, signal.SIGKILL)  # left behind by a test that failed


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return two_studies(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def address(settings: Settings) -> Iterator[str]:
    with service(settings) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@contextmanager
def watched_page(browser: Browser, **options: object) -> Iterator[Page]:
    """A page in which nothing may go wrong."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(30_000)
    context.set_default_navigation_timeout(PATIENCE)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append((message.type, message.text)))
    page.on("pageerror", lambda error: said.append(("error", str(error))))
    yield page
    context.close()
    assert [text for kind, text in said if kind in ("error", "warning")] == []


def wait_for_points(page: Page, least: int) -> None:
    """Until the plot has so many; pages run no text as code, so it is asked from here."""
    until = time.monotonic() + PATIENCE / 1000
    page.wait_for_selector("#front[data-points]", timeout=PATIENCE)
    while int(page.locator("#front[data-points]").get_attribute("data-points") or 0) < least:
        assert time.monotonic() < until, f"there are fewer than {least} points"
        page.wait_for_timeout(50)


def drivers_of(settings: Settings) -> list[Driver]:
    """The drivers, as the service has noted them."""
    notes = settings.folder.glob("state/*/*.json")
    return [Driver(**json.loads(note.read_text())) for note in notes]


def test_from_the_form_over_a_killed_search_to_the_plan(browser: Browser, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with service(settings) as address, watched_page(browser) as page:
        page.goto(f"{address}/")
        page.get_by_role("link", name="New search").first.click()
        expect(page.get_by_label("Trainings per plan")).to_have_attribute("placeholder", "16")
        page.get_by_label("Name of the search").fill("mine")
        page.get_by_label("Network", exact=True).select_option("resnet_cifar")
        expect(page.get_by_label("Trainings per plan")).to_have_attribute("placeholder", "2")
        expect(page.get_by_label("Time steps")).to_be_disabled()
        page.get_by_label("How a plan is measured").select_option("spiking")
        page.get_by_text("What measuring needs").click()
        expect(page.get_by_label("Time steps")).to_be_visible()
        page.get_by_label("How a plan is measured").select_option("train")
        expect(page.get_by_text("What measuring needs")).to_be_hidden()
        page.get_by_label("Size of the network").fill("depth=8 width=2")
        page.get_by_label("Plans to measure").fill("12")
        page.get_by_label("Epochs", exact=True).fill("5")  # else it is over before it is killed
        page.get_by_label("Trainings at the same time").fill("1")
        page.get_by_role("button", name="Look at it first").click()
        preview = page.locator("#preview section")
        expect(preview).to_contain_text("of which 12 are measured", timeout=PATIENCE)
        expect(preview).to_contain_text(re.compile(r"\d+% of the parameters can be shared"))
        expect(preview).to_contain_text(re.compile(r"about \d+ \w+, \d+ \w+ for each plan"))
        page.get_by_role("button", name="Launch the search").click()
        wait_for_points(page, 1)
        os.kill(drivers_of(settings)[0].pid, signal.SIGKILL)
        expect(page.locator(".status .state")).to_have_text("interrupted", timeout=PATIENCE)
        left = page.url.removeprefix(address)
    with service(settings) as address, watched_page(browser) as page:
        page.goto(f"{address}{left}")
        page.get_by_role("button", name="Resume").click()
        expect(page.locator(".status .state")).to_have_text("running", timeout=PATIENCE)
        page.evaluate("window.stayed = true")
        expect(page.locator(".status .state")).to_have_text("finished", timeout=PATIENCE)
        wait_for_points(page, 12)
        assert page.evaluate("window.stayed"), "the page followed without being loaded again"
        page.get_by_role("button", name="The knee").click()
        bank = page.locator("tr[data-bank]").first
        bank.hover()
        expect(page.locator(".on-a-desk g.dimmed").first).to_be_visible()
        expect(bank).not_to_have_class("dimmed")
        expect(page.locator(".on-a-phone")).to_be_hidden()
        with page.expect_download() as download:
            page.get_by_role("link", name="Export as JSON").click()
        exported = json.loads(Path(download.value.path()).read_text())
        assert download.value.suggested_filename == f"mine-{exported['provenance']['trial']}.json"
    assert plan_of_command(settings, "mine", tmp_path) == without_time(exported)


def plan_of_command(settings: Settings, study: str, folder: Path) -> dict[str, object]:
    file = folder / "plan.json"
    line = [sys.executable, str(ROOT / "run_search.py"), "export", study, "-o", str(file)]
    subprocess.run([*line, "--storage", settings.storage], check=True, capture_output=True)
    return without_time(json.loads(file.read_text()))


def test_a_new_point_arrives_soon_and_the_zoom_stays(
    settings: Settings, address: str, browser: Browser
) -> None:
    store, measure = WatchedStore(settings.storage), FakeEvaluator()
    engine = engine_of(store, "live")
    with watched_page(browser) as page:
        for expected in (1, 2):
            job = engine.ask()
            assert job is not None
            for measured in measure(job.plan, job.seeds, job.split):
                engine.tell(job.number, measured)
            started = time.monotonic()
            if expected == 1:
                page.goto(f"{address}/studies/live")
                wait_for_points(page, 1)
                loading = time.monotonic() - started
                before = page.evaluate(
                    "Plotly.relayout('front', {'xaxis.range': [50, 150]})"
                    ".then(() => document.getElementById('front').layout.xaxis.range)"
                )
            else:
                wait_for_points(page, 3)  # one of them is a reference, too
                assert time.monotonic() - started < 5 + loading  # a busy machine is slow at both
        ranges = "document.getElementById('front').layout.xaxis.range"
        assert page.evaluate(ranges) == before == [50, 150]
    store.close()


def test_the_table_sorts_filters_and_can_be_used_by_keyboard(
    address: str, browser: Browser
) -> None:
    with watched_page(browser) as page:
        page.goto(f"{address}/studies/study")
        page.get_by_label("Show").select_option("all")
        rows = page.locator("#table tbody tr")
        expect(rows).to_have_count(12)
        page.locator("#sort-accuracy").focus()
        page.keyboard.press("Enter")
        expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Accuracy")
        assert page.evaluate("document.activeElement.id") == "sort-accuracy"
        page.keyboard.press("Enter")
        expect(page.locator("th[aria-sort=descending]")).to_contain_text("Accuracy")
        expect(rows.first.locator("th")).to_have_text("0")
        page.get_by_label("Method").select_option("unshared")
        expect(rows).to_have_count(1)
        page.get_by_role("button", name="log", exact=True).click()
        kind = "document.getElementById('front').layout.xaxis.type"
        assert page.evaluate(kind) == "log"


@pytest.mark.parametrize("width", [1280, 400])
def test_the_names_of_references_stand_apart_and_nothing_leads_outside(
    address: str, browser: Browser, width: int
) -> None:
    with watched_page(browser, viewport={"width": width, "height": 900}) as page:
        page.goto(f"{address}/studies/study")
        names = page.locator("#front .annotation-text")
        expect(names).to_have_text(["unshared network", "fully shared"])
        one, two = (names.nth(place).bounding_box() for place in (0, 1))
        assert one is not None
        assert two is not None
        apart = abs(one["y"] - two["y"]) >= max(one["height"], two["height"]) - 2
        assert apart or one["x"] + one["width"] < two["x"] or two["x"] + two["width"] < one["x"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        titles = page.locator(".modebar-btn").evaluate_all("all => all.map(b => b.dataset.title)")
        assert titles
        assert not [title for title in titles if "share" in title.lower() or "Cloud" in title]


PLACES = (
    "/",
    "/launch",
    "/studies/study",
    "/studies/study/pick?best=knee",
    "/compare?a=study&b=half",
    "/compare?a=study&b=study&trial_a=0&trial_b=3",
    "/audit",
    "/api",
    "/login",
)
COLOURS = {"runOnly": ["color-contrast"]}
"""What another colour scheme can change."""


@pytest.mark.parametrize(
    ("scheme", "places", "rules"), [("light", PLACES, {}), ("dark", PLACES[:5], COLOURS)]
)
def test_no_page_keeps_anybody_out(
    address: str, browser: Browser, scheme: str, places: tuple[str, ...], rules: dict[str, Any]
) -> None:
    with watched_page(browser, color_scheme=scheme) as page:
        for place in places:
            page.set_viewport_size({"width": 390, "height": 900})
            page.goto(f"{address}{place}")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, f"{place} scrolls sideways on a phone"
            page.set_viewport_size({"width": 1440, "height": 900})
            if page.locator(".plot").count():
                page.wait_for_selector("#front[data-points]")
            found = Axe().run(page, options=rules).response["violations"]
            serious = [row for row in found if row["impact"] in ("serious", "critical")]
            assert serious == [], f"{place} in {scheme}"
