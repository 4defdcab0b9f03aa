"""The finding in one sentence, what to keep in mind, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.chain.overrides import Typed, command
from llm_batch.errors import ENDINGS, STATUSES, status_of
from llm_batch.paper import words
from llm_batch.record.manifest import Manifest, Stopping
from llm_batch.records import Interval
from llm_batch.reporting.calls import CallsTally
from llm_batch.reporting.judging.calibration import Calibration
from llm_batch.reporting.judging.sentences import (
    cautions,
    headline_part,
    labels_to_make,
    mean_headline_part,
)
from llm_batch.reporting.model import Report
from llm_batch.reporting.rates import MISSING_SHARE
from llm_batch.reporting.rules import near_misses
from llm_batch.reporting.several.document import audit_cautions, pair_headline, repeats_headline
from llm_batch.stats.interval import ALL_SCORED, WHATEVER_MISSING
from llm_batch.stats.means import ON_SCALE
from llm_batch.stats.sizes import FINITE_SHARE, finite_size, sample_size

_METHODS = {
    "wilson": "Wilson",
    "wilson, finite population": "Wilson with finite population",
    "t": "Student's t",
    ON_SCALE: "Student's t with half a score more at each end of the scale",
    "t, finite population": "Student's t with finite population",
    "clopper-pearson": "Clopper-Pearson",
    "hypergeometric, exact": "exact hypergeometric",
    "clustered wilson": "Wilson by clusters",
    "clustered t": "Student's t by clusters",
    "wilson, stratified": "Wilson by strata, weighted",
    "t, stratified": "Student's t by strata, weighted",
    "ppi++, smoothed": "PPI++",
    "ppi++, t": "PPI++ with Student's t",
    "rogan-gladen, lee et al.": "Rogan-Gladen, interval of Lee et al.",
    "begg-greenes, mover": "Begg and Greenes, labels by verdict",
    "wilson, labels alone": "Wilson, labels alone",
    WHATEVER_MISSING: "Imbens-Manski",
    ALL_SCORED: "none needed, all were judged",
}
#: Half widths a larger sample may aim at, as fractions of one.
_MARGINS = (0.05, 0.03, 0.02, 0.01)
#: A size that is more than this of the worst case's is no other one.
_NEARLY = 0.95


def method(interval: Interval) -> str:
    """How an interval was made, in the words of a report."""
    return _METHODS.get(interval.method, interval.method)


def headline(report: Report, methods: bool = True) -> str:
    """The pass rate, or else the mean score, or else what there is, in one sentence.

    Args:
        report: The figures.
        methods: Whether to name how the intervals were made.
    """
    items = report.items
    if not items.read:
        ending = ENDINGS.get(report.run.status)
        return f"No results yet: {(ending and ending.words) or 'the file holds no items'}"
    found = _finding(report, methods)
    return f"SIMULATED: {found}" if report.run.simulated else found


def _finding(report: Report, methods: bool) -> str:
    items, rate = report.items, report.pass_rate.rate
    check, several = checked_by(report), report.several
    if several is not None and several.headline_pair is not None:
        told = pair_headline(several.headline_pair, methods)
        if told:
            return told
    if rate.value is not None:
        told = f"{words.percent(rate.value)}{_bounds(report, rate, True, methods)}"
        if several is not None and several.repeats is not None:
            told = "; ".join(filter(None, (told, repeats_headline(several.repeats))))
        corrected = headline_part(check, methods) if check else ""
        if corrected:
            return f"{corrected}; the {'rule' if report.run.rule else 'judge'} alone says {told}"
        return f"{rate_name(report)} {told}"
    mean = report.scores.mean
    if mean.value is not None:
        told = f"{words.mean(mean.value)}{_bounds(report, mean, False, methods)}"
        corrected = mean_headline_part(check, methods) if check else ""
        return (
            f"{corrected}; the judge alone says {told}"
            if corrected
            else f"{mean_name(report)} {told}"
        )
    if items.ok:
        return f"{items.ok:,} of {words.items(items.read)} answered; none of them has a score"
    return f"No result: {_all_failed(items.read)}"


def checked_by(report: Report) -> Calibration | None:
    """What corrects the judge: people's labels, or else the audit."""
    if report.calibration is None and report.several is not None and report.several.audit:
        return report.several.audit.check
    return report.calibration


def rate_name(report: Report) -> str:
    """What the share that passes is called: where a rule compares with what is right, accuracy."""
    name = "Accuracy" if report.run.rule in _ACCURATE else "Pass rate"
    return f"{name} of {words.named(report.score, 30)}" if report.score else name


