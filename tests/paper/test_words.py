"""Figures read as people write them, and foreign text cannot do more than be read."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llm_batch.paper import words


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.763, "76.3 %"),
        (0, "0.0 %"),
        (1, "100.0 %"),
        (0.99996, "99.996 %"),
        (0.0001, "0.01 %"),
        (None, "-"),
    ],
)
def test_percent(share: float | None, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.0, "4"),
        (4.02, "4.02"),
        (3.9, "3.90"),
        (0.00264, "0.00264"),
        (1250.4, "1,250"),
        (123.4, "123"),
        (1e300, "1e+300"),
        (float("nan"), "-"),
        (None, "-"),
        (-2.5, "-2.50"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (12.3, "$12.30"),
        (1234.5, "$1,234.50"),
        (0.12, "$0.12"),
        (0.0012, "$0.0012"),
        (0.0994, "$0.099"),
        (0.0996, "$0.10"),
        (0.00996, "$0.010"),
        (1e-7, "$0.00000010"),
        (0, "$0"),
        (None, "unknown"),
        (float("inf"), "unknown"),
        (-0.5, "-$0.50"),
    ],
)
def test_usd(amount: float | None, text: str) -> None:
    assert words.usd(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0.15", "$0.15"), ("10", "$10.00"), ("1E+1", "$10.00"), ("0.0375", "$0.0375"),
     ("1.5E-7", "$0.00000015")],
)  # fmt: skip
def test_a_price_is_shown_to_its_last_digit(amount: str, text: str) -> None:
    assert words.price(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.035, "35 ms"),
        (0.0001, "under 1 ms"),
        (0.7, "0.70 s"),
        (1.2, "1.2 s"),
        (12.5, "13 s"),
        (123, "2 min 3 s"),
        (11520, "3 h 12 min"),
        (None, "-"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_foreign_text_keeps_to_one_line_without_control_characters() -> None:
    assert words.clean("a\x1b[31m\r\nb\u202ec\x00") == "a\ufffd[31m b\ufffdc\ufffd"
    assert words.clean("x" * 1_000_000, 10) == "x" * 9 + "…"
    assert words.clean("日本語") == "日本語"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"), (0, "$0"), (0.0012, "$0.0012"), (0.0994, "$0.099"), (0.0996, "$0.10"),
        (12.3, "$12.30"), (99.99, "$99.99"), (99.996, "$100"), (948.6, "$949"), (1234.5, "$1,234"),
    ],
)  # fmt: skip
def test_predicted_money_is_rounded_to_what_it_is_worth(amount: float | None, shown: str) -> None:
    assert words.about_usd(amount) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (9_999, "9,999"), (41_000, "41 k"), (999_499, "999 k"), (27_000_000, "27.0 M")],
)
def test_tokens_read_at_a_glance(value: float, shown: str) -> None:
    assert words.tokens(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.4, "under 1 s"), (36, "36 s"), (600, "10 min"), (5940, "99 min"),
        (9000, "2 h 30 min"), (36_000, "10 h"), (345_600, "4 days"), (400_000, "4.6 days"),
    ],
)  # fmt: skip
def test_predicted_times_read_at_a_glance(seconds: float, shown: str) -> None:
    assert words.about_duration(seconds) == shown


def test_a_name_that_is_empty_is_said_to_be_none() -> None:
    assert words.named(" \n") == words.NAMELESS == "(none)"
    assert words.named("a\x1bb") == "a\ufffdb"
