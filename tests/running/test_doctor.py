"""What `llmb doctor` finds: nothing is spent, no key strays, and no server holds it up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from llm_batch.models import table
from llm_batch.running import doctor
from llm_batch.running.doctor import DIAGNOSIS_FORMATS, Check, Diagnosis, examine
from tests.server import Server, serve

KEY = "sk-doctor-0123456789abcdef"
TODAY = date(2026, 1, 1)
CONFIG = """
[data]
path = "q.jsonl"
id = "id"
[models."openai/mine"]
{place}
input_price = 1
output_price = 2
[[steps]]
name = "generate"
model = "openai/mine"
prompt = "{{{{ question }}}}"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.endswith(("_BASE_URL", "_API_BASE", "_API_KEY")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.jsonl").write_text('{"id": 1, "question": "Why?"}\n{"id": 2, "question": "?"}\n')
    (tmp_path / "llmb.toml").write_text(CONFIG.format(place=""))
    return tmp_path


def test_a_field_id_that_the_config_does_not_use_is_noted(folder: Path) -> None:
    (folder / "llmb.toml").write_text(CONFIG.format(place="").replace('id = "id"', ""))
    notes = [check.says for check in examine(today=TODAY).checks]
    assert any("the data has a field id, and items are told by a hash" in note for note in notes)


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with serve(key=KEY, models={"mine": {}}, headers=True, rpm=60, drip_seconds=5) as server:
        yield server


@pytest.fixture
def server(shared: Server, folder: Path) -> Server:
    shared.control(list_fault=None, models={"mine": {}})
    shared.reset()
    (folder / "llmb.toml").write_text(CONFIG.format(place=f'api_base = "{shared.url}"'))
    return shared


def _of(made: Diagnosis, about: str) -> Check:
    return next(check for check in made.checks if check.about == about)


def test_a_sound_config_is_ready_and_nothing_was_spent(server: Server) -> None:
    made = examine(today=TODAY, again="llmb estimate")
    assert made.ok, made
    assert {check.state for check in made.checks} <= {"ok", "skipped"}
    assert _of(made, "endpoint").says.endswith("and has mine")
    assert _of(made, "limits").says == "openai/mine: 60 requests a minute, as the provider reports"
    assert made.next_step.endswith("llmb estimate")
    assert server.stats()["requests"] == 0
    assert [entry["path"] for entry in server.log()] == ["/models"]


@pytest.mark.parametrize("format", ["text", "json"])
def test_keys_stand_there_by_name_alone(format: str, server: Server) -> None:
    text = DIAGNOSIS_FORMATS[format](examine(today=TODAY))
    assert "OPENAI_API_KEY is set" in text
    assert KEY not in text and KEY[3:] not in text


@pytest.mark.parametrize(
    ("fault", "state", "says"),
    [
        ("401", "failed", "Incorrect API key"),
        ("403", "note", "lists no models for this key (403)"),
        ("404", "note", "lists no models (404)"),
        ("429", "note", "busy"),
        ("500", "failed", "had an error"),
        ("html", "failed", "no list of models"),
        ("malformed_json", "failed", "no list of models"),
        ("deep", "failed", "no list of models"),
        ("utf16", "failed", "no list of models"),
        ("error_in_200", "failed", ""),
        ("reset", "failed", "connection broke"),
        ("close_before", "failed", "connection broke"),
        ("close_mid_body", "failed", "connection broke"),
        ("hang", "failed", "no complete answer within"),
        ("drip", "failed", "no complete answer within"),
        ("drip_headers", "failed", "no complete answer within"),
        ("gzip", "ok", "has mine"),
    ],
)
def test_a_hostile_endpoint_is_one_line_and_in_time(
    fault: str, state: str, says: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = 0.5 if state == "failed" and "within" in says else 20.0
    monkeypatch.setattr(doctor, "_LOOK_SECONDS", patient)
    server.control(list_fault=fault)
    found = _of(examine(today=TODAY), "endpoint")
    assert (found.state, says in found.says) == (state, True), found
    assert "\n" not in found.says and (found.hint or state in ("ok", "note"))


def test_a_model_that_neither_its_server_nor_the_table_has_fails(server: Server) -> None:
    server.control(models={"mien": {}, "other": {}})
    found = _of(examine(today=TODAY), "endpoint")
    assert (found.state, found.hint) == ("failed", "it has mien")


def test_a_model_of_the_table_may_be_called_otherwise_by_its_server(
    server: Server, folder: Path
) -> None:
    text = CONFIG.format(place=f'api_base = "{server.url}"').replace("/mine", "/gpt-4o-mini")
    (folder / "llmb.toml").write_text(text)
    assert _of(examine(today=TODAY), "endpoint").state == "note"


def test_nobody_is_asked_before_the_user_agrees_to_a_strange_host(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(doctor, "listed", lambda live, seconds: asked.append(live))
    monkeypatch.setattr(doctor, "_probe", asked.append)
    (folder / "llmb.toml").write_text(CONFIG.format(place='api_base = "http://evil.example/v1"'))
    made = examine(today=TODAY, probe=True)
    assert not asked
    assert "OPENAI_API_KEY to http://evil.example" in _of(made, "trust").says
    assert _of(made, "endpoint").state == "skipped"


def test_a_config_that_is_half_wrong_sends_no_key_either(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(doctor, "listed", lambda live, seconds: asked.append(live))
    monkeypatch.setattr(doctor, "_probe", asked.append)
    text = CONFIG.format(place='api_base = "http://evil.example/v1"')
    judge = '[[steps]]\nname = "judge"\nmodel = "opnai/x"\nprompt = "{{ generate }}"\n'
    (folder / "llmb.toml").write_text(text + judge)
    made = examine(today=TODAY, probe=True)
    assert not asked and not made.ok
    assert any("opnai/x" in check.says for check in made.checks if check.state == "failed")


def test_the_probe_says_its_price_and_sends_one_tiny_call_for_each_model(server: Server) -> None:
    said: list[str] = []
    made = examine(today=TODAY, probe=True, say=said.append)
    assert _of(made, "probe").says.startswith("openai/mine answered in ")
    assert said == ["the probe sends 1 tiny call for at most $0.000073"]
    stats = server.stats()
    assert (stats["requests"], stats["billed"]["output_tokens"] <= 16) == (1, True)


def test_a_probe_that_is_refused_fails(server: Server) -> None:
    server.control(only_models=True, models={"other": {}})
    try:
        assert _of(examine(today=TODAY, probe=True), "probe").state == "failed"
    finally:
        server.control(only_models=False)


@pytest.mark.parametrize(
    ("ends", "state", "says"),
    [
        ("2025-12-31", "failed", "shut down on 2025-12-31"),
        ("2026-02-01", "note", "shut down on 2026-02-01"),
        ("2027-01-01", "ok", "$3 in"),
        (None, "ok", "$3 in"),
    ],
)
def test_a_model_at_its_end_is_said(
    ends: str | None, state: str, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"mode": "chat", "litellm_provider": "groq", "input_cost_per_token": 3e-6,
             "output_cost_per_token": 6e-6, "deprecation_date": ends}  # fmt: skip
    monkeypatch.setattr(table, "_entry", lambda name: entry if name == "groq/old" else None)
    begin, _, rest = CONFIG.format(place="").partition('[models."openai/mine"]')
    steps = rest[rest.index("[[steps]]") :].replace("openai/mine", "groq/old")
    (folder / "llmb.toml").write_text(begin + steps)
    found = _of(examine(today=TODAY), "model")
    assert (found.state, says in found.says) == (state, True), found


@pytest.mark.parametrize(
    ("changed", "about", "says"),
    [
        (("[data]", "[data"), "config", "TOML"),
        (("q.jsonl", "none.jsonl"), "data", "none.jsonl"),
        (("{{ question }}", "{{ quesion }}"), "prompts", "quesion"),
        (("openai/mine", "opnai/mine"), "model", "not known"),
        (("openai/mine", "groq/mine"), "key", "GROQ_API_KEY"),
        (("[[steps]]", "[limits]\nworkers = 900\n[[steps]]"), "run", "900 workers"),
    ],
)
def test_what_would_stop_a_run_fails_where_it_belongs(
    changed: tuple[str, str], about: str, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_asked", lambda place: place)  # no network
    (folder / "llmb.toml").write_text((folder / "llmb.toml").read_text().replace(*changed))
    made = examine(today=TODAY)
    found = next(c for c in made.checks if c.about == about and c.state == "failed")
    assert says in found.says and not made.ok


def test_a_disk_without_room_fails(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda folder: Full)
    assert _of(examine(today=TODAY), "disk").state == "failed"
