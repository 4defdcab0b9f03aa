"""``llmb show``: one item of a run, from its prompt to its score."""

from __future__ import annotations

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
