"""Scripted and made-up answers: the same every time, and marked as simulated."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain.options import Model
from llm_batch.chain.outputs import OutputField, checked_object, json_schema
from llm_batch.errors import ConfigError, Timeout, Unavailable
from llm_batch.records import Completion, Usage
from llm_batch.sending.providers import make_provider
from llm_batch.sending.providers.fake import FakeProvider, made_up
from tests.sending.providers.asking import SCHEMA, ask, at_once


def test_the_same_request_always_gets_the_same_words() -> None:
    one, other = (FakeProvider().complete(ask("Hello"), 1).completion for _ in range(2))
    assert one == other
    assert one.text != FakeProvider().complete(ask("Hello", "q2"), 1).completion.text


def test_everything_it_says_is_marked_as_simulated() -> None:
    provider = make_provider("fake/a", Model(), 1)
    assert provider.simulated
    assert provider.on_this_machine


def test_usage_is_a_quarter_of_the_characters() -> None:
    usage = FakeProvider(["12345678"]).complete(ask("1234567890"), 1).completion.usage
    assert usage == Usage(3, 2)


_number = st.integers(-1000, 1000)


@st.composite
def _fields(draw: st.DrawFn) -> dict[str, OutputField]:
    low, high = sorted((draw(_number), draw(_number)))
    kind = draw(st.sampled_from(["integer", "number"]))
    bounds = draw(st.sampled_from([{}, {"min": low}, {"max": high}, {"min": low, "max": high}]))
    return {
        "amount": OutputField(type=kind, **bounds),
        "good": OutputField(type="boolean"),
        "why": OutputField(type="string"),
        "label": OutputField(type="string", choices=("yes", "no")),
    }


@given(_fields(), st.text(max_size=5))
def test_an_object_that_is_made_up_fits_its_schema(
    fields: dict[str, OutputField], item: str
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": json_schema(fields)}}
    made = msgspec.json.decode(made_up(ask(item=item, response_format=wanted)))
    assert checked_object(made, fields) == made


def test_any_object_is_made_up_where_any_is_asked_for() -> None:
    made = msgspec.json.decode(made_up(ask(response_format={"type": "json_object"})))
    assert isinstance(made, dict)


def test_answers_of_a_list_come_in_turn_and_the_last_one_for_ever() -> None:
    provider = FakeProvider(["one", "two"])
    texts = [provider.complete(ask(), 1).completion.text for _ in range(4)]
    assert texts == ["one", "two", "two", "two"]
    assert len(provider.requests) == 4


def test_a_list_without_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        FakeProvider([])


def test_an_answer_may_be_a_whole_completion_or_an_error() -> None:
    exact = Completion("x", "m", "length", None, "id1")
    provider = FakeProvider([exact, Unavailable("no")])
    assert provider.complete(ask(), 1).completion is exact
    with pytest.raises(Unavailable):
        provider.complete(ask(), 1)


def test_a_function_may_wait_for_other_calls() -> None:
    crowd = threading.Barrier(8, timeout=30)

    def answer(_: object) -> str:
        return f"{crowd.wait()}"

    provider = FakeProvider(answer)
    texts = at_once(8, lambda n: provider.complete(ask(item=str(n)), 1).completion.text)
    assert sorted(texts) == [str(n) for n in range(8)]


def test_a_script_of_the_config_starts_over_at_its_end(tmp_path: Path) -> None:
    script = tmp_path / "answers.jsonl"
    script.write_text('"one"\n\n"two"\n')
    provider = make_provider("fake/a", Model(script=str(script)), 1)
    texts = [provider.complete(ask(), 1).completion.text for _ in range(3)]
    assert texts == ["one", "two", "one"]


@pytest.mark.parametrize("content", [b"", b"\n", b"not JSON", b'{"a": 1}', b"\xff", None])
def test_a_script_that_cannot_be_used_is_refused_by_name(
    content: bytes | None, tmp_path: Path
) -> None:
    script = tmp_path / "answers.jsonl"
    if content is not None:
        script.write_bytes(content)
    with pytest.raises(ConfigError, match=r"fake/a.*answers\.jsonl"):
        make_provider("fake/a", Model(script=str(script)), 1)


def test_latency_is_waited_for_before_the_answer() -> None:
    slept: list[float] = []
    provider = FakeProvider(latency_seconds=2.5, sleep=slept.append)
    assert provider.complete(ask(), 60).completion.text
    assert slept == [2.5]


def test_latency_beyond_the_deadline_is_a_timeout_at_the_deadline() -> None:
    slept: list[float] = []
    provider = FakeProvider(latency_seconds=100.0, sleep=slept.append)
    with pytest.raises(Timeout):
        provider.complete(ask(), 60)
    assert slept == [60]


def _faults(provider: FakeProvider, attempts: int) -> list[bool]:
    failed = []
    for number in range(100):
        for _ in range(attempts):
            try:
                provider.complete(ask(item=str(number)), 1)
                failed.append(False)
                break
            except Unavailable as error:
                assert error.status_code == 503
                failed.append(True)
    return failed


def test_errors_come_at_the_rate_asked_for_and_the_same_every_time() -> None:
    first = _faults(FakeProvider(error_rate=0.3), 1)
    assert first == _faults(FakeProvider(error_rate=0.3), 1)
    assert 15 < sum(first) < 45


def test_a_request_that_failed_may_succeed_when_tried_again() -> None:
    assert _faults(FakeProvider(error_rate=0.5), 20).count(False) == 100


def test_one_request_from_many_threads_does_not_trip_over_itself() -> None:
    provider = FakeProvider(error_rate=0.5)

    def call(_: int) -> bool:
        try:
            return bool(provider.complete(ask(), 1).completion.text)
        except Unavailable:
            return True

    assert all(at_once(16, lambda n: all(call(i) for i in range(50))))


def test_limit_headers_come_along() -> None:
    provider = FakeProvider(headers={"x-ratelimit-limit-requests": "60"})
    assert provider.complete(ask(), 1).headers == {"x-ratelimit-limit-requests": "60"}


def test_made_up_words_are_cut_at_max_tokens_and_say_so() -> None:
    completion = FakeProvider().complete(ask(max_tokens=1, response_format=SCHEMA), 1).completion
    assert (completion.text, completion.finish_reason) == ('{"sc', "length")
