"""The judge beside labels made by people, and figures corrected for its errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from llm_batch.records import Interval
from llm_batch.reporting.judging.labels import Labelled, Pair
from llm_batch.reporting.judging.reliability import Reliability, rates_of, reliability
from llm_batch.stats.agreement import (
    BinaryTable,
    agreement,
    cohen_kappa,
    rank_agreement,
)
from llm_batch.stats.calibrate import (
    Labelling,
    by_verdict,
    drawn_alike,
    drawn_alike_by_score,
    label_plan,
    ppi_mean,
    ppi_rate,
    rogan_gladen,
    worth_labelling,
    youden,
)
from llm_batch.stats.interval import wilson
from llm_batch.stats.means import mean_t, with_width

#: How the labelled items were chosen. ``random``: at random from this run; ``verdict``: within
#: each verdict of the judge, by what is noted or by what their counts show; ``all``: every item
#: with a verdict; ``separate``: none is in this run; ``unknown``: nothing says.
Drawn = Literal["random", "verdict", "all", "separate", "unknown"]
#: Which of the corrected rates to report: ``ppi``, ``rogan_gladen``, ``verdict`` (weighted by
#: verdict), ``labels`` (the labels' own rate, when all items have one) or none.
Main = Literal["ppi", "rogan_gladen", "verdict", "labels", ""]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Labels and judge as scores on one scale: a row for each label, a column for each score.

    In the linear kappa a disagreement counts by its distance, in the quadratic one by its square.
    """

    values: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    kappa_linear: Interval
    kappa_quadratic: Interval


@dataclass(frozen=True, slots=True)
class ScoreCheck:
    """The judge's scores beside labels that are scores, where items have both.

    Attributes:
        drawn: How they were chosen, by scores; never ``verdict``.
        noted_random: Whether they are said to be a random subset of this run.
        alike: p-value of "drawn without regard to the score"; ``None`` where there is no rest.
        labels: The least and the greatest label; ``judged`` those of the judge's scores.
        spearman: Of 3,000 items at most, as ``kendall``.
        bias: Mean of judge minus label; bounds by clusters where items come in some.
        uncorrected: The judge's mean score over the run.
        corrected: The mean score people would give; ``None`` where it cannot be told.
        why_not: What stands against it, in a sentence; empty where there is one.
    """

    labelled: int
    drawn: Drawn
    noted_random: bool
    alike: float | None
    same_scale: bool
    labels: tuple[float, float]
    judged: tuple[float, float]
    spearman: Interval
    kendall: Interval
    bias: Interval
    uncorrected: Interval
    corrected: Interval | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The judge beside people's labels, and the pass rate corrected for its errors.

    Rates are bounded for items like these. A label counts as a pass when it is 1, true or a word
    for it, or a score of at least ``pass_at`` where labels are scores.

    Attributes:
        source: Where the labels came from, in words.
        seed: The seed they were drawn with, when ``llmb label`` drew them.
        noted: How they are said to have been drawn.
        alike: p-value of "drawn without regard to the verdict"; ``None`` where there is no rest.
        labelled: Items with a label and a verdict of the judge.
        separate: How many of these are not part of this run.
        skipped: Items that a person passed over, or whose raters disagree evenly.
        unjudged: Items of this run with a label and no verdict of the judge.
        unmatched: Labelled ids of which nothing is known, and the first of them.
        repeated: Rows that repeat a label given before.
        unreadable: Values of the labels' field that are no labels.
        only_label: The label passes, the judge fails; ``only_judge`` the reverse.
        sensitivity: Share of items labelled as a pass that the judge passes.
        specificity: Share of items labelled as a fail that the judge fails.
        youden: Sensitivity + specificity - 1; ``None`` when either is unknown.
        kappa: Cohen's, of the verdicts.
        scores: Labels beside scores, when labels are scores with up to 20 values.
        uncorrected: The judge's pass rate over the run.
        labels_alone: The labels' pass rate over labelled items of this run.
        rogan_gladen: The judge's rate corrected by sensitivity and specificity; clipped where it
            came out below 0 or above 1.
        ppi: The prediction-powered pass rate (PPI++), clipped likewise.
        ppi_weight: How far the judge's verdicts count in it, 0 to 1.
        by_verdict: The labels' rate within each verdict, weighted by the run's verdicts.
        swapped: Whether labels and verdicts say the opposite of each other.
        clustered: Whether items come in clusters, so that no corrected rate is told.
        main: Which of these to report; ``corrected`` is that one.
        raters: How far people agree, when several labelled.
        plan: What more labels would give, with the judge as it was found to be.
        worth: How many labels are worth it by that plan; 0 when it is not known.
        audit: The step that gave the labels, where a model did and not people.
    """

    source: str
    drawn: Drawn
    seed: int | None
    noted: Literal["random", "verdict", ""]
    alike: float | None
    labelled: int
    separate: int
    skipped: int
    unjudged: int
    unmatched: int
    unmatched_ids: tuple[str, ...]
    repeated: int
    unreadable: int
    both_pass: int
    only_label: int
    only_judge: int
    both_fail: int
    agreement: Interval
    sensitivity: Interval
    specificity: Interval
    youden: float | None
    kappa: Interval
    kappa_standard_error: float | None
    scores: ScoreTable | None
    uncorrected: Interval
    labels_alone: Interval
    rogan_gladen: Interval
    rogan_gladen_clipped: bool
    ppi: Interval
    ppi_clipped: bool
    ppi_weight: float | None
    by_verdict: Interval
    swapped: bool
    clustered: bool
    main: Main
    corrected: Interval | None
    score_check: ScoreCheck | None
    raters: Reliability | None
    plan: tuple[Labelling, ...]
    worth: int
    audit: str = ""

    @property
    def table(self) -> BinaryTable:
        """Labels and judge beside each other."""
        return BinaryTable(self.both_pass, self.only_judge, self.only_label, self.both_fail)

    @property
    def corrected_mean(self) -> Interval | None:
        """The mean score people would give, where it can be told."""
        return self.score_check.corrected if self.score_check else None

    @property
    def sample_share(self) -> float | None:
        """The judge's pass rate over the labelled items."""
        passed, n = self.both_pass + self.only_judge, self.agreement.n
        return passed / n if n else None


