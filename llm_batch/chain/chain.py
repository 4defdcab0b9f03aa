"""The chain: given an item and the calls made for it so far, which request comes next.

A chain is a pure function of history. It renders prompts, reads replies and decides, but it never
waits, sends or reads a file, so the same chain serves a live run, an estimate, a resumed journal
and a test.

A step is played in the items that its ``when`` and ``share`` choose, by each of its models, as
often as its ``repeat`` says. Each of these requests is a *part* of the step. Where the answers of
a repeated step stay apart there is a *lane* for each, in which all that follows from it is played.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from operator import is_
from pathlib import Path
from statistics import fmean
from typing import Any

from llm_batch.chain.answers import Outcome, outcome_of
from llm_batch.chain.functions import Function, file_of, load, verdict
from llm_batch.chain.outputs import Unreadable, checked_object, instruction
from llm_batch.chain.prompts import StepTemplates
from llm_batch.chain.rules import RuleError, Ruling, apply, said_by_function
from llm_batch.chain.score_rules import AUDIT, MAIN, ScoreRule
from llm_batch.chain.scores import parse_object, score_of
from llm_batch.chain.steps import Step, member, written
from llm_batch.chain.templates import PromptError, Template, skipped
from llm_batch.chain.votes import (
    FIRST,
    SECOND,
    combined,
    combined_object,
    needed,
    winner_of,
)
from llm_batch.errors import ConfigError
from llm_batch.records import (
    Call,
    Item,
    Message,
    Request,
    Result,
    Score,
    StepTotals,
    Usage,
)

#: All fields of the item at once, for names that are no identifiers: {{ item["Question text"] }}.
WHOLE_ITEM = "item"
#: Around the mark that stands for an answer to come; from a private-use area: no data contains
#: it, and no template changes it.
OPEN, CLOSE = "\ue000", "\ue001"
# What templates have by themselves.
_BUILT_IN = {"range", "dict", "cycler", "joiner", "namespace"}
# Outcomes that are kept at most: more than the items that are open at once, as a rule.
_REMEMBERED = 4096
_TIE = "no answer has more votes than every other"


@dataclass(slots=True)
class _Lane:
    """What has come of the steps so far, in one lane or in what all lanes share.

    ``votes`` are the outputs of each member before they were combined, ``lost`` says of parts
    that gave none why.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    rulings: dict[str, Ruling] = field(default_factory=dict)
    votes: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    status: str = "ok"
    error: str = ""
    trace: str = ""

    def fails(self, status: str, error: str) -> None:
        self.status, self.error = status, error

    def split(self) -> _Lane:
        return _Lane(
            *(dict(self.outputs), dict(self.rulings), dict(self.votes), dict(self.lost)),
            *(list(self.skipped), self.status, self.error, self.trace),
        )


@dataclass(slots=True)
class _Walk:
    """One way through the chain: where it has come to, and what should be sent now."""

    item: Item
    made: tuple[Call, ...]
    calls: dict[tuple[str, int], list[Call]]
    guessed: Collection[str]
    trunk: _Lane = field(default_factory=_Lane)
    lanes: list[_Lane] = field(default_factory=list)
    pending: list[Request] = field(default_factory=list)
    unusable: set[tuple[str, int]] = field(default_factory=set)
    problem: PromptError | None = None

    def is_of(self, item: Item, calls: Sequence[Call], guessed: Collection[str]) -> bool:
        """Whether this is the way of the same item after the very same calls."""
        return (
            self.item is item
            and len(self.made) == len(calls)
            and all(map(is_, self.made, calls))
            and set(self.guessed) == set(guessed)
        )


