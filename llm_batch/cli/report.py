"""``llmb report``: what came out of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from llm_batch.cli import options
from llm_batch.cli import report as label_options

if TYPE_CHECKING:
    from llm_batch.reporting.judging.model import LabelSource


_PANEL = "Is the judge right?"

LabelsPath = Annotated[
    str | None,
    typer.Option(
        "--labels", rich_help_panel=_PANEL,
        help="File with labels made by people: columns id and label. llmb label writes one.",
    ),
]  # fmt: skip
LabelColumns = Annotated[
    str | None,
    typer.Option(
        "--label-field", rich_help_panel=_PANEL,
        help="Its column with the label, or several with commas, one for each person.",
    ),
]  # fmt: skip
LabelsFrom = Annotated[
    str | None,
    typer.Option(
        "--labels-from", rich_help_panel=_PANEL,
        help="Field of the items that holds the label, in place of a file.",
    ),
]  # fmt: skip
LabelsRun = Annotated[
    str | None,
    typer.Option(
        "--labels-run", rich_help_panel=_PANEL,
        help="Results in which the same judge scored the labelled items, if not these.",
    ),
]  # fmt: skip
LabelsRandom = Annotated[
    bool | None,
    typer.Option(
        "--labels-random/--labels-chosen", rich_help_panel=_PANEL,
        help="Whether the labelled items are a random subset of this run; known for llmb label.",
    ),
]  # fmt: skip
Judges = Annotated[
    str | None,
    typer.Option(
        "--judges", rich_help_panel=_PANEL,
        help="Outputs of several judges to compare: judge.score,second.score.",
    ),
]  # fmt: skip


def label_source(
    labels: str | None,
    label_field: str | None,
    labels_from: str | None,
    labels_run: str | None,
    random: bool | None,
) -> LabelSource | None:
    """Where the labels are; ``None`` without any.

    Raises:
        ConfigError: A flag that is about labels stands without them, or they are named twice.
    """
    from llm_batch.errors import ConfigError
    from llm_batch.reporting.judging.model import LabelSource

    if labels and labels_from:
        raise ConfigError("--labels and --labels-from both name labels", "leave one of them out")
    if not labels and (label_field or labels_run):
        raise ConfigError(
            "--label-field and --labels-run are about a file of labels", "add --labels labels.csv"
        )
    if not labels and not labels_from:
        if random is not None:
            raise ConfigError("there are no labels", "add --labels labels.csv")
        return None
    return LabelSource(
        path=labels or "",
        columns=names(label_field),
        field=labels_from or "",
        judged=labels_run or "",
        random=random,
    )


def names(text: str | None) -> tuple[str, ...]:
    """The names or words in a list with commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


