# ruff: noqa: E501  (what vendors send stays on one line)
"""A deployment that takes less than it is sent is asked otherwise, by both ways alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from llm_batch.chain.options import Model
from llm_batch.errors import ProviderError, RateLimited, Rejected, Transient, Unavailable
from llm_batch.records import Completion, Message, Request
from llm_batch.sending.providers import Reply, make_provider
from llm_batch.sending.providers.dialect import STRUCTURED, Dialect, Form
from llm_batch.sending.providers.refusals import error_from_reply
from llm_batch.sending.providers.replies import completion_from_reply
from tests.sending.providers.asking import SCHEMA, ask, at_once, faulty
from tests.server import Server

pytestmark = pytest.mark.litellm


class Way:
    """A provider by one transport, and what it said."""

    def __init__(self, model: str, transport: str, server: Server) -> None:
        settings = Model(api_base=f"{server.url}/v1", transport=transport, structured="json_schema")
        self.provider = make_provider(model, settings, 8)
        self.heard: list[str] = []
        self.provider.dialect.tell = self.heard.append  # type: ignore[attr-defined]
        self.server = server

    def ask(self, request: Request) -> Completion:
        return self.provider.complete(request, 30).completion

    def bodies(self) -> list[dict[str, Any]]:
        """What was sent since this was asked last."""
        sent = [each["body"] for each in self.server.log()]
        self.server.reset()
        return sent


@pytest.fixture(params=["direct", "litellm"])
def way(request: pytest.FixtureRequest, server: Server) -> Iterator[Callable[..., Way]]:
    made: list[Way] = []

    def build(model: str = "openai/m1") -> Way:
        made.append(Way(model, request.param, server))
        return made[-1]

    yield build
    for each in made:
        each.provider.close()


#: What every body has.
FIXED = {"model", "messages", "stream"}
TALK = (Message("system", "Be brief."), Message("user", "Reply as JSON."))


def talk(item: str = "q1", **params: Any) -> Request:
    return Request(item, "step", "any/model", TALK, params)


@pytest.mark.parametrize(
    ("refused", "params", "then"),
    [
        ("max_tokens", {"max_tokens": 40}, {"max_completion_tokens": 40}),
        ("temperature", {"temperature": 0.0}, {}),
        ("seed", {"seed": 7}, {}),
        ("stop", {"stop": ["\n"]}, {}),
        ("top_p", {"top_p": 0.5}, {}),
        ("presence_penalty", {"presence_penalty": 0.5}, {}),
    ],
)
def test_a_parameter_that_is_not_taken_is_renamed_or_left_out_and_that_is_remembered_and_said_once(
    refused: str,
    params: dict[str, Any],
    then: dict[str, Any],
    way: Callable[..., Way],
    server: Server,
) -> None:
    server.control(refuses=[refused])
    one = way()
    assert one.ask(talk(**params)).text
    assert one.ask(talk("q2", **params)).text
    shapes = [
        {name: value for name, value in body.items() if name not in FIXED} for body in one.bodies()
    ]
    assert shapes == [params, then, then]
    [sentence] = one.heard
    assert sentence.startswith(f"does not take {refused}; it is ")


def test_a_cap_that_was_renamed_is_called_by_its_old_name_where_the_new_one_is_not_taken(
    way: Callable[..., Way], server: Server
) -> None:
    server.control(refuses=["max_completion_tokens"])
    one = way("openai/gpt-6-open")  # a name that says it reasons
    assert one.ask(ask(max_tokens=40)).text
    assert [[name for name in body if "max" in name] for body in one.bodies()] == [
        ["max_completion_tokens"],
        ["max_tokens"],
    ]


@pytest.mark.parametrize(
    ("limit", "wanted", "words", "sent", "says"),
    [
        ("output:2000", 8192, 5, [8192, 2000, 2000], "so large a max_tokens; 2000 is sent from"),
        ("context:4096", 8192, 96, [8192, 4000, 4000], "so large a max_tokens; 4000 is sent from"),
        # What one prompt leaves is no matter of the others.
        ("context:4096", 2000, 3096, [2000, 1000, 2000, 1000], "such a prompt gets what it leaves"),
        ("context:4096", 2000, 3996, [2000, 2000], ""),
        ("output:32", 2000, 5, [2000, 2000], ""),
    ],
)
def test_a_cap_that_is_too_large_is_lowered_to_what_a_refusal_leaves_where_that_is_of_use(
    limit: str,
    wanted: int,
    words: int,
    sent: list[int],
    says: str,
    way: Callable[..., Way],
    server: Server,
) -> None:
    server.control(refuses=[limit])
    one = way()
    for item in ("q1", "q2"):
        if says:
            assert one.ask(ask("a " * words, item, max_tokens=wanted)).text
        else:
            with pytest.raises(Rejected, match="max_tokens"):
                one.ask(ask("a " * words, item, max_tokens=wanted))
    assert [body["max_tokens"] for body in one.bodies()] == sent
    assert [says in sentence for sentence in one.heard] == [True] * bool(says)


def test_a_cap_on_the_output_is_never_left_out(way: Callable[..., Way], server: Server) -> None:
    server.control(refuses=["max_tokens", "max_completion_tokens"])
    one = way()
    with pytest.raises(Rejected, match="max_tokens is not supported"):
        one.ask(ask(max_tokens=40))
    assert all(any("max" in name for name in body) for body in one.bodies())
    assert one.heard == []


def test_what_is_refused_for_its_value_is_not_left_out(way: Callable[..., Way]) -> None:
    one = way()
    with pytest.raises(ProviderError, match="temperature"):
        one.ask(ask(temperature=3.0))
    assert len(one.bodies()) == 1


def test_instructions_go_into_the_users_message_where_there_is_no_system_role(
    way: Callable[..., Way], server: Server
) -> None:
    server.control(refuses=["system"])
    one = way()
    for item in ("q1", "q2"):
        assert one.ask(talk(item)).text
    merged = [{"role": "user", "content": "Be brief.\n\nReply as JSON."}]
    assert [body["messages"] for body in one.bodies()][1:] == [merged, merged]
    assert len(one.heard) == 1 and "the system role" in one.heard[0]


FORMATS = {
    # By what is refused: the formats that are asked for, in order.
    "json_schema": ["json_schema", "json_schema", "json_object"],
    "response_format": ["json_schema", "json_schema", "json_object", None],
    "grammar": ["json_schema", "json_schema", "json_object", None],
    "minimum": ["json_schema", "json_schema"],
}


@pytest.mark.parametrize("refused", FORMATS)
def test_a_format_is_asked_for_more_laxly_whatever_the_words_and_what_works_is_remembered(
    refused: str, way: Callable[..., Way], server: Server
) -> None:
    server.control(refuses=[refused])
    one = way()
    request = ask("Reply as JSON.", response_format=SCHEMA)
    assert one.ask(request).text
    assert one.ask(ask("Reply as JSON.", "q2", response_format=SCHEMA)).text
    formats = [(body.get("response_format") or {}).get("type") for body in one.bodies()]
    assert formats == [*FORMATS[refused], FORMATS[refused][-1]]
    [sentence] = one.heard
    assert sentence.startswith("does not take objects asked for as they were; they are asked for ")


def test_both_ways_send_the_same_plain_schema(server: Server) -> None:
    server.control(refuses=["minimum"])
    sent = []
    for transport in ("direct", "litellm"):
        one = Way("openai/m1", transport, server)
        one.ask(ask("Reply as JSON.", response_format=SCHEMA, max_tokens=40))
        sent.append(one.bodies())
        one.provider.close()
    assert sent[0] == sent[1]
    asked = sent[0][1]["response_format"]["json_schema"]
    assert asked == {
        "name": "judge",
        "schema": {
            "type": "object",
            "properties": {"score": {"type": "integer"}, "reason": {"type": "string"}},
            "required": ["score", "reason"],
        },
    }


@pytest.mark.parametrize(("fault", "error"), [("400", Rejected), ("500", Unavailable)])
def test_what_no_format_cures_ends_as_it_was_refused_first_and_changes_nothing(
    fault: str, error: type[ProviderError], way: Callable[..., Way]
) -> None:
    one = way()
    request = faulty(fault, response_format=SCHEMA)
    for tries in (len(STRUCTURED), 1):
        with pytest.raises(error):
            one.ask(request)
        assert len(one.bodies()) == tries  # another attempt at the same call is one request
    assert one.ask(ask("Reply as JSON.", response_format=SCHEMA)).text
    assert [body["response_format"]["type"] for body in one.bodies()] == ["json_schema"]
    assert one.heard == []


@pytest.mark.parametrize("fault", ["context_length", "content_policy", "401", "429", "key_400"])
def test_what_is_certain_to_be_something_else_is_sent_once(
    fault: str, way: Callable[..., Way]
) -> None:
    one = way()
    with pytest.raises(ProviderError):
        one.ask(faulty(fault, response_format=SCHEMA))
    assert len(one.bodies()) == 1


def test_a_bad_draw_is_no_matter_of_the_format(way: Callable[..., Way]) -> None:
    one = way()
    with pytest.raises(Unavailable) as caught:
        one.ask(faulty("bad_draw", response_format=SCHEMA))
    assert (caught.value.kind, len(one.bodies())) == ("unparsed", 1)


@pytest.mark.parametrize("model", ["openai/gpt-5-mini", "gpt-5-mini"])
def test_a_reasoning_model_gets_what_the_built_in_chain_asks_for(
    model: str, way: Callable[..., Way]
) -> None:
    one = way(model)
    for item in ("q1", "q2"):
        assert one.ask(talk(item, max_tokens=300, temperature=0.0)).text
    [*_, last] = one.bodies()
    assert last.keys() - FIXED == {"max_completion_tokens"}
    [sentence] = one.heard
    assert sentence.startswith("does not take temperature; it is left out from now on")


def test_of_several_things_each_is_said_with_its_own_refusal(
    way: Callable[..., Way], server: Server
) -> None:
    server.control(refuses=["max_tokens", "temperature", "system"])
    one = way()
    assert one.ask(talk(max_tokens=40, temperature=0.0)).text
    assert len(one.bodies()) == 4
    words = {"max_tokens": "use max_completion_tokens", "temperature": "'temperature' is not"}
    words["the system role"] = "System role not supported"
    for what, said in words.items():
        assert [s for s in one.heard if s.startswith(f"does not take {what};") and said in s]
    assert len(one.heard) == 3


def test_threads_that_are_refused_together_say_it_once(
    way: Callable[..., Way], server: Server
) -> None:
    server.control(refuses=["temperature"])
    one = way()
    at_once(8, lambda n: one.ask(ask(item=str(n), temperature=0.5)))
    assert len(one.heard) == 1


# What the refusals of real deployments lead to


def tried(said: Any, request: Request, status: int = 400) -> Form:
    """The form that is tried after a refusal; the first one when none is."""
    dialect, forms = Dialect("json_schema"), []

    def send(form: Form) -> Reply:
        forms.append(form)
        if len(forms) == 1:
            raise error_from_reply(status, said, {})
        return Reply(Completion("well", "m", "stop", None))

    with suppress(ProviderError):
        dialect.ask(request, send)
    return forms[-1]


REQUEST = talk(
    max_tokens=40, temperature=0.0, seed=1, stop=["x"], top_p=0.5, reasoning_effort="low"
)


@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        (b'{"error":{"message":"Unsupported value: \'temperature\' does not support 0.0 with this model. Only the default (1) value is supported.","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}', "temperature"),
        (b'{"error":{"message":"invalid temperature: only 1 is allowed for this model","type":"invalid_request_error"}}', "temperature"),
        (b'{"type":"error","error":{"type":"invalid_request_error","message":"`temperature` and `top_p` cannot both be specified for this model. Please use only one."}}', "top_p"),
        (b'{"type":"error","error":{"type":"invalid_request_error","message":"`temperature` may only be set to 1 when thinking is enabled."}}', "temperature"),
        (b'{"error":{"message":"Unrecognized request argument supplied: seed","type":"invalid_request_error","param":null,"code":null}}', "seed"),
        (b'{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":1}]}', "seed"),
        (b'{"error":{"message":"Unsupported parameter: \'stop\' is not supported with this model.","param":"stop","code":"unsupported_parameter"}}', "stop"),
        (b'{"error":"Argument not supported on this model: stop"}', "stop"),
        (b'{"error":"Model grok-4 does not support parameter reasoningEffort."}', "reasoning_effort"),
        (b'{"detail":[{"type":"extra_forbidden","loc":["body","stop"],"msg":"Extra inputs are not permitted","input":["x"]}]}', "stop"),
        (b'{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":5}]},"type":"invalid_request_error"}', "seed"),
        (b'{"message":"stop is not a valid field"}', "stop"),
        (b'{"message":"This model doesn\'t support the stopSequences field. Remove stopSequences and try again."}', "stop"),
        (b'{"error":{"message":"top_p is immutable with this model, must be 1"}}', "top_p"),
        (b'{"error":{"message":"this model has beta-limitations, temperature, top_p and n are fixed at 1"}}', "temperature"),
        (b'{"error":{"message":"Do not stop. The model is not supported."}}', ""),
        (b'{"error":{"message":"Model grok-4 does not support parameter stop"}}', "stop"),
        (b'{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \\"seed\\" at \'generation_config\': Cannot find field.","status":"INVALID_ARGUMENT"}}', "seed"),
        (b'{"error":{"message":"`reasoning_effort` is not supported with this model"}}', "reasoning_effort"),
        (b'{"error":{"message":"temperature must be 1.0 for models that think"}}', "temperature"),
        (b'{"error":{"message":"The value of temperature must be in (0, 1]"}}', "temperature"),
        (b'{"error":{"message":"The parameter seed is invalid for this model"}}', "seed"),
        (b'{"error":{"message":"Invalid parameter: seed"}}', "seed"),
        ('{"error":{"message":"不支持参数 seed"}}'.encode(), "seed"),
        (b'{"error":{"message":"Invalid parameter: temperature must be between 0 and 2"}}', ""),
        (b'{"error":{"message":"temperature must be 1 or less"}}', ""),
        (b'{"error":{"message":"temperature must be between 0 and 2"}}', ""),
        (b'{"error":{"message":"max_tokens must not be greater than 32"}}', ""),
        (b'{"error":{"message":"Please stop sending requests the user cannot pay for"}}', ""),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:50].decode(),
)  # fmt: skip
def test_a_parameter_is_left_out_where_words_say_it_is_not_taken(
    said: bytes, left_out: str
) -> None:
    assert tried(said, REQUEST).left_out == ({left_out} if left_out else set())


@pytest.mark.parametrize(
    ("said", "role"),
    [
        ("System role not supported", "user"),
        ("Conversation roles must alternate user/assistant/user/assistant/...", "user"),
        ("Only user and assistant roles are supported!", "user"),
        ("This model doesn't support system messages. Try again without a system message.", "user"),
        ("<400> InternalError.Algo.InvalidParameter: Role must be in [user, assistant]", "user"),
        ("Role must be in [system, user, assistant]", "system"),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", "user"),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "user"),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model. Supported values are: 'user', 'assistant', and 'developer'.", "developer"),
        ("messages.0.role: system is not allowed", "user"),
        ("Model busy", "system"),
    ],
)  # fmt: skip
def test_instructions_take_another_role_where_words_say_there_is_no_such_one(
    said: str, role: str
) -> None:
    assert tried(said, talk()).system == role


def refusals(*said: tuple[int, str] | None) -> Callable[[Form], Reply]:
    """A server that refuses in these words, one after the other, and answers for ``None``."""
    left = list(said)

    def send(form: Form) -> Reply:
        if (next_one := left.pop(0)) is not None:
            raise error_from_reply(next_one[0], next_one[1].encode(), {})
        return Reply(Completion("well", "m", "stop", None))

    return send


NO_CAP = (400, "max_tokens is not supported with this model, use max_completion_tokens")
NO_SEED = (400, "seed is not supported")


@pytest.mark.parametrize(
    "meanwhile", [(429, "slow down"), (503, "overloaded"), (520, ""), (408, "")], ids=str
)
def test_a_way_down_that_is_broken_off_goes_on_where_it_was(meanwhile: tuple[int, str]) -> None:
    dialect, heard, forms = Dialect("json_schema"), list[str](), list[Form]()
    dialect.tell = heard.append
    answer = refusals(NO_CAP, meanwhile, meanwhile, NO_SEED, meanwhile, None)

    def send(form: Form) -> Reply:
        forms.append(form)
        return answer(form)

    for _ in range(3):
        with pytest.raises(Transient):
            dialect.ask(REQUEST, send)
    dialect.ask(REQUEST, send)
    assert [len(form.renamed) + len(form.left_out) for form in forms] == [0, 1, 1, 1, 2, 2]
    assert len(heard) == 2 and dialect.form == forms[-1]


def test_a_refusal_that_may_have_been_billed_is_an_attempt_of_its_own() -> None:
    body = b'{"error": {"message": "seed is not supported", "code": 400}}'
    dialect, forms = Dialect("json_schema"), list[Form]()

    def send(form: Form) -> Reply:
        forms.append(form)
        if len(forms) == 1:
            return Reply(completion_from_reply(body))  # raises, for it is an error
        return Reply(Completion("well", "m", "stop", None))

    with pytest.raises(Unavailable, match="seed is not supported") as caught:
        dialect.ask(REQUEST, send)
    assert caught.value.maybe_billed and caught.value.partial is not None
    assert dialect.ask(REQUEST, send) and forms[-1].left_out == {"seed"}


@pytest.mark.parametrize(("status", "level"), [(400, 1), (501, 1), (503, 0)])
def test_a_server_that_does_not_have_a_format_is_asked_for_another(status: int, level: int) -> None:
    assert tried(b'{"error":"no"}', ask(response_format=SCHEMA), status).level == level


def test_where_no_format_helps_items_are_soon_refused_at_once() -> None:
    dialect, sent = Dialect("json_schema"), []

    def send(form: Form) -> Reply:
        sent.append(form)
        raise error_from_reply(400, b"The request is not valid.", {})

    for item in range(20):
        with pytest.raises(Rejected, match="not valid"):
            dialect.ask(ask(item=str(item), response_format=SCHEMA), send)
    assert len(sent) == 3 * len(STRUCTURED) + 17


def test_an_error_on_the_way_down_that_must_be_heard_is_not_hidden() -> None:
    dialect, sent = Dialect("json_schema"), []

    def send(form: Form) -> Reply:
        sent.append(form)
        status = 400 if len(sent) == 1 else 429
        raise error_from_reply(status, b'{"error": "no"}', {})

    with pytest.raises(RateLimited):
        dialect.ask(ask(response_format=SCHEMA), send)
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        # Hugging Face's TGI, Cerebras, Groq, Perplexity, Bedrock, xAI, Ollama.
        (
            {"error": "Input validation error: `temperature` must be strictly positive"},
            "temperature",
        ),
        (
            {
                "message": "body.seed: property 'body.seed' is unsupported",
                "param": "validation_error",
                "code": "wrong_api_format",
            },
            "seed",
        ),
        ({"error": {"message": "'temperature' : value must be >= 0.01"}}, "temperature"),
        ({"error": {"message": "seed is not a supported parameter"}}, "seed"),
        ({"message": "Malformed input request: extraneous key [seed] is not permitted"}, "seed"),
        ({"error": "Model grok-4 does not support parameter presencePenalty."}, "presence_penalty"),
        ({"error": 'json: unknown field "seed"'}, "seed"),
        ({"error": {"message": "temperature must be between 0 and 2"}}, ""),
        ({"error": {"message": "Unsupported value", "param": "messages[0].role"}}, ""),
    ],
    ids=str,
)
def test_what_is_not_taken_is_read_from_the_words_of_many(said: Any, left_out: str) -> None:
    dialect = Dialect("json_schema")
    params = {"temperature": 0.0, "seed": 7, "presence_penalty": 1}

    def send(form: Form) -> frozenset[str]:
        if not form.left_out:
            raise error_from_reply(400, msgspec.json.encode(said), {})
        return form.left_out

    if left_out:
        assert dialect.ask(talk(**params), send) == {left_out}
    else:
        with pytest.raises(ProviderError):
            dialect.ask(talk(**params), send)


def test_a_system_role_that_is_refused_by_its_place_goes_into_the_users_message() -> None:
    """Qianfan's words."""

    def send(form: Form) -> str:
        if form.system != "user":
            words = "the role of message with odd index in the messages must be user or function"
            said = {"error_code": 336006, "error_msg": words}
            raise error_from_reply(400, msgspec.json.encode(said), {})
        return form.system

    assert Dialect("json_schema").ask(talk(), send) == "user"
