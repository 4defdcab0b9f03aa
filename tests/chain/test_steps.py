"""What may stand in the parameters of a step, and what steers or leaks and may not."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from pydantic import ValidationError

from llm_batch.chain.steps import Step

# Put together here, so that nobody takes them for keys that leaked.
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"


def step(params: dict[str, Any], model: str = "openai/m") -> Step:
    return Step(name="judge", model=model, prompt="x", params=params)


def refused(params: dict[str, Any]) -> str:
    """The place, the sentence and the hint of a refusal."""
    with pytest.raises(ValidationError) as caught:
        step(params)
    wrong = caught.value.errors()[0]["ctx"]["error"]
    return f"{'.'.join(map(str, wrong.path))} {wrong}: {wrong.hint}"


@pytest.mark.parametrize(
    "params",
    [
        {"top_p": 0.5, "seed": 7, "stop": ["END"], "logit_bias": {"50256": -100}},
        {"reasoning_effort": "low", "service_tier": "flex", "store": True, "user": "team"},
        {"top_k": 3, "guided_choice": ["yes"], "stop_token_ids": [1], "min_tokens": 2},
        {"prompt_cache_key": "judge-1", "logprobs": True, "top_logprobs": 2},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"extra_body": {"metadata": {"run": "1"}, "provider": {"order": ["azure"]}, "cache": {}}},
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
        {"extra_headers": {"HTTP-Referer": "https://github.com/me/project-2024", "X-Title": "Me"}},
        {"extra_headers": {"anthropic-beta": "prompt-caching-2024-07-31,code-2025-08-25"}},
        {"extra_headers": {"OpenAI-Organization": "org-Abc123Def456Ghi789Jkl0"}},
        {"extra_headers": {"X-Gateway-Key": "env:GATEWAY_KEY", "Cookie": "env:MY_COOKIE"}},
        # A tool may take a key of its own: this is its schema, and no key.
        {"tools": [{"function": {"parameters": {"properties": {"api_key": {"type": "string"}}}}}]},
    ],
    ids=str,
)
def test_what_reaches_the_model_may_stand_there(params: dict[str, Any]) -> None:
    assert step(params).params == params


#: Where requests go and who answers: refused as a parameter and as a field of the body.
REDIRECTS = (
    "api_base", "base_url", "custom_llm_provider", "mock_response", "mock_timeout",
    "mock_tool_calls", "mock_delay", "model_list", "fallbacks", "context_window_fallback_dict",
    "deployment_id", "organization", "api_version", "client", "proxy", "proxies", "http_proxy",
    "use_litellm_proxy", "aws_access_key_id", "aws_bedrock_runtime_endpoint", "aws_region_name",
    "aws_sts_endpoint", "vertex_credentials", "vertex_location", "vertex_project",
    "azure_ad_token", "tenant_id", "sagemaker_base_url", "langsmith_base_url", "custom_endpoint",
    "litellm_credential_name", "ssl_verify", "user_config", "api_key", "client_secret", "oci_key",
    "model", "messages", "max_tokens", "n", "stream", "temperature", "response_format",
)  # fmt: skip


@pytest.mark.parametrize("name", REDIRECTS)
def test_a_redirection_is_refused_with_what_to_use_instead(name: str) -> None:
    assert refused({name: "x"}).startswith(f"params.{name} ")
    assert refused({name: "x"}).partition(": ")[2]
    assert refused({"extra_body": {name: "x"}}).startswith(f"params.extra_body.{name} ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("metadata", "extra_body = { metadata"),
        ("headers", "extra_headers"),
        ("default_headers", "extra_headers"),
        ("extra_query", "api_base"),
        ("drop_params", "extra_body"),
        ("cache", "extra_body"),
        ("request_timeout", "[limits]"),
        ("input_cost_per_token", "extra_body"),
        ("api_base", "api_base under [models]"),
        ("base_url", "api_base under [models]"),
    ],
)
def test_what_steers_the_library_is_refused_with_what_to_use_instead(name: str, hint: str) -> None:
    assert hint in refused({name: "x"})


@pytest.mark.litellm
def test_everything_that_litellm_takes_for_itself_is_refused() -> None:
    import litellm
    from litellm.types.utils import all_litellm_params

    read = re.compile(r'kwargs\.(?:get|pop)\(\s*"([\w-]+)"')
    own = {*all_litellm_params, *read.findall(inspect.getsource(litellm.completion))}
    own.discard("include_server_side_tool_invocations")  # is sent
    assert len(own) > 300
    for name in own:
        assert refused({name: "x"}).startswith(f"params.{name}"), name


@pytest.mark.parametrize(
    "params",
    [
        {"extra_headers": {"Authorization": "abc"}},
        {"extra_headers": {"x-api-key": "abc"}},
        {"extra_headers": {"Cookie": "a=b"}},
        {"extra_headers": {"Ocp-Apim-Subscription-Key": "short"}},
        {"extra_headers": {"CF-Access-Client-Secret": "short"}},
        {"extra_headers": {"X-Team": JWT}},
        {"extra_headers": {"X-Team": f"Bearer {'abcd1234' * 3}"}},
        {"extra_headers": {"X-Team": "0123456789abcdef0123456789abcdef"}},
        {"extra_body": {"auth_token": "abc"}},
        {"extra_body": {"nested": [{"deep": AWS}]}},
        {"stop": [GITHUB]},
        {"extra_body": {"url": "https://me:word@host/v1"}},
        {"extra_body": {"url": "https://host/f?code=abc"}},
        {"extra_body": {"url": "https://host/f?sv=2024&sig=abc%3D"}},
        {"extra_body": {"pem": "-----BEGIN PRIVATE KEY-----\nMIIE"}},
        {"password": "x"},
        {"extra_body": {"api_key": {"value": "x"}}},
    ],
    ids=str,
)
def test_a_key_is_refused_by_its_name_or_its_shape_and_is_not_shown(params: dict[str, Any]) -> None:
    said = refused(params)
    assert "environment" in said or "env:" in said or "api_key_env" in said
    for secret in (JWT, AWS, GITHUB, "0123456789abcdef", "a=b", "short", "me:word"):
        assert secret not in said


@pytest.mark.parametrize(
    "headers",
    [
        {"X A": "b"}, {"X:A": "b"}, {"": "b"}, {"X-A": "b\r\nX-B: c"}, {"X-A": 3}, {"X-A": "ü"},
        {"Host": "evil.example"}, {"Content-Length": "0"}, {"Transfer-Encoding": "chunked"},
        {"X-A": "env:"}, {"X-A": "env:a b"},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_none_is_or_that_breaks_the_request_is_refused(
    headers: dict[str, Any],
) -> None:
    assert refused({"extra_headers": headers}).startswith("params.extra_headers")


@pytest.mark.parametrize("name", ["extra_body", "extra_headers"])
def test_extras_are_tables(name: str) -> None:
    assert "must be a table" in refused({name: "x"})


def test_a_model_is_no_url() -> None:
    with pytest.raises(ValidationError, match="not a URL"):
        step({}, model="huggingface/https://evil.example/v1")
