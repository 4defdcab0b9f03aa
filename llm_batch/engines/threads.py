"""Many requests at once, in threads of this process.

Each worker of the pool pulls requests from one queue for as long as the run lasts: a Future for
every call would cost more than the queue does. A few requests wait in the queue, so that a worker
that finishes need not wait for the main thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

from llm_batch.clock import Cancelled
from llm_batch.engines import Serve
from llm_batch.errors import ConfigError
from llm_batch.records import Call, Request

# Files a run has open beside its connections: journal, data, results, and those of libraries.
_BESIDE = 64


def make_room_for(connections: int) -> None:
    """Let this process have so many connections at once, beside what it has open.

    Raises:
        ConfigError: The system does not allow it.
    """
    try:
        import resource
    except ImportError:  # Windows, which counts otherwise
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _BESIDE
    if soft in (resource.RLIM_INFINITY, -1) or soft >= needed:
        return
    if hard in (resource.RLIM_INFINITY, -1) or hard >= needed:
        with suppress(ValueError, OSError):  # macOS has another bound below the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            return
    raise ConfigError(
        f"{connections:,} connections at once need {needed:,} open files, and this process may "
        f"have {soft:,}",
        f"type ulimit -n {needed} first, or use fewer --workers",
    )


class ThreadsEngine:
    """A pool of ``workers`` threads around one function.

    Args:
        serve: Turns a request into a call; runs in the workers.
        workers: How many calls are made at once.
    """

    def __init__(self, serve: Serve, workers: int) -> None:
        self._serve = serve
        self._workers = workers
        self._capacity = workers + max(1, workers // 4)
        self._held = 0
        self._started = 0
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        # A request comes back in the place of a call when the run stopped before it was sent.
        self._finished: SimpleQueue[Call | Request | BaseException] = SimpleQueue()
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

    def close(self) -> None:
        self.give_back()
        for _ in range(self._started):
            self._requests.put(None)
        self._pool.shutdown(wait=True)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            try:
                self._finished.put(self._serve(request))
            except Cancelled:
                self._finished.put(request)
            except BaseException as error:  # a bug: the main thread must see it
                self._finished.put(error)
