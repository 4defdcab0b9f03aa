"""The items of several runs beside each other: a few numbers of each, by id.

A file is read once here. What grows with it is an entry of a dict and some forty bytes an item;
texts are read again for the few items that are shown.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import isfinite, nan

import msgspec

from llm_batch.report.group_tally import swapped_spelling
from llm_batch.report.items import ItemLine, category_of, field_of, read_items
from llm_batch.report.model import Report
from llm_batch.report.tally import SCORE_LIMIT

#: What ``Rows.passed`` holds for an item without a verdict.
NO_VERDICT = 2


@dataclass(slots=True)
class Rows:
    """The items of one run, in the order of its file.

    Attributes:
        index: Place of each item by id.
        scores: NaN where there is none.
        passed: 1, 0 or `NO_VERDICT`.
        categories: Place of the category in ``names``.
        names: The categories in order of appearance.
        clusters: What each item belongs together with; empty where that was not asked for.
        content: Hash of the fields that both runs have, to be told apart from other items.
    """

    index: dict[str, int] = field(default_factory=dict)
    scores: array[float] = field(default_factory=lambda: array("d"))
    passed: bytearray = field(default_factory=bytearray)
    categories: array[int] = field(default_factory=lambda: array("l"))
    names: dict[str, int] = field(default_factory=dict)
    clusters: list[str] = field(default_factory=list)
    content: array[int] = field(default_factory=lambda: array("q"))


def read_rows(report: Report, fields: Collection[str], cluster: str | None = None) -> Rows:
    """The items of a run as numbers.

    Args:
        report: Of the run.
        fields: Which fields of the items are their content.
        cluster: The field that names an item's cluster.

    Raises:
        OutputError: The file cannot be read a second time.
    """
    rows = Rows()
    encode = msgspec.json.Encoder(order="sorted").encode
    for item in read_items(report):
        rows.index[item.id] = len(rows.scores)
        rows.scores.append(_score(item))
        rows.passed.append(NO_VERDICT if item.passed is None else int(item.passed))
        name = category_of(item, report)
        rows.categories.append(rows.names.setdefault(name, len(rows.names)))
        if cluster:
            value = field_of(item.fields, cluster)
            rows.clusters.append(f"id {item.id}" if value is None else f"in {value}")
        known = {name: value for name, value in item.fields.items() if name in fields}
        rows.content.append(hash(encode(known)))
    return rows


def shared_fields(reports: Collection[Report]) -> set[str]:
    """The fields that the first items of every run have."""
    shared: set[str] | None = None
    for report in reports:
        first = next(read_items(report), None)
        names = set(first.fields) if first else set()
        shared = names if shared is None else shared & names
    return shared or set()


def common_places(first: Rows, second: Rows) -> Iterator[tuple[str, int, int]]:
    """Id and places of the items that are in both, in the order of the first."""
    for id, place in first.index.items():
        other = second.index.get(id)
        if other is not None:
            yield id, place, other


def spelt_alike(first: Rows, second: Rows) -> None:
    """Give the items of the second run the ids of the first, where a spreadsheet changed them.

    It makes 1.0 of 1 in a column with a gap; that is looked at where no id fits as it is.
    """
    if first.index.keys().isdisjoint(second.index):
        index = {swapped_spelling(id) or id: place for id, place in second.index.items()}
        if not first.index.keys().isdisjoint(index):
            second.index = index


def items_with(report: Report, ids: Collection[str]) -> dict[str, ItemLine]:
    """The items with these ids, whole."""
    items = ((item.id, item) for item in read_items(report))
    named = ((id if id in ids else swapped_spelling(id), item) for id, item in items)
    return {id: item for id, item in named if id in ids}


def _score(item: ItemLine) -> float:
    score = item.score
    if score is None or not isfinite(score) or abs(score) > SCORE_LIMIT:
        return nan
    return score
