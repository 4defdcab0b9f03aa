"""Folders that a stranger made: links and names in the place of what a run writes."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from llm_batch.chain.config import load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.engines.batch.job_log import Job, JobLog
from llm_batch.errors import ConfigError, OutputError
from llm_batch.record import files
from llm_batch.record.files import open_beside, open_to_append, replace, run_paths
from llm_batch.record.journal import Journal
from llm_batch.reporting.judging.labelling import LabelFile
from llm_batch.running.progress import LogFile
from llm_batch.running.run import run
from llm_batch.sending.trust import concerns, require_trust
from tests.builders import answer, request
from tests.cli.test_cli import FAKE, llmb
from tests.fire.processes import terminal, until
from tests.project import Project

NAMES = (
    "results.jsonl",
    "results.calls.jsonl",
    "results.manifest.json",
    "results.batches.jsonl",
)
MINE = b"export PATH=/usr/bin\n"

needs_posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX modes and links")
pytestmark = needs_posix


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the user's, outside of the project."""
    path = tmp_path_factory.mktemp("home") / ".bashrc"
    path.write_bytes(MINE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project for the command line."""
    (tmp_path / "llmb.toml").write_text("[sample]\nsize = 3\n" + FAKE)
    return tmp_path


@pytest.fixture(autouse=True)
def own_list(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where agreements are kept in these tests."""
    config_home = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config_home))
    return config_home / "llmb" / "trusted.toml"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exists", [True, False], ids=["file", "nothing-yet"])
def test_a_link_out_of_the_folder_is_not_written_through_unasked(
    folder: Path, home: Path, name: str, exists: bool
) -> None:
    target = home if exists else home.with_name("authorized_keys")
    (folder / name).symlink_to(target)
    done = llmb("run", "--quiet", cwd=folder)
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.split())
    assert f"{name} to {target} (a link out of its folder" in said
    assert "add --yes to agree" in said
    assert home.read_bytes() == MINE
    assert sorted(path.name for path in home.parent.iterdir()) == [".bashrc"]
    assert not list(folder.glob("results*.jsonl")) or (folder / name).is_symlink()


def test_the_same_holds_in_a_folder_without_a_config(folder: Path, home: Path) -> None:
    (folder / "llmb.toml").unlink()
    (folder / "results.calls.jsonl").symlink_to(home)
    done = llmb("run", "--quiet", "--model", "fake/writer", "--judge", "fake/judge", cwd=folder)
    assert done.returncode == 2 and "this folder writes" in done.stderr, done.stderr
    assert home.read_bytes() == MINE


def test_a_yes_on_the_command_line_writes_through_a_link(folder: Path, home: Path) -> None:
    (folder / "results.jsonl").symlink_to(home.with_name("big.jsonl"))
    done = llmb("run", "--quiet", "--yes", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "results.jsonl").is_symlink()
    assert len(home.with_name("big.jsonl").read_bytes().splitlines()) == 3


def test_a_link_is_asked_about_once_and_remembered(
    folder: Path, home: Path, own_list: Path
) -> None:
    (folder / "results.jsonl").symlink_to(home.with_name("big.jsonl"))
    with terminal(folder, agree=False) as window:
        until(lambda: "Continue?" in window.read())
        assert "Continue only if you made it yourself" in " ".join(window.shown.split())
        window.type("y\n")
        until(lambda: bool(window.read()) and window.process.poll() is not None)
        assert window.process.returncode == 0, window.shown
    assert str(home.with_name("big.jsonl")) in own_list.read_text()
    done = llmb("run", "--quiet", cwd=folder)  # no terminal, no --yes
    assert done.returncode == 0, done.stderr
    # A link that leads elsewhere is another.
    (folder / "results.jsonl").unlink()
    (folder / "results.jsonl").symlink_to(home)
    assert llmb("run", "--quiet", cwd=folder).returncode == 2
    assert home.read_bytes() == MINE


def test_links_within_the_folder_are_followed_unasked(folder: Path) -> None:
    (folder / "big").mkdir()
    (folder / "results.jsonl").symlink_to("big/results.jsonl")
    done = llmb("run", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "results.jsonl").is_symlink()
    assert len((folder / "big" / "results.jsonl").read_bytes().splitlines()) == 3


