"""Time, passed in, so that tests make an hour instant and a stop wakes every sleeper."""

from __future__ import annotations

import signal
import threading
import time
from datetime import datetime
from typing import Protocol

#: The terminal was closed; 0 where a system has no such signal.
HANG_UP: int = getattr(signal, "SIGHUP", 0)

#: Signals that ask a run to stop: Ctrl-C, ``kill``, a closed terminal, Ctrl-Break on Windows.
STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)


class Cancelled(Exception):
    """The run is stopping: a request that was waiting for its turn is given back unsent."""


class Clock(Protocol):
    """What limits and retries need of time. All numbers are seconds."""

    def now(self) -> float:
        """Monotonic; only differences mean anything."""

    def time(self) -> float:
        """Since 1970-01-01 UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Cancelled: The clock was cancelled before or during the wait.
        """

    def check(self) -> None:
        """Let the caller go on, unless the run is stopping.

        Raises:
            Cancelled: The clock was cancelled.
        """


def clock_words(now: float, seconds: float) -> str:
    """When so many seconds will have passed, by this machine's clock: ``14:30`` or with the day."""
    begun, over = datetime.fromtimestamp(now), datetime.fromtimestamp(now + seconds + 59.0)
    return f"{over:%H:%M}" if over.date() == begun.date() else f"{over:%Y-%m-%d %H:%M}"


class SystemClock:
    """The real time. `cancel` ends every sleep, now and later."""

    now = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def sleep(self, seconds: float) -> None:
        if self._cancelled.wait(max(0.0, seconds)):
            raise Cancelled

    def check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Wake everyone who sleeps; safe to call from a signal handler."""
        self._cancelled.set()


class FakeClock:
    """A clock for tests: sleeping moves it forward at once. Not for several threads.

    Args:
        start: The seconds it begins at.
        cancel_at: The second at which it is cancelled; ``None`` for never.
    """

    def __init__(self, start: float = 0.0, cancel_at: float | None = None) -> None:
        self.seconds = start
        self.cancel_at = cancel_at
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    def time(self) -> float:
        return 1_700_000_000.0 + self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += max(0.0, seconds)
        self.check()

    def check(self) -> None:
        if self.cancel_at is not None and self.seconds >= self.cancel_at:
            raise Cancelled


class Stop:
    """Asks a run to stop: admit nothing new, finish what is in flight.

    Safe to call from a signal handler or another thread. Only the first call counts.

    Args:
        grace: Seconds that what is in flight may take when the run is interrupted; any without it.
    """

    def __init__(self, grace: float | None = None) -> None:
        self.clock = SystemClock()
        self.reason = ""
        self.message = ""
        self.grace = grace
        self._leave_at: float | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether what is in flight is to be left, since the grace is over."""
        return self._leave_at is not None and time.monotonic() >= self._leave_at

    def __call__(self, reason: str = "interrupted", message: str = "") -> None:
        if not self.reason:
            if self.grace is not None and reason == "interrupted":
                self._leave_at = time.monotonic() + self.grace
            self.message = message
            self.reason = reason
            self.clock.cancel()
