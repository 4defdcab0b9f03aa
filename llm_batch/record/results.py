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
import itertools
import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import msgspec

from llm_batch.errors import OutputError
from llm_batch.record.files import (
    FREE_SPACE,
    PRIVATE,
    Writing,
    left_beside,
    make_own,
    open_beside,
    open_to_append,
    open_to_change,
    real_path,
)
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
    decode = msgspec.json.Decoder(_Id).decode_lines
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


class _Id(msgspec.Struct):
    id: str


def ids_with_lines(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield the id and the line of each item, each id once; lines that cannot be read are left out.

    Raises:
        OutputError: The file is missing, cannot be read, or its first line is none of a run's.
    """
    decode = msgspec.json.Decoder(_Id).decode
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


@dataclass(slots=True)
class Standing:
    """What of a results file stays as it is: all of its whole lines but those to be ``cut``.

    Attributes:
        end: Where the last whole line ends, in bytes.
        cut: Where each other line begins and ends.
        hash: `text_hash` of the file as it is, in hex, where that is known.
    """

    end: int = 0
    cut: list[tuple[int, int]] = field(default_factory=list)
    hash: str | None = None


def standing(
    path: Path, keeps: Callable[[list[DoneLine]], list[bool]]
) -> Generator[None, None, Standing | None]:
    """Ask of each line of a results file whether it stays, in their order; a yield after some.

    Returns ``None`` where there is no file, or one that no run left so.
    """
    found = Standing()
    decode = msgspec.json.Decoder(DoneLine).decode_lines
    rest = b""
    try:
        with open(path, "rb", buffering=0) as file:
            while more := file.read(_BLOCK):
                block, mark, rest = (rest + more).rpartition(b"\n")
                if not mark:
                    continue
                lines = decode(block)
                if block.count(b"\n") + 1 != len(lines):
                    return None  # no run writes blank lines
                kept = keeps(lines)
                if not all(kept):
                    start = found.end
                    for line, keep in zip(block.split(b"\n"), kept, strict=True):
                        if not keep:
                            found.cut.append((start, start + len(line) + 1))
                        start += len(line) + 1
                found.end += len(block) + 1
                yield
    except (OSError, *UNREADABLE):
        return None
    return found


_BLOCK = 1 << 20


class _Before:
    """The lines of a file whose results are all worked out again, by their items.

    Those that come out the same stay where they are: 24 bytes in memory for each line.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._keys, self._lines = array("q"), array("Q")
        self._starts = array("Q", [0])
        self._same = array("Q")
        self._is_same = bytearray()

    @classmethod
    def of(cls, path: Path, chain: str | None) -> Self | None:
        """``None`` without a file that begins with a line of this chain: others come out new."""
        try:
            with open(path, "rb") as file:
                line = msgspec.json.decode(file.readline(LONGEST_LINE), type=DoneLine)
            if chain is None or line.chain != chain:
                return None
            return cls(open(path, "rb", buffering=0))
        except (OSError, *UNREADABLE):
            return None

    def has(self, item_id: str, line: bytes) -> bool:
        """Whether this item has this line there, which is then one of the `same`."""
        if not self._is_same:
            self._look()
        found = bisect_left(self._keys, key := hash(item_id))
        if found == len(self._keys) or self._keys[found] != key:
            return False
        number = self._lines[found]
        if self._is_same[number] or self._line(number) != line:
            return False
        self._is_same[number] = 1
        self._same.append(number)
        return True

    def same(self) -> Iterator[bytes]:
        """The lines that stay, in the order in which they were asked for."""
        return map(self._line, self._same)

    def standing(self) -> Standing:
        if not self._is_same:
            self._look()
        ends = enumerate(self._is_same)
        cut = [(self._starts[n], self._starts[n + 1]) for n, stays in ends if not stays]
        return Standing(self._starts[-1], cut)

    def close(self) -> None:
        self._file.close()

    def _line(self, number: int) -> bytes:
        start, end = self._starts[number : number + 2]
        self._file.seek(start)
        return self._file.read(end - start)

    def _look(self) -> None:
        import numpy

        decode = msgspec.json.Decoder(_Id).decode
        self._file.seek(0)
        for block in some_blocks(self._file):
            for line in io.BytesIO(block):
                try:
                    self._keys.append(hash(decode(line).id))
                    self._lines.append(len(self._starts) - 1)
                except UNREADABLE:
                    pass  # it comes out otherwise
                self._starts.append(self._starts[-1] + len(line))
        self._is_same = bytearray(len(self._starts) - 1)
        # Stable, so that of an item with two lines the first is found.
        keys = numpy.frombuffer(self._keys, numpy.int64)
        order = numpy.argsort(keys, kind="stable").tolist()
        self._keys = array("q", map(self._keys.__getitem__, order))
        self._lines = array("Q", map(self._lines.__getitem__, order))


def _cut(path: Path, standing: Standing) -> None:
    """Take lines out of a file in its place, so that it is never there twice.

    A crash on the way leaves lines that are no results or come twice. `standing` finds such a
    file to be none of a run's, and all of it follows from the journal.
    """
    ends = [start for start, _ in standing.cut[1:]] + [standing.end]
    with open_to_change(path) as file:
        target = standing.cut[0][0] if standing.cut else standing.end
        for (_, start), end in zip(standing.cut, ends, strict=False):
            while start < end:
                file.seek(start)
                block = file.read(min(_BLOCK, end - start))
                file.seek(target)
                target += file.write(block)
                start += len(block)
        file.truncate(target)


class ResultsFile:
    """The results of a run as they come; replaces the file of an earlier run only once it must.

    Results that follow from the journal alone are held against the old file. From the first on
    that is not in it as it is, they are written beside it. The first new call, or the end, puts the
    new file in its place, and it grows there from then on: at every moment the path holds a whole
    older file or the newest results. Where nothing came out otherwise, none is written. An older
    file that the run did not write, or that was changed since (``edited``), is renamed then and not
    replaced; ``kept`` is the name it gets.

    Of a file in which lines are ``standing``, the others are cut, and new ones come behind; it is
    left alone until there are some, or to the end where there is nothing to cut. While it is
    ``undecided`` which lines stand, new ones are held in memory, up to `decide`: they follow from
    the journal.

    Args:
        chain: What lines follow from besides the calls, see the module's docstring.
    """

    def __init__(
        self,
        path: Path,
        keep: Collection[str] | None,
        edited: bool,
        mode: int = PRIVATE,
        chain: str | None = None,
        standing: Standing | None = None,
        undecided: bool = False,
    ) -> None:
        self.path = path
        self._keep = keep
        self._chain = chain
        # Where a link leads, so that it stays one; else the name that the user knows.
        self._real = real_path(path) if path.is_symlink() else path
        self._mode = mode
        self._standing = standing
        #: By item, the status and the line.
        self._held: dict[str, tuple[str, bytes]] | None = {} if undecided else None
        self._withdrawn: set[str] = set()
        self._published = self._to_publish = False
        self._written = False
        self._flushed_at = time.monotonic()
        self._hash: Any = None if standing is not None or undecided else text_hash(None)
        self._before: _Before | None = None
        self.kept = _free_name(self._real) if edited or not _is_results(path) else None
        self._writing = Writing(path, "; every paid call is in the journal", FREE_SPACE)
        with Writing(path):
            for left in left_beside(self._real):  # no other run writes here: the journal is ours
                left.unlink()
            self._beside: Path | None = None
            if standing is None and not undecided and self.kept is None:
                self._before = _Before.of(self._real, chain)
            if standing is not None or undecided or self._before is not None:
                make_own(self._real)
                self._file = open_to_append(self._real, mode, buffered=True)
            else:
                self._beside, self._file = open_beside(self._real, mode)

    def decide(self, standing: Standing | None) -> None:
        """Which lines stand, now that it is known; none of them, without any."""
        held, self._held = self._held or {}, None
        self._standing = standing
        if standing is None:
            self._begin_beside()
        for item_id, (_, line) in held.items():
            if standing is None or item_id not in self._withdrawn:
                self._add(item_id, line)
        if self._to_publish:
            self.publish()

    def withdraw(self, item_id: str, status: str) -> bool:
        """Whether the line that is held of an item has this status; if lines stand, it is dropped.

        Only the first of two lines that stand withdraws it.
        """
        held = self._held or {}
        same = item_id in held and held[item_id][0] == status and item_id not in self._withdrawn
        if same:
            self._withdrawn.add(item_id)
        return same

    def stamp(self) -> dict[str, Any]:
        """What tells later whether somebody changed the file; see `is_edited`."""
        found = os.stat(self.path)
        unchanged = None if self._written or self._standing is None else self._standing.hash
        if self._hash is None and unchanged is None:
            with open(self.path, "rb", buffering=0) as file:
                self._hash = text_hash(file)
        return {
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "hash": unchanged or self._hash.hexdigest(),
        }

    def write(self, result: Result) -> None:
        """Add a line; `OutputError` on a full disk, where the journal has what was paid for."""
        line = encode_result(result, self._keep, self._chain)
        if self._held is not None:
            self._held[result.item.id] = result.status, line
        else:
            self._add(result.item.id, line)

    def _add(self, item_id: str, line: bytes) -> None:
        if self._before is not None:
            if self._before.has(item_id, line):
                return
            self._begin_beside()
        if self._standing is not None:
            self.publish()
        else:
            self._hash.update(line)
        with self._writing:
            self._file.write(line)
        self._written = True

    def _begin_beside(self) -> None:
        """Write a new file beside the old one, with what is the same so far."""
        self._file.close()
        self._hash = text_hash(None)
        with self._writing:
            self._beside, self._file = open_beside(self._real, self._mode)
            if self._before is not None:
                for line in self._before.same():
                    self._hash.update(line)
                    self._file.write(line)
                self._before.close()
                self._before = None

    def _keep_the_same(self) -> None:
        """Leave the old file in its place, without the lines that did not come out again."""
        if self._before is not None:
            with self._writing:
                self._standing, self._hash = self._before.standing(), None
            self._before.close()
            self._before = None

    def publish(self) -> None:
        if self._held is not None:
            self._to_publish = True
            return
        if self._before is not None:
            self._begin_beside()
        if self._published:
            if time.monotonic() - self._flushed_at > 1.0:
                self.flush()
            return
        self.flush()
        with self._writing:
            if self._standing is not None:
                whole = os.fstat(self._file.fileno()).st_size == self._standing.end
                if self._standing.cut or not whole:
                    _cut(self._real, self._standing)
                    self._written = True
            elif self.kept is not None:
                self._real.rename(self.kept)
            if self._beside is not None:
                os.replace(self._beside, self._real)
        self._published = True

    def flush(self) -> None:
        with self._writing:
            self._file.flush()
        self._flushed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._keep_the_same()
                self.publish()
                self.flush()
                with self._writing:
                    os.fsync(self._file.fileno())
        finally:
            with contextlib.suppress(OSError):  # on a full disk: the error is raised already
                self._file.close()
            if self._before is not None:
                self._before.close()
            if not self._published and self._beside is not None:
                self._beside.unlink(missing_ok=True)


def is_edited(path: Path, stamp: Any) -> bool:
    """Whether a file says something else than it did when a run wrote it.

    A copy has another time, and one that was transferred as text has other ends of lines. The stamp
    is `ResultsFile.stamp` then, or size and time alone as older versions wrote them.
    """
    try:
        found = os.stat(path)
        if isinstance(stamp, list):
            return stamp != [found.st_size, found.st_mtime_ns]
        if (found.st_size, found.st_mtime_ns) == (stamp.get("size"), stamp.get("mtime_ns")):
            return False
        with open(path, "rb", buffering=0) as file:
            return bool(text_hash(file).hexdigest() != stamp.get("hash"))
    except OSError:
        return False  # there is none, or opening it will say what is wrong


def text_hash(file: IO[bytes] | None) -> Any:
    """The hash of lines, whatever marks their ends and the beginning of the file."""
    made = blake2b(digest_size=16)
    for block in some_blocks(file) if file else ():
        if _as_written(block):
            made.update(block)
            continue
        for line in map(without_mark, io.BytesIO(block)):
            if line.strip():
                made.update(line.rstrip(b"\r\n") + b"\n")
    return made


def _as_written(block: bytes) -> bool:
    """Whether these are lines as a run writes them, objects and nothing else."""
    begins = block.startswith(b"{") + block.count(b"\n{")
    return begins == block.count(b"\n") and block.endswith(b"\n") and b"\r" not in block


def _is_results(path: Path) -> bool:
    """Whether a run wrote this file, as far as its first line tells; True when there is none."""
    with Writing(path):
        if not path.exists():
            return True
        with open(path, "rb") as file:
            first = file.readline()
    try:
        return not first or "schema" in msgspec.json.decode(
            without_mark(first), type=dict[str, Any]
        )
    except UNREADABLE:
        return False


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.edited-{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
