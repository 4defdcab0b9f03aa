"""All that people read, as they read it: a change shows here as a diff.

The cases are in ``cases.toml``, each a few commands; what they print is in ``texts/``. After a
change that is meant, write the texts anew with ``LLMB_GOLDEN=write pytest tests/golden``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_batch.cli import progress
from llm_batch.running.run import Progress
from llm_batch.sending.clock import FakeClock
from tests.golden.runs import make
from tests.server import Server, serve

HERE = Path(__file__).parent
TEXTS = HERE / "texts"
TABLE = tomllib.loads((HERE / "cases.toml").read_text())
CONFIGS: dict[str, str] = TABLE.pop("configs")
WRITE = os.environ.get("LLMB_GOLDEN") == "write"
SUFFIXES = {
    "text": "txt", "full": "full.txt", "json": "json", "md": "md", "csv": "csv", "latex": "tex",
    "html": "html",
}  # fmt: skip

#: What differs from run to run, and what stands for it.
VARIES = [
    (r"\d{8}T\d{6}-[0-9a-f]{6}", "RUN-ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "MOMENT"),
    (r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:PORT"),
    (r"(calls? made in) [\d.,]+ s", r"\1 SECONDS"),
    (r"(answers, in) [\d.,]+ m?s", r"\1 SECONDS"),
    (r"(answered in) [^,\n]+", r"\1 SECONDS"),
    (r"Python 3\.\d+\.\d+", "Python VERSION"),
    (r"[\d.,]+ GB free", "ROOM"),
    (r"[✓-]  embedded .*", "EMBEDDED"),
]
PROGRESS = [
    Progress(planned=1000),
    Progress(planned=1000, done=10, fresh=10, calls=20, seconds=30, simulated=True),
    Progress(
        planned=1000, done=100, fresh=100, calls=200, seconds=60, rpm=300, retries=3, spent=0.0996,
        expected_cost=1.2, budget=5, scored=97, judged=97, passed=60,
        statuses=Counter(ok=97, timeout=3), slowed="slowed to 150 a minute",
    ),
    Progress(planned=1000, done=500, fresh=400, calls=800, seconds=7200, spent=12.3, scored=500,
             score_sum=1900, score_squares=7900, statuses=Counter(ok=500)),
    Progress(planned=1000, done=1000, jobs="2 jobs: 900 of 1,000 answered", seconds=99,
             budget=1.0, statuses=Counter(ok=1000)),
]  # fmt: skip


def _cases() -> Iterator[Any]:
    """``texts/ROOM/NAME.SUFFIX`` and the commands, for each format if the room has several."""
    for room, cases in TABLE.items():
        formats = cases.get("formats")
        for name, case in cases.items():
            if name == "formats":
                continue
            case = case if isinstance(case, dict) else {"play": case}
            play = [case["play"]] if isinstance(case["play"], str) else case["play"]
            for kind in case.get("formats", formats) or [""]:
                last = f"{play[-1]} --format {kind}" if kind else play[-1]
                file = f"{room}/{name}.{SUFFIXES.get(kind, 'txt')}"
                yield pytest.param(file, [*play[:-1], last], case, id=file)


@pytest.fixture(scope="module")
def player() -> Iterator[subprocess.Popen[str]]:
    kept = {"PATH", "LANG", "TMPDIR"}
    env = {name: value for name, value in os.environ.items() if name in kept}
    env |= {"COLUMNS": "80", "TZ": "UTC", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.golden.player"],
        cwd=HERE.parents[1],
        env=env | {"PYTHONPATH": str(HERE.parents[1]), "OPENAI_API_KEY": "sk-wrong", "HOME": "/"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(key="sk-right") as server:
        yield server


@pytest.mark.parametrize(("file", "commands", "case"), list(_cases()))
def test_it_reads_as_it_did(
    file: str,
    commands: list[str],
    case: dict[str, Any],
    player: subprocess.Popen[str],
    inputs: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(inputs, folder)
    for name, text in {**CONFIGS, **case.get("files", {})}.items():
        if "{url}" in text and "server" in case:
            text = text.replace("{url}", request.getfixturevalue("server").url)
        (folder / name).write_text(text)
    said = "".join(_played(player, command, folder) for command in commands)
    said += "".join(f"# {name}\n{(folder / name).read_text()}" for name in case.get("shows", ()))
    for pattern, word in VARIES:
        said = re.sub(pattern, word, said)
    said = said.replace(str(folder), "FOLDER")
    assert "Traceback" not in said
    _compare(file, said)


@pytest.mark.parametrize("kind", ["lines", "live"])
def test_progress_reads_as_it_did(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = FakeClock()
    monkeypatch.setattr("time.monotonic", clock.now)
    monkeypatch.setenv("COLUMNS", "80")
    with progress.Lines() if kind == "lines" else progress.Live() as display:
        for state in PROGRESS:
            clock.seconds += 60
            display.update(state)
    _compare(f"progress/{kind}.txt", capsys.readouterr().err)


def test_every_text_belongs_to_a_case() -> None:
    named = {case.id for case in _cases()} | {"progress/lines.txt", "progress/live.txt"}
    found = {str(path.relative_to(TEXTS)) for path in TEXTS.rglob("*.*")}
    assert found <= named


def _compare(file: str, said: str) -> None:
    golden = TEXTS / file
    if WRITE:
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def _played(player: subprocess.Popen[str], command: str, folder: Path) -> str:
    """A command as in a terminal: what was typed, printed and complained of, and how it ended."""
    line, _, typed = command.partition(" << ")
    asked = {"words": shlex.split(line), "cwd": str(folder), "stdin": typed}
    assert player.stdin is not None and player.stdout is not None
    print(json.dumps(asked), file=player.stdin, flush=True)
    code, out, err = json.loads(player.stdout.readline())
    if "--format html" in line and code == 0:
        out = _readable(out)
    complaints = "".join(f"! {each}\n" for each in err.splitlines())
    return f"$ llmb {line}\n{out}{complaints}= {code}\n"


def _readable(page: str) -> str:
    """A page without style, scripts and their hashes, and with its data one value a line."""
    page = re.sub(r"(?s)<style>.*?</style>|<script>.*?</script>", "", page)
    page = re.sub(r"'sha256-[^']*'", "'sha256'", page)
    data = r'(?s)(<script type="application/json" id="[^"]*">)(.*?)(</script>)'
    return re.sub(data, lambda match: match[1] + _pretty(match[2]) + match[3], page)


def _pretty(text: str) -> str:
    return "\n" + json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"


def _screens() -> Iterator[Any]:
    for room in ("report", "report_options", "comparison", "estimate"):
        for path in sorted((TEXTS / room).glob("*.txt")):
            if not path.name.endswith(".full.txt"):
                yield pytest.param(path, id=f"{room}/{path.stem}")


@pytest.mark.parametrize("path", list(_screens()))
def test_what_a_command_shows_by_default_fits_a_screen(path: Path) -> None:
    command, *shown, _ = path.read_text("utf-8").splitlines()
    assert len(shown) <= 30, command
    # A command that is longer than a line is kept whole, so that it can be copied.
    wide = [line for line in shown if len(line) > 80]
    assert all(re.fullmatch(r"[ →-]*`?llmb [^`]*`?[.,:;]?", line) for line in wide), wide
