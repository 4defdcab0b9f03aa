"""Choosing a format by name and handing the text over."""

from __future__ import annotations

import codecs
import difflib
import errno
import io
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from llm_batch.chain.overrides import expanded
from llm_batch.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from llm_batch.paper import Formats


# All but tab and line feed; the codes from 80 to 9f are obeyed by some terminals too. Marks that
# turn the direction of writing make a text look like another one, and halves of characters cannot
# be written.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


#: What stands for characters that a terminal or a pipe has no room for.
_ASCII = {
    "→": "->", "←": "<-", "↑": "^", "↓": "v", "⇒": "=>", "−": "-", "–": "-", "—": "-", "‐": "-",
    "…": "...", "±": "+/-", "×": "x", "·": "-", "•": "*", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=",
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'",
    "\u00a0": " ", "\u202f": " ",
    "─": "-", "━": "-", "│": "|", "┃": "|", "┌": "+", "┐": "+", "└": "+", "┘": "+", "├": "+",
    "┤": "+", "┬": "+", "┴": "+", "┼": "+", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "╸": "-",
    "╺": "-", "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": "#", "▎": "#", "▏": "#",
    "✓": "+", "✗": "x", "µ": "u", "μ": "u", "²": "^2", "κ": "kappa", "α": "alpha", "\ufeff": "",
}  # fmt: skip
_DEGRADE = "llmb_ascii"
#: Longer lines are hard to read.
_WIDEST = 100


def _degraded(error: UnicodeError) -> tuple[str, int]:
    """ASCII for what cannot be encoded; of letters their code, as JSON escapes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(char: str) -> str:
    if char in _ASCII:
        return _ASCII[char]
    if ord(char) > 0xFFFF:
        high, low = divmod(ord(char) - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
    return f"\\u{ord(char):04x}"


codecs.register_error(_DEGRADE, _degraded)


@cache
def talk() -> Console:
    """Where messages, warnings and progress go. NO_COLOR is honoured."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def say(sentence: str, style: str = "") -> None:
    """A sentence for the user; never interpreted as markup."""
    talk().print(printable(sentence), style=style)


def put(text: str) -> None:
    """Data for stdout, as it is; a terminal is shown what it would obey."""
    if sys.stdout.isatty():
        text = printable(text)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def guard_streams() -> None:
    """From now on nothing that is printed fails for want of a reader.

    What goes to stderr where nobody listens (a closed terminal) is dropped, and so is what goes to
    a pipe whose reader has had enough. Anything else that keeps stdout from being written, such
    as a full disk, is an `OutputError`.

    Nor does it fail for a character that the terminal's encoding lacks: it degrades to ASCII.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_DEGRADE)
    if os.name == "nt":  # a console there is no file
        return
    for number in range(3):
        with suppress(OSError):
            os.fstat(number)
            continue
        # Else the next file that is opened gets its number, and what is printed.
        os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(sys.stdout, io.BufferedWriter(_Data(sys.stdout is None)))
    if sys.stderr is sys.__stderr__:
        # Without a buffer: a signal may come, and speak, in the middle of a sentence.
        sys.stderr = _stream(sys.stderr, _Talk(2, "wb", closefd=False))


def _stream(before: Any, file: Any) -> io.TextIOWrapper:
    encoding, errors = ("utf-8", _DEGRADE)
    if before is not None:
        before.flush()
        encoding, errors = before.encoding, before.errors
    alone = isinstance(file, _Talk)
    return io.TextIOWrapper(file, encoding, errors, line_buffering=not alone, write_through=alone)


class _Talk(io.FileIO):
    """Standard error; what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        left = memoryview(data)
        with suppress(OSError):
            while left:
                left = left[super().write(left) or 0 :]
        return len(data)


class _Data(io.FileIO):
    def __init__(self, closed: bool) -> None:
        super().__init__(1, "wb", closefd=False)
        self._closed = closed

    def write(self, data: Any) -> int:
        try:
            if self._closed:
                raise OSError(errno.EBADF, "it is closed")
            return super().write(data)
        except OSError as error:
            self._closed = False
            # What is still to come is for nobody, and must not fail again at the very end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if error.errno in (errno.EPIPE, errno.EIO):  # the reader, or the terminal, is gone
                return len(data)
            raise OutputError(
                f"cannot write to standard output: {error.strerror}",
                "print to a file with room, or to a terminal",
            ) from error


