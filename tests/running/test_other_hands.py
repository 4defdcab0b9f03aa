"""Files of a run that were copied, saved by an editor, transferred as text, or lie elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_batch.estimating.pilot import read_measured
from llm_batch.reporting import build_report
from llm_batch.running.earlier import Earlier
from tests.project import Project

FILES = ("results.jsonl", "results.calls.jsonl", "results.manifest.json")


def copied(content: bytes) -> bytes:
    return content


def with_mark(content: bytes) -> bytes:
    return b"\xef\xbb\xbf" + content


def with_crlf(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


def saved_on_windows(content: bytes) -> bytes:
    """With both, an empty line at the end, and no end of that."""
    return with_mark(with_crlf(content)) + b"\r\n \r\n"


def without_end(content: bytes) -> bytes:
    return with_crlf(content).removesuffix(b"\n")


WAYS = [copied, with_mark, with_crlf, saved_on_windows, without_end]


def touch(folder: Path, change: Callable[[bytes], bytes], *names: str) -> None:
    for number, name in enumerate(names or FILES):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))
        os.utime(path, (1e9 + number, 1e9 + number))


def edited(project: Project) -> list[Path]:
    return sorted(project.folder.glob("*.edited-*"))


@pytest.mark.parametrize("change", WAYS)
def test_a_journal_that_somebody_saved_is_read_and_pays_for_nothing_again(
    project: Project, change: Callable[[bytes], bytes]
) -> None:
    config = project.config()
    project.run(config)
    touch(project.folder, change, FILES[1])
    project.run(config)
    assert project.model.sent() == []
    assert not any("damaged" in said for said in project.said)
    # It can be added to, and the lines of both kinds are read.
    project.data(15)
    project.run(config)
    assert len(project.model.sent()) == 6
    project.run(config)
    assert project.model.sent() == [] and len(project.lines()) == 15


@pytest.mark.parametrize("change", WAYS)
def test_a_journal_that_somebody_saved_gives_its_answers_to_another_run(
    project: Project, change: Callable[[bytes], bytes]
) -> None:
    config = project.config()
    project.run(config)
    touch(project.folder, change, FILES[1])
    other = config.run.model_copy(update={"output": str(project.folder / "other.jsonl")})
    earlier = Earlier(reuse=[project.folder / FILES[1]])
    project.run(config.model_copy(update={"run": other}), earlier=earlier)
    assert project.model.sent() == []


@pytest.mark.parametrize("change", WAYS)
def test_a_run_that_was_copied_or_transferred_is_not_edited_and_reads_as_before(
    project: Project, change: Callable[[bytes], bytes]
) -> None:
    config = project.config()
    project.run(config)
    before = build_report(project.results)
    touch(project.folder, change)
    after = build_report(project.results)
    assert (after.items, after.scores, after.total) == (before.items, before.scores, before.total)
    assert after.breakdown == before.breakdown and after.run == before.run
    assert len(read_measured(project.results, "it", steps=["judge"]).items) == 12
    project.run(config)
    assert project.model.sent() == []
    assert edited(project) == []


def test_a_whole_folder_that_was_copied_goes_on_where_it_is(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = project.config()
    project.run(config)
    there = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(project.folder, there, copy_function=shutil.copyfile)
    run = config.run.model_copy(update={"output": str(there / "results.jsonl")})
    project.run(config.model_copy(update={"run": run}))
    assert project.model.sent() == [] and not list(there.glob("*.edited-*"))


def test_an_edit_of_the_same_length_is_an_edit(project: Project) -> None:
    config = project.config()
    project.run(config)
    touch(project.folder, lambda content: content.replace(b"ok", b"OK"), FILES[0])
    project.run(config)
    assert b'"OK"' in edited(project)[0].read_bytes()
    assert set(project.statuses().values()) == {"ok"}


# Links that the user has agreed to; tests/fire/test_files.py has those that nobody did


@pytest.fixture
def elsewhere(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the three files of the run lie, by other names; links lead there."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in FILES:
        (project.folder / name).symlink_to(folder / f"big-{name}")
    return folder


def test_files_that_are_links_stay_links_and_what_they_lead_to_is_written(
    project: Project, elsewhere: Path
) -> None:
    config = project.config()
    for count in (12, 15):
        project.data(count)
        project.run(config, trusted=True)
        assert all((project.folder / name).is_symlink() for name in FILES)
        assert len(project.lines()) == count
        assert sorted(path.name for path in elsewhere.iterdir()) == [f"big-{n}" for n in
            ("results.calls.jsonl", "results.jsonl", "results.manifest.json")]  # fmt: skip
    assert sorted(path.name for path in project.folder.iterdir()) == sorted(
        [*FILES, "llmb.toml", "q.jsonl", "results.calls.index"]
    )


def test_a_file_that_is_not_the_runs_own_is_kept_beside_what_the_link_leads_to(
    project: Project, elsewhere: Path
) -> None:
    (elsewhere / "big-results.jsonl").write_text("notes\n")
    project.run(project.config(), trusted=True)
    assert project.results.is_symlink() and len(project.lines()) == 12
    assert (elsewhere / "big-results.edited-1.jsonl").read_text() == "notes\n"


def test_files_that_are_links_are_set_aside_with_links_to_them(
    project: Project, elsewhere: Path
) -> None:
    config = project.config()
    project.run(config, trusted=True)
    before = project.results.read_bytes()
    project.run(config, trusted=True, earlier=Earlier(overwrite=True))
    assert len(project.model.sent()) == 24
    assert (project.folder / "results.1.jsonl").read_bytes() == before
    assert (elsewhere / "big-results.1.jsonl").read_bytes() == before
    assert all((project.folder / name).is_symlink() for name in FILES)
    assert len((elsewhere / "big-results.calls.jsonl").read_bytes().splitlines()) == 24
