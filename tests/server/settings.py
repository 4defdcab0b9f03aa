"""What the server can be told, by flags at its start and by POST /control while it runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from tests.server.faults import FAULTS

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class ModelSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Limits and prices of one model, where they differ from the server's.

    ``input`` and ``output`` are USD per million tokens.
    """

    rpm: Positive | None = None
    tpm: Positive | None = None
    input: NotNegative | None = None
    output: NotNegative | None = None


class Burst(msgspec.Struct, forbid_unknown_fields=True):
    """Every request between two times of the server's life meets one fault."""

    fault: str
    start: float
    end: float


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """All settings; `python -m tests.server --help` describes each under its flag."""

    key: str | None = None
    models: dict[str, ModelSettings] = {}
    only_models: bool = False
    allow: list[str] = []
    refuses: list[str] = []
    rpm: Positive | None = None
    tpm: Positive | None = None
    limiter: Literal["sliding", "bucket60", "bucket10", "bucket1", "fixed"] = "sliding"
    at_once: Annotated[int, msgspec.Meta(ge=1)] | None = None
    minute: Positive = 60.0
    count_rejected: bool = False
    retry_after: Literal["right", "none", "wrong", "past", "ms", "date", "huge"] = "right"
    headers: bool = False
    latency: NotNegative = 0.0
    hold: bool = False
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    words: Annotated[int, msgspec.Meta(ge=1)] = 12
    input_price: NotNegative = 0.0
    output_price: NotNegative = 0.0
    faults: dict[str, Annotated[float, msgspec.Meta(ge=0, le=1)]] = {}
    bursts: list[Burst] = []
    list_fault: str | None = None
    fault_retry_after: NotNegative | None = None
    drip_seconds: NotNegative = 0.05
    seed: int = 0
    keep_alive: NotNegative = 0.0
    trace: bool = False
    log: Annotated[int, msgspec.Meta(ge=0)] = 200

    def model(self, name: str) -> ModelSettings:
        """Limits and prices of a model: its own where it has some, else the server's."""
        own = self.models.get(name) or ModelSettings()
        return ModelSettings(
            rpm=self.rpm if own.rpm is None else own.rpm,
            tpm=self.tpm if own.tpm is None else own.tpm,
            input=self.input_price if own.input is None else own.input,
            output=self.output_price if own.output is None else own.output,
        )


def make_settings(values: dict[str, Any], base: Settings | None = None) -> Settings:
    """Settings from plain values, on top of ``base``.

    Raises:
        ValueError: A name, a type or a value is wrong; the message says which.
    """
    known = msgspec.to_builtins(base) if base is not None else {}
    settings = msgspec.convert({**known, **values}, Settings)
    for name in [
        *settings.faults,
        *(burst.fault for burst in settings.bursts),
        *filter(None, [settings.list_fault]),
    ]:
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; there are: {', '.join(FAULTS)}")
    if sum(settings.faults.values()) > 1 + 1e-9:
        raise ValueError("the probabilities of all faults together exceed 1")
    return settings
