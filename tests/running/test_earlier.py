"""Calls that were made before: asked again, set aside, or taken over from another output."""

from __future__ import annotations

import json

import pytest

from llm_batch.chain.config import Config, load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.errors import ConfigError, OutputError
from llm_batch.record.journal import Journal
from llm_batch.records import Request
from llm_batch.running.run import Earlier, run
from tests.builders import reply_to
from tests.project import Project


def unreadable_for_q3(request: Request) -> str:
    """A judge that nobody can read, for one item."""
    bad = request.item_id == "q3" and request.step == "judge"
    return "no idea" if bad else reply_to(request)


def test_an_answer_that_cannot_be_read_is_asked_for_again_only_on_request(project: Project) -> None:
    project.answers = unreadable_for_q3
    project.run()
    assert project.statuses()["q3"] == "unparsed"
    project.answers = reply_to
    project.run()
    assert project.model.sent() == []
    summary = project.run(earlier=Earlier(retry_failed=True))
    assert project.model.sent() == ["q3.judge"]
    assert (summary.exit_code, project.statuses()["q3"]) == (0, "ok")


def test_what_is_asked_again_in_vain_is_asked_once_and_stays_failed(project: Project) -> None:
    project.answers = unreadable_for_q3
    project.run()
    summary = project.run(earlier=Earlier(retry_failed=True))
    # The judge is asked, told what was wrong, and asked once more.
    assert project.model.sent() == ["q3.judge", "q3.judge"]
    assert (summary.exit_code, project.statuses()["q3"]) == (4, "unparsed")


def test_asking_again_without_money_keeps_every_result(project: Project) -> None:
    project.answers = unreadable_for_q3
    project.run()
    spent = project.manifest()["totals"]["cost"]
    project.run(project.config(budget=spent), earlier=Earlier(retry_failed=True))
    assert project.model.sent() == []
    assert set(project.statuses()) >= {f"q{n}" for n in range(12)} - {"q3"}


def test_overwriting_begins_anew_and_keeps_what_was_paid_for(project: Project) -> None:
    project.run()
    before = (project.folder / "results.calls.jsonl").read_bytes()
    project.run(earlier=Earlier(overwrite=True))
    assert len(project.model.sent()) == 24
    assert (project.folder / "results.1.calls.jsonl").read_bytes() == before
    assert any("results.1.calls.jsonl" in sentence for sentence in project.said)
    project.run(earlier=Earlier(overwrite=True))
    assert (project.folder / "results.1.calls.jsonl").read_bytes() == before
    assert (project.folder / "results.2.calls.jsonl").exists()


def test_overwriting_what_is_not_there_is_a_plain_run(project: Project) -> None:
    assert project.run(earlier=Earlier(overwrite=True)).exit_code == 0


def test_a_run_that_is_being_written_is_not_set_aside(project: Project) -> None:
    project.run()
    held = Journal(project.folder / "results.calls.jsonl")
    try:
        with pytest.raises(OutputError, match="another run is writing"):
            project.run(earlier=Earlier(overwrite=True))
    finally:
        held.close()
    assert (project.folder / "results.jsonl").exists()


def test_answers_of_another_output_are_taken_over_and_cost_nothing(project: Project) -> None:
    project.run(project.config(sample=5))
    other = project.folder / "results.calls.jsonl"
    kept = other.read_bytes()
    project.config(sample=8)
    config = load_config(
        project.folder / "llmb.toml", Overrides(output=str(project.folder / "new.jsonl"))
    )
    project.model.requests.clear()
    summary = run(config, earlier=Earlier(reuse=[other]))
    assert len(project.model.requests) == 6
    assert summary.progress.reused == 10
    lines = [json.loads(line) for line in (project.folder / "new.jsonl").read_bytes().splitlines()]
    assert sum(line["cost"]["total"] == 0 for line in lines) == 5
    assert len({line["id"] for line in lines}) == 8
    assert other.read_bytes() == kept
    # The results follow from the run's own journal alone.
    other.unlink()
    project.model.requests.clear()
    again = run(config)
    assert (again.exit_code, project.model.requests) == (0, [])


@pytest.mark.parametrize("content", [None, "question\nwhat?\n"])
def test_what_is_no_journal_is_refused_before_anything_is_sent(
    project: Project, content: str | None
) -> None:
    other = project.folder / "other.csv"
    if content is not None:
        other.write_text(content)
    with pytest.raises(ConfigError, match=r"--reuse: .*other\.csv"):
        project.run(earlier=Earlier(reuse=[other]))
    assert project.model.sent() == []


def _elsewhere(
    project: Project, prompt: str = "", data: bool = True, names: bool = False
) -> Config:
    """The project's config over other data, with other steps."""
    config = project.config()
    if data:
        path = project.folder / "other.jsonl"
        path.write_text('{"id": "z1", "question": "Why?"}\n{"id": "z2", "question": "How?"}\n')
        config = config.model_copy(
            update={"data": config.data.model_copy(update={"path": str(path)})}
        )
    if prompt:
        generate, judge = config.steps
        steps = [
            generate.model_copy(update={"prompt": prompt}),
            judge.model_copy(update={"prompt": "{{ question }} " + "{{ generate }}"}),
        ]
        if names:
            first = generate.model_copy(update={"name": "translate", "prompt": prompt})
            config = config.model_copy(update={"score": None})
            steps = [first]
        config = config.model_copy(update={"steps": tuple(steps)})
    return config


def test_another_project_on_the_same_output_is_refused(project: Project) -> None:
    project.run()
    before = project.results.read_bytes()
    other = _elsewhere(project, "Translate: {{ question }}")
    with pytest.raises(
        ConfigError, match=r"holds 12 items of another run \(.*q\.jsonl; steps"
    ) as c:
        project.run(other)
    assert "--output other.jsonl" in c.value.hint and "--overwrite" in c.value.hint
    assert project.results.read_bytes() == before and project.model.requests == []
    project.run(other, earlier=Earlier(overwrite=True))
    assert (project.folder / "results.1.jsonl").read_bytes() == before
    assert set(project.statuses()) == {"z1", "z2"}


@pytest.mark.parametrize(
    ("prompt", "data", "names"),
    [("", True, False), ("Translate: {{ question }}", False, True)],
    ids=["the same chain over other data", "another chain over the same data"],
)
def test_results_of_other_data_or_another_chain_are_kept_aside(
    prompt: str, data: bool, names: bool, project: Project
) -> None:
    project.run()
    before = project.results.read_bytes()
    project.run(_elsewhere(project, prompt, data, names))
    assert (project.folder / "results.edited-1.jsonl").read_bytes() == before
    assert any("kept as" in sentence for sentence in project.said)


def test_an_edited_prompt_or_data_that_grew_is_the_same_project(project: Project) -> None:
    project.run()
    project.run(_elsewhere(project, "Translate: {{ question }}", data=False))
    project.data(15)
    project.run()
    project.data(16)
    project.run(_elsewhere(project, "Again: {{ question }}", data=False))
    assert not list(project.folder.glob("results.edited*"))
    assert len(project.statuses()) == 16
