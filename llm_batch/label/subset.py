"""The items of a run in a seeded random order, as a person sees them: blind to the judge."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.dataset.sampling import order_key
from llm_batch.errors import ConfigError, OutputError
from llm_batch.report.items import ItemLine, decoded_item
from llm_batch.report.lines import UNREADABLE, bounded_lines
from llm_batch.report.manifest import read_manifest
from llm_batch.report.reference import REFERENCE_NAMES
from llm_batch.report.words import clean

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
