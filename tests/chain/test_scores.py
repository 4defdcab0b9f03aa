"""From a judge's words to an object and a score: tables of replies that break judges."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_batch.chain.outputs import Fields, OutputField, Unreadable
from llm_batch.chain.scores import parse_object, score_of
from llm_batch.records import Score

SCORE = OutputField(type="integer", min=1, max=5)
ONLY: Fields = {"score": SCORE}
WITH_REASON: Fields = {"reason": OutputField(type="string"), "score": SCORE}
OK: Fields = {"ok": OutputField(type="boolean")}
VERDICT: Fields = {
    "verdict": OutputField(
        type="string", choices=("correct", "partially correct", "incorrect", "correct but late")
    )
}
SHARE: Fields = {"share": OutputField(type="number", min=0, max=1)}
OPEN: Fields = {"count": OutputField(type="integer")}
WORDS: Fields = {"answer": OutputField(type="string")}
BOTH = {"reason": 'a "b"', "score": 4}
TWO: Fields = {"score": SCORE, "is_correct": OutputField(type="boolean")}

READABLE: list[tuple[str, Fields, dict[str, Any]]] = [
    # JSON, and JSON among other things
    ('{"score": 4}', ONLY, {"score": 4}),
    ('  {"score": 4}\n', ONLY, {"score": 4}),
    ('```json\n{"score": 4}\n```', ONLY, {"score": 4}),
    ('```\n{"score": 4}\n```', ONLY, {"score": 4}),
    ('Here is my verdict: {"score": 4} I hope it helps!', ONLY, {"score": 4}),
    ('I use {braces} in prose. {"score": 4}', ONLY, {"score": 4}),
    ('$\\frac{1}{2}$ is half. {"score": 4}', ONLY, {"score": 4}),
    ("The {score} goes from 1 to 5.\nScore: 4", ONLY, {"score": 4}),
    ('{"score": 4} }', ONLY, {"score": 4}),
    ('{"score": 4, "confidence": 0.9}', ONLY, {"score": 4}),
    ('{"score": 4} and to repeat: {"score": 4}', ONLY, {"score": 4}),
    ('{"result": {"score": 4, "reason": "x"}}', WITH_REASON, {"reason": "x", "score": 4}),
    ('[{"score": 4}]', ONLY, {"score": 4}),
    ('{"score": {"type": "integer"}}\n{"score": 4}', ONLY, {"score": 4}),
    ('{"reason": "a\nb", "score": 4}', WITH_REASON, {"reason": "a\nb", "score": 4}),
    ('{"reason": "é 東京 🙂", "score": 4}', WITH_REASON, {"reason": "é 東京 🙂", "score": 4}),
    ('{"reason": "\\ud83d", "score": 4}', WITH_REASON, {"reason": "\ufffd", "score": 4}),
    ('\ufeff{"score": 4}', ONLY, {"score": 4}),
    ('{"score": 4, "loss": NaN, "other": -Infinity}', ONLY, {"score": 4}),
    # an object in a text, in a list or in another object
    (json.dumps('{"score": 4}'), ONLY, {"score": 4}),
    (json.dumps(json.dumps({"score": 4, "reason": 'a "b"'})), WITH_REASON, BOTH),
    ('{\\"reason\\": \\"x\\", \\"score\\": 4}', WITH_REASON, {"reason": "x", "score": 4}),
    ('{"result": "{\\"score\\": 4}"}', ONLY, {"score": 4}),
    ('{"evaluation": {"score": 4}, "model": "x"}', ONLY, {"score": 4}),
    ('{"reason": "x", "evaluation": {"score": 4}}', WITH_REASON, {"reason": "x", "score": 4}),
    ('{"response": {"evaluation": {"score": 4}}}', ONLY, {"score": 4}),
    ('{"results": [{"score": 4}]}', ONLY, {"score": 4}),
    ('{"a": {"score": 4}, "b": {"score": 4}}', ONLY, {"score": 4}),
    ('{"evaluation": {"Score": "4/5"}}', ONLY, {"score": 4}),
    ('{"score": {"score": 4, "max": 5}}', ONLY, {"score": 4}),
    ('{"score": {"Score": 4}, "reason": "so"}', WITH_REASON, {"reason": "so", "score": 4}),
    # a free text that is not there costs no verdict
    ('{"score": 4}', WITH_REASON, {"reason": "", "score": 4}),
    ('{"score": 4, "reason": null}', WITH_REASON, {"reason": "", "score": 4}),
    ('{"score": 4, "reason": ["a", "b"]}', WITH_REASON, {"reason": "a\nb", "score": 4}),
    ('{"score": 4, "reason": {"a": 1}}', WITH_REASON, {"reason": '{"a": 1}', "score": 4}),
    ('{"score": 4, "reason": ["\\ud83d", null]}', WITH_REASON, {"reason": "\ufffd\n", "score": 4}),
    # values in another type that can mean one thing only
    ('{"score": "5 (excellent)"}', ONLY, {"score": 5}),
    ('{"score": "4 - good"}', ONLY, {"score": 4}),
    ('{"score": "4 points"}', ONLY, {"score": 4}),
    ('{"score": "4 out of 5"}', ONLY, {"score": 4}),
    ('{"score": "4"}', ONLY, {"score": 4}),
    ('{"score": " 4 "}', ONLY, {"score": 4}),
    ('{"score": 4.0}', ONLY, {"score": 4}),
    ('{"score": "4.0"}', ONLY, {"score": 4}),
    ('{"score": "4/5"}', ONLY, {"score": 4}),
    ('{"score": 4e0}', ONLY, {"score": 4}),
    ('{"Score": 4}', ONLY, {"score": 4}),
    ('{"Is Correct": true, "SCORE": 2}', TWO, {"score": 2, "is_correct": True}),
    ('{"ok": true}', OK, {"ok": True}),
    ('{"ok": "Yes"}', OK, {"ok": True}),
    ('{"ok": "FALSE"}', OK, {"ok": False}),
    ('{"verdict": " Correct "}', VERDICT, {"verdict": "correct"}),
    ('{"share": 0}', SHARE, {"share": 0}),
    ('{"share": 1e-7}', SHARE, {"share": 1e-7}),
    # malformed, but certain
    ('{"score": 4,}', ONLY, {"score": 4}),
    ("{'score': 4}", ONLY, {"score": 4}),
    ("{score: 4}", ONLY, {"score": 4}),
    ("{“score”: 4}", ONLY, {"score": 4}),
    ('{"score": 4 // good\n}', ONLY, {"score": 4}),
    ("{'reason': 'it's fine', 'score': 4}", WITH_REASON, {"reason": "it's fine", "score": 4}),
    (
        '{"reason": "He said "no".", "score": 2}',
        WITH_REASON,
        {"reason": 'He said "no".', "score": 2},
    ),
    ('{"ok": True}', OK, {"ok": True}),
    ("{verdict: partially correct}", VERDICT, {"verdict": "partially correct"}),
    # words
    ("4", ONLY, {"score": 4}),
    ("4.", ONLY, {"score": 4}),
    ('"4"', ONLY, {"score": 4}),
    ("**4**", ONLY, {"score": 4}),
    ("- 4", ONLY, {"score": 4}),
    ("4/5", ONLY, {"score": 4}),
    ("4 out of 5", ONLY, {"score": 4}),
    ("Score: 4", ONLY, {"score": 4}),
    ("score = 4", ONLY, {"score": 4}),
    ("**Score:** 4/5", ONLY, {"score": 4}),
    ("**Score**: 4", ONLY, {"score": 4}),
    ("Score (1-5): 4", ONLY, {"score": 4}),
    ("Final score: 4.", ONLY, {"score": 4}),
    ("The score is 4.", ONLY, {"score": 4}),
    ("Score: 4 - mostly right", ONLY, {"score": 4}),
    ("There are 3 mistakes.\nScore: 4", ONLY, {"score": 4}),
    ("Score: 4\nReason: good", WITH_REASON, {"reason": "", "score": 4}),
    ("Score: 4\nIs correct: yes", TWO, {"score": 4, "is_correct": True}),
    ("Yes.", OK, {"ok": True}),
    ("Verdict: incorrect", VERDICT, {"verdict": "incorrect"}),
    ("Verdict: correct but late", VERDICT, {"verdict": "correct but late"}),
]

UNREADABLE: list[tuple[str, Fields]] = [
    ("", ONLY),
    ("I cannot answer that.", ONLY),
    ("{}", ONLY),
    ("[]", ONLY),
    ("[4]", ONLY),
    ("null", ONLY),
    # a wrong value is an answer; no other number takes its place
    ('{"score": 7}', ONLY),
    ('{"score": 0}', ONLY),
    ('I would say 4 of 5. {"score": 7}', ONLY),
    ('```json\n{"score": 7}\n```\nScore: 4', ONLY),
    ('Score: 4\n{"score": 9,}', ONLY),
    ('{"score": 7, "max_score": 5}', ONLY),
    ('{"score": 4.5}', ONLY),
    ('{"score": "4.5"}', ONLY),
    ('{"score": "4/10"}', ONLY),
    ('{"score": "four"}', ONLY),
    ('{"score": "4 or 5"}', ONLY),
    ('{"score": null}', ONLY),
    ('{"score": true}', ONLY),
    ('{"score": [4]}', ONLY),
    ('{"score": {"value": 4}}', ONLY),
    ('{"score": {"type": "integer", "minimum": 1}}', ONLY),
    ('{"properties": {"score": {"type": "integer"}}}', ONLY),
    ('{"score": NaN}', ONLY),
    ('{"score": Infinity}', ONLY),
    ('{"score": 1e400}', ONLY),
    ('{"count": 1e300}', OPEN),
    ('{"count": 9007199254740993}', OPEN),
    (f'{{"count": {"9" * 6000}}}', OPEN),
    ('{"count": "4/5"}', OPEN),
    ('{"share": 40}', SHARE),
    ('{"share": "40%"}', SHARE),
    ('{"reason": "good"}', WITH_REASON),
    ('{"reason": null, "score": null}', WITH_REASON),
    # what a reason quotes is no verdict
    ('{"reason": "{\\"score\\": 2}"}', WITH_REASON),
    ('{"answer": null}', WORDS),
    ('{"answer": ["a"]}', WORDS),
    ("{}", WORDS),
    ('{"score": "5 (excellent) or 4"}', ONLY),
    ('{"score": "5 (4 would do)"}', ONLY),
    ('{"score": "6 (excellent)"}', ONLY),
    ('{"count": "5 (excellent)"}', OPEN),
    ('{"good": {"score": 5}, "bad": {"score": 1}}', ONLY),
    ('{"results": [{"score": 4}, {"score": 3}]}', ONLY),
    ('{"a": {"b": {"c": {"d": {"score": 4}}}}}', ONLY),
    ('"score: 4 {"', TWO),
    (json.dumps('{"score": 7}'), ONLY),
    ('{"result": "{\\"score\\": 4"}', ONLY),
    ('{"score": ' + '{"a":' * 900 + "1" + "}" * 901, ONLY),
    ('{"a":' * 900 + "1" + "}" * 900 + '{"score": 7}', ONLY),
    ('{"ok": 1}', OK),
    ('{"ok": "maybe"}', OK),
    ('{"verdict": "wrong"}', VERDICT),
    ('{"verdict": ""}', VERDICT),
    # says two things
    ('{"score": 2} {"score": 5}', ONLY),
    ('[{"score": 4}, {"score": 3}]', ONLY),
    ('{"score": 7} or rather {"score": 5}', ONLY),
    ('{"score": 2, "score": 5}', ONLY),
    ("Score: 4\nScore: 2", ONLY),
    ("Score: 1 = bad, 5 = good\nScore: 4", ONLY),
    ("I would rate it between 3 and 4", ONLY),
    ("Score: 4 or 5", ONLY),
    ("Score: 4-5", ONLY),
    ("Score: 4, 5", ONLY),
    # cut off: the last value may be half of one
    ('{"score": 4', ONLY),
    ('{"score": 1', OPEN),
    ('{"score": 4, "reason": "The ans', WITH_REASON),
    ('{"reason": "ok", "score":', WITH_REASON),
    ('{"a": {"score": 4}, "b', ONLY),
    # malformed, and a repair would have to guess
    ('{"score": 4,5}', ONLY),
    ('{"score": 4 or 5}', ONLY),
    ('{"score": 4 → 5}', ONLY),
    ('{"score": 1 000}', ONLY),
    ('{"score": 4%}', ONLY),
    ('{"score": 0x4}', ONLY),
    ('{"score": ~4}', ONLY),
    ('{"score": 4, "note": "x", score: 5}', ONLY),
    ('{"ok": None}', OK),
    # words that are no verdict
    ("A score of 5 would mean perfect.", ONLY),
    ("It does not deserve a score of 4.", ONLY),
    ("Score: 4.5", ONLY),
    ("Score: -4", ONLY),
    ("Score -4", ONLY),
    ("Score: 40%", ONLY),
    ("Score: 4/10", ONLY),
    ("Score: 6", ONLY),
    ("7", ONLY),
    ("-4", ONLY),
    ("Score: 4", TWO),
    ("ok: no, but yes", OK),
    ("Verdict: not correct", VERDICT),
    ("Verdict: correct, mostly", VERDICT),
    ("It is incorrect.", VERDICT),
]


@pytest.mark.parametrize(
    ("text", "fields", "found"), READABLE, ids=[repr(text)[:60] for text, *_ in READABLE]
)
def test_a_reply_that_says_one_thing_is_read(
    text: str, fields: Fields, found: dict[str, Any]
) -> None:
    result = parse_object(text, fields)
    assert result == found
    assert list(result) == list(fields)
    assert {name: type(value) for name, value in result.items()} == {
        name: type(value) for name, value in found.items()
    }


@pytest.mark.parametrize(
    ("text", "fields"), UNREADABLE, ids=[repr(text)[:60] for text, _ in UNREADABLE]
)
def test_a_reply_that_is_not_certain_is_unreadable_and_never_a_default(
    text: str, fields: Fields
) -> None:
    with pytest.raises(Unreadable):
        parse_object(text, fields)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no idea", "no JSON object in the reply"),
        ('{"score": 7}', "field 'score' is 7, not an integer from 1 to 5"),
        ('{"score": 4.5}', "field 'score' is 4.5, not an integer"),
        ('{"score": 4', "the JSON object in the reply is not complete"),
        ('{"score": 2} {"score": 5}', "the reply has more than one object, and they differ"),
        ('{"score": 2, "score": 5}', "field 'score' is there twice, with different values"),
        ("Score: 4 or 5", "field 'score' is 'Score: 4 or 5', not an integer"),
        (
            '{"score": 4 or 5}',
            "field 'score' cannot be read with certainty; the JSON is malformed",
        ),
    ],
)
def test_what_is_unreadable_is_said_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(Unreadable) as raised:
        parse_object(text, ONLY)
    assert str(raised.value) == says


def test_a_complaint_stays_short_however_long_the_value_is() -> None:
    # The model is asked again with these words, which are paid for.
    with pytest.raises(Unreadable) as raised:
        parse_object(json.dumps({"score": "very " * 10_000}), ONLY)
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize(
    "text",
    [
        "{" * 100_000,
        '{"a":' * 100_000,
        '{"a": ' * 900 + "1" + "}" * 900,
        '{ "' * 30_000,
        "{x} " * 30_000,
        "{'score': " + "[" * 5_000 + "}",
        '"' * 50_000 + "{",
        "\\" * 50_000,
        "* " * 50_000,
        "score " * 20_000,
        "score: " * 20_000,
        "0" * 50_000,
    ],
    ids=lambda text: text[:6],
)
def test_hostile_replies_end_as_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_object(text, ONLY)


names = st.text("abcdefgh_", min_size=1, max_size=6).filter(lambda name: name.strip("_"))
small = st.integers(-50, 50)


@st.composite
def output_fields(draw: st.DrawFn) -> OutputField:
    kind = draw(st.sampled_from(["string", "integer", "number", "boolean", "choice"]))
    if kind == "choice":
        return OutputField(type="string", choices=("right", "partly right", "wrong"))
    if kind in ("string", "boolean"):
        return OutputField(type=kind)  # type: ignore[arg-type]
    low = draw(st.none() | small)
    high = draw(st.none() | st.integers(low if low is not None else -50, 50))
    return OutputField(type=kind, min=low, max=high)  # type: ignore[arg-type]


def fits(value: Any, field: OutputField) -> bool:
    """The promise itself, written apart from the code that keeps it."""
    if field.type == "string":
        return isinstance(value, str) and (field.choices is None or value in field.choices)
    if field.type == "boolean":
        return isinstance(value, bool)
    kinds = int if field.type == "integer" else (int, float)
    low = float("-inf") if field.min is None else field.min
    high = float("inf") if field.max is None else field.max
    return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high


def values_of(field: OutputField) -> st.SearchStrategy[Any]:
    if field.choices is not None:
        return st.sampled_from(field.choices)
    low = -1000 if field.min is None else field.min
    high = 1000 if field.max is None else field.max
    return {
        "string": st.text(),
        "boolean": st.booleans(),
        "integer": st.integers(int(low), int(high)),
        "number": st.floats(low, high),
    }[field.type]


# Like what plain names look like to a reader of keys: a_b and ab are the same to it.
shapes = st.dictionaries(names, output_fields(), min_size=1, max_size=4).filter(
    lambda fields: len({name.replace("_", "") for name in fields}) == len(fields)
)
# Text that comes near to an object is what breaks parsers; pure noise never does.
pieces = st.sampled_from(
    ['{"', '": ', ", ", "}", "{", "4", "4/5", "-1", "99", "1e9", "null", "true", "yes", "'", '"']
    + ["score", "Score: ", "a", "right", "wrong", "```json\n", "```", "[", "]", "\n", "\\", "NaN"]
    + ["<think>", "</think>", " or ", "// x\n", "４", "is", ":", "="]
)
noise = st.lists(pieces | st.text(max_size=5), max_size=30).map("".join)


@given(text=noise, fields=shapes)
@example(text='{"a": 1', fields={"a": OutputField(type="number")})
def test_whatever_text_comes_only_objects_that_pass_every_check_are_returned(
    text: str, fields: Fields
) -> None:
    try:
        found = parse_object(text, fields)
    except Unreadable:
        return
    assert list(found) == list(fields)
    assert all(fits(found[name], field) for name, field in fields.items())
    msgspec.json.encode(found)  # and can be written down


@given(data=st.data(), fields=shapes, ascii_only=st.booleans(), around=st.sampled_from(
    ["{}", "```json\n{}\n```", "Here it is: {} Bye.", "[{}]"]
))  # fmt: skip
def test_valid_objects_come_back_as_they_were(
    data: st.DataObject, fields: Fields, ascii_only: bool, around: str
) -> None:
    given_object = {name: data.draw(values_of(field)) for name, field in fields.items()}
    text = json.dumps(given_object, ensure_ascii=ascii_only)
    before, _, after = around.rpartition("{}")
    assert parse_object(before + text + after, fields) == given_object


@given(text=noise, number=st.integers(6, 10**6) | st.integers(-(10**6), 0))
def test_a_score_out_of_range_is_never_replaced_by_another_number(text: str, number: int) -> None:
    reply = f'{{"score": {number}}} {text}'
    with pytest.raises(Unreadable):
        parse_object(reply, ONLY)


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (4, 4.0),
        (0.25, 0.25),
        (True, 1.0),
        (False, 0.0),
        ("4", 4.0),
        (" 4.5 ", 4.5),
        ("-1", -1.0),
        ("4/5", 4.0),
        ("10/10", 10.0),
        ("Score: 4", 4.0),
        ("**Rating: 4/5**", 4.0),
        ("I rate it 4.", 4.0),
        ("I give it 4 out of 5.", 4.0),
        ("4 - good", 4.0),
        ("There are 3 errors.\nScore: 4", 4.0),
        ("Reason: bad\nScore: 2", 2.0),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        ({"score": 4}, None),
        ([4], None),
        ("", None),
        ("good", None),
        ("between 3 and 4", None),
        ("3-4", None),
        ("Score: 2\nScore: 3", None),
        ("Score: 4 or 5", None),
        ("GPT-4 is right", None),
        ("It has 2 million people.", None),
        ("6/5", None),
        ("50%", None),
        ("$5", None),
        ("1,000", None),
    ],
    ids=repr,
)
def test_an_output_is_a_score_only_when_it_is_certain(value: Any, score: float | None) -> None:
    assert score_of(value, {}).value == score


@pytest.mark.parametrize(
    ("value", "score", "label"),
    [
        ("pass", 1.0, "pass"),
        ("PASS.", 1.0, "pass"),
        ("**fail**", 0.0, "fail"),
        ("Verdict: pass", 1.0, "pass"),
        ("fail hard", -1.0, "fail hard"),
        ("not pass", None, "not pass"),
        ("fail, I think", None, "fail, I think"),
        ("pass 3", None, "pass 3"),
        ("3", None, "3"),
        ("Verdict: pass\nVerdict: fail", None, "Verdict: pass\nVerdict: fail"),
    ],
)
def test_a_label_stands_for_its_number_and_other_words_for_none(
    value: str, score: float | None, label: str
) -> None:
    labels = {"pass": 1.0, "fail": 0.0, "fail hard": -1.0}
    assert score_of(value, labels, "because") == Score(score, label, "because")


@given(st.text())
def test_no_text_breaks_the_reading_of_a_score(text: str) -> None:
    assert isinstance(score_of(text, {}), Score)
    assert score_of(text, {"pass": 1.0}).value in (None, 1.0)
