"""What a reader sees of a run that goes on, in a real browser before ``llmb view``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from llm_batch.cli.view_server import Shown
from llm_batch.record.results import encode_result
from tests.browser.test_page import HOSTILE, _requests, _size, _troubles, _wait, screens
from tests.reporting.made import call, full_manifest, journal, result, write


def _run(folder: Path, status: str = "running") -> Path:
    results = [result(n, float(n % 5 + 1)) for n in range(20)]
    journal(folder, *(call(f"item-{n}") for n in range(20)))
    return write(folder, results, full_manifest(planned=40, status=status))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Shown]:
    with Shown(_run(tmp_path)) as made:
        thread = Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


@pytest.fixture
def live(browser: Any, served: Shown) -> Any:
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")  # those of earlier pages
    browser.get(served.url)
    _wait(browser, "document.documentElement.dataset.live === 'shown'")
    return browser


def _text(browser: Any, id: str) -> str:
    return str(browser.execute_script("return document.getElementById(arguments[0]).innerText", id))


def _append(served: Shown, *results: Any) -> None:
    with served.results.open("ab") as file:
        file.write(b"".join(map(encode_result, results)))


def test_the_page_follows_the_run_and_then_shows_its_report(live: Any, served: Shown) -> None:
    assert _text(live, "figure") == "40.0 %" and "95 % interval" in _text(live, "bounds")
    assert "20" in _text(live, "facts") and "of 40" in _text(live, "facts")
    _append(served, *(result(n, 5.0) for n in range(20, 40)))
    _wait(live, "document.getElementById('figure').innerText === '70.0 %'")
    assert live.execute_script("return document.getElementById('progress').value") == 40
    assert _troubles(live) == []
    _run(served.results.parent, "done")
    _wait(live, "document.documentElement.dataset.charts === 'drawn'")
    assert len(live.execute_script("return [...document.querySelectorAll('.row')]")) > 5
    assert _troubles(live) == []


def test_it_asks_nobody_but_this_server(live: Any, served: Shown) -> None:
    asked = [url for url in _requests(live) if not url.startswith(("data:", "about:"))]
    assert asked and all(url.startswith(served.url) for url in asked)
    away = live.execute_async_script(
        "const done = arguments[0]; fetch('http://localhost:9/').then(() => done('sent'), () => "
        "done('no'))"
    )
    assert away == "no"
    assert "Content Security Policy" in " ".join(_troubles(live))


@pytest.mark.parametrize("hostile", HOSTILE[:4])
def test_script_in_the_data_is_shown_as_text(live: Any, served: Shown, hostile: str) -> None:
    _append(served, result(99, None, id=f"id {hostile}", status="timeout", error=hostile))
    _wait(live, "document.querySelector('#latest li b').innerText.startsWith('id ')")
    assert live.execute_script("return window.ran") is None
    assert live.execute_script("return document.querySelector('.latest .note').innerText") == (
        " ".join(hostile.split())
    )


@screens
def test_nothing_sticks_out_and_the_tiles_fill_their_rows(
    live: Any, served: Shown, width: int, mode: str
) -> None:
    _append(served, result(99, None, id="x" * 200, status="timeout", error="y" * 400))
    _wait(live, "document.querySelector('#latest li b').innerText.startsWith('xx')")
    with _size(live, width, mode):
        _wait(live, f"document.documentElement.scrollWidth <= {width}")
        box, tiles = live.execute_script(
            """const facts = document.querySelector('.facts');
            const sides = (e) => [e.getBoundingClientRect().top, e.getBoundingClientRect().right];
            return [sides(facts), [...facts.children].map(sides)]"""
        )
        assert tiles and all(abs(right - box[1]) < 1 for right in dict(tiles).values())


def test_when_nobody_serves_any_more_the_page_says_so(live: Any, served: Shown) -> None:
    served.shutdown()
    served.server_close()
    _wait(live, "document.getElementById('status').innerText.includes('does not answer')")
    assert _text(live, "figure") == "40.0 %"
