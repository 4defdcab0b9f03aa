"""Draw a sample: one pass over a dataset, then its items in the seeded order.

Memory, besides the sample of at most `IN_MEMORY` items that is kept where the file cannot be
read again by offset: about 60 bytes a row, of any size.

Every item stands where a hash of seed and id puts it. So the order does not depend on the order
of rows, a sample of n is contained in every larger one, and whatever a stopped run leaves done is
close to a random sample of the whole.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import compress, islice
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import msgspec

from llm_batch.chain.templates import PromptError
from llm_batch.dataset.given import GIVEN, Given
from llm_batch.dataset.selection import (
    Selection,
    in_order,
    in_strata_order,
    order_key,
    order_keys,
    twice,
)
from llm_batch.dataset.shape import Row, Shape, decoded
from llm_batch.dataset.shards import Input, opened
from llm_batch.dataset.stores import InFile, Smallest, Spool, Store, Tally
from llm_batch.errors import DataError
from llm_batch.paper import words
from llm_batch.records import Item
from llm_batch.stats.strata import allocate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llm_batch.chain.options import Data


#: More strata than this mean a field that is no grouping at all.
MAX_STRATA = 1_000
#: Names of fields that a message lists at most.
_MANY = 20
_ID_HINT = "set id under [data] to one of its fields, or leave it out to tell items by content"
_STRATIFY_HINT = "set stratify under [sample] to one of its fields, or leave it out"
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


class BadRow(Exception):
    """What is wrong with a row; ``hint`` is for when no row before it was any better."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class Namer:
    """Gives items their ids: the id field as text, or else a hash of the content.

    Rows with the same content are told apart by their order in the file: the second is ``-2``.
    """

    def __init__(self, field: str | None) -> None:
        self._field = field
        self._tally = Tally()
        self._copies = array("I")
        self.duplicates = 0

    def name(self, fields: Mapping[str, Any]) -> str:
        if self._field is not None:
            return _text(fields, self._field, _ID_HINT)
        digest = blake2b(_encode_sorted(fields), digest_size=8)
        copy = self._tally.add(int.from_bytes(digest.digest()))
        self._copies.append(copy)
        self.duplicates += copy > 1
        return digest.hexdigest() if copy == 1 else f"{digest.hexdigest()}-{copy}"

    def seal(self) -> None:
        self._tally = Tally()

    def again(self, fields: Mapping[str, Any], index: int) -> str:
        if self._field is not None:
            return _text(fields, self._field, "")
        name = blake2b(_encode_sorted(fields), digest_size=8).hexdigest()
        copy = self._copies[index]
        return name if copy == 1 else f"{name}-{copy}"


class Grouping:
    def __init__(self, field: str) -> None:
        self._field = field
        self._numbers: dict[str, int] = {}
        self._counts: list[int] = []
        self.names: list[str] = []
        self.members = array("H")

    def name(self, fields: Mapping[str, Any]) -> str:
        return _text(fields, self._field, _STRATIFY_HINT)

    def add(self, name: str) -> None:
        number = self._numbers.setdefault(name, len(self._counts))
        if number == len(self._counts):
            if number == MAX_STRATA:
                raise DataError(
                    f"the field {self._field!r} has more than {MAX_STRATA:,} values, "
                    "too many to stratify by",
                    "set stratify under [sample] to a field with few values, or leave it out",
                )
            self._counts.append(0)
            self.names.append(name)
        self._counts[number] += 1
        self.members.append(number)

    def sizes(self) -> dict[str, int]:
        return dict(sorted(zip(self.names, self._counts, strict=True)))

    def of(self, index: int) -> str:
        return self.names[self.members[index]]


