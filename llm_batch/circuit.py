"""Stops a run that is going wrong: most of a step's calls fail, are cut off or cannot be read."""

from __future__ import annotations

from collections import Counter, deque

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
    "empty": "the model sends no text for these prompts; change the prompt or the model",
    "prompt": "correct the prompt, or the rows it cannot be rendered for",
}
# Stands beside the steps, and is no name that a step can have.
_PROMPTS = ""


class Circuit:
    """Watches the results of a run, step by step.

    Args:
        share: The share of failures, above 0 and up to 1, beyond which the run should stop.
    """

    def __init__(self, share: float) -> None:
        self._share = share
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
        advice = _ADVICE.get(kind, "look at the provider's status page, then run the same command")
        last = f" (last: {error})" if error else ""
        where = "prompts" if step == _PROMPTS else f"step {step!r}"
        return (
            f"{where}: {failures.total()} of the last {len(outcomes)} items failed, "
            f"{count} as {kind!r}{last}; {advice}"
        )
