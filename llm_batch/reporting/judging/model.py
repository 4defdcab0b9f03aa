"""What a report says of its judge once people have labelled some items, and of several judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llm_batch.records import Interval
from llm_batch.stats.agreement import BinaryTable, Scale
from llm_batch.stats.calibrate import Labelling

#: How the labelled items were chosen. ``random``: at random from this run; ``verdict``: within
#: each verdict of the judge, by what is noted or by what their counts show; ``all``: every item
#: with a verdict; ``separate``: none is in this run; ``unknown``: nothing says.
Drawn = Literal["random", "verdict", "all", "separate", "unknown"]

#: Which of the corrected rates to report: ``ppi``, ``rogan_gladen``, ``verdict`` (weighted by
#: verdict), ``labels`` (the labels' own rate, when all items have one) or none.
Main = Literal["ppi", "rogan_gladen", "verdict", "labels", ""]


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where labels are, as the user says it.

    Attributes:
        path: A file with an id and a label in each row; empty where a field holds them.
        columns: The columns with labels, one for each person; empty to find them by their names.
        field: The field of the items that holds their label; empty with a file.
        judged: Results in which the same judge scored the labelled items, when they are not
            part of this run; may be empty.
        random: Whether the labelled items were drawn at random from this run; ``None`` when the
            user does not say.
        pass_words: Words that pass, where labels are words; all others then fail.
        delimiter: Between the cells of a CSV; found where empty.
        encoding: Of a text file, likewise.
        sheet: Of a workbook, by its name or number; the first where empty.
    """

    path: str = ""
    columns: Sequence[str] = ()
    field: str = ""
    judged: str = ""
    random: bool | None = None
    pass_words: tuple[str, ...] = ()
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far several raters agree: judges, people, or one judge asked again.

    Attributes:
        raters: Their names.
        items: Items that at least two of them rated.
        scale: How a disagreement counts: ``nominal``, ``ordinal`` or ``interval``.
        alpha: Krippendorff's alpha; ``None`` where it is undefined.
        all_agree: Share of items on which all say the same.
        within: Mean share of equal pairs of ratings within an item.
    """

    raters: tuple[str, ...]
    items: int
    scale: Scale
    alpha: Interval
    all_agree: Interval
    within: Interval


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Labels and judge as scores on one scale.

    Attributes:
        values: The scores, in their order.
        counts: A row for each label, a column for each score of the judge.
        kappa_linear: Cohen's kappa in which a disagreement counts by its distance.
        kappa_quadratic: The same by its squared distance.
    """

    values: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    kappa_linear: Interval
    kappa_quadratic: Interval


@dataclass(frozen=True, slots=True)
class ScoreCheck:
    """The judge's scores beside labels that are scores.

    Attributes:
        labelled: Items with a label and a score.
        drawn: How they were chosen, by scores; never ``verdict``.
        noted_random: Whether they are said to be a random subset of this run.
        alike: p-value of "drawn without regard to the score"; ``None`` where there is no rest.
        same_scale: Whether labels and scores may be on one scale.
        labels: The least and the greatest label.
        judged: The same of the judge's scores.
        spearman: Rank correlation of both.
        kendall: The same as tau-b.
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
        drawn: How the labelled items were chosen.
        seed: The seed they were drawn with, when ``llmb label`` drew them.
        noted: How they are said to have been drawn: ``random``, ``verdict`` or nothing.
        alike: p-value of "drawn without regard to the verdict"; ``None`` where there is no rest.
        labelled: Items with a label and a verdict of the judge.
        separate: How many of these are not part of this run.
        skipped: Items that a person passed over, or whose raters disagree evenly.
        unjudged: Items of this run with a label and no verdict of the judge.
        unmatched: Labelled ids of which nothing is known.
        unmatched_ids: The first of them.
        repeated: Rows that repeat a label given before.
        unreadable: Values of the labels' field that are no labels.
        both_pass: Label and judge pass.
        only_label: The label passes, the judge fails.
        only_judge: The judge passes, the label fails.
        both_fail: Both fail.
        agreement: Share of labelled items on which both say the same.
        sensitivity: Share of items labelled as a pass that the judge passes.
        specificity: Share of items labelled as a fail that the judge fails.
        youden: Sensitivity + specificity - 1; ``None`` when either is unknown.
        kappa: Cohen's kappa of the verdicts.
        kappa_standard_error: Its standard error.
        scores: Labels beside scores, when labels are scores with up to 20 values.
        uncorrected: The judge's pass rate over the run.
        labels_alone: The labels' pass rate over labelled items of this run.
        rogan_gladen: The judge's rate corrected by sensitivity and specificity.
        rogan_gladen_clipped: Whether it came out below 0 or above 1.
        ppi: The prediction-powered pass rate (PPI++).
        ppi_clipped: Whether it came out below 0 or above 1.
        ppi_weight: How far the judge's verdicts count in it, 0 to 1.
        by_verdict: The labels' rate within each verdict, weighted by the run's verdicts.
        swapped: Whether labels and verdicts say the opposite of each other.
        clustered: Whether items come in clusters, so that no corrected rate is told.
        main: Which of these to report.
        corrected: That one.
        score_check: Correlation, bias and the corrected mean, when labels are scores.
        raters: How far people agree, when several labelled.
        plan: What more labels would give, with the judge as it was found to be.
        worth: How many labels are worth it by that plan; 0 when it is not known.
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
