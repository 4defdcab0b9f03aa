"""Lines of results.jsonl: one per item, enough for a report without any other file.

A line, with every key it has (``null`` where there is nothing to say)::

    {"schema": 1, "id": "geo-001", "status": "ok", "error": "",
     "fields": {"question": "…", "answer": "…"},
     "outputs": {"generate": "…", "judge": {"reason": "…", "score": 5}},
     "score": 5.0, "label": "", "reason": "…", "passed": true, "stratum": "",
     "usage": {"input_tokens": 120, "output_tokens": 30, "cache_read_tokens": 0,
               "cache_write_tokens": 0, "reasoning_tokens": 0,
               "steps": {"generate": {"input_tokens": 40, …}, "judge": {…}}},
     "cost": {"total": 0.0012, "steps": {"generate": 0.0004, "judge": 0.0008}},
     "latency_seconds": {"total": 1.9, "steps": {"generate": 1.2, "judge": 0.7}},
     "attempts": {"total": 2, "steps": {"generate": 1, "judge": 1}},
     "worst_case": false, "simulated": false, "chain": "9f…"}

``chain`` is a hash of all that the line follows from besides the calls: a run goes on without
working such a line out again. Where a rule scored by comparing there is ``"expected"`` too, with
what was right; ``"label"`` is then what the answer says, and empty where nothing was found in it.

Where the chain has them, and only there: ``"scores"``, further scores by name, each with ``score``,
``passed`` and ``label``; ``"repeats"``, a list of the same, whose mean is ``"score"``; ``"votes"``,
what each member of a jury or each repeat said, by step; ``"skipped"``, the steps that were not for
the item, whose output is ``null``; ``"lost"``, why a vote or a repeat is missing; ``"trace"``,
the traceback of a rule in Python that failed.

Costs are USD, ``null`` when a price is unknown. Where the provider says what its answers cost,
``cost`` has two keys more: ``"reported"``, the sum of that, and ``"listed"``, those same answers at
our prices. ``usage`` counts as `records.Usage` says.

A reader decodes what it asks for: `VerdictLine` and those that extend it, one line after another,
and `llm_batch.record.reading` for the figures of a million.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from llm_batch.errors import OutputError
from llm_batch.record.lines import (
    LONGEST_LINE,
    SCHEMA,
    TOO_LONG,
    UNREADABLE,
    Amount,
    Count,
    bounded_lines,
    ended_lines,
    some_blocks,
    too_deep,
)
from llm_batch.record.reading import open_results
from llm_batch.records import Result, Score, StepTotals, Usage, without_mark

T = TypeVar("T", bound="ShapeLine | ItemLine")

_USAGE_FIELDS = tuple(Usage.__dataclass_fields__)
_encoder = msgspec.json.Encoder()


def encode_result(
    result: Result, keep: Collection[str] | None = None, chain: str | None = None
) -> bytes:
    """One line of results.jsonl, with the fields named in ``keep``; ``None`` keeps all."""
    record = result_record(result, keep)
    if chain is not None:
        record["chain"] = chain
    return _encoder.encode(record) + b"\n"


def result_record(result: Result, keep: Collection[str] | None = None) -> dict[str, Any]:
    """The same as a dict of plain values; keys as in the module's docstring."""
    item, score, steps = result.item, result.score, result.steps
    fields = item.fields
    if keep is not None:
        fields = {name: fields[name] for name in keep if name in fields}
    costs = [totals.cost for totals in steps.values()]
    usage = sum((totals.usage for totals in steps.values()), Usage())
    return {
        "schema": SCHEMA,
        "id": item.id,
        "status": result.status,
        "error": result.error,
        "fields": fields,
        "outputs": result.outputs,
        "score": score.value if score else None,
        "label": score.label if score else "",
        "reason": score.reason if score else "",
        **({} if score is None or score.expected is None else {"expected": score.expected}),
        "passed": result.passed,
        "stratum": item.stratum,
        "usage": {
            **_usage_record(usage),
            "steps": {name: _usage_record(totals.usage) for name, totals in steps.items()},
        },
        "cost": {
            "total": None if None in costs else sum(cost for cost in costs if cost is not None),
            "steps": {name: totals.cost for name, totals in steps.items()},
            **_reported(steps.values()),
        },
        "latency_seconds": _of_steps(steps, "latency_seconds"),
        "attempts": _of_steps(steps, "attempts"),
        "worst_case": result.worst_case,
        "simulated": result.simulated,
        **_further(result),
    }


