"""The items of a run without a score, by what went wrong, with the words that came."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llm_batch.chain.steps import written
from llm_batch.errors import OutputError, status_of
from llm_batch.paper import Formats, words
from llm_batch.paper.document import Document, Quote, Section
from llm_batch.record.files import run_paths
from llm_batch.record.journal import ItemCall, calls_of
from llm_batch.record.manifest import Manifest
from llm_batch.record.results import ItemLine, decoded_item, ids_with_lines

#: Items of a group whose words are shown.
_EXAMPLES = 3
_LONGEST_REPLY = 600
#: Groups that people read; what is rarer stands in the JSON.
_GROUPS = 12
_LONGEST_REASON = 300
# What differs from item to item in the same message: what is quoted, and numbers.
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Example:
    """An item of a group.

    Attributes:
        item: The id, and the beginning of the row where the id is a hash.
        reply: What the failing step's model said, ``None`` if nothing.
    """

    id: str
    item: str
    error: str
    reply: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Items that failed in one step for one reason.

    Attributes:
        status: The kind of failure, as in the results.
        step: Where; empty where it is not known.
        reason: The message, with an ellipsis for what differs.
        advice: What to do about it.
        ids: All of them, in the order of the file.
        examples: The first few.
    """

    status: str
    step: str
    reason: str
    advice: str
    ids: tuple[str, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Failures:
    """What gave no score.

    Attributes:
        path: The results file.
        items: Items in it.
        failed: How many of them gave no score; no answer, where a run has no score.
        scored: Whether the run has a score.
        groups: By size, the largest first.
        notes: What could not be read, a sentence each.
    """

    path: str
    items: int
    failed: int
    scored: bool
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Gathered:
    ids: list[str] = field(default_factory=list)
    lines: list[ItemLine] = field(default_factory=list)


def read_failures(path: str | Path) -> Failures:
    """What gave no score in a results file (or beside a journal).

    Raises:
        OutputError: A file is missing or cannot be read.
    """
    paths = run_paths(path)
    manifest, _ = Manifest.beside(paths.results)
    steps = {written(name) for name in manifest.models} if manifest else set()
    wants_score = bool(manifest and manifest.score)
    groups: dict[tuple[str, str, str], _Gathered] = {}
    items = failed = unread = 0
    for id, raw in ids_with_lines(paths.results):
        try:
            line = decoded_item(raw, str(paths.results))
        except OutputError:
            unread += 1
            continue
        items += 1
        if line.status == "ok" and (line.score is not None or not wants_score):
            continue
        failed += 1
        step, reason = _reason(line, steps)
        group = groups.setdefault((line.status, step, reason), _Gathered())
        group.ids.append(id)
        if len(group.lines) < _EXAMPLES:
            group.lines.append(line)
    damaged: list[int] = []
    examples = [line.id for group in groups.values() for line in group.lines]
    calls = calls_of(paths.journal, examples, damaged.append) if examples else {}
    notes = []
    if examples and not paths.journal.exists():
        notes.append(f"The journal {paths.journal.name} is missing, so the replies are unknown.")
    for name, lines in ((paths.results.name, unread), (paths.journal.name, len(damaged))):
        if lines:
            notes.append(f"{words.counted(lines, 'damaged line')} in {name} ignored.")
    servers = {written(name): url for name, url in manifest.servers.items()} if manifest else {}
    made = [
        Group(
            status,
            step,
            reason,
            status_of(status).advice_at(servers.get(step)),
            tuple(group.ids),
            tuple(
                Example(
                    each.id,
                    words.item(each.id, each.fields).replace("'", ""),
                    each.error,
                    _reply(calls[each.id], step),
                )
                for each in group.lines
            ),
        )
        for (status, step, reason), group in groups.items()
    ]
    made.sort(key=lambda group: -len(group.ids))
    return Failures(str(paths.results), items, failed, wants_score, tuple(made), tuple(notes))


def _reason(line: ItemLine, steps: Collection[str]) -> tuple[str, str]:
    """The step that a message is about, and the message as all items of its kind have it."""
    step, colon, rest = line.error.partition(": ")
    step, said = (step, rest) if colon and step in steps else ("", line.error)
    said = _QUOTED.sub("…", words.clean(said, _LONGEST_REASON))
    return step, _NUMBER.sub("…", said)


def _reply(calls: Sequence[ItemCall], step: str) -> str | None:
    """What was said last in a step, or in any where it is not known."""
    said = [call for call in calls if call.completion and (not step or written(call.step) == step)]
    return said[-1].completion.text if said and said[-1].completion else None


def _document(made: Failures) -> Document:
    whole = words.items(made.items)
    if not made.failed:
        return Document(
            f"None of {whole} failed.",
            (words.clean(made.path),),
            warnings=tuple((note, "") for note in made.notes),
        )
    kinds = {group.status for group in made.groups}
    steps = [f"See one item: llmb show {_typed(made.groups[0].ids[0])} {_typed(made.path)}"]
    if any(status_of(kind).of == "answer" for kind in kinds):
        steps.append("To ask again for unusable answers: the same llmb run with --retry-failed.")
    if not all(status_of(kind).settled for kind in kinds):
        steps.append("To try failed calls again: the same llmb run. It pays for nothing twice.")
    left = len(made.groups) - _GROUPS
    hidden = [f"{words.counted(left, 'rarer kind')} not shown: add --json."] if left > 0 else []
    return Document(
        f"{made.failed:,} of {whole} gave no {'score' if made.scored else 'answer'}.",
        (words.clean(made.path),),
        tuple(Section(_title(group), tuple(_parts(group))) for group in made.groups[:_GROUPS]),
        assumptions=tuple(hidden),
        warnings=tuple((note, "") for note in made.notes),
        next_steps=tuple(steps),
    )


def _title(group: Group) -> str:
    step = f" in {words.clean(group.step, 40)}" if group.step else ""
    kind = words.clean(status_of(group.status).named, 60)
    return f"{words.items(len(group.ids))}{step}: {kind}"


def _parts(group: Group) -> Iterator[Quote | str]:
    means = status_of(group.status).means.replace("`", "")
    yield words.sentence(f"{means}: {group.reason}" if group.reason else means)
    for example in group.examples:
        said = example.error if example.reply is None else example.reply
        yield Quote(example.item, words.quoted(said, _LONGEST_REPLY) or "(no text)")
    if more := len(group.ids) - len(group.examples):
        named = ", ".join(words.clean(id, 40) for id in group.ids[_EXAMPLES : _EXAMPLES + 5])
        yield f"and {more:,} more: {named}{', …' if more > 5 else ''}"
    yield f"What to do: {group.advice}."


def _typed(text: str) -> str:
    return shlex.quote(words.clean(text))


#: Formats by the name a user gives.
FAILURE_FORMATS: Formats[Failures] = Formats(_document, lambda made: made)

__all__ = ["FAILURE_FORMATS", "Failures", "read_failures"]
