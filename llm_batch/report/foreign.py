"""Files that llmb did not write, read as results: any rows with a score in them.

The user names the fields; a dot leads into an object (``metrics.accuracy``). A score may be a
number, or a word for pass or fail as evaluation tools write them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from llm_batch.errors import ConfigError, DataError, OutputError
from llm_batch.report.lines import Getter, Line, too_deep
from llm_batch.report.model import Columns
from llm_batch.report.read import Head
from llm_batch.report.words import clean

#: Inspect writes C and I; others say pass, correct, true, yes.
_WORDS = {
    **dict.fromkeys(("pass", "passed", "true", "yes", "y", "correct", "c", "success"), True),
    **dict.fromkeys(("fail", "failed", "false", "no", "n", "incorrect", "i", "wrong"), False),
}
_HEAD = 200
_BATCH = 1000
_DEEP = 3
_ABSENT = object()


class ForeignFile:
    """Rows of any file a dataset may be, with the interface of `read.ResultsFile`.

    Rows are kept until all are read: whether scores of 0 and 1 are verdicts shows at the end.

    Args:
        path: JSONL, JSON, CSV, TSV or Parquet, gzip or zstd around it; ``-`` for standard input.
        columns: Which fields to read.

    Attributes:
        name: What to call it in messages.
        torn: Always False.
        note: How the file was read, one clause; whole once the batches are read.

    Raises:
        OutputError: The file is missing or cannot be read.
        ConfigError: A field named is in none of the rows.
    """

    def __init__(self, path: str | Path, columns: Columns) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.torn = False
        self.note = f"llmb did not write this file, its score is {columns.score!r}"
        self._columns = columns
        self._rows = list(foreign_rows(path))
        self._check_fields()
        if not columns.id and all(found(row, "id") not in (None, _ABSENT) for row in self._rows):
            self._id = "id"
        else:
            self._id = columns.id

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
            ConfigError: No row has a score that can be read.
        """
        columns = self._columns
        raw = [found(row, columns.score) for row in self._rows]
        scores = [score_of(value) for value in raw]
        known = {score for score in scores if score is not None}
        if raw and not known:
            raise ConfigError(
                f"--score {columns.score}: none of its values in {self.name} is a score; "
                f"the first is {clean(str(raw[0]), 60)!r}",
                "a score is a number, true or false, or a word such as pass and fail",
            )
        verdicts = columns.pass_at is None and known <= {0.0, 1.0}
        if verdicts:
            self.note += ", where 1 or a word for it counts as a pass"
        for number, (row, value, score) in enumerate(zip(self._rows, raw, scores, strict=True), 1):
            passed = None
            if score is not None and columns.pass_at is not None:
                passed = score >= columns.pass_at
            elif score is not None and verdicts:
                passed = score == 1
            shown = "missing" if value is None or value is _ABSENT else repr(value)
            yield Line(
                id=str(found(row, self._id)) if self._id else str(number),
                status="unscored" if score is None else "ok",
                error=f"{columns.score} is {shown}" if score is None else "",
                fields=row,
                score=score,
                passed=passed,
            )

    def _check_fields(self) -> None:
        columns = self._columns
        for flag in ("score", "id", "category"):
            name = getattr(columns, flag)
            if not name or any(found(row, name) is not _ABSENT for row in self._rows):
                continue
            if not self._rows:
                raise OutputError(f"{self.name} has no rows")
            known = list(dict.fromkeys(path for row in self._rows[:_HEAD] for path in _paths(row)))
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            listed = ", ".join(clean(path, 40) for path in (near or known[:20]))
            raise ConfigError(
                f"--{flag} {name}: no row of {self.name} has this field",
                f"did you mean {listed}?" if near else f"it has: {listed}",
            )


def foreign_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of any file a dataset may be.

    Raises:
        OutputError: The file cannot be read, or a row of it.
    """
    from llm_batch.dataset.source import Source

    place: Path | Literal["-"] = "-" if str(path) == "-" else Path(path)
    try:
        with Source(place, "jsonl" if place == "-" else None) as source:
            for number, row, *_ in source.rows():
                if too_deep(row):
                    row = "nested too deeply"
                if isinstance(row, str):
                    raise OutputError(f"{source.name}, {source.reader.place} {number}: {row}")
                yield row
    except DataError as error:
        if place != "-" and not place.exists():
            raise OutputError(f"no file {str(path)!r}") from error
        raise OutputError(error.message, error.hint) from error


def score_of(value: Any) -> float | None:
    """A score as a number, 1 and 0 for pass and fail; ``None`` where it is neither."""
    if isinstance(value, str):
        text = value.strip()
        if text.casefold() in _WORDS:
            return float(_WORDS[text.casefold()])
        try:
            value = float(text)
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    try:
        score = float(value)
    except OverflowError:
        return None
    return score if math.isfinite(score) else None


def _getter(name: str) -> Getter:
    def get(line: Line) -> Any:
        return found(line.fields, name, None) if name else None

    return get


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
