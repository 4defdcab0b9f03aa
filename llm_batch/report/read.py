"""Results lines in, a batch at a time, decoding no more than a report needs.

A file of a million lines is read in one pass. What is skipped costs a third of what is decoded,
so the type of a line is made for each file: of an item's fields and outputs it has the one or
two that are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec

from llm_batch.errors import OutputError
from llm_batch.records import SCHEMA

_BATCH_BYTES = 1 << 18  # stays in the processor's cache; 1 << 22 takes half as long again

# Far beyond any bill or clock, and far below where a sum of squares overflows.
_Amount = Annotated[float, msgspec.Meta(ge=-1e100, le=1e100)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class StepUsage(msgspec.Struct, gc=False):
    """Tokens of one step of one item."""

    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cache_read_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0


class UsageBySteps(msgspec.Struct, gc=False):
    """``usage`` of a line; its sums are made again from the steps."""

    steps: dict[str, StepUsage] = {}


class CostBySteps(msgspec.Struct, gc=False):
    """``cost`` of a line."""

    total: _Amount | None = None
    steps: dict[str, _Amount | None] = {}


class AmountBySteps(msgspec.Struct, gc=False):
    """``latency_seconds`` of a line."""

    total: _Amount = 0.0
    steps: dict[str, _Amount] = {}


class CountBySteps(msgspec.Struct, gc=False):
    """``attempts`` of a line."""

    steps: dict[str, _Count] = {}


class Line(msgspec.Struct, gc=False, kw_only=True):
    """A results line as far as a report reads it; `llm_batch.results` has the layout.

    ``fields`` and ``outputs`` are read through the getters of `ResultsFile`.
    """

    schema: int
    id: str
    status: str
    error: str = ""
    fields: Any = None
    outputs: Any = None
    score: float | None = None
    passed: bool | None = None
    stratum: str = ""
    usage: UsageBySteps = msgspec.field(default_factory=UsageBySteps)
    cost: CostBySteps = msgspec.field(default_factory=CostBySteps)
    latency_seconds: AmountBySteps = msgspec.field(default_factory=AmountBySteps)
    attempts: CountBySteps = msgspec.field(default_factory=CountBySteps)
    worst_case: bool = False
    simulated: bool = False


class Head(msgspec.Struct):
    """A line at the start of the file, with all its fields and outputs."""

    fields: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    stratum: str = ""
    passed: bool | None = None


Getter = Callable[[Line], Any]


class ResultsFile:
    """A results file, read once from its start to its end.

    Args:
        path: The file, or ``-`` for standard input.

    Attributes:
        name: What to call it in messages.
        torn: After reading: whether the last line was cut off and left out.

    Raises:
        OutputError: The file is missing or cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.torn = False
        self._file: IO[bytes] = _open(path)
        self._first = self._read()

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def head(self) -> list[Head]:
        """The lines at the start of the file that can be read, a few hundred."""
        decoder = msgspec.json.Decoder(Head)
        lines = []
        for raw in self._first:
            try:
                lines.append(decoder.decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue  # reading all of it will name the line
        return lines

    def batches(
        self, fields: Sequence[str], outputs: Sequence[str]
    ) -> tuple[Iterator[list[Line]], list[Getter], list[Getter]]:
        """All lines, some at a time, and the getters of the fields and outputs asked for.

        Raises:
            OutputError: While iterating: a line is not a result, or is of a newer schema.
        """
        field_type, field_getters = _members("fields", fields)
        output_type, output_getters = _members("outputs", outputs)
        line_type = msgspec.defstruct(
            "Line",
            [("fields", field_type), ("outputs", output_type)],
            bases=(Line,),
            gc=False,
            kw_only=True,
        )
        return self._batches(msgspec.json.Decoder(line_type).decode), field_getters, output_getters

    def _batches(self, decode: Callable[[bytes], Any]) -> Iterator[list[Line]]:
        raw_lines, before = self._first, 0
        while raw_lines:
            try:
                lines = [decode(raw) for raw in raw_lines if not raw.isspace()]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                lines = self._one_by_one(raw_lines, before, decode)
            if lines and max([line.schema for line in lines]) > SCHEMA:
                raise self._newer()
            yield lines
            before += len(raw_lines)
            raw_lines = self._read()

    def _one_by_one(
        self, raw_lines: list[bytes], before: int, decode: Callable[[bytes], Any]
    ) -> list[Line]:
        """The same lines, to find the one that is wrong."""
        lines = []
        for number, raw in enumerate(raw_lines, before + 1):
            if raw.isspace():
                continue
            try:
                lines.append(decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if not raw.endswith(b"\n") and _is_cut(raw):
                    self.torn = True
                    break
                raise self._explained(raw, number, error) from error
        return lines

    def _read(self) -> list[bytes]:
        try:
            return self._file.readlines(_BATCH_BYTES)
        except OSError as error:
            raise OutputError(f"cannot read {self.name}: {error.strerror or error}") from error

    def _explained(self, raw: bytes, number: int, error: Exception) -> OutputError:
        keys = _keys(raw)
        if isinstance(keys.get("schema"), int) and keys["schema"] > SCHEMA:
            return self._newer()
        if number == 1 and (self.name.endswith(".calls.jsonl") or "completion" in keys):
            results = self.name.removesuffix(".calls.jsonl") + ".jsonl"
            return OutputError(
                f"{self.name} is the journal of a run, not its results",
                f"report on the file beside it: llmb report {results}",
            )
        if number == 1 and "status" not in keys and not isinstance(error, UnicodeDecodeError):
            return OutputError(
                f"{self.name} is not a results file: its first line has no status",
                "report on what llmb run wrote: llmb report results.jsonl",
            )
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return OutputError(
            f"{self.name}, line {number} is not a result: {reason}",
            "the same llmb run command writes the file again from its journal",
        )

    def _newer(self) -> OutputError:
        return OutputError(
            f"{self.name} was written by a newer llm_batch: this one reads schema {SCHEMA}",
            "upgrade llm_batch and report again",
        )


def _open(path: str | Path) -> IO[bytes]:
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        journal = Path(path).with_suffix(".calls.jsonl")
        if journal.is_file():
            raise OutputError(
                f"{path} is not written yet: its run was cut off (the journal {journal} is there)",
                "run the same llmb run command again; it pays for nothing twice",
            ) from None
        raise OutputError(f"no results file {str(path)!r}", "llmb run writes it") from None
    except IsADirectoryError:
        raise OutputError(
            f"{path} is a directory", f"name the file in it: llmb report {path}/results.jsonl"
        ) from None
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def _members(attribute: str, names: Sequence[str]) -> tuple[Any, list[Getter]]:
    """A type with the named members of an object, and how to get each from a line.

    An empty name stands for nothing, and its getter gives ``None``.
    """
    slots = {name: f"member_{i}" for i, name in enumerate(dict.fromkeys(names)) if name}
    try:
        kind: Any = msgspec.defstruct(
            attribute.title(),
            [(slot, Any, None) for slot in slots.values()],
            rename={slot: name for name, slot in slots.items()},
            gc=False,
        )
    except ValueError:  # msgspec takes no name with quotes, backslashes or control characters
        return dict[str, Any], [_from_dict(attribute, name) for name in names]
    return kind, [attrgetter(f"{attribute}.{slots[name]}") if name else _nothing for name in names]


def _nothing(line: Line) -> None:
    return None


def _from_dict(attribute: str, name: str) -> Getter:
    return lambda line: getattr(line, attribute).get(name)


def _keys(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        schema = value.get("schema")
        return {**value, "schema": msgspec.json.decode(schema) if schema else None}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _is_cut(raw: bytes) -> bool:
    """Whether a line is no whole JSON value, as when the writer was killed within it."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.lstrip().startswith(b"{")
    return False
