"""Every error a user can meet, with the exit code it ends in; how calls, items and runs end.

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

A gate ends in 0 where it passed, in 5 where it failed and in 6 where the items do not decide it.
Anything else that is raised is a bug and ends in a traceback (exit 1).

Beneath the tree stand three tables: `STATUSES`, the ways in which a call or an item ends,
`ENDINGS`, those of a run, and `VERDICTS`, those of a gate. All that depends
on one of them is a column; nobody else lists kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_INCOMPLETE = 4
EXIT_FAILED = 5
EXIT_UNDECIDED = 6
EXIT_INTERRUPTED = 130


class LlmbError(Exception):
    """What a user is told: one sentence on what is wrong and where, and what to type next."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: what the command line would say."""
        return [f"error: {self.message}", *([f"  try: {self.hint}"] if self.hint else [])]


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
        kind: The word that goes into journal and results (``rate_limited``, ``timeout``, …).
        maybe_billed: True when the provider may charge for this attempt although no answer
            arrived (a timeout or a reset after the request was sent).
        headers: Lower-cased response headers that speak of limits; may be empty.

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


class WebPage(Unavailable):
    """A page came where an answer was to be: of a proxy, of a sign-in, or of another server."""

    kind = "garbage"


class Rejected(ProviderError):
    """This request never works; the item fails and the run goes on."""

    kind = "rejected"


class Refused(ProviderError):
    """No request of this run works: bad key, no quota, unknown model. The run stops."""

    kind = "refused"
    exit_code = EXIT_REFUSED


_STATUS_PAGE = "check the provider's status page, then run the same command again"
_OWN_SERVER = (
    "check the log of the server at {server}, and whether it is running: curl {server}/models"
)


@dataclass(frozen=True, slots=True)
class Status:
    """One way in which an attempt, a call or an item ends, and all that follows from it.

    Attributes:
        kind: The word for it in journal, results and reports.
        of: Whose it is. An *answer* came, was paid for and is of no use: it is kept, and only
            ``--retry-failed`` asks anew. A *request* never works as it is: the next run asks
            again and would meet the same. A *service* fails in passing: the next run asks again.
            The *run* ended, which says nothing of the item: it is left unfinished.
        means: What happened.
        advice: What to do about it, as the end of a sentence.
        again: Whether it is tried again before a call or an item ends so.
        own_advice: The advice where a server of the user's own answers, at ``{server}``; empty
            where that makes no difference.
        kept: Whether every item that ends so has its answer in the journal.
        alone: The kind that a refusal becomes where only this item is refused, because the model
            answers others; empty where a refusal is always one of the run.
        doubtful: Whether it may yet turn out to be a refusal of the run: it is the item's failure
            once the model has answered again.
        any_form: Whether the same request would meet it in any other form too.
        word: What screens call it, where the kind alone says little.
    """

    kind: str
    of: Literal["", "answer", "request", "service", "run"]
    means: str
    advice: str = _STATUS_PAGE
    again: bool = False
    own_advice: str = ""
    kept: bool = False
    alone: str = ""
    doubtful: bool = False
    any_form: bool = False
    word: str = ""

    @property
    def name(self) -> str:
        """What people read, as after a number of items."""
        return self.word or self.kind.replace("_", " ")

    @property
    def named(self) -> str:
        """The same with the kind, for those who look it up in files."""
        return self.name if self.name == self.kind else f"{self.name} ({self.kind})"

    @property
    def settled(self) -> bool:
        """Whether the same run would meet it again."""
        return self.of in ("answer", "request")

    def advice_at(self, server: str | None) -> str:
        """What to do, where the server at this address is the user's own; ``None``: it is not."""
        if not server or not self.own_advice:
            return self.advice
        return self.own_advice.format(server=server.rstrip("/"))


