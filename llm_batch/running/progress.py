"""How a run stands and how it ended: for displays, and in a log for other programs."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedWriter, RawIOBase
from pathlib import Path
from typing import IO, Any, Self, cast

import msgspec

from llm_batch.chain.config import Config
from llm_batch.chain.credentials import without_keys
from llm_batch.chain.overrides import command, expanded
from llm_batch.errors import ENDINGS, EXIT_UNDECIDED, VERDICTS, OutputError, status_of
from llm_batch.paper import words
from llm_batch.paper.document import Document
from llm_batch.record.files import PRIVATE, is_device, open_to_append, typed_path
from llm_batch.record.manifest import Manifest, utc
from llm_batch.record.results import DoneLine
from llm_batch.records import Call, Interval, Result


@dataclass
class Progress:
    """How a run stands; handed to the progress display after every event.

    Attributes:
        done: Items with a result, reused ones included.
        retries: Their attempts beyond the first.
        reused: Calls answered from the journal.
        fresh: Items of ``done`` that a call of this session was made for.
        spent: USD of everything in the journal.
        priced: Whether the cost of all of it is known.
        expected_cost: USD the whole sample was estimated at; ``None`` when unknown.
        judged: Items whose score passes or does not; 0 without a ``pass_at``.
        simulated: Whether any answer came from the fake provider.
        in_flight: Requests that are being made or wait for a worker.
        rpm: Requests a minute that all models together may get; ``None`` without a limit.
        slowed: What refusals have taught, in words; empty without any.
        seconds: Of this session.
        expected: The estimate of the seconds and of the cost of the whole sample.
        jobs: How jobs at a provider stand by its own counts, in words; empty without any.
        expected_calls: Requests of the whole sample; 0 where each item has as many as others.
        made: Calls that finished or were answered before, for the share of them.
        lost: Votes and repeats that are missing from items that are ok; ``skipped`` counts the
            items that a step was not for, by step.
    """

    planned: int = 0
    done: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    retries: int = 0
    reused: int = 0
    fresh: int = 0
    spent: float = 0.0
    priced: bool = True
    budget: float | None = None
    expected_cost: float | None = None
    scored: int = 0
    judged: int = 0
    passed: int = 0
    score_sum: float = 0.0
    score_squares: float = 0.0
    simulated: bool = False
    in_flight: int = 0
    rpm: float | None = None
    slowed: str = ""
    seconds: float = 0.0
    expected: tuple[Interval, Interval | None] | None = None
    jobs: str = ""
    expected_calls: int = 0
    lost: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def made(self) -> int:
        return self.calls + self.reused

    def count_call(self, call: Call) -> None:
        self.count_sends(len(call.attempts), call.cost, call.simulated)

    def count_sends(self, attempts: int, cost: float | None, simulated: bool) -> None:
        """Count one call, which was sent so often."""
        self.calls += 1
        self.retries += max(0, attempts - 1)
        self.simulated |= simulated
        if cost is None:
            self.priced = False

    def count_lines(self, lines: Sequence[DoneLine]) -> None:
        """Count items whose results an earlier run wrote."""
        self.done += len(lines)
        self.statuses.update([line.status for line in lines])
        self.simulated = self.simulated or any(line.simulated for line in lines)
        scores = [line.score for line in lines if line.score is not None]
        self.scored += len(scores)
        self.score_sum += sum(scores)
        self.score_squares += sum([score * score for score in scores])
        verdicts = [line.passed for line in lines if None not in (line.score, line.passed)]
        self.judged += len(verdicts)
        self.passed += sum(map(bool, verdicts))

    def add(self, finished: Progress) -> None:
        """Add the items that another one has counted."""
        self.done += finished.done
        self.statuses.update(finished.statuses)
        self.scored += finished.scored
        self.judged += finished.judged
        self.passed += finished.passed
        self.score_sum += finished.score_sum
        self.score_squares += finished.score_squares
        self.simulated |= finished.simulated

    def count_result(self, result: Result) -> None:
        score = result.score.value if result.score else None
        if result.status == "ok":
            self.lost += len(result.lost)
        if result.skipped:
            self.skipped.update(result.skipped)
        self.count_item(result.status, score, result.passed, result.simulated)

    def count_item(
        self, status: str, score: float | None, passed: bool | None, simulated: bool
    ) -> None:
        """Count what came out of one item."""
        self.done += 1
        self.statuses[status] += 1
        self.simulated |= simulated
        if score is not None:
            self.scored += 1
            self.score_sum += score
            self.score_squares += score**2
            self.judged += passed is not None
            self.passed += bool(passed)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended: as one of `llm_batch.errors.ENDINGS`, and why if it is not done.

    The ``verdict`` is one of `llm_batch.errors.VERDICTS` where it was to decide something.
    """

    path: Path
    status: str
    message: str
    progress: Progress
    exit_code: int
    verdict: str = ""


