"""Results lines in, a batch at a time, in one pass over the file.

What is skipped costs a third of what is decoded, and a member of a struct costs half of an entry
of a dict. So of an item's fields and outputs a line has those that are asked for, and it has one
member for each step of the chain.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
from msgspec import UNSET

from llm_batch.chain.overrides import command
from llm_batch.chain.score_rules import MAIN
from llm_batch.errors import OutputError
from llm_batch.record.baseline import content_of
from llm_batch.record.files import JOURNAL_ENDS, run_paths
from llm_batch.record.lines import (
    BATCH_BYTES,
    LONGEST_LINE,
    SCHEMA,
    UNREADABLE,
    Amount,
    Count,
    StepUsage,
    newer,
    some_blocks,
)
from llm_batch.records import without_mark


class NoSteps(msgspec.Struct, gc=False, frozen=True): ...


class BySteps(msgspec.Struct, gc=False):
    """``usage`` or ``attempts`` of a line; its sums are made again from the steps."""

    steps: Any = NoSteps()


class CostBySteps(msgspec.Struct, gc=False):
    """``cost`` of a line; ``None`` where a price is unknown, or nothing was reported."""

    total: Amount | None = None
    reported: Amount | None = None
    listed: Amount | None = None
    steps: Any = NoSteps()


class TimeBySteps(msgspec.Struct, gc=False):
    total: Amount = 0.0
    steps: Any = NoSteps()


class Line(msgspec.Struct, gc=False, kw_only=True):
    """A results line as far as a report reads it; `llm_batch.record.results` has the layout.

    ``fields`` and ``outputs`` are read through the getters that `line_type` gives, and what
    stands by steps through those of `steps_of`. A step that was not called has no usage and no
    latency, and 0 for its cost and attempts.
    """

    schema: Annotated[int, msgspec.Meta(le=SCHEMA)] = SCHEMA
    id: str
    status: str
    error: str = ""
    fields: Any = None
    outputs: Any = None
    score: float | None = None
    passed: bool | None = None
    label: str = ""
    expected: str | None = None
    stratum: str = ""
    usage: BySteps = msgspec.field(default_factory=BySteps)
    cost: CostBySteps = msgspec.field(default_factory=CostBySteps)
    latency_seconds: TimeBySteps = msgspec.field(default_factory=TimeBySteps)
    attempts: BySteps = msgspec.field(default_factory=BySteps)
    worst_case: bool = False
    simulated: bool = False


class ScoreOf(msgspec.Struct, gc=False):
    """A further score of a line, or that of a repeat."""

    score: float | None = None
    passed: bool | None = None
    label: str = ""


class SeveralLine(Line, gc=False, kw_only=True):
    """A line with what only chains have that ask several times, or for several scores."""

    scores: dict[str, ScoreOf] = {}
    repeats: list[ScoreOf] = []
    votes: dict[str, Any] = {}
    skipped: list[str] = []
    lost: dict[str, str] = {}


def scored_by(line: SeveralLine, name: str) -> None:
    """Put another score of a line in the place of the main one, which takes its place there."""
    main = ScoreOf(line.score, line.passed, line.label)
    own = line.scores.get(name, ScoreOf())
    line.score, line.passed, line.label = own.score, own.passed, own.label
    line.scores[MAIN] = main


def asked(line: SeveralLine, name: str) -> bool:
    """Whether a further score is for an item, which it is not where its step was skipped."""
    return line.status != "ok" or name in line.scores


Getter = Callable[[Line], Any]
Column = Callable[[Sequence[Line]], list[Any]]


def line_type(
    fields: Sequence[str],
    outputs: Sequence[str],
    steps: Sequence[str],
    several: bool = False,
    content: Sequence[str] = (),
) -> tuple[type[Line], list[Getter], list[Getter]]:
    """A type of lines, and the getters of the fields and outputs asked for.

    Where ``several``, they are `SeveralLine`. ``content`` are fields for `contents`.

    An empty name stands for nothing and gives ``None``; a line with a step that is not named does
    not decode.
    """
    field_type, field_getters = _members("fields", fields, content)
    output_type, output_getters = _members("outputs", outputs)
    made: Any = msgspec.defstruct(
        "Line",
        [
            ("schema", Annotated[int, msgspec.Meta(le=SCHEMA)]),
            ("fields", field_type),
            ("outputs", output_type),
            _by_steps("usage", BySteps, StepUsage | None, None, steps),
            _by_steps("cost", CostBySteps, Amount | None, 0.0, steps),
            _by_steps("latency_seconds", TimeBySteps, Amount | None, None, steps),
            _by_steps("attempts", BySteps, Count, 0, steps),
        ],
        bases=(SeveralLine if several else Line,),
        gc=False,
        kw_only=True,
    )
    return made, field_getters, output_getters


@dataclass(frozen=True, slots=True)
class StepColumns:
    """What stands by steps in lines, of one step: each gives a value for every line.

    ``usage`` and ``latencies`` are ``None`` where the step was not called; a cost is so where its
    price is unknown.
    """

    name: str
    usage: Column
    costs: Column
    latencies: Column
    attempts: Column


def steps_of(lines: Sequence[Line]) -> list[StepColumns]:
    """The columns of each step. All lines must be of one type, as those of a batch are."""
    if not lines:
        return []
    kind = type(lines[0].usage.steps)
    return [
        StepColumns(name, *_columns_of(slot))
        for name, slot in zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    ]


@cache
def _columns_of(slot: str) -> list[Column]:
    return [
        _column(f"{name}.steps.{slot}") for name in ("usage", "cost", "latency_seconds", "attempts")
    ]


def _column(path: str) -> Column:
    """The attributes at the end of a path from each line, in a third of the time that
    `operator.attrgetter` takes; the path is never what a file says.
    """
    made: Column = eval(f"lambda lines: [line.{path} for line in lines]")
    return made


def _by_steps(
    name: str, base: type, kind: Any, default: Any, steps: Sequence[str]
) -> tuple[str, Any, Any]:
    by_step = msgspec.defstruct(
        "Steps",
        [(f"step_{i}", kind, default) for i in range(len(steps))],
        rename={f"step_{i}": step for i, step in enumerate(steps)},
        gc=False,
        forbid_unknown_fields=True,
    )
    made = msgspec.defstruct(
        name, [("steps", by_step, msgspec.field(default_factory=by_step))], bases=(base,), gc=False
    )
    return name, made, msgspec.field(default_factory=made)


def _members(
    attribute: str, names: Sequence[str], content: Sequence[str] = ()
) -> tuple[Any, list[Getter]]:
    slots = {
        name: f"member_{i}" for i, name in enumerate(dict.fromkeys([*content, *names])) if name
    }
    try:
        kind: Any = msgspec.defstruct(
            attribute.title(),
            [(slot, Any, UNSET if name in content else None) for name, slot in slots.items()],
            rename={slot: name for name, slot in slots.items()},
            gc=False,
        )
    except ValueError:  # msgspec takes no name with quotes, backslashes or control characters
        return dict[str, Any], [partial(_from_dict, attribute, name) for name in names]
    getters = {name: attrgetter(f"{attribute}.{slot}") for name, slot in slots.items()}
    return kind, [
        (partial(_if_set, getters[name]) if name in content else getters[name])
        if name
        else _nothing
        for name in names
    ]


def contents(lines: Sequence[Line], names: Sequence[str]) -> list[bytes]:
    """`content_of` each line, which was read with these fields as its ``content``, in their
    order.
    """
    if not lines:
        return []
    values = [line.fields for line in lines]
    kind = type(values[0])
    if getattr(kind, "__struct_encode_fields__", None) == tuple(names):
        return _encode_lines(values).split(b"\n")[:-1]
    plain = values if kind is dict else map(msgspec.to_builtins, values)
    return [content_of(fields, names) for fields in plain]


_encode_lines = msgspec.json.Encoder(order="deterministic").encode_lines


def _nothing(line: Line) -> None:
    return None


def _if_set(get: Getter, line: Line) -> Any:
    value = get(line)
    return None if value is UNSET else value


def _from_dict(attribute: str, name: str, line: Line) -> Any:
    return getattr(line, attribute).get(name)


# Also that of a member of a jury; see `llm_batch.chain.steps.member`.
_STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:#[^\"\\\x00-\x1f]+)?")


class _Steps(msgspec.Struct):
    steps: dict[str, Any] = {}


class Head(msgspec.Struct):
    """A line at the start of the file, with all its fields and outputs."""

    fields: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    stratum: str = ""
    passed: bool | None = None
    usage: _Steps = msgspec.field(default_factory=_Steps)


_head = msgspec.json.Decoder(Head).decode


class ResultsReader:
    """A results file or a part of one, read once from start to end; ``-`` is standard input.

    It begins at the byte ``start`` and ends before ``end``, both the first of a line; after
    reading, ``torn`` says whether the last line was cut off and left out. Where ``several`` is set
    before, lines are `SeveralLine`; where ``content`` is, they have these fields, for `contents`.
    `OutputError` where the file is missing or cannot be read.
    """

    def __init__(self, path: str | Path, start: int = 0, end: int | None = None) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.path = None if str(path) == "-" else Path(path)
        self.torn = self.several = False
        self.content: Sequence[str] = ()
        self._file: IO[bytes] = open_results(path)
        if start:
            self._file.seek(start)
        self._left = sys.maxsize if end is None else end - start
        self._again = self.path is not None and self.path.is_file()
        self._buffer = bytearray(BATCH_BYTES)
        self._cut = b""
        self._steps: dict[str, None] = {}
        # Lines in the buffer come after so many bytes, and of a pipe after so many lines.
        self._passed, self._counted = start, 0
        self._decoder: msgspec.json.Decoder[Any]
        self._first = self._read()
        if mark := len(self._first) - len(without_mark(bytes(self._first))):
            self._first[:mark] = b" " * mark  # offsets and line numbers stay as they are

    def close(self) -> None:
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def head(self) -> list[Head]:
        """The lines at the start of the file that can be read, a few hundred."""
        lines = []
        for raw in bytes(self._first).split(b"\n"):
            try:
                lines.append(_head(raw))
            except UNREADABLE:
                continue  # reading all of it will name the line
        return lines

    def batches(
        self, fields: Sequence[str], outputs: Sequence[str]
    ) -> tuple[Iterator[list[Line]], list[Getter], list[Getter]]:
        """All lines, some at a time, and the getters of the fields and outputs asked for.

        The lines of a batch are of one type; a step first met in a later batch makes it another.
        Iterating raises `OutputError` for a line that is not a result, or of a newer schema.
        """
        self._steps = dict.fromkeys(
            step for line in self.head() for step in line.usage.steps if _STEP_NAME.fullmatch(step)
        )

        def prepare() -> tuple[list[Getter], list[Getter]]:
            kind, *getters = line_type(
                fields, outputs, list(self._steps), self.several, self.content
            )
            self._decoder = msgspec.json.Decoder(kind)
            return getters[0], getters[1]

        field_getters, output_getters = prepare()
        return self._batches(prepare), field_getters, output_getters

    def _batches(self, prepare: Callable[[], object]) -> Iterator[list[Line]]:
        raw = self._first
        while raw:
            try:
                yield self._decoder.decode_lines(raw)
            except UNREADABLE:
                copy = bytes(raw)
                if self._finds_steps(copy):
                    prepare()
                yield self._one_by_one(copy, self._lines_before())
            self._passed += len(raw)
            if not self._again:
                self._counted += self._buffer.count(b"\n", 0, len(raw))
            raw = self._read()

    def _finds_steps(self, raw: bytes) -> bool:
        """Whether lines name steps that were not known; from now on they are."""
        known = len(self._steps)
        for line in raw.split(b"\n"):
            try:
                steps = _head(line).usage.steps
            except UNREADABLE:
                continue
            self._steps.update(dict.fromkeys(step for step in steps if _STEP_NAME.fullmatch(step)))
        return len(self._steps) > known

    def _one_by_one(self, raw: bytes, before: int) -> list[Line]:
        """The same lines, to find the one that is wrong."""
        lines = []
        for number, line in enumerate(raw.split(b"\n"), before + 1):
            if not line or line.isspace():
                continue
            try:
                lines.append(self._decoder.decode(line))
            except UNREADABLE as error:
                if raw.endswith(line) and _is_cut(line):
                    self.torn = True
                    break
                raise self._explained(line, number, error) from error
        return lines

    def _lines_before(self) -> int:
        """The lines before those in the buffer; a file is read again for it.

        To count them as they come takes a tenth of the time of decoding them.
        """
        if not self._again or self.path is None:
            return self._counted
        with open(self.path, "rb", buffering=0) as file:
            return sum(block.count(b"\n") for block in some_blocks(file, self._passed))

    def _read(self) -> memoryview:
        """Whole lines, some 256 KB of them; empty at the end.

        They stand in one buffer that is used again: what is returned holds until the next call.
        """
        held = len(self._cut)
        self._buffer[:held] = self._cut
        self._cut, end = b"", 0
        try:
            while not end:
                if held == len(self._buffer):  # a line longer than that
                    if held >= LONGEST_LINE:
                        self.close()
                        raise OutputError(
                            f"{self.name}, line {self._lines_before() + 1} is longer than "
                            f"{LONGEST_LINE >> 20} MB: no run writes such a line",
                            "the same llmb run command writes the file again from its journal",
                        )
                    self._buffer = self._buffer + bytes(held)
                with memoryview(self._buffer) as free:
                    n = self._file.readinto(free[held : held + self._left])  # type: ignore[attr-defined]
                self._left -= n
                end = self._buffer.rfind(b"\n", held, held + n) + 1 if n else held
                held += n
                if not n:
                    break
        except OSError as error:
            raise OutputError(f"cannot read {self.name}: {error.strerror or error}") from error
        self._cut = bytes(self._buffer[end:held])
        return memoryview(self._buffer)[:end]

    def _explained(self, raw: bytes, number: int, error: Exception) -> OutputError:
        keys = _keys(raw)
        if isinstance(keys.get("schema"), int) and keys["schema"] > SCHEMA:
            return newer(self.name)
        if number == 1 and (self.name.endswith(JOURNAL_ENDS) or "completion" in keys):
            return OutputError(
                f"{self.name} is the journal of a run, not its results",
                f"report on the file beside it: {command('report', run_paths(self.name).results)}",
            )
        if number == 1 and raw.startswith(b"PAR1"):
            return OutputError(
                f"{self.name} is a table, and no results of a run lie beside it: "
                f"{run_paths(self.name).results} is missing",
                "fetch that file, or name the field with the score: "
                + command("report", self.name, "--score", "FIELD"),
            )
        if number == 1 and "status" not in keys and not isinstance(error, UnicodeDecodeError):
            return OutputError(
                f"{self.name} is not a results file: its first line has no status",
                "report on what llmb run wrote, or name the field with the score: "
                + command("report", self.name, "--score", "FIELD"),
            )
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return OutputError(
            f"{self.name}, line {number} is not a result: {reason}",
            "the same llmb run command writes the file again from its journal",
        )


def open_results(path: str | Path) -> IO[bytes]:
    """A results file, or standard input for ``-``.

    Raises:
        OutputError: There is none, or it cannot be read; the hint says what to type.
    """
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        journal = run_paths(path).journal
        if journal.is_file():
            raise OutputError(
                f"{path} is not written yet: its run was cut off (the journal {journal} is there)",
                "run the same llmb run command again; it pays for nothing twice",
            ) from None
        raise OutputError(f"no results file {str(path)!r}", "llmb run writes it") from None
    except IsADirectoryError:
        raise OutputError(
            f"{path} is a directory",
            f"name the file in it: {command('report', Path(path) / 'results.jsonl')}",
        ) from None
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def _keys(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        schema = value.get("schema")
        return {**value, "schema": msgspec.json.decode(schema) if schema else None}
    except UNREADABLE:
        return {}


def _is_cut(raw: bytes) -> bool:
    """Whether a line is no whole JSON value, as when the writer was killed within it."""
    try:
        msgspec.json.decode(raw)
    except UNREADABLE:
        return raw.lstrip().startswith(b"{")
    return False
