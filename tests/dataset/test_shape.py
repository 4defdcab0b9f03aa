"""Files as Excel, pandas and other tools write them are read, and it is said how."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.dataset.shape import delimiter_of, encoding_of, is_whole_json
from llm_batch.dataset.source import Source
from llm_batch.errors import ConfigError, DataError

TABLE = [["id", "question", "answer"], ["1", "Où, «là»?", "Zoë"], ["2", "2,5; oder?", "€"]]


def read(path: Path, **more: Any) -> tuple[list[Any], tuple[str, ...]]:
    with Source(path, **more) as source:
        rows = [fields for _, fields, *_ in source.rows()]
        return rows, tuple(note.replace(str(path), path.name) for note in source.notes)


def as_csv(delimiter: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(TABLE)
    return text.getvalue()


ENCODINGS = {
    "utf-8": "",
    "utf-8-sig": "",
    "utf-16": "as utf-16",
    "utf-16-le": "as utf-16-le",
    "utf-16-be": "as utf-16-be",
    "windows-1252": "as windows-1252",
}
MARKS = {",": "", ";": "with a semicolon between cells", "\t": "with a tab between cells",
         "|": "with a vertical bar between cells"}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", MARKS, ids=["comma", "semicolon", "tab", "bar"])
def test_a_csv_is_read_whatever_its_delimiter_and_encoding(
    tmp_path: Path, delimiter: str, encoding: str, packed: bool
) -> None:
    data = as_csv(delimiter).encode(encoding)
    path = tmp_path / ("q.csv.gz" if packed else "q.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    rows, notes = read(path)
    assert rows == [dict(zip(TABLE[0], row, strict=True)) for row in TABLE[1:]]
    told = ", ".join(filter(None, (ENCODINGS[encoding], MARKS[delimiter])))
    assert notes == ((f"{path.name} is read {told}",) if told else ())


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_excels_own_first_line_names_the_delimiter(tmp_path: Path, line: str) -> None:
    path = tmp_path / "q.csv"
    path.write_text(f"{line}\nid;a\n1;x,y\n", encoding="utf-8-sig")
    rows, notes = read(path)
    assert rows == [{"id": "1", "a": "x,y"}]
    assert notes == ("q.csv is read with a semicolon between cells",)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("id;score\n0;0,45\n1;0,74\n", ";"),
        ("id;text, long;x\n1;a, b;c\n2;d;e\n", ";"),
        ("question\nHello, you\nWhat; now?\n", ","),
        ("id,q\n1,a;b\n2,c;d\n", ","),
        ("a;b,c;d\n1;2,3;4\n", ","),
        ("id\tq\n1\ta, b\n2\tc\n", "\t"),
        ('id;q\n1;"a;b"\n2;"c\nd"\n', ";"),
        ("id,q\n", ","),
        ("id;q\n", ";"),
        ("", ","),
        ('"id,q\n1', ","),
    ],
)
def test_the_delimiter_that_fits_the_rows_is_found(text: str, delimiter: str) -> None:
    assert delimiter_of(text, ",")[0] == delimiter


def test_a_tsv_with_commas_is_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text("id,q\n1,a\n")
    assert read(path) == ([{"id": "1", "q": "a"}], ("q.tsv is read with a comma between cells",))


def test_what_the_user_says_overrules_what_is_found(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes("a;b,c\n1;2,ß\n".encode("cp437"))
    rows, _ = read(path, delimiter=";", encoding="cp437")
    assert rows == [{"a": "1", "b,c": "2,ß"}]
    with pytest.raises(ConfigError, match="no encoding is called 'utf-9'"):
        read(path, encoding="utf-9")


def test_one_damaged_byte_does_not_make_a_text_of_windows() -> None:
    whole = "Zoë, «là», naïve".encode()
    assert encoding_of(whole + b"\xe9", table=True) == "utf-8"
    assert encoding_of(whole[:2] + b"\x81\x8d", table=True) == "utf-8"
    assert encoding_of(b'{"a": "caf\xe9"}', table=False) == "utf-8"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_utf8_is_never_taken_for_anything_else(text: str) -> None:
    assert encoding_of(text.encode(), table=True) == "utf-8"


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("shape", ["array", "lines", "held"])
def test_json_is_read_by_what_it_is_and_not_by_its_name(
    tmp_path: Path, suffix: str, indent: int | None, shape: str
) -> None:
    rows = [{"id": 1, "q": "a"}, {"id": 2, "q": "{"}]
    if shape == "lines":
        text = "\n".join(json.dumps(row, indent=indent) for row in rows)
    else:
        text = json.dumps(rows if shape == "array" else {"rows": rows, "n": 2}, indent=indent)
    path = tmp_path / f"q{suffix}"
    path.write_text(text, encoding="utf-8")
    assert read(path) == (rows, ())


def test_a_bad_first_line_of_json_lines_stays_a_bad_row() -> None:
    assert not is_whole_json(b'{"a": 1,}\n{"a": 2}\n')
    assert not is_whole_json(b'{"a": "x\n{"a": 2}\n')
    assert not is_whole_json(b"oops\n")


def test_what_was_passed_over_is_counted_in_words(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("id,x\n1,2\n,\n,\n")
    assert read(path)[1] == ("2 empty rows of q.csv passed over",)
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": 1, "x": NaN}\n')
    assert read(path)[1] == ("1 value of q.jsonl NaN or infinite, taken as missing",)


JSONL = b'{"id": 1, "q": "a"}\n{"id": 2, "q": "b"}\n'
SEMICOLONS = b"id;q\n1;a\n2;b\n"


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("results.txt", JSONL, "results.txt is read as JSON Lines"),
        ("bare", b"\xef\xbb\xbf" + JSONL, "bare is read as JSON Lines"),
        ("q.v2", b"[" + JSONL.strip().replace(b"\n", b",\n") + b"]", "q.v2 is read as JSON"),
        ("q.out", b'{"results": [{"id": 1, "q": "a"}, {"id": 2, "q": "b"}]}',
         "q.out is read as JSON"),
        ("q.dat", SEMICOLONS, "q.dat is read as CSV, with a semicolon between cells"),
        ("q.tab", SEMICOLONS.replace(b";", b"\t"),
         "q.tab is read as CSV, with a tab between cells"),
        (".q.gz", gzip.compress(SEMICOLONS, mtime=0),
         ".q.gz is read as CSV, with a semicolon between cells"),
        ("q.bz2", bz2.compress(JSONL), "q.bz2 is read as JSON Lines"),
        ("q.jsonl.xz", lzma.compress(JSONL), ""),
        ("q.txt", SEMICOLONS.decode().encode("utf-16"),
         "q.txt is read as CSV, as utf-16, with a semicolon between cells"),
        ("q.txt", b"sep=;\r\n" + SEMICOLONS,
         "q.txt is read as CSV, with a semicolon between cells"),
    ],
)  # fmt: skip
def test_a_name_that_says_nothing_is_no_hindrance(
    tmp_path: Path, name: str, data: bytes, note: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    rows, notes = read(path)
    assert [(str(row["id"]), row["q"]) for row in rows] == [("1", "a"), ("2", "b")]
    assert notes == ((note,) if note else ())


@pytest.mark.parametrize(
    ("data", "note"),
    [(JSONL, ""), (JSONL[:20], ""), (SEMICOLONS, "standard input is read as CSV, with a semicolon "
     "between cells"), (b"[{\"id\": 1}]", "standard input is read as JSON")],
    ids=["JSON Lines", "one line", "CSV", "array"],
)  # fmt: skip
def test_standard_input_may_be_any_of_them(data: bytes, note: str) -> None:
    with Source("-", stdin=io.BytesIO(data)) as source:
        assert str(next(source.rows())[1]["id"]) == "1"  # type: ignore[index]
        assert source.notes == ((note,) if note else ())


def test_a_plain_text_is_refused_with_a_way_that_works_here(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text("[2024-01-01] Why?\nWho?\n")
    with pytest.raises(DataError, match="neither JSON nor a table") as caught:
        read(path)
    assert "set format under [data]" in caught.value.hint
    with pytest.raises(DataError) as caught:
        read(path, by_config=False)
    assert "[data]" not in caught.value.hint
    assert read(path, kind="csv")[0] == [{"[2024-01-01] Why?": "Who?"}]
