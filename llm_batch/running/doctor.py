"""Whether a run would go: all that can be looked at beforehand, a line each; nothing is spent.

What a run refuses is asked of the checks that a run makes, so that both say the same. Beside it
stands what only shows when somebody answers: whether the key is taken, and whether the model is
there, by the endpoint's free list of models. A host to which a run would not go without a question
is not asked either (`sending.trust`).
"""

from __future__ import annotations

import difflib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from llm_batch import __version__
from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config, load_config, model_limits
from llm_batch.chain.options import Model
from llm_batch.chain.overrides import Overrides
from llm_batch.dataset import draw
from llm_batch.errors import (
    ConfigError,
    LlmbError,
    ProviderError,
    RateLimited,
    Timeout,
    Unavailable,
    status_of,
)
from llm_batch.models.prices import price_of, why_unknown
from llm_batch.models.table import model_info, names_like, table_version
from llm_batch.paper import Formats, words
from llm_batch.paper.document import Document, Section, Table
from llm_batch.records import Item, Message, Request
from llm_batch.sending.checks import (
    check_before_spending,
    check_prompts,
    empty_prompts,
    risks,
    unused_id,
)
from llm_batch.sending.fleet import FleetModel, places_of
from llm_batch.sending.headers import stated_limits
from llm_batch.sending.providers import Provider, Reply, make_provider, route, where
from llm_batch.sending.providers.embedded import BUNDLED, INSTALL_HINT, is_installed
from llm_batch.sending.providers.endpoints import shown
from llm_batch.sending.providers.lists import Listing, list_url, listed
from llm_batch.sending.trust import Concern, author, keys_of, not_agreed

State = Literal["ok", "note", "failed", "skipped"]
_MARKS: dict[State, str] = {"ok": "✓", "note": "!", "failed": "✗", "skipped": "-"}

_LOOK_SECONDS = 5.0
_PROBE_SECONDS = 30.0
_PROBE_TOKENS = 16
_PROBE = "Reply with the word OK (as JSON, if asked to)."
_ADD_PROBE = "add --probe: it sends one tiny call"
_AT_ONCE = 8
#: A model that ends within so many days may end before the work does.
_SOON_DAYS = 60
_LEAST_FREE, _LITTLE_FREE = 50 << 20, 500 << 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        about: What it is, in a word or two.
        state: ``ok``; ``note``: a run goes, and this is to know; ``failed``: it would not go;
            ``skipped``: not looked at, for the reason it says.
        says: What was found.
        hint: What to type next; empty where nothing is to be done.
    """

    about: str
    state: State
    says: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks in the order they were made.

    Attributes:
        ok: Whether none of them failed.
        next_step: What to type next; empty where the hints say it.
    """

    ok: bool
    checks: tuple[Check, ...]
    next_step: str = ""


def examine(
    path: str | os.PathLike[str] | None = None,
    flags: Overrides | None = None,
    *,
    probe: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    again: str = "",
    today: date | None = None,
) -> Diagnosis:
    """Look at everything that a run needs.

    Args:
        path: The config, as for `load_config`.
        flags: What was given on the command line.
        probe: Whether to send one tiny call per model, which may cost something.
        say: Called with what the calls will cost at most, before they are sent.
        again: The command that estimates the same run.
        today: The day; by default that of the clock.
    """
    checks = tuple(_checks(path, flags or Overrides(), probe, say, today or date.today()))
    ok = all(check.state != "failed" for check in checks)
    return Diagnosis(ok, checks, f"What will it cost? {again}" if ok and again else "")


