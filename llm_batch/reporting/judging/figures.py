"""From counted labels to the figures of a `Calibration`; nothing is read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from llm_batch.records import Interval
from llm_batch.reporting.judging.model import (
    Calibration,
    Drawn,
    Main,
    Reliability,
    ScoreCheck,
    ScoreTable,
)
from llm_batch.reporting.judging.tally import JudgesTally, Labelled, LabelTally, Pair
from llm_batch.stats.agreement import (
    BinaryTable,
    Ratings,
    Scale,
    agreement,
    cohen_kappa,
    krippendorff_alpha,
    rank_agreement,
    self_consistency,
    sensitivity,
    specificity,
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

_MOST_VALUES = 20
_MOST_ORDERED = 12
_NAMED = 3

#: Below this p-value the labelled items were not drawn without regard to the verdict. A false
#: alarm does no harm: weights by verdict are right for a random subset too.
_CHOSEN_BELOW = 0.01

#: Sensitivity + specificity - 1 below this, and fewer than half agreeing: the opposite is meant.
_SWAPPED_BELOW = -0.3


def calibration(
    tally: LabelTally,
    verdicts: tuple[int, int],
    scores: Sequence[float],
    level: float,
    clustered: bool = False,
    scale: tuple[float | None, float | None] = (None, None),
) -> Calibration:
    """All figures about the judge.

    Args:
        tally: The labels and what the judge said.
        verdicts: How many items of the run the judge passed, and on how many it has a verdict.
        scores: What it gave every item of the run with a score.
        level: Two-sided confidence level.
        clustered: Whether items come in clusters; no correction here allows for that.
        scale: The least and the greatest score there is, where known.

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
    kappa = cohen_kappa(whole.rows, level=level)
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
        agreement=agreement(whole, level),
        sensitivity=sensitivity(whole, level),
        specificity=specificity(whole, level),
        youden=youden(whole),
        kappa=kappa.interval,
        kappa_standard_error=kappa.standard_error,
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
    )


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


def _verdicts(
    pairs: Iterable[Pair], scores: bool, pass_at: float | None
) -> list[tuple[bool, bool]]:
    """Label and judge as verdicts, where both have one."""
    if scores and pass_at is None:
        return []
    return [
        (pair.label >= pass_at if scores and pass_at is not None else pair.label == 1, pair.passed)
        for pair in pairs
        if pair.passed is not None
    ]


def _noted(found: Labelled, random: bool | None) -> Literal["random", "verdict", ""]:
    """How the labels say, or the user says, that they were drawn."""
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
    ranks = rank_agreement(labels, judged, level)
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
        against = "the labels are said to be a random subset of this run and are not"
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
    """What more labels would give with a judge like this; nothing while its rates are unknown."""
    passes = table.both_yes + table.only_reference
    fails = table.both_no + table.only_judge
    if not passes or not fails or n == 0:
        return ()
    # A few labels without an error do not show that there are none (Laplace's rule).
    sensitive, specific = (table.both_yes + 1) / (passes + 2), (table.both_no + 1) / (fails + 2)
    return label_plan(n, passes / table.n, sensitive, specific, level)
