"""What a rule found: answers without anything to find, classes, and what is taken for what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from llm_batch.chain.overrides import command
from llm_batch.paper import words
from llm_batch.paper.document import Section, Table
from llm_batch.record.reading import Line
from llm_batch.records import Interval
from llm_batch.reporting.model import ClassFigures, Confusion, RuleCheck
from llm_batch.stats.classes import averages, class_figures

#: Rules whose right answers may be classes, and how many of these there may be.
_CLASSED = ("equals", "choice")
#: Rules by which an answer that has only a part of the right one is wrong.
_WHOLE = ("equals", "contains")
# A word that says something: no article, no unit, no number.
_TELLING = re.compile(r"[^\W\d_]{4,}")
_MOST_CLASSES = 30
#: Items that each class has on average, or what is right are no classes but answers.
_LEAST_ITEMS = 3
# Pairs of what is right and what was answered that are told apart; others count as other answers.
_MOST_PAIRS = 10_000
_IDS = 3
_CONFUSIONS = 10
_NAME = 24
# No text that is compared has it.
_OTHER = "\0"


class RuleTally:
    """Counts what was answered by what is right; beyond so many classes, only missing answers."""

    def __init__(self, rule: str) -> None:
        self._counts: Counter[tuple[str, str]] | None = Counter() if rule in _CLASSED else None
        self._right: set[str] = set()
        self._ids: dict[tuple[str, str], list[str]] = {}
        self._letters = rule == "choice"
        self._whole = rule in _WHOLE
        self.near = 0
        self.near_example: tuple[str, str] | None = None
        self.compared = self.unanswered = 0

    def add(self, lines: list[Line]) -> None:
        """Count some lines; those without a verdict, or with nothing right, say nothing."""
        for line in lines:
            if line.expected is None or line.passed is None:
                continue
            self.compared += 1
            self.unanswered += not line.label
            self._count(line.expected, line.label, 1, [line.id])
            if self._whole and not line.passed and _nearly(line.expected, line.label):
                self.near += 1
                self.near_example = self.near_example or (line.expected, line.label)

    def merge(self, after: RuleTally) -> None:
        """Add what was counted over a later part of the file."""
        self.compared += after.compared
        self.unanswered += after.unanswered
        self.near += after.near
        self.near_example = self.near_example or after.near_example
        if after._counts is None:
            self._counts = None
        for (right, found), n in (after._counts or {}).items():
            self._count(right, found, n, after._ids.get((right, found), []))

    def _count(self, right: str, found: str, n: int, ids: list[str]) -> None:
        if self._counts is None:
            return
        self._right.add(right)
        if len(self._right) > _MOST_CLASSES:
            self._counts = None
            self._ids.clear()
            return
        pair = (right, found)
        if pair not in self._counts and len(self._counts) >= _MOST_PAIRS:
            pair = (right, _OTHER)
        self._counts[pair] += n
        if right != found:
            kept = self._ids.setdefault(pair, [])
            kept += ids[: _IDS - len(kept)]

    def check(self, level: float) -> RuleCheck | None:
        """What was found; ``None`` where nothing was compared."""
        if not self.compared:
            return None
        names = sorted(self._right)
        few = len(names) >= 2 and len(names) * _LEAST_ITEMS <= self.compared
        if self._counts is None or not (few or (self._letters and len(names) > 1)):
            right, answer = self.near_example or ("", "")
            shown = (words.clean(right, 40), words.clean(answer, 40)) if self.near else None
            return RuleCheck(self.compared, self.unanswered, self.near, shown)
        table = [[0] * (len(names) + 2) for _ in names]
        place = {name: at for at, name in enumerate(names)} | {"": len(names) + 1}
        for (right, found), n in self._counts.items():
            table[place[right]][place.get(found, len(names))] += n
        # No answer and another one are the same miss.
        missed = [(*row[: len(names)], row[-2] + row[-1]) for row in table]
        figures = zip(names, table, class_figures(missed, level), strict=True)
        wrong = [(n, pair) for pair, n in self._counts.items() if pair[0] != pair[1]]
        wrong.sort(key=lambda each: (-each[0], each[1]))
        return RuleCheck(
            compared=self.compared,
            unanswered=self.unanswered,
            classes=tuple(
                ClassFigures(
                    words.clean(name, _NAME * 2),
                    sum(row),
                    sum(other[place[name]] for other in table),
                    found.precision,
                    found.recall,
                    found.f1,
                )
                for name, row, found in figures
            ),
            averages=averages(missed, level),
            table=tuple(map(tuple, table)),
            confusions=tuple(
                Confusion(
                    words.clean(right, _NAME * 2),
                    "other answers" if found == _OTHER else words.clean(found, _NAME * 2),
                    n,
                    tuple(words.clean(each, 40) for each in self._ids.get((right, found), ())),
                )
                for n, (right, found) in wrong[:_CONFUSIONS]
            ),
        )


def _nearly(right: str, answer: str) -> bool:
    return bool({*_TELLING.findall(right)}.intersection(_TELLING.findall(answer)))


def near_misses(check: RuleCheck, data: str) -> Iterator[str]:
    """What to say of answers that a rule may have failed for their form alone.

    ``data``: the file that a config with a judge would be for; may be empty.
    """
    if check.near and check.near_example:
        right, answer = check.near_example
        is_, share = ("wrong answer", "shares") if check.near == 1 else ("wrong answers", "share")
        judged = command("init", "--data", data or "FILE", "--judge", "MODEL", "--force")
        yield (
            f"{check.near:,} {is_} {share} a word with the right one, such as {answer!r} where "
            f"{right!r} is right. If such answers are right, shorten the right answers in your "
            f"data, or let a judge decide: `{judged}`."
        )


def no_answer(check: RuleCheck) -> str:
    """How many answers had nothing to find in them."""
    n = check.unanswered
    return f"No answer found in {words.items(n)}, which count{'s' if n == 1 else ''} as wrong."


def worst_classes(check: RuleCheck, most: int = 2) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the classes with the least F1."""
    known = [each for each in check.classes if each.f1.value is not None]
    for each in sorted(known, key=lambda one: (one.f1.value or 0.0, one.name))[:most]:
        yield (
            f"  F1 of {words.named(each.name, _NAME)}",
            words.percent(each.f1.value),
            words.percent_range(each.f1),
            f"recall {words.percent(each.recall.value)} of {each.items:,}",
        )


