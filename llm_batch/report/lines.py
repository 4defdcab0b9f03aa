"""The type of a results line, made for each file so that it holds what a report asks for.

What is skipped costs a third of what is decoded, and a member of a struct costs half of an entry
of a dict. So of an item's fields and outputs a line has those that are asked for, and it has one
member for each step of the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import IO, Annotated, Any

import msgspec

from llm_batch.records import SCHEMA, without_mark

#: A line longer than so many bytes is damaged: no answer that a run keeps is as long.
LONGEST_LINE = 64 << 20

#: What stands for such a line.
TOO_LONG = b"a line that was too long\n"

#: What is nested deeper is damaged too; a value that was read can be written and compared.
DEEPEST = 100

# Nobody is paid to be asked and no clock runs backwards. Far beyond any bill or clock, and far
# below where a sum of squares overflows.
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e100)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file without its mark, and `TOO_LONG` in place of each that is; no JSON."""
    while line := without_mark(file.readline(LONGEST_LINE)):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            line = TOO_LONG
        yield line


def too_deep(*values: Any) -> bool:
    """Whether any of some values is nested deeper than `DEEPEST`."""
    level: list[Any] = [value for value in values if isinstance(value, dict | list)]
    for _ in range(DEEPEST):
        if not level:
            return False
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


class StepUsage(msgspec.Struct, gc=False):
    """Tokens of one step of one item."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    reasoning_tokens: Count = 0


class NoSteps(msgspec.Struct, gc=False, frozen=True):
    """The steps of a line that no step was called for."""


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
    """``latency_seconds`` of a line."""

    total: Amount = 0.0
    steps: Any = NoSteps()


class Line(msgspec.Struct, gc=False, kw_only=True):
    """A results line as far as a report reads it; `llm_batch.results` has the layout.

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
    stratum: str = ""
    usage: BySteps = msgspec.field(default_factory=BySteps)
    cost: CostBySteps = msgspec.field(default_factory=CostBySteps)
    latency_seconds: TimeBySteps = msgspec.field(default_factory=TimeBySteps)
    attempts: BySteps = msgspec.field(default_factory=BySteps)
    worst_case: bool = False
    simulated: bool = False


Getter = Callable[[Line], Any]


def line_type(
    fields: Sequence[str], outputs: Sequence[str], steps: Sequence[str]
) -> tuple[type[Line], list[Getter], list[Getter]]:
    """A type of lines, and the getters of the fields and outputs asked for.

    Args:
        fields: Names of the item's fields; an empty one stands for nothing and gives ``None``.
        outputs: Names of steps whose output is wanted, likewise.
        steps: Names of all steps; a line with another step does not decode.
    """
    field_type, field_getters = _members("fields", fields)
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
        bases=(Line,),
        gc=False,
        kw_only=True,
    )
    return made, field_getters, output_getters


def steps_of(lines: Sequence[Line]) -> list[tuple[str, Callable[[Any], Any]]]:
    """The name of each step, and how to get what is its own from ``line.usage.steps`` and others.

    All lines must be of one type, as those of a batch are.
    """
    if not lines:
        return []
    kind = type(lines[0].usage.steps)
    names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    return [(name, attrgetter(slot)) for name, slot in names]


def _by_steps(
    name: str, base: type, kind: Any, default: Any, steps: Sequence[str]
) -> tuple[str, Any, Any]:
    """A member of a line that has a member for each step."""
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


def _members(attribute: str, names: Sequence[str]) -> tuple[Any, list[Getter]]:
    """A type with the named members of an object, and how to get each from a line."""
    slots = {name: f"member_{i}" for i, name in enumerate(dict.fromkeys(names)) if name}
    try:
        kind: Any = msgspec.defstruct(
            attribute.title(),
            [(slot, Any, None) for slot in slots.values()],
            rename={slot: name for name, slot in slots.items()},
            gc=False,
        )
    except ValueError:  # msgspec takes no name with quotes, backslashes or control characters
        return dict[str, Any], [partial(_from_dict, attribute, name) for name in names]
    return kind, [attrgetter(f"{attribute}.{slots[name]}") if name else _nothing for name in names]


def _nothing(line: Line) -> None:
    return None


def _from_dict(attribute: str, name: str, line: Line) -> Any:
    return getattr(line, attribute).get(name)
