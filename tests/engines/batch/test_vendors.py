"""The vendors' own APIs: requests as litellm would send them, answers as it would read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.options import Model
from llm_batch.engines.batch.api import Fields
from llm_batch.engines.batch.engine import cancel_jobs
from llm_batch.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_REFUSED, ConfigError
from llm_batch.sending.providers import batch_vendor
from tests.batch_server import BatchServer
from tests.batch_server.jobs import Reply, WebError
from tests.batch_server.shapes import Shape, each
from tests.engines.batch.runs import Session, billed, journal, load, results, write_project
from tests.server.answers import ApiError

pytestmark = pytest.mark.litellm

CLAUDE, GEMINI, AZURE = "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash", "azure/writer"
ALIKE = ["groq/writer", "mistral/writer", "together_ai/writer"]
VENDORS = ["openai/writer", CLAUDE, GEMINI, AZURE, *ALIKE]


@pytest.fixture(autouse=True)
def azure_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")


def project(folder: Path, server: BatchServer, model: str, count: int = 4, **more: object) -> None:
    write_project(folder, server, count, model=model, judge=model, **more)  # type: ignore[arg-type]


def joined(model: str, follow: int) -> int:
    """Of the requests that follow answers, those in one job with what is left over before them."""
    return 0 if model == CLAUDE else follow  # objects need a header of their own there


@pytest.mark.parametrize("model", VENDORS)
def test_a_chain_with_an_object_is_played_by_two_jobs(
    tmp_path: Path, server: BatchServer, model: str
) -> None:
    project(tmp_path, server, model)
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_OK, summary.message
    found = results(tmp_path).values()
    assert [row["status"] for row in found] == ["ok"] * 4
    assert all(0 <= row["outputs"]["judge"]["score"] <= 100 for row in found)
    assert [len(job.lines) for job in server.jobs.values()] == [4, 4]
    name = model.partition("/")[2]
    into, out = (server.tokens["batch", name, way] for way in ("input", "output"))
    assert summary.progress.spent == pytest.approx((into * 0.5 + out * 2.0) / 1e6)


@pytest.mark.parametrize("model", VENDORS)
def test_failed_lines_are_submitted_again_and_late_files_waited_for(
    tmp_path: Path, server: BatchServer, model: str
) -> None:
    project(tmp_path, server, model)
    server.line_faults.extend(["500", "429", "missing"])
    server.settling, server.finalizing = 2, 3
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert [len(job.lines) for job in server.jobs.values()][:2] == [4, 3 + joined(model, 1)]
    assert server.paid_twice == 0
    assert all(row["status"] == "ok" for row in results(tmp_path).values())


def test_answers_of_google_are_had_from_a_file_too(tmp_path: Path, server: BatchServer) -> None:
    project(tmp_path, server, GEMINI)
    server.in_files = True
    server.line_faults.extend(["500", "429", "missing"])
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 0


@pytest.mark.parametrize("model", VENDORS)
def test_an_expired_job_is_made_up_for(tmp_path: Path, server: BatchServer, model: str) -> None:
    project(tmp_path, server, model)
    # Google returns nothing of a job that expires, so nothing is worked on here either.
    server.ends.append(("expired", 0.0 if model == GEMINI else 0.5))
    assert Session(tmp_path).play().exit_code == EXIT_OK
    left = 4 if model == GEMINI else 2
    again = left + joined(model, 4 - left)
    assert [len(job.lines) for job in server.jobs.values()][:2] == [4, again]
    assert server.paid_twice == 0


@pytest.mark.parametrize("model", VENDORS)
def test_a_creation_whose_answer_is_lost_is_found_again(
    tmp_path: Path, server: BatchServer, model: str
) -> None:
    project(tmp_path, server, model)
    server.lose_creates = 2
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 2 and server.paid_twice == 0


def without_total(page: Any) -> Any:
    return {k: v for k, v in page.items() if k != "total"} if "total" in page else page


@pytest.mark.parametrize(
    ("model", "shape"),
    [*((model, lambda value: value) for model in VENDORS), ("mistral/writer", without_total)],
)
def test_a_lost_creation_is_found_on_a_later_page_of_the_list(
    tmp_path: Path, server: BatchServer, model: str, shape: Shape
) -> None:
    write_project(tmp_path, server, 2, model=model, judge=None)
    server.lose_creates, server.crowd, server.shape = 1, 105, shape
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert len(server.jobs) == 1 and server.paid_twice == 0


def test_a_batch_of_others_that_looks_like_ours_is_waited_for_and_let_go(
    tmp_path: Path, server: BatchServer
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    project(others, server, CLAUDE)
    session = Session(others)
    session.stop.clock.sleep = lambda seconds: session.stop("interrupted")  # type: ignore[method-assign]
    server.polls = 10**6
    session.play()
    (foreign,) = server.jobs.values()
    # Ours was written down and never created, while theirs came to be.
    own = tmp_path / "own"
    own.mkdir()
    project(own, server, CLAUDE)
    lines = (others / "results.batches.jsonl").read_text().splitlines()
    intent = json.loads(lines[0])
    intent["id"] = "llmb-0123456789abcdef"
    (own / "results.batches.jsonl").write_text(json.dumps(intent) + "\n")
    server.polls = 1
    assert Session(own).play().exit_code == EXIT_OK
    assert [row["status"] for row in results(own).values()] == ["ok"] * 4
    events = [
        json.loads(line) for line in (own / "results.batches.jsonl").read_bytes().splitlines()
    ]
    assert {"event": "mistaken", "schema": 2, "id": intent["id"], "job": foreign.id} in events
    assert len(server.jobs) == 3


@pytest.mark.parametrize("model", VENDORS)
def test_a_job_is_cancelled_by_the_vendors_own_way_and_its_answers_are_kept(
    tmp_path: Path, server: BatchServer, model: str
) -> None:
    project(tmp_path, server, model)
    server.polls = 10**6
    session = Session(tmp_path)
    session.stop.clock.sleep = lambda seconds: session.stop("interrupted")  # type: ignore[method-assign]
    session.play()
    server.broken = {("POST", "cancel"): 1}
    ending = cancel_jobs(load(tmp_path), Session(tmp_path).stop.clock, str)
    (job,) = server.jobs.values()
    assert job.end == "cancelled"
    kept = 0 if model == GEMINI else 2  # Google gives nothing of it out
    assert (ending.jobs, ending.kept, ending.dropped) == (1, kept, 4 - kept)
    server.polls = 1
    assert Session(tmp_path).play().exit_code == EXIT_OK
    assert server.paid_twice == 2 - kept


def test_every_vendor_has_the_same_word_for_a_line_that_was_cancelled() -> None:
    from llm_batch.engines.batch import anthropic, openai

    line = {"custom_id": "a-0", "result": {"type": "canceled"}}
    error = anthropic._outcome(Fields(line)).error
    assert error is not None and error.kind == "batch_cancelled"
    said = {"code": "batch_cancelled", "message": "This request could not be executed."}
    row = {"custom_id": "a-0", "response": None, "error": said}
    error = openai._outcome(Fields(row)).error
    assert error is not None and error.kind == "batch_cancelled"


def test_results_that_are_kept_no_longer_are_said_at_once_with_a_way_out(
    tmp_path: Path, server: BatchServer
) -> None:
    project(tmp_path, server, CLAUDE)
    archived = {"archived_at": "2026-01-30T00:00:00Z", "results_url": None}
    server.shape = each(lambda job: job | (archived if job["results_url"] else {}))
    session = Session(tmp_path)
    summary = session.play()
    assert summary.exit_code == EXIT_REFUSED
    assert "was archived on 2026-01-30" in summary.message and "--forget-job" in summary.message
    assert server.requests["GET", "results"] == 0 and len(server.jobs) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("model", [CLAUDE, "mistral/writer"])
def test_answers_that_are_gone_keep_the_job_and_name_a_way_out(
    tmp_path: Path, server: BatchServer, model: str, status: int
) -> None:
    project(tmp_path, server, model)
    kept = server.respond

    def respond(method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        if target.endswith(("/results", "/content")):
            return WebError(status, "It has expired.").reply(target, headers)
        return kept(method, target, headers, body)

    server.respond = respond  # type: ignore[method-assign]
    for _ in range(2):
        summary = Session(tmp_path).play()
        assert summary.exit_code == EXIT_REFUSED
        assert "It has expired." in summary.message and "--forget-job llmb-" in summary.message
    assert len(server.jobs) == 1


@pytest.mark.parametrize("model", [CLAUDE, GEMINI])
def test_no_error_of_a_line_is_billed_by_anthropic_or_google(
    tmp_path: Path, server: BatchServer, model: str
) -> None:
    write_project(tmp_path, server, 3, model=model, judge=None, max_attempts=1)
    server.line_faults.append(ApiError(504, "The request timed out.", "timeout_error", None))
    assert Session(tmp_path).play().exit_code == EXIT_INCOMPLETE
    assert sum(line["cost"] for line in journal(tmp_path)) == pytest.approx(billed(server))


def test_a_wrong_key_ends_the_run_at_once(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-wrong-0123456789")
    project(tmp_path, server, CLAUDE)
    summary = Session(tmp_path).play()
    assert summary.exit_code == EXIT_REFUSED and "x-api-key" in summary.message
    assert "0123456789" not in summary.message


def test_a_job_has_the_beta_headers_of_its_step(tmp_path: Path, server: BatchServer) -> None:
    project(tmp_path, server, CLAUDE)
    Session(tmp_path).play()
    generate, judge = server.log
    assert "anthropic-beta" not in generate
    assert "structured-outputs" in judge["anthropic-beta"]
    assert all(headers["x-api-key"] == server.key for headers in server.log)


@pytest.mark.parametrize(
    ("model", "vendor"),
    [
        ("gpt-4o-mini", "openai"),
        ("openai/my-own", "openai"),
        ("azure/my-deployment", "azure"),
        (CLAUDE, "anthropic"),
        (GEMINI, "gemini"),
        ("openai/o3-pro", ""),  # of the responses API
        ("mistral/mistral-small-latest", "mistral"),
        ("groq/openai/gpt-oss-120b", "groq"),
        ("together_ai/Qwen/Qwen2.5-7B-Instruct-Turbo", "together_ai"),
        ("deepseek/deepseek-chat", ""),
    ],
)
def test_a_model_goes_by_the_batch_api_of_its_vendor_if_it_chats(model: str, vendor: str) -> None:
    assert batch_vendor(model, Model()) == vendor


def test_models_without_a_batch_api_are_named(tmp_path: Path, server: BatchServer) -> None:
    write_project(tmp_path, server, 2, judge="fake/judge", prices=False)
    session = Session(tmp_path)
    session.play()
    assert "fake/judge has no batch API spoken here: it is called live" in session.talk
    write_project(tmp_path, server, 2, model="deepseek/deepseek-chat", judge=None)
    with pytest.raises(
        ConfigError, match="deepseek/deepseek-chat cannot be served by batch: spoken"
    ):
        Session(tmp_path).play()
