"""A comparison as LaTeX: a booktabs table and a paragraph on methods, ready for a paper."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.paper import words
from llm_batch.reporting.comparison.build import Compared
from llm_batch.reporting.comparison.model import (
    Against,
    Comparison,
    RateDifference,
    ScoreDifference,
)
from llm_batch.reporting.comparison.sentences import is_clustered
from llm_batch.reporting.latex import bounds, escaped, figure, finding, row

_CATEGORIES = 40


def format(compared: Compared) -> str:
    """One table for each run that is compared with the baseline, and the paragraph."""
    comparison = compared.comparison
    lines = list(_comments(comparison))
    for i, each in enumerate(comparison.against, 1):
        label = "tab:llmb-comparison" + (f"-{i}" if len(comparison.against) > 1 else "")
        lines += [
            r"\begin{table}[t]",
            r"  \centering",
            rf"  \caption{{{_caption(comparison, each)}}}",
            rf"  \label{{{label}}}",
            *(f"  {line}" for line in _table(comparison, each)),
            r"\end{table}",
            "",
        ]
    lines += finding(*comparison.paper)
    lines.append(" ".join(_methods(compared)))
    return "\n".join(lines) + "\n"


def _comments(comparison: Comparison) -> Iterator[str]:
    named = ", ".join(words.clean(run.path) for run in comparison.runs)
    yield f"% From {words.clean(named, 500)} by llmb report --format latex"
    yield r"% In the preamble: \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc}"
    for warning in comparison.warnings:
        yield f"% Note: {words.clean(warning, 500)}"


def _caption(comparison: Comparison, each: Against) -> str:
    simulated = any(run.simulated for run in comparison.runs)
    mark = "SIMULATED (a fake provider answered): " if simulated else ""
    level = f"{100 * comparison.level:g}\\,\\%"
    return (
        f"{mark}{escaped(each.run)} compared with {escaped(comparison.baseline)}: difference in "
        f"pass rate (points) with {level} confidence intervals."
        if each.rates
        else f"{mark}{escaped(each.run)} compared with {escaped(comparison.baseline)}: difference "
        f"in mean score with {level} confidence intervals."
    )


def _table(comparison: Comparison, each: Against) -> Iterator[str]:
    heads = ["", "$n$", escaped(comparison.baseline, 24), escaped(each.run, 24)]
    heads += ["Difference", "CI", "$p$"]
    yield rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}"
    yield r"  \toprule"
    yield row(heads)
    yield r"  \midrule"
    if each.rates is not None:
        yield row(["Pass rate (\\%)", *_rates(each.rates)])
    if each.scores is not None:
        yield row(["Mean score", *_scores(each.scores)])
    if each.rates is not None and len(each.categories) > 1:
        yield r"  \midrule"
        for group in each.categories[:_CATEGORIES]:
            yield row([escaped(group.name) or words.NAMELESS, *_rates(group.rates)])
    yield r"  \bottomrule"
    yield r"\end{tabular}"


def _rates(rates: RateDifference) -> list[str]:
    return [
        f"{rates.n:,}".replace(",", "{,}"),
        figure(rates.baseline_rate, 100, 1),
        figure(rates.run_rate, 100, 1),
        figure(rates.difference.value, 100, 1),
        bounds(rates.difference, 100, 1),
        _p(rates.p_adjusted),
    ]


def _scores(scores: ScoreDifference) -> list[str]:
    return [
        f"{scores.n:,}".replace(",", "{,}"),
        figure(scores.baseline_mean, 1, 2),
        figure(scores.run_mean, 1, 2),
        figure(scores.difference.value, 1, 2),
        bounds(scores.difference, 1, 2),
        _p(scores.p_adjusted),
    ]


def _p(value: float | None) -> str:
    if value is None:
        return "--"
    return "$<0.001$" if value < 0.001 else words.p_value(value)


def _methods(compared: Compared) -> Iterator[str]:
    comparison = compared.comparison
    base = comparison.runs[0]
    for run in comparison.runs:
        models = f" ({escaped(run.models, 120)})" if run.models else ""
        role = "baseline" if run is base else "run"
        yield f"The {role} {escaped(run.name)}{models} has {run.scored:,} scored items."
    paired = [each for each in comparison.against if each.common]
    if paired:
        n = min((each.rates.n if each.rates else each.common) for each in paired)
        yield f"Runs are compared on the same items (at least {n:,}), paired by id."
        clustered = any(each.rates and is_clustered(each.rates) for each in paired)
        yield (
            "Differences have Student's $t$ interval and test over clusters of items (Miller 2024)."
            if clustered
            else "Differences in pass rate have Tango's score interval and McNemar's test (mid-p), "
            "those in mean score the paired $t$ interval and test."
        )
    if len(paired) < len(comparison.against):
        yield (
            "Runs without common items are compared by Newcombe's hybrid score interval and the "
            "chi-squared test with $n-1$."
        )
    if any(len(each.categories) > 1 for each in comparison.against) or len(comparison.against) > 1:
        yield "P-values are Holm-adjusted; intervals are not."
    yield "Computed with llm\\_batch."
