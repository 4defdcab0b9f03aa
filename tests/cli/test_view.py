"""``llmb view``: what is served, to whom, and how it ends."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import types
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from llm_batch.cli import app
from llm_batch.cli.view_server import Shown
from llm_batch.paper import html
from tests.reporting.made import call, full_manifest, journal, result, write


def _run(folder: Path, status: str = "running", n: int = 10) -> Path:
    results = [result(i, float(i % 5 + 1)) for i in range(n)]
    results += [result(n, None, status="timeout", error="<b>too slow</b>")]
    journal(folder, *(call(f"item-{i}") for i in range(n)))
    return write(folder, results, full_manifest(planned=40, status=status))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Shown]:
    """A run that goes on, served until the test ends."""
    with Shown(_run(tmp_path)) as made:
        thread = Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def _get(served: Shown, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", served.server_address[1])
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def test_the_state_is_small_and_says_how_the_run_stands(served: Shown) -> None:
    status, headers, text = _get(served, f"/{served.token}/state.json")
    state = json.loads(text)
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert len(text) < 20_000
    assert (state["running"], state["done"], state["planned"]) == (True, 11, 40)
    assert (state["figure"], state["what"]) == ("40.0 %", "pass rate so far")
    assert "95 % interval" in state["bounds"] and "over 10 items" in state["bounds"]
    facts = {name: (figure, more) for name, figure, more in state["facts"]}
    assert facts["Items done"] == ("11", "of 40")
    assert facts["Spent"][0] == "$0.010"
    assert facts["Failed"] == ("1", "1 timed out")
    assert state["latest"][0]["text"] == "<b>too slow</b>"


def test_the_page_of_a_run_that_goes_on_is_small_and_asks_only_here(served: Shown) -> None:
    status, headers, text = _get(served, f"/{served.token}/")
    assert status == 200 and len(text) < 60_000
    assert "connect-src &#39;self&#39;" in text or "connect-src 'self'" in text
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    ["/", "/state.json", "/report", "//", "/{half}/", "/{token}x/state.json", "/?{token}/",
     "http://evil/{token}/", "/../{token}/"],
)  # fmt: skip
def test_without_the_token_nothing_is_told(served: Shown, path: str) -> None:
    filled = path.format(token=served.token, half=served.token[:16])
    status, _, text = _get(served, filled)
    assert status == 403
    assert "item" not in text and served.token not in text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1]", "localhost."]
)
def test_another_hosts_name_is_refused_even_with_the_token(served: Shown, host: str) -> None:
    assert _get(served, f"/{served.token}/state.json", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "127.0.0.1:8765"])
def test_a_tunnel_may_lead_here_from_another_port(served: Shown, host: str) -> None:
    assert _get(served, f"/{served.token}/state.json", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_nothing_but_reading_is_answered(served: Shown, method: str) -> None:
    assert _get(served, f"/{served.token}/", method)[0] == 501


def test_what_is_not_there_is_not_there(served: Shown) -> None:
    assert _get(served, f"/{served.token}/results.jsonl")[0] == 404


def test_the_address_is_of_the_loopback_alone(served: Shown) -> None:
    assert served.socket.getsockname()[0] == "127.0.0.1"


def test_no_name_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        pytest.fail("a name was looked up")

    for name in ("getfqdn", "gethostbyaddr", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, asked)
    with Shown(_run(tmp_path)) as made:
        assert made.url.startswith("http://127.0.0.1:")


def test_two_tokens_are_never_the_same(tmp_path: Path) -> None:
    path = _run(tmp_path)
    with Shown(path) as one, Shown(path) as two:
        assert one.token != two.token and len(one.token) >= 32


def test_once_the_run_is_over_the_whole_report_is_served_and_made_once(
    served: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def drawn(page: Any) -> str:
        made.append(page)
        return "<p>the report"

    monkeypatch.setattr(html, "format", drawn)
    assert "the report" not in _get(served, f"/{served.token}/")[2]
    _run(served.results.parent, "done", 12)
    assert _get(served, f"/{served.token}/")[2] == "<p>the report"
    assert _get(served, f"/{served.token}/report")[2] == "<p>the report"
    assert len(made) == 1
    _run(served.results.parent, "done", 13)
    _get(served, f"/{served.token}/report")
    assert len(made) == 2


def test_what_keeps_the_report_from_being_made_is_said(
    served: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    html._library.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    status, headers, text = _get(served, f"/{served.token}/report")
    assert (status, headers["Content-Type"]) == (503, "text/plain; charset=utf-8")
    assert "vl-convert-python" in text
    _run(served.results.parent, "done")
    assert "pass rate" in json.loads(_get(served, f"/{served.token}/state.json")[2])["what"]
    assert _get(served, f"/{served.token}/")[0] == 200


def _interrupted(self: Shown) -> None:
    raise KeyboardInterrupt


def test_the_address_is_printed_and_ctrl_c_ends_it_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shown, "serve_forever", _interrupted)
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("nobody asked for a browser"))
    ended = CliRunner().invoke(app, ["view", str(_run(tmp_path))])
    assert ended.exit_code == 0
    address = ended.stdout.strip()
    assert address.startswith("http://127.0.0.1:") and len(address.splitlines()) == 1
    assert "Ctrl-C" in ended.stderr


def test_a_browser_is_led_by_a_private_file_so_that_no_program_is_started_with_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str]] = []

    def opens(url: str) -> bool:
        file = Path(url.removeprefix("file://"))
        opened.append((url, file.read_text()))
        return True

    monkeypatch.setattr(Shown, "serve_forever", _interrupted)
    monkeypatch.setattr(webbrowser, "open", opens)
    ended = CliRunner().invoke(app, ["view", str(_run(tmp_path)), "--open"])
    ((url, text),) = opened
    token = ended.stdout.strip().rstrip("/").rpartition("/")[2]
    assert token in text and token not in url
    assert not Path(url.removeprefix("file://")).exists()


@pytest.mark.parametrize(
    ("platform", "around", "there"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "1 2 3 4"}, False),
        ("win32", {}, True),
    ],
)
def test_a_browser_is_there_where_it_would_open_in_front_of_the_user(
    monkeypatch: pytest.MonkeyPatch, platform: str, around: dict[str, str], there: bool
) -> None:
    command = sys.modules["llm_batch.cli.view"]  # the package has the function under this name
    monkeypatch.setattr(command, "os", types.SimpleNamespace(environ=around))
    monkeypatch.setattr(command, "sys", types.SimpleNamespace(platform=platform))
    assert command._has_browser() == there  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.jsonl", "no results file"), ("-", "standard input"), (".", "is a directory")],
)
def test_what_is_no_run_is_said_before_anything_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["view", name])
    assert ended.stdout == ""
    assert said in getattr(ended.exception, "message", "")
