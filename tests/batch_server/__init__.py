"""A strict local server that speaks the batch APIs of all vendors that are spoken.

It runs in a thread of the test, whose settings and counters are plain attributes::

    with BatchServer() as server:
        server.ends.append(("expired", 0.5))
        run(config_for(server.url))
        assert server.paid_twice == 0

and by hand: ``python -m tests.batch_server --port 8001``. Answers are those of `tests.server`:
they follow from the messages, and the scripts in a prompt (``[[server: {"fault": "500", "times":
1}]]``) hold for lines of a job as well as for the live chat completions it also serves.

A job moves by being looked at: it takes ``polls`` looks to its end. What a job has worked on is
billed at its end, whether anybody collects it or not.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec

from tests.batch_server import alike, anthropic, gemini, openai
from tests.batch_server.jobs import Job, Reply, WebError, encode
from tests.server.answers import Answer, ApiError, Ask


class Dropped(Exception):
    """The connection breaks instead of an answer."""


class BatchServer:
    """The server; use it in a ``with`` statement.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        key: The only one that is accepted.
        polls: Looks at a job before its end.
        finalizing: Looks at which OpenAI says it writes its files.
        settling: Looks at which the job has ended and its files are not there.
        taking_in: Looks at which Azure has not processed an uploaded file yet.
        spoil: Changes the content of a file of answers before it is sent.
        shape: Changes what is said of jobs and lists of them; see `tests.batch_server.shapes`.
        in_files: Google has answers in a file, and not in the job.
        old_azure: Azure answers as its older versions do: ``Completed``, lists under ``value``.
        most_requests: That a job may have; more is refused.
        most_bytes: Of a file or a creation.
        token_limit: Input tokens that open jobs may have together; ``None`` for any.
        lose_creates: So many creations happen, and their answers are lost.
        break_creates: So many creations end in a 500 and do not happen.
        limit_creates: So many creations are one too many, and do not happen.
        hidden: So many lists leave out what is newest, as lists that lag behind do.
        crowd: So many newer jobs of others are on the lists before those that were made here.
        broken: (method, part of a path) to how often such a request ends in a 503.
        ends: How the next jobs end, and the share of their lines worked on before.
        line_faults: Faults that strike the next lines: names of `tests.server.faults`, errors, or
            ``missing`` for a line of which nothing is said.
        refuses: What requests may not have, as in `tests.server`.
        invalid: Messages that the next jobs are turned down with, as OpenAI's validation does.
        jobs: All jobs, by id.
        paid: Answers, by hash of the request.
        tokens: Input and output tokens billed, by ``batch`` or ``live`` and model.
        requests: Requests received, by method and the end of their path.
        log: Of every creation: our headers.
        watch: Called before and after each request is worked on, with how many there were and
            whether it is after; it may raise `Dropped`. For killing a client at a given moment.
    """

    def __init__(self, port: int = 0) -> None:
        self.key = "sk-test-0123456789"
        self.polls, self.finalizing, self.settling = 1, 0, 0
        self.most_requests, self.most_bytes = 50_000, 200_000_000
        self.token_limit: int | None = None
        self.lose_creates = self.break_creates = self.limit_creates = self.hidden = self.crowd = 0
        self.taking_in = 0
        self.pending: dict[str, int] = {}
        self.spoil: Callable[[bytes], bytes] = bytes
        self.shape: Callable[[Any], Any] = lambda value: value
        self.old_azure = self.in_files = False
        self.broken: dict[tuple[str, str], int] = {}
        self.ends: deque[tuple[str, float]] = deque()
        self.line_faults: deque[str | ApiError] = deque()
        self.refuses: list[str] = []
        self.invalid: deque[str] = deque()
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, bytes] = {}
        self.paid: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.tokens: Counter[tuple[str, str, str]] = Counter()
        self.requests: Counter[tuple[str, str]] = Counter()
        self.log: list[dict[str, str]] = []
        self.watch: Callable[[int, bool], None] = lambda number, after: None
        self.lock = threading.RLock()
        self._http = _Server(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def paid_twice(self) -> int:
        """Answers to a request beyond its first."""
        return sum(self.paid.values()) - len(self.paid)

    @property
    def submitted(self) -> list[Job]:
        """Jobs that were not turned down."""
        return [job for job in self.jobs.values() if not job.turned_down]

    def bill(self, kind: str, asked: Ask, answer: Answer) -> None:
        """Charge for an answer."""
        self.paid[asked.body_hash] += 1
        self.tokens[kind, asked.model, "input"] += answer.input_tokens
        self.tokens[kind, asked.model, "output"] += answer.output_tokens

    @property
    def submitted_twice(self) -> int:
        """Requests in a job beyond their first, jobs that were turned down left out."""
        asked = Counter(
            asked.body_hash
            for job in self.submitted
            for _, asked in job.lines
            if isinstance(asked, Ask)
        )
        return asked.total() - len(asked)

    def open_tokens(self) -> int:
        """Input tokens of the jobs that have not ended."""
        return sum(job.tokens for job in self.jobs.values() if job.end is None)

    def created(self, job: Job, headers: dict[str, str]) -> None:
        """A job comes to be, or its creation breaks.

        Raises:
            WebError: It does not happen.
            Dropped: It happens, and nobody hears of it.
        """
        if self.limit_creates:
            self.limit_creates -= 1
            raise WebError(429, "Rate limit reached for batches. Try again in 1s.")
        if self.break_creates:
            self.break_creates -= 1
            raise WebError(500, "The server had an error while processing your request.")
        self.jobs[job.id] = job
        self.log.append(headers)
        if self.lose_creates:
            self.lose_creates -= 1
            raise Dropped

    def listed(self) -> list[Job]:
        """Jobs as a list shows them, newest first."""
        jobs = list(reversed(self.jobs.values()))
        if self.hidden:
            self.hidden -= 1
            return jobs[1:]
        self.files.setdefault("crowd", b"")
        crowd = [
            Job(f"{jobs[0].id}x{number}", [], jobs[0].write, looks=1, made_of="crowd")
            for number in range(self.crowd if jobs else 0)
        ]
        return [*crowd, *jobs]

    def respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """The reply to a request.

        Raises:
            WebError: An error of the API.
            Dropped: None is sent.
        """
        path, _, query = target.partition("?")
        self.requests[method, path.rstrip("/").rpartition("/")[2]] += 1
        for (verb, part), left in self.broken.items():
            if verb == method and part in path and left:
                self.broken[verb, part] = left - 1
                raise WebError(503, "Service unavailable.")
        for vendor in (alike, anthropic, gemini, openai):
            if vendor.is_for(path, headers):
                reply = vendor.respond(self, method, path, query, headers, body)
                if "batch" in path and reply.content_type == "application/json":
                    shaped = self.shape(msgspec.json.decode(reply.body))
                    return Reply(reply.status, encode(shaped))
                return reply
        raise WebError(404, f"Invalid URL ({method} {path})")


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error; others are shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(server: BatchServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # headers and body in one packet

        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            with server.lock:
                try:
                    server.watch(server.requests.total() + 1, False)
                    reply = server.respond(self.command, self.path, headers, body)
                    server.watch(server.requests.total(), True)
                except WebError as error:
                    reply = error.reply(self.path, headers)
                except Dropped:
                    self.close_connection = True
                    return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            if reply.location:
                self.send_header("Location", reply.location)
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
            self.close_connection |= reply.cut

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    return Handler