def concluded(summary: RunSummary) -> Document:
    state, ending = summary.progress, ENDINGS.get(summary.status)
    spent = f", {words.usd(state.spent)}" if state.priced and state.spent else ""
    if state.reused:
        spent = f", {state.reused:,} answers kept from before{spent}"
    origin = []
    if state.expected is not None and summary.status == "done" and not state.reused:
        seconds, cost = state.expected
        paid = state.spent if state.priced else None
        origin.append(words.left_estimate(state.seconds, seconds, paid, cost, whole=True))
    failed = {kind: count for kind, count in state.statuses.items() if kind != "ok"}
    if failed:
        counts = (f"{count:,} {status_of(kind).name}" for kind, count in failed.items())
        origin.append(f"failed: {', '.join(counts)}")
    origin.append(_missing(state))
    if state.simulated:
        origin.append("the answers came from a fake/ model: these results are simulated")
    warnings, steps = [], []
    if summary.verdict:
        origin.append(VERDICTS[summary.verdict].words)
    if summary.verdict == "undecided" and summary.exit_code == EXIT_UNDECIDED:
        steps.append("a larger --sample plays more items; --undecided-passes ends in 0 here")
    pending = summary.status in ("submitted", "pending")
    if summary.status != "done" and ending is not None:
        why = f": {summary.message}" if summary.message else ""
        warnings.append((f"{ending.words}{why}", ""))
        steps = ["everything paid for is kept; the same command resumes"]
        steps.append(ending.hint)
    else:
        ours = {kind for kind in failed if status_of(kind).of == "answer"}
        if not all(status_of(kind).settled for kind in failed):
            steps.append("the same command tries the failed calls again")
        if ours:
            steps.append("unusable answers are kept; --retry-failed asks for them again")
    return Document(
        f"{state.statuses['ok']:,} of {words.items(state.planned)} ok, "
        f"{words.counted(state.calls, 'call')} made in {state.seconds:,.1f} s{spent}",
        origin=tuple(filter(None, origin)),
        warnings=tuple(warnings),
        next_steps=(
            *filter(None, steps),
            *([f"next: {command('report', summary.path)}"] if state.done or not pending else []),
        ),
    )


def _missing(state: Progress) -> str:
    """Answers that were lost though their items are ok, and skipped steps, in one line."""
    said = []
    if state.lost:
        lost = words.counted(state.lost, "answer")
        said.append(f"{lost} of juries or repeats lost, without which their items went on")
    if state.skipped:
        each = (f"{name} in {words.counted(n, 'item')}" for name, n in state.skipped.items())
        said.append(f"skipped: {', '.join(each)}")
    return "; ".join(said)


@dataclass(frozen=True, slots=True)
class Overrun:
    """A run that costs more than was agreed to.

    Attributes:
        spent: USD in this session.
        coming: USD in all, should the other items cost what the finished ones did; ``None`` while
            too few are finished to tell.
        expected: USD that the estimate gave as the most.
        budget: USD; ``None`` without one.
    """

    spent: float
    coming: float | None
    expected: float
    budget: float | None

    def __str__(self) -> str:
        coming = (
            f" and is on its way to {words.usd(self.coming)}" if self.coming is not None else ""
        )
        said = f"the estimate said {words.usd(self.expected)} at most"
        return f"this run has cost {words.usd(self.spent)}{coming}, and {said}"


_PROGRESS_SECONDS = 60.0
# Calls are written together: one write each would cost more than the line.
_FLUSH_SECONDS = 1.0
_LONGEST_NOTE = 2000
_encoder = msgspec.json.Encoder()


