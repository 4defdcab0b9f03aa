"""Labels made by people: read from a file, with the columns found by their names.

A label is a word for pass or fail, 1 or 0, true or false, or a score on the judge's scale. Rows
of any file a dataset may be in are read; ``llmb label`` writes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from llm_batch.chain.flags import expanded
from llm_batch.errors import ConfigError, OutputError
from llm_batch.paper.words import clean
from llm_batch.reporting.csv import unguarded
from llm_batch.reporting.foreign import ForeignRows, found
from llm_batch.reporting.judging.model import LabelSource
from llm_batch.reporting.tally import group_name
from llm_batch.reporting.vocabulary import Vocabulary, is_missing, passing_words, vocabulary_of

#: What `llmb label` writes, in this order.
LABEL_COLUMNS = ("id", "label", "labelled_at", "seed")

#: A fifth column and its value, where items were drawn within each verdict.
DRAWN_COLUMN, BY_VERDICT = "drawn", "by verdict"

#: Where labels are grades: their ends, ``1-5``, without which five ones would be five passes.
SCALE_COLUMN = "scale"

#: What was noted of an item, and where the person saw what the judge had said.
NOTE_COLUMN, SAW_COLUMN = "note", "saw_judge"

#: How an item is marked that a person could not decide.
SKIP = "skip"

_MORE_WORDS = {
    **dict.fromkeys(("good", "ok", "right", "accept", "accepted", "positive", "+"), 1.0),
    **dict.fromkeys(("bad", "reject", "rejected", "negative", "error", "-"), 0.0),
}
_NO_LABEL = frozenset(("", SKIP, "skipped", "s", "unsure", "unclear", "?", "na", "n/a", "none"))
_IDS = ("id", "item_id", "item", "itemid", "example_id", "question_id", "key")
_NAMES = (
    "label", "labels", "human_label", "human", "human_score", "gold", "gold_label", "truth",
    "ground_truth", "annotation", "rating", "correct", "verdict", "passed", "score",
)  # fmt: skip
_JUDGES = ("judge", "judge_score", "judge_label", "judge_verdict", "prediction", "predicted")
_PERSON = re.compile(r"(label|rater|annotator|human|coder)_?\w+")
_WIDE = 20


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a file.

    Attributes:
        source: What to call it.
        by_id: The label of each item: 1 and 0 for pass and fail, or a score.
        judged: What the judge said of it, where the file has that.
        scores: Whether labels are scores and not verdicts.
        people: The columns, when several people labelled.
        ratings: What each of them said, by item, when there are several.
        skipped: Items that were passed over, or on which people disagree evenly.
        repeated: Rows that repeat a label given before.
        seed: The seed of a subset that `llmb label` drew; ``None`` for any other file.
        by_verdict: Whether it drew them within each verdict of the judge.
        notes: What was not as one expects of such a file, a sentence each.
    """

    source: str
    by_id: Mapping[str, float]
    judged: Mapping[str, float] = field(default_factory=dict)
    scores: bool = False
    people: tuple[str, ...] = ()
    ratings: Sequence[tuple[float | None, ...]] = ()
    skipped: int = 0
    repeated: int = 0
    seed: int | None = None
    by_verdict: bool = False
    notes: tuple[str, ...] = ()


def words_of_labels(
    values: Iterable[Any], passing: Sequence[str] = (), decimal_comma: bool = False
) -> Vocabulary:
    """How the labels of a column are to be read: as scores are, with more words."""
    given = (value for value in values if not no_label(value))
    return vocabulary_of(given, passing=passing, decimal_comma=decimal_comma, more=_MORE_WORDS)


def rating_of(value: Any) -> float | None:
    """A rating as a number; ``None`` for a letter too, which means nothing by itself."""
    word = value.strip().casefold() if isinstance(value, str) else ""
    return None if len(word) == 1 and word.isalpha() else words_of_labels([value]).score(value)


def no_label(value: Any) -> bool:
    """Whether a value says that there is no label."""
    if isinstance(value, str) and value.strip().casefold() in _NO_LABEL:
        return True
    return is_missing(value) and value != "-"


def are_scores(labels: Iterable[float]) -> bool:
    """Whether labels are scores on a scale: any of them is neither 0 nor 1."""
    return any(label not in (0.0, 1.0) for label in labels)


