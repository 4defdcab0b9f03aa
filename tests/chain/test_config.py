"""The config file: what loads, what is refused and in which words, and which flags win."""

from __future__ import annotations

import logging
import re
import tomllib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from llm_batch.chain.config import DEMO_CONFIG, DEMO_DATA, Config, load_config
from llm_batch.chain.options import Limits, Model
from llm_batch.chain.outputs import OutputField
from llm_batch.chain.overrides import Overrides, expanded
from llm_batch.errors import EXIT_USAGE, ConfigError

#: The file that DESIGN.md promises to work as it stands.
PROMISED = r"""
[data]
path = "questions.jsonl"        # or .csv .tsv .json .parquet, .gz/.zst, or "-"
id = "id"                       # optional: else a hash of the content

[sample]
size = 384                      # 0 = all
seed = 42
stratify = "category"           # optional

[limits]
workers = 5
rpm = 500                       # optional, per model unless set under [models]
tpm = 200000                    # optional
budget = 5.00                   # USD, optional
timeout = 60                    # seconds a call may take in all
max_attempts = 6

[models."openai/my-model"]      # optional, by the name used in a step
api_base = "http://127.0.0.1:8000/v1"
api_key_env = "MY_KEY"          # optional: the variable that holds the key
input_price = 0.15              # USD per million tokens
output_price = 0.60
rpm = 3000
tpm = 200000

[[steps]]
name = "generate"
model = "openai/my-model"
system = "You answer briefly."
prompt = "{{ question }}"
max_tokens = 256
temperature = 0.0

[[steps]]
name = "judge"
model = "gpt-4"
prompt = "Question: {{ question }}\nReference: {{ answer }}\nAnswer: {{ generate }}\nRate it from 1 to 5."
max_tokens = 200
[steps.output]                  # makes the step's output a checked object
score = { type = "integer", min = 1, max = 5 }
reason = "string"

[score]
field = "judge.score"
pass_at = 4                     # an item passes when its score is at least this
"""  # noqa: E501

SMALL = '''\
[sample]
size = 10

[limits]
workers = 2

[models."openai/x"]
rpm = 5

[[steps]]
name = "generate"
model = "openai/x"
prompt = """
model = 3
{{ question }}"""

[[steps]]
name = "judge"
model = "gpt-4"
prompt = "{{ generate }}"
[steps.output]
score = { type = "integer", min = 1, max = 5 }
reason = "string"

[score]
field = "judge.score"
pass_at = 4
'''
SECRET = "sk-do-not-show"


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMB_CONFIG", raising=False)
    return tmp_path


def loaded(text: str, flags: Overrides | None = None, name: str = "llmb.toml") -> Config:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return load_config(name, flags)


