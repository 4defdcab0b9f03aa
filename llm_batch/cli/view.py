"""``llmb view``: a run in the browser while it goes on, and its page once it is over."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer


def view(
    results: Annotated[Path, typer.Argument(help="Results of a run.")] = Path("results.jsonl"),
    open_it: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            show_default=False,
            help="Open a browser. By default: if this is a terminal and there is a browser.",
        ),
    ] = None,
) -> None:
    """Watch a run in the browser: progress, cost, pass rate and failures, live.

    Prints an address that works on this machine only. Ctrl-C stops watching, not the run.
    """
    from llm_batch.cli.console import put, say
    from llm_batch.cli.view_server import Shown
    from llm_batch.errors import OutputError
    from llm_batch.record.files import results_of

    if str(results) == "-":
        raise OutputError("view needs a results file, not standard input", "llmb view FILE")
    with Shown(Path(results_of(results))) as shown:
        shown.first_look()
        try:
            put(shown.url)
            say("open this address in a browser on this machine; Ctrl-C stops watching")
            wanted = sys.stderr.isatty() and _has_browser() if open_it is None else open_it
            with _opened(shown.url, say) if wanted else _nothing():
                shown.serve_forever()
        except KeyboardInterrupt:
            return


def _has_browser() -> bool:
    """Whether a browser would open in front of whoever typed the command."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def _opened(url: str, say: Callable[[str], None]) -> Iterator[None]:
    """Open a browser at the address.

    It is led there by a private file: what a program is started with is seen by everybody on the
    machine, and the address has the token.
    """
    import webbrowser

    with tempfile.TemporaryDirectory(prefix="llmb-") as folder:
        file = Path(folder) / "view.html"
        file.write_text(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={url}">\n')
        if not webbrowser.open(file.as_uri()):
            say("could not open a browser; open the address yourself")
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield
