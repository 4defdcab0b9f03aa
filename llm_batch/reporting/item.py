"""One item of a run from its prompt to its score, as `llmb show` has it.

Nobody wrote the prompts down. So the chain of the manifest is played again with the answers of the
journal, which are looked up by the hash of their requests: a prompt that is shown is the one that
was sent, to the letter. Where that does not succeed, the calls are shown without their prompts.
"""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from llm_batch.chain.chain import Chain
from llm_batch.chain.steps import shown, written
from llm_batch.chain.templates import PromptError
from llm_batch.errors import OutputError, status_of
from llm_batch.paper import Formats, words
from llm_batch.paper.document import Document, Quote, Section, Table
from llm_batch.record.files import run_paths
from llm_batch.record.journal import ItemCall, calls_of
from llm_batch.record.lines import StepUsage
from llm_batch.record.manifest import Manifest, chain_of, folders_of, utc
from llm_batch.record.results import ItemLine, decoded_item, ids_with_lines
from llm_batch.records import PDF, Call, Item, Message, Request, images_of

#: Ids that an unknown one is compared with at most; a second's work.
_COMPARED = 50_000
_CLOSE = 0.6
_UNCHECKED = (
    "What was sent cannot be checked, as where a picture or PDF is gone or is another one: the "
    "prompts are as the config of the run makes them, and the file is named."
)
#: Characters of the name of a picture, which may be its content.
_NAMED = 200
#: Letters that begin an id or stand somewhere in an item's data, so that they tell it.
_LEAST = 4


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
        step: As the config has it.
        model: The model that was asked.
        part: Which request of its step and model this is for the item, from 0.
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
    part: int = 0


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item of a run.

    Attributes:
        path: The results file.
        status: As of a result; empty where the item is in the journal alone, as on the way.
        judge: The step the score comes from; empty without a score.
        outputs: What was read from each step's reply.
        scores: Further scores by name; ``repeats`` has the score of each repeat.
        votes: By step and member what each said, before it was combined.
        skipped: Steps that were not for this item, each with the reason.
        lost: By step and member why a vote or a repeat is missing.
        trace: The traceback of a rule in Python that failed; else empty.
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
    scores: dict[str, float | None] = field(default_factory=dict)
    repeats: tuple[float | None, ...] = ()
    votes: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    trace: str = ""


def read_item(path: str | Path, id: str) -> ShownItem:
    """An item by its id.

    Args:
        path: The results file, or its journal.
        id: As the data has it; else the beginning of one that is a hash, or a text that only
            one item has in its data.

    Raises:
        OutputError: There is no such item (the hint names the nearest), or a file cannot be read.
    """
    paths = run_paths(path)
    notes: list[str] = []
    damaged: list[int] = []
    kept = calls_of(paths.journal, [id], damaged.append)[id]
    line = _line(paths.results, id, bool(kept))
    if line is None and not kept:
        return read_item(path, _found(paths.results, id))
    if not paths.journal.exists():
        notes.append(f"The journal {paths.journal.name} is missing, so the calls are unknown.")
    if damaged:
        lines = words.counted(len(damaged), "damaged line")
        notes.append(f"{lines} in {paths.journal.name} ignored.")
    if line is None:
        notes.append("It is not in the results yet: the run is still going, or was stopped.")
    manifest, why = Manifest.beside(paths.results)
    chain = chain_of(manifest, folders_of(manifest, path)) if manifest is not None else None
    calls = _replayed(chain, line, kept) if chain is not None and line is not None else None
    if calls is None and manifest and line and any(step.images for step in manifest.steps):
        named = chain_of(manifest, ())
        calls = _replayed(named, line, kept, by_name=True) if named else None
        notes += [_UNCHECKED] if calls else []
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
        scores={name: each.score for name, each in line.scores.items()} if line else {},
        repeats=tuple(each.score for each in line.repeats) if line else (),
        votes=line.votes if line else {},
        skipped=_skipped(chain, line) if line else {},
        lost=line.lost if line else {},
        trace=line.trace if line else "",
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


