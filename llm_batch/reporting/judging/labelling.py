"""Labels made by a person: items in a seeded order, blind to the judge, into a file.

Items stand in a seeded order of their own, as a sample does in a dataset: the first n are a
random subset of the run, and a larger n extends it. So the labels are what the prediction-powered
estimate of a report needs, wherever the person stops.
"""

from __future__ import annotations

import codecs
import csv
import heapq
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llm_batch.dataset.selection import order_key
from llm_batch.dataset.shape import kind_of_binary
from llm_batch.dataset.source import Source
from llm_batch.errors import ConfigError, DataError, OutputError
from llm_batch.paper.csv import guarded, unguarded
from llm_batch.paper.words import clean
from llm_batch.paper.words import number as figure
from llm_batch.record.files import replace, typed_path
from llm_batch.record.lines import UNREADABLE, bounded_lines
from llm_batch.record.manifest import Manifest
from llm_batch.record.results import ItemLine, VerdictLine, decoded_item
from llm_batch.reporting.judging.labels import (
    BY_VERDICT,
    DRAWN_COLUMN,
    LABEL_COLUMNS,
    NOTE_COLUMN,
    RUN_COLUMN,
    SAW_COLUMN,
    SCALE_COLUMN,
    SKIP,
    no_label,
    words_of_labels,
)
from llm_batch.reporting.reference import REFERENCE_NAMES

_HALF_BLOCK = 5


@dataclass(frozen=True, slots=True)
class Card:
    """An item as a person sees it, without anything the judge said.

    Attributes:
        id: The item.
        fields: Name and text of its fields.
        reference: The same of the right answer; empty where the data has none.
        answers: Step and text of what is to be judged.
        verdict: What the judge said, where that was asked for; else empty.
    """

    id: str
    fields: tuple[tuple[str, str], ...]
    reference: tuple[tuple[str, str], ...]
    answers: tuple[tuple[str, str], ...]
    verdict: str = ""


