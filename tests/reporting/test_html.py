"""The page's parts: data that cannot leave its block, a policy that fits the scripts, charts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_batch.errors import ConfigError
from llm_batch.paper import html
from llm_batch.paper.html import Items, escaped_json
from llm_batch.reporting import Columns, Report, build_report
from llm_batch.reporting import page as pages
from llm_batch.reporting.items import manifest_of, page_items
from tests.reporting.made import full_manifest, result, write


def _report(folder: Path, n: int = 12, **changes: Any) -> Report:
    results = [
        result(i, float(i % 5 + 1), fields={"question": f"Q{i}", "category": "ab"[i % 2]})
        for i in range(n)
    ]
    made = full_manifest(planned=n, **changes)
    made["config"]["steps"][0] |= {"prompt": "Say: {{ question }}", "system": "Be brief."}
    made["config"]["steps"][1]["prompt"] = "{{ generate }} or {{ not_kept }}?"
    return build_report(write(folder, results, made))


def test_json_in_a_page_has_nothing_that_ends_or_hides_a_script() -> None:
    hostile = "</script><!--<script>&amp;\u2028\u2029]]>"
    text = escaped_json({"a": hostile, hostile: [hostile]})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"a": hostile, hostile: [hostile]}


def test_prompts_are_rendered_from_kept_fields_and_left_out_without_them(tmp_path: Path) -> None:
    report = _report(tmp_path)
    manifest = manifest_of(report)
    assert manifest is not None
    first = page_items(report, manifest.steps)[0]
    assert first[9] == {"generate": [("system", "Be brief."), ("user", "Say: Q0")]}
    assert first[:5] == ["item-0", "ok", 1.0, False, "a"]
    assert first[8]["generate"] == "It is Paris."


def test_many_items_are_compressed_and_come_back_equal(tmp_path: Path) -> None:
    report = _report(tmp_path, 2000)
    embedded = Items.of(page_items(report, []))
    assert embedded.encoding == "gzip"
    items = json.loads(gzip.decompress(base64.b64decode(embedded.text)))
    assert [item[0] for item in items] == [f"item-{i}" for i in range(2000)]
    assert len(embedded.text) < 0.2 * len(json.dumps(items))


def test_a_page_has_the_first_items_and_says_how_many_it_leaves_out(tmp_path: Path) -> None:
    text = html.format(pages.page(_report(tmp_path, 30), limit=10))
    assert "The first 10 of 30 items" in text
    assert '"item-9"' in text and '"item-10"' not in text


def test_the_policy_allows_these_scripts_and_no_other(tmp_path: Path) -> None:
    text = html.format(pages.page(_report(tmp_path)))
    found = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert found is not None
    policy = found[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert (len(scripts), len(styles)) == (2, 1)
    for block in scripts + styles:
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_no_element_of_the_page_names_an_address(tmp_path: Path) -> None:
    text = re.sub(
        r"<script.*?</script>", "", html.format(pages.page(_report(tmp_path))), flags=re.DOTALL
    )
    assert not re.search(r"(?:src|href|action)=(?![\"']?#)", text)
    assert "url(" not in text and "@import" not in text


def test_without_its_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    html._library.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match="vl-convert-python") as caught:
        html.format(pages.page(_report(tmp_path)))
    assert "pip install 'llmb[html]'" in caught.value.hint


def test_charts_are_made_where_there_is_data(tmp_path: Path) -> None:
    report = _report(tmp_path)
    assert [chart.name for chart in pages.charts(report)] == ["distribution", "groups"]
    none = build_report(write(tmp_path, []))
    assert list(pages.charts(none)) == []


def test_charts_show_the_figures_of_the_report(tmp_path: Path) -> None:
    report = _report(tmp_path)
    made = {chart.name: chart.spec for chart in pages.charts(report)}
    bars = made["distribution"]["data"]["values"]
    assert [(bar["low"], bar["items"], bar["verdict"]) for bar in bars] == [
        (1.0, 3, "fail"),
        (2.0, 3, "fail"),
        (3.0, 2, "fail"),
        (4.0, 2, "pass"),
        (5.0, 2, "pass"),
    ]
    assert report.groups is not None
    rates = {value["name"]: value["rate"] for value in made["groups"]["data"]["values"]}
    assert rates == {group.name: group.pass_rate.value for group in report.groups.groups}


def test_a_score_that_nobody_gave_has_its_place_in_the_histogram(tmp_path: Path) -> None:
    made = full_manifest(planned=4)
    report = build_report(write(tmp_path, [result(n, (2.0, 4.0)[n % 2]) for n in range(4)], made))

    def drawn(scale: tuple[float, float] | None) -> list[tuple[float, int]]:
        spec = next(iter(pages.charts(report, scale))).spec
        return [(bar["low"], bar["items"]) for bar in spec["data"]["values"]]

    assert drawn(None) == [(2.0, 2), (3.0, 0), (4.0, 2)]
    assert drawn((1.0, 5.0)) == [(1.0, 0), (2.0, 2), (3.0, 0), (4.0, 2), (5.0, 0)]
    assert drawn((0.0, 1000.0)) == [(2.0, 2), (4.0, 2)], "too many to stand side by side"


@pytest.mark.parametrize(
    ("sentence", "markup"),
    [
        ("plain", "plain"),
        ("type `llmb run` now", "type <code>llmb run</code> now"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("a lone ` stays", "a lone ` stays"),
        ("`a` and a lone `", "<code>a</code> and a lone `"),
    ],
)
def test_what_stands_in_backticks_is_code_and_nothing_is_markup(sentence: str, markup: str) -> None:
    assert str(html.coded(sentence)) == markup


def test_a_file_of_another_tool_makes_a_page(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("id,grade,topic,text\n1,pass,x,Hello\n2,fail,y,World\n")
    text = html.format(pages.page(build_report(path, columns=Columns("grade", category="topic"))))
    assert "50.0 %" in text and "Hello" in text
