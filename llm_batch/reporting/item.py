"""One item of a run from its prompt to its score, as `llmb show` has it.

Nobody wrote the prompts down. So the chain of the manifest is played again with the answers of the
journal, which are looked up by the hash of their requests: a prompt that is shown is the one that
was sent, to the letter. Where that does not succeed, the calls are shown without their prompts.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llm_batch.chain.chain import Chain
from llm_batch.chain.steps import ScoreRule, Step
from llm_batch.chain.templates import PromptError
from llm_batch.errors import LlmbError, OutputError, status_of
from llm_batch.paper import Formats, words
from llm_batch.paper.document import Document, Quote, Section, Table
from llm_batch.record.files import run_paths
from llm_batch.record.journal import ItemCall, calls_of
from llm_batch.record.lines import StepUsage
from llm_batch.record.manifest import Manifest, utc
from llm_batch.record.results import ItemLine, decoded_item, ids_with_lines
from llm_batch.records import Call, Item, Message, Request

#: Ids that an unknown one is compared with at most; a second's work.
_COMPARED = 50_000
_CLOSE = 0.6


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt: when it was sent (UTC), how long it took, why it failed (empty: it did not)."""

    started_at: str
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class ShownCall:
    """A call with the words of both sides.

    Attributes:
        model: The model that was asked.
        messages: What was sent that an earlier call of the item had not yet; ``None`` where the
            prompt cannot be known for certain.
        reply: The text that came, as it came; ``None`` without one.
        failure: Why there is none; empty where there is one.
        finish_reason: Why the model stopped; empty without a reply.
        usage: Tokens, where the provider counted them.
        cost: USD; ``None`` when the price is unknown.
        attempts: Every time it was sent, in order.
    """

    step: str
    model: str
    messages: tuple[Message, ...] | None
    reply: str | None
    failure: str
    finish_reason: str
    usage: StepUsage | None
    cost: float | None
    attempts: tuple[Sent, ...]


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item of a run.

    Attributes:
        path: The results file.
        status: As of a result; empty where the item is in the journal alone, as on the way.
        judge: The step the score comes from; empty without a score.
        outputs: What was read from each step's reply.
        cost: USD of all its calls.
        seconds: What its calls took.
        calls: In order.
        notes: What cannot be shown, a sentence each.
    """

    id: str
    path: str
    status: str
    error: str
    fields: dict[str, Any]
    outputs: dict[str, Any]
    score: float | None
    label: str
    reason: str
    passed: bool | None
    judge: str
    cost: float | None
    seconds: float | None
    simulated: bool
    calls: tuple[ShownCall, ...]
    notes: tuple[str, ...]


def read_item(path: str | Path, id: str) -> ShownItem:
    """An item by its id.

    Args:
        path: The results file, or its journal.
        id: As the data has it.

    Raises:
        OutputError: There is no such item (the hint names the nearest), or a file cannot be read.
    """
    paths = run_paths(path)
    notes: list[str] = []
    damaged: list[int] = []
    kept = calls_of(paths.journal, [id], damaged.append)[id]
    line = _line(paths.results, id, bool(kept))
    if line is None and not kept:
        raise _unknown(paths.results, id)
    if not paths.journal.exists():
        notes.append(f"The journal {paths.journal.name} is missing, so the calls are unknown.")
    if damaged:
        lines = words.counted(len(damaged), "damaged line")
        notes.append(f"{lines} in {paths.journal.name} ignored.")
    if line is None:
        notes.append("It is not in the results yet: the run is still going, or was stopped.")
    manifest, why = Manifest.beside(paths.results)
    calls = _replayed(manifest, line, kept) if manifest is not None and line is not None else None
    if calls is None and kept:
        notes.append("The prompts cannot be rebuilt from the manifest and the results"
                     f"{f': {why[0].lower()}{why[1:]}' if why else ''}.")  # fmt: skip
        calls = [_shown(call, None) for call in kept]
    return ShownItem(
        id=id,
        path=str(paths.results),
        status=line.status if line else "",
        error=line.error if line else "",
        fields=line.fields if line else {},
        outputs=line.outputs if line else {},
        score=line.score if line else None,
        label=line.label if line else "",
        reason=line.reason if line else "",
        passed=line.passed if line else None,
        judge=manifest.judge if manifest else "",
        cost=line.cost.total if line else None,
        seconds=line.latency_seconds.total if line else None,
        simulated=line.simulated if line else any(call.simulated for call in kept),
        calls=tuple(calls or ()),
        notes=tuple(notes),
    )


def _line(results: Path, id: str, in_journal: bool) -> ItemLine | None:
    """The line of an item; ``None`` where there is none."""
    try:
        for item, raw in ids_with_lines(results):
            if item == id:
                return decoded_item(raw, f"{results}: the line of {words.clean(id, 60)!r}")
    except OutputError:
        if results.exists() or not in_journal:
            raise
    return None


def _unknown(results: Path, id: str) -> OutputError:
    """The error for an id that is not there, with those that are like it."""
    ids = [item for item, _ in islice(ids_with_lines(results), _COMPARED)]
    plain, wanted = {item.casefold(): item for item in reversed(ids)}, id.casefold()
    parts = [plain[item] for item in plain if wanted and wanted in item]
    close = difflib.get_close_matches(wanted, plain, n=3, cutoff=_CLOSE)
    near = parts[:3] or [plain[item] for item in close]
    if near:
        hint = f"did you mean {' or '.join(words.clean(item, 60) for item in near)}?"
    else:
        hint = f"ids look like these: {', '.join(words.clean(item, 60) for item in ids[:3])}"
    return OutputError(f"{results} has no item {words.clean(id, 80)!r}", hint if ids else "")


def _replayed(
    manifest: Manifest, line: ItemLine, kept: Sequence[ItemCall]
) -> list[ShownCall] | None:
    """The calls that the results are made of, with their prompts; ``None`` where one is missing."""
    chain = _chain(manifest)
    if chain is None:
        return None
    item = Item(line.id, line.fields)
    names = [step.name for step in chain.steps]
    by_key = {call.key: call for call in kept if call.failure is not None}
    by_key |= {call.key: call for call in kept if call.completion is not None}
    calls: list[Call] = []
    shown: list[ShownCall] = []
    try:
        while (request := chain.next_request(item, calls)) is not None:
            keys = (request.key, *map(request.key_before, names))
            found = next((by_key[key] for key in keys if key in by_key), None)
            call = found.call(request) if found else None
            if found is None or call is None:
                return shown if shown and line.status != "ok" else None
            shown.append(_shown(found, _new_messages(request, calls)))
            calls.append(call)
    except PromptError:
        return shown if line.status == "prompt" else None
    return shown


def _chain(manifest: Manifest) -> Chain | None:
    """The chain of a run; ``None`` where this version cannot make it."""
    config = manifest.config
    try:
        steps = [Step.model_validate(step) for step in config.get("steps") or ()]
        rule = config.get("score")
        return Chain(steps, ScoreRule.model_validate(rule) if rule else None) if steps else None
    except (ValueError, LlmbError):
        return None


def _new_messages(request: Request, before: Iterable[Call]) -> tuple[Message, ...]:
    """The messages of a request that no earlier one of the same conversation has sent."""
    had = max(
        (
            len(call.request.messages)
            for call in before
            if call.request.step == request.step
            and request.messages[: len(call.request.messages)] == call.request.messages
        ),
        default=0,
    )
    return request.messages[had:]


def _shown(call: ItemCall, messages: tuple[Message, ...] | None) -> ShownCall:
    done, failed = call.completion, call.failure
    return ShownCall(
        step=call.step,
        model=call.model,
        messages=messages,
        reply=done.text if done else None,
        failure=f"{failed.kind}: {failed.message}" if failed else "",
        finish_reason=str(done.finish_reason or "") if done else "",
        usage=done.usage if done else None,
        cost=call.cost,
        attempts=tuple(Sent(utc(at.started_at), at.seconds, at.error) for at in call.attempts),
    )


def _document(item: ShownItem) -> Document:
    judged = _judged(item)
    calls = words.counted(len(item.calls), "call")
    paid = "" if item.cost is None else f", {words.usd(item.cost)}"
    fields = [(name, value) for name, value in item.fields.items() if value != item.id]
    sections = [Section("Item", tuple(_quotes(fields)))] if fields else []
    for n, call in enumerate(item.calls):
        again = any(call.step == each.step for each in item.calls[:n])
        title = f"{call.step}{', asked again' if again else ''}: {call.model}"
        sections.append(Section(words.clean(title), tuple(_said(call, item))))
    if not item.calls and item.outputs:
        sections.append(Section("Answers", tuple(_quotes(item.outputs.items()))))
    if item.reason or item.error:
        reason = [("reason", item.reason)] if item.reason else []
        wrong = [("error", item.error)] if item.error else []
        title = "Score" if item.reason else "What went wrong"
        sections.append(Section(title, tuple(_quotes([*reason, *wrong]))))
    if item.calls:
        sections.append(Section("Calls", (_table(item.calls), *_in_vain(item.calls))))
    steps = []
    if item.status not in ("", "ok"):
        steps.append(words.sentence(status_of(item.status).advice))
        steps.append(f"See all failed items: llmb failures {shlex.quote(item.path)}")
    return Document(
        f"{words.clean(item.id, 80)}: {judged}",
        (
            f"{words.clean(item.path)}: {calls}{paid}",
            *(["Simulated: the answers came from a fake/ model."] if item.simulated else []),
        ),
        tuple(sections),
        warnings=tuple((note, "") for note in item.notes),
        next_steps=tuple(steps),
    )


def _judged(item: ShownItem) -> str:
    """What became of an item, in words."""
    if item.status not in ("", "ok"):
        status = status_of(item.status)
        return f"{words.clean(status.named, 60)}: {status.means.replace('`', '')}"
    if not item.status:
        return "not finished"
    if item.score is None:
        return "answered" if not item.judge else "no score"
    verdict = "" if item.passed is None else ", a pass" if item.passed else ", a fail"
    number = words.number(item.score)
    label = f" ({words.clean(item.label, 40)})" if item.label not in ("", number) else ""
    return f"score {number}{label}{verdict}"


def _said(call: ShownCall, item: ShownItem) -> Iterable[Quote | str]:
    for message in call.messages or ():
        yield Quote(words.clean(message.role, 20), words.quoted(message.content))
    if call.reply is not None:
        name = "judge's reply" if call.step == item.judge else "reply"
        yield Quote(name, words.quoted(call.reply))
    else:
        yield Quote("failed", words.quoted(call.failure))


def _quotes(texts: Iterable[tuple[str, Any]]) -> Iterable[Quote]:
    from llm_batch.paper.json import format as as_json

    for name, value in texts:
        if value is not None:
            text = value if isinstance(value, str) else as_json(value).strip()
            yield Quote(words.clean(name, 60), words.quoted(text))


def _table(calls: Sequence[ShownCall]) -> Table:
    rows = []
    for call in calls:
        usage = call.usage
        seconds = sum(attempt.seconds for attempt in call.attempts)
        rows.append(
            (
                words.clean(call.step, 40),
                call.attempts[0].started_at if call.attempts else words.NONE,
                words.count(len(call.attempts)),
                words.duration(seconds),
                words.count(usage.input_tokens) if usage else words.NONE,
                words.count(usage.output_tokens) if usage else words.NONE,
                words.usd(call.cost),
                words.clean(call.finish_reason, 20) if call.reply is not None else "failed",
            )
        )
    header = ("Step", "Sent (UTC)", "Attempts", "Time", "In", "Out", "Cost", "End")
    return Table(header, (False, False, *[True] * 5, False), tuple(rows))


def _in_vain(calls: Sequence[ShownCall]) -> Iterable[str]:
    """The attempts that brought no answer, a sentence each."""
    for call in calls:
        for n, attempt in enumerate(call.attempts, 1):
            if attempt.error:
                took = words.duration(attempt.seconds)
                error = words.clean(attempt.error)
                yield f"{words.clean(call.step, 40)}, attempt {n}, after {took}: {error}"


#: Formats by the name a user gives.
ITEM_FORMATS: Formats[ShownItem] = Formats(_document, lambda item: item)

__all__ = ["ITEM_FORMATS", "ShownItem", "read_item"]