class Keys:
    """The order keys of all rows, which also show whether an id comes twice."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self.numbers = array("Q")
        self.firsts = array("Q")
        self.seconds = array("Q")

    def extend(self, firsts: array[int], seconds: array[int], numbers: Iterable[int]) -> None:
        self.firsts += firsts
        self.seconds += seconds
        self.numbers.extend(numbers)

    def refuse_second(self, name: Callable[[int], str]) -> None:
        """`DataError` where two rows have one id, as ``name`` gives it for the second of them."""
        if not twice(self.firsts):
            return
        known: dict[tuple[int, int], int] = {}
        for index, key in enumerate(zip(self.firsts, self.seconds, strict=True)):
            before = known.setdefault(key, index)
            if before < index:
                where = self._source.at(self.numbers[before], self.numbers[index])
                raise DataError(
                    f"{self._source.name}, {where}: both have the id {name(index)!r}",
                    "give each row an id of its own, or leave out id under [data] to tell items "
                    "apart by content",
                )


def _text(fields: Mapping[str, Any], field: str, hint: str) -> str:
    value = fields.get(field)
    if isinstance(value, str):
        if not value or value.isspace():
            raise BadRow(f"the field {field!r} is empty")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if field not in fields:
        known = ", ".join(list(fields)[:_MANY]) + (", ..." if len(fields) > _MANY else "")
        raise BadRow(f"no field {field!r}, it has {known or 'none'}", hint)
    if value is None:
        raise BadRow(f"the field {field!r} is null")
    raise BadRow(f"the field {field!r} is not text or a number")


#: Samples up to this size are kept in memory where rows cannot be read again from their file.
IN_MEMORY = 50_000
_EXAMPLES = 3
# Rows that are looked at together; each may be large.
_SOME_ROWS = 64
_encode = msgspec.json.Encoder().encode


class Positions:
    """Finds many items of an order by their numbers.

    Attributes:
        distinct: Whether no two of them share a number.
    """

    def __init__(self, firsts: array[int], order: array[int]) -> None:
        import numpy

        numbers = numpy.frombuffer(firsts, numpy.uint64)[numpy.frombuffer(order, numpy.uint64)]
        self._places = numpy.argsort(numbers)
        self._numbers = numbers[self._places]
        self.distinct = not (self._numbers[1:] == self._numbers[:-1]).any()

    def of(self, numbers: array[int]) -> NDArray[np.int64]:
        """The position of each; -1 for one that is not there."""
        import numpy

        asked = numpy.frombuffer(numbers, numpy.uint64)
        near = numpy.minimum(numpy.searchsorted(self._numbers, asked), len(self._numbers) - 1)
        return numpy.where(self._numbers[near] == asked, self._places[near], -1)


@dataclass(slots=True)
class Drawn:
    """A sample of a dataset. A context manager: it holds files open until it is closed.

    Attributes:
        path: The dataset as it was given, an address or ``-`` for standard input.
        sha256: Of its bytes as they are on disk, in hex.
        population: Rows that can be used.
        skipped_examples: What was wrong with the first of them, and where.
        duplicates: Rows with the same content as an earlier one; 0 with an id field, where this
            is an error.
        read_as: What was not as one expects of such a file, a sentence each.
        strata: Rows in each stratum, by name; ``None`` without stratification.
    """

    path: str
    sha256: str
    population: int
    size: int
    skipped: int
    skipped_examples: tuple[str, ...]
    duplicates: int
    fields: tuple[str, ...]
    read_as: tuple[str, ...]
    strata: dict[str, int] | None
    sizes_by_stratum: dict[str, int] | None
    _seed: int
    _firsts: array[int]
    _order: array[int]
    _store: Store
    _namer: Namer
    _grouping: Grouping | None
    _selection: Selection
    _open: ExitStack

    def number(self, item_id: str) -> int:
        """An item as a number, in the sample or not; two may share one."""
        return order_key(self._seed, item_id)[0]

    def numbers(self, item_ids: Iterable[str]) -> array[int]:
        """The `number` of each."""
        return order_keys(self._seed, item_ids)[0]

    def positions(self) -> Positions:
        """Where the items of the sample stand in the order of `items`, by their numbers."""
        return Positions(self._firsts, self._order)

    def items(self, done: bytearray | None = None) -> Iterator[Item]:
        """Yield the items of the sample in the order they are to be played in.

        Can be called again, and before another iteration has ended; not for several threads.
        Those whose position is not 0 in ``done`` are left out, and nothing is read of them.
        `DataError` when the file has changed since it was drawn from.
        """
        left = self._order if done is None else compress(self._order, map(not_, done))
        for index in left:
            fields = self._selection.of(decoded(self._store.read(index), Shape()))
            stratum = self._grouping.of(index) if self._grouping else ""
            yield Item(self._namer.again(fields, index), fields, stratum)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the rows, a sentence each."""
        notes = list(self.read_as)
        if self.skipped:
            examples = "; ".join(self.skipped_examples)
            more = ", the first" if self.skipped > len(self.skipped_examples) else ""
            notes.append(f"{words.counted(self.skipped, 'row')} skipped{more}: {examples}")
        if self.duplicates:
            notes.append(
                f"{words.counted(self.duplicates, 'row')} with the same content as an earlier one: "
                "each is an item of its own, with -2, -3 and so on after its id"
            )
        return tuple(notes)

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def draw(
    data: Data,
    path: Path | str,
    *,
    size: int = 0,
    seed: int = 42,
    stratify: str | None = None,
    shard: tuple[int, int] | None = None,
    scratch: Path | None = None,
    stdin: BinaryIO | None = None,
    used: Collection[str] | None = None,
    given: Any = None,
) -> Drawn:
    """Read a dataset once and draw the first ``size`` items of its seeded order.

    Args:
        given: Rows of a program, in place of what is at the path; see `Given`.
        used: Fields that anything needs; files that can be read by column may be without others.
        size: Items to draw; 0 for all.
        stratify: A field whose values share the sample in proportion to their rows.
        shard: Which part of that sample, from 1, and of how many; by a hash of the items' ids.
        scratch: A folder for a temporary copy of the rows, which is only made when the rows
            cannot be read again by offset and the sample is large or stratified.

    Raises:
        DataError: The dataset cannot be read as described, or two rows have one id.
    """
    with ExitStack() as stack:
        selection = Selection(data)
        source: Input
        if given is not None:
            path, source = GIVEN, Given(given)
        else:
            source = stack.enter_context(opened(data, path, stdin, selection.reads(used)))
        namer = Namer(data.id)
        grouping = Grouping(stratify) if stratify is not None else None
        skipped = _Skipped(source, data.on_bad_row)
        keys = Keys(source)
        store: Store | None = None
        early: Tally | None = None
        names: tuple[str, ...] = ()
        passed = 0
        rows = iter(source.rows())  # kept: what it has open is hashed after the last that is taken
        stack.callback(getattr(rows, "close", rows.__iter__))  # also where a row is refused
        firsts, seconds, numbers = keys.firsts.append, keys.seconds.append, keys.numbers.append
        chosen_only, all_taken = data.columns is not None, not data.where
        plain = data.id if all_taken and not chosen_only and not grouping else None
        while some := list(islice(rows, selection.more(_SOME_ROWS, len(keys.firsts)))):
            if (
                plain is not None
                and store is not None
                and early is None
                and (columns := _plain(some, plain)) is not None
            ):
                places, ids, texts, offsets = columns
                hashed = order_keys(seed, ids)
                keys.extend(*hashed, places)
                store.extend(*hashed, texts, offsets)
                continue
            for number, fields, row, offset in some:
                try:
                    if isinstance(fields, str):
                        raise BadRow(fields)
                    if not (all_taken or _takes(selection, fields)):
                        passed += 1
                        continue
                    if store is None:
                        selection.check(fields, f"{source.name}, {source.at(number)}")
                    if chosen_only:
                        fields, row = selection.of(fields), row if source.in_place else b""
                    stratum = grouping.name(fields) if grouping else ""
                    item_id = namer.name(fields)
                except BadRow as problem:
                    skipped.add(number, problem, first=not names)
                    continue
                if store is None:
                    names = tuple(fields)
                    store = _store(source, size, stratify, scratch)
                    stack.callback(store.close)
                    # Rows that are let go cannot be named at the end.
                    early = Tally() if data.id is not None and isinstance(store, Smallest) else None
                if grouping:
                    grouping.add(stratum)
                key = order_key(seed, item_id)
                firsts(key[0])
                seconds(key[1])
                numbers(number)
                if early is not None and early.add(key[0]) > 1:
                    keys.refuse_second({len(keys.firsts) - 1: item_id}.__getitem__)
                store.add(key, row or _encode(fields), offset)
        if store is None:
            raise skipped.all_of_them(passed)
        if data.id is not None and early is None:
            kept = store

            def named(index: int) -> str:
                return namer.again(selection.of(decoded(kept.read(index), Shape())), index)

            keys.refuse_second(named)
        namer.seal()
        population = len(keys.firsts)
        size = min(size or population, population)
        shares = None
        if grouping:
            # Sorted, so that ties between strata do not depend on the order of rows.
            shares = allocate(grouping.sizes(), size)
            order = in_strata_order(
                keys.firsts, keys.seconds, grouping.members, [shares[n] for n in grouping.names]
            )
        else:
            order = islice(in_order(keys.firsts, keys.seconds), size)
        if shard is not None:
            # The low digits of a hash whose high ones make the order.
            number, count = shard
            own = array("Q", (i for i in order if keys.seconds[i] % count == number - 1))
            order, size = iter(own), len(own)
        return Drawn(
            path=str(path),
            sha256=source.sha256(),
            population=population,
            size=size,
            skipped=skipped.count,
            skipped_examples=tuple(skipped.examples),
            duplicates=namer.duplicates,
            fields=names,
            read_as=source.notes,
            strata=grouping.sizes() if grouping else None,
            sizes_by_stratum=shares,
            _seed=seed,
            _firsts=keys.firsts,
            _order=array("Q", order),
            _store=store,
            _namer=namer,
            _grouping=grouping,
            _selection=selection,
            _open=stack.pop_all(),
        )


