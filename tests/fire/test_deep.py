"""Lines of files that somebody else wrote: nested without end, and numbers of a million digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_batch.engines.batch.job_log import JobLog
from llm_batch.errors import LlmbError, OutputError
from llm_batch.record.manifest import Manifest
from llm_batch.reporting.judging.labelling import LabelFile
from llm_batch.reporting.judging.labels import LABEL_COLUMNS
from llm_batch.running.earlier import Earlier
from tests.project import Project

DEEP = 200_000
VALUES = {
    "deep list": "[" * DEEP + "]" * DEEP,
    "deep object": '{"a":' * DEEP + "1" + "}" * DEEP,
    "never closed": "[" * DEEP,
    "long number": "9" * 1_000_000,
    "long negative": "-" + "9" * 1_000_000,
    "long exponent": "1e" + "9" * 1_000_000,
    "long fraction": "0." + "9" * 1_000_000,
}
hostile = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


@hostile
@pytest.mark.parametrize("key", ["schema", "key", "cost", "completion", "attempts", "anything"])
def test_a_hostile_line_of_a_journal_is_damaged_or_read_and_the_run_goes_on(
    project: Project, key: str, value: str
) -> None:
    project.run()
    path = project.folder / "results.calls.jsonl"
    line = f'{{"schema":2,"key":"{"a" * 40}","step":"g","ok":true,"{key}":{value}}}\n'
    path.write_text(line + path.read_text())
    summary = project.run()
    assert (summary.status, project.model.requests) == ("done", [])
    project.run(earlier=Earlier(overwrite=True, reuse=[project.folder / "results.1.calls.jsonl"]))
    assert project.model.requests == []
    assert set(project.statuses().values()) == {"ok"}


@hostile
def test_an_answer_whose_line_is_hostile_is_asked_for_again(project: Project, value: str) -> None:
    project.run()
    path = project.folder / "results.calls.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[0] = lines[0].replace('"completion":{', f'"completion":{{"more":{value},', 1)
    path.write_text("".join(lines))
    assert project.run().status == "done"
    assert len(project.model.requests) in (0, 1)
    assert len(project.lines()) == 12


@hostile
@pytest.mark.parametrize(
    "line",
    [
        '{"schema":%s,"event":"intent"}',
        '{"schema":2,"event":"intent","id":%s}',
        '{"schema":2,"event":"intent","id":"x","model":"m","at":%s,"entries":[]}',
        "%s",
    ],
    ids=["schema", "id", "at", "alone"],
)
def test_a_hostile_line_of_the_batch_jobs_is_one_sentence(
    tmp_path: Path, value: str, line: str
) -> None:
    path = tmp_path / "results.batches.jsonl"
    path.write_text(line % value + "\n")
    with _a_sentence_at_most():
        JobLog(path)


@hostile
@pytest.mark.parametrize("line", ['{"schema":%s}', '{"schema":2,"config":%s}', "%s"])
def test_a_hostile_manifest_is_one_sentence(tmp_path: Path, value: str, line: str) -> None:
    path = tmp_path / "results.manifest.json"
    path.write_text(line % value)
    with _a_sentence_at_most():
        Manifest.read(path)


@pytest.mark.parametrize("seed", ["9" * 5_000, "9" * 1_000_000, "--1", "²", "٣" * 10, "1e9", ""])
def test_a_seed_of_labels_that_is_none_is_one_sentence(tmp_path: Path, seed: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(",".join(LABEL_COLUMNS) + f"\nq1,1,2026-01-01T00:00:00Z,{seed}\n")
    with pytest.raises(OutputError, match="is not a file that llmb label wrote"):
        LabelFile(path, None)


class _a_sentence_at_most:  # noqa: N801  (reads as words)
    """Nothing comes out of the block but an error in the user's words, of bounded length."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, _: Any) -> bool:
        if error is None:
            return True
        assert isinstance(error, LlmbError), repr(error)[:200]
        assert len(error.message) < 1_000
        return True