_MOST_VALUES = 20
_NAMED = 3
#: Ranks are compared by pairs of items, and items come in random order.
_MOST_RANKED = 3_000
#: Below this p-value the labelled items were not drawn without regard to the verdict. A false
#: alarm does no harm: weights by verdict are right for a random subset too.
_CHOSEN_BELOW = 0.01
#: Sensitivity + specificity - 1 below this, and fewer than half agreeing: the opposite is meant.
_SWAPPED_BELOW = -0.3


class Labeller(Protocol):
    """Who has labels beside what the judge said: people, or a dear judge."""

    @property
    def random(self) -> bool | None:
        """Whether the items were drawn at random; ``None`` where nothing says."""

    @property
    def pass_at(self) -> float | None:
        """The least label that passes, where labels are scores."""

    def finish(self) -> Labelled:
        """All of them."""


def calibration(
    tally: Labeller,
    verdicts: tuple[int, int],
    scores: Sequence[float],
    level: float,
    clustered: bool = False,
    scale: tuple[float | None, float | None] = (None, None),
    audit: str = "",
) -> Calibration:
    """All figures about the judge.

    Args:
        tally: The labels and what the judge said.
        verdicts: How many items of the run the judge passed, and on how many it has a verdict.
        scores: What it gave every item of the run with a score.
        clustered: Whether items come in clusters; no correction here allows for that.
        scale: The least and the greatest score there is, where known.
        audit: The step that gave the labels, where people did not.

    Raises:
        ConfigError: No item has a label.
    """
    found = tally.finish()
    labels = found.labels
    inside = _verdicts(found.inside, labels.scores, tally.pass_at)
    outside = _verdicts(found.outside, labels.scores, tally.pass_at)
    table = BinaryTable.counted(Counter(inside))
    whole = BinaryTable.counted(Counter([*inside, *outside]))
    passed, n = verdicts
    noted = _noted(found, tally.random)
    alike = drawn_alike((table.both_yes + table.only_judge, table.n), (passed, n))
    drawn = _drawn(found, noted, alike, len(inside), n)
    rest_passed = passed - (table.both_yes + table.only_judge)
    gladen = rogan_gladen(whole, passed, n, level)
    ppi = ppi_rate(table, rest_passed, n - table.n, level)
    alone = wilson(table.both_yes + table.only_reference, table.n, level)
    weighted = by_verdict(table, passed, n, level).interval
    swapped = _swapped(whole, level)
    chosen = {
        "ppi": ppi.interval,
        "rogan_gladen": gladen.interval,
        "verdict": weighted,
        "labels": alone,
    }
    main = _main(drawn)
    if swapped or clustered or chosen[main].value is None:
        main = ""
    plan = _plan(whole, n, level) if inside and drawn != "verdict" else ()
    return Calibration(
        source=labels.source,
        drawn=drawn,
        seed=labels.seed,
        noted=noted,
        alike=alike,
        labelled=whole.n or sum(pair.score is not None for pair in found.inside),
        separate=len(outside),
        skipped=labels.skipped,
        unjudged=sum(pair.passed is None and pair.score is None for pair in found.inside),
        unmatched=len(found.unmatched),
        unmatched_ids=found.unmatched[:_NAMED],
        repeated=labels.repeated,
        unreadable=found.unreadable,
        both_pass=whole.both_yes,
        only_label=whole.only_reference,
        only_judge=whole.only_judge,
        both_fail=whole.both_no,
        **rates_of(whole, level),
        youden=youden(whole),
        scores=_scores([*found.inside, *found.outside], level) if labels.scores else None,
        uncorrected=wilson(passed, n, level),
        labels_alone=alone,
        rogan_gladen=gladen.interval,
        rogan_gladen_clipped=gladen.clipped,
        ppi=ppi.interval,
        ppi_clipped=ppi.clipped,
        ppi_weight=ppi.weight,
        by_verdict=weighted,
        swapped=swapped,
        clustered=clustered,
        main=main,
        corrected=chosen.get(main),
        score_check=_score_check(found, noted == "random", scores, scale, level, clustered)
        if labels.scores
        else None,
        raters=reliability(labels.people, labels.ratings, level) if labels.people else None,
        plan=plan,
        worth=worth_labelling(plan),
        audit=audit,
    )