def refused(text: str, flags: Overrides | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        loaded(text, flags)
    assert raised.value.exit_code == EXIT_USAGE
    return raised.value


def changed(old: str, new: str) -> str:
    """The small config with one thing changed."""
    assert SMALL.count(old) >= 1
    return SMALL.replace(old, new, 1)


# What loads


def test_the_promised_file_loads_as_it_stands() -> None:
    config = loaded(PROMISED)
    assert config.data_path() == Path("questions.jsonl")
    assert (config.data.id, config.sample.size, config.sample.seed) == ("id", 384, 42)
    assert config.sample.stratify == "category"
    limits = Limits(workers=5, rpm=500, tpm=200_000, budget=5.0, timeout=60, max_attempts=6)
    assert config.limits == limits
    assert config.model("openai/my-model").output_price == 0.60
    assert config.model("openai/my-model").api_key_env == "MY_KEY"
    assert config.model("gpt-4") == Model()
    assert [step.name for step in config.steps] == ["generate", "judge"]
    judge = config.judge
    assert judge is not None
    assert judge.output == {
        "score": OutputField(type="integer", min=1, max=5),
        "reason": OutputField(type="string"),
    }
    assert config.score is not None
    assert (config.score.field, config.score.pass_at) == ("judge.score", 4.0)
    assert config.chain().variables() == {"question", "answer"}


def test_without_a_file_the_built_in_config_plays_the_demo_set() -> None:
    config = load_config()
    assert config.source is None
    assert config.data_path() == DEMO_DATA
    assert config.data.id == "id"
    assert config.chain().variables() == {"question", "answer"}


def test_the_built_in_config_and_the_file_that_init_writes_are_one() -> None:
    written = loaded(DEMO_CONFIG.read_text(encoding="utf-8"))
    assert written.model_dump() == load_config(DEMO_CONFIG).model_dump()
    Path("llmb.toml").unlink()
    assert written.model_dump() == load_config().model_dump()


def test_a_byte_order_mark_and_windows_lines_do_no_harm() -> None:
    plain = loaded(SMALL)
    Path("llmb.toml").write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    config = load_config()
    assert config.steps[1] == plain.steps[1]
    assert config.limits == plain.limits


def test_the_file_is_looked_for_in_the_flag_then_the_variable_then_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, size in (("llmb.toml", 1), ("variable.toml", 2), ("flag.toml", 3)):
        Path(name).write_text(changed("size = 10", f"size = {size}"))
    assert load_config().sample.size == 1
    monkeypatch.setenv("LLMB_CONFIG", "variable.toml")
    assert load_config().sample.size == 2
    assert load_config("flag.toml").sample.size == 3
    monkeypatch.setenv("LLMB_CONFIG", "")
    assert load_config().sample.size == 1


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("llmb.toml").write_text(SMALL)
    monkeypatch.setenv("LLMB_CONFIG", "nope.toml")
    with pytest.raises(ConfigError, match=r"no config file 'nope\.toml'") as raised:
        load_config()
    assert raised.value.hint == "write one with: llmb init nope.toml"


def test_data_and_prompt_files_lie_beside_the_config() -> None:
    Path("sub").mkdir()
    Path("sub/judge.txt").write_bytes("\ufeffRate {{ generate }}".encode())
    text = changed('prompt = "{{ generate }}"', 'prompt_file = "judge.txt"')
    config = loaded('data.path = "rows.csv"\n' + text, name="sub/llmb.toml")
    assert config.data_path() == Path("sub/rows.csv")
    assert config.steps[1].prompt == "Rate {{ generate }}"


def test_data_from_standard_input_and_from_elsewhere_is_taken_as_said(tmp_path: Path) -> None:
    assert loaded('data.path = "-"\n' + SMALL, name="sub/llmb.toml").data_path() == "-"
    absolute = tmp_path / "rows.csv"
    assert loaded(f'data.path = "{absolute}"\n' + SMALL, name="sub/a.toml").data_path() == absolute


def test_a_config_can_be_made_in_a_notebook_and_is_checked_alike() -> None:
    steps = [{"name": "a", "model": "fake/x", "prompt": "{{ q }}"}]
    assert Config.model_validate({"steps": steps}).chain().variables() == {"q"}
    with pytest.raises(ValidationError, match="names no step"):
        Config.model_validate({"steps": steps, "score": {"field": "b"}})


def test_the_judge_is_the_step_of_the_score_or_the_one_called_judge() -> None:
    def judge(text: str) -> str | None:
        step = loaded(text).judge
        return step.name if step else None

    assert judge(SMALL) == "judge"
    assert judge(SMALL.partition("[score]")[0]) == "judge"
    renamed = SMALL.replace('"judge"', '"grade"').replace("judge.", "grade.")
    assert judge(renamed) == "grade"
    assert judge(renamed.partition("[score]")[0]) is None
    assert judge('[[steps]]\nname = "judge"\nmodel = "x"\nprompt = "x"\n') is None


# What is refused, in which words

UNKNOWN = [
    ("[sample]", "[sampel]", "line 1: sampel", "did you mean 'sample'?"),
    ("size = 10", "sise = 10", "line 2: sample.sise", "did you mean 'size'?"),
    ("workers = 2", "worker = 2", "line 5: limits.worker", "did you mean 'workers'?"),
    ("rpm = 5", "rmp = 5", 'line 8: models."openai/x".rmp', "did you mean 'rpm'?"),
    ("rpm = 5", "api_key = 5", 'line 8: models."openai/x".api_key', "did you mean 'api_key_env'?"),
    ('model = "gpt-4"', 'modle = "gpt-4"', "line 19: steps.judge.modle", "did you mean 'model'?"),
    ("min = 1", "mni = 1", "line 22: steps.judge.output.score.mni", "did you mean 'min'?"),
    ("pass_at = 4", "pas_at = 4", "line 27: score.pas_at", "did you mean 'pass_at'?"),
    ("[score]", "[run]\nbudget = 3\n[score]", "line 26: run.budget", "budget goes under [limits]"),
    (
        "[score]",
        "[run]\nxyz = 3\n[score]",
        "line 26: run.xyz",
        "known keys: engine, output, ray_address, ray_actors, mode, shard",
    ),
    (
        '[models."openai/x"]',
        "[models.gpt-4.1]",
        "line 7: models.gpt-4.1",
        'quote the name of a model: [models."openai/gpt-4.1"]',
    ),
    (
        "[sample]",
        'source = "x"\n[sample]',
        "line 1: source",
        "known keys: data, sample, limits, models, steps, score, scores, run, batch",
    ),
]


@pytest.mark.parametrize(("old", "new", "place", "hint"), UNKNOWN, ids=[u[2] for u in UNKNOWN])
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one(
    old: str, new: str, place: str, hint: str
) -> None:
    error = refused(changed(old, new))
    assert error.message == f"llmb.toml, {place} is not a known key"
    assert error.hint == hint


WRONG = [
    ("size = 10", 'size = "10"', "line 2: sample.size must be a whole number, not '10'"),
    ("size = 10", "size = 1.5", "line 2: sample.size must be a whole number, not 1.5"),
    ("size = 10", "size = true", "line 2: sample.size must be a whole number, not true"),
    ("size = 10", "size = -1", "line 2: sample.size must be at least 0, not -1"),
    ("size = 10", "stratify = 3", "line 2: sample.stratify must be text in quotes, not 3"),
    ("workers = 2", "workers = 0", "line 5: limits.workers must be at least 1, not 0"),
    ("workers = 2", 'rpm = "9"', "line 5: limits.rpm must be a number, not '9'"),
    ("workers = 2", "rpm = 0", "line 5: limits.rpm must be above 0, not 0"),
    ("workers = 2", "timeout = inf", "line 5: limits.timeout must be a finite number, not inf"),
    ("workers = 2", "budget = nan", "line 5: limits.budget must be a finite number, not nan"),
    (
        "rpm = 5",
        'transport = "litelm"',
        "line 8: models.\"openai/x\".transport must be 'auto', 'direct' or 'litellm', not 'litelm'",
    ),
    ("rpm = 5", 'script = "a"', 'line 8: models."openai/x".script is for fake/ models only'),
    (
        "rpm = 5",
        'api_base = "127.0.0.1:8000/v1"',
        'line 8: models."openai/x".api_base must be a URL with http:// or https://',
    ),
    (
        "rpm = 5",
        'api_base = "http://host:x/v1"',
        'line 8: models."openai/x".api_base must be a URL with http:// or https://',
    ),
    (
        "rpm = 5",
        'api_base = "http://[x/v1"',
        'line 8: models."openai/x".api_base must be a URL with http:// or https://',
    ),
    (
        "rpm = 5",
        'api_base = "http://h/v1/chat/completions"',
        "line 8: models.\"openai/x\".api_base goes too far: 'http://h/v1/chat/completions'",
    ),
    ('model = "gpt-4"\n', "", "line 17: steps.judge has no model"),
    ('model = "gpt-4"', 'model = ""', "line 19: steps.judge.model must not be empty"),
    ('prompt = "{{ generate }}"\n', "", "line 17: steps.judge has no prompt"),
    ('prompt = "{{ generate }}"', 'prompt = " "', "line 17: steps.judge has no prompt"),
    (
        'prompt = "{{ generate }}"',
        'prompt = "x"\nprompt_file = "x.txt"',
        "line 21: steps.judge.prompt_file stands beside prompt",
    ),
    (
        'prompt = "{{ generate }}"',
        'prompt_file = "nope.txt"',
        "line 20: steps.judge.prompt_file is wrong: cannot read nope.txt: "
        "No such file or directory",
    ),
    ('name = "judge"\n', "", "line 17: steps[2] has no name"),
    (
        'name = "judge"',
        'name = "generate"',
        "line 18: steps.generate.name is used twice: 'generate'",
    ),
    (
        'name = "judge"',
        'name = "my judge"',
        'line 18: steps."my judge".name must be letters, digits and _, no digit first, '
        "not 'my judge'",
    ),
    (
        'model = "gpt-4"',
        'model = "gpt-4"\nmax_tokens = 0',
        "line 20: steps.judge.max_tokens must be above 0, not 0",
    ),
    (
        'model = "gpt-4"',
        'model = "gpt-4"\non_truncated = "keep"',
        "line 20: steps.judge.on_truncated cannot be 'keep' in a step with output",
    ),
    (
        'model = "gpt-4"',
        'model = "gpt-4"\nparams = { max_tokens = 9 }',
        "line 20: steps.judge.params.max_tokens does not go here",
    ),
    (
        'model = "gpt-4"',
        'model = "gpt-4"\nparams = { n = 2 }',
        "line 20: steps.judge.params.n does not go here",
    ),
    (
        "min = 1, max = 5",
        "min = 6, max = 5",
        "line 22: steps.judge.output.score.min is 6, above the max of 5",
    ),
    (
        'type = "integer"',
        'type = "int"',
        "line 22: steps.judge.output.score.type must be 'string', 'integer', 'number' or "
        "'boolean', not 'int'",
    ),
    ('field = "judge.score"', 'field = "judge"', "line 26: score.field is not an output: 'judge'"),
    (
        '[steps.output]\nscore = { type = "integer", min = 1, max = 5 }\nreason = "string"',
        "output = {}",
        "line 21: steps.judge.output must name at least one field",
    ),
    (
        'field = "judge.score"',
        'field = "judge.scor"',
        "line 26: score.field is not an output: 'judge.scor'",
    ),
    (
        'field = "judge.score"',
        'field = "generate.x"',
        "line 26: score.field is not an output: 'generate.x'",
    ),
    (
        'field = "judge.score"',
        'field = "jugde.score"',
        "line 26: score.field names no step: 'jugde.score'",
    ),
    (
        "pass_at = 4",
        "pass_at = 6",
        "line 27: score.pass_at is 6, but judge.score is 5 at most, so nothing could pass",
    ),
    (
        "pass_at = 4",
        "labels = { good = 1 }",
        "line 27: score.labels are for words, and judge.score is an integer from 1 to 5",
    ),
    (
        "pass_at = 4",
        "min = 5\nmax = 1",
        "line 27: score.min is 5, above the max of 1",
    ),
    (
        "pass_at = 4",
        "pass_at = 6\nmax = 5",
        "line 27: score.pass_at is 6, above the max of 5, so nothing could pass",
    ),
    (
        "pass_at = 4",
        "pass_at = 0\nmin = 1",
        "line 27: score.pass_at is 0, below the min of 1: all would pass",
    ),
    (
        "pass_at = 4",
        "max = 10",
        "line 27: score.max is 10, but judge.score has 5",
    ),
    (
        "pass_at = 4",
        "min = 0",
        "line 27: score.min is 0, but judge.score has 1",
    ),
    (
        "pass_at = 4",
        "labels = { good = 1 }\nmax = 1",
        "line 28: score.max does not go with labels, whose numbers are all there are",
    ),
    ("pass_at = 4", "max = inf", "line 27: score.max must be a finite number, not inf"),
    (
        "[score]",
        '[run]\nengine = "rya"\n[score]',
        "line 26: run.engine must be 'threads', 'serial', 'ray' or 'batch', not 'rya'",
    ),
    (
        "[score]",
        '[run]\noutput = "out.csv"\n[score]',
        "line 26: run.output must end in .jsonl or .parquet, not 'out.csv'",
    ),
    (
        "[score]",
        '[run]\noutput = "results.calls.jsonl"\n[score]',
        "line 26: run.output is the name of a journal: 'results.calls.jsonl'",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[w[2][:60] for w in WRONG])
def test_a_wrong_value_is_refused_in_one_sentence_with_its_line(
    old: str, new: str, message: str
) -> None:
    assert refused(changed(old, new)).message == f"llmb.toml, {message}"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "llmb.toml has no steps", "llmb init"),
        ("steps = []", "llmb.toml, line 1: steps must not be empty", ""),
        ("steps = [3]", "llmb.toml, line 1: steps[1] must be a table, not 3", ""),
        ("steps = 3", "llmb.toml, line 1: steps must be a list, not 3", ""),
        ('[steps]\nname = "a"', "llmb.toml, line 1: steps must be a list", "write [[steps]]"),
        ("limits = 3\nsteps = []", "llmb.toml, line 1: limits must be a table, not 3", ""),
        ("models = 3\nsteps = []", "llmb.toml, line 1: models must be a table, not 3", ""),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, message: str, hint: str) -> None:
    flags = Overrides(workers=3, model="a/b", api_base="http://h/v1")
    for given in (None, flags):  # flags must not stumble over it either
        error = refused(text, given)
        assert error.message == message
        assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("size = 10 items", "text goes in quotes"),
        ("[models.openai/x]\nrpm = 5", "quote the name of a model"),
    ],
)
def test_what_is_no_toml_is_refused_with_the_place_and_a_guess(text: str, hint: str) -> None:
    error = refused(text)
    assert error.message.startswith("llmb.toml is not valid TOML: ")
    assert "line 1" in error.message
    assert hint in error.hint


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("llmb.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"llmb\.toml is not UTF-8 text"):
        load_config()


def test_an_empty_prompt_file_is_refused() -> None:
    Path("judge.txt").write_text(" \n")
    error = refused(changed('prompt = "{{ generate }}"', 'prompt_file = "judge.txt"'))
    assert "steps.judge.prompt_file is an empty file: 'judge.txt'" in error.message


def test_every_choice_needs_a_number_and_every_label_a_choice() -> None:
    def verdict(score: str) -> str:
        return changed(
            'reason = "string"', 'verdict = { type = "string", choices = ["good", "bad"] }'
        ).replace('field = "judge.score"\npass_at = 4', f'field = "judge.verdict"\n{score}')

    assert loaded(verdict("labels = { Good = 1, bad = 0 }\npass_at = 1")).score
    assert "score.labels give no number for 'good'" in refused(verdict("")).message
    assert "give no number for 'bad'" in refused(verdict("labels = { good = 1 }")).message
    # Which word is worth what nobody knows here: a guess could turn the scale around.
    assert "= 1" not in refused(verdict("")).hint
    error = refused(verdict("labels = { good = 1, bda = 0 }"))
    assert "line 27: score.labels.bda is no choice of judge.verdict" in error.message
    assert error.hint == "choices are good, bad"
    boolean = changed('{ type = "integer", min = 1, max = 5 }', '"boolean"')
    assert "judge.score is 1 at most" in refused(boolean).message
    error = refused(verdict("labels = { good = 1, bad = 0 }\npass_at = 2"))
    assert "judge.verdict is 1 at most" in error.message


def test_the_ends_of_a_scale_may_be_said_once_or_the_same_twice() -> None:
    config = loaded(changed("pass_at = 4", "pass_at = 4\nmin = 1\nmax = 5"))
    assert config.score and (config.score.min, config.score.max) == (1.0, 5.0)
    open_field = changed("min = 1, max = 5", "min = 1").replace("pass_at = 4", "max = 5")
    assert loaded(open_field).score
    boolean = changed('{ type = "integer", min = 1, max = 5 }', '"boolean"')
    error = refused(boolean.replace("pass_at = 4", "max = 5"))
    assert "score.max is 5, but judge.score has 1" in error.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rpm = 5", f'api_key = "{SECRET}"'),
        ("rpm = 5", f'api_key_env = "{SECRET}"'),
        ("rpm = 5", f'api_base = "http://me:{SECRET}@host/v1"'),
        ("rpm = 5", f'api_base = "https://host/v1?key={SECRET}"'),
        ("rpm = 5", f'api_base = "ftp://{SECRET}"'),
        ('model = "gpt-4"', f'model = "gpt-4"\nparams = {{ api_key = "{SECRET}" }}'),
        (
            'model = "gpt-4"',
            f'model = "gpt-4"\nparams.extra_headers = {{ Authorization = "{SECRET}" }}',
        ),
    ],
)
def test_a_key_in_the_file_is_refused_and_never_shown(
    old: str, new: str, caplog: pytest.LogCaptureFixture
) -> None:
    # The manifest copies the config, so a key in it would end up in a file.
    with caplog.at_level(logging.DEBUG):
        error = refused(changed(old, new))
    shown = "".join(traceback.format_exception(error)) + error.hint + caplog.text
    assert SECRET not in shown


