"""What a run will cost, take and prove: `estimate` makes an `Estimate`, a format makes it text."""

from __future__ import annotations

from collections.abc import Callable

from llm_batch.estimating.build import (
    estimate,
    estimate_from_items,
    estimate_from_nothing,
)
from llm_batch.estimating.evidence import Measured, config_of_run, measured_in
from llm_batch.estimating.json import estimate_record
from llm_batch.estimating.model import Estimate, StepEstimate

__all__ = [
    "DEFAULT_MODEL",
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

#: The model that is priced where only the number of items is known and none was named.
DEFAULT_MODEL = "gpt-4o-mini"


def _text(estimate: Estimate) -> str:
    from llm_batch.estimating.text import format

    return format(estimate)


def _json(estimate: Estimate) -> str:
    from llm_batch.estimating.json import format

    return format(estimate)


def _markdown(estimate: Estimate) -> str:
    from llm_batch.estimating.markdown import format

    return format(estimate)


#: Formats by the name a user gives; each imports what it needs when it is chosen.
FORMATS: dict[str, Callable[[Estimate], str]] = {"text": _text, "json": _json, "md": _markdown}
