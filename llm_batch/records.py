"""What flows through a run: items, requests, completions, calls, results.

Everything here is immutable and knows nothing of files, networks or clocks. The words are used
in one meaning only: an *attempt* is one send, a *call* is a request with all its attempts and
its outcome, a *result* is what the calls of one item came to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec

#: What a schema is called when it is sent. Some vendors want a name; that of the step would make
#: a renamed step another request.
SCHEMA_NAME = "answer"


_MARK = b"\xef\xbb\xbf"


def without_mark(line: bytes) -> bytes:
    """A line, or a file, without the mark that some editors begin UTF-8 with."""
    return line.removeprefix(_MARK)


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the dataset.

    Attributes:
        id: The value of the id field as text, or else a hash of the content.
        stratum: The value of the stratification field as text; empty without stratification.
    """

    id: str
    fields: Mapping[str, Any]
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a request; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


PDF = "application/pdf"


@dataclass(frozen=True, slots=True)
class Image:
    """A picture or a PDF in a prompt.

    Attributes:
        source: An address, or the path of a file.
        digest: What stands for its content in a request's key: of a file a hash, else the address.
        media_type: As ``image/png`` or `PDF`; empty where the vendor fetches it from its address.
        tokens: What it takes of the prompt, at most.
    """

    source: str
    digest: str
    media_type: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Parts(Message):
    """A message of several parts: pictures come behind its text, and ``kept`` characters of that
    are the end of what the vendor is asked to keep in its cache.
    """

    images: tuple[Image, ...] = ()
    kept: int = 0


def images_of(message: Message) -> tuple[Image, ...]:
    return message.images if isinstance(message, Parts) else ()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a model, before any provider's wire format.

    Attributes:
        model: The model string as the config has it (``openai/gpt-4o-mini``).
        params: ``max_tokens``, ``temperature``, ``response_format`` and whatever the step adds.
        sample: Which repeat of the same request this is, from 0.
        part: Which request of its step this is for the item, from 0, where there are several.
    """

    item_id: str
    step: str
    model: str
    messages: tuple[Message, ...]
    params: Mapping[str, Any]
    sample: int = 0
    part: int = 0
    _key: str = field(init=False, default="", repr=False, compare=False)

    @property
    def key(self) -> str:
        """Hash of all of the above but the name of the step and the part, which are not sent:
        what the journal is looked up by.
        """
        # Most requests that are made are counted or looked at, and not sent: they need none.
        if not self._key:
            messages = [_in_key(message) for message in self.messages]
            content = _key_encoder.encode(
                (self.item_id, self.model, messages, self.params, self.sample)
            )
            self.set_key(blake2b(content, digest_size=_KEY_BYTES).hexdigest())
        return self._key

    def set_key(self, key: str) -> None:
        """The key that a request had when it was sent, where not all of it is known any more."""
        object.__setattr__(self, "_key", key)

    def key_before(self, step: str) -> str:
        """The key this request had in schema 1, as one of a step of that name."""
        params = dict(self.params)
        form = params.get("response_format")
        if isinstance(form, Mapping) and isinstance(schema := form.get("json_schema"), Mapping):
            named = schema.get("name") == SCHEMA_NAME
            schema = {**schema, "name": step} if named else schema
            params["response_format"] = {**form, "json_schema": schema}
        content = _key_encoder.encode((self.item_id, step, self.model, self.messages, params, 0))
        return blake2b(content, digest_size=_KEY_BYTES_BEFORE).hexdigest()

    @property
    def max_tokens(self) -> int | None:
        """The cap on output tokens, or ``None`` where the step sets none."""
        value = self.params.get("max_tokens")
        return int(value) if value is not None else None


def _in_key(message: Message) -> Any:
    """Pictures by their content, wherever they lie; a mark for a cache changes no answer."""
    if not isinstance(message, Parts):
        return message
    if not message.images:
        return Message(message.role, message.content)
    images = [image.digest for image in message.images]
    return {"content": message.content, "images": images, "role": message.role}


_KEY_BYTES, _KEY_BYTES_BEFORE = 20, 16


def is_key_before(key: str) -> bool:
    """Whether a key is one of schema 1, whatever the schema of the line it stands in."""
    return len(key) == 2 * _KEY_BYTES_BEFORE


# Sorted, so that the order of keys in a config file never changes a request's key.
_key_encoder = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls, as the provider counted them. Adds with ``+``.

    ``input_tokens`` includes cached ones and ``output_tokens`` includes reasoning: providers
    differ in this, and each provider module converts to this meaning.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered.

    Attributes:
        text: The answer; empty when there was none (see ``finish_reason``).
        model: The model as the provider named it in its answer.
        finish_reason: ``stop``, ``length``, ``content_filter``, ``tool_calls``, ``empty`` (no
            choice or no content came back), ``reasoning`` (nothing but thoughts did) or the
            provider's own word, of which `llm_batch.chain.answers` knows nothing.
        usage: ``None`` when the provider did not say; such a call is charged at its worst case.
        response_id: The provider's id of the answer; may be empty.
        reported_cost: What the provider says it costs, in USD; ``None`` when it does not say.
    """

    text: str
    model: str
    finish_reason: str
    usage: Usage | None
    response_id: str = ""
    reported_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call has no completion: one of `llm_batch.errors.STATUSES`.

    The message is the provider's, shortened and without keys.
    """

    kind: str
    message: str
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One send of a request.

    Attributes:
        started_at: Seconds since 1970-01-01 UTC when it was sent.
        seconds: From sending to the last byte or the error.
        maybe_billed: True when it failed but may be charged all the same.
    """

    number: int
    started_at: float
    seconds: float
    error: str = ""
    maybe_billed: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A request with its attempts and its outcome: exactly one of completion and failure.

    Attributes:
        cost: USD for the whole call, what may have been billed for failed attempts included;
            ``None`` when the model has no known price. Where the provider reports a cost, the
            larger of its and ours counts.
        worst_case: True when ``cost`` contains a guess at the upper end, because the usage was
            missing or an attempt that failed may have been billed.
        simulated: True when the fake provider answered.
        list_cost: USD of the answer at our prices, where the provider reported its own cost.
    """

    request: Request
    attempts: tuple[Attempt, ...]
    completion: Completion | None = None
    failure: Failure | None = None
    cost: float | None = None
    worst_case: bool = False
    simulated: bool = False
    list_cost: float | None = None

    def __post_init__(self) -> None:
        if (self.completion is None) == (self.failure is None):
            raise ValueError("a call has exactly one of completion and failure")

    @property
    def latency_seconds(self) -> float:
        """Seconds of the last attempt, the one that decided the outcome."""
        return self.attempts[-1].seconds if self.attempts else 0.0


@dataclass(frozen=True, slots=True)
class Price:
    """List price of a model in USD per million tokens.

    ``cache_read`` and ``cache_write`` are ``None`` where the provider has no such price (those
    tokens then cost as much as other input). ``as_of`` is the date or version of the source,
    ``source`` says in words which entry of which table this is.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    as_of: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """A verdict, of a judge or a rule.

    ``value`` is ``None`` when a judge's could not be read; never a default. A rule that compares
    says what it found, as ``label``, empty where it found nothing, and what was ``expected``.
    ``passed`` is said of further scores and of repeats.
    """

    value: float | None
    label: str = ""
    reason: str = ""
    expected: str | None = None
    passed: bool | None = None


