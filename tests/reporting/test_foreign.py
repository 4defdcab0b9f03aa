"""Files that llmb did not write: fields named by the user, found or named back to them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.errors import ConfigError, OutputError
from llm_batch.reporting import FORMATS, Columns, build_report
from llm_batch.reporting.comparison.build import compare_reports
from llm_batch.reporting.judging.labels import LabelSource
from llm_batch.reporting.vocabulary import vocabulary_of


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
        ("pass", 1.0), (" FAILED ", 0.0), ("Yes", 1.0), ("C", None), ("I", 0.0), (True, 1.0),
        ("4.5", 4.5), (3, 3.0), ("1e3", 1000.0), ("-2", -2.0),
        ("", None), ("great", None), (None, None), ("nan", None), ("inf", None), ([1], None),
        (float("inf"), None), (10**400, None),
    ],
)  # fmt: skip
def test_a_score_is_a_number_or_a_word_and_never_a_guess(value: Any, score: float | None) -> None:
    assert vocabulary_of([value]).score(value) == score


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


def _csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "other.csv"
    path.write_bytes(text.encode(encoding))
    return path


_LETTERS = "".join(f"{n},{'ABBCC'[n % 5]}\n" for n in range(20))


def test_letters_of_a_grade_are_refused_with_their_counts(tmp_path: Path) -> None:
    path = _csv(tmp_path, f"id,score\n{_LETTERS}")
    with pytest.raises(ConfigError, match=r"'B' \(8\), 'C' \(8\), 'A' \(4\)") as caught:
        build_report(path, columns=Columns("score"))
    assert "--pass-words WORD" in caught.value.hint
    report = build_report(path, columns=Columns("score", pass_words=("A",)))
    assert (report.pass_rate.passed, report.pass_rate.rate.n) == (4, 20)
    assert any("A = 1, B and C = 0" in warning for warning in report.warnings)


def test_a_hint_never_says_that_a_fail_passes(tmp_path: Path) -> None:
    path = _csv(tmp_path, "id,score\n1,FAIL\n2,FAIL\n3,PASS\n4,MAYBE\n")
    with pytest.raises(ConfigError, match="what 'MAYBE' is worth") as caught:
        build_report(path, columns=Columns("score"))
    assert caught.value.hint.endswith("--pass-words PASS")
    with pytest.raises(ConfigError, match="no such word"):
        build_report(path, columns=Columns("score", pass_words=("PAS",)))


@pytest.mark.parametrize(
    ("words", "mean"),
    [("CIPN", 0.375), ("CI", 0.5), ("CP", 0.75), ("YN", 0.5), ("TF", 0.5), ("PF", 0.5), ("I", 0.0)],
)
def test_letters_that_explain_each_other_are_scores(
    words: str, mean: float, tmp_path: Path
) -> None:
    rows = "".join(f"{n},{words[n % len(words)]}\n" for n in range(24))
    report = build_report(_csv(tmp_path, f"id,s\n{rows}"), columns=Columns("s"))
    assert report.scores.mean.value == pytest.approx(mean)


@pytest.mark.parametrize("words", ["C", "P", "ABC", "PN", "CF", "ABCDF", "CIPX"])
def test_letters_that_may_mean_something_else_are_refused(words: str, tmp_path: Path) -> None:
    rows = "".join(f"{n},{words[n % len(words)]}\n" for n in range(24))
    with pytest.raises(ConfigError, match="worth"):
        build_report(_csv(tmp_path, f"id,s\n{rows}"), columns=Columns("s"))


def test_a_word_among_numbers_of_a_scale_is_no_score_and_is_named(tmp_path: Path) -> None:
    path = _csv(tmp_path, "id,s\n1,4\n2,5\n3,ERROR\n4,3\n5,fail\n")
    report = build_report(path, columns=Columns("s"))
    assert (report.scores.mean.value, report.scores.mean.n) == (4.0, 3)
    assert any("'ERROR' (1)" in warning for warning in report.warnings)


def test_the_way_into_an_object_is_shown(tmp_path: Path) -> None:
    rows = [{"id": 1, "score": {"value": 1, "answer": "x"}}]
    with pytest.raises(ConfigError) as caught:
        build_report(_jsonl(tmp_path, rows), columns=Columns("score"))
    assert "--score score.value" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("id;score\n1;0,25\n2;0,75\n3;\n", "utf-8", "with a semicolon between cells"),
        ("id\tscore\n1\t0,25\n2\t0,75\n", "utf-16", "as utf-16, with a tab between cells"),
        ("id;score;nom\n1;0,25;é\n2;0,75;à\n", "windows-1252", "as windows-1252, with a semi"),
        ("sep=;\nid;score\n1;0,25\n2;0,75\n", "utf-8", "with a semicolon between cells"),
        (",id,score\n0,1,0.25\n1,2,0.75\n,,\n", "utf-8", "1 empty row of"),
    ],
    ids=["semicolons", "utf-16 tabs", "windows-1252", "sep=", "index column"],
)
def test_files_as_spreadsheets_write_them_are_read_and_said_once(
    text: str, encoding: str, said: str, tmp_path: Path
) -> None:
    report = build_report(_csv(tmp_path, text, encoding), columns=Columns("score"))
    assert report.scores.mean.value == 0.5
    assert sum(said in warning for warning in report.warnings) == 1


def test_a_comma_between_cells_is_no_decimal_sign(tmp_path: Path) -> None:
    path = _csv(tmp_path, 'id,score\n1,"0,25"\n2,0.5\n3,0.7\n')
    assert build_report(path, columns=Columns("score")).scores.mean.n == 2


def test_what_the_user_says_of_delimiter_and_encoding_holds(tmp_path: Path) -> None:
    path = _csv(tmp_path, "id^score\n1^1\nü^0\n", "cp850")
    report = build_report(path, columns=Columns("score", delimiter="^", encoding="cp850"))
    assert report.pass_rate.rate.value == 0.5
    assert any("as cp850" in warning for warning in report.warnings)


def test_nan_is_a_missing_value_in_every_kind_of_file(tmp_path: Path) -> None:
    rows = [{"q": f"Q{n}", "f": float("nan") if n % 8 == 0 else n / 40} for n in range(40)]
    lines = "".join(f"{row['q']},{row['f']}\n" for row in rows)
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "nan.parquet")
    paths = [_jsonl(tmp_path, rows), _csv(tmp_path, f"q,f\n{lines}"), tmp_path / "nan.parquet"]
    means = [build_report(path, columns=Columns("f")).scores.mean for path in paths]
    assert [mean.n for mean in means] == [35, 35, 35]
    assert [mean.value for mean in means] == pytest.approx([0.5, 0.5, 0.5])


def _epochs(ids: int = 20, epochs: int = 4, name: str = "epoch") -> list[dict[str, Any]]:
    return [
        {"id": n, name: e, "answer": f"{n} {e}", "score": int(n < 3 and e % 2 == 1)}
        for n in range(ids)
        for e in range(1, epochs + 1)
    ]


def test_repeats_of_an_item_all_count_and_intervals_are_by_id(tmp_path: Path) -> None:
    report = build_report(_jsonl(tmp_path, _epochs()), columns=Columns("score"))
    assert (report.pass_rate.passed, report.pass_rate.rate.n) == (6, 80)
    assert report.pass_rate.rate.value == pytest.approx(0.075)
    assert report.pass_rate.clusters == 20 and report.items.duplicates == 0
    assert any("differ in epoch (1, 2, 3, 4)" in warning for warning in report.warnings)


@pytest.mark.parametrize("name", ["epoch", "sample_idx", "draw", "q7"])
def test_the_field_that_tells_repeats_apart_is_found_whatever_its_name(
    name: str, tmp_path: Path
) -> None:
    report = build_report(_jsonl(tmp_path, _epochs(name=name)), columns=Columns("score"))
    assert any(f"differ in {name} " in warning for warning in report.warnings)


def test_repeats_without_a_field_that_numbers_them_count_too(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("id", "score")} for row in _epochs()]
    report = build_report(_jsonl(tmp_path, rows), columns=Columns("score"))
    assert (report.pass_rate.passed, report.pass_rate.rate.n) == (6, 80)
    assert (report.pass_rate.clusters, report.items.duplicates) == (20, 0)
    assert any("no field numbers them" in warning for warning in report.warnings)


def test_rows_that_are_the_same_in_all_count_once(tmp_path: Path) -> None:
    rows = _epochs()
    report = build_report(_jsonl(tmp_path, rows + rows[:7]), columns=Columns("score"))
    assert (report.pass_rate.rate.n, report.items.duplicates) == (80, 7)


@pytest.mark.parametrize("field", ["metric", "filter", "scores.name", "model"])
def test_several_metrics_of_an_item_are_refused_with_a_way_to_take_one(
    field: str, tmp_path: Path
) -> None:
    outer, _, inner = field.partition(".")
    rows = [
        {"id": n, outer: {inner: kind} if inner else kind, "score": n % 2 + place}
        for n in range(10)
        for place, kind in enumerate(["strict match", "flexible"])
    ]
    path = _jsonl(tmp_path, rows)
    with pytest.raises(ConfigError, match=f"differ in {field}") as caught:
        build_report(path, columns=Columns("score"))
    assert f"--where '{field}=strict match'" in caught.value.hint
    columns = Columns("score", where=((field, "strict match"),))
    assert build_report(path, columns=columns).scores.mean.value == 0.5
    with pytest.raises(ConfigError, match="no row") as caught:
        build_report(path, columns=Columns("score", where=((field, "strict"),)))
    assert "strict match, flexible" in caught.value.hint


def test_repeats_are_no_pairs_of_a_comparison(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    paths = [_jsonl(tmp_path, _epochs()), _jsonl(tmp_path / "b", _epochs())]
    with pytest.raises(ConfigError, match="several rows of one id") as caught:
        compare_reports(paths, columns=Columns("score"))
    assert "--where" in caught.value.hint
    one = compare_reports(paths, columns=Columns("score", where=(("epoch", "1"),)))
    assert one.comparison.against[0].common == 20


def test_1_and_1_0_are_one_id_where_nothing_else_fits(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    whole = _csv(tmp_path, "id,s\n" + "".join(f"{n},{n % 2}\n" for n in range(1, 31)))
    gap = _csv(tmp_path / "b", "id,s\n" + "".join(f"{n}.0,{n % 3 // 2}\n" for n in range(1, 31)))
    compared = compare_reports([whole, gap], columns=Columns("s"))
    assert compared.comparison.against[0].common == 30
    labels = LabelSource(str(gap), columns=("s",))
    report = build_report(whole, columns=Columns("s"), labels=labels)
    assert report.calibration is not None and report.calibration.labelled == 30


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.log", "a"), ("x.parquet", "PAR1"), ("x.csv", ""), ("x.json", '{"a": '), ("", None)],
)
def test_no_hint_of_a_report_speaks_of_a_config(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(OutputError) as caught:
        build_report(path, columns=Columns("s"))
    said = f"{caught.value.message} {caught.value.hint}"
    assert "[data]" not in said and "--data" not in said


def test_two_fields_together_tell_rows_apart_where_one_does_not(tmp_path: Path) -> None:
    rows = [
        {"doc_id": n, "epoch": epoch, "seed": seed, "score": (n + epoch * seed) % 2, "note": "x"}
        for n in range(12)
        for epoch in (1, 2)
        for seed in (7, 8)
    ]
    report = build_report(_jsonl(tmp_path, rows), columns=Columns("score"))
    assert any("differ in epoch and seed" in warning for warning in report.warnings)
    assert (report.pass_rate.rate.n, report.pass_rate.clusters) == (48, 12)


def test_repeats_cluster_as_the_user_says(tmp_path: Path) -> None:
    rows = [row | {"doc": row["id"] // 5} for row in _epochs()]
    path = _jsonl(tmp_path, rows)
    assert build_report(path, columns=Columns("score"), cluster="doc").pass_rate.clusters == 4