def mean_name(report: Report) -> str:
    """What the mean score is called."""
    return f"Mean of {words.named(report.score, 30)}" if report.score else "Mean score"


_ACCURATE = ("equals", "number", "choice")


def _all_failed(n: int) -> str:
    return "the only item failed" if n == 1 else f"all {n:,} items failed"


def _bounds(report: Report, interval: Interval, percent: bool, methods: bool) -> str:
    population = report.items.population
    whole = f" of {words.items(population)}" if population is not None else None
    count = f"{interval.n:,}{whole}" if whole else words.items(interval.n)
    if population == interval.n:
        done = "scored" if report.run.rule else "judged"
        count = f"all {words.items(interval.n)} of the dataset were {done}"
    if interval.low is None:
        return f" (no interval), {count}"
    bounds = words.percent_range(interval) if percent else words.mean_range(interval)
    level = words.level(report.level)
    how = f", {method(interval)}" if methods else ""
    return f" ({level} interval {bounds}{how}), {count}"


def next_steps(
    report: Report, typed: Typed | None, waiting: str = "", reference: str = ""
) -> tuple[str, ...]:
    """What to do next, most pressing first; ``typed`` made the run, where that is known.

    ``waiting`` as in `caveats`; ``reference`` is a field that the judge alone is shown.
    """
    items = report.items
    steps: list[str] = []
    failed = {status.kind: status.n for status in report.statuses if status.kind != "ok"}
    again = sum(n for kind, n in failed.items() if not status_of(kind).settled)
    left = (items.planned or 0) - items.read
    if waiting:
        collect = (
            typed.command("run", "--collect", engine="batch") if typed else "llmb run --collect"
        )
        steps += [
            f"Run `{collect}`: it takes what has been answered, and submits what follows.",
            f"See how far the jobs are: `{command('batches', report.path)}`.",
        ]
        if not items.read:
            return tuple(steps)
    if not items.read:
        return (
            f"Run {_again(typed, '`llmb run`')}: it writes the results, or resumes where it "
            "stopped.",
        )
    if (left > 0 or again) and not waiting:
        wanted = [f"plays the {words.items(left)} left"] if left > 0 else []
        wanted += [f"tries {words.items(again)} again"] if again else []
        steps.append(
            f"Run {_again(typed, 'the same `llmb run`')} again: it {' and '.join(wanted)}, and "
            "pays for nothing twice."
        )
    if failed and report.columns is None and report.path != "-":
        replies = "the failed items with their replies"
        steps.append(f"See {replies}: `{command('failures', report.path)}`.")
    for kind, status in STATUSES.items():
        if kind in failed and status.settled:
            steps.append(f"{failed[kind]:,} {status.name}: {status.advice}.")
    paired = report.several is not None and report.several.headline_pair is not None
    scored = report.run.judge or report.run.rule or items.scored
    if not scored and items.ok and not paired:
        steps.append("Add a [score] to the config to get a mean score and a pass rate.")
    elif items.scored and report.pass_rate.rate.value is None:
        table = f"scores.{words.clean(report.score, 30)}" if report.score else "score"
        steps.append(f"Set pass_at under [{table}] to get a pass rate.")
    if report.calibration is not None:
        more = labels_to_make(report.calibration, report.path)
        steps += [more] if more else []
    elif report.pass_rate.rate.n and report.path != "-" and not report.run.rule:
        steps.append(
            "Label some items yourself to see how often the judge is right, and to correct the "
            f"pass rate for its errors: `{command('label', report.path)}`."
        )
    larger = _larger_sample(report, typed)
    if larger and left <= 0:
        steps.append(larger)
    unchecked = report.judge_check is None and report.calibration is None
    if report.pass_rate.rate.n and unchecked and not report.run.rule and reference:
        steps.append(
            "See how often the judge agrees with the reference answers: "
            f"`{command('report', report.path, '--reference', reference)}`."
        )
    return tuple(steps)


def _again(typed: Typed | None, unknown: str, **flags: float) -> str:
    """The command that plays the run again, or what to call it where that is not known."""
    return f"`{typed.command('run', **flags)}`" if typed else unknown


