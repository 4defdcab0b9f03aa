"""A rule from the config to the report: run, resumed and edited without a call of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_batch.chain.config import Config, load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.errors import EXIT_INCOMPLETE
from llm_batch.estimating import estimate
from llm_batch.reporting import build_report
from llm_batch.running.doctor import examine
from llm_batch.running.pilot import dry_run
from llm_batch.running.run import Stop
from tests.project import Project

ASKS = """
[[steps]]
name = "generate"
model = "fake/a"
prompt = "{{ question }}"
max_tokens = 20
"""
EXACT = """
[[steps]]
name = "exact"
rule = "equals"
value = "{{ generate }}"
expected = "{{ answer }}"
normalise = ["space"]
"""
SCORE = """
[score]
field = "exact"
"""
ROWS = [("Paris", "Paris"), ("paris", "Paris"), ("Lyon", "Paris"), ("Lima", "Lima"), ("x", "")]


def config(project: Project, steps: str = ASKS + EXACT, score: str = SCORE) -> Config:
    lines = [
        {"id": f"q{n}", "question": said, "answer": gold} for n, (said, gold) in enumerate(ROWS)
    ]
    (project.folder / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    project.answers = lambda request: request.messages[-1].content
    path = project.folder / "llmb.toml"
    head = '[data]\npath = "q.jsonl"\nid = "id"\n[sample]\nsize = 0\n[models."fake/a"]\n'
    path.write_text(f"{head}input_price = 1\noutput_price = 4\n{steps}{score}")
    return load_config(path, Overrides(output=str(project.results)))


def passed(project: Project) -> dict[str, bool | None]:
    return {line["id"]: line["passed"] for line in sorted(project.lines(), key=lambda x: x["id"])}


def test_a_rule_scores_without_a_call_and_an_empty_gold_cell_is_told(project: Project) -> None:
    summary = project.run(config(project))
    assert project.model.sent() == [f"q{n}.generate" for n in range(5)]
    assert passed(project) == {"q0": True, "q1": False, "q2": False, "q3": True, "q4": None}
    assert project.statuses()["q4"] == "rule"
    assert summary.exit_code == EXIT_INCOMPLETE
    wrong = next(line for line in project.lines() if line["id"] == "q2")
    assert (wrong["label"], wrong["expected"]) == ("Lyon", "Paris")
    assert wrong["reason"] == "expected Paris"


def test_an_edited_rule_is_worked_out_again_without_a_call(project: Project) -> None:
    project.run(config(project))
    edited = EXACT.replace('["space"]', '["space", "case"]')
    project.run(config(project, ASKS + edited))
    assert project.model.sent() == []
    assert passed(project)["q1"] is True
    changed = "step 'exact' changed: normalise; it is worked out again, without a call"
    assert any(changed in said for said in project.said)


def test_a_rule_added_and_taken_away_again_costs_nothing(project: Project) -> None:
    project.run(config(project, ASKS, ""))
    assert len(project.model.sent()) == 5
    project.run(config(project))
    assert project.model.sent() == []
    assert passed(project)["q3"] is True
    project.run(config(project, ASKS, ""))
    assert project.model.sent() == []
    assert "exact" not in project.lines()[0]["outputs"]


def test_a_corrected_gold_cell_is_scored_without_a_call(project: Project, tmp_path: Path) -> None:
    made = config(project)
    project.run(made)
    data = project.folder / "q.jsonl"
    data.write_text(data.read_text().replace('"answer": ""', '"answer": "x"'))
    project.run(made)
    assert project.model.sent() == []
    assert passed(project)["q4"] is True


def test_a_run_that_was_stopped_goes_on_and_pays_nothing_twice(project: Project) -> None:
    made, stop = config(project), Stop()

    def answers(request: object) -> str:
        stop()
        return "Paris"

    project.answers = answers  # type: ignore[assignment]
    project.run(made, stop=stop)
    before = len(project.model.sent())
    project.answers = lambda request: "Paris"
    project.run(made)
    assert before + len(project.model.sent()) == 5
    assert len(project.lines()) == 5


def test_answers_are_not_asked_for_again_where_a_rule_alone_failed(project: Project) -> None:
    from llm_batch.running.earlier import Earlier

    made = config(project)
    project.run(made)
    project.run(made, earlier=Earlier(retry_failed=True))
    assert project.model.sent() == []


def test_the_short_form_scores_the_last_answer_against_a_column(project: Project) -> None:
    project.run(config(project, ASKS, '[score]\nequals = "answer"\n'))
    assert passed(project)["q1"] is True  # whatever its case
    assert project.lines()[0]["outputs"].keys() == {"generate", "exact"}


def test_a_chain_of_rules_alone_runs_without_a_model(project: Project) -> None:
    alone = EXACT.replace("{{ generate }}", "{{ question }}")
    project.run(config(project, alone))
    assert project.model.sent() == []
    assert passed(project)["q0"] is True


def test_an_estimate_counts_no_call_and_no_price_of_a_rule(project: Project) -> None:
    made = config(project)
    found, without = estimate(made), estimate(config(project, ASKS, ""))
    assert found.rules == (("exact", "equals"),)
    assert (found.calls.value, found.cost) == (without.calls.value, without.cost)
    assert "rule: equals" in found.to("full")
    assert "Rules ask no model and cost nothing: exact (equals)." in found.to("full")
    assert json.loads(found.to_json())["rules"] == [{"step": "exact", "rule": "equals"}]


def test_a_dry_run_shows_what_a_rule_compares(project: Project) -> None:
    sections = {section.title: section for section in dry_run(config(project)).sections}
    shown = sections["exact: the rule equals, no call"]
    texts = [part.text for part in shown.parts if hasattr(part, "text")]
    assert texts[0] == "[value]\n«answer of generate»"
    assert texts[1].startswith("[expected]\n")


def test_a_report_of_a_rule_names_no_judge(project: Project) -> None:
    project.run(config(project))
    report = build_report(project.results)
    assert (report.run.rule, report.run.judge) == ("equals", "")
    assert report.judge_check is None
    for name in ("text", "full", "md"):
        assert "judge" not in report.to(name).replace("/judge", "").casefold()
        assert "llmb label" not in report.to(name)


@pytest.mark.parametrize("alone", [True, False], ids=["rules alone", "with a model"])
def test_the_doctor_knows_rules(project: Project, alone: bool) -> None:
    steps = EXACT.replace("{{ generate }}", "{{ question }}") if alone else ASKS + EXACT
    made = config(project, steps)
    checks = examine(made.source, Overrides()).checks
    found = {check.about: check for check in checks}
    assert found["config"].says.endswith("exact")
    assert found["config"].state == "ok"
