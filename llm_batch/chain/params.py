"""What the params of a step may hold, and what is said elsewhere."""

from __future__ import annotations

import re
from typing import Any

from llm_batch.chain.credentials import header_is_secret, hides_key, parameter_is_secret
from llm_batch.chain.outputs import Wrong

# What is said elsewhere, or would break what is promised: a stream or several answers cannot be
# read, and a budget counts on the step's own max_tokens. It may not come by extra_body either.
_NOT_PARAMS = {
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens"), "set max_tokens of the step"
    ),
    "temperature": "set temperature of the step",
    "response_format": "describe the object under [steps.output]",
    "model": "set model of the step",
    "messages": "set messages of the step, or system and prompt",
    "stream": "answers are read whole",
    "stream_options": "answers are read whole",
    "n": "one answer is asked for at a time",
    **dict.fromkeys(
        ("api_base", "base_url", "custom_endpoint", "deployment_url"),
        "set api_base under [models]",
    ),
    **dict.fromkeys(
        ("custom_llm_provider", "deployment_id", "model_list", "model_alias_map"),
        'name the provider before the model: model = "anthropic/…"',
    ),
    "organization": 'write extra_headers = { "OpenAI-Organization" = "…" }',
    "api_version": "set the provider's variable, such as AZURE_API_VERSION",
}


# Where requests go, who answers and with which account, in the words of litellm and of gateways
# that run it: refused in extra_body too.
_REDIRECTS = re.compile(
    r"(?:mock|litellm|aws|azure|vertex|oci|watsonx|wx|gigachat|predibase|sagemaker)_\w+"
    r"|\w*fallback\w*|\w*prox(?:y|ies)\w*|\w*base_url|\w*_endpoint(?:_url)?|\w*endpoint_url"
    r"|client|tenant_id|client_id|user_config|ssl_verify|region_name"
)


# What else litellm takes for itself instead of sending it. A test holds both against litellm.
_LITELLMS_FAMILIES = re.compile(
    r"_\w+|\w*(?:cost_per_|token_cost|router_|interception|callback|drop_params)\w*"
    r"|(?:anthropic|langfuse|langsmith|s3|gcs|arize|dd|newrelic|posthog|signoz|wandb|weave"
    r"|humanloop|google_maps|default_api_key|regional|bedrock|openai_identity|openai_service)_\w+"
    r"|prompt_(?:id|label|variables|version|environment)"
)


_OF_LITELLM = """
    acompletion aembedding aimg_generation allm_passthrough_route
    allow_client_keepalive_override allowed_model_region allowed_openai_params
    assistant_continue_message async_call atext_completion attempted_targets azure base_model
    bos_token budget_duration cache cache_key caching caching_groups client_side_timeout
    complete_response completion_call_id configurable_clientside_auth_params cooldown_time
    custom_prompt_dict data_residency default_headers disable_add_transform_inline_image_block
    enable_json_schema_validation enable_prompt_caching enable_tag_filtering
    ensure_alternating_roles eos_token extra_query fastest_response final_prompt_value
    fireworks_forward_user_id force_timeout guardrails headers hf_model_name id
    initial_prompt_value itpm keepalive_seconds kwargs log_client_error_tracebacks logger_fn
    max_agentic_loops max_budget max_file_size_mb max_parallel_requests max_retries
    merge_reasoning_content_in_choices metadata model_config model_file_id_mapping model_info
    no-log num_retries ocr_cost_per_credit order otpm output_vector_size preset_cache_key
    project_id provider_affinity_header provider_specific_header request_timeout retry_policy
    retry_strategy roles routing_strategy rpm rust search_tool_name secret_fields self
    session_id shared_session silent_model space_id stream_chunk_size stream_response
    stream_timeout stream_timeout_by_service_tier supports_system_message tag_regex tags
    text_completion tiered_pricing timeout timeout_by_service_tier tpm ttl
    turn_off_message_logging use_chat_completions_api use_client use_in_pass_through
    use_xai_oauth user_continue_message verbose weight
"""


_LITELLMS_WORDS = frozenset(_OF_LITELLM.split())


