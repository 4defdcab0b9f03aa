"""One request at a time, in the caller's thread: for tests and for looking closely."""

from __future__ import annotations

from collections.abc import Sequence

from llm_batch.clock import Cancelled
from llm_batch.engines import Serve
from llm_batch.records import Call, Request


class SerialEngine:
    """Serves a request when it is waited for."""

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
