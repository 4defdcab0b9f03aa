"""What the shell offers behind a half-typed word: models, engines, formats, fields, steps, ids.

Files need nothing: where nothing is offered, shells offer them. Each function imports what it needs
when a shell asks, and offers nothing where anything is wrong. Names come from files that may be a
stranger's, and some shells evaluate what is offered: a name with other than plain characters is
never among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any

import typer

_PLAIN = re.compile(r"[A-Za-z0-9_./@:+-]{1,200}")
_MOST = 200
_LINES = 20_000


def _offered(find: Callable[..., Iterable[str]]) -> Callable[..., list[str]]:
    """The names of ``find`` that begin as the word does; with commas, for its last part."""

    @wraps(find)
    def offer(ctx: typer.Context, incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        found: dict[str, None] = {}
        try:
            for name in find(ctx, begun):
                if name.startswith(begun) and _PLAIN.fullmatch(name) and len(found) < _MOST:
                    found[f"{before}{comma}{name}"] = None
        except Exception:  # a shell has no use for what is wrong
            return []
        return list(found)

    return offer


@_offered
def models(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Names of models; of all vendors at first, since there are thousands."""
    from llm_batch.models.catalogue import typed
    from llm_batch.models.table import entry_names
    from llm_batch.sending.providers import PREFIXES
    from llm_batch.sending.providers.embedded import BUNDLED

    names = [*(f"local/{name}" for name in BUNDLED), *sorted(map(typed, entry_names()))]
    if "/" in incomplete:
        yield from names
        return
    yield from dict.fromkeys(f"{name.partition('/')[0]}/" for name in names if "/" in name)
    yield from (f"{prefix}/" for prefix in PREFIXES)
    if incomplete:
        yield from sorted(entry_names())


@_offered
def engines(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Names of engines."""
    from llm_batch.engines import ENGINES

    return ENGINES


@_offered
def tiers(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Usage tiers of providers."""
    from llm_batch.models.table import tier_names

    return tier_names()


@_offered
def formats(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """What ``--format`` of the command takes."""
    if ctx.info_name == "report":
        from llm_batch.reporting import FORMATS

        return list(FORMATS)
    from llm_batch.estimating import FORMATS as OF_ESTIMATES

    return list(OF_ESTIMATES)


@_offered
def fields(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Fields of the items, where the command reads results; else of the rows of the data."""
    if "results" not in ctx.params:
        yield from _fields_of_data(ctx)
        return
    from llm_batch.record.reading import ResultsReader

    reader = ResultsReader(_results(ctx))
    try:
        for line in reader.head():
            yield from line.fields
    finally:
        reader.close()


@_offered
def outputs(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Steps of a run, and the members of their outputs: ``judge.score``."""
    from llm_batch.record.manifest import Manifest

    manifest, _ = Manifest.beside(_results(ctx))
    for step in manifest.steps if manifest else ():
        yield step.name
        yield from (f"{step.name}.{name}" for name in step.output or ())


@_offered
def ids(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Ids of a run's items."""
    from llm_batch.record.results import ids_with_lines

    yield from (id for id, _ in islice(ids_with_lines(_results(ctx)), _LINES))


def _results(ctx: typer.Context) -> Path:
    """The results that the command line names, as far as it is typed."""
    # What stands before an option whose word is not typed yet is not among the parameters.
    given: Any = ctx.params.get("results") or ctx.args
    first = given[:1] if isinstance(given, list | tuple) else [given]
    from llm_batch.record.files import results_of

    return Path(results_of(Path(*first or ["results.jsonl"])))


def _fields_of_data(ctx: typer.Context) -> Iterable[str]:
    from llm_batch.chain.config import load_config
    from llm_batch.dataset.shards import opened

    config = load_config(ctx.params.get("config"), data=ctx.params.get("data"))
    data = config.data_path()
    if data == "-":
        return []
    with opened(config.data, data) as source:
        row = next(iter(source.rows()))[1]
    return row if isinstance(row, dict) else []