def _found(results: Path, text: str) -> str:
    """The id that begins so, or that of the only item with the text in its data.

    Raises:
        OutputError: There is none, or there are several.
    """
    wanted = text.casefold().strip()
    begins: list[str] = []
    equal: dict[str, str] = {}
    has: dict[str, str] = {}
    for id, raw in islice(ids_with_lines(results), _COMPARED):
        if len(wanted) >= _LEAST and words.is_hash(id) and id.startswith(text):
            begins.append(id)
        if not wanted or begins:
            continue
        try:
            fields = decoded_item(raw, "").fields
        except OutputError:
            continue
        cells = [str(cell).casefold().strip() for cell in fields.values()]
        if wanted in cells:
            equal[id] = words.item(id, fields)
        elif len(wanted) >= _LEAST and any(wanted in cell for cell in cells):
            has[id] = words.item(id, fields)
    if len(begins) == 1:
        return begins[0]
    if not begins and len(found := equal or has) == 1:
        return next(iter(found))
    if begins or not (equal or has):
        raise _unknown(results, text)
    several = list((equal or has).values())
    raise OutputError(
        f"{words.clean(text, 80)!r} is no id in {results}, and {len(several):,} items have it in "
        "their data",
        "give an id, or more of the text: " + "; ".join(several[:3]),
    )


def _unknown(results: Path, id: str) -> OutputError:
    """The error for an id that is not there, with those that are like it."""
    ids = [item for item, _ in islice(ids_with_lines(results), _COMPARED)]
    if ids and all(map(words.is_hash, ids)):
        return OutputError(
            f"no item of {results} has the id {words.clean(id, 80)!r}, or alone has that text",
            "items have no ids of their own without id under [data]: give a text that only one row "
            "has, such as its question",
        )
    plain, wanted = {item.casefold(): item for item in reversed(ids)}, id.casefold()
    parts = [plain[item] for item in plain if wanted and wanted in item]
    close = difflib.get_close_matches(wanted, plain, n=3, cutoff=_CLOSE)
    near = parts[:3] or [plain[item] for item in close]
    if near:
        hint = f"did you mean {' or '.join(words.clean(item, 60) for item in near)}?"
    else:
        hint = f"ids look like these: {', '.join(words.clean(item, 60) for item in ids[:3])}"
    return OutputError(f"{results} has no item {words.clean(id, 80)!r}", hint if ids else "")


def _skipped(chain: Chain | None, line: ItemLine) -> dict[str, str]:
    """Why steps were not for an item; of one with repeats, for some of its answers."""
    steps = {step.name: step for step in chain.steps} if chain is not None else {}
    found = {}
    for name in line.skipped:
        step = steps.get(name)
        why = step and chain and chain.left_out(step, Item(line.id, line.fields))
        if step is not None and not why and step.when is not None:
            output = line.outputs.get(name)
            lanes = output if isinstance(output, list) else []
            times = sum(each is None for each in lanes)
            some = f", {times} of {len(lanes)} times" if times else ""
            why = f"when = {step.when!r} was not so{some}"
        found[name] = why or ""
    return found


def _replayed(
    chain: Chain, line: ItemLine, kept: Sequence[ItemCall], *, by_name: bool = False
) -> list[ShownCall] | None:
    """The calls that the results are made of, with their prompts; ``None`` where one is missing.

    They are found by the keys of their requests, or by their steps where those cannot be known.
    """
    item = Item(line.id, line.fields)
    names = [step.name for step in chain.asking]
    by_key = {call.key: call for call in kept if call.failure is not None}
    by_key |= {call.key: call for call in kept if call.completion is not None}
    left = list(by_key.values())
    calls: list[Call] = []
    made: list[ShownCall] = []
    try:
        while (request := chain.next_request(item, calls)) is not None:
            keys = (request.key, *map(request.key_before, names))
            found = next((by_key[key] for key in keys if key in by_key), None)
            if by_name:
                found = next((call for call in left if _is_of(call, request)), None)
            call = found.call(request) if found else None
            if found is None or call is None:
                return made if made and line.status != "ok" else None
            left.remove(found)
            made.append(_shown(found, _new_messages(request, calls), request.part))
            calls.append(call)
    except PromptError:
        return made if line.status == "prompt" else None
    return made


