"""``llmb run`` as users start it: a process with a terminal's worth of environment."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEY = "sk-fire-0123456789abcdef"


def start(folder: Path, *words: str, key: str = KEY, **more: Any) -> subprocess.Popen[str]:
    """Start ``llmb run`` in a folder; see `started` for the same with a clean end."""
    return subprocess.Popen(
        [sys.executable, "-m", "llm_batch", "run", "--yes", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "OPENAI_API_KEY": key},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def llmb_run(folder: Path, *words: str, **more: Any) -> tuple[int, str]:
    """Run to the end; exit code and what was said on stderr."""
    process = start(folder, *words, **more)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@contextmanager
def started(folder: Path, *words: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A run that goes on while the block is executed."""
    process = start(folder, *words, **more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended that was not trusted.

    Attributes:
        code: As a shell says it; negative for a signal.
        out: What it wrote to stdout.
        said: And to stderr.
        seconds: From its start to its end.
    """

    code: int
    out: str
    said: str
    seconds: float


def bounded(
    folder: Path, *words: str, seconds: float = 60.0, megabytes: int = 2048, stdin: str = ""
) -> Ended:
    """``llmb`` with any words, in a process that can take neither the machine nor the day.

    It fails the test that called it when it takes more than it may, or ends with a traceback. The
    limit on memory is one of its own, so that an allocation fails there and not here.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "llm_batch", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )
    try:
        out, said = process.communicate(stdin, timeout=2 * seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"{words} did not end in {2 * seconds:g} s") from None
    took = time.monotonic() - began
    assert process.returncode >= 0, f"{words} was ended by signal {-process.returncode}: {said}"
    assert "Traceback" not in said, said[-2000:]
    return Ended(process.returncode, out, said, took)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.005)
