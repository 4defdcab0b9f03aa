"""What an estimate is asked besides figures: a claim to plan for, other models to compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llm_batch.config import Config
from llm_batch.estimate.claims import Claim
from llm_batch.estimate.needs import Clusters
from llm_batch.estimate.scored import Scored


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked.

    Attributes:
        claim: What the run is to show.
        clusters: Items that belong together; ``None`` without.
        stratify: The field whose values are the strata.
        strata: Items in each; ``None`` without.
        scored: Scores of an earlier run; ``None`` without.
        others: The same chain with other models, to be compared.
        prompts: What is odd about the prompts, a sentence each without its full stop.
    """

    claim: Claim = field(default_factory=Claim)
    clusters: Clusters | None = None
    stratify: str = ""
    strata: Mapping[str, int] | None = None
    scored: Scored | None = None
    others: tuple[Config, ...] = ()
    prompts: tuple[str, ...] = ()
