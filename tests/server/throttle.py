"""The limits of every model, and how a client is told about them."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from email.utils import formatdate

from tests.server.answers import ApiError, Ask
from tests.server.limits import Decision, Limiter
from tests.server.settings import Settings

#: What ``--retry-after wrong`` says in turn: too early, in the past, or no number at all.
_WRONG = ("0", "-3", "soon", "nan", "")


def duration(seconds: float) -> str:
    """A duration as OpenAI's headers write it: ``120ms``, ``1.5s``, ``6m0s``, ``1h0m3s``."""
    # Rounded up, so that nobody who waits that long comes too early.
    milliseconds = math.ceil(round(seconds * 1000, 6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


class Throttle:
    """One limiter for each model; the models that are not named share the numbers, not the counts.

    Times are seconds since the server's life began.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limiters: dict[str, Limiter] = {}
        self._refusals = 0

    def change(self, settings: Settings) -> None:
        """Go on with other settings; what was counted stays, unless the way of counting changes."""
        before, self._settings = self._settings, settings
        ways = ("limiter", "minute", "count_rejected", "at_once")
        if any(getattr(settings, name) != getattr(before, name) for name in ways):
            self._limiters.clear()
        for model, limiter in list(self._limiters.items()):
            own = settings.model(model)
            if not limiter.change(own.rpm, own.tpm):
                del self._limiters[model]

    def _limiter(self, model: str) -> Limiter:
        limiter = self._limiters.get(model)
        if limiter is None:
            settings = self._settings
            own = settings.model(model)
            limiter = self._limiters[model] = Limiter(
                own.rpm,
                own.tpm,
                settings.limiter,
                settings.minute,
                settings.count_rejected,
                settings.at_once,
            )
        return limiter

    def admit(self, ask: Ask, now: float) -> Decision:
        """Count a request, or refuse it."""
        return self._limiter(ask.model).admit(now, ask.limit_tokens)

    def end(self, model: str) -> None:
        """A request that was admitted has ended."""
        self._limiter(model).end()

    def refusal(self, ask: Ask, decision: Decision, now: float) -> tuple[ApiError, str]:
        """The 429 of a refused request and its Retry-After header line."""
        limiter, wait = self._limiter(ask.model), decision.wait_seconds
        if decision.quantity == "at once":
            text = f"Too many concurrent requests for {ask.model}: at most {limiter.at_once}."
            return ApiError(429, text, "requests", "concurrency_limit"), self._retry_after(wait)
        if decision.quantity == "tokens":
            counted, asked, unit = limiter.tokens, ask.limit_tokens, "TPM"
        else:
            counted, asked, unit = limiter.requests, 1, "RPM"
        assert counted is not None
        what = f"{ask.model} on {decision.quantity} per min ({unit}): Limit {counted.limit:g}"
        if math.isinf(wait):
            text, header = f"Request too large for {what}, Requested {asked}.", ""
        else:
            used = counted.limit - counted.remaining(now)
            text = f"Rate limit reached for {what}, Used {used:.0f}, Requested {asked}."
            if self._settings.retry_after in ("right", "ms", "date"):
                text += f" Please try again in {duration(wait)}."
            header = self._retry_after(wait)
        return ApiError(429, text, decision.quantity, "rate_limit_exceeded"), header

    def _retry_after(self, wait: float) -> str:
        mode = self._settings.retry_after
        if mode == "none":
            return ""
        if mode == "ms":
            return f"retry-after-ms: {math.ceil(wait * 1000)}\r\n"
        if mode == "wrong":
            value = _WRONG[self._refusals % len(_WRONG)]
            self._refusals += 1
        elif mode == "past":
            value = "Wed, 21 Oct 2015 07:28:00 GMT"
        elif mode == "huge":
            value = "86400"
        elif mode == "date":
            # Dates are cut to whole seconds: without one more this would be too early.
            value = formatdate(time.time() + wait + 1, usegmt=True)
        else:
            value = str(max(1, math.ceil(wait)))
        return f"retry-after: {value}\r\n"

    def headers(self, model: str, now: float, provider: str) -> str:
        """The header lines that tell limits and headroom, in the words of the provider."""
        limiter = self._limiter(model)
        lines = []
        for quantity, counted in (("requests", limiter.requests), ("tokens", limiter.tokens)):
            if counted is None:
                continue
            left, reset = math.floor(counted.remaining(now)), counted.reset(now)
            if provider == "anthropic":
                at = datetime.fromtimestamp(math.ceil(time.time() + reset), UTC)
                prefix = f"anthropic-ratelimit-{quantity}"
                lines.append(f"{prefix}-limit: {counted.limit:.0f}\r\n")
                lines.append(f"{prefix}-remaining: {left}\r\n")
                lines.append(f"{prefix}-reset: {at:%Y-%m-%dT%H:%M:%SZ}\r\n")
            else:
                lines.append(f"x-ratelimit-limit-{quantity}: {counted.limit:.0f}\r\n")
                lines.append(f"x-ratelimit-remaining-{quantity}: {left}\r\n")
                lines.append(f"x-ratelimit-reset-{quantity}: {duration(reset)}\r\n")
        return "".join(lines)
