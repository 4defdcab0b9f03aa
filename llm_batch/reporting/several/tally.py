"""What juries, repeats, pairs, audits and further scores said, counted as lines are read.

An item of which a step was played for each of its repeats has a vote of each. Votes on one item
are alike, and intervals are made for items drawn one by one. So there are as many draws as repeats:
each has one vote of each item, another one as far as there are, and figures are made of each draw.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from math import nan
from statistics import fmean
from typing import Any, cast

from llm_batch.chain.score_rules import AUDIT, MAIN
from llm_batch.chain.scores import score_of
from llm_batch.chain.steps import member
from llm_batch.chain.votes import FIRST, TIE, WINNER, Combine, needed
from llm_batch.record.manifest import Manifest, ScoreRule, Step
from llm_batch.record.reading import Line, SeveralLine, asked
from llm_batch.reporting.judging.labels import Pair
from llm_batch.reporting.tally import ClusterTally, GroupTally, Tally, is_counted

#: Longer votes are texts, which are held against each other within one item alone.
_LONGEST_LABEL = 60

#: What a member said: a number, a label, or nothing.
Vote = float | str | None


@dataclass(frozen=True, slots=True)
class Panel:
    """A step whose answers are combined: those of several models, or of one asked again.

    Attributes:
        votes: What its votes are called in a line, in order.
        rows: The row of each vote, as calls and costs are called.
        member: The field of its output that counts; empty where the output is no object.
        rule: The score that is made of it, if any.
    """

    name: str
    models: tuple[str, ...]
    votes: tuple[str, ...]
    rows: tuple[str, ...]
    combine: Combine
    min_votes: int
    member: str
    rule: ScoreRule | None

    def cast(self, output: Any) -> Vote:
        """What a vote counts as."""
        if isinstance(output, Mapping):
            output = output.get(self.member)
        if isinstance(output, bool | int | float):
            return float(output)
        if not isinstance(output, str):
            return None
        if self.rule is not None and self.rule.labels:
            return score_of(output, self.rule.labels).value
        return re.sub(r"\s+", " ", output.strip()).casefold()


@dataclass(frozen=True, slots=True)
class Design:
    """The steps and scores of a chain that this is about.

    Attributes:
        scores: All scores by name where there are several; that of the audit is not among them.
        main: The one that figures are of; its lines have it as their score.
        audit: The audit's step; ``None`` without one.
        apart: The step whose repeated answers stay apart, if any.
        later: The steps that are played for each of these, itself included.
        partly: Steps that are not played for every item.
        repeats: How often each item is answered, where the answers stay apart.
    """

    scores: dict[str, ScoreRule] = field(default_factory=dict)
    main: str = MAIN
    audit: Step | None = None
    apart: Step | None = None
    later: frozenset[str] = frozenset()
    panels: tuple[Panel, ...] = ()
    pairs: tuple[Step, ...] = ()
    partly: tuple[Step, ...] = ()
    repeats: int = 1

    def draws(self, step: str) -> int:
        """How many draws there are of the votes in a step."""
        return self.repeats if step in self.later else 1

    @classmethod
    def of(cls, manifest: Manifest, chosen: str = "") -> Design | None:
        """Of a run; ``None`` where there is nothing of the kind.

        Audits and repeats are those of the main score, and nothing is said of them where another
        one is ``chosen``.
        """
        steps, rule = manifest.steps, manifest.score
        audits = rule.audit.partition(".")[0] if rule and rule.audit else ""
        apart = manifest.apart
        found = cls(
            scores={MAIN: rule, **manifest.scores} if rule and manifest.scores else {},
            audit=next((step for step in steps if audits and step.name == audits), None),
            apart=apart,
            later=frozenset(step.name for step in steps[steps.index(apart) :])
            if apart
            else frozenset(),
            panels=tuple(_panel(step, manifest) for step in steps if step.combine and step.asks),
            pairs=tuple(step for step in steps if len(step.pair) == 2),
            partly=tuple(step for step in steps if step.when or step.share is not None),
            repeats=(apart.repeat or 1) if apart else 1,
        )
        if chosen:
            found = replace(found, main=chosen, audit=None, apart=None)
        return found if found != cls() else None


def _panel(step: Step, manifest: Manifest) -> Panel:
    rules = [rule for rule in (manifest.score, *manifest.scores.values()) if rule is not None]
    own = ((rule, named) for rule in rules for named in rule.fields)
    rule, named = next(
        ((rule, named) for rule, named in own if named.partition(".")[0] == step.name),
        (None, ""),
    )
    times = step.repeat or 1
    votes, rows = [str(n + 1) for n in range(times)], [step.name] * times
    if step.models:
        again = [f" {n + 1}" for n in range(times)] if step.repeat else [""]
        votes = [f"{model}{number}" for model in step.models for number in again]
        rows = [member(step.name, model) for model in step.models for _ in again]
    return Panel(
        step.name,
        tuple(step.models),
        tuple(votes),
        tuple(rows),
        cast(Combine, step.combine),
        needed(len(votes), step.min_votes),
        named.partition(".")[2] or _graded(step),
        rule,
    )


def _graded(step: Step) -> str:
    """The first field of an output that is no free text; empty where it is no object."""
    for name, kind in (step.output or {}).items():
        choices = isinstance(kind, Mapping) and kind.get("choices")
        if choices or (kind.get("type") if isinstance(kind, Mapping) else kind) != "string":
            return name
    return next(iter(step.output or {}), "")


@dataclass(slots=True)
class ScoreTally:
    """One of the scores that are not the main one, counted as that is.

    Attributes:
        values: That of each item, NaN where it has none.
    """

    values: array[float]
    tally: Tally
    strata: GroupTally | None
    clusters: ClusterTally | None

    def add(self, lines: Sequence[SeveralLine], name: str) -> None:
        """Count some lines, which are left as they were."""
        found = [line for line in lines if asked(line, name)]
        main = [(line.score, line.passed) for line in found]
        for line in found:
            own = line.scores.get(name)
            line.score, line.passed = (own.score, own.passed) if own else (None, None)
        tally = self.tally
        tally.read += len(lines)
        tally.unasked += len(lines) - len(found)
        scores = [line.score for line in found if is_counted(line.score)]
        tally.scores.extend(scores)
        verdicts = [line.passed for line in found if line.passed is not None]
        tally.passed += sum(verdicts)
        tally.verdicts += len(verdicts)
        if self.strata is not None:
            self.strata.add(cast("list[Line]", found))
            self.strata.leave_out(line for line in lines if not asked(line, name))
        if self.clusters is not None:
            self.clusters.add(cast("list[Line]", found))
        for line, (score, passed) in zip(found, main, strict=True):
            line.score, line.passed = score, passed
        for line in lines:
            there = line.scores.get(name)
            score = there.score if there else None
            self.values.append(score if is_counted(score) else nan)

    def merge(self, after: ScoreTally) -> None:
        """Add what was counted over a later part of the file."""
        self.values.extend(after.values)
        self.tally.scores.extend(after.tally.scores)
        for count in ("read", "unasked", "passed", "verdicts"):
            setattr(self.tally, count, getattr(self.tally, count) + getattr(after.tally, count))
        if self.strata is not None and after.strata is not None:
            self.strata.merge(after.strata)


class SeveralTally:
    """Counts of what the parts of a `Design` said.

    Attributes:
        values: Of the main score, that of each item, NaN where it has none.
        others: The other scores.
        repeats: Items by the scores and verdicts of their repeats.
        votes: By step and draw, items by the votes on them.
        cast: Votes by step and member, of all draws.
        pairs: By step and draw, items by the verdict with the first output shown first, and second.
        contests: By draw, items by who won against whom, where there are several pairs.
        audits: What the audit and the judge said of the items that have both.
        skipped: Items for which a step was not played.
        lost: Lost answers by row and kind.
    """

    def __init__(
        self, design: Design, strata: bool = False, clusters: ClusterTally | None = None
    ) -> None:
        self.design = design
        self.read = 0
        self.values = array("d")
        self.others = {
            name: ScoreTally(
                array("d"),
                Tally(exact=False),
                GroupTally.of_strata() if strata else None,
                clusters.another() if clusters is not None else None,
            )
            for name in design.scores
            if name != design.main
        }
        self.repeats: Counter[tuple[tuple[float | None, bool | None], ...]] = Counter()
        self.votes: dict[str, list[Counter[tuple[Vote, ...]]]] = {
            panel.name: [Counter() for _ in range(design.draws(panel.name))]
            for panel in design.panels
        }
        self.cast: Counter[tuple[str, str]] = Counter()
        self.pairs: dict[str, list[Counter[tuple[float | None, float | None]]]] = {
            step.name: [Counter() for _ in range(design.draws(step.name))] for step in design.pairs
        }
        self.contests: list[Counter[frozenset[tuple[str, float]]]] = [
            Counter() for _ in range(max((design.draws(s.name) for s in design.pairs), default=0))
        ]
        self.audits: list[Pair] = []
        self.skipped: Counter[str] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()

    def add(self, lines: Sequence[Line]) -> None:
        """Count some lines, which are `SeveralLine`."""
        for name, other in self.others.items():
            other.add(cast("Sequence[SeveralLine]", lines), name)
        for line in cast("Sequence[SeveralLine]", lines):
            self.read += 1
            self._scores(line)
            if line.repeats and self.design.apart is not None:
                self.repeats[tuple((each.score, each.passed) for each in line.repeats)] += 1
            for panel in self.design.panels:
                ballots = [
                    tuple(panel.cast(votes.get(name)) for name in panel.votes)
                    for votes in _each(line.votes.get(panel.name))
                ]
                for draw, ballot in zip(self.votes[panel.name], cycle(ballots), strict=False):
                    draw[_short(ballot)] += 1
                for ballot in ballots:
                    self.cast.update(
                        (panel.name, name)
                        for name, vote in zip(panel.votes, ballot, strict=True)
                        if vote is not None
                    )
            if self.pairs:
                self._pairs(line)
            self.skipped.update(line.skipped)
            for row, why in line.lost.items():
                self.lost[row, why.partition(":")[0]] += 1

    def _scores(self, line: SeveralLine) -> None:
        audit = line.scores.get(AUDIT)
        if self.design.audit is not None and audit is not None and audit.score is not None:
            self.audits.append(Pair(audit.score, line.score, line.passed, audit.passed))
        if self.others:
            self.values.append(line.score if is_counted(line.score) else nan)

    def _pairs(self, line: SeveralLine) -> None:
        contests: list[dict[str, float]] = [{} for _ in self.contests]
        for step in self.design.pairs:
            judged = [
                tuple(
                    _won(votes.get(f"{name} {FIRST}"), own)
                    for name, own in zip(step.pair, (True, False), strict=True)
                )
                for votes in _each(line.votes.get(step.name))
            ]
            known = [(one, other) for one, other in judged if (one, other) != (None, None)]
            for number, (draw, verdicts) in enumerate(
                zip(self.pairs[step.name], cycle(known), strict=False)
            ):
                draw[verdicts] += 1
                contests[number][step.name] = fmean(v for v in verdicts if v is not None)
        if len(self.design.pairs) > 1:
            for draw_of_all, won in zip(self.contests, contests, strict=True):
                if won:
                    draw_of_all[frozenset(won.items())] += 1

    def merge(self, after: SeveralTally) -> None:
        """Add what was counted over a later part of the file."""
        self.read += after.read
        self.values.extend(after.values)
        for name, other in after.others.items():
            self.others[name].merge(other)
        self.repeats.update(after.repeats)
        self.cast.update(after.cast)
        for mine, others in (
            (self.contests, after.contests),
            *((self.votes[name], votes) for name, votes in after.votes.items()),
            *((self.pairs[name], pairs) for name, pairs in after.pairs.items()),
        ):
            for draw, other in zip(cast("Any", mine), cast("Any", others), strict=True):
                draw.update(other)
        self.skipped.update(after.skipped)
        self.lost.update(after.lost)
        self.audits += after.audits


def _each(votes: Any) -> list[Mapping[str, Any]]:
    """The votes on each answer to an item that has some."""
    each = votes if isinstance(votes, list) else [votes]
    return [one for one in each if isinstance(one, Mapping)]


def _short(ballot: tuple[Vote, ...]) -> tuple[Vote, ...]:
    """The ballot, with long texts by the order in which each is first met in it."""
    if any(isinstance(vote, str) and len(vote) > _LONGEST_LABEL for vote in ballot):
        texts = list(dict.fromkeys(vote for vote in ballot if isinstance(vote, str)))
        return tuple(f"#{texts.index(v)}" if isinstance(v, str) else v for v in ballot)
    return ballot


def _won(vote: Any, shown_first: bool) -> float | None:
    """How far the first output of a pair won; ``None`` where this order was not judged."""
    winner = vote.get(WINNER) if isinstance(vote, Mapping) else None
    if winner is None:
        return None
    return 0.5 if winner == TIE else float((winner == FIRST) == shown_first)


def places(names: Iterable[str]) -> dict[str, int]:
    """Names by their place, in the order of first appearance."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}
