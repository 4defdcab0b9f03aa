"""``llmb label`` as a person meets it: lines from a pipe, keys from a terminal."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import ROOT, llmb
from tests.reporting.made import full_manifest, result, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hostile = "fine\x1b]0;owned\x07 \x1b[2J\u202ereversed"
    run = [result(n, 5.0 if n % 2 else 1.0, answer=f"{hostile} answer {n}") for n in range(40)]
    write(tmp_path, run, full_manifest(planned=40))
    return tmp_path


def _labels(folder: Path) -> list[str]:
    with open(folder / "labels.csv", newline="") as stored:
        return [row["label"] for row in csv.DictReader(stored)]


def test_piped_lines_are_labels_and_the_report_uses_them(folder: Path) -> None:
    done = llmb(
        "label", "--n", "30", cwd=folder, stdin="1\n0\npass\nwhat\n\nfail\ns\n" + "1\n" * 25
    )
    assert done.returncode == 0, done.stderr
    assert _labels(folder) == ["1", "0", "1", "0", "skip", *["1"] * 25]
    assert done.stdout.strip() == "labels.csv"
    assert "llmb report results.jsonl --labels labels.csv" in done.stderr
    assert "30 of 30 done, 1 skipped." in done.stderr
    report = llmb("report", "--full", "--labels", "labels.csv", cwd=folder)
    assert "drawn at random from this run by llmb label (seed 42)" in " ".join(
        report.stdout.split()
    )


def test_an_endless_line_is_one_answer_that_is_not_understood(folder: Path) -> None:
    done = llmb("label", "--n", "3", cwd=folder, stdin="1" * 100_000 + "\n1\n0")
    assert _labels(folder) == ["1", "0"]
    assert done.stderr.count("press one of these") == 1


def test_undo_and_quit_and_the_same_command_goes_on(folder: Path) -> None:
    first = llmb("label", "--n", "3", cwd=folder, stdin="1\n0\nu\n1\nq\n")
    assert _labels(folder) == ["1", "1"]
    assert "The same command resumes here." in first.stderr
    second = llmb("label", "--n", "3", cwd=folder, stdin="0\n1\n1\n")
    assert _labels(folder) == ["1", "1", "0"]
    assert "2 of 3 done" in second.stderr and "3 of 3 done" in second.stderr


def test_the_judge_is_hidden_and_how_many_labels_are_worth_it_is_said(folder: Path) -> None:
    done = llmb("label", "--n", "5", cwd=folder, stdin="1\n" * 5)
    assert "Because." not in done.stderr and "score" not in done.stderr
    assert "25 labels: ±" in done.stderr


def test_control_characters_of_the_data_do_not_reach_the_terminal(folder: Path) -> None:
    done = llmb("label", "--n", "2", cwd=folder, stdin="1\n1\n")
    assert "answer" in done.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stderr)


def test_labels_of_another_run_are_neither_used_nor_mixed(folder: Path) -> None:
    llmb("label", "--n", "3", cwd=folder, stdin="1\n1\n0\n")
    assert (folder / "labels.csv").read_text().startswith("id,label,labelled_at,seed,run_id\n")
    for name in ("results.jsonl", "results.manifest.json"):
        text = (folder / name).read_text()
        new = text.replace(full_manifest()["run_id"], "another")
        (folder / name.replace("results", "other")).write_text(new)
    used = llmb("report", cwd=folder)
    assert "using the labels in labels.csv" in used.stderr  # though two runs lie here
    ignored = llmb("report", "other.jsonl", cwd=folder)
    assert "labels.csv is ignored: its labels are for another run" in ignored.stderr
    assert "Judge is right" in used.stdout and "Judge is right" not in ignored.stdout
    refused = llmb("label", "other.jsonl", cwd=folder, stdin="1\n")
    assert refused.returncode == 2 and full_manifest()["run_id"] in refused.stderr
    own = "llmb label other.jsonl --output other-another-labels.csv"
    assert own in refused.stderr and own in ignored.stderr
    llmb(*own.split()[1:], cwd=folder, stdin="1\n")
    assert (folder / "other-another-labels.csv").exists()
    assert _labels(folder) == ["1", "1", "0"]


def test_nothing_to_label_is_said_without_asking(folder: Path) -> None:
    llmb("label", "--n", "2", cwd=folder, stdin="1\n1\n")
    done = llmb("label", "--n", "2", cwd=folder)
    assert done.returncode == 0 and "2 of 2 done" in done.stderr
    assert "llmb label results.jsonl --n 4" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(["none.jsonl"], "cannot read"), (["--show", "topic"], "no such field"),
     (["--n", "0"], "--n")],
)  # fmt: skip
def test_what_is_wrong_is_said(words: list[str], said: str, folder: Path) -> None:
    done = llmb("label", *words, cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "labels.csv").exists()


class _Terminal:
    """The command in a terminal of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
        self._ours, theirs = pty.openpty()
        self.process: subprocess.Popen[Any] = subprocess.Popen(
            [sys.executable, "-m", "llm_batch", "label", *words],
            cwd=folder,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_own_terminal,
            env=os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT)},
        )
        os.close(theirs)
        self.seen = ""

    def until(self, words: str) -> str:
        """Read what is shown until some words appear; returns what stood before them."""
        while words not in self.seen:
            try:
                part = os.read(self._ours, 4096)
            except OSError:  # the command has ended
                part = b""
            assert part, f"{words!r} never came after {self.seen!r}: {self.process.poll()}"
            self.seen += part.decode(errors="replace")
        before, _, self.seen = self.seen.partition(words)
        return before

    def press(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        code = self.process.wait(timeout=60)
        os.close(self._ours)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def _own_terminal() -> None:
    """Make the standard input the terminal of the new session, so that Ctrl-C works."""
    import fcntl
    import signal
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background inherits that it is not
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # After Ctrl-C a terminal discards what waits to be shown: on a busy machine, the answer to it.
    set_to = termios.tcgetattr(0)
    set_to[3] |= termios.NOFLSH
    termios.tcsetattr(0, termios.TCSANOW, set_to)


def test_in_a_terminal_single_keys_label_without_enter(folder: Path) -> None:
    terminal = _Terminal(folder, "--n", "4")
    terminal.until("q quit: ")
    for key in ("1", "0", "u", "\x1b[A", "x", "s", "1"):
        terminal.press(key)
        terminal.until("q quit: ")
    terminal.press("0")
    terminal.until("--labels labels.csv")
    assert terminal.end() == 0
    assert _labels(folder) == ["1", "skip", "1", "0"]


def test_ctrl_c_keeps_what_is_labelled_and_ends_with_130(folder: Path) -> None:
    terminal = _Terminal(folder, "--n", "4")
    terminal.until("q quit: ")
    terminal.press("1")
    terminal.until("q quit: ")
    terminal.press("\x03")
    terminal.until("The same command resumes")
    assert terminal.end() == 130
    assert _labels(folder) == ["1"]


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    run = [result(n, float(1 + n % 5)) for n in range(40)]
    rule = {"field": "judge.score", "min": 1, "max": 5, "pass_at": 4.0}
    write(tmp_path, run, full_manifest(planned=40, score=rule))
    return tmp_path


def test_grades_and_notes_go_into_the_file_and_the_report_reads_grades(graded: Path) -> None:
    lines = "5\nn the reference = wrong\n1\n7\nn\nodd\n1\n"
    done = llmb("label", "--grades", "--n", "3", cwd=graded, stdin=lines)
    assert done.returncode == 0 and "1-5 grade, s skip" in done.stderr, done.stderr
    assert "'7' is not one of these keys" in done.stderr and "grade 5" in done.stderr
    goes_on = llmb("label", "--n", "5", cwd=graded, stdin="1\n1\n")
    assert "1-5 grade" in goes_on.stderr
    with open(graded / "labels.csv", newline="") as stored:
        rows = list(csv.DictReader(stored))
    assert [row["label"] for row in rows] == ["5", "1", "1", "1", "1"]
    assert [row["note"] for row in rows[:4]] == ["", "the reference = wrong", "odd", ""]
    assert {row["scale"] for row in rows} == {"1-5"}
    # Four ones and a five are four fails at pass_at 4, not four passes.
    report = llmb("report", "--labels", "labels.csv", "--format", "json", cwd=graded)
    found = json.loads(report.stdout)["calibration"]
    assert found["labelled"] == 5
    assert (found["both_pass"] + found["only_label"], found["only_judge"] + found["both_fail"]) == (
        1,
        4,
    )


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["--n", "2"], ["--n", "3", "--grades"], "holds pass and fail, not grades from 1-5"),
        (["--n", "2", "--grades"], ["--n", "3", "--by-verdict"], "not within each verdict"),
    ],
)
def test_a_file_keeps_to_one_kind_of_labels(
    first: list[str], second: list[str], said: str, graded: Path
) -> None:
    llmb("label", *first, cwd=graded, stdin="1\n1\n")
    done = llmb("label", *second, cwd=graded, stdin="1\n")
    assert done.returncode == 2 and said in done.stderr


