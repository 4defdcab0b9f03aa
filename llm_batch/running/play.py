"""The loop: items, chain and engine in; calls and results out.

While the engine has room, give it a follow-up request or else one from a new item; wait for a
call; yield it; ask the chain what comes next. Follow-ups go first, so that a budget buys whole
results instead of many first halves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from llm_batch.chain.answers import without_thoughts
from llm_batch.chain.chain import Chain
from llm_batch.chain.steps import written
from llm_batch.chain.templates import PromptError
from llm_batch.engines import Engine
from llm_batch.errors import status_of
from llm_batch.models.table import model_info
from llm_batch.models.tokens import counter
from llm_batch.records import Call, Item, Request, Result

# Often enough for a progress display, and for a stop to be noticed.
_TICK_SECONDS = 0.2
# How often a call is made again that had no money for another attempt.
_REFUSALS = 3
# An answer is sent on when it has at most so many tokens, or so many times what was asked for:
# servers count otherwise than we do, and some treat max_tokens as advice.
_LET_PASS_TOKENS = 4_000
_LET_PASS_TIMES = 2
# The output limit of a model that is not known, where the step sets none.
_LONGEST_ANSWER_TOKENS = 32_768
# No text that means something has more characters to a token.
_CHARACTERS_PER_TOKEN = 16


class Gate(Protocol):
    @property
    def stopped(self) -> bool:
        """True once nothing new may be sent, follow-ups included."""

    def admit(self, item: Item, request: Request, calls: Sequence[Call]) -> bool:
        """Whether to send a request now; called again later when the answer is no."""

    def forget(self, item: Item) -> None:
        """An item is left unfinished: nothing more will be sent for it."""


class OpenGate:
    stopped = False

    def admit(self, item: Item, request: Request, calls: Sequence[Call]) -> bool:
        return True

    def forget(self, item: Item) -> None:
        pass


class Answers(Protocol):
    @property
    def unused(self) -> int:
        """How many of them have not been asked for; at 0 there is nothing left to find."""

    def answered(self, request: Request) -> Call | None: ...


class NoAnswers:
    unused = 0

    def answered(self, request: Request) -> Call | None:
        return None


@dataclass(slots=True)
class _Open:
    item: Item
    calls: list[Call] = field(default_factory=list)
    #: To be sent, and those that are on their way, by row and part.
    waiting: deque[Request] = field(default_factory=deque)
    flying: set[tuple[str, int]] = field(default_factory=set)
    sent: bool = False
    asked_again: bool = False
    refused: int = 0
    #: How often a key was refused for it, with no answer since that shows that the key is good.
    doubts: int = 0
    #: Nothing more is sent for it, and it gets no result.
    left: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened for a while; time to look at the clock."""


Event = Call | Result | Tick


def play(
    items: Iterable[Item],
    chain: Chain,
    engine: Engine,
    record: Callable[[Sequence[Call]], None] = lambda calls: None,
    answers: Answers | None = None,
    gate: Gate | None = None,
    *,
    ask_again: bool = False,
) -> Iterator[Event]:
    """Play the chain over the items.

    Once the gate has stopped, or has no room for another item, nothing more is sent; items whose
    answers are all known still get their results, since those cost nothing.

    Args:
        record: Makes calls durable: those that finished together, before anything else is done
            with any of them, and so before anything that depends on them is sent or shown.
        answers: Calls that were made before. They are not yielded: nothing was sent for them.
        ask_again: Where the answers that were made before do not make a usable result, ask the
            step that failed anew, once.

    Yields:
        Each `Call` as it finishes, the `Result` of each item that is finished, and `Tick` when
        nothing finished for a fifth of a second. Items that were begun and not finished, because
        the gate stopped or a call ended as one of the run's statuses, have no result.
    """
    known, gate = answers or NoAnswers(), gate or OpenGate()
    return _Play(chain, engine, record, known, gate, ask_again).events(items)