def read_labels(source: LabelSource) -> Labels:
    """The labels of a file.

    Raises:
        OutputError: The file cannot be read.
        ConfigError: Its columns cannot be told, a label is none, or an item has two of them.
    """
    read = ForeignRows(source.path, source.delimiter, source.encoding, source.sheet)
    rows = read.rows
    name = clean(source.path, 80)
    if not rows:
        raise OutputError(f"{name} has no labels", "make some: llmb label results.jsonl")
    id_column, columns, judge = _columns(name, rows, source.columns)
    people = [
        _vocabulary(name, source, column, [found(row, column, None) for row in rows], read)
        for column in columns
    ]
    said = words_of_labels(
        (found(row, judge, None) for row in rows if judge), source.pass_words, read.decimal_comma
    )
    ratings: dict[str, tuple[float | None, ...]] = {}
    judged: dict[str, float] = {}
    first_row: dict[str, int] = {}
    repeated = 0
    # Ids of such a file may come from one that was made safe for spreadsheets.
    cells = not {".csv", ".tsv"}.isdisjoint(Path(source.path).suffixes)
    for number, row in enumerate(rows, 1):
        value = found(row, id_column, None)
        if value is None or value == "":
            raise ConfigError(f"{name}, row {number}: no id in the column {id_column!r}")
        item = unguarded(group_name(value)) if cells else group_name(value)
        given = tuple(
            _label(found(row, column, None), words, name, number, item)
            for column, words in zip(columns, people, strict=True)
        )
        if item not in ratings:
            ratings[item], first_row[item] = given, number
        elif ratings[item] == given:
            repeated += 1
        else:
            raise ConfigError(
                f"{name}: item {clean(item, 60)!r} has two labels, "
                f"in row {first_row[item]} and in row {number}",
                "keep one of them; of several people, give each a column and name them: "
                "--label-field anna,ben",
            )
        verdict = said.score(found(row, judge, None)) if judge else None
        if verdict is not None:
            judged[item] = verdict
    scores = any(row.get(SCALE_COLUMN) for row in rows) or are_scores(
        label for given in ratings.values() for label in given if label
    )
    labels, skipped = _one_each(ratings, scores)
    several = len(columns) > 1
    saw = sum(bool(row.get(SAW_COLUMN)) for row in rows)
    seen = (f"{saw:,} labels of {name} were made with the judge's verdict in view",) if saw else ()
    return Labels(
        source=name,
        by_id=labels,
        judged=judged,
        scores=scores,
        people=tuple(columns) if several else (),
        ratings=tuple(ratings.values()) if several else (),
        skipped=skipped,
        repeated=repeated,
        seed=_seed(rows),
        by_verdict=all(row.get(DRAWN_COLUMN) == BY_VERDICT for row in rows),
        notes=(*read.notes, *seen),
    )


def _vocabulary(
    name: str, source: LabelSource, column: str, values: Sequence[Any], read: ForeignRows
) -> Vocabulary:
    """How a column of labels is to be read.

    Raises:
        ConfigError: Several of its words are not understood.
    """
    words = words_of_labels(values, source.pass_words, read.decimal_comma)
    if len(words.unknown) > 1 and sum(words.unknown.values()) > len(words.unknown):
        sure = passing_words({str(value).strip(): None for value in values})
        raise ConfigError(
            f"{name}: nothing says which labels of the column {column!r} pass: {words.listed}",
            f"name the words that pass, all others fail: --pass-words {','.join(sure) or 'WORD'}",
        )
    return words


def _label(value: Any, words: Vocabulary, name: str, number: int, item: str) -> float | None:
    if no_label(value):
        return None
    label = words.score(value)
    if label is None:
        raise ConfigError(
            f"{name}, row {number}: {clean(str(value), 40)!r} is no label for "
            f"item {clean(item, 60)!r}",
            "a label is pass or fail, 1 or 0, a score on the judge's scale, or skip; or name the "
            "words that pass, all others fail: --pass-words WORD",
        )
    return label


def _one_each(
    ratings: Mapping[str, tuple[float | None, ...]], scores: bool
) -> tuple[dict[str, float], int]:
    """The label of each item, and how many have none.

    Of several people the median counts, which for verdicts is the majority; verdicts that are
    evenly split give none.
    """
    labels: dict[str, float] = {}
    for item, given in ratings.items():
        there = [label for label in given if label is not None]
        middle = median(there) if there else None
        if middle is not None and (scores or middle in (0.0, 1.0)):
            labels[item] = middle
    return labels, len(ratings) - len(labels)


def _columns(
    name: str, rows: Sequence[dict[str, Any]], asked: Sequence[str]
) -> tuple[str, list[str], str]:
    """The columns with the id, the labels and, if any, the judge's verdict; the last may be ''."""
    known = list(dict.fromkeys(column for row in rows[:_WIDE] for column in row))
    plain = {re.sub(r"[\s-]+", "_", column.strip().casefold()): column for column in known}
    listed = ", ".join(clean(column, 40) for column in known[:_WIDE])
    ids = [plain[word] for word in _IDS if word in plain]
    if not ids:
        raise ConfigError(
            f"{name}: no column says which item a label is for; it has: {listed}",
            "call the column with the items' ids id",
        )
    judge = next((plain[word] for word in _JUDGES if word in plain), "")
    for column in asked:
        if all(found(row, column, None) is None for row in rows):
            raise ConfigError(
                f"--label-field {column}: no row of {name} has it", f"there is: {listed}"
            )
    if asked:
        return ids[0], list(asked), judge
    columns = [plain[word] for word in _NAMES if word in plain][:1]
    if not columns:
        columns = [
            column
            for word, column in plain.items()
            if _PERSON.fullmatch(word) and column not in (ids[0], judge)
        ]
    others = [column for column in known if column not in (ids[0], judge)]
    if not columns and len(others) == 1:
        columns = others
    if not columns:
        raise ConfigError(
            f"{name}: no column looks like a label; it has: {listed}",
            "name it: --label-field COLUMN",
        )
    return ids[0], columns, judge


def _seed(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The seed in a file that `llmb label` wrote; ``None`` for any other."""
    if any(column not in row for row in rows for column in LABEL_COLUMNS):
        return None
    seeds = {str(row["seed"]) for row in rows}
    text = seeds.pop() if len(seeds) == 1 else ""
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None


def judged_elsewhere(
    path: str | Path, wanted: Iterable[str]
) -> dict[str, tuple[float | None, bool | None]]:
    """Score and verdict of the wanted items in another results file.

    Raises:
        OutputError: The file cannot be read.
    """
    from llm_batch.record.reading import ResultsReader

    ids = frozenset(wanted)
    results = ResultsReader(expanded(path))
    try:
        batches, *_ = results.batches([], [])
        return {
            line.id: (line.score, line.passed)
            for batch in batches
            for line in batch
            if line.id in ids
        }
    finally:
        results.close()
