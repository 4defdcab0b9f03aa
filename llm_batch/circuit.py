"""Stops a run that is going wrong: most of a step's calls fail, are cut off or cannot be read."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from llm_batch.records import Result

#: How many of a step's last outcomes are looked at, and how many there must be to judge.
WINDOW = 50
AT_LEAST = 20

_ADVICE = {
    "truncated": "raise the step's max_tokens",
    "reasoning": "raise the step's max_tokens, or lower its reasoning effort",
    "unparsed": "make the prompt say more plainly what to reply, or use a stronger model",
    "filtered": "the provider's content filter refuses these items; use another model",
    "too_long": "shorten the prompt, or use a model with a longer context",
    "rejected": "look at the message: the provider refuses these requests",
    "timeout": "raise timeout under [limits], or use fewer workers",
    "garbage": "what answers is no chat endpoint: check api_base, and any proxy on the way to it",
    "files": "type ulimit -n 4096 first, or use fewer workers",
    "reset": "look at the network on the way to the provider, or use fewer workers",
    "rate_limited": "set rpm and tpm under [limits] to what the provider shows for your account",
    "oversized": "look at what the server sends: it may not heed max_tokens. Where such answers "
    "are wanted, raise the step's max_tokens, or max_reply under [limits]",
    "empty": "the model sends no text for these prompts; change the prompt or the model",
    "forbidden": "look at the message: the key may not ask for these items",
    "tool_call": "take tools out of the step's params, or use another model",
    "incomplete": "the provider's word for how answers end is not known here: look at the message",
    "prompt": "correct the prompt, or the rows it cannot be rendered for",
}
# Where a server of one's own answers, nobody shows an account or a status page.
_OF_THE_SERVER = frozenset({"unavailable", "unreachable", "reset", "error"})
# Stands beside the steps, and is no name that a step can have.
_PROMPTS = ""


class Circuit:
    """Watches the results of a run, step by step.

    Args:
        share: The share of failures, above 0 and up to 1, beyond which the run should stop.
        servers: By step, the address of its server where that is one of the user's own.
    """

    def __init__(self, share: float, servers: Mapping[str, str] | None = None) -> None:
        self._share = share
        self._servers = dict(servers or {})
        self._outcomes: dict[str, deque[str]] = {}

    def note(self, result: Result) -> str:
        """Take in a result; a sentence when the run should stop, else nothing."""
        done = list(result.steps)
        if result.status == "prompt":
            # The prompt that failed is the next step's, which has no call yet.
            failing = _PROMPTS
        else:
            failing = done.pop() if done else _PROMPTS
            done.append(_PROMPTS)
        for step in done:
            self._add(step, "ok")
        return self._add(failing, result.status, result.error)

    def _add(self, step: str, status: str, error: str = "") -> str:
        outcomes = self._outcomes.setdefault(step, deque(maxlen=WINDOW))
        outcomes.append(status)
        failures = Counter(outcome for outcome in outcomes if outcome != "ok")
        if len(outcomes) < AT_LEAST or failures.total() <= self._share * len(outcomes):
            return ""
        kind, count = failures.most_common(1)[0]
        advice = self._advice(step, kind)
        last = f" (last: {error})" if error else ""
        where = "prompts" if step == _PROMPTS else f"step {step!r}"
        return (
            f"{where}: {failures.total()} of the last {len(outcomes)} items failed, "
            f"{count} as {kind!r}{last}; {advice}"
        )

    def _advice(self, step: str, kind: str) -> str:
        server = self._servers.get(step)
        if server and kind in _OF_THE_SERVER:
            look = f"curl {server.rstrip('/')}/models"
            return f"look at the log of the server at {server}, and whether it is up: {look}"
        if server and kind == "rate_limited":
            return f"use fewer workers, or set rpm to what the server at {server} can do"
        return _ADVICE.get(kind, "look at the provider's status page, then run the same command")