# Flags


def test_flags_win_over_the_file_and_the_rest_stays() -> None:
    flags = Overrides(
        data="rows.csv", sample=0, seed=7, workers=3, rpm=30.0, tpm=900.0, budget=0.0,
        engine="serial", output="out/r.jsonl",
    )  # fmt: skip
    config = loaded(PROMISED, flags, name="sub/llmb.toml")
    assert config.data_path() == Path.cwd() / "rows.csv"  # a flag means here, not there
    assert (config.sample.size, config.sample.seed, config.sample.stratify) == (0, 7, "category")
    assert (config.limits.workers, config.limits.rpm, config.limits.tpm) == (3, 30.0, 900.0)
    assert (config.limits.budget, config.limits.max_attempts) == (0.0, 6)
    assert (config.run.engine, config.run.output) == ("serial", "out/r.jsonl")


def test_flags_that_were_not_given_change_nothing() -> None:
    assert loaded(PROMISED, Overrides()) == loaded(PROMISED)


def test_data_from_a_flag_replaces_the_demo_set_and_its_id() -> None:
    config = load_config(flags=Overrides(data="rows.csv"))
    assert config.data_path() == Path.cwd() / "rows.csv"
    assert config.data.id is None
    assert load_config(flags=Overrides(data="-")).data_path() == "-"


