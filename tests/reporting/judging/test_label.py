"""Labelling: a random subset that nests, blind cards, and a file that is never half written."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llm_batch.errors import ConfigError, OutputError
from llm_batch.reporting.judging.labelling import FAIL, PASS, SKIP, LabelFile, Session, Subset
from llm_batch.reporting.judging.labels import LabelSource, read_labels
from tests.reporting.made import full_manifest, result, write
from tests.workbooks import xlsx

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    run = [result(n, 5.0 if n % 2 else 1.0) for n in range(60)]
    run.append(result(98, None, status="timeout", error="judge: too slow"))
    return write(tmp_path, run, full_manifest(planned=61))


def _file(path: Path, seed: int | None = None) -> LabelFile:
    return LabelFile(path, seed, now=lambda: NOON)


def test_a_larger_subset_begins_with_the_smaller_one(results: Path) -> None:
    small, large = Subset(results, 42, 10), Subset(results, 42, 25)
    assert large.ids[:10] == small.ids and len(set(large.ids)) == 25
    assert Subset(results, 43, 10).ids != small.ids


def test_the_subset_does_not_depend_on_the_order_of_the_lines(
    results: Path, tmp_path: Path
) -> None:
    before = Subset(results, 42, 10).ids
    lines = results.read_text().splitlines(keepends=True)
    results.write_text("".join(reversed(lines)))
    assert Subset(results, 42, 10).ids == before


def test_every_item_is_about_as_likely_to_be_drawn(results: Path) -> None:
    drawn = [item for seed in range(300) for item in Subset(results, seed, 6).ids]
    counts = [drawn.count(f"item-{n}") for n in range(60)]
    # 300 draws of 6 in 60: 30 expected each, with a standard deviation of 5.2.
    assert min(counts) > 10 and max(counts) < 52


def test_only_items_with_a_verdict_are_drawn(results: Path) -> None:
    subset = Subset(results, 42, 1000)
    assert subset.items == 60 and "item-98" not in subset.ids
    assert "item-98" in subset.known and subset.pass_rate == 0.5


@pytest.mark.parametrize("manifest", [True, False], ids=["with a manifest", "without"])
def test_a_card_shows_question_answer_and_reference_and_nothing_of_the_judge(
    manifest: bool, results: Path
) -> None:
    if not manifest:
        results.with_name("results.manifest.json").unlink()
    card = Subset(results, 42, 60).card("item-7")
    assert card.fields == (("question", "Question 7?"),)
    assert card.reference == (("answer", "Paris"),)
    assert card.answers == (("generate", "It is Paris."),)
    assert "Because" not in repr(card) and "score" not in repr(card)


def test_the_fields_to_show_may_be_chosen(results: Path) -> None:
    card = Subset(results, 42, 5, ["answer"]).card("item-7")
    assert card.fields == (("answer", "Paris"),) and card.reference == ()
    with pytest.raises(ConfigError, match="--show topic"):
        Subset(results, 42, 5, ["topic"])


def test_answers_nobody_scored_can_be_labelled_too(tmp_path: Path) -> None:
    path = write(tmp_path, [result(n, None) for n in range(5)], full_manifest(score={}))
    subset = Subset(path, 42, 5)
    assert subset.items == 5 and subset.pass_rate is None
    assert subset.card("item-1").answers == (("generate", "It is Paris."),)


def test_a_file_that_is_no_result_or_has_no_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot read"):
        Subset(tmp_path / "none.jsonl", 42, 5)
    (tmp_path / "other.jsonl").write_text('{"question": "?"}\n')
    with pytest.raises(OutputError, match="not a results file"):
        Subset(tmp_path / "other.jsonl", 42, 5)
    failed = write(tmp_path, [result(0, None, status="timeout")])
    with pytest.raises(OutputError, match="no item with an answer"):
        Subset(failed, 42, 5)


def test_a_line_cut_off_at_the_end_is_left_out(results: Path) -> None:
    results.write_bytes(results.read_bytes()[:-40])
    assert Subset(results, 42, 5).items == 60


def test_each_label_is_on_disk_at_once_and_the_report_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    file = _file(path, 7)
    for item, label in (("a", PASS), ('b,\n"c"', FAIL), ("d", SKIP)):
        file.add(item, label)
        assert item in path.read_text().replace('""', '"')
    with open(path, newline="") as stored:
        rows = list(csv.DictReader(stored))
    assert rows[0] == {"id": "a", "label": "1", "labelled_at": "2026-11-24T12:00:00Z", "seed": "7"}
    labels = read_labels(LabelSource(str(path)))
    assert labels.by_id == {"a": 1.0, 'b,\n"c"': 0.0}
    assert (labels.seed, labels.skipped) == (7, 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.csv"]


def test_a_later_sitting_goes_on_with_the_same_seed(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    first = _file(path, 7)
    order = Subset(results, 7, 10).ids
    for item in order[:4]:
        first.add(item, PASS)
    again = _file(path)
    assert again.seed == 7
    session = Session(Subset(results, again.seed, 10), again)
    card = session.card()
    assert (session.done, session.total) == (4, 10)
    assert card is not None and card.id == order[4]


def test_undo_takes_labels_back_one_by_one(tmp_path: Path) -> None:
    file = _file(tmp_path / "labels.csv")
    file.add("a", PASS)
    file.add("b", FAIL)
    assert file.undo() == "b" and dict(file.labels) == {"a": "1"}
    assert _file(file.path).undo() == "a"
    assert _file(file.path).undo() is None


def test_another_seed_than_that_of_the_file_is_refused(tmp_path: Path) -> None:
    _file(tmp_path / "labels.csv", 7).add("a", PASS)
    with pytest.raises(ConfigError, match="seed 7, not 8") as caught:
        _file(tmp_path / "labels.csv", 8)
    assert "--seed 7" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    ["id,label\na,1\n", "id,label,labelled_at,seed\na,maybe,,7\n",
     "id,label,labelled_at,seed\na,1,,7\nb,1,,8\n", "id,label,labelled_at,seed\na,1\n", "\xff"],
    ids=["other columns", "another label", "two seeds", "a short row", "no text"],
)  # fmt: skip
def test_a_file_made_by_hand_is_never_written_to(content: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(OutputError, match="not a file that llmb label wrote"):
        _file(path)
    assert path.read_bytes() == content.encode("latin-1")


def test_labels_another_program_wrote_meanwhile_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    mine, other = _file(path, 7), _file(path, 7)
    mine.add("a", PASS)
    with pytest.raises(OutputError, match="changed by another program"):
        other.add("b", FAIL)
    assert "a,1" in path.read_text()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = _file(tmp_path / "gone" / "labels.csv")
    with pytest.raises(OutputError, match="cannot write"):
        file.add("a", PASS)
    assert dict(file.labels) == {}


def test_labels_of_other_results_are_refused(results: Path, tmp_path: Path) -> None:
    file = _file(tmp_path / "labels.csv")
    file.add("elsewhere", PASS)
    with pytest.raises(OutputError, match="none of the items labelled"):
        Session(Subset(results, file.seed, 5), file)


def test_by_verdict_any_beginning_is_balanced_and_nests(tmp_path: Path) -> None:
    run = [result(n, 5.0 if n % 10 else 1.0) for n in range(200)]
    path = write(tmp_path, run, full_manifest(planned=200))
    few, many = Subset(path, 42, 20, by_verdict=True), Subset(path, 42, 60, by_verdict=True)
    assert many.ids[:20] == few.ids
    fails = [int(item.removeprefix("item-")) % 10 == 0 for item in many.ids]
    assert sum(fails[:20]) == 10 and sum(fails) == 20
    # Their order tells nobody which is which.
    assert fails[:20:2] not in ([True] * 10, [False] * 10)


def test_a_file_drawn_by_verdict_says_so_and_goes_on_so(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    file = LabelFile(path, 7, now=lambda: NOON, by_verdict=True)
    file.add("a", PASS)
    assert path.read_text().splitlines() == [
        "id,label,labelled_at,seed,drawn", "a,1,2026-11-24T12:00:00Z,7,by verdict",
    ]  # fmt: skip
    again = _file(path)
    assert again.by_verdict and again.seed == 7
    again.add("b", FAIL)
    assert read_labels(LabelSource(str(path))).by_verdict


def test_one_file_is_drawn_in_one_way(tmp_path: Path) -> None:
    _file(tmp_path / "labels.csv", 7).add("a", PASS)
    with pytest.raises(ConfigError, match="not within each verdict"):
        LabelFile(tmp_path / "labels.csv", None, by_verdict=True)


def test_by_verdict_needs_both_verdicts(tmp_path: Path) -> None:
    path = write(tmp_path, [result(n, 5.0) for n in range(9)], full_manifest(planned=9))
    with pytest.raises(ConfigError, match="not both verdicts"):
        Subset(path, 42, 5, by_verdict=True)


FIRST = b"id,label,labelled_at,seed\na,1,2026-11-24T12:00:00Z,7\n"


@pytest.mark.parametrize(
    ("saved", "note", "written"),
    [
        (FIRST.replace(b",", b";").replace(b"\n", b"\r\n"), "with a semicolon between cells",
         b"id;label;labelled_at;seed\r\na;1;2026-11-24T12:00:00Z;7\r\nb;0;"),
        (b"\xef\xbb\xbf" + FIRST, "", b"\xef\xbb\xbf" + FIRST + b"b,0,"),
        (FIRST.replace(b",", b"\t").decode().encode("utf-16"),
         "as utf-16, with a tab between cells",
         (FIRST + b"b,0,").replace(b",", b"\t").decode().encode("utf-16")),
        (b"sep=;\n" + FIRST.replace(b",", b";"), "with a semicolon between cells",
         b"sep=;\n" + FIRST.replace(b",", b";") + b"b;0;"),
        (FIRST.replace(b"id,label", b"ID,Label"), "", FIRST.replace(b"id,label", b"ID,Label")),
        (b"seed,note,label,id,labelled_at\n7,sure,TRUE,a,2026\n", "",
         b"seed,note,label,id,labelled_at\n7,sure,1,a,2026\n7,,0,b,"),
        (b"id,label,labelled_at,seed,,\na,1,2026,7,,\n,,,,,\n", "",
         b"id,label,labelled_at,seed\na,1,2026,7\nb,0,"),
        (b"id;label;labelled_at;seed\ncaf\xe9;1;2026;7\n",
         "as windows-1252, with a semicolon between cells",
         b"id;label;labelled_at;seed\ncaf\xe9;1;2026;7\nb;0;"),
        (b"id,label,labelled_at,seed\n", "", b"id,label,labelled_at,seed\nb,0,"),
    ],
    ids=["semicolons", "byte order mark", "UTF-16 with tabs", "sep", "capitals", "other order and "
         "a column more", "empty cells", "Windows-1252", "no labels"],
)  # fmt: skip
def test_labels_that_excel_saved_again_go_on_as_they_are_written(
    saved: bytes, note: str, written: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(saved)
    file = _file(path)
    read = f"{path} is read {note}, and is written so"
    assert file.notes == ((read,) if note else ())
    before = dict(file.labels)
    file.add("b", FAIL)
    assert path.read_bytes().startswith(written)
    assert dict(_file(path).labels) == {**before, "b": FAIL}
    assert read_labels(LabelSource(str(path))).by_id["b"] == 0.0


def test_an_id_that_an_encoding_lacks_makes_the_file_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"id;label;labelled_at;seed\ncaf\xe9;1;2026;7\n")
    _file(path).add("日本", PASS)
    assert path.read_text("utf-8-sig").splitlines()[1:] == [
        "café;1;2026;7", "日本;1;2026-11-24T12:00:00Z;7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"id,label,labelled_at,seed\na,,2026,7\n", "line 2: '' is no label"),
        (b"id,label,labelled_at,seed\na,0.5,2026,7\n", "line 2: '0.5' is no label"),
        (b"id,label,labelled_at,seed\na,1,2026,7\na,0,2026,7\n", "line 3: the id 'a' is empty or"),
        (b"id,label,labelled_at,seed,\na,1,2026,7,why\n", "holds something and has no name"),
        (b"id,label,labelled_at,seed,ID\na,1,2026,7,x\n", "two columns have one name"),
        (b"id,label,seed\na,1,7\n", "no column labelled_at"),
        (xlsx({"labels": [["id", "label"], ["a", 1]]}), "is a workbook, and llmb label writes CSV"),
    ],
    ids=["no label", "half a label", "an id twice", "nameless", "two names", "a column less",
         "workbook"],
)  # fmt: skip
def test_a_file_that_would_lose_something_is_left_alone_and_it_is_said_what(
    content: bytes, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=why):
        _file(path)
    assert path.read_bytes() == content
