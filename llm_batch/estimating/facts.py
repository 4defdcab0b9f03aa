"""What is known of each step before its prompts are: price, limits, cache, length of answers.

Answers and times are those of a pilot or an earlier run where it had the same model, and assumed
otherwise.

Facts of the providers' pages on prompt caching, 2025-10. Only caches that work unasked count:
Anthropic keeps nothing unless a request marks what to keep, which this program does not send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import inf, sqrt

from llm_batch.chain.config import Config, Model, model_limits
from llm_batch.chain.steps import Step
from llm_batch.errors import ConfigError
from llm_batch.estimating.assumptions import (
    LOCAL_AT_ONCE,
    Answer,
    Speed,
    answer_of,
    latency_of,
)
from llm_batch.estimating.evidence import ItemSeen, Measured, StepSeen
from llm_batch.estimating.span import (
    FEWEST,
    Span,
    exactly,
    mean_of_unseen,
    quantile_for,
    share_unseen,
)
from llm_batch.models.prices import Tariff, tariff_of
from llm_batch.models.table import ModelInfo, model_info
from llm_batch.records import Usage
from llm_batch.sending.limits import DEFAULT_RPM
from llm_batch.sending.providers import Route, goes_by_batch, route
from llm_batch.sending.providers.endpoints import ENDPOINTS


@dataclass(frozen=True, slots=True)
class CacheRule:
    """From how many tokens on a prefix is kept, and in steps of how many."""

    least: int
    block: int = 1


_RULES = {
    # OpenAI, Prompt caching: from 1,024 tokens on, in steps of 128. Azure says the same.
    "openai": CacheRule(1024, 128),
    "azure": CacheRule(1024, 128),
    # DeepSeek, Context caching: in units of 64 tokens.
    "deepseek": CacheRule(64, 64),
    # xAI, Cached prompt tokens: no least length is stated; OpenAI's is the careful reading.
    "xai": CacheRule(1024),
    # Google, Context caching (implicit, Gemini 2.5 and later): 1,024 for Flash, 4,096 for Pro.
    "gemini": CacheRule(1024),
    "vertex_ai": CacheRule(1024),
}
_GEMINI_PRO = CacheRule(4096)


def cache_rule(info: ModelInfo | None) -> CacheRule | None:
    """The rule of a model's provider; ``None`` where nothing is kept unasked."""
    if info is None:
        return None
    provider = "vertex_ai" if info.provider.startswith("vertex_ai") else info.provider
    if provider in ("gemini", "vertex_ai") and "pro" in info.entry:
        return _GEMINI_PRO
    return _RULES.get(provider)


def kept_tokens(prefix: int, info: ModelInfo | None) -> int:
    """How many tokens of a shared prefix a provider's cache serves; 0 when it is too short."""
    rule = cache_rule(info)
    if rule is None or prefix < rule.least:
        return 0
    return prefix // rule.block * rule.block


@dataclass(frozen=True, slots=True)
class Serving:
    """How one model is served.

    Attributes:
        model: The model string.
        vendor: Whose way of counting tokens applies; empty when the model is not known.
        info: What the table says of it; ``None`` when it has no such model.
        rpm: Requests a minute; ``None`` for no limit. Assumed for nothing that runs here.
        tpm: Tokens a minute, likewise.
        batch: Whether its requests go by the provider's batch API.
        otpm: Tokens of answers a minute, likewise.
        rpd: Requests a day, likewise.
        rpm_is_assumed: True when nobody gave a limit.
        limits_from: What a limit comes from when it is not the user's own: a tier, or nothing.
        latency: Seconds one call takes.
        speed: How quickly it computes on this machine, where that was measured.
        problem: Why it cannot be called as configured; empty when it can.
        hint: What to do about that.
    """

    model: str
    vendor: str
    info: ModelInfo | None
    rpm: float | None
    tpm: float | None
    rpm_is_assumed: bool
    latency: Span
    batch: bool = False
    otpm: float | None = None
    rpd: float | None = None
    limits_from: str = ""
    speed: Speed | None = None
    problem: str = ""
    hint: str = ""

    @property
    def embedded(self) -> bool:
        """Whether it computes inside this process."""
        return self.model.startswith("local/")

    @property
    def deprecated_from(self) -> date | None:
        """The day from which it may be gone."""
        return self.info.deprecation_date if self.info else None


def _tariff(step: Step, config: Config) -> Tariff | None:
    """What a step's calls cost; ``None`` when its model has no known price."""
    own = config.model(step.model)
    tier = step.params.get("service_tier")
    tariff = tariff_of(
        step.model,
        own.input_price,
        own.output_price,
        own.cache_read_price,
        service_tier=tier if isinstance(tier, str) else None,
        batch_input_price=own.batch_input_price,
        batch_output_price=own.batch_output_price,
    )
    return tariff.at_batch() if tariff and goes_by_batch(step.model, config) else tariff


