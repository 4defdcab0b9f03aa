"""What an earlier run's scores tell for planning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from llm_batch.chain.options import Data
from llm_batch.errors import ConfigError, DataError
from llm_batch.estimating.sample_size import Claim
from llm_batch.estimating.scores import Scored, ScoredItem, clusters_by, read_scored, value_counts
from llm_batch.record.results import encode_result
from llm_batch.records import Item, Result, Score


def write(path: Path, rows: list[tuple[float | None, bool | None, str]]) -> Path:
    lines = []
    for number, (score, passed, doc) in enumerate(rows):
        item = Item(f"i{number}", {"doc": doc, "n": number % 2}, f"s{number % 2}")
        value = None if score is None else Score(score)
        result = Result(
            item=item,
            status="ok" if score is not None else "unparsed",
            outputs={},
            score=value,
            passed=passed,
            steps={},
            error="",
            worst_case=False,
            simulated=False,
        )
        lines.append(encode_result(result))
    path.write_bytes(b"".join(lines))
    return path


def test_scores_are_read_as_a_run_writes_them(tmp_path: Path) -> None:
    rows = [(5.0, True, "a"), (2.0, False, "a"), (None, None, "b"), (4.0, True, "b")]
    scored = read_scored(write(tmp_path / "results.jsonl", rows), "the pilot")
    assert scored is not None
    assert scored.values(passes=False) == [5, 2, 4]
    assert scored.values(passes=True) == [1, 0, 1]
    assert scored.by("doc", passes=False) == {"a": [5, 2], "b": [4]}
    assert scored.by("n", passes=True) == {"0": [1], "1": [0, 1]}
    assert scored.by("gone", passes=True) == {}
    assert scored.by("gone", passes=True, strata=True) == {"s0": [1], "s1": [0, 1]}


def test_a_run_without_scores_or_file_tells_nothing(tmp_path: Path) -> None:
    assert read_scored(tmp_path / "nowhere.jsonl") is None
    assert read_scored(write(tmp_path / "r.jsonl", [(None, None, "a")])) is None
    (tmp_path / "junk.jsonl").write_text("not json\n")
    assert read_scored(tmp_path / "junk.jsonl") is None


def test_the_sentence_offers_the_flags_that_plan_with_it() -> None:
    some = tuple(ScoredItem(float(k % 5 + 1), k % 5 > 0) for k in range(100))
    said = Scored("the pilot", some).sentence()
    assert said.startswith("the pilot: 100 scores, mean 3, sd 1.42 (--mean-sd 1.42")
    # 80 of 100 passed: Wilson's interval is 0.711 to 0.867.
    assert "80 passed (--expected-rate 0.71 " in said
    assert Scored("x", some[:1]).sentence() == ""


def data(tmp_path: Path, docs: Sequence[str | None]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode({"q": "?", "doc": doc}) for doc in docs))
    return path


def test_clusters_are_counted_in_the_data_and_their_likeness_in_the_scores(tmp_path: Path) -> None:
    path = data(tmp_path, ["a"] * 9 + ["b"])
    scores = [(f"a{i}", 1.0) for i in range(8)] + [(f"b{i}", 0.0) for i in range(8)]
    scores = scores * 2 + [("c", 1.0), ("c", 0.0)]
    scored = Scored("the pilot", tuple(ScoredItem(s, s > 0, "", {"doc": doc}) for doc, s in scores))
    found = clusters_by("doc", Data(), path, Claim(), scored)
    assert (found.count, found.mean_size, found.icc_from) == (2, 5.0, "the pilot")
    assert found.size == pytest.approx(8.2)
    # Squares by hand: 8 of 16 within 2 clusters each side, 1/2 within c; 17 clusters of 2.
    between, within = 8 / 16, 0.5 / 17
    assert found.icc == pytest.approx((between - within) / (between + within))
    given = clusters_by("doc", Data(), path, Claim(icc=0.2), scored)
    assert (given.icc, given.icc_from) == (0.2, "")


def test_a_likeness_that_few_pairs_tell_is_asked_for(tmp_path: Path) -> None:
    few = tuple(ScoredItem(1.0, True, "", {"doc": f"d{i // 2}"}) for i in range(18))
    few += (ScoredItem(0.0, False, "", {"doc": "other"}),)
    with pytest.raises(ConfigError):
        clusters_by("doc", Data(), data(tmp_path, ["a", "b"]), Claim(), Scored("x", few))


def test_a_likeness_that_nobody_told_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        clusters_by("doc", Data(), data(tmp_path, ["a", "b"]), Claim(), None)
    assert "--icc" in refused.value.hint


def test_rows_without_the_field_are_named_or_left_out(tmp_path: Path) -> None:
    path = data(tmp_path, ["a", None, "a"])
    with pytest.raises(DataError, match="line 2: no field 'doc'"):
        value_counts(Data(), path, "doc")
    assert value_counts(Data(on_bad_row="skip"), path, "doc") == {"a": 2}
    with pytest.raises(DataError, match="no row"):
        value_counts(Data(on_bad_row="skip"), path, "gone")
    with pytest.raises(DataError, match="standard input"):
        value_counts(Data(), "-", "doc")