# fmt: off
_ROWS = (
    Status("ok", "", "every step is done", "", kept=True),
    # Answers that are of no use.
    Status("truncated", "answer", "the answer was cut off at `max_tokens` or at the context limit",
           "raise the step's max_tokens", kept=True, word="cut off"),
    Status("reasoning", "answer", "the model used all its tokens for reasoning and gave no answer",
           "raise the step's max_tokens, or lower its reasoning effort", kept=True,
           word="reasoning only"),
    Status("unparsed", "answer", "the reply has no score, or is not the object that was asked for",
           "read some of these replies, then make the prompt clearer about what to reply, or use "
           "a stronger model", again=True, kept=True, any_form=True, word="unreadable"),
    Status("tie", "answer", "as many votes for one answer as for another",
           "ask an odd number of judges, or combine numbers", kept=True),
    Status("empty", "answer", "the model sent no text",
           "change the prompt or the model: it sends no text for these prompts",
           again=True, kept=True),
    Status("tool_call", "answer", "the model called a tool instead of answering",
           "remove tools from the step's params, or use another model", kept=True),
    Status("incomplete", "answer", "the answer stopped for an unknown reason",
           "read the reason in the message: the answer may be incomplete", kept=True),
    Status("filtered", "answer", "a content filter stopped the prompt or the answer",
           "use another model: this provider's content filter refuses these items",
           any_form=True),
    Status("oversized", "answer", "the answer is far longer than max_tokens allows",
           "check the server: it may ignore max_tokens. If you want such long answers, raise the "
           "step's max_tokens, or max_reply under [limits]"),
    Status("unscored", "answer", "the file, which llmb did not write, has no score for this item",
           "add the score to the file, or name the field that holds the scores",
           word="without a score"),
    # Requests that never work.
    Status("prompt", "request", "the prompt cannot be filled in for this item",
           "correct the prompt, or the rows that lack what it needs", word="without a prompt"),
    Status("rule", "request", "the rule cannot be applied to this item",
           "give these rows the right answer to compare with, or correct the rule's expected",
           word="not comparable"),
    Status("code", "request", "the rule's function raised an error, or gave no verdict",
           "correct the function, and run again: llmb show has the traceback of an item",
           word="rule with an error"),
    Status("too_long", "request", "the prompt is too long for the model",
           "shorten the prompt, or use a model with a longer context", any_form=True,
           word="too long for the model"),
    Status("rejected", "request", "the provider refuses this request",
           "read the message: it says why the provider refuses these requests"),
    Status("forbidden", "request", "key, model or a setting is refused for this item only",
           "read the message: the key may not be used for these items",
           doubtful=True, any_form=True),
    # Failures in passing.
    Status("unavailable", "service", "the provider is busy or broken",
           again=True, own_advice=_OWN_SERVER),
    Status("rate_limited", "service", "too many requests or tokens for the provider's limits",
           "set rpm and tpm under [limits] to what the provider shows for your account",
           again=True, own_advice="use fewer workers, or set rpm to what the server at {server} "
           "can do"),
    Status("timeout", "service", "no complete answer in time",
           "raise timeout under [limits], or use fewer workers", again=True, word="timed out"),
    Status("reset", "service", "the connection broke",
           "check the network to the provider, or use fewer workers",
           again=True, own_advice=_OWN_SERVER, word="disconnected"),
    Status("unreachable", "service", "no connection, though there was one before",
           again=True, own_advice=_OWN_SERVER),
    Status("garbage", "service", "the reply is not a chat completion",
           "check api_base and any proxy: no chat endpoint answers at this address",
           again=True, word="no chat reply"),
    Status("files", "service", "this machine allows no more open connections",
           "type ulimit -n 4096 first, or use fewer workers", again=True,
           word="out of connections"),
    Status("lost", "service", "its process on the cluster was lost", "look at: ray status",
           again=True),
    Status("failed", "service", "the provider did not process this line of the batch", again=True),
    Status("missing", "service", "the batch ended without an answer to it", again=True),
    Status("token_limit", "service", "the vendor's batch queue is full", again=True,
           word="queue full"),
    Status("batch_failed", "service", "its whole batch failed", again=True),
    Status("batch_expired", "service", "its batch expired first", again=True),
    Status("batch_cancelled", "service", "its batch was cancelled first", again=True),
    Status("error", "service", "something else went wrong", own_advice=_OWN_SERVER),
    # What ends the run, or is ended by it.
    Status("refused", "run", "key, quota, model or a setting is refused for all items",
           "correct what the provider refuses, then run the same command again"),
    Status("key", "run", "an attempt: the key is refused",
           "check the key and what it is allowed to use",
           alone="forbidden", any_form=True),
    Status("model", "run", "an attempt: the model is refused",
           "check the model's name and api_base", alone="forbidden", any_form=True),
    Status("setting", "run", "an attempt: a setting is refused", "change the step in the config",
           alone="forbidden"),
    Status("quota", "run", "an attempt: the quota is used up, or today's is",
           "add credit or raise the limit at the provider, then run the same command again",
           any_form=True),
    Status("queue_full", "run", "an attempt: the vendor's queue takes not even a small batch",
           "run the same command again later"),
    Status("budget", "run", "the rest of the budget is too small for another attempt",
           "raise --budget, then run the same command again"),
    Status("cancelled", "run", "the run stopped before another attempt",
           "run the same command again"),
)
# fmt: on

