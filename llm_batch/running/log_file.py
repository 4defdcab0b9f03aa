"""The log of a run: one JSON object a line, for people who watch it with other programs.

Every line has ``time`` (ISO 8601, UTC) and ``event``. The events and their other keys::

    run_started   output, run_id, items, models, workers, rpm, tpm, budget
    note          text: a sentence that was also shown
    call          item, step, model, ok, seconds, attempts, errors (kind of each failed attempt),
                  input_tokens, output_tokens, cost, kind and message (of a failure)
    item          item, status, score, passed, cost
    progress      done, planned, calls, retries, failed, spent, requests_per_minute, rpm
    run_ended     status, message, done, planned, calls, spent, seconds, exit_code

Prompts and answers are not in it: the journal has the answers. Whatever is or looks like a key is
replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from io import BufferedWriter, RawIOBase
from pathlib import Path
from typing import IO, Any, Self, cast

import msgspec

from llm_batch.chain.config import Config
from llm_batch.chain.credentials import without_keys
from llm_batch.chain.overrides import expanded
from llm_batch.errors import OutputError
from llm_batch.record.files import PRIVATE, is_device, open_to_append, typed_path
from llm_batch.record.manifest import Manifest, utc
from llm_batch.records import Call, Result
from llm_batch.running.progress import Progress, RunSummary

_PROGRESS_SECONDS = 60.0
# Calls are written together: one write each would cost more than the line.
_FLUSH_SECONDS = 1.0
_LONGEST_NOTE = 2000
_encoder = msgspec.json.Encoder()


class LogFile:
    """A log open for appending.

    Args:
        path: The file; made when missing, continued when not.
        mode: What a new file may be used for; that of an old one stays.

    Raises:
        OutputError: It cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], mode: int = PRIVATE) -> None:
        self.path = Path(expanded(path))
        self._progress_at = time.monotonic() + _PROGRESS_SECONDS
        self._flushed_at = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if is_device(self.path):
                self._file: IO[bytes] = open(self.path, "ab", buffering=1 << 16)  # noqa: SIM115
            else:
                raw = open_to_append(typed_path(self.path, "--log-file"), mode)
                self._file = BufferedWriter(cast(RawIOBase, raw), 1 << 16)
        except OSError as error:
            raise OutputError(
                f"cannot write the log {path}: {error.strerror}", "choose another --log-file"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def noting(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """``say``, with every sentence written to the log as well."""

        def said(sentence: str) -> None:
            say(sentence)
            self.event("note", text=without_keys(sentence, _LONGEST_NOTE))

        return said

    def start(self, config: Config, manifest: Manifest, items: int) -> None:
        """Write that a run begins, over so many items."""
        limits = config.limits
        self.event(
            "run_started",
            output=config.run.output,
            run_id=manifest.run_id,
            items=items,
            models=list(dict.fromkeys(step.model for step in config.steps)),
            workers=limits.workers,
            rpm=limits.rpm,
            tpm=limits.tpm,
            budget=limits.budget,
        )

    def end(self, summary: RunSummary) -> None:
        """Write how the run ended."""
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
        """Write a line now.

        Raises:
            OutputError: The disk is full or failing.
        """
        self._write(name, facts)
        self._flush()

    def call(self, call: Call) -> None:
        """Write a call that has finished; it reaches the file with the first one a second later."""
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

    def result(self, result: Result) -> None:
        """Write what an item came to."""
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
            },
        )

    def progress(self, state: Progress) -> None:
        """Write how the run stands, once a minute."""
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
        """Write what is left."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def _write(self, name: str, facts: dict[str, Any]) -> None:
        line = _encoder.encode({"time": utc(), "event": name, **facts}) + b"\n"
        try:
            self._file.write(line)
        except OSError as error:
            raise self._failed(error) from error

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write the log {self.path}: {error.strerror}; nothing that was written is lost",
            "run the same command again, with another --log-file or without one",
        )


class NoLog:
    """Where no log is wanted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def noting(self, say: Callable[[str], None]) -> Callable[[str], None]:
        return say

    def start(self, config: Config, manifest: Manifest, items: int) -> None:
        pass

    def end(self, summary: RunSummary) -> None:
        pass

    def call(self, call: Call) -> None:
        pass

    def result(self, result: Result) -> None:
        pass

    def progress(self, state: Progress) -> None:
        pass
