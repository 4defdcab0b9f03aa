"""The plan of an estimate: which items are played with which models, and their prompts counted.

How many tokens a prompt has depends on the encoding alone, so it is enough to know how many
prompts of each step have which count. Prices, limits and answers of a model are applied to that:
a few hundred different counts, however many prompts there are.

A system prompt of 3,000 tokens before questions of 30 makes a run a hundred times as dear as its
questions look. Providers keep such beginnings and charge less for them (`CacheRule`).

A sample is the first items of the seeded order, hence random, and so is what comes after it.
When an earlier run has answered some items already, they are played from its journal: finished
ones are left out, begun ones are counted from where they stand, and the others, in whichever
part of the order they are, resemble the sample. The three kinds are never mixed: a run whose
judge was changed has thousands of items with one short step to go before those with all.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.chain.forecast import Counters, Forecast, forecast, rendered
from llm_batch.chain.templates import PromptError
from llm_batch.errors import ConfigError
from llm_batch.estimating.load import (
    Group,
    Load,
    WallTime,
    add_forecasts,
    input_of,
    load_of_alike,
    scaled,
    wall_time_of,
    with_savings,
)
from llm_batch.estimating.pilot import ItemSeen, Measured, with_input_ratio
from llm_batch.estimating.ranges import LEVEL, Span
from llm_batch.estimating.sample_size import Claim, Clusters
from llm_batch.estimating.scores import Scored
from llm_batch.estimating.steps import Facts, Serving, assumed_inputs, facts_of
from llm_batch.models.tokens import TokenCounter, counter
from llm_batch.paper import words
from llm_batch.records import Call, Interval, Item, Message, Parts, Request, images_of

#: A beginning that this many random prompts share is shared by nearly all.
LOOKED_AT = 50


# Tokens in front of a message's text.
_FRAME = 4


def shared_prefixes(chain: Chain, items: Iterable[Item]) -> dict[str, int]:
    """Tokens that the prompts of each step begin with, system message included, by step name.

    A step without a second prompt to compare is not in it. What an earlier step answers is taken
    to differ from item to item. ``items``: a random few, at least two.
    """
    shared: dict[str, list[Message]] = {}
    seen: dict[str, int] = {}
    for number, item in enumerate(items):
        for request in rendered(chain, item, number):
            before = shared.get(request.step)
            seen[request.step] = seen.get(request.step, 0) + 1
            messages = _marked(request.messages)
            shared[request.step] = messages if before is None else _common(before, messages)
    models = {step.name: step.model for step in chain.asking}
    return {
        name: _tokens(messages, models[name]) for name, messages in shared.items() if seen[name] > 1
    }


def _marked(messages: Sequence[Message]) -> list[Message]:
    """What the vendor is asked to keep; without a mark, all of it may be."""
    for number, message in enumerate(messages):
        if isinstance(message, Parts) and message.kept:
            head = Message(message.role, message.content[: message.kept])
            return [*messages[:number], head]
    return list(messages)


def _common(a: Sequence[Message], b: Sequence[Message]) -> list[Message]:
    """The messages both begin with; the last one may be cut."""
    shared: list[Message] = []
    for one, other in zip(a, b, strict=False):
        if one.role != other.role:
            break
        if one.content != other.content:
            shared.append(Message(one.role, _common_text(one.content, other.content)))
            break
        if one != other:  # in its pictures, which come behind the text
            shared.append(Message(one.role, one.content))
            break
        shared.append(one)
    return shared


def _common_text(a: str, b: str) -> str:
    for position, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return a[:position]
    return min(a, b, key=len)


def _tokens(messages: Sequence[Message], model: str) -> int:
    if not messages:
        return 0
    counts = counter(model)
    # The last token of a text that is cut may join with what follows, so it does not count.
    texts = [counts.count(message.content) for message in messages]
    texts += [image.tokens for message in messages for image in images_of(message)]
    return max(0, sum(texts) + _FRAME * len(messages) - 1)


#: Prompts that are counted by default; that takes about a second.
SAMPLED = 2000


#: Items whose counts are held against what the provider counted, at most.
_CALIBRATED = 500


#: How many of the longest prompts, and of those that are too long, are named.
NAMED = 3


_PROGRESS_EVERY = 200


Answered = Callable[[Request], Call | None]


@dataclass(frozen=True, slots=True)
class TooLong:
    """Prompts of a step that exceed the model's context: how many, and the first ids."""

    count: int = 0
    ids: tuple[str, ...] = ()

    def plus(self, item_id: str) -> TooLong:
        return TooLong(self.count + 1, (*self.ids, item_id)[:NAMED])


