"""The items behind a report, whole, for the formats that show them one by one.

They are read from the results file a second time: a report itself keeps no item, so that a
million of them fit in memory.

As rows their columns are those of `COLUMNS`, then ``field.NAME`` for each field of the items and
``output.STEP`` for each step (``output.STEP.NAME`` for a member of an object), and ``score.NAME``
and ``passed.NAME`` for each further score, in the order of first appearance. For a page they are
compact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from llm_batch.chain.score_rules import MAIN
from llm_batch.errors import OutputError
from llm_batch.record.manifest import Manifest, Step
from llm_batch.record.parts import PIECE_BYTES, Part, each_part, parts_of
from llm_batch.record.results import (
    FurtherScore,
    ItemLine,
    ScoredLine,
    ShapeLine,
    item_blocks,
    item_lines,
    shape_lines,
)
from llm_batch.reporting.foreign import ForeignFile, found
from llm_batch.reporting.model import Groups, Report
from llm_batch.reporting.tally import group_name


def read_items(report: Report) -> Iterator[ItemLine]:
    """The items of a report in the order of the file, each id once.

    Raises:
        OutputError: The results came from standard input, or the file is gone.
    """
    if report.path == "-":
        raise OutputError(
            "this format reads the results twice, which standard input does not allow",
            "write them to a file: llmb report results.jsonl",
        )
    items = _foreign(report) if report.columns else item_lines(report.path)
    if report.score:
        items = (_scored_by(item, report.score) for item in items)
    if report.items.duplicates == 0 and not report.columns:
        yield from items  # the report has looked at their ids
        return
    seen: set[str] = set()
    for item in items:
        if item.id not in seen:
            seen.add(item.id)
            yield item


def _scored_by(item: ItemLine, name: str) -> ItemLine:
    """The item with another score in the place of the main one, which takes its place there."""
    main = FurtherScore(item.score, item.passed, item.label, item.reason)
    own = item.scores.get(name, FurtherScore())
    item.score, item.passed, item.label, item.reason = own.score, own.passed, own.label, own.reason
    item.scores[MAIN] = main
    return item


def manifest_of(report: Report) -> Manifest | None:
    """The manifest beside the results; ``None`` where there is none that can be read."""
    manifest = None if report.columns is not None else Manifest.beside(report.path)[0]
    return manifest.scored_by(report.score) if manifest and report.score else manifest


def category_of(item: ScoredLine, report: Report) -> str:
    """The group of an item, as the report names its groups; empty without groups."""
    if report.groups is None:
        return ""
    if item.stratum and _by_strata(report.groups):
        return item.stratum
    return group_name(found(item.fields, report.groups.field, None))


def categories_of(items: Sequence[ScoredLine], report: Report) -> list[str]:
    """The group of each item, as `category_of` has it; most are texts in a field of that name."""
    groups = report.groups
    if groups is None:
        return [""] * len(items)
    strata, field = _by_strata(groups), groups.field
    values = [(item.stratum if strata else "") or item.fields.get(field) for item in items]
    return [
        value if value.__class__ is str else category_of(item, report)
        for item, value in zip(items, values, strict=True)
    ]


def _by_strata(groups: Groups) -> bool:
    """Whether the groups are the strata that the items were drawn by."""
    known = any(group.population is not None for group in groups.groups)
    return known or groups.field == "stratum"


#: What is known of an item that llmb did not play.
_READ = ("id", "status", "error", "fields", "score", "passed")


def _foreign(report: Report) -> Iterator[ItemLine]:
    if report.columns is None:
        return
    for row in ForeignFile(report.path, report.columns).lines():
        yield ItemLine(**{name: getattr(row, name) for name in _READ})


_BLOCK_ROWS = 1000

#: The columns that every file has, in this order.
COLUMNS = (
    "id",
    "status",
    "score",
    "passed",
    "label",
    "reason",
    "category",
    "cost_usd",
    "latency_seconds",
    "attempts",
    "input_tokens",
    "output_tokens",
    "error",
    "simulated",
)


def table(report: Report) -> Table:
    """The cells of the items, a row each, with the header first."""
    return Table(report)


class Table:
    """The rows of `table`; of a large file also by its parts, see `paper.csv.InParts`."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __iter__(self) -> Iterator[Sequence[Any]]:
        """Raises: OutputError: The results file cannot be read a second time."""
        for columns in self._blocks():
            yield from zip(*columns, strict=True)

    def _blocks(self) -> Iterator[list[Sequence[Any]]]:
        names = _names(read_items(self._report))
        yield _header(names)
        items = read_items(self._report)
        while some := list(islice(items, _BLOCK_ROWS)):
            yield _columns(some, self._report, names)

    def each_part(self, made: Callable[[Iterable[Sequence[Any]]], str]) -> Iterator[str]:
        report = self._report
        parts = parts_of_items(report, PIECE_BYTES)
        if not parts:
            yield from (made([columns]) for columns in self._blocks())
            return

        def names_of(start: int, end: int) -> dict[str, _Place]:
            return _names(shape_lines(report.path, start, end))

        def rows_of(start: int, end: int) -> str:
            blocks = item_blocks(report.path, start, end)
            return made(_columns(items, report, names) for items in blocks)

        names: dict[str, _Place] = {}
        for more in each_part(names_of, parts_of_items(report)):
            _put(more, names)
        yield made([_header(names)])
        yield from each_part(rows_of, parts)


