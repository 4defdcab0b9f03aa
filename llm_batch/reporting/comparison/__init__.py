"""What a comparison of runs holds; the JSON format is this tree, a name here is a key there.

Differences are always *run minus baseline*: above 0 the run is the higher. Rates and shares are
fractions of one, money is USD, times are seconds. What is not known is ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_batch.records import Interval

#: Version of the layout of ``llmb report a.jsonl b.jsonl --format json``.
COMPARISON_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One of the runs by itself; the figures are those of its own report, over its own items.

    It is called by the shortest end of its path that tells it apart; its models stand in the order
    of the chain. Latencies are seconds per item; ``seconds`` is the wall time of the run.
    """

    name: str
    path: str
    run_id: str
    created_at: str
    models: str
    read: int
    scored: int
    failed: int
    pass_rate: Interval
    mean_score: Interval
    cost: float | None
    cost_per_item: float | None
    cost_per_passed: float | None
    input_tokens: int
    output_tokens: int
    latency_p50: float | None
    latency_p95: float | None
    seconds: float | None
    simulated: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """Something the manifests say differently: one value per run, in the order of the runs."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateDifference:
    """Pass or fail on the same items, or with ``paired`` False on different ones.

    Attributes:
        n: Items with a verdict in both.
        difference: Run minus baseline, by Tango's interval; by Newcombe's for different items; by
            Student's t over clusters where these were named.
        gained: Items that fail in the baseline and pass in the run, ``lost`` the reverse; ``None``
            when not paired.
        p_value: Of "no difference": McNemar's test (mid-p), the t test over clusters, or the
            chi-squared test of unpaired rates; ``None`` without items.
        p_adjusted: After Holm's correction over what stands beside it (the categories, or the
            runs).
    """

    n: int
    baseline_rate: float | None
    run_rate: float | None
    difference: Interval
    gained: int | None
    lost: int | None
    p_value: float | None
    p_adjusted: float | None
    paired: bool = True


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """Scores on the same items, ``n`` of them; the means are over these, and wins those that the
    run scores higher on.

    The difference is the mean of the differences with a paired t interval; the p-value, ``None``
    where all are equal, that of the paired t test, adjusted after Holm's correction over the runs.
    """

    n: int
    baseline_mean: float | None
    run_mean: float | None
    difference: Interval
    p_value: float | None
    p_adjusted: float | None
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class CategoryDifference:
    """The pass rates of one category, on the same items."""

    name: str
    rates: RateDifference


@dataclass(frozen=True, slots=True)
class Change:
    """An item whose verdict changed, or without verdicts one whose score did.

    ``kind`` is ``gained`` (now passes), ``lost`` (now fails), ``higher`` or ``lower``. Texts are
    the beginnings of the item's first text field, of what was judged and of why.
    """

    id: str
    kind: str
    category: str
    baseline_score: float | None
    run_score: float | None
    question: str = ""
    baseline_output: str = ""
    run_output: str = ""
    baseline_reason: str = ""
    run_reason: str = ""


@dataclass(frozen=True, slots=True)
class NamedDifference:
    """The difference in one of several scores: in passes where it has verdicts, else in means.

    ``p_adjusted`` is Holm's over all scores of the two runs.
    """

    name: str
    rates: RateDifference | None
    scores: ScoreDifference | None
    p_adjusted: float | None


@dataclass(frozen=True, slots=True)
class Against:
    """One run against the baseline.

    Attributes:
        unscored: Items in both that lack a score or verdict in one of them.
        other_content: Items with the same id and other fields.
        rates: ``None`` where one of the runs has no verdicts.
        scores: ``None`` where the items differ or there are none.
        categories: Largest first.
        changes: The first of the changed, at most 10,000: lost or lower first.
        by_score: Every score that both runs have, the main one first; empty where it is alone.
    """

    run: str
    common: int
    only_baseline: int
    only_run: int
    unscored: int
    other_content: int
    rates: RateDifference | None
    scores: ScoreDifference | None
    categories: tuple[CategoryDifference, ...]
    changed: int
    changes: tuple[Change, ...]
    by_score: tuple[NamedDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs against the first, the baseline; ``paper`` has a sentence for each difference.

    The ``score`` is the name of the further one that is compared; empty for the main one.
    """

    schema: int
    headline: str
    level: float
    baseline: str
    group_field: str
    runs: tuple[RunFigures, ...]
    settings: tuple[Setting, ...]
    against: tuple[Against, ...]
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]
    paper: tuple[str, ...] = ()
    score: str = ""