@dataclass(frozen=True, slots=True)
class Counted:
    """What counting a sample came to, by step name where it is a mapping.

    Attributes:
        facts: As they were given, with measures held against these counts.
        remaining: The load of everything still to be sent.
        whole: The load of all items if none had been answered.
        reused: Items that need no further call.
        unrenderable: Items with a prompt that cannot be rendered; then the first one's id and why.
        longest: Input tokens and ids of the longest prompts, longest first.
        prefixes: Tokens that all prompts begin with.
    """

    facts: Facts
    remaining: Load
    whole: Load
    sampled: int
    reused: int
    unrenderable: int
    first_problem: tuple[str, str]
    too_long: Mapping[str, TooLong]
    longest: Mapping[str, tuple[tuple[int, str], ...]]
    prefixes: Mapping[str, int]


@dataclass
class _Count:
    chain: Chain
    facts: Facts
    all: Group = field(default_factory=Group)
    untouched: Group = field(default_factory=Group)
    begun: dict[str, Group] = field(default_factory=dict)
    unrenderable: int = 0
    first_problem: tuple[str, str] = ("", "")
    too_long: dict[str, TooLong] = field(default_factory=dict)
    longest: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def failed(self, item: Item, error: PromptError) -> None:
        self.unrenderable += 1
        if not self.first_problem[1]:
            self.first_problem = (words.item(item.id, item.fields), str(error))

    def add(self, group: Group, item: Item, calls: Sequence[Call] = ()) -> list[Forecast]:
        coming = forecast_of(self.chain, item, calls)
        inputs = add_forecasts(group, self.facts, coming)
        if group is self.all:
            for name, tokens in inputs.items():
                self._note_length(name, tokens, item.id)
        return coming

    def _note_length(self, name: str, tokens: Span, item_id: str) -> None:
        length = (round(tokens.value), item_id)
        longest = self.longest.setdefault(name, [])
        if len(longest) < NAMED:
            heapq.heappush(longest, length)
        elif length > longest[0]:
            heapq.heapreplace(longest, length)
        info = self.facts[name].info
        if info is not None and info.max_input_tokens and tokens.value > info.max_input_tokens:
            self.too_long[name] = self.too_long.get(name, TooLong()).plus(item_id)


def count_items(
    chain: Chain,
    facts: Facts,
    items: Iterable[Item],
    n: int,
    answered: Answered | None = None,
    most: int = SAMPLED,
    *,
    seen: Sequence[ItemSeen] = (),
    progress: Callable[[int], None] = lambda counted: None,
    note: Callable[[Sequence[Forecast]], None] = lambda coming: None,
) -> Counted:
    """Count the prompts of a sample and project them to ``n`` items.

    Of each kind of item (see above) ``most`` are counted; all are looked up in ``answered`` all the
    same, and those that ``items`` does not give are taken to be unanswered. The counts are held
    against the provider's own of the items ``seen`` before. ``note`` is called with what is to come
    for each item counted.

    Raises:
        ConfigError: No item has prompts that can be rendered.
    """
    given = itertools.islice(items, n)
    head = list(itertools.islice(given, _CALIBRATED if seen else LOOKED_AT))
    facts = _calibrated(chain, facts, head, seen, n)
    count = _Count(chain, facts)
    looked_at = reused = 0
    for item in itertools.chain(head, given):
        if answered is None and count.all.sampled >= most:
            break
        try:
            coming = count.add(count.all, item) if count.all.sampled < most else None
            looked_at += 1
            if coming is not None:
                note(coming)
            if not looked_at % _PROGRESS_EVERY:
                progress(looked_at)
            if answered is None:
                continue
            calls, next_step = _played(chain, item, answered)
            if not next_step:
                reused += 1
            elif not calls:
                count.untouched.size += 1
                if coming is not None:
                    add_forecasts(count.untouched, facts, coming)
            else:
                group = count.begun.setdefault(next_step, Group())
                group.size += 1
                if group.sampled < most:
                    count.add(group, item, calls)
        except PromptError as error:
            count.failed(item, error)
    if not count.all.sampled:
        item_id, problem = count.first_problem
        raise ConfigError(
            f"item {item_id}: {problem}" if problem else "there are no items to estimate from",
            "correct the prompt in the config, or give data with --data",
        )
    progress(looked_at)
    whole = count.all.load(facts, n, n)
    return Counted(
        facts=facts,
        remaining=whole if answered is None else _remaining(count, n, looked_at),
        whole=whole,
        sampled=count.all.sampled,
        reused=reused,
        unrenderable=count.unrenderable,
        first_problem=count.first_problem,
        too_long=count.too_long,
        longest={name: tuple(sorted(found)[::-1]) for name, found in count.longest.items()},
        prefixes=shared_prefixes(chain, head[:LOOKED_AT]),
    )