class Chain:
    """Steps in order, and the rules that turn their outputs into scores.

    ``seed`` draws the items of a step with ``share``. ``code`` is the folder of the user's own
    rules, where they may be executed; without it they say nothing. ``images`` are the
    folders in which pictures are looked for; without it a step with pictures makes no request, and
    with none of them pictures are named and not looked at.

    Raises:
        ConfigError: A template is not valid, uses a step that does not come before it, or more
            steps are repeated than can be told apart.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        score: ScoreRule | None = None,
        scores: Mapping[str, ScoreRule] | None = None,
        seed: int = 0,
        code: Path | None = None,
        images: Sequence[Path] | None = None,
    ) -> None:
        self._code = code
        self._functions: dict[str, Function] = {}
        self._said: dict[tuple[str, str, str, str | None], bool | float | str | RuleError] = {}
        self.steps = tuple(steps)
        self._rows = {step.name: step.rows for step in self.steps}
        #: What asks a model: a step, or each member of a jury.
        self.asking = tuple(row for step in self.steps for row in self._rows[step.name])
        self.score = score
        self.scores = dict(scores or {})
        self._seed = seed
        self._rendered = {
            each.name: StepTemplates(each, images)
            for step in self.steps
            for each in (step, *self._rows[step.name])
        }
        # By part and ids of what its calls brought, which stay theirs since the calls are kept.
        self._outcomes: dict[tuple[object, ...], tuple[Sequence[Call], Outcome]] = {}
        names = [step.name for step in self.steps]
        #: By step: itself and all that its output follows from.
        self._sources: dict[str, set[str]] = {}
        for position, step in enumerate(self.steps):
            used, when = self._rendered[step.name].variables, self._rendered[step.name].when
            for later in names[position:]:
                if later in used:
                    where = "rule" if step.rule else "prompt"
                    where = "when" if when is not None and later in when.variables else where
                    above = f"move [[steps]] {later!r} above {step.name!r}, or rename the field"
                    raise ConfigError(
                        f"steps.{step.name}: the {where} uses "
                        f"{later!r}, the output of a step that does not come before it",
                        above if later != step.name else "name an earlier step, or a field",
                    )
            before = (self._sources[name] for name in used & self._sources.keys())
            self._sources[step.name] = {step.name}.union(*before)
        #: The step whose repeated answers stay apart, if any.
        self.apart = next((s for s in self.steps if s.repeat and not s.combine), None)
        self._check_lanes()
        #: How often each row is asked for an item, re-asks left out.
        self.times = {
            row.name: self._repeats(step) * (self._width if self.in_lanes(step.name) else 1)
            for step in self.steps
            for row in self._rows[step.name]
        }
        self._last: _Walk | None = None

    def _check_lanes(self) -> None:
        for step in self.steps:
            if step.repeat and not step.combine and step is not self.apart:
                assert self.apart is not None
                raise ConfigError(
                    f"steps.{step.name}: repeat keeps its answers apart, and so does that of "
                    f"{self.apart.name!r}; only one step can",
                    f'write combine = "majority" in {step.name!r}, or in {self.apart.name!r}',
                )

    @property
    def _width(self) -> int:
        return (self.apart.repeat or 1) if self.apart else 1

    def _repeats(self, step: Step) -> int:
        """How often each model of a step is asked in one lane, at most."""
        if step.pair is not None:
            return 2 if step.swap else 1
        return 1 if step is self.apart else step.repeat or 1

    def in_lanes(self, step: str) -> bool:
        """Whether a step is played for each answer of the step whose answers stay apart."""
        return self.apart is not None and self.apart.name in self._sources.get(step, ())

    def next_request(
        self, item: Item, calls: Sequence[Call], guessed: Collection[str] = ()
    ) -> Request | None:
        """The request to send next, or ``None`` when the item is finished or has failed.

        Raises:
            PromptError: The prompt of the next step cannot be rendered for this item.
        """
        return next(iter(self.next_requests(item, calls, guessed)), None)

    def next_requests(
        self, item: Item, calls: Sequence[Call], guessed: Collection[str] = ()
    ) -> list[Request]:
        """All requests that can be sent now: the parts of one step.

        A condition that follows from a step whose answers are ``guessed`` is taken to hold.

        Raises:
            PromptError: The prompt of the next step cannot be rendered for this item.
        """
        walk = self._walk(item, calls, guessed)
        if walk.problem is not None and not walk.pending:
            raise walk.problem
        return walk.pending

    def unusable(self, item: Item, calls: Sequence[Call]) -> set[tuple[str, int]]:
        """Parts, by row and number, whose calls came to nothing that can be used."""
        return self._walk(item, calls).unusable

    def result(
        self, item: Item, calls: Sequence[Call], problem: str = "", kind: str = "prompt"
    ) -> Result:
        """What the item's calls came to.

        A ``problem`` (a `PromptError`) is why no further request could be made, and its ``kind`` is
        what becomes of the item. Without one, a request that is to come is a `ValueError`.
        """
        walk = self._walk(item, calls)
        for (name, part), own in walk.calls.items():
            self._outcomes.pop(_read_as(name, part, own), None)  # not asked for again
        if not problem:
            if walk.problem is not None:
                raise walk.problem
            if walk.pending:
                raise ValueError(
                    f"item {item.id!r} is not finished: {walk.pending[0].step} is to come"
                )
        status, error = (kind, problem) if problem else self._status(walk)
        made = self._scored(walk) if status == "ok" else _Scored()
        if made.status != "ok":
            status, error = made.status, made.error
        lanes = walk.lanes or [walk.trunk]
        by_row: dict[str, list[Call]] = {}
        for call in calls:
            by_row.setdefault(call.request.step, []).append(call)
        return Result(
            item=item,
            status=status,
            outputs=self._outputs(walk),
            score=made.score,
            passed=made.passed,
            steps={
                row.name: _totals(by_row[row.name]) for row in self.asking if row.name in by_row
            },
            error=error,
            worst_case=any(call.worst_case for call in calls),
            simulated=any(call.simulated for call in calls),
            scores=made.scores,
            repeats=made.repeats,
            votes=_apart_or_one([lane.votes for lane in lanes]),
            skipped=tuple(dict.fromkeys(name for lane in lanes for name in lane.skipped)),
            lost={name: why for lane in lanes for name, why in lane.lost.items()},
            trace=next((lane.trace for lane in lanes if lane.trace), ""),
        )

    def variables(self) -> set[str]:
        used: set[str] = set()
        for templates in self._rendered.values():
            used |= templates.variables
        used |= {step.provided for step in self.steps if step.provided}
        return used - {step.name for step in self.steps} - {WHOLE_ITEM}

    def templates(self, step: str) -> Mapping[str, Template]:
        """By their key in the config: prompt, and system if any, or ``messages[1]`` and so on;
        value and expected of a rule.
        """
        return self._rendered[step].templates

    def names_used(self, step: str) -> set[str]:
        """What a step looks up: fields, earlier steps, ``item``."""
        found = self._rendered[step]
        own = {found.step.provided} if found.step.provided else set()
        return (found.variables | own) - _BUILT_IN

    def fields_inserted(self, step: str) -> set[str]:
        """Fields that stand in every prompt of a step."""
        templates = self.templates(step).values()
        found = {name for template in templates for name in template.inserted}
        if conversation := self._rendered[step].step.conversation:
            found.add(conversation)
        shown = {FIRST, SECOND} if self._rendered[step].step.pair else set()
        return found - self._rendered.keys() - {WHOLE_ITEM} - shown

    def is_blank(self, step: str, fields: Mapping[str, Any]) -> bool:
        """Whether the prompt of a step is empty for an item, as far as fields alone say it."""
        prompt = self._rendered[step].last
        if prompt is None or self._rendered[step].step.conversation:
            return False
        if prompt.variables & self._rendered.keys():
            return False
        try:
            return not prompt.render({WHOLE_ITEM: fields, **fields}).strip()
        except PromptError:
            return False

    def params(self, step: str) -> Mapping[str, Any]:
        """Of every request of a step; none for a step that it does not have."""
        found = self._rendered.get(step)
        return found.params if found else {}

    def asked(self, step: str, item: Item, outputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """What a step asks first, after the outputs of the steps before it.

        Raises:
            PromptError: The prompt cannot be rendered for this item.
        """
        return self._rendered[step].render(_context(item, outputs))

    def texts_of(self, rule: Step, item: Item, calls: Sequence[Call]) -> dict[str, str]:
        """What a rule compares, by key, after the calls that come before it.

        Raises:
            PromptError: It cannot be rendered for this item.
        """
        walk = self._walk(item, calls, {step.name for step in self.steps if step.asks})
        lane = walk.lanes[0] if walk.lanes else walk.trunk
        context = _context(item, {n: v for n, v in lane.outputs.items() if n != rule.name})
        return {key: each.render(context) for key, each in self.templates(rule.name).items()}

    def undecided(self, step: str, guessed: Collection[str] | None = None) -> bool:
        """Whether the condition of a step follows from an answer of ``guessed``, or of any step."""
        when = self._rendered[step].when
        if when is None:
            return False
        unknown = set(guessed) if guessed is not None else {s.name for s in self.steps if s.asks}
        if self._code is None:
            unknown |= {each.name for each in self.steps if each.python is not None}
        named = when.variables & self._sources.keys()
        return any(self._sources[name] & unknown for name in named)

    def draws(self, step: Step, item_id: str) -> bool:
        """Whether an item is among those that a step's share has."""
        return step.share is None or _place("share", self._seed, item_id) < step.share

    def left_out(self, step: Step, item: Item) -> str:
        """Why a step is not for an item whatever is answered, in words; empty where it may be."""
        if not self.draws(step, item.id):
            return f"share = {step.share:g} does not draw this item"
        name = written(step.name)
        if step.when is None or self.undecided(name):
            return ""
        try:
            when = self._rendered[name].when
            holds = when is None or when.holds(_context(item, self._walk(item, ()).trunk.outputs))
        except PromptError:
            return ""
        return "" if holds else f"when = {step.when!r} is not so for this item"

    def _walk(self, item: Item, calls: Sequence[Call], guessed: Collection[str] = ()) -> _Walk:
        """From the first step to the first that waits for an answer, or to the end.

        The last one is kept: what comes next is asked for, what it may cost, and what came of it.
        """
        last = self._last
        if last is not None and last.is_of(item, calls, guessed):
            return last
        own: dict[tuple[str, int], list[Call]] = {}
        for call in calls:
            own.setdefault((call.request.step, call.request.part), []).append(call)
        walk = self._last = _Walk(item, tuple(calls), own, frozenset(guessed))
        for step in self.steps:
            if self.apart is step:
                walk.lanes = [walk.trunk.split() for _ in range(self._width)]
            apart = walk.lanes if walk.lanes and self.in_lanes(step.name) else None
            try:
                for number, lane in enumerate(apart or [walk.trunk]):
                    if lane.status == "ok":
                        self._play(walk, step, lane, number)
            except PromptError as problem:
                walk.problem = problem
            if walk.problem is not None or walk.pending:
                break
            if apart is None:
                for lane in walk.lanes:
                    _hand_on(walk.trunk, lane, step.name)
            if all(lane.status != "ok" for lane in apart or [walk.trunk]):
                break
        return walk

    def _play(self, walk: _Walk, step: Step, lane: _Lane, number: int) -> None:
        """One step in one lane."""
        item, name = walk.item, step.name
        if not self._chosen(walk, step, lane):
            lane.skipped.append(name)
            lane.outputs[name] = skipped(name)
        elif step.rule is not None:
            try:
                ruling = self._ruling(step, item, lane.outputs)
            except RuleError as error:
                lane.fails(error.status, f"{name}: {error}")
                lane.trace = error.trace
            else:
                if ruling.output is None:
                    lane.rulings[name] = ruling
                lane.outputs[name] = ruling.passed if ruling.output is None else ruling.output
        elif step.provided is not None:
            lane.outputs[name] = _provided(step, item)
        else:
            self._ask(walk, step, lane, number)

    def _chosen(self, walk: _Walk, step: Step, lane: _Lane) -> bool:
        """Whether a step is for this item."""
        if not self.draws(step, walk.item.id):
            return False
        if step.when is None:
            return True
        if self.undecided(step.name, walk.guessed):
            return True
        when = self._rendered[step.name].when
        assert when is not None
        return when.holds(_context(walk.item, lane.outputs))

    def _ask(self, walk: _Walk, step: Step, lane: _Lane, number: int) -> None:
        """All parts of a step in one lane, and what its answers come to."""
        repeat = self._repeats(step)
        votes: dict[str, Any] = {}
        failed: list[Outcome] = []
        waiting = len(walk.pending)
        asked = repeat
        if step.pair is not None and _place("swap", self._seed, walk.item.id) >= step.swap:
            asked = 1
        for row in self._rows[step.name]:
            for again in range(asked):
                part = number * repeat + again
                calls = walk.calls.get((row.name, part), [])
                if not calls:
                    walk.pending.append(self._request(walk, row, lane, part, again))
                    continue
                outcome = self._outcome(row, part, calls)
                if outcome.reask:
                    walk.pending.append(_reask(calls[-1], outcome, row, walk, self.times[row.name]))
                elif outcome.repeat:
                    last = calls[-1].request
                    walk.pending.append(
                        self._sample(walk, row, part, last.messages, last.params, again=True)
                    )
                value, why = self._vote(step, outcome)
                label = ""
                if step.pair is not None:
                    label = f"{step.pair[self._order(walk.item, again)]} {FIRST}"
                elif step.combine is not None or asked > 1:
                    label = _member(step, row, again)
                if why is None:
                    votes[label] = value
                    continue
                walk.unusable.add((row.name, part))
                failed.append(why)
                if step.combine is not None or asked > 1:
                    lane.lost[member(step.name, label)] = f"{why.status}: {why.error}"
        if len(walk.pending) > waiting:
            return
        if step.pair is not None and votes:
            lane.votes[step.name] = votes
            lane.outputs[step.name] = winner_of(step.pair, votes)
            return
        if step.combine is None:
            if failed:
                lane.fails(failed[0].status, f"{step.name}: {failed[0].error}")
            else:
                (lane.outputs[step.name],) = votes.values()
            return
        self._combine(step, lane, votes, failed)

    def _combine(
        self, step: Step, lane: _Lane, votes: Mapping[str, Any], failed: Sequence[Outcome]
    ) -> None:
        assert step.combine is not None
        there, all_votes = len(votes), len(votes) + len(failed)
        lane.votes[step.name] = dict(votes)
        if there < needed(all_votes, step.min_votes):
            why = failed[0]
            lane.fails(
                why.status,
                f"{step.name}: {there} of {all_votes} answers can be used; the first that cannot: "
                f"{why.error}",
            )
            return
        if OPEN in str(votes):
            made: Any = next(iter(votes.values()))  # marks of answers to come
        elif step.output is not None:
            made = combined_object(votes, step.output, step.combine)
        else:
            made = combined(list(votes.values()), step.combine)
        if made is None:
            said = ", ".join(_short(vote) for vote in votes.values())
            lane.fails("tie", f"{step.name}: {_TIE}: {said}")
        else:
            lane.outputs[step.name] = made

    def _vote(self, step: Step, outcome: Outcome) -> tuple[Any, Outcome | None]:
        """The output of a part, or why it has none; of a jury that answers in words, the score."""
        if outcome.status != "ok":
            return None, outcome
        value = outcome.value
        if step.combine is not None and isinstance(value, str) and OPEN not in value:
            rule = next((r for r in self._rules() if step.name in r.fields), None)
            if rule is not None:
                read = score_of(value, rule.labels, "", rule.min, rule.max).value
                if read is None:
                    return None, Outcome("unparsed", error=f"no score in {value[:80]!r}")
                return read, None
            if step.combine != "majority":
                return None, Outcome("unparsed", error=f"no number: {value[:80]!r}")
        return value, None

    def _rules(self) -> Iterator[ScoreRule]:
        if self.score is not None:
            yield self.score
        yield from (rule for rule in self.scores.values() if rule.weights is None)

    def _outcome(self, step: Step, part: int, own: Sequence[Call]) -> Outcome:
        """What the calls of a part came to; they are read once."""
        key = _read_as(step.name, part, own)
        known = self._outcomes.get(key)
        if known is None:
            if len(self._outcomes) >= _REMEMBERED:
                self._outcomes.clear()
            known = self._outcomes[key] = (own, outcome_of(step, own))
        return known[1]

    def _request(self, walk: _Walk, row: Step, lane: _Lane, part: int, again: int) -> Request:
        rendered = self._rendered[row.name]
        context = _context(walk.item, lane.outputs)
        if row.pair is not None:
            first = self._order(walk.item, again)
            for name, shown in ((FIRST, row.pair[first]), (SECOND, row.pair[1 - first])):
                if shown not in context:
                    raise PromptError(f"steps.{row.name}.pair: the item has no {shown!r}")
                context[name] = context[shown]
        messages = rendered.render(context)
        return self._sample(walk, row, part, messages, rendered.params)

    def _order(self, item: Item, again: int) -> int:
        """Which output of a pair is shown first; the other when it is judged again."""
        drawn = _place("order", self._seed, item.id) < 0.5
        return int(drawn) if not again else 1 - int(drawn)

    def _sample(
        self,
        walk: _Walk,
        row: Step,
        part: int,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        *,
        again: bool = False,
    ) -> Request:
        """A request after the walk's calls: those that send the same each answer for themselves.

        The parts of a row are numbered before any of them is asked again, whatever order their
        answers come in.
        """
        times = self.times[row.name]
        if again and times > 1:
            before = walk.calls[row.name, part]
            same = before[0].request.sample + times * len(before)
            return Request(walk.item.id, row.name, row.model, messages, params, same, part)
        same = 0
        if times == 1 and not walk.calls:
            return Request(walk.item.id, row.name, row.model, messages, params, same, part)
        asked = (row.model, messages, params)
        for (name, number), calls in walk.calls.items():
            own = calls
            if name == row.name and times > 1:
                own = calls[:1] if number < part else []
            same += sum(
                (c.request.model, c.request.messages, c.request.params) == asked for c in own
            )
        if times > 1:
            same += sum(
                (each.model, each.messages, each.params) == asked and each.part < part
                for each in walk.pending
                if (each.step, each.part) not in walk.calls  # asked again, it is counted above
            )
        return Request(walk.item.id, row.name, row.model, messages, params, same, part)

    def _ruling(self, step: Step, item: Item, outputs: Mapping[str, Any]) -> Ruling:
        """What a rule says of an item; before there are answers, nothing and no error."""
        templates = self._rendered[step.name].templates
        context = _context(item, outputs)
        texts = {key: t.render(context) for key, t in templates.items()}
        if any(OPEN in text for text in texts.values()):
            return Ruling(False)
        if step.python is not None:
            return self._by_function(step, item, texts["value"], texts.get("expected"))
        return apply(step, texts["value"], texts.get("expected"))

    def _by_function(self, step: Step, item: Item, value: str, expected: str | None) -> Ruling:
        """What the user's own function says; it is asked once about the same."""
        assert step.python is not None
        if self._code is None:
            return Ruling(False)
        key = (step.name, item.id, value, expected)
        if key not in self._said:
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            try:
                if step.python not in self._functions:
                    self._functions[step.python] = load(self._code, step.python)
                function, path = self._functions[step.python], file_of(self._code, step.python)
                self._said[key] = verdict(function, path, value, expected, item.fields)
            except RuleError as error:
                self._said[key] = error
        said = self._said[key]
        if isinstance(said, RuleError):
            raise said
        return said_by_function(step, said, expected)

    def _outputs(self, walk: _Walk) -> dict[str, Any]:
        """By step; of what is played in lanes, a list."""
        if not walk.lanes:
            return {name: _plain(value) for name, value in walk.trunk.outputs.items()}
        found: dict[str, Any] = {}
        for step in self.steps:
            name = step.name
            if self.in_lanes(step.name):
                if any(name in lane.outputs for lane in walk.lanes):
                    found[name] = [_plain(lane.outputs.get(name)) for lane in walk.lanes]
            elif name in walk.trunk.outputs:
                found[name] = _plain(walk.trunk.outputs[name])
        return found

    def _status(self, walk: _Walk) -> tuple[str, str]:
        if not walk.lanes:
            return walk.trunk.status, walk.trunk.error
        bad = [lane for lane in walk.lanes if lane.status != "ok"]
        assert self.apart is not None
        if len(walk.lanes) - len(bad) >= needed(len(walk.lanes), self.apart.min_votes):
            for number, lane in enumerate(walk.lanes, 1):
                if lane.status != "ok":
                    lane.lost[member(self.apart.name, str(number))] = f"{lane.status}: {lane.error}"
            return "ok", ""
        return bad[0].status, bad[0].error

    def _scored(self, walk: _Walk) -> _Scored:
        if self.score is None:
            return _Scored()
        lanes = [lane for lane in walk.lanes if lane.status == "ok"] or [walk.trunk]
        apart = bool(walk.lanes) and any(
            self.in_lanes(name.partition(".")[0]) for name in self.score.fields
        )
        lanes = lanes if apart else lanes[:1]
        each = [self._score(self.score, lane) for lane in lanes]
        readable = [
            (score, ok) for score, ok in each if score is not None and score.value is not None
        ]
        unread = next(
            (score for score, _ in each if score is not None and score.value is None), None
        )
        if unread is not None and not readable:
            if any(self.score.step in lane.votes for lane in lanes):
                return _Scored(status="tie", error=f"{self.score.step}: {_TIE}")
            said = f"{self.score.step}: no score in {unread.label[:80]!r}"
            return _Scored(status="unparsed", error=said)
        scores = {
            name: _mean_score([self._score(rule, lane) for lane in lanes])
            for name, rule in self.scores.items()
            if rule.weights is None
        }
        if self.score.audit is not None:
            audit = self.score.model_copy(update={"field": self.score.audit, "audit": None})
            scores[AUDIT] = _mean_score([self._score(audit, lane) for lane in lanes])
        main, passed = _mean_score(readable) if apart else next(iter(readable), (None, None))
        for name, rule in self.scores.items():
            if rule.weights is not None:
                scores[name] = _weighted(rule, {**scores, MAIN: (main, passed)})
        return _Scored(
            score=main,
            passed=passed,
            scores={n: replace(score, passed=ok) for n, (score, ok) in scores.items() if score},
            repeats=tuple(replace(score, passed=ok) for score, ok in readable) if apart else (),
        )

    def _score(self, rule: ScoreRule, lane: _Lane) -> tuple[Score | None, bool | None]:
        """The first of the fields that the item has, and whether it passes."""
        failed: tuple[Score, bool] | None = None
        for named in rule.fields:
            step, _, name = named.partition(".")
            if step in lane.skipped or step not in lane.outputs:
                continue
            if (ruling := lane.rulings.get(step)) is not None:
                value = float(ruling.passed)
                if len(rule.fields) > 1:
                    value = self._ends(rule)[ruling.passed]
                score = Score(value, ruling.found, ruling.reason, ruling.expected)
                at = 1.0 if rule.pass_at is None or len(rule.fields) > 1 else rule.pass_at
                if ruling.passed or len(rule.fields) == 1:
                    return score, float(ruling.passed) >= at
                failed = failed or (score, False)
                continue
            output, reason = lane.outputs[step], ""
            if not name and isinstance(output, Mapping) and "win" in output:
                reason, output = str(output.get("reason", "")), output["win"]
            elif name and isinstance(output, Mapping):
                reason = str(output.get("reason", ""))
                output = output.get(name)
            score = score_of(output, rule.labels, reason, rule.min, rule.max)
            if score.value is None or rule.pass_at is None:
                return score, None
            return score, score.value >= rule.pass_at
        return failed or (None, None)

    def _ends(self, rule: ScoreRule) -> tuple[float, float]:
        """The least and the greatest score, which a rule gives beside other fields."""
        if rule.labels:
            return min(rule.labels.values()), max(rule.labels.values())
        low, high = rule.min, rule.max
        for named in rule.fields:
            name, _, member = named.partition(".")
            step = next(step for step in self.steps if step.name == name)
            output = (step.output or {}).get(member)
            if output is not None and output.is_number:
                low = output.min if low is None else low
                high = output.max if high is None else high
        return (0.0 if low is None else low), (1.0 if high is None else high)


