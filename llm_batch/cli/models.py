"""``llmb models``: names that a config can have, with prices; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from llm_batch.cli import complete

if TYPE_CHECKING:
    from llm_batch.models.catalogue import Listed
    from llm_batch.paper.document import Document

#: So many models fill a screen; those after them are seldom meant.
_SHOWN = 20


def models(
    pattern: Annotated[
        list[str],
        typer.Argument(
            autocompletion=complete.models,
            help="Part of a name, or several parts: mini, 'openai gpt-5', 'gemini/*flash*'.",
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print all matches as JSON.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help=f"Show all matches, not just {_SHOWN}.")
    ] = False,
) -> None:
    """Find models by part of their name: prices, context length, end date. Sends nothing."""
    from llm_batch.cli.console import deliver
    from llm_batch.errors import ConfigError
    from llm_batch.models.catalogue import listed, matching, nearest
    from llm_batch.models.table import table_version
    from llm_batch.paper import json as as_json
    from llm_batch.paper import text
    from llm_batch.paper.words import clean
    from llm_batch.sending.providers.embedded import BUNDLED

    wanted = " ".join(pattern)
    names = matching(wanted, [f"local/{name}" for name in BUNDLED])
    if not names:
        near = nearest(wanted)
        raise ConfigError(
            f"no model has {clean(wanted, 80)!r} in its name",
            f"did you mean {' or '.join(near)}?"
            if near
            else "use a shorter part of the name: llmb models gpt",
        )
    if json:
        found = {"table": table_version(), "models": [listed(name) for name in names]}
        deliver(as_json.format(found), None)
        return
    shown = names if full else names[:_SHOWN]
    left = len(names) - len(shown)
    deliver(text.format(_document([listed(name) for name in shown], left)), None)


def _document(rows: Sequence[Listed], left: int) -> Document:
    from llm_batch.models.table import table_version
    from llm_batch.paper.document import Document, Section, Table
    from llm_batch.paper.words import counted, tokens

    ends = any(row.deprecation_date for row in rows)
    cells = tuple(
        (
            row.model,
            _price(row.input),
            _price(row.output),
            _price(row.cache_read),
            _batch(row),
            tokens(row.context),
            *([_end(row)] if ends else []),
        )
        for row in rows
    )
    header = ("Model", "In", "Out", "Cached", "Batch", "Context", *(["Ends"] if ends else []))
    table = Table(header, (False, *(True for _ in header[1:])), cells)
    n = len(rows) + left
    parts: list[Table | str] = [table]
    if left:
        parts.append(
            f"{counted(left, 'more model')} not shown: type more of the name, or add --full."
        )
    unpriced = any(row.input is None for row in rows)
    told = "Cached: input read from the vendor's cache. Batch: price with the vendor's batch API."
    return Document(
        f"{counted(n, 'model')} found; prices are in USD per million tokens.",
        (f"From the price table of {table_version()} on this machine; nothing was sent.",),
        (Section("Models", tuple(parts)),),
        assumptions=(told, *(["A dash: price unknown."] if unpriced else [])),
    )


def _price(price: Decimal | None) -> str:
    from llm_batch.paper.words import NONE

    return NONE if price is None else f"{price.normalize():f}"


def _batch(row: Listed) -> str:
    """Half the price in a word, as nearly all of them are; else what it is."""
    from llm_batch.paper.words import NONE

    if row.batch_input is None or row.batch_output is None or not row.input or not row.output:
        return NONE
    if (2 * row.batch_input, 2 * row.batch_output) == (row.input, row.output):
        return "half"
    return f"{_price(row.batch_input)}/{_price(row.batch_output)}"


def _end(row: Listed) -> str:
    from llm_batch.paper.words import NONE

    if row.deprecation_date is None:
        return NONE
    return "gone" if row.gone else row.deprecation_date[:7]