#: Where the values of a column are: their kind, and the names on the way. `_members` alone knows
#: where there is no kind, as two places gave the same name.
_Place = tuple[str, ...]


def _names(items: Iterable[ItemLine | ShapeLine]) -> dict[str, _Place]:
    """The columns that not every file has."""
    names: dict[str, _Place] = {}
    shapes: set[tuple[Any, ...]] = set()
    for item in items:
        shape = _shape(item)
        if shape not in shapes:
            shapes.add(shape)
            for place in _places(item):
                _put({".".join(place): place}, names)
    return names


def _put(found: Mapping[str, _Place], names: dict[str, _Place]) -> None:
    for name, place in found.items():
        if names.setdefault(name, place) != place:
            names[name] = ()


def _header(names: Iterable[str]) -> list[Sequence[Any]]:
    return [[name] for name in (*COLUMNS, *names)]


def _columns(
    items: Sequence[ItemLine], report: Report, names: Mapping[str, _Place]
) -> list[Sequence[Any]]:
    """The cells of some items by columns, as making one row at a time takes twice as long."""
    fixed = zip(*map(_fixed, items, categories_of(items, report)), strict=True)
    return [*fixed, *(_column(items, name, place) for name, place in names.items())]


def _column(items: Sequence[ItemLine], name: str, place: _Place) -> list[Any]:
    match place:
        case "field", key:
            return [item.fields.get(key) for item in items]
        case "output", step:
            outputs = [item.outputs.get(step) for item in items]
            return [None if output.__class__ is dict else output for output in outputs]
        case "output", step, key:
            outputs = [item.outputs.get(step) for item in items]
            return [output.get(key) if output.__class__ is dict else None for output in outputs]
        case ("score" | "passed") as kind, key:
            return [getattr(item.scores.get(key), kind, None) for item in items]
    return [_members(item).get(name) for item in items]


def parts_of_items(report: Report, piece: int | None = None) -> list[Part]:
    """The parts of a results file whose lines can be taken as they are; none of another one."""
    if report.columns or report.score or report.items.duplicates or report.path == "-":
        return []
    return parts_of(Path(report.path), piece)


def _shape(item: ItemLine | ShapeLine) -> tuple[Any, ...]:
    """What tells whether an item has the same columns as another."""
    outputs = [
        (step, *output) if output.__class__ is dict else step
        for step, output in item.outputs.items()
    ]
    scores = [(name, score.passed is None) for name, score in item.scores.items()]
    return (*item.fields, None, *outputs, None, *scores)


def rows(report: Report) -> Iterator[dict[str, Any]]:
    """The items with the columns of the CSV as keys, and values as the results file has them."""
    for item in read_items(report):
        yield row(item, category_of(item, report))


def row(item: ItemLine, category: str) -> dict[str, Any]:
    """An item with the columns of the CSV as keys; ``category`` is that of a report."""
    return {**dict(zip(COLUMNS, _fixed(item, category), strict=True)), **_members(item)}


def _fixed(item: ItemLine, category: str) -> tuple[Any, ...]:
    return (
        item.id,
        item.status,
        item.score,
        item.passed,
        item.label,
        item.reason,
        category,
        item.cost.total,
        item.latency_seconds.total,
        None if item.attempts.total is None else int(item.attempts.total),
        item.usage.input_tokens,
        item.usage.output_tokens,
        item.error,
        item.simulated,
    )


def _places(item: ItemLine | ShapeLine) -> Iterator[_Place]:
    """Where each of `_members` is; joined by dots this is its name."""
    yield from (("field", name) for name in item.fields)
    for step, output in item.outputs.items():
        if output.__class__ is dict:
            yield from (("output", step, name) for name in output)
        else:
            yield "output", step
    for name, score in item.scores.items():
        yield "score", name
        if score.passed is not None:
            yield "passed", name


def _members(item: ItemLine | ShapeLine) -> dict[str, Any]:
    found = {f"field.{name}": value for name, value in item.fields.items()}
    for step, output in item.outputs.items():
        if output.__class__ is dict:
            for name, value in output.items():
                found[f"output.{step}.{name}"] = value
        else:
            found[f"output.{step}"] = output
    for name, score in item.scores.items():
        found[f"score.{name}"] = score.score
        if score.passed is not None:
            found[f"passed.{name}"] = score.passed
    return found