def models(flags: Overrides, text: str = SMALL) -> list[str]:
    return [step.model for step in loaded(text, flags).steps]


def test_model_is_every_step_but_the_judge_and_judge_is_the_judge() -> None:
    assert models(Overrides(model="a/b")) == ["a/b", "gpt-4"]
    assert models(Overrides(judge="c/d")) == ["openai/x", "c/d"]
    assert models(Overrides(model="a/b", judge="c/d")) == ["a/b", "c/d"]


def test_the_judge_is_found_by_the_score_whatever_its_name() -> None:
    text = SMALL.replace('"judge"', '"grade"').replace("judge.", "grade.")
    assert models(Overrides(judge="c/d"), text) == ["openai/x", "c/d"]


def chained(*steps: str, score: str) -> str:
    """A config of steps ``name[.field]: prompt``, all of one model."""
    text = ""
    for step in steps:
        named, _, prompt = step.partition(": ")
        name, _, field = named.partition(".")
        text += f'[[steps]]\nname = "{name}"\nmodel = "m/0"\nprompt = "{prompt}"\n'
        text += f'output = {{ {field} = "number" }}\n' if field else ""
    return f'{text}[score]\nfield = "{score}"\n'


PANELS = {
    "named": (["judge_a: {{ write }}", "judge_b.score: {{ write }}"], "judge_b.score"),
    "same field": (["strict.grade: {{ write }}", "kind.grade: {{ write }}"], "kind.grade"),
    "put together": (
        ["a.x: {{ write }}", "b.y: {{ write }}", "sum.score: {{ a.x }} {{ b.y }}"],
        "sum.score",
    ),
}


