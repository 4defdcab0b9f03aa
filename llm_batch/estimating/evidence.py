"""What calls that were made tell of those to come: from a pilot or an earlier run.

Everything is measured per item, not per call: what re-asks, failures and retries added to an
item's tokens and money is in its figures, and an item that failed before a step has 0 there. So
nothing has to be assumed about how often that happens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.flags import expanded
from llm_batch.errors import OutputError
from llm_batch.records import SCHEMA, Attempt, Completion, Usage, without_mark

#: Items that are measured; the order is random, so the first of very many are enough.
MEASURED = 20_000
_CALLS = ".calls.jsonl"


@dataclass(frozen=True, slots=True)
class StepSeen:
    """What one step of one item took.

    Attributes:
        usage: Tokens of all its calls.
        cost: USD, as it was booked; ``None`` when the price was unknown.
        seconds: Of the attempts that answered.
        attempts: Sends.
    """

    usage: Usage
    cost: float | None
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class ItemSeen:
    """One item that was played.

    Attributes:
        id: The item's.
        status: ``ok``, or the kind of failure.
        steps: By name, those that were called.
        worst_case: True when a cost in it is an upper bound.
    """

    id: str
    status: str
    steps: Mapping[str, StepSeen]
    worst_case: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What was played before.

    Attributes:
        source: Where it comes from, as the words of a sentence: ``the pilot``.
        items: The first of them, at most `MEASURED`.
        finished: Items of this very run that need no further call; 0 when it was another run.
        spent: USD of all of them; ``None`` when a price was unknown.
        statuses: Items by status, all of them.
        models: The model of each step then; steps whose model is another now are not measured.
        dataset: SHA-256 of the data it was played on; empty when unknown.
        simulated: True when answers came from a ``fake/`` model.
        notes: What the user should know, as sentences.
    """

    source: str
    items: tuple[ItemSeen, ...]
    finished: int
    spent: float | None
    statuses: Mapping[str, int]
    models: Mapping[str, str] = field(default_factory=dict)
    dataset: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()


class _Usages(msgspec.Struct):
    steps: dict[str, Usage] = {}


class _Costs(msgspec.Struct):
    steps: dict[str, float | None] = {}


class _Seconds(msgspec.Struct):
    steps: dict[str, float] = {}


class _Line(msgspec.Struct):
    """What a line of results.jsonl tells; see `llm_batch.record.results`."""

    schema: int
    id: str
    status: str
    usage: _Usages
    cost: _Costs
    latency_seconds: _Seconds
    attempts: _Seconds
    worst_case: bool = False
    simulated: bool = False


class _CallLine(msgspec.Struct):
    """What a line of the journal tells; see `llm_batch.record.journal`."""

    schema: int
    item: str
    step: str
    model: str
    attempts: tuple[Attempt, ...]
    cost: float | None = None
    completion: Completion | None = None
    worst_case: bool = False
    simulated: bool = False


def read_measured(path: str | os.PathLike[str], source: str, *, steps: Iterable[str]) -> Measured:
    """Read a results file, or a journal where there is no results file beside it.

    Args:
        path: ``results.jsonl``, or its journal ``results.calls.jsonl``.
        source: What to call it.
        steps: Names of the steps that are estimated.

    Raises:
        OutputError: It cannot be read, is no such file, or holds no call of these steps.
    """
    given = Path(expanded(path))
    journal = given
    if not given.name.endswith(_CALLS):
        journal = given.with_name(given.name.removesuffix(given.suffix) + _CALLS)
    tally = _Tally(source)
    if given != journal and given.is_file():
        for line in _lines(given, _Line):
            tally.add(_item(line), line.simulated)
    elif journal.is_file():
        _read_journal(journal, tally)
    else:
        raise OutputError(f"there is no {given}", "name the results file of a run: --from FILE")
    if not tally.items:
        raise OutputError(f"{given} holds no items yet", "let the run finish a few items first")
    if not any(name in item.steps for item in tally.items for name in steps):
        known = sorted({name for item in tally.items for name in item.steps})
        raise OutputError(
            f"{given} has no calls of the steps {', '.join(steps)}",
            f"its steps are {', '.join(known) or 'none'}: estimate with the config it was run with",
        )
    return tally.measured()


class _Tally:
    """Items as they are read."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.items: list[ItemSeen] = []
        self.statuses: dict[str, int] = {}
        self.spent: float | None = 0.0
        self.simulated = False

    def add(self, item: ItemSeen, simulated: bool) -> None:
        if len(self.items) < MEASURED:
            self.items.append(item)
        self.statuses[item.status] = self.statuses.get(item.status, 0) + 1
        self.simulated |= simulated
        for seen in item.steps.values():
            if self.spent is None or seen.cost is None:
                self.spent = None
            else:
                self.spent += seen.cost

    def measured(self) -> Measured:
        return Measured(
            source=self._source,
            items=tuple(self.items),
            finished=0,
            spent=self.spent,
            statuses=self.statuses,
            simulated=self.simulated,
        )


def _item(line: _Line) -> ItemSeen:
    steps = {
        name: StepSeen(
            usage,
            line.cost.steps.get(name),
            line.latency_seconds.steps.get(name, 0.0),
            round(line.attempts.steps.get(name, 1)),
        )
        for name, usage in line.usage.steps.items()
    }
    return ItemSeen(line.id, line.status, steps, line.worst_case)


def _read_journal(path: Path, tally: _Tally) -> None:
    """Items from calls: the last call of a step decides, what came before it cost as well."""
    steps: dict[str, dict[str, StepSeen]] = {}
    failed: dict[str, bool] = {}
    worst: set[str] = set()
    for call in _lines(path, _CallLine, torn=True):
        usage = (call.completion.usage if call.completion else None) or Usage()
        seconds = call.attempts[-1].seconds if call.attempts else 0.0
        own = steps.setdefault(call.item, {})
        before = own.get(call.step)
        seen = StepSeen(usage, call.cost, seconds, len(call.attempts))
        own[call.step] = _both(before, seen) if before else seen
        failed[call.item] = call.completion is None
        tally.simulated |= call.simulated
        if call.worst_case:
            worst.add(call.item)
    for item_id, own in steps.items():
        status = "failed" if failed[item_id] else "ok"
        tally.add(ItemSeen(item_id, status, own, item_id in worst), False)


def _both(a: StepSeen, b: StepSeen) -> StepSeen:
    cost = None if a.cost is None or b.cost is None else a.cost + b.cost
    return StepSeen(a.usage + b.usage, cost, a.seconds + b.seconds, a.attempts + b.attempts)


def _lines(path: Path, kind: Any, torn: bool = False) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(map(without_mark, file), 1):
                if not line.strip():
                    continue
                try:
                    found = decoder.decode(line)
                except ValueError as error:
                    if torn or not line.endswith(b"\n"):
                        continue  # cut off by a crash, or being written just now
                    raise OutputError(
                        f"{path}, line {number}: no line of a run: {error}",
                        "name the results file of a run: --from results.jsonl",
                    ) from error
                if found.schema > SCHEMA:
                    raise OutputError(
                        f"{path} was written by a newer version", "pip install --upgrade llm_batch"
                    )
                yield found
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