_WHO_ANSWERS = "leave it out: model, api_base and api_key_env say who answers"


_OWN_PLACES = {
    "metadata": "write extra_body = { metadata = { … } }",
    "headers": "write extra_headers",
    "default_headers": "write extra_headers",
    "extra_query": "put it behind the ? of api_base under [models]",
    **dict.fromkeys(("timeout", "request_timeout"), "set timeout under [limits]"),
    **dict.fromkeys(("max_retries", "num_retries"), "set max_attempts under [limits]"),
    **dict.fromkeys(("rpm", "tpm"), "set it under [limits] or [models]"),
}


# What the connection or the key's own setting says.
_NOT_HEADERS = {
    "authorization": "api_key_env under [models] names the variable that is sent there",
    **dict.fromkeys(
        ("host", "content-length", "content-type", "content-encoding", "transfer-encoding",
         "connection", "accept", "accept-encoding", "expect", "te", "trailer", "upgrade"),
        "leave it out: it is said by how requests are sent",
    ),
}  # fmt: skip


_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


#: A header with this at its beginning is read from the variable named behind it.
FROM_ENVIRONMENT = "env:"


_KEYS_ELSEWHERE = "keys are read from the environment; api_key_env under [models] names one"


def check_params(params: dict[str, Any]) -> None:
    """Only what reaches the model goes through; what steers a library or hides a key does not."""
    for name in params:
        if hint := _NOT_PARAMS.get(name) or _OWN_PLACES.get(name):
            raise Wrong(("params", name), "does not go here", hint)
        if _REDIRECTS.fullmatch(name):
            raise Wrong(("params", name), "does not go here", _WHO_ANSWERS)
        if name in _LITELLMS_WORDS or _LITELLMS_FAMILIES.fullmatch(name):
            raise Wrong(
                ("params", name),
                "steers the library that sends, not the model",
                "leave it out; a field of the provider's own that has this name goes into "
                "extra_body",
            )
    body, headers = params.get("extra_body", {}), params.get("extra_headers", {})
    for name, value in (("extra_body", body), ("extra_headers", headers)):
        if not isinstance(value, dict):
            raise Wrong(("params", name), "must be a table")
    for name in body:
        if name in _NOT_PARAMS or _REDIRECTS.fullmatch(name):
            hint = _NOT_PARAMS.get(name, _WHO_ANSWERS)
            raise Wrong(("params", "extra_body", name), "does not go here", hint)
    for name, value in headers.items():
        _check_header(name, value)
    _refuse_keys({**params, "extra_headers": {}})


def _check_header(name: str, value: Any) -> None:
    place = ("params", "extra_headers", name)
    if not _HEADER_NAME.fullmatch(name):
        raise Wrong(place, "is no name of a header")
    if hint := _NOT_HEADERS.get(name.lower()):
        raise Wrong(place, "does not go here", hint)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise Wrong(place, "must be text of one line, of letters that a header can have")
    if value.startswith(FROM_ENVIRONMENT):
        variable = value.removeprefix(FROM_ENVIRONMENT)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            raise Wrong(
                place, "names no variable", f'write {{ "{name}" = "{FROM_ENVIRONMENT}MY_KEY" }}'
            )
    elif header_is_secret(name, value):
        raise Wrong(
            place,
            "looks like a key, and must not be in a file",
            f'write "{FROM_ENVIRONMENT}MY_KEY", with the name of the variable that holds it',
        )


def _refuse_keys(value: Any, path: tuple[str | int, ...] = ("params",)) -> None:
    """Wherever it hides: under a name that says so, or in the shape of one."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # A tool may have a parameter of that name, which its schema describes.
            described = isinstance(inner, dict) and "type" in inner
            if parameter_is_secret(name) and inner not in ("", None) and not described:
                raise Wrong((*path, name), "must not be in a file", _KEYS_ELSEWHERE)
            _refuse_keys(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            _refuse_keys(inner, path)
    elif isinstance(value, str) and hides_key(value):
        raise Wrong(path, "looks like a key, and must not be in a file", _KEYS_ELSEWHERE)