class LogFile:
    """The log of a run, open for appending: one JSON object a line, for other programs.

    Every line has ``time`` (ISO 8601, UTC) and ``event``. The events and their other keys::

        run_started   output, run_id, items, models, workers, rpm, tpm, budget
        note          text: a sentence that was also shown
        call          item, step, model, ok, seconds, attempts, errors (kinds of failed attempts),
                      input_tokens, output_tokens, cost, kind and message (of a failure)
        item          item, status, score, passed, cost, traceback (of a Python rule that raised)
        progress      done, planned, calls, retries, failed, spent, requests_per_minute, rpm
        run_ended     status, message, done, planned, calls, spent, seconds, exit_code

    A file that was renamed or deleted meanwhile (logrotate) is made anew at the next event.

    Prompts and answers are not in it: the journal has the answers. Whatever is or looks like a key
    is replaced.

    Args:
        path: ``None`` where no log is wanted.
        mode: What a new file may be used for; that of an old one stays.
    """

    def __init__(self, path: str | os.PathLike[str] | None, mode: int = PRIVATE) -> None:
        self._file: IO[bytes] | None = None
        self._progress_at = time.monotonic() + _PROGRESS_SECONDS
        self._flushed_at = time.monotonic()
        if path is None:
            return
        self.path, self._mode = Path(expanded(path)), mode
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._opened()
        except OSError as error:
            raise OutputError(
                f"cannot write the log {path}: {error.strerror}", "choose another --log-file"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def noting(self, say: Callable[[str], None]) -> Callable[[str], None]:
        def said(sentence: str) -> None:
            say(sentence)
            self.event("note", text=without_keys(sentence, _LONGEST_NOTE))

        return said

    def start(self, config: Config, manifest: Manifest, items: int) -> None:
        limits = config.limits
        self.event(
            "run_started",
            output=config.run.output,
            run_id=manifest.run_id,
            items=items,
            models=list(dict.fromkeys(step.model for step in config.asking)),
            workers=limits.workers,
            rpm=limits.rpm,
            tpm=limits.tpm,
            budget=limits.budget,
        )

    def end(self, summary: RunSummary) -> None:
        state = summary.progress
        self.event(
            "run_ended",
            status=summary.status,
            message=without_keys(summary.message),
            done=state.done,
            planned=state.planned,
            calls=state.calls,
            spent=state.spent,
            seconds=round(state.seconds, 3),
            exit_code=summary.exit_code,
        )

    def event(self, name: str, **facts: Any) -> None:
        """Write a line now; `OutputError` when the disk is full or failing."""
        self._follow()
        self._write(name, facts)
        self._flush()

    def call(self, call: Call) -> None:
        """Write a call that has finished; it reaches the file with the first one a second later."""
        if self._file is None:
            return
        usage = call.completion.usage if call.completion else None
        failure = call.failure
        self._write(
            "call",
            {
                "item": call.request.item_id,
                "step": call.request.step,
                "model": call.request.model,
                "ok": failure is None,
                "seconds": round(call.latency_seconds, 4),
                "attempts": len(call.attempts),
                "errors": [attempt.error for attempt in call.attempts if attempt.error],
                "input_tokens": usage.input_tokens if usage else None,
                "output_tokens": usage.output_tokens if usage else None,
                "cost": call.cost,
                "kind": failure.kind if failure else None,
                "message": without_keys(failure.message) if failure else None,
            },
        )
        if (now := time.monotonic()) - self._flushed_at > _FLUSH_SECONDS:
            self._flushed_at = now
            self._flush()
            self._follow()

    def result(self, result: Result) -> None:
        if self._file is None:
            return
        score = result.score
        costs = [totals.cost for totals in result.steps.values()]
        self._write(
            "item",
            {
                "item": result.item.id,
                "status": result.status,
                "score": score.value if score else None,
                "passed": result.passed,
                "cost": None if None in costs else sum(cost for cost in costs if cost),
                **(
                    {"traceback": without_keys(result.trace, _LONGEST_NOTE)} if result.trace else {}
                ),
            },
        )

    def progress(self, state: Progress) -> None:
        now = time.monotonic()
        if now < self._progress_at:
            return
        self._progress_at = now + _PROGRESS_SECONDS
        self.event(
            "progress",
            done=state.done,
            planned=state.planned,
            calls=state.calls,
            retries=state.retries,
            failed=state.statuses.total() - state.statuses["ok"],
            spent=state.spent,
            requests_per_minute=round(60 * state.calls / max(state.seconds, 1e-9), 1),
            rpm=state.rpm,
        )

    def close(self) -> None:
        if self._file is not None:
            with self._explained():
                self._file.close()

    def _write(self, name: str, facts: dict[str, Any]) -> None:
        if self._file is not None:
            with self._explained():
                line = _encoder.encode({"time": utc(), "event": name, **facts}) + b"\n"
                self._file.write(line)

    def _flush(self) -> None:
        if self._file is not None:
            with self._explained():
                self._file.flush()

    def _follow(self) -> None:
        """Go on in a new file where the old one was renamed or deleted, as logrotate does."""
        if self._file is None or is_device(self.path):
            return
        with self._explained():
            try:
                if os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno())):
                    return
            except FileNotFoundError:
                pass
            self._file.close()
            self._file = self._opened()

    def _opened(self) -> IO[bytes]:
        if is_device(self.path):
            return open(self.path, "ab", buffering=1 << 16)
        raw = open_to_append(typed_path(self.path, "--log-file"), self._mode)
        return BufferedWriter(cast(RawIOBase, raw), 1 << 16)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write the log {self.path}: {error.strerror}; nothing that was written is "
                "lost",
                "run the same command again, with another --log-file or without one",
            ) from error
