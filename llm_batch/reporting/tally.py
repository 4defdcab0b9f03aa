"""Counting results lines: batches in, sums out; by a field, and by cluster.

Sums are made a column at a time, because a comprehension over one attribute costs a tenth of a
loop over all of them. What grows with the file is an id and a few floats per item.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite
from operator import attrgetter
from typing import Any, TypeGuard, TypeVar

import msgspec

from llm_batch.errors import ConfigError
from llm_batch.paper.words import clean
from llm_batch.record.lines import too_deep
from llm_batch.record.reading import Getter, Line, steps_of
from llm_batch.records import Usage
from llm_batch.stats.clusters import Clustered, ClusterSums, clustered_mean, clustered_rate

T = TypeVar("T")

_USAGE = tuple(Usage.__dataclass_fields__)

_COUNTED = (
    "read", "duplicates", "excluded", "verdicts", "passed", "worst_case", "simulated", "unasked",
)  # fmt: skip
# Fewer are compared before the package that sorts many is imported.
_FEW = 50_000
_MOST_STRATA = 10_000
#: Scores beyond this are left out: their squares have no finite sum.
SCORE_LIMIT = 1e100


def is_counted(score: float | None) -> TypeGuard[float]:
    """Whether there is a score that is not left out; NaN is none."""
    return score is not None and -SCORE_LIMIT <= score <= SCORE_LIMIT


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

    def merge(self, after: StepTally) -> None:
        """Add what the step took over a later part of the file."""
        self.items += after.items
        self.attempts += after.attempts
        for name in _USAGE:
            self.tokens[name] += after.tokens[name]
        self.known_cost += after.known_cost
        self.unpriced += after.unpriced
        self.latencies.extend(after.latencies)


class Tally:
    """Everything counted over a results file, whatever it is grouped by.

    Args:
        exact: Whether lines with an id seen before are left out as they come, which takes each id
            in memory. Else `twice` says at the end whether there may be some.
    """

    def __init__(self, exact: bool = True) -> None:
        self.read = self.duplicates = 0
        self.first_duplicate = ""
        self.statuses: Counter[str] = Counter()
        self.examples: dict[str, tuple[str, str]] = {}
        self.scores = array("d")
        self.excluded = self.verdicts = self.passed = self.worst_case = self.simulated = 0
        #: Items read that the score is not for, since its step was skipped.
        self.unasked = 0
        self.steps: dict[str, StepTally] = {}
        self.total = StepTally()
        #: Items without a result; only their number and cost are kept.
        self.failed = StepTally()
        self.costs = array("d")
        #: USD that the provider says its answers cost, and what they cost at our prices; of those
        #: alone of which it says something.
        self.reported: float | None = None
        self.listed = StepTally()
        self._seen: set[str] | None = set() if exact else None
        self._hashes = array("q")

    def add(self, batch: list[Line]) -> list[Line]:
        """Count some lines; gives those that count: lines with an id seen before are left out."""
        lines = self._new(batch)
        self.read += len(lines)
        failed = [line for line in lines if line.status != "ok"]
        if len(failed) < len(lines):
            self.statuses["ok"] += len(lines) - len(failed)
        for line in failed:
            self.statuses[line.status] += 1
            if line.status not in self.examples:
                self.examples[line.status] = (clean(line.id, 80), clean(line.error, 300))
        if failed:
            self.failed.items += len(failed)
            self.failed.add_costs([line.cost.total for line in failed])
        scores = [score for line in lines if (score := line.score) is not None]
        if scores and not -SCORE_LIMIT <= min(scores) <= max(scores) <= SCORE_LIMIT:
            finite = list(filter(is_counted, scores))
            self.excluded += len(scores) - len(finite)
            scores = finite
        self.scores.fromlist(scores)
        verdicts = [passed for line in lines if (passed := line.passed) is not None]
        self.passed += sum(verdicts)
        self.verdicts += len(verdicts)
        self.worst_case += sum([line.worst_case for line in lines])
        self.simulated += sum([line.simulated for line in lines])
        self._add_steps(lines)
        return lines

    def _new(self, batch: list[Line]) -> list[Line]:
        ids = [line.id for line in batch]
        if self._seen is None:
            self._hashes.fromlist(list(map(hash, ids)))
            return batch
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
        latencies = [line.latency_seconds.total for line in lines]
        all_called = False
        for each in steps_of(lines):
            used = _known(each.usage(lines))
            if not used:
                continue
            step = self.steps.setdefault(each.name, StepTally())
            step.items += len(used)
            all_called = all_called or len(used) == len(lines)
            tokens = step.tokens
            tokens["input_tokens"] += sum([usage.input_tokens for usage in used])
            tokens["output_tokens"] += sum([usage.output_tokens for usage in used])
            tokens["cache_read_tokens"] += sum([usage.cache_read_tokens for usage in used])
            tokens["cache_write_tokens"] += sum([usage.cache_write_tokens for usage in used])
            tokens["reasoning_tokens"] += sum([usage.reasoning_tokens for usage in used])
            step.attempts += sum(each.attempts(lines))
            step.add_costs(each.costs(lines))
            step.latencies.fromlist(_known(each.latencies(lines)))
        # An item that was never sent (its prompt failed) has taken no time.
        if not all_called:
            uncalled = type(lines[0].usage.steps)() if lines else None
            latencies = [
                latency
                for latency, line in zip(latencies, lines, strict=True)
                if line.usage.steps != uncalled
            ]
        self.total.items += len(latencies)
        self.total.latencies.fromlist(latencies)
        totals = [line.cost.total for line in lines]
        self.total.add_costs(totals)
        self.costs.fromlist(_known(totals))
        told = [line.cost for line in lines if line.cost.reported is not None]
        if told:
            self.reported = (self.reported or 0.0) + sum([cost.reported or 0.0 for cost in told])
            self.listed.add_costs([cost.listed for cost in told])

    def merge(self, after: Tally) -> bool:
        """Add what was counted over all the rest of the file, before either is finished.

        False where that cannot be done: both are exact.
        """
        if self._seen is not None or after._seen is not None:
            return False
        self._hashes.extend(after._hashes)
        self.first_duplicate = self.first_duplicate or after.first_duplicate
        self.statuses.update(after.statuses)
        self.examples = {**after.examples, **self.examples}
        self.scores.extend(after.scores)
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(after, name))
        for name, step in after.steps.items():
            self.steps.setdefault(name, StepTally()).merge(step)
        self.total.merge(after.total)
        self.failed.merge(after.failed)
        self.costs.extend(after.costs)
        if after.reported is not None:
            self.reported = (self.reported or 0.0) + after.reported
        self.listed.merge(after.listed)
        return True

    def twice(self) -> bool:
        """Whether ids may have come twice that were taken for different ones."""
        if len(self._hashes) < _FEW:
            return len(set(self._hashes)) < len(self._hashes)
        import numpy

        hashes = numpy.sort(numpy.frombuffer(self._hashes, numpy.int64))
        return bool((hashes[1:] == hashes[:-1]).any())

    def finish(self) -> None:
        """Add up the steps, once all lines are counted."""
        for step in self.steps.values():
            self.total.attempts += step.attempts
            for field in _USAGE:
                self.total.tokens[field] += step.tokens[field]


def _known(values: Iterable[T | None]) -> list[T]:
    """The values that are not ``None``; ``in`` and ``count`` compare, which takes longer."""
    return [value for value in values if value is not None]


class GroupCount:
    """Counts of the items that share a value."""

    __slots__ = ("n", "passed", "score_squares", "score_sum", "scored", "unasked", "verdicts")

    def __init__(self) -> None:
        self.n = self.scored = self.verdicts = self.passed = 0
        #: Items that the score is not for; not among the ``n``.
        self.unasked = 0
        self.score_sum = self.score_squares = 0.0


class GroupTally:
    """Counts by the value of a field, as ``value`` gets it from a line.

    More different values than the limit are an error where the user named the field, and else only
    mean that it is no category.
    """

    def __init__(self, field: str, value: Getter, limit: int, asked_for: bool) -> None:
        self.field = field
        self.groups: dict[str, GroupCount] = {}
        self.found = False
        self.too_many = False
        self._value = value
        self._limit = limit
        self.asked_for = asked_for

    @classmethod
    def of_strata(cls) -> GroupTally:
        """By the strata that the items were drawn by."""
        return cls("stratum", attrgetter("stratum"), _MOST_STRATA, False)

    def add(self, lines: list[Line]) -> list[str]:
        """Count some lines; gives the name of the group of each, all empty once there are too many.

        Raises:
            ConfigError: The field was asked for and has too many values.
        """
        if self.too_many:
            return [""] * len(lines)
        groups = self.groups
        values = list(map(self._value, lines))
        self.found = self.found or values.count(None) < len(values)
        names = [value if value.__class__ is str else group_name(value) for value in values]
        for line, name in zip(lines, names, strict=True):
            group = groups.get(name)
            if group is None:
                group = groups[name] = GroupCount()
            group.n += 1
            score = line.score
            if is_counted(score):
                group.scored += 1
                group.score_sum += score
                group.score_squares += score * score
            passed = line.passed
            if passed is not None:
                group.verdicts += 1
                group.passed += passed
        self._check_number()
        return names

    def leave_out(self, lines: Iterable[Line]) -> None:
        """Count lines of items that the score is not for, since its step was skipped."""
        for line in lines:
            name = group_name(self._value(line))
            self.groups.setdefault(name, GroupCount()).unasked += 1

    def merge(self, after: GroupTally) -> None:
        """Add the counts of a later part of the file; raises as `add` does."""
        self.found = self.found or after.found
        if self.too_many or after.too_many:
            self.too_many = True
            self.groups.clear()
            return
        for name, counts in after.groups.items():
            group = self.groups.setdefault(name, GroupCount())
            for count in GroupCount.__slots__:
                setattr(group, count, getattr(group, count) + getattr(counts, count))
        self._check_number()

    def _check_number(self) -> None:
        groups = self.groups
        if len(groups) > self._limit:
            self.too_many = True
            groups.clear()
            if self.asked_for:
                raise ConfigError(
                    f"--by {self.field}: the field has more than {self._limit:,} different values",
                    "name a field with a few values, such as a category",
                )


def group_name(value: Any) -> str:
    """How the group of a value is called."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and isfinite(value) and value == int(value):
        return str(int(value))  # CSV and JSON readers differ in 3 and 3.0
    if too_deep(value):
        return "(nested too deeply)"
    return msgspec.json.encode(value).decode()


