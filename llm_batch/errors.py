"""Every error a user can meet, with the exit code it ends in.

The tree::

    LlmbError                      exit 2, nothing was spent
     ├─ ConfigError                the config file or a flag is wrong
     ├─ DataError                  the dataset cannot be read as described
     ├─ OutputError                results or journal cannot be written or read
     ├─ ProviderError              raised by a provider for one attempt, never shown as it is
     │   ├─ Transient              worth another attempt
     │   │   ├─ RateLimited        429: too many requests or tokens
     │   │   ├─ Timeout            no complete answer before the deadline
     │   │   └─ Unavailable        5xx, connection refused or reset, garbage in a 200
     │   ├─ Rejected               this request never works (too long, filtered): the item fails
     │   └─ Refused                no request works (key, quota, model): exit 3, the run stops
     ├─ Incomplete                 exit 4, the same command goes on from here
     └─ Interrupted                exit 130, the same command goes on from here

Anything else that is raised is a bug and ends in a traceback (exit 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_INCOMPLETE = 4
EXIT_INTERRUPTED = 130


class LlmbError(Exception):
    """What a user is told: one sentence on what is wrong and where, and what to type next.

    Args:
        message: What is wrong and where (file, line, key, item id).
        hint: What to do about it, in words that can be typed; may be empty.
    """

    exit_code = EXIT_USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"try: {hint}")  # tracebacks show it, in notebooks above all


class ConfigError(LlmbError):
    """The config file, a flag or an environment variable is wrong."""


class DataError(LlmbError):
    """The dataset cannot be read as the config describes it."""


class OutputError(LlmbError):
    """Results, journal or manifest cannot be written or read."""


class Incomplete(LlmbError):
    """Some items failed, or the budget ended: what is done is kept and the same command resumes."""

    exit_code = EXIT_INCOMPLETE


class Interrupted(LlmbError):
    """Ctrl-C or SIGTERM: what is done is kept and the same command resumes."""

    exit_code = EXIT_INTERRUPTED


class ProviderError(LlmbError):
    """What one attempt at one request ended in, translated from the provider's own words.

    Args:
        message: The provider's message, shortened, with any key removed.
        kind: The word that goes into journal and results (``rate_limited``, ``timeout``, …).
        status_code: The HTTP status, when there was one.
        maybe_billed: True when the provider may charge for this attempt although no answer
            arrived (a timeout or a reset after the request was sent).
        headers: Lower-cased response headers that speak of limits; may be empty.
        hint: What the user can do about it.

    Attributes:
        partial: What came all the same (a `Completion`), when the reply could be read: its usage
            and reported cost are then what the attempt is charged. Otherwise ``None``.
    """

    kind = "error"
    partial: Any = None

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        status_code: int | None = None,
        maybe_billed: bool = False,
        headers: Mapping[str, str] | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint)
        if kind:
            self.kind = kind
        self.status_code = status_code
        self.maybe_billed = maybe_billed
        self.headers: Mapping[str, str] = headers or {}
        #: All that the provider said (`refusals.Words`), for what adapts to
        #: it. It is never shown or written: it may quote a prompt, or a key.
        self.words: Any = None


class Transient(ProviderError):
    """Another attempt may succeed."""

    kind = "unavailable"


class RateLimited(Transient):
    """429 (or a 529 of the same meaning).

    ``retry_after_seconds`` is what the provider asked for, counted from the reply; ``None``
    when it did not say.
    """

    kind = "rate_limited"

    def __init__(
        self, message: str, *, retry_after_seconds: float | None = None, **more: object
    ) -> None:
        super().__init__(message, **more)  # type: ignore[arg-type]
        self.retry_after_seconds = retry_after_seconds


class Timeout(Transient):
    """No complete answer within the deadline of an attempt."""

    kind = "timeout"


class Unavailable(Transient):
    """The provider failed or could not be reached.

    ``retry_after_seconds`` as in `RateLimited`: a 503 may carry the header too.
    """

    kind = "unavailable"

    def __init__(
        self, message: str, *, retry_after_seconds: float | None = None, **more: object
    ) -> None:
        super().__init__(message, **more)  # type: ignore[arg-type]
        self.retry_after_seconds = retry_after_seconds


class Rejected(ProviderError):
    """This request never works; the item fails and the run goes on."""

    kind = "rejected"


class Refused(ProviderError):
    """No request of this run works: bad key, no quota, unknown model. The run stops."""

    kind = "refused"
    exit_code = EXIT_REFUSED
