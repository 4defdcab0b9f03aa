"""Counting results lines: batches in, sums and columns of numbers out.

Sums are made a column at a time, because a comprehension over one attribute costs a tenth of a
loop over all of them. What grows with the file is an id and a few floats per item.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from math import isfinite
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from llm_batch.errors import ConfigError
from llm_batch.records import Usage
from llm_batch.report.lines import Getter, Line, steps_of
from llm_batch.report.words import clean

T = TypeVar("T")

_USAGE = tuple(Usage.__dataclass_fields__)
_COUNTS = [(name, attrgetter(name)) for name in _USAGE]

#: Scores beyond this are left out: their squares have no finite sum.
SCORE_LIMIT = 1e100


class StepTally:
    """What one step took over all items, or all steps together."""

    def __init__(self) -> None:
        self.items = 0
        self.attempts = 0
        self.tokens = dict.fromkeys(_USAGE, 0)
        self.known_cost = 0.0
        self.unpriced = 0
        self.latencies = array("d")

    @property
    def cost(self) -> float | None:
        """USD, ``None`` when any part is unknown."""
        return None if self.unpriced else self.known_cost

    def add_costs(self, costs: list[float | None]) -> None:
        """Add one cost per item."""
        known = _known(costs)
        self.unpriced += len(costs) - len(known)
        self.known_cost += sum(known)


class Tally:
    """Everything counted over a results file, whatever it is grouped by."""

    def __init__(self) -> None:
        self.read = 0
        self.duplicates = 0
        self.first_duplicate = ""
        self.statuses: Counter[str] = Counter()
        self.examples: dict[str, tuple[str, str]] = {}
        self.scores = array("d")
        self.excluded = 0
        self.verdicts = 0
        self.passed = 0
        self.worst_case = 0
        self.simulated = 0
        self.steps: dict[str, StepTally] = {}
        self.total = StepTally()
        #: Items without a result; only their number and cost are kept.
        self.failed = StepTally()
        self.costs = array("d")
        self._seen: set[str] = set()

    def add(self, batch: list[Line]) -> list[Line]:
        """Count some lines.

        Returns:
            Those that count: lines with an id seen before are left out.
        """
        lines = self._new(batch)
        self.read += len(lines)
        statuses = [line.status for line in lines]
        self.statuses.update(statuses)
        new = set(statuses) - self.examples.keys() - {"ok"}
        for line in lines if new else ():
            if line.status in new and line.status not in self.examples:
                self.examples[line.status] = (clean(line.id, 80), clean(line.error, 300))
        if statuses.count("ok") < len(lines):
            failed = [line.cost.total for line in lines if line.status != "ok"]
            self.failed.items += len(failed)
            self.failed.add_costs(failed)
        scores = _known([line.score for line in lines])
        if scores and not -SCORE_LIMIT <= min(scores) <= max(scores) <= SCORE_LIMIT:
            finite = [score for score in scores if -SCORE_LIMIT <= score <= SCORE_LIMIT]
            self.excluded += len(scores) - len(finite)
            scores = finite
        self.scores.extend(scores)
        verdicts = [line.passed for line in lines if line.passed is not None]
        self.passed += sum(verdicts)
        self.verdicts += len(verdicts)
        self.worst_case += sum([line.worst_case for line in lines])
        self.simulated += sum([line.simulated for line in lines])
        self._add_steps(lines)
        return lines

    def _new(self, batch: list[Line]) -> list[Line]:
        ids = [line.id for line in batch]
        if len(set(ids)) == len(ids) and self._seen.isdisjoint(ids):
            self._seen.update(ids)
            return batch
        new = []
        for line in batch:
            if line.id not in self._seen:
                self._seen.add(line.id)
                new.append(line)
            else:
                self.duplicates += 1
                self.first_duplicate = self.first_duplicate or clean(line.id, 80)
        return new

    def _add_steps(self, lines: list[Line]) -> None:
        usages = [line.usage.steps for line in lines]
        costs = [line.cost for line in lines]
        step_costs = [cost.steps for cost in costs]
        latencies = [line.latency_seconds for line in lines]
        step_latencies = [latency.steps for latency in latencies]
        attempts = [line.attempts.steps for line in lines]
        all_called = False
        for name, of_step in steps_of(lines):
            used = _known(map(of_step, usages))
            if not used:
                continue
            step = self.steps.setdefault(name, StepTally())
            step.items += len(used)
            all_called = all_called or len(used) == len(lines)
            for field, count in _COUNTS:
                step.tokens[field] += sum(map(count, used))
            step.attempts += sum(map(of_step, attempts))
            step.add_costs(list(map(of_step, step_costs)))
            step.latencies.extend(_known(map(of_step, step_latencies)))
        # An item that was never sent (its prompt failed) has taken no time.
        if not all_called:
            uncalled = type(usages[0])() if usages else None
            latencies = [
                latency
                for latency, usage in zip(latencies, usages, strict=True)
                if usage != uncalled
            ]
        self.total.items += len(latencies)
        self.total.latencies.extend([latency.total for latency in latencies])
        totals = [cost.total for cost in costs]
        self.total.add_costs(totals)
        self.costs.extend(_known(totals))

    def finish(self) -> None:
        """Add up the steps, once all lines are counted."""
        for step in self.steps.values():
            self.total.attempts += step.attempts
            for field in _USAGE:
                self.total.tokens[field] += step.tokens[field]


class GroupCount:
    """Counts of the items that share a value."""

    __slots__ = ("n", "passed", "score_sum", "scored", "verdicts")

    def __init__(self) -> None:
        self.n = self.scored = self.verdicts = self.passed = 0
        self.score_sum = 0.0


class GroupTally:
    """Counts by the value of a field.

    Args:
        field: What to call the field.
        value: How to get it from a line.
        limit: More different values than this end the grouping.
        asked_for: Whether the user named the field: too many values are then an error, and else
            only mean that the field is no category.
    """

    def __init__(self, field: str, value: Getter, limit: int, asked_for: bool) -> None:
        self.field = field
        self.groups: dict[str, GroupCount] = {}
        self.found = False
        self.too_many = False
        self._value = value
        self._limit = limit
        self.asked_for = asked_for

    def add(self, lines: list[Line]) -> None:
        """Count some lines.

        Raises:
            ConfigError: The field was asked for and has too many values.
        """
        if self.too_many:
            return
        groups = self.groups
        for line in lines:
            value = self._value(line)
            if value is not None:
                self.found = True
            name = value if type(value) is str else group_name(value)
            group = groups.get(name)
            if group is None:
                group = groups[name] = GroupCount()
            group.n += 1
            score = line.score
            if score is not None and -SCORE_LIMIT <= score <= SCORE_LIMIT:
                group.scored += 1
                group.score_sum += score
            if line.passed is not None:
                group.verdicts += 1
                group.passed += line.passed
        if len(groups) > self._limit:
            self.too_many = True
            groups.clear()
            if self.asked_for:
                raise ConfigError(
                    f"--by {self.field}: the field has more than {self._limit:,} different values",
                    "name a field with a few values, such as a category",
                )


def _known(values: Iterable[T | None]) -> list[T]:
    """The values that are not ``None``; ``in`` and ``count`` compare, which takes longer."""
    return [value for value in values if value is not None]


def group_name(value: Any) -> str:
    """How the group of a value is called."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and isfinite(value) and value == int(value):
        return str(int(value))  # CSV and JSON readers differ in 3 and 3.0
    return msgspec.json.encode(value).decode()
