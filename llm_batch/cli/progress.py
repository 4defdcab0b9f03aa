"""What people watch while a run goes on: a live line on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from llm_batch.cli.console import printable, say, talk

if TYPE_CHECKING:
    from llm_batch.records import Interval
    from llm_batch.running.progress import Progress

Asked = TypeVar("Asked")

_REFRESH_SECONDS = 0.1
_LINE_SECONDS = 60.0


class Quiet:
    """Sentences, but no progress."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put away."""

    def update(self, state: Progress) -> None:
        """Nothing is shown; but what says the last words is loaded while requests are under way."""
        talk()

    def say(self, sentence: str) -> None:
        say(sentence)

    def aside(self, ask: Callable[[Asked], bool]) -> Callable[[Asked], bool]:
        """A question to the user, with the display out of the way."""
        return ask


class Lines(Quiet):
    """A line a minute, for logs."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_SECONDS

    def update(self, state: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next += _LINE_SECONDS
            say(
                "; ".join(
                    (f"{state.done:,}/{state.planned:,} items", *_calls(state), *_facts(state))
                )
            )


class Live(Quiet):
    """A bar that keeps up with the run; shown from the first update on."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[facts]}", markup=False),
            console=talk(),
            auto_refresh=False,
            transient=False,
        )
        self._task: Any = None
        self._next = 0.0

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._progress.refresh()
            self._progress.stop()

    def update(self, state: Progress) -> None:
        now = time.monotonic()
        if now < self._next and state.done < state.planned:
            return
        self._next = now + _REFRESH_SECONDS
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("", total=state.planned, facts="")
        facts = printable(" · ".join((*_calls(state), *_facts(state))))
        self._progress.update(self._task, completed=state.done, facts=facts)
        self._progress.refresh()

    def say(self, sentence: str) -> None:
        say(sentence)

    def aside(self, ask: Callable[[Asked], bool]) -> Callable[[Asked], bool]:
        def asked(about: Asked) -> bool:
            if self._task is None:
                return ask(about)
            self._progress.stop()
            try:
                return ask(about)
            finally:
                self._progress.start()

        return asked


class Later(Quiet):
    """The display that fits where stderr goes, from the first update on: what draws it takes 50 ms
    to load, and by then the first requests are under way.
    """

    def __init__(self) -> None:
        self._shown: Live | Lines | None = None

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.__exit__()

    def update(self, state: Progress) -> None:
        if self._shown is None:
            self._shown = Live() if talk().is_terminal else Lines()
        self._shown.update(state)

    def aside(self, ask: Callable[[Asked], bool]) -> Callable[[Asked], bool]:
        return lambda about: (self._shown.aside(ask) if self._shown else ask)(about)


def make_progress(quiet: bool) -> Quiet:
    return Quiet() if quiet else Later()


def _calls(state: Progress) -> list[str]:
    """How many calls there are of how many at most, where items have more than one of a step."""
    if not state.expected_calls:
        return []
    return [f"{state.made:,} of about {max(state.made, state.expected_calls):,} calls"]


def _facts(state: Progress) -> list[str]:
    """What there is to say, most wanted first."""
    from llm_batch.paper.words import about_duration

    facts = [state.jobs] if state.jobs else []
    seconds = max(state.seconds, 1e-9)
    if state.calls and not state.jobs:  # answers of a job come all at once
        per_minute = state.calls / seconds * 60
        limit = f" of {state.rpm:,.0f}" if state.rpm else ""
        facts.append(f"{per_minute:,.0f}{limit} calls/min")
    if state.slowed:
        facts.append(state.slowed)
    if state.fresh and state.done < state.planned:
        left = (state.planned - state.done) * seconds / state.fresh
        facts.append(f"{about_duration(left)} left")
    if state.spent or state.budget is not None:
        facts.append(_money(state))
    if state.scored:
        facts.append(_score(state))
    failed = state.statuses.total() - state.statuses["ok"]
    if failed:
        facts.append(f"{failed:,} failed")
    if state.retries:
        facts.append(f"{state.retries:,} retries")
    if state.simulated:
        facts.append("simulated")
    return facts


def _money(state: Progress) -> str:
    from llm_batch.paper.words import about_usd as usd

    of = []
    if state.expected_cost is not None:
        of.append(f"{usd(state.expected_cost)} estimated")
    if state.budget is not None:
        of.append(f"{usd(state.budget)} budget")
    return usd(state.spent) + (f" of {', '.join(of)}" if of else "")


def _score(state: Progress) -> str:
    from llm_batch.paper import words

    found = so_far(state)
    if state.judged:
        return f"pass {words.percent(found.value)} ({words.percent_range(found)})"
    between = "" if found.low is None else f" ({words.mean_range(found)})"
    return f"mean score {words.mean(found.value)}{between}"


def so_far(state: Progress) -> Interval:
    """The pass rate of the items that are scored, or their mean score where none passes or fails.

    As in a report, but without what scipy, strata and clusters would add: close enough to watch.
    """
    from llm_batch.records import Interval
    from llm_batch.stats.interval import t_value, wilson

    if state.judged:
        return wilson(state.passed, state.judged)
    n = state.scored
    mean = state.score_sum / n
    if n < 2:
        return Interval(mean, None, None, 0.95, n, "t")
    variance = max(0.0, state.score_squares - n * mean * mean) / (n - 1)
    half = t_value(0.95, n - 1) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, 0.95, n, "t")