@pytest.mark.parametrize("panel", PANELS)
def test_model_is_none_of_a_panel_of_judges_and_judge_is_all_of_them(panel: str) -> None:
    judges, score = PANELS[panel]
    text = chained("write: {{ question }}", *judges, score=score)
    assert models(Overrides(model="a/b"), text) == ["a/b", *["m/0"] * len(judges)]
    assert models(Overrides(judge="c/d"), text) == ["m/0", *["c/d"] * len(judges)]


@pytest.mark.parametrize(
    "steps",
    [
        ["write: {{ q }}", "revise: {{ write }}", "grade.score: {{ revise }}"],
        ["score: {{ q }}", "write.score: {{ q }}", "grade.score: {{ write.score }}"],
        ["write: {{ q }}", "facts.list: {{ write }}", "grade.score: {{ write }} {{ facts.list }}"],
        ["judges: {{ q }}", "adjudge: {{ judges }}", "grade.score: {{ adjudge }}"],
    ],
    ids=["revised", "with that field", "prepared", "named alike"],
)
def test_steps_that_make_what_is_judged_are_no_judges(steps: list[str]) -> None:
    text = chained(*steps, score="grade.score")
    assert models(Overrides(model="a/b", judge="c/d"), text) == ["a/b", "a/b", "c/d"]


