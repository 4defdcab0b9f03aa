"""What is known of each step before its prompts are: price, limits, cache, length of answers.

Answers and times are those of a pilot or an earlier run where it had the same model, and assumed
otherwise. Every number that is assumed is printed with the estimate. They are what users of chains
over short texts have seen: 300 tokens in and 300 out to generate, 750 in (450 of its own and the
answer) and 150 out to judge, 3 to 5 seconds a call.

Facts of the providers' pages on prompt caching, 2025-10. Only caches that work unasked count:
Anthropic keeps nothing unless a request marks what to keep, which this program does not send.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import Any

from llm_batch.chain.config import Config, model_limits
from llm_batch.chain.options import Model
from llm_batch.chain.steps import Step, written
from llm_batch.engines import CALLS_PER_SECOND
from llm_batch.errors import ConfigError
from llm_batch.estimating.pilot import Measured, StepMeasure, measures_of
from llm_batch.estimating.ranges import (
    Span,
    exactly,
)
from llm_batch.models.prices import Tariff, tariff_of
from llm_batch.models.table import ModelInfo, model_info, must_mark
from llm_batch.models.tokens import TokenCounter
from llm_batch.sending.limits import DEFAULT_RPM
from llm_batch.sending.providers import Route, goes_by_batch, route
from llm_batch.sending.providers.endpoints import ENDPOINTS

#: Tokens of an answer that is text, and of a verdict or another object.
TEXT_OUTPUT = 300


OBJECT_OUTPUT = 150


#: The same of the model that comes with the program, which has 135 million parameters and is brief:
#: 22 to 44 tokens to the demo's questions, by what it is told; 31 of a verdict. More to long tasks.
SMALL_TEXT_OUTPUT, SMALL_OBJECT_OUTPUT = 60, 40


#: Answers may be this much shorter, or, without a cap, longer; the mean of all of them, that is.
LOW_OUTPUT = 0.3


HIGH_OUTPUT = 2.0


#: The mean of answers without a cap is no more than this.
MOST_TEXT_OUTPUT, MOST_OBJECT_OUTPUT = HIGH_OUTPUT * TEXT_OUTPUT, HIGH_OUTPUT * OBJECT_OUTPUT


#: Tokens of a prompt when there is no data, and how far off that may be.
PROMPT_INPUT = 300


JUDGE_INPUT = 450


LOW_INPUT = 0.5


HIGH_INPUT = 2.0


#: Tokens a model that thinks before it answers spends on that, per call, by how hard it was asked
#: to. Known to differ by a factor of 16 between tasks, so the range is wide until a pilot.
THINKING = Span(0, 1000, 10_000)


THINKING_BY_EFFORT = {
    "low": Span(0, 400, 3000),
    "medium": THINKING,
    "high": Span(200, 4000, 25_000),
    "xhigh": Span(500, 8000, 50_000),
}


#: With another vendor's encoding a count may be this much too high; too low: `TokenCounter`.
LOW_APPROXIMATE = 0.8


#: Seconds a call takes at a provider, and from a model on this machine.
REMOTE_SECONDS = Span(3.0, 3.0, 5.0)


LOCAL_SECONDS = Span(0.3, 1.0, 4.0)


#: By how much a time differs that was measured on this machine a moment ago: others use it too.
BUSY = Span(0.7, 1.0, 1.6)


#: Seconds until a provider has worked off a batch: it promises a day and is mostly quicker.
BATCH_SECONDS = Span(600.0, 4 * 3600.0, 24 * 3600.0)


#: Our own work on one call, which no answer is quicker than.
OWN_SECONDS = 1 / CALLS_PER_SECOND


#: Other machines take so many times as long for it as the one that docs/scale.md is of.
MACHINES = Span(0.5, 1.0, 2.0)


#: Calls that an embedded model computes at once.
LOCAL_AT_ONCE = 4


# These think unless told not to; others with the ability (Claude) only when asked.
_THINKS = re.compile(
    r"(^|/)(o[134](-|$)|gpt-5(-|$)(?!chat)|gemini-2\.5-(pro|flash(?!-lite))|gemini-3|grok-4"
    r"|deepseek-r1|deepseek-reasoner|magistral)",
    re.IGNORECASE,
)


_NO_EFFORT = frozenset({"none", "disable", "disabled", "minimal"})


@dataclass(frozen=True, slots=True)
class Answer:
    """Output tokens of one call: all that is billed; later prompts may contain the ``text``.

    ``is_cut``: the cap leaves no room for what it is expected to think.
    """

    tokens: Span
    text: Span
    thinks: bool = False
    is_cut: bool = False


def answer_of(step: Step, judges: bool, serving: Serving) -> Answer:
    """What is expected of a step's answers before any is known; ``judges``: the score is theirs."""
    info = serving.info
    is_object = judges or step.output is not None
    usual, most = TEXT_OUTPUT, MOST_TEXT_OUTPUT
    if is_object:
        usual, most = OBJECT_OUTPUT, MOST_OBJECT_OUTPUT
    if serving.speed is not None:
        usual = SMALL_OBJECT_OUTPUT if is_object else SMALL_TEXT_OUTPUT
    usual = min(usual, _labels_alone(step) or usual)
    cap = step.max_tokens
    thinking = thinks(step, info)
    thought = thinking_of(step)
    longest = float(cap or most + thought.high * thinking)
    if info is not None and info.max_output_tokens:
        longest = min(longest, info.max_output_tokens)
    value = min(longest, usual)
    low = LOW_OUTPUT * value
    text = Span(low, value, min(longest, cap or most)).whole()
    if not thinking:
        return Answer(text, text)
    needed = usual + thought.value
    tokens = Span(low, min(longest, needed), longest).whole()
    return Answer(tokens, text, thinks=True, is_cut=longest < needed)