class Subset:
    """The items of a run that can be labelled, in a seeded random order.

    Args:
        results: What ``llmb run`` wrote.
        seed: Of the order.
        n: How many to draw.
        show: Fields to show, in this order; none for all of them but the id.
        by_verdict: Draw as many items the judge passed as it failed, as long as there are.
        show_judge: Whether cards have what the judge said.

    Attributes:
        ids: The first n, in order.
        items: How many items can be labelled: those with a verdict or score of the judge, or all
            with an answer where nothing has a score.
        known: Every id in the results.
        pass_rate: The judge's, or ``None`` without verdicts.

    Raises:
        OutputError: The file cannot be read or is no results file, or no item has an answer.
        ConfigError: No item has a field that is to be shown, or the judge gave one verdict to all.
    """

    def __init__(
        self,
        results: Path,
        seed: int,
        n: int,
        show: Sequence[str] = (),
        by_verdict: bool = False,
        show_judge: bool = False,
    ) -> None:
        self._path = results
        self._show_judge = show_judge
        self._show = tuple(show)
        self._places: dict[str, int] = {}
        heads = self._read()
        scored = [head for head in heads if head.score is not None or head.passed is not None]
        usable = scored or [head for head in heads if head.status == "ok"]
        if not usable:
            raise OutputError(
                f"{results} has no item with an answer to label", "play some: llmb run"
            )
        self.known = frozenset(self._places)
        self.items = len(usable)
        verdicts = [head.passed for head in usable if head.passed is not None]
        self.pass_rate = sum(verdicts) / len(verdicts) if verdicts else None

        # Another order than that of the run: what finished first there is not first here.
        def order(head: VerdictLine) -> Any:
            return order_key(seed, f"label\n{head.id}")

        self.ids = tuple(
            head.id
            for head in (
                _by_verdict(sorted(usable, key=order), results)[:n]
                if by_verdict
                else heapq.nsmallest(n, usable, key=order)
            )
        )
        manifest, _ = Manifest.beside(results)
        self._judge = manifest.judge if manifest else ""
        self._answer = manifest.answer_step if manifest else ""
        self._scored = bool(scored)
        if self._show:
            self._check_fields()

    def card(self, item: str) -> Card:
        """What to show of an item."""
        line = self._line(item)
        texts = {name: _text(value) for name, value in line.fields.items() if value is not None}
        names = self._show or tuple(
            name for name, text in texts.items() if name not in REFERENCE_NAMES and text != item
        )
        reference = [name for name in REFERENCE_NAMES if name in texts and name not in names]
        return Card(
            id=item,
            fields=tuple((name, texts[name]) for name in names if name in texts),
            reference=tuple((name, texts[name]) for name in reference[:1]),
            answers=tuple((step, _text(value)) for step, value in self._answers(line.outputs)),
            verdict=_verdict(line) if self._show_judge else "",
        )

    def _answers(self, outputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The outputs that are judged: never the judge's own, nor what comes after it."""
        if self._answer in outputs:
            return [(self._answer, outputs[self._answer])]
        names = list(outputs)
        if self._judge in names:
            names = names[: names.index(self._judge)]
        elif self._scored:
            names = names[:-1]  # the score nearly always ends the chain
        texts = [name for name in names if isinstance(outputs[name], str)]
        return [(name, outputs[name]) for name in texts[-1:] or names]

    def _read(self) -> list[VerdictLine]:
        """Id, status and verdict of every item, each id once."""
        decode = msgspec.json.Decoder(VerdictLine).decode
        heads = []
        try:
            with open(self._path, "rb") as file:
                place = 0
                for number, line in enumerate(bounded_lines(file), 1):
                    try:
                        head = decode(line)
                    except UNREADABLE as error:
                        if number == 1:
                            raise OutputError(
                                f"{self._path} is not a results file: its first line has no id "
                                "and status",
                                "label what llmb run wrote: llmb label results.jsonl",
                            ) from error
                        if line.endswith(b"\n") and not line.isspace():
                            decoded_item(line, f"{self._path}, line {number}")  # says what is wrong
                        head = None
                    if head is not None and head.id not in self._places:
                        self._places[head.id] = place
                        heads.append(head)
                    place = file.tell()
        except OSError as error:
            raise OutputError(
                f"cannot read {self._path}: {error.strerror or error}", "make results: llmb run"
            ) from error
        return heads

    def _line(self, item: str) -> ItemLine:
        with open(self._path, "rb") as file:
            file.seek(self._places[item])
            return decoded_item(file.readline(), f"{self._path}: the line of {clean(item, 60)!r}")

    def _check_fields(self) -> None:
        there = self._line(self.ids[0]).fields
        missing = [name for name in self._show if name not in there]
        if missing:
            raise ConfigError(
                f"--show {missing[0]}: the items have no such field",
                f"they have: {', '.join(clean(name, 40) for name in there)}",
            )


def _verdict(line: ItemLine) -> str:
    """What the judge said of an item."""
    passed = {True: ", a pass", False: ", a fail", None: ""}[line.passed]
    return f"score {figure(line.score)}{passed}" + (f"\n{line.reason}" if line.reason else "")


def _by_verdict(ordered: Sequence[VerdictLine], results: Path) -> list[VerdictLine]:
    """Items in blocks of five passes and five fails, in the given order within a block.

    Any number of them from the start is balanced, and no one can tell a verdict from its place.
    """
    verdicts = [[head for head in ordered if head.passed is verdict] for verdict in (True, False)]
    if not all(verdicts):
        raise ConfigError(
            f"--by-verdict: not both verdicts are in {results}",
            "leave it out: items are then drawn from all",
        )
    place = {head.id: i for i, head in enumerate(ordered)}
    drawn: list[VerdictLine] = []
    for start in range(0, max(map(len, verdicts)), _HALF_BLOCK):
        block = [head for each in verdicts for head in each[start : start + _HALF_BLOCK]]
        drawn += sorted(block, key=lambda head: place[head.id])
    return drawn


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


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


@dataclass(frozen=True, slots=True)
class Scale:
    """Grades in whole numbers: the least and the greatest."""

    low: int
    high: int

    @classmethod
    def of(cls, results: Path) -> Scale:
        """That of the judge of a run.

        Raises:
            ConfigError: It is not known, or has no key for each of its grades.
        """
        manifest, _ = Manifest.beside(results)
        ends = manifest.scale if manifest else None
        if ends is None:
            raise ConfigError(
                "--grades: nothing says on which scale the judge grades",
                "leave it out: pass and fail can be given without; or set min and max under "
                "[score] and run again, which costs nothing",
            )
        low, high = ends
        if low != int(low) or high != int(high) or not 1 <= high - low <= 9 or low < 0:
            raise ConfigError(
                f"--grades: the judge grades from {figure(low)} to {figure(high)}, which is not at "
                "most ten whole numbers from 0 on",
                "leave it out: label pass and fail",
            )
        return cls(int(low), int(high))

    @classmethod
    def read(cls, text: str) -> Scale | None:
        """One as `str` writes it; ``None`` for what is none."""
        found = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text.strip())
        return cls(int(found[1]), int(found[2])) if found else None

    @property
    def grades(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(map(str, range(self.low, self.high + 1)))

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


def _label(text: str, scale: Scale | None) -> str | None:
    """A label as it is written here; ``None`` for what is none."""
    word = text.strip().casefold()
    if word == SKIP:
        return SKIP
    if scale is not None:
        grade = word.removesuffix(".0")
        return grade if grade in scale.grades else None
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
        scale: That of a new file's grades; ``None`` for pass and fail, or what the file has.
        run: The id of the run that is labelled; empty where it is not known.
        elsewhere: What to type to write another file.

    Attributes:
        seed: Of the order that its items were drawn in.
        by_verdict: Whether they are drawn within each verdict.
        scale: That of its grades; ``None`` where its labels are pass and fail.
        notes: How the file is written, where ``llmb label`` would not write it so; it stays so.

    Raises:
        OutputError: The file cannot be read, or ``llmb label`` did not write it.
        ConfigError: It was drawn with another seed, or in another way, than was asked for, or it
            has labels of another run.
    """

    def __init__(
        self,
        path: Path,
        seed: int | None,
        default_seed: int = 42,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        by_verdict: bool = False,
        scale: Scale | None = None,
        run: str = "",
        elsewhere: str = "--output other-labels.csv",
    ) -> None:
        self.path = path
        self._run = run
        self.by_verdict = by_verdict
        self.scale = scale
        self.notes: tuple[str, ...] = ()
        self._now = now
        self._rows: dict[str, tuple[str, str]] = {}
        self._more: dict[str, dict[str, str]] = {}
        self._columns: tuple[str, ...] = LABEL_COLUMNS + ((RUN_COLUMN,) if run else ())
        if by_verdict:
            self._columns += (DRAWN_COLUMN,)
        if scale is not None:
            self._columns += (SCALE_COLUMN,)
        self._dialect = _Dialect("\t" if path.suffix.lower() == ".tsv" else ",")
        self._bytes = self._on_disk()
        seeds = self._parse() if self._bytes is not None else set()
        runs = {row[RUN_COLUMN] for row in self._more.values() if row.get(RUN_COLUMN)}
        if run and (others := runs - {run}):
            raise ConfigError(
                f"{path} holds labels of another run ({min(others)}); the results are of run {run}",
                f"keep these labels and write others: {elsewhere}",
            )
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
        if seeds and scale not in (None, self.scale):
            said = "pass and fail" if self.scale is None else f"grades from {self.scale}"
            raise ConfigError(
                f"{path} holds {said}, not grades from {scale}",
                "go on without --grades, or write another file: --output other.csv",
            )
        drawn = int(min(seeds)) if seeds else default_seed
        self.seed = drawn if seed is None else seed

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of each item, skipped ones included, oldest first."""
        return {item: label for item, (label, _) in self._rows.items()}

    def add(self, item: str, label: str, note: str = "", saw_judge: bool = False) -> None:
        """Write a label.

        Args:
            item: The id.
            label: `PASS`, `FAIL`, a grade or `SKIP`.
            note: What is to be remembered of it; may be empty.
            saw_judge: Whether the person saw what the judge had said.

        Raises:
            OutputError: The file cannot be written, or was changed by another program.
        """
        beside = {NOTE_COLUMN: note, SAW_COLUMN: "yes" if saw_judge else ""}
        there = {_plain(name) for name in self._columns}
        self._columns += tuple(n for n, text in beside.items() if text and n not in there)
        self._more[item] = {**self._more.get(item, {}), **beside}
        at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._write({**self._rows, item: (label, at)})

    def note(self, item: str) -> str:
        """What was noted of an item, undone or not."""
        return unguarded(self._more.get(item, {}).get(NOTE_COLUMN, ""))

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
        scale = Scale.read(values.get(SCALE_COLUMN, ""))
        if self._rows and scale != self.scale:
            raise self._foreign(f"line {number}: its labels are on several scales")
        self.scale = scale
        item, label = unguarded(values["id"]), _label(values["label"], scale)
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
            own |= {SCALE_COLUMN: str(self.scale)} if self.scale else {}
            values = {DRAWN_COLUMN: BY_VERDICT, RUN_COLUMN: self._run}
            values |= self._more.get(item, {}) | own
            if NOTE_COLUMN in values:
                values[NOTE_COLUMN] = guarded(values[NOTE_COLUMN])
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


__all__ = ["FAIL", "PASS", "SKIP", "Card", "LabelFile", "Scale", "Session", "Subset"]


class Session:
    """One sitting: which item is next, and what was said of it.

    Args:
        subset: The items to label.
        file: Where labels go.

    Raises:
        OutputError: The file's labels are all for items of other results.
    """

    def __init__(self, subset: Subset, file: LabelFile) -> None:
        self._subset = subset
        self._file = file
        if file.labels and subset.known.isdisjoint(file.labels):
            raise OutputError(
                f"none of the items labelled in {file.path} is in these results",
                "write another file: --output other.csv",
            )

    @property
    def total(self) -> int:
        """Items to label in all."""
        return len(self._subset.ids)

    @property
    def done(self) -> int:
        """Items labelled or skipped."""
        labels = self._file.labels
        return sum(item in labels for item in self._subset.ids)

    def card(self) -> Card | None:
        """The next item, or ``None`` when all are done."""
        labels = self._file.labels
        item = next((item for item in self._subset.ids if item not in labels), None)
        return None if item is None else self._subset.card(item)