def _larger_sample(report: Report, typed: Typed | None) -> str:
    """The sample that would narrow the interval of the pass rate; empty when there is none."""
    items, rate = report.items, report.pass_rate.rate
    if items.population is None or rate.value is None or rate.low is None or rate.high is None:
        return ""
    if rate.method == WHATEVER_MISSING:
        return ""  # more items would leave as large a share without a verdict
    half = (rate.high - rate.low) / 2
    margin = next((margin for margin in _MARGINS if margin < 0.8 * half), None)
    if margin is None or items.population <= items.read:
        return ""
    # The rate nearest to one half that is still likely asks for the most items.
    likely = min(max(0.5, rate.low), rate.high)
    worst, asked = (sample_size(margin, report.level, each).n_classic for each in (0.5, likely))
    # An estimate plans for one half: what is nearly its figure is its figure.
    n0 = worst if asked > _NEARLY * worst else asked
    # Items that fail leave fewer verdicts than are played.
    size, alone = (
        round(needed * items.read / rate.n) for needed in (n0, finite_size(n0, items.population))
    )
    finite = report.pass_rate.clusters is None and alone > FINITE_SHARE * items.population
    of, besides = "", ""
    if finite and size > items.population:
        of, size = f" on these {words.items(items.population)} alone", alone
    elif finite:
        of = " on items like these"
        if alone > items.read:
            besides = f" For these {words.items(items.population)} alone, {alone:,} are enough."
    if not items.read < size <= items.population:
        return ""
    more = size - items.read
    cost = report.money.per_item
    price = f" for about {words.usd(cost * more)}" if cost else ""
    unknown = f"`llmb run --sample {size}`, with the flags of this run,"
    now = f" (now ±{words.number(100 * half, 2)})" if size != alone else ""
    return (
        f"Run {_again(typed, unknown, sample=size)} to know the pass rate to "
        f"±{words.number(100 * margin)} points{of}{now}: {more:,} more items{price}.{besides}"
    )


#: Fewer scored items than this say little.
FEW_ITEMS = 30
#: With fewer clusters their spread is hardly known (Cameron and Miller 2015).
FEW_CLUSTERS = 30
#: Fewer skewed scores than this leave the bootstrap below its level (simulated).
_ENOUGH_OF_SKEWED = 150
#: With so few scores that are not the end of the scale a mean's interval does not hold (simulated:
#: 31 to 92 % with 20 to 100 scores).
_FEW_ELSEWHERE = 10
#: By this much the share of a stratum may differ from its share of the dataset.
_OUT_OF_PROPORTION = 0.05


def caveats(
    report: Report,
    manifest: Manifest | None,
    problem: str,
    *,
    torn: bool,
    first_duplicate: str,
    simulated: int,
    calls: CallsTally | None,
    waiting: str = "",
) -> Iterator[str]:
    """The warnings that apply, most serious first.

    ``waiting`` names the batch jobs that are open; empty without any. ``problem`` says why the
    manifest could not be read, ``first_duplicate`` is the first id that was seen twice, and
    ``simulated`` counts the items that the fake provider answered.
    """
    items = report.items
    if report.run.simulated:
        of_them = f" {simulated:,} of" if 0 < simulated < items.read else ""
        yield (
            f"Simulated: a fake provider gave{of_them} the answers. The figures show that the run "
            "works; they say nothing about a model."
        )
    if manifest is None:
        yield (
            f"{problem}: the size of the dataset, the plan, the models and the estimate are "
            "unknown."
        )
    if torn:
        yield "The last line of the file is cut off and was left out."
    if items.duplicates:
        repeat, were = (
            ("line repeats", "was") if items.duplicates == 1 else ("lines repeat", "were")
        )
        yield (
            f"{items.duplicates:,} {repeat} an id seen before (the first is {first_duplicate!r}) "
            f"and {were} left out."
        )
    if manifest is not None and manifest.totals.status == "done":
        counted = sum(manifest.totals.items.values())
        if counted and counted != items.read:
            yield (
                f"The run wrote {words.items(counted)} and the file has {items.read:,}: it was "
                "changed since."
            )
    yield from _about_the_journal(calls)
    yield from _about_the_sample(report, manifest)
    if waiting:
        yield f"Answers are still to come from {waiting}."
    if report.rule_check is not None:
        yield from near_misses(report.rule_check, (manifest and manifest.dataset.path) or "")
    yield from _about_the_scores(report)
    yield from _about_the_judge(report)
    yield from _about_the_cost(report)


def _about_the_journal(calls: CallsTally | None) -> Iterator[str]:
    if calls is not None and calls.unreadable:
        lines = "line of the journal is" if calls.unreadable == 1 else "lines of the journal are"
        yield (
            f"{calls.unreadable:,} {lines} damaged or cut off and left out; the first is line "
            f"{calls.first_unreadable:,}."
        )


