"""What a paper can say of a run: the finding in a sentence, a table, and the methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from llm_batch.chain.steps import written
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table
from llm_batch.record.files import run_paths
from llm_batch.record.journal import call_lines
from llm_batch.record.manifest import Manifest, Step
from llm_batch.records import Interval
from llm_batch.reporting.items import manifest_of
from llm_batch.reporting.judging.sentences import (
    headline_part,
    labels_of,
    methods,
)
from llm_batch.reporting.model import FUTURE, Report
from llm_batch.reporting.sentences import checked_by, method
from llm_batch.stats.interval import WHATEVER_MISSING


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
    scored = found.pass_at and not report.run.rule
    least = f"a score of at least {words.number(found.pass_at)}" if scored else ""
    check = checked_by(report)
    if check is not None and check.corrected is not None and headline_part(check):
        corrected = check.corrected
        alone = f"the judge alone said {words.percent(found.rate.value)}"
        told = "; ".join(filter(None, (least, _told_bounds(report, corrected, True), alone)))
        return (
            f"{who} passed {words.percent(corrected.value)}{judged}, corrected by "
            f"{labels_of(check)}{'' if check.audit else ' of people'} ({told})."
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
    run = report.run
    audit = report.several.audit.step if report.several and report.several.audit else ""
    judges = {run.judge, audit} - {""}
    makers = [model for step, model in run.models.items() if written(step) not in judges]
    makers = makers or [*run.models.values()]
    names = list(dict.fromkeys(words.clean(each.rpartition("/")[2], 60) for each in makers))
    if len(names) > 1:
        return f"a chain of {', '.join(names[:-1])} and {names[-1]}"
    return names[0] if names else "the answers"


def _judged(report: Report) -> str:
    run = report.run
    if run.rule:
        return f" by the rule {run.rule!r}"
    jury = [model for step, model in run.models.items() if step.startswith(f"{run.judge}#")]
    if run.judge and jury:
        names = [words.clean(model.rpartition("/")[2], 60) for model in jury]
        return f" as judged by a jury of {', '.join(names[:-1])} and {names[-1]}"
    judge = run.models.get(run.judge)
    if judge is None or len(run.models) < 2:
        return ""
    return f" as judged by {words.clean(judge.rpartition('/')[2], 60)}"


#: So many calls say which models answered.
_JOURNAL_LINES = 500
_NAME = 60


def publication(report: Report) -> Document:
    """What a paper has of a report: the finding, a table, and the methods as assumptions."""
    manifest = manifest_of(report) or Manifest()
    mark = "SIMULATED (a fake provider answered): " if report.run.simulated else ""
    both = "Pass rate and mean score" if _has_mean(report) else "Pass rate"
    what = both if _has_rate(report) else "Mean score"
    by = f" by {words.clean(report.groups.field, _NAME)}" if report.groups else ""
    caption = f"{mark}{what}{by}, with {words.level(report.level)} confidence intervals."
    return Document(
        words.clean(report.paper, 1000),
        (f"From {words.clean(report.path)} by llmb report --format latex",),
        (Section(caption, (_table(report),), "tab:llmb"),),
        assumptions=tuple(_methods(report, manifest)),
        warnings=tuple((warning, "") for warning in report.warnings),
    )


def _has_rate(report: Report) -> bool:
    return report.pass_rate.rate.value is not None


def _has_mean(report: Report) -> bool:
    """Whether a mean says more than the rate, as it does not where a rule gives 0 or 1."""
    return not (report.run.rule and _has_rate(report))


def _table(report: Report) -> Table:
    rated, meant = _has_rate(report), _has_mean(report)
    header = ("", "n", *(("Pass rate (%)", "CI") if rated else ()))
    header += ("Mean score", "CI") if meant else ()
    rate, mean = report.pass_rate.rate, report.scores.mean
    n, check = max(rate.n, mean.n), checked_by(report)
    rates = check.corrected if check is not None and rated else None
    means = check.corrected_mean if check is not None else None

    def row(name: str, n: int, share: Interval | None, *means: str) -> tuple[str, ...]:
        shares = _bounded(share, 100, 1) if rated else ()
        return name, words.count(n), *shares, *(means if meant else ())

    rows = []
    name = "All items"
    if rates is not None or means is not None:
        by = "an audit" if check is not None and check.audit else "labels"
        rows.append(row(f"All items, corrected by {by}", n, rates, *_bounded(means, 1, 2)))
        name = "All items, by the judge alone"
    rows.append(row(name, n, rate, *_bounded(mean, 1, 2)))
    sums = len(rows)
    for group in report.groups.groups if report.groups else ():
        named, score = words.named(group.name, _NAME), figure(group.mean_score, 1, 2)
        rows.append(row(named, group.scored, group.pass_rate, score, ""))
    return Table.of(header, rows, sums)


def figure(value: float | None, scale: float, places: int) -> str:
    """A figure of a table in a paper, in units of ``1 / scale``."""
    return words.NONE if value is None else f"{scale * value:.{places}f}"


def bounds(interval: Interval, scale: float, places: int) -> str:
    """The bounds of an interval in square brackets."""
    if interval.low is None or interval.high is None:
        return words.NONE
    return f"[{figure(interval.low, scale, places)}, {figure(interval.high, scale, places)}]"


def _bounded(interval: Interval | None, scale: float, places: int) -> tuple[str, str]:
    """A figure and its bounds; empty cells without one."""
    if interval is None:
        return "", ""
    return figure(interval.value, scale, places), bounds(interval, scale, places)


def _methods(report: Report, manifest: Manifest) -> Iterator[str]:
    items, rate, mean = report.items, report.pass_rate.rate, report.scores.mean
    drawn = f"{items.read:,}"
    if items.population is not None and items.population > items.read:
        sample = manifest.sample
        seed = f" (seed {sample.seed})" if sample.seed is not None else ""
        strata = f", stratified by {words.clean(sample.stratify, _NAME)}" if sample.stratify else ""
        yield f"We drew {drawn} of {items.population:,} items at random{strata}{seed}."
    elif items.population is not None:
        yield f"We used all {items.population:,} items of the dataset."
    else:
        yield f"We evaluated {drawn} items."
    judge = next((step for step in manifest.steps if step.name == report.run.judge), None)
    makers = [step for step in manifest.steps if step is not judge and not step.rule]
    answered = _answered(report.path) if manifest.steps else {}
    if makers:
        models = "; ".join(_model(step, answered) for step in makers)
        yield f"Answers came from {models}."
    if judge is not None:
        least = report.pass_rate.pass_at
        passing = f"; an item passes at a score of at least {least:g}" if least is not None else ""
        yield f"They were judged by {_model(judge, answered)}{passing}."
    elif report.run.rule:
        yield f"They were scored by the rule {report.run.rule!r}, without a model."
    elif report.columns is not None and report.columns.pass_at is not None:
        yield f"An item passes at a score of at least {report.columns.pass_at:g}."
    if manifest.created_at:
        yield f"The run started on {words.clean(manifest.created_at[:10])}."
    failed = items.read - max(rate.n, mean.n)
    if failed:
        yield f"{failed:,} of {items.read:,} items have no score and are left out."
    if report.calibration is not None:
        yield from (words.clean(sentence, 500) for sentence in methods(report.calibration))
    made = [
        f"{name} ({words.clean(method(interval))})"
        for name, interval in (("pass rate", rate), ("mean score", mean))
        if interval.value is not None and interval.low is not None
        if name == "pass rate" or _has_mean(report)
    ]
    if made:
        yield (
            f"Intervals are for future items like these and have a level of "
            f"{words.level(report.level)}: {', '.join(made)}."
        )
    version = words.clean(manifest.versions.get("llm_batch", ""), _NAME)
    yield f"Computed with llm_batch{' ' if version else ''}{version}."


def _answered(path: str) -> dict[str, set[str]]:
    """The models that answered, by step, from the first calls of the journal."""
    models: dict[str, set[str]] = {}
    with suppress(OSError), open(run_paths(path).journal, "rb") as file:
        calls = chain.from_iterable(call_lines(file, damaged=lambda line: None))
        for call in islice(calls, _JOURNAL_LINES):
            if call.completion and call.completion.model:
                models.setdefault(call.step, set()).add(call.completion.model)
    return models


def _model(step: Step, answered: Mapping[str, set[str]]) -> str:
    parts = []
    named = sorted(answered.get(step.name, set()) - {step.model.rpartition("/")[2]})
    if named:
        parts.append(f"answering as {', '.join(words.clean(name, _NAME) for name in named[:3])}")
    if step.temperature is not None:
        parts.append(f"temperature {step.temperature:g}")
    if step.max_tokens is not None:
        parts.append(f"at most {step.max_tokens} output tokens")
    settings = f" ({', '.join(parts)})" if parts else ""
    return f"{words.clean(step.model, _NAME)}{settings}"