def _verdicts(
    pairs: Iterable[Pair], scores: bool, pass_at: float | None
) -> list[tuple[bool, bool]]:
    """Label and judge as verdicts, where both have one."""
    if scores and pass_at is None:
        return []
    return [
        (_passes(pair, scores, pass_at), pair.passed) for pair in pairs if pair.passed is not None
    ]


def _passes(pair: Pair, scores: bool, pass_at: float | None) -> bool:
    if pair.passes is not None:
        return pair.passes
    return pair.label >= pass_at if scores and pass_at is not None else pair.label == 1


def _noted(found: Labelled, random: bool | None) -> Literal["random", "verdict", ""]:
    if random is None:
        random = found.labels.seed is not None
    if found.labels.by_verdict:
        return "verdict"
    return "random" if random else ""


def _drawn(found: Labelled, noted: str, alike: float | None, inside: int, judged: int) -> Drawn:
    if not found.inside:
        return "separate"
    if inside and inside == judged:
        return "all"
    if noted == "verdict" or (alike is not None and alike < _CHOSEN_BELOW):
        return "verdict"
    return "random" if noted else "unknown"


def _main(drawn: Drawn) -> Main:
    """The estimate to report: where nothing is known only sensitivity and specificity carry."""
    known: dict[Drawn, Main] = {"all": "labels", "random": "ppi", "verdict": "verdict"}
    return known.get(drawn, "rogan_gladen")


def _swapped(table: BinaryTable, level: float) -> bool:
    """Whether labels and verdicts say the opposite far more often than a bad judge would."""
    judge, same = youden(table), agreement(table, level)
    return (
        judge is not None and judge < _SWAPPED_BELOW and same.high is not None and same.high < 0.5
    )


