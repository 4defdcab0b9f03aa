"""``llmb report``: what came out of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from llm_batch.cli import complete, options

if TYPE_CHECKING:
    from llm_batch.reporting import Columns, Report
    from llm_batch.reporting.judging.labels import LabelSource


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
    from llm_batch.reporting.judging.labels import LabelSource

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
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def report(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Results of a run; name several to compare the others with the first.",
            show_default="results.jsonl",
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(
        "--by", autocompletion=complete.fields,
        help="Field to group the results by.",
    )] = None,
    reference: Annotated[str | None, typer.Option(
        "--reference", autocompletion=complete.fields,
        help="Field with the right answer, to check the judge against.",
    )] = None,
    level: Annotated[float, typer.Option(
        "--confidence", help="Confidence level of the intervals.",
    )] = 0.95,
    cluster: Annotated[str | None, typer.Option(
        "--cluster", autocompletion=complete.fields,
        help="Field that groups items which belong together; the intervals take it into account.",
    )] = None,
    interval: Annotated[str, typer.Option(
        "--interval", help="Interval for rates: wilson or exact.",
    )] = "wilson",
    mean: Annotated[str, typer.Option(
        "--mean", help="Interval for the mean score: t, bca, or auto (bca if skewed).",
    )] = "auto",
    score: options.ScoreField = None,
    id: options.Id = None,
    category: options.Category = None,
    pass_at: options.PassAt = None,
    pass_words: options.PassWords = None,
    where: options.Where = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    labels: options.LabelsPath = None,
    label_field: options.LabelColumns = None,
    labels_from: options.LabelsFrom = None,
    labels_run: options.LabelsRun = None,
    no_labels: options.NoLabels = False,
    labels_random: options.LabelsRandom = None,
    judges: options.Judges = None,
    calls: Annotated[bool | None, typer.Option(
        "--calls/--no-calls", show_default=False,
        help="Also read the journal, for retries and speed over time. By default: if it has up "
        "to 64 MB.",
    )] = None,
    format: Annotated[str, typer.Option(
        "--format", autocompletion=complete.formats,
        help="text, line, json, md, csv, latex or html; with --at-least junit too.",
    )] = "text",
    full: options.Full = False,
    bom: Annotated[bool, typer.Option(
        "--bom", help="Start the CSV with a byte order mark, so that Excel reads it as UTF-8.",
    )] = False,
    anyway: Annotated[bool, typer.Option(
        "--anyway", help="Compare the runs even if their items or judges differ.",
    )] = False,
    at_least: options.AtLeast = None,
    undecided_passes: options.UndecidedPasses = False,
    output: options.Output = None,
    also: options.Also = None,
    step_summary: options.StepSummary = False,
) -> None:  # fmt: skip
    """Show the results of a run: scores with confidence intervals, cost, time and failures.

    With several results files: what changed between the first and the others, on the same items.
    """
    from llm_batch.cli.console import chosen, present_all
    from llm_batch.errors import ConfigError
    from llm_batch.record.parts import stay_able_to_fork
    from llm_batch.reporting import FORMATS, build_report
    from llm_batch.reporting.gating import GATE_FORMATS, Asked

    stay_able_to_fork()
    if not 0.5 <= level < 1:
        raise ConfigError(f"--confidence {level:g} is not a level", "use 0.95, or 0.99")
    if interval not in ("wilson", "exact"):
        raise ConfigError(f"--interval {interval!r} is not known", "use wilson or exact")
    if mean not in ("auto", "t", "bca"):
        raise ConfigError(f"--mean {mean!r} is not known", "use auto, t or bca")
    paths = results or [Path("results.jsonl")]
    ours = False
    if score is not None:
        from llm_batch.reporting.comparison.build import written_by_llmb

        ours = written_by_llmb(paths)
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
    source = label_source(labels, label_field, labels_from, labels_run, labels_random)
    if source is not None and no_labels:
        raise ConfigError("--no-labels contradicts the labels you named", "leave out --no-labels")
    if source is not None:
        source = replace(source, pass_words=names(pass_words))
    if source is not None and columns is None:
        source = replace(
            source, delimiter=delimiter_of(delimiter), encoding=encoding or "", sheet=sheet or ""
        )
    elif columns is None and (pass_words, delimiter, encoding, sheet) != (None,) * 4:
        raise ConfigError(
            "--pass-words, --delimiter, --encoding and --sheet are for results of another program "
            "or for labels",
            "also name the field with the score: --score FIELD; or --labels FILE",
        )
    if bom and format != "csv":
        raise ConfigError(f"--bom is for CSV, not for {format}", "add --format csv")
    mark = "\ufeff" if bom else ""
    if len(paths) > 1:
        given = {
            "--reference": reference,
            "--labels": labels,
            "--labels-run": labels_run,
            "--judges": judges,
            "--interval": None if interval == "wilson" else interval,
            "--mean": None if mean == "auto" else mean,
            "--calls": calls or None,
            "--at-least": at_least,
        }
        _refuse([flag for flag, value in given.items() if value is not None])
        from llm_batch.reporting.comparison.build import COMPARISON_FORMATS, compare_reports

        chosen(COMPARISON_FORMATS, format)
        compared = compare_reports(
            paths, by=by, level=level, columns=columns, anyway=anyway, cluster=cluster,
            score=score or "" if ours else "",
        )  # fmt: skip
        present_all(COMPARISON_FORMATS, format, compared, output, also or (),
                    step_summary=step_summary, full=full, mark=mark)  # fmt: skip
        return
    if anyway:
        raise ConfigError(
            "--anyway is for comparing runs", "name two results files: llmb report a.jsonl b.jsonl"
        )
    asked = Asked(at_least=at_least, level=level, by_group=by is not None,
                  undecided_passes=undecided_passes)  # fmt: skip
    if undecided_passes and not asked:
        raise ConfigError("--undecided-passes is for a gate", "add --at-least 0.9")
    chosen(GATE_FORMATS if asked else FORMATS, format)

    def built(labels: LabelSource | None, level: float = level) -> Report:
        return build_report(
            paths[0],
            by=by,
            reference=reference,
            level=level,
            columns=columns,
            labels=labels,
            judges=names(judges),
            calls=calls,
            cluster=cluster,
            exact=interval == "exact" or bool(asked),
            mean=cast("Literal['auto', 't', 'bca']", mean),
            score=score or "" if ours else "",
        )

    beside = None if source or columns or no_labels else labels_beside(paths[0])
    made = built(source) if beside is None else with_labels_beside(beside, built)
    if not asked:
        present_all(FORMATS, format, made, output, also or (),
                    step_summary=step_summary, full=full, mark=mark)  # fmt: skip
        return
    from llm_batch.reporting.gating.build import gate_report

    gated = gate_report(made, built(None, 2 * level - 1), asked)
    present_all(GATE_FORMATS, format, gated, output, also or (),
                step_summary=step_summary, full=full, mark=mark)  # fmt: skip
    raise typer.Exit(gated.gate.exit_code)


def columns_of(
    score: str | None,
    id: str | None,
    category: str | None,
    pass_at: float | None,
    pass_words: str | None,
    where: list[str] | None,
    delimiter: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
) -> Columns | None:
    """How to read what llmb did not write; ``None`` for results of a run."""
    from llm_batch.errors import ConfigError
    from llm_batch.reporting import Columns

    if score is None:
        if (id, category, pass_at, where) != (None, None, None, None):
            raise ConfigError(
                "--id, --category, --pass-at and --where are for files that llmb did not write",
                "name the field with the score too: --score FIELD; for results of a run there is "
                "--by",
            )
        return None
    return Columns(
        score,
        id or "",
        category or "",
        pass_at,
        names(pass_words),
        tuple(_chosen(each) for each in where or ()),
        delimiter_of(delimiter),
        encoding or "",
        sheet or "",
    )


def _chosen(pair: str) -> tuple[str, str]:
    from llm_batch.errors import ConfigError

    field, sign, value = pair.partition("=")
    if not sign or not field.strip():
        raise ConfigError(f"--where {pair!r} names no value", "write --where metric=accuracy")
    return field.strip(), value.strip()


def labels_beside(results: Path) -> Path | None:
    """The labels beside these results: those that say they are of this run, or that of the only
    run in a folder.
    """
    from llm_batch.chain.overrides import command
    from llm_batch.cli.console import say
    from llm_batch.errors import LlmbError
    from llm_batch.record.files import results_of, run_paths
    from llm_batch.record.manifest import Manifest
    from llm_batch.reporting.judging.labels import runs_of

    if str(results) == "-":
        return None
    results = Path(results_of(results))
    found = results.with_name("labels.csv")
    if not found.is_file() or not results.is_file():
        return None
    again = command("report", results, "--labels", found)
    try:
        runs = runs_of(found)
    except LlmbError:
        runs = set()  # what is wrong with the file is said once it is used
    manifest, _ = Manifest.beside(results)
    if runs and manifest is not None and manifest.run_id:
        if runs == {manifest.run_id}:
            return found
        own = results.with_name(f"{results.stem}-{manifest.run_id}-labels.csv")
        say(
            f"{found} is ignored: its labels are for another run ({min(runs)}), not for "
            f"{manifest.run_id}; to label this one: {command('label', results, '--output', own)}; "
            f"to use them anyway: {again}"
        )
        return None
    mine = run_paths(results).manifest
    if any(other != mine for other in results.parent.glob("*.manifest.json")):
        say(f"{found} is ignored: it may belong to another run in this folder; if not: {again}")
        return None
    return found


def with_labels_beside(path: Path, built: Callable[[LabelSource | None], Report]) -> Report:
    """The report with these labels, or without them where they cannot be used; either is said."""
    from llm_batch.cli.console import say
    from llm_batch.errors import LlmbError
    from llm_batch.reporting.judging.labels import LabelSource

    try:
        made = built(LabelSource(path=str(path)))
    except LlmbError as error:
        made = built(None)  # what is wrong with the results is said of them
        say(f"{path} is ignored: {error.message}")
        return made
    say(f"using the labels in {path} (--no-labels ignores them)")
    return made


def delimiter_of(said: str | None) -> str:
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
            f"{flags[0]} works with one run only", "leave it out, or name one results file"
        )
