"""Files that llmb did not write, read as results: any rows with a score in them.

The user names the fields; a dot leads into an object (``metrics.accuracy``). A score may be a
number, or a word for pass or fail as evaluation tools write them.

A field tells them apart when its values differ within an id and come again with other ids: epoch,
sample, metric, filter. What a model answered differs too, but never comes again.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec

from llm_batch.chain.overrides import expanded
from llm_batch.errors import ConfigError, DataError, OutputError
from llm_batch.paper.words import clean, listed, number
from llm_batch.record.lines import too_deep
from llm_batch.record.reading import Getter, Head, Line
from llm_batch.reporting.tally import group_name
from llm_batch.reporting.vocabulary import Vocabulary, is_missing, passing_words, vocabulary_of


@dataclass(frozen=True, slots=True)
class Columns:
    """Fields to read of a file that llmb did not write; a dot leads into an object.

    Attributes:
        score: A number, or a word for pass or fail.
        id: Without it ``id``, ``item_id``, ``question_id``, ``example_id`` or ``doc_id``, or else
            the number of the row.
        category: The field to group by; empty for none.
        pass_at: The least score that passes; ``None`` where the scores are verdicts or no score
            passes.
        pass_words: Words that pass, where the scores are words; all others then fail.
        where: Fields and their values in the rows to read; empty for all rows.
        delimiter: Between the cells of a CSV; found where empty, as the encoding of a text file is.
        sheet: Of a workbook, by its name or number; the first where empty.
    """

    score: str
    id: str = ""
    category: str = ""
    pass_at: float | None = None
    pass_words: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""

    @property
    def flags(self) -> list[tuple[str, str]]:
        """What was typed, each flag with its value, which may be empty."""
        return [
            ("--score", self.score),
            ("--id", self.id),
            ("--category", self.category),
            ("--pass-at", "" if self.pass_at is None else f"{self.pass_at:g}"),
            ("--pass-words", ",".join(self.pass_words)),
            *(("--where", f"{name}={value}") for name, value in self.where),
            ("--delimiter", self.delimiter),
            ("--encoding", self.encoding),
            ("--sheet", self.sheet),
        ]


#: Fields whose values are other things measured or other makers, so that their mean means nothing.
_SORTS = re.compile(
    r"(.*[._])?(metrics?|filters?|scorers?|score_?name|measures?|criteri(on|a)|dimension|aspect|"
    r"evaluator|models?|system|variant|prompt_?name|task|benchmark|name|key|type|kind)",
    re.IGNORECASE,
)
_REPEATS = re.compile(
    r"(.*[._])?(epochs?|repeat(s|_id|_idx)?|samples?(_(idx|index|no|place))?|trials?|runs?|seeds?|"
    r"attempts?|iter(ation)?s?|rep|try|turn|replicate)",
    re.IGNORECASE,
)
#: Fields with more values than this tell rows apart as a place of the row does.
_MOST_VALUES = 200
_MOST_FIELDS = 12
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Repeats:
    """The rows of a file whose ids come again: how many differ from another of their id, of how
    many ids.

    ``fields`` tell the rows of an id apart, with the first values of the first of these; the sorts
    are several where they are metrics, filters or models, which one mean cannot hold.
    """

    rows: int
    ids: int
    fields: tuple[str, ...]
    values: tuple[str, ...]
    several_sorts: bool


def repeats_in(
    rows: Sequence[dict[str, Any]],
    ids: Sequence[str],
    score: str,
    found: Callable[[dict[str, Any], str], Any],
    paths: Sequence[str],
) -> Repeats | None:
    """The repeats of a file, from all its rows and the id of each; ``None`` where rows of one id
    never differ.

    The field with the score is none that tells rows apart; ``found`` gives a field of a row.
    """
    if len(set(ids)) == len(ids):
        return None
    by_id: dict[str, dict[bytes, int]] = defaultdict(dict)
    for place, (row, item) in enumerate(zip(rows, ids, strict=True)):
        by_id[item].setdefault(_encode(row), place)
    several = [list(own.values()) for own in by_id.values() if len(own) > 1]
    if not several:
        return None
    cells = {
        path: column
        for path in paths
        if path != score
        and (column := [_plain(found(row, path)) for row in rows])
        and _comes_again(column, several)
    }
    fields = _telling(cells, several)
    named = cells[fields[0]] if fields else []
    return Repeats(
        rows=sum(map(len, several)),
        ids=len(several),
        fields=fields,
        values=tuple(dict.fromkeys(str(named[n]) for own in several for n in own if named)),
        several_sorts=any(_is_sort(field, cells[field]) for field in fields),
    )


def _plain(value: Any) -> Hashable:
    return value if isinstance(value, str | int | float | bool) else None


def _comes_again(column: Sequence[Hashable], several: Sequence[Sequence[int]]) -> bool:
    """Whether values differ within ids, and the same ones come with other ids."""
    within: dict[Hashable, int] = defaultdict(int)
    differ = False
    for own in several:
        values = {column[n] for n in own}
        differ = differ or len(values) > 1
        for value in values:
            within[value] += 1
        if len(within) > _MOST_VALUES:
            return False
    if not differ or None in within:
        return False
    if len(several) == 1:
        return True
    return sum(count > 1 for count in within.values()) * 2 > len(within)


def _telling(cells: dict[str, list[Hashable]], several: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """The fewest fields that together differ for every row of an id, the telling names first."""
    names = sorted(cells, key=lambda name: 0 if _REPEATS.fullmatch(name) else 1)
    names.sort(key=lambda name: not (_REPEATS.fullmatch(name) or _SORTS.fullmatch(name)))
    names = names[:_MOST_FIELDS]
    for size in (1, 2, 3):
        for some in combinations(names, size):
            if all(
                len({tuple(cells[name][n] for name in some) for n in own}) == len(own)
                for own in several
            ):
                return some
    return ()


def _is_sort(field: str, column: Sequence[Hashable]) -> bool:
    words = any(isinstance(value, str) and not value.lstrip("-").isdecimal() for value in column)
    return words and bool(_SORTS.fullmatch(field)) and not _REPEATS.fullmatch(field)


_HEAD = 200
_BATCH = 1000
_DEEP = 3
#: A column with more words than this holds texts.
_MOST_WORDS = 20
_ABSENT = object()
#: Fields that hold the id where the user names none.
_IDS = ("id", "item_id", "question_id", "example_id", "doc_id")


class ForeignFile:
    """Rows of any file a dataset may be, with the interface of `record.reading.ResultsReader`.

    Rows are kept until all are read: what their scores mean shows at the end, and the ``note`` on
    how the file was read is whole then.

    Attributes:
        notes: What was not as one expects of such a file, a sentence each.
        cluster: The field with the id, where rows of one id are repeats; empty otherwise.

    Raises:
        OutputError: The file is missing or cannot be read.
        ConfigError: A field named is in none of the rows, or several kinds of scores stand in it.
    """

    def __init__(self, path: str | Path, columns: Columns) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.torn = False
        self.note = f"llmb did not write this file, its score is {columns.score!r}"
        self._columns = columns
        read = ForeignRows(path, columns.delimiter, columns.encoding, columns.sheet)
        self._rows = read.rows
        self._decimal_comma = read.decimal_comma
        self._other_sheets = read.other_sheets
        self._check_fields()
        self._rows = self._chosen()
        id_field = columns.id or next(
            (
                name
                for name in _IDS
                if all(found(row, name) not in (None, _ABSENT, "") for row in self._rows)
            ),
            "",
        )
        self._ids = (
            [group_name(found(row, id_field, None)) for row in self._rows]
            if id_field
            else [str(number) for number in range(1, len(self._rows) + 1)]
        )
        repeats = repeats_in(self._rows, self._ids, columns.score, _shallow, self._paths())
        self.notes = read.notes
        self.cluster = ""
        if repeats is not None:
            self._tell_apart(repeats, id_field)
            self.cluster = id_field

    def close(self) -> None:
        """Nothing is open."""

    def head(self) -> list[Head]:
        """The rows at the start of the file."""
        return [Head(fields=row) for row in self._rows[:_HEAD]]

    def batches(
        self, fields: Sequence[str], outputs: Sequence[str]
    ) -> tuple[Iterator[list[Line]], list[Getter], list[Getter]]:
        """All rows as lines, some at a time, and the getters of fields; there are no outputs."""
        return self._batches(), [_getter(name) for name in fields], [_getter("") for _ in outputs]

    def _batches(self) -> Iterator[list[Line]]:
        lines = list(self.lines())
        for start in range(0, len(lines), _BATCH):
            yield lines[start : start + _BATCH]

    def lines(self) -> Iterator[Line]:
        """Every row as a line; a row whose score cannot be read has the status ``unscored``.

        Raises:
            ConfigError: No row has a score that can be read, or their words are not understood.
        """
        columns = self._columns
        raw = [found(row, columns.score, None) for row in self._rows]
        vocabulary = self._vocabulary(raw)
        scores = [vocabulary.score(value) for value in raw]
        known = {score for score in scores if score is not None}
        if raw and not known:
            raise self._without_scores(raw)
        verdicts = columns.pass_at is None and known <= {0.0, 1.0}
        if verdicts:
            self.note += ", where 1 or a word for it counts as a pass"
        if vocabulary.words:
            self.note += f" ({_worth(vocabulary)})"
        for item, row, value, score in zip(self._ids, self._rows, raw, scores, strict=True):
            passed = None
            if score is not None and columns.pass_at is not None:
                passed = score >= columns.pass_at
            elif score is not None and verdicts:
                passed = score == 1
            shown = "missing" if value is None else repr(value)
            yield Line(
                id=item,
                status="unscored" if score is None else "ok",
                error=f"{columns.score} is {shown}" if score is None else "",
                fields=row,
                score=score,
                passed=passed,
            )

    def _chosen(self) -> list[dict[str, Any]]:
        """The rows that ``--where`` asks for; all without it."""
        rows = self._rows
        for field, value in self._columns.where:
            kept = [row for row in rows if group_name(found(row, field, None)) == value]
            if rows and not kept:
                there = Counter(group_name(found(row, field, None)) for row in rows)
                names = listed(each for each, _ in there.most_common(_MOST_WORDS))
                raise ConfigError(
                    f"--where {field}={value}: no row of {self.name} has that",
                    f"{field} is {names}",
                )
            rows = kept
        return rows

    def _tell_apart(self, repeats: Repeats, id_field: str) -> None:
        """Give every row of one id a name of its own, and say why."""
        fields = " and ".join(clean(field, 40) for field in repeats.fields)
        shown = ", ".join(clean(value, 30) for value in repeats.values[:4])
        shown += ", …" if len(repeats.values) > 4 else ""
        rows = f"{repeats.rows:,} rows share their {id_field} with others"
        if repeats.several_sorts:
            first = f"{repeats.fields[0]}={repeats.values[0]}"
            raise ConfigError(
                f"{self.name}: {rows} and differ in {fields} ({shown}): these are scores of "
                "several kinds, of which one mean says nothing",
                f"take one of them: --where {shlex.quote(first)}",
            )
        why = f"differ in {fields} ({shown})" if fields else "differ, though no field numbers them"
        self.notes = (
            *self.notes,
            f"{rows} and {why}: they count as repeats of one item, and intervals are by "
            f"{id_field}.",
        )
        numbers: Counter[str] = Counter()
        for place, (item, row) in enumerate(zip(self._ids, self._rows, strict=True)):
            numbers[item] += 1
            told = " ".join(
                f"{each}={group_name(found(row, each, None))}" for each in repeats.fields
            )
            # Without a field, rows that look the same are repeats too: a score of 0 comes again.
            self._ids[place] = f"{item} {told or numbers[item]}"

    def _vocabulary(self, raw: Sequence[Any]) -> Vocabulary:
        said = self._columns.pass_words
        vocabulary = vocabulary_of(raw, passing=said, decimal_comma=self._decimal_comma)
        score = f"--score {self._columns.score}"

        def values() -> str:
            there = Counter(str(value).strip() for value in raw if not is_missing(value))
            return ", ".join(f"{clean(w, 40)!r} ({n:,})" for w, n in there.most_common(8))

        if said and not vocabulary.words.keys() & {word.strip().casefold() for word in said}:
            raise ConfigError(
                f"--pass-words {','.join(said)}: {self._columns.score} of {self.name} has no such "
                "word",
                f"its values are {values()}",
            )
        words = sum(vocabulary.unknown.values())
        if not words or len(vocabulary.unknown) > _MOST_WORDS or vocabulary.numbers > words:
            if words and vocabulary.numbers > words:
                self.note += f", of which {vocabulary.listed} is no score"
            return vocabulary
        sure = passing_words(
            str(value).strip() for value in dict.fromkeys(v for v in raw if isinstance(v, str))
        )
        what = f"its values in {self.name} are {values()}, and nothing says what"
        if not vocabulary.words:
            what = f"none of its values in {self.name} is a score; they are {values()}: what"
        unknown = list(vocabulary.unknown)[:4]
        raise ConfigError(
            f"{score}: {what} {', '.join(repr(clean(word, 40)) for word in unknown)} "
            f"{'is' if len(unknown) == 1 else 'are'} worth"
            + ("" if vocabulary.words else " is not known"),
            f"name the words that pass, all others fail: --pass-words {','.join(sure) or 'WORD'}",
        )

    def _without_scores(self, raw: Sequence[Any]) -> ConfigError:
        score = self._columns.score
        inner = [path for path in self._paths() if path.startswith(f"{score}.")]
        return ConfigError(
            f"--score {score}: none of its values in {self.name} is a score; "
            f"the first is {clean(str(raw[0]), 60)!r}",
            f"name what is in it: --score {', '.join(inner[:5])}"
            if inner
            else "a score is a number, true or false, or a word such as pass and fail",
        )

    def _paths(self) -> list[str]:
        return list(dict.fromkeys(path for row in self._rows[:_HEAD] for path in _paths(row)))

    def _check_fields(self) -> None:
        columns = self._columns
        named = [(flag, getattr(columns, flag)) for flag in ("score", "id", "category")]
        for flag, name in [*named, *(("where", field) for field, _ in columns.where)]:
            if not name or any(found(row, name) is not _ABSENT for row in self._rows):
                continue
            if not self._rows:
                raise OutputError(f"{self.name} has no rows")
            known = self._paths()
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            names = listed(near or known[:20])
            hint = f"did you mean {names}?" if near else f"it has: {names}"
            if self._other_sheets:
                hint += f"; or another sheet: --sheet {shlex.quote(self._other_sheets[0])}"
            raise ConfigError(f"--{flag} {name}: no row of {self.name} has this field", hint)


class ForeignRows:
    """The rows of any file a dataset may be, all of them.

    A comma may be the decimal sign where it stands between no cells; ``notes`` say what was not as
    one expects of such a file.

    Raises:
        OutputError: The file cannot be read, or a row of it.
        ConfigError: There is no such encoding.
    """

    def __init__(
        self,
        path: str | Path,
        delimiter: str = "",
        encoding: str = "",
        sheet: str = "",
        missing: str = "name a file that is there, or - for standard input",
    ) -> None:
        from llm_batch.dataset.source import Source

        place: Path | Literal["-"] = "-" if str(path) == "-" else Path(expanded(path))
        self.rows: list[dict[str, Any]] = []
        try:
            with Source(
                place,
                delimiter=delimiter or None,
                encoding=encoding or None,
                sheet=sheet or None,
                by_config=False,
            ) as source:
                for line, row, *_ in source.rows():
                    if too_deep(row):
                        row = "nested too deeply"
                    if isinstance(row, str):
                        raise OutputError(f"{source.name}, {source.reader.place} {line}: {row}")
                    self.rows.append(row)
        except DataError as error:
            if place != "-" and not place.exists():
                raise OutputError(f"no file {str(path)!r}", missing) from error
            raise OutputError(error.message, error.hint) from error
        self.decimal_comma = source.is_table and source.shape.delimiter != ","
        self.notes = tuple(f"{note}." for note in source.notes)
        self.other_sheets = source.shape.other_sheets


def _worth(vocabulary: Vocabulary) -> str:
    by_score: dict[float, list[str]] = {}
    for word, score in sorted(vocabulary.words.items()):
        by_score.setdefault(score, []).append(word.upper() if len(word) == 1 else word)
    return ", ".join(
        f"{clean(' and '.join(words), 60)} = {number(score)}"
        for score, words in sorted(by_score.items(), reverse=True)
    )


def _getter(name: str) -> Getter:
    def get(line: Line) -> Any:
        return found(line.fields, name, None) if name else None

    return get


def _shallow(row: dict[str, Any], name: str) -> Any:
    return found(row, name, None)


def found(row: dict[str, Any], name: str, default: Any = _ABSENT) -> Any:
    """The value of a field, or along the dots of its name; ``default`` where there is none."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return default
        value = value[part]
    return value


def _paths(row: dict[str, Any], before: str = "", depth: int = 1) -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, dict) and value and depth < _DEEP:
            yield from _paths(value, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}"