def _scores(pairs: Sequence[Pair], level: float) -> ScoreTable | None:
    """The square table of scores; ``None`` when there are too many of them, or none."""
    both = [(pair.label, pair.score) for pair in pairs if pair.score is not None]
    values = sorted({value for pair in both for value in pair})
    if values and all(value == int(value) for value in values):
        # A score nobody gave still lies between two others, which weights take into account.
        low, high = int(values[0]), int(values[-1])
        if high - low < _MOST_VALUES:
            values = [float(value) for value in range(low, high + 1)]
    if not 2 <= len(values) <= _MOST_VALUES:
        return None
    counted = Counter(both)
    counts = tuple(tuple(counted[row, column] for column in values) for row in values)
    return ScoreTable(
        values=tuple(values),
        counts=counts,
        kappa_linear=cohen_kappa(counts, "linear", level).interval,
        kappa_quadratic=cohen_kappa(counts, "quadratic", level).interval,
    )


def _score_check(
    found: Labelled,
    noted_random: bool,
    scores: Sequence[float],
    scale: tuple[float | None, float | None],
    level: float,
    clustered: bool,
) -> ScoreCheck | None:
    """Labels beside scores; ``None`` where no item has both."""
    inside = [(pair.label, pair.score) for pair in found.inside if pair.score is not None]
    both = inside + [(pair.label, pair.score) for pair in found.outside if pair.score is not None]
    if not both or not len(scores):
        return None
    labels, judged = [label for label, _ in both], [score for _, score in both]
    ranks = rank_agreement(labels[:_MOST_RANKED], judged[:_MOST_RANKED], level)
    own = [score for _, score in inside]
    alike = drawn_alike_by_score(own, scores)
    drawn: Drawn = "unknown"
    if not inside:
        drawn = "separate"
    elif len(inside) >= len(scores):
        drawn = "all"
    elif noted_random and not found.labels.by_verdict and (alike is None or alike >= _CHOSEN_BELOW):
        drawn = "random"
    same = _same_scale(labels, scores, scale)
    against = ""
    if not same:
        against = "labels and scores are not on one scale"
    elif clustered:
        against = "PPI++ takes items for themselves, and --cluster says that they are not"
    elif found.labels.by_verdict:
        against = "the labels were drawn within each verdict, and weights by verdict are for rates"
    elif drawn == "separate":
        against = "none of the labelled items is part of this run"
    elif noted_random and drawn == "unknown":
        against = "the labels do not look like a random subset of this run"
    elif drawn == "unknown":
        against = "nothing says that the labelled items are a random subset of this run"
    corrected = None
    if not against and drawn == "all":
        corrected = with_width(mean_t([label for label, _ in inside], level))
    elif not against:
        corrected = ppi_mean([label for label, _ in inside], own, scores, level).interval
    bias = mean_t([score - label for label, score in both], level) if same else None
    if bias is None or clustered:
        bias = Interval(bias.value if bias else None, None, None, level, len(both), "t")
    return ScoreCheck(
        labelled=len(both),
        drawn=drawn,
        noted_random=noted_random,
        alike=alike,
        same_scale=same,
        labels=(min(labels), max(labels)),
        judged=(min(judged), max(judged)),
        spearman=_unclustered(ranks.spearman, clustered),
        kendall=_unclustered(ranks.kendall, clustered),
        bias=with_width(bias),
        uncorrected=with_width(mean_t(scores, level)),
        corrected=corrected,
        why_not=against,
    )


def _unclustered(interval: Interval, clustered: bool) -> Interval:
    """The same without bounds where items come in clusters: these take items for themselves."""
    return replace(interval, low=None, high=None) if clustered else interval


def _same_scale(
    labels: Sequence[float], scores: Sequence[float], scale: tuple[float | None, float | None]
) -> bool:
    """Whether labels lie where the judge's scores do, or on a scale not twice as wide."""
    least, most = scale
    low, high = min(scores), max(scores)
    span = max(high - low, 1.0)
    least = low - span if least is None else least
    most = high + span if most is None else most
    return least <= min(labels) and max(labels) <= most


def _plan(table: BinaryTable, n: int, level: float) -> tuple[Labelling, ...]:
    passes = table.both_yes + table.only_reference
    fails = table.both_no + table.only_judge
    if not passes or not fails or n == 0:
        return ()
    # A few labels without an error do not show that there are none (Laplace's rule).
    sensitive, specific = (table.both_yes + 1) / (passes + 2), (table.both_no + 1) / (fails + 2)
    return label_plan(n, passes / table.n, sensitive, specific, level)
