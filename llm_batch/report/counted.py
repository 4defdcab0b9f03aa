"""What reading a results file came to, and what was asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llm_batch.report.calibration.tally import JudgesTally, LabelTally
from llm_batch.report.calls import CallsTally
from llm_batch.report.clusters import ClusterTally
from llm_batch.report.group_tally import GroupTally
from llm_batch.report.reference import ReferenceTally
from llm_batch.report.tally import Tally


@dataclass(frozen=True, slots=True)
class Asked:
    """How intervals are to be made.

    Attributes:
        level: Their confidence level.
        exact: Whether rates get exact intervals in place of Wilson's.
        mean: ``t``, ``bca``, or ``auto`` for BCa where the scores are skewed.
    """

    level: float = 0.95
    exact: bool = False
    mean: Literal["auto", "t", "bca"] = "auto"


@dataclass(frozen=True, slots=True)
class Counted:
    """All that came out of reading the lines.

    ``judge`` is the step that scores, empty without one; ``scoring`` says whether items were to
    be scored at all.
    """

    tally: Tally
    groups: GroupTally | None
    strata: GroupTally | None
    references: ReferenceTally | None
    judge: str
    scoring: bool
    labels: LabelTally | None = None
    judges: JudgesTally | None = None
    calls: CallsTally | None = None
    clusters: ClusterTally | None = None
