"""Rules in Python: code of the user's own, which is run once that is agreed to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llm_batch.chain.config import Config, load_config
from llm_batch.errors import ConfigError
from llm_batch.estimating import estimate
from llm_batch.record.results import item_lines
from llm_batch.reporting.item import ITEM_FORMATS, read_item
from llm_batch.running.run import run
from llm_batch.sending.trust import concerns

CONFIG = """
[data]
path = "rows.jsonl"
id = "id"
[[steps]]
name = "given"
provided = "said"
[[steps]]
name = "own"
rule = "python"
value = "{{ given }}"
expected = "{{ answer }}"
python = "scoring:judge"
[[steps]]
name = "generate"
model = "fake/m"
prompt = "{{ given }}"
when = "{{ not own }}"
[score]
field = "own"
pass_at = 0.5
"""
CODE = """
from pathlib import Path
import numpy
Path(__file__).with_name("was_run").touch()
print("no data")
def judge(value, expected, item):
    if item["id"] == "r3":
        raise KeyError("nothing")
    if item["id"] == "r6":
        raise SystemExit(3)
    said = {"r0": value == expected, "r1": 0.7, "r2": "Paris", "r4": None, "r5": numpy.int64(3)}
    return said[item["id"]]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    rows = ({"id": f"r{n}", "said": "Paris", "answer": "Paris"} for n in range(7))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "scoring.py").write_text(CODE)
    (tmp_path / "llmb.toml").write_text(CONFIG)
    return load_config(tmp_path / "llmb.toml", output=str(tmp_path / "out.jsonl"))


def test_it_says_a_verdict_a_number_or_a_label_and_its_errors_fail_their_item(
    settings: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    lines = {line.id: line for line in item_lines(str(_run(settings, log)))}
    found = {name: (line.status, line.score, line.passed) for name, line in lines.items()}
    assert found == {
        "r0": ("ok", 1.0, True), "r1": ("ok", 0.7, True), "r2": ("ok", 1.0, True),
        "r3": ("code", None, None), "r4": ("code", None, None), "r5": ("ok", 3.0, True),
        "r6": ("code", None, None),
    }  # fmt: skip
    assert lines["r3"].error == "own: scoring.py, line 8: it raised: KeyError: 'nothing'"
    assert "gave None" in lines["r4"].error
    assert lines["r1"].outputs["own"] == 0.7
    assert '"traceback":"Traceback' in log.read_text()
    shown = ITEM_FORMATS["text"](read_item(tmp_path / "out.jsonl", "r3"))
    assert 'raise KeyError("nothing")' in shown
    assert "no data" not in capsys.readouterr().out


def _run(settings: Config, log: Path) -> Path:
    return run(settings, trusted=True, log_file=log).path


@pytest.mark.parametrize("edited", ["scoring.py", "lib/words.py"])
def test_an_edit_of_it_or_of_what_it_imports_works_its_items_out_again(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "words.py").write_text("RIGHT = True\n")
    code = "from lib import words\ndef judge(value, expected, item):\n    return words.RIGHT\n"
    (tmp_path / "scoring.py").write_text(code)
    path = _run(settings, tmp_path / "log.jsonl")
    assert {line.passed for line in item_lines(str(path))} == {True}
    file = tmp_path / edited
    file.write_text(file.read_text().replace("words.RIGHT", "False").replace("True", "False"))
    _forget("lib")
    run(settings, trusted=True)
    assert {line.passed for line in item_lines(str(path))} == {False}
    _forget("lib")


def _forget(package: str) -> None:
    """Each run of a user is a process of its own."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def test_nothing_of_it_is_run_before_that_is_agreed_to(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    assert estimate(settings).steps[0].calls.low == 0  # what it will say is not known
    with pytest.raises(ConfigError, match=r"runs judge in .*scoring\.py \(Python code\)"):
        run(settings)
    assert not (tmp_path / "was_run").exists()
    assert [each.what for each in concerns(settings)] == [f"judge in {tmp_path / 'scoring.py'}"]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("scoring:other", "does not have: 'other'"),
        ("elsewhere:judge", "cannot be read"),
        ("scoring.judge", "is not module:function"),
        ("../scoring:judge", "is not module:function"),
    ],
)
def test_what_is_not_there_is_said_with_line_and_key(
    settings: Config, tmp_path: Path, named: str, said: str
) -> None:
    config = tmp_path / "llmb.toml"
    config.write_text(CONFIG.replace("scoring:judge", named))
    with pytest.raises(ConfigError) as caught:
        load_config(config)
    assert said in caught.value.message
    assert "line 13: steps.own.python" in caught.value.message