def _further(result: Result) -> dict[str, Any]:
    """What only some chains have."""
    found: dict[str, Any] = {
        "scores": {name: _score_record(score) for name, score in result.scores.items()},
        "repeats": [_score_record(score) for score in result.repeats],
        "votes": result.votes,
        "skipped": result.skipped,
        "lost": result.lost,
        "trace": result.trace,
    }
    return {key: value for key, value in found.items() if value}


def _score_record(score: Score) -> dict[str, Any]:
    record = {"score": score.value, "passed": score.passed, "label": score.label}
    return record | ({"reason": score.reason} if score.reason else {})


def _reported(steps: Collection[StepTotals]) -> dict[str, float | None]:
    told = [totals for totals in steps if totals.reported_cost is not None]
    if not told:
        return {}
    listed = [totals.list_cost for totals in told]
    return {
        "reported": sum(totals.reported_cost or 0.0 for totals in told),
        "listed": None if None in listed else sum(cost or 0.0 for cost in listed),
    }


def _usage_record(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in _USAGE_FIELDS}


def _of_steps(steps: Mapping[str, StepTotals], name: str) -> dict[str, Any]:
    values = {step: getattr(totals, name) for step, totals in steps.items()}
    return {"total": sum(values.values()), "steps": values}


class VerdictLine(msgspec.Struct):
    id: str
    status: str
    score: float | None = None
    passed: bool | None = None


class ScoredLine(VerdictLine):
    stratum: str = ""
    fields: dict[str, Any] = {}


class _Tokens(msgspec.Struct):
    input_tokens: Count = 0
    output_tokens: Count = 0


class _Total(msgspec.Struct):
    total: Amount | None = None


class FurtherScore(msgspec.Struct):
    """One of a line's ``scores``."""

    score: float | None = None
    passed: bool | None = None
    label: str = ""
    reason: str = ""


class ItemLine(ScoredLine, kw_only=True):
    """A line with all that people read; numbers over all steps."""

    error: str = ""
    outputs: dict[str, Any] = {}
    label: str = ""
    reason: str = ""
    usage: _Tokens = msgspec.field(default_factory=_Tokens)
    cost: _Total = msgspec.field(default_factory=_Total)
    latency_seconds: _Total = msgspec.field(default_factory=_Total)
    attempts: _Total = msgspec.field(default_factory=_Total)
    simulated: bool = False
    scores: dict[str, FurtherScore] = {}
    repeats: list[FurtherScore] = []
    votes: dict[str, Any] = {}
    skipped: list[str] = []
    lost: dict[str, str] = {}
    trace: str = ""


class _Usages(msgspec.Struct):
    steps: dict[str, Usage] = {}


class _Costs(msgspec.Struct):
    steps: dict[str, float | None] = {}


class _Seconds(msgspec.Struct):
    steps: dict[str, float] = {}


class SeenLine(VerdictLine, kw_only=True):
    """A line as far as those need it who watch a run."""

    error: str = ""
    reason: str = ""
    simulated: bool = False


class SpentLine(VerdictLine, kw_only=True):
    """A line as far as it says what an item took, by step."""

    schema: int
    usage: _Usages
    cost: _Costs
    latency_seconds: _Seconds
    attempts: _Seconds
    worst_case: bool = False
    simulated: bool = False
    skipped: list[str] = []


class ShapeLine(msgspec.Struct):
    """A line as far as it says which columns a table of items has."""

    fields: dict[str, msgspec.Raw] = {}
    outputs: dict[str, Any] = {}
    scores: dict[str, FurtherScore] = {}


_decode = msgspec.json.Decoder(ItemLine).decode
_decode_lines = msgspec.json.Decoder(ItemLine).decode_lines
_decode_shapes = msgspec.json.Decoder(ShapeLine).decode_lines


