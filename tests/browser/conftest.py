"""A headless Chromium for the tests of this folder; without one they are skipped, and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A started browser that logs its console and its requests."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new",
        "no-sandbox",  # CI runs as root, where Chromium's sandbox does not start
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "no-first-run",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    started.set_page_load_timeout(60)
    yield started
    started.quit()


@pytest.fixture
def opened(browser: Any) -> Any:
    """Opens a page and waits until its items and charts are there."""

    def open_page(path: Path, fragment: str = "", charts: bool = True) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        browser.get("about:blank")  # a change of the fragment alone loads nothing
        browser.get_log("browser"), browser.get_log("performance")  # those of earlier pages
        browser.get(path.as_uri() + fragment)
        done = "return document.documentElement.dataset"
        mark = "charts" if charts else "items"
        WebDriverWait(browser, 60, 0.05).until(lambda b: mark in b.execute_script(done))
        return browser

    return open_page