def _checks(
    path: Any, flags: Overrides, probe: bool, say: Callable[[str], None], today: date
) -> Iterator[Check]:
    yield _versions()
    try:
        config = load_config(path, flags)
        chain = config.chain()
    except LlmbError as error:
        yield _failed("config", error)
        yield _embedded(())
        yield _disk(Path("results.jsonl"))
        return
    steps = ", ".join(step.name for step in config.steps)
    name = str(config.source) if config.source else "no llmb.toml here, so the built-in config"
    yield Check("config", "ok", f"{name}; steps: {steps}")
    first, found = _data(config, chain)
    yield from found
    seen = [*found]
    for check in _endpoints(config, chain, probe, say, today):
        seen.append(check)
        yield check
    yield _embedded([step.model for step in config.asking])
    yield _disk(Path(config.run.output))
    yield from _run(config, chain, first, {check.says for check in seen})


def _versions() -> Check:
    try:
        table = table_version()
    except ImportError:
        return Check("versions", "failed", "litellm is not installed", "pip install litellm")
    return Check(
        "versions", "ok", f"llmb {__version__}, Python {platform.python_version()}, {table}"
    )


def _data(config: Config, chain: Chain) -> tuple[Item | None, list[Check]]:
    """The first item, and what there is to say of the data and the prompts made of it."""
    data, sample = config.data_path(), config.sample
    if data == "-":
        return None, [Check("data", "skipped", "it will come from standard input")]
    source = "the bundled demo questions" if config.data.path is None else str(data)
    try:
        drawn = draw(
            config.data,
            data,
            size=sample.size,
            seed=sample.seed,
            stratify=sample.stratify,
            used=config.fields_used(),
        )
    except LlmbError as error:
        return None, [_failed("data", error)]
    with drawn:
        fields = ", ".join(words.clean(name, 40) for name in drawn.fields[:12])
        many = ", …" if len(drawn.fields) > 12 else ""
        says = (f"{source}: {words.items(drawn.population)}, a run uses {drawn.size:,} of them; "
                f"fields: {fields}{many}")  # fmt: skip
        found = [Check("data", "ok", says)]
        found += [
            Check("data", "note", note) for note in [*drawn.notes, *unused_id(config, drawn.fields)]
        ]
        first = next(iter(drawn.items()), None)
        if first is None:
            return None, found
        try:
            check_prompts(config, chain, first)
        except LlmbError as error:
            return first, [*found, _failed("prompts", error)]
        blank = empty_prompts(chain, drawn.items)
        found += [Check("prompts", "note", sentence) for sentence in blank]
        if not blank:
            item = words.item(first.id, first.fields)
            found.append(Check("prompts", "ok", f"filled in with item {item} without errors"))
        return first, found


@dataclass(frozen=True, slots=True)
class _Place:
    """A model at one of its endpoints, with what was made of it, and what came of asking there."""

    model: str
    name: str
    settings: Model
    request: Request
    provider: Provider | None = None
    trouble: LlmbError | None = None
    listing: Listing | None = None
    answer: LlmbError | None = None
    url: str = ""
    why_not: str = ""


def _endpoints(
    config: Config, chain: Chain, probe: bool, say: Callable[[str], None], today: date
) -> Iterator[Check]:
    """What there is to say of each model, its key and who answers for it."""
    places = list(_places(config, chain))
    strange: list[Concern] = []
    wait = ""
    try:
        strange = [each for each in not_agreed(config) if each.does == "sends"]
        wait = "not contacted until you agree to the config" if strange else ""
    except LlmbError as error:
        wait = "not contacted until the rest is right"
        if all(place.trouble is None for place in places):
            yield _failed("trust", error)
    for concern in strange:
        yield Check(
            "trust", "note", f"{author(config)} {concern.sentence}; you have not agreed to it yet",
            "llmb run asks you once; until then nothing is sent there",
        )  # fmt: skip
    if not wait:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            places = list(pool.map(_asked, places))
    for model in dict.fromkeys(place.model for place in places):
        mine = [place for place in places if place.model == model]
        yield _known(config, mine, today)
        for place in mine:
            yield from _answers(config, place, wait)
    if probe and not wait:
        yield from _probed([place for place in places if place.provider is not None], say)
    for place in places:
        if place.provider is not None:
            place.provider.close()


