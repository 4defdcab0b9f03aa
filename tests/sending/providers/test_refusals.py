# ruff: noqa: E501  (what vendors send stays on one line)
"""What vendors, gateways and servers of one's own really say, and what it comes to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_batch.errors import RateLimited, Rejected, Unavailable
from llm_batch.records import Message, Request
from llm_batch.sending.providers.decoding import words_of
from llm_batch.sending.providers.refusals import error_from_reply, is_about_format
from tests.effort import effort

AKAMAI = '<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD><BODY>\n<H1>Access Denied</H1>\n \nYou don\'t have permission to access "http&#58;&#47;&#47;api&#46;example&#46;com&#47;v1" on this server.<P>\nReference&#32;&#35;18&#46;9f2c1160&#46;1700000000&#46;1a2b3c\n</BODY></HTML>'
CLOUDFRONT = "<HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD><BODY><H1>403 ERROR</H1><HR>Request blocked. We can't connect to the server for this app or website at this time.</BODY></HTML>"
CLOUDFLARE = '<!DOCTYPE html><html class="no-js"><head><title>Attention Required! | Cloudflare</title></head><body><h1 data-translate="block_headline">Sorry, you have been blocked</h1></body></html>'
INCAPSULA = "<html><body><iframe>Request unsuccessful. Incapsula incident ID: 123-456</iframe></body></html>"
F5 = "<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. Please consult with your administrator. Your support ID is: 1234</body></html>"

#: Status, body, and the kind of the error.
SAID: list[tuple[int, Any, str]] = [
    # Content
    (451, {"error": {"message": "Unavailable For Legal Reasons"}}, "filtered"),
    (451, {"error": {"message": "the content you provided or machine outputted is blocked.", "type": "censorship_blocked"}}, "filtered"),
    (424, {"success": False, "error": [{"code": 2017, "message": "Response blocked due to security configurations"}]}, "filtered"),
    (400, {"error": {"message": "The request was rejected because it was considered high risk", "type": "invalid_request_error"}}, "filtered"),
    (400, {"error": {"code": "336104", "message": "the content of the input is illegal"}}, "filtered"),
    (400, {"message": "blocked input: please adjust your prompt"}, "filtered"),
    (400, {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.", "type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True, "severity": "high"}}}}}, "filtered"),
    (400, {"error": {"code": "BadRequest", "message": "See inner error.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "filtered"),
    (400, {"error": {"message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.", "type": "invalid_request_error", "param": None, "code": "invalid_prompt"}}, "filtered"),
    (400, {"error": {"message": "Your request was rejected as a result of our safety system.", "type": "invalid_request_error", "code": "content_policy_violation"}}, "filtered"),
    (403, {"code": "The caller does not have permission to execute the specified operation", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, "filtered"),
    (403, {"error": {"message": "anthropic/claude requires moderation on OpenRouter. Your input was flagged for \"violence\".", "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "…"}}}, "filtered"),
    (400, {"code": "data_inspection_failed", "param": None, "message": "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content.", "type": "data_inspection_failed"}, "filtered"),
    (400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。"}}, "filtered"),
    (400, {"contentFilter": [{"level": 1, "role": "user"}], "error": {"code": "1301", "message": "unsafe"}}, "filtered"),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}}, "filtered"),
    (400, {"error": {"message": "The request was rejected because it was considered high risk: sensitive words detected", "type": "content_filter"}}, "filtered"),
    (400, {"error": {"message": "The prompt was blocked: PROHIBITED_CONTENT", "code": 400, "status": "INVALID_ARGUMENT"}}, "filtered"),
    (400, {"message": "Guardrail was enabled and input is blocked by content policy"}, "filtered"),
    (500, {"error": {"message": "upstream failed", "code": "content_filter"}}, "filtered"),
    (403, "This content violates our usage guidelines", "filtered"),
    (403, AKAMAI, "filtered"),
    (403, CLOUDFRONT, "filtered"),
    (403, CLOUDFLARE, "filtered"),
    (403, INCAPSULA, "filtered"),
    (403, F5, "filtered"),
    (406, "<html><h1>Not Acceptable!</h1>This error was generated by Mod_Security.</html>", "filtered"),
    (400, {"error": {"message": "The image contains NSFW content"}}, "filtered"),
    (400, {"error": {"message": "Invalid prompt: we've limited access to this content for safety reasons.", "type": "invalid_request_error", "code": "invalid_prompt"}}, "filtered"),
    # TLS is wanted: nginx, Go, Apache, Tomcat
    (400, "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head><body><center><h1>400 Bad Request</h1></center></body></html>", "setting"),
    (400, "Client sent an HTTP request to an HTTPS server.\n", "setting"),
    (400, "<p>Your browser sent a request that this server could not understand.<br />\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n Instead use the HTTPS scheme to access this URL, please.</p>", "setting"),
    (400, "Bad Request\nThis combination of host and port requires TLS.\n", "setting"),
    # Keys and accounts
    (400, {"error": {"message": "Organization has been restricted. Please reach out to support.", "type": "invalid_request_error", "code": "organization_restricted"}}, "key"),
    (403, {"message": "The security token included in the request is invalid."}, "key"),
    (403, {"error": {"code": 403, "message": "Your API key was reported as leaked. Please use another API key.", "status": "PERMISSION_DENIED"}}, "key"),
    (401, {"error": {"message": "Incorrect API key provided: sk-****.", "type": "invalid_request_error", "code": "invalid_api_key"}}, "key"),
    (401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}, "key"),
    (400, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]}}, "key"),
    (400, [{"error": {"code": 400, "message": "API key expired. Please renew the API key.", "status": "INVALID_ARGUMENT"}}], "key"),
    (400, {"error": {"code": 400, "message": "Bad", "details": [{"reason": "API_KEY_INVALID"}]}}, "key"),
    (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."}, "key"),
    (422, {"message": "invalid api key"}, "key"),
    (500, {"error": {"message": "litellm.AuthenticationError: invalid x-api-key", "type": "None", "code": "500"}}, "key"),
    (404, {"detail": "Invalid API key"}, "key"),
    (400, {"error": "token expired"}, "key"),
    (401, {"error": {"message": "无效的令牌 (request id: 1)", "type": "new_api_error"}}, "key"),
    (200, {"base_resp": {"status_code": 2049, "status_msg": "invalid api key"}, "choices": None}, "key"),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "This organization has been disabled."}}, "key"),
    (403, {"error": {"message": "Your access was terminated due to violation of our policies, please check your email.", "code": "access_terminated"}}, "key"),
    (403, {"error": {"message": "Country, region, or territory not supported", "code": "unsupported_country_region_territory", "type": "request_forbidden"}}, "key"),
    (403, {"error": {"code": 403, "message": "Permission denied on resource project x.", "status": "PERMISSION_DENIED"}}, "key"),
    (403, "<html><head><title>403 Forbidden</title></head><body><center><h1>403 Forbidden</h1></center><hr><center>nginx</center></body></html>", "key"),
    (403, {"error": {"code": "403", "message": "Access denied due to Virtual Network/Firewall rules."}}, "key"),
    # Money
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}}, "quota"),
    (403, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}, "quota"),
    (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, "quota"),
    (429, {"error": {"code": 429, "message": "You exceeded your current quota.\n* Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: gemini-2.5-pro", "status": "RESOURCE_EXHAUSTED"}}, "quota"),
    (429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use the Trial key for free or upgrade to a Production key"}, "quota"),
    (429, {"error": {"message": "Rate limit of 150 per 86400s exceeded for UserByModelByDay.", "code": "RateLimitReached"}}, "quota"),
    (429, {"error": {"message": "Your account x request reached TPD rate limit, current: 1500000, limit: 1500000", "type": "rate_limit_reached_error"}}, "quota"),
    (429, {"errors": [{"message": "AiError: you have used up your daily free allocation of 10,000 neurons", "code": 4006}], "success": False}, "quota"),
    (400, {"error": {"message": "Cannot read the input: illegal character at byte 7"}}, "rejected"),
    (304, {}, "garbage"),
    (412, {"status": "failure", "message": "Portkey Error: Usage limit exceeded for the API key"}, "quota"),
    (429, {"error": {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}}, "quota"),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."}}, "quota"),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}, "quota"),
    (400, {"error": {"message": "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0", "type": "budget_exceeded", "code": "400"}}, "quota"),
    (403, {"error": {"message": "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", "code": 403}}, "quota"),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}, "quota"),
    (403, {"error": {"code": "AccountOverdueError", "message": "The request failed because your account has an overdue balance.", "type": "Forbidden"}}, "quota"),
    (400, {"error": {"message": "Authorization header is missing"}}, "key"),
    (400, {"error": {"message": "concurrency limit exceeded"}}, "rate_limited"),
    (400, {"error": "Model too busy, unable to get response in less than 60 second(s)"}, "rate_limited"),
    (412, {"error": {"message": "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices."}}, "quota"),
    (403, {"error": {"code": "AllocationQuota.FreeTierOnly", "message": "The free tier of the model has been exhausted."}}, "quota"),
    (429, {"code": "Some resource has been exhausted", "error": "Your team x has either used all available credits or reached its monthly spending limit. To continue, please purchase more credits."}, "quota"),
    (429, {"error": {"message": "Your account org-x is suspended, please check your plan and billing details", "type": "exceeded_current_quota_error"}}, "quota"),
    # Busy
    (429, {"message": "Too many tokens, please wait before trying again."}, "rate_limited"),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "This request would exceed your organization's rate limit of 50,000 input tokens per minute."}}, "rate_limited"),
    (200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None, "usage": {}}, "rate_limited"),
    (400, {"__type": "ThrottlingException", "message": "Too many requests, please wait before trying again."}, "rate_limited"),
    (503, {"error": {"message": "Too many requests in flight"}}, "rate_limited"),
    (403, {"error": {"code": 403, "message": "Rate limit exceeded", "errors": [{"reason": "rateLimitExceeded"}]}}, "rate_limited"),
    # What passes
    (400, {"error": {"message": "please retry later"}}, "unavailable"),
    (404, {"error": "Model mistral is currently loading", "estimated_time": 20.0}, "unavailable"),
    (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "unavailable"),
    (400, {"error": {"message": "The engine is currently overloaded, please try again later"}}, "unavailable"),
    (422, {"detail": "Cold start: the instance is warming up"}, "unavailable"),
    (403, {"message": "no healthy upstream"}, "unavailable"),
    (424, {"error": "Request failed during generation: Server error", "error_type": "generation"}, "unavailable"),
    (498, {"error": {"message": "Flex tier capacity exceeded", "code": "capacity_exceeded"}}, "unavailable"),
    (421, "", "unavailable"),
    (499, "", "unavailable"),
    (524, "<html><title>524: A timeout occurred</title></html>", "unavailable"),
    (530, "error code: 1033", "unavailable"),
    (400, {"error": {"message": "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.", "type": "invalid_request_error", "code": "json_validate_failed", "failed_generation": "invalid api key: content policy"}}, "unparsed"),
    (400, {"error": {"message": "Failed to parse tool call arguments as JSON", "code": "tool_use_failed"}}, "unparsed"),
    # Too long
    (400, {"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please reduce the length of the messages.", "code": "context_length_exceeded"}}, "too_long"),
    (400, {"error": {"message": "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens. Please reduce the length of the messages.", "param": "messages", "code": "context_length_exceeded"}}, "too_long"),
    (400, {"error": {"message": "Your input exceeds the context window of this model. Please adjust your input and try again."}}, "too_long"),
    (400, {"error": {"message": "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576, but got a string with length 2000000 instead.", "code": "string_above_max_length"}}, "too_long"),
    (429, {"error": {"message": "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.", "type": "tokens", "code": "rate_limit_exceeded"}}, "too_long"),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 201234 tokens > 200000 maximum"}}, "too_long"),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again"}}, "too_long"),
    (413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, "too_long"),
    (400, {"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}, "too_long"),
    (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens (5000 in the messages, 100 in the completion). Please reduce the length of the messages or completion.", "type": "BadRequestError", "code": 400}, "too_long"),
    (400, {"error": {"message": "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is 4096 tokens and your request has 3500 input tokens (2000 > 4096 - 3500).", "code": 400}}, "too_long"),
    (400, {"error": {"message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096."}}, "too_long"),
    (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 200 `max_new_tokens`", "error_type": "validation"}, "too_long"),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", "error_type": "validation"}, "too_long"),
    (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]"}, "too_long"),
    (413, {"error": {"message": "Request too large for model `llama-3.1-8b-instant` on tokens per minute (TPM): Limit 6000, Requested 9000, please reduce your message size and try again.", "code": "rate_limit_exceeded"}}, "too_long"),
    (400, {"error": {"message": "Please reduce the length of the messages or completion.", "code": "context_length_exceeded"}}, "too_long"),
    (400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens."}, "too_long"),
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 4096}}, "too_long"),
    (500, {"error": {"code": 500, "message": "context size has been exceeded", "type": "server_error"}}, "too_long"),
    (400, {"error": "the input length exceeds the context length"}, "too_long"),
    (400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_prompt", "code": "3051"}, "too_long"),
    (400, {"message": "too many tokens: total number of tokens in the prompt exceeds the limit of 4081"}, "too_long"),
    (422, {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000", "type": "invalid_request_error"}}, "too_long"),
    (400, {"error": {"message": "This model's maximum context length is 65536 tokens. However, you requested 70000 tokens (60000 in the messages, 10000 in the completion).", "type": "invalid_request_error"}}, "too_long"),
    (400, {"object": "error", "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."}, "too_long"),
    (400, {"__type": "ValidationException", "message": "Input is too long for requested model."}, "too_long"),
    (400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 8192"}}, "too_long"),
    (400, {"error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}, "too_long"),
    (400, {"error": {"code": 400, "message": "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens (39000 of text input, 1000 in the output)."}}, "too_long"),
    (400, {"error": {"code": 400, "message": "Unable to submit request because the input token count is 40000 but the model only supports up to 32768. Reduce the input token count and try again.", "status": "INVALID_ARGUMENT"}}, "too_long"),
    (400, {"error": {"code": "1261", "message": "Prompt 超长"}}, "too_long"),
    (400, {"error": {"message": "Input validation error: prompt has 9000 tokens, limit is 8192"}}, "too_long"),
    (400, {"detail": "The total tokens of this request 9000 exceeds the model's limit 8192"}, "too_long"),
    (400, {"error_code": 336007, "error_msg": "the max input length is 5120 tokens"}, "too_long"),
    # A model that is not there
    (400, {"message": "Invocation of model ID anthropic.claude-x with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference profile that contains this model."}, "setting"),
    (405, {"detail": "Method Not Allowed"}, "model"),
    (407, "Proxy Authentication Required", "setting"),
    (400, {"error": {"message": "The model `x` has been decommissioned and is no longer supported.", "code": "model_decommissioned"}}, "setting"),
    (400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error", "code": "invalid_request_error"}}, "setting"),
    (400, {"error": {"message": "Unable to access non-serverless model x.", "code": "model_not_available"}}, "setting"),
    (400, {"error": {"message": "x is not a valid model ID", "code": 400}}, "setting"),
    (400, {"error": {"message": "/chat/completions: Invalid model name passed in model=x.", "code": "400"}}, "setting"),
    (400, {"message": "The provided model identifier is invalid."}, "setting"),
    (400, {"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}}, "setting"),
    # None of these
    (400, {"error": {"message": "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model"}}, "rejected"),
    (400, {"statusCode": 400, "error": "Bad Request", "message": ["max_tokens must not be greater than 32"]}, "rejected"),
    (400, {"error": {"message": "max_tokens is too large: 5000. This model supports at most 4096 completion tokens, whereas you provided 5000."}}, "rejected"),
    (400, {"error": {"message": "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead."}}, "rejected"),
    (400, {"error": {"message": "Try again with a shorter name"}}, "rejected"),
    (400, {"error": {"message": "Please retry with another value of n"}}, "rejected"),
    (422, {"detail": [{"loc": ["body", "n"], "msg": "unexpected invalid token at position 3", "input": "api key not valid"}]}, "rejected"),
    (404, {"error": {"message": "No endpoints found matching your data policy (Free model publication).", "code": 404}}, "model"),
    (400, {"error": {"message": "Unknown parameter: 'safety_settings'.", "code": "unknown_parameter"}}, "setting"),
    (500, {"error": {"message": "The server had an error while processing your request."}}, "unavailable"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    SAID,
    ids=[f"{kind}-{n}" for n, (_, _, kind) in enumerate(SAID)],
)
def test_what_is_said_is_an_error_of_its_kind(status: int, said: Any, kind: str) -> None:
    body = said.encode() if isinstance(said, str) else msgspec.json.encode(said)
    error = error_from_reply(status, body, {})
    assert error.kind == kind, error
    assert (kind == "rate_limited") is isinstance(error, RateLimited)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"statusCode": 400, "error": "Bad Request", "message": ["max_tokens must not be greater than 32"]}, "Bad Request: max_tokens must not be greater than 32"),
        ({"error": "Bad Request", "detail": "n is 0"}, "Bad Request: n is 0"),
        ({"title": "Validation", "detail": "n is 0", "status": 422}, "n is 0: Validation"),
        ({"errors": [{"message": "one", "code": 5007}, {"message": "two"}], "success": False}, "one: two"),
        ({"error_code": 336003, "error_msg": "the messages must be an odd number"}, "the messages must be an odd number"),
        ({"error": {"message": '{"error": {"message": "inner", "code": "x"}}'}}, "inner"),
        ({"error": {"message": 'litellm.BadRequestError: OpenAIException - {"error": {"message": "inner"}}', "code": "400"}}, "litellm.BadRequestError: OpenAIException: inner"),
        ({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": '{"error":{"message":"inner"}}', "provider_name": "P"}}}, "Provider returned error: inner"),
        ({"Message": "User is not authorized"}, "User is not authorized"),
        ({"base_resp": {"status_code": 2013, "status_msg": "invalid params"}}, "invalid params"),
        ({"error": {"message": {"detail": [{"loc": ["body", "n"], "msg": "wrong"}]}}}, "body.n: wrong"),
    ],
)  # fmt: skip
def test_all_words_of_a_body_are_shown_and_not_its_title_alone(said: Any, message: str) -> None:
    assert error_from_reply(400, msgspec.json.encode(said), {}).message == message


#: What an item says, and what a server makes of it: words of errors that this is none of.
QUOTING: list[tuple[str, int, Any, str]] = [
    ("My bank said: invalid API key. What now?", 400, {"error": {"message": "Cannot parse: My bank said: invalid API key. What now?"}}, "rejected"),
    ("I get the error insufficient balance every day", 400, {"error": "bad token at: I get the error insufficient balance every day"}, "rejected"),
    ("Translate: rate limit exceeded, please try again later", 400, {"error": {"message": 'invalid message content: "Translate: rate limit exceeded, please try again later"'}}, "rejected"),
    ("Who founded the content moderation team at Meta?", 400, {"detail": [{"loc": ["body", "messages"], "msg": "bad value: who founded the content moderation team at meta?"}]}, "rejected"),
    ("Why is the model `x` not found?", 422, {"error": {"message": "no template for\nuser: Why is the model `x` not found?"}}, "rejected"),
    ("Is this account suspended or banned by Twitter?", 400, "400: {'role': 'user', 'content': 'Is this account suspended or banned by Twitter?'}", "rejected"),
    ("Explain the prompt is too long error to me", 400, {"error": {"message": "unexpected value; permitted: text (content=Explain the prompt is too long error to me)"}}, "rejected"),
    ("what does rate limit mean", 400, {"error": {"message": "the phrase 'rate limit' is not taken here"}}, "rejected"),
    ("这个账号余额不足，请问为什么无法登录系统呢", 400, {"error": {"message": "参数错误：这个账号余额不足，请问为什么无法登录系统呢"}}, "rejected"),
    ("İs it true that access tokens are expired tokens?", 400, {"error": "bad: İs it true that access tokens are expired tokens?"}, "rejected"),
    ("How do I fix: failed to generate JSON", 400, {"error": {"message": "bad request near 'How do I fix: failed to generate JSON'"}}, "rejected"),
    # What the server says itself counts, whatever stands beside it, and so do its codes and status.
    ("Tell me about whales and their songs", 400, {"error": {"message": "API key not valid. Prompt was: Tell me about whales and their songs"}}, "key"),
    ("API key not valid. Please pass a valid API key.", 400, {"error": {"message": "API key not valid. Please pass a valid API key.", "details": [{"reason": "API_KEY_INVALID"}]}}, "key"),
    ("my quota is used up", 429, {"error": {"message": "slow down: my quota is used up"}}, "rate_limited"),
    ("What is the temperature in Rome?", 400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.0"}}, "setting"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Please try again in 6m0s.", 360),
        ("Please try again in 1.898s. Visit the page", 1.898),
        ("Please retry after 26 seconds.", 26),  # Azure
        ("Please wait 41 seconds before retrying.", 41),  # GitHub Models
        ("reached max organization concurrency: 1, please try again after 1 seconds", 1),
        ("Request was throttled. Expected available in 57 seconds.", 57),  # Django REST framework
        ("Retry in 3 minutes and 20 seconds", 200),
        ("No deployments available, Try again in 5 seconds. cooldown_list=[]", 5),
        ("try again in 200 milliseconds", 0.2),
        ("Try again later. Please retry your request after 10s", 10),
        ({"message": "slow", "retry_after": 3.5}, 3.5),
        ({"error": {"message": "slow", "retryAfter": "3"}}, 3),
        ({"error": {"message": "slow", "retry_after_ms": 300}}, 0.3),
        ({"error": {"message": "slow", "metadata": {"headers": {"Retry-After": "9"}}}}, 9),
        ("I would not retry after 1984.", None),
        ("Try again later", None),
    ],
)
def test_a_wait_is_read_from_the_words_where_no_header_has_it(
    said: Any, seconds: float | None
) -> None:
    body = {"error": {"message": said}} if isinstance(said, str) else said
    error = error_from_reply(429, msgspec.json.encode(body), {})
    assert isinstance(error, RateLimited) and error.retry_after_seconds == seconds


def test_a_server_may_say_that_another_attempt_helps() -> None:
    body = b'{"error": {"message": "odd"}}'
    assert isinstance(error_from_reply(400, body, {"x-should-retry": "true"}), Unavailable)
    assert isinstance(error_from_reply(400, body, {"x-should-retry": "false"}), Rejected)


@pytest.mark.parametrize(("item", "status", "said", "kind"), QUOTING)
def test_what_an_error_quotes_of_a_prompt_does_not_tell_its_kind(
    item: str, status: int, said: Any, kind: str
) -> None:
    body = said.encode() if isinstance(said, str) else msgspec.json.encode(said)
    messages = (Message("system", "Be brief and kind."), Message("user", f"Question: {item}"))
    error = error_from_reply(status, body, {}, Request("q", "s", "m", messages, {}))
    assert error.kind == kind, error
    assert "…" not in error.message  # people are shown all of it


def test_a_huge_prompt_is_looked_for_in_an_error_at_once() -> None:
    request = Request("q", "s", "m", (Message("user", "a b c rate limit " * 200_000),), {})
    body = b"a b c rate limit " * 60_000
    assert effort(lambda: error_from_reply(400, body, {}, request), 2.0) < 2.0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("The grammar compiler does not support minimum for integer", True),
        ("failed to parse grammar", True),
        ("No endpoints found that can handle the requested parameters.", True),
        ("Invalid schema for response_format", True),
        ("guided_json is not supported", True),
        ("json_validate_failed: Failed to generate JSON", False),
        ("temperature is too high", False),
    ],
)
def test_words_about_the_format_are_told_from_a_bad_draw(said: str, expected: bool) -> None:
    assert is_about_format(words_of(msgspec.json.encode({"error": said}))) is expected


HOSTILE = {
    "angles": b"<" * 1_000_000,
    "tags": b"<a" * 500_000,
    "deep lists": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"error":' * 200_000 + b"1" + b"}" * 200_000,
    "moderately deep": b'{"message":' * 900 + b'"x"' + b"}" * 900,
    "a wide list": msgspec.json.encode({"errors": [{"message": f"m{n}"} for n in range(100_000)]}),
    "violations": b'{"error": "' + b"violat" * 200_000 + b'"}',
    "prompts": b'{"error": "' + b"prompt input token " * 60_000 + b'"}',
    "invalid words": b'{"error": "' + b"invalid " * 150_000 + b'"}',
    "retry in": b'{"error": "' + b"retry in " * 120_000 + b'"}',
    "braces": msgspec.json.encode({"error": "{" * 1_000_000 + "}"}),
    "access denied": b"access denied " * 80_000,
    "only only": b'{"error": "' + b"only unsupported role " * 50_000 + b'"}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_a_huge_or_deep_body_is_read_at_once(status: int, body: bytes) -> None:
    def read() -> None:
        assert len(error_from_reply(status, body, {}).message) <= 300
        assert len(words_of(body).all) < 50_000

    assert effort(read, 1.5) < 1.5  # what is not linear takes minutes