def test_without_a_config_the_judge_follows_the_model() -> None:
    def built_in(**flags: str) -> list[str]:
        return [step.model for step in load_config(flags=Overrides(**flags)).asking]  # type: ignore[arg-type]

    local = "local/smollm2-135m-instruct"
    assert built_in() == [local, local]
    assert built_in(model="a/b") == ["a/b", "a/b"]
    assert built_in(judge="c/d") == [local, "c/d"]
    assert built_in(model="a/b", judge="c/d") == ["a/b", "c/d"]


def test_a_flag_can_name_the_model_that_the_file_leaves_out() -> None:
    text = SMALL.replace('model = "gpt-4"\n', "").replace('model = "openai/x"\n', "")
    assert models(Overrides(model="a/b", judge="c/d"), text) == ["a/b", "c/d"]
    assert "steps.judge has no model" in refused(text, Overrides(model="a/b")).message


def test_judge_without_a_judge_step_is_refused() -> None:
    single = '[[steps]]\nname = "generate"\nmodel = "a/b"\nprompt = "x"\n'
    error = refused(single, Overrides(judge="c/d"))
    assert error.message == "--judge was given, but the config has no judge step"
    assert models(Overrides(model="c/d"), single) == ["c/d"]


def test_a_single_step_called_judge_takes_the_model() -> None:
    single = '[[steps]]\nname = "judge"\nmodel = "a/b"\nprompt = "x"\n'
    assert models(Overrides(model="c/d"), single) == ["c/d"]