def item_lines(path: str | Path, start: int = 0, end: int | None = None) -> Iterator[ItemLine]:
    """The lines of a file, or of the part between two bytes that each begin a line.

    Raises:
        OutputError: The file cannot be read, or a line of it is not a result.
    """
    return chain.from_iterable(_blocks(path, start, end, _decode_lines))


def item_blocks(path: str | Path, start: int, end: int) -> Iterator[list[ItemLine]]:
    """The same, some at a time."""
    return _blocks(path, start, end, _decode_lines)


def shape_lines(path: str | Path, start: int, end: int) -> Iterator[ShapeLine | ItemLine]:
    """The same, as far as they say which columns there are; of those whose columns all came before
    many are left out.
    """
    for block in _blocks(path, start, end, _Shapes().decode_lines):
        if block and not isinstance(block[0], _KnownShape):
            yield from block


class _KnownShape(ShapeLine):
    """A line in which there is no column that did not come before."""


_PLAIN = str | int | float | bool | list[Any] | None
#: Lines that often have other columns, or none that can be named here, are all read as shapes.
_MOST_KINDS = 20


class _Shapes:
    """A decoder of lines as shapes.

    To find that nothing is new takes half the time of decoding what is there: so once it has seen
    some lines, it takes the next for ones with no other fields, outputs and scores.
    """

    def __init__(self) -> None:
        self._known: Callable[[bytes], list[ShapeLine]] | None = None
        self._kinds = 0
        self._fields: dict[str, Any] = {}
        #: By step, whether there were outputs that are no objects, and the members of those that
        #: are.
        self._outputs: dict[str, tuple[bool, dict[str, Any] | None]] = {}
        self._scores: dict[str, Any] = {}

    def decode_lines(self, block: bytes) -> list[ShapeLine]:
        if self._known is not None:
            with contextlib.suppress(*UNREADABLE):
                return self._known(block)
        lines = _decode_shapes(block)
        self._known, self._kinds = None, self._kinds + 1
        if lines and self._kinds <= _MOST_KINDS:
            self._learn(lines)
        return lines

    def _learn(self, lines: list[ShapeLine]) -> None:
        for line in lines:
            self._fields.update(dict.fromkeys(line.fields, msgspec.Raw))
            for step, output in line.outputs.items():
                plain, members = self._outputs.get(step, (False, None))
                if output.__class__ is dict:
                    members = {**(members or {}), **dict.fromkeys(output, msgspec.Raw)}
                    self._outputs[step] = plain, members
                else:
                    self._outputs[step] = True, members
            for name, score in line.scores.items():
                if score.passed is not None:
                    self._scores[name] = FurtherScore
                self._scores.setdefault(name, _ScoreWithoutVerdict)
        outputs: dict[str, Any] = {}
        with contextlib.suppress(ValueError):  # a name that msgspec does not take
            for step, (plain, members) in self._outputs.items():
                members_only = _PLAIN if members is None else _only(members)
                outputs[step] = members_only | _PLAIN if plain else members_only
            kinds = [_only(self._fields), _only(outputs), _only(self._scores)]
            known: Any = msgspec.defstruct(
                "KnownShape",
                [
                    (name, kind, msgspec.field(default_factory=kind))
                    for name, kind in zip(("fields", "outputs", "scores"), kinds, strict=True)
                ],
                bases=(_KnownShape,),
            )
            self._known = msgspec.json.Decoder(known).decode_lines


class _ScoreWithoutVerdict(FurtherScore):
    passed: None = None


def _only(members: Mapping[str, Any]) -> Any:
    """A type of objects that have some of these members and no others."""
    slots = {f"member_{i}": name for i, name in enumerate(members)}
    return msgspec.defstruct(
        "Only",
        [(slot, members[name], None) for slot, name in slots.items()],
        rename=slots,
        gc=False,
        forbid_unknown_fields=True,
    )


