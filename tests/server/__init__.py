"""A strict and hostile chat completions server, to prove what a client does under stress.

It speaks OpenAI's format strictly (and Anthropic's, Gemini's, Ollama's and Bytez' well enough for
a real client), keeps limits as providers do, fails in every way of a long list, and counts what
it saw. In a test::

    from tests.server import serve

    with serve(rpm=300, minute=6, limiter="bucket10", faults={"500": 0.05}) as server:
        run_client(api_base=server.url)
        assert server.stats()["duplicates"] == 0

and by hand::

    python -m tests.server --port 8000 --rpm 300 --headers --fault reset=0.01 --burst 503:10:12

Paths: POST {anything}/chat/completions (OpenAI, Azure), {anything}/v1/messages (Anthropic),
{anything}/models/{model}:generateContent (Gemini), {anything}/api/chat and /api/generate
(Ollama), /models/v2/{model} (Bytez). Streaming, tools and several choices are not offered to
OpenAI's clients: they are refused with a 400.

Answers follow from a hash of the messages: words, or a valid object where the request has a JSON
schema. Tokens are a quarter of the characters, at least 1. ``max_tokens`` cuts the answer. A
request counts max(max_tokens, prompt tokens) towards tokens per minute; a request that fails
counts; one that is refused by the limits counts with --count-rejected only.

The last user message may script its reply, with any of these keys::

    [[server: {"fault": "reset", "times": 2, "reply": "text or JSON", "usage": null,
               "latency": 1.5, "retry_after": "3", "model": "only-for-this-model"}]]

``times`` counts the attempts of the same body; after as many the answer comes. A prompt that
quotes another (a judge's) carries its script too: ``model`` says whom it is for.

GET /stats since the start or the last reset, times in seconds since then:
  requests               arrived for an answer, of whatever validity
  by_status              their ends: a status, or reset, hang, abandoned (the client left) ...
  faults, providers      how often each fault was chosen; which format was spoken
  rate_limited, refused  all replies 429; those by the limits (the others are faults)
  successes              whole, usable answers sent; successes_by_body by hash of the parsed body
  duplicates             successes of a body beyond its first: paid for twice
  unusable               replies with status 200 that hold no whole answer
  billed                 replies, tokens and USD of everything the model worked for, whether or
                         not it was delivered or usable; by_model; a hanging request is billed
                         when it ends
  billed_unseen          the part of it that was not delivered whole
  admitted, admitted_tokens, first_admission, last_admission, admissions_per_second
                         what the limits let pass; the bins start at first_admission
  in_flight, peak_in_flight, connections
  arrivals               with --trace: [time, passed, tokens, model] of every request

GET {anything}/models (OpenAI, Anthropic, Gemini) and /api/tags (Ollama) list the models of --model.
That is free and counts nowhere; it wants the --key, and meets the fault of --list-fault.

GET /log?n=10 lists the last requests: at, method, path, query, headers, body.
POST /control takes a JSON object of settings (the long flags, with _ for -: {"rpm": 300,
"faults": {"500": 0.1}, "models": {...}, "bursts": [{"fault":, "start":, "end":}]}), answers with
all of them and keeps what the limits have counted. POST /reset zeroes counters, limits, log and
the server's age; the settings stay.

Faults by --fault depend on seed, body and attempt, not on the order of arrival, so a run can be
repeated. `python -m tests.server.load URL` measures requests per second.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOT = Path(__file__).parents[2]


class Server:
    """A server in a process of its own, from `serve`; use it in a ``with`` statement.

    It ends with the statement, or when the process that started it dies.

    Attributes:
        port: Its port on 127.0.0.1.
        url: ``http://127.0.0.1:PORT``: what to use as ``api_base`` (``url + "/v1"`` works too).
        process: The process, for signals and its id.
    """

    def __init__(self, flags: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.server", "--exit-with-stdin", *flags],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.stop()
            raise RuntimeError(f"the test server did not start with {flags}")
        self.url = line.removeprefix("listening on ").strip()
        self.port = int(self.url.rpartition(":")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server; harmless when it has ended."""
        self.process.terminate()
        self.process.wait(timeout=60)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to one of the server's own paths, past any proxy.

        Raises:
            RuntimeError: The server did not answer with status 200.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return json.loads(text)

    def stats(self) -> dict[str, Any]:
        """The counters (see the package's docstring)."""
        stats: dict[str, Any] = self.request("GET", "/stats")
        return stats

    def log(self, n: int = 0) -> list[dict[str, Any]]:
        """The last ``n`` requests as received, oldest first; 0 for all that were kept."""
        log: list[dict[str, Any]] = self.request("GET", f"/log?n={n}")
        return log

    def control(self, **settings: Any) -> dict[str, Any]:
        """Change settings; returns all of them."""
        current: dict[str, Any] = self.request("POST", "/control", settings)
        return current

    def reset(self) -> None:
        """Zero the counters, the limits, the log and the server's age."""
        self.request("POST", "/reset")


def serve(*flags: str, port: int = 0, **settings: Any) -> Server:
    """Start a server and wait until it listens.

    Args:
        flags: As on the command line.
        port: The port; 0 takes a free one.
        settings: As for POST /control: ``serve(rpm=300, faults={"500": 0.1})``.

    Raises:
        RuntimeError: It did not start; its standard error says why.
    """
    server = Server([*flags, "--port", str(port)])
    if settings:
        try:
            server.control(**settings)
        except BaseException:
            server.stop()
            raise
        server.reset()
    return server
