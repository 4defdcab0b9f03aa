"""``llmb compare`` and ``llmb baseline``: runs beside each other, and gates."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from llm_batch.cli import complete, options

_foreign = partial(typer.Option, rich_help_panel="Results of another program")

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
        help="Field to compare by; with a gate each of its values must hold.",
    )] = None,
    score: Annotated[str | None, typer.Option(
        "--score", help="Which score, by its name; of another program's results the field.",
    )] = None,
    level: Annotated[float, typer.Option(
        "--confidence", help="Level of the intervals, and of each side of a gate.",
    )] = 0.95,
    cluster: Annotated[str | None, typer.Option(
        "--cluster", autocompletion=complete.fields,
        help="Field of items that belong together; intervals and gates allow for it.",
    )] = None,
    anyway: Annotated[bool, typer.Option(
        "--anyway", help="Compare runs of other items or judges all the same; not with a gate.",
    )] = False,
    fail_if: options.FailIf = None,
    tolerance: options.Tolerance = 0.0,
    max_cost_ratio: options.MaxCostRatio = None,
    max_latency_ratio: options.MaxLatencyRatio = None,
    undecided_passes: options.UndecidedPasses = False,
    id: Annotated[str | None, _foreign("--id", help="Field with the id.")] = None,
    category: Annotated[str | None, _foreign("--category", help="Field with the category.")] = None,
    pass_at: Annotated[float | None, _foreign(
        "--pass-at", help="Lowest score that passes.",
    )] = None,
    pass_words: Annotated[str | None, _foreign(
        "--pass-words", help="Words that pass, with commas, all others fail: A,correct.",
    )] = None,
    where: Annotated[list[str] | None, _foreign(
        "--where", metavar="FIELD=VALUE", help="Read the rows with this value alone.",
    )] = None,
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
    from llm_batch.reporting.comparison.build import (
        COMPARISON_FORMATS,
        compare_reports,
        written_by_llmb,
    )
    from llm_batch.reporting.gating import GATE_FORMATS, Asked
    from llm_batch.reporting.gating.build import check_asked, gate_of

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
    ours = written_by_llmb(results)
    columns = columns_of(None if ours else score, id, category, pass_at, pass_words, where)
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
    from llm_batch.reporting.build import build_report
    from llm_batch.reporting.comparison.sides import baseline_of

    if is_baseline(results):
        raise ConfigError(f"{results} is a baseline already", "name the results of a run")
    if Path(output).resolve() == results.resolve():
        raise ConfigError(f"{output} would replace the results", "choose another file with -o")
    report = build_report(results, calls=False)
    if not report.items.scored:
        raise ConfigError(f"{results} has no scored items", "run it first: llmb run")
    deliver(baseline_of(report).encoded().decode(), output)
