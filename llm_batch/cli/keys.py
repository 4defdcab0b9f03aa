"""One key at a time from a terminal, or one line at a time from anything else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ESCAPE = "\x1b"


@contextmanager
def keys() -> Iterator[Keys]:
    """A reader of keys for as long as it lasts; the terminal is put back as it was after."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield Keys(single=False)
        return
    if not sys.stdin.isatty():
        yield Keys(single=False)
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)  # Ctrl-C still interrupts
        yield Keys(single=True)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class Keys:
    """Reads what a person answers.

    Args:
        single: Whether keys come one by one, without Enter.
    """

    def __init__(self, single: bool) -> None:
        self.single = single

    def forget(self) -> None:
        """Drop what was typed before now: it was meant for an item already answered."""
        if self.single:
            import termios

            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def read(self) -> str | None:
        """The next answer in lower case, ``None`` at the end; empty for a special key."""
        if not self.single:
            line = sys.stdin.readline()
            return line.strip().casefold() if line else None
        typed = os.read(sys.stdin.fileno(), 64)
        if not typed or typed == b"\x04":
            return None
        text = typed.decode(errors="replace")
        # Arrows and other special keys come as several characters; so does a key held down.
        return "" if text.startswith(_ESCAPE) or len(set(text)) > 1 else text[0].casefold()
