"""How far several raters agree: judges, people, or one judge asked several times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm_batch.errors import ConfigError
from llm_batch.paper import words
from llm_batch.paper.document import Section, Table
from llm_batch.paper.words import clean
from llm_batch.record.reading import Getter, Head, Line
from llm_batch.records import Interval
from llm_batch.reporting.foreign import found
from llm_batch.reporting.judging.labels import (
    rating_of,
)
from llm_batch.stats.agreement import (
    BinaryTable,
    Ratings,
    Scale,
    agreement,
    cohen_kappa,
    krippendorff_alpha,
    self_consistency,
    sensitivity,
    specificity,
)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far several raters agree, on items that at least two of them rated.

    The share of items on which all say the same, Krippendorff's alpha, and ``within``: the mean
    share of equal pairs of ratings within an item.
    """

    raters: tuple[str, ...]
    items: int
    scale: Scale
    alpha: Interval
    all_agree: Interval
    within: Interval


#: Items whose several scores are kept; the order of items is random, so these stand for all.
JUDGED_LIMIT = 20_000


class JudgesTally:
    """What several judges, or one asked several times, said of the same items.

    A judge is named by where its score is: ``step.field``, ``step``, or a field of a ``foreign``
    file. ``items`` counts those with each combination of ratings, ``words`` says whether any is a
    word.

    Raises:
        ConfigError: Fewer than two are named, or no item has one of them.
    """

    def __init__(self, names: Sequence[str], head: Sequence[Head], foreign: bool) -> None:
        self.names = tuple(name.strip() for name in names if name.strip())
        if len(set(self.names)) < 2:
            raise ConfigError(
                "--judges needs two fields or more to compare",
                "name them with commas: --judges judge.score,second.score",
            )
        paths = [(name, "") if foreign else _parted(name) for name in self.names]
        self._within = [rest for _, rest in paths]
        self.fields = tuple(name for name, _ in paths) if foreign else ()
        self.outputs = () if foreign else tuple(step for step, _ in paths)
        self.items: Counter[tuple[float | None, ...]] = Counter()
        self.words = False
        self._codes: dict[str, float] = {}
        self._get: Sequence[Getter] = ()
        for name, (step, rest) in zip(self.names, paths, strict=True):
            lines = [line.fields if foreign else line.outputs for line in head]
            if lines and all(_inside(found(line, step, None), rest) is None for line in lines):
                known = list(dict.fromkeys(path for line in lines for path in _paths(line)))
                raise ConfigError(
                    f"--judges {clean(name, 40)}: no item in the results has it",
                    f"they have: {words.listed(known[:20])}",
                )

    def bind(self, fields: Sequence[Getter], outputs: Sequence[Getter]) -> None:
        """Take the getters of what was asked for."""
        self._get = fields or outputs

    def add(self, lines: Sequence[Line]) -> None:
        """Count some lines."""
        if self.items.total() >= JUDGED_LIMIT:
            return
        readers = list(zip(self._get, self._within, strict=True))
        self.items.update(
            tuple(self._rating(_inside(get(line), rest)) for get, rest in readers) for line in lines
        )

    def _rating(self, value: Any) -> float | None:
        if value is None or value == "":
            return None
        number = rating_of(value)
        if number is None:
            self.words = True
            return self._codes.setdefault(str(value).strip().casefold(), len(self._codes) + 0.5)
        return number


def _parted(name: str) -> tuple[str, str]:
    step, _, rest = name.partition(".")
    return step, rest


def _inside(value: Any, rest: str) -> Any:
    """What stands in a step's output under a name; the output itself without one."""
    if not rest:
        return None if isinstance(value, dict | list) else value
    return found(value, rest, None) if isinstance(value, dict) else None


def _paths(line: Mapping[str, Any]) -> list[str]:
    paths = []
    for name, value in line.items():
        paths += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name]
    return paths


_MOST_ORDERED = 12


def rates_of(table: BinaryTable, level: float) -> dict[str, Any]:
    """What a judge beside what is taken to be right comes to: the fields of every such check."""
    kappa = cohen_kappa(table.rows, level=level)
    return {
        "agreement": agreement(table, level),
        "sensitivity": sensitivity(table, level),
        "specificity": specificity(table, level),
        "kappa": kappa.interval,
        "kappa_standard_error": kappa.standard_error,
    }


def judges_reliability(tally: JudgesTally, level: float) -> Reliability:
    """How far the judges agree."""
    return reliability(tally.names, tally.items, level, words=tally.words)


def reliability(
    raters: Sequence[str],
    items: Iterable[Ratings] | Mapping[tuple[float | None, ...], int],
    level: float,
    words: bool = False,
) -> Reliability:
    """Alpha and self-consistency, on the scale that the ratings have.

    Words and verdicts are nominal, a few different scores ordinal, many an interval scale.
    """
    counted = items if isinstance(items, Mapping) else Counter(map(tuple, items))
    values = {value for ratings in counted for value in ratings if value is not None}
    scale: Scale = "ordinal" if len(values) <= _MOST_ORDERED else "interval"
    if words or len(values) <= 2:
        scale = "nominal"
    alpha = krippendorff_alpha(counted, scale, level)
    repeats = self_consistency(counted, level)
    return Reliability(
        raters=tuple(raters),
        items=alpha.n,
        scale=scale,
        alpha=alpha,
        all_agree=repeats.all_agree,
        within=repeats.within,
    )


def several_judges(check: Reliability) -> Section:
    """How far several judges, or one asked several times, say the same."""
    return Section("Do the judges agree?", tuple(raters_compared(check, "Compared")))


def raters_compared(check: Reliability, who: str) -> Iterator[Table | str]:
    yield (
        f"{who}: {words.listed(check.raters)}, on {words.items(check.items)} rated by at least "
        f"two. {agreement_of(check)}"
    )
    if not check.items:
        return
    rows = (
        (
            "All say the same",
            words.percent(check.all_agree.value),
            words.percent_range(check.all_agree),
        ),
        (
            "Equal pairs per item",
            words.percent(check.within.value),
            words.percent_range(check.within),
        ),
    )
    level = f"{words.level(check.alpha.level)} interval"
    yield Table.of(("", "value", level), rows)


def strength(alpha: float) -> str:
    """How Krippendorff (2004, p. 241) would have an alpha read."""
    if alpha >= 0.8:
        return "reliable by Krippendorff's rule (0.8 or more)"
    if alpha >= 2 / 3:
        return "enough for tentative conclusions only (Krippendorff: 0.667 to 0.8)"
    return "too low to rely on (Krippendorff: below 0.667)"


def agreement_of(check: Reliability) -> str:
    """Alpha in a sentence."""
    alpha = check.alpha
    if alpha.value is None:
        return (
            "Krippendorff's alpha is undefined: "
            + ("all ratings are the same." if check.items else "no item has two ratings.")
        )  # fmt: skip
    known = alpha.low is not None
    bounds = f" ({words.interval(alpha, words.coefficient_range)})" if known else ""
    return (
        f"Krippendorff's alpha {words.number(alpha.value, 2)}{bounds}, {check.scale} scale: "
        f"{strength(alpha.value)}."
    )