def test_api_base_is_where_every_model_is_served_but_local_and_fake_ones() -> None:
    config = loaded(SMALL, Overrides(api_base="http://h/v1"))
    assert {name: m.api_base for name, m in config.models.items()} == {
        "openai/x": "http://h/v1",
        "gpt-4": "http://h/v1",
    }
    assert config.model("openai/x").rpm == 5  # its other settings stay
    flags = Overrides(model="fake/a", judge="local/b", api_base="http://h/v1")
    assert set(loaded(SMALL, flags).models) == {"openai/x"}
    assert loaded(SMALL, flags).model("openai/x").api_base is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Overrides(workers=0), "--workers must be at least 1, not 0"),
        (Overrides(sample=-1), "--sample must be at least 0, not -1"),
        (Overrides(budget=-1.0), "--budget must be at least 0, not -1.0"),
        (Overrides(rpm=0.0), "--rpm must be above 0, not 0.0"),
        (
            Overrides(engine="rya"),
            "--engine must be 'threads', 'serial', 'ray' or 'batch', not 'rya'",
        ),
        (Overrides(model=""), "--model must not be empty"),
        (Overrides(judge=""), "--judge must not be empty"),
        (Overrides(api_base="h"), "--api-base must be a URL with http:// or https://"),
        (
            Overrides(output="-"),
            "--output must end in .jsonl or .parquet, not '-'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_flag_is_named_and_not_the_file(flags: Overrides, message: str) -> None:
    assert refused(SMALL, flags).message == message


def test_a_wrong_key_in_the_file_is_blamed_on_the_file_even_with_flags() -> None:
    error = refused(changed("workers = 2", "workres = 2"), Overrides(workers=3))
    assert error.message == "llmb.toml, line 5: limits.workres is not a known key"


# The example


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """Every key that a table and the tables in it may have."""
    for name, field in model.model_fields.items():
        if not field.exclude:
            yield name
            for table in tables_in(field.annotation):
                yield from keys_of(table)


def tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from tables_in(argument)


def uncommented(text: str) -> str:
    """The example with every line switched on that shows what else can be set."""
    return re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)


