"""What a run will cost, take and prove: `estimate` makes an `Estimate`, a format makes it text."""

from __future__ import annotations

from llm_batch.estimating.build import (
    estimate,
    estimate_from_items,
    estimate_from_nothing,
)
from llm_batch.estimating.estimates import Estimate, StepEstimate, estimate_record, values
from llm_batch.estimating.pilot import Measured, config_of_run, measured_in
from llm_batch.paper import Formats, later

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


#: Formats by the name a user gives.
FORMATS: Formats[Estimate] = Formats(
    later("llm_batch.estimating.document", "document"),
    values,
    screen=later("llm_batch.estimating.document", "screen"),
)