def _labels_alone(step: Step) -> int | None:
    """Tokens of an object that holds nothing but labels; ``None`` for all others."""
    fields = step.output or {}
    if not fields or any(not each.choices and each.type != "boolean" for each in fields.values()):
        return None
    longest = {name: max(each.choices or ("false",), key=len) for name, each in fields.items()}
    # Three bytes a token, which is few: what stands around the labels is punctuation.
    return ceil(len(json.dumps(longest, ensure_ascii=False).encode()) / 3)


def thinks(step: Step, info: ModelInfo | None) -> bool:
    """Whether a step's model is expected to think, which is billed as output."""
    effort = step.params.get("reasoning_effort")
    if effort is not None:
        return effort not in _NO_EFFORT
    asked = step.params.get("thinking")
    if isinstance(asked, dict):
        return asked.get("type") != "disabled"
    able = info is None or info.supports_reasoning
    return able and _THINKS.search(step.model) is not None


def thinking_of(step: Step) -> Span:
    return THINKING_BY_EFFORT.get(str(step.params.get("reasoning_effort")), THINKING)


def assumed_inputs(config: Config, answers: Mapping[str, Answer]) -> dict[str, Span]:
    """Input tokens of one call of each step, by its name, when there is no data.

    A judge's prompt contains the answer of the step before it.
    """
    inputs: dict[str, Span] = {}
    before: Span | None = None
    for step in config.steps:
        if step.provided is not None:
            before = Span(LOW_OUTPUT, 1.0, HIGH_OUTPUT).times(TEXT_OUTPUT)
        for row in step.rows:
            inputs[row.name] = _assumed(JUDGE_INPUT if _judges(config, row) else PROMPT_INPUT)
            if before is not None and _judges(config, row):
                inputs[row.name] = inputs[row.name].plus(before)
        if step.rows:
            before = answers[step.rows[0].name].text
    return inputs


def _judges(config: Config, row: Step) -> bool:
    judge = config.judge
    return judge is not None and judge.name == written(row.name)


def _assumed(tokens: int) -> Span:
    return Span(LOW_INPUT * tokens, tokens, HIGH_INPUT * tokens)


def counted_input(tokens: int, contained: Sequence[Span], counter: TokenCounter) -> Span:
    """Input tokens of one call whose known text ``counter`` counted.

    ``contained``: the answers of earlier steps in it, as often as they stand there.
    """
    known = exactly(tokens)
    if not counter.exact:
        known = Span(LOW_APPROXIMATE * tokens, tokens, counter.upper_factor * tokens)
    for answer in contained:
        known = known.plus(answer)
    return known


@dataclass(frozen=True, slots=True)
class Speed:
    """How quickly a model on this machine computes, measured by one call alone.

    Seconds are of one token of a prompt, and of an answer; ``at_once`` calls are computed at once.
    """

    input_seconds: float
    output_seconds: float
    at_once: int

    def of_call(self, inputs: Span, outputs: Span) -> Span:
        """Seconds of a call with so many tokens, among as many others as are computed at once.

        Prompts fill the machine and are computed one after the other. Of answers a token of each
        call is computed in one go, which takes as long as one token, or as long as all of them.
        """
        shared = self.input_seconds * self.at_once
        going = Span(1.0, (1 + self.at_once) / 2, self.at_once).times(self.output_seconds)
        return inputs.times(shared).plus(outputs.by(going)).by(BUSY)


