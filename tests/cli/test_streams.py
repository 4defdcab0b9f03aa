"""Where nobody reads, or there is no room: one sentence or silence, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_batch.errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE

ROOT = Path(__file__).parents[2]
CONFIG = (
    '[data]\npath = "q.jsonl"\n[sample]\nsize = 8\n'
    '[[steps]]\nname = "a"\nmodel = "fake/a"\nprompt = "{{ question }}"\n'
)

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("streams")
    (made / "llmb.toml").write_text(CONFIG)
    (made / "q.jsonl").write_text("".join(f'{{"question": "{n}"}}\n' for n in range(450)))
    shell(made, "$L run --yes -q")
    return made


def shell(folder: Path, command: str) -> tuple[int, str]:
    """What a command in bash ends with, and all that it said, errors included."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "L": f"{sys.executable} -m llm_batch"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("where", ["> /dev/full", ">&-"], ids=["full", "closed"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("report", EXIT_USAGE),
        ("report --format json", EXIT_USAGE),
        ("estimate", EXIT_USAGE),
        ("--help", EXIT_USAGE),
        ("run --dry-run", EXIT_USAGE),
        ("run --yes -q", EXIT_INCOMPLETE),
    ],
)
def test_an_output_that_cannot_be_written_is_one_sentence(
    folder: Path, words: str, code: int, where: str
) -> None:
    found, said = shell(folder, f"$L {words} {where}")
    assert found == code
    assert said.count("error: cannot write to standard output: ") == 1
    assert ("the results are in results.jsonl" in said) == words.startswith("run --yes")


@pytest.mark.parametrize("words", ["report", "estimate", "run --help", "run --dry-run"])
def test_a_reader_who_has_had_enough_is_no_error(folder: Path, words: str) -> None:
    code, said = shell(folder, f"$L {words} | head -1; exit ${{PIPESTATUS[0]}}")
    assert code == EXIT_OK and len(said.splitlines()) == 1


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-"], ids=["full", "closed"])
@pytest.mark.parametrize(
    ("words", "code"), [("run --yes", EXIT_OK), ("report nowhere.jsonl", EXIT_USAGE)]
)
def test_talk_that_nobody_hears_changes_nothing(
    folder: Path, words: str, code: int, where: str
) -> None:
    found, said = shell(folder, f"$L {words} {where}")
    assert (found, said) == (code, "results.jsonl\n" if code == EXIT_OK else "")


def test_no_file_of_a_run_takes_the_place_of_a_stream_that_is_closed(folder: Path) -> None:
    """With 0, 1 and 2 free, the next three files get them, and what a library prints."""
    loud = "import os; os.write(1, b'noise'); os.write(2, b'noise')"
    script = "import llm_batch.running.run as r; f = r.run\n"
    script += f"def run(*a, **k):\n  s = f(*a, **k); {loud}\n"
    script += "  return s\nr.run = run\nfrom llm_batch.cli import main; main()\n"
    (folder / "loud.py").write_text(script)
    shell(folder, f"{sys.executable} loud.py run --yes --overwrite <&- >&- 2>&-")
    for path in folder.glob("results*"):
        assert b"noise" not in path.read_bytes()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
@pytest.mark.parametrize(
    "words",
    [
        "run --yes -q --data '{data}' -o '{folder}/é.jsonl'",
        "run --dry-run --data '{data}'",
        "estimate --data '{data}'",
        "report",
        "report --format csv",
        "report --format json",
        "report --format md",
        "run --help",
        "run -c nö→−.toml",
    ],
)
def test_a_terminal_without_unicode_gets_ascii_and_never_a_traceback(
    folder: Path, words: str, encoding: str
) -> None:
    data = folder / "dätä.jsonl"
    data.write_text('{"id": "é→−…", "question": "Was ist π − 1 → 😀?"}\n', encoding="utf-8")
    said = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m llm_batch {words.format(data=data, folder=folder)}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    assert b"Traceback" not in said.stderr
    assert said.returncode == (EXIT_USAGE if "nö" in words else EXIT_OK)
    text = said.stdout.decode(encoding) + said.stderr.decode(encoding)
    if "json" in words and "report" in words:
        json.loads(said.stdout.decode(encoding))
    if "dry-run" in words:
        assert "-> \\ud83d\\ude00?" in text and "... answer" not in text


@pytest.fixture
def home(folder: Path, tmp_path: Path) -> Path:
    """A home folder of this test alone, with a run, what it was made of, and a second run."""
    made = tmp_path / "home"
    made.mkdir()
    (made / "q.jsonl").write_text('{"id": "a", "question": "x"}\n')
    (made / "labels.csv").write_text("id,label\na,1\n")
    (made / "scores.csv").write_text("id,s\na,1\nb,0\n")
    (made / "own.toml").write_text(
        '[data]\nid = "id"\n[run]\noutput = "$HOME/results.jsonl"\n'
        '[[steps]]\nname = "g"\nmodel = "fake/a"\nprompt_file = "~/prompt.txt"\n[score]\n'
        'field = "g"\nmin = 0\nmax = 9\npass_at = 1\n[models."fake/a"]\nscript = "~/s.jsonl"\n'
    )
    (made / "prompt.txt").write_text("{{ question }}")
    (made / "s.jsonl").write_text('"5"\n')
    both = "run --yes -q --data ~/q.jsonl --config ~/own.toml"
    code, said = shell(folder, f"export HOME={made}; $L {both} && $L {both} -o ~/b.jsonl")
    assert code == EXIT_OK, said
    return made


@pytest.mark.parametrize("at", ["~", "${HOME}"])
@pytest.mark.parametrize(
    "words",
    [
        "run --yes -q --data {at}/q.jsonl --config {at}/own.toml",
        "run --yes -q --data {at}/q.jsonl --config {at}/own.toml --output {at}/c.jsonl "
        "--reuse {at}/results.calls.jsonl --log-file {at}/log.jsonl",
        "report {at}/results.jsonl --output {at}/report.txt",
        "report {at}/results.jsonl --labels {at}/labels.csv",
        "report {at}/scores.csv --score s --format csv --bom -o {at}/bom.csv",
        "report {at}/results.jsonl {at}/b.jsonl",
        "estimate -c {at}/own.toml --data {at}/q.jsonl --from {at}/results.jsonl",
        "label {at}/results.jsonl -o {at}/mine.csv",
    ],
)
def test_home_and_variables_mean_the_same_everywhere(
    folder: Path, home: Path, words: str, at: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llm_batch", *words.format(at=at).split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == EXIT_OK, done.stderr
    assert not (folder / "~").exists() and not (folder / "$HOME").exists()
    if "--bom" in words:
        assert (home / "bom.csv").read_bytes().startswith(b"\xef\xbb\xbfid,")
