"""The plan of an estimate: which items are played with which models, and what that comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from llm_batch.chain.config import Config
from llm_batch.estimating.assumptions import assumed_inputs
from llm_batch.estimating.claims import Claim, Clusters
from llm_batch.estimating.counting import Counted, Recount, prefixes_of
from llm_batch.estimating.evidence import Measured
from llm_batch.estimating.facts import Facts, Serving, facts_of
from llm_batch.estimating.load import Load, load_of_alike, scaled, with_savings
from llm_batch.estimating.scores import Scored
from llm_batch.estimating.span import LEVEL, Span
from llm_batch.records import Interval, Item


@dataclass(frozen=True, slots=True)
class Ask:
    """What an estimate is asked, and what is known for that before prompts are counted.

    Attributes:
        claim: What the run is to show.
        clusters: Items that belong together; ``None`` without.
        stratify: The field whose values are the strata.
        strata: Items in each; ``None`` without.
        scored: Scores of an earlier run; ``None`` without.
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
    """What an estimate is made from.

    Attributes:
        config: The chain, its models and limits.
        ask: What the run is to show.
        facts: What is known of each step.
        n: Items to play.
        population: Items in the whole dataset; ``None`` when unknown.
        remaining: The load of what is still to be sent.
        whole: The load if nothing were answered.
        counted: What counting prompts came to; ``None`` where sizes are assumed.
        measured: What a pilot or an earlier run showed; ``None`` without.
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
        """Calls at once."""
        return self.config.engine.workers(self.config)

    @property
    def servings(self) -> list[Serving]:
        """How its models are served, one of each."""
        return list({fact.model: fact.serving for fact in self.facts.values()}.values())

    @property
    def unpriced(self) -> list[str]:
        """Its models without a known price, one of each."""
        return list(dict.fromkeys(f.model for f in self.facts.values() if f.tariff is None))

    @property
    def is_measured(self) -> bool:
        """Whether every step was."""
        return all(fact.measure is not None for fact in self.facts.values())

    def interval(self, span: Span) -> Interval:
        """A figure with what it rests on."""
        sampled = self.counted.sampled if self.counted else 0
        if self.measured is not None and self.is_measured:
            return span.interval(len(self.measured.items), "measured, modified Cox or t", LEVEL)
        method = "counted prompts, assumed answers" if sampled else "assumed sizes"
        return span.interval(sampled, method)

    def without_finished(self) -> Plan:
        """The plan without the items that the pilot or the run itself has finished."""
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
    """A plan of items of which only the number is known."""
    config.chain()  # what cannot be played has no cost either
    facts = facts_of(config, measured, n)
    inputs = assumed_inputs(config, {name: fact.answer for name, fact in facts.items()})
    inputs |= {name: fact.measure.input for name, fact in facts.items() if fact.measure}
    whole = load_of_alike(facts, inputs, n)
    return Plan(config, ask, facts, n, population, whole, whole, None, measured, today)