_FOREIGN = "Files that llmb did not write (JSONL, JSON, CSV, Parquet, Excel)"


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
    pass_words: Annotated[
        str | None,
        typer.Option(
            "--pass-words",
            rich_help_panel=_FOREIGN,
            help="Words that pass, with commas, all others fail: A,correct. For labels too.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            rich_help_panel=_FOREIGN,
            metavar="FIELD=VALUE",
            help="Read the rows with this value alone: metric=accuracy. May be repeated.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            "--delimiter",
            rich_help_panel=_FOREIGN,
            help="Between the cells of a CSV, if not as found; of the labels without --score.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding",
            rich_help_panel=_FOREIGN,
            help="Of the text, if not as found: windows-1252; of the labels without --score.",
        ),
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(
            "--sheet",
            rich_help_panel=_FOREIGN,
            help="Of a workbook, by name or number; the first by default; of the labels without "
            "--score.",
        ),
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
    full: options.Full = False,
    bom: Annotated[
        bool,
        typer.Option("--bom", help="Begin the CSV with the mark by which Excel knows UTF-8."),
    ] = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Compare runs of other items or judges all the same."),
    ] = False,
    output: options.Output = None,
) -> None:
    """Say what came out: scores with honest intervals, cost, time, failures.

    With several results files: what changed from the first to the others, on the same items.
    """
    from llm_batch.cli.console import chosen, present
    from llm_batch.errors import ConfigError
    from llm_batch.reporting import FORMATS, Columns, build_report

    if not 0.5 <= level < 1:
        raise ConfigError(f"--confidence {level:g} is not a level", "use 0.95, or 0.99")
    if interval not in ("wilson", "exact"):
        raise ConfigError(f"--interval {interval!r} is not known", "use wilson or exact")
    if mean not in ("auto", "t", "bca"):
        raise ConfigError(f"--mean {mean!r} is not known", "use auto, t or bca")
    columns = None
    if score is not None:
        columns = Columns(
            score,
            id or "",
            category or "",
            pass_at,
            label_options.names(pass_words),
            tuple(_chosen(each) for each in where or ()),
            _delimiter(delimiter),
            encoding or "",
            sheet or "",
        )
    elif (id, category, pass_at, where) != (None, None, None, None):
        raise ConfigError(
            "--id, --category, --pass-at and --where are for files that llmb did not write",
            "name the field with the score too: --score FIELD; for results of a run there is --by",
        )
    source = label_options.label_source(labels, label_field, labels_from, labels_run, labels_random)
    if source is not None:
        source = replace(source, pass_words=label_options.names(pass_words))
    if source is not None and columns is None:
        source = replace(
            source, delimiter=_delimiter(delimiter), encoding=encoding or "", sheet=sheet or ""
        )
    elif columns is None and (pass_words, delimiter, encoding, sheet) != (None,) * 4:
        raise ConfigError(
            "--pass-words, --delimiter, --encoding and --sheet are for files that llmb did not "
            "write",
            "name the field with the score too: --score FIELD; or --labels FILE",
        )
    if bom and format != "csv":
        raise ConfigError(f"--bom is for CSV, not for {format}", "add --format csv")
    mark = "\ufeff" if bom else ""
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
        from llm_batch.reporting.comparison import COMPARISON_FORMATS, compare_reports

        chosen(COMPARISON_FORMATS, format)
        compared = compare_reports(
            paths, by=by, level=level, columns=columns, anyway=anyway, cluster=cluster
        )
        present(COMPARISON_FORMATS, format, compared, output, full=full, mark=mark)
        return
    if anyway:
        raise ConfigError(
            "--anyway is for comparing runs", "name two results files: llmb report a.jsonl b.jsonl"
        )
    chosen(FORMATS, format)
    made = build_report(
        paths[0],
        by=by,
        reference=reference,
        level=level,
        columns=columns,
        labels=source,
        judges=label_options.names(judges),
        calls=calls,
        cluster=cluster,
        exact=interval == "exact",
        mean=cast("Literal['auto', 't', 'bca']", mean),
    )
    present(FORMATS, format, made, output, full=full, mark=mark)


def _chosen(pair: str) -> tuple[str, str]:
    """The field and the value of ``--where``."""
    from llm_batch.errors import ConfigError

    field, sign, value = pair.partition("=")
    if not sign or not field.strip():
        raise ConfigError(f"--where {pair!r} names no value", "write --where metric=accuracy")
    return field.strip(), value.strip()


def _delimiter(said: str | None) -> str:
    """The character of ``--delimiter``; a tab is hard to type."""
    from llm_batch.errors import ConfigError

    known = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";"}
    delimiter = known.get(said or "", said or "")
    if len(delimiter) > 1 or delimiter in ("\n", "\r", '"'):
        raise ConfigError(
            f"--delimiter {said!r} is not one character", "write ',' or ';' or '|' or tab"
        )
    return delimiter


def _refuse(flags: list[str]) -> None:
    """Say which flags have no meaning for several files."""
    from llm_batch.errors import ConfigError

    if flags:
        raise ConfigError(
            f"{flags[0]} is for the report of one run", "leave it out, or name one results file"
        )
