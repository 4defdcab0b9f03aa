"""The finding in one sentence, and what to do next."""

from __future__ import annotations

from llm_batch.records import Interval
from llm_batch.report import words
from llm_batch.report.calibration.sentences import (
    headline_part,
    labels_to_make,
    mean_headline_part,
)
from llm_batch.report.model import Report
from llm_batch.stats.interval import ALL_SCORED, ON_SCALE, WHATEVER_MISSING
from llm_batch.stats.sizes import sample_size

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
        told = f"{words.mean(mean.value)}{_bounds(report, mean, percent=False)}"
        corrected = mean_headline_part(report.calibration) if report.calibration else ""
        return f"{corrected}; the judge alone says {told}" if corrected else f"Mean score {told}"
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
