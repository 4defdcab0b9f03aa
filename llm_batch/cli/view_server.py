"""The server of ``llmb view``.

The pages are for this machine alone. Anybody on it, and any web page open in a browser, can reach a
port of the loopback; so the address has a token that nobody guesses, and a request that names
another host (a stranger's name that was pointed here) is refused.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from threading import Lock
from typing import Any

import msgspec

from llm_batch.cli.progress import so_far
from llm_batch.cli.report import labels_beside, with_labels_beside
from llm_batch.errors import ENDINGS, LlmbError, status_of
from llm_batch.paper import html, words
from llm_batch.reporting import build_report
from llm_batch.reporting.page import bar, page
from llm_batch.running.watched import Watched

_HERE = "127.0.0.1"
_HOSTS = frozenset((_HERE, "localhost"))
_TOKEN_BYTES = 24
#: Seconds that a browser may take to say what it wants.
_PATIENCE = 30
_TEXT = 300
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Shown(ThreadingTCPServer):
    """A server on a free port of the loopback, of one run.

    `http.server` has one of its own, which asks a name server what this machine is called.
    """

    daemon_threads = True

    def __init__(self, results: Path) -> None:
        self.results = results
        self.watched = Watched(results)
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._looking, self._reporting = Lock(), Lock()
        self._report: tuple[object, str] | None = None
        super().__init__((_HERE, 0), _Answers)

    @property
    def url(self) -> str:
        return f"http://{_HERE}:{self.server_address[1]}/{self.token}/"

    def first_look(self) -> None:
        """Look at the run; of one that is over make the page, so that what is wrong is said here.

        Raises:
            LlmbError: There is no such run, or no page can be made of it.
        """
        if not self.state()["running"]:
            self.report()

    def page(self) -> str:
        """What stands at the address."""
        running = self.state()["running"]
        if not running:
            try:
                return self.report()
            except LlmbError:
                pass  # such as a run that wrote no result: what there is can still be watched
        return html.live(str(self.results), running)

    def state(self) -> dict[str, Any]:
        """How the run stands, for the script of the page."""
        with self._looking:
            self.watched.look()
            return state(self.watched)

    def report(self) -> str:
        """The page of the whole report, made again only where the results changed."""
        with self._reporting:
            beside = labels_beside(self.results)
            files = (*self.watched.paths, *([beside] if beside else []))
            known = [_stamp(path) for path in files]
            if self._report is None or self._report[0] != known:

                def built(labels: Any) -> Any:
                    return build_report(self.results, labels=labels)

                made = built(None) if beside is None else with_labels_beside(beside, built)
                self._report = known, html.format(page(made))
            return self._report[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _stamp(path: Path) -> object:
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class _Answers(BaseHTTPRequestHandler):
    server: Shown
    timeout = _PATIENCE

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        token, _, name = path.partition("/")
        given = hmac.compare_digest(token.encode(), self.server.token.encode())
        if not (self._names_this_host() and given):
            self._send(403, "text/plain", "Use the whole address that llmb view printed.\n")
            return
        known: dict[str, tuple[str, Callable[[], str | bytes]]] = {
            "": ("text/html", self.server.page),
            "report": ("text/html", self.server.report),
            "state.json": ("application/json", lambda: msgspec.json.encode(self.server.state())),
        }
        if name not in known:
            self._send(404, "text/plain", "There is nothing here.\n")
            return
        kind, made = known[name]
        try:
            text = made()
        except LlmbError as error:
            self._send(503, "text/plain", f"{error.message}\n{error.hint}\n")
            return
        self._send(200, kind, text)

    def _names_this_host(self) -> bool:
        """Whatever the port: a tunnel may lead here from another one."""
        named = self.headers.get_all("Host") or []
        return len(named) == 1 and named[0].partition(":")[0] in _HOSTS

    def _send(self, code: int, kind: str, text: str | bytes) -> None:
        body = text.encode() if isinstance(text, str) else text
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "llmb"

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal is the user's."""


def state(watched: Watched) -> dict[str, Any]:
    """How a run stands, in the words that its page shows."""

    at = watched.state
    figure, what, bounds, place = "", "no scores yet", "", None
    if at.scored:
        found = so_far(at)
        shown, between = (
            (words.percent, words.percent_range) if at.judged else (words.mean, words.mean_range)
        )
        figure = shown(found.value)
        what = f"{'pass rate' if at.judged else 'mean score'} so far"
        of = f"over {words.items(at.judged or at.scored)}"
        bounds = of if found.low is None else f"{words.interval(found, between)}, {of}"
        place = bar(found) if at.judged else None
    return {
        "running": watched.running,
        "status": _status(watched),
        "done": at.done,
        "planned": at.planned,
        "figure": figure,
        "what": what,
        "bounds": bounds,
        "bar": place,
        "simulated": at.simulated,
        "facts": list(_facts(watched)),
        "latest": [
            {
                "id": words.clean(item.id, _TEXT),
                "status": words.clean(status_of(item.status).name, _TEXT),
                "score": item.score,
                "passed": item.passed,
                "text": words.clean(item.error or item.reason, _TEXT),
            }
            for item in watched.latest
        ],
    }


def _status(watched: Watched) -> str:

    if (quiet := watched.quiet_seconds) is not None:
        return (
            f"Nothing was written for {words.duration(quiet)}. If the run was killed, repeat its "
            "command: it resumes and pays for nothing twice."
        )
    if watched.running:
        speed = watched.items_per_second
        left = watched.state.planned - watched.state.done
        if not speed or left <= 0:
            return "Running."
        return f"Running: {words.about_duration(left / speed)} left."
    ending = ENDINGS.get(watched.manifest.totals.status)
    return f"The run is over{f': {ending.words}' if ending and ending.words else ''}."


def _facts(watched: Watched) -> Iterator[tuple[str, str, str]]:

    at = watched.state
    yield "Items done", f"{at.done:,}", f"of {at.planned:,}" if at.planned else ""
    expected = f"of {words.about_usd(at.expected_cost)} estimated" if at.expected_cost else ""
    budget = f"of {words.usd(at.budget)} budget" if at.budget is not None else ""
    unknown = "" if at.priced else "the price of some calls is unknown"
    yield "Spent", words.usd(at.spent), "; ".join(filter(None, (expected, budget, unknown)))
    failed = at.statuses.copy()
    del failed["ok"]
    kinds = ", ".join(
        f"{n:,} {words.clean(status_of(kind).name, 30)}" for kind, n in failed.most_common(3)
    )
    yield "Failed", f"{failed.total():,}", kinds
    yield "Calls", f"{at.calls:,}", f"{at.retries:,} sent again" if at.retries else ""
    if (speed := watched.items_per_second) and watched.running:
        yield "Items a minute", words.count(60 * speed), "in the last two minutes"
