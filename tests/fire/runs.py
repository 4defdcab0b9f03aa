"""Runs against the hostile server, with a clock that does not wait."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llm_batch.chain.config import Config, load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.running.progress import RunSummary
from llm_batch.running.run import run
from llm_batch.sending.clock import Cancelled, Stop
from tests.server import Server
from tests.settings import DATA, steps, write_questions

GENERATE, JUDGE = "writer", "judge"


class Hurried:
    """The real time, in which every pause and backoff is over at once.

    Attributes:
        skipped: Seconds that were not waited.
    """

    def __init__(self) -> None:
        self.skipped = 0.0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    def now(self) -> float:
        return time.monotonic() + self.skipped

    def time(self) -> float:
        return time.time() + self.skipped

    def sleep(self, seconds: float) -> None:
        self.check()
        with self._lock:
            self.skipped += max(0.0, seconds)
        time.sleep(0)  # let the threads that answer have their turn
        self.check()

    def check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        self._cancelled.set()


def hurried() -> Stop:
    """What ends a run early, on a clock that does not wait."""
    stop = Stop()
    stop.clock = Hurried()  # type: ignore[assignment]  # all that is used of a clock
    return stop


def script(**keys: Any) -> str:
    """What makes the server misbehave for one question; the judge of it is left alone."""
    return "[[server: " + json.dumps({"model": GENERATE, **keys}) + "]]"


def write_project(
    folder: Path,
    server: Server,
    questions: Mapping[str, str] | Iterable[str],
    *,
    prices: tuple[float, float] | None = (1.0, 4.0),
    models: tuple[str, str] = (GENERATE, JUDGE),
    max_tokens: int = 40,
    transport: str = "auto",
    **limits: Any,
) -> Path:
    """Data and a generate-and-judge config in a folder; returns the config's path."""
    write_questions(folder, questions)
    limits = {"workers": 4, "max_attempts": 3, "timeout": 30.0, "max_failure_share": 1.0} | limits
    priced = f"input_price = {prices[0]}\noutput_price = {prices[1]}\n" if prices else ""
    served = "".join(
        f'[models."openai/{name}"]\napi_base = "{server.url}/v1"\n'
        f'transport = "{transport}"\n{priced}'
        for name in dict.fromkeys(models)
    )
    settings = "\n".join(f"{name} = {value}" for name, value in limits.items())
    path = folder / "llmb.toml"
    path.write_text(
        f"{DATA}[limits]\n{settings}\n{served}"
        + steps(*(f"openai/{name}" for name in models), max_tokens=max_tokens),
        encoding="utf-8",
    )
    return path


def load(folder: Path, **flags: Any) -> Config:
    return load_config(
        folder / "llmb.toml", Overrides(output=str(folder / "results.jsonl"), **flags)
    )


def play(folder: Path, stop: Stop | None = None, **flags: Any) -> RunSummary:
    """Run what `write_project` wrote; the same again resumes."""
    return run(load(folder, **flags), stop=stop or hurried())


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Lines of the results by item; fails when an item is there twice."""
    lines = (folder / "results.jsonl").read_bytes().splitlines()
    rows = [json.loads(line) for line in lines]
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows), "an item is there twice"
    return found


def journal(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "results.calls.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]
