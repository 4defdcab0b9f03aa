"""The finding in one sentence, and what to do next."""

from __future__ import annotations

from pathlib import Path

from llm_batch.records import Interval
from llm_batch.report import words
from llm_batch.report.calibration.sentences import headline_part, labels_to_make
from llm_batch.report.manifest import Manifest
from llm_batch.report.model import FUTURE, Range, Report
from llm_batch.stats.interval import ALL_SCORED, WHATEVER_MISSING
from llm_batch.stats.sizes import sample_size

_METHODS = {
    "wilson": "Wilson",
    "wilson, finite population": "Wilson with finite population",
    "t": "Student's t",
    "t, half a score at each end": "Student's t with half a score more at each end of the scale",
    "t, finite population": "Student's t with finite population",
    "clopper-pearson": "Clopper-Pearson",
    "hypergeometric, exact": "exact hypergeometric",
    "clustered wilson": "Wilson by clusters",
    "clustered t": "Student's t by clusters",
    "wilson, stratified": "Wilson by strata, weighted",
    "t, stratified": "Student's t by strata, weighted",
    "ppi++, smoothed": "PPI++",
    "rogan-gladen, lee et al.": "Rogan-Gladen, interval of Lee et al.",
    "begg-greenes, mover": "Begg and Greenes, labels by verdict",
    "wilson, labels alone": "Wilson, labels alone",
    WHATEVER_MISSING: "Imbens-Manski",
    ALL_SCORED: "none needed, all were judged",
}

#: Half widths a larger sample may aim at, as fractions of one.
_MARGINS = (0.05, 0.03, 0.02, 0.01)

_OF_ANSWERS = ("truncated", "reasoning", "unparsed", "empty", "filtered", "tool_call", "incomplete")
#: Failures that the same run would meet again; all others are tried again by the next run.
_SETTLED = frozenset((*_OF_ANSWERS, "prompt", "too_long", "rejected", "forbidden", "oversized"))
_CHANGE = {
    "truncated": "raise max_tokens of the step named in the example",
    "reasoning": "raise max_tokens, or lower the reasoning effort: there was no answer after it",
    "unparsed": "read the replies that gave no score, and make the judge's prompt plainer",
    "tool_call": "take tools out of params of the step named in the example",
    "incomplete": "look at the word in the example: it does not say that answers were whole",
    "prompt": "mend the prompt or the data of the item in the example",
    "oversized": "raise max_tokens of the step named in the example, if such answers are wanted",
    "too_long": "shorten the prompt, or choose a model with a larger context",
}


def method(interval: Interval) -> str:
    """How an interval was made, in the words of a report."""
    return _METHODS.get(interval.method, interval.method)


def headline(report: Report) -> str:
    """The pass rate, or else the mean score, or else what there is, in one sentence."""
    items = report.items
    if not items.read:
        return "No results yet: the file holds no items"
    found = _finding(report)
    return f"SIMULATED: {found}" if report.run.simulated else found


def _finding(report: Report) -> str:
    items, rate = report.items, report.pass_rate.rate
    if rate.value is not None:
        told = f"{words.percent(rate.value)}{_bounds(report, rate, percent=True)}"
        corrected = headline_part(report.calibration) if report.calibration else ""
        return f"{corrected}; the judge alone says {told}" if corrected else f"Pass rate {told}"
    mean = report.scores.mean
    if mean.value is not None:
        return f"Mean score {words.mean(mean.value)}{_bounds(report, mean, percent=False)}"
    if items.ok:
        return f"{items.ok:,} of {words.items(items.read)} answered; none of them has a score"
    return f"No result: {_all_failed(items.read)}"


def _all_failed(n: int) -> str:
    return "the only item failed" if n == 1 else f"all {n:,} items failed"


def _bounds(report: Report, interval: Interval, percent: bool) -> str:
    population = report.items.population
    whole = f" of {words.items(population)}" if population is not None else None
    count = f"{interval.n:,}{whole}" if whole else words.items(interval.n)
    if population == interval.n:
        count = f"all {words.items(interval.n)} of the dataset were judged"
    if interval.low is None:
        return f" (no interval), {count}"
    bounds = words.percent_range(interval) if percent else words.mean_range(interval)
    level = words.level(report.level)
    return f" ({level} interval {bounds}, {method(interval)}), {count}"


