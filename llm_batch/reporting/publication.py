"""What a paper can say of a run: the finding in a sentence, a table, and the methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from llm_batch.paper import words
from llm_batch.record.files import run_paths
from llm_batch.record.journal import call_lines
from llm_batch.record.manifest import Manifest
from llm_batch.records import Interval
from llm_batch.reporting.judging.sentences import (
    headline_part,
    methods,
)
from llm_batch.reporting.model import FUTURE, Group, Report
from llm_batch.reporting.sentences import method
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


_JOURNAL_LINES = 500


@dataclass(frozen=True, slots=True)
class StepSettings:
    """One step of the chain.

    Attributes:
        name: The step.
        model: As the config names it.
        answered: As the provider named it in its answers, sorted; empty when not known.
        temperature: As it was asked for; ``None`` for the provider's default.
        max_tokens: The cap on output tokens; ``None`` for the provider's.
        prompt: The template of the user's message.
        system: The template of the system's message; may be empty.
    """

    name: str
    model: str
    answered: tuple[str, ...]
    temperature: float | None
    max_tokens: int | None
    prompt: str
    system: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What must be known to repeat a run; empty where the manifest does not say."""

    created_at: str = ""
    version: str = ""
    seed: int | None = None
    stratify: str = ""
    steps: tuple[StepSettings, ...] = field(default=())


def read_settings(report: Report) -> Settings:
    """The settings of the run a report is about; all of them empty without its manifest."""
    if report.columns is not None:
        return Settings()
    manifest, _ = Manifest.beside(report.path)
    if manifest is None:
        return Settings()
    answered = _answered(report.path)
    return Settings(
        created_at=manifest.created_at,
        version=manifest.versions.get("llm_batch", ""),
        seed=manifest.sample.seed,
        stratify=manifest.sample.stratify or "",
        steps=tuple(
            StepSettings(
                name=step.name,
                model=step.model,
                answered=tuple(sorted(answered.get(step.name, ()))),
                temperature=step.temperature,
                max_tokens=step.max_tokens,
                prompt=step.prompt,
                system=step.system or "",
            )
            for step in manifest.steps
        ),
    )


def _answered(path: str) -> dict[str, set[str]]:
    """The models that answered, by step, from the first calls of the journal."""
    models: dict[str, set[str]] = {}
    with suppress(OSError), open(run_paths(path).journal, "rb") as file:
        calls = chain.from_iterable(call_lines(file, damaged=lambda line: None))
        for call in islice(calls, _JOURNAL_LINES):
            if call.completion and call.completion.model:
                models.setdefault(call.step, set()).add(call.completion.model)
    return models


_NAME = 60
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # at the start of a row it would be an argument of the row before
        "]": "{]}",
        "|": r"\textbar{}",
        '"': r"\symbol{34}",
        "`": r"\textasciigrave{}",
    }
)


def format(report: Report) -> str:
    """The table and the paragraph, with a newline at the end."""
    settings = read_settings(report)
    lines = [
        *_comments(report),
        r"\begin{table}[t]",
        r"  \centering",
        rf"  \caption{{{_caption(report)}}}",
        r"  \label{tab:llmb}",
        *(f"  {line}" for line in _table(report)),
        r"\end{table}",
        "",
        *finding(report.paper),
        " ".join(_methods(report, settings)),
    ]
    return "\n".join(lines) + "\n"


def finding(*sentences: str) -> Iterator[str]:
    """A paragraph with what was found; nothing without a sentence."""
    if any(sentences):
        yield "% The finding, for the text:"
        yield " ".join(escaped(each, 1000).replace(r" \%", r"\,\%") for each in sentences if each)
        yield ""


def escaped(text: str, limit: int = _NAME) -> str:
    """Foreign text on one line, with nothing in it that TeX gives a meaning."""
    return words.clean(text, limit).translate(_ESCAPES).replace("--", "-{}-")


def _comments(report: Report) -> Iterator[str]:
    # clean() leaves no line break, so a comment cannot end early.
    yield f"% From {words.clean(report.path)} by llmb report --format latex"
    yield r"% In the preamble: \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc}"
    names = [group.name for group in report.groups.groups] if report.groups else []
    if any(char > "\u024f" for name in names for char in words.clean(name, _NAME)):
        yield "% Some names have letters beyond Latin: use LuaLaTeX or XeLaTeX with a font for them"
    for warning in report.warnings:
        yield f"% Note: {words.clean(warning, 500)}"


def _caption(report: Report) -> str:
    what = "Pass rate and mean score" if _has_rate(report) else "Mean score"
    level = f"{100 * report.level:g}\\,\\%"
    by = f" by {escaped(report.groups.field)}" if report.groups else ""
    simulated = "SIMULATED (a fake provider answered): " if report.run.simulated else ""
    return f"{simulated}{what}{by}, with {level} confidence intervals."


def _has_rate(report: Report) -> bool:
    return report.pass_rate.rate.value is not None


