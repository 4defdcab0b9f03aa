"""The log of a run: what is in it, and what never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.errors import OutputError, Unavailable
from llm_batch.records import Request
from tests.builders import reply_to
from tests.project import Project


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_every_call_item_and_sentence_is_a_line(project: Project) -> None:
    log = project.folder / "run.log"
    project.run(log_file=log)
    found = events(log)
    kinds = [event["event"] for event in found]
    assert (kinds.count("call"), kinds.count("item")) == (24, 12)
    assert (kinds[0], kinds[-1]) == ("run_started", "run_ended")
    assert found[-1]["done"] == 12 and found[-1]["exit_code"] == 0
    assert all(event["time"].endswith("Z") for event in found)
    project.run(log_file=log)
    notes = [event["text"] for event in events(log) if event["event"] == "note"]
    assert notes == project.said


def test_a_failed_attempt_is_logged_with_its_kind_and_without_the_key(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "very-secret-value-1")

    def answers(request: Request) -> str | Unavailable:
        if request.item_id == "q3":
            return Unavailable("down, you sent very-secret-value-1", kind="unavailable")
        return reply_to(request)

    project.answers = answers
    log = project.folder / "run.log"
    project.run(project.config(max_attempts=1, max_failure_share=1), log_file=log)
    failed = [event for event in events(log) if event["event"] == "call" and not event["ok"]]
    assert [(event["item"], event["errors"]) for event in failed] == [("q3", ["unavailable"])]
    assert failed[0]["kind"] == "unavailable" and "[key]" in failed[0]["message"]
    assert b"very-secret" not in log.read_bytes()


def test_a_log_that_cannot_be_written_is_refused_before_anything_is_sent(project: Project) -> None:
    with pytest.raises(OutputError, match="cannot write the log"):
        project.run(log_file=project.folder)
    assert project.model.sent() == []


@pytest.mark.parametrize("how", ["renamed", "deleted"])
def test_a_log_that_is_rotated_is_made_anew(project: Project, how: str) -> None:
    log, old = project.folder / "run.log", project.folder / "run.log.1"

    def answers(request: Request) -> str:
        if request.item_id == "q3" and not old.exists():
            (log.rename(old) if how == "renamed" else (log.unlink(), old.touch()))
        return reply_to(request)

    project.answers = answers
    project.run(log_file=log)
    found = events(log)
    assert found[-1]["event"] == "run_ended"
    if how == "renamed":
        assert events(old)[0]["event"] == "run_started"
        kinds = [event["event"] for event in [*events(old), *found]]
        assert (kinds.count("call"), kinds.count("item")) == (24, 12)
