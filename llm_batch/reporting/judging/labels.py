"""Labels made by people: read from a file, and held beside what the judge said.

Columns are found by their names. A label is a word for pass or fail, 1 or 0, true or false, or a
score on the judge's scale. Rows of any file a dataset may be in are read; ``llmb label`` writes
one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from llm_batch.errors import ConfigError, OutputError
from llm_batch.paper.csv import unguarded
from llm_batch.paper.words import clean, listed
from llm_batch.record.reading import Getter, Line
from llm_batch.reporting.foreign import ForeignRows, found
from llm_batch.reporting.tally import group_name, swapped_spelling
from llm_batch.reporting.vocabulary import Vocabulary, is_missing, passing_words, vocabulary_of


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where labels are, as the user says it: in a file with an id and a label in each row, or a
    field.

    Attributes:
        columns: The columns with labels, one for each person; empty to find them by their names.
        field: The field of the items that holds their label; empty with a file.
        judged: Results in which the same judge scored the labelled items, when they are not part of
            this run; may be empty.
        random: Whether the labelled items were drawn at random from this run; ``None`` when the
            user does not say.
        pass_words: Words that pass, where labels are words; all others then fail.
        delimiter: Between the cells of a CSV; found where empty, as the encoding of a text file is.
        sheet: Of a workbook, by its name or number; the first where empty.
    """

    path: str = ""
    columns: Sequence[str] = ()
    field: str = ""
    judged: str = ""
    random: bool | None = None
    pass_words: tuple[str, ...] = ()
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""


#: What `llmb label` writes, in this order.
LABEL_COLUMNS = ("id", "label", "labelled_at", "seed")
#: A fifth column and its value, where items were drawn within each verdict.
DRAWN_COLUMN, BY_VERDICT = "drawn", "by verdict"