def forecast_of(
    chain: Chain, item: Item, calls: Sequence[Call] = (), counters: Counters = counter
) -> list[Forecast]:
    """The requests to come for an item; a later one that needs a real answer is guessed.

    Raises:
        PromptError: The item lacks a field, or its next prompt cannot be rendered.
    """
    try:
        return forecast(chain, item, counters, calls)
    except PromptError as error:
        if "is undefined" in str(error) or "has no attribute" in str(error):
            raise
        chain.next_request(item, calls)
        return forecast(chain, item, counters, calls, guess=True)


def _remaining(count: _Count, n: int, looked_at: int) -> Load:
    facts, untouched = count.facts, count.untouched
    untouched.size += n - looked_at
    remaining = (
        untouched.load(facts, untouched.size, untouched.size)
        if untouched.sampled
        else count.all.load(facts, untouched.size, n)
    )
    for group in count.begun.values():
        begun = group.load(facts, group.size, group.size)
        remaining = [a.plus(b) for a, b in zip(remaining, begun, strict=True)]
    return remaining


def _calibrated(
    chain: Chain,
    facts: Facts,
    head: Sequence[Item],
    seen: Sequence[ItemSeen],
    n: int,
) -> Facts:
    """The facts with measures that know how the provider's counts compare with ours."""
    played = {item.id: item for item in seen}
    actual: dict[str, list[float]] = {name: [] for name in facts}
    counted: dict[str, list[float]] = {name: [] for name in facts}
    for item in head:
        before = played.get(item.id)
        if before is None:
            continue
        try:
            coming = forecast_of(chain, item)
        except PromptError:
            continue
        texts = {
            name: max(0, step.usage.output_tokens - step.usage.reasoning_tokens)
            / max(1, before.parts(name))
            for name, step in before.steps.items()
        }
        sums: dict[str, float] = {}
        for each in coming:
            sums[each.step.name] = sums.get(each.step.name, 0) + each.input_tokens_given(texts)
        for name, whole in sums.items():
            step = before.steps.get(name)
            actual[name].append(float(step.usage.input_tokens) if step else 0.0)
            counted[name].append(whole)
    found = dict(facts)
    for name, fact in facts.items():
        if fact.measure is not None and counted[name]:
            unseen = max(1, n - len(played))
            measure = with_input_ratio(fact.measure, actual[name], counted[name], unseen)
            found[name] = replace(fact, measure=measure)
    return found


def _played(chain: Chain, item: Item, answered: Answered) -> tuple[list[Call], str]:
    """The calls already answered, and the step that is next; empty when none is."""
    calls: list[Call] = []
    while (request := chain.next_request(item, calls)) is not None:
        call = answered(request)
        if call is None:
            return calls, request.step
        calls.append(call)
    return calls, ""


#: A count, how often the prompt contains the answer of each earlier step, and whether an answer
#: decides if it is sent.
_Prompt = tuple[int, tuple[tuple[str, int], ...], bool]


class Recount:
    """How many prompts have how many tokens, by step and encoding."""

    def __init__(self) -> None:
        self._prompts: dict[tuple[str, str], Counter[_Prompt]] = {}
        self.items = 0

    def note(self, coming: Sequence[Forecast]) -> None:
        self.items += 1
        for each in coming:
            self._add(each, counter(each.step.model).encoding)

    def fill(
        self, config: Config, others: Iterable[Config], items: Callable[[], Iterable[Item]]
    ) -> None:
        """Count in the encodings that other models need, each once.

        ``config`` was counted already; ``items`` gives the items again, in the same order.
        """
        missing: dict[str, set[str]] = {}
        for other in others:
            for step in other.asking:
                encoding = counter(step.model).encoding
                if (step.name, encoding) not in self._prompts:
                    missing.setdefault(encoding, set()).add(step.name)
        for encoding, names in missing.items():
            self._count(config, encoding, names, items)

    def group(self, facts: Facts) -> Group:
        """The sums that a pass over the items would have come to with these facts."""
        group = Group(sampled=self.items)
        for name, fact in facts.items():
            prompts = self._prompts.get((name, counter(fact.model).encoding), Counter())
            for (tokens, contains, undecided), times in prompts.items():
                answers = [facts[earlier].answer.text.times(often) for earlier, often in contains]
                group.add(fact, input_of(fact, tokens, answers), times, undecided=undecided)
        return group

    def _count(
        self,
        config: Config,
        encoding: str,
        names: set[str],
        items: Callable[[], Iterable[Item]],
    ) -> None:
        wanted = TokenCounter(encoding, exact=True, upper_factor=1.0)
        chain = config.chain()
        models = {row.model for row in config.asking if row.name in names}
        for name in names:
            self._prompts[name, encoding] = Counter()

        def chosen(model: str) -> TokenCounter:
            return wanted if model in models else _UNCOUNTED

        left = self.items
        for item in items():
            if not left:
                break
            try:
                coming = forecast_of(chain, item, counters=chosen)
            except PromptError:
                continue
            left -= 1
            for each in coming:
                if each.step.name in names:
                    self._add(each, encoding)

    def _add(self, each: Forecast, encoding: str) -> None:
        prompts = self._prompts.setdefault((each.step.name, encoding), Counter())
        prompts[each.input_tokens, tuple(each.contains.items()), each.undecided] += 1


