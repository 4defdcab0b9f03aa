"""What is known of the models of a chain before any is called: prices, limits, caches.

Facts of the providers' pages on prompt caching, 2025-10. Only caches that work unasked count:
Anthropic keeps nothing unless a request marks what to keep, which this program does not send.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llm_batch.chain.chain import Step
from llm_batch.chain.config import Config, Model, model_limits
from llm_batch.errors import ConfigError
from llm_batch.estimating.assumptions import LOCAL_AT_ONCE, Speed, latency_of
from llm_batch.estimating.span import Span
from llm_batch.models.prices import Tariff, tariff_of
from llm_batch.models.table import ModelInfo, model_info
from llm_batch.sending.limits import DEFAULT_RPM
from llm_batch.sending.providers import ENDPOINTS, Route, route
from llm_batch.sending.providers.batching import goes_by_batch


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


def saved_per_call(kept: int, tariff: Tariff | None) -> float | None:
    """USD that a call saves whose first ``kept`` tokens come from the cache.

    ``None`` when nothing is kept or the model has no listed price of cached input. Batches never
    have it: no provider counted here states that both discounts apply together.
    """
    if not kept or tariff is None or tariff.price.cache_read is None:
        return None
    rate = tariff.standard[0]
    return kept * max(0.0, rate.input - rate.cache_read) or None


@dataclass(frozen=True, slots=True)
class Serving:
    """How one model is served.

    Attributes:
        model: The model string.
        vendor: Whose way of counting tokens applies; empty when the model is not known.
        info: What the table says of it; ``None`` when it has no such model.
        here: Whether it runs on this machine, so that no limit is assumed.
        rpm: Requests a minute; ``None`` for no limit.
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
    here: bool
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


def servings_of(config: Config) -> dict[str, Serving]:
    """How the models of a chain are served, by model string. Needs no key and sends nothing."""
    return {
        model: _serving(model, config) for model in dict.fromkeys(s.model for s in config.steps)
    }


def tariff_of_step(step: Step, config: Config) -> Tariff | None:
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
    here = _is_here(settings, way)
    rpm, tpm, tier = model_limits(config, model)
    if settings.endpoints:
        rpm = _of_all(each.rpm or rpm for each in settings.endpoints)
        tpm = _of_all(each.tpm or tpm for each in settings.endpoints)
    assumed = rpm is None and tpm is None and not here
    return Serving(
        model=model,
        vendor=way.vendor if way else "",
        info=model_info(model),
        here=here,
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
    from llm_batch.sending.providers.direct import is_loopback

    return is_loopback(url)