def _fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _link_to_fifo(path: Path, home: Path) -> None:
    os.mkfifo(home.with_name("pipe"))
    path.symlink_to(home.with_name("pipe"))


def _link_to_zero(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("made", [_fifo, _link_to_fifo, _link_to_zero])
def test_what_is_no_file_is_refused_even_with_a_yes(
    folder: Path, home: Path, name: str, made: Callable[[Path, Path], None]
) -> None:
    made(folder / name, home)
    done = llmb("run", "--quiet", "--yes", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "no file" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_link_to_a_file_of_somebody_else_is_refused(project: Project, home: Path) -> None:
    os.chown(home, 12345, 12345)
    (project.folder / "results.jsonl").symlink_to(home)
    with pytest.raises(OutputError, match="somebody else's"):
        project.run(trusted=True)
    assert home.read_bytes() == MINE and project.model.requests == []


def test_from_python_a_link_out_of_the_folder_needs_trust(project: Project, home: Path) -> None:
    (project.folder / "results.jsonl").symlink_to(home)
    with pytest.raises(ConfigError, match="a link out of its folder") as caught:
        project.run()
    assert "trusted=True" in caught.value.hint
    assert project.model.requests == [] and home.read_bytes() == MINE


def test_names_that_a_program_might_guess_are_not_written(project: Project, home: Path) -> None:
    guessed = [f"{name}.tmp" for name in NAMES] + [f".{name}.{os.getpid()}.tmp" for name in NAMES]
    for name in guessed:
        (project.folder / name).symlink_to(home)
    project.run()
    assert set(project.statuses().values()) == {"ok"}
    assert home.read_bytes() == MINE


def test_a_random_name_that_is_taken_is_not_written(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".a.json.{'0' * 16}.tmp").symlink_to(home)
    with pytest.raises(FileExistsError):
        open_beside(tmp_path / "a.json")
    with pytest.raises(FileExistsError):
        replace(tmp_path / "a.json", b"{}")
    assert home.read_bytes() == MINE


def test_a_link_that_appears_after_the_look_is_not_followed(tmp_path: Path, home: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(home)
    with pytest.raises(OSError, match="symbolic links"):
        open_to_append(tmp_path / "a.jsonl")
    replace(tmp_path / "a.jsonl", b"new")  # takes the link's place
    assert home.read_bytes() == MINE and not (tmp_path / "a.jsonl").is_symlink()


def test_logs_labels_reports_and_configs_do_not_go_through_links(folder: Path, home: Path) -> None:
    assert llmb("run", "--quiet", cwd=folder).returncode == 0
    for name in ("run.log", "labels.csv", "report.md", "new.toml"):
        (folder / name).symlink_to(home)
    for words in (
        ("run", "--log-file", "run.log"),
        ("label", "results.jsonl", "--output", "labels.csv"),
        ("report", "results.jsonl", "--format", "md", "--output", "report.md"),
        ("init", "--force", "new.toml"),
    ):
        done = llmb(*words, cwd=folder, stdin="p\n")
        assert done.returncode == 2, (words, done.stderr)
        said = " ".join(done.stderr.split())
        assert "a link that leads out of its folder" in said and str(home) in said, words
        assert home.read_bytes() == MINE


def test_a_device_that_is_named_is_written_to(folder: Path) -> None:
    done = llmb("run", "--quiet", "--log-file", "/dev/stderr", cwd=folder)
    assert done.returncode == 0 and '"run_started"' in done.stderr
    done = llmb("report", "results.jsonl", "--format", "json", "-o", "/dev/stdout", cwd=folder)
    assert done.returncode == 0 and done.stdout.startswith("{")


# Modes


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def _all_files(project: Project, mode: str = "") -> dict[str, int]:
    config = project.config()
    if mode:
        run = config.run.model_copy(update={"mode": mode})
        config = config.model_copy(update={"run": run})
    project.run(config, log_file=project.folder / "run.log")
    log = JobLog(project.folder / "results.batches.jsonl", config.run.file_mode)
    job = Job("llmb-1", "fake/a", 0.0, [])
    log.intent(job)
    log.ended(job, "collected")
    modes = _modes(project.folder)
    return {name: modes[name] for name in (*NAMES, "run.log")}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000], ids=["usual", "strict", "open"])
@pytest.mark.parametrize(("mode", "expected"), [("", 0o600), ("0644", 0o644), ("0640", 0o640)])
def test_files_of_a_run_are_private_or_as_the_config_says(
    project: Project, mask: int, mode: str, expected: int
) -> None:
    before = os.umask(mask)
    try:
        assert set(_all_files(project, mode).values()) == {expected}
    finally:
        os.umask(before)


def test_files_that_are_there_keep_the_mode_the_user_gave_them(project: Project) -> None:
    _all_files(project)
    for name in (*NAMES, "run.log"):
        (project.folder / name).chmod(0o664)
    project.data(15)
    project.run(log_file=project.folder / "run.log")
    modes = _modes(project.folder)
    assert {modes[name] for name in (*NAMES, "run.log")} == {0o664}


def test_labels_are_private(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    LabelFile(path, 1).add("q1", "1")
    assert _modes(tmp_path) == {"labels.csv": 0o600}
    path.chmod(0o644)
    LabelFile(path, 1).add("q2", "0")
    assert _modes(tmp_path) == {"labels.csv": 0o644}


@pytest.mark.parametrize("mode", ["0777", "0o600", "600 ", "rw", "4600", "0400", "06000"])
def test_a_mode_that_is_none_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "llmb.toml"
    path.write_text(f'[run]\nmode = "{mode}"\n' + FAKE)
    with pytest.raises(ConfigError, match="mode"):
        load_config(path, Overrides())


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    for _ in range(2):
        with LogFile(path) as log:
            log.event("note", text="é" * 100_000)
    assert len(re.findall(rb"\n", path.read_bytes())) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_hard_link_in_the_place_of_a_file_is_not_written_through(
    folder: Path, home: Path, name: str
) -> None:
    (folder / "results").mkdir()
    os.link(home, folder / "results" / name)
    assert _links_of(folder) == []
    output = str(folder / "results" / "results.jsonl")
    with suppress(OutputError):  # what is no manifest or no log of jobs ends the run
        run(load_config(folder / "llmb.toml", Overrides(output=output)))
    assert home.read_bytes() == MINE


@pytest.mark.parametrize("batch", [False, True], ids=["journal", "jobs"])
def test_a_backup_by_hard_links_stays_as_it_is(folder: Path, batch: bool) -> None:
    output = folder / "results" / "results.jsonl"
    config = load_config(folder / "llmb.toml", Overrides(output=str(output)))
    run(config)
    job = Job("llmb-1", "openai/a", 1.0, [])
    JobLog(run_paths(output).jobs).intent(job)
    shutil.copytree(output.parent, folder / "backup", copy_function=os.link)
    before = {path.name: path.read_bytes() for path in (folder / "backup").iterdir()}
    if batch:
        JobLog(run_paths(output).jobs).ended(job, "given up")
    else:
        with closing(Journal(run_paths(output).journal)) as journal:
            assert "had another name too" in journal.notes[0]
            journal.append(answer(request("new")))
            with pytest.raises(OutputError, match="another run is writing"):
                Journal(run_paths(output).journal)
    assert before == {path.name: path.read_bytes() for path in (folder / "backup").iterdir()}
    changed = run_paths(output).jobs if batch else run_paths(output).journal
    assert changed.read_bytes() != before[changed.name]


def test_a_folder_that_is_a_link_out_of_the_config_s_is_asked_about(
    folder: Path, home: Path
) -> None:
    (folder / "results").symlink_to(home.parent)
    _ask_about_links(folder, str(folder / "results"), str(home.parent))
    assert os.listdir(home.parent) == [home.name]


def test_folders_within_the_config_s_are_not_asked_about(folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "results").symlink_to("there")
    assert _links_of(folder) == []


def _links_of(folder: Path) -> list[str]:
    output = str(folder / "results" / "results.jsonl")
    config = load_config(folder / "llmb.toml", Overrides(output=output))
    return [str(each) for each in concerns(config) if each.does == "writes"]


def _ask_about_links(folder: Path, name: str, where: str) -> None:
    found = _links_of(folder)
    assert found and all(name in each and where in each for each in found)
    output = str(folder / "results" / "results.jsonl")
    config = load_config(folder / "llmb.toml", Overrides(output=output))
    with pytest.raises(ConfigError, match="nobody has agreed"):
        require_trust(config)
