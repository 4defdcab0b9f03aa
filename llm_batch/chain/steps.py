"""Steps and the rule of the score, as the user writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from llm_batch.chain.credentials import header_is_secret, hides_key, parameter_is_secret
from llm_batch.chain.functions import parts_of
from llm_batch.chain.outputs import OutputField, Table, TextList, Wrong, number_in
from llm_batch.chain.rules import (
    RULE_KEYS,
    RULES,
    Normalisers,
    RuleName,
    check_labels,
    check_pattern,
)
from llm_batch.chain.templates import RESERVED, inserted
from llm_batch.chain.votes import FIRST, SECOND, TIE, WINNER, Combine, takes_words

# What is said elsewhere, or would break what is promised: a stream or several answers cannot be
# read, and a budget counts on the step's own max_tokens. It may not come by extra_body either.
_NOT_PARAMS = {
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens"), "set max_tokens of the step"
    ),
    "temperature": "set temperature of the step",
    "response_format": "describe the object under [steps.output]",
    "model": "set model of the step",
    "messages": "set messages of the step, or system and prompt",
    "stream": "answers are read whole",
    "stream_options": "answers are read whole",
    "n": "one answer is asked for at a time",
    **dict.fromkeys(
        ("api_base", "base_url", "custom_endpoint", "deployment_url"),
        "set api_base under [models]",
    ),
    **dict.fromkeys(
        ("custom_llm_provider", "deployment_id", "model_list", "model_alias_map"),
        'name the provider before the model: model = "anthropic/…"',
    ),
    "organization": 'write extra_headers = { "OpenAI-Organization" = "…" }',
    "api_version": "set the provider's variable, such as AZURE_API_VERSION",
}
# Where requests go, who answers and with which account, in the words of litellm and of gateways
# that run it: refused in extra_body too.
_REDIRECTS = re.compile(
    r"(?:mock|litellm|aws|azure|vertex|oci|watsonx|wx|gigachat|predibase|sagemaker)_\w+"
    r"|\w*fallback\w*|\w*prox(?:y|ies)\w*|\w*base_url|\w*_endpoint(?:_url)?|\w*endpoint_url"
    r"|client|tenant_id|client_id|user_config|ssl_verify|region_name"
)
# What else litellm takes for itself instead of sending it. A test holds both against litellm.
_LITELLMS_FAMILIES = re.compile(
    r"_\w+|\w*(?:cost_per_|token_cost|router_|interception|callback|drop_params)\w*"
    r"|(?:anthropic|langfuse|langsmith|s3|gcs|arize|dd|newrelic|posthog|signoz|wandb|weave"
    r"|humanloop|google_maps|default_api_key|regional|bedrock|openai_identity|openai_service)_\w+"
    r"|prompt_(?:id|label|variables|version|environment)"
)
_OF_LITELLM = """
    acompletion aembedding aimg_generation allm_passthrough_route
    allow_client_keepalive_override allowed_model_region allowed_openai_params
    assistant_continue_message async_call atext_completion attempted_targets azure base_model
    bos_token budget_duration cache cache_key caching caching_groups client_side_timeout
    complete_response completion_call_id configurable_clientside_auth_params cooldown_time
    custom_prompt_dict data_residency default_headers disable_add_transform_inline_image_block
    enable_json_schema_validation enable_prompt_caching enable_tag_filtering
    ensure_alternating_roles eos_token extra_query fastest_response final_prompt_value
    fireworks_forward_user_id force_timeout guardrails headers hf_model_name id
    initial_prompt_value itpm keepalive_seconds kwargs log_client_error_tracebacks logger_fn
    max_agentic_loops max_budget max_file_size_mb max_parallel_requests max_retries
    merge_reasoning_content_in_choices metadata model_config model_file_id_mapping model_info
    no-log num_retries ocr_cost_per_credit order otpm output_vector_size preset_cache_key
    project_id provider_affinity_header provider_specific_header request_timeout retry_policy
    retry_strategy roles routing_strategy rpm rust search_tool_name secret_fields self
    session_id shared_session silent_model space_id stream_chunk_size stream_response
    stream_timeout stream_timeout_by_service_tier supports_system_message tag_regex tags
    text_completion tiered_pricing timeout timeout_by_service_tier tpm ttl
    turn_off_message_logging use_chat_completions_api use_client use_in_pass_through
    use_xai_oauth user_continue_message verbose weight
