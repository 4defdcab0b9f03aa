"""What a reader does with the page, in a real browser that opened it from disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from llm_batch.reporting import FORMATS, build_report
from tests.reporting.made import full_manifest, result, write

RAN = "window.ran = true"
HOSTILE = [
    f"</script><script>{RAN}</script>",
    f"<!--<script>{RAN}//",
    f"]]><svg/onload='{RAN}'>",
    f"<img src=x onerror='{RAN}'>",
    f"javascript:{RAN}",
    f"'\"); {RAN}; (\u2028{RAN}\u2029",
    f"${{{RAN}}} {{{{ 7*7 }}}} `{RAN}`",
    f"</textarea></title></style><iframe srcdoc='<script>parent.{RAN}</script>'>",
]


def _write(folder: Path, results: list[Any], name: str = "page.html", **changes: Any) -> Path:
    manifest = full_manifest(planned=len(results), **changes)
    manifest["config"]["steps"][0]["prompt"] = "Answer: {{ question }}"
    manifest["config"]["steps"][1]["prompt"] = "Judge: {{ generate }}"
    page = folder / name
    page.write_text(FORMATS["html"](build_report(write(folder, results, manifest))), "utf-8")
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 items in three categories, some of them failed."""
    categories = ["geography and all that is near to it, far and wide", "history", "science"]
    results = [
        result(
            number,
            float(number % 5 + 1),
            fields={"question": f"Where is it {number}?", "category": categories[number % 3]},
            answer="Needle in Paris." if number == 17 else "In Rome.",
        )
        for number in range(56)
    ]
    results += [
        result(number, None, status="timeout", error="generate: too slow",
               fields={"question": "Late?", "category": "history"})
        for number in range(56, 60)
    ]  # fmt: skip
    return _write(tmp_path_factory.mktemp("page"), results)


def _rows(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('.row b')].map((b) => b.textContent)"
    return list(browser.execute_script(script))


def _count(browser: Any) -> str:
    return str(browser.execute_script("return document.getElementById('count').textContent"))


def _detail(browser: Any) -> str:
    return str(browser.execute_script("return document.getElementById('detail').textContent"))


def _wait(browser: Any, script: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20, 0.05).until(lambda b: b.execute_script(f"return {script}"))


def _choose(browser: Any, id: str, value: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element(By.ID, id)).select_by_value(value)


def _type(browser: Any, text: str) -> None:
    from selenium.webdriver.common.by import By

    browser.find_element(By.ID, "search").send_keys(text)


