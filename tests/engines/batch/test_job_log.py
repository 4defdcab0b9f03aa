"""The journal of jobs survives being cut anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_batch.engines.batch.job_log import Entry, Job, JobLog, stub_of
from llm_batch.errors import OutputError
from tests.builders import request

ENTRY = Entry("9f" * 16, "q1", "generate", 0, 0.1, 12)


def job(number: int = 1) -> Job:
    return Job(f"llmb-{number}", "openai/a", 5.0, [ENTRY], marker="m")


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "r.batches.jsonl"
    log = JobLog(path)
    first, second = job(1), job(2)
    log.intent(first)
    log.created(first, "batch_1")
    log.mistaken(first)
    log.created(first, "batch_2")
    log.intent(second)
    log.ended(second, "collected")
    assert JobLog(path).open == log.open == {"llmb-1": first}
    found = JobLog(path).open["llmb-1"]
    assert (found.job, found.others, found.entries, found.marker) == (
        "batch_2", ["batch_1"], [ENTRY], "m",
    )  # fmt: skip


def test_any_cut_leaves_the_jobs_that_were_written_before_it(tmp_path: Path) -> None:
    path = tmp_path / "r.batches.jsonl"
    log = JobLog(path)
    first, second = job(1), job(2)
    log.intent(first)
    log.created(first, "batch_1")
    log.intent(second)
    content = path.read_bytes()
    ends = [end + 1 for end, byte in enumerate(content) if byte == 10]
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        found = JobLog(path)
        assert len(found.open) == (0 if not whole else 1 if whole < 3 else 2)
        if whole >= 2:
            assert found.open["llmb-1"].job == "batch_1"
        found.intent(job(3))
        assert "llmb-3" in JobLog(path).open


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.batches.jsonl"
    path.write_text('{"schema": 99, "event": "intent", "id": "x"}\n')
    with pytest.raises(OutputError, match="newer version"):
        JobLog(path)


def test_custom_ids_lead_back_to_their_entries_and_those_of_others_do_not() -> None:
    own = job()
    assert own.entry(own.custom_id(0)) == ENTRY
    assert own.entry("llmb-1-1") is None
    assert own.entry("llmb-2-0") is None
    assert own.entry("something") is None


def test_a_stub_has_the_key_of_its_request() -> None:
    asked = request()
    entry = Entry(asked.key, asked.item_id, asked.step, asked.sample, None, 3)
    assert stub_of(entry, asked.model).key == asked.key
