"""``llmb label``: a person labels a random subset of a run, blind to the judge."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_batch.cli import complete

if TYPE_CHECKING:
    from llm_batch.reporting.judging.labelling import Card, LabelFile, Scale, Session, Subset


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
        yield Keys(single=True, before=before)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class Keys:
    """Reads what a person answers.

    Args:
        single: Whether keys come one by one, without Enter.
        before: How the terminal was set before, for whole lines.
    """

    def __init__(self, single: bool, before: Any = None) -> None:
        self.single = single
        self._before = before

    def forget(self) -> None:
        """Drop what was typed before now: it was meant for an item already answered."""
        if self.single:
            import termios

            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def read(self) -> str | None:
        """The next answer, ``None`` at the end; empty for a special key."""
        if not self.single:
            line = sys.stdin.readline(_LONGEST_NOTE)
            answer = line.strip() if line else None
            while len(line) == _LONGEST_NOTE and not line.endswith("\n"):
                answer, line = "", sys.stdin.readline(_LONGEST_NOTE)
            return answer
        typed = os.read(sys.stdin.fileno(), 64)
        if not typed or typed == b"\x04":
            return None
        text = typed.decode(errors="replace")
        # Arrows and other special keys come as several characters; so does a key held down.
        return "" if text.startswith(_ESCAPE) or len(set(text)) > 1 else text[0]

    def line(self, ask: Callable[[], None]) -> str:
        """A whole line, typed with an end; ``ask`` is called once the terminal is ready for it."""
        if not self.single:
            ask()
            return self.read() or ""
        import termios
        import tty

        terminal = sys.stdin.fileno()
        termios.tcsetattr(terminal, termios.TCSAFLUSH, self._before)
        try:
            ask()
            return os.read(terminal, _LONGEST_NOTE).decode(errors="replace").strip()
        finally:
            tty.setcbreak(terminal)


_DEFAULT_N = 100
_SHOWN_STEPS = 5
_WIDTH = 80
_LONGEST_NOTE = 4096
_OTHERS = {
    **dict.fromkeys(("s", "skip"), "skip"),
    **dict.fromkeys(("u", "undo"), "undo"),
    **dict.fromkeys(("n", "note"), "note"),
    **dict.fromkeys(("q", "quit", "exit"), "quit"),
}
_VERDICTS = {
    **dict.fromkeys(("1", "p", "pass", "y", "yes"), "1"),
    **dict.fromkeys(("0", "f", "fail", "no"), "0"),
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What can be answered.

    Attributes:
        actions: What each word or key does: a label, skip, undo, note or quit.
        help: The keys, for people.
        done: What was done, by label.
    """

    actions: Mapping[str, str]
    help: str
    done: Mapping[str, str]

    @classmethod
    def of(cls, scale: Scale | None) -> Answers:
        """Pass and fail, or grades; ten has the key 0 where nothing else has."""
        others = "s skip, u undo, n note, q quit"
        if scale is None:
            done = {"1": "pass", "0": "fail", "skip": "skipped"}
            return cls(_VERDICTS | _OTHERS, f"1 pass, 0 fail, {others}", done)
        grades = {grade: grade for grade in scale.grades}
        ten = "10" in grades and "0" not in grades
        shown = f"{scale.low}-9 and 0 for 10" if ten else str(scale)
        done = {grade: f"grade {grade}" for grade in grades} | {"skip": "skipped"}
        return cls(
            grades | ({"0": "10"} if ten else {}) | _OTHERS, f"{shown} grade, {others}", done
        )


def label(
    results: Annotated[Path, typer.Argument(help="Results of a run.", show_default=True)] = Path(
        "results.jsonl"
    ),
    n: Annotated[
        int, typer.Option("--n", min=1, help="How many items to label, including earlier ones.")
    ] = _DEFAULT_N,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the random order. [default: 42]")
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            autocompletion=complete.fields,
            help="Fields to show, separated by commas. By default: all except the id.",
        ),
    ] = None,
    by_verdict: Annotated[
        bool,
        typer.Option(
            "--by-verdict",
            help="Draw as many items that the judge passed as items it failed. Useful when the "
            "judge passes nearly everything.",
        ),
    ] = False,
    grades: Annotated[
        bool,
        typer.Option("--grades", help="Give grades on the judge's scale instead of pass or fail."),
    ] = False,
    with_judge: Annotated[
        bool,
        typer.Option(
            "--with-judge",
            help="Show what the judge said. These labels are marked, because they are less "
            "independent of the judge.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write. By default: labels.csv next to the results."
        ),
    ] = None,
) -> None:
    """Label a random subset of a run yourself, without seeing the judge's verdict.

    Every key is saved at once, and the same command resumes. From your labels, `llmb report` tells
    how often the judge is right.
    """
    from llm_batch.chain.overrides import command, expanded
    from llm_batch.cli.console import put, say
    from llm_batch.errors import EXIT_INTERRUPTED
    from llm_batch.record.files import results_of
    from llm_batch.record.manifest import Manifest
    from llm_batch.reporting.judging.labelling import LabelFile, Scale, Session, Subset

    results = Path(results_of(results))
    path = Path(expanded(output)) if output else results.with_name("labels.csv")
    scale = Scale.of(results) if grades else None
    manifest, _ = Manifest.beside(results)
    run = manifest.run_id if manifest else ""
    # A manifest may be a stranger's, and its id anything.
    sound = re.fullmatch(r"[\w-]{1,60}", run)
    own = path.with_name(f"{results.stem}-{run}-labels.csv" if sound else "other-labels.csv")
    elsewhere = command("label", results, "--output", own)
    file = LabelFile(path, seed, by_verdict=by_verdict, scale=scale, run=run, elsewhere=elsewhere)
    fields = [name.strip() for name in (show or "").split(",") if name.strip()]
    subset = Subset(results, file.seed, n, fields, file.by_verdict, with_judge)
    session = Session(subset, file)
    for line in (*file.notes, *_opening(subset, file, session, results)):
        say(line)
    interrupted = False
    answers = Answers.of(file.scale)
    try:
        if session.card() is not None:
            screen = _screen()
            interrupted = (screen or _label)(session, file, answers)
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


