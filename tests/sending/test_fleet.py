"""The models of a run: which limits each gets, and that all are closed."""

from __future__ import annotations

from typing import Any

import pytest

from llm_batch.chain.config import Config
from llm_batch.chain.options import Model
from llm_batch.errors import ConfigError
from llm_batch.sending.client import Budget
from llm_batch.sending.clock import FakeClock
from llm_batch.sending.fleet import Fleet
from llm_batch.sending.limits import DEFAULT_RPM
from llm_batch.sending.providers.fake import FakeProvider
from tests.builders import request


class Remote(FakeProvider):
    """A provider somewhere else, which remembers that it was closed."""

    on_this_machine = False

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def close(self) -> None:
        self.closed = True


def config(limits: dict[str, Any], models: dict[str, Any], names: str = "ab") -> Config:
    steps = [{"name": name, "model": f"openai/{name}", "prompt": "{{ q }}"} for name in names]
    return Config.model_validate({"steps": steps, "limits": limits, "models": models})


@pytest.mark.parametrize(
    ("limits", "models", "rpm"),
    [
        ({}, {}, 2 * DEFAULT_RPM),
        ({"rpm": 60}, {}, 120),
        ({"rpm": 60}, {"openai/a": {"rpm": 600}}, 660),
        ({}, {"openai/a": {"rpm": 600}}, 600 + DEFAULT_RPM),
        ({"tpm": 90_000}, {}, None),
        ({"rpm": 60}, {"openai/a": {"tpm": 5000}}, 120),
    ],
    ids=str,
)
def test_each_model_has_its_own_limit_the_common_one_or_the_safe_default(
    limits: dict[str, Any], models: dict[str, Any], rpm: float | None
) -> None:
    with Fleet(config(limits, models), Budget(None), FakeClock(), lambda *_: Remote()) as fleet:
        assert fleet.rpm == rpm


def test_a_tier_limits_the_models_it_knows_where_nobody_set_a_limit() -> None:
    steps = [{"name": "s", "model": "openai/gpt-4o", "prompt": "{{ q }}"}]
    for limits, expected in (
        ({"tier": "openai-1"}, (500, 30_000)),
        ({"tier": "openai-1", "rpm": 60}, (60, 30_000)),
        ({"tier": "anthropic-1"}, (DEFAULT_RPM, None)),
    ):
        settings = Config.model_validate({"steps": steps, "limits": limits})
        with Fleet(settings, Budget(None), FakeClock(), lambda *_: Remote()) as fleet:
            limiter = fleet.limiters["openai/gpt-4o"]
            assert (limiter.rpm, limiter.tpm) == expected


def test_a_model_on_this_machine_is_not_limited_unless_asked() -> None:
    with Fleet(config({}, {}), Budget(None), FakeClock(), lambda *_: FakeProvider()) as fleet:
        assert fleet.rpm is None
    limited = config({"rpm": 30}, {})
    with Fleet(limited, Budget(None), FakeClock(), lambda *_: FakeProvider()) as fleet:
        assert fleet.rpm == 60


def test_two_steps_with_one_model_share_its_client_and_its_limit() -> None:
    made: list[str] = []

    def make(name: str, settings: Model, workers: int) -> FakeProvider:
        made.append(name)
        return FakeProvider()

    steps = [{"name": name, "model": "fake/a", "prompt": "{{ q }}"} for name in "ab"]
    both = Config.model_validate({"steps": steps, "limits": {"rpm": 60}})
    with Fleet(both, Budget(None), FakeClock(), make) as fleet:
        assert made == ["fake/a"]
        assert fleet.rpm == 60
        assert fleet.call(request()).completion is not None


def test_all_providers_are_closed_in_the_end_and_when_one_cannot_be_made() -> None:
    made: list[Remote] = []

    def make(name: str, settings: Model, workers: int) -> Remote:
        if name == "openai/c":
            raise ConfigError("no key")
        made.append(Remote())
        return made[-1]

    with Fleet(config({}, {}), Budget(None), FakeClock(), make):
        assert not any(provider.closed for provider in made)
    assert all(provider.closed for provider in made)
    made.clear()
    with pytest.raises(ConfigError, match="no key"):
        Fleet(config({}, {}, "abc"), Budget(None), FakeClock(), make)
    assert [provider.closed for provider in made] == [True, True]


def test_limits_kept_by_another_process_are_those_shown() -> None:
    with Fleet(config({}, {}), Budget(None), FakeClock(), lambda *_: Remote()) as fleet:
        fleet.told = {"openai/a": 100.0, "openai/b": 50.0}
        assert fleet.rpm == 150
        fleet.told["openai/b"] = None
        assert fleet.rpm is None
