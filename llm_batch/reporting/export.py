"""Results in the layout of other programs: tables, and what OpenAI's services take.

Rows have the columns of the CSV of a report. A file for fine-tuning has, of one step, what was
asked and answered; a file of batch requests has what is to be asked. Neither is written down in
the results: the chain of the manifest makes the prompts again from what the results kept.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import msgspec

from llm_batch.chain.chain import Chain
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import Condition, PromptError
from llm_batch.errors import STATUSES, ConfigError, OutputError, Rejected
from llm_batch.paper import csv, words
from llm_batch.record.files import deliver, results_of, run_paths
from llm_batch.record.manifest import Manifest, chain_of, folders_of
from llm_batch.record.results import ItemLine, item_lines
from llm_batch.records import Item
from llm_batch.reporting.items import COLUMNS, row
from llm_batch.reporting.table import of_run, write_parquet
from llm_batch.sending.providers.dialect import content_of, unmarked

#: What a file is to be.
LAYOUTS = ("rows", "fine-tuning", "batch")
_SUFFIXES = (".jsonl", ".csv", ".parquet")
_SHOWN = 6
# Names that a hint lists.
_NAMED = 20
_BUFFER = 1 << 20
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Which:
    """Items that are taken; those that fit all of it.

    Attributes:
        statuses: Empty for all.
        where: An expression over the item's fields, its outputs by step, and ``id``, ``status``,
            ``score``, ``passed`` and ``label``; empty for all.
    """

    statuses: tuple[str, ...] = ()
    min_score: float | None = None
    max_score: float | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: items, and what was left out because the step has no answer there."""

    items: int
    left_out: int


