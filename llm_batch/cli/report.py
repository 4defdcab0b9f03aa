"""``llmb report``: what came out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from llm_batch.cli import label_options, options

_FOREIGN = "Files that llmb did not write (JSONL, JSON, CSV, TSV, Parquet)"


def report(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Results of a run; of several, to compare them with the first.",
            show_default="results.jsonl",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Field to break the results down by.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", help="Field with the right answer, to check the judge against."
        ),
    ] = None,
    level: Annotated[float, typer.Option("--confidence", help="Level of the intervals.")] = 0.95,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", help="Field of items that belong together; intervals allow for it."
        ),
    ] = None,
    interval: Annotated[
        str, typer.Option("--interval", help="Of rates: wilson, or exact.")
    ] = "wilson",
    mean: Annotated[
        str,
        typer.Option("--mean", help="Interval of the mean: t, bca, or auto (bca if skewed)."),
    ] = "auto",
    score: Annotated[
        str | None,
        typer.Option(
            "--score",
            rich_help_panel=_FOREIGN,
            help="Field with the score; a.b leads into objects.",
        ),
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", rich_help_panel=_FOREIGN, help="Field with the id.")
    ] = None,
    category: Annotated[
        str | None,
        typer.Option("--category", rich_help_panel=_FOREIGN, help="Field with the category."),
    ] = None,
    pass_at: Annotated[
        float | None,
        typer.Option("--pass-at", rich_help_panel=_FOREIGN, help="Least score that passes."),
    ] = None,
    labels: label_options.LabelsPath = None,
    label_field: label_options.LabelColumns = None,
    labels_from: label_options.LabelsFrom = None,
    labels_run: label_options.LabelsRun = None,
    labels_random: label_options.LabelsRandom = None,
    judges: label_options.Judges = None,
    calls: Annotated[
        bool | None,
        typer.Option(
            "--calls/--no-calls",
            help="Read the journal too, for retries and the pace over time; "
            "by default up to 64 MB.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="text, json, md, csv, latex or html.")
    ] = "text",
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Compare runs of other items or judges all the same."),
    ] = False,
    output: options.Output = None,
) -> None:
    """Say what came out: scores with honest intervals, cost, time, failures.

    With several results files: what changed from the first to the others, on the same items.
    """
    from llm_batch.cli.formats import chosen, deliver
    from llm_batch.errors import ConfigError
    from llm_batch.report import FORMATS, Columns, build_report

    if not 0.5 <= level < 1:
        raise ConfigError(f"--confidence {level:g} is not a level", "use 0.95, or 0.99")
    if interval not in ("wilson", "exact"):
        raise ConfigError(f"--interval {interval!r} is not known", "use wilson or exact")
    if mean not in ("auto", "t", "bca"):
        raise ConfigError(f"--mean {mean!r} is not known", "use auto, t or bca")
    columns = None
    if score is not None:
        columns = Columns(score, id or "", category or "", pass_at)
    elif (id, category, pass_at) != (None, None, None):
        raise ConfigError(
            "--id, --category and --pass-at are for files that llmb did not write",
            "name the field with the score too: --score FIELD; for results of a run there is --by",
        )
    paths = results or [Path("results.jsonl")]
    if len(paths) > 1:
        given = {
            "--reference": reference,
            "--labels": labels,
            "--labels-run": labels_run,
            "--judges": judges,
            "--interval": None if interval == "wilson" else interval,
            "--mean": None if mean == "auto" else mean,
            "--calls": calls or None,
        }
        _refuse([flag for flag, value in given.items() if value is not None])
        from llm_batch.report.comparison import COMPARISON_FORMATS, compare_reports

        show = chosen(COMPARISON_FORMATS, format)
        compared = compare_reports(
            paths, by=by, level=level, columns=columns, anyway=anyway, cluster=cluster
        )
        deliver(show(compared), output)
        return
    if anyway:
        raise ConfigError(
            "--anyway is for comparing runs", "name two results files: llmb report a.jsonl b.jsonl"
        )
    write = chosen(FORMATS, format)
    made = build_report(
        paths[0],
        by=by,
        reference=reference,
        level=level,
        columns=columns,
        labels=label_options.label_source(
            labels, label_field, labels_from, labels_run, labels_random
        ),
        judges=label_options.judge_names(judges),
        calls=calls,
        cluster=cluster,
        exact=interval == "exact",
        mean=cast("Literal['auto', 't', 'bca']", mean),
    )
    deliver(write(made), output)


def _refuse(flags: list[str]) -> None:
    """Say which flags have no meaning for several files."""
    from llm_batch.errors import ConfigError

    if flags:
        raise ConfigError(
            f"{flags[0]} is for the report of one run", "leave it out, or name one results file"
        )
