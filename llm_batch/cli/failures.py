"""``llmb failures``: the replies that gave no score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
