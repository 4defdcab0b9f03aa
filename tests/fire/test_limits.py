"""Real runs against a strict server whose minute is short: the limits are used and kept to.

A stall of this machine can make a client late or early by more than a limit forgives, which says
nothing of the client: a run with a stall counts only when it kept what is promised.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llm_batch.sending import limits
from llm_batch.sending.clock import Stop
from tests.fire.runs import GENERATE, JUDGE, play, results, write_project
from tests.server import Server, serve
from tests.server.limits import KINDS

MINUTE = 12.0
#: Limits are kept to within a few hundredths of a second, of which a minute of 12 s forgives few.
STALL_SECONDS = 0.05


@dataclass
class Seen:
    """What the server saw of one model: seconds at which it admitted, and refusals."""

    times: list[float]
    refused: int

    @property
    def seconds(self) -> float:
        return self.times[-1] - self.times[0]

    def share(self, per_minute: float) -> float:
        """Of a limit of requests, once the burst of the beginning is over."""
        times = self.times[10:]
        return (len(times) - 1) / (per_minute * (times[-1] - times[0]) / MINUTE)


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    with serve(trace=True, minute=MINUTE) as server:
        yield server


@pytest.fixture
def strict(strict_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fire-0123456789abcdef")
    monkeypatch.setattr(limits, "MINUTE_SECONDS", MINUTE)
    return strict_server


def attempt(
    folder: Path,
    server: Server,
    items: int,
    control: dict[str, Any],
    *,
    workers: int,
    known: dict[str, dict[str, float]] | None = None,
) -> dict[str, Seen]:
    """Run so many items; what the server saw of each model.

    Args:
        folder: A new one for the files.
        server: Where to.
        items: Each is two requests, one per model.
        control: Settings of the server.
        workers: Of the run.
        known: Limits in the config, by model.
    """
    folder.mkdir()
    unlimited = {"rpm": None, "tpm": None, "models": {}, "headers": False, "latency": 0.02}
    server.control(**unlimited | control)
    server.reset()
    path = write_project(
        folder, server, [f"question {n}" for n in range(items)], workers=workers, max_attempts=6
    )
    text = path.read_text(encoding="utf-8")
    for model, numbers in (known or {}).items():
        section = f'[models."openai/{model}"]\n'
        lines = "".join(f"{name} = {value}\n" for name, value in numbers.items())
        text = text.replace(section, section + lines)
    path.write_text(text, encoding="utf-8")
    summary = play(folder, stop=Stop())
    assert summary.exit_code == 0
    assert {row["status"] for row in results(folder).values()} == {"ok"}
    arrivals = server.stats()["arrivals"]
    return {
        model: Seen(
            [at for at, passed, _, name in arrivals if passed and name == model],
            sum(not passed for _, passed, _, name in arrivals if name == model),
        )
        for model in (GENERATE, JUDGE)
    }


@contextmanager
def stalls() -> Iterator[list[float]]:
    """Seconds by which somebody who sleeps a moment woke up too late; the longest comes first."""
    late, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.is_set():
            before = time.monotonic()
            time.sleep(0.01)
            late[0] = max(late[0], time.monotonic() - before - 0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield late
    finally:
        over.set()
        watching.join()


def where_nothing_stalls(holds: Callable[[int], str]) -> None:
    """Try up to three times; ``holds`` says what was wrong, or nothing."""
    for number in range(3):
        with stalls() as late:
            trouble = holds(number)
        if not trouble:
            return
        assert late[0] > STALL_SECONDS, trouble
    pytest.skip(f"this machine stalls for up to {late[0]:.2f} s: its pace cannot be measured")


@pytest.mark.parametrize("kind", KINDS)
def test_two_models_with_a_limit_each_are_used_to_97_percent_without_a_refusal(
    kind: str, tmp_path: Path, strict: Server
) -> None:
    """The judge, bound by requests, holds up the writer, whose limit is on tokens."""
    judge = {"rpm": 600.0}
    writer = {"tpm": 40 * 750.0}  # of 40 tokens each

    def holds(number: int) -> str:
        seen = attempt(
            tmp_path / str(number),
            strict,
            80,
            {"limiter": kind, "models": {JUDGE: judge, GENERATE: writer}},
            workers=20,
            known={JUDGE: judge, GENERATE: writer},
        )
        refused = seen[JUDGE].refused + seen[GENERATE].refused
        used = seen[JUDGE].share(600)
        return "" if not refused and used >= 0.97 else f"{refused} refused, {used:.3f} used"

    where_nothing_stalls(holds)


def test_with_headers_alone_two_minutes_worth_is_sent_in_little_more_than_one(
    tmp_path: Path, strict: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MINUTE_SECONDS", 6.0)

    def holds(number: int) -> str:
        seen = attempt(
            tmp_path / str(number),
            strict,
            200,
            {"limiter": "sliding", "minute": 6.0, "rpm": 100, "headers": True},
            workers=10,
        )
        refused = seen[JUDGE].refused + seen[GENERATE].refused
        seconds = max(each.seconds for each in seen.values())
        # At the pace it would be 12 seconds, by the server's own account 6.
        return "" if not refused and seconds <= 9.6 else f"{refused} refused, {seconds:.1f} s"

    try:
        where_nothing_stalls(holds)
    finally:
        strict.control(minute=MINUTE)