def _read_as(row: str, part: int, own: Sequence[Call]) -> tuple[object, ...]:
    """What the calls of a part are known by, since they are the same objects as long as kept."""
    return row, part, *[id(call.completion or call.failure) for call in own]


@dataclass(frozen=True, slots=True)
class _Scored:
    score: Score | None = None
    passed: bool | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    repeats: tuple[Score, ...] = ()
    status: str = "ok"
    error: str = ""


def _mean_score(
    each: Sequence[tuple[Score | None, bool | None]],
) -> tuple[Score | None, bool | None]:
    """Of the lanes that have one: the mean, which passes where most of them do."""
    there = [(score, ok) for score, ok in each if score is not None and score.value is not None]
    if len(each) == 1 or not there:
        return each[0] if each else (None, None)
    verdicts = [ok for _, ok in there if ok is not None]
    passed = 2 * sum(verdicts) > len(verdicts) if verdicts else None
    alike = next((score for score, ok in there if ok == passed), there[0][0])
    value = fmean(score.value or 0.0 for score, _ in there)
    return replace(alike, value=value), passed


def _weighted(
    rule: ScoreRule, scores: Mapping[str, tuple[Score | None, bool | None]]
) -> tuple[Score | None, bool | None]:
    """The sum of other scores, each so many times; none where one that counts is not there."""
    from llm_batch.stats.several import weighted_sum

    values = {
        name: score.value if score is not None else None for name, (score, _) in scores.items()
    }
    total = weighted_sum(values, rule.weights or {})
    if total is None:
        return None, None
    return Score(total), None if rule.pass_at is None else total >= rule.pass_at


