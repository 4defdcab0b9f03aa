"""Requests carried in this process: many at once in threads, or one after the other.

Each worker of the pool pulls requests from one queue for as long as the run lasts: a Future for
every call would cost more than the queue does. A few requests wait in the queue, so that a worker
that finishes need not wait for the main thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from llm_batch.engines import Engine
from llm_batch.records import Call, Request
from llm_batch.sending.clock import Cancelled

Serve = Callable[[Request], Call]


class ThreadsEngine(Engine):
    """A pool of ``workers`` threads around one function, which runs in them."""

    def __init__(self, serve: Serve, workers: int) -> None:
        self._serve = serve
        self._workers = workers
        self._capacity = workers + max(1, workers // 4)
        self._held = 0
        self._started = 0
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        # A request comes back in the place of a call when the run stopped before it was sent.
        self._finished: SimpleQueue[Call | Request | BaseException] = SimpleQueue()
        # What threads work on, by key, and since when (seconds since 1970-01-01 UTC).
        self._flying: dict[str, tuple[Request, float]] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="llmb")

    @property
    def free(self) -> int:
        return self._capacity - self._held

    @property
    def held(self) -> int:
        return self._held

    def submit(self, request: Request) -> None:
        self._held += 1
        self._requests.put(request)
        if self._started < self._workers:
            self._started += 1
            self._pool.submit(self._work)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        calls: list[Call] = []
        if not self._held:
            return calls
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
        for _ in range(self._started):
            self._requests.put(None)
        self._pool.shutdown(wait=True)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
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
