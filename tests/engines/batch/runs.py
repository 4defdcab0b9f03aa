"""Runs against the batch server, with a clock that does not wait."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_batch.running.earlier import Earlier
from llm_batch.running.progress import Progress, RunSummary
from llm_batch.running.run import run
from llm_batch.sending.clock import Stop
from tests.batch_server import BatchServer
from tests.fire.runs import Hurried, journal, load, results
from tests.settings import DATA, steps, write_questions

__all__ = ["Session", "journal", "load", "results", "write_project"]

#: USD per million tokens, live and by batch: input, output.
LIVE, BATCH = (1.0, 4.0), (0.5, 2.0)
#: Where the server has the API of a vendor.
_PATHS = {
    "openai": "/v1", "gemini": "/v1beta", "groq": "/groq/openai/v1", "mistral": "/mistral/v1",
    "together_ai": "/together/v1",
}  # fmt: skip


def write_project(
    folder: Path,
    server: BatchServer,
    questions: Iterable[str] | int = 6,
    *,
    model: str = "openai/writer",
    judge: str | None = "openai/writer",
    batch: str = "",
    prices: bool = True,
    **limits: Any,
) -> Path:
    """Data and a generate-and-judge config in a folder; returns the config's path."""
    if isinstance(questions, int):
        questions = [f"What is {number}?" for number in range(questions)]
    write_questions(folder, questions)
    limits = {"workers": 4, "max_attempts": 3, "max_failure_share": 1.0} | limits
    base = server.url + _PATHS.get(model.partition("/")[0], "")
    priced = (
        f"input_price = {LIVE[0]}\noutput_price = {LIVE[1]}\n"
        f"batch_input_price = {BATCH[0]}\nbatch_output_price = {BATCH[1]}\n"
    )
    served = "".join(
        f'[models."{name}"]\napi_base = "{base}"\n{priced if prices else ""}'
        for name in dict.fromkeys(filter(None, (model, judge)))
    )
    settings = "\n".join(f"{name} = {value}" for name, value in limits.items())
    path = folder / "llmb.toml"
    path.write_text(
        f'{DATA}[run]\nengine = "batch"\n[batch]\npoll = 0.05\n{batch}\n'
        f"[limits]\n{settings}\n{served}" + steps(model, judge or "", scale=(0, 100)),
        encoding="utf-8",
    )
    return path


class Killed(BaseException):
    """Ends a session as a kill does: nothing is written any more."""


class Session:
    """One run; the same again resumes.

    Attributes:
        said: Sentences for the user.
        states: What the progress display showed of jobs.
        stop: To end it early.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.states: list[str] = []
        self.stop = Stop()
        self.stop.clock = Hurried()  # type: ignore[assignment]  # all that is used of a clock

    def play(
        self,
        *,
        earlier: Earlier = Earlier(),  # noqa: B008  (frozen)
        leave: str = "",
        **flags: Any,
    ) -> RunSummary:
        return run(
            load(self.folder, **flags),
            earlier=earlier,
            leave=leave,
            say=self.said.append,
            progress=self._show,
            stop=self.stop,
        )

    def _show(self, state: Progress) -> None:
        if state.jobs:
            self.states.append(state.jobs)

    @property
    def talk(self) -> str:
        return "\n".join(self.said)


def leave(folder: Path, server: BatchServer, **flags: Any) -> Session:
    """A run that is stopped while its jobs go on; they go on until ``server.polls`` is lowered."""
    server.polls = 10**6
    session = Session(folder)
    session.stop.clock.sleep = lambda seconds: session.stop("interrupted")  # type: ignore[method-assign]
    session.play(**flags)
    return session


def billed(server: BatchServer) -> float:
    """USD that the server has charged for."""
    prices = {"batch": dict(zip(("input", "output"), BATCH, strict=True)),
              "live": dict(zip(("input", "output"), LIVE, strict=True))}  # fmt: skip
    return sum(n * prices[kind][way] for (kind, _, way), n in server.tokens.items()) / 1e6
