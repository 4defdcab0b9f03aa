"""``llmb label``: a person labels a random subset of a run, blind to the judge."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llm_batch.reporting.judging.labelling import Card, LabelFile, Session, Subset


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


_DEFAULT_N = 100
_SHOWN_STEPS = 5
_WIDTH = 80
_LONG_LINE = 100 * _WIDTH
_HELP = "1 pass, 0 fail, s skip, u undo, q quit"
_KEYS = {
    **dict.fromkeys(("1", "p", "pass", "y", "yes"), "1"),
    **dict.fromkeys(("0", "f", "fail", "n", "no"), "0"),
    **dict.fromkeys(("s", "skip"), "skip"),
    **dict.fromkeys(("u", "undo"), "undo"),
    **dict.fromkeys(("q", "quit", "exit"), "quit"),
}
_DONE = {"1": "pass", "0": "fail", "skip": "skipped"}


def label(
    results: Annotated[Path, typer.Argument(help="Results of a run.", show_default=True)] = Path(
        "results.jsonl"
    ),
    n: Annotated[
        int, typer.Option("--n", min=1, help="Items to label in all, earlier ones included.")
    ] = _DEFAULT_N,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the random order; 42 by default.")
    ] = None,
    show: Annotated[
        str | None,
        typer.Option("--show", help="Fields to show, with commas; all but the id by default."),
    ] = None,
    by_verdict: Annotated[
        bool,
        typer.Option(
            "--by-verdict",
            help="Draw as many items the judge passed as it failed: tells more of a judge that "
            "passes nearly all.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write; labels.csv beside the results by default."
        ),
    ] = None,
) -> None:
    """Label a random subset of a run in the terminal, blind to the judge; goes on where it stopped.

    Each key is saved at once. The labels tell `llmb report --labels` how far the judge is right.
    """
    from llm_batch.chain.flags import expanded
    from llm_batch.cli.console import put, say
    from llm_batch.errors import EXIT_INTERRUPTED
    from llm_batch.reporting.judging.labelling import LabelFile, Session, Subset

    results = Path(expanded(results))
    path = Path(expanded(output)) if output else results.with_name("labels.csv")
    file = LabelFile(path, seed, by_verdict=by_verdict)
    fields = [name.strip() for name in (show or "").split(",") if name.strip()]
    subset = Subset(results, file.seed, n, fields, file.by_verdict)
    session = Session(subset, file)
    for line in (*file.notes, *_opening(subset, file, session, results)):
        say(line)
    interrupted = False
    try:
        _label(session, file)
    except KeyboardInterrupt:
        interrupted = True
        say("")
    shown = ("--show", show) if show else ()
    for line in _closing(subset, file, session, results, shown):
        say(line)
    if file.labels:
        put(str(path))
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _label(session: Session, file: LabelFile) -> None:
    """Ask until all are labelled or the person stops."""
    from llm_batch.cli.console import say

    if session.card() is None:
        return
    say(f"Keys: {_HELP}.")
    with keys() as reader:
        while (card := session.card()) is not None:
            for line in _shown(card, session):
                say(line, style="bold" if line.startswith("--") else "")
            reader.forget()
            action = _action(reader)
            if action == "quit":
                say("")
                return
            if action == "undo":
                back = file.undo()
                say("undone" if back else "nothing to undo")
            else:
                file.add(card.id, action)
                say(_DONE[action])


def _action(reader: Keys) -> str:
    """What the person wants, asked until it is understood; the end of the input is to quit."""
    from llm_batch.cli.console import say, talk

    while True:
        talk().print(f"{_HELP}: ", end="")
        answer = reader.read()
        if answer is None:
            return "quit"
        if answer in _KEYS:
            return _KEYS[answer]
        say("?")


def _opening(subset: Subset, file: LabelFile, session: Session, results: Path) -> Iterator[str]:
    """What there is to label, and how many labels are worth it."""
    from llm_batch.paper.words import items
    from llm_batch.stats.calibrate import ASSUMED_RATE, label_plan, worth_labelling

    yield (
        f"{items(subset.items)} of {results} can be labelled, "
        f"{'drawn within each verdict of the judge' if file.by_verdict else 'in a random order'} "
        f"(seed {file.seed}). {session.done:,} of {session.total:,} done; labels go to {file.path}."
    )
    rate = subset.pass_rate
    if rate is None or file.by_verdict:
        return
    # From the judge's rate alone: how it fared on earlier labels would sway the person.
    plan = label_plan(subset.items, rate)
    worth = worth_labelling(plan)
    yield (
        f"What labels give (a judge right in {100 * ASSUMED_RATE:.0f} % of passes and fails is "
        "assumed):"
    )
    for step in plan[:_SHOWN_STEPS]:
        end = "  <- twice as many add little" if step.labels == worth < subset.items else ""
        yield f"  {step.labels:>6,} labels: pass rate to ±{100 * step.margin:.1f} points{end}"


def _shown(card: Card, session: Session) -> Iterator[str]:
    """An item as lines."""
    yield ""
    yield f"-- {session.done + 1:,} of {session.total:,} --"
    for name, text in card.fields:
        yield from _block(name, text)
    for name, text in card.reference:
        yield from _block(f"reference ({name})", text)
    for step, text in card.answers:
        yield from _block(f"answer ({step})", text)
    yield ""


def _block(name: str, text: str) -> Iterator[str]:
    yield f"{name}:"
    for line in text.splitlines() or [""]:
        # The time to wrap a word grows with the square of its length.
        for start in range(0, len(line) or 1, _LONG_LINE):
            yield from textwrap.wrap(
                line[start : start + _LONG_LINE],
                _WIDTH,
                initial_indent="  ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            ) or [""]


def _closing(
    subset: Subset, file: LabelFile, session: Session, results: Path, shown: Sequence[str]
) -> Iterator[str]:
    """What was done, and what to type next."""
    from llm_batch.chain.flags import command

    done = session.done
    skipped = sum(label == "skip" for label in file.labels.values())
    yield (
        f"{done:,} of {session.total:,} done, {skipped:,} skipped."
        if skipped
        else (f"{done:,} of {session.total:,} done.")
    )
    if not file.labels:
        return
    yield f"Is the judge right: {command('report', results, '--labels', file.path)}"
    if session.card() is not None:
        yield "The same command goes on from here."
    elif session.total < subset.items:
        more = min(2 * session.total, subset.items)
        beside = file.path == results.with_name("labels.csv")
        to = () if beside else ("--output", file.path)
        yield f"More labels: {command('label', results, '--n', str(more), *shown, *to)}"