def _places(config: Config, chain: Chain) -> Iterator[_Place]:
    first = {step.model: step for step in reversed(config.asking)}
    for model in dict.fromkeys(step.model for step in config.asking):
        step = first[model].name
        params = {**chain.params(step), "max_tokens": _PROBE_TOKENS}
        request = Request("doctor", step, model, (Message("user", _PROBE),), params)
        for name, settings, _, _ in places_of(config, model):
            place = _Place(model, name, settings, request)
            try:
                yield replace(place, provider=make_provider(model, settings, 1))
            except LlmbError as error:
                yield replace(place, trouble=error)


def _asked(place: _Place) -> _Place:
    """A place with what its free list of models says."""
    prepare = getattr(place.provider, "prepared", None)
    if place.provider is None or prepare is None:
        return place
    try:
        live = prepare(place.request)
        if not (url := list_url(live.url)):
            return replace(place, why_not="it has no free request to check with")
        place = replace(place, url=shown(url))
        return replace(place, listing=listed(live, _LOOK_SECONDS))
    except LlmbError as error:
        return replace(place, answer=error)


def _known(config: Config, places: Sequence[_Place], today: date) -> Check:
    """Whether a model is known, priced and not at its end."""
    place = places[0]
    model, own = place.model, config.model(place.model)
    if place.trouble is not None and not _is_about_key(place):
        near = names_like(model) if "is not known" in place.trouble.message else []
        hint = f"did you mean {' or '.join(near)}?" if near else place.trouble.hint
        return Check("model", "failed", place.trouble.message, hint)
    info = model_info(model)
    served = any(each.listing is not None and each.listing.has(_name(each)) for each in places)
    price = price_of(model, own.input_price, own.output_price, own.cache_read_price)
    tokens = f", context {info.max_input_tokens:,}" if info and info.max_input_tokens else ""
    if info is not None and (ends := info.deprecation_date) is not None:
        left = (ends - today).days
        if left <= 0 and not served:
            others = "llmb models " + model.rpartition("/")[2].partition("-")[0]
            return Check(
                "model", "failed", f"{model} was shut down on {ends} ({table_version()})", others
            )
        if left <= _SOON_DAYS:
            will = "will" if left > 0 else "was to"
            said = f"{model} {will} be shut down on {ends} ({table_version()})"
            return Check("model", "note", f"{said}{tokens}")
    if price is None:
        return Check(
            "model",
            "note" if config.limits.budget is None else "failed",
            f"the price of {model} is unknown: {why_unknown(model)}",
            f'set input_price and output_price under [models."{model}"]',
        )
    if not price.input and not price.output:
        return Check("model", "ok", f"{model}: free ({price.source}){tokens}")
    cost = f"${price.input.normalize():f} in, ${price.output.normalize():f} out per million tokens"
    return Check("model", "ok", f"{model}: {cost}{tokens}")


def _is_about_key(place: _Place) -> bool:
    try:
        return route(place.model, place.settings).provider in ("direct", "litellm")
    except ConfigError as error:
        return "api_key_env" in error.message or "is not a key" in error.message


def _name(place: _Place) -> str:
    """What the endpoint calls the model."""
    name = route(place.model, place.settings).name
    prefix, _, rest = name.partition("/")
    return rest if rest and prefix == route(place.model, place.settings).vendor else name


