"""What scores of an earlier run tell: their spread, shares for strata, how alike clusters are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import fsum, sqrt
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.options import Data
from llm_batch.errors import ConfigError, DataError
from llm_batch.estimating.sample_size import Claim, Clusters
from llm_batch.record.files import results_of
from llm_batch.record.lines import UNREADABLE, bounded_lines
from llm_batch.record.results import ScoredLine
from llm_batch.stats.clusters import cluster_size_of, intraclass_correlation
from llm_batch.stats.interval import wilson, z_value
from llm_batch.stats.means import mean_and_sd
from llm_batch.stats.strata import allocate, neyman

#: Items that are read; the order is random, so the first of very many are enough.
_READ = 20_000


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """One score; ``passed`` is ``None`` where no score is set from which on an item passes."""

    score: float
    passed: bool | None
    stratum: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores that exist; ``source`` names them in a sentence: ``the pilot``."""

    source: str
    items: tuple[ScoredItem, ...]

    def values(self, passes: bool) -> list[float]:
        """The scores, or 1 for each pass and 0 for each failure; empty where none are known."""
        return [value for item in self.items if (value := _value(item, passes)) is not None]

    def by(self, name: str, passes: bool, strata: bool = False) -> dict[str, list[float]]:
        """The same by the value of a field; items without one are left out.

        With ``strata`` the run was stratified by the field, and its strata fill in.
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

    Beside a journal alone there are none. ``source``: what to call it; its path by default.
    """
    decoder = msgspec.json.Decoder(ScoredLine)
    items = []
    try:
        with open(results_of(path), "rb") as file:
            for raw in islice(bounded_lines(file), _READ):
                try:
                    line = decoder.decode(raw)
                except UNREADABLE:
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


# Degrees of freedom that the spread common to all strata is given in each of them.
_PRIOR = 2.0


@dataclass(frozen=True, slots=True)
class Share:
    """One stratum of ``size`` items: its share of the sample in proportion, and by size and spread.

    ``sd`` is that of the scores ``measured``, drawn towards that common to all. It and ``neyman``
    are ``None`` where some stratum has fewer than two scores.
    """

    stratum: str
    size: int
    proportional: int
    measured: int
    sd: float | None
    neyman: int | None


@dataclass(frozen=True, slots=True)
class Strata:
    """A sample of ``n`` items shared among the values of a field.

    Margins are half widths of the interval with either way to share; ``None`` where the spread is
    not known.
    """

    field: str
    n: int
    shares: tuple[Share, ...]
    margin_proportional: float | None
    margin_neyman: float | None


def shared(
    field: str,
    sizes: Mapping[str, int],
    n: int,
    seen: Mapping[str, Sequence[float]] | None = None,
    level: float = 0.95,
) -> Strata:
    """Share ``n`` items among strata of so many items each.

    ``seen``: scores of a pilot by stratum, or 1 and 0 for passes and failures; ``level`` is of the
    margins. Cochran (1977), sections 5.3 to 5.5: V = Σ W² (1 - f) s² / n_h.
    """
    scores = {name: list((seen or {}).get(name, ())) for name in sizes}
    proportional = allocate(sizes, n)
    sds = _spreads(scores) if all(len(values) > 1 for values in scores.values()) else None
    best = neyman(sizes, sds, n) if sds is not None else None
    return Strata(
        field=field,
        n=sum(proportional.values()),
        shares=tuple(
            Share(
                stratum=name,
                size=size,
                proportional=proportional[name],
                measured=len(scores[name]),
                sd=sds[name] if sds is not None else None,
                neyman=best[name] if best is not None else None,
            )
            for name, size in sizes.items()
        ),
        margin_proportional=None if sds is None else _margin(sizes, sds, proportional, level),
        margin_neyman=None if sds is None or best is None else _margin(sizes, sds, best, level),
    )