def _troubles(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def _requests(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def test_the_headline_has_the_rate_and_its_interval(opened: Any, page: Path) -> None:
    head = opened(page).execute_script("return document.querySelector('header').innerText")
    report = build_report(page.with_name("results.jsonl"))
    assert "pass rate" in head and "95 % interval" in head
    assert f"{100 * (report.pass_rate.rate.value or 0):.1f} %" in head


def test_every_chart_is_drawn_with_nothing_on_the_console(opened: Any, page: Path) -> None:
    browser = opened(page)
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map((c) => [c.id, "
        "c.querySelectorAll('svg path, svg text').length])"
    )
    assert {"chart-distribution", "chart-groups"} <= {name for name, _ in drawn}
    assert all(marks > 3 for _, marks in drawn)
    assert _troubles(browser) == []


def test_nothing_is_asked_of_the_network(opened: Any, page: Path) -> None:
    browser = opened(page)
    assert [url for url in _requests(browser) if not url.startswith(("file:", "data:"))] == []


def test_filters_narrow_the_list_and_clear_brings_it_back(opened: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By

    browser = opened(page)
    assert _count(browser) == "60 items"
    _choose(browser, "verdict", "fail")
    assert _count(browser) == "34 of 60 items"
    _choose(browser, "category", "science")
    science = [n for n in range(56) if n % 3 == 2 and n % 5 + 1 < 4]
    assert _count(browser) == f"{len(science)} of 60 items"
    assert _rows(browser)[:3] == [f"item-{n}" for n in science[:3]]
    browser.find_element(By.ID, "clear").click()
    _wait(browser, "document.getElementById('count').textContent === '60 items'")
    _choose(browser, "status", "timeout")
    assert _rows(browser) == [f"item-{n}" for n in range(56, 60)]
    _choose(browser, "status", "")
    _choose(browser, "score", "5|5|1")
    assert _count(browser) == "11 of 60 items"


def test_a_filter_with_one_choice_is_not_shown(opened: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    results = [result(n, fields={"question": "Why?", "category": "ab"[n % 2]}) for n in range(4)]
    browser = opened(_write(tmp_path, results), charts=False)
    shown = {
        name: browser.find_element(By.ID, name).is_displayed()
        for name in ("verdict", "score", "category", "status")
    }
    assert shown == {"verdict": True, "score": False, "category": True, "status": False}


def test_search_looks_into_outputs(opened: Any, page: Path) -> None:
    browser = opened(page)
    _type(browser, "needle PARIS")
    _wait(browser, "document.getElementById('count').textContent === '1 of 60 items'")
    assert _rows(browser) == ["item-17"]


def test_an_item_shows_prompt_output_and_reason_and_has_a_link(opened: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By

    browser = opened(page)
    browser.find_elements(By.CSS_SELECTOR, ".row")[3].click()
    shown = _detail(browser)
    for words in ("Answer: Where is it 3?", "In Rome.", "Because.", "score 4"):
        assert words in shown
    assert browser.current_url.endswith("#item=item-3")
    linked = _detail(opened(page, "#item=item-57"))
    assert "generate: too slow" in linked and "item-57" in linked


def test_the_first_failing_item_is_chosen_and_the_address_stays(
    opened: Any, tmp_path: Path
) -> None:
    results = [result(n, 5.0 if n < 7 else 1.0) for n in range(9)]
    browser = opened(_write(tmp_path, results), charts=False)
    assert "item-7" in _detail(browser)
    chosen = "return document.querySelector('.row[aria-selected=true] b').textContent"
    assert browser.execute_script(chosen) == "item-7"
    assert browser.current_url.endswith("page.html")


def test_without_a_failing_item_the_first_one_is_chosen(opened: Any, tmp_path: Path) -> None:
    browser = opened(_write(tmp_path, [result(n, 5.0) for n in range(3)]), charts=False)
    assert "item-0" in _detail(browser)


def test_answer_reference_and_reason_stand_side_by_side_in_no_fold(
    opened: Any, tmp_path: Path
) -> None:
    results = [
        result(n, 1.0, fields={"question": "Where?", "answer": "On the Seine"}) for n in range(3)
    ]
    browser = opened(_write(tmp_path, results), charts=False)
    with _size(browser, 1280):
        panes = browser.execute_script(
            """return [...document.querySelectorAll('#detail > .panes .pane:not(.wide)')].map(
            (p) => [p.querySelector('h4').textContent, p.querySelector('pre').textContent,
                    p.getBoundingClientRect().top, p.closest('details') === null])"""
        )
    assert [title for title, *_ in panes] == [
        "Output of generate",
        "Reference (answer)",
        "Reason of judge, score 1",
    ]
    assert [text for _, text, *_ in panes] == ["It is Paris.", "On the Seine", "Because."]
    assert len({top for _, _, top, _ in panes}) == 1 and all(open for *_, open in panes)


def test_what_stands_in_backticks_is_drawn_as_code_and_copied_as_it_was(
    opened: Any, tmp_path: Path
) -> None:
    said = "Use `print(x)`:\n```python\nx = 1\n```\nand a lone ` stays, as ``` does `"
    browser = opened(_write(tmp_path, [result(0, 1.0, answer=said)]), charts=False)
    pre, code = browser.execute_script(
        """const pre = document.querySelector('#detail .pane:not(.wide) pre');
        return [pre.textContent, [...pre.querySelectorAll('code')].map((c) => c.innerText)]"""
    )
    assert pre == said
    assert [text.strip("`") for text in code][:2] == ["print(x)", "python\nx = 1\n"]


def test_arrow_keys_walk_through_the_list(opened: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = opened(page)
    items = browser.find_element(By.ID, "list")
    items.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)  # from the first, which is chosen already
    assert browser.current_url.endswith("#item=item-2")
    items.send_keys(Keys.END)
    assert browser.current_url.endswith("#item=item-59")
    assert "item-59" in _rows(browser)


def test_a_bar_of_the_chart_lists_its_items(opened: Any, page: Path) -> None:
    browser = opened(page)
    browser.execute_script(
        """const bars = document.querySelectorAll('#chart-distribution .mark-rect path');
        const box = bars[0].getBoundingClientRect();
        const at = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + 2};
        for (const name of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click'])
          bars[0].dispatchEvent(new MouseEvent(name, at));"""
    )
    _wait(browser, "document.getElementById('count').textContent === '12 of 60 items'")


@contextmanager
def _size(browser: Any, width: int, mode: str = "light") -> Iterator[None]:
    """A screen of this width in this mode."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = [{"name": "prefers-color-scheme", "value": mode}]
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        _wait(browser, f"innerWidth === {width}")
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


screens = pytest.mark.parametrize(
    ("width", "mode"), [(width, mode) for width in (390, 1280) for mode in ("light", "dark")]
)


@screens
def test_nothing_sticks_out_sideways(opened: Any, page: Path, width: int, mode: str) -> None:
    browser = opened(page, "#item=item-3")
    with _size(browser, width, mode):
        _wait(browser, f"document.documentElement.scrollWidth <= {width}")
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (mode == "light")


#: Texts of a chart that overlap, after the page's fonts are there.
_OVERLAPPING = """
const found = [];
for (const chart of document.querySelectorAll('.chart')) {
  const texts = [...chart.querySelectorAll('svg text')].filter((t) => t.textContent.trim()
    && +getComputedStyle(t).opacity > 0 && t.closest('.role-axis, .role-legend'));
  const boxes = texts.map((t) => [t.textContent, t.getBoundingClientRect()]);
  boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([two, b]) => {
    const beside = a.left + 1 >= b.right || b.left + 1 >= a.right;
    if (!beside && a.top + 1 < b.bottom && b.top + 1 < a.bottom) found.push([chart.id, one, two]);
  }));
}
return found;
"""


@screens
def test_titles_and_ticks_of_axes_do_not_collide(
    opened: Any, page: Path, width: int, mode: str
) -> None:
    browser = opened(page)
    with _size(browser, width, mode):
        _wait(browser, f"document.querySelector('.chart svg').clientWidth <= {width}")
        assert browser.execute_script(_OVERLAPPING) == []


@screens
def test_the_tiles_fill_their_rows(opened: Any, page: Path, width: int, mode: str) -> None:
    browser = opened(page)
    with _size(browser, width, mode):
        box, tiles = browser.execute_script(
            """const facts = document.querySelector('.facts');
            const sides = (e) => [e.getBoundingClientRect().top, e.getBoundingClientRect().right];
            return [sides(facts), [...facts.children].map(sides)]"""
        )
    ends = dict(tiles)  # the last of each row
    assert tiles and all(abs(right - box[1]) < 1 for right in ends.values())


def test_a_table_that_is_wider_than_a_phone_scrolls_and_says_so(opened: Any, page: Path) -> None:
    browser = opened(page)
    look = """return [...document.querySelectorAll('.scroll')].map((box) =>
        [box.scrollWidth > box.clientWidth + 1,
         getComputedStyle(box, '::after').content.includes('scroll sideways')])"""
    with _size(browser, 390):
        _wait(browser, "document.querySelector('.scroll.more') !== null")
        tables = browser.execute_script(look)
        assert any(wide for wide, _ in tables)
        assert all(wide == told for wide, told in tables)
    with _size(browser, 1280):
        _wait(browser, "document.querySelector('.scroll.more') === null")


class _Counting(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hits.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server on loopback that notes every request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Counting) as made:
        made.hits = []  # type: ignore[attr-defined]
        thread = Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_script_in_the_data_neither_runs_nor_loads(
    opened: Any, tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/"
    texts = [*HOSTILE, f"<img src={url}> <link rel=stylesheet href={url}> @import '{url}';"]
    results = [
        result(n, 5.0 if n % 2 else 1.0, id=f"{n} {text}", answer=text,
               fields={"question": text, "category": text, "answer": "x", text: text})
        for n, text in enumerate(texts)
    ]  # fmt: skip
    results += [
        result(100 + n, None, status=text, error=text, fields={"category": text})
        for n, text in enumerate(texts)
    ]
    path = _write(tmp_path, results)
    browser = opened(path)
    for n, text in enumerate(texts):
        browser.execute_script("document.querySelectorAll('.row')[arguments[0]].click()", n)
        prompt = browser.execute_script("return document.querySelector('.pane pre').textContent")
        assert prompt == f"Answer: {text}"
    assert browser.execute_script("return window.ran === undefined")
    assert browser.execute_script("return document.querySelectorAll('iframe, img').length") == 0
    assert _troubles(browser) == []
    assert [u for u in _requests(browser) if not u.startswith(("file:", "data:"))] == []
    # The policy stops what escaping would have missed: markup set as markup.
    browser.execute_script(
        "document.body.insertAdjacentHTML('beforeend', arguments[0])",
        f"<img src={url} onerror='{RAN}'><svg onload='{RAN}'>",
    )
    assert browser.execute_async_script(
        "const done = arguments[1]; fetch(arguments[0]).then(() => done('sent'), () => done('no'))",
        url,
    ) == "no"  # fmt: skip
    assert browser.execute_script("return window.ran === undefined")
    assert server.hits == []  # type: ignore[attr-defined]


def test_30_000_items_draw_no_more_rows_than_are_in_sight(opened: Any, tmp_path: Path) -> None:
    results = [
        result(n, float(n % 5 + 1), fields={"question": f"Where is {n}?", "category": "abc"[n % 3]})
        for n in range(30_000)
    ]
    browser = opened(_write(tmp_path, results, population=30_000), charts=False)
    assert _count(browser) == "30,000 items"
    assert len(_rows(browser)) < 40
    browser.execute_script("const l = document.getElementById('list'); l.scrollTop = 1e9")
    _wait(browser, "document.querySelector('.row:last-child b')?.textContent === 'item-29999'")
    assert len(_rows(browser)) < 40
    _type(browser, "where is 29998")
    _wait(browser, "document.getElementById('count').textContent === '1 of 30,000 items'")
    assert _rows(browser) == ["item-29998"]