def export(
    results: str | Path,
    output: str | Path,
    *,
    layout: str = "rows",
    step: str | None = None,
    which: Which = Which(),
    stdout: IO[bytes] | None = None,
) -> Exported:
    """Write items of a run in another layout, by pieces: memory does not grow with their number.

    Args:
        output: ``.jsonl``, ``.csv`` or ``.parquet``, the first perhaps with ``.gz``; ``-`` for
            ``stdout``, as JSON Lines.
        layout: ``rows``, or ``fine-tuning`` or ``batch`` of OpenAI, which are JSON Lines.
        step: The step they are of; the last that asks a model and is no judge without.

    Raises:
        ConfigError: There is no such layout, kind of file, step, status or expression.
        OutputError: The results cannot be read, or nothing is left of them.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no layout {layout!r}", f"write {', '.join(LAYOUTS)}")
    kind = _kind(output, layout)
    results = results_of(results)
    for path in run_paths(results):
        if os.path.realpath(path) == os.path.realpath(output):
            raise ConfigError(f"{output} is a file of the run itself", "choose another --output")
    chosen = _Chosen(results, which)
    player = None
    if layout != "rows":
        player = _Asked(results, step)
    elif step is not None:
        raise ConfigError("--step is about prompts, and rows have every step", "leave it out")
    with tempfile.TemporaryFile() as file:
        if kind == ".parquet":
            write_parquet(file, chosen.__iter__, of_run(results))
        elif kind == ".csv":
            _write_csv(file, chosen)
        else:
            lines: Iterable[Any] = map(_row, chosen)
            if player:
                lines = chain.from_iterable(map(player.maker(layout), chosen))
            _write_lines(file, lines, str(output).endswith(".gz"))
        left_out = player.left_out if player else 0
        if chosen.taken == left_out:
            raise OutputError(f"no item of {results} is left to write", chosen.why(left_out))
        file.seek(0)
        if stdout is not None and str(output) == "-":
            while piece := file.read(_BUFFER):
                stdout.write(piece)
        else:
            deliver(output, file, "--output")
    return Exported(chosen.taken - left_out, left_out)


def _kind(output: str | Path, layout: str) -> str:
    name = str(output)
    plain = name.removesuffix(".gz")
    kind = ".jsonl" if name == "-" else Path(plain).suffix.lower()
    if kind not in _SUFFIXES or (plain != name and kind != ".jsonl"):
        raise ConfigError(
            f"cannot tell from its name what {name!r} is to be",
            f"end it in {', '.join(_SUFFIXES)} or .jsonl.gz",
        )
    if layout != "rows" and kind != ".jsonl":
        raise ConfigError(f"--as {layout} is JSON Lines, not {kind}", f"-o {layout}.jsonl")
    return kind


class _Chosen:
    """The items that are taken, each id once; can be gone through again."""

    def __init__(self, results: str, which: Which) -> None:
        for status in which.statuses:
            if status not in STATUSES:
                raise ConfigError(
                    f"there is no status {status!r}",
                    f"write {', '.join(list(STATUSES)[:_SHOWN])}, … (llmb report counts them)",
                )
        self._results = results
        self._which = which
        self._where = Condition(which.where, "--where") if which.where else None
        self._by_status: Counter[str] = Counter()
        self.taken = 0  # of the last time

    def __iter__(self) -> Iterator[ItemLine]:
        self._by_status.clear()
        self.taken = 0
        seen: set[str] = set()
        for item in item_lines(self._results):
            if item.id in seen:
                continue
            seen.add(item.id)
            self._by_status[item.status] += 1
            if self._takes(item):
                self.taken += 1
                yield item

    def _takes(self, item: ItemLine) -> bool:
        which = self._which
        if which.statuses and item.status not in which.statuses:
            return False
        if which.min_score is not None and (item.score is None or item.score < which.min_score):
            return False
        if which.max_score is not None and (item.score is None or item.score > which.max_score):
            return False
        if self._where is None:
            return True
        known = {name: getattr(item, name) for name in ("id", "status", "score", "passed", "label")}
        try:
            return self._where.holds({**known, **item.fields, **item.outputs})
        except PromptError as error:
            names = [*known, *item.fields, *item.outputs]
            raise ConfigError(
                f"item {item.id!r}: {error}",
                f"correct --where; it knows {words.listed(names, _NAMED)}",
            ) from error

    def why(self, without_answer: int) -> str:
        there = ", ".join(f"{count:,} {name}" for name, count in self._by_status.most_common())
        if without_answer:
            return f"{words.items(without_answer)} have no answer of that step; there are {there}"
        return f"it has {there or 'none'}; write other conditions"


def _row(item: ItemLine) -> dict[str, Any]:
    return row(item, item.stratum)


def _columns(chosen: Iterable[ItemLine]) -> dict[str, None]:
    """The columns of all rows, in the order of first appearance."""
    return dict.fromkeys([*COLUMNS, *(name for item in chosen for name in _row(item))])


def _write_lines(file: IO[bytes], rows: Iterable[Any], packed: bool) -> None:
    if packed:
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as target:
            target.writelines(_encode(each) + b"\n" for each in rows)
    else:
        file.writelines(_encode(each) + b"\n" for each in rows)


def _write_csv(file: IO[bytes], chosen: _Chosen) -> None:
    columns = _columns(chosen)
    rows = (map(_row(item).get, columns) for item in chosen)
    file.writelines(text.encode() for text in csv.pieces(chain([columns], rows)))


class _Asked:
    """What one step of a run asked, and what it answered, in OpenAI's words."""

    def __init__(self, results: str, step: str | None) -> None:
        manifest, why = Manifest.beside(results)
        played = chain_of(manifest, folders_of(manifest, results)) if manifest else None
        if manifest is None or played is None:
            raise OutputError(
                f"the prompts of {results} cannot be made again without its manifest",
                f"{why}" if why else "export rows: leave --as out",
            )
        self.left_out = 0
        self._chain = played
        self._step = _step(played, manifest.judge, step)

    def maker(self, layout: str) -> Callable[[ItemLine], Iterator[dict[str, Any]]]:
        return self._examples if layout == "fine-tuning" else self._requests

    def _examples(self, item: ItemLine) -> Iterator[dict[str, Any]]:
        """Conversations to learn from, one for each answer of the step; none without an answer."""
        found = False
        for outputs in self._ways(item):
            answer = outputs.get(self._step.name)
            asked = None if answer is None else self._messages(item, outputs)
            if asked is not None:
                found = True
                text = answer if isinstance(answer, str) else _encode(answer).decode()
                yield {"messages": [*asked, {"role": "assistant", "content": text}]}
        self.left_out += not found

    def _requests(self, item: ItemLine) -> Iterator[dict[str, Any]]:
        """Requests of a batch, one for each model; none where a step before it has no answer."""
        found = 0
        rows = self._step.rows
        for outputs in self._ways(item):
            messages = self._messages(item, outputs)
            for asked in rows if messages is not None else ():
                found += 1
                model = asked.model.removeprefix("openai/")
                yield {
                    "custom_id": item.id if found == 1 else f"{item.id}#{found}",
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {
                        "model": model,
                        "messages": messages,
                        **self._chain.params(asked.name),
                    },
                }
        self.left_out += not found

    def _ways(self, item: ItemLine) -> Iterator[dict[str, Any]]:
        """The outputs by step, once for each time that the step was played for the item."""
        outputs = item.outputs
        answers = outputs.get(self._step.name)
        for way in range(len(answers) if isinstance(answers, list) else 1):
            yield {
                name: each[way] if isinstance(each, list) and way < len(each) else each
                for name, each in outputs.items()
            }

    def _messages(self, item: ItemLine, outputs: dict[str, Any]) -> list[dict[str, Any]] | None:
        try:
            asked = self._chain.asked(self._step.name, Item(item.id, item.fields), outputs)
        except PromptError as error:
            if item.status != "ok":
                return None
            raise OutputError(
                f"the prompt of item {item.id!r} cannot be made again: {error}",
                "results need the fields of the prompts (see keep under [data]), and pictures "
                "must be where they were",
            ) from error
        try:
            return [{"role": each.role, "content": content_of(unmarked(each))} for each in asked]
        except Rejected as error:
            raise OutputError(f"item {item.id!r}: {error.message}") from error


def _step(played: Chain, judge: str, wanted: str | None) -> Step:
    steps = {step.name: step for step in played.steps if step.rows}
    if wanted is not None and wanted not in steps:
        raise ConfigError(
            f"no step {wanted!r} asks a model in this run", f"--step {' or '.join(steps)}"
        )
    answering = [name for name in steps if name != judge] or list(steps)
    return steps[wanted or answering[-1]]