def _screen() -> Callable[[Session, LabelFile, Answers], bool] | None:
    """The whole screen, where there is a terminal and Textual for it; else ``None``."""
    from llm_batch.cli.console import say

    streams = (sys.stdin, sys.stdout, sys.stderr)
    plain = os.environ.get("TERM", "" if os.name == "nt" else "dumb") == "dumb"
    if plain or not all(stream.isatty() for stream in streams):
        return None
    from llm_batch.cli.label_screen import INSTALLED, label_on_screen

    if not INSTALLED:
        say("For a full-screen view: pip install 'llmb[label]'")
        return None
    return label_on_screen


def _label(session: Session, file: LabelFile, answers: Answers) -> bool:
    """Ask line by line until all are labelled or the person stops; never interrupted."""
    from llm_batch.cli.console import say

    say(f"Keys: {answers.help}.")
    note = ""
    with keys() as reader:
        while (card := session.card()) is not None:
            for line in _shown(card, session):
                say(line, style="bold" if line.startswith("--") else "")
            reader.forget()
            action, text = _action(reader, answers)
            while action == "note":
                note = text or _asked(reader)
                action, text = _action(reader, answers)
            if action == "quit":
                say("")
                return False
            if action == "undo":
                back = file.undo()
                note = file.note(back) if back else ""
                say("undone" if back else "nothing to undo")
            else:
                file.add(card.id, action, note or file.note(card.id), bool(card.verdict))
                note = ""
                say(answers.done[action])
    return False


def _asked(reader: Keys) -> str:
    """A note, in a line of its own."""
    from llm_batch.cli.console import talk

    return reader.line(lambda: talk().print("note: ", end=""))


def _action(reader: Keys, answers: Answers) -> tuple[str, str]:
    """What the person wants, asked until it is understood; the end of the input is to quit.

    A note may stand behind its key: ``n the reference is wrong``.
    """
    from llm_batch.cli.console import say, talk
    from llm_batch.paper.words import clean

    while True:
        talk().print(f"{answers.help}: ", end="")
        answer = reader.read()
        if answer is None:
            return "quit", ""
        word, _, text = answer.partition(" ")
        action = answers.actions.get(word.casefold())
        if action is not None and (not text or action == "note"):
            return action, text.strip()
        say(f"{clean(answer, 20)!r} is not one of these keys" if answer else "press one of these")


def _opening(subset: Subset, file: LabelFile, session: Session, results: Path) -> Iterator[str]:
    """What there is to label, and how many labels are worth it."""
    from llm_batch.paper.words import items
    from llm_batch.stats.calibrate import ASSUMED_RATE, label_plan, worth_labelling

    yield (
        f"{items(subset.items)} of {results} can be labelled, "
        f"{'half passed and half failed by the judge' if file.by_verdict else 'in random order'} "
        f"(seed {file.seed}). {session.done:,} of {session.total:,} done; labels go to {file.path}."
    )
    rate = subset.pass_rate
    if rate is None or file.by_verdict:
        return
    # From the judge's rate alone: how it fared on earlier labels would sway the person.
    plan = label_plan(subset.items, rate)
    worth = worth_labelling(plan)
    yield (
        "How precise your labels will make the pass rate (assuming the judge is right "
        f"{100 * ASSUMED_RATE:.0f} % of the time):"
    )
    for step in plan[:_SHOWN_STEPS]:
        end = "  <- enough; twice as many add little" if step.labels == worth < subset.items else ""
        yield f"  {step.labels:>6,} labels: ±{100 * step.margin:.1f} points{end}"


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
    if card.verdict:
        yield from _block("the judge said", card.verdict)
    yield ""


def _block(name: str, text: str) -> Iterator[str]:
    from llm_batch.paper.words import wrapped

    yield f"{name}:"
    yield from (f"  {line}".rstrip() for line in wrapped(text, _WIDTH - 2))


def _closing(
    subset: Subset, file: LabelFile, session: Session, results: Path, shown: Sequence[str]
) -> Iterator[str]:
    """What was done, and what to type next."""
    from llm_batch.chain.overrides import command

    done = session.done
    skipped = sum(label == "skip" for label in file.labels.values())
    yield (
        f"{done:,} of {session.total:,} done, {skipped:,} skipped."
        if skipped
        else (f"{done:,} of {session.total:,} done.")
    )
    if not file.labels:
        return
    yield f"Is the judge right? {command('report', results, '--labels', file.path)}"
    if session.card() is not None:
        yield "The same command resumes here."
    elif session.total < subset.items:
        more = min(2 * session.total, subset.items)
        beside = file.path == results.with_name("labels.csv")
        to = () if beside else ("--output", file.path)
        yield f"More labels: {command('label', results, '--n', str(more), *shown, *to)}"
