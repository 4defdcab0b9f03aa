"""The journal of a run, read for what results do not hold: when calls were sent, and which failed.

Results say what each item came to. The journal beside them has every call ever made for them, so
it is larger and is read only where it is small or asked for.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from llm_batch.chain.overrides import command
from llm_batch.errors import OutputError
from llm_batch.record.files import run_paths
from llm_batch.record.journal import CallLine, call_lines
from llm_batch.record.lines import StepUsage
from llm_batch.records import Usage

#: Journals up to so many bytes are read without being asked for: it takes about half a second.
READ_LIMIT = 64 << 20

_REFUSED = "rate_limited"
_USAGE = tuple(Usage.__dataclass_fields__)


class StepCalls:
    """What the calls of one step to one model took."""

    def __init__(self) -> None:
        self.calls = self.answered = self.attempts = self.unpriced = 0
        self.tokens = dict.fromkeys(_USAGE, 0)
        self.known_cost = 0.0
        self.failed_cost = 0.0
        #: Booked for answered calls whose cost includes attempts that may have been billed, and
        #: the tokens of their answers.
        self.bounded_cost = 0.0
        self.bounded_tokens = dict.fromkeys(_USAGE, 0)


class Sends:
    """The attempts of one model, as columns; times in seconds since 1970."""

    def __init__(self) -> None:
        self.sent = array("d")
        self.ended = array("d")
        #: Of the answering attempt, in the order of ``sent``; 0 for attempts that failed.
        self.tokens = array("d")
        #: USD of the whole call, at its last attempt; 0 for the others.
        self.costs = array("d")
        self.retried = array("d")
        self.refused = array("d")
        self.paused_from = array("d")
        self.paused_to = array("d")
        self.errors: Counter[str] = Counter()
        self.failed_seconds = 0.0


class CallsTally:
    """All calls of a journal."""

    def __init__(self) -> None:
        self.calls = 0
        #: Lines that are damaged or cut off, and the number of the first.
        self.unreadable = 0
        self.first_unreadable = 0
        self.steps: dict[tuple[str, str], StepCalls] = {}
        self.models: dict[str, Sends] = {}
        #: When the first attempt of each call was sent and its last one ended.
        self.first_sent = array("d")
        self.last_ended = array("d")
        #: Of each answered call: what it was asked for, as a hash, and its cost.
        self.asked = array("q")
        self.answer_costs = array("d")

    def damaged(self, line: int) -> None:
        """Count a line that cannot be read, by its number."""
        self.unreadable += 1
        self.first_unreadable = self.first_unreadable or line

    def add(self, calls: Sequence[CallLine]) -> None:
        """Count some calls."""
        for call in calls:
            self.calls += 1
            step = self.steps.get((call.step, call.model))
            if step is None:
                step = self.steps[call.step, call.model] = StepCalls()
            self._count(call, step)
            if call.attempts:
                self._time(call)

    def _count(self, call: CallLine, step: StepCalls) -> None:
        step.calls += 1
        step.attempts += len(call.attempts)
        cost = call.cost
        if cost is None:
            step.unpriced += 1
            cost = 0.0
        step.known_cost += cost
        if call.completion is None:
            step.failed_cost += cost
            return
        step.answered += 1
        self.asked.append(hash((call.item, call.step, call.sample)))
        self.answer_costs.append(cost)
        usage = call.completion.usage
        if usage is not None:
            _add(step.tokens, usage)
            if call.worst_case:
                step.bounded_cost += cost
                _add(step.bounded_tokens, usage)

    def _time(self, call: CallLine) -> None:
        sends = self.models.get(call.model)
        if sends is None:
            sends = self.models[call.model] = Sends()
        attempts = call.attempts
        refused_at: float | None = None
        for number, attempt in enumerate(attempts):
            start, end = attempt.started_at, attempt.started_at + attempt.seconds
            sends.sent.append(start)
            sends.ended.append(end)
            sends.tokens.append(0.0)
            sends.costs.append(0.0)
            if number:
                sends.retried.append(start)
            if refused_at is not None and start > refused_at:
                sends.paused_from.append(refused_at)
                sends.paused_to.append(start)
            refused_at = end if attempt.error == _REFUSED else None
            if attempt.error:
                sends.errors[attempt.error] += 1
                sends.failed_seconds += attempt.seconds
                if refused_at is not None:
                    sends.refused.append(end)
        usage = call.completion.usage if call.completion else None
        if usage is not None:
            sends.tokens[-1] = usage.input_tokens + usage.output_tokens
        sends.costs[-1] = call.cost or 0.0
        self.first_sent.append(attempts[0].started_at)
        self.last_ended.append(sends.ended[-1])


def read_calls(results: str | Path, wanted: bool | None = None) -> tuple[CallsTally | None, str]:
    """Count the calls in the journal beside a results file, by default up to `READ_LIMIT` bytes.

    Gives what it holds, or ``None`` and how to have it read, empty where there is nothing to read.

    Raises:
        OutputError: It is wanted and is not there or cannot be read.
    """
    if wanted is False:
        return None, ""
    path = run_paths(results).journal
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if wanted is None and size > READ_LIMIT:
                return None, (
                    f"Read the journal too ({size / 1e6:,.0f} MB), for retries and the pace over "
                    f"time: `{command('report', results, '--calls')}`."
                )
            file.seek(0)
            tally = CallsTally()
            for batch in call_lines(file, tally.damaged):
                tally.add(batch)
    except OSError as error:
        if wanted:
            raise OutputError(
                f"--calls: cannot read the journal {path}: {error.strerror or error}",
                "it stands beside the results of a run; leave --calls out to report without it",
            ) from error
        return None, ""
    return tally, ""


def _add(tokens: dict[str, int], usage: StepUsage) -> None:
    for name in _USAGE:
        tokens[name] += getattr(usage, name)