def _plain(
    rows: Sequence[Row], field: str
) -> tuple[Sequence[int], list[str], Sequence[bytes], Sequence[int]] | None:
    """Numbers, ids, texts, offsets; ``None`` where a row is wrong or no JSON, or an id no text."""
    numbers, fields, texts, offsets = zip(*rows, strict=True)
    try:
        ids = [each[field] for each in fields]
    except (TypeError, KeyError):  # what is wrong with a row stands in the place of its fields
        return None
    named = set(map(type, ids)) == {str} and all(ids) and not any(map(str.isspace, ids))
    return (numbers, ids, texts, offsets) if named and all(texts) else None


def _takes(selection: Selection, fields: Mapping[str, Any]) -> bool:
    try:
        return selection.takes(fields)
    except PromptError as error:
        raise BadRow(
            str(error), "correct where under [data], which is asked of every row"
        ) from error


def _store(source: Input, size: int, stratify: str | None, scratch: Path | None) -> Store:
    """Where rows can be read again once it is known which of them are drawn."""
    if source.in_place:
        return InFile(source.file, source.check_unchanged)
    # Until the last row nobody knows how many each stratum gives, so none can be let go.
    if 0 < size <= IN_MEMORY and stratify is None:
        return Smallest(size)
    return Spool(scratch)


class _Skipped:
    def __init__(self, source: Input, on_bad_row: str) -> None:
        self._source = source
        self._refuse = on_bad_row == "error"
        self._hint = ""
        self.count = 0
        self.examples: list[str] = []

    def add(self, number: int, problem: BadRow, first: bool) -> None:
        example = f"{self._source.at(number)}: {problem}"
        if self._refuse:
            raise DataError(
                f"{self._source.name}, {example}",
                (first and problem.hint)
                or 'fix it, or set on_bad_row = "skip" under [data] to leave such rows out',
            )
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)
            self._hint = self._hint or problem.hint

    def all_of_them(self, passed: int) -> DataError:
        """Why there are no items, where ``passed`` rows are none that ``where`` means."""
        name = self._source.name
        if passed:
            return DataError(
                f"none of the {words.counted(passed, 'row')} of {name} fits where under [data]",
                "write another condition; texts stand in quotes, and a cell of a CSV is a text",
            )
        if not self.count:
            return DataError(f"{name} has no rows", "give at least one item")
        return DataError(
            f"none of the {words.counted(self.count, 'row')} of {name} can be used; "
            f"{self.examples[0]}",
            self._hint or "does format under [data] name what the file is?",
        )
