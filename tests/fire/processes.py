"""``llmb run`` as users start it: a process with a terminal's worth of environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.005)
