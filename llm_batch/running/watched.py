"""How a run stands by the files that it writes, for those who watch it from another process.

Only what the files got since the last look is read, so that a look at a run of 100,000 items takes
as long as one at a hundred.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from llm_batch.engines import ENGINES
from llm_batch.record.files import run_paths
from llm_batch.record.journal import CallLine
from llm_batch.record.lines import UNREADABLE, Growing
from llm_batch.record.manifest import RUNNING, Manifest
from llm_batch.record.reading import open_results
from llm_batch.record.results import SeenLine
from llm_batch.reporting.tally import SCORE_LIMIT
from llm_batch.running.progress import Progress

#: Items that did not pass, to be shown.
_LATEST = 20
#: Seconds of looks by which the speed is told, and the fewest that tell it.
_SPEED_SECONDS, _LEAST_SECONDS = 120.0, 5.0
#: A run that wrote nothing for so many seconds may be no more.
QUIET_SECONDS = 120.0

_item = msgspec.json.Decoder(SeenLine).decode
_call = msgspec.json.Decoder(CallLine).decode


class Watched:
    """A run as its files have it; `look` brings it up to date.

    Attributes:
        state: What the run itself tells its display, as far as its files say it.
        latest: Items that failed or did not pass, the newest first.
        manifest: That of the last look.

    Args:
        clock: Seconds that only go forward.
        now: Seconds since 1970.

    Raises:
        OutputError: There is neither a results file nor a journal.
    """

    def __init__(
        self,
        results: Path,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        if results.is_dir() or not run_paths(results).journal.is_file():
            open_results(results).close()
        self.paths = run_paths(results)
        self.state = Progress()
        self.latest: deque[SeenLine] = deque(maxlen=_LATEST)
        self.manifest = Manifest()
        self._results, self._journal = Growing(results), Growing(self.paths.journal)
        self._ids: set[str] = set()
        self._clock, self._now = clock, now
        self._looks: deque[tuple[float, int]] = deque()

    @property
    def running(self) -> bool:
        """Whether the run goes on, as far as its manifest says."""
        return self.manifest.totals.status == RUNNING

    @property
    def quiet_seconds(self) -> float | None:
        """Since when a run that goes on wrote nothing, where that is odd.

        Of a batch API it is not: jobs take hours.
        """
        kind = ENGINES.get(self.manifest.engine)
        if not self.running or (kind and kind.by_batch):
            return None
        written = [path.stat().st_mtime for path in self.paths if path.is_file()]
        seconds = self._now() - max(written, default=self._now())
        return seconds if seconds >= QUIET_SECONDS else None

    @property
    def items_per_second(self) -> float | None:
        """By the looks of the last two minutes; ``None`` where these tell nothing."""
        if not self._looks:
            return None
        (start, before), (end, after) = self._looks[0], self._looks[-1]
        if end - start < _LEAST_SECONDS or after <= before:
            return None
        return (after - before) / (end - start)

    def look(self) -> None:
        """Read what is new; `OutputError` where a newer version writes the run."""
        self.manifest = Manifest.beside(self.paths.results)[0] or self.manifest
        for line in self._results.new_lines(self._forget_items):
            self._count_item(line)
        for line in self._journal.new_lines(self._forget_calls):
            self._count_call(line)
        state, estimate = self.state, self.manifest.estimate
        state.planned = self.manifest.sample.size or 0
        budget = self.manifest.limits.get("budget")
        state.budget = budget if isinstance(budget, int | float) else None
        state.expected_cost = estimate.cost.expected if estimate and estimate.cost else None
        at = self._clock()
        self._looks.append((at, state.done))
        while at - self._looks[0][0] > _SPEED_SECONDS:
            self._looks.popleft()

    def _count_item(self, line: bytes) -> None:
        try:
            item = _item(line)
        except UNREADABLE:
            return
        if item.id in self._ids:
            return
        self._ids.add(item.id)
        score = item.score
        if score is not None and abs(score) > SCORE_LIMIT:
            score = None
        self.state.count_item(item.status, score, item.passed, item.simulated)
        if item.status != "ok" or item.passed is False:
            self.latest.appendleft(item)

    def _count_call(self, line: bytes) -> None:
        try:
            call = _call(line)
        except UNREADABLE:
            return
        self.state.count_sends(len(call.attempts), call.cost, call.simulated)
        self.state.spent += call.cost or 0.0

    def _forget_items(self) -> None:
        """Another session writes its results anew."""
        self.state = replace(
            self.state, done=0, statuses=Counter(), scored=0, judged=0, passed=0,
            score_sum=0.0, score_squares=0.0,
        )  # fmt: skip
        self._ids.clear()
        self.latest.clear()
        self._looks.clear()

    def _forget_calls(self) -> None:
        self.state = replace(self.state, calls=0, retries=0, spent=0.0, priced=True)
