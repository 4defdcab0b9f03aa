"""The screen of `llmb label`: every key is saved at once, and says what it did."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from llm_batch.cli.label import Answers
from llm_batch.cli.label_screen import Labelling
from llm_batch.reporting.judging.labelling import LabelFile, Scale, Session, Subset
from tests.reporting.made import full_manifest, result, write

pytest.importorskip("textual", reason="the extra label is not installed")

HOSTILE = "fine\x1b]0;owned\x07 \x1b[2J\u202ereversed [bold]marked[/bold]"
LONG = "\n".join(f"line {n} of a long answer" for n in range(300))


class Clock:
    """Ten seconds pass at every look."""

    def __init__(self, step: float = 10.0) -> None:
        self.at, self.step = 0.0, step

    def __call__(self) -> float:
        self.at += self.step
        return self.at


class Desk:
    """A screen with its files, and what a person does there."""

    def __init__(self, folder: Path, *, answer: str = HOSTILE, judge: bool = False,
                 scale: Scale | None = None, clock: Clock | None = None) -> None:  # fmt: skip
        run = [result(n, 5.0 if n % 2 else 1.0, answer=f"{answer} {n}") for n in range(40)]
        results = write(folder, run, full_manifest(planned=40))
        self.path = folder / "labels.csv"
        self.file = LabelFile(self.path, None, scale=scale)
        self.subset = Subset(results, self.file.seed, 5, show_judge=judge)
        self.session = Session(self.subset, self.file)
        answers = Answers.of(self.file.scale)
        self.app = Labelling(self.session, self.file, answers, clock or Clock())

    def press(self, *keys: str, then: Callable[[Any], Awaitable[None]] | None = None) -> None:
        async def sitting() -> None:
            async with self.app.run_test(size=(80, 24)) as pilot:
                for key in keys:
                    await pilot.press(key)
                if then is not None:
                    await then(pilot)

        # `asyncio.run` would drop, unclosed, the loop that an import of litellm may have left.
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(sitting())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    def text(self, id: str) -> str:
        return str(self.app.query_one(f"#{id}").render())

    @property
    def shown(self) -> str:
        return "\n".join(str(each.render()) for each in self.app.query("#item Static"))

    @property
    def rows(self) -> list[dict[str, str]]:
        with open(self.path, newline="") as stored:
            return list(csv.DictReader(stored))

    @property
    def labels(self) -> list[str]:
        return [row["label"] for row in self.rows] if self.path.exists() else []


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        ("10s", ["1", "0", "skip"]),
        ("pf", ["1", "0"]),
        ("P1", ["1", "1"]),
        ("10u1", ["1", "1"]),
        ("10uu", []),
        ("u", []),
        ("xz!7", []),
        ("1q0", ["1"]),
        ("11111", ["1"] * 5),
    ],
)
def test_keys_label_undo_skip_and_end(keys: str, labels: list[str], tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.press(*(key if key.isalnum() else "exclamation_mark" for key in keys))
    assert desk.labels == labels
    assert desk.app.error is None and not desk.app.return_value


def test_an_item_is_whole_without_escapes_and_without_the_judge(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    async def look(pilot: Any) -> None:
        assert "[bold]marked[/bold]" in desk.shown and "reference (answer)" in desk.shown
        assert not {"\x1b", "\x07", "\u202e"} & set(desk.shown)
        assert "Because." not in desk.shown and "score" not in desk.shown
        assert "1 of 5" in desk.text("place") and "1 pass, 0 fail" in desk.text("keys")

    desk.press(then=look)


def test_a_new_item_takes_the_place_of_the_last(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first = desk.session.card()
    assert first is not None

    async def look(pilot: Any) -> None:
        assert f"Question {first.id.removeprefix('item-')}?" in desk.shown
        await pilot.press("1")
        assert f"Question {first.id.removeprefix('item-')}?" not in desk.shown
        assert "2 of 5" in desk.text("place") and desk.text("said") == "pass"

    desk.press(then=look)


def test_a_wrong_key_says_which_are_right(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    async def look(pilot: Any) -> None:
        await pilot.press("x")
        assert desk.text("said") == (
            "'x' does nothing; keys: 1 pass, 0 fail, s skip, u undo, n note, q quit"
        )

    desk.press(then=look)


def test_a_note_is_kept_with_its_label_and_comes_back_with_undo(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    async def undone(pilot: Any) -> None:
        await pilot.press("u", "n")
        assert desk.app.query_one("#note").value == "1 bad q"
        await pilot.press("escape", "0")

    desk.press("n", *"1", "space", *"bad", "space", "q", "enter", "1", then=undone)
    assert [(row["label"], row["note"]) for row in desk.rows] == [("0", "1 bad q")]


def test_a_long_answer_scrolls_and_the_next_item_begins_at_its_top(tmp_path: Path) -> None:
    desk = Desk(tmp_path, answer=LONG)

    async def look(pilot: Any) -> None:
        item = desk.app.query_one("#item")
        assert item.max_scroll_y > 200
        item.scroll_end(animate=False)
        await pilot.pause()
        assert item.scroll_y == item.max_scroll_y
        await pilot.press("1")
        await pilot.pause()
        assert item.scroll_y == 0

    desk.press(then=look)


def test_a_key_that_is_held_down_labels_one_item(tmp_path: Path) -> None:
    desk = Desk(tmp_path, clock=Clock(step=0.01))
    desk.press("1", "1", "1")
    assert desk.labels == []

    async def look(pilot: Any) -> None:
        desk.app._now.step = 1.0
        await pilot.press("1")
        desk.app._now.step = 0.01
        await pilot.press("1", "1")
        assert "too fast" in desk.text("said")

    desk = Desk(tmp_path, clock=Clock(step=0.01))
    desk.press(then=look)
    assert desk.labels == ["1"]


@pytest.mark.parametrize(
    ("scale", "keys", "labels", "help"),
    [
        (Scale(1, 5), "51s", ["5", "1", "skip"], "1-5 grade"),
        (Scale(1, 5), "06p5", ["5"], "1-5 grade"),
        (Scale(1, 10), "09", ["10", "9"], "1-9 and 0 for 10 grade"),
        (Scale(0, 3), "03", ["0", "3"], "0-3 grade"),
    ],
)
def test_grades_have_keys_too_and_the_file_knows_their_scale(
    scale: Scale, keys: str, labels: list[str], help: str, tmp_path: Path
) -> None:
    desk = Desk(tmp_path, scale=scale)
    desk.press(*keys)
    assert desk.labels == labels
    assert {row["scale"] for row in desk.rows} == {str(scale)}
    assert Answers.of(scale).help.startswith(help)
    assert LabelFile(desk.path, None).scale == scale


def test_labels_made_with_the_judge_in_view_are_marked(tmp_path: Path) -> None:
    desk = Desk(tmp_path, judge=True)

    async def look(pilot: Any) -> None:
        assert "the judge said" in desk.shown and "Because." in desk.shown
        await pilot.press("1")

    desk.press(then=look)
    assert [row["saw_judge"] for row in desk.rows] == ["yes"]


def test_ctrl_c_keeps_what_is_labelled(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.press("1", "ctrl+c")
    assert desk.labels == ["1"] and desk.app.return_value is True


def test_a_file_that_another_program_changed_ends_the_sitting(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    async def change(pilot: Any) -> None:
        desk.path.write_text(desk.path.read_text() + "item-1,1,2026,42\n")
        await pilot.press("0")

    desk.press("1", then=change)
    assert desk.app.error is not None and "another program" in desk.app.error.message
