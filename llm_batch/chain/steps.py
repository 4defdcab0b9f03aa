"""Steps and the rule of the score, as the user writes them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from llm_batch.chain.functions import parts_of
from llm_batch.chain.outputs import OutputField, Table, TextList, Wrong
from llm_batch.chain.params import check_params
from llm_batch.chain.rules import (
    RULE_KEYS,
    RULES,
    Normalisers,
    RuleName,
    check_labels,
    check_pattern,
)
from llm_batch.chain.templates import RESERVED
from llm_batch.chain.votes import FIRST, SECOND, TIE, WINNER, Combine, takes_words

#: Of a step: for which items it is played, how often, by whom, and what becomes of the answers.
PLAY_KEYS = (
    *("repeat", "models", "combine", "min_votes", "when", "share", "provided", "pair", "swap"),
)
#: Of a step: what it asks, where that is more than a prompt.
MESSAGE_KEYS = ("messages", "conversation", "images", "cache")


class Turn(Table):
    """One of the messages of a step; the content is a template."""

    role: Literal["system", "user", "assistant"]
    content: str


class Step(Table):
    """One step of the chain, as written under ``[[steps]]``.

    ``prompt`` and ``system`` are Jinja2 templates over the item's fields and, by step name, the
    outputs of earlier steps; ``item`` is all fields at once. With ``output`` the reply must be an
    object of those fields. An answer cut at ``max_tokens`` fails its item, or is kept as it is.
    ``params`` go to the provider as they are; the keys of ``extra_body`` are put into the body
    and ``extra_headers`` beside the key, whoever carries the request.

    ``messages`` stand in place of ``prompt`` and ``system``: examples, or turns of several roles.
    ``conversation`` names a field of the data that has a list of turns, which are sent before the
    step's own prompt and after its system message, or alone where the step has no prompt.
    Each of ``images`` is a template of a picture's path or address, sent with the last message.
    ``cache`` marks what all prompts of the step begin with, where the vendor keeps nothing unasked.

    With a ``rule`` no model is asked: the text of ``value`` is compared with that of ``expected``,
    two templates, and the output is true or false. ``normalise`` says what makes no difference,
    ``pattern`` what is searched for (its first group is then compared), ``tolerance`` and
    ``relative`` how far numbers may lie apart, ``labels`` what can be chosen (A to J by
    themselves), and ``fields`` what an object of JSON must have. ``python`` names a function of
    value, expected and item, in a module beside the config: it gives a bool, a number or a label.

    ``when`` is an expression of fields and earlier outputs: where it is false the step is skipped.
    ``share`` plays it for that part of the items, drawn by the seed. ``models`` asks each of them,
    and ``repeat`` asks so often; ``combine`` makes one output of their answers, if ``min_votes``
    of them can be read (more than half by itself). Answers of a ``repeat`` without it stay apart,
    and all that follows from them is played for each. ``provided`` names a field of the data that
    has the output already.

    ``pair`` names two outputs or fields, which the prompt has as ``first`` and ``second`` in an
    order drawn for each item; the reply names the ``winner``: first, second or tie. The share
    ``swap`` of the items is judged in both orders. The output is the winner's name, and ``win``: 1
    where the first that ``pair`` names wins, 0.5 for a tie, else 0.
    """

    name: str
    model: str = Field(default="", min_length=1)
    prompt: str = ""
    prompt_file: str | None = None
    system: str | None = None
    messages: Annotated[tuple[Turn, ...], Field(strict=False)] | None = None
    conversation: str | None = Field(default=None, min_length=1)
    images: TextList | None = Field(default=None, min_length=1)
    cache: bool = False
    max_tokens: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0)
    output: dict[str, OutputField] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    on_truncated: Literal["fail", "keep"] = "fail"
    rule: RuleName | None = None
    value: str | None = None
    expected: str | None = None
    normalise: Normalisers = ()
    pattern: str | None = Field(default=None, min_length=1)
    tolerance: float | None = Field(default=None, ge=0)
    relative: float | None = Field(default=None, ge=0)
    labels: TextList | None = None
    fields: dict[str, OutputField] | None = None
    python: str | None = None
    repeat: int | None = Field(default=None, ge=2, le=1000)
    models: TextList | None = None
    combine: Combine | None = None
    min_votes: int | None = Field(default=None, ge=1)
    when: str | None = Field(default=None, min_length=1)
    share: float | None = Field(default=None, gt=0, le=1)
    provided: str | None = Field(default=None, min_length=1)
    pair: TextList | None = None
    swap: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _names_winner(cls, raw: Any) -> Any:
        """A pair needs no [steps.output]: what its reply must have is known."""
        if not isinstance(raw, dict) or raw.get("pair") is None or raw.get("output") is not None:
            return raw
        winner = {"type": "string", "choices": [FIRST, SECOND, TIE]}
        return {**raw, "output": {"reason": {"type": "string"}, WINNER: winner}}

    @property
    def asks(self) -> bool:
        """Whether a model is asked."""
        return self.rule is None and self.provided is None

    @property
    def texts(self) -> tuple[tuple[str, str, str], ...]:
        """Key, role and template of each message that the step itself has, in order."""
        if self.messages is not None:
            return tuple(
                (f"messages[{number}]", turn.role, turn.content)
                for number, turn in enumerate(self.messages, 1)
            )
        system = (("system", "system", self.system),) if self.system else ()
        # Without a prompt a step is not complete, unless the data has all that is asked.
        alone = self.conversation is not None and not self.prompt
        return system if alone else (*system, ("prompt", "user", self.prompt))

    @property
    def rows(self) -> tuple[Step, ...]:
        """The step once for each model that it asks, named after it; itself where it asks one."""
        if not self.asks:
            return ()
        if self.models is None:
            return (self,)
        return tuple(
            self.model_copy(update={"name": member(self.name, model), "model": model,
                                    "models": None})
            for model in self.models
        )  # fmt: skip

    @model_serializer(mode="wrap")
    def _as_written(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What says how a step is played is there where it is set, as are the keys of a rule; those
        of a model where one is asked.
        """
        values: dict[str, Any] = whole(self)
        wanted = {"name", *self.model_fields_set}
        if self.asks:
            unset = {*RULE_KEYS, *PLAY_KEYS, *MESSAGE_KEYS, *(("model",) if self.models else ())}
            wanted |= set(type(self).model_fields) - unset
        return {key: value for key, value in values.items() if key in wanted}

    @model_validator(mode="after")
    def _sound(self) -> Step:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name):
            raise Wrong(
                ("name",), f"must be letters, digits and _, no digit first, not {self.name!r}"
            )
        if self.name in RESERVED:
            raise Wrong(("name",), f"is a word of templates: {self.name!r}", "call it generate")
        if self.rule is not None:
            return self._sound_rule(self.rule)
        for key in RULE_KEYS:
            if key in self.model_fields_set:
                raise Wrong((key,), "is for a step with a rule", 'write rule = "equals" beside it')
        if self.provided is not None:
            self._only("name", "output", "when", beside="provided, which asks no model")
            return self
        self._sound_messages()
        self._sound_play()
        self._sound_pair()
        if not self.model and not self.models:
            raise Wrong(
                (),
                "has no model",
                'write model = "…", or rule = "equals" for a step that compares; llmb init writes '
                "a complete example",
            )
        for key, model in (
            ("model", self.model),
            *(("models", each) for each in self.models or ()),
        ):
            if "://" in model:
                # litellm would send the key there.
                raise Wrong((key,), "must be a name, not a URL", "set api_base under [models]")
        if self.output is not None and not (self.output and all(self.output)):
            raise Wrong(("output",), "must name at least one field")
        if self.output is not None and self.on_truncated == "keep":
            # Cut off, {"score": 1 may have been going to be 10.
            raise Wrong(("on_truncated",), "cannot be 'keep' in a step with output")
        check_params(self.params)
        return self

    def _only(self, *keys: str, beside: str) -> None:
        own = (*keys, beside.partition(",")[0])
        for key in type(self).model_fields:
            if key in self.model_fields_set and key not in own:
                raise Wrong((key,), f"stands beside {beside}", f"leave out {key}")

    def _sound_messages(self) -> None:
        if self.messages is None:
            return
        for key in ("prompt", "prompt_file", "system"):
            if getattr(self, key):
                hint = 'write { role = "system", content = "…" } as the first of messages'
                raise Wrong(
                    (key,),
                    "stands beside messages",
                    hint if key == "system" else "keep one of the two",
                )
        if not self.messages:
            raise Wrong(
                ("messages",), "is empty", 'write [{ role = "user", content = "{{ question }}" }]'
            )
        for position, turn in enumerate(self.messages):
            if not turn.content.strip():
                raise Wrong(("messages", position, "content"), "is empty")
            if turn.role == "system" and position:
                raise Wrong(
                    ("messages", position, "role"),
                    "is system, which only the first message can be",
                    "move it up, or write user",
                )
        if self.messages[-1].role != "user":
            raise Wrong(
                ("messages", len(self.messages) - 1, "role"),
                f"of the last message is {self.messages[-1].role}, and a model answers a user",
                'write { role = "user", content = "{{ question }}" } as the last',
            )

    def _sound_play(self) -> None:
        """How often and by whom, and what becomes of several answers."""
        votes = (self.repeat or 1) * len(self.models or ("",))
        if self.models is not None:
            if self.model:
                raise Wrong(("models",), "stands beside model", "keep one of the two")
            if len(self.models) < 2:
                raise Wrong(("models",), "must name two models or more", 'or write model = "…"')
            for model in self.models:
                if self.models.count(model) > 1:
                    raise Wrong(("models",), f"names {model!r} twice", "repeat asks one again")
            if self.combine is None:
                raise Wrong(
                    (),
                    "asks several models, and nothing says what becomes of their answers",
                    'write combine = "majority", or mean, median, all or any',
                )
        for key in ("combine", "min_votes"):
            if key in self.model_fields_set and votes == 1:
                raise Wrong(
                    (key,), "needs several answers", "write models = [ … ] or repeat = 3 beside it"
                )
        if self.min_votes is not None and self.min_votes > votes:
            raise Wrong(("min_votes",), f"is {self.min_votes}, and there are {votes} answers")
        if self.repeat and self.temperature == 0:
            raise Wrong(
                ("repeat",),
                "asks the same again, and with temperature = 0 the answers are the same",
                "write temperature = 0.7, or leave repeat out",
            )
        if self.combine and not takes_words(self.combine):
            for name, field in (self.output or {}).items():
                if field.choices is not None:
                    raise Wrong(
                        ("combine",),
                        f"is {self.combine!r}, but {name} is a word of several",
                        'write combine = "majority"',
                    )

    def _sound_pair(self) -> None:
        if self.pair is None:
            if "swap" in self.model_fields_set:
                raise Wrong(("swap",), "is for a pair", 'write pair = ["generate", "answer"] too')
            return
        if len(self.pair) != 2 or len(set(self.pair)) != 2:
            raise Wrong(
                ("pair",),
                "must name two different outputs or fields",
                'write pair = ["generate", "answer"]; of three, write a step for each two',
            )
        for key in ("models", "repeat"):
            if getattr(self, key) is not None:
                raise Wrong((key,), "does not go with pair", f"leave out {key}")
        winner = (self.output or {}).get(WINNER)
        if winner is None or not set(winner.choices or ("",)) <= {FIRST, SECOND, TIE}:
            raise Wrong(
                ("output",),
                f"of a pair must have {WINNER}",
                f'winner = {{ type = "string", choices = ["{FIRST}", "{SECOND}", "{TIE}"] }}',
            )
        shown = self.prompt or "\n".join(turn.content for turn in self.messages or ())
        if shown and not all(name in shown for name in (FIRST, SECOND)):
            raise Wrong(
                ("messages" if self.messages else "prompt",),
                "does not show both outputs of the pair",
                "insert {{ first }} and {{ second }}",
            )

    def _sound_rule(self, rule: RuleName) -> Step:
        self._only("name", "when", *RULE_KEYS, beside=f"rule = {rule!r}, which asks no model")
        must, may = RULES[rule]
        for key in ("value", *must):
            if not (getattr(self, key) or "").strip():
                raise Wrong((), f"is a rule without {key}", _RULE_HINTS[key])
        for key in RULE_KEYS:
            allowed = ("rule", "value", *must, *may)
            if key in self.model_fields_set and key not in allowed:
                fit = [name for name, keys in RULES.items() if key in (*keys[0], *keys[1])]
                raise Wrong((key,), f"is not for the rule {rule!r}", f"it is for {', '.join(fit)}")
        if self.expected is not None and not self.expected.strip():
            raise Wrong(("expected",), "is empty", _RULE_HINTS["expected"])
        if self.normalise and rule == "regex" and self.expected is None:
            raise Wrong(("normalise",), "goes with expected", _RULE_HINTS["expected"])
        if self.python is not None:
            parts_of(self.python)
        if self.pattern is not None:
            check_pattern(self.pattern)
        if self.labels is not None:
            check_labels(self.labels)
        if self.fields is not None and not (self.fields and all(self.fields)):
            raise Wrong(("fields",), "must name at least one field")
        return self


def member(step: str, model: str) -> str:
    """What one member of a jury is called in journal and results."""
    return f"{step}#{model}"


def written(row: str) -> str:
    """The step that the config has, of one that is named like a member."""
    return row.partition("#")[0]


def shown(row: str) -> str:
    """A row as one reads it: of a member of a jury the step, and its model without its provider."""
    step, jury, model = row.partition("#")
    name = model.rpartition("/")[2]
    return f"{step} ({name[:_LONGEST_MODEL]}{'…' * (len(name) > _LONGEST_MODEL)})" if jury else row


_LONGEST_MODEL = 40
_RULE_HINTS = {
    "value": 'write value = "{{ generate }}", with the step whose answer is looked at',
    "expected": 'write expected = "{{ answer }}", with the field that holds the right answer',
    "python": 'write python = "scoring:exact", for the function exact in scoring.py beside it',
    "pattern": "write pattern = 'answer is (\\w+)', in single quotes",
}
