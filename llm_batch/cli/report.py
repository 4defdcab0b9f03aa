"""``llmb report``: what came out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llm_batch.cli import options


def report(
    results: Annotated[Path, typer.Argument(help="Results of a run.", show_default=True)] = Path(
        "results.jsonl"
    ),
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
    format: Annotated[str, typer.Option("--format", help="text, json or md.")] = "text",
    output: options.Output = None,
) -> None:
    """Say what came out: scores with honest intervals, cost, time, failures."""
    from llm_batch.cli.formats import chosen, deliver
    from llm_batch.errors import ConfigError
    from llm_batch.report import FORMATS, build_report

    write = chosen(FORMATS, format)
    if not 0.5 <= level < 1:
        raise ConfigError(f"--confidence {level:g} is not a level", "use 0.95, or 0.99")
    deliver(write(build_report(results, by=by, reference=reference, level=level)), output)
