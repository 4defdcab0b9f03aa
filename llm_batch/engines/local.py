"""Requests carried in this process: many at once in threads, or one after the other.

Each worker is a thread that pulls requests from one queue for as long as the run lasts: a Future
for every call would cost more than the queue does. A few requests wait in the queue, so that a
worker that finishes need not wait for the main thread. Nor does that one run after each call: calls
that finish close together are taken together, since to change threads that often takes a third of
the CPU of a call. A thread that waits for its reply takes some 40 KB of memory, its connection
included (`benchmarks/scale.py`), so thousands of them do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from llm_batch.engines import Engine
from llm_batch.errors import ConfigError
from llm_batch.records import Call, Request
from llm_batch.sending.clock import Cancelled

Serve = Callable[[Request], Call]

# A call that has finished is taken within this, or sooner where workers run out of requests.
_TOGETHER_SECONDS = 0.008


class ThreadsEngine(Engine):
    """``workers`` threads around one function, which runs in them.

    Raises:
        ConfigError: The system does not let this process start so many.
    """

    def __init__(self, serve: Serve, workers: int) -> None:
        self._serve = serve
        spare = max(1, workers // 2)
        self._capacity = workers + spare
        self._held = 0
        # Workers go on by themselves while more than these wait in the queue.
        self._few = spare // 4
        self._running_out = threading.Event()
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        # A request comes back in the place of a call when the run stopped before it was sent.
        self._finished: SimpleQueue[Call | Request | BaseException] = SimpleQueue()
        # What threads work on, by key, and since when (seconds since 1970-01-01 UTC).
        self._flying: dict[str, tuple[Request, float]] = {}
        self._threads: list[threading.Thread] = []
        # All of them before anything is sent: one that cannot be had is no reason to lose a call.
        for number in range(workers):
            # Only `close` waits for it: a process that ends otherwise, as Ray ends one that nobody
            # refers to any more, is not held up by a queue that stays empty.
            thread = threading.Thread(target=self._work, name=f"llmb_{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self.close()
                raise ConfigError(
                    f"{workers:,} workers need as many threads, and the system lets this process "
                    f"start {number:,}",
                    f"use --workers {max(1, number // 2)}, or raise ulimit -u, ulimit -v or the "
                    "container's limit of processes",
                ) from error
            self._threads.append(thread)

    @property
    def free(self) -> int:
        return self._capacity - self._held

    @property
    def held(self) -> int:
        return self._held

    def submit(self, request: Request) -> None:
        self._held += 1
        self._requests.put(request)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        calls: list[Call] = []
        if not self._held:
            return calls
        self._running_out.clear()
        if timeout_seconds and self._requests.qsize() > self._few:
            self._running_out.wait(min(timeout_seconds, _TOGETHER_SECONDS))
        try:
            outcome = self._finished.get(timeout=timeout_seconds)
            while True:
                if isinstance(outcome, BaseException) and calls:
                    # First what was paid for; the bug is raised by the next wait.
                    self._finished.put(outcome)
                    return calls
                self._held -= 1
                if isinstance(outcome, BaseException):
                    raise outcome
                if isinstance(outcome, Call):
                    calls.append(outcome)
                outcome = self._finished.get_nowait()
        except Empty:
            return calls

    def give_back(self) -> Sequence[Request]:
        returned: list[Request] = []
        while True:
            try:
                request = self._requests.get_nowait()
            except Empty:
                self._held -= len(returned)
                return returned
            if request is not None:
                returned.append(request)

    def in_flight(self) -> Sequence[tuple[Request, float]]:
        return list(self._flying.values())

    def close(self) -> None:
        self.give_back()
        for _ in self._threads:
            self._requests.put(None)
        while self._threads:
            self._threads.pop().join()

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            if self._requests.qsize() <= self._few and not self._running_out.is_set():
                self._running_out.set()
            self._flying[request.key] = request, time.time()
            outcome: Call | Request | BaseException
            try:
                outcome = self._serve(request)
            except Cancelled:
                outcome = request
            except BaseException as error:  # a bug: the main thread must see it
                outcome = error
            del self._flying[request.key]
            self._finished.put(outcome)


class SerialEngine(Engine):
    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._request: Request | None = None

    @property
    def free(self) -> int:
        return 1 - self.held

    @property
    def held(self) -> int:
        return int(self._request is not None)

    def submit(self, request: Request) -> None:
        self._request = request

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        if self._request is None:
            return ()
        request, self._request = self._request, None
        try:
            return (self._serve(request),)
        except Cancelled:
            return ()

    def give_back(self) -> Sequence[Request]:
        request, self._request = self._request, None
        return () if request is None else (request,)

    def close(self) -> None:
        self._request = None
