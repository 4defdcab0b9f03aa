"""Files that llmb did not write: fields named by the user, found or named back to them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.errors import ConfigError, OutputError
from llm_batch.report import FORMATS, Columns, build_report
from llm_batch.report.foreign import score_of


def _jsonl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "other.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_words_for_pass_and_fail_make_a_pass_rate_by_category(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("id,grade,topic\n1,pass,x\n2,Fail,x\n3,correct,y\n4,,y\n")
    report = build_report(path, columns=Columns("grade", category="topic"))
    assert (report.pass_rate.passed, report.pass_rate.rate.n) == (2, 3)
    assert report.pass_rate.missing == 1
    assert report.groups is not None
    assert [(group.name, group.passed, group.n) for group in report.groups.groups] == [
        ("x", 1, 2),
        ("y", 1, 2),
    ]
    assert [(s.kind, s.n, s.example_error) for s in report.statuses] == [
        ("ok", 3, ""),
        ("unscored", 1, "grade is ''"),
    ]


def test_dots_lead_into_objects_and_numbers_pass_at_a_threshold(tmp_path: Path) -> None:
    rows = [{"id": i, "m": {"acc": i / 10, "kind": "ab"[i % 2]}} for i in range(10)]
    columns = Columns("m.acc", category="m.kind", pass_at=0.5)
    report = build_report(_jsonl(tmp_path, rows), columns=columns)
    assert report.pass_rate.passed == 5
    assert report.scores.mean.value == pytest.approx(0.45)
    assert report.groups is not None and len(report.groups.groups) == 2


def test_a_field_with_a_dot_in_its_name_is_found_by_it(tmp_path: Path) -> None:
    report = build_report(_jsonl(tmp_path, [{"a.b": 1.5}, {"a.b": 2.5}]), columns=Columns("a.b"))
    assert report.scores.mean.value == 2.0


@pytest.mark.parametrize(
    ("scores", "passed"),
    [([0, 1, 1], 2), ([0.0, "1"], 1), ([True, False], 1), ([0, 1, 2], None), ([0.5, 1], None)],
)
def test_scores_of_0_and_1_alone_are_verdicts(
    scores: list[Any], passed: int | None, tmp_path: Path
) -> None:
    report = build_report(_jsonl(tmp_path, [{"s": s} for s in scores]), columns=Columns("s"))
    assert (report.pass_rate.passed if report.pass_rate.rate.n else None) == passed
    assert any("0 and 1" in w or "counts as a pass" in w for w in report.warnings) == (
        passed is not None
    )


@pytest.mark.parametrize(
    ("value", "score"),
    [
        ("pass", 1.0), (" FAILED ", 0.0), ("Yes", 1.0), ("C", 1.0), ("I", 0.0), (True, 1.0),
        ("4.5", 4.5), (3, 3.0), ("1e3", 1000.0), ("-2", -2.0),
        ("", None), ("great", None), (None, None), ("nan", None), ("inf", None), ([1], None),
        (float("inf"), None), (10**400, None),
    ],
)  # fmt: skip
def test_a_score_is_a_number_or_a_word_and_never_a_guess(value: Any, score: float | None) -> None:
    assert score_of(value) == score


def test_a_field_that_is_not_there_is_answered_with_near_names(tmp_path: Path) -> None:
    path = _jsonl(tmp_path, [{"metrics": {"accuracy": 1}, "name": "x"}])
    with pytest.raises(ConfigError, match="--score metrics.acuracy: no row") as caught:
        build_report(path, columns=Columns("metrics.acuracy"))
    assert caught.value.hint == "did you mean metrics.accuracy?"
    with pytest.raises(ConfigError, match="--id zzz: no row") as caught:
        build_report(path, columns=Columns("metrics.accuracy", id="zzz"))
    assert "metrics.accuracy, name" in caught.value.hint


def test_a_field_without_a_single_score_is_refused_with_its_first_value(tmp_path: Path) -> None:
    path = _jsonl(tmp_path, [{"note": "well done"}])
    with pytest.raises(ConfigError, match="'well done'"):
        build_report(path, columns=Columns("note"))


@pytest.mark.parametrize("kind", ["json", "jsonl.gz", "tsv", "parquet"])
def test_every_kind_of_dataset_is_read(kind: str, tmp_path: Path) -> None:
    rows = [{"id": "a", "s": 1}, {"id": "b", "s": 0}]
    path = tmp_path / f"other.{kind}"
    if kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif kind == "tsv":
        path.write_text("id\ts\na\t1\nb\t0\n")
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    report = build_report(path, columns=Columns("s"))
    assert (report.pass_rate.passed, report.items.read) == (1, 2)


def test_a_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("id,s\na,1\nb\n")
    with pytest.raises(OutputError, match=r"other\.csv, line 3: 1 cells"):
        build_report(path, columns=Columns("s"))


def test_without_the_flag_the_error_says_which_flag(tmp_path: Path) -> None:
    path = _jsonl(tmp_path, [{"s": 1}])
    with pytest.raises(OutputError, match="not a results file") as caught:
        build_report(path)
    assert "--score FIELD" in caught.value.hint


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"html"}))
def test_every_format_takes_it_and_speaks_of_no_run(format: str, tmp_path: Path) -> None:
    path = _jsonl(tmp_path, [{"id": i, "s": i % 2, "note": "x"} for i in range(40)])
    text = FORMATS[format](build_report(path, columns=Columns("s")))
    assert text
    assert "llmb run" not in text and "input_price" not in text


def test_repeated_ids_count_once_and_missing_ones_become_row_numbers(tmp_path: Path) -> None:
    twice = build_report(_jsonl(tmp_path, [{"id": 1, "s": 1}] * 2), columns=Columns("s"))
    assert (twice.items.read, twice.items.duplicates) == (1, 1)
    none = build_report(_jsonl(tmp_path, [{"s": 1}] * 2), columns=Columns("s"))
    assert (none.items.read, none.items.duplicates) == (2, 0)