def _is_of(call: ItemCall, request: Request) -> bool:
    return (call.step, call.model, call.sample) == (request.step, request.model, request.sample)


def _new_messages(request: Request, before: Iterable[Call]) -> tuple[Message, ...]:
    """The messages of a request that no earlier one of the same conversation has sent.

    The members of a jury, and repeats, are asked the same.
    """
    had = max(
        (
            len(call.request.messages)
            for call in before
            if written(call.request.step) == written(request.step)
            and request.messages[: len(call.request.messages)] == call.request.messages
        ),
        default=0,
    )
    return request.messages[had:]


def _shown(call: ItemCall, messages: tuple[Message, ...] | None, part: int = 0) -> ShownCall:
    done, failed = call.completion, call.failure
    return ShownCall(
        part=part,
        step=written(call.step),
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
    times = Counter((call.step, call.model, call.part) for call in item.calls)
    parts = Counter((step, model) for step, model, _ in times)
    for n, call in enumerate(item.calls):
        part = call.step, call.model, call.part
        again = any(part == (each.step, each.model, each.part) for each in item.calls[:n])
        of = f", {call.part + 1}" if parts[part[:2]] > 1 else ""
        title = f"{call.step}{of}{', asked again' if again else ''}: {call.model}"
        sections.append(Section(words.clean(title), tuple(_said(call, item))))
    sections += [Section(f"Votes of {words.clean(name, 40)}", (_votes(votes),))
                 for name, votes in item.votes.items()]  # fmt: skip
    if not item.calls and item.outputs:
        sections.append(Section("Answers", tuple(_quotes(item.outputs.items()))))
    if item.reason or item.error:
        reason = [("reason", item.reason)] if item.reason else []
        wrong = [("error", item.error)] if item.error else []
        wrong += [("traceback", item.trace)] if item.trace else []
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
            *_skips(item),
            *_scores(item),
        ),
        tuple(sections),
        warnings=(
            *((note, "") for note in item.notes),
            *(
                (f"{words.clean(shown(name))} gave nothing: {words.clean(why)}", "")
                for name, why in item.lost.items()
            ),
        ),
        next_steps=tuple(steps),
    )


def _skips(item: ShownItem) -> Iterable[str]:
    for name, why in item.skipped.items():
        yield f"{words.clean(name, 40)} was skipped{': ' if why else ''}{words.clean(why)}."


def _scores(item: ShownItem) -> Iterable[str]:
    if item.repeats:
        each = ", ".join(map(_number, item.repeats))
        yield f"The score is the mean of {words.counted(len(item.repeats), 'repeat')}: {each}."
    if item.scores:
        further = (
            f"{words.clean(name, 40)} {_number(value)}" for name, value in item.scores.items()
        )
        yield f"Further scores: {', '.join(further)}."


def _number(value: float | None) -> str:
    return words.NONE if value is None else words.number(value)


def _votes(votes: Any) -> Table:
    """What each member said; a column for each repeat where there are several."""
    lanes = [lane or {} for lane in (votes if isinstance(votes, list) else [votes])]
    members = dict.fromkeys(member for lane in lanes for member in lane)
    rows = tuple(
        (words.clean(member, 40), *(_vote(lane.get(member)) for lane in lanes))
        for member in members
    )
    heads = [f"answer {n}" for n in range(1, len(lanes) + 1)] if len(lanes) > 1 else ["vote"]
    return Table(("member", *heads), (False,) * (len(lanes) + 1), rows)


def _vote(value: Any) -> str:
    """What a member said, without its words where it gave more."""
    if isinstance(value, dict):
        graded = {key: each for key, each in value.items() if not isinstance(each, str)}
        return ", ".join(f"{key} {_vote(each)}" for key, each in (graded or value).items())
    if isinstance(value, bool):
        return "true" if value else "false"
    return words.NONE if value is None else words.clean(str(value), 40)


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
        for image in images_of(message):
            most = f" ({image.tokens:,} tokens at most)" if image.tokens else ""
            is_pdf = image.media_type == PDF or image.source.lower().endswith(".pdf")
            kind = "PDF" if is_pdf else "image"
            yield Quote(kind, words.quoted(f"{image.source[:_NAMED]}{most}"))
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
