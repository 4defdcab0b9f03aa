"""Sums by cluster, counted while the results are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from llm_batch.errors import ConfigError
from llm_batch.report.group_tally import group_name
from llm_batch.report.lines import Getter, Line
from llm_batch.report.tally import SCORE_LIMIT
from llm_batch.stats.clusters import Clustered, ClusterSums, clustered_mean, clustered_rate


class ClusterTally:
    """Verdicts and scores by the value of the field that names an item's cluster.

    Attributes:
        field: The field.
        fields: Fields of the items that are needed.
        outputs: Steps whose outputs are needed: none.
    """

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
            if line.score is not None and -SCORE_LIMIT <= line.score <= SCORE_LIMIT:
                _add(self._scores, cluster, line.score)
            else:
                self._unscored[cluster] += 1

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