#: By kind, ``ok`` first. Journals and results hold these words, so none is ever renamed.
STATUSES: Mapping[str, Status] = {row.kind: row for row in _ROWS}


def status_of(kind: str) -> Status:
    """The row of a kind; one that passes for a word of a version that is not known here."""
    return STATUSES.get(kind) or Status(kind, "service", "unknown to this version of llmb")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        exit_code: What the command ends in; 4 in place of 0 where an item is not ok.
        hint: What to type next, beside the same command; may be empty.
    """

    status: str
    words: str
    exit_code: int
    hint: str = ""


#: By status.
ENDINGS: Mapping[str, Ending] = {
    ending.status: ending
    for ending in (
        Ending("done", "", EXIT_OK),
        Ending("enough", "the run stopped early because its result is clear enough", EXIT_OK),
        Ending("budget", "the run stopped at its budget", EXIT_INCOMPLETE),
        Ending("circuit", "the run stopped because too many items failed", EXIT_INCOMPLETE),
        Ending(
            *(
                "overrun",
                "the run stopped because it cost more than estimated and nobody agreed to that",
                EXIT_INCOMPLETE,
            ),
            "add --yes to agree to the cost, or --budget USD to cap it",
        ),
        Ending(
            "submitted",
            "what can be sent is at the provider",
            EXIT_OK,
            "--collect in place of --submit takes what is there and submits what follows; "
            "llmb batches shows how the jobs stand",
        ),
        Ending(
            "pending",
            "the run waits for the provider",
            EXIT_INCOMPLETE,
            "llmb batches shows how the jobs stand",
        ),
        Ending("refused", "the provider refused the run", EXIT_REFUSED),
        Ending("interrupted", "the run was interrupted", EXIT_INTERRUPTED),
        Ending(
            "running",
            "the run is still going, or was killed",
            EXIT_INTERRUPTED,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says, with the exit code of its command."""

    name: str
    words: str
    exit_code: int

    def code(self, undecided_passes: bool) -> int:
        """The exit code, where it may have been agreed that undecided is as good as passed."""
        open_ = self.exit_code == EXIT_UNDECIDED
        return EXIT_OK if open_ and undecided_passes else self.exit_code


#: By name, the gravest last: that is what several gates come to together.
VERDICTS: Mapping[str, Verdict] = {
    verdict.name: verdict
    for verdict in (
        Verdict("passed", "the gate passed", EXIT_OK),
        Verdict("undecided", "too few items to decide the gate", EXIT_UNDECIDED),
        Verdict("failed", "the gate failed", EXIT_FAILED),
    )
}
