"""Labels from files: columns found by their names, words read, contradictions refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_batch.errors import ConfigError, OutputError
from llm_batch.reporting.judging.labels import (
    Labels,
    LabelSource,
    no_label,
    read_labels,
    words_of_labels,
)


def _read(folder: Path, text: str, *columns: str, name: str = "labels.csv") -> Labels:
    path = folder / name
    path.write_text(text)
    return read_labels(LabelSource(path=str(path), columns=columns))


@pytest.mark.parametrize(
    "header",
    ["id,label", "item_id,human", "ID,Human Label", "question_id,anything", "key,gold,judge"],
)
def test_columns_are_found_by_their_names(header: str, tmp_path: Path) -> None:
    more = ",fail" if header.count(",") == 2 else ""
    labels = _read(tmp_path, f"{header}\na,pass{more}\nb,0{more}\n")
    assert labels.by_id == {"a": 1.0, "b": 0.0}
    assert labels.judged == ({"a": 0.0, "b": 0.0} if more else {})
    assert not labels.scores and labels.seed is None


def test_jsonl_with_numbers_for_ids_is_read_too(tmp_path: Path) -> None:
    text = '{"id": 1, "label": true}\n{"id": 2.0, "label": "bad"}\n{"id": "x", "label": null}\n'
    labels = _read(tmp_path, text, name="labels.jsonl")
    assert labels.by_id == {"1": 1.0, "2": 0.0}
    assert labels.skipped == 1


@pytest.mark.parametrize(
    ("value", "label"),
    [("pass", 1), (" FAIL ", 0), ("good", 1), ("wrong", 0), ("1", 1), (0, 0), (True, 1),
     ("4.5", 4.5), (3, 3), ("perhaps", None), (float("nan"), None), ([1], None)],
)  # fmt: skip
def test_words_and_numbers_are_labels(value: object, label: float | None) -> None:
    assert words_of_labels([value]).score(value) == label


@pytest.mark.parametrize("value", [None, "", " ", "skip", "Unsure", "n/a"])
def test_some_words_say_that_there_is_no_label(value: object) -> None:
    assert no_label(value)


def test_numbers_beyond_0_and_1_make_the_labels_scores(tmp_path: Path) -> None:
    labels = _read(tmp_path, "id,label\na,1\nb,5\n")
    assert labels.scores and labels.by_id == {"a": 1.0, "b": 5.0}


def test_the_same_label_twice_counts_once(tmp_path: Path) -> None:
    labels = _read(tmp_path, "id,label\na,1\na,pass\nb,0\n")
    assert labels.repeated == 1 and len(labels.by_id) == 2


def test_the_seed_is_known_only_of_files_that_llmb_label_wrote(tmp_path: Path) -> None:
    rows = "a,1,2026-11-24T00:00:00Z,7\n"
    assert _read(tmp_path, f"id,label,labelled_at,seed\n{rows}").seed == 7
    assert _read(tmp_path, f"id,label,labelled_at,seed\n{rows}b,1,,8\n").seed is None
    assert _read(tmp_path, "id,label,seed\na,1,7\n").seed is None


@pytest.mark.parametrize(
    "columns", [("anna", "ben", "cleo"), ()], ids=["named", "found by their names"]
)
def test_of_several_people_the_majority_counts(columns: tuple[str, ...], tmp_path: Path) -> None:
    names = columns or ("label_anna", "label_ben", "label_cleo")
    text = f"id,{','.join(names)}\na,1,1,0\nb,0,0,\nc,1,0,\nd,,,\n"
    labels = _read(tmp_path, text, *columns)
    assert labels.by_id == {"a": 1.0, "b": 0.0}
    assert labels.people == names and labels.skipped == 2
    assert labels.ratings[0] == (1.0, 1.0, 0.0) and labels.ratings[2] == (1.0, 0.0, None)


def test_of_several_scores_the_median_counts(tmp_path: Path) -> None:
    labels = _read(tmp_path, "id,anna,ben\na,4,5\nb,1,3\n", "anna", "ben")
    assert labels.by_id == {"a": 4.5, "b": 2.0}


@pytest.mark.parametrize(
    ("text", "columns", "said", "hint"),
    [
        ("id,label\na,1\nb,0\na,0\n", (), "'a' has two labels, in row 1 and in row 3", "anna,ben"),
        ("id,label\na,1\nb,maybe\n", (), "row 2: 'maybe' is no label for item 'b'", "pass or fail"),
        ("id,label\n,1\n", (), "row 1: no id", ""),
        ("name,label\na,1\n", (), "no column says which item", "id"),
        ("id,x,y\na,1,1\n", (), "no column looks like a label", "--label-field COLUMN"),
        ("id,label\na,1\n", ("lable",), "--label-field lable", "id, label"),
    ],
    ids=["contradiction", "no word", "no id", "no id column", "no label column", "no such column"],
)
def test_what_cannot_be_read_is_named_with_a_way_out(
    text: str, columns: tuple[str, ...], said: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(tmp_path, text, *columns)
    assert said in caught.value.message and hint in caught.value.hint


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no file"):
        read_labels(LabelSource(path=str(tmp_path / "none.csv")))
    with pytest.raises(OutputError, match="no labels|empty"):
        _read(tmp_path, "id,label\n")