def test_the_example_shows_every_key_there_is() -> None:
    text = DEMO_CONFIG.read_text(encoding="utf-8")
    missing = [key for key in keys_of(Config) if not re.search(rf"\b{key}\b", text)]
    assert missing == []


def test_every_line_of_the_example_that_is_switched_on_is_valid() -> None:
    text = uncommented(DEMO_CONFIG.read_text(encoding="utf-8"))
    Path("scoring.py").write_text("def exact(value, expected, item): ...\n", encoding="utf-8")
    # The keys that stand for another, and those that go with another field or path.
    text = re.sub(r"^(prompt_file|equals|labels|query) = .*$", "", text, flags=re.MULTILINE)
    Path("scoring.py").write_text("def exact(value, expected, item): return True\n")
    config = loaded(text)
    assert set(config.models) == {"openai/my-model", "openai/shared", "fake/rehearsal"}
    set_keys = set(keys_in(tomllib.loads(text)))
    unset = set(keys_of(Config)) - set_keys - {"prompt_file", "equals", "labels", "query"}
    assert unset == set()


def test_the_examples_labels_score_its_verdict() -> None:
    text = uncommented(DEMO_CONFIG.read_text(encoding="utf-8"))
    Path("scoring.py").write_text("def exact(value, expected, item): ...\n", encoding="utf-8")
    text = re.sub(r"^(prompt_file|equals|audit|query) = .*$", "", text, flags=re.MULTILINE)
    text = text.replace('labels = ["positive"', '# labels = ["positive"')
    text = text.replace('field = "judge.score"', 'field = "judge.verdict"')
    Path("scoring.py").write_text("def exact(value, expected, item): return True\n")
    config = loaded(text.replace("pass_at = 4", "pass_at = 1"))
    assert config.score is not None
    assert config.score.labels == {"right": 1, "wrong": 0}


def keys_in(raw: Any) -> Iterator[str]:
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield key
            yield from keys_in(value)
    elif isinstance(raw, list):
        for value in raw:
            yield from keys_in(value)


def test_the_examples_lines_fit_a_screen() -> None:
    lines = DEMO_CONFIG.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 110


def test_a_key_in_the_environment_never_becomes_the_name_of_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_API_KEY", "not-to-be-seen")
    monkeypatch.setenv("SOMEWHERE", "there")
    assert expanded("$SOMEWHERE/x.jsonl") == str(Path("there/x.jsonl"))
    assert expanded("${MY_API_KEY}/x.jsonl") == "${MY_API_KEY}/x.jsonl"
    assert expanded("-") == "-"


PLAY = """
[[steps]]
name = "a"
model = "fake/m"
prompt = "{{ question }}"
[[steps]]
name = "b"
model = "fake/m"
"""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ('prompt = "{{ x }}"\nwhen = "{{ b }}"', "line 10: steps.b: the when uses 'b'"),
        ('prompt = "{{ x }}"\nwhen = "a"', "line 10: steps.b.when is not one expression"),
        ('prompt = """\n{{ x }}\n{{ x """', "line 11: steps.b.prompt is not a valid template"),
    ],
)
def test_what_the_chain_refuses_is_told_with_its_line(tmp_path: Path, rest: str, said: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(PLAY + rest, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(path).chain()
    assert f"c.toml, {said}" in raised.value.message
