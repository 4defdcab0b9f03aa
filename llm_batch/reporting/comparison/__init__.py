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
    """One of the runs by itself; the figures are those of its own report.

    Attributes:
        name: What it is called here: the shortest end of its path that tells it apart.
        path: The results file as it was named.
        run_id: The run's id; empty without a manifest.
        created_at: When it was first started, ISO 8601, UTC.
        models: Models by step, joined by `` + `` in the order of the chain.
        read: Items in the file.
        scored: Items with a score.
        failed: Items without a result.
        pass_rate: Over its own items with a verdict, bounded for items like these.
        mean_score: Over its own scored items.
        cost: USD; ``None`` when a price is unknown.
        cost_per_item: USD.
        cost_per_passed: USD by items that passed.
        input_tokens: Of all calls, as the provider counted them.
        output_tokens: The same, reasoning included.
        latency_p50: Median seconds per item.
        latency_p95: The 95 % quantile of the same.
        seconds: Wall time of the run.
        simulated: True when a fake provider answered any of it.
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
    """Pass or fail on the same items.

    Attributes:
        n: Items with a verdict in both.
        baseline_rate: Share that passes in the baseline.
        run_rate: Share that passes in the run.
        difference: Run minus baseline, by Tango's interval; by Newcombe's where ``paired`` is
            False; by Student's t over clusters where these were named.
        gained: Items that fail in the baseline and pass in the run; ``None`` when not paired.
        lost: Items that pass in the baseline and fail in the run.
        p_value: Of "no difference": McNemar's test (mid-p), the t test over clusters, or
            the chi-squared test of unpaired rates; ``None`` without items.
        p_adjusted: The same after Holm's correction over what stands beside it (the categories,
            or the runs).
        paired: Whether the same items are compared.
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
    """Scores on the same items.

    Attributes:
        n: Items with a score in both.
        baseline_mean: Over these items.
        run_mean: Over these items.
        difference: Mean of the differences with a paired t interval.
        p_value: Of the paired t test; ``None`` where all differences are equal.
        p_adjusted: After Holm's correction over the runs.
        wins: Items the run scores higher on.
        ties: Items with equal scores.
        losses: Items the run scores lower on.
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

    Attributes:
        id: The item.
        kind: ``gained`` (now passes), ``lost`` (now fails), ``higher`` or ``lower``.
        category: Its group; empty without groups.
        baseline_score: In the baseline.
        run_score: In the run.
        question: The beginning of the item's first text field.
        baseline_output: The beginning of what was judged in the baseline.
        run_output: The same in the run.
        baseline_reason: Why the baseline's judge said so.
        run_reason: The same in the run.
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
class Against:
    """One run against the baseline.

    Attributes:
        run: The run's name.
        common: Items that are in both files.
        only_baseline: Items that are in the baseline's file alone.
        only_run: Items that are in the run's file alone.
        unscored: Items in both that lack a score or verdict in one of them.
        other_content: Items with the same id and other fields.
        rates: Pass or fail; ``None`` where one of the runs has no verdicts.
        scores: The scores; ``None`` where the items differ or there are none.
        categories: Pass or fail by category, largest first.
        changed: How many items changed (see `Change`).
        changes: The first of them, at most 10,000: lost or lower first.
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs against the first of them.

    Attributes:
        schema: Version of this layout.
        headline: The finding in one sentence.
        level: Confidence level of all intervals.
        baseline: Name of the run the others are compared with.
        group_field: The field of the categories; empty without.
        runs: All of them, the baseline first.
        settings: What the manifests say differently.
        against: One for each run but the baseline, in the same order.
        paper: What a paper can say of each difference, a sentence each.
        warnings: What to keep in mind.
        next_steps: What to do next.
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
