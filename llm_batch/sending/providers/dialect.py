"""What a deployment takes of a request: learned from its refusals, kept for the run.

Servers that speak one format differ in what they take of it: one knows no ``temperature`` but 1,
one calls ``max_tokens`` otherwise, one has no system role, one cannot compile a schema with
``minimum``. A request that is refused for such a thing is asked in another form, at once. A form
that is answered is kept for the requests that come after; one that is not changes nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from llm_batch.chain.credentials import without_keys
from llm_batch.chain.images import address_of
from llm_batch.errors import (
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Timeout,
    Transient,
    Unavailable,
    status_of,
)
from llm_batch.records import PDF, Message, Parts, Request, images_of
from llm_batch.sending.providers.decoding import Words
from llm_batch.sending.providers.refusals import is_about_format, is_passing

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")

#: How a step's output schema can be asked for, strictest first. A plain schema has only the
#: keywords that every compiler of schemas knows, and is not ``strict``.
STRUCTURED = ("json_schema", "plain_schema", "json_object", "prompt")
# Forms of one request, the first included: every step of the way down, and a few parameters.
_MOST_FORMS = 9
# Calls that are remembered, in case they are tried again.
_MOST_REMEMBERED = 10_000
# Once so many calls of a step were not helped by a laxer format, only words about it lead to one.
_MOST_IN_VAIN = 3

_PLAIN_KEYWORDS = frozenset(
    ("type", "properties", "required", "items", "enum", "anyOf", "description", "$defs", "$ref")
)
_MAX_TOKENS = ("max_tokens", "max_completion_tokens")
# The context in tokens, and what of it a prompt takes: vLLM's and OpenAI's, then TGI's.
_CONTEXT = re.compile(
    r"context length (?:is|of) (?P<all>\d{1,9})(?!\d).{0,160}?\b(?P<prompt>\d{1,9})"
    r" (?:input tokens|of text input|in (?:the|your) (?:messages|prompt|input))"
    r"|must be <= (?P<total>\d{1,9})\. Given: (?P<inputs>\d{1,9}) `inputs`"
    r"|context limit: (?P<length>\d{1,9}) \+ \d{1,9} > (?P<limit>\d{1,9})",  # Anthropic
    re.IGNORECASE | re.DOTALL,
)
# The most that a model writes: OpenAI's, Anthropic's, Groq's and others', DeepSeek's and Qwen's.
_OUTPUT_CAP = re.compile(
    r"supports (?:at most|up to) (\d{1,9}) (?:completion|output) tokens"
    r"|max\w{0,12}_tokens\b\W{0,4}\d{1,9} > (\d{1,9}), which is the maximum"
    r"|max\w{0,12}_tokens\b\W{0,3}(?:value )?(?:must|should) (?:not be greater than"
    r"|be (?:less than or equal to|<=|no more than|at most)) `?(\d{1,9})(?![\d.]*\d)"
    r"|range of `?max\w{0,12}_tokens`? (?:should be|is) \[\d{1,9}, ?(\d{1,9})\]",
    re.IGNORECASE,
)
# An answer that gets less than either, a share of what it was to have, would be cut for certain.
_LEAST_SHARE = 0.25
_ENOUGH = 1024
# What a prompt leaves of a context is kept for those after it where it is nearly all.
_NEARLY_ALL = 0.75
#: Parameters that may be left out: the answer is another draw of the same model without them.
#: What bounds an answer or sets its price (max_tokens, service_tier) is never among them.
_OPTIONAL = {
    "temperature": "temperature",
    "top_p": "top_?p",
    "top_k": "top_?k",
    "min_p": "min_?p",
    "seed": "(?:random_)?seed",
    "stop": "stop(?:_?sequences)?",
    "presence_penalty": "presence_?penalty|penalty",
    "frequency_penalty": "frequency_?penalty|penalty",
    "repetition_penalty": "repetition_?penalty",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "n": "n",
    "user": "user",
    "reasoning_effort": "reasoning[_ ]?effort",
    "verbosity": "verbosity",
    "parallel_tool_calls": "parallel_tool_calls",
    "store": "store",
    "metadata": "metadata",
    "prompt_cache_key": "prompt_cache_key",
    "safety_identifier": "safety_identifier",
}
_KNOWN = "|".join((*_MAX_TOKENS, *_OPTIONAL.values()))
# Names that are words as well: only in quotes, or beside "parameter".
_PLAIN_WORDS = frozenset(("stop", "n", "user", "store", "metadata"))
_NOT_TAKEN = re.compile(
    r"unsupported|not (?:be |currently |yet |an? )?(?:support|permit|allow|availab|accept|enabl"
    r"|compat|implement|recogni|valid for)|n[o']t (?:support|accept|allow|take)|unrecogni[sz]ed"
    r"|unknown|extra (?:inputs|fields)|unexpected|only the default|deprecated|incompatible"
    r"|cannot (?:both )?be (?:used|set|specified|combined)|can't be|does not (?:accept|take|have)"
    r"|may only be (?:set|used)|only [\d.]+ is|only temperature|use .{0,40}instead"
    r"|not a valid (?:field|param|arg)|immutable|(?:is|are) fixed"
    r"|no longer (?:supported|accepted|available)|is invalid for (?:this|the) model|不支持"
    r"|invalid (?:parameter|argument|field):? ['\"`]?\w{1,40}['\"`]?\.?\Z"
    r"|must be (?:exactly )?(?:null|none|1(?:\.0)?)(?![\d.]*\d)(?! (?:or|to|and)\b)"
    # A temperature of 0.
    r"|must be (?:strictly positive|(?:greater than|>) ?0\b|>= ?0\.0|in \(0)",
    re.IGNORECASE,
)
_BOTH = re.compile(r"cannot both|both be|not both|only one of", re.IGNORECASE)
_NO_SYSTEM = re.compile(
    r"(?:system|developer)['\"`]? (?:role|message|instruction|prompt)s?\b.{0,40}"
    r"(?:not|n't|unsupported)|(?:not|n't) support.{0,20}['\"`](?:system|developer)"
    r"|(?:only|unsupported|invalid|unknown|unexpected) (?:\w+ ){0,3}roles?\b|roles must alternate"
    r"|(?:not|n't) support (?:system|developer) (?:role|message|instruction|prompt)"
    r"|role must be (?:in|one of)(?!.{0,60}system)"
    r"|role of message with odd index"  # Qianfan
    r"|role.{0,40}['\"`](?:system|developer)|role: (?:system|developer) is not"
    r"|input should be ['\"](?:user|assistant)",
    re.IGNORECASE,
)
_KNOWS_DEVELOPER = re.compile(
    r"support\w{0,9} values?.{0,60}developer|use.{0,20}developer", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Form:
    """How a request is put. ``level`` is an index of `STRUCTURED`, ``renamed`` is by our own names.

    ``system`` is the role of instructions; ``user`` puts them into the message that follows.
    Outputs have at most ``most_tokens``, this one what its prompt leaves, ``fits``.
    """

    level: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    system: str = "system"
    most_tokens: int | None = None
    fits: int | None = None

    def differs_in(self, before: Form) -> list[str]:
        """Names of parameters, ``level`` and ``system``."""
        names = [*self.renamed.keys() - before.renamed.keys(), *self.left_out - before.left_out]
        names += ["level"] * (self.level != before.level)
        names += ["most_tokens"] * (self.most_tokens != before.most_tokens)
        names += ["fits"] * (self.fits != before.fits)
        return names + ["system"] * (self.system != before.system)

    def params(self, request: Request) -> Mapping[str, Any]:
        """By the names the config has for them."""
        params = self._bounded(request.params)
        wanted = params.get("response_format")
        if not self.left_out and (wanted is None or self.level == 0):
            return params
        sent = {name: value for name, value in params.items() if name not in self.left_out}
        if wanted is not None:
            how = STRUCTURED[self.level]
            if how == "json_object":
                sent["response_format"] = {"type": "json_object"}
            elif how == "prompt":
                del sent["response_format"]
            elif how == "plain_schema":
                sent["response_format"] = _plain(wanted)
        return sent

    def _bounded(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        bounds = [most for most in (self.most_tokens, self.fits) if most is not None]
        if not bounds or (asked := _tokens_asked(params)) is None or asked[1] <= min(bounds):
            return params
        return {**params, asked[0]: min(bounds)}

    def messages(self, request: Request) -> Sequence[Message]:
        messages = request.messages
        if self.system == "system" or not any(each.role == "system" for each in messages):
            return messages
        if self.system == "developer":
            return [
                replace(each, role="developer") if each.role == "system" else each
                for each in messages
            ]
        made: list[Message] = []
        before: list[str] = []
        for each in messages:
            if each.role == "system":
                before.append(each.content)
            elif before and each.role == "user":
                text = "\n\n".join([*before, each.content])
                made.append(Parts(each.role, text, images_of(each)))
                before = []
            else:
                made.append(each)
        return [*made, *(Message("user", text) for text in before)]


def content_of(message: Message) -> str | list[dict[str, Any]]:
    """A message's content as OpenAI's format has it: text, or parts where there are pictures,
    PDFs or a mark for the vendor's cache.

    Raises:
        Rejected: A picture cannot be read any more.
    """
    if not isinstance(message, Parts) or not (message.images or message.kept):
        return message.content
    parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}]
    if message.kept:
        # Anthropic refuses a part of nothing but spaces.
        end = message.kept if message.content[message.kept :].strip() else len(message.content)
        mark = {"cache_control": {"type": "ephemeral"}}
        parts = [{"type": "text", "text": message.content[:end], **mark}]
        if end < len(message.content):
            parts.append({"type": "text", "text": message.content[end:]})
    for image in message.images:
        if image.media_type == PDF:
            # The name is no part of the request's key, so it is the same for all.
            file = {"filename": "document.pdf", "file_data": address_of(image)}
            parts.append({"type": "file", "file": file})
        else:
            parts.append({"type": "image_url", "image_url": {"url": address_of(image)}})
    return parts


def unmarked(message: Message) -> Message:
    """A message without the mark for a vendor's cache."""
    return replace(message, kept=0) if isinstance(message, Parts) else message