def _serving(model: str, config: Config) -> Serving:
    settings = config.model(model)
    problem = hint = ""
    way: Route | None = None
    try:
        # The key is not looked for: an estimate needs none.
        way = route(model, settings.model_copy(update={"api_key_env": None}))
    except ConfigError as error:
        problem, hint = error.message, error.hint
    rpm, tpm, tier = model_limits(config, model)
    if settings.endpoints:
        rpm = _of_all(each.rpm or rpm for each in settings.endpoints)
        tpm = _of_all(each.tpm or tpm for each in settings.endpoints)
    assumed = rpm is None and tpm is None and not _is_here(settings, way)
    return Serving(
        model=model,
        vendor=way.vendor if way else "",
        info=model_info(model),
        rpm=DEFAULT_RPM if assumed else rpm,
        tpm=tpm,
        rpm_is_assumed=assumed,
        latency=latency_of(model, settings),
        batch=goes_by_batch(model, config),
        otpm=tier.otpm if tier else None,
        rpd=tier.rpd if tier else None,
        limits_from=f"tier {tier.tier}, {tier.source}, {tier.as_of}" if tier else "",
        speed=_speed(way, config),
        problem=problem,
        hint=hint,
    )


def _speed(way: Route | None, config: Config) -> Speed | None:
    """Measured now, for a model inside this process; ``None`` for all others."""
    if way is None or way.provider != "embedded":
        return None
    from llm_batch.sending.providers import embedded

    measured = embedded.measured_speed(way.name)
    at_once = min(config.engine.workers(config), LOCAL_AT_ONCE)
    return Speed(*measured, at_once=at_once) if measured else None


def _of_all(limits: Iterable[float | None]) -> float | None:
    """The limit of several endpoints together; ``None`` when one of them has none."""
    known = list(limits)
    return None if None in known else sum(limit for limit in known if limit is not None)


def _is_here(settings: Model, way: Route | None) -> bool:
    if way is not None and way.provider in ("embedded", "fake"):
        return True
    url = settings.api_base or (way.base_url if way else "")
    if not url or any(url == endpoint.base_url for endpoint in ENDPOINTS.values()):
        return False
    # Brings the HTTP client with it, so only for servers of one's own.
    from llm_batch.sending.providers.endpoints import is_loopback

    return is_loopback(url)


