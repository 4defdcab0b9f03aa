"""What a run refuses before it spends anything, and what to type instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.config import Config, load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.errors import EXIT_USAGE, ConfigError
from llm_batch.records import Item
from llm_batch.sending.checks import (
    check_before_spending,
    empty_prompts,
    long_prompts,
    risks,
    with_list_prices,
)
from llm_batch.sending.providers import embedded

ITEM = Item("q1", {"question": "What?", "answer": "That."})
GENERATE = {"name": "generate", "model": "fake/a", "prompt": "{{ question }}", "max_tokens": 9}
JUDGE = {
    "name": "judge",
    "model": "fake/b",
    "prompt": "{{ answer }} {{ generate }}",
    "max_tokens": 9,
    "output": {"score": {"type": "integer", "min": 0, "max": 5}},
}


@pytest.fixture(autouse=True)
def no_keys_and_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LLMB_CONFIG", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)


def config(*steps: dict[str, Any], **sections: Any) -> Config:
    made = Config.model_validate({"steps": list(steps or (GENERATE, JUDGE)), **sections})
    return made.model_copy(update={"source": Path("llmb.toml")})


@pytest.mark.parametrize(
    ("score", "warned"),
    [
        ({}, True),
        ({"max": 5}, True),
        ({"min": 1, "max": 5}, False),
        ({"labels": {"right": 1, "wrong": 0}}, False),
    ],
    ids=["no scale", "half a scale", "a scale", "labels"],
)
def test_a_score_in_words_without_a_scale_is_said_before_a_run(
    score: dict[str, Any], warned: bool
) -> None:
    judge = {key: value for key, value in JUDGE.items() if key != "output"}
    said = risks(config(GENERATE, judge, score={"field": "judge", **score}))
    assert bool(said) is warned
    assert all("min = 1 and max = 5" in sentence for sentence in said)


def test_an_audit_in_words_without_a_scale_is_said_as_well() -> None:
    made = config(
        GENERATE,
        JUDGE,
        {**GENERATE, "name": "dear"},
        score={"field": "judge.score", "audit": "dear"},
    )
    assert any("the words of dear" in sentence for sentence in risks(made))


def test_a_free_text_of_an_object_is_words_too_and_the_built_in_chain_is_not() -> None:
    judge = {**JUDGE, "output": {"text": {"type": "string"}}}
    assert risks(config(GENERATE, judge, score={"field": "judge.text"}))
    assert not risks(config(score={"field": "judge.score"}))
    assert not risks(load_config())


def passes(made: Config, first: Item = ITEM) -> None:
    check_before_spending(made, made.chain(), first)


def refused(made: Config, first: Item = ITEM) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        passes(made, first)
    assert raised.value.exit_code == EXIT_USAGE
    assert raised.value.hint
    return raised.value


def test_a_sound_run_passes() -> None:
    passes(config())


# Prompts and data


def test_a_field_misspelt_is_named_with_the_fields_there_are() -> None:
    error = refused(config({**GENERATE, "prompt": "{{ qestion }}"}))
    assert error.message == (
        "the prompts use 'qestion', which item 'q1' does not have; its fields are question, answer"
    )


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({**JUDGE, "prompt": "{{ generate }}", "when": "{{ anser }}"},
         "steps.judge.when uses 'anser'"),
        ({"name": "judge", "provided": "anser"}, "steps.judge.provided names 'anser'"),
        ({**JUDGE, "output": None, "pair": ["anser", "generate"],
          "prompt": "{{ first }}{{ second }}"}, "steps.judge.pair uses 'anser'"),
    ],
    ids=["when", "provided", "pair"],
)  # fmt: skip
def test_a_field_misspelt_outside_of_prompts_is_named_with_its_key(
    step: dict[str, Any], said: str
) -> None:
    error = refused(config(GENERATE, step))
    assert said in error.message
    assert error.hint is not None and "answer" in error.hint


def test_a_field_misspelt_in_a_later_prompt_is_found_before_the_first_step_is_paid() -> None:
    error = refused(config(GENERATE, {**JUDGE, "prompt": "{{ anser }} {{ generate }}"}))
    assert "the prompts use 'anser'" in error.message


def test_an_output_field_misspelt_is_found_too() -> None:
    explain = {**GENERATE, "name": "explain", "prompt": "{{ judge.scor }}"}
    error = refused(config(GENERATE, JUDGE, explain))
    assert "steps.explain.prompt: 'dict object' has no attribute 'scor'" in error.message


def test_a_nested_field_misspelt_is_found_in_a_later_prompt() -> None:
    made = config(GENERATE, {**JUDGE, "prompt": "{{ meta.titel }} {{ generate }}"})
    first = Item("q1", {**ITEM.fields, "meta": {"title": "x"}})
    assert "has no attribute 'titel'" in refused(made, first).message


def test_a_field_that_a_prompt_can_do_without_may_be_missing() -> None:
    passes(config({**GENERATE, "prompt": "{{ question }} {{ hint | default('') }}"}))


def test_a_prompt_that_takes_an_answer_apart_is_not_judged_by_a_made_up_one() -> None:
    passes(config(GENERATE, {**JUDGE, "prompt": "{{ generate.split('Answer:')[1] }}"}))
    explain = {**GENERATE, "name": "explain", "prompt": "{{ 10 / judge.score }}"}
    passes(config(GENERATE, JUDGE, explain))


def test_a_first_prompt_that_fails_for_the_first_item_is_refused() -> None:
    error = refused(config({**GENERATE, "prompt": "{{ question | length / 0 }}"}))
    assert error.message.startswith("item 'q1': steps.generate.prompt: ")


@pytest.mark.parametrize(("key", "word"), [("value", "generate"), ("expected", "answer")])
def test_a_rule_that_compares_the_name_of_a_field_is_refused(key: str, word: str) -> None:
    texts = {"value": "{{ generate }}", "expected": "{{ answer }}"} | {key: word}
    error = refused(config(GENERATE, {"name": "exact", "rule": "equals", **texts}))
    assert error.message.startswith(f"steps.exact.{key} is the word {word!r} itself")
    assert error.hint == f'write {key} = "{{{{ {word} }}}}"'


def test_a_step_with_the_name_of_a_field_is_refused() -> None:
    made = config({**GENERATE, "name": "answer"})
    error = refused(made)
    assert error.message == "step 'answer' has the name of a field of the data"
    assert error.hint == "rename the step: {{ answer }} could mean either"


@pytest.mark.parametrize(
    "data", ["out.jsonl", "./out.jsonl", "out.calls.jsonl", "out.batches.jsonl"]
)
def test_a_run_never_writes_over_its_data(data: str) -> None:
    made = config(data={"path": data}, run={"output": "out.jsonl"})
    assert "would write over its own data" in refused(made).message


def test_a_link_to_the_data_is_still_the_data() -> None:
    Path("rows.jsonl").write_text("{}")
    Path("out.jsonl").symlink_to("rows.jsonl")
    made = config(data={"path": "rows.jsonl"}, run={"output": "out.jsonl"})
    assert "would write over its own data" in refused(made).message


def test_data_from_standard_input_is_nowhere() -> None:
    passes(config(data={"path": "-"}))


# Workers

REMOTE = {**GENERATE, "model": "openai/gpt-4o-mini"}


def test_many_workers_need_a_limit_and_the_message_says_why() -> None:
    error = refused(config(REMOTE, limits={"workers": 50}))
    assert error.message == (
        "50 workers make about 600 to 1,000 requests a minute at openai/gpt-4o-mini; more than 10 "
        "need a limit, since accounts are limited or banned for flooding"
    )
    assert error.hint == (
        "set --rpm to the limit your provider shows for your account, name its --tier, or use "
        "--workers 5"
    )


@pytest.mark.parametrize(
    "sections",
    [
        {"limits": {"workers": 10}},
        {"limits": {"workers": 50, "rpm": 600}},
        {"limits": {"workers": 50, "tpm": 90_000}},
        {"limits": {"workers": 50}, "models": {"openai/gpt-4o-mini": {"rpm": 600}}},
        {"limits": {"workers": 50}, "models": {"openai/gpt-4o-mini": {"tpm": 9_000}}},
        {
            "limits": {"workers": 50},
            "models": {"openai/gpt-4o-mini": {"api_base": "http://127.0.0.1:1/v1"}},
        },
    ],
    ids=["ten", "rpm", "tpm", "the model's rpm", "the model's tpm", "loopback"],
)
def test_many_workers_may_go_where_there_is_a_limit_or_no_one_to_flood(
    sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    passes(config(REMOTE, **sections))


def test_a_server_on_this_machine_counts_wherever_its_address_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    passes(config(REMOTE, limits={"workers": 50}))


def test_fake_models_take_any_number_of_workers() -> None:
    passes(config(limits={"workers": 500}))


def test_one_model_with_a_limit_does_not_cover_another() -> None:
    models = {"openai/gpt-4o-mini": {"rpm": 600}}
    made = config(
        REMOTE, {**JUDGE, "model": "openai/gpt-4o"}, limits={"workers": 50}, models=models
    )
    assert "at openai/gpt-4o;" in refused(made).message


# Models and budget


def test_a_model_that_nobody_serves_is_refused() -> None:
    error = refused(config({**GENERATE, "model": "no-such-model"}))
    assert error.message == "model 'no-such-model' is not known"


def test_a_missing_key_is_refused_before_anything_is_written() -> None:
    assert "OPENAI_API_KEY" in refused(config(REMOTE)).message + refused(config(REMOTE)).hint


OWN = {**GENERATE, "model": "openai/mine"}
HERE = "http://127.0.0.1:1/v1"


def test_a_budget_needs_prices() -> None:
    models = {"openai/mine": {"api_base": HERE}}
    error = refused(config(OWN, limits={"budget": 5.0}, models=models))
    assert error.message == "a budget needs prices, and the price of 'openai/mine' is not known"
    assert error.hint == 'set input_price and output_price under [models."openai/mine"]'


def test_a_budget_needs_a_bound_on_output() -> None:
    models = {"openai/mine": {"api_base": HERE, "input_price": 1.0, "output_price": 2.0}}
    without = {key: value for key, value in OWN.items() if key != "max_tokens"}
    error = refused(config(without, limits={"budget": 5.0}, models=models))
    assert error.message == (
        "a budget needs a bound on output, and step 'generate' has no max_tokens"
    )
    assert error.hint == "set max_tokens under [[steps]] 'generate'"
    passes(config(OWN, limits={"budget": 5.0}, models=models))


def test_a_budget_takes_the_bound_that_a_known_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    without = {key: value for key, value in REMOTE.items() if key != "max_tokens"}
    passes(config(without, limits={"budget": 5.0}))


def test_models_that_cost_nothing_need_neither() -> None:
    without = {key: value for key, value in GENERATE.items() if key != "max_tokens"}
    passes(config(without, limits={"budget": 0.0}))


def test_a_priced_model_needs_a_bound_on_output_whoever_serves_it() -> None:
    without = {key: value for key, value in GENERATE.items() if key != "max_tokens"}
    models = {GENERATE["model"]: {"input_price": 1.0, "output_price": 2.0}}
    error = refused(config(without, limits={"budget": 1.0}, models=models))
    assert "a bound on output" in error.message
    passes(config(GENERATE, limits={"budget": 1.0}, models=models))


def test_a_budget_refuses_a_service_tier_above_the_list_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    faster = {**REMOTE, "params": {"service_tier": "priority"}}
    error = refused(config(faster, limits={"budget": 5.0}))
    assert "service_tier 'priority'" in error.message and "input_price" in error.hint
    passes(config({**REMOTE, "params": {"service_tier": "flex"}}, limits={"budget": 5.0}))
    own = {REMOTE["model"]: {"input_price": 4.0, "output_price": 9.0}}
    passes(config(faster, limits={"budget": 5.0}, models=own))


# The embedded model


def test_without_config_and_embedded_model_the_three_ways_out_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "is_installed", lambda name: False)
    error = refused(load_config())
    assert error.message == (
        "there is no model to run: no config file, no --model, and the embedded model is not "
        "installed"
    )
    for way in (embedded.INSTALL_HINT, "--model openai/gpt-4o-mini", "llmb init"):
        assert way in error.hint


def test_a_config_that_names_the_embedded_model_is_told_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    error = refused(config({**GENERATE, "model": "local/smollm2-135m-instruct"}))
    assert error.message == "the embedded model 'smollm2-135m-instruct' is not installed"
    assert error.hint == embedded.INSTALL_HINT


def test_a_model_file_that_is_not_there_is_named_with_or_without_a_config() -> None:
    for made in (
        config({**GENERATE, "model": "local/nope.gguf"}),
        load_config(flags=Overrides(model="local/nope.gguf")),
    ):
        assert refused(made).message == "there is no model file 'nope.gguf'"


def test_the_missing_one_of_two_local_models_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("here.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(embedded, "is_installed", lambda name: name == "here.gguf")
    judge = {**JUDGE, "model": "local/nope.gguf"}
    made = config({**GENERATE, "model": "local/here.gguf"}, judge)
    assert refused(made).message == "there is no model file 'nope.gguf'"


def test_an_installed_local_model_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "is_installed", lambda name: name == "here.gguf")
    passes(config({**GENERATE, "model": "local/here.gguf"}))


def test_a_model_file_without_llama_cpp_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("here.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    error = refused(config({**GENERATE, "model": "local/here.gguf"}))
    assert error.message == "llama.cpp for Python is not installed"
    assert error.hint == embedded.INSTALL_HINT


# Prices of one's own


def own_prices(model: str, **settings: Any) -> Config:
    return config({**GENERATE, "model": model}, models={model: settings})


@pytest.mark.parametrize(
    ("model", "settings", "counted"),
    [
        ("gpt-4", {"input_price": 0.0, "output_price": 0.0}, (30.0, 60.0)),
        ("openai/gpt-4", {"input_price": 0.01, "output_price": 99.0}, (30.0, 99.0)),
        ("gpt-4", {"input_price": 0.0, "output_price": 0.0, "api_base": "http://h/v1"}, (30, 60)),
        ("gpt-4", {"input_price": 31.0, "output_price": 61.0}, (31.0, 61.0)),
        ("gpt-4", {"input_price": 0.0, "output_price": 0.0, "api_base": HERE}, (0.0, 0.0)),
        ("openai/mine", {"input_price": 0.0, "output_price": 0.0}, (0.0, 0.0)),
        ("fake/a", {"input_price": 0.5, "output_price": 0.0}, (0.5, 0.0)),
    ],
)
def test_the_question_counts_the_larger_of_ones_own_and_the_vendors_price(
    model: str, settings: dict[str, Any], counted: tuple[float, float]
) -> None:
    made = own_prices(model, **settings)
    asked = with_list_prices(made)
    assert (asked.model(model).input_price, asked.model(model).output_price) == counted
    assert (asked is made) is (made.model(model).input_price == counted[0])


def test_a_price_of_nothing_that_nobody_can_check_is_said() -> None:
    free = {"input_price": 0.0, "output_price": 0.0}
    assert "costs nothing" in " ".join(risks(own_prices("openai/mine", **free)))
    assert "costs nothing" in " ".join(
        risks(own_prices("openai/mine", api_base="https://h/v1", **free))
    )
    assert risks(own_prices("openai/mine", api_base=HERE, **free)) == []
    assert risks(own_prices("fake/a", **free)) == []


# What a prompt seems to say


def written(folder: Path, prompt: str, more: str = "", **fields: Any) -> tuple[ConfigError, Item]:
    path = folder / "own.toml"
    path.write_text(
        '[data]\npath = "q.jsonl"\n[[steps]]\nname = "generate"\nmodel = "fake/a"\n'
        f"prompt = {prompt}\n{more}"
    )
    made = load_config(path)
    first = Item("q1", fields or dict(ITEM.fields))
    with pytest.raises(ConfigError) as caught:
        check_before_spending(made, made.chain(), first)
    return caught.value, first


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("'Answer {question}'", 6),
        ("'Answer {question!r}'", 6),
        ("'Answer { question:>10}'", 6),
        ("'Answer ${question}'", 6),
        ("'Answer {item.question}'", 6),
        ("\"Answer {item['question']}\"", 6),
        ('"""\nBe brief.\nAnswer {question}"""', 8),
        ('"""Be brief.\nAnswer {question}"""', 7),
        ("'{{ answer }} of {question}'", 6),
        ("'{{ answer }} of {question} in \\frac{1}{2}'", 6),
    ],
)
def test_a_field_in_single_braces_is_refused_with_its_line(
    text: str, line: int, tmp_path: Path
) -> None:
    error, _ = written(tmp_path, text)
    assert error.message.startswith(f"{tmp_path / 'own.toml'}, line {line}: steps.generate.prompt")
    assert "single braces" in error.message and "write {{ question }}" in error.hint


def test_an_earlier_step_in_single_braces_is_refused_too(tmp_path: Path) -> None:
    judge = '[[steps]]\nname = "judge"\nmodel = "fake/b"\nprompt = "{{ answer }}: {generate}"\n'
    error, _ = written(tmp_path, "'{{ question }}'", judge)
    assert "line 10: steps.judge.prompt has {generate}" in error.message
    assert "{{ generate }}" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        'Reply with {"question": "…", "answer": 1}',
        "Reply with {answer: string}",
        r"\frac{answer}{question} and \text{answer} and x_{answer}",
        r"the set \{answer\} and $\sqrt[3]{answer}$ and ${answer}$",
        "{% raw %}{answer}{% endraw %}",
        "{{ '{answer}' }}",
        "Write {name} and {x}",
    ],
)
def test_braces_of_json_and_latex_are_let_through(text: str) -> None:
    passes(config({**GENERATE, "prompt": "{{ question }} " + text}))


@pytest.mark.parametrize(
    ("prompt", "fields", "said", "hint"),
    [
        ("{{ qestion }}", {"question": "x"}, "'qestion'", "did you mean {{ question }}?"),
        ("{{ Question }}", {"question": "x"}, "'Question'", "did you mean {{ question }}?"),
        ("{{ Question_text }}", {"Question text": 1}, "", "{{ item['Question text'] }}"),
        ("{{ question-text }}", {"question-text": 1}, "", "{{ item['question-text'] }}"),
        ("{{ item['Qestion'] }}", {"question": 1}, "no attribute", "{{ question }}"),
        ("{{ item.x }}", {"item": "a", "x": 1}, "no attribute", "field called item"),
        ("{{ none }}", {"none": "a"}, "a word of templates", "{{ item['none'] }}"),
        ("{{ true }}", {"true": "a"}, "a word of templates", "{{ item['true'] }}"),
        ("{{ self }}", {"self": "a"}, "a word of templates", "{{ item['self'] }}"),
        ("{{ loop }}", {"question": "a"}, "'loop'", "correct the prompt"),
    ],
)
def test_what_is_no_field_is_named_with_the_line_and_what_was_meant(
    prompt: str, fields: dict[str, Any], said: str, hint: str, tmp_path: Path
) -> None:
    error, _ = written(tmp_path, f'"{prompt}"', **fields)
    assert "own.toml, line 6: " in error.message and said in error.message
    assert hint in error.hint


@pytest.mark.parametrize("name", ["loop", "range", "dict", "item", "class", "if"])
def test_a_field_with_a_name_of_the_language_is_inserted(name: str) -> None:
    made = config({**GENERATE, "prompt": f"{{{{ {name} }}}}"})
    request = made.chain().next_request(Item("q", {name: "seen"}), [])
    assert request is not None and request.messages[0].content == "seen"
    passes(made, Item("q", {name: "seen"}))


def test_a_prompt_that_is_the_same_for_all_is_said() -> None:
    said = risks(config({**GENERATE, "prompt": "Answer the question."}))
    assert len(said) == 1 and "step 'generate' uses no field" in said[0]
    assert not risks(config({**GENERATE, "prompt": "{{ item }}"}))
    assert not risks(config(GENERATE, {**JUDGE, "prompt": "Score {{ generate }}"}))


@pytest.mark.parametrize(
    ("prompt", "blank"),
    [
        ("{{ question }}", 3),
        (" {{ question }}\n", 3),
        ("{% if question %}Q: {{ question }}{% endif %}", 2),
        ("Q: {{ question }}", 0),
        ("{{ question }}{{ id }}", 0),
    ],
)
def test_empty_prompts_are_counted(prompt: str, blank: int) -> None:
    rows = [{"id": n, "question": text} for n, text in enumerate(["a", "", None, "  "])]
    items = [Item(str(row["id"]), row) for row in rows]
    chain = config({**GENERATE, "prompt": prompt}, JUDGE).chain()
    said = [each for each in empty_prompts(chain, lambda: iter(items)) if "prompt" in each]
    assert len(said) == bool(blank)
    assert all(sentence.startswith(f"{blank} of 4 items give step 'generate'") for sentence in said)


@pytest.mark.parametrize(
    ("prompt", "counted"),
    [
        ("Q: {{ question }}", 3),
        ("Q: {{ item.question }}", 3),
        ("Q: {{ item['question'] }} {{ question }}", 3),
        ("Q: {% if question %}{{ question }}{% endif %}", 0),
        ("Q: {{ question or 'none' }}", 0),
        ("Q: {{ question | default('none') }}", 0),
        ("Q: {{ id }}", 0),
    ],
)
def test_empty_cells_that_every_prompt_inserts_are_counted(prompt: str, counted: int) -> None:
    rows = [{"id": n, "question": text} for n, text in enumerate(["a", "", None, "  "])]
    items = [Item(str(row["id"]), row) for row in rows]
    chain = config({**GENERATE, "prompt": prompt}).chain()
    said = empty_prompts(chain, lambda: iter(items))
    assert len(said) == bool(counted)
    for sentence in said:
        assert sentence.startswith(f"{counted} of 4 items have nothing in 'question'")
        assert "step 'generate' uses (the first is '1'); leave such rows out" in sentence


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("local/smollm2-135m-instruct", 5_000, "4,096"),
        ("openai/gpt-4", 10_000, "8,192"),
        ("openai/gpt-4.1", 10_000, ""),
        ("fake/a", 10_000, ""),
    ],
)
def test_the_longest_items_are_counted_before_a_run(model: str, words: int, said: str) -> None:
    rows = [{"id": n, "question": "word " * (words if n == 77 else 3)} for n in range(100)]
    items = [Item(str(row["id"]), row) for row in rows]
    settings = config({**GENERATE, "model": model, "prompt": "Q: {{ question }}"})
    found = long_prompts(settings, lambda: iter(items))
    assert len(found) == bool(said)
    for sentence in found:
        assert sentence.startswith("1 item gives step 'generate' a prompt of more than the " + said)
        assert "the longest is '77'" in sentence