def prefixes_of(config: Config, items: Callable[[], Iterable[Item]]) -> dict[str, int]:
    return shared_prefixes(config.chain(), itertools.islice(items(), LOOKED_AT))


class _Uncounted(TokenCounter):
    __slots__ = ()

    def count(self, text: str) -> int:
        return 0


_UNCOUNTED = _Uncounted("", exact=True, upper_factor=1.0)


@dataclass(frozen=True, slots=True)
class Ask:
    """What an estimate is asked, and what is known for that before prompts are counted.

    Attributes:
        stratify: The field whose values are the strata; ``strata`` counts their items.
        scored: Scores of an earlier run.
        others: The same chain with other models, to be compared.
        prompts: What is odd about the prompts, a sentence each without its full stop.
    """

    claim: Claim = field(default_factory=Claim)
    clusters: Clusters | None = None
    stratify: str = ""
    strata: Mapping[str, int] | None = None
    scored: Scored | None = None
    others: tuple[Config, ...] = ()
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an estimate is made from; ``population`` is ``None`` when unknown.

    Attributes:
        remaining: The load of what is still to be sent.
        whole: The load if nothing were answered.
        counted: What counting prompts came to; ``None`` where sizes are assumed.
        today: The day that deprecation dates are compared with.
        finished: Items that the pilot or the run itself has finished.
    """

    config: Config
    ask: Ask
    facts: Facts
    n: int
    population: int | None
    remaining: Load
    whole: Load
    counted: Counted | None
    measured: Measured | None
    today: date
    finished: int = 0

    @property
    def workers(self) -> int:
        return self.config.engine.workers(self.config)

    def wall_time(self, load: Load) -> WallTime:
        return wall_time_of(load, self.workers, self.config.engine)

    @property
    def servings(self) -> list[Serving]:
        return list({fact.model: fact.serving for fact in self.facts.values()}.values())

    @property
    def unpriced(self) -> list[str]:
        return list(dict.fromkeys(f.model for f in self.facts.values() if f.tariff is None))

    @property
    def is_measured(self) -> bool:
        return all(fact.measure is not None for fact in self.facts.values())

    def interval(self, span: Span) -> Interval:
        """A figure with what it rests on."""
        sampled = self.counted.sampled if self.counted else 0
        if self.measured is not None and self.is_measured:
            return span.interval(len(self.measured.items), "measured, modified Cox or t", LEVEL)
        method = "counted prompts, assumed answers" if sampled else "assumed sizes"
        return span.interval(sampled, method)

    def without_finished(self) -> Plan:
        finished = min(self.n, self.measured.finished) if self.measured else 0
        if not finished:
            return self
        remaining = scaled(self.whole, (self.n - finished) / self.n)
        return replace(self, remaining=remaining, finished=finished)

    def with_models(
        self, config: Config, recount: Recount, items: Callable[[], Iterable[Item]]
    ) -> Plan:
        """The same items with the models of ``config``, whose prompts ``recount`` has counted."""
        facts = facts_of(config, self.measured, self.n)
        for name, fact in self.facts.items():
            if facts[name].model == fact.model:
                # Held against the provider's own counts.
                facts[name] = replace(facts[name], measure=fact.measure)
        load = recount.group(facts).load(facts, self.n, self.n)
        whole = with_savings(load, prefixes_of(config, items))
        return replace(self, config=config, facts=facts, remaining=whole, whole=whole)


def plan_of_nothing(
    config: Config, n: int, population: int, measured: Measured | None, ask: Ask, today: date
) -> Plan:
    chain = config.chain()  # what cannot be played has no cost either
    facts = facts_of(config, measured, n)
    inputs = assumed_inputs(config, {name: fact.answer for name, fact in facts.items()})
    inputs |= {name: fact.measure.input for name, fact in facts.items() if fact.measure}
    whole = load_of_alike(facts, inputs, n, chain)
    return Plan(config, ask, facts, n, population, whole, whole, None, measured, today)