def _answers(config: Config, place: _Place, wait: str) -> Iterator[Check]:
    """The key of a model, and who answers for it; nothing where it is on this machine."""
    if place.trouble is not None:
        if _is_about_key(place):
            yield _failed("key", place.trouble)
        return
    way = route(place.model, place.settings)
    if way.provider not in ("direct", "litellm"):
        return
    at = where(place.model, place.settings)
    keys = keys_of(place.model, place.settings)
    if keys:
        yield Check("key", "ok", f"{' or '.join(keys)} is set, for {place.model}")
    else:
        yield Check("key", "ok", f"no key is sent to {at}")
    if wait:
        yield Check("endpoint", "skipped", f"{at}: {wait}")
    elif place.answer is not None:
        yield _trouble(place.answer, at, place.url)
    elif place.listing is None:
        yield Check("endpoint", "skipped", f"{at}: {place.why_not}", _ADD_PROBE)
    else:
        yield _listed(place, place.listing, at)
        yield _limits(config, place.model, place.listing.headers)


def _trouble(error: LlmbError, at: str, url: str) -> Check:
    """An endpoint that gives no list: some have none, or not for every key."""
    status = error.status_code if isinstance(error, ProviderError) else None
    if status in (403, 404, 405, 501):
        said = "lists no models" if status != 403 else "lists no models for this key"
        return Check("endpoint", "note", f"{at} answers, but {said} ({status})", _ADD_PROBE)
    if isinstance(error, RateLimited):
        return Check("endpoint", "note", f"{at} answers, but is busy: {error.message}")
    said = error.message if at in error.message else f"{at}: {error.message}"
    if isinstance(error, Timeout) or (isinstance(error, Unavailable) and error.kind != "garbage"):
        return Check("endpoint", "failed", said, f"check whether it is running: curl {url}")
    return Check("endpoint", "failed", said, _hint(error, at))


def _hint(error: LlmbError, at: str) -> str:
    """What to type about an address that does not answer as it should."""
    kind = error.kind if isinstance(error, ProviderError) else ""
    return error.hint or (status_of(kind).advice_at(at) if kind else "")


def _listed(place: _Place, listing: Listing, at: str) -> Check:
    took = f"{at} answers in {words.duration(listing.seconds)}"
    name = _name(place)
    if not listing.names:
        return Check("endpoint", "ok", f"{took}; it lists no models")
    if listing.has(name):
        return Check("endpoint", "ok", f"{took} and has {words.clean(name, 80)}")
    near = difflib.get_close_matches(name, listing.names, n=3) or list(listing.names[:3])
    has = ", ".join(words.clean(each, 60) for each in near)
    known = model_info(place.model) is not None
    return Check(
        "endpoint",
        "note" if known else "failed",
        f"{took}, but {words.clean(name, 80)} is not among its "
        f"{words.counted(len(listing.names), 'model')}",
        f"it has {has}",
    )


def _limits(config: Config, model: str, headers: dict[str, str]) -> Check:
    stated, (rpm, tpm, tier) = stated_limits(headers), model_limits(config, model)
    set_here = _pace(rpm, tpm)
    ours = f"; your config: {set_here}{f' ({tier.tier})' if tier else ''}" if set_here else ""
    if told := _pace(stated.rpm, stated.tpm):
        return Check("limits", "ok", f"{model}: {told}, as the provider reports{ours}")
    return Check("limits", "skipped", f"{model}: the provider does not report them here{ours}")


def _pace(rpm: float | None, tpm: float | None) -> str:
    parts = [
        f"{limit:,.0f} {unit}" for limit, unit in ((rpm, "requests"), (tpm, "tokens")) if limit
    ]
    return f"{' and '.join(parts)} a minute" if parts else ""


def _probed(places: Sequence[_Place], say: Callable[[str], None]) -> Iterator[Check]:
    """One tiny call to each place; what they cost at most is said first."""
    priced = [(place, FleetModel(place.model, place.settings)) for place in places]
    unknown = [place.model for place, model in priced if model.tariff is None]
    most = sum(model.most(place.request) for place, model in priced)
    calls = words.counted(len(places), "tiny call")
    price = f"at most {words.usd(most)}"
    if unknown:
        price = f"{price} plus the unknown price of {', '.join(dict.fromkeys(unknown))}"
    say(f"the probe sends {calls} for {price}")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(_probe, priced)


