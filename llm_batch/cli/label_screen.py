"""The screen of ``llmb label``, drawn with Textual: the item above, the keys below.

It is imported only where there is a terminal. Textual may be missing (extra ``label``): this module
can be imported all the same, and `INSTALLED` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from llm_batch.cli.console import printable
from llm_batch.errors import LlmbError
from llm_batch.paper.words import clean, quoted

if TYPE_CHECKING:
    from llm_batch.cli.label import Answers
    from llm_batch.reporting.judging.labelling import Card, LabelFile, Session

# By name, so that types do not depend on whether it is installed.
_app: Any
_containers: Any
_widgets: Any
try:
    _app, _containers, _widgets = map(
        import_module, ("textual.app", "textual.containers", "textual.widgets")
    )
except ImportError:
    _app = _containers = _widgets = None
INSTALLED = _app is not None
_Base: Any = _app.App if INSTALLED else object

#: A key that is held down repeats faster than anybody reads an item.
_LEAST_SECONDS = 0.25
_LONGEST = 200_000


def label_on_screen(session: Session, file: LabelFile, answers: Answers) -> bool:
    """Label until all are done or the person stops; whether by Ctrl-C.

    Raises:
        LlmbError: The file of labels cannot be written.
    """
    app = Labelling(session, file, answers)
    app.run()
    if app.error is not None:
        raise app.error
    return bool(app.return_value)


class Labelling(_Base):  # type: ignore[misc]
    """One sitting.

    Args:
        session: Which item is next.
        file: Where labels go.
        answers: What the keys do.
        clock: Seconds of any beginning.

    Attributes:
        error: Why a label could not be written.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #place { height: 1; background: $primary; color: $text; padding: 0 1; text-style: bold; }
    #item { height: 1fr; padding: 0 1; scrollbar-gutter: stable; }
    .name { color: $text-muted; margin-top: 1; }
    .answer { border-left: thick $accent; padding-left: 1; }
    #note { display: none; }
    #said { height: 1; padding: 0 1; color: $warning; }
    #keys { height: 1; background: $panel; padding: 0 1; }
    """
    BINDINGS = [("ctrl+c", "interrupt", "stop"), ("ctrl+q", "leave", "quit")]

    def __init__(
        self,
        session: Session,
        file: LabelFile,
        answers: Answers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.error: LlmbError | None = None
        self._labels, self._file, self._answers, self._now = session, file, answers, clock
        self._card: Card | None = None
        self._shown_at = 0.0
        self._noted = ""

    def compose(self) -> Iterator[Any]:
        yield _widgets.Static(id="place", markup=False)
        yield _containers.VerticalScroll(id="item")
        yield _widgets.Input(id="note", placeholder="a note; Enter saves it, Escape discards it")
        yield _widgets.Static(id="said", markup=False)
        yield _widgets.Static(f"{self._answers.help}  (↑ ↓ scroll)", id="keys", markup=False)

    async def on_mount(self) -> None:
        await self._next()

    async def on_key(self, event: Any) -> None:
        """A key that no widget took."""
        if self.query_one("#note").display:
            if event.key == "escape":
                self._close_note()
            return
        if event.character is None or not event.is_printable:
            return
        event.stop()
        action = self._answers.actions.get(event.character.casefold())
        if action is None:
            self._say(f"{clean(event.character)!r} does nothing; keys: {self._answers.help}")
        elif action == "quit":
            self.exit(False)
        elif action == "note":
            self._open_note()
        elif action == "undo":
            await self._undo()
        elif self._now() - self._shown_at < _LEAST_SECONDS:
            self._say("too fast to have read it: press the key again")
        else:
            await self._label(action)

    async def on_input_submitted(self, event: Any) -> None:
        """The note is there."""
        event.stop()
        self._noted = event.value.strip()
        self._close_note()

    async def _label(self, label: str) -> None:
        card = self._card
        if card is None:
            return
        try:
            self._file.add(card.id, label, self._noted, bool(card.verdict))
        except LlmbError as error:
            self._fail(error)
            return
        self._say(self._answers.done[label])
        await self._next()

    async def _undo(self) -> None:
        try:
            back = self._file.undo()
        except LlmbError as error:
            self._fail(error)
            return
        self._say("undone: label this item again" if back else "nothing to undo")
        if back:
            await self._next()

    async def _next(self) -> None:
        """Show the next item in place of the last, from its beginning."""
        try:
            card = self._labels.card()
        except LlmbError as error:
            self._fail(error)
            return
        self._card = card
        if card is None:
            self.exit(False)
            return
        self._noted = self._file.note(card.id)
        done, total = self._labels.done, self._labels.total
        self.query_one("#place").update(f"{done + 1:,} of {total:,}   {self._file.path}")
        item = self.query_one("#item")
        await item.remove_children()
        await item.mount_all(_blocks(card))
        item.scroll_home(animate=False)
        item.focus()
        self._shown_at = self._now()

    def _open_note(self) -> None:
        note = self.query_one("#note")
        note.display, note.value = True, self._noted
        note.focus()

    def _close_note(self) -> None:
        self.query_one("#note").display = False
        self.query_one("#item").focus()
        self._say(f"note: {clean(self._noted)}" if self._noted else "")

    def _say(self, sentence: str) -> None:
        self.query_one("#said").update(printable(sentence))

    def _fail(self, error: LlmbError) -> None:
        self.error = error
        self.exit(False)

    def action_interrupt(self) -> None:
        """Ctrl-C: what was labelled is kept."""
        self.exit(True)

    def action_leave(self) -> None:
        """As q."""
        self.exit(False)


def _blocks(card: Card) -> list[Any]:
    """An item as widgets, the answer marked."""
    texts = [(name, text, "") for name, text in card.fields]
    texts += [(f"reference ({name})", text, "") for name, text in card.reference]
    texts += [(f"answer ({step})", text, "answer") for step, text in card.answers]
    if card.verdict:
        texts.append(("the judge said", card.verdict, ""))
    return [
        _widgets.Static(shown, classes=kind, markup=False)
        for name, text, kind in texts
        for shown, kind in ((clean(name), "name"), (quoted(text, _LONGEST) or " ", kind))
    ]
