"""What the server has seen, for GET /stats."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from tests.server.settings import Settings


class Bill(msgspec.Struct):
    """What a provider would charge for a reply."""

    body_hash: str
    model: str
    input_tokens: int
    output_tokens: int


class Stats:
    """Counters since the start or the last POST /reset. Times are seconds since then."""

    def __init__(self, trace: bool) -> None:
        self.received = 0
        self.by_status: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.providers: Counter[str] = Counter()
        self.successes: Counter[str] = Counter()
        self.unusable = 0
        self.refused = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.admitted = 0
        self.admitted_tokens = 0
        self.first_admission: float | None = None
        self.last_admission: float | None = None
        self.per_second: list[int] = []
        self.trace = trace
        self.arrivals: list[tuple[float, bool, int, str]] = []
        # Per model: replies, input tokens, output tokens; then the same for what nobody received.
        self._billed: dict[str, list[int]] = {}

    def begin(self) -> None:
        """A request for an answer has arrived."""
        self.received += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def arrive(self, now: float, passed: bool, tokens: int, model: str) -> None:
        """The limits let a request pass, or refused it."""
        if self.trace:
            self.arrivals.append((round(now, 6), passed, tokens, model))
        if not passed:
            self.refused += 1
            return
        self.admitted += 1
        self.admitted_tokens += tokens
        if self.first_admission is None:
            self.first_admission = now
        self.last_admission = now
        second = int(now - self.first_admission)
        bins = self.per_second
        while len(bins) <= second:
            bins.append(0)
        bins[second] += 1

    def end(self, label: str, whole: bool, usable: bool, bill: Bill | None) -> None:
        """A reply is over.

        Args:
            label: Its status, or how it ended instead.
            whole: Whether every byte was sent.
            usable: Whether it then held an answer.
            bill: The charge, if any.
        """
        self.in_flight -= 1
        self.by_status[label] += 1
        if bill is None:
            return
        row = self._billed.setdefault(bill.model, [0] * 6)
        for start in (0,) if whole else (0, 3):
            row[start] += 1
            row[start + 1] += bill.input_tokens
            row[start + 2] += bill.output_tokens
        if whole and usable:
            self.successes[bill.body_hash] += 1
        elif whole:
            self.unusable += 1

    def report(self, settings: Settings, now: float, connections: int) -> dict[str, Any]:
        """The counters as one JSON object; the package's docstring explains each."""
        by_model = {model: _billed(row[:3], model, settings) for model, row in self._billed.items()}
        unseen = [_billed(row[3:], model, settings) for model, row in self._billed.items()]
        total = sum(self.successes.values())
        return {
            "seconds": now,
            "connections": connections,
            "requests": self.received,
            "by_status": dict(self.by_status),
            "providers": dict(self.providers),
            "faults": dict(self.faults),
            "rate_limited": self.by_status["429"],
            "refused": self.refused,
            "successes": total,
            "successes_by_body": dict(self.successes),
            "duplicates": total - len(self.successes),
            "unusable": self.unusable,
            "billed": {**_sum(list(by_model.values())), "by_model": by_model},
            "billed_unseen": _sum(unseen),
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "admitted": self.admitted,
            "admitted_tokens": self.admitted_tokens,
            "first_admission": self.first_admission,
            "last_admission": self.last_admission,
            "admissions_per_second": self.per_second,
            **({"arrivals": self.arrivals} if self.trace else {}),
        }


def _billed(row: list[int], model: str, settings: Settings) -> dict[str, float]:
    prices = settings.model(model)
    replies, input_tokens, output_tokens = row
    # Whole tokens are added up before prices come in, so the sum is exact to the last digit.
    usd = (input_tokens * (prices.input or 0) + output_tokens * (prices.output or 0)) / 1e6
    return {
        "replies": replies,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "usd": usd,
    }


def _sum(rows: list[dict[str, float]]) -> dict[str, float]:
    names = ("replies", "input_tokens", "output_tokens", "usd")
    return {name: sum(row[name] for row in rows) for name in names}