def _probe(priced: tuple[_Place, FleetModel]) -> Check:
    place, model = priced
    assert place.provider is not None
    began = time.monotonic()
    try:
        reply = place.provider.complete(place.request, _PROBE_SECONDS)
    except LlmbError as error:
        state: State = "note" if isinstance(error, RateLimited) else "failed"
        says = f"{place.name}: {error.message}"
        return Check("probe", state, says, _hint(error, where(place.model, place.settings)))
    took = words.duration(time.monotonic() - began)
    return Check("probe", "ok", f"{place.name} answered in {took}{_paid(reply, model)}")


def _paid(reply: Reply, model: FleetModel) -> str:
    usage = reply.completion.usage
    told = _pace(*(getattr(stated_limits(reply.headers), name) for name in ("rpm", "tpm")))
    limits = f"; limits: {told}" if told else ""
    if usage is None or model.tariff is None:
        return limits
    return f", for {words.usd(model.tariff.cost(usage))}{limits}"


def _embedded(models: Sequence[str]) -> Check:
    """Whether the model that needs no key is here, and needed."""
    own = [model.partition("/")[2] for model in models if model.startswith("local/")]
    missing = [name for name in own if not is_installed(name)]
    if missing:
        return Check("embedded", "failed", f"{missing[0]} is not installed", INSTALL_HINT)
    if own:
        return Check("embedded", "ok", f"{', '.join(dict.fromkeys(own))} is installed")
    there = "installed" if any(map(is_installed, BUNDLED)) else "not installed"
    return Check("embedded", "skipped", f"{there}; this run does not need it")


def _disk(output: Path) -> Check:
    """Whether there is room where the results go."""
    folder = output.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", "failed", f"cannot read {folder}: {error.strerror}")
    says = f"{words.clean(str(output))}: {free / 1e9:,.1f} GB free"
    if not os.access(folder, os.W_OK):
        return Check("disk", "failed", f"{folder} is not writable", "choose another --output")
    if free < _LEAST_FREE:
        return Check("disk", "failed", says, "free some space, or choose another --output")
    return Check("disk", "ok" if free > _LITTLE_FREE else "note", says)


def _run(config: Config, chain: Chain, first: Item | None, said: set[str]) -> Iterator[Check]:
    """What a run would refuse or warn of beyond all that."""
    try:
        if first is not None:
            check_before_spending(config, chain, first)
        config.engine.check(config, True)
        notes = risks(config)
    except LlmbError as error:
        if error.message not in said and "embedded model" not in error.message:
            yield _failed("run", error)
        return
    yield from (Check("run", "note", note) for note in notes)


def _failed(about: str, error: LlmbError) -> Check:
    return Check(about, "failed", error.message, error.hint)


def _document(made: Diagnosis) -> Document:
    rows = []
    for check in made.checks:
        rows.append((_MARKS[check.state], check.about, words.clean(check.says, 600)))
        if check.hint:
            rows.append(("", "", f"→ {words.clean(check.hint, 600)}"))
    failed = sum(check.state == "failed" for check in made.checks)
    notes = sum(check.state == "note" for check in made.checks)
    looked = sum(check.state != "skipped" for check in made.checks)
    known = f", {words.counted(notes, 'note')} (!)" if notes else ""
    finding = (
        f"Not ready: {failed:,} of {looked:,} checks failed{known}."
        if failed
        else f"Ready: all {looked:,} checks passed{known}."
    )
    table = Table(("", "", ""), (False, False, False), tuple(rows))
    steps = (made.next_step,) if made.next_step else ()
    return Document(finding, sections=(Section("Checks", (table,)),), next_steps=steps)


#: Formats by the name a user gives.
DIAGNOSIS_FORMATS: Formats[Diagnosis] = Formats(_document, lambda made: made)

__all__ = ["DIAGNOSIS_FORMATS", "Check", "Diagnosis", "examine"]