def _hand_on(trunk: _Lane, lane: _Lane, name: str) -> None:
    """What came of a step outside of the lanes, to one of them."""
    if trunk.status != "ok":
        lane.fails(trunk.status, trunk.error)
    if name in trunk.outputs:
        lane.outputs[name] = trunk.outputs[name]
    if name in trunk.rulings:
        lane.rulings[name] = trunk.rulings[name]
    if name in trunk.votes:
        lane.votes[name] = trunk.votes[name]
    lane.lost |= trunk.lost
    if name in trunk.skipped:
        lane.skipped.append(name)


def _apart_or_one(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if len(each) == 1:
        return dict(each[0])
    names = dict.fromkeys(name for votes in each for name in votes)
    return {name: [votes.get(name) for votes in each] for name in names}


def _context(item: Item, outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {WHOLE_ITEM: item.fields, **item.fields, **outputs}


def _place(of: str, seed: int, item_id: str) -> float:
    """Where an item stands between 0 and 1, whatever its place in the order of the sample.

    A larger share has all items of a smaller one.
    """
    digest = blake2b(f"{of}:{seed}:{item_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _provided(step: Step, item: Item) -> Any:
    """The output that the data has; `PromptError` where it has none that fits."""
    assert step.provided is not None
    where = f"steps.{step.name}.provided"
    if step.provided not in item.fields:
        raise PromptError(f"{where}: the item has no field {step.provided!r}")
    value = item.fields[step.provided]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise PromptError(f"{where}: the field {step.provided!r} is empty")
    if step.output is None:
        return (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        )
    try:
        if isinstance(value, Mapping):
            return checked_object(value, step.output)
        return parse_object(str(value), step.output)
    except Unreadable as error:
        raise PromptError(f"{where}: {error}") from error


def _plain(value: Any) -> Any:
    """An output as results have it: nothing where the step was skipped."""
    return value if isinstance(value, str | bool | int | float | Mapping) else None


def _short(vote: Any) -> str:
    return str(vote)[:40]


def _member(step: Step, row: Step, again: int) -> str:
    """What votes call a part: its model, its number, or both."""
    if not step.models:
        return str(again + 1)
    return f"{row.model} {again + 1}" if step.repeat else row.model


def _reask(call: Call, outcome: Outcome, row: Step, walk: _Walk, times: int) -> Request:
    request = call.request
    assert row.output is not None  # only an object is asked for again
    complaint = f"That reply cannot be used: {outcome.reask}. {instruction(row.output)}"
    said = (Message("assistant", outcome.answer), Message("user", complaint))
    messages = (*request.messages, *said)
    same = request.sample  # parts whose answers are alike are asked the same again
    if times == 1:
        asked = (row.model, messages, request.params)
        before = (each.request for calls in walk.calls.values() for each in calls)
        same = sum((each.model, each.messages, each.params) == asked for each in before)
    return Request(
        request.item_id, row.name, row.model, messages, request.params, same, request.part
    )


def _totals(calls: Sequence[Call]) -> StepTotals:
    costs = [call.cost for call in calls]
    reported, listed = _reported(calls)
    return StepTotals(
        usage=sum(
            (c.completion.usage for c in calls if c.completion and c.completion.usage), Usage()
        ),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        latency_seconds=sum(call.latency_seconds for call in calls),
        attempts=sum(len(call.attempts) for call in calls),
        reported_cost=reported,
        list_cost=listed,
    )


def _reported(calls: Sequence[Call]) -> tuple[float | None, float | None]:
    """What the provider says its answers cost, and what we say of the same ones.

    One that was paid for in another run costs nothing here.
    """
    said = [
        (call.completion.reported_cost, call.list_cost)
        for call in calls
        if call.completion and call.completion.reported_cost is not None and call.cost
    ]
    if not said:
        return None, None
    ours = [cost for _, cost in said if cost is not None]
    reported = sum(cost for cost, _ in said if cost is not None)
    return reported, sum(ours) if len(ours) == len(said) else None
