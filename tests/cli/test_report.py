"""``llmb report`` as a user types it: formats, files of other tools, what is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.test_cli import llmb
from tests.reporting.made import full_manifest, result, write


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A file that another tool wrote."""
    path = tmp_path / "other.csv"
    path.write_text("name,grade,topic\na,pass,x\nb,fail,x\nc,pass,y\n")
    return path


def test_a_file_of_another_tool_is_reported_by_its_fields(other: Path) -> None:
    words = ["--score", "grade", "--id", "name", "--category", "topic", "--format", "json"]
    done = llmb("report", str(other), *words, cwd=other.parent)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["pass_rate"]["passed"], report["items"]["read"]) == (2, 3)
    assert {group["name"] for group in report["groups"]["groups"]} == {"x", "y"}
    assert report["columns"]["score"] == "grade"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--score FIELD"),
        (["--score", "grad"], "did you mean grade?"),
        (["--id", "name"], "--score FIELD"),
        (["--score", "topic"], "none of its values"),
    ],
    ids=["none", "near", "id alone", "no score"],
)
def test_what_is_wrong_is_said_with_a_way_out(words: list[str], said: str, other: Path) -> None:
    other.write_text(other.read_text().replace(",y", ",z"))
    done = llmb("report", str(other), *words, cwd=other.parent)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_csv_goes_to_a_file_or_to_stdout(tmp_path: Path) -> None:
    path = write(tmp_path, [result(n) for n in range(3)], full_manifest())
    done = llmb("report", str(path), "--format", "csv", cwd=tmp_path)
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 3
    llmb("report", str(path), "--format", "csv", "-o", "items.csv", cwd=tmp_path)
    assert (tmp_path / "items.csv").read_text() == done.stdout


def test_two_files_are_compared_and_flags_for_one_are_refused(tmp_path: Path) -> None:
    for name, score in (("one", 5.0), ("two", 1.0)):
        (tmp_path / name).mkdir()
        results = [result(number, score) for number in range(12)]
        write(tmp_path / name, results, full_manifest(planned=12))
    paths = ["one/results.jsonl", "two/results.jsonl"]
    done = llmb("report", *paths, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["against"][0]["rates"]["lost"] == 12
    refused = llmb("report", *paths, "--reference", "answer", cwd=tmp_path)
    assert refused.returncode == 2 and "--reference works with one run only" in refused.stderr
    alone = llmb("report", paths[0], "--anyway", cwd=tmp_path)
    assert alone.returncode == 2 and "--anyway is for comparing runs" in alone.stderr


def test_letters_metrics_and_delimiters_are_said_by_flags(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    rows = "".join(
        f"{n}^{metric}^{'ABC'[n % 3]}\n" for n in range(30) for metric in ("strict", "loose")
    )
    path.write_text(f"id^metric^grade\n{rows}", encoding="utf-16-le")
    words = ["--score", "grade", "--delimiter", "^", "--encoding", "utf-16-le"]
    several = llmb("report", str(path), *words, cwd=tmp_path)
    assert several.returncode == 2 and "--where metric=strict" in several.stderr
    words += ["--where", "metric=strict"]
    letters = llmb("report", str(path), *words, cwd=tmp_path)
    assert letters.returncode == 2 and "'A' (10), 'B' (10), 'C' (10)" in letters.stderr
    done = llmb("report", str(path), *words, "--pass-words", "a,B", cwd=tmp_path)
    assert done.returncode == 0 and "66.7 %" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pass-words", "A"], "--score FIELD"),
        (["--where", "a=b"], "--score FIELD"),
        (["--score", "grade", "--where", "topic"], "--where metric=accuracy"),
        (["--score", "grade", "--delimiter", "ab"], "not one character"),
        (["--score", "grade", "--encoding", "klingon"], "no encoding is called"),
        (["--score", "grade", "--bom"], "--format csv"),
    ],
)
def test_flags_about_other_files_that_do_not_fit_are_refused(
    words: list[str], said: str, other: Path
) -> None:
    done = llmb("report", str(other), *words, cwd=other.parent)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_labels_beside_the_results_are_used_and_said(tmp_path: Path) -> None:
    path = write(tmp_path, [result(n, float(1 + n % 5)) for n in range(20)], full_manifest())
    labels = "".join(f"{result(n).item.id},{n % 2}\n" for n in range(20))
    (tmp_path / "labels.csv").write_text("id,label\n" + labels)

    def labelled(*words: str) -> tuple[bool, str]:
        done = llmb("report", str(path), *words, "--format", "json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["calibration"] is not None, done.stderr

    used, said = labelled()
    assert used and "--no-labels ignores them" in said
    used, said = labelled("--no-labels")
    assert not used and "labels" not in said
    both = llmb("report", str(path), "--labels", "labels.csv", "--no-labels", cwd=tmp_path)
    assert both.returncode == 2
    (tmp_path / "labels.csv").write_text("something,else\n1,2\n")
    used, said = labelled()
    assert not used and "labels.csv is ignored: " in said
    # Labels are of one run's answers, and in a folder with two nobody knows of which.
    (tmp_path / "labels.csv").write_text("id,label\n" + labels)
    (tmp_path / "other.manifest.json").write_text("{}")
    used, said = labelled()
    assert not used and f"llmb report {path} --labels {tmp_path / 'labels.csv'}" in said