@dataclass(slots=True)
class _Way:
    """The forms that a request has been asked in so far.

    ``why`` has how it was refused before, by what was changed; with ``first`` it may end.
    """

    form: Form
    why: dict[str, str] = field(default_factory=dict)
    first: ProviderError | None = None
    tried: int = 1

    def turn_to(self, other: Form, error: ProviderError) -> None:
        before = self.form
        self.why |= dict.fromkeys(other.differs_in(before), error.message)
        if other.left_out == before.left_out and other.system == before.system:
            self.first = self.first or error  # another format or name: it may not help
        self.form = other
        self.tried += 1


class Dialect:
    """What the deployment of one model takes; used from many threads.

    ``renamed`` is what it is known to call otherwise from the start.
    """

    def __init__(self, structured: str, renamed: Mapping[str, str] | None = None) -> None:
        self.form = Form(STRUCTURED.index(structured))
        #: Called once for every thing that is done otherwise from then on.
        self.tell: Callable[[str], None] = lambda sentence: None
        self._known = dict(renamed or {})
        self._lock = threading.Lock()
        self._told_fits = False
        # Formats that were answered, by step; what fails later is not the format's fault.
        self._worked: set[tuple[str, int]] = set()
        self._in_vain: dict[str, int] = {}
        self._not_helped: dict[tuple[str, str], None] = {}
        # Calls whose way down was broken off: where their next attempt goes on.
        self._broken_off: dict[tuple[str, str, int], _Way] = {}

    def ask(self, request: Request, send: Callable[[Form], T]) -> T:
        """Send a request in the form that is known, and in others while it is refused for it.

        Raises:
            ProviderError: As the first form was refused, where no other one was answered.
            Transient: The way to another form was broken off, by a limit say, or a refusal on it
                may have been billed. The next attempt at the same request goes on from there.
        """
        key = (request.item_id, request.step, request.sample)
        way = self._broken_off.pop(key, None) or _Way(self.form)
        while True:
            form = way.form
            try:
                answer = send(form)
            except ProviderError as error:
                other = self._other(form, request, error) if way.tried < _MOST_FORMS else None
                if other is not None:
                    way.turn_to(other, error)
                    if not error.maybe_billed:
                        continue
                elif way.first is None or _says_more(error, way.first):
                    if not isinstance(error, Transient) or way.tried == 1:
                        raise
                else:
                    self._remember_not_helped(request)
                    raise way.first from error
                _remember(self._broken_off, key, way)
                if isinstance(error, Transient):
                    raise
                raise _again(error) from error
            self._keep(form, request, way.why)
            return answer

    def adopt(self, form: Form, request: Request, error: ProviderError) -> bool:
        """Whether there is another form after a refusal, which is then used from now on.

        This is for what is not sent at once: whether the other form helps is seen later.
        """
        other = self._other(form, request, error)
        if other is None or other.fits is not None:
            return False
        self._take(other, other.level, dict.fromkeys(other.differs_in(form), error.message))
        return True

    def worked(self, form: Form, request: Request) -> None:
        """A request was answered in a form: later refusals in it are not its format's fault."""
        key = (request.step, form.level)
        if "response_format" in request.params and key not in self._worked:
            with self._lock:
                self._worked.add(key)

    def _other(self, form: Form, request: Request, error: ProviderError) -> Form | None:
        """The next form to try after a refusal; ``None`` when another one changes nothing."""
        words = error.words
        if not isinstance(words, Words) or isinstance(error, RateLimited | Timeout):
            return None
        of_format = is_about_format(words) and error.status_code not in (502, 503, 504, 529)
        if isinstance(error, Rejected) and (other := _with_fewer_tokens(form, request, words.all)):
            return other
        if status_of(error.kind).any_form and not (of_format and error.kind == "model"):
            return None
        said = f"{words.param} {words.all}"
        if isinstance(error, Rejected | Refused) or error.status_code in (500, 501):
            other = self._with_other_params(form, request, words, said)
            other = other or _with_other_role(form, request, said)
            if other is not None:
                return other
        wanted = request.params.get("response_format")
        last = len(STRUCTURED) - 1
        if wanted is None or form.level == last:
            return None
        has_schema = isinstance(wanted, Mapping) and "json_schema" in wanted
        laxer = replace(form, level=form.level + 1 if has_schema else last)
        if of_format:
            return laxer
        # Whatever the words: a compiler that fails may say anything.
        may_be = error.status_code in (400, 422, 500, 501) and not error.maybe_billed
        any_words = may_be and not is_passing(words)
        worked = (request.step, form.level) in self._worked
        helped = (request.item_id, request.step) not in self._not_helped
        helped = helped and self._in_vain.get(request.step, 0) < _MOST_IN_VAIN
        return laxer if any_words and helped and not worked else None

    def _with_other_params(
        self, form: Form, request: Request, words: Words, said: str
    ) -> Form | None:
        if not _NOT_TAKEN.search(said):
            return None
        named = [
            (at, name)
            for name in request.params
            if name not in form.left_out and name not in form.renamed
            if (at := _named_at(name, words, said)) >= 0
        ]
        if not named:
            return None
        _, name = max(named) if _BOTH.search(said) else min(named)
        if name not in _MAX_TOKENS:
            return replace(form, left_out=form.left_out | {name})
        other = _MAX_TOKENS[1 - _MAX_TOKENS.index(self._known.get(name, name))]
        return replace(form, renamed={**form.renamed, name: other})

    def _keep(self, form: Form, request: Request, why: Mapping[str, str]) -> None:
        self.worked(form, request)
        if form.fits is not None and not self._told_fits:
            self._told_fits = True
            quoted = without_keys(why.get("fits", ""), longest=160)
            self.tell(
                "has no room for prompt and max_tokens; such a prompt gets what it leaves of the "
                f"context ({quoted})"
            )
        if why:
            # Where a stricter format was answered, it was this request that could not have it.
            only_here = any((request.step, level) in self._worked for level in range(form.level))
            self._take(form, 0 if only_here else form.level, why)

    def _take(self, form: Form, level: int, why: Mapping[str, str]) -> None:
        """With this level at least, and say what is new."""
        with self._lock:
            now = self.form
            kept = Form(
                max(now.level, level),
                {**now.renamed, **form.renamed},
                now.left_out | form.left_out,
                now.system if form.system == "system" else form.system,
                min(filter(None, (now.most_tokens, form.most_tokens)), default=None),
            )
            self.form = kept
        for name in kept.differs_in(now):
            what, instead = self._said_of(name, kept)
            quoted = without_keys(why.get(name, ""), longest=160)
            self.tell(f"does not take {what}; {instead} from now on ({quoted})")

    def _said_of(self, name: str, form: Form) -> tuple[str, str]:
        if name == "level":
            return "objects asked for as they were", f"they are asked for {_FORMATS[form.level]}"
        if name == "system":
            role = "as 'developer'" if form.system == "developer" else "in the user's message"
            return "the system role", f"instructions are sent {role}"
        if name == "most_tokens":
            return "so large a max_tokens", f"{form.most_tokens} is sent"
        if name in form.left_out:
            return name, "it is left out"
        return self._known.get(name, name), f"it is sent as {form.renamed[name]}"

    def _remember_not_helped(self, request: Request) -> None:
        with self._lock:
            self._in_vain[request.step] = self._in_vain.get(request.step, 0) + 1
            _remember(self._not_helped, (request.item_id, request.step), None)