#: More items than this make a page that takes long to open; the figures are of all of them.
ITEM_LIMIT = 50_000
#: Characters that all prompts of a page may have; items after that show their fields alone.
_PROMPTS_SIZE = 100_000_000
_PART_SIZE = 20  # characters that take as long as a part
_Path = tuple[str | int, ...]
_LONG_PATH = 200
_NAME = re.compile(r"[^\W\d]\w*")
_STEP = re.compile(r"""\.([^\W\d]\w*)|\.(\d{1,9})|\[(-?\d{1,9})\]|\[('[^'\\]*'|"[^"\\]*")\]""")
_WORDS = frozenset(("true", "false", "none", "True", "False", "None", "not"))
_ABSENT = object()


def page_items(report: Report, steps: Sequence[Step], limit: int = ITEM_LIMIT) -> list[list[Any]]:
    """The first items of the results, for the page's script: the cells of `_array`, with the
    prompts by the templates of the steps.
    """
    prompts = _Prompts(steps)
    return [_array(item, report, prompts) for item in islice(read_items(report), limit)]


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
    """The prompts of the steps, filled in again from what the results kept.

    A manifest may be a stranger's, so no template of one is executed: only ``{{ name }}``, members
    and items of it are filled in. A template that does more stands there as it is. All prompts of
    a page together have a size, since a few letters may ask for a long text many times.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = []
        for step in steps:
            if step.sources:
                self._steps.append((step.name, [_Message(*source) for source in step.sources]))
        self._left = _PROMPTS_SIZE

    def of(self, item: ItemLine) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """By step, the role and text of each message; no step whose fields were not kept."""
        context: Mapping[str, Any] = {"item": item.fields, **item.fields, **item.outputs}
        for name, messages in self._steps:
            texts = []
            for message in messages:
                text = self._filled(message, context)
                if text is None:
                    break
                texts.append((message.role, text))
            else:
                yield name, texts

    def _filled(self, message: _Message, context: Mapping[str, Any]) -> str | None:
        """The text of a message; ``None`` where a value is not there, or no room is left."""
        self._left -= _PART_SIZE * len(message.parts)
        texts = []
        for part in message.parts:
            text = part if isinstance(part, str) else _text(_value(context, part))
            # What is made and not shown takes its time as well.
            self._left -= len(text or "")
            if text is None or self._left < 0:
                return None
            texts.append(text)
        return "".join(texts)


class _Message:
    """A message's template as texts and the paths of what stands between them.

    The role has ``template`` after it where it is shown as it is.
    """

    def __init__(self, role: str, source: str) -> None:
        source = source.replace("\r\n", "\n").replace("\r", "\n")
        parts = None if "{%" in source or "{#" in source else _parts(source)
        self.role = f"{role} template" if parts is None else role
        self.parts: Sequence[str | _Path] = [source] if parts is None else parts


def _parts(source: str) -> list[str | _Path] | None:
    """Texts and paths in turn; ``None`` where a template does more than to name values."""
    first, *rest = source.split("{{")
    parts: list[str | _Path] = [first]
    for each in rest:
        expression, end, text = each.partition("}}")
        path = _path(expression.removeprefix("-").removesuffix("-").strip()) if end else None
        if path is None:
            return None
        # Jinja's marks that take away the space around.
        before = parts[-1]
        if expression.startswith("-") and isinstance(before, str):
            parts[-1] = before.rstrip()
        parts += [path, text.lstrip() if expression.endswith("-") else text]
    return parts


def _path(expression: str) -> _Path | None:
    """``item.name['key'][0]`` as the names along it; ``None`` for anything else."""
    name = _NAME.match(expression[:_LONG_PATH])
    if name is None or name[0] in _WORDS or len(expression) > _LONG_PATH:
        return None
    path: list[str | int] = [name[0]]
    place = name.end()
    while place < len(expression):
        step = _STEP.match(expression, place)
        if step is None:
            return None
        member, *numbers, key = step.groups()
        number = numbers[0] or numbers[1]
        path.append(int(number) if number else member or key[1:-1])
        place = step.end()
    return tuple(path)


def _value(context: Mapping[str, Any], path: _Path) -> Any:
    """What is at the end of a path; ``_ABSENT`` where it leads nowhere."""
    value: Any = context
    for step in path:
        if not isinstance(value, dict | list if isinstance(step, int) else dict):
            return _ABSENT
        try:
            value = value[step]
        except (KeyError, IndexError):
            return _ABSENT
    return value


def _text(value: Any) -> str | None:
    """How a value reads in a prompt, as `chain.templates` has it; ``None`` if it is absent."""
    if value is _ABSENT:
        return None
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)
