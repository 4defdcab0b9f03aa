"""Several endpoints behind one model: who gets what, and what happens when one is gone."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from llm_batch.errors import ProviderError, RateLimited, Refused, Unavailable
from llm_batch.records import Request
from llm_batch.running.run import Earlier, run
from llm_batch.sending.clock import FakeClock
from llm_batch.sending.limits import Limiter
from llm_batch.sending.pool import Endpoint, Notice, Outages, Pool, is_there
from llm_batch.sending.providers import Reply
from tests.builders import completion, request
from tests.fire.runs import load, results, write_project
from tests.server import serve
from tests.simulated import EventClock


class Place:
    """A provider that answers, or fails as it is told to."""

    vendor, on_this_machine, simulated = "openai", True, False

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: ProviderError | None = None
        self.asked = 0
        self.closed = False

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Reply(completion(self.name))

    def close(self) -> None:
        self.closed = True


class Two:
    """A pool of two places, with a clock and a probe in the test's hands."""

    def __init__(self, weights: tuple[float, float] = (1, 1), rpm: float | None = None) -> None:
        self.clock = FakeClock()
        self.places = Place("a"), Place("b")
        self.there = True
        self.probed: list[str] = []
        self.heard: list[tuple[str, bool]] = []
        self.pool = Pool(
            [
                Endpoint(f"http://{place.name}/v1", weight, place, Limiter(rpm, None, self.clock))
                for place, weight in zip(self.places, weights, strict=True)
            ],
            self.clock,
            self._probe,
            tell=self._hear,
        )

    def _hear(self, notice: Notice) -> None:
        self.heard.append((notice.url[7], notice.well))

    def _probe(self, endpoint: Endpoint) -> bool:
        self.probed.append(endpoint.url)
        return self.there

    def send(self) -> str:
        """One attempt, as the client makes it; who answered, or the kind of the failure."""
        slip = self.pool.acquire()
        try:
            return self.pool.complete(request(), 1.0).completion.text
        except ProviderError as error:
            if isinstance(error, RateLimited):
                self.pool.pause(error.retry_after_seconds or 0)
            return error.kind
        finally:
            self.pool.finish(slip)


def test_requests_in_flight_are_shared_by_weight() -> None:
    two = Two((3, 1))
    for _ in range(8):
        two.pool.acquire()
    assert [endpoint.busy for endpoint in two.pool.endpoints] == [6, 2]


def test_one_that_cannot_be_reached_is_left_out_at_once() -> None:
    two = Two()
    two.places[0].error = Unavailable("gone", kind="unreachable")
    assert Counter(two.send() for _ in range(10)) == {"unreachable": 1, "b": 9}


def test_one_that_fails_now_and_then_stays() -> None:
    two = Two()
    two.places[0].error = Unavailable("busy")
    assert Counter(two.send() for _ in range(4)) == {"unavailable": 2, "b": 2}
    two.places[0].error = None
    assert two.send() == "a"
    two.places[0].error = Unavailable("busy")
    assert Counter(two.send() for _ in range(12)) == {"unavailable": 3, "b": 9}


def test_one_that_was_left_out_is_asked_before_it_is_used_again() -> None:
    two = Two()
    two.places[0].error = Unavailable("gone", kind="unreachable")
    two.send()
    two.places[0].error, two.there = None, False
    two.clock.seconds += 3
    assert {two.send() for _ in range(4)} == {"b"} and two.probed == ["http://a/v1"]
    two.clock.seconds += 3
    assert {two.send() for _ in range(4)} == {"b"} and len(two.probed) == 1  # rests twice as long
    two.there = True
    two.clock.seconds += 3
    assert two.heard == [("a", False)]
    assert Counter(two.send() for _ in range(20))["a"] >= 10 and len(two.probed) == 2
    assert two.heard == [("a", False), ("a", True)]


