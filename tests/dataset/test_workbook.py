"""Workbooks are read as people expect, and what cannot be read is one clear error."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.options import Data
from llm_batch.dataset import draw
from llm_batch.dataset.source import Source
from llm_batch.errors import ConfigError, DataError
from llm_batch.reporting.build import build_report
from llm_batch.reporting.foreign import Columns
from tests.workbooks import Day, Wrong, ods, xlsx, zipped

ROWS: list[list[Any]] = [["id", "question", "score"], [1, "Where?", 0.5], [2.0, "Who?", 1]]


def read(data: bytes, tmp_path: Path, name: str = "q.xlsx", **more: Any) -> tuple[list[Any], str]:
    path = tmp_path / name
    path.write_bytes(data)
    with Source(path, **more) as source:
        rows = [fields for _, fields, *_ in source.rows()]
        return rows, "; ".join(source.notes).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("cell", "value"),
    [(1, 1), (1.0, 1), (0.25, 0.25), (-3, -3), (1e300, 1e300), (True, True), (" a\nb ", " a\nb "),
     ("007", "007"), (None, ""), (Wrong("#N/A"), ""), (Day(45000), "2023-03-15"),
     (Day(45000.5), "2023-03-15T12:00:00"), (Day(0.25), "06:00:00"), (2**53, float(2**53))],
    ids=["int", "float that is whole", "float", "negative", "huge", "bool", "text", "zeros kept",
         "empty", "error", "date", "date and time", "time", "past exact"],
)  # fmt: skip
def test_a_cell_is_what_people_see_in_it(cell: object, value: object, tmp_path: Path) -> None:
    rows, _ = read(xlsx({"S": [["id", "x"], [1, cell]]}), tmp_path)
    assert rows == [{"id": 1, "x": value}] and type(rows[0]["x"]) is type(value)


@pytest.mark.parametrize(
    ("sheets", "sheet", "ids", "note"),
    [
        ({"A": ROWS}, None, [1, 2], ""),
        ({"A": ROWS, "B": [["id"], [9]]}, None, [1, 2], "of q.xlsx the sheet 'A' is read, not B"),
        ({"A": [], "B": ROWS}, None, [1, 2], "of q.xlsx the sheet 'B' is read, not A"),
        ({"A": ROWS, "B": [["id"], [9]]}, "b ", [9], "of q.xlsx the sheet 'B' is read, not A"),
        ({"A": ROWS, "B": [["id"], [9]]}, 2, [9], "of q.xlsx the sheet 'B' is read, not A"),
        ({"A": ROWS, "2": [["id"], [9]], "C": []}, "2", [9],
         "of q.xlsx the sheet '2' is read, not A, C"),
        ({"A": [], "B": ROWS}, "A", [], "of q.xlsx the sheet 'A' is read, not B"),
        ({"A": []}, None, [], ""),
    ],
    ids=["one", "first of two", "first is empty", "by name", "by number", "a number is a name",
         "an empty one asked for", "nothing at all"],
)  # fmt: skip
def test_the_sheet_that_was_read_is_said(
    sheets: dict[str, Any], sheet: str | int | None, ids: list[int], note: str, tmp_path: Path
) -> None:
    rows, said = read(xlsx(sheets), tmp_path, sheet=sheet)
    assert ([row["id"] for row in rows], said) == (ids, note)


def test_rows_are_known_by_their_number_in_the_sheet_and_empty_ones_are_counted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "q.xlsx"
    path.write_bytes(xlsx({"S": [ROWS[0], [], ROWS[1], ["  ", None, ""], ROWS[2]]}, first_row=3))
    with Source(path) as source:
        assert [number for number, *_ in source.rows()] == [5, 7]
        assert source.notes == (f"2 empty rows of {path} passed over",)


def test_a_column_without_a_name_is_left_out_and_said_unless_it_is_an_index(tmp_path: Path) -> None:
    rows, said = read(xlsx({"S": [["", "q", ""], [0, "a", ""], [1, "b", ""]]}), tmp_path)
    assert rows == [{"q": "a"}, {"q": "b"}] and said == ""
    rows, said = read(xlsx({"S": [["", "q", ""], [0, "a", ""], [1, "b", "x"]]}), tmp_path)
    assert rows == [{"q": "a"}, {"q": "b"}] and said.startswith("1 column of q.xlsx left out")


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("q.ods", ods(ROWS), ""),
        ("q.xlsx.gz", gzip.compress(xlsx({"A": ROWS})), ""),
        ("q.csv", xlsx({"A": ROWS}), "q.csv is read as a workbook"),
        ("q", xlsx({"A": ROWS}), "q is read as a workbook"),
        ("q.xls", b"id\tquestion\n1\ta\n2\tb\n", "q.xls is read as CSV, with a tab between cells"),
    ],
)
def test_a_workbook_is_known_by_what_it_holds(
    name: str, data: bytes, note: str, tmp_path: Path
) -> None:
    rows, said = read(data, tmp_path, name)
    assert [str(row["id"]) for row in rows] == ["1", "2"] and said == note


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (xlsx({"A": ROWS})[:-300], "cannot be read as a workbook: it is cut off or damaged"),
        (zipped({"a.csv": "id\n1\n"}), "is a ZIP archive and no workbook; in it are a.csv"),
        (zipped({"xl/workbook.xml": "<oops"}), "cannot be read as a workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "or has a password"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
         "is protected with a password"),
        (ods(ROWS, locked=True), "is protected with a password"),
        (xlsx({"A": [["id", "id"], [1, 2]]}), "two columns of the header are named 'id'"),
        (xlsx({"A": ROWS}, first_row=99_999_000).replace(b"99999000", b"99999001"), "workbook"),
        (b"<html><table><tr>", "it is a web page or XML"),
    ],
    ids=["cut off", "another archive", "broken", "old and broken", "encrypted", "ods encrypted",
         "names twice", "wrong sum", "web page"],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence_with_a_way_out(
    data: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(data, tmp_path)
    assert caught.value.hint and "\n" not in caught.value.message


def test_a_cell_far_out_does_not_fill_the_memory(tmp_path: Path) -> None:
    far = xlsx({"A": [["id"], [1]], "B": [["id"], [2]]})
    parts = {"xl/worksheets/sheet2.xml": '<row r="9"><c r="XFD1048576"><v>1</v></c></row>'}
    with zipfile.ZipFile(io.BytesIO(far)) as archive:
        whole = {name: archive.read(name).decode() for name in archive.namelist()} | parts
    with pytest.raises(DataError, match="goes to the cell XFD1048576"):
        read(zipped(whole), tmp_path)


def test_a_sheet_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sheet 'Data'") as caught:
        read(xlsx({"Eins": ROWS, "Zwei": ROWS}), tmp_path, sheet="Data")
    assert "Eins, Zwei" in caught.value.hint


def test_run_and_report_read_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "q.xlsx"
    path.write_bytes(xlsx({"Notes": [["about"], ["x"]], "Data": ROWS}))
    with draw(Data(path=str(path), id="id", sheet="Data"), path) as drawn:
        assert sorted(item.id for item in drawn.items()) == ["1", "2"]
        assert "the sheet 'Data' is read, not Notes" in drawn.notes[0]
    report = build_report(path, columns=Columns("score", "id", sheet="2"))
    assert report.items.scored == 2
    with pytest.raises(ConfigError, match="no row of") as caught:
        build_report(path, columns=Columns("score", "id"))
    assert caught.value.hint == "it has: about; or another sheet: --sheet Data"
