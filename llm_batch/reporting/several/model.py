"""What is known of several scores, juries, repeats, pairs and audits: numbers, nothing to compute.

Rates and shares are fractions of one, money is USD, scores are in their own unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_batch.records import Interval
from llm_batch.reporting.judging.calibration import Calibration
from llm_batch.stats.audit import Costs, Design
from llm_batch.stats.pairs import PairRates
from llm_batch.stats.repeats import Plan


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """One of several scores.

    Attributes:
        name: As under ``[scores]``, or ``score`` for that of ``[score]``.
        source: The fields it comes from, or the scores it is a sum of.
        n: Items that have it.
        rate: Its pass rate; ``None`` without ``pass_at``.
        corrected: The rate, or without one the mean, as the audit corrects it.
    """

    name: str
    source: str
    n: int
    pass_at: float | None
    rate: Interval | None
    mean: Interval
    corrected: Interval | None = None


@dataclass(frozen=True, slots=True)
class ScorePair:
    """How far two scores go together."""

    one: str
    other: str
    spearman: Interval
    pearson: Interval


@dataclass(frozen=True, slots=True)
class JuryMember:
    """One member of a jury, and what the jury would have said without it.

    Attributes:
        votes: Answers that it voted on; of ``lost`` answers none could be used.
        own: Its own pass rate, or mean.
        agrees: How often it says what the jury says.
        decisive: Share of these items on which the others alone would have said something else, or
            nothing.
        without: The rate or mean of the jury without it; ``change`` is how far that moves.
        cost: USD of its calls, all repeats; ``None`` when a price is unknown.
    """

    name: str
    votes: int
    lost: int
    own: Interval
    agrees: Interval
    decisive: Interval
    without: Interval
    change: Interval
    cost: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's kappa of two members."""

    one: str
    other: str
    kappa: Interval


@dataclass(frozen=True, slots=True)
class JuryFigures:
    """How far a jury agrees, and who decides.

    Attributes:
        step: Its name; ``field`` that of the output which counts.
        pass_at: Votes are compared by whether they reach this; ``None``: as they are.
        items: Items with a vote.
        ties: Of these, items without a verdict, by a tie or by ``too_few`` votes.
        unanimous: Share of items with two votes or more on which all say the same.
        answers: To each item, at most: figures are means over these, as if there were one.
    """

    step: str
    field: str
    combine: str
    pass_at: float | None
    items: int
    verdict: Interval
    ties: int
    too_few: int
    unanimous: Interval
    alpha: Interval
    kappas: tuple[Agreement, ...]
    members: tuple[JuryMember, ...]
    answers: int


@dataclass(frozen=True, slots=True)
class Consistency:
    """How often a step says the same when it is asked again.

    ``alike`` is the share of pairs of answers on one item that agree, and ``flips`` one less that.
    """

    step: str
    times: int
    flips: Interval
    alike: Interval


@dataclass(frozen=True, slots=True)
class RepeatFigures:
    """What several answers to each item prove.

    Attributes:
        times: Answers asked for, per item.
        at_least_one: pass@k for k from 1 to ``times``; empty without verdicts.
        all_pass: pass^k likewise.
        majority: Share of items most of whose answers pass, ties left out; ``None`` without.
        ties: Items with as many passes as fails, which do not pass.
        mean: Of the scores, each item counting alike.
        between: Variance between items; ``within`` that of answers to one, both of verdicts where
            there are some, else of scores; ``None`` where they cannot be told.
        item_cost: USD that an item takes before its first answer, ``repeat_cost`` what each answer
            adds with the steps that follow; ``None`` when a price is unknown.
        plans: What each number of repeats would give for what this run cost.
    """

    step: str
    times: int
    items: int
    at_least_one: tuple[Interval, ...]
    all_pass: tuple[Interval, ...]
    majority: Interval | None
    ties: int
    mean: Interval
    between: float | None
    within: float | None
    item_cost: float | None
    repeat_cost: float | None
    plans: tuple[Plan, ...]

    @property
    def best(self) -> Plan | None:
        """The plan with the least standard error."""
        return min(self.plans, key=lambda plan: plan.standard_error, default=None)


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Which of two outputs wins. Rates are those of ``first``."""

    step: str
    first: str
    second: str
    rates: PairRates


@dataclass(frozen=True, slots=True)
class Chance:
    """How often one output wins against another."""

    one: str
    other: str
    wins: Interval


@dataclass(frozen=True, slots=True)
class Ranked:
    """An output with its strength on the logit scale (Bradley and Terry)."""

    name: str
    strength: Interval


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """A dear judge on some of the items beside the cheap one on all.

    Attributes:
        step: Its name; ``judge`` that of the cheap one.
        share: Of the items it was to judge; ``None``: all that its condition holds for.
        check: Both beside each other, and the figures corrected by the dear one.
        costs: USD of one item; ``None`` when a price is unknown or the audit was free.
        spent: USD of the run.
        dear_for_all: USD of the run, had the dear judge judged each item in place of both.
        margin: Half the width of the corrected rate (or mean).
        alone: What the dear judge alone gives for what this run cost.
        best: The best way to spend as much with both; ``None`` where nothing tells.
        correlation: Of both judges.
    """

    step: str
    judge: str
    share: float | None
    check: Calibration
    costs: Costs | None
    spent: float | None
    dear_for_all: float | None
    margin: float | None
    alone: Design | None
    best: Design | None
    correlation: float | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Items that a step was not played for; ``drawn``: by its share, else by its condition."""

    step: str
    n: int
    of: int
    drawn: bool
    repeated: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """Answers that are missing among several, by kind."""

    row: str
    kind: str
    n: int


@dataclass(frozen=True, slots=True)
class Several:
    """All that is said of a chain that asks several times; what it has not is empty."""

    scores: tuple[ScoreFigures, ...] = ()
    correlations: tuple[ScorePair, ...] = ()
    juries: tuple[JuryFigures, ...] = ()
    consistency: tuple[Consistency, ...] = ()
    repeats: RepeatFigures | None = None
    pairs: tuple[PairFigures, ...] = ()
    ranking: tuple[Ranked, ...] = ()
    chances: tuple[Chance, ...] = ()
    audit: AuditFigures | None = None
    skipped: tuple[Skipped, ...] = ()
    lost: tuple[Lost, ...] = ()
    #: The pair that the score, or where there is none the run, is about.
    headline_pair: PairFigures | None = None
