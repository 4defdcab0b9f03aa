"""The formats: hostile data stays data, JSON keys are stable, colour carries no meaning."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from llm_batch.paper.text import render
from llm_batch.reporting import FORMATS, Report, build_report
from llm_batch.reporting.document import document
from tests.reporting.made import full_manifest, manifest, result, write

HOSTILE = [
    "[bold red]markup[/bold red]",
    "[/] [link=http://x]y[/link]",
    "a | b || c",
    "line\nbreak\r\n\ttab",
    "<script>alert(1)</script> & <b>",
    "\x1b[31mred\x1b[0m \x07\x9b31m",
    "![image](http://x/y.png) [link](javascript:x)",
    "`code` *stars* _under_ # title @someone www.example.com",
    ":smile: {{ template }} %s {0}",
    "\u202ereversed",
]


@pytest.fixture
def hostile(tmp_path: Path) -> Report:
    results = [
        result(number, 5.0, id=f"{text} {number}", fields={"category": text, "answer": text})
        for number, text in enumerate(HOSTILE)
    ]
    results += [
        result(100 + number, None, id=text, status=f"kind{number}", error=text, fields={})
        for number, text in enumerate(HOSTILE)
    ]
    made = manifest()
    made["run_id"] = made["created_at"] = HOSTILE[0] + HOSTILE[5]
    made["config"]["steps"][0]["model"] = HOSTILE[4]
    return build_report(write(tmp_path, results, made))


def test_text_shows_markup_as_it_is_and_no_terminal_codes(hostile: Report) -> None:
    text = FORMATS["full"](hostile)
    assert "[bold red]markup" in text
    assert ":smile:" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert max(len(line) for line in text.splitlines() if "`llmb " not in line) <= 80


def test_markdown_makes_no_cell_tag_link_or_mention_from_data(hostile: Report) -> None:
    text = FORMATS["md"](hostile)
    assert "<" not in text
    text = re.sub(r"`llmb [^`]*`", "", text)  # a command of ours, in which nothing has a meaning
    assert not re.search(r"(?<!\\)[\[\]`]", text)
    assert "://" not in text and "www." not in text and "@" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = []
    for previous, line in zip(["", *tables], tables, strict=False):
        columns = len(re.findall(r"(?<!\\)\|", line)) - 1
        if set(line) <= set("|-: "):
            assert columns == len(re.findall(r"(?<!\\)\|", previous)) - 1
            widths.append(columns)
    start = text.index("## By category")
    rows = [line for line in text[start : text.index("##", start + 3)].splitlines() if "|" in line]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert widths


def test_json_keeps_data_whole_and_parses(hostile: Report) -> None:
    parsed = msgspec.json.decode(FORMATS["json"](hostile))
    names = {group["name"] for group in parsed["groups"]["groups"]}
    assert set(HOSTILE) <= names


def _keys(value: Any, name: str = "") -> set[str]:
    if isinstance(value, dict) and name != ".run.models":
        return set().union(
            *({f"{name}.{key}"} | _keys(m, f"{name}.{key}") for key, m in value.items())
        )
    if isinstance(value, list) and value:
        return _keys(value[0], f"{name}[]")
    return set()


def test_json_has_every_key_whatever_the_results(tmp_path: Path) -> None:
    full = build_report(write(tmp_path, [result(n) for n in range(3)], full_manifest()))
    empty = build_report(write(tmp_path, []))
    keys_of_empty = _keys(msgspec.json.decode(FORMATS["json"](empty)))
    keys_of_full = _keys(msgspec.json.decode(FORMATS["json"](full)))
    top = {f".{field.name}" for field in dataclasses.fields(Report)}
    assert top <= keys_of_empty
    assert {".pass_rate.rate.low", ".scores.mean.value", ".money.per_item"} <= keys_of_empty
    assert keys_of_empty <= keys_of_full


def test_json_turns_infinities_and_nan_into_null(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(0)]))
    for value in (float("nan"), float("inf"), float("-inf")):
        broken = dataclasses.replace(report, level=value)
        assert msgspec.json.decode(FORMATS["json"](broken))["level"] is None


def test_colour_adds_no_words(tmp_path: Path) -> None:
    report = build_report(write(tmp_path, [result(n) for n in range(3)], full_manifest()))
    target = io.StringIO()
    render(
        document(report),
        Console(file=target, width=80, force_terminal=True, color_system="truecolor"),
    )
    coloured = target.getvalue()
    assert "\x1b[" in coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == FORMATS["full"](report).splitlines()


@pytest.mark.parametrize("width", [40, 60, 120])
def test_text_keeps_to_the_width_of_the_console(width: int, tmp_path: Path) -> None:
    results = [result(n, error="x" * 300 if n == 0 else "", status="timeout" if n == 0 else "ok")
               for n in range(3)]  # fmt: skip
    report = build_report(write(tmp_path, results, full_manifest()))
    target = io.StringIO()
    render(document(report), Console(file=target, width=width, color_system=None))
    lines = target.getvalue().splitlines()
    assert max(len(line) for line in lines if "`llmb " not in line) <= width