def test_grades_without_a_scale_are_refused(folder: Path) -> None:
    done = llmb("label", "--grades", cwd=folder, stdin="1\n")
    assert done.returncode == 2 and "on which scale the judge grades" in done.stderr
    assert not (folder / "labels.csv").exists()


def test_what_the_judge_said_is_shown_when_asked_for_and_marked(graded: Path) -> None:
    done = llmb("label", "--with-judge", "--n", "2", cwd=graded, stdin="1\n0\n")
    assert "the judge said:" in done.stderr and "Because." in done.stderr
    report = llmb("report", "--full", "--labels", "labels.csv", cwd=graded)
    assert "2 labels of labels.csv were made with the judge's verdict in view" in " ".join(
        report.stdout.split()
    )


def test_a_terminal_without_the_screen_takes_notes_too(graded: Path) -> None:
    terminal = _Terminal(graded, "--n", "1")
    terminal.until("q quit: ")
    terminal.press("n")
    terminal.until("note: ")
    terminal.press("Not sure\n")
    terminal.until("q quit: ")
    terminal.press("0")
    terminal.until("--labels labels.csv")
    assert terminal.end() == 0
    with open(graded / "labels.csv", newline="") as stored:
        assert [(row["label"], row["note"]) for row in csv.DictReader(stored)] == [
            ("0", "Not sure")
        ]
