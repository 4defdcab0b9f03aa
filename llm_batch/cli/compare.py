"""``llmb compare`` and ``llmb baseline``: runs beside each other, and gates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from llm_batch.cli import complete, options

baseline = typer.Typer(
    help="Keep what a comparison needs of a run in a small file, for git.",
    no_args_is_help=True,
)


def compare(
    results: Annotated[list[Path], typer.Argument(
        help="Results of runs; the first is the baseline, or what llmb baseline set wrote.",
    )],
    by: Annotated[str | None, typer.Option(
        "--by", autocompletion=complete.fields,
        help="Field to group by; a gate must then hold in each group.",
    )] = None,
    score: Annotated[str | None, typer.Option(
        "--score", help="Score to compare, by name; for results of another program, the field.",
    )] = None,
    level: Annotated[float, typer.Option(
        "--confidence", help="Confidence level of the intervals, and of each side of a gate.",
    )] = 0.95,
    cluster: Annotated[str | None, typer.Option(
        "--cluster", autocompletion=complete.fields,
        help="Field that groups items which belong together; intervals take it into account.",
    )] = None,
    anyway: Annotated[bool, typer.Option(
        "--anyway", help="Compare the runs even if their items or judges differ; not with a gate.",
    )] = False,
    rejudge: Annotated[bool, typer.Option(
        "--rejudge",
        help="Judge the baseline's answers as the run was judged, first; the price is said.",
    )] = False,
    yes: Annotated[bool, typer.Option(
        "--yes", "-y", help="With --rejudge: do not ask about the cost.",
    )] = False,
    fail_if: options.FailIf = None,
    tolerance: options.Tolerance = 0.0,
    max_cost_ratio: options.MaxCostRatio = None,
    max_latency_ratio: options.MaxLatencyRatio = None,
    undecided_passes: options.UndecidedPasses = False,
    id: options.Id = None,
    category: options.Category = None,
    pass_at: options.PassAt = None,
    pass_words: options.PassWords = None,
    where: options.Where = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    format: Annotated[str, options.output(
        "--format", autocompletion=complete.formats,
        help="text, line, json, md, csv, latex or html; of a gate junit too.",
    )] = "text",
    full: options.Full = False,
    output: options.Output = None,
    also: options.Also = None,
    step_summary: options.StepSummary = False,
) -> None:  # fmt: skip
    """Compare runs with the first, item by item; with a gate, pass or fail.

    A gate ends in 0 where it passed, in 5 where it failed, in 6 where the items do not decide it.
    """
    from llm_batch.cli.console import chosen, present_all
    from llm_batch.cli.report import columns_of
    from llm_batch.errors import ConfigError
    from llm_batch.record.parts import stay_able_to_fork
    from llm_batch.reporting.comparison.build import (
        COMPARISON_FORMATS,
        compare_reports,
        written_by_llmb,
    )
    from llm_batch.reporting.gating import GATE_FORMATS, Asked
    from llm_batch.reporting.gating.build import check_asked, gate_of

    stay_able_to_fork()
    asked = Asked(
        fail_if=cast("Any", fail_if or ""),
        tolerance=tolerance,
        max_cost_ratio=max_cost_ratio,
        max_latency_ratio=max_latency_ratio,
        level=level,
        by_group=by is not None,
        undecided_passes=undecided_passes,
    )
    check_asked(asked)
    if undecided_passes and not asked:
        raise ConfigError("--undecided-passes is for a gate", "add --fail-if worse")
    if anyway and asked:
        raise ConfigError(
            "--anyway compares what differs, and no gate can stand on that",
            "leave out one of them",
        )
    if asked:
        chosen(GATE_FORMATS, format)
    else:
        chosen(COMPARISON_FORMATS, format)
    if rejudge:
        results = [_rejudged(results, yes), *results[1:]]
    elif yes:
        raise ConfigError("--yes agrees to a price, and nothing is asked", "add --rejudge")
    ours = written_by_llmb(results)
    columns = columns_of(
        None if ours else score,
        id,
        category,
        pass_at,
        pass_words,
        where,
        delimiter,
        encoding,
        sheet,
    )
    compared = compare_reports(
        results,
        by=by,
        level=level,
        columns=columns,
        anyway=anyway,
        cluster=cluster,
        gate=bool(asked),
        score=score or "" if ours else "",
    )
    if not asked:
        present_all(COMPARISON_FORMATS, format, compared, output, also or (),
                    step_summary=step_summary, full=full)  # fmt: skip
        return
    gated = gate_of(compared, asked)
    present_all(GATE_FORMATS, format, gated, output, also or (),
                step_summary=step_summary, full=full)  # fmt: skip
    raise typer.Exit(gated.gate.exit_code)


def _rejudged(results: list[Path], yes: bool) -> Path:
    """The baseline's answers, judged as those of the run; says what that costs before."""
    from llm_batch.cli.console import say
    from llm_batch.cli.run import _confirm, agree
    from llm_batch.errors import ConfigError
    from llm_batch.estimating import Estimate
    from llm_batch.paper import words
    from llm_batch.running.rejudge import rejudge, rejudged_config
    from llm_batch.running.run import ASK_ABOVE_USD

    if len(results) != 2:
        raise ConfigError("--rejudge is for one baseline and one run", "name two results files")
    config = rejudged_config(*results)
    agree(config, yes)

    def confirm(estimate: Estimate) -> bool:
        cost = estimate.cost
        shown = "an unknown amount" if cost is None else words.about_usd(cost.value)
        calls = words.counted(estimate.calls.value or 0, "call")
        say(f"judging {results[0]} anew: {calls}, about {shown}")
        cheap = cost is not None and (cost.value or 0.0) <= ASK_ABOVE_USD
        return yes or cheap or _confirm(estimate)

    return rejudge(config, results[0], confirm=confirm, say=say)


@baseline.command("set")
def set_baseline(
    results: Annotated[Path, typer.Argument(help="Results of a run.")],
    output: Annotated[str, options.output(
        "--output", "-o", help="File to write.",
    )] = "baseline.json",
) -> None:  # fmt: skip
    """Write what a comparison needs: ids, scores, verdicts, cost and latency, and hashes.

    No prompt, question or answer is in it. An earlier baseline is replaced: git has it.
    """
    from llm_batch.cli.console import deliver
    from llm_batch.errors import ConfigError
    from llm_batch.record.baseline import is_baseline
    from llm_batch.reporting.comparison.sides import baseline_of

    if is_baseline(results):
        raise ConfigError(f"{results} is a baseline already", "name the results of a run")
    if Path(output).resolve() == results.resolve():
        raise ConfigError(f"{output} would replace the results", "choose another file with -o")
    deliver(baseline_of(results).encoded().decode(), output)
