"""A folder from a colleague: its manifest, results, journal and labels are a stranger's text.

Each attack runs in a process of its own with a limit on its memory and time, so that one that
comes through fails a test and not the machine.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_batch.errors import LlmbError
from llm_batch.paper.csv import unguarded
from llm_batch.reporting import FORMATS, build_report
from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports
from llm_batch.reporting.judging.labelling import PASS, LabelFile, Subset
from llm_batch.reporting.judging.labels import LabelSource, read_labels
from llm_batch.reporting.reference import reference_found
from tests.effort import effort
from tests.fire.processes import ROOT, bounded
from tests.reporting.made import full_manifest, result, write

TEMPLATES = {
    "loop": "{% for i in range(10**9) %}x{% endfor %}",
    "power": "{{ 9**9**9 }}",
    "repeat": "{{ 'a' * 10**9 }}",
    "folded": "{{ ('a' * 10**8) ~ ('b' * 10**8) }}",
    "center": "{{ question.center(10**9) }}",
    "center filter": "{{ question | center(10**9) }}",
    "format": "{{ '%1000000000d' | format(1) }}",
    "indent": "{{ question | indent(10**9, true) }}",
    "nested loops": "{% for a in range(9999) %}" * 6 + "x" + "{% endfor %}" * 6,
    "macros": "{% macro m(n) %}{{ m(n - 1) * 2 if n }}x{% endmacro %}{{ m(900) }}",
    "doubling": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}x{% endmacro %}"
    "{{ m(40) }}",
    "recursive loop": "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}",
    "set": "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s * 2 %}"
    "{% endfor %}{{ ns.s }}",
    "deep": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "deep blocks": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "opened": "{{" * 1_000_000,
    "spaces": "{{" + " " * 1_000_000 + "x",
    "a million names": "{{ question }}" * 1_000_000,
    "a long path": "{{ question" + "[0]" * 500_000 + " }}",
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_template_of_a_manifest_is_never_executed(tmp_path: Path, template: str) -> None:
    manifest = full_manifest()
    manifest["config"]["steps"][0] |= {"prompt": template, "system": "Be brief."}
    write(tmp_path, [result(n, fields={"question": "Why?" * 50}) for n in range(50)], manifest)
    ended = bounded(tmp_path, "report", "--format", "html", "-o", "page.html")
    assert ended.code == 0, ended.said
    assert (tmp_path / "page.html").stat().st_size < 100_000_000


DEEP = "[" * 200_000 + "]" * 200_000
ALMOST = '{"a":' * 955 + "1" + "}" * 955

#: A value, as JSON, in place of another one on the second line of the results.
LINES = {
    "negative cost": ('"cost":{"total":0.002', '"cost":{"total":-1000'),
    "negative cost of a step": ('"cost":{"total":0.002,"steps":{"generate":', '\\g<0>-'),
    "negative tokens": ('"input_tokens":40', '"input_tokens":-40'),
    "negative tokens in all": ('"usage":{"input_tokens":', '\\g<0>-'),
    "negative time": ('"latency_seconds":{"total":', '\\g<0>-'),
    "negative time of a step": ('"latency_seconds":{"total":[^,]*,"steps":{"generate":', '\\g<0>-'),
    "negative attempts": ('"generate":1', '"generate":-1'),
    "attempts as text": ('"generate":1', '"generate":"1"'),
    "not a number": ('"total":0.002', '"total":NaN'),
    "infinite": ('"total":0.002', '"total":Infinity'),
    "beyond a float": ('"total":0.002', '"total":1e400'),
    "a whole number beyond a float": ('"input_tokens":40', '"input_tokens":' + "9" * 400),
    "a million digits": ('"score":[^,]*,', '"score":' + "9" * 1_000_000 + ","),
    "deep": ('"question":"[^"]*"', f'"question":{DEEP}'),
    "as deep as can be read": ('"question":"[^"]*"', f'"question":{ALMOST}'),
    "deep where nobody looks": ('"error":', f'"other":{DEEP},"error":'),
    "fields as a list": ('"fields":{[^}]*}', '"fields":[]'),
    "a label that is none": ('"label":""', '"label":[1]'),
    "half a character": ('"question":"', '\\g<0>\\\\ud800'),
    "too long": ('"question":"', "\\g<0>LONG"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "put"), LINES.values(), ids=LINES.keys())
def test_a_hostile_line_of_results_is_refused_with_its_number(
    tmp_path: Path, found: str, put: str
) -> None:
    path = write(tmp_path, [result(n) for n in range(3)], full_manifest())
    first, second, third = path.read_text().splitlines(keepends=True)
    changed = re.sub(found, put, second, count=1).replace("LONG", "x" * (70 << 20))
    assert changed != second
    path.write_text(first + changed + third)
    ended = bounded(tmp_path, "report", "--format", "csv")
    assert ended.code == 2 and "results.jsonl, line 2 is" in ended.said, ended.said[:500]
    assert len(ended.said) < 1000
    ended = bounded(tmp_path, "label", "results.jsonl", stdin="1\n1\n1\n")
    assert ended.code in (0, 2), ended.said[:500]


CALLS = {
    "negative cost": ('"cost":0.5', '"cost":-1e9'),
    "negative time": ('"seconds":1.0', '"seconds":-1'),
    "before time began": ('"started_at":1795893433.0', '"started_at":-1e300'),
    "negative tokens": ('"input_tokens":4', '"input_tokens":-4'),
    "beyond a float": ('"cost":0.5', '"cost":1e999'),
    "a million digits": ('"cost":0.5', '"cost":' + "9" * 1_000_000),
    "deep": ('"completion":{', f'"completion":{DEEP},"x":{{'),
    "deep where nobody looks": ('"cost":0.5', f'"other":{DEEP},"cost":0.5'),
    "attempts as text": ('"attempts":', '"attempts":"no","x":'),
    "too long": ('"completion":{', f'"x":"{"x" * (70 << 20)}","completion":{{'),
}


@pytest.mark.parametrize(("found", "put"), CALLS.values(), ids=CALLS.keys())
def test_a_hostile_line_of_a_journal_is_left_out_and_said(
    tmp_path: Path, found: str, put: str
) -> None:
    write(tmp_path, [result(n) for n in range(3)], full_manifest())
    call = (
        '{"schema":1,"key":"k","item":"item-0","step":"generate","model":"m","sample":0,"ok":true,'
        '"cost":0.5,"attempts":[{"number":1,"started_at":1795893433.0,"seconds":1.0,"error":""}],'
        '"completion":{"text":"","model":"m","usage":{"input_tokens":4,"output_tokens":1}}}\n'
    )
    assert found in call
    (tmp_path / "results.calls.jsonl").write_text(call + call.replace(found, put) + call)
    ended = bounded(tmp_path, "report", "--calls", "--format", "json")
    assert ended.code == 0, ended.said[:500]
    report = json.loads(ended.out)
    (said,) = (text for text in report["warnings"] if "journal" in text)
    assert "1 line of the journal is damaged" in said and "line 2" in said
    assert report["breakdown"]["journal"]["calls"] == 2


HUGE = [-1, 10**18, -(10**18), 1e300, -1e300]


@pytest.mark.parametrize("size", [*HUGE, int("9" * 400)], ids=str)
@pytest.mark.parametrize(
    "place",
    [
        ("dataset", "n"),
        ("dataset", "strata", "a"),
        ("sample", "size"),
        ("sample", "seed"),
        ("totals", "calls"),
        ("totals", "seconds"),
        ("totals", "items", "ok"),
        ("estimate", "calls"),
        ("estimate", "cost", "high"),
        ("estimate", "seconds", "low"),
        ("config", "score", "pass_at"),
        ("prices", "m", "input"),
        ("stopping", "n"),
        ("stopping", "level"),
    ],
    ids=".".join,
)
def test_a_hostile_size_in_a_manifest_takes_no_room_and_no_time(
    tmp_path: Path, place: tuple[str, ...], size: float
) -> None:
    manifest: Any = full_manifest(strata={"a": 20, "b": 10}, stratify="category")
    manifest |= {"prices": {"m": {"input": 1.0, "output": 2.0}}}
    manifest["stopping"] = {"margin": 0.1, "level": 0.95, "n": 3, "low": 0.1, "high": 0.9}
    manifest["totals"]["items"] = {"ok": 3}
    inner = manifest
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = 0
    results = [result(n, stratum="ab"[n % 2]) for n in range(3)]
    path = write(tmp_path, results, manifest)
    beside = tmp_path / "results.manifest.json"
    text = beside.read_text()
    inner[place[-1]] = "HERE"
    beside.write_text(json.dumps(manifest).replace('"HERE"', str(size)))
    assert beside.read_text() != text
    assert effort(lambda: every_format(path), 10.0) < 10.0


def every_format(path: Path) -> None:
    """A report in all formats, alone and compared with itself; only errors of users come out."""
    with suppress(LlmbError):
        report = build_report(path)
        for format in FORMATS.values():
            with suppress(LlmbError):
                format(report)
    copy = path.parent / "copy"
    copy.mkdir(exist_ok=True)
    for name in ("results.jsonl", "results.manifest.json", "results.calls.jsonl"):
        if (path.parent / name).exists():
            shutil.copy(path.parent / name, copy / name)
    with suppress(LlmbError):
        compared = compare_reports([path, copy / path.name], anyway=True)
        for show in COMPARISON_FORMATS.values():
            with suppress(LlmbError):
                show(compared)
    with suppress(LlmbError):
        subset = Subset(path, 42, 3)
        for item in subset.ids:
            subset.card(item)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([-1, 10**18, 10**400, 1e308, "{{ 7 * 7 }}", "\x1b[2J", "ok", "judge.score"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    if not isinstance(value, dict | list):
        return
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        yield from places(each, (*path, key))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("kind", ["results.manifest.json", "results.jsonl", "results.calls.jsonl"])
def test_whatever_stands_anywhere_in_a_file_of_a_run_is_no_bug(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    manifest: Any = full_manifest(strata={"a": 20, "b": 10}, stratify="category")
    manifest["config"]["steps"][0] |= {
        "temperature": 0.5, "max_tokens": 10, "params": {"top_p": 0.5}
    }  # fmt: skip
    manifest["config"]["models"] = {"gpt-4": {"rpm": 5, "endpoints": [{"rpm": 1, "tpm": 2}]}}
    manifest["config"]["limits"] = {"rpm": 10, "tpm": 10, "tier": "1"}
    manifest["prices"] = {"gpt-4": {"input": 1.0, "output": 2.0}}
    manifest["stopping"] = {"margin": 0.1, "level": 0.95, "n": 3, "low": 0.1, "high": 0.9}
    path = write(tmp_path, [result(n, stratum="ab"[n % 2]) for n in range(3)], manifest)
    call = {
        "item": "item-0", "step": "generate", "model": "gpt-4", "sample": 0, "cost": 0.5,
        "attempts": [{"started_at": 1795893433.0, "seconds": 1.0, "error": ""}],
        "completion": {"model": "m", "usage": {"input_tokens": 4, "output_tokens": 1}},
    }  # fmt: skip
    (tmp_path / "results.calls.jsonl").write_text(json.dumps(call) + "\n")
    target = tmp_path / kind
    first, *rest = (
        [target.read_text()] if kind.endswith("n") and not kind.endswith("l")
        else target.read_text().splitlines()
    )  # fmt: skip
    value = json.loads(first)
    place = data.draw(st.sampled_from(list(places(value))), label="place")
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(ANY_JSON, label="value")
    target.write_text("\n".join([json.dumps(value), *rest]) + "\n")
    every_format(path)


LABELS = {
    "deep.jsonl": '{"id": "item-0", "label": ' + DEEP + "}\n",
    "almost.jsonl": '{"id": ' + ALMOST + ', "label": 1}\n',
    "deep.json": '[{"id": "item-0", "label": ' + DEEP + "}]",
    "digits.jsonl": '{"id": "item-0", "label": ' + "9" * 1_000_000 + "}\n",
    "digits.csv": "id,label\nitem-0," + "9" * 1_000_000 + "\n",
    "many digits.csv": "id,label\nitem-0," + "9" * 100_000 + "\n",
    "seed.csv": "id,label,labelled_at,seed\nitem-0,1,," + "9" * 100_000 + "\n",
    "signs.csv": "id,label,labelled_at,seed\nitem-0,1,,--5\n",
    "infinite.csv": "id,label\nitem-0,1e999\n",
    "id.csv": "id,label\n" + "x" * 10_000_000 + ",1\n",
    "quote.csv": 'id,label\n"' + "x\n" * 1_000_000,
}


@pytest.mark.parametrize("name", LABELS)
def test_hostile_labels_end_in_a_sentence(tmp_path: Path, name: str) -> None:
    write(tmp_path, [result(n) for n in range(3)], full_manifest())
    (tmp_path / name).write_text(LABELS[name])
    ended = bounded(tmp_path, "report", "--labels", name)
    assert ended.code in (0, 2) and len(ended.said) < 2000, ended.said[:500]
    ended = bounded(tmp_path, "label", "results.jsonl", "-o", name, stdin="q\n")
    assert ended.code == 2 and len(ended.said) < 2000, ended.said[:500]


def test_a_long_word_is_shown_to_the_person_who_labels_in_no_time(tmp_path: Path) -> None:
    write(tmp_path, [result(0, answer="x" * 10_000_000)], full_manifest())
    ended = bounded(tmp_path, "label", "results.jsonl", seconds=30, stdin="1\n")
    assert ended.code == 0 and "1 of 1 done" in ended.said


@pytest.mark.parametrize("mark", ["#", "#### ", "####\n", "1,", "1.", "$"])
def test_a_reference_is_searched_in_linear_time(mark: str) -> None:
    text = mark * 200_000 + "\nx"

    def search() -> None:
        reference_found(f"#### {text}", text)
        reference_found("x", text)

    assert effort(search, 5.0) < 5.0


#: What rich, spreadsheets, HTML, LaTeX, Markdown and terminals give a meaning.
EVIL = (
    "[red]red[/red] [link=http://evil.example]here[/link] :smile: [/] \\[x] "
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://evil.example\x1b\\x\x9b31m\r\x08 \u202eback\u2066 "
    "=cmd|' /C calc'!A0 <script>alert(1)</script> \\input{/etc/passwd} $x$ | `x` {{ 7 * 7 }}"
)
SHOWN = ("[red]red[/red]", "[link=http://evil.example]here[/link]", ":smile:")


def hostile_run(folder: Path) -> Path:
    """A run in which every text is hostile; its manifest is of somebody else's program."""
    manifest: Any = full_manifest(strata={EVIL: 20, "b": 10}, stratify="category")
    for name in ("run_id", "created_at", "engine"):
        manifest[name] = EVIL
    for step in manifest["config"]["steps"]:
        step |= {"model": EVIL, "prompt": EVIL.replace("{{ 7 * 7 }}", "{{ question }}")}
        step["params"] = {"max_tokens": EVIL, "temperature": EVIL, EVIL: EVIL}
    manifest["versions"] = {"llm_batch": EVIL, EVIL: EVIL}
    manifest["dataset"]["path"] = EVIL
    manifest["stopping"] = {"margin": 0.1, "n": 3, "low": 0.1, "high": 0.9, "method": EVIL}
    manifest["totals"]["status"] = "enough"
    results = [
        result(
            n,
            float(n % 5),
            id=f"{n} {EVIL}",
            fields={"question": EVIL, "category": EVIL if n % 2 else "b", EVIL: EVIL},
            answer=EVIL,
            stratum=EVIL if n % 2 else "b",
        )
        for n in range(8)
    ]
    results.append(result(9, None, id=EVIL, status="timeout", error=EVIL))
    results.append(result(10, None, id=f"x{EVIL}", status=EVIL, error=EVIL))
    return write(folder, [*results, results[0]], manifest)


