"""``llmb merge``: the shards of a run, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from llm_batch.cli import options


def merge(
    shards: Annotated[list[str], typer.Argument(
        metavar="SHARDS...", help="Results files of all shards: results-*-of-16.jsonl.",
    )],
    output: Annotated[str, options.output(
        "--output", "-o",
        help="Results file to write, .jsonl or .parquet; journal and manifest lie beside it.",
    )] = "results.jsonl",
) -> None:  # fmt: skip
    """Put the shards of a run together: results, journals and manifests, as one run has them.

    Prints the path of the results file.
    """
    from llm_batch.chain.overrides import expanded
    from llm_batch.cli.console import put, say
    from llm_batch.paper import words
    from llm_batch.running.merging import merge_shards

    items = merge_shards([expanded(path) for path in shards], expanded(output))
    say(f"{words.counted(len(shards), 'shard')} with {words.items(items)} put together")
    put(output)
