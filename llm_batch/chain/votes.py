"""One answer of several: what the members of a jury, or the repeats of a step, come to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean, median_low
from typing import Any, Literal, cast

from llm_batch.chain.outputs import Fields

Combine = Literal["majority", "mean", "median", "all", "any"]

Vote = bool | int | float | str

#: What the two outputs of a pair are called in its prompt and by its judge.
FIRST, SECOND, TIE, WINNER = "first", "second", "tie", "winner"


def takes_words(how: Combine) -> bool:
    """Whether a rule can be applied to labels and texts, of which there is no middle."""
    return how == "majority"


def needed(votes: int, least: int | None) -> int:
    """Answers that must be there: ``least``, or more than half."""
    return least or votes // 2 + 1


def combined(votes: Sequence[Vote], how: Combine) -> Vote | None:
    """What the votes come to; ``None`` for a tie of words, which nobody can decide.

    The majority of numbers is their lower median: a score passes where more than half of the
    votes pass. ``all`` is the least of them, ``any`` the greatest.
    """
    from llm_batch.stats.jury import combined as combined_numbers

    if how == "majority":
        return _majority(votes)
    value = combined_numbers([vote for vote in votes if not isinstance(vote, str)], how)
    if value is None:
        return None
    if all(isinstance(vote, bool) for vote in votes) and value in (0.0, 1.0):
        return bool(value)
    return int(value) if all(map(_whole, votes)) and value.is_integer() else value


def combined_object(
    objects: Mapping[str, Mapping[str, Any]], fields: Fields, how: Combine
) -> dict[str, Any] | None:
    """Objects of several members as one, field by field; ``None`` where nothing is decided.

    Free texts are all kept, each behind the name of its member, where members are graded by
    other fields.
    """
    graded = [name for name, field in fields.items() if not field.is_free_text]
    found: dict[str, Any] = {}
    for name in fields:
        votes = [each[name] for each in objects.values()]
        if graded and name not in graded:
            found[name] = "\n".join(
                f"{member}: {each[name]}" for member, each in objects.items() if each[name]
            )
        else:
            found[name] = combined(votes, how)
    return None if all(found[name] is None for name in graded or fields) else found


def winner_of(pair: Sequence[str], votes: Mapping[str, Any]) -> dict[str, Any]:
    """What a pair comes to over the orders it was judged in: who wins, and how far."""
    wins = []
    for label, vote in votes.items():
        if vote[WINNER] == TIE:
            wins.append(0.5)
        else:
            wins.append(float((vote[WINNER] == FIRST) == (label == f"{pair[0]} {FIRST}")))
    win = fmean(wins)
    name = TIE if win == 0.5 else pair[0] if win > 0.5 else pair[1]
    said = [(label, vote) for label, vote in votes.items()]
    if len(said) == 1:
        return {**said[0][1], WINNER: name, "win": win}
    texts = {
        key: "\n".join(f"{label}: {vote[key]}" for label, vote in said)
        for key in said[0][1]
        if key != WINNER
    }
    return {**texts, WINNER: name, "win": win}


def _majority(votes: Sequence[Vote]) -> Vote | None:
    from llm_batch.stats.jury import most_common

    if votes and not any(isinstance(vote, str) for vote in votes):
        return median_low(votes)
    texts: list[Vote] = [_folded(vote) if isinstance(vote, str) else vote for vote in votes]
    most = cast("Vote | None", most_common(texts))
    return None if most is None else votes[texts.index(most)]


def _folded(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip()).casefold()


def _whole(vote: Vote) -> bool:
    return isinstance(vote, int) and not isinstance(vote, bool)
