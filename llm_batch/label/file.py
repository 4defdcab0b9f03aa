"""The file that labels are written to."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from llm_batch.dataset.shape import kind_of_binary
from llm_batch.dataset.source import Source
from llm_batch.errors import ConfigError, DataError, OutputError
from llm_batch.files import replace, typed_path
from llm_batch.report.calibration.labels import (
    BY_VERDICT,
    DRAWN_COLUMN,
    LABEL_COLUMNS,
    SKIP,
    no_label,
    words_of_labels,
)
from llm_batch.report.csv import guarded, unguarded
from llm_batch.report.words import clean

PASS, FAIL = "1", "0"
_SEED = re.compile(r"-?[0-9]{1,40}")


class _Dialect(NamedTuple):
    """How a CSV is written: what stands between cells, its encoding, line end and first line."""

    delimiter: str
    encoding: str = "utf-8"
    line_end: str = "\n"
    first: str = ""

    def written(self, lines: Sequence[Sequence[str]]) -> bytes:
        """The file with these cells; in UTF-8 where its encoding lacks a character of them."""
        text = io.StringIO(newline="")
        text.write(self.first + self.line_end if self.first else "")
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.line_end)
        writer.writerows(lines)
        try:
            return text.getvalue().encode(self.encoding)
        except UnicodeEncodeError:
            return text.getvalue().encode("utf-8-sig")


def _plain(column: str) -> str:
    """The name of a column, whatever capitals and blanks a program gave it."""
    return column.strip().casefold()


def _label(text: str) -> str | None:
    """A label as it is written here; ``None`` for what is none."""
    word = text.strip().casefold()
    if word == SKIP:
        return SKIP
    score = None if no_label(word) else words_of_labels([word], decimal_comma=True).score(word)
    return {1.0: PASS, 0.0: FAIL}.get(score) if score is not None else None


class LabelFile:
    """The labels made so far; every change is on disk before the next item is shown.

    Args:
        path: The file; it need not exist.
        seed: The seed asked for, or ``None`` to go on with that of the file.
        default_seed: The seed of a new file when none is asked for.
        now: The time, UTC.
        by_verdict: Whether a new file's items are drawn within each verdict of the judge.

    Attributes:
        seed: Of the order that its items were drawn in.
        by_verdict: Whether they are drawn within each verdict.
        notes: How the file is written, where ``llmb label`` would not write it so; it stays so.

    Raises:
        OutputError: The file cannot be read, or ``llmb label`` did not write it.
        ConfigError: It was drawn with another seed, or in another way, than was asked for.
    """

    def __init__(
        self,
        path: Path,
        seed: int | None,
        default_seed: int = 42,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        by_verdict: bool = False,
    ) -> None:
        self.path = path
        self.by_verdict = by_verdict
        self.notes: tuple[str, ...] = ()
        self._now = now
        self._rows: dict[str, tuple[str, str]] = {}
        self._more: dict[str, dict[str, str]] = {}
        self._columns: tuple[str, ...] = LABEL_COLUMNS
        if by_verdict:
            self._columns += (DRAWN_COLUMN,)
        self._dialect = _Dialect("\t" if path.suffix.lower() == ".tsv" else ",")
        self._bytes = self._on_disk()
        seeds = self._parse() if self._bytes is not None else set()
        if seeds and seed is not None and seeds != {str(seed)}:
            raise ConfigError(
                f"{path} holds labels drawn with seed {min(seeds)}, not {seed}",
                f"go on with --seed {min(seeds)}, or write another file: --output other.csv",
            )
        if seeds and by_verdict and not self.by_verdict:
            raise ConfigError(
                f"{path} holds labels drawn from all items, not within each verdict",
                "go on without --by-verdict, or write another file: --output other.csv",
            )
        drawn = int(min(seeds)) if seeds else default_seed
        self.seed = drawn if seed is None else seed

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of each item, skipped ones included, oldest first."""
        return {item: label for item, (label, _) in self._rows.items()}

    def add(self, item: str, label: str) -> None:
        """Write a label.

        Raises:
            OutputError: The file cannot be written, or was changed by another program.
        """
        at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._write({**self._rows, item: (label, at)})

    def undo(self) -> str | None:
        """Take the newest label back; its item, or ``None`` where there is none.

        Raises:
            OutputError: As for `add`.
        """
        if not self._rows:
            return None
        last = next(reversed(self._rows))
        self._write({item: row for item, row in self._rows.items() if item != last})
        return last

    def _parse(self) -> set[str]:
        """Take the rows of the file over; returns the seeds they name."""
        if not self._bytes:
            return set()
        if kind_of_binary(self._bytes) is not None:
            raise OutputError(
                f"{self.path} is a workbook, and llmb label writes CSV",
                "save its sheet as CSV (in Excel: File, Save As, CSV UTF-8) and name that with "
                "--output; llmb report --labels reads a workbook too",
            )
        try:
            with Source("-", "csv", io.BytesIO(self._bytes), by_config=False) as source:
                rows = [(number, fields) for number, fields, *_ in source.rows()]
                self._take_dialect(source)
        except DataError as error:
            raise self._foreign(error.message) from error
        for number, row in rows:
            if isinstance(row, str):
                raise self._foreign(f"line {number}: {row}")
            self._take(number, {_plain(name): text for name, text in row.items()})
        seeds = {row["seed"] for row in self._more.values()}
        if len(seeds) > 1:
            raise self._foreign("its labels are of several seeds")
        self.by_verdict = any(_plain(name) == DRAWN_COLUMN for name in self._columns)
        return seeds

    def _take_dialect(self, source: Source) -> None:
        """Keep to how the file is written: Excel reads only its own dialect without questions."""
        assert self._bytes is not None
        shape = source.shape
        if not shape.columns:
            return
        there = {_plain(name) for name in shape.columns}
        if missing := [name for name in LABEL_COLUMNS if name not in there]:
            raise self._foreign(f"it has no column {missing[0]}")
        if shape.unnamed:
            raise self._foreign("a column holds something and has no name")
        if len(there - {""}) < sum(map(bool, shape.columns)):
            raise self._foreign("two columns have one name")
        self._columns = tuple(name for name in shape.columns if name)
        self._dialect = _Dialect(
            shape.delimiter,
            "utf-8-sig" if self._bytes.startswith(codecs.BOM_UTF8) else shape.encoding,
            "\r\n" if b"\r" in self._bytes else "\n",
            f"sep={shape.delimiter}" if shape.lines_before else "",
        )
        told = (note.removeprefix("standard input is ") for note in source.notes)
        self.notes = tuple(
            f"{self.path} is {note}, and is written so" for note in told if note.startswith("read ")
        )

    def _take(self, number: int, values: dict[str, str]) -> None:
        """Take over a row, and all columns that somebody added.

        Raises:
            OutputError: It is none that ``llmb label`` wrote, or not any more.
        """
        item, label = unguarded(values["id"]), _label(values["label"])
        where = f"line {number}"
        if label is None:
            raise self._foreign(f"{where}: {clean(values['label'], 40)!r} is no label")
        if not item or item in self._rows:
            raise self._foreign(f"{where}: the id {clean(item, 60)!r} is empty or comes again")
        if not _SEED.fullmatch(values["seed"].strip()):
            raise self._foreign(f"{where}: {clean(values['seed'], 40)!r} is no seed")
        if values.get(DRAWN_COLUMN, BY_VERDICT) != BY_VERDICT:
            raise self._foreign(f"{where}: {clean(values[DRAWN_COLUMN], 40)!r} is no way to draw")
        self._rows[item] = (label, values["labelled_at"])
        self._more[item] = values | {"seed": values["seed"].strip()}

    def _foreign(self, why: str) -> OutputError:
        return OutputError(
            f"{self.path} is not a file that llmb label wrote, or was changed since: {why}",
            "report on it with --labels, or write another file: --output other.csv",
        )

    def _write(self, rows: dict[str, tuple[str, str]]) -> None:
        """Replace the file, whole or not at all."""
        if self._on_disk() != self._bytes:
            raise OutputError(
                f"{self.path} was changed by another program while you labelled; it is left as "
                "it is now",
                "run the same command again: it goes on from what the file holds",
            )
        lines: list[Sequence[str]] = [self._columns]
        for item, (label, at) in rows.items():
            own = {"id": guarded(item), "label": label, "labelled_at": at, "seed": str(self.seed)}
            values = {DRAWN_COLUMN: BY_VERDICT, **self._more.get(item, {}), **own}
            lines.append([values.get(_plain(name), "") for name in self._columns])
        content = self._dialect.written(lines)
        try:
            replace(typed_path(self.path, "--output"), content)  # a link stays one
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._rows, self._bytes = rows, content

    def _on_disk(self) -> bytes | None:
        typed_path(self.path, "--output")
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"cannot read {self.path}: {error.strerror or error}") from error
