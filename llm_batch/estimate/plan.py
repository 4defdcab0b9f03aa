"""A plan: which items are to be played with which models, and what that comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llm_batch.config import Config
from llm_batch.estimate.groups import StepFacts
from llm_batch.estimate.measured import Measured
from llm_batch.estimate.sample import Counted
from llm_batch.estimate.serving import Serving
from llm_batch.estimate.skewed import LEVEL
from llm_batch.estimate.span import Load, Span
from llm_batch.records import Interval


@dataclass(frozen=True, slots=True)
class Plan:
    """What an estimate is assembled from; ``whole`` is the load if nothing were answered."""

    config: Config
    facts: Mapping[str, StepFacts]
    servings: Mapping[str, Serving]
    n: int
    population: int | None
    remaining: Load
    whole: Load
    counted: Counted | None
    measured: Measured | None
    finished: int = 0

    @property
    def workers(self) -> int:
        """Calls at once."""
        return 1 if self.config.run.engine == "serial" else self.config.limits.workers

    @property
    def is_measured(self) -> bool:
        """Whether every step was."""
        return all(fact.measure is not None for fact in self.facts.values())

    def interval(self, span: Span) -> Interval:
        """A figure with what it rests on."""
        sampled = self.counted.sampled if self.counted else 0
        if self.measured is not None and self.is_measured:
            return span.interval(len(self.measured.items), "measured, modified Cox or t", LEVEL)
        method = "counted prompts, assumed answers" if sampled else "assumed sizes"
        return span.interval(sampled, method)