class _Play:
    """The state of the loop. Every open item is in exactly one of the five places."""

    def __init__(
        self,
        chain: Chain,
        engine: Engine,
        record: Callable[[Sequence[Call]], None],
        answers: Answers,
        gate: Gate,
        ask_again: bool,
    ) -> None:
        self._ask_again = ask_again
        self._chain = chain
        self._engine = engine
        self._record = record
        self._answers = answers
        self._gate = gate
        self._following: deque[_Open] = deque()
        self._flying: dict[str, _Open] = {}  # by key of the request
        # Refused by the gate, and tried again when a call has finished: follow-ups, and the one
        # new item that was asked for last.
        self._starved: deque[_Open] = deque()
        self._blocked: _Open | None = None
        # By model: items whose last call is doubtful, until there is an answer or nothing else.
        self._doubtful: dict[str, list[tuple[_Open, Call]]] = {}

    def events(self, items: Iterable[Item]) -> Iterator[Event]:
        waiting = iter(items)
        while True:
            yield from self._fill(waiting)
            if self._engine.held:
                if self._gate.stopped:
                    for request in self._engine.give_back():
                        del self._flying[request.key]
                yield from self._land(_TICK_SECONDS)
            elif self._starved and not self._gate.stopped:
                # Nothing is in flight that could make room, so the first one gives up its share:
                # a follow-up has outgrown what was held back for it when its item began.
                self._leave(self._starved.popleft())
            elif self._doubtful:
                for model in list(self._doubtful):
                    yield from self._settle(model, inf)
            else:
                break
            self._following.extendleft(reversed(self._starved))
            self._starved.clear()
        yield from self._known(waiting)

    def _fill(self, waiting: Iterator[Item]) -> Iterator[Event]:
        engine, gate = self._engine, self._gate
        while engine.free > 0 and not gate.stopped:
            if self._following:
                begun = self._following.popleft()
                if begun.left:
                    continue
                if not self._send(begun):
                    self._starved.append(begun)
            elif self._starved:
                return
            elif self._blocked is not None:
                begun = self._blocked
                self._blocked = None
                if not begun.left and not self._send(begun):
                    self._blocked = begun
                    return
            else:
                item = next(waiting, None)
                if item is None:
                    return
                begun = _Open(item)
                result = self._advance(begun)
                if result is not None:
                    yield result
                    # However many items are answered already: a call that has just finished is
                    # recorded now.
                    yield from self._land(0.0)
                elif not self._send(begun):
                    self._blocked = begun

    def _land(self, timeout_seconds: float) -> Iterator[Event]:
        calls = self._engine.wait(timeout_seconds) if self._engine.held else ()
        if calls:
            self._record(calls)
        for call in calls:
            yield call
            begun = self._flying.pop(call.request.key)
            begun.flying.discard((call.request.step, call.request.part))
            status = status_of(call.failure.kind if call.failure is not None else "ok")
            if status.of == "run":
                if status.kind == "budget" and begun.refused < _REFUSALS and not begun.left:
                    # Others held the money for another attempt; some of it comes free.
                    if not begun.flying:
                        self._gate.forget(begun.item)
                    begun.refused += 1
                    begun.waiting.append(call.request)
                    if len(begun.waiting) == 1:
                        self._following.append(begun)
                else:
                    self._leave(begun)
                continue
            begun.calls.append(call)
            if status.doubtful:
                begun.doubts += 1
                self._doubtful.setdefault(call.request.model, []).append((begun, call))
                continue
            if call.completion is not None and self._doubtful:
                sent_at = call.attempts[-1].started_at if call.attempts else inf
                yield from self._settle(call.request.model, sent_at)
            yield from self._go_on(begun)
        if not calls and timeout_seconds:
            yield Tick()

    def _settle(self, model: str, sent_at: float) -> Iterator[Event]:
        """Results of the items that a key was refused for before an answer was asked for.

        None once the run has stopped. An answer that was under way already when the key was
        refused does not show that the key is good.
        """
        for begun, call in self._doubtful.pop(model, ()):
            if _ended_at(call) > sent_at:
                self._doubtful.setdefault(model, []).append((begun, call))
            elif self._gate.stopped:
                self._leave(begun)
            else:
                begun.doubts -= 1
                yield from self._go_on(begun)

    def _go_on(self, begun: _Open) -> Iterator[Result]:
        """Its result, or its next requests among those that wait to be sent."""
        if begun.left and not begun.flying:
            self._gate.forget(begun.item)
        if begun.left or begun.doubts:
            return
        had = bool(begun.waiting)
        result = self._advance(begun)
        if result is not None:
            begun.left = True
            yield result
        elif begun.waiting and not had:
            self._following.append(begun)

    def _leave(self, begun: _Open) -> None:
        begun.left = True
        begun.waiting.clear()
        if not begun.flying:
            self._gate.forget(begun.item)

    def _known(self, waiting: Iterator[Item]) -> Iterator[Event]:
        """Results of the items that were not begun and need nothing to be sent."""
        self._ask_again = False
        while self._answers.unused and (item := next(waiting, None)) is not None:
            begun = _Open(item)
            result = self._advance(begun)
            if result is not None and begun.calls:
                yield result

    def _advance(self, begun: _Open) -> Result | None:
        """Move past what is already answered; a result, or ``None`` with requests to send or on
        their way.
        """
        item, calls = begun.item, begun.calls
        begun.waiting.clear()
        try:
            while requests := self._chain.next_requests(item, calls):
                known = [] if begun.asked_again else self._known_of(requests, begun)
                if known:
                    calls += known
                    continue
                for request in requests:
                    if problem := oversized(request, calls):
                        return self._chain.result(item, calls, problem, "oversized")
                    if (request.step, request.part) not in begun.flying:
                        begun.waiting.append(request)
                return None
        except PromptError as error:
            return self._chain.result(item, calls, str(error))
        result = self._chain.result(item, calls)
        if self._ask_again and result.status not in ("ok", "rule", "tie") and not begun.sent:
            # Every part that came to nothing, and of this item all from then on.
            last = calls[-1].request
            parts = self._chain.unusable(item, calls) or {(last.step, last.part)}
            calls[:] = [c for c in calls if (c.request.step, c.request.part) not in parts]
            begun.waiting.extend(self._chain.next_requests(item, calls))
            begun.asked_again = True
            return None
        return result

    def _known_of(self, requests: Iterable[Request], begun: _Open) -> list[Call]:
        """Answers that were given before to any of them that is not under way."""
        waiting = (each for each in requests if (each.step, each.part) not in begun.flying)
        return [call for each in waiting if (call := self._answers.answered(each)) is not None]

    def _send(self, begun: _Open) -> bool:
        """Send all that waits of an item, as far as there is room; ``False`` when the gate is shut.

        What there is no room for follows.
        """
        while begun.waiting:
            if self._engine.free <= 0:
                self._following.appendleft(begun)
                return True
            request = begun.waiting[0]
            if not self._gate.admit(begun.item, request, begun.calls):
                return False
            begun.waiting.popleft()
            begun.sent = True
            begun.flying.add((request.step, request.part))
            self._flying[request.key] = begun
            self._engine.submit(request)
        return True