def test_one_that_says_it_is_there_and_fails_is_asked_less_and_less_often() -> None:
    two = Two()
    two.places[0].error = Unavailable("broken")
    for _ in range(600):
        two.send()
        two.clock.seconds += 1
    # 3 failures, then one after each rest of 2, 4, 8, … 300 s.
    assert two.places[0].asked <= 3 + 9
    assert two.heard == [("a", False)]


def test_an_answer_to_what_was_under_way_brings_nobody_back() -> None:
    two = Two((9, 1))
    slip = two.pool.acquire()
    two.pool._failed(two.pool.endpoints[0], "gone", at_once=True)
    two.pool.complete(request(), 1.0)
    two.pool.finish(slip)
    assert two.heard == [("a", False)] and two.send() == "b"


def outages(tmp_path: Path, urls: list[str]) -> Outages:
    (tmp_path / "q.txt").write_text("one\n")
    places = ", ".join(f'{{ api_base = "{url}" }}' for url in urls)
    (tmp_path / "llmb.toml").write_text(
        '[data]\npath = "q.txt"\n[[steps]]\nname = "a"\nmodel = "openai/m"\n'
        'prompt = "{{ text }}"\n[models."openai/m"]\ninput_price = 0\noutput_price = 0\n'
        f"endpoints = [{places}]\n"
    )
    return Outages(load(tmp_path))


def test_what_is_said_of_an_outage_is_said_once(tmp_path: Path) -> None:
    a, b = "http://gpu-1:8000/v1", "http://gpu-2:8000/v1"
    said = outages(tmp_path, [a, b])
    gone = Notice(a, well=False, why="cannot connect")
    assert list(said.sentences([gone, gone])) == [
        "http://gpu-1:8000/v1 is left out until it answers again: cannot connect"
    ]
    assert list(said.sentences([Notice(b, well=False, why="HTTP 500")])) == [
        "http://gpu-2:8000/v1 is left out until it answers again: HTTP 500",
        "no endpoint of openai/m answers; the run waits for one, and asks after 2 s to 5 min. "
        "Ctrl-C ends the run, and nothing is lost",
    ]
    assert list(said.sentences([Notice(a, well=True), Notice(a, well=True)])) == [
        "http://gpu-1:8000/v1 answers again, and is used again"
    ]


def test_an_endpoint_that_comes_and_goes_does_not_fill_the_screen(tmp_path: Path) -> None:
    said = outages(tmp_path, ["http://a/v1", "http://b/v1"])
    flaps = [Notice("http://a/v1", well, "HTTP 500") for well in (False, True)] * 50
    lines = list(said.sentences(flaps))
    assert len(lines) == 6 and lines[4].endswith("nothing is said")


def test_a_refusal_for_the_rate_moves_requests_to_the_other() -> None:
    two = Two()
    two.places[0].error = RateLimited("slow down", retry_after_seconds=10)
    assert Counter(two.send() for _ in range(6)) == {"rate_limited": 1, "b": 5}
    two.places[0].error = None
    two.clock.seconds += 11
    assert two.send() == "a" and two.probed == []


def test_one_that_refuses_everything_is_left_out_and_the_others_go_on() -> None:
    two = Two()
    two.places[0].error = Refused("no such key", kind="key", status_code=401)
    assert Counter(two.send() for _ in range(10)) == {"key": 1, "b": 9}
    assert two.heard == [("a", False)]
    two.clock.seconds += 3
    # It is there, so it is tried again; once more, and then after twice the time.
    assert Counter(two.send() for _ in range(10)) == {"key": 1, "b": 9}
    assert two.heard == [("a", False)]
    two.places[0].error = None
    two.clock.seconds += 9
    assert "a" in {two.send() for _ in range(10)} and two.heard[-1] == ("a", True)


