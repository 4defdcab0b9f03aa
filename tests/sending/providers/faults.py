"""What every fault of the test server has to become, whoever the provider is."""

from __future__ import annotations

from llm_batch.errors import ProviderError, RateLimited, Refused, Rejected, Unavailable, WebPage

#: By fault: the class, the kind, and whether the attempt may have been billed.
ERRORS: dict[str, tuple[type[ProviderError], str, bool]] = {
    "400": (Rejected, "rejected", False),
    "401": (Refused, "key", False),
    "403": (Refused, "key", False),
    "404": (Refused, "model", False),
    "key_400": (Refused, "key", False),
    "409": (Unavailable, "unavailable", False),
    "421": (Unavailable, "unavailable", False),
    "424": (Unavailable, "unavailable", False),
    "425": (Unavailable, "unavailable", False),
    "498": (Unavailable, "unavailable", False),
    "499": (Unavailable, "unavailable", True),
    "520": (Unavailable, "unavailable", True),
    "retry_later": (Unavailable, "unavailable", False),
    "loading": (Unavailable, "unavailable", False),
    "bad_draw": (Unavailable, "unparsed", True),
    "408": (Unavailable, "unavailable", False),
    "413": (Rejected, "too_long", False),
    "wait_in_words": (RateLimited, "rate_limited", False),
    "429": (RateLimited, "rate_limited", False),
    "500": (Unavailable, "unavailable", False),
    "502": (Unavailable, "unavailable", False),
    "503": (Unavailable, "unavailable", False),
    "504": (Unavailable, "unavailable", True),
    "529": (Unavailable, "unavailable", False),
    "context_length": (Rejected, "too_long", False),
    "451": (Rejected, "filtered", False),
    "content_403": (Rejected, "filtered", False),
    "firewall": (Rejected, "filtered", False),
    "content_policy": (Rejected, "filtered", False),
    "insufficient_quota": (Refused, "quota", False),
    "malformed_json": (Unavailable, "garbage", True),
    "truncated_json": (Unavailable, "garbage", True),
    "html": (WebPage, "garbage", True),
    "error_in_200": (Unavailable, "unavailable", True),
    "reset": (Unavailable, "reset", True),
    "reset_mid_body": (Unavailable, "reset", True),
    "close_mid_body": (Unavailable, "reset", True),
    "close_before": (Unavailable, "reset", True),
}
#: The same for what only a server that speaks OpenAI's format is made to send.
OPENAI_ERRORS: dict[str, tuple[type[ProviderError], str, bool]] = {
    **dict.fromkeys(
        ("ended_as_error", "aborted", "network_error", "no_resource", "error_in_choice")
        + ("half_of_events",),
        (Unavailable, "unavailable", True),
    ),
    **dict.fromkeys(("busy_in_envelope", "busy_by_code"), (RateLimited, "rate_limited", True)),
    "null_choices": (Unavailable, "garbage", True),
}
#: Faults that only a deadline ends.
ENDLESS = ("hang", "drip", "drip_headers")
#: By fault: the finish reason, and whether there is text.
ODD_ANSWERS = {
    "empty_choices": ("empty", False),
    "null_content": ("empty", False),
    "content_filter": ("content_filter", True),
    "length": ("length", True),
    "reasoning_only": ("length", False),
}
OPENAI_ANSWERS = {
    **dict.fromkeys(("safety", "recitation", "sensitive"), ("content_filter", True)),
    **dict.fromkeys(("max_tokens", "context_full"), ("length", True)),
    "strange_ending": ("something_new", True),
    "tool_call": ("tool_calls", False),
    "tool_announced": ("tool_calls", True),
    "refusal_beside": ("content_filter", True),
    "only_reasoning": ("reasoning", False),
}
NO_USAGE = ("usage_missing", "usage_huge", "usage_negative", "usage_strings")
#: Answers that are read whole, whatever their bytes and types.
ODD_SHAPES = (
    *("half_emoji", "nan", "bom", "utf16", "tail", "content_parts", "content_strings"),
    *("content_object", "ending_list", "events", "lines", "written_twice"),
    "deep",
)
#: Accounts that say more than the counts of tokens do.
ODD_ACCOUNTS = ("thoughts_beside", "cost_reported")
#: What the chain has to take off.
THOUGHTS = ("thoughts", "thoughts_again", "endless_thought")
WHOLE_ANSWERS = ("slow", "chunked", "gzip", "close", "close_silently")
