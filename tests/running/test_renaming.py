"""A step that is called otherwise sends the same, so nothing of it is paid again."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from llm_batch.chain.config import Config, load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.records import Request
from llm_batch.running.earlier import Earlier
from tests.project import Project

NAMES = {"generate": "write", "judge": "verdict"}
SAME = "Rate {{ generate }}."


def renamed(project: Project, names: dict[str, str], output: str = "results.jsonl") -> Config:
    """The project's config with steps called otherwise, wherever they are named."""
    path = project.folder / "llmb.toml"
    text = path.read_text()
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"').replace(f"{{{{ {old} }}}}", f"{{{{ {new} }}}}")
        text = text.replace(f'"{old}.score"', f'"{new}.score"')
    path.write_text(text)
    return load_config(path, Overrides(output=str(project.folder / output)))


def two_judges(project: Project) -> Config:
    """A chain whose last two steps send the same for an item."""
    project.config(judge=SAME)
    path = project.folder / "llmb.toml"
    judge = (
        f'[[steps]]\nname = "second"\nmodel = "fake/a"\nprompt = "{SAME}"\nmax_tokens = 20\n'
        'output = { score = { type = "integer", min = 1, max = 5 } }\n'
    )
    path.write_text(path.read_text().replace("[score]", judge + "[score]"))
    return load_config(path, Overrides(output=str(project.results)))


def as_schema_1(project: Project) -> None:
    """The journal as the versions before wrote it: with the step's name in key and schema."""
    lines = []
    for line, asked in zip(project.journal(), project.model.requests, strict=True):
        assert line["key"] == asked.key
        lines.append({**line, "schema": 1, "key": _key_of_schema_1(asked)})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (project.folder / "results.calls.jsonl").write_text(text)


def _key_of_schema_1(asked: Request) -> str:
    params: dict[str, Any] = msgspec.to_builtins(asked.params)
    if "response_format" in params:
        params["response_format"]["json_schema"]["name"] = asked.step
    content = (asked.item_id, asked.step, asked.model, asked.messages, params, 0)
    encoded = msgspec.json.Encoder(order="deterministic").encode(content)
    return blake2b(encoded, digest_size=16).hexdigest()


@pytest.fixture
def project(project: Project) -> Project:
    """Its model tells a judge by what is sent, not by the step's name."""
    project.answers = lambda asked: (
        '{"score": 4}' if "response_format" in asked.params else f"answer for {asked.item_id}"
    )
    return project


@pytest.fixture(params=["this version", "schema 1"])
def older(request: pytest.FixtureRequest) -> bool:
    return str(request.param) == "schema 1"


def test_renamed_steps_are_not_paid_again(project: Project, older: bool) -> None:
    config = project.config(engine="serial")
    project.run(config)
    cost = sum(line["cost"] for line in project.journal())
    if older:
        as_schema_1(project)
    summary = project.run(renamed(project, NAMES))
    assert (summary.exit_code, project.model.sent()) == (0, [])
    assert {tuple(line["outputs"]) for line in project.lines()} == {("write", "verdict")}
    assert sum(line["cost"]["total"] for line in project.lines()) == pytest.approx(cost)


def test_answers_of_another_output_are_taken_over_by_a_renamed_step(
    project: Project, older: bool
) -> None:
    project.run(project.config(engine="serial"))
    if older:
        as_schema_1(project)
    config = renamed(project, NAMES, "other.jsonl")
    project.run(config, earlier=Earlier(reuse=[project.folder / "results.calls.jsonl"]))
    assert project.model.sent() == []


def test_a_journal_of_schema_1_is_used_under_the_same_names(project: Project) -> None:
    config = project.config(engine="serial")
    project.run(config)
    as_schema_1(project)
    project.run(config)
    assert project.model.sent() == []


@pytest.mark.parametrize(
    "names",
    [{}, {"judge": "first"}, {"second": "third"}, {"judge": "first", "second": "third"}],
    ids=["none", "the first", "the second", "both"],
)
def test_steps_that_send_the_same_are_each_asked_and_each_found(
    project: Project, names: dict[str, str], older: bool
) -> None:
    config = two_judges(project)
    replies = iter(range(10**6))
    project.answers = lambda asked: (
        f"answer to {asked.item_id}"
        if asked.step == "generate"
        else json.dumps({"score": 1 + next(replies) % 5})
    )
    config = config.model_copy(update={"run": config.run.model_copy(update={"engine": "serial"})})
    project.run(config)
    assert len(project.model.requests) == 36
    before = [tuple(line["outputs"].values()) for line in project.lines()]
    assert all(first != second for _, first, second in before)
    if older:
        for line, asked in zip(project.journal(), project.model.requests, strict=True):
            assert line["sample"] == (asked.step == "second")
        as_schema_1(project)
    project.run(renamed(project, names))
    assert project.model.sent() == []
    assert [tuple(line["outputs"].values()) for line in project.lines()] == before


def test_a_second_judge_that_sends_the_same_as_the_first_is_asked_for_itself(
    project: Project, older: bool
) -> None:
    project.run(project.config(judge=SAME, engine="serial"))
    if older:
        as_schema_1(project)
    project.run(two_judges(project))
    assert project.model.sent() == sorted(f"q{number}.second" for number in range(12))


def test_a_step_that_is_renamed_and_changed_is_asked_again_and_said_to_be_new(
    project: Project,
) -> None:
    project.run(project.config())
    project.config(judge="Judge {{ generate }}.")
    project.run(renamed(project, NAMES))
    assert project.model.sent() == sorted(f"q{number}.verdict" for number in range(12))
    assert "since the last run: step 'verdict' is new" in project.said


def test_a_renamed_step_is_said_to_be_that_and_nothing_else_to_have_changed(
    project: Project,
) -> None:
    project.run(project.config())
    project.run(renamed(project, NAMES))
    changes = [said for said in project.said if said.startswith("since the last run")]
    assert changes == [
        "since the last run: step 'generate' is called 'write' now; its answers are kept",
        "since the last run: step 'judge' is called 'verdict' now; its answers are kept",
    ]
