"""Fields of an output object: what may be declared, and how models and providers are told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm_batch.chain.outputs import OutputField, checked_object, instruction, json_schema, number_in

SCORE = OutputField(type="integer", min=1, max=5)


def declared(value: Any) -> OutputField:
    return OutputField.model_validate(value)


def test_a_type_alone_is_short_for_a_table() -> None:
    assert declared("string") == OutputField(type="string")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"type": "string", "min": 1}, "goes with integer or number, not with string"),
        ({"type": "boolean", "max": 1}, "goes with integer or number, not with boolean"),
        ({"type": "integer", "max": 4.5}, "must be a whole number for an integer, not 4.5"),
        ({"type": "number", "min": 2, "max": 1}, "is 2, above the max of 1"),
        ({"type": "integer", "choices": ["1"]}, "go with type string, not with integer"),
        ({"type": "string", "choices": []}, "must name at least one value"),
        ({"type": "string", "choices": ["a", " "]}, "none that is blank"),
        ({"type": "string", "choices": ["Yes", "yes"]}, "differ only in case"),
        ({"type": "number", "max": float("inf")}, "finite"),
        ({"type": "number", "min": "1"}, "number"),
        ({"type": "integer", "minimum": 1}, "Extra inputs"),
        ({"min": 1}, "Field required"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_field_that_makes_no_sense_is_refused(value: Any, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        declared(value)


def test_a_refused_value_is_not_shown_since_it_may_be_a_key() -> None:
    with pytest.raises(ValidationError) as raised:
        declared({"type": "string", "description": ["sk-secret"]})
    assert "sk-secret" not in str(raised.value)


def test_the_schema_requires_every_field_and_allows_no_other() -> None:
    fields = {
        "reason": declared("string"),
        "score": SCORE,
        "share": OutputField(type="number", min=0, max=1, description="of the whole"),
        "verdict": OutputField(type="string", choices=("right", "wrong")),
    }
    assert json_schema(fields) == {
        "type": "object",
        "properties": {
            "reason": {"type": "string"},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "share": {
                "type": "number",
                "minimum": 0.0,
                "maximum": 1.0,
                "description": "of the whole",
            },
            "verdict": {"type": "string", "enum": ["right", "wrong"]},
        },
        "required": ["reason", "score", "share", "verdict"],
        "additionalProperties": False,
    }
    # JSON readers on the other side may take 1.0 for no integer.
    assert type(json_schema(fields)["properties"]["score"]["minimum"]) is int


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (SCORE, "an integer from 1 to 5"),
        (OutputField(type="number", min=0.5), "a number of at least 0.5"),
        (OutputField(type="number", max=9), "a number of at most 9"),
        (OutputField(type="boolean"), "true or false"),
        (OutputField(type="string", choices=("a", "b")), 'one of "a", "b"'),
        (OutputField(type="string", description="in one word"), "a string (in one word)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_is_described_in_words(field: OutputField, words: str) -> None:
    assert field.in_words() == words
    assert f'"it": {words}' in instruction({"it": field})


@pytest.mark.parametrize(
    ("text", "top", "number"),
    [
        ("4", None, 4.0),
        (" -4.5 ", None, -4.5),
        ("4/5", 5.0, 4.0),
        ("4 out of 5", 5.0, 4.0),
        ("4 OUT OF 5", None, 4.0),
        ("4/10", 5.0, None),
        ("6/5", None, None),
        ("4/5/6", None, None),
        ("4 or 5", None, None),
        ("", None, None),
        ("٤", None, 4.0),
    ],
)
def test_a_number_is_the_whole_text_and_lies_on_the_scale_it_names(
    text: str, top: float | None, number: float | None
) -> None:
    assert number_in(text, top) == number


def test_checked_objects_have_the_declared_order_and_no_other_fields() -> None:
    fields = {"reason": declared("string"), "score": SCORE}
    found = checked_object({"extra": 1, "score": 4.0, "reason": "good"}, fields)
    assert list(found.items()) == [("reason", "good"), ("score", 4)]
    assert type(found["score"]) is int
