"""Rows of one id that differ: repeats of an item or several metrics, and which field says so.

A field tells them apart when its values differ within an id and come again with other ids: epoch,
sample, metric, filter. What a model answered differs too, but never comes again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import msgspec

#: Fields whose values are other things measured or other makers, so that their mean means nothing.
_SORTS = re.compile(
    r"(.*[._])?(metrics?|filters?|scorers?|score_?name|measures?|criteri(on|a)|dimension|aspect|"
    r"evaluator|models?|system|variant|prompt_?name|task|benchmark|name|key|type|kind)",
    re.IGNORECASE,
)
_REPEATS = re.compile(
    r"(.*[._])?(epochs?|repeat(s|_id|_idx)?|samples?(_(idx|index|no|number))?|trials?|runs?|seeds?|"
    r"attempts?|iter(ation)?s?|rep|try|turn|replicate)",
    re.IGNORECASE,
)
#: Fields with more values than this tell rows apart as a number of the row does.
_MOST_VALUES = 200
_MOST_FIELDS = 12
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Repeats:
    """The rows of a file whose ids come again.

    Attributes:
        rows: How many rows differ from another of their id.
        ids: How many ids have several such rows.
        fields: What tells the rows of an id apart; empty where nothing does.
        values: The first values of the first of these, to be shown.
        several_sorts: Whether these are metrics, filters or models, which one mean cannot hold.
    """

    rows: int
    ids: int
    fields: tuple[str, ...]
    values: tuple[str, ...]
    several_sorts: bool


def repeats_in(
    rows: Sequence[dict[str, Any]],
    ids: Sequence[str],
    score: str,
    found: Callable[[dict[str, Any], str], Any],
    paths: Sequence[str],
) -> Repeats | None:
    """The repeats of a file; ``None`` where rows of one id never differ.

    Args:
        rows: All of it.
        ids: The id of each.
        score: The field with the score, which is none that tells rows apart.
        found: The value of a field of a row.
        paths: The names of the fields, dots leading into objects.
    """
    if len(set(ids)) == len(ids):
        return None
    by_id: dict[str, dict[bytes, int]] = defaultdict(dict)
    for number, (row, item) in enumerate(zip(rows, ids, strict=True)):
        by_id[item].setdefault(_encode(row), number)
    several = [list(own.values()) for own in by_id.values() if len(own) > 1]
    if not several:
        return None
    cells = {
        path: column
        for path in paths
        if path != score
        and (column := [_plain(found(row, path)) for row in rows])
        and _comes_again(column, several)
    }
    fields = _telling(cells, several)
    named = cells[fields[0]] if fields else []
    return Repeats(
        rows=sum(map(len, several)),
        ids=len(several),
        fields=fields,
        values=tuple(dict.fromkeys(str(named[n]) for own in several for n in own if named)),
        several_sorts=any(_is_sort(field, cells[field]) for field in fields),
    )


def _plain(value: Any) -> Hashable:
    return value if isinstance(value, str | int | float | bool) else None


def _comes_again(column: Sequence[Hashable], several: Sequence[Sequence[int]]) -> bool:
    """Whether values differ within ids, and the same ones come with other ids."""
    within: dict[Hashable, int] = defaultdict(int)
    differ = False
    for own in several:
        values = {column[n] for n in own}
        differ = differ or len(values) > 1
        for value in values:
            within[value] += 1
        if len(within) > _MOST_VALUES:
            return False
    if not differ or None in within:
        return False
    if len(several) == 1:
        return True
    return sum(count > 1 for count in within.values()) * 2 > len(within)


def _telling(cells: dict[str, list[Hashable]], several: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """The fewest fields that together differ for every row of an id, the telling names first."""
    names = sorted(cells, key=lambda name: 0 if _REPEATS.fullmatch(name) else 1)
    names.sort(key=lambda name: not (_REPEATS.fullmatch(name) or _SORTS.fullmatch(name)))
    names = names[:_MOST_FIELDS]
    for size in (1, 2, 3):
        for some in combinations(names, size):
            if all(
                len({tuple(cells[name][n] for name in some) for n in own}) == len(own)
                for own in several
            ):
                return some
    return ()


def _is_sort(field: str, column: Sequence[Hashable]) -> bool:
    words = any(isinstance(value, str) and not value.lstrip("-").isdecimal() for value in column)
    return words and bool(_SORTS.fullmatch(field)) and not _REPEATS.fullmatch(field)
