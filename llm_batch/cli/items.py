"""The items of a run: one (``llmb show``), those that failed (``failures``), all (``export``)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llm_batch.cli import complete


def show(
    id: Annotated[
        str,
        typer.Argument(
            help="The item's id or its beginning, or a text in its data.",
            metavar="ID",
            show_default=False,
            autocompletion=complete.ids,
        ),
    ],
    results: Annotated[Path, typer.Argument(help="Results of a run.")] = Path("results.jsonl"),
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show one item of a run: prompts, replies, the judge's reason, score, attempts and cost."""
    from llm_batch.chain.overrides import expanded
    from llm_batch.cli.console import deliver
    from llm_batch.errors import OutputError
    from llm_batch.reporting.item import ITEM_FORMATS, read_item

    path = Path(expanded(results))
    if not path.exists() and id.endswith((".jsonl", ".parquet")) and Path(expanded(id)).is_file():
        raise OutputError(f"the id must come first; {id!r} is a file", f"llmb show {results} {id}")
    deliver(ITEM_FORMATS["json" if json else "text"](read_item(path, id)), None)


def failures(
    results: Annotated[Path, typer.Argument(help="Results of a run.")] = Path("results.jsonl"),
    json: Annotated[
        bool, typer.Option("--json", help="Print all of it, with all ids, as JSON.")
    ] = False,
) -> None:
    """Show the replies that gave no score, grouped by what went wrong, and what to do about it."""
    from llm_batch.chain.overrides import expanded
    from llm_batch.cli.console import deliver
    from llm_batch.reporting.failures import FAILURE_FORMATS, read_failures

    made = read_failures(expanded(results))
    deliver(FAILURE_FORMATS["json" if json else "text"](made), None)


def export(
    results: Annotated[Path, typer.Argument(help="Results of a run.")] = Path("results.jsonl"),
    output: Annotated[str, typer.Option(
        "--output", "-o", metavar="FILE", show_default=False,
        help="File to write: .parquet, .csv, .jsonl or .jsonl.gz; - for stdout, as JSON Lines.",
    )] = "",
    layout: Annotated[str, typer.Option(
        "--as", help="rows; or, as OpenAI takes them, fine-tuning or batch.",
    )] = "rows",
    step: Annotated[str | None, typer.Option(
        "--step", autocompletion=complete.outputs, show_default=False,
        help="For fine-tuning and batch: the step; the last before the judge without it.",
    )] = None,
    status: Annotated[str | None, typer.Option(
        "--status", show_default=False, help="Only items that ended so: ok; ok,unparsed.",
    )] = None,
    min_score: Annotated[float | None, typer.Option(
        "--min-score", help="Only items with this score or more.",
    )] = None,
    max_score: Annotated[float | None, typer.Option(
        "--max-score", help="Only items with this score or less.",
    )] = None,
    where: Annotated[str | None, typer.Option(
        "--where", metavar="'{{ … }}'", show_default=False,
        help="Only items of which this is true: '{{ category == \"geo\" and passed }}'.",
    )] = None,
) -> None:  # fmt: skip
    """Write results as Parquet, CSV, JSON Lines, or what OpenAI's fine-tuning and batches take."""
    from llm_batch.chain.overrides import expanded
    from llm_batch.cli.console import say
    from llm_batch.errors import ConfigError, OutputError
    from llm_batch.paper import words
    from llm_batch.reporting.export import Which
    from llm_batch.reporting.export import export as written

    if not output:
        raise ConfigError("there is no file to write", f"llmb export {results} -o results.parquet")
    statuses = tuple(each.strip() for each in (status or "").split(",") if each.strip())
    try:
        made = written(
            expanded(results),
            expanded(output),
            layout=layout,
            step=step,
            which=Which(statuses, min_score, max_score, where or ""),
            stdout=sys.stdout.buffer,
        )
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error
    left = f"; {words.items(made.left_out)} without an answer left out" if made.left_out else ""
    if output == "-":
        if left:
            say(left.removeprefix("; "))
        return
    say(f"wrote {words.items(made.items)} to {output}{left}")