def latency_of(model: str, settings: Any) -> Span:
    """Seconds one call takes; the ``latency`` in the model's settings is of ``fake/`` models."""
    if model.startswith("fake/"):
        return exactly(max(OWN_SECONDS, float(settings.latency)))
    return LOCAL_SECONDS if model.startswith("local/") else REMOTE_SECONDS


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


# Anthropic, Prompt caching: the longest of the least lengths, where the table has none.
_MARKED_LEAST = 4096


def kept_tokens(prefix: int, info: ModelInfo | None, *, marked: bool = False) -> int:
    """How many tokens of a shared prefix a provider's cache serves; 0 when it is too short.

    ``marked``: the requests ask for it, in the way that the provider wants.
    """
    rule = cache_rule(info)
    if rule is None and marked and info is not None:
        rule = CacheRule(info.cache_least or _MARKED_LEAST)
    if rule is None or prefix < rule.least:
        return 0
    return prefix // rule.block * rule.block


@dataclass(frozen=True, slots=True)
class Serving:
    """How one model is served; ``None`` for no limit.

    Attributes:
        vendor: Whose way of counting tokens applies; empty when the model is not known.
        rpm: Requests a minute. Assumed for nothing that runs here.
        tpm: Tokens a minute; ``otpm`` those of answers, ``rpd`` requests a day.
        latency: Seconds one call takes.
        batch: Whether its requests go by the provider's batch API.
        limits_from: What a limit comes from when it is not the user's own: a tier, or nothing.
        speed: How quickly it computes on this machine, where that was measured.
        problem: Why it cannot be called as configured, with a hint; empty when it can.
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
        return self.model.startswith("local/")

    @property
    def remote(self) -> bool:
        """Whether its calls go by a network, if only this machine's."""
        return not self.model.startswith(("local/", "fake/"))

    @property
    def deprecated_from(self) -> date | None:
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


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What is known of one step before its prompts are; ``tariff`` is ``None`` when unknown.

    ``answer``: tokens expected of one item, assumed or those of ``measure``.
    """

    step: Step
    serving: Serving
    tariff: Tariff | None
    answer: Answer
    measure: StepMeasure | None = None

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def model(self) -> str:
        return self.step.model

    @property
    def info(self) -> ModelInfo | None:
        return self.serving.info

    @property
    def attempts(self) -> Span:
        return self.measure.attempts if self.measure else exactly(1.0)

    @property
    def is_linear(self) -> bool:
        """Whether many requests cost as much as one with all their tokens."""
        return self.tariff is not None and len(self.tariff.standard) == 1

    @property
    def has_batch_price(self) -> bool:
        return self.tariff is not None and bool(self.tariff.batch_source)

    @property
    def marks(self) -> bool:
        """Whether requests mark what the provider's cache is to keep."""
        return self.step.cache and must_mark(self.step.model)

    def saved_per_call(self, prefix: int) -> float | None:
        """USD that a call saves whose prompts share so many tokens; ``None``: nothing, or unknown.

        Batches never have it: no provider counted here states that both discounts apply together.
        """
        if self.measure is not None and self.measure.cached_share:
            return None  # the cost has it already, as it was measured
        kept = kept_tokens(prefix, self.info, marked=self.marks)
        if not kept or self.tariff is None or self.tariff.price.cache_read is None:
            return None
        rate = self.tariff.standard[0]
        return kept * max(0.0, rate.input - rate.cache_read) or None


#: What is known of each step by its name, in the order of the chain.
Facts = Mapping[str, StepFacts]


def facts_of(config: Config, measured: Measured | None, n: int) -> dict[str, StepFacts]:
    """What is known of the steps of a run over ``n`` items. Needs no key and sends nothing."""
    models = dict.fromkeys(step.model for step in config.asking)
    servings = {model: _serving(model, config) for model in models}
    tariffs = {step.name: _tariff(step, config) for step in config.asking}
    measures = {}
    if measured is not None:
        measures = measures_of(measured, config.asking, tariffs, max(1, n - measured.finished))
    facts = {}
    for step in config.asking:
        serving, measure = servings[step.model], measures.get(step.name)
        if measure is None:
            answer = answer_of(step, _judges(config, step), serving)
        else:
            answer = Answer(measure.output, measure.text, thinks=measure.reasoning.value > 0)
        facts[step.name] = StepFacts(step, serving, tariffs[step.name], answer, measure)
    return facts