_FORMATS = (
    "by their schema",
    "by a schema of plain keywords",
    "as any JSON object, checked here",
    "in words, and checked here",
)


def _plain(response_format: Any) -> Any:
    """A format with the keywords of a schema that every server compiles, and not strict."""
    if not isinstance(response_format, Mapping):
        return response_format
    asked = response_format.get("json_schema")
    if not isinstance(asked, Mapping):
        return response_format
    kept = {name: value for name, value in asked.items() if name != "strict"}
    return {**response_format, "json_schema": {**kept, "schema": _plain_schema(kept.get("schema"))}}


def _plain_schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain_schema(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        name: {key: _plain_schema(part) for key, part in value.items()}
        if name in ("properties", "$defs") and isinstance(value, Mapping)
        else _plain_schema(value)
        if name in ("items", "anyOf")
        else value
        for name, value in schema.items()
        if name in _PLAIN_KEYWORDS
    }


def _named_at(name: str, words: Words, said: str) -> int:
    pattern = "|".join(_MAX_TOKENS) if name in _MAX_TOKENS else _OPTIONAL.get(name, "")
    if not pattern:
        return -1
    # Cerebras calls every parameter ``validation_error``.
    if words.param and (words.param in words.message or _is_one_of(_KNOWN, words.param)):
        return 0 if _is_one_of(pattern, words.param) else -1
    if name in _PLAIN_WORDS:
        beside = r"(?:(?:parameters?|supplied|field)\b:?|argument[^:]{0,40}:)"
        pattern = (
            rf"['\"`](?:{pattern})['\"`]|{beside} (?:{pattern})\b|\bbody\.(?:{pattern})\b"
            rf"|\b(?:{pattern}) (?:parameter|field|(?:is|are) (?:not|un))|^(?:{pattern}):"
        )
    else:
        pattern = rf"(?<![a-z])(?:{pattern})(?![a-z])"
    found = re.search(pattern, said, re.IGNORECASE)
    return found.start() if found else -1


