"""Several answers of one step: repeats, juries, and for which items a step is played."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.forecast import forecast
from llm_batch.chain.outputs import OutputField, Wrong
from llm_batch.chain.score_rules import ScoreRule, check_scores
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import PromptError
from llm_batch.chain.votes import combined, combined_object
from llm_batch.errors import ConfigError
from llm_batch.models.tokens import counter
from llm_batch.records import Call, Completion, Failure, Item, Request, Result, Usage

VERDICT = {
    "reason": OutputField(type="string"),
    "score": OutputField(type="integer", min=1, max=5),
}
EXACT = Step(name="exact", rule="equals", value="{{ generate }}", expected="{{ answer }}")
JURY = ("openai/a", "openai/b", "openai/c")


def generate(**more: Any) -> Step:
    return Step(**{"name": "generate", "model": "openai/m", "prompt": "{{ question }}"} | more)


def judge(**more: Any) -> Step:
    who = {} if "models" in more else {"model": "openai/j"}
    prompt = "Judge {{ generate }}"
    return Step(**{"name": "judge", "prompt": prompt, "output": VERDICT} | who | more)


ITEM = Item("q1", {"question": "1+1?", "answer": "2"})
Answers = Callable[[Request], str | Failure]


def call(request: Request, said: str | Failure) -> Call:
    if isinstance(said, Failure):
        return Call(request, (), failure=said, cost=0.0)
    return Call(request, (), Completion(said, request.model, "stop", Usage(10, 2)), cost=0.5)


def played(chain: Chain, answers: Answers, item: Item = ITEM) -> tuple[Result, list[Call]]:
    calls: list[Call] = []
    while requests := chain.next_requests(item, calls):
        # Answers come in any order.
        calls += [call(request, answers(request)) for request in reversed(requests)]
    return chain.result(item, calls), calls


def grade(score: int, reason: str = "so") -> str:
    return json.dumps({"reason": reason, "score": score})


@pytest.mark.parametrize(
    ("votes", "how", "value"),
    [
        ((4, 4, 1), "majority", 4),
        ((3, 4, 5), "majority", 4),
        ((3, 5), "majority", 3),
        ((True, False, True), "majority", True),
        ((True, False), "majority", False),
        ((" Paris", "paris", "Rome"), "majority", " Paris"),
        (("Paris", "Rome"), "majority", None),
        ((1, 2, 5), "mean", 8 / 3),
        ((True, False), "mean", 0.5),
        ((1, 2, 5, 5), "median", 3.5),
        ((True, True, False), "all", False),
        ((True, True, False), "any", True),
        ((2, 5), "all", 2),
        ((2, 5), "any", 5),
        ((), "mean", None),
    ],
)
def test_votes_come_to_one_value(votes: Any, how: Any, value: Any) -> None:
    found = combined(votes, how)
    assert found == value
    assert type(found) is type(value)


def test_a_majority_of_numbers_passes_where_most_votes_pass() -> None:
    for number in (2, 3, 4, 5):
        for votes in product(range(1, 6), repeat=number):
            most = sum(vote >= 4 for vote in votes) > number / 2
            assert (combined(votes, "majority") >= 4) == most  # type: ignore[operator]


def test_objects_are_combined_by_field_and_all_reasons_are_kept() -> None:
    said = {"a": {"reason": "x", "score": 5}, "b": {"reason": "", "score": 4}}
    assert combined_object(said, VERDICT, "mean") == {"reason": "a: x", "score": 4.5}


def test_a_jury_asks_each_member_and_its_votes_are_kept() -> None:
    chain = Chain(
        [generate(), judge(models=JURY, combine="majority")],
        ScoreRule(field="judge.score", pass_at=4),
    )
    grades = dict(zip(JURY, (5, 2, 4), strict=True))
    result, calls = played(chain, lambda r: grade(grades[r.model]) if r.model in grades else "2")
    assert [each.request.model for each in calls] == ["openai/m", *reversed(JURY)]
    assert (result.score and result.score.value, result.passed) == (4, True)
    votes = {name: vote["score"] for name, vote in result.votes["judge"].items()}
    assert votes == dict(grades)
    assert result.steps["judge#openai/b"].cost == 0.5


def test_a_member_that_fails_is_told_and_fails_the_item_only_where_too_few_are_left() -> None:
    def answers(request: Request) -> str | Failure:
        if request.model == "openai/b":
            return Failure("filtered", "blocked")
        return grade(5) if request.model in JURY else "2"

    for least, status in ((None, "ok"), (2, "ok"), (3, "filtered")):
        jury = judge(models=JURY, combine="mean", min_votes=least)
        result, _ = played(Chain([generate(), jury], ScoreRule(field="judge.score")), answers)
        assert result.status == status
        assert result.lost == {"judge#openai/b": "filtered: blocked"}
    assert result.error == "judge: 2 of 3 answers can be used; the first that cannot: blocked"


def test_a_jury_that_answers_in_words_votes_with_its_scores() -> None:
    chain = Chain(
        [generate(), judge(models=JURY, combine="mean", output=None)],
        ScoreRule(field="judge", min=1, max=5),
    )
    grades = dict(zip(JURY, ("Score: 5", "4", "3/5"), strict=True))
    result, _ = played(chain, lambda r: grades.get(r.model, "2"))
    assert result.score is not None
    assert result.score.value == 4


def test_a_tie_of_words_is_no_verdict() -> None:
    verdict = {"label": OutputField(type="string", choices=("good", "bad"))}
    chain = Chain([generate(), judge(models=JURY[:2], combine="majority", output=verdict)])
    said = dict(zip(JURY, ('{"label": "good"}', '{"label": "bad"}'), strict=False))
    result, _ = played(chain, lambda r: said.get(r.model, "2"))
    assert result.status == "tie"
    assert "good" in result.error


def test_repeats_stay_apart_and_all_that_follows_is_played_for_each() -> None:
    said = iter(("3", "2", "2"))
    chain = Chain(
        [generate(repeat=3), EXACT, judge(when="{{ not exact }}")],
        ScoreRule(field=("exact", "judge.score"), pass_at=4),
    )
    result, calls = played(chain, lambda r: grade(1) if r.step == "judge" else next(said))
    assert result.outputs["generate"] == ["2", "2", "3"]  # the last that was asked came first
    assert result.outputs["exact"] == [True, True, False]
    assert [each.request.step for each in calls].count("judge") == 1
    # A rule that passes counts as full marks beside a judge of 1 to 5.
    assert [score.value for score in result.repeats] == [5, 5, 1]
    assert [score.passed for score in result.repeats] == [True, True, False]
    assert result.score is not None
    assert result.score.value == pytest.approx(11 / 3)
    assert result.passed
    assert result.skipped == ("judge",)
    assert len({each.request.key for each in calls}) == 4


def test_repeats_with_a_rule_to_combine_them_are_one_answer() -> None:
    said = iter(("Paris", "Rome", "paris "))
    chain = Chain([generate(repeat=3, combine="majority"), judge()])
    result, calls = played(chain, lambda r: grade(5) if r.step == "judge" else next(said))
    assert result.outputs["generate"].casefold().strip() == "paris"
    assert len(calls) == 4


def test_an_empty_answer_is_asked_again_apart_from_the_other_repeats() -> None:
    said = iter(("b", "", "a", "again"))
    result, calls = played(Chain([generate(repeat=3)]), lambda r: next(said))
    assert result.outputs["generate"] == ["a", "again", "b"]
    assert len({each.request.key for each in calls}) == 4
    assert {each.request.sample for each in calls} == {0, 1, 2, 4}


def test_a_lost_repeat_is_told_and_half_of_them_fail_the_item() -> None:
    chain = Chain([generate(repeat=2), EXACT], ScoreRule(field="exact"))
    said = iter(("2", Failure("filtered", "blocked"), "2"))
    result, _ = played(chain, lambda r: next(said))
    assert result.status == "filtered"
    chain = Chain([generate(repeat=3), EXACT], ScoreRule(field="exact"))
    said = iter(("2", Failure("filtered", "blocked"), "2"))
    result, _ = played(chain, lambda r: next(said))
    assert (result.status, len(result.repeats)) == ("ok", 2)
    assert result.lost == {"generate#2": "filtered: generate: blocked"}


def test_a_larger_share_has_the_items_of_a_smaller_and_is_about_as_large() -> None:
    def has(share: float, seed: int = 1) -> set[str]:
        chain = Chain([generate(), judge(share=share)], seed=seed)
        answers: Answers = lambda r: grade(3) if r.step == "judge" else "2"  # noqa: E731
        items = (Item(str(n), ITEM.fields) for n in range(600))
        return {item.id for item in items if len(played(chain, answers, item)[1]) == 2}

    small, large = has(0.1), has(0.3)
    assert small < large
    assert len(small) == pytest.approx(60, abs=25)
    assert len(large) == pytest.approx(180, abs=40)
    assert has(0.1, seed=2) != small


def test_a_skipped_output_is_null_false_in_conditions_and_no_text() -> None:
    steps = [generate(), judge(when="{{ answer == '3' }}")]
    after = Step(
        name="after",
        model="openai/m",
        prompt="{% if judge %}{{ judge.reason }}{% else %}none{% endif %}",
    )
    result, calls = played(Chain([*steps, after]), lambda r: "2")
    assert result.outputs == {"generate": "2", "judge": None, "after": "2"}
    assert calls[-1].request.messages[-1].content == "none"
    careless = after.model_copy(update={"prompt": "{{ judge }}"})
    with pytest.raises(PromptError, match="'judge' was skipped for this item"):
        played(Chain([*steps, careless]), lambda r: "2")


def test_an_output_comes_from_the_data() -> None:
    given = Step(name="generate", provided="their answer")
    chain = Chain([given, EXACT], ScoreRule(field="exact"))
    assert "their answer" in chain.variables()
    item = Item("q1", {"their answer": "2", "answer": "2"})
    result, calls = played(chain, lambda r: "never", item)
    assert (result.passed, calls) == (True, [])
    with pytest.raises(PromptError, match="is empty"):
        played(chain, lambda r: "never", Item("q2", {"their answer": " ", "answer": "2"}))


def test_further_scores_audits_and_weighted_sums() -> None:
    verdict = VERDICT | {"grounded": OutputField(type="boolean")}
    chain = Chain(
        [generate(), judge(output=verdict), judge(name="audit", model="openai/o", share=1.0)],
        ScoreRule(field="judge.score", pass_at=4, audit="audit.score"),
        {
            "grounded": ScoreRule(field="judge.grounded", pass_at=1),
            "total": ScoreRule(weights={"score": 1, "grounded": 0.5}, pass_at=4),
        },
    )
    said = {"judge": '{"reason": "", "score": 4, "grounded": false}', "audit": grade(2)}
    result, _ = played(chain, lambda r: said.get(r.step, "2"))
    found = {name: (score.value, score.passed) for name, score in result.scores.items()}
    assert found == {"grounded": (0.0, False), "audit": (2.0, False), "total": (4.0, True)}


def test_a_new_member_asks_alone() -> None:
    small = Chain([generate(), judge(models=JURY[:2], combine="mean")])
    large = Chain([generate(), judge(models=JURY, combine="mean")])
    answers: Answers = lambda r: grade(3) if r.step != "generate" else "2"  # noqa: E731
    keys = [{each.request.key for each in played(c, answers)[1]} for c in (small, large)]
    assert keys[0] < keys[1]
    assert len(keys[1]) == 4


def test_what_is_to_come_has_every_part_and_every_step_that_may_be_played() -> None:
    chain = Chain(
        [generate(repeat=3), EXACT, judge(models=JURY, combine="mean", when="{{ exact }}")]
    )
    coming = forecast(chain, ITEM, counter)
    assert [each.step.name for each in coming].count("generate") == 3
    assert sum(each.step.name.startswith("judge#") for each in coming) == 9
    assert coming[-1].contains == {"generate": 1}
    # Once the answers are known, so is whether a step is played.
    calls = [call(request, "3") for request in chain.next_requests(ITEM, [])]
    assert forecast(chain, ITEM, counter, calls) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"models": JURY}, "nothing says what becomes of their answers"),
        ({"models": ("openai/a",), "combine": "mean"}, "two models or more"),
        ({"models": ("openai/a", "openai/a"), "combine": "mean"}, "twice"),
        ({"models": JURY, "model": "openai/a", "combine": "mean"}, "beside model"),
        ({"combine": "mean"}, "needs several answers"),
        ({"min_votes": 2}, "needs several answers"),
        ({"repeat": 2, "min_votes": 3}, "there are 2 answers"),
        ({"repeat": 2, "temperature": 0.0}, "the answers are the same"),
        ({"provided": "x"}, "stands beside provided"),
    ],
)
def test_a_contradiction_is_one_sentence(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        judge(**more)


@pytest.mark.parametrize(
    ("score", "scores", "said"),
    [
        (ScoreRule(field="audit.score"), {}, "only 0.1 of the items"),
        (ScoreRule(field="judge.score", audit="judge.score"), {}, "the score itself"),
        (ScoreRule(field="judge.score", audit="nobody.score"), {}, "names no step"),
        (ScoreRule(field="judge.score"), {"audit": ScoreRule(field="exact")}, "the name"),
        (ScoreRule(field="judge.score"), {"t": ScoreRule(weights={"x": 1.0})}, "is no score"),
        (None, {"x": ScoreRule(field="exact")}, "there is no first"),
    ],
)
def test_scores_that_contradict_the_steps_are_refused(
    score: ScoreRule | None, scores: dict[str, ScoreRule], said: str
) -> None:
    with pytest.raises(Wrong, match=said):
        check_scores(score, scores, (generate(), EXACT, judge(), judge(name="audit", share=0.1)))


def test_only_one_step_keeps_its_repeats_apart() -> None:
    with pytest.raises(ConfigError, match="only one step can"):
        Chain([generate(repeat=2), judge(repeat=2)])


def better(**more: Any) -> Step:
    return Step(
        **{
            "name": "better",
            "model": "openai/j",
            "pair": ("generate", "answer"),
            "prompt": "First: {{ first }} Second: {{ second }}",
        }
        | more
    )


def test_a_pair_is_judged_in_drawn_orders_and_a_share_in_both() -> None:
    chain = Chain([generate(), better()], ScoreRule(field="better"), seed=3)

    def first_wins(request: Request) -> str:
        return '{"reason": "", "winner": "first"}' if request.step == "better" else "mine"

    found = [
        played(chain, first_wins, Item(str(n), {"question": "?", "answer": "yours"}))
        for n in range(400)
    ]
    twice = [result for result, calls in found if len(calls) == 3]
    assert len(twice) == pytest.approx(80, abs=30)
    # A judge that always takes the first has no say where it sees both orders.
    assert {result.outputs["better"]["winner"] for result in twice} == {"tie"}
    assert {tuple(sorted(result.votes["better"])) for result in twice} == {
        ("answer first", "generate first")
    }
    once = [result.score.value for result, calls in found if len(calls) == 2 and result.score]
    assert sum(once) == pytest.approx(len(once) / 2, abs=40)
    shown = [calls[1].request.messages[-1].content for _, calls in found]
    assert sum("First: mine Second: yours" in text for text in shown) == pytest.approx(200, abs=45)


def test_a_pair_names_the_winner_whatever_the_order() -> None:
    chain = Chain([generate(), better(swap=1.0)], ScoreRule(field="better", pass_at=0.6))

    def mine(request: Request) -> str:
        text = request.messages[-1].content
        winner = "first" if "First: mine" in text else "second"
        said = json.dumps({"reason": "so", "winner": winner})
        return said if request.step == "better" else "mine"

    result, _ = played(chain, mine, Item("q", {"question": "?", "answer": "yours"}))
    assert result.outputs["better"]["winner"] == "generate"
    assert result.score is not None
    assert (result.score.value, result.passed) == (1.0, True)
    assert chain.variables() == {"question", "answer"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"pair": ("generate",)}, "two different outputs"),
        ({"pair": ("generate", "generate")}, "two different outputs"),
        ({"repeat": 2}, "does not go with pair"),
        ({"prompt": "{{ first }}"}, "does not show both"),
        ({"output": VERDICT}, "must have winner"),
    ],
)
def test_a_pair_that_cannot_be_judged_is_one_sentence(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        better(**more)
