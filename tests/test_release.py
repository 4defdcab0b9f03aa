"""What is released is whole, and runs where nothing else is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_batch import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "llm_batch"


def _command(
    words: Sequence[str | Path], folder: Path, codes: Sequence[int] = (0,), **more: str
) -> str:
    """What it prints, without anything of the environment that the tests run in."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "LLMB", "OPENAI"))
    }
    done = subprocess.run(
        words, cwd=folder, env=inherited | more, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _command([sys.executable, "-m", "hatchling", "build", "-d", folder], ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def llmb(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "llmb"
    _command(["sh", ROOT / "install.sh", folder, wheel], ROOT, PYTHON=sys.executable)
    return folder / "bin" / "llmb"


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    assert names - about == expected
    assert {"llm_batch/py.typed", "llm_batch/demo/questions.jsonl"} <= names
    assert wheel.name == f"llmb-{__version__}-py3-none-any.whl"


def test_the_source_distribution_has_no_tests_and_builds_the_same_wheel(
    dist: Path, wheel: Path, tmp_path: Path
) -> None:
    (packed,) = dist.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        assert not [name for name in archive.getnames() if "/tests/" in name]
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    _command([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], source)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in other.infolist()
        }


def test_installed_into_nothing_it_says_its_version_and_its_commands(
    llmb: Path, tmp_path: Path
) -> None:
    assert _command([llmb, "--version"], tmp_path).strip() == f"llmb {__version__}"
    said = _command([llmb, "--help"], tmp_path)
    assert all(word in said for word in ("estimate", "run", "report"))


def test_installed_into_nothing_it_plays_the_demo(llmb: Path, tmp_path: Path) -> None:
    _command([llmb, "run", "--sample", "2", "--quiet"], tmp_path, codes=(0, 4))
    assert len((tmp_path / "results.jsonl").read_bytes().splitlines()) == 2
    assert "smollm2" in _command([llmb, "report", "--full", "results.jsonl"], tmp_path)


def test_the_image_has_no_step_but_the_script_and_is_nobody_of_rank() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    steps = [line for line in lines if line.startswith("RUN ")]
    assert steps == ["RUN sh /build/install.sh /opt/llmb /build/*.whl"]
    (copied,) = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    here = [name for name in copied if "*" not in name]
    assert all((ROOT / name).is_file() for name in here)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    let_in = (ROOT / ".dockerignore").read_text().split()
    assert let_in[0] == "*" and {f"!{name}" for name in copied} == set(let_in[1:])