def left_estimate(
    seconds: float | None,
    expected_seconds: Range | None,
    cost: float | None,
    expected_cost: Range | None,
    whole: bool,
) -> str:
    """By what a run left the ranges of its estimate; empty where it did not.

    Args:
        seconds: What it took; ``None`` where that is not known, as for the others.
        expected_seconds: Its estimate of that.
        cost: USD that it cost.
        expected_cost: Its estimate of that.
        whole: Whether all items were played: else less than the least says nothing.
    """
    told = []
    for verb, value, expected, shown, slack in (
        ("took", seconds, expected_seconds, words.duration, 1.0),  # less nobody waits for
        ("cost", cost, expected_cost, words.usd, 0.0),
    ):
        if value is None or expected is None:
            continue
        # What reads the same as a bound has not left it.
        least, most = shown(expected.low), shown(expected.high)
        above = value > expected.high + slack and shown(value) != most
        if above or (whole and value < expected.low - slack and shown(value) != least):
            told.append(f"{verb} {shown(value)} (estimated {least} to {most})")
    return f"The run left its estimate: it {' and '.join(told)}." if told else ""


def for_paper(report: Report, manifest: Manifest) -> str:
    """What to write in a paper: which items, chosen how, what came out and with which bounds."""
    rate, mean = report.pass_rate.rate, report.scores.mean
    if rate.value is None and mean.value is None:
        return ""
    rated = rate.value is not None
    n, missing = (rate if rated else mean).n, _without(report, rated)
    sentence = f"Of {_chosen(report, manifest)}, "
    if missing:
        sentence += f"{n:,} got {'a verdict' if rated else 'a score'} ({missing}), and of these "
    sentence += _rate_found(report) if rated else _mean_found(report)
    return f"SIMULATED: {sentence}" if report.run.simulated else sentence


def _chosen(report: Report, manifest: Manifest) -> str:
    """The items and how they were drawn, without a claim that nothing supports."""
    items, seed = report.items, manifest.sample.seed
    if items.population is None:
        name = "standard input" if report.path == "-" else words.clean(Path(report.path).name, 80)
        return f"{words.items(items.read)} in {name}"
    if items.read == items.population:
        return f"all {words.items(items.read)} of the dataset"
    if items.planned is not None and items.planned >= items.population:
        order = f" (seed {seed})" if seed is not None else ""
        return (
            f"the first {items.read:,} of the {words.items(items.population)} of the dataset, in "
            f"random order{order}"
        )
    how = "at random"
    if manifest.sample.stratify:
        how += f" within each {words.clean(manifest.sample.stratify, 40)}"
    how += f" (seed {seed})" if seed is not None else ""
    drawn = f"drawn {how} from {items.population:,}"
    if manifest.stopping is not None and report.run.status == "enough":
        rule = "until the interval was narrow enough"
        if manifest.stopping.decided is not None:
            rule = "until it was clear on which side of a bound the rate lies"
        return f"{words.items(items.read)} {drawn}, one after the other {rule}"
    if items.planned is not None and items.read < items.planned:
        return f"{items.planned:,} items {drawn}, of which the first {items.read:,} were played"
    return f"{words.items(items.read)} {drawn}"


def _without(report: Report, rated: bool) -> str:
    """The items left out, by why; empty where there are none."""
    items = report.items
    left = items.read - (report.pass_rate.rate if rated else report.scores.mean).n
    unread = sum(each.n for each in report.statuses if each.kind in ("unparsed", "unscored"))
    failed = items.read - items.ok - unread
    told = [(failed, "failed"), (unread, "unreadable"), (left - failed - unread, "without one")]
    return ", ".join(f"{n:,} {what}" for n, what in told if n > 0) if left > 0 else ""


def _rate_found(report: Report) -> str:
    found = report.pass_rate
    who, judged = _who(report), _judged(report)
    least = f"a score of at least {words.number(found.pass_at)}" if found.pass_at else ""
    check = report.calibration
    if check is not None and check.corrected is not None and headline_part(check):
        corrected = check.corrected
        alone = f"the judge alone said {words.percent(found.rate.value)}"
        told = "; ".join(filter(None, (least, _told_bounds(report, corrected, True), alone)))
        return (
            f"{who} passed {words.percent(corrected.value)}{judged}, corrected by "
            f"{check.labelled:,} labels of people ({told})."
        )
    told = "; ".join(filter(None, (least, _told_bounds(report, found.rate, True))))
    return f"{who} passed {words.percent(found.rate.value)}{judged} ({told})."