def steering(text: str) -> list[str]:
    """Characters that a terminal obeys or that turn the direction of writing."""
    return [
        char
        for char in text
        if (ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160
        or 0x202A <= ord(char) <= 0x202E or 0x2066 <= ord(char) <= 0x2069
    ]  # fmt: skip


@pytest.mark.parametrize("compared", [False, True], ids=["one run", "two runs"])
@pytest.mark.parametrize("format", ["text", "md", "latex", "html", "json", "csv"])
def test_hostile_texts_are_shown_as_they_are_in_every_format(
    tmp_path: Path, format: str, compared: bool
) -> None:
    hostile_run(tmp_path)
    (tmp_path / "other").mkdir()
    hostile_run(tmp_path / "other")
    more = ["other/results.jsonl", "--anyway"] if compared else []
    ended = bounded(tmp_path, "report", "results.jsonl", *more, "--format", format)
    assert ended.code == 0, ended.said
    assert ended.said == ""
    out = ended.out
    if format == "html":
        out = re.sub(r"<(script|style).*?</\1>", "", out, flags=re.DOTALL)
    if format in ("text", "md", "latex", "html"):
        assert steering(out) == []
        assert "\N{GRINNING FACE}" not in out and "\N{SMILING FACE WITH OPEN MOUTH}" not in out
        assert "<script>alert" not in out
    if format == "latex":
        assert "\\input" not in out
    if format == "text" and not compared:
        flat = " ".join(out.split())
        assert all(text in flat for text in SHOWN)


def on_a_terminal(folder: Path, *words: str, typed: str = "", kind: str = "xterm") -> str:
    """All that ``llmb`` says to a terminal of 200 columns."""
    import fcntl
    import os
    import pty
    import select
    import struct
    import subprocess
    import sys
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": kind}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "llm_batch", *words],
        cwd=folder, env=environment, stdin=child, stdout=child, stderr=child,
        start_new_session=True,
    )  # fmt: skip
    os.close(child)
    said, left = b"", list(typed)
    give_up = time.monotonic() + 60
    try:
        while True:
            assert time.monotonic() < give_up, said[-500:]
            if not select.select([parent], [], [], 1.0)[0]:
                continue
            if not (chunk := os.read(parent, 65536)):
                break
            said += chunk
            if left and said.count(b"q quit: ") > len(typed) - len(left):
                os.write(parent, left.pop(0).encode())
    except OSError:  # the terminal is gone with its last process
        pass
    finally:
        os.close(parent)
        process.kill()
        process.wait()
    return said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("format", ["csv", "json", "text", "md", "latex"])