def items_among(path: str | Path, ids: Collection[str], start: int, end: int) -> Iterator[ItemLine]:
    """Those of `item_lines` that have one of these ids; of the others no more is read."""
    decode = msgspec.json.Decoder(IdLine).decode_lines
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        for block in some_blocks(file, end):
            lines = io.BytesIO(block).readlines()
            try:
                found = decode(block)
            except UNREADABLE:
                found = []
            if len(found) == len(lines) and block.endswith(b"\n"):
                of_lines = zip(found, lines, strict=True)
                named = (line for each, line in of_lines if each.id in ids)
                yield from (decoded_item(line, f"a line of {path}") for line in named)
            else:  # a line needs a closer look
                yield from (item for item in _items(block, path, start) if item.id in ids)
            start += len(block)


def _blocks(
    path: str | Path, start: int, end: int | None, decode_lines: Callable[[bytes], list[T]]
) -> Iterator[list[T] | list[ItemLine]]:
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            for block in some_blocks(file, end):
                yield _whole_items(block, decode_lines) or list(_items(block, path, start))
                start += len(block)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def _whole_items(block: bytes, decode_lines: Callable[[bytes], list[T]]) -> list[T] | None:
    """Lines that are all results; ``None`` where one is not, or needs a closer look.

    Of shapes no value is used, however deep it is.
    """
    try:
        items = decode_lines(block)
    except UNREADABLE:
        return None
    if len(items) != ended_lines(block):
        return None
    if items and isinstance(items[0], ShapeLine):
        return items
    nested = [
        value
        for of in (_values_of(items, "fields"), _values_of(items, "outputs"))
        for value in of
        if value.__class__ is dict or value.__class__ is list
    ]
    return None if too_deep(*nested) else items


def _values_of(items: Sequence[Any], name: str) -> Iterable[Any]:
    """The values of a dict of each item; none where no value is a list or an object.

    To look at their kinds first takes a fourth of the time of looking at each.
    """
    dicts = list(map(attrgetter(name), items))
    kinds = set(map(type, chain.from_iterable(map(dict.values, dicts))))
    return chain.from_iterable(map(dict.values, dicts)) if kinds & {dict, list} else ()


def _items(block: bytes, path: str | Path, start: int) -> Iterator[ItemLine]:
    """The lines of a block one by one, to find the one that is wrong."""
    with open(path, "rb", buffering=0) as file:
        before = sum(lines.count(b"\n") for lines in some_blocks(file, start))
    for number, line in enumerate(io.BytesIO(block), before + 1):
        if line.isspace() or not line.endswith(b"\n"):
            if (last := _last(line)) is not None:
                yield last
            continue
        yield decoded_item(line, f"{path}, line {number}")


class IdLine(msgspec.Struct):
    """A line as far as it says whose it is."""

    id: str


def ids_with_lines(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield the id and the line of each item, each id once; lines that cannot be read are left out.

    Raises:
        OutputError: The file is missing, cannot be read, or its first line is none of a run's.
    """
    decode = msgspec.json.Decoder(IdLine).decode
    seen: set[str] = set()
    try:
        with open_results(path) as file:
            for number, line in enumerate(bounded_lines(file), 1):
                try:
                    item = decode(line).id
                except UNREADABLE as error:
                    if number == 1:
                        raise OutputError(
                            f"{path} is not a results file: its first line has no id",
                            "name what llmb run wrote: results.jsonl",
                        ) from error
                    continue
                if item not in seen:
                    seen.add(item)
                    yield item, line
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def decoded_item(line: bytes, where: str) -> ItemLine:
    """A line with all that people read; `OutputError` for what is not a result.

    A report reads less of a line at first; what it has skipped so far may be wrong as well.
    """
    try:
        item = _decode(without_mark(line))
    except UNREADABLE as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        if line == TOO_LONG:
            reason = f"it is longer than {LONGEST_LINE >> 20} MB"
    else:
        if not too_deep(*item.fields.values(), *item.outputs.values()):
            return item
        reason = "nested too deeply"
    raise OutputError(
        f"{where} is not a result: {reason}",
        "name what llmb run wrote; the same llmb run command writes a damaged file again from its "
        "journal",
    )


def _last(line: bytes) -> ItemLine | None:
    """A line without its end; ``None`` where it is cut off, as the report has said."""
    try:
        return decoded_item(line, "the last line")
    except OutputError:
        return None


class DoneLine(VerdictLine, gc=False):
    """A line as far as a run needs it that goes on."""

    chain: str = ""
    simulated: bool = False
