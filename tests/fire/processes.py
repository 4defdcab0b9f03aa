"""``llmb run`` as users start it: a process with a terminal's worth of environment."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEY = "sk-fire-0123456789abcdef"


def start(
    folder: Path, *words: str, key: str = KEY, agree: bool = True, **more: Any
) -> subprocess.Popen[str]:
    """Start ``llmb run`` in a folder; see `started` for the same with a clean end."""
    return subprocess.Popen(
        _command(agree, words),
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
    _, said = process.communicate(timeout=240)
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


class Terminal:
    """A terminal with ``llmb run`` in it.

    Attributes:
        process: The run, which leads the terminal's session as a shell does.
        shown: What was printed so far.
    """

    def __init__(self, folder: Path, *words: str, agree: bool = True) -> None:
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        self.shown = ""
        own = {"start_new_session": True, "preexec_fn": lambda: _control(slave)}
        try:
            self.process = subprocess.Popen(
                _command(agree, words),
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "OPENAI_API_KEY": KEY},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                **own,  # type: ignore[call-overload]
            )
        finally:
            os.close(slave)

    def read(self) -> str:
        """All that was printed so far."""
        with suppress(OSError):  # nothing more yet, or nobody there any more
            while part := os.read(self._master, 65536):
                self.shown += part.decode(errors="replace")
        return self.shown

    def type(self, text: str) -> None:
        """What a user types."""
        os.write(self._master, text.encode())

    def close(self) -> None:
        """Close its window: the kernel tells the run, and nothing can be printed any more."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1


@contextmanager
def terminal(folder: Path, *words: str, agree: bool = True) -> Iterator[Terminal]:
    """A run in a terminal that is open while the block is executed, if not closed within it."""
    made = Terminal(folder, *words, agree=agree)
    try:
        yield made
    finally:
        made.close()
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()


def _command(agree: bool, words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "llm_batch", "run", *(["--yes"] if agree else []), *words]


def _control(terminal: int) -> None:
    # These tests may themselves run under nohup, which would be passed on.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended that was not trusted.

    Attributes:
        code: As a shell says it; negative for a signal.
        out: What it wrote to stdout.
        said: And to stderr.
    """

    code: int
    out: str
    said: str


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
        # The limit on its CPU ends what does not end; this is for what waits.
        out, said = process.communicate(stdin, timeout=20 * seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"{words} did not end in {20 * seconds:g} s") from None
    assert process.returncode >= 0, f"{words} was ended by signal {-process.returncode}: {said}"
    assert "Traceback" not in said, said[-2000:]
    return Ended(process.returncode, out, said)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does, however busy the machine is."""
    give_up = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.005)