@pytest.mark.parametrize("error", [RateLimited, Unavailable])
def test_one_that_asks_for_a_long_pause_is_left_out_for_it(error: type[RateLimited]) -> None:
    two = Two()
    two.places[0].error = error("in half an hour", retry_after_seconds=1800)
    for _ in range(10):
        two.send()
        two.clock.seconds += 100
    assert two.places[0].asked == 1 and two.places[1].asked == 9 and two.probed == []
    two.places[0].error = None
    two.clock.seconds += 1000
    assert "a" in {two.send() for _ in range(4)} and two.heard == [("a", False), ("a", True)]


def test_a_long_pause_of_all_is_one_of_the_run() -> None:
    two = Two()
    for place in two.places:
        place.error = RateLimited("in half an hour", retry_after_seconds=1800)
    two.send()
    slip = two.pool.acquire()
    with pytest.raises(RateLimited, match="half an hour"):
        two.pool.complete(request(), 1.0)
    two.pool.finish(slip)


def test_when_all_refuse_everything_so_does_the_pool() -> None:
    two = Two()
    for place in two.places:
        place.error = Refused("no such model", kind="model", status_code=404)
    two.send()
    slip = two.pool.acquire()
    with pytest.raises(Refused, match="no such model"):
        two.pool.complete(request(), 1.0)
    two.pool.finish(slip)
    assert len(two.heard) == 1  # nobody is waited for


def test_when_none_is_well_they_are_waited_for() -> None:
    two = Two()
    for place in two.places:
        place.error = Unavailable("gone", kind="unreachable")
    assert [two.send(), two.send()] == ["unreachable", "unreachable"]
    for place in two.places:
        place.error = None
    assert two.send() in "ab"
    assert two.clock.seconds >= 2


def test_each_endpoint_keeps_its_own_limit() -> None:
    two = Two(rpm=60)
    for _ in range(20):
        two.send()
    assert two.pool.rpm == 120
    assert two.clock.seconds == pytest.approx(20 / (2 * 0.98), abs=1.5)


def test_a_run_goes_on_when_one_of_two_servers_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-pool-0123456789abcdef")
    with serve(latency=0.01) as stays, serve(latency=0.01) as dies:
        config = write_project(tmp_path, stays, [f"What is {n}?" for n in range(60)])
        text = config.read_text()
        for model in ("writer", "judge"):
            text = text.replace(
                f'[models."openai/{model}"]\napi_base = "{stays.url}/v1"\n',
                f'[models."openai/{model}"]\nendpoints = [{{ api_base = "{stays.url}/v1" }}, '
                f'{{ api_base = "{dies.url}/v1" }}]\n',
            )
        config.write_text(text)
        gone: list[int] = []

        def watch(state: object) -> None:
            if not gone and dies.stats()["successes"] >= 5:
                dies.control(hold=True)  # nothing is answered between the count and the end
                gone.append(dies.stats()["successes"])
                dies.process.kill()

        said: list[str] = []
        summary = run(load(tmp_path), progress=watch, say=said.append)
        assert [line.split(" until")[0] for line in said] == [f"{dies.url}/v1 is left out"]
        assert summary.exit_code == 0
        assert {row["status"] for row in results(tmp_path).values()} == {"ok"}
        assert stays.stats()["successes"] + gone[0] == 120


def with_two_keys(folder: Path, one: str, other: str) -> None:
    """A project whose models are served by two servers, each with a key of its own."""
    with serve() as some:
        config = write_project(folder, some, [f"What is {n}?" for n in range(20)])
        text = config.read_text().replace(
            f'api_base = "{some.url}/v1"\n',
            f'endpoints = [{{ api_base = "{one}/v1", api_key_env = "MY_KEY" }}, '
            f'{{ api_base = "{other}/v1", api_key_env = "LOCAL_KEY" }}]\n',
        )
        config.write_text(text)


