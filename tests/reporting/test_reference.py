"""The string match: what counts as the reference in an answer, and what is left unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from llm_batch.reporting.reference import reference_found


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("Paris", "The capital is **paris**."),
        ("The Beatles", "It was by Beatles, I think"),
        ("Rosetta Stone", "the rosetta-stone!"),
        ("São Paulo", "SAO PAULO"),
        ("Straße", "STRASSE"),
        ("北京", "中国的首都是北京。"),
        ("5", "It is 5.0!"),
        ("1,200", "about 1200 m"),
        (18, "It is 18."),
        (2.5, "2.50 litres"),
        ("so #### 18", "He has 3 eggs: 2*9 = $18.00."),
        ("#### 1,080", "1080 pages"),
        ("#### -3", "x = -3"),
        ("#### 5", "That is 5%."),
    ],
)
def test_found(reference: Any, answer: str) -> None:
    assert reference_found(reference, answer) is True


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("Paris", "Parisian"),
        ("5", "It is 15"),
        ("3.5", "35"),
        ("Rosetta Stone", "a stone called Rosetta"),
        ("Paris", ""),
        ("#### 18", "18 eggs, of which 3 are left"),
        ("#### 18", "no idea"),
        ("#### 3", "x = -3"),
    ],
)
def test_not_found(reference: Any, answer: str) -> None:
    assert reference_found(reference, answer) is False


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (None, "Paris"),
        (True, "true"),
        (["Paris"], "Paris"),
        ("Paris", None),
        ("Paris", {"text": "Paris"}),
        ("", "Paris"),
        ("!?", "Paris"),
        ("#### none", "Paris"),
        (" ".join(f"word{number}" for number in range(13)), "word1"),
    ],
)
def test_nothing_is_said_where_nothing_can_be(reference: Any, answer: Any) -> None:
    assert reference_found(reference, answer) is None