def _ended_at(call: Call) -> float:
    return call.attempts[-1].started_at + call.attempts[-1].seconds if call.attempts else 0.0


def oversized(request: Request, calls: Sequence[Call]) -> str:
    """What is wrong with a request that carries an answer far longer than was asked for.

    Such a prompt was in no estimate, and could cost any amount. What is journalled already is
    sent no more, so it is not looked at. The sentence says what to set; it is empty when the
    request may be sent.
    """
    size = sum(len(message.content) for message in request.messages)
    for call in calls:
        if call.completion is None:
            continue
        asked = call.request
        cap = asked.max_tokens
        if cap is None:
            info = model_info(asked.model)
            cap = (info and info.max_output_tokens) or _LONGEST_ANSWER_TOKENS
        most = max(_LET_PASS_TOKENS, _LET_PASS_TIMES * cap)
        # Lengths are looked at first, since hardly any answer is longer in characters than it
        # may be in tokens. A prompt may also have taken a small part of the answer.
        if min(len(call.completion.text), 2 * size) <= most:
            continue
        text = without_thoughts(call.completion.text) or ""
        head = text[: _CHARACTERS_PER_TOKEN * most]
        if 2 * size < len(text) or counter(asked.model).count(head) <= most:
            continue
        allowed = f"max_tokens = {cap:,}" if asked.max_tokens else f"about {cap:,} tokens"
        step, later = written(asked.step), written(request.step)
        return (
            f"{step}: the answer has {len(text):,} characters, far more than {allowed} allow, and "
            f"the prompt of {later} would carry them; nothing was sent. If such answers are "
            f"wanted, raise max_tokens of {step}"
        )
    return ""
