"""What a report says of a run that stopped because it had shown enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_batch.records import Request
from llm_batch.reporting import build_report
from llm_batch.running.run import Until
from tests.builders import reply_to
from tests.project import Project


@pytest.mark.parametrize(
    ("until", "says"),
    [
        (Until(margin=0.1), "the pass rate is known to ±10 points"),
        (Until(decided=0.5), "certainly above or below 50 %"),
    ],
)
def test_the_report_names_the_rule_and_its_method(
    project: Project, until: Until, says: str
) -> None:
    def judged(request: Request) -> str:
        return '{"score": 5}' if request.step == "judge" else reply_to(request)

    project.data(200)
    project.answers = judged
    summary = project.run(until=until)
    assert summary.status == "enough"
    warnings = " ".join(build_report(Path(summary.path)).warnings)
    assert "stopped early because its result is clear enough" in warnings
    assert says in warnings
