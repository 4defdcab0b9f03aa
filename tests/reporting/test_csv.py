"""Items as CSV: flat, complete, and nothing in it that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.errors import OutputError
from llm_batch.paper.csv import guarded, unguarded
from llm_batch.reporting import FORMATS, Columns, build_report
from llm_batch.reporting.items import COLUMNS
from tests.reporting.made import manifest, result, write


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_an_item_is_a_row_with_its_fields_and_outputs_flat(tmp_path: Path) -> None:
    fields = {"question": "Why?", "category": "a", "tags": ["x", 1], "n": 3}
    results = [result(0, 4.0, fields=fields), result(1, None, status="timeout", error="too slow")]
    text = FORMATS["csv"](build_report(write(tmp_path, results, manifest())))
    first, second = _rows(text)
    assert text.splitlines()[0].startswith(",".join(COLUMNS))
    assert first["id"] == "item-0"
    assert (first["status"], first["score"], first["passed"]) == ("ok", "4", "true")
    assert (first["reason"], first["cost_usd"], first["attempts"]) == ("Because.", "0.002", "3")
    assert (first["input_tokens"], first["output_tokens"]) == ("120", "30")
    assert (first["field.tags"], first["field.n"]) == ('["x",1]', "3")
    assert first["output.generate"] == "It is Paris."
    assert (first["output.judge.score"], first["output.judge.reason"]) == ("4", "Because.")
    assert (second["status"], second["score"], second["passed"]) == ("timeout", "", "")
    assert (second["error"], second["output.judge.score"]) == ("too slow", "")


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        '=HYPERLINK("http://x","y")',
        "＝1",
        "-",
        "+31 20 123",
    ],
)
def test_text_that_looks_like_a_formula_gets_an_apostrophe(text: str, tmp_path: Path) -> None:
    item = result(0, 4.0, id=text, fields={text: text, "category": text}, answer=text)
    rows = list(csv.reader(io.StringIO(FORMATS["csv"](build_report(write(tmp_path, [item]))))))
    header, cells = rows[0], rows[1]
    row = dict(zip(header, cells, strict=True))
    assert row["id"] == row["output.generate"] == guarded(text)
    assert row["id"].startswith("'") and unguarded(row["id"]) == text
    assert not any(cell.startswith(("=", "@", "\t", "\r", "\n", "＝")) for cell in header + cells)
    assert not any(cell[:1] in "+-" and cell[:1] and not _number(cell) for cell in cells)


BEGINNINGS = (
    "",
    " ",
    '"',
    "' ",
    "\u3000",
    "\ufeff",
    "\t",
    "\r",
    "\n",
    "a;",
    "a\t",
    'a"\r\n "',
    ";;",
)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_no_reader_finds_a_formula_in_any_cell(tmp_path: Path, delimiter: str, sign: str) -> None:
    evil = [f"{begins}{sign}cmd|' /C calc'!A0" for begins in BEGINNINGS]
    results = [
        result(n, 4.0, id=f"{n}{text}", fields={text: text, "category": text}, answer=text)
        for n, text in enumerate(evil)
    ] + [result(99, 4.0, id=text, status="timeout", error=text) for text in evil]
    text = FORMATS["csv"](build_report(write(tmp_path, results)))
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        for cell in row:
            assert cell.strip(' \t\r\n"\u3000\ufeff')[:1] not in tuple(sign), cell


@given(st.text(st.sampled_from("=+-@＝;\t\r\n '\"5a,\u3000\ufeff")))
def test_what_is_guarded_comes_back_equal(text: str) -> None:
    assert unguarded(guarded(text)) == text


def test_text_that_is_no_formula_stays_as_it_is() -> None:
    for text in ("a-b", "a; b", "1;-5", "x = 1", "'quoted'", "-5", "+1e9", "a\tb", "it's; fine"):
        assert guarded(text) == text == unguarded(text)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    fields = {"a": -1.5, "b": "-1.5", "c": "+3", "d": 1e-7, "e": "-1,5", "f": 10**20, "g": True}
    row = _rows(FORMATS["csv"](build_report(write(tmp_path, [result(0, -2.0, fields=fields)]))))[0]
    assert row["score"] == "-2"
    named = {name: row[f"field.{name}"] for name in fields}
    assert named == {
        "a": "-1.5",
        "b": "-1.5",
        "c": "+3",
        "d": "1e-07",
        "e": "'-1,5",
        "f": str(10**20),
        "g": "true",
    }


def test_a_column_may_have_every_kind_of_value_and_two_places(tmp_path: Path) -> None:
    kinds = [1, -0.0, 0.0, True, "a, b", "", None, "=1", [1, "x"], 12345678.125]
    outputs = [{"a": {"b.c": n}} if n % 2 else {"a.b": {"c": "text"}, "a": n} for n in range(10)]
    results = [
        replace(result(n, fields={"kind": kind}), outputs=outputs[n])
        for n, kind in enumerate(kinds)
    ]
    rows = _rows(FORMATS["csv"](build_report(write(tmp_path, results))))
    assert [row["field.kind"] for row in rows] == [
        "1", "-0", "0", "true", "a, b", "", "", "'=1", '[1,"x"]', "12345678.125",
    ]  # fmt: skip
    assert [row["output.a"] for row in rows] == ["0", "", "2", "", "4", "", "6", "", "8", ""]
    assert [row["output.a.b.c"] for row in rows] == [
        "text", "1", "text", "3", "text", "5", "text", "7", "text", "9",
    ]  # fmt: skip


def test_quotes_commas_and_line_breaks_come_back_whole(tmp_path: Path) -> None:
    text = 'a "b", c\r\nd;\u2028e\U0001f600'
    row = _rows(FORMATS["csv"](build_report(write(tmp_path, [result(0, answer=text)]))))[0]
    assert row["output.generate"] == text


def test_standard_input_cannot_be_read_twice(tmp_path: Path) -> None:

    report = replace(build_report(write(tmp_path, [result(0)])), path="-")
    with pytest.raises(OutputError, match="reads the results twice"):
        FORMATS["csv"](report)


def test_the_category_is_the_group_that_was_asked_for(tmp_path: Path) -> None:
    """Also where the items were drawn by another field; and by that one, if it was not kept."""
    results = [
        result(n, 4.0, fields={"lang": "de" if n % 2 else "en"}, stratum="ab"[n % 3 > 1])
        for n in range(12)
    ]
    made = manifest(stratify="topic", strata={"a": 80, "b": 40}, population=120)
    path = write(tmp_path, results, made)
    for by, name in ((None, "ab"), ("lang", ("en", "de"))):
        report = build_report(path, by=by)
        found = [row["category"] for row in _rows(FORMATS["csv"](report))]
        assert found == [name[n % 2 if by else n % 3 > 1] for n in range(12)]
        assert found == [row["category"] for row in report.rows()]


def test_rows_of_another_tool_are_kept_with_all_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("name,grade,note\nx,pass,=1\ny,,n\n")
    columns = Columns("grade", id="name")
    first, second = _rows(FORMATS["csv"](build_report(path, columns=columns)))
    assert (first["id"], first["passed"], first["field.note"]) == ("x", "true", "'=1")
    assert (second["id"], second["status"], second["field.grade"]) == ("y", "unscored", "")