"""
_LITELLMS_WORDS = frozenset(_OF_LITELLM.split())
_WHO_ANSWERS = "leave it out: model, api_base and api_key_env say who answers"
_OWN_PLACES = {
    "metadata": "write extra_body = { metadata = { … } }",
    "headers": "write extra_headers",
    "default_headers": "write extra_headers",
    "extra_query": "put it behind the ? of api_base under [models]",
    **dict.fromkeys(("timeout", "request_timeout"), "set timeout under [limits]"),
    **dict.fromkeys(("max_retries", "num_retries"), "set max_attempts under [limits]"),
    **dict.fromkeys(("rpm", "tpm"), "set it under [limits] or [models]"),
}
# What the connection or the key's own setting says.
_NOT_HEADERS = {
    "authorization": "api_key_env under [models] names the variable that is sent there",
    **dict.fromkeys(
        ("host", "content-length", "content-type", "content-encoding", "transfer-encoding",
         "connection", "accept", "accept-encoding", "expect", "te", "trailer", "upgrade"),
        "leave it out: it is said by how requests are sent",
    ),
}  # fmt: skip
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: A header with this at its beginning is read from the variable named behind it.
FROM_ENVIRONMENT = "env:"
_KEYS_ELSEWHERE = "keys are read from the environment; api_key_env under [models] names one"


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
        _check_params(self.params)
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


def _check_params(params: dict[str, Any]) -> None:
    """Only what reaches the model goes through; what steers a library or hides a key does not."""
    for name in params:
        if hint := _NOT_PARAMS.get(name) or _OWN_PLACES.get(name):
            raise Wrong(("params", name), "does not go here", hint)
        if _REDIRECTS.fullmatch(name):
            raise Wrong(("params", name), "does not go here", _WHO_ANSWERS)
        if name in _LITELLMS_WORDS or _LITELLMS_FAMILIES.fullmatch(name):
            raise Wrong(
                ("params", name),
                "steers the library that sends, not the model",
                "leave it out; a field of the provider's own that has this name goes into "
                "extra_body",
            )
    body, headers = params.get("extra_body", {}), params.get("extra_headers", {})
    for name, value in (("extra_body", body), ("extra_headers", headers)):
        if not isinstance(value, dict):
            raise Wrong(("params", name), "must be a table")
    for name in body:
        if name in _NOT_PARAMS or _REDIRECTS.fullmatch(name):
            hint = _NOT_PARAMS.get(name, _WHO_ANSWERS)
            raise Wrong(("params", "extra_body", name), "does not go here", hint)
    for name, value in headers.items():
        _check_header(name, value)
    _refuse_keys({**params, "extra_headers": {}})


def _check_header(name: str, value: Any) -> None:
    place = ("params", "extra_headers", name)
    if not _HEADER_NAME.fullmatch(name):
        raise Wrong(place, "is no name of a header")
    if hint := _NOT_HEADERS.get(name.lower()):
        raise Wrong(place, "does not go here", hint)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise Wrong(place, "must be text of one line, of letters that a header can have")
    if value.startswith(FROM_ENVIRONMENT):
        variable = value.removeprefix(FROM_ENVIRONMENT)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            raise Wrong(
                place, "names no variable", f'write {{ "{name}" = "{FROM_ENVIRONMENT}MY_KEY" }}'
            )
    elif header_is_secret(name, value):
        raise Wrong(
            place,
            "looks like a key, and must not be in a file",
            f'write "{FROM_ENVIRONMENT}MY_KEY", with the name of the variable that holds it',
        )


def _refuse_keys(value: Any, path: tuple[str | int, ...] = ("params",)) -> None:
    """Wherever it hides: under a name that says so, or in the shape of one."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # A tool may have a parameter of that name, which its schema describes.
            described = isinstance(inner, dict) and "type" in inner
            if parameter_is_secret(name) and inner not in ("", None) and not described:
                raise Wrong((*path, name), "must not be in a file", _KEYS_ELSEWHERE)
            _refuse_keys(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            _refuse_keys(inner, path)
    elif isinstance(value, str) and hides_key(value):
        raise Wrong(path, "looks like a key, and must not be in a file", _KEYS_ELSEWHERE)


class ScoreRule(Table):
    """Where a score is and when it passes, as written under ``[score]`` and ``[scores.NAME]``.

    ``field`` names a step or a field of its output object (``judge.score``), or several: the first
    that an item has counts, and a rule there when it passes (as full marks) or nothing else is
    there. ``labels`` gives the number each label stands for. ``min`` and ``max`` are the ends of
    the scale, for a judge that answers in words; a number beyond them is no score, and neither is
    ``4/10`` with a max of 5. The verdict of a rule is 1 or 0, and passes at 1. ``equals`` names a
    field of the data in place of all that: the last answer in text is right where it equals that,
    but for case and spaces. ``audit`` names the field of a dearer judge that a share of the items
    has too, on the same scale. ``weights`` makes a score of others: the sum of so many times each.
    """

    field: str | TextList = ""
    equals: str | None = None
    audit: str | None = None
    pass_at: float | None = None
    min: float | None = None
    max: float | None = None
    labels: dict[str, float] = Field(default_factory=dict)
    weights: dict[str, float] | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,) if isinstance(self.field, str) else self.field

    @property
    def named(self) -> str:
        """The field, or all of them, as one reads it."""
        return ", ".join(self.fields)

    @property
    def step(self) -> str:
        """Of the last field, which counts where no other does."""
        return self.fields[-1].partition(".")[0]

    @model_serializer(mode="wrap")
    def _as_written(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = whole(self)
        unset = {"audit", "weights"} - self.model_fields_set
        return {key: value for key, value in values.items() if key not in unset}

    @model_validator(mode="after")
    def _sound(self) -> ScoreRule:
        if self.weights is not None:
            for key in ("field", "equals", "audit", "labels", "min", "max"):
                if key in self.model_fields_set:
                    raise Wrong((key,), "does not go with weights", f"leave out {key}")
            if not self.weights:
                raise Wrong(("weights",), "must name a score", "weights = { grounded = 0.5 }")
            return self
        if not all(self.fields) or not self.fields:
            raise Wrong((), "has no field", 'write field = "judge.score"')
        for name in self.fields:
            if self.fields.count(name) > 1:
                raise Wrong(("field",), f"names {name!r} twice")
        for key, bound in (("min", self.min), ("max", self.max)):
            if bound is not None and self.labels:
                raise Wrong((key,), "does not go with labels, whose numbers are all there are")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Wrong(("min",), f"is {self.min:g}, above the max of {self.max:g}")
        if self.pass_at is not None and self.min is not None and self.pass_at < self.min:
            raise Wrong(
                ("pass_at",), f"is {self.pass_at:g}, below the min of {self.min:g}: all would pass"
            )
        if self.pass_at is not None and self.max is not None and self.pass_at > self.max:
            raise Wrong(
                ("pass_at",),
                f"is {self.pass_at:g}, above the max of {self.max:g}, so nothing could pass",
            )
        return self


#: The name of the step that ``equals`` under ``[score]`` stands for, and what it goes by.
EXACT = "exact"


def with_exact(raw: dict[str, Any]) -> dict[str, Any]:
    """A raw config with the step that ``[score] equals`` stands for, and its field.

    A rule's verdict passes at 1 where nothing else is said.

    Raises:
        Wrong: There is no answer to compare, or more is said beside it.
    """
    score, steps = raw.get("score"), raw.get("steps")
    if not isinstance(score, dict) or not isinstance(steps, list | tuple):
        return raw
    steps = list(steps)
    score = dict(score)
    if isinstance(column := score.get("equals"), str) and "field" not in score:
        for key in score:
            if key not in ("equals", "pass_at"):
                raise Wrong(("score", key), "does not go with equals", f"leave out {key}")
        if not column.strip():
            raise Wrong(("score", "equals"), "names no field of the data")
        texts = [step["name"] for step in steps if isinstance(step, dict) and _says_text(step)]
        if not texts:
            raise Wrong(
                ("score", "equals"),
                "has no step whose answer is a text",
                'write a step with rule = "equals" and value = "{{ step.field }}", and name it in '
                "field",
            )
        taken = {step.get("name") for step in steps if isinstance(step, dict)}
        name = next(n for n in (EXACT, *(f"{EXACT}_{i}" for i in range(2, 999))) if n not in taken)
        rule = {
            "name": name,
            "rule": "equals",
            "value": f"{{{{ {texts[-1]} }}}}",
            "expected": inserted(column),
            "normalise": ["case", "space"],
        }
        steps, score = [*steps, rule], {**score, "field": name}
    elif score.get("equals") is not None and score.get("field") not in [*_equal(steps)]:
        raise Wrong(("score", "equals"), "stands beside field", "keep one of the two")
    field = score.get("field")
    named = [field] if isinstance(field, str) else field if isinstance(field, list | tuple) else []
    rules = [step.get("name") for step in steps if isinstance(step, dict) and "rule" in step]
    if named and all(each in rules for each in named) and "pass_at" not in score:
        score["pass_at"] = 1.0
    return {**raw, "steps": steps, "score": score}


def _equal(steps: list[Any]) -> set[Any]:
    """Steps that are what ``equals`` may stand for."""
    named = [step.model_dump() if isinstance(step, Step) else step for step in steps]
    tables = [each for each in named if isinstance(each, dict)]
    return {each.get("name") for each in tables if each.get("rule") == "equals"}


def _says_text(step: dict[str, Any]) -> bool:
    return isinstance(step.get("name"), str) and "output" not in step and "rule" not in step


#: What the score is called among others, and that of its audit.
MAIN, AUDIT = "score", "audit"


def check_scores(
    score: ScoreRule | None, scores: Mapping[str, ScoreRule], steps: tuple[Step, ...]
) -> None:
    """Raise `Wrong` where a score names what there is not, or could never pass."""
    if score is not None:
        if score.weights is not None:
            raise Wrong((MAIN, "weights"), "go under [scores.total]")
        _check_score(score, steps, (MAIN,))
        _check_audit(score, steps)
    elif scores:
        name = next(iter(scores))
        raise Wrong(
            ("scores", name),
            "is a further score, and there is no first",
            'write [score] field = "…"',
        )
    for name, rule in scores.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in (MAIN, AUDIT):
            raise Wrong(
                ("scores", name),
                f"cannot be the name of a score: {name!r}",
                "letters, digits and _, and neither score nor audit",
            )
        if rule.audit is not None:
            raise Wrong(("scores", name, AUDIT), "goes under [score]")
        if rule.weights is None:
            _check_score(rule, steps, ("scores", name))
            continue
        for other in rule.weights:
            known = [MAIN, *(each for each in scores if scores[each].weights is None)]
            if other not in known:
                raise Wrong(
                    ("scores", name, "weights", other),
                    "is no score",
                    f"scores are {', '.join(known)}",
                )


def _check_audit(score: ScoreRule, steps: tuple[Step, ...]) -> None:
    for name in score.fields:
        step = next(step for step in steps if step.name == name.partition(".")[0])
        if step.share is not None and step.share < 1 and score.audit is None:
            raise Wrong(
                (MAIN, "field"),
                f"names {step.name!r}, which only {step.share:.3g} of the items have",
                "leave its share out, or name a judge of all items here and this one in audit",
            )
    if score.audit is None:
        return
    if score.audit in score.fields:
        raise Wrong((MAIN, AUDIT), "is the score itself", "name the field of another judge")
    rule = ScoreRule(field=score.audit, labels=score.labels, min=score.min, max=score.max)
    _check_score(rule, steps, (MAIN,), key=AUDIT)


def _check_score(
    score: ScoreRule, steps: tuple[Step, ...], at: tuple[str, ...], key: str = "field"
) -> None:
    alone = len(score.fields) == 1
    for named in score.fields:
        name, _, field = named.partition(".")
        step = next((step for step in steps if step.name == name), None)
        place = (*at, key)
        if step is None:
            listed = ", ".join(step.name for step in steps)
            raise Wrong(place, f"names no step: {named!r}", f"steps are {listed}")
        if step.rule == "python" and not field:
            continue  # it may give a number on any scale, or a label
        if step.rule is not None and not field:
            if alone:
                _check_rule(score, name, at)
            continue
        if step.pair is not None and not field:
            _check_bounds(score, named, OutputField(type="number", min=0, max=1), at)
            continue
        fields = step.output or {}
        if bool(field) != bool(fields) or (field and field not in fields):
            listed = ", ".join(f"{name}.{field}" for field in fields) or name
            raise Wrong(place, f"is not an output: {named!r}", f"outputs of {name}: {listed}")
        _check_values(score, named, fields[field] if fields else None, at)


def _check_rule(score: ScoreRule, name: str, at: tuple[str, ...]) -> None:
    for key in ("labels", "min", "max"):
        if key in score.model_fields_set and getattr(score, key) not in (None, {}):
            raise Wrong((*at, key), f"does not go with a rule, whose verdict {name!r} is 1 or 0")
    if score.pass_at is not None and not 0 < score.pass_at <= 1:
        raise Wrong(
            (*at, "pass_at"),
            f"is {score.pass_at:g}, but the verdict of a rule is 1 or 0",
            "leave pass_at out",
        )


def _check_values(
    score: ScoreRule, named: str, output: OutputField | None, at: tuple[str, ...]
) -> None:
    if output is not None and score.labels and not output.type == "string":
        raise Wrong((*at, "labels"), f"are for words, and {named} is {output.in_words()}")
    if output is not None:
        _check_bounds(score, named, output, at)
    if output is not None and output.choices is not None:
        _check_labels(score, named, output.choices, at)
    top = output.max if output is not None else None
    if output is not None and output.type == "boolean":
        top = 1.0
    if score.labels:
        top = max(score.labels.values())
    if score.pass_at is not None and top is not None and score.pass_at > top:
        raise Wrong(
            (*at, "pass_at"),
            f"is {score.pass_at:g}, but {named} is {top:g} at most, so nothing could pass",
        )


def _check_bounds(score: ScoreRule, named: str, output: OutputField, at: tuple[str, ...]) -> None:
    """The ends of a scale are said once, or the same twice."""
    own = (0.0, 1.0) if output.type == "boolean" else (output.min, output.max)
    for key, bound, other in (("min", score.min, own[0]), ("max", score.max, own[1])):
        if bound is not None and other is not None and bound != other:
            raise Wrong(
                (*at, key),
                f"is {bound:g}, but {named} has {other:g}",
                f"leave {key} out under [{'.'.join(at)}]; the field has its own",
            )


def without_scale(score: ScoreRule | None, steps: tuple[Step, ...]) -> str:
    """What to say of a score that is read from words while nobody said what it may be.

    Empty for every other score.
    """
    if score is None or score.labels or (score.min is not None and score.max is not None):
        return ""
    for named in score.fields:
        name, _, member = named.partition(".")
        step = next((step for step in steps if step.name == name), None)
        if step is not None and (step.rule is not None or (step.pair is not None and not member)):
            continue
        field = (step.output or {}).get(member) if step else None
        if field is None or field.is_free_text:
            return (
                f"The score is read from the words of {named}, and nothing says from where to "
                "where it goes: a number that is none may be taken for one"
            )
    return ""


#: What to type against it.
SCALE_HINT = "under [score], write the ends of your scale: min = 1 and max = 5; or labels = { … }"


def _check_labels(
    score: ScoreRule, named: str, choices: tuple[str, ...], at: tuple[str, ...]
) -> None:
    known = {choice.strip().casefold() for choice in choices}
    labels = {label.strip().casefold() for label in score.labels}
    for label in score.labels:
        if label.strip().casefold() not in known:
            raise Wrong(
                (*at, "labels", label),
                f"is no choice of {named}",
                f"choices are {', '.join(choices)}",
            )
    for choice in choices:
        if choice.strip().casefold() not in labels and (labels or number_in(choice) is None):
            listed = ", ".join(f'"{each}" = …' for each in choices)
            raise Wrong(
                (*at, "labels"),
                f"give no number for {choice!r}, a choice of {named}",
                f"under [{'.'.join(at)}], give every choice its number: labels = {{ {listed} }}",
            )