def classification(check: RuleCheck, level: float) -> Iterator[Section]:
    """The classes one by one and together, and what was taken for what."""
    each_class = [
        (words.named(each.name, _NAME), words.count(each.items), *_shown(each))
        for each in check.classes
    ]
    assert check.averages is not None
    together = [
        (name, words.count(check.compared), *_shown(figures))
        for name, figures in (
            ("macro", check.averages.macro),
            ("weighted", check.averages.weighted),
            ("micro", check.averages.micro),
        )
    ]
    header = ("class", "items", "precision", "recall", "F1")
    yield Section(
        "By class",
        (
            Table.of(header, [*together, *each_class], len(together)),
            (
                f"In percent, with {words.level(level)} intervals: Wilson for precision and "
                "recall, Wilson of tp / (tp + fp + fn) for F1 of a class, the delta method for "
                "averages. Macro counts every class alike, weighted by its items, micro every "
                "item; a class that was never answered has a precision of 0 in them."
            ),
        ),
    )
    names = [words.named(each.name, 14) for each in check.classes]
    # Classes, and what else was answered, if anything.
    columns = [*names, "other", "none"]
    shown = [
        at for at, _ in enumerate(columns) if at < len(names) or any(row[at] for row in check.table)
    ]
    counts = [
        (name, *(words.count(row[at]) for at in shown))
        for name, row in zip(names, check.table, strict=True)
    ]
    along = ("right", *(columns[at] for at in shown))
    parts: list[Table | str] = [Table.of(along, counts)]
    if check.confusions:
        parts.append(
            Table(
                ("right", "answered", "items", "such as"),
                (False, False, True, False),
                tuple(
                    (
                        words.named(each.expected, _NAME),
                        words.named(each.found, _NAME) if each.found else "none",
                        words.count(each.n),
                        ", ".join(each.ids),
                    )
                    for each in check.confusions
                ),
            )
        )
    yield Section("What was taken for what", tuple(parts))


def _shown(figures: object) -> tuple[str, ...]:
    found = [getattr(figures, name) for name in ("precision", "recall", "f1")]
    return tuple(_cell(each) for each in found)


def _cell(interval: Interval) -> str:
    if interval.value is None:
        return words.NONE
    return f"{100 * interval.value:.1f} ({words.percent_range(interval).removesuffix(' %')})"