def _how_it_was_stopped(rule: Stopping) -> str:
    low, high = (100 * (bound or 0.0) for bound in (rule.low, rule.high))
    method = words.clean(rule.method or "", 60)
    found = f"after {rule.n:,} verdicts: {low:.1f} to {high:.1f} % ({method})"
    if rule.decided is not None and rule.method and "sequence" in rule.method:
        return (
            f"Its rule: stop when the pass rate is certainly above or below {100 * rule.decided:g} "
            f"%, {found}. That interval is right whenever one looks; the interval printed above is "
            "for a number of items fixed beforehand and is somewhat too narrow for this run."
        )
    return (
        f"Its rule: stop when the pass rate is known to ±{100 * (rule.margin or 0):g} points, "
        f"{found}. Stopping so hardly changes how often the interval is right (92 to 98 % in "
        "simulations)."
    )


def _about_the_sample(report: Report, manifest: Manifest | None) -> Iterator[str]:
    items = report.items
    ending = ENDINGS.get(report.run.status)
    stopped = ending.words[:1].upper() + ending.words[1:] if ending is not None else ""
    if items.planned and not items.read:
        yield (
            f"{stopped or 'The run is not complete'}: none of {words.items(items.planned)} planned "
            "is finished."
        )
    elif items.planned is not None and items.read < items.planned:
        yield (
            f"{stopped or 'The run is not complete'}: {items.read:,} of "
            f"{words.items(items.planned)} planned are here. They were drawn at random, so they "
            "still represent the rest, with a wider interval."
        )
    elif stopped:
        yield f"{stopped}."
    if manifest and manifest.stopping and report.run.status == "enough":
        yield _how_it_was_stopped(manifest.stopping)
        if report.pass_rate.clusters is not None:
            yield (
                "The rule that stopped the run ignored clusters: with them it stops too early, and "
                "its decision is not certain."
            )
    dataset = manifest.dataset.n if manifest else None
    if dataset is not None and dataset < items.read:
        yield (
            f"The dataset had {words.items(dataset)} and the results have {items.read:,}, so some "
            "are from elsewhere; the size of the dataset is ignored."
        )
    n = report.pass_rate.rate.n or items.scored
    if 0 < n < FEW_ITEMS:
        yield (
            f"Only {words.items(n)} scored: with fewer than {FEW_ITEMS}, intervals are wide and "
            "approximate."
        )
    clusters = report.pass_rate.clusters
    if clusters is not None and clusters < FEW_CLUSTERS:
        yield (
            f"Only {clusters} clusters: with fewer than {FEW_CLUSTERS}, even an interval by "
            "clusters is too narrow."
        )
    asked = report.several
    if clusters is not None and asked and (asked.juries or asked.pairs or asked.repeats):
        yield (
            "The figures of juries, pairs and repeats take items for independent: they do not go "
            "by clusters."
        )
    yield from _out_of_proportion(report)


def _out_of_proportion(report: Report) -> Iterator[str]:
    groups = report.groups.groups if report.groups else ()
    sizes = [group.population for group in groups if group.population]
    played = sum(group.n for group in groups)
    if len(sizes) < len(groups) or not sizes or not played:
        return
    total = sum(sizes)
    off = [
        group
        for group in groups
        if abs(group.n / played - (group.population or 0) / total) > _OUT_OF_PROPORTION
    ]
    if off:
        here = words.percent(off[0].n / played)
        there = words.percent((off[0].population or 0) / total)
        weighted = report.pass_rate.unweighted or report.scores.unweighted
        yield (
            f"{words.clean(off[0].name, 40)!r} is {here} of the results and {there} of the "
            f"dataset: {'overall figures are' if weighted else 'the overall rate is not'} "
            f"weighted for that."
        )


