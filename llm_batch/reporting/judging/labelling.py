"""Labels made by a person: items in a seeded order, blind to the judge, into a file.

Items stand in a seeded order of their own, as a sample does in a dataset: the first n are a
random subset of the run, and a larger n extends it. So the labels are what the prediction-powered
estimate of a report needs, wherever the person stops.
"""

from __future__ import annotations

import csv
import heapq
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.dataset.drawn import order_key
from llm_batch.errors import ConfigError, OutputError
from llm_batch.paper.words import clean
from llm_batch.record.files import replace, typed_path
from llm_batch.reporting.csv import guarded, unguarded
from llm_batch.reporting.items import ItemLine, decoded_item
from llm_batch.reporting.judging.labels import BY_VERDICT, DRAWN_COLUMN, LABEL_COLUMNS, SKIP
from llm_batch.reporting.lines import UNREADABLE, bounded_lines
from llm_batch.reporting.manifest import read_manifest
from llm_batch.reporting.reference import REFERENCE_NAMES

_HALF_BLOCK = 5


class _Head(msgspec.Struct):
    id: str
    status: str
    score: float | None = None
    passed: bool | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """An item as a person sees it, without anything the judge said.

    Attributes:
        id: The item.
        fields: Name and text of its fields.
        reference: The same of the right answer; empty where the data has none.
        answers: Step and text of what is to be judged.
    """

    id: str
    fields: tuple[tuple[str, str], ...]
    reference: tuple[tuple[str, str], ...]
    answers: tuple[tuple[str, str], ...]


class Subset:
    """The items of a run that can be labelled, in a seeded random order.

    Args:
        results: What ``llmb run`` wrote.
        seed: Of the order.
        n: How many to draw.
        show: Fields to show, in this order; none for all of them but the id.
        by_verdict: Draw as many items the judge passed as it failed, as long as there are.

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
    ) -> None:
        self._path = results
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
        def order(head: _Head) -> Any:
            return order_key(seed, f"label\n{head.id}")

        self.ids = tuple(
            head.id
            for head in (
                _by_verdict(sorted(usable, key=order), results)[:n]
                if by_verdict
                else heapq.nsmallest(n, usable, key=order)
            )
        )
        manifest, _ = read_manifest(results)
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

    def _read(self) -> list[_Head]:
        """Id, status and verdict of every item, each id once."""
        decode = msgspec.json.Decoder(_Head).decode
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


def _by_verdict(ordered: Sequence[_Head], results: Path) -> list[_Head]:
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
    drawn: list[_Head] = []
    for start in range(0, max(map(len, verdicts)), _HALF_BLOCK):
        block = [head for each in verdicts for head in each[start : start + _HALF_BLOCK]]
        drawn += sorted(block, key=lambda head: place[head.id])
    return drawn


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


PASS, FAIL = "1", "0"
_SEED = re.compile(r"-?[0-9]{1,40}")


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
        self._now = now
        self._rows: dict[str, tuple[str, str]] = {}
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
        assert self._bytes is not None  # its caller asked
        try:
            rows = list(csv.reader(io.StringIO(self._bytes.decode("utf-8-sig"), newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise self._foreign() from error
        if not rows:
            return set()
        header = tuple(rows[0])
        noted = header[len(LABEL_COLUMNS) :]
        if header[: len(LABEL_COLUMNS)] != LABEL_COLUMNS or noted not in ((), (DRAWN_COLUMN,)):
            raise self._foreign()
        if any(len(row) != len(header) or row[4:] not in ([], [BY_VERDICT]) for row in rows[1:]):
            raise self._foreign()
        self.by_verdict = bool(noted)
        rows = [row[: len(LABEL_COLUMNS)] for row in rows]
        if any(label not in (PASS, FAIL, SKIP) for _, label, *_ in rows[1:]):
            raise self._foreign()
        self._rows = {unguarded(item): (label, at) for item, label, at, _ in rows[1:]}
        seeds = {seed for *_, seed in rows[1:]}
        if len(seeds) > 1 or not all(map(_SEED.fullmatch, seeds)):
            raise self._foreign()
        return seeds

    def _foreign(self) -> OutputError:
        return OutputError(
            f"{self.path} is not a file that llmb label wrote, or was changed since",
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
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        drawn = [BY_VERDICT] if self.by_verdict else []
        writer.writerow([*LABEL_COLUMNS, *([DRAWN_COLUMN] if drawn else [])])
        writer.writerows(
            [guarded(item), label, at, self.seed, *drawn] for item, (label, at) in rows.items()
        )
        content = text.getvalue().encode()
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


__all__ = ["FAIL", "PASS", "SKIP", "Card", "LabelFile", "Session", "Subset"]


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
