"""What a report holds: numbers and texts, nothing to compute and nothing to draw.

Every format shows this one tree, and the JSON format is this tree: a name here is a key there.
Rates and shares are fractions of one, money is USD, times are seconds, scores are in their own
unit. What is not known or cannot be computed is ``None``, never 0 and never NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_batch.engines import ENGINES
from llm_batch.paper import Readable
from llm_batch.records import Interval, Usage
from llm_batch.reporting.foreign import Columns
from llm_batch.reporting.judging.calibration import Calibration
from llm_batch.reporting.judging.reliability import Reliability
from llm_batch.reporting.several.model import Several
from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.classes import Averages


@dataclass(frozen=True, slots=True)
class ModelSpending:
    """What the calls of one step to one model took, whichever results they ended in.

    Calls are requests with all their attempts, attempts are sends, and usage is of the answers. The
    cost is ``None`` when the price of any of it is unknown; the known cost is of the rest.
    """

    step: str
    model: str
    calls: int
    answered: int
    attempts: int
    usage: Usage
    cost: float | None
    known_cost: float


@dataclass(frozen=True, slots=True)
class JournalSpending:
    """Every call that was ever made for a results file, and what was paid in vain.

    Attributes:
        beside_results: Cost of calls that no result rests on, such as answers to an earlier prompt.
        failed_calls: Calls that ended without an answer.
        failed_cost: An upper bound: their attempts may have been billed.
        replaced_calls: Answers that a later one replaced: asked again because they could
            not be read, or because the prompt, the model or a parameter changed.
        retry_cost: An upper bound for failed attempts of calls that were answered in the end: what
            was booked beyond the list price of the answer.
        failed_seconds: Of failed attempts, added up over all threads.
    """

    calls: int
    cost: float | None
    beside_results: float | None
    failed_calls: int
    failed_cost: float
    replaced_calls: int
    replaced_cost: float
    retry_cost: float | None
    failed_seconds: float
    models: tuple[ModelSpending, ...]


@dataclass(frozen=True, slots=True)
class CostBreakdown:
    """Where the money of a run went, at the list prices of plain requests in its manifest.

    Attributes:
        failed_items: Items without a result, for which something was called.
        sent_again: Sends beyond the first for an item in a step: retries and re-asks.
        sent_again_share: Of all sends.
        cached_share: Of input tokens, those that came from the provider's cache.
        cache_saved: By reading from the cache, less what writing to it cost more; ``None`` also
            where no token was cached.
        reasoning_share: Of output tokens.
        reasoning_cost: At the price of output.
        list_cost: Of all counted tokens.
        list_cost_now: At the prices of the table that is installed now; ``None`` when that is the
            run's own table, or the prices came from the config.
        prices_now: Which table that is; empty without one.
        journal: ``None`` when it was not read.
    """

    failed_items: int
    failed_cost: float | None
    sent_again: int
    sent_again_share: float | None
    cached_share: float | None
    cache_saved: float | None
    reasoning_share: float | None
    reasoning_cost: float | None
    list_cost: float | None
    list_cost_now: float | None
    prices_now: str
    journal: JournalSpending | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast something went, beside its limit; all per minute.

    The mean leaves out pauses between sessions; ``busiest`` is the most in any 60 seconds, or all
    of it in a run that was shorter, and ``use`` its share of the limit.
    """

    mean: float
    busiest: float
    limit: float | None
    use: float | None