def _mean_found(report: Report) -> str:
    mean = report.scores.mean
    bounds = _told_bounds(report, mean, False)
    subject = f"{_who(report)} had a mean score of"
    if report.columns is not None:
        subject = f"the mean of {words.clean(report.columns.score, 60)} is"
    return f"{subject} {words.mean(mean.value)}{_judged(report)} ({bounds})."


def _told_bounds(report: Report, interval: Interval, percent: bool) -> str:
    if interval.low is None:
        return "no interval can be given"
    bounds = words.percent_range(interval) if percent else words.mean_range(interval)
    found = report.pass_rate if percent else report.scores
    # Where the items are a small part of the dataset, one interval holds for both.
    about = " for items like these" if found.estimand == FUTURE else ""
    by = method(interval)
    if interval.method == WHATEVER_MISSING:
        by += ", whatever the missing verdicts are"
    if report.pass_rate.clusters is not None:
        by += f", {report.pass_rate.clusters:,} clusters"
    return f"{words.level(report.level)} CI{about} {bounds}, {by}"


def _who(report: Report) -> str:
    """The models that answered, without the judge."""
    run = report.run
    makers = [model for step, model in run.models.items() if step != run.judge] or [
        *run.models.values()
    ]
    names = list(dict.fromkeys(words.clean(each.rpartition("/")[2], 60) for each in makers))
    if len(names) > 1:
        return f"a chain of {', '.join(names[:-1])} and {names[-1]}"
    return names[0] if names else "the answers"


def _judged(report: Report) -> str:
    run = report.run
    judge = run.models.get(run.judge)
    if judge is None or len(run.models) < 2:
        return ""
    return f" as judged by {words.clean(judge.rpartition('/')[2], 60)}"


def next_steps(report: Report) -> tuple[str, ...]:
    """What to do next, most pressing first."""
    items = report.items
    steps: list[str] = []
    failed = {status.kind: status.n for status in report.statuses if status.kind != "ok"}
    again = sum(n for kind, n in failed.items() if kind not in _SETTLED)
    left = (items.planned or 0) - items.read
    if not items.read:
        return ("Run `llmb run`: it writes the results, or goes on where it stopped.",)
    if left > 0 or again:
        wanted = [f"plays the {words.items(left)} left"] if left > 0 else []
        wanted += [f"tries {words.items(again)} again"] if again else []
        steps.append(
            f"Run the same `llmb run` again: it {' and '.join(wanted)}, and pays for nothing twice."
        )
    for kind, advice in _CHANGE.items():
        if kind in failed:
            steps.append(f"For {words.items(failed[kind])} {kind}: {advice}.")
    if not report.run.judge and items.ok:
        steps.append("Add a [score] to the config to get a mean score and a pass rate.")
    elif items.scored and report.pass_rate.rate.value is None:
        steps.append("Set pass_at under [score] to get a pass rate.")
    if report.calibration is not None:
        more = labels_to_make(report.calibration, report.path)
        steps += [more] if more else []
    elif report.pass_rate.rate.n and report.path != "-":
        steps.append(
            "Label some items yourself to see how far the judge is right, and to correct the pass "
            f"rate for its errors: `llmb label {words.clean(report.path)}`."
        )
    larger = _larger_sample(report)
    if larger and left <= 0:
        steps.append(larger)
    if report.pass_rate.rate.n and report.judge_check is None and report.calibration is None:
        steps.append(
            "Hold the judge against reference answers: `llmb report --reference FIELD` (the "
            "field must be in the results)."
        )
    return tuple(steps)


def _larger_sample(report: Report) -> str:
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
    size = sample_size(margin, report.level, likely).n_min
    # Items that fail leave fewer verdicts than are played.
    size = round(size * items.read / rate.n)
    if not items.read < size <= items.population:
        return ""
    more = size - items.read
    cost = report.money.per_item
    price = f" for about {words.usd(cost * more)}" if cost else ""
    return (
        f"Run `llmb run --sample {size}` to know the pass rate to within "
        f"{words.number(100 * margin)} points (now {words.number(100 * half, 2)}): it plays "
        f"{more:,} more{price}."
    )
