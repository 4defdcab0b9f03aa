"""The report as LaTeX: a booktabs table and a paragraph on methods, ready for a paper.

The document needs ``\\usepackage{booktabs}``. Texts from the data are escaped: no character of
theirs reaches TeX as a command.
"""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.paper import words
from llm_batch.records import Interval
from llm_batch.reporting.judging.sentences import methods
from llm_batch.reporting.model import Group, Report
from llm_batch.reporting.sentences import method
from llm_batch.reporting.settings import Settings, StepSettings, read_settings

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
