"""Putting items into a page: compact, escaped, and compressed when they are many."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from llm_batch.errors import ConfigError
from llm_batch.report.items import ItemLine, category_of, read_items
from llm_batch.report.model import Report
from llm_batch.report.settings import Settings
from llm_batch.templates import PromptError, Template

#: More items than this make a page that takes long to open; the figures are of all of them.
ITEM_LIMIT = 50_000

#: Items up to so many bytes of JSON stand in the page as they are.
_PLAIN_BYTES = 300_000

#: What may end a block of a page or a line of a script; inside JSON strings these mean the same.
_ESCAPES = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


@dataclass(frozen=True, slots=True)
class Embedded:
    """Items as the text of a block in the page.

    Attributes:
        text: JSON without any character that HTML gives a meaning, or base64 of gzip of JSON.
        encoding: ``json`` or ``gzip``.
        n: How many items are in it.
    """

    text: str
    encoding: str
    n: int


def embed_items(report: Report, settings: Settings, limit: int = ITEM_LIMIT) -> Embedded:
    """The first items of the results, for the page's script.

    Each is an array: id, status, score, passed, category, error, reason, fields, outputs,
    prompts, and cost, seconds, attempts, input and output tokens.
    """
    prompts = _Prompts(settings)
    items = [_array(item, report, prompts) for item in islice(read_items(report), limit)]
    raw = msgspec.json.encode(items)
    if len(raw) <= _PLAIN_BYTES:
        return Embedded(escaped_json(items), "json", len(items))
    packed = base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
    return Embedded(packed, "gzip", len(items))


def escaped_json(value: Any) -> str:
    """JSON that can stand inside a script element."""
    return msgspec.json.encode(value).decode().translate(_ESCAPES)


def _array(item: ItemLine, report: Report, prompts: _Prompts) -> list[Any]:
    return [
        item.id,
        item.status,
        item.score,
        item.passed,
        category_of(item, report),
        item.error,
        item.reason or item.label,
        item.fields,
        item.outputs,
        dict(prompts.of(item)),
        item.cost.total,
        item.latency_seconds.total,
        item.attempts.total,
        item.usage.input_tokens,
        item.usage.output_tokens,
    ]


class _Prompts:
    """The prompts of the steps, rendered again from what the results kept."""

    def __init__(self, settings: Settings) -> None:
        self._steps = []
        for step in settings.steps:
            try:
                parts = [
                    (role, Template(source, role))
                    for role, source in (("system", step.system), ("user", step.prompt))
                    if source
                ]
            except ConfigError:
                continue  # the manifest was edited: show the fields
            if parts:
                self._steps.append((step.name, parts))

    def of(self, item: ItemLine) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """By step, the role and text of each message; no step whose fields were not kept."""
        context: Mapping[str, Any] = {"item": item.fields, **item.fields, **item.outputs}
        for name, parts in self._steps:
            try:
                yield name, [(role, template.render(context)) for role, template in parts]
            except PromptError:
                continue