def swapped_spelling(name: str) -> str:
    """A whole number as spreadsheets write it too: ``1.0`` for ``1``, ``1`` for ``1.0``.

    Empty for anything else.
    """
    whole = name.removesuffix(".0")
    if not (whole.isascii() and whole.removeprefix("-").isdecimal()):
        return ""
    return whole if whole != name else f"{name}.0"


class ClusterTally:
    """Verdicts and scores by the value of the field that names an item's cluster."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.fields: tuple[str, ...] = (field,)
        self.outputs: tuple[str, ...] = ()
        self._verdicts: dict[Any, list[float]] = {}
        self._scores: dict[Any, list[float]] = {}
        self._unscored: Counter[Any] = Counter()
        self._groups: dict[str, dict[Any, list[float]]] = {}
        self._by = ""
        self._found = False
        self._get: Sequence[Getter] = ()

    def another(self) -> ClusterTally:
        """One of the same clusters, for another score; made once this one is bound."""
        found = ClusterTally(self.field)
        found._get = self._get
        return found

    def group_by(self, field: str, in_stratum: bool) -> None:
        """Count by the values of another field too; called before lines are read."""
        self._by = "stratum" if in_stratum else field
        if field and not in_stratum:
            self.fields = (self.field, field)

    def bind(self, fields: Sequence[Getter], outputs: Sequence[Getter]) -> None:
        """Take the getters of what was asked for."""
        self._get = fields

    def add(self, lines: list[Line]) -> None:
        """Count some lines; an item without the field is a cluster of its own."""
        for line in lines:
            value = self._get[0](line)
            self._found = self._found or value is not None
            cluster = ("", line.id) if value is None else group_name(value)
            if line.passed is not None:
                _add(self._verdicts, cluster, float(line.passed))
                if self._by:
                    name = line.stratum if len(self.fields) == 1 else self._get[1](line)
                    group = self._groups.setdefault(group_name(name), {})
                    _add(group, cluster, float(line.passed))
            if is_counted(line.score):
                _add(self._scores, cluster, line.score)
            else:
                self._unscored[cluster] += 1

    def names(self, lines: Sequence[Line]) -> list[str]:
        """The cluster of each line, by a name that no other one has."""
        values = map(self._get[0], lines)
        return [
            f"id {line.id}" if value is None else f"in {group_name(value)}"
            for line, value in zip(lines, values, strict=True)
        ]

    def check(self) -> None:
        """Raises: ConfigError: No item has the field."""
        if not self._found:
            raise ConfigError(
                f"--cluster {self.field}: no item in the results has this field",
                "name the field that says which items belong together, such as document or user",
            )

    def rate(self, level: float) -> Clustered:
        """The pass rate."""
        return clustered_rate(_sums(self._verdicts), level)

    def rate_of(self, group: str, level: float) -> Clustered:
        """The pass rate of the items with a value of the other field."""
        return clustered_rate(_sums(self._groups.get(group, {})), level)

    def rate_without(self, group: str, level: float) -> Clustered:
        """The pass rate of all other items."""
        own = self._groups.get(group, {})
        rest = {}
        for name, (n, total, squares) in self._verdicts.items():
            less = own.get(name, (0, 0.0, 0.0))
            if n > less[0]:
                rest[name] = [n - less[0], total - less[1], squares - less[2]]
        return clustered_rate(_sums(rest), level)

    def mean(self, level: float, missing: float | None = None) -> Clustered:
        """The mean score, with missing scores left out or, where given, put in as this one."""
        sums = _sums(self._scores)
        if missing is None:
            return clustered_mean(sums, level)
        for cluster, n in self._unscored.items():
            own = sums.get(cluster, ClusterSums(0, 0.0, 0.0))
            total, squares = own.total + n * missing, own.squares + n * missing * missing
            sums[cluster] = ClusterSums(own.n + n, total, squares)
        return clustered_mean(sums, level)


def _add(sums: dict[Any, list[float]], cluster: Any, value: float) -> None:
    known = sums.setdefault(cluster, [0, 0.0, 0.0])
    known[0] += 1
    known[1] += value
    known[2] += value * value


def _sums(sums: dict[Any, list[float]]) -> dict[Any, ClusterSums]:
    return {name: ClusterSums(int(n), total, squares) for name, (n, total, squares) in sums.items()}