_NOTHING = StepSeen(Usage(), 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class StepMeasure:
    """What one step takes, per item of the sample and so per item to come.

    Attributes:
        n: Items it was measured on, those included that failed before it.
        attempts: Sends per item: 1 when nothing failed, was repeated or was asked again.
        input: Input tokens.
        output: Output tokens, reasoning included.
        text: The part of them that is not reasoning, which later prompts may contain.
        reasoning: The rest.
        cached_share: Share of the input that came from the provider's cache.
        seconds: Of one call.
        input_ratio: Input tokens counted by the provider for each that was counted here, re-asks
            and items that were not asked included; ``None`` before prompts were counted.
        surcharge: What attempts that may have been billed added, as a factor on the cost.
        longest: Most output tokens of one item.
    """

    n: int
    attempts: Span
    input: Span
    output: Span
    text: Span
    reasoning: Span
    cached_share: float
    seconds: Span
    surcharge: float
    longest: int
    input_ratio: Span | None = None


def _measures(
    measured: Measured, steps: Sequence[Step], tariffs: Mapping[str, Tariff | None], unseen: float
) -> dict[str, StepMeasure]:
    """Figures of every step that was measured with the model it has now."""
    found = {}
    for step in steps:
        if measured.models.get(step.name, step.model) != step.model:
            continue
        seen = [item.steps.get(step.name, _NOTHING) for item in measured.items]
        if any(each.attempts for each in seen):
            found[step.name] = _measure(measured.items, seen, step, tariffs[step.name], unseen)
    return found


def _measure(
    items: Sequence[ItemSeen],
    seen: Sequence[StepSeen],
    step: Step,
    tariff: Tariff | None,
    unseen: float,
) -> StepMeasure:
    attempts = [float(each.attempts) for each in seen]
    cap = step.max_tokens or inf
    # A re-ask may answer at full length again.
    most = cap * max(1.0, max(attempts))

    def mean(of: Callable[[Usage], int], bound: float = inf) -> Span:
        values = [float(of(each.usage)) for each in seen]
        return mean_of_unseen(values, unseen, most=bound, cap=min(cap, bound))

    inputs = sum(each.usage.input_tokens for each in seen)
    cached = sum(each.usage.cache_read_tokens for each in seen)
    called = [each for each in seen if each.attempts]
    return StepMeasure(
        n=len(seen),
        attempts=_at_least_some_retries(
            mean_of_unseen(attempts, unseen), len(seen), even=min(attempts) == max(attempts)
        ),
        input=mean(lambda usage: usage.input_tokens),
        output=mean(lambda usage: usage.output_tokens, most),
        text=mean(lambda usage: max(0, usage.output_tokens - usage.reasoning_tokens), most),
        reasoning=mean(lambda usage: usage.reasoning_tokens, most),
        cached_share=cached / inputs if inputs else 0.0,
        seconds=mean_of_unseen([each.seconds for each in called], unseen),
        surcharge=_surcharge(items, step.name, tariff),
        longest=max(each.usage.output_tokens for each in seen),
    )


def _at_least_some_retries(attempts: Span, n: int, even: bool) -> Span:
    """That none of n items needed another attempt does not mean that none ever will.

    And where all needed one and the same number, none is expected to need fewer.
    """
    low = attempts.value if even else attempts.low
    return attempts._replace(low=low, high=max(attempts.high, attempts.value + share_unseen(n)))


def _surcharge(items: Sequence[ItemSeen], step: str, tariff: Tariff | None) -> float:
    """What was booked over what the usage alone costs, where an attempt may have been billed."""
    booked = priced = 0.0
    for item in items:
        seen = item.steps.get(step)
        if seen is None or tariff is None:
            continue
        cost = tariff.cost(seen.usage)
        priced += cost
        booked += max(cost, seen.cost or 0.0) if item.worst_case else cost
    return booked / priced if priced else 1.0


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What is known of one step before its prompts are.

    Attributes:
        step: As the config has it.
        serving: How its model is served.
        tariff: What it costs; ``None`` when unknown.
        answer: Output tokens expected of one item: assumed, or those of ``measure``.
        measure: What a pilot or an earlier run showed; ``None`` without one.
    """

    step: Step
    serving: Serving
    tariff: Tariff | None
    answer: Answer
    measure: StepMeasure | None = None

    @property
    def name(self) -> str:
        """The step's."""
        return self.step.name

    @property
    def model(self) -> str:
        """The model string."""
        return self.step.model

    @property
    def info(self) -> ModelInfo | None:
        """What the table says of its model."""
        return self.serving.info

    @property
    def attempts(self) -> Span:
        """Sends per item."""
        return self.measure.attempts if self.measure else exactly(1.0)

    @property
    def is_linear(self) -> bool:
        """Whether many requests cost as much as one with all their tokens."""
        return self.tariff is not None and len(self.tariff.standard) == 1

    @property
    def has_batch_price(self) -> bool:
        """Whether a price of the provider's batch API is known."""
        return self.tariff is not None and bool(self.tariff.batch_source)

    def saved_per_call(self, prefix: int) -> float | None:
        """USD that a call saves whose prompts share so many tokens; ``None``: nothing, or unknown.

        Batches never have it: no provider counted here states that both discounts apply together.
        """
        if self.measure is not None and self.measure.cached_share:
            return None  # the cost has it already, as it was measured
        kept = kept_tokens(prefix, self.info)
        if not kept or self.tariff is None or self.tariff.price.cache_read is None:
            return None
        rate = self.tariff.standard[0]
        return kept * max(0.0, rate.input - rate.cache_read) or None


#: What is known of each step by its name, in the order of the chain.
Facts = Mapping[str, StepFacts]


def facts_of(config: Config, measured: Measured | None, n: int) -> dict[str, StepFacts]:
    """What is known of the steps of a run over ``n`` items. Needs no key and sends nothing."""
    models = dict.fromkeys(step.model for step in config.steps)
    servings = {model: _serving(model, config) for model in models}
    tariffs = {step.name: _tariff(step, config) for step in config.steps}
    measures = {}
    if measured is not None:
        measures = _measures(measured, config.steps, tariffs, max(1, n - measured.finished))
    facts = {}
    for step in config.steps:
        serving, measure = servings[step.model], measures.get(step.name)
        if measure is None:
            answer = answer_of(step, step is config.judge, serving.info)
        else:
            answer = Answer(measure.output, measure.text, thinks=measure.reasoning.value > 0)
        facts[step.name] = StepFacts(step, serving, tariffs[step.name], answer, measure)
    return facts


def with_input_ratio(
    measure: StepMeasure, actual: Sequence[float], counted: Sequence[float], unseen: float
) -> StepMeasure:
    """The measure with its ratio of tokens counted by the provider to tokens counted here.

    A ratio estimator (Cochran 1977, section 6.3): its error comes from how far single items are
    off the common ratio.

    Args:
        measure: Of the step.
        actual: Input tokens the provider counted, per item; 0 where the step was not reached.
        counted: Of the same items.
        unseen: How many items are to come.
    """
    n, whole = len(counted), sum(counted)
    if not whole:
        return measure
    ratio = sum(actual) / whole
    if n < FEWEST:
        return replace(measure, input_ratio=exactly(ratio))
    off = [a - ratio * c for a, c in zip(actual, counted, strict=True)]
    error = sqrt(sum(each * each for each in off) / (n - 1) / n * (1 + n / unseen))
    half = quantile_for(n) * error * n / whole
    return replace(measure, input_ratio=Span(max(0.0, ratio - half), ratio, ratio + half))