def _table(report: Report) -> Iterator[str]:
    rated = _has_rate(report)
    heads = ["", "$n$", *(["Pass rate (\\%)", "CI"] if rated else []), "Mean score", "CI"]
    yield rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}"
    yield r"  \toprule"
    yield f"  {' & '.join(heads)} \\\\"
    yield r"  \midrule"
    rate, mean = report.pass_rate.rate, report.scores.mean
    cells = ["All items", f"{max(rate.n, mean.n):,}".replace(",", "{,}")]
    check = report.calibration
    rates = check.corrected if check is not None and rated else None
    means = check.corrected_mean if check is not None else None
    if rates is not None or means is not None:
        told = ["All items, corrected by labels", cells[1]]
        if rated:
            told += [_percent(rates.value), bounds(rates, 100, 1)] if rates else ["", ""]
        told += [figure(means.value, 1, 2), bounds(means, 1, 2)] if means else ["", ""]
        yield row(told)
        cells[0] = "All items, as the judge has it"
    if rated:
        cells += [_percent(rate.value), bounds(rate, 100, 1)]
    yield row([*cells, figure(mean.value, 1, 2), bounds(mean, 1, 2)])
    if report.groups:
        yield r"  \midrule"
        for group in report.groups.groups:
            yield row(_group(group, rated))
    yield r"  \bottomrule"
    yield r"\end{tabular}"


def _group(group: Group, rated: bool) -> list[str]:
    cells = [escaped(group.name) or words.NAMELESS, f"{group.scored:,}".replace(",", "{,}")]
    if rated:
        cells += [_percent(group.pass_rate.value), bounds(group.pass_rate, 100, 1)]
    return [*cells, figure(group.mean_score, 1, 2), ""]


def row(cells: list[str]) -> str:
    """A row of a table."""
    return f"  {' & '.join(cells)} \\\\"


def figure(value: float | None, scale: float, places: int) -> str:
    """A figure in units of ``1 / scale``; a dash where it is not known."""
    if value is None:
        return "--"
    number = f"{scale * value:.{places}f}"
    return f"${number}$" if number.startswith("-") else number


def _percent(value: float | None) -> str:
    return figure(value, 100, 1)


def bounds(interval: Interval, scale: float, places: int) -> str:
    """The bounds of an interval in square brackets; a dash without."""
    if interval.low is None or interval.high is None:
        return "--"
    low, high = (figure(bound, scale, places) for bound in (interval.low, interval.high))
    return f"[{low}, {high}]"


def _methods(report: Report, settings: Settings) -> Iterator[str]:
    """What was drawn, what answered, what judged, and how the intervals were made."""
    items, rate, mean = report.items, report.pass_rate.rate, report.scores.mean
    drawn = f"{items.read:,}"
    if items.population is not None and items.population > items.read:
        seed = f" (seed {settings.seed})" if settings.seed is not None else ""
        strata = f", stratified by {escaped(settings.stratify)}" if settings.stratify else ""
        yield f"We drew {drawn} of {items.population:,} items at random{strata}{seed}."
    elif items.population is not None:
        yield f"We used all {items.population:,} items of the dataset."
    else:
        yield f"We evaluated {drawn} items."
    judge = next((step for step in settings.steps if step.name == report.run.judge), None)
    makers = [step for step in settings.steps if step is not judge]
    if makers:
        yield f"Answers came from {'; '.join(map(_model, makers))}."
    if judge is not None:
        least = report.pass_rate.pass_at
        passing = f"; an item passes at a score of at least {least:g}" if least is not None else ""
        yield f"They were judged by {_model(judge)}{passing}."
    elif report.columns is not None and report.columns.pass_at is not None:
        yield f"An item passes at a score of at least {report.columns.pass_at:g}."
    if settings.created_at:
        yield f"The run started on {escaped(settings.created_at[:10])}."
    failed = items.read - max(rate.n, mean.n)
    if failed:
        yield f"{failed:,} of {items.read:,} items have no score and are left out."
    if report.calibration is not None:
        yield from map(_percent_escaped, methods(report.calibration))
    made = [
        f"{name} ({escaped(method(interval), 200)})"
        for name, interval in (("pass rate", rate), ("mean score", mean))
        if interval.value is not None and interval.low is not None
    ]
    if made:
        yield (
            f"Intervals are for future items like these and have a level of "
            f"{100 * report.level:g}\\,\\%: {', '.join(made)}."
        )
    version = f" {escaped(settings.version)}" if settings.version else ""
    yield f"Computed with llm\\_batch{version}."


def _percent_escaped(sentence: str) -> str:
    return escaped(sentence, 500).replace(r" \%", r"\,\%")


def _model(step: StepSettings) -> str:
    parts = []
    named = [name for name in step.answered if name != step.model.rpartition("/")[2]]
    if named:
        parts.append(f"answering as {', '.join(escaped(name) for name in named[:3])}")
    if step.temperature is not None:
        parts.append(f"temperature {step.temperature:g}")
    if step.max_tokens is not None:
        parts.append(f"at most {step.max_tokens} output tokens")
    settings = f" ({', '.join(parts)})" if parts else ""
    return f"{escaped(step.model)}{settings}"