#: The run that the labelled answers are of; files of versions before have no such column.
RUN_COLUMN = "run_id"

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
    """The labels of a file, whose ``source`` is what to call it.

    Attributes:
        by_id: The label of each item: 1 and 0 for pass and fail, or a score.
        judged: What the judge said of it, where the file has that.
        scores: Whether labels are scores and not verdicts.
        people: The columns, when several people labelled; ``ratings`` has what each said, by item.
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
    hint = "make some: llmb label results.jsonl"
    read = ForeignRows(source.path, source.delimiter, source.encoding, source.sheet, hint)
    rows = read.rows
    name = clean(source.path, 80)
    if not rows:
        raise OutputError(f"{name} has no labels", hint)
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
    there = listed(known[:_WIDE])
    ids = [plain[word] for word in _IDS if word in plain]
    if not ids:
        raise ConfigError(
            f"{name}: no column says which item a label is for; it has: {there}",
            "call the column with the items' ids id",
        )
    judge = next((plain[word] for word in _JUDGES if word in plain), "")
    for column in asked:
        if all(found(row, column, None) is None for row in rows):
            raise ConfigError(
                f"--label-field {column}: no row of {name} has it", f"there is: {there}"
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
            f"{name}: no column looks like a label; it has: {there}",
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


def runs_of(path: str | Path) -> set[str]:
    """The runs that a file's labels are of; empty where it does not say.

    Raises:
        LlmbError: The file cannot be read.
    """
    rows = ForeignRows(path).rows
    return {str(row[RUN_COLUMN]) for row in rows if row.get(RUN_COLUMN)}


def judged_elsewhere(
    path: str | Path, wanted: Iterable[str]
) -> dict[str, tuple[float | None, bool | None]]:
    """Score and verdict of the wanted items in another results file.

    Raises:
        OutputError: The file cannot be read.
    """
    from llm_batch.record.files import results_of
    from llm_batch.record.reading import ResultsReader

    ids = frozenset(wanted)
    results = ResultsReader(results_of(path))
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


@dataclass(frozen=True, slots=True)
class Pair:
    """A label, and the judge's score and verdict of the same item.

    ``passes`` says whether the label does, where it has a verdict of its own.
    """

    label: float
    score: float | None
    passed: bool | None
    passes: bool | None = None


@dataclass(slots=True)
class Labelled:
    """All that is known of the labelled items once the results were read.

    Of items ``outside`` of this run only the verdict is known, of ``unmatched`` ids nothing;
    ``unreadable`` counts values of the labels' field that are no labels.
    """

    labels: Labels
    inside: list[Pair] = field(default_factory=list)
    outside: list[Pair] = field(default_factory=list)
    unmatched: tuple[str, ...] = ()
    unreadable: int = 0


class LabelTally:
    """Labels beside what the judge said; a file is read at once.

    Raises:
        OutputError: A file cannot be read.
        ConfigError: It holds no labels, or contradicting ones.
    """

    outputs: Sequence[str] = ()

    def __init__(self, source: LabelSource, pass_at: float | None) -> None:
        self._source = source
        self.pass_at = pass_at
        self.fields = (source.field,) if source.field else ()
        self._labels = None if source.field else read_labels(source)
        self._missing = set(self._labels.by_id) if self._labels else set()
        self._inside: list[Pair] = []
        #: Labels of a field as they stand, with score and verdict: what words mean shows later.
        self._raw: list[tuple[Any, float | None, bool | None]] = []
        self._other_spellings = _other_spellings(self._missing)
        self._get: Getter | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about the file, a sentence each."""
        return self._labels.notes if self._labels else ()

    @property
    def random(self) -> bool | None:
        """Whether the user says that the items were drawn at random."""
        return self._source.random

    def bind(self, fields: Sequence[Getter], outputs: Sequence[Getter]) -> None:
        """Take the getters of the fields asked for."""
        self._get = fields[0] if self.fields else None

    def add(self, lines: Sequence[Line]) -> None:
        """Look at some lines."""
        if self._labels is not None:
            labels = self._labels.by_id
            for line in lines:
                item = line.id if line.id in labels else self._other_spellings.get(line.id)
                if item is not None:
                    self._missing.discard(item)
                    self._inside.append(Pair(labels[item], line.score, line.passed))
            return
        assert self._get is not None  # bound before lines are read
        for line in lines:
            value = self._get(line)
            if not no_label(value):
                self._raw.append((value, line.score, line.passed))

    def finish(self) -> Labelled:
        """What was found.

        Raises:
            ConfigError: No item has a label.
            OutputError: The results in which other items were judged cannot be read.
        """
        if self._labels is None:
            return self._of_field()
        outside: list[Pair] = []
        elsewhere = self._elsewhere(self._labels)
        for item in [item for item in self._labels.by_id if item in self._missing & set(elsewhere)]:
            self._missing.discard(item)
            outside.append(Pair(self._labels.by_id[item], *elsewhere[item]))
        unmatched = tuple(item for item in self._labels.by_id if item in self._missing)
        if not self._inside and not outside:
            raise ConfigError(
                f"none of the items labelled in {self._labels.source} is in the results "
                f"(the first are {listed(unmatched[:3])})",
                "give the judge's verdict of each in a column judge, or name the results in which "
                "it judged them: --labels-run other.jsonl",
            )
        return Labelled(self._labels, self._inside, outside, unmatched)

    def _of_field(self) -> Labelled:
        name = clean(self._source.field, 40)
        words = words_of_labels((value for value, *_ in self._raw), self._source.pass_words)
        self._inside = [
            Pair(label, score, passed)
            for value, score, passed in self._raw
            if (label := words.score(value)) is not None
        ]
        if sum(words.unknown.values()) > len(self._inside):
            raise ConfigError(
                f"--labels-from {name}: nothing says which labels pass: {words.listed}",
                "name the words that pass, all others fail: --pass-words WORD",
            )
        if not self._inside:
            raise ConfigError(
                f"--labels-from {name}: no item in the results has a label there",
                "a label is pass or fail, 1 or 0, or a score on the judge's scale",
            )
        scores = are_scores(pair.label for pair in self._inside)
        labels = Labels(source=f"the field {name!r}", by_id={}, scores=scores)
        return Labelled(labels, self._inside, unreadable=len(self._raw) - len(self._inside))

    def _elsewhere(self, labels: Labels) -> Mapping[str, tuple[float | None, bool | None]]:
        pass_at = self.pass_at
        judged: dict[str, tuple[float | None, bool | None]] = {}
        verdicts = not are_scores(labels.judged.values())
        for item, value in labels.judged.items():
            if verdicts:
                judged[item] = None, value == 1
            else:
                judged[item] = value, None if pass_at is None else value >= pass_at
        if self._source.judged and self._missing:
            judged |= judged_elsewhere(self._source.judged, self._missing)
        return judged


def _other_spellings(ids: Collection[str]) -> dict[str, str]:
    """Ids by how a spreadsheet writes the same number: ``1`` becomes ``1.0``, and back."""
    swapped = ((item, swapped_spelling(item)) for item in ids)
    return {other: item for item, other in swapped if other and other not in ids}
