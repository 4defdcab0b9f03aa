"""Models that can be named in a config, by a part of their name, with what is known of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase

from llm_batch.models.prices import tariff_of
from llm_batch.models.table import entry_names, find_entry, model_info, names_like, vendor_of

_NUMBERS = re.compile(r"(\d+)")
_WILD = ("*", "?")


@dataclass(frozen=True, slots=True)
class Listed:
    """A model and its price in USD per million tokens; ``None`` where nothing is known.

    Attributes:
        model: What to write into a config.
        cache_read: Price of input that comes from the vendor's cache.
        batch_input: Price by the vendor's batch API; ``None`` too where it has none.
        context: Tokens of input that it takes.
        max_output: Tokens it writes in one answer at most.
        deprecation_date: The day from which it may be gone, as ``2027-04-14``.
        gone: Whether that day has come.
        source: Where the prices are from.
    """

    model: str
    input: Decimal | None
    output: Decimal | None
    cache_read: Decimal | None
    batch_input: Decimal | None
    batch_output: Decimal | None
    context: int | None
    max_output: int | None
    deprecation_date: str | None
    gone: bool
    source: str


def matching(pattern: str, also: Iterable[str] = (), today: date | None = None) -> list[str]:
    """Names of models with a part like this, the most likely to be meant first.

    Args:
        pattern: Words that are all in the name, in any case; or with ``*`` and ``?`` for the rest.
        also: Names beside those of the table.
        today: The day; by default that of the clock.
    """
    wanted = pattern.casefold().split()
    names = (*also, *_names())
    found = [name for name in names if all(_fits(name.casefold(), word) for word in wanted)]
    whole, day = pattern.casefold().strip(), today or date.today()
    return sorted(found, key=lambda name: _order(name, whole, day))


def listed(model: str, today: date | None = None) -> Listed:
    """What is known of a model by its name."""
    info, tariff = model_info(model), tariff_of(model)
    price = tariff.price if tariff else None
    batch = tariff.at_batch().price if tariff and tariff.batch_source else None
    ends = info.deprecation_date if info else None
    return Listed(
        model=model,
        input=price.input if price else None,
        output=price.output if price else None,
        cache_read=price.cache_read if price else None,
        batch_input=batch.input if batch else None,
        batch_output=batch.output if batch else None,
        context=info.max_input_tokens if info else None,
        max_output=info.max_output_tokens if info else None,
        deprecation_date=ends.isoformat() if ends else None,
        gone=ends is not None and ends <= (today or date.today()),
        source=price.source if price else "",
    )


def nearest(pattern: str, most: int = 3) -> list[str]:
    """Names that may have been meant by one that fits nothing."""
    words = pattern.split()
    return [typed(name) for word in words[-1:] for name in names_like(word.lower(), most)]


def typed(entry: str) -> str:
    """The name of an entry with its vendor in front, as a config has it."""
    name = f"{vendor_of(entry)}/{entry}"
    found = None if "/" in entry else find_entry(name)
    return name if found is not None and found[0] == entry else entry


def _names() -> Iterator[str]:
    return map(typed, entry_names())


def _fits(name: str, word: str) -> bool:
    if any(sign in word for sign in _WILD):
        # Brackets are not for people.
        return fnmatchcase(name, f"*{word.replace('[', '[[]')}*")
    return word in name


def _order(name: str, wanted: str, today: date) -> tuple[object, ...]:
    """The name itself, then models of a vendor's own, then sellers of others'; the gone are last.

    A name that goes on behind what was typed comes before one that has it in its middle.
    """
    info = model_info(name)
    tail = name.casefold().rpartition("/")[2]
    gone = info is not None and info.deprecation_date is not None and info.deprecation_date <= today
    numbered = [int(part) if part.isdecimal() else part for part in _NUMBERS.split(name)]
    return (
        wanted not in (name.casefold(), tail),
        gone,
        info is not None and "/" in info.entry,
        not tail.startswith(wanted.rpartition("/")[2]),
        numbered,
    )