@dataclass(frozen=True, slots=True)
class ModelTimeline:
    """The requests of one model over time, retries included; the series have a number for each bin.

    A request counts when it is sent, and its tokens (input and output) and cost count then too,
    those of answers alone; a refusal (HTTP 429) counts when it comes. It was paused as long as at
    least one refused request waited to be sent again. Errors are failed attempts by kind.
    """

    model: str
    sent: int
    requests: Pace
    tokens: Pace
    refused: int
    paused_seconds: float
    errors: dict[str, int]
    bin_sent: tuple[int, ...]
    bin_tokens: tuple[int, ...]
    bin_cost: tuple[float, ...]
    bin_retried: tuple[int, ...]
    bin_refused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run from its first request to its last answer, pauses between sessions left out.

    It started at seconds since 1970-01-01 UTC. Between two sessions nothing was under way for five
    minutes or more; the idle seconds are those pauses, added up. Models come in the order of their
    first request.
    """

    started_at: float
    seconds: float
    sessions: int
    idle_seconds: float
    bin_seconds: float
    models: tuple[ModelTimeline, ...]


#: Version of the layout of ``llmb report --format json``.
REPORT_SCHEMA = 2
#: What an interval speaks of when it looks beyond the dataset.
FUTURE = "future items like these"


@dataclass(frozen=True, slots=True)
class Run:
    """The run the results came from; empty texts and ``None`` where no manifest says.

    Attributes:
        created_at: When it was first started, ISO 8601, UTC.
        status: One of `llm_batch.errors.ENDINGS`.
        models: By step name, in the order of the chain.
        judge: Name of the step the score comes from; empty without one, or where a rule scores.
        rule: The rule that scores; empty where none does.
        calls: In all sessions; ``seconds`` of wall time likewise.
        simulated: True when the fake provider answered any of it.
    """

    id: str
    created_at: str
    status: str
    engine: str
    models: Mapping[str, str]
    judge: str
    rule: str
    calls: int | None
    seconds: float | None
    expected_seconds: Range | None
    simulated: bool

    @property
    def waits_unwatched(self) -> bool:
        """Whether it goes on while nobody waits for it, and that time is not counted."""
        kind = ENGINES.get(self.engine)
        return kind is not None and kind.by_batch


@dataclass(frozen=True, slots=True)
class Items:
    """How much of the dataset the results cover.

    Attributes:
        planned: Items the sample was to have.
        read: Items in the results file, failed ones included.
        ok: Those whose chain came to its end.
        coverage: ``scored / planned``; of the items read when the plan is unknown.
        duplicates: Lines left out because their id had been seen before.
        unasked: Items that the score is not for, since its step was skipped; of a further score.
    """

    population: int | None
    planned: int | None
    read: int
    ok: int
    scored: int
    coverage: float | None
    duplicates: int
    unasked: int = 0


@dataclass(frozen=True, slots=True)
class StatusCount:
    """Items of one status: ``ok`` or a kind of failure, with the first of them as an example."""

    kind: str
    n: int
    example_id: str
    example_error: str


@dataclass(frozen=True, slots=True)
class PassRate:
    """How many items pass, and what that says.

    Attributes:
        pass_at: The least score that passes.
        rate: Among items with a verdict, bounded for items like these, and where more than 2 % of
            verdicts are missing whatever these would have been.
        estimand: What the bounds speak of, in words.
        dataset: The same rate bounded for the dataset alone, where the items are 5 % of it or more.
        bound: The exact one-sided bound for items like these, when all passed or all failed.
        missing: Items that were played and have no verdict.
        least: The rate if every missing verdict were a fail; ``most`` if it were a pass.
        unweighted: Given when ``rate`` is weighted because strata were drawn out of proportion.
        clusters: How many the items come in, where a field for them was named.
        design_effect: By how much their likeness multiplies the variance.
    """

    pass_at: float | None
    passed: int
    rate: Interval
    estimand: str
    dataset: Interval | None
    bound: Interval | None
    missing: int
    least: float | None
    most: float | None
    unweighted: Interval | None = None
    clusters: int | None = None
    design_effect: float | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """Scores from ``low`` to below ``high`` (the last bin includes it); equal for one value."""

    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores as numbers, in their own unit.

    Attributes:
        mean: Bounded for items like these, and where more than 2 % of scores are missing on a scale
            with known ends whatever these would have been.
        estimand: What the bounds speak of, in words.
        dataset: The same mean bounded for the dataset alone, where the items are 5 % of it or more
            and each has a score.
        sd: With the divisor n - 1; ``None`` for fewer than 2 scores.
        median: The 50 % quantile, type 7.
        distribution: Every value with its count, or ten bins when there are many values.
        excluded: Scores left out because they are beyond 1e100.
        unweighted: Given when ``mean`` is weighted because strata were drawn out of proportion.
        least: The mean if every missing score were the least of the scale, ``most`` the greatest;
            ``None`` where none is missing or the ends of the scale are not known.
        scale: The least and the greatest score there can be, where that is known.
    """

    mean: Interval
    estimand: str
    dataset: Interval | None
    sd: float | None
    median: float | None
    min: float | None
    max: float | None
    distribution: tuple[Bin, ...]
    excluded: int
    unweighted: Interval | None = None
    least: float | None = None
    most: float | None = None
    scale: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The items that share one value of the grouping field.

    ``n`` counts the items read and ``population`` those in the dataset, when that is known.
    ``pass_rate`` is over items with a verdict, ``mean_score`` over items with a score.
    ``difference`` is its pass rate minus that of all other items (Newcombe), ``p_value`` that of
    no difference (Fisher's exact test, mid-p; ``None`` for fewer than five items) and
    ``p_adjusted`` the same after Holm's correction over the groups.
    """

    name: str
    population: int | None
    n: int
    scored: int
    passed: int
    pass_rate: Interval
    mean_score: float | None
    difference: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """The results by a field of the items, largest group first."""

    field: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A figure as it was estimated before the run."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was estimated before the run, for one step or in all; ``cost`` ``None``: no price."""

    calls: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Range | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What one step took, or all of them together (``total``).

    Attributes:
        items: Items for which it was called.
        attempts: Sends, re-asks and retries included.
        usage: As the provider counted; input includes cached, output reasoning.
        known_cost: Of the part whose price is known; ``cost`` needs all of them.
        unpriced: Items whose cost is unknown.
        latency_p50: Median seconds per item, of the answering attempts (quantile of type 7).
        latency_tails: The 95 and 99 % quantiles with their bounds, from order statistics, as those
            of ``latency_median``.
        estimate: What had been estimated; ``None`` without a manifest.
    """

    step: str
    items: int
    attempts: int
    usage: Usage
    cost: float | None
    known_cost: float
    unpriced: int
    latency_p50: float | None
    latency_p95: float | None
    latency_p99: float | None
    latency_tails: tuple[Interval, Interval]
    latency_median: Interval
    estimate: Estimate | None


@dataclass(frozen=True, slots=True)
class Money:
    """What the run's cost means per item and for the whole dataset; USD.

    The latter is from the items read (t interval, finite population). The cost of worst-case items
    includes an upper bound in place of a bill. Where the provider ``reported`` what its answers
    cost, the larger of that and our price, as ``listed``, is booked for each.
    """

    per_item: float | None
    per_passed: float | None
    whole_dataset: Interval | None
    worst_case_items: int
    reported: float | None = None
    listed: float | None = None


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """The judge's verdicts beside a string match: is the reference found in the answer?

    A match is a hint and no person's label: it misses right answers in other words and accepts
    wrong ones that mention the reference. Sensitivity is the share of items with a match that the
    judge passes, specificity that of items without one that it fails. Left ``unchecked`` are items
    with a verdict and no reference, no text, or a reference too long to be looked for word for
    word.
    """

    reference: str
    step: str
    found_passed: int
    found_failed: int
    absent_passed: int
    absent_failed: int
    unchecked: int
    agreement: Interval
    sensitivity: Interval
    specificity: Interval
    kappa: Interval
    kappa_standard_error: float | None

    @property
    def table(self) -> BinaryTable:
        """Match and judge beside each other."""
        return BinaryTable(
            self.found_passed, self.absent_passed, self.found_failed, self.absent_failed
        )


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class of a classification: its items, how many answers name it, and its figures."""

    name: str
    items: int
    answered: int
    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often one thing was answered where another is right, with the first such items."""

    expected: str
    found: str
    n: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """What a rule that compares says beside its verdicts.

    Attributes:
        compared: Items that had something right to compare with.
        unanswered: Those of them in whose answer nothing was found; they are wrong.
        near: Wrong answers that share a word with the right one, which may be only too strict.
        near_example: What was right of the first of them, and what was answered.
        classes: By name; empty where what is right are no few classes.
        averages: Over all classes; ``None`` without.
        table: A row for each class, a column for each class, one for other answers and one for
            none.
        confusions: Most frequent first.
    """

    compared: int
    unanswered: int
    near: int = 0
    near_example: tuple[str, str] | None = None
    classes: tuple[ClassFigures, ...] = ()
    averages: Averages | None = None
    table: tuple[tuple[int, ...], ...] = ()
    confusions: tuple[Confusion, ...] = ()


@dataclass(frozen=True, slots=True)
class Report(Readable):
    """Everything there is to say about one results file.

    Attributes:
        paper: The headline as a paper would say it, with how the items were chosen; empty without a
            result.
        statuses: ``ok`` first, then failures by frequency.
        steps: In the order of the chain.
        columns: How a file that llmb did not write was read; ``None`` for results of a run.
        breakdown: ``None`` for a file that llmb did not write.
        timeline: ``None`` unless the journal was read.
        calibration: The judge beside people's labels, and rates corrected by them.
        judges: How far several judges agree, where some were named.
        rule_check: What a rule found, where one that compares gave the score.
        score: Which score the figures are of, where it is not the main one.
        several: What juries, repeats, pairs, audits and further scores came to.
    """

    schema: int
    path: str
    headline: str
    level: float
    run: Run
    items: Items
    statuses: tuple[StatusCount, ...]
    pass_rate: PassRate
    scores: Scores
    groups: Groups | None
    steps: tuple[Spending, ...]
    total: Spending
    money: Money
    judge_check: JudgeCheck | None
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]
    columns: Columns | None = None
    breakdown: CostBreakdown | None = None
    timeline: Timeline | None = None
    paper: str = ""
    calibration: Calibration | None = None
    judges: Reliability | None = None
    rule_check: RuleCheck | None = None
    several: Several | None = None
    score: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """The items, as flat as the CSV has them: ``pandas.DataFrame(report.rows())``.

        Raises:
            OutputError: The results file cannot be read a second time.
        """
        from llm_batch.reporting.items import rows

        return list(rows(self))

    def _formats(self) -> Mapping[str, Callable[[Any], str]]:
        from llm_batch.reporting import FORMATS

        return FORMATS
