"""Counting results lines: batches in, sums and columns of numbers out.

Sums are made a column at a time, because a comprehension over one attribute costs a tenth of a
loop over all of them. What grows with the file is an id and a few floats per item.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from math import isfinite
from operator import attrgetter
from typing import Any

import msgspec

from llm_batch.errors import ConfigError
from llm_batch.records import Usage
from llm_batch.report.read import Getter, Line
from llm_batch.report.words import clean

_USAGE = tuple(Usage.__dataclass_fields__)
_counts = attrgetter(*_USAGE)

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

    def add_costs(self, costs: Sequence[float | None]) -> None:
        """Add one cost per item."""
        self.unpriced += costs.count(None)
        self.known_cost += sum([cost for cost in costs if cost is not None])


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
        scores = [line.score for line in lines if line.score is not None]
        finite = [score for score in scores if -SCORE_LIMIT <= score <= SCORE_LIMIT]
        self.excluded += len(scores) - len(finite)
        self.scores.extend(finite)
        verdicts = [line.passed for line in lines]
        self.passed += verdicts.count(True)
        self.verdicts += len(verdicts) - verdicts.count(None)
        self.worst_case += [line.worst_case for line in lines].count(True)
        self.simulated += [line.simulated for line in lines].count(True)
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
        all_usages = [line.usage.steps for line in lines]
        all_costs = [line.cost for line in lines]
        all_latencies = [line.latency_seconds for line in lines]
        all_attempts = [line.attempts.steps for line in lines]
        for name in dict.fromkeys(chain.from_iterable(all_usages)):
            step = self.steps.setdefault(name, StepTally())
            usages = [steps[name] for steps in all_usages if name in steps]
            step.items += len(usages)
            for field, counts in zip(_USAGE, zip(*map(_counts, usages), strict=True), strict=True):
                step.tokens[field] += sum(counts)
            step.attempts += sum([steps[name] for steps in all_attempts if name in steps])
            step.add_costs([cost.steps[name] for cost in all_costs if name in cost.steps])
            step.latencies.extend(
                [latency.steps[name] for latency in all_latencies if name in latency.steps]
            )
        # An item that was never sent (its prompt failed) has taken no time.
        self.total.latencies.extend([latency.total for latency in all_latencies if latency.steps])
        self.total.items += len(lines) - all_usages.count({})
        totals = [cost.total for cost in all_costs]
        self.total.add_costs(totals)
        self.costs.extend([cost for cost in totals if cost is not None])

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
            name = value if type(value) is str else _group_name(value)
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


def _group_name(value: Any) -> str:
    """How a value that is no text is called as a group."""
    if value is None:
        return ""
    if isinstance(value, float) and isfinite(value) and value == int(value):
        return str(int(value))  # CSV and JSON readers differ in 3 and 3.0
    return msgspec.json.encode(value).decode()
