"""The estimate that fits a screen: what it costs, how few items are enough, what to think about."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.estimating import sentences as size_words
from llm_batch.estimating.document import (
    devices,
    headline,
    next_steps,
    steps_table,
    what_if_in_short,
)
from llm_batch.estimating.estimates import Estimate, Option
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table, on_screen

_LABELS = {"pilot": "a first look", "claim": "", "textbook": ""}
#: Sizes that are shown, the plan's own and the one to take among them.
_SIZES, _FEW_SIZES = 5, 3


def screen(estimate: Estimate) -> Document:
    """An estimate in at most 30 lines of 80 columns; what is left out is in the whole document."""
    return Document(
        headline(estimate),
        sections=tuple(_sections(estimate)),
        next_steps=next_steps(estimate),
        **on_screen(
            # What the verdict says, and Next lets one type, is not said again.
            [warning for warning in estimate.warnings if warning.hint != estimate.next_command],
            "--format md is for notes, json for programs",
        ),
    )


def _sections(estimate: Estimate) -> Iterator[Section]:
    # Of two plain steps the table alone shows which is the dear one.
    said = devices(estimate) if estimate.devices else ()
    yield Section("", (steps_table(estimate), *said))
    if compared := what_if_in_short(estimate):
        yield compared
    needed = estimate.needed
    # The table and the verdict say all of a margin; other claims rest on more.
    plain = needed.n is not None and needed.kind in ("rate", "mean")
    asked = () if plain and estimate.verdict else (estimate.claim_notes[0],)
    parts = (*asked, _sizes(estimate), *filter(None, (estimate.verdict,)))
    yield Section("How many items are enough", parts)


def _sizes(estimate: Estimate) -> Table:
    needed = estimate.needed
    first, last = estimate.options[0].n, estimate.options[-1].n
    wanted = dict.fromkeys((needed.take, estimate.n, first, last))
    wanted |= dict.fromkeys(option.n for option in estimate.options if not option.label)
    sizes = list(wanted)[: _SIZES if len(estimate.alternatives) < 2 else _FEW_SIZES]
    shown = [option for option in estimate.options if option.n in sizes]
    priced = any(option.cost is not None and option.cost.high for option in shown)

    def cells(option: Option) -> tuple[str, ...]:
        cost = (
            words.about_usd(option.cost.value if option.cost else None),
            words.about_usd_range(option.cost) if option.cost else "",
        )
        return (
            f"{option.n:,}",
            size_words.cell(needed, option.margin),
            *(cost if priced else ()),
            words.about_duration(option.seconds.value),
            _LABELS.get(option.label, option.label) if option.n != needed.take else "enough",
        )

    money = ("cost", "low to high") if priced else ()
    header = ("items", size_words.HEADS[needed.kind], *money, "time", "")
    right = (*[True] * (len(header) - 1), False)
    return Table(header, right, tuple(cells(option) for option in shown))
