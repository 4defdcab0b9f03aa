"""``llmb merge``: the shards of a run, put together."""

from __future__ import annotations

import glob
import os
from typing import Annotated

import typer

from llm_batch.cli import options


def merge(
    shards: Annotated[list[str], typer.Argument(
        metavar="SHARDS...", help="Results files of all shards: results-*-of-16.jsonl.",
    )],
    output: Annotated[str | None, options.output(
        "--output", "-o",
        help="Results file to write, .jsonl or .parquet; journal and manifest lie beside it. "
        "[default: results.jsonl of results-1-of-16.jsonl]",
    )] = None,
) -> None:  # fmt: skip
    """Put the shards of a run together: results, journals and manifests, as one run has them.

    Prints the path of the results file.
    """
    from llm_batch.chain.options import whole_name
    from llm_batch.chain.overrides import as_word, command, expanded
    from llm_batch.cli.console import put, say
    from llm_batch.paper import words
    from llm_batch.running.merging import merge_shards

    named = [path for shard in shards for path in _files(expanded(shard))]
    if output is None:
        whole = whole_name(named[0])
        output = whole if whole != named[0] else "results.jsonl"  # of one that was renamed
    into = expanded(output)
    merged = merge_shards(named, into)
    count, items = words.counted(merged.shards, "shard"), words.items(merged.items)
    say(f"{count} with {items} put together")
    say(f"next: {command('report', into)}")
    put(as_word(into))


def _files(shard: str) -> list[str]:
    """What a pattern names, where the shell has left it as it is; else the name alone."""
    return (not os.path.exists(shard) and sorted(glob.glob(shard))) or [shard]  # noqa: PTH110, PTH207