@dataclass(frozen=True, slots=True)
class StepTotals:
    """What one step of one item took.

    Attributes:
        usage: Tokens of all its calls.
        cost: USD; ``None`` when unknown.
        latency_seconds: Of the answering attempts, added up.
        attempts: Sends, re-asks and retries included.
        reported_cost: USD that the provider said its answers cost; ``None`` where it said nothing.
        list_cost: USD of those same answers at our prices; ``None`` also when these are unknown.
    """

    usage: Usage
    cost: float | None
    latency_seconds: float
    attempts: int
    reported_cost: float | None = None
    list_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What the calls of one item came to; always derivable from item and journal.

    Attributes:
        item: The item.
        status: One of `llm_batch.errors.STATUSES`; ``ok`` when the chain came to its end.
        outputs: By step name: the text, or the checked object of a step with an output schema;
            ``None`` where it was skipped. A list where the answers of a repeated step stay apart.
        score: ``None`` when no score is configured or the item failed before it.
        passed: Whether the score reaches ``pass_at``; ``None`` without either.
        steps: By step name, for every step that was called.
        error: Empty when ok, else a sentence that names the step.
        worst_case: True when any cost in it is an upper bound instead of a bill.
        simulated: True when any answer came from the fake provider.
        scores: Further scores by name, as far as the item has them.
        repeats: The score of each repeat; ``score`` is their mean, and passes where most do.
        votes: By step and member: the outputs that were combined.
        skipped: Steps that were not for this item.
        lost: By step and member: why a vote or a repeat is missing although the item is ok.
        trace: The traceback of a user's own rule that raised; for the log alone.
    """

    item: Item
    status: str
    outputs: Mapping[str, Any]
    score: Score | None
    passed: bool | None
    steps: Mapping[str, StepTotals]
    error: str = ""
    worst_case: bool = False
    simulated: bool = False
    scores: Mapping[str, Score] = field(default_factory=dict)
    repeats: tuple[Score, ...] = ()
    votes: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the bounds it is known within.

    Attributes:
        value: The point estimate; ``None`` when there is no data.
        low: Lower bound, in the unit of ``value``; ``None`` when it cannot be given.
        high: Upper bound.
        level: The confidence level (0.95), or 0 for a range that is assumed, not measured.
        n: How many observations it rests on.
        method: How it was made, in a few words (``wilson``).
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    method: str


def writable(text: str) -> str:
    """The text itself, or without halves of a character that no file can hold.

    Such halves come from an emoji that was cut in two at ``max_tokens``.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def larger(ours: float | None, theirs: float | None) -> float | None:
    """The cost to book where two are known, or one, or none."""
    return max((cost for cost in (ours, theirs) if cost is not None), default=None)
