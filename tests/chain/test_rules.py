"""Rules: known answers of each, what they refuse, and what holds for every text."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import Config, load_config
from llm_batch.chain.forecast import compared, forecast, rendered
from llm_batch.chain.overrides import Overrides
from llm_batch.chain.rules import LETTERS, RULES, RuleError, Ruling, apply, last_number, normalised
from llm_batch.chain.score_rules import ScoreRule
from llm_batch.chain.steps import Step
from llm_batch.errors import ConfigError
from llm_batch.models.tokens import counter
from llm_batch.records import Score
from tests.builders import answer, item, step

NEEDED = {"value": "{{ generate }}", "expected": "{{ answer }}", "pattern": "x"}


def rule(name: Any, **options: Any) -> Step:
    needed = {key: NEEDED[key] for key in ("value", *RULES[name][0])}
    return Step(name="exact", rule=name, **{**needed, **options})


def ruling(name: str, value: str, expected: str | None, **options: Any) -> Ruling:
    return apply(rule(name, **options), value, expected)


ALL = ("case", "space", "punctuation")
TEXTS = [
    ("equals", "Paris", "Paris", (), True),
    ("equals", " Paris\n", "Paris", (), True),
    ("equals", "paris", "Paris", (), False),
    ("equals", "paris", "Paris", ("case",), True),
    ("equals", "STRASSE", "Straße", ("case",), True),
    ("equals", "New  York", "New York", (), False),
    ("equals", "New\n York", "New York", ("space",), True),
    ("equals", "Paris.", "Paris", ("case", "space"), False),
    ("equals", "“Paris!”", "Paris", ("punctuation",), True),
    ("equals", "caf\u00e9", "cafe\u0301", (), True),
    ("equals", "35", "3.5", ALL, False),
    ("equals", "5", "-5", ALL, False),
    ("equals", "1,000", "1000", ALL, False),
    ("equals", "don't", "dont", ALL, True),
    ("equals", "", "Paris", (), False),
    ("contains", "It is Paris.", "Paris", (), True),
    ("contains", "It is paris.", "Paris", ("case",), True),
    ("contains", "I know", "no", (), False),
    ("contains", "no, and I know", "no", (), True),
    ("contains", "15 km", "5", (), False),
    ("contains", "5 km", "5", (), True),
    ("contains", "5.2 km", "5", (), False),
    ("contains", "It is 5.", "5", (), True),
    ("contains", "我住在东京的", "东京", (), True),
]


@pytest.mark.parametrize(("name", "value", "expected", "how", "passed"), TEXTS)
def test_texts_are_compared_but_for_what_makes_no_difference(
    name: str, value: str, expected: str, how: tuple[str, ...], passed: bool
) -> None:
    assert ruling(name, value, expected, normalise=how).passed is passed


@pytest.mark.parametrize(
    ("pattern", "value", "expected", "passed"),
    [
        (r"answer is (\w+)", "The answer is Paris.", "Paris", True),
        (r"answer is (\w+)", "The answer is Lyon.", "Paris", False),
        (r"\d+", "in 1999", "1999", True),
        (r"\d+", "in 1999", None, True),
        (r"\d+", "none", None, False),
        (r"(?:is|was) (\w+)", "It was Lima", "Lima", True),
        (r"(?i)PARIS", "paris", None, True),
    ],
)
def test_a_pattern_finds_its_first_group_or_else_all_of_it(
    pattern: str, value: str, expected: str | None, passed: bool
) -> None:
    assert ruling("regex", value, expected, pattern=pattern).passed is passed


NUMBERS = [
    ("2 + 2 = 4, so\n#### 4", 4),
    ("#### 1,234", 1234),
    ("#### 12\nI checked it 3 times.", 12),
    ("It costs $5.", 5),
    ("-$5", -5),
    ("$-5", -5),
    ("−7 degrees", -7),
    ("1/2", Fraction(1, 2)),
    ("3 1/2 cups", Fraction(7, 2)),
    (r"\boxed{\frac{3}{4}} of 100", Fraction(3, 4)),
    (r"so \boxed{18}. That took 3 steps", 18),
    ("$1{,}000", 1000),
    ("1,234,567.89", Fraction("1234567.89")),
    ("3,5", Fraction("3.5")),
    ("1, 2, 3", 3),
    ("1,2,3", 3),
    ("50 %", 50),
    ("2.5e3", 2500),
    ("1.5 × 10^3", 1500),
    (r"2 \times 10^{-2}", Fraction(1, 50)),
    ("The answer is 18.", 18),
    ("x=5", 5),
    ("5km", 5),
    (".5", Fraction(1, 2)),
    ("10-20", 20),
    ("1.234,5 km", Fraction("1234.5")),
    ("1.234.567", 1234567),
    ("1\u202f234,5", Fraction("1234.5")),
    ("1'234.5", Fraction("1234.5")),
    ("1 000 000", 1_000_000),
    ("₹1,00,000", 100_000),
    ("3½ cups", Fraction(7, 2)),
    ("１２３．５", Fraction("123.5")),
    ("2^10", 1024),
    ("6.02·10²³", 602 * 10**21),
    (r"\boxed{25 \text{ cm}^2}", 25),
    ("20 kg m^-2", 20),
    ("Apples - 5", 5),
    ("x = - 5", -5),
    ("–5", -5),
    ("0^-1", None),
    ("H2O", None),
    ("none", None),
    ("", None),
    ("1/0", None),
]


@pytest.mark.parametrize(("text", "number"), NUMBERS, ids=[text for text, _ in NUMBERS])
def test_the_number_of_a_text_is_the_last_one_unless_it_is_marked(text: str, number: Any) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("value", "expected", "options", "passed"),
    [
        ("18.0", "#### 18", {}, True),
        ("0.1", "1/10", {}, True),
        ("1.1", "1", {}, False),
        ("1.1", "1", {"tolerance": 0.1}, True),
        ("1.11", "1", {"tolerance": 0.1}, False),
        ("105", "100", {"relative": 0.05}, True),
        ("106", "100", {"relative": 0.05}, False),
        ("-105", "-100", {"relative": 0.05}, True),
        ("106", "100", {"relative": 0.05, "tolerance": 6}, True),
        ("no idea", "100", {"relative": 9}, False),
    ],
)
def test_numbers_may_lie_apart_by_what_is_tolerated(
    value: str, expected: str, options: dict[str, float], passed: bool
) -> None:
    assert ruling("number", value, expected, **options).passed is passed


LETTERED = [
    ("B", "B"),
    ("b", "B"),
    ("(B)", "B"),
    ("**B**", "B"),
    ("B) Paris", "B"),
    ("B. Paris", "B"),
    ("The answer is (B)", "B"),
    ("The answer is **B**.", "B"),
    ("The correct answer is B. Paris", "B"),
    ("Answer: B, because A is wrong", "B"),
    (r"So \boxed{\text{D}}", "D"),
    ("Let me think about A cat.\n\nB", "B"),
    ("I think (C) is best.", "C"),
    ("Option C", "C"),
    ("The final answer is B. The answer is A at first sight", "B"),
    ("The answer is b.", "B"),
    ("The answer is 'B'", "B"),
    ("（Ｂ）", "B"),
    ("<answer>B</answer>", "B"),
    ("A is wrong. Therefore, B is the correct answer.", "B"),
    ("I'd go with D.", "D"),
    ("If A is right, so is B, but the answer is C", "C"),
    ("The answer: A Cat", "A"),
    ("A or B is correct", None),
    ("A or B", None),
    ("The answer is A or B", None),
    ("Both (A) and (B)", None),
    ("The answer is not B", None),
    ("The answer is A. Wait, the answer is B", None),
    ("A) one\nB) two\nC) three", None),
    ("A cat sat", None),
    ("the answer is a matter of taste", None),
    ("None of the above", None),
    ("", None),
]
WORDED = [
    ("Positive.", "positive"),
    ("The sentiment is Negative", "negative"),
    ("Label: not  spam", "not spam"),
    ("This is spam!", "spam"),
    ("sentiment: positive, not negative", "positive"),
    ("It is not positive", None),
    ("non-positive", None),
    ("positive or negative", None),
    ("The positively best", None),
]


@pytest.mark.parametrize(("text", "label"), LETTERED, ids=[text or "-" for text, _ in LETTERED])
def test_a_letter_is_the_one_that_a_text_states(text: str, label: str | None) -> None:
    assert ruling("choice", text, "A").found == (label or "")


@pytest.mark.parametrize(("text", "label"), WORDED, ids=[text for text, _ in WORDED])
def test_a_label_is_the_one_that_a_text_states(text: str, label: str | None) -> None:
    labels = ("positive", "negative", "not spam", "spam")
    assert ruling("choice", text, "positive", labels=labels).found == (label or "")


@pytest.mark.parametrize("text", ["1.5", "The answer is 1.5", "-1", "1,5", "It is 1.5."])
def test_a_digit_is_no_label_where_it_is_part_of_another_number(text: str) -> None:
    assert ruling("choice", text, "1", labels=("1", "2")).found == ""
    assert ruling("choice", text, "1", labels=("1", "10")).found == ""


FIELDS = {"name": "string", "age": {"type": "integer", "min": 0}}
OBJECTS = [
    ('{"a": 1}', None, {}, True),
    ('```json\n{"a": 1}\n```', None, {}, True),
    ("{'a': 1}", None, {}, False),
    ('{"a": 1} and more', None, {}, False),
    ('{"a": 1, "a": 2}', None, {}, False),
    ("NaN", None, {}, False),
    ("", None, {}, False),
    ("[" * 100_000, None, {}, False),
    ('{"b": [1, 2.0], "a": null}', '{"a": null, "b": [1.0, 2]}', {}, True),
    ('{"a": true}', '{"a": 1}', {}, False),
    ("[1, 2]", "[2, 1]", {}, False),
    ('{"name": "Ann", "age": 3}', None, {"fields": FIELDS}, True),
    ('{"name": "Ann", "age": -3}', None, {"fields": FIELDS}, False),
    ('{"name": "Ann", "age": "3"}', None, {"fields": FIELDS}, False),
    ('{"name": null, "age": 3}', None, {"fields": FIELDS}, False),
    ('{"name": "Ann", "age": 3, "more": 1}', None, {"fields": FIELDS}, False),
    ("[3]", None, {"fields": FIELDS}, False),
]


@pytest.mark.parametrize(("value", "expected", "options", "passed"), OBJECTS)
def test_json_is_valid_has_its_fields_and_equals_what_is_expected(
    value: str, expected: str | None, options: dict[str, Any], passed: bool
) -> None:
    assert ruling("json", value, expected, **options).passed is passed


@pytest.mark.parametrize(
    ("name", "expected", "options", "why"),
    [
        ("equals", " ", {}, "there is nothing in expected"),
        ("equals", "...", {"normalise": ("punctuation",)}, "there is nothing in expected"),
        ("contains", "", {}, "there is nothing in expected"),
        ("number", "", {}, "there is nothing in expected"),
        ("number", "many", {}, "there is no number in expected: 'many'"),
        ("choice", "K", {}, "expected is none of the labels: 'K'"),
        ("choice", "", {}, "there is nothing in expected"),
        ("regex", "", {}, "there is nothing in expected"),
        ("json", "{", {}, "expected is no JSON"),
    ],
)
def test_a_rule_without_anything_right_to_compare_with_gives_no_verdict(
    name: str, expected: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(RuleError, match=why):
        ruling(name, "4", expected, **options)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("number", "I do not know", "4"), ("choice", "A or B", "A"), ("equals", " ", "x"),
     ("regex", "nothing", "y"), ("json", "", "{}")],
)  # fmt: skip
def test_an_answer_with_nothing_in_it_is_wrong_and_said_to_be_empty(
    name: str, value: str, expected: str
) -> None:
    found = ruling(name, value, expected)
    assert (found.passed, found.found) == (False, "")
    assert found.reason.startswith("no answer found")


@given(st.text(), st.sampled_from([(), ("case",), ("space",), ("punctuation",), ALL]))
@example("C:\u0327", ("punctuation",))  # without the colon the two are one character
def test_normalising_twice_changes_nothing_more(text: str, how: Any) -> None:
    once = normalised(text, how)
    assert normalised(once, how) == once


@given(st.text(), st.text(min_size=1))
def test_equal_texts_contain_each_other(value: str, expected: str) -> None:
    try:
        same = ruling("equals", value, expected)
    except RuleError:
        return
    assert not same.passed or ruling("contains", value, expected).passed
    assert ruling("equals", expected, expected).passed


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6))
def test_a_fraction_is_read_as_it_is_written(number: Fraction) -> None:
    assert last_number(f"The answer is {number}.") == number


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_a_number_with_separators_is_the_number(number: int) -> None:
    assert last_number(f"#### {number:,}") == number


@given(st.sampled_from(LETTERS), st.sampled_from(["{}", "({})", "The answer is ({}).", "{}."]))
def test_a_letter_in_a_frame_is_that_letter(letter: str, frame: str) -> None:
    assert ruling("choice", frame.format(letter), letter).passed


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_json_equals_itself_however_it_is_written(value: Any) -> None:
    text = json.dumps(value)
    assert ruling("json", json.dumps(value, indent=1, sort_keys=True), text).passed


@settings(max_examples=50)
@given(st.text(), st.sampled_from(["equals", "contains", "regex", "number", "choice", "json"]))
def test_a_rule_says_the_same_of_the_same_texts(text: str, name: str) -> None:
    right = {"number": "4", "choice": "A", "json": "{}"}.get(name, "x")
    assert ruling(name, text, right) == ruling(name, text, right)


@pytest.mark.parametrize(
    "unit",
    ["1", "1,", "1 ", "$", "B or ", "answer is ", "(A", "\\boxed{", "not ", "[", "{", "*", " "],
)
@pytest.mark.parametrize("name", ["equals", "contains", "number", "choice", "json", "regex"])
def test_a_text_of_a_million_characters_takes_no_time_that_grows_with_its_square(
    unit: str, name: str
) -> None:
    text = unit * (1_000_000 // len(unit))
    right = {"number": "4", "choice": "A", "json": "{}"}.get(name, "x")
    began = time.process_time()
    ruling(name, text, right, **({"normalise": ALL} if name in ("equals", "contains") else {}))
    assert time.process_time() - began < 10  # a square would be minutes


# The config

RULE = """
[[steps]]
name = "generate"
model = "fake/a"
prompt = "{{ question }}"
[[steps]]
name = "exact"
rule = "equals"
value = "{{ generate }}"
expected = "{{ answer }}"
[score]
field = "exact"
"""


def loaded(text: str) -> Config:
    Path("llmb.toml").write_text(text, encoding="utf-8")
    return load_config("llmb.toml", Overrides())


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


EXPECTED = 'expected = "{{ answer }}"'
WRONG = [
    (EXPECTED, f'{EXPECTED}\nmodel = "x/y"',
     "line 11: steps.exact.model stands beside rule = 'equals', which asks no model"),
    (EXPECTED, f'{EXPECTED}\nprompt = "x"',
     "line 11: steps.exact.prompt stands beside rule = 'equals', which asks no model"),
    (EXPECTED, "", "line 6: steps.exact is a rule without expected"),
    ('value = "{{ generate }}"', "", "line 6: steps.exact is a rule without value"),
    ('"equals"', '"regex"', "line 6: steps.exact is a rule without pattern"),
    ('"equals"', '"equal"',
     "line 8: steps.exact.rule must be 'equals', 'contains', 'regex', 'number', 'choice', 'json' "
     "or 'python', not 'equal'"),
    (EXPECTED, f'{EXPECTED}\nnormalise = ["cases"]',
     "line 11: steps.exact.normalise[1] must be 'case', 'space' or 'punctuation', not 'cases'"),
    (EXPECTED, f"{EXPECTED}\ntolerance = 1",
     "line 11: steps.exact.tolerance is not for the rule 'equals'"),
    ('rule = "equals"', 'rule = "number"\ntolerance = -1',
     "line 9: steps.exact.tolerance must be at least 0, not -1"),
    ('rule = "equals"', 'rule = "choice"\nlabels = ["a", "A"]',
     "line 9: steps.exact.labels differ only in case or not at all: 'a'"),
    ('rule = "equals"', 'rule = "choice"\nlabels = ["a"]',
     "line 9: steps.exact.labels must name two labels or more, and none that is blank"),
    ('rule = "equals"', "rule = \"regex\"\npattern = '('",
     "line 9: steps.exact.pattern is no regular expression: missing ), unterminated subpattern at "
     "position 0"),
    ('model = "fake/a"', "", "line 2: steps.generate has no model"),
    ('model = "fake/a"', 'model = "fake/a"\nvalue = "x"',
     "line 5: steps.generate.value is for a step with a rule"),
    ('field = "exact"', 'field = "exact"\nmin = 1',
     "line 13: score.min does not go with a rule, whose verdict 'exact' is 1 or 0"),
    ('field = "exact"', 'field = "exact"\npass_at = 4',
     "line 13: score.pass_at is 4, but the verdict of a rule is 1 or 0"),
    ('field = "exact"', 'field = "generate"\nequals = "answer"',
     "line 13: score.equals stands beside field"),
    ('field = "exact"', 'equals = "answer"\nmax = 5', "line 13: score.max does not go with equals"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[wrong[2][:70] for wrong in WRONG])
def test_a_contradiction_is_refused_in_one_sentence_with_its_line(
    old: str, new: str, message: str
) -> None:
    assert old in RULE
    with pytest.raises(ConfigError) as caught:
        loaded(RULE.replace(old, new))
    assert caught.value.message == f"llmb.toml, {message}"


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+", r"(a|aa)+", r"(\w+\s?)*x", r"(a)\1", r"(?:a*){2,9}", r"((?:ab)*c?)*", r"(a?a?)*"],
)
def test_a_pattern_that_may_never_end_is_refused(pattern: str) -> None:
    text = RULE.replace('"equals"', f"\"regex\"\npattern = '{pattern}'")
    with pytest.raises(ConfigError, match=r"line 9: steps\.exact\.pattern may take a time"):
        loaded(text)


@pytest.mark.parametrize(
    "pattern",
    [
        r"answer is (\w+)",
        r"^.*?(\d+)\s*$",
        r"a{2,5}",
        r"(a|b)c+",
        r"(?:,\d{3})*",
        r"(?:\w{1,9} ){0,3}",
    ],
)
def test_a_pattern_that_ends_soon_is_taken(pattern: str) -> None:
    text = RULE.replace('"equals"', f"\"regex\"\npattern = '{pattern}'")
    assert loaded(text).steps[1].pattern == pattern


def test_a_pattern_that_takes_too_long_on_a_text_is_given_up() -> None:
    with pytest.raises(RuleError, match="takes more than 1 s"):
        ruling("regex", "a" * 40_000, None, pattern=r"a*a*a*a*[^a]\d")


def test_a_column_is_compared_with_the_last_answer_that_is_a_text() -> None:
    text = RULE.partition('[[steps]]\nname = "exact"')[0] + '[score]\nequals = "Gold column"\n'
    config = loaded(text)
    exact = config.steps[-1]
    assert (exact.rule, exact.value, exact.expected, exact.normalise) == (
        "equals", "{{ generate }}", "{{ item['Gold column'] }}", ("case", "space"),
    )  # fmt: skip
    assert config.score == ScoreRule(field="exact", equals="Gold column", pass_at=1.0)


def test_equals_without_an_answer_in_text_says_what_to_write() -> None:
    text = '[[steps]]\nname = "a"\nmodel = "fake/a"\nprompt = "x"\noutput = { label = "string" }\n'
    with pytest.raises(ConfigError) as caught:
        loaded(f'{text}[score]\nequals = "answer"\n')
    assert "has no step whose answer is a text" in caught.value.message
    assert 'rule = "equals"' in caught.value.hint


def test_a_rule_passes_at_one_where_nothing_else_is_said() -> None:
    config = loaded(RULE)
    assert config.score is not None
    assert config.score.pass_at == 1
    assert [each.name for each in config.asking] == ["generate"]
    assert config.judge is None


def test_flags_for_models_leave_rules_alone() -> None:
    Path("llmb.toml").write_text(RULE)
    config = load_config("llmb.toml", Overrides(model="openai/x", api_base="http://h/v1"))
    assert [each.model for each in config.steps] == ["openai/x", ""]
    assert list(config.models) == ["openai/x"]


# In the chain


def ruled(name: Any = "equals", *, judge: bool = False, **options: Any) -> Chain:
    steps = [step("generate", "{{ question }}"), rule(name, **options)]
    if judge:
        steps.append(step("judge", "{% if exact %}right{% else %}wrong{% endif %} {{ generate }}"))
    return Chain(steps, ScoreRule(field="exact"))


def test_a_rule_is_played_at_once_and_its_verdict_is_the_score() -> None:
    chain, one = ruled(), item(answer="Paris")
    request = chain.next_request(one, [])
    assert request is not None
    calls = [answer(request, "Paris")]
    assert chain.next_request(one, calls) is None
    result = chain.result(one, calls)
    assert (result.status, result.outputs) == ("ok", {"generate": "Paris", "exact": True})
    assert (result.score, result.passed) == (Score(1.0, "Paris", "", "Paris"), True)
    assert list(result.steps) == ["generate"]


def test_a_later_prompt_sees_the_verdict_as_true_or_false() -> None:
    chain, one = ruled(judge=True), item(answer="Paris")
    first = chain.next_request(one, [])
    assert first is not None
    then = chain.next_request(one, [answer(first, "Lyon")])
    assert then is not None
    assert then.messages[-1].content == "wrong Lyon"


def test_a_rule_that_cannot_be_applied_fails_the_item_by_name() -> None:
    chain, one = ruled("number", judge=True), item(answer="many")
    request = chain.next_request(one, [])
    assert request is not None
    calls = [answer(request, "4")]
    assert chain.next_request(one, calls) is None
    result = chain.result(one, calls)
    assert (result.status, result.score, result.passed) == ("rule", None, None)
    assert result.error == "exact: there is no number in expected: 'many'"


def test_rules_cost_nothing_before_a_run_and_hide_no_later_step() -> None:
    chain, one = ruled("number", judge=True, expected="{{ generate }}"), item()
    assert [each.step.name for each in forecast(chain, one, counter)] == ["generate", "judge"]
    assert [each.step for each in rendered(chain, one)] == ["generate", "judge"]
    ((shown, texts),) = compared(chain, one)
    assert shown.name == "exact"
    assert texts["value"] == "«answer of generate»"


def test_a_chain_may_be_rules_alone() -> None:
    chain = Chain([rule("equals", value="{{ given }}")], ScoreRule(field="exact"))
    one = item(answer="Paris", given="Paris")
    assert chain.next_request(one, []) is None
    assert chain.result(one, []).passed is True


def test_a_rule_over_a_later_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="the rule uses 'generate', the output of a step that"):
        Chain([rule("equals"), step("generate", "x")])


def test_a_step_is_written_down_as_it_was_written() -> None:
    made = rule("number", tolerance=0.5)
    assert set(made.model_dump()) == {"name", "rule", "value", "expected", "tolerance"}
    assert Step.model_validate(json.loads(json.dumps(made.model_dump(mode="json")))) == made
    assert "rule" not in step("a", "b").model_dump()
