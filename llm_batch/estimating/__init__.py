"""What a run will cost, take and prove: `estimate` makes an `Estimate`, a format makes it text."""

from __future__ import annotations

from llm_batch.estimating.build import (
    estimate,
    estimate_from_items,
    estimate_from_nothing,
)
from llm_batch.estimating.estimates import Estimate, StepEstimate, estimate_record, values
from llm_batch.estimating.pilot import Measured, config_of_run, measured_in
from llm_batch.paper import Formats
from llm_batch.paper.document import Document

__all__ = [
    "FORMATS",
    "Estimate",
    "Measured",
    "StepEstimate",
    "config_of_run",
    "estimate",
    "estimate_from_items",
    "estimate_from_nothing",
    "estimate_record",
    "measured_in",
]


def _document(estimate: Estimate) -> Document:
    from llm_batch.estimating.document import document

    return document(estimate)


def _screen(estimate: Estimate) -> Document:
    from llm_batch.estimating.screen import screen

    return screen(estimate)


#: Formats by the name a user gives.
FORMATS = Formats(_document, _screen, values)