def test_a_run_goes_on_when_one_of_two_servers_has_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-one-0123456789")
    monkeypatch.setenv("LOCAL_KEY", "sk-other-0123456789")
    with serve(key="sk-one-0123456789") as one, serve(key="sk-another-one") as other:
        with_two_keys(tmp_path, one.url, other.url)
        said: list[str] = []
        summary = run(load(tmp_path), say=said.append)
        assert summary.exit_code == 0
        assert {line.split(" until")[0] for line in said} == {f"{other.url}/v1 is left out"}
        other.control(key="sk-yet-another")
        one.control(key="sk-yet-another")
        again = run(load(tmp_path), earlier=Earlier(overwrite=True))
        assert (again.status, again.exit_code) == ("refused", 3)


@pytest.mark.parametrize("base", ["/v1", "/v1/", "/v1?version=1"])
def test_the_probe_asks_for_the_models(base: str) -> None:
    with serve() as server:
        endpoint = Endpoint(server.url + base, 1, Place("a"), Limiter(None, None, FakeClock()))
        assert is_there(endpoint)


def test_the_probe_goes_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        serving = threading.Thread(target=proxy.handle_request)
        serving.start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        url = "http://models.example/v1?version=1"
        assert is_there(Endpoint(url, 1, Place("a"), Limiter(None, None, FakeClock())))
        serving.join()
    assert asked == ["http://models.example/v1/models?version=1"]


def test_the_probe_takes_any_answer_short_of_a_failure() -> None:
    clock = FakeClock()
    with serve() as server:
        there = Endpoint(server.url + "/v1", 1, Place("a"), Limiter(None, None, clock))
        assert is_there(there)
    assert not is_there(there)


def test_what_concerns_all_endpoints_is_said_once(tmp_path: Path) -> None:
    heard = outages(tmp_path, ["http://127.0.0.1:1/v1"])
    said = [*heard.sentences(["a key came back"] * 2)]
    assert [*said, *heard.sentences(["a key came back"])] == ["a key came back"]


@pytest.mark.parametrize("limit", ["a pace", "a pause", "at once"])
def test_no_request_waits_for_one_endpoint_while_another_is_free(limit: str) -> None:
    two = Two(weights=(1, 1))
    slow = two.pool.endpoints[0]
    if limit == "a pace":
        slow.limiter = Limiter(60, None, two.clock)
        slow.limiter.acquire()
    elif limit == "a pause":
        slow.limiter.pause(30)
    else:
        for _ in range(2):
            slow.limiter.acquire()  # stays under way
        for _ in range(2):
            slow.limiter.finish(slow.limiter.acquire(), refused=True)
        assert slow.limiter.slowed.at_once == 2
    assert Counter(two.send() for _ in range(50)) == {"b": 50}
    assert two.clock.seconds == 0


def test_two_free_endpoints_do_not_wait_for_a_third_with_a_limit() -> None:
    """3,000 requests by 30 workers that take 0.05 s: the last ones must not queue for the third."""
    clock = EventClock()
    places = [Place(name) for name in "abc"]
    limits = (None, None, 1200)
    pool = Pool(
        [
            Endpoint(f"http://{place.name}/v1", 1, place, Limiter(rpm, None, clock))
            for place, rpm in zip(places, limits, strict=True)
        ],
        clock,
        lambda endpoint: True,
    )
    ended: list[float] = []
    left = 3000

    def work() -> None:
        nonlocal left
        if not left:
            return
        left -= 1
        slip = pool.acquire()
        mine = pool._chosen.endpoint

        def end() -> None:
            pool._chosen.endpoint = mine
            pool.finish(slip)
            ended.append(clock.now())
            work()

        clock.at(clock.now() + 0.05, end)

    for _ in range(30):
        work()
    while len(ended) < 3000:
        clock.next()
    assert ended[-1] <= 1.02 * 3000 / (30 / 0.05)


def test_when_no_endpoint_is_free_the_soonest_is_waited_for() -> None:
    two = Two()
    for endpoint, pause in zip(two.pool.endpoints, (9, 2), strict=True):
        endpoint.limiter.pause(pause)
    assert two.send() == "b"
    assert two.clock.seconds == pytest.approx(2, abs=0.01)