def _about_the_scores(report: Report) -> Iterator[str]:
    scores, rate, items = report.scores, report.pass_rate, report.items
    unasked = items.unasked if items.scored else 0
    missing = rate.missing or (items.read - unasked - items.scored if items.scored else 0)
    if unasked:
        yield (
            f"{words.items(unasked)} of {items.read:,} {'was' if unasked == 1 else 'were'} not "
            "scored, since the step was skipped: the figures are of the others."
        )
    if missing:
        beginning = f"{words.items(missing)} of {items.read:,} {'has' if missing == 1 else 'have'}"
        if rate.rate.n and rate.least is not None and rate.most is not None:
            held = rate.rate.method == WHATEVER_MISSING
            yield (
                f"{beginning} no verdict. If all of them had failed, the rate would be "
                f"{words.percent(rate.least)}; if all had passed, {words.percent(rate.most)}"
                + (". The interval covers both." if held else ".")
            )
        else:
            yield f"{beginning} no score."
        # The mean of a rule's verdicts is the rate, of which this was said.
        if scores.least is not None and scores.most is not None and not report.run.rule:
            yield (
                f"If every missing score were the lowest of the scale, the mean would be "
                f"{words.mean(scores.least)}; if the highest, {words.mean(scores.most)}"
                + (". Its interval covers both." if scores.mean.method == WHATEVER_MISSING else ".")
            )
        elif scores.mean.low is not None and missing > MISSING_SHARE * items.read:
            yield (
                "The interval of the mean score assumes that missing scores are like the others. "
                "How far they could move it is unknown, because the ends of the scale are"
                + _scale_hint(report)
            )
    if scores.mean.method.startswith("BCa") and scores.mean.n < _ENOUGH_OF_SKEWED:
        yield (
            f"Only {words.items(scores.mean.n)} with scores this skewed: the interval of the mean "
            "contains the truth in about 90 % of runs, not in 95 %."
        )
    yield from _at_the_end(report)
    if scores.excluded:
        yield f"{words.items(scores.excluded)} left out of the mean: the score is beyond 1e100."
    if items.scored > 1 and scores.min == scores.max:
        said = ", and the judge may not see any difference between answers"
        said = "" if report.run.rule else said
        if said or report.pass_rate.rate.low is None:
            yield (
                f"Every score is {words.number(scores.min)}: equal scores give no interval{said}."
            )


def _scale_hint(report: Report) -> str:
    """How to name the ends of the scale, as the end of a sentence."""
    if report.columns is not None:
        return "."
    return f": set min and max under [{f'scores.{report.score}' if report.score else 'score'}]."


def _at_the_end(report: Report) -> Iterator[str]:
    """Nearly all scores are the best, or the worst, of a scale that nobody named."""
    mean, bins = report.scores.mean, report.scores.distribution
    if mean.low is None or report.scores.scale or len(bins) < 2:
        return
    end = max(bins[0], bins[-1], key=lambda bin: bin.n)
    others = mean.n - end.n
    if end.low == end.high and mean.n / 2 < end.n and others <= _FEW_ELSEWHERE:
        which = "highest" if end is bins[-1] else "lowest"
        yield (
            f"{words.items(end.n)} of {mean.n:,} have the {which} score, {words.number(end.low)}: "
            f"with {others:,} others the interval of the mean is too narrow, and contains the "
            "truth in 60 to 92 % of runs, not in 95 %. A better one needs the ends of the scale"
            + _scale_hint(report)
        )


def _about_the_judge(report: Report) -> Iterator[str]:
    if not report.items.scored or (report.run.rule and report.calibration is None):
        return
    check = report.judge_check
    if report.calibration is not None:
        yield from cautions(report.calibration)
        return
    audit = report.several.audit if report.several else None
    if audit is not None:
        yield from audit_cautions(audit)
    else:
        yield (
            "Nobody has checked the judge against people's labels, and the interval leaves its "
            "errors out."
        )
    if check is None:
        return
    lowest = [rate for rate in (check.sensitivity, check.specificity) if rate.value is not None]
    if len(lowest) == 2:
        youden = sum(rate.value or 0 for rate in lowest) - 1
        if youden < 0.5:
            yield (
                "The judge often disagrees with the reference answers, compared as text (0 is "
                f"chance, 1 always agrees: {words.number(youden, 2)}). Read some of both before "
                "you trust the pass rate."
            )


def _about_the_cost(report: Report) -> Iterator[str]:
    money, total, items = report.money, report.total, report.items
    if left := words.left_estimate(
        None if report.run.waits_unwatched else report.run.seconds,
        report.run.expected_seconds,
        total.cost,
        total.estimate.cost if total.estimate else None,
        whole=items.planned is not None and items.read >= items.planned,
    ):
        yield left
    if money.worst_case_items and total.cost != 0:  # of a free model nothing can be billed
        yield (
            f"The cost of {words.items(money.worst_case_items)} is an upper bound: the provider "
            "did not report what it used, or may have billed a failed attempt."
        )
    if total.unpriced and report.columns is None:
        known = f"; the known part is {words.usd(total.known_cost)}" if total.known_cost else ""
        yield (
            f"The cost of {words.items(total.unpriced)} is unknown, because a model has no known "
            f"price{known}. Set input_price and output_price under [models]."
        )