def _tokens_asked(params: Mapping[str, Any]) -> tuple[str, int] | None:
    asked = ((name, params.get(name)) for name in _MAX_TOKENS)
    return next(((name, count) for name, count in asked if type(count) is int), None)


def _with_fewer_tokens(form: Form, request: Request, said: str) -> Form | None:
    """The form with as many output tokens as a refusal leaves; a whole answer is the same."""
    if (asked := _tokens_asked(form.params(request))) is None:
        return None
    wanted = asked[1]
    least = min(_LEAST_SHARE * wanted, _ENOUGH)
    if (context := _CONTEXT.search(said)) is None:
        if (cap := _OUTPUT_CAP.search(said)) is None:
            return None
        most = int(next(filter(None, cap.groups())))
        return replace(form, most_tokens=most) if least <= most < wanted else None
    whole = int(context["all"] or context["total"] or context["limit"])
    most = whole - int(context["prompt"] or context["inputs"] or context["length"])
    if form.fits is not None or form.most_tokens is not None:
        most = min(most, int(wanted * _NEARLY_ALL))  # prompts are counted roughly
    if not least <= most < wanted:
        return None
    if most >= _NEARLY_ALL * whole:
        return replace(form, most_tokens=most)
    return replace(form, fits=most)


def _is_one_of(pattern: str, param: str) -> bool:
    """Whether a parameter, wherever in the body it stands, is one of a pattern's."""
    return re.fullmatch(rf"(?:.*\.)?(?:{pattern})", param, re.IGNORECASE) is not None


def _with_other_role(form: Form, request: Request, said: str) -> Form | None:
    if form.system == "user" or not any(each.role == "system" for each in request.messages):
        return None
    if not _NO_SYSTEM.search(said):
        return None
    developer = form.system == "system" and _KNOWS_DEVELOPER.search(said)
    return replace(form, system="developer" if developer else "user")


def _remember(held: dict[K, V], key: K, value: V) -> None:
    if len(held) >= _MOST_REMEMBERED:
        held.clear()
    held[key] = value


def _again(error: ProviderError) -> Unavailable:
    """A refusal that may have been billed, as one to try again after; it is charged meanwhile."""
    again = Unavailable(
        error.message, kind=error.kind, status_code=error.status_code, maybe_billed=True
    )
    again.partial, again.words = error.partial, error.words
    return again


def _says_more(error: ProviderError, first: ProviderError) -> bool:
    """Whether an error on the way down must be heard instead of the one it began with."""
    return (
        error.maybe_billed
        or isinstance(error, RateLimited | Timeout)
        or status_of(error.kind).any_form
        or (isinstance(error, Unavailable) and not isinstance(first, Unavailable))
    )