def test_a_terminal_is_shown_no_control_characters_and_a_file_gets_them(
    tmp_path: Path, format: str
) -> None:
    hostile_run(tmp_path)
    shown = on_a_terminal(tmp_path, "report", "--format", format)
    assert "Traceback" not in shown and len(shown) > 500
    # Bold type is the program's own.
    assert steering(re.sub(r"\x1b\[[012;]*m", "", shown)) == []
    if format == "csv":
        assert bounded(tmp_path, "report", "--format", "csv", "-o", "items.csv").code == 0
        text = (tmp_path / "items.csv").read_bytes().decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [unguarded(row["output.generate"]) for row in rows[:8]] == [EVIL] * 8


def test_a_person_who_labels_is_shown_no_control_characters(tmp_path: Path) -> None:
    hostile_run(tmp_path)
    said = on_a_terminal(tmp_path, "label", "results.jsonl", typed="10q", kind="dumb")
    assert "2 of 8 done" in said
    assert steering(re.sub(r"\x1b\[[012;]*m", "", said)) == []
    assert all(text in said for text in SHOWN)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_ids_in_labels_are_no_formulas_and_read_back_equal(tmp_path: Path, delimiter: str) -> None:
    ids = ["=1+1", "@x", " -x", "-5", "+5", "'=1", "a;=b", "a\t@b", "a\n-b", "＝x", '"=x', "plain"]
    write(tmp_path, [result(n, 4.0, id=text) for n, text in enumerate(ids)], full_manifest())
    labels = LabelFile(tmp_path / "labels.csv", None)
    for text in ids:
        labels.add(text, PASS)
    text = (tmp_path / "labels.csv").read_text()
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        for cell in row:
            bare = cell.strip(" \t\r\n\"'")
            assert cell.startswith("'") or bare[:1] not in tuple("=@＝"), cell
            assert cell[:1] not in tuple("+-") or cell in ("-5", "+5") or delimiter != ",", cell
    assert list(LabelFile(tmp_path / "labels.csv", None).labels) == ids
    assert set(read_labels(LabelSource(str(tmp_path / "labels.csv"))).by_id) == set(ids)
    report = bounded(tmp_path, "report", "--labels", "labels.csv", "--format", "json")
    assert report.code == 0, report.said


@pytest.mark.parametrize(
    "words",
    [
        ["report", "no such [red] :smile: \x1b[2J \x9b file.jsonl"],
        ["report", "--format", "[red]x :smile: \x1b[2J\u202e"],
        ["report", "--by", "[red]x :smile: \x1b[2J\u202e"],
        ["report", "--score", "[red]x :smile: \x1b[2J\u202e"],
        ["label", "[red] :smile: \x1b[2J.jsonl"],
        ["run", "--config", "[red] :smile: \x1b[2J.toml"],
        ["estimate", "--data", "[red] :smile: \x1b[2J.jsonl"],
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_what_an_error_names_is_shown_as_it_is(tmp_path: Path, words: list[str]) -> None:
    hostile_run(tmp_path)
    ended = bounded(tmp_path, *words)
    assert ended.code == 2
    assert "[red]" in ended.said and ":smile:" in ended.said
    assert steering(ended.said) == []