def _spreads(scores: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Standard deviations, each drawn towards the common one.

    Three passes of three are no reason to take a stratum for one without failures, and so to draw
    two items from it: the common variance counts as two further degrees of freedom.
    """
    squares = {
        name: fsum((value - fsum(values) / len(values)) ** 2 for value in values)
        for name, values in scores.items()
    }
    freedom = sum(len(values) - 1 for values in scores.values())
    common = sum(squares.values()) / freedom
    return {
        name: sqrt((squares[name] + _PRIOR * common) / (len(values) - 1 + _PRIOR))
        for name, values in scores.items()
    }


def _margin(
    sizes: Mapping[str, int], sds: Mapping[str, float], shares: Mapping[str, int], level: float
) -> float | None:
    """Half width of the interval of the weighted mean; ``None`` where a stratum has no item."""
    whole = sum(sizes.values())
    if any(size and not shares[name] for name, size in sizes.items()):
        return None
    variance = fsum(
        (size / whole) ** 2 * (1 - shares[name] / size) * sds[name] ** 2 / shares[name]
        for name, size in sizes.items()
        if size
    )
    return z_value(level) * sqrt(variance)


_NAMED = 20
#: Scores beyond the first of their cluster; fewer say nothing of how alike they are.
_FEWEST_MATES = 10


def value_counts(data: Data, path: Path | str, field: str) -> dict[str, int]:
    """How many rows have each value of a field. Reads the dataset once, so no standard input.

    Raises:
        DataError: The dataset cannot be read, or a row lacks the field.
    """
    from llm_batch.chain.templates import PromptError
    from llm_batch.dataset.selection import Selection
    from llm_batch.dataset.shards import opened

    if path == "-":
        raise DataError(
            f"the clusters by {field!r} need a second look at the data, and standard input has one",
            "name a file with --data",
        )
    counts: dict[str, int] = {}
    selection, taken = Selection(data), 0
    with opened(data, path) as source:
        for number, fields, _, _ in source.rows():
            problem = ""
            try:
                if not isinstance(fields, str) and not selection.takes(fields):
                    continue
            except PromptError as error:
                fields = str(error)
            if isinstance(fields, str):
                problem = fields
            elif (value := text_of(fields.get(field))) is not None:
                counts[value] = counts.get(value, 0) + 1
                taken += 1
                if taken == selection.limit:
                    break
            else:
                known = ", ".join(list(fields)[:_NAMED])
                problem = f"no field {field!r} with a value, it has {known or 'none'}"
            if problem and data.on_bad_row == "error":
                raise DataError(
                    f"{source.name}, {source.at(number)}: {problem}",
                    "name one of its fields with --cluster",
                )
    if not counts:
        raise DataError(f"no row of {path} has the field {field!r}", "name another with --cluster")
    return counts


def clusters_by(
    field: str, data: Data, path: Path | str, claim: Claim, scored: Scored | None
) -> Clusters:
    """The clusters that a field makes, and how alike their items are: as given, or as measured.

    Raises:
        DataError: The dataset cannot be read, or a row lacks the field.
        ConfigError: Nobody said how alike they are, and no scores tell.
    """
    counts = value_counts(data, path, field)
    icc, source = claim.icc, ""
    if icc is None and scored is not None:
        groups = scored.by(field, passes=claim.is_of_rates).values()
        mates = sum(len(scores) - 1 for scores in groups)
        measured = intraclass_correlation(groups)
        if measured is not None and mates >= _FEWEST_MATES:
            # Below 0 is chance: items of one cluster are not less alike than others.
            icc, source = min(1.0, max(0.0, measured)), scored.source
    if icc is None:
        raise ConfigError(
            f"how alike the items of one {field!r} are is not known",
            "--icc 0.1 (0: not at all, 1: one answer for all), or --from a run whose scores tell",
        )
    sizes = counts.values()
    return Clusters(
        field=field,
        count=len(counts),
        mean_size=sum(sizes) / len(counts),
        size=cluster_size_of(sizes),
        icc=icc,
        icc_from=source,
    )