def printable(text: str) -> str:
    """The text without characters that a terminal would obey instead of show."""
    return _CONTROL.sub("\ufffd", text)


T = TypeVar("T")


def chosen(formats: Mapping[str, Callable[[T], str]], name: str) -> Callable[[T], str]:
    """The formatter called ``name``, or `ConfigError`."""
    if name not in formats:
        near = difflib.get_close_matches(name, formats, n=1)
        raise ConfigError(
            f"--format {name!r} is not known",
            f"did you mean {near[0]}?" if near else f"formats are {', '.join(formats)}",
        )
    return formats[name]


def present(
    formats: Formats[T],
    name: str,
    made: T,
    output: str | None,
    *,
    full: bool = False,
    mark: str = "",
) -> None:
    """Show a result in a format, on a terminal in its width and colours.

    Args:
        formats: Those of its kind.
        name: The one that was chosen.
        made: The result.
        output: File to write to; ``None`` or ``-`` for stdout.
        full: Whether ``text`` shows everything instead of what fits a screen.
        mark: What stands before the text, such as a byte order mark.
    """
    name = "full" if full and name == "text" else name
    chosen(formats, name)
    document = formats.document(name, made) if name in ("text", "full") else None
    if document is None or output not in (None, "-") or not sys.stdout.isatty():
        deliver(itertools.chain([mark], formats.pieces(name, made)), output)
        return
    from rich.console import Console

    from llm_batch.paper.text import render

    console = Console(markup=False, emoji=False, highlight=False)
    console.width = min(console.width, _WIDEST)
    render(document, console)
    sys.stdout.flush()


def present_all(
    formats: Formats[T],
    name: str,
    made: T,
    output: str | None,
    also: Sequence[str] = (),
    *,
    step_summary: bool = False,
    full: bool = False,
    mark: str = "",
) -> None:
    """Show a result as `present` does, and write it in other formats as well.

    Args:
        also: ``FORMAT=FILE`` each.
        step_summary: Whether to append Markdown to what ``GITHUB_STEP_SUMMARY`` names.
    """
    files = []
    for each in also:
        kind, sign, file = each.partition("=")
        if not sign or not file:
            raise ConfigError(f"--also {each!r} names no file", "write --also junit=gate.xml")
        chosen(formats, kind)
        files.append((kind, file))
    present(formats, name, made, output, full=full, mark=mark)
    for kind, file in files:
        deliver(formats.pieces(kind, made), file)
    if not step_summary:
        return
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        say("no summary is written: GITHUB_STEP_SUMMARY is not set, so this is no GitHub job")
        return
    try:
        with open(path, "a", encoding="utf-8") as summary:
            summary.write(formats["md"](made) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write the summary {path}: {error.strerror}") from error


#: A text up to so many bytes is held in memory until all of it is there, a longer one on disk.
_HELD_BYTES = 1 << 24


def deliver(text: str | Iterable[str], output: str | None) -> None:
    """Write to a file, or to stdout without one or with ``-``; all of a text or nothing."""
    from llm_batch.record.files import deliver as write

    if isinstance(text, str) and output in (None, "-"):
        put(text)
        return
    last = ""
    try:
        with tempfile.SpooledTemporaryFile(_HELD_BYTES) as held:
            for piece in [text] if isinstance(text, str) else text:
                held.write(piece.encode())
                last = piece or last
            if not last.endswith("\n"):
                held.write(b"\n")
            held.seek(0)
            if output is not None and output != "-":
                write(expanded(output), held, "--output")
                say(f"wrote {output}")
                return
            shown = io.TextIOWrapper(held, "utf-8", newline="")
            while piece := shown.read(_HELD_BYTES):
                sys.stdout.write(printable(piece) if sys.stdout.isatty() else piece)
            sys.stdout.flush()
    except OSError as error:
        raise OutputError(f"cannot write {output or 'the text'}: {error.strerror}") from error
