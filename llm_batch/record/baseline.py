"""A baseline: what a comparison needs of a run, in one small file that belongs in git.

``baseline.json`` is JSON with an item a line, so that a change of it reads well::

    {"baseline": 1, "results": "results.jsonl", "run_id": "…", "created_at": "…",
     "settings": {"model of judge": "openai/gpt-4.1", "prompt of judge": "text 9f86d081…", …},
     "scores": {"score": {"judging": ["model of judge", …], "scale": [1.0, 5.0], "figures": {…}}},
     "fields": ["question", "answer"], "items": [
    {"id": "geo-001", "score": 5.0, "passed": true, "cost": 0.0012, "seconds": 1.9, "content": "…"},
    …
    ]}

No prompt, question or answer is in it: of long settings and of the fields of the items there are
hashes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.errors import OutputError
from llm_batch.record.lines import UNREADABLE, Amount, Count
from llm_batch.records import without_mark

BASELINE_SCHEMA = 1
_FIRST_KEY = re.compile(rb'\s*\{\s*"baseline"\s*:')
_AGAIN = "write it anew from the results: llmb baseline set results.jsonl -o {}"
_HASH_BYTES = 8
#: Longer settings are kept as a hash, and whatever may be one's own words.
_LONGEST = 80
_PROMPTS = {"prompt", "system", "messages", "value", "expected", "pattern"}
_encoder = msgspec.json.Encoder(order="sorted")


class BaselineItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item; ``seconds`` of latency, ``content`` a hash of the fields that are named, ``scores``
    and verdicts of further ones by name.
    """

    id: str
    score: float | None = None
    passed: bool | None = None
    cost: Amount | None = None
    seconds: Amount | None = None
    content: str = ""
    scores: dict[str, tuple[float | None, bool | None]] = {}


class BaselineScore(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the scores of a run.

    Attributes:
        settings: Those that are its own.
        judging: The names of those that decide what it means.
        scale: Its ends, where they are known.
        figures: Those of `llm_batch.reporting.comparison.RunFigures`.
    """

    settings: dict[str, Any] = {}
    judging: list[str] = []
    scale: tuple[float, float] | None = None
    figures: dict[str, Any] = {}


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        baseline: `BASELINE_SCHEMA`, the first key.
        results: The file it was made from, as it was typed.
        settings: How the run was set up, flat, as `brief` has them.
        known: Whether that is known.
        planned: Items that the run was to have, and ``population`` those of its dataset.
        scores: By name; the main one is called ``score``.
        fields: Those whose content the items' hashes are of.
    """

    baseline: int = BASELINE_SCHEMA
    results: str
    run_id: str = ""
    created_at: str = ""
    settings: dict[str, Any] = {}
    known: bool = True
    planned: Count | None = None
    population: Count | None = None
    scores: dict[str, BaselineScore]
    fields: list[str] = []
    items: list[BaselineItem] = []

    def encoded(self) -> bytes:
        head = msgspec.json.encode(msgspec.structs.replace(self, items=[]))
        lines = b",\n".join(map(msgspec.json.encode, self.items))
        return head.removesuffix(b"[]}") + b"[\n" + lines + b"\n]}\n"


def is_baseline(path: str | Path) -> bool:
    """Whether a file is a baseline, as far as its beginning tells."""
    try:
        if not Path(path).is_file():
            return False
        with open(path, "rb") as file:
            return bool(_FIRST_KEY.match(without_mark(file.read(200))))
    except OSError:
        return False


def read_baseline(path: str | Path) -> Baseline:
    """A baseline that `is_baseline` found.

    Raises:
        OutputError: It cannot be read, a newer version wrote it, or an item is there twice.
    """
    again = _AGAIN.format(path)
    try:
        raw = without_mark(Path(path).read_bytes())
        schema = msgspec.json.decode(raw, type=_Schema).baseline
        if isinstance(schema, int) and schema > BASELINE_SCHEMA:
            raise OutputError(
                f"{path} was written by a newer version of llm_batch: this one reads baselines of "
                f"version {BASELINE_SCHEMA}",
                f"upgrade llm_batch, or {again}",
            )
        found = msgspec.json.decode(raw, type=Baseline)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise OutputError(f"{path} is not a whole baseline: {error}", again) from error
    if len({item.id for item in found.items}) < len(found.items):
        raise OutputError(f"{path} has an item twice, as a merge may leave it", again)
    return found


class _Schema(msgspec.Struct):
    baseline: Any


def content_of(fields: Mapping[str, Any], names: Collection[str]) -> bytes:
    """The fields with these names as a text to tell them apart from others."""
    if fields.keys() == names:
        return _encoder.encode(fields)
    return _encoder.encode({name: fields[name] for name in names if name in fields})


def content_hash(content: bytes) -> int:
    """A short hash of `content_of` an item, the same on every machine."""
    return int.from_bytes(blake2b(content, digest_size=_HASH_BYTES).digest(), "big")


def brief(name: str, value: Any) -> Any:
    """A setting as a baseline has it: objects, prompts and long texts as their hashes."""
    prompt = name.partition(" of ")[0] in _PROMPTS
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) and len(value) <= _LONGEST and not prompt:
        return value
    digest = blake2b(_encoder.encode(value), digest_size=_HASH_BYTES).hexdigest()
    return f"{'text' if isinstance(value, str) else 'value'} {digest}"
