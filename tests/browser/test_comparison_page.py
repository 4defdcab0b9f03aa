"""What a reader does with the page of a comparison, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports
from tests.browser.test_page import (
    _OVERLAPPING,
    HOSTILE,
    _choose,
    _count,
    _requests,
    _size,
    _troubles,
    _type,
    _wait,
    screens,
)
from tests.reporting.made import full_manifest, result, write


def _page(folder: Path, answer: str = "In {name}.") -> Path:
    """Thirty items of which ten are lost and five gained."""
    paths = []
    for name in ("old", "new"):
        place = folder / name
        place.mkdir()
        results = []
        for number in range(30):
            lost, gained = number < 10, 10 <= number < 15
            passes = gained if name == "new" else lost
            if number >= 15:
                passes = True
            results.append(
                result(
                    number,
                    5.0 if passes else 1.0,
                    fields={"question": f"Where is it {number}?", "category": "ab"[number % 2]},
                    answer=answer.format(name=name) if answer.startswith("In") else answer,
                )
            )
        paths.append(write(place, results, full_manifest(planned=30)))
    page = folder / "page.html"
    page.write_text(COMPARISON_FORMATS["html"](compare_reports(paths)), "utf-8")
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _page(tmp_path_factory.mktemp("comparison"))


def test_charts_are_drawn_in_silence_and_without_a_request(opened: Any, page: Path) -> None:
    browser = opened(page)
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.chart svg')]"
        ".map((c) => c.querySelectorAll('path').length)"
    )
    assert len(drawn) == 2 and all(drawn)
    assert [url for url in _requests(browser) if not url.startswith(("file:", "data:"))] == []
    assert _troubles(browser) == []


def test_all_items_stand_side_by_side_and_those_that_changed_come_first(
    opened: Any, page: Path
) -> None:
    browser = opened(page)
    assert _count(browser) == "30 items"
    first = browser.execute_script(
        """return [...document.querySelectorAll('.change')].slice(0, 16).map((card) =>
        [...card.querySelectorAll('.pane')].map((pane) => pane.innerText).join(' '))"""
    )
    assert all("now fails" in text for text in first[:10])
    assert all("now passes" in text for text in first[10:15])
    assert "now" not in first[15] and "In old." in first[15] and "In new." in first[15]


def test_items_are_filtered_by_change_and_searched(opened: Any, page: Path) -> None:
    browser = opened(page)
    _choose(browser, "kind", "changed")
    assert _count(browser) == "15 of 30 items"
    _choose(browser, "kind", "gained")
    assert _count(browser) == "5 of 30 items"
    _type(browser, "it 12?")
    _wait(browser, "document.getElementById('count').textContent.startsWith('1 of')")
    shown = browser.execute_script("return document.getElementById('changes').innerText")
    assert "item-12" in shown and "In old." in shown and "In new." in shown


@screens
def test_nothing_sticks_out_and_no_axis_collides(
    opened: Any, page: Path, width: int, mode: str
) -> None:
    browser = opened(page)
    with _size(browser, width, mode):
        _wait(browser, f"document.documentElement.scrollWidth <= {width}")
        _wait(browser, f"document.querySelector('.chart svg').clientWidth <= {width}")
        assert browser.execute_script(_OVERLAPPING) == []


@pytest.mark.parametrize("hostile", HOSTILE[:4])
def test_script_in_the_data_does_not_run(opened: Any, tmp_path: Path, hostile: str) -> None:
    browser = opened(_page(tmp_path, hostile))
    assert browser.execute_script("return window.ran") is None
    text = browser.execute_script("return document.querySelector('#changes pre').textContent")
    assert text == hostile
