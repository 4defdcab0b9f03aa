"""What the scores of an earlier run tell for planning: how they spread, by any field."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from llm_batch.flags import expanded
from llm_batch.records import without_mark
from llm_batch.stats.interval import mean_and_sd, wilson

#: Items that are read; the order is random, so the first of very many are enough.
_READ = 20_000


class _Line(msgspec.Struct):
    """What a line of results.jsonl tells; see `llm_batch.results`."""

    score: float | None = None
    passed: bool | None = None
    stratum: str = ""
    fields: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """One score; ``passed`` is ``None`` where no score is set from which on an item passes."""

    score: float
    passed: bool | None
    stratum: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores that exist.

    Attributes:
        source: Where they come from, as the words of a sentence: ``the pilot``.
        items: The first of them.
    """

    source: str
    items: tuple[ScoredItem, ...]

    def values(self, passes: bool) -> list[float]:
        """The scores, or 1 for each pass and 0 for each failure; empty where none are known."""
        return [value for item in self.items if (value := _value(item, passes)) is not None]

    def by(self, name: str, passes: bool, strata: bool = False) -> dict[str, list[float]]:
        """The same by the value of a field; items without one are left out.

        Args:
            name: The field.
            passes: Whether passes are asked for, not scores.
            strata: Whether the field is the one that the run was stratified by.
        """
        found: dict[str, list[float]] = {}
        for item in self.items:
            value, group = _value(item, passes), text_of(item.fields.get(name))
            if group is None and strata:
                group = item.stratum or None
            if value is not None and group is not None:
                found.setdefault(group, []).append(value)
        return found

    def sentence(self) -> str:
        """What they came to, with the flags that would plan with it; empty for few."""
        passes, scores = self.values(passes=True), self.values(passes=False)
        if len(scores) < 2:
            return ""
        mean, sd = mean_and_sd(scores)
        said = f"{self.source}: {len(scores):,} scores, mean {mean:.3g}, sd {sd:.3g}"
        if sd:
            said += f" (--mean-sd {sd:.3g} plans a mean)"
        if passes:
            rate = wilson(round(sum(passes)), len(passes))
            # The end of its interval that needs most items, for it is not known better.
            ends = (rate.low or 0.0, rate.high or 1.0)
            careful = 0.5 if ends[0] <= 0.5 <= ends[1] else min(ends, key=lambda e: abs(e - 0.5))
            said += (
                f"; {sum(passes):,.0f} passed (--expected-rate {careful:.2g} is the careful "
                "reading)"
            )
        return f"{said}."


def read_scored(path: str | os.PathLike[str], source: str = "") -> Scored | None:
    """Read the scores of a results file; ``None`` when there is none, or it holds no score.

    Args:
        path: ``results.jsonl``; beside a journal alone there are no scores.
        source: What to call it; its path by default.
    """
    decoder = msgspec.json.Decoder(_Line)
    items = []
    try:
        with open(expanded(path), "rb") as file:
            for raw in map(without_mark, islice(file, _READ)):
                try:
                    line = decoder.decode(raw)
                except ValueError:
                    continue  # the measures say what is wrong with it
                if line.score is not None:
                    items.append(ScoredItem(line.score, line.passed, line.stratum, line.fields))
    except OSError:
        return None
    return Scored(source or os.fspath(path), tuple(items)) if items else None


def text_of(value: Any) -> str | None:
    """The value of a field as the name of a group; ``None`` where it is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if value.strip() else None
    return str(value) if isinstance(value, int | float) else None


def _value(item: ScoredItem, passes: bool) -> float | None:
    if not passes:
        return item.score
    return None if item.passed is None else float(item.passed)
