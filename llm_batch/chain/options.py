"""The tables of the config file beside steps and scores."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticKnownError

from llm_batch.chain.addresses import (
    COPY,
    DATABASES,
    WrongAddress,
    check_address,
    database_of,
    is_address,
    scheme_of,
)
from llm_batch.chain.credentials import hides_key, query_is_secret
from llm_batch.chain.outputs import Table, TextList, Wrong
from llm_batch.chain.overrides import as_word, expanded
from llm_batch.chain.templates import Condition
from llm_batch.engines import ENGINES
from llm_batch.errors import ConfigError
from llm_batch.models.table import check_tier

#: More workers than this need an explicit limit, unless the endpoint is on this machine.
MANY_WORKERS = 10


_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.%\w]+\])(?::\d*)?")


def _engine_name(name: object) -> object:
    """A name of the table, whatever it has by now; refused as a `Literal` of them would be."""
    if isinstance(name, str) and name in ENGINES:
        return name
    *others, last = map(repr, ENGINES)
    raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})


def _checked_url(url: str) -> str:
    example = "write the part before /chat/completions, such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        # Libraries differ in where a host ends that has other characters in it.
        sound = sound and bool(_HOST.fullmatch(parts.netloc.rpartition("@")[2]))
        sound = sound and url.isprintable() and " " not in url and "\\" not in url
    except ValueError:  # not an address, or not a port
        sound = False
    # Neither is shown, since the part that is wrong may be a password.
    if not sound:
        raise Wrong((), "must be a URL with http:// or https://", example)
    query = parse_qsl(parts.query, keep_blank_values=True)
    secret = any(query_is_secret(name, value) for name, value in query)
    if parts.username or parts.password or secret or hides_key(url):
        raise Wrong(
            (),
            "must not hold a key or a password",
            "use api_key_env; what a gateway wants beside it goes into a header: "
            'params.extra_headers = { "X-Gateway-Key" = "env:GATEWAY_KEY" }',
        )
    if "/chat/completions" in parts.path:
        raise Wrong((), f"goes too far: {url!r}", example)
    return url


def _known_tier(name: str) -> str:
    try:
        check_tier(name)
    except ConfigError as error:
        raise Wrong((), f"is wrong: {error.message}", error.hint) from None
    return name


def _condition(text: str) -> str:
    try:
        Condition(text, "data.where")
    except ConfigError as error:
        raise Wrong((), error.message.removeprefix("data.where "), error.hint) from None
    return text


def _address(path: str) -> str:
    if is_address(path):
        try:
            check_address(path)
        except WrongAddress as error:
            raise Wrong((), str(error), error.hint) from None
    return path


EngineName = Annotated[
    str, BeforeValidator(_engine_name), WithJsonSchema({"enum": list(ENGINES), "type": "string"})
]


Url = Annotated[str, AfterValidator(_checked_url)]


Expanded = Annotated[str, AfterValidator(expanded)]


Positive = Annotated[float, Field(gt=0)]


NotNegative = Annotated[float, Field(ge=0)]


class Data(Table):
    """``[data]``: where items come from. Without ``path``, the bundled demo set.

    ``delimiter`` (of a CSV) and ``encoding`` (``windows-1252``) are found; these overrule that.
    ``sheet`` names a workbook's, or numbers it from 1. Of the rows for which the expression
    ``where`` is true the first ``limit`` are taken, with the fields that ``columns`` names.
    """

    path: Annotated[str, AfterValidator(_address)] | None = None
    id: str | None = None
    query: str | None = None
    columns: TextList | None = Field(default=None, min_length=1)
    where: Annotated[str, AfterValidator(_condition)] | None = None
    limit: int | None = Field(default=None, ge=1)
    format: Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "xlsx"] | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    encoding: str | None = None
    sheet: str | int | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    keep: TextList | None = None

    @model_validator(mode="after")
    def _asked_well(self) -> Data:
        is_database = self.path is not None and scheme_of(self.path) in DATABASES
        is_database = is_database and is_address(self.path or "")
        example = 'write path = "duckdb:file.db" and query = "SELECT …"'
        if not is_database:
            if self.query is not None:
                raise Wrong(("query",), "stands beside a path that is no database", example)
            return self
        asked = database_of(self.path or "")[2]
        if bool(asked) == bool(self.query):
            problem = "and query both ask" if asked else "is a database, and there is no query"
            raise Wrong(("path",), problem, example)
        if self.limit is not None:
            raise Wrong(
                ("limit",), "stands beside a query", "write ORDER BY … LIMIT … into the query"
            )
        if self.query is not None:
            try:
                check_address(f"{self.path}?{self.query}")
            except WrongAddress as error:
                raise Wrong(("query",), str(error), error.hint) from None
        return self


class Sample(Table):
    """``[sample]``: the first ``size`` items of a seeded order; 0 means all."""

    size: int = Field(default=384, ge=0)
    seed: int = 42
    stratify: str | None = None


class Limits(Table):
    """``[limits]``: what the run may do per minute, at once and in all.

    ``timeout`` is in seconds and covers one attempt from connecting to the last byte; ``budget``
    is in USD and covers everything ever journalled for the output file. ``tier`` (``openai-1``)
    fills in published limits where ``rpm`` and ``tpm`` are not set. The run stops when more
    than ``max_failure_share`` of a step's last calls failed; 1 never stops it. A reply may have
    ``max_reply`` MB; without it 1 MB and 4 kB for each of ``max_tokens``, at most 32 MB.
    """

    workers: int = Field(default=5, ge=1)
    rpm: Positive | None = None
    tpm: Positive | None = None
    tier: Annotated[str, AfterValidator(_known_tier)] | None = None
    budget: NotNegative | None = None
    timeout: Positive = 60.0
    max_attempts: int = Field(default=6, ge=1)
    max_failure_share: float = Field(default=0.5, gt=0, le=1)
    max_reply: Positive | None = None


class EndpointOptions(Table):
    """``[[models."name".endpoints]]``: one of several places that serve the model.

    ``weight`` is its share of the requests compared with the others'; ``rpm`` and ``tpm`` are its
    own, those of the model hold for each endpoint that has none.
    """

    api_base: Url
    api_key_env: str | None = None
    weight: Positive = 1.0
    rpm: Positive | None = None
    tpm: Positive | None = None


class Model(Table):
    """``[models."name"]``: endpoint, prices (USD per million tokens) and limits of one model.

    ``batch_input_price`` and ``batch_output_price`` are those of the provider's batch API; prices
    of one's own hold for batches too without them.

    ``script``, ``latency`` (seconds) and ``error_rate`` are for ``fake/`` models only.
    """

    api_base: Url | None = None
    api_key_env: str | None = None
    input_price: NotNegative | None = None
    output_price: NotNegative | None = None
    cache_read_price: NotNegative | None = None
    batch_input_price: NotNegative | None = None
    batch_output_price: NotNegative | None = None
    rpm: Positive | None = None
    tpm: Positive | None = None
    transport: Literal["auto", "direct", "litellm"] = "auto"
    structured: Literal["auto", "json_schema", "json_object", "prompt"] = "auto"
    script: Expanded | None = None
    max_reply: Positive | None = None
    latency: NotNegative = 0.0
    error_rate: float = Field(default=0.0, ge=0, le=1)
    endpoints: tuple[EndpointOptions, ...] = Field(default=(), strict=False)

    @model_validator(mode="before")
    @classmethod
    def _first_endpoint(cls, values: Any) -> Any:
        """A model with endpoints is served from the first, for all that needs to know of one."""
        if isinstance(values, dict) and isinstance(values.get("endpoints"), list | tuple):
            first = next(iter(values["endpoints"]), None)
            if isinstance(first, dict) and "api_base" not in values:
                return {**values, "api_base": first.get("api_base")}
        return values

    @property
    def max_reply_bytes(self) -> int | None:
        return None if self.max_reply is None else int(self.max_reply * (1 << 20))

    @property
    def places(self) -> list[Model]:
        """The settings for each place that serves the model."""
        return [self.at(each) for each in self.endpoints] or [self]

    def at(self, endpoint: EndpointOptions) -> Model:
        own = {"api_base": endpoint.api_base, "endpoints": ()}
        if endpoint.api_key_env is not None:
            own["api_key_env"] = endpoint.api_key_env
        return self.model_copy(update=own)

    @model_validator(mode="after")
    def _sound(self) -> Model:
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env):
            # Not shown: it may be the key itself.
            raise Wrong(
                ("api_key_env",),
                "must be the name of an environment variable, not a key",
                'export MY_KEY=… in the shell, and write api_key_env = "MY_KEY"',
            )
        return self


_SHARD = re.compile(r"\s*(\d{1,5})\s*/\s*(\d{1,5})\s*")


def shard_of(text: str) -> tuple[int, int] | None:
    """Which shard, from 1, and of how many; ``None`` for a text that names none."""
    found = _SHARD.fullmatch(text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    return (number, count) if 1 <= number <= count else None


def shard_name(output: Any, number: int, count: int) -> Any:
    """A results file named after a shard: ``results-03-of-16.jsonl``."""
    if not isinstance(output, str):
        return output
    end = f"-{number:0{len(str(count))}}-of-{count}"
    stem, suffix = os.path.splitext(output)  # noqa: PTH122 - of what was typed, which a Path alters
    return output if not suffix or stem.endswith(end) else f"{stem}{end}{suffix}"


_OF_SHARD = re.compile(r"-\d+(-of-\d+)(?=(?:\.[^./]*)?$)")


def whole_name(shard: str) -> str:
    """The results file of all shards: ``results.jsonl`` of ``results-03-of-16.jsonl``."""
    return _OF_SHARD.sub("", shard)


def merging(shard: str) -> str:
    """The command for a shell that puts the shards of this output together."""
    # The asterisk is for the shell, which leaves alone what stands in quotes.
    pattern = _OF_SHARD.sub(r"-\n\1", as_word(shard)).split("\n")
    shards = "*".join(shlex.quote(part) for part in pattern)
    return f"llmb merge {shards} -o {shlex.quote(as_word(whole_name(shard)))}"


class RunOptions(Table):
    """``[run]``: how and where to.

    ``ray_address`` is that of a Ray cluster that this machine is part of, ``host:6379`` or
    ``auto``; without it ``RAY_ADDRESS`` says where, or a cluster of this machine alone is started,
    as ``local`` does. ``ray_actors`` processes share
    the workers. ``mode`` says who may read the files of a run, in octal digits; those that are
    there stay as they are. ``shard`` ("3/16") plays one part of the sample, and ``output`` is named
    after it. An ``output`` that ends in .parquet is written when the run ends, from the lines in
    the .jsonl beside it.
    """

    engine: EngineName = "threads"
    output: Expanded = "results.jsonl"
    ray_address: str | None = None
    ray_actors: int | None = Field(default=None, ge=1)
    mode: str = "0600"
    shard: str | None = None

    @property
    def cluster(self) -> str | None:
        """The address of a Ray cluster that is there; ``None`` for one of this machine alone."""
        found = self.ray_address or os.environ.get("RAY_ADDRESS")
        return None if found in (None, "", "local") else found

    @property
    def part(self) -> tuple[int, int] | None:
        """Which shard, from 1, and of how many; ``None`` for the whole sample."""
        return shard_of(self.shard or "")

    @model_validator(mode="before")
    @classmethod
    def _named_after_shard(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or (part := shard_of(str(raw.get("shard") or ""))) is None:
            return raw
        return {**raw, "output": shard_name(raw.get("output", "results.jsonl"), *part)}

    @property
    def file_mode(self) -> int:
        return int(self.mode, 8)

    @model_validator(mode="after")
    def _apart(self) -> RunOptions:
        if is_address(self.output):
            raise Wrong(("output",), "is an address, and results are written on this machine", COPY)
        # Journal and manifest are named after it, so no two outputs may share a stem.
        path = Path(self.output)
        if path.suffix not in (".jsonl", ".parquet") or not path.stem:
            raise Wrong(
                ("output",),
                f"must end in .jsonl or .parquet, not {self.output!r}",
                "write results.jsonl; llmb export writes it as CSV afterwards",
            )
        if self.output.endswith(".calls.jsonl"):
            raise Wrong(("output",), f"is the name of a journal: {self.output!r}")
        if self.shard is not None and self.part is None:
            raise Wrong(
                ("shard",),
                f"is none of so many shards: {self.shard!r}",
                "write 3/16 for the third of sixteen, from 1/16 to 16/16",
            )
        if not re.fullmatch(r"0?6[0246]{2}", self.mode):
            raise Wrong(
                ("mode",),
                f"must be a mode in which you can read and write, not {self.mode!r}",
                'write "0600" (you alone), "0640" (your group reads) or "0644" (everybody reads)',
            )
        return self


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


_PERCENT = re.compile(r"(\d{1,2}(?:\.\d+)?)\s*%")


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration_seconds(text: str) -> float | None:
    """Of ``6h``, ``90m``, ``25s`` or ``1d``; ``None`` for what is none."""
    found = _DURATION.fullmatch(text.strip().lower())
    return float(found[1]) * _SECONDS[found[2]] if found else None


class Batch(Table):
    """``[batch]``: for the engine ``batch``, which goes by the providers' batch APIs.

    Jobs are looked at every ``poll`` seconds, then ever less often down to a tenth of that.
    ``enqueued_tokens`` is the provider's limit of input tokens that a model's jobs may have
    waiting; without it the limit is learned when it is met. A job has at most ``job_requests``.
    What is not finished by ``deadline`` ("6h", "90m") is cancelled and goes live. Where no more
    than ``live_tail`` ("2%") of the items are left over of a step, these go live instead of in a
    small job, at the live price.
    """

    poll: Positive = 30.0
    enqueued_tokens: int | None = Field(default=None, ge=1)
    job_requests: int | None = Field(default=None, ge=1)
    deadline: str | None = None
    live_tail: str | None = None

    @property
    def live_tail_share(self) -> float:
        """A fraction of one; 0 where nothing goes live."""
        found = _PERCENT.fullmatch(self.live_tail.strip()) if self.live_tail else None
        return float(found[1]) / 100 if found else 0.0

    @property
    def deadline_seconds(self) -> float | None:
        """From the beginning of the first job."""
        return duration_seconds(self.deadline or "")

    @model_validator(mode="after")
    def _readable(self) -> Batch:
        if self.deadline is not None and self.deadline_seconds is None:
            raise Wrong(("deadline",), f"is no duration: {self.deadline!r}", "write 6h or 90m")
        if self.live_tail is not None and not _PERCENT.fullmatch(self.live_tail.strip()):
            raise Wrong(("live_tail",), f"is no share below 100%: {self.live_tail!r}", "write 2%")
        return self
