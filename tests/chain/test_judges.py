"""What judges write, after the most used public prompts: what is a score, and what is none.

The shapes are those that the prompts of MT-Bench, Prometheus, G-Eval, LangChain, OpenAI evals,
SimpleQA, DeepEval, promptfoo, TruLens and JudgeLM ask for; the words are our own.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain.scores import score_of

# All of them say 4 on a scale to 5.
IN_ANY_LANGUAGE = """
Meine Bewertung: 4|Gesamtpunktzahl: 4|4 von 5 Punkten|Ich vergebe 4 von 5 Punkten.
Die Bewertung ist 4.|Auf einer Skala von 1 bis 5: 4|Ich bewerte die Antwort mit 4.
Bewertung: 4,0/5|Note : 4/5|4 points sur 5|Je donne une note de 4/5.
J'attribue la note de 4.|Score final : 4|分数：4|评分是4|评分为4分。|【评分】4
我给这个回答打4分。|满分5分，我打4分。|4分（满分5分）|{"综合得分": 4}|総合評価：4
スコアは4です。|評価は4点です。|5点満点中4点|5段階評価で4|採点：４／５|Puntaje: 4|4 de 5|4 su 5
Ocena: 4|평점: 4점|★★★★☆|Rating: ⭐️⭐️⭐️⭐️|\ufeffScore: 4|Score:\u200b4|Score: 4<|im_end|>
<|begin_of_box|>4<|end_of_box|>|[[Rating: 4]]|[[rating]]: 4|Score [1-5]: 4|Score: 4 pts
I'd say 4.|I'll go with a 4.|Hence a score of 4.|On a scale of 1 to 5: 4
The score for this answer is 4.|I assign a score of 4 to this response.
Based on this, the rating is 4.|Score: 4, because it misses 2 of the facts.
Feedback: short. [RESULT] (4)|[RESULT]4|四分|评分：四分|<b>Score:</b> 4|Score: 4/5 (80%)|4/5 (80%)
Score: 4, Confidence: 5|score: 4, reason: 2 errors|## Final Verdict¶Score: 4|Total: 4/5|Final: 4
{"overall": 4, "style": 2}
"""
NO_SCORE_IN_ANY_LANGUAGE = """
I'd say 2 of the 5 facts are right.|I go with 3 reasons.|A score of 4 requires sources.
Note: 3 facts are wrong.|Es sind 3 Fehler.|Ich gebe 3 Beispiele.|2 von 5 Fakten stimmen.
Die richtige Antwort ist 4.|3 sur 5 faits sont justes.|Je donne 3 raisons.
La note maximale est 5.|Note maximale : 5|有3个错误。|我给出3个理由。|满分为5分。|扣3分
得分点：3个|正确答案是4。|5点満点です。|問題点は3点です。|以下の3点です。|評価基準：5段階
Score: 4,5|3,4|★|On a scale of 1 to 5, 3 facts are wrong.|Auf einer Skala von 1 bis 10: 4
The final score was 4 to 2.|Result: 4|Based on 3 sources, it is right.
Score: 4 would be too high|The match ended with a score of 3.
四分之三的事实正确。|Score: 4 (90%)|Score: 4, style: 3|Total: 4
{"score": 4, "total": 3, "rating": 3}
# Two criteria, of which none is the score.
Clarity: 4¶Grammar: 2|1. Helpfulness: 4¶2. Safety: 3|Criterion Score¶Accuracy 4¶Style 2
Helpfulness: 4¶Safety score: 2
# Of two that differ none is the score: the one in the form that was asked for, and the last.
Final score is 4. Rating: [[5]]|Rating: [[5]]¶Final score: 4|Final score: 4¶Score: 5
Overall: 4¶[[5]]|Score: 4¶5|Score: 4 {"score": 5}|{"score": 4, "rating": 5}
# What was taken back.
Score: 4¶Revised: 3|Score: 4¶Corrected score: 3|Score: 4¶No, 3.|Score: 4¶Sorry, I meant 3
Score: 4¶I'd lower it to 3|Score: 4¶After reconsideration: 3
# What somebody else says.
Example: Score: 4|Output format: "Score: 4"|The response says 'Score: 5'. It is wrong.
The answer contains [[5]], an injection.|It includes the text <score>5</score>
"""


def each_of(table: str) -> list[str]:
    """What stands between bars or line ends; lines that begin with # are of us."""
    marks = table.replace("<|", "<¦").replace("|>", "¦>").replace("\n", "|").split("|")
    texts = [mark.replace("¦", "|").replace("¶", "\n") for mark in marks if mark]
    return [text for text in texts if not text.startswith("# ")]


# On a scale from 1 to 5.
STATED: list[tuple[str, float]] = [
    ("4", 4),
    ("4.", 4),
    ("**4**", 4),
    ("4.5", 4.5),
    ("[[5]]", 5),
    ("Rating: [[5]]", 5),
    ("The answer is helpful and accurate. Rating: [[4]]", 4),
    ("Feedback: The response is right but short. [RESULT] 4", 4),
    ("[RESULT] 4", 4),
    ("Feedback: fine [RESULT] 3/5", 3),
    ("\\boxed{4}", 4),
    ("The reasoning holds up.\n\n$\\boxed{4}$", 4),
    ("Final score: \\boxed{4}", 4),
    ("<score>4</score>", 4),
    ("<reasoning>2 facts differ</reasoning>\n<score>\n4\n</score>", 4),
    ("<final_score>4</final_score>", 4),
    ("<rating>4</rating>", 4),
    ("5 (excellent)", 5),
    ("4 points", 4),
    ("4 stars", 4),
    ("I rate this 4 out of 5.", 4),
    ("I would rate this answer a 4.", 4),
    ("I'd give it a 4 out of 5 because it misses a detail.", 4),
    ("I give this response a score of 4.", 4),
    ("The answer deserves a 4.", 4),
    ("This response receives a score of 3.", 3),
    ("### Score: 4", 4),
    ("**Score: 4**", 4),
    ("Score (1-5): 4", 4),
    ("Score (out of 5): 4", 4),
    ("Score out of 5: 4", 4),
    ("Score: 4/5", 4),
    ("Score: 4 / 5", 4),
    ("Score: 4 out of 5", 4),
    ("Score: 4 (out of 5)", 4),
    ("Score: 4 of 5", 4),
    ("4 of 5 stars", 4),
    ("Bewertung: 4", 4),
    ("Die Antwort ist gut.\n**Gesamtbewertung:** 4/5", 4),
    ("评分：4", 4),
    ("回答正确。\n最终得分：4分", 4),
    ("スコア：4点", 4),
    ('{"total_score": 4}', 4),
    ("- Coherence: 3", 3),
    ("Relevance: 4", 4),
    ("Coherence Score: 4", 4),
    ("Analyze: The summary is fluent.\nRating: 3", 3),
    ("Criteria: full marks need all names.\nSupporting Evidence: it has 2 of 3.\nScore: 2", 2),
    ("Overall rating: 4", 4),
    ("Overall: 4/5", 4),
    ("Final score is 4", 4),
    ("The final score is therefore 4.", 4),
    ("Score: 2\nAfter review.\nFinal score: 4", 4),
    ("Accuracy: 4\nStyle: 2\nScore: 3", 3),
    ("Accuracy: 4\nClarity: 2\nOverall score: 3", 3),
    ("Score:\n4", 4),
    ("## Score\n\n4/5", 4),
    ("## Rating\n[[4]]", 4),
    ("| Score | 4 |", 4),
    ("Score - 4", 4),
    ("Score — 4", 4),
    ("The answer names the right city but the wrong year.\n\n4", 4),
    ("4\n\nThe answer is right but short.", 4),
    ("It matches. 4/5.", 4),
    ("Good, if terse — 4/5", 4),
    ("Score: 4. The answer says 1648.", 4),
    ("Score: 4 (it says 1648 where 1646 is right)", 4),
    ("Score: 4 ✅", 4),
    ("Score: 4, as it omits the date.", 4),
    ("So my score is 4.", 4),
    ("The answer is mostly right, so my score is 4.", 4),
    ("Mark: 3", 3),
    ("Grade: 4", 4),
    ("score=4", 4),
    ("Score => 4", 4),
    ("Score:4", 4),
    ("Rating: 5/5 - perfect", 5),
    ("My rating: 2", 2),
    ("Reason: bad\nScore: 2", 2),
    ("Score: 4\nScore: 4", 4),
    ('"4"', 4),
    ('Score: "4"', 4),
    ("4\n4", 4),
    ("Judgement: 4", 4),
    ("4 - good", 4),
    ("Score: 1", 1),
    ("- 4", 4),
    ("(4)", 4),
    ("Score: 4 on a scale of 1 to 5", 4),
    ("Score: <4>", 4),
    ("Score：4", 4),
    ("Overall, I would rate this 4 out of 5.", 4),
    ("Based on the rubric, I give this answer a 4.", 4),
    ("On a scale of 1 to 5, I rate it 4.", 4),
    ("```\n4\n```", 4),
    ("```json\n4\n```", 4),
    ('The user writes "Score: 5".\nScore: 1', 1),
    ("Overall, the score is 4.", 4),
    ("Rating: 4/5 stars", 4),
    ("The score: 4", 4),
    ("I rate this answer: 4", 4),
    ("Let me see.\nScore: 5", 5),
    ('{"score": 4, "reason": "It has 3 errors."}', 4),
    ('{"reason": "fine", "pass": true, "score": 1.0}', 1),
    ('```json\n{"score": "4/5"}\n```', 4),
    ('{"verdict": "yes", "score": 4}', 4),
    ('Here it is: {"Rating": 4}', 4),
    ('{"evaluation": {"score": 4}}', 4),
]

NOT_STATED = [
    "4?",
    "Score: 4?",
    "4€",
    "What is 2 + 2?\n4",
    "Score: 3 of 5 facts",
    "3 of 5 facts are right.",
    "Facts that are right: 3 of 5",
    "Bewertung: nicht 4",
    "评分：1到5",
    "评分：4分以上需要来源",
    "Note: 4",
    "4 - 1648",
    "Score: 4 - 1648",
    "Score: 4 [out of 10]",
    "2 + 2 = 4",
    "The score is 4, not 5.",
    "Score: 5 would be for a perfect answer. Score: 3",
    "Year: 4",
    "Result: 4",
    "The score for this is\n4",
    "Wrong; the treaty was signed in 1648.",
    "1. It names Sydney, which is wrong.",
    "Please call 911",
    "Please call 911.",
    "Wrong: the right answer is 42",
    "Wrong: the right answer is 4",
    "Wrong: the right answer is 4.",
    "2 of the 3 facts are right",
    "2 out of 3 facts are right",
    "2/3 of it is right.",
    "It gets 2 out of 3 facts right.",
    "It scores 2 goals.",
    "Messi scores 3.",
    "1) It names Sydney",
    "(1) It names Sydney",
    "1 - It names Sydney, which is wrong",
    "#1 answer",
    "No. 1",
    "Step 1: read. Step 2: grade.",
    "4/10",
    "Score: 4/10",
    "Score (1-10): 4",
    "Score (0-100): 4",
    "Score: 8",
    "8",
    "Score: 0",
    "4 on a scale of 1 to 10",
    "Score: 4 on a scale of 1 to 10",
    "Score: 4 or 5",
    "Score: 4-5",
    "Score: 4 to 5",
    "Score: between 3 and 4",
    "Score: 4, 5",
    "Score: 4 (or 5)",
    "4 or 5",
    "3-4",
    "8 9",
    "4 5",
    "4\n5",
    "Score: 2\nScore: 4",
    "Score: 1 = wrong\nScore: 5 = right",
    "Score 1: wrong\nScore 2: partly\nScore 5: right",
    "Score: 1 means wrong, Score: 5 means right.",
    "Score 5: The answer is right.",
    "Maximum score: 5",
    "Max score: 5",
    "The maximum score is 5.",
    "A score of 5 would mean perfect.",
    "It does not deserve a score of 4.",
    "If it named the city, the score would be 5.",
    "I would not give it a 5.",
    "I would give it less than 4.",
    "I would rate it between 3 and 4.",
    "I'd give it a 5 if it named the city.",
    "To get a score of 5, it must name the year.",
    "Score: 40%",
    "Score: 4%",
    "50%",
    "Score: $4",
    "$4",
    "1,000",
    "Score: 1,000",
    "GPT-4 is right.",
    "On 4/5 the treaty was signed.",
    "It was signed on 2024-05-04.",
    "The meeting is at 4:30.",
    "4:30",
    "2024",
    "In 3 days.",
    "Chapter 4",
    "Version 4.",
    "There are 3 errors.",
    "The answer is 4.",
    "Answer: 4",
    "Final answer: 4",
    "The correct answer is:\n4",
    "The correct answer is\n\n4",
    "The right result: \\boxed{4}",
    "The student writes \\boxed{4} and is right.",
    "Score: good",
    "Score: N/A",
    "Score: N/A\nRating: 4",
    "Score: ~~3~~ 4",
    "Score: 4. Wait, actually 3.",
    "Score: 4\nWait, on reflection it is worth 3.",
    "Score: 4 or maybe five",
    "Score: four",
    "Score: [score]",
    "Rating: [[rating]]",
    "[[4]] or [[5]]",
    "[[4]]\nScore: 2",
    "<score>4</score><score>5</score>",
    "<score>1-5</score>",
    "[RESULT] (an integer number between 1 and 5)",
    "[RESULT] 4 or 5",
    "Accuracy: 4\nClarity: 2",
    "Accuracy: 4\nClarity: 4",
    "Accuracy score: 4\nFluency score: 2",
    "Previous score: 4",
    "Average score: 4",
    "The score of the match was 4.",
    "The score was 3-2.",
    "The reference score is 4",
    "",
    "good",
    "no idea",
    "Score",
    "Score:",
    "Apples\n3\nOranges\n4",
    "1\n2\n3",
    "5 apples",
    "4 people",
    "4 million",
    "Score: 4 million",
    "4th",
    "Score: 4th",
    "Score: -4",
    "−4",
    "1/2",
    "24/7",
    "6/5",
    "the 5 (excellent) label does not fit",
    "Score: <4",
    "If it named Rome, I would give it a 5.",
    "On a scale of 1 to 10, I rate it 4.",
    "Scale: 1-10\nScore: 4",
    "Verdict: 1. It names Sydney.",
    "Judgement:\n1. It names Sydney.\n2. It is short.",
    "Overall:\n1. good",
    "Points: 1. It names Sydney",
    "Score: 4, out of 10",
    "Score: 4½",
    "Score: ~4",
    "Score: >=4",
    "The student is in Grade 4.",
    "Mark 4:12 says so",
    "Score: 4+",
    "Score: 4;5",
    "I give 2 examples.",
    '{"score": 4, "rea',
    '{"score": 2} {"score": 4}',
    '{"score": 8}',
    '{"score": true}',
    '{"score": "4 or 5"}',
    '{"score": null}',
    '{"count": 4}',
    "[4]",
]

SAID: list[tuple[str, str | None]] = [
    ("CORRECT", "CORRECT"),
    ("GRADE: CORRECT", "CORRECT"),
    ("EXPLANATION: it fits\nGRADE: INCORRECT", "INCORRECT"),
    ("<verdict>CORRECT</verdict>", "CORRECT"),
    ("Verdict: CORRECT", "CORRECT"),
    ("It says so.\nThe answer is CORRECT.", "CORRECT"),
    ("\\boxed{CORRECT}", "CORRECT"),
    ("CORRECT, because it names Canberra.", "CORRECT"),
    ("Verdict: INCORRECT (wrong city)", "INCORRECT"),
    ("Verdict: CORRECT (mostly)", None),
    ("Correct (expected) answer: Canberra", None),
    ("CORRECT because it is not INCORRECT", None),
    ("判定：ＣＯＲＲＥＣＴ", "CORRECT"),
    ("CORRECT and INCORRECT", None),
    ("Verdict: CORRECT or INCORRECT", None),
    ("The answer is not correct.", None),
    ("The answer is CORRECT. Verdict: INCORRECT", None),
    ("Verdict: correct, mostly", None),
    ("Verdict: CORRECT. Mostly.", None),
    ("INCORRECT\nThe correct answer is 5.", "INCORRECT"),
    ("It is correct that", None),
    ("Is it CORRECT?", None),
    ("[[CORRECT]]", "CORRECT"),
    ("**CORRECT**", "CORRECT"),
    ("Verdict: CORRECT\nWait, it is INCORRECT", None),
    ("incorrect", "INCORRECT"),
    ("Verdict:\nCORRECT", "CORRECT"),
    ("## Verdict\n**INCORRECT**", "INCORRECT"),
    ("The response is correct.", "CORRECT"),
    ("not correct", None),
    ("CORRECT\n...\nINCORRECT", None),
    ("The final verdict is CORRECT.", "CORRECT"),
    ("Result: CORRECT", "CORRECT"),
    ("The reference answer is correct.", None),
    ("PARTIALLY CORRECT", None),
    ("partially correct", None),
    ("CORRECTNESS", None),
    ('{"verdict": "CORRECT", "reason": "not INCORRECT"}', "CORRECT"),
]

LETTERS: list[tuple[str, str | None]] = [
    ("A", "A"),
    ("[[A]]", "A"),
    ("(A)", "A"),
    ("A.", "A"),
    ("\\boxed{B}", "B"),
    ("$\\boxed{\\text{B}}$", "B"),
    ("Final verdict: [[B]]", "B"),
    ("A reason is given.", None),
    ("The answer is A", None),
    ("The answer is A.", None),
    ("[[A]] or [[B]]", None),
    ("Assistant A is better.", None),
    ("Grade: C", "C"),
    ("GRADE: A", "A"),
    ("A or B", None),
    ("A, B", None),
    ("A\nB", None),
    ("A better answer", None),
    ("Choice: B", "B"),
    ("My final verdict is: [[C]]", "C"),
    ("A+", None),
    ("A-", None),
    ("Grade: A-", None),
]


def on_five(text: str) -> float | None:
    return score_of(text, {}, low=1, high=5).value


def test_the_tables_are_long_and_half_of_them_is_no_score() -> None:
    assert len(STATED) > 80 and len(NOT_STATED) > 80


@pytest.mark.parametrize("text", each_of(IN_ANY_LANGUAGE))
def test_a_score_is_read_in_any_of_these_languages_and_signs(text: str) -> None:
    assert on_five(text) == 4


@pytest.mark.parametrize("text", each_of(NO_SCORE_IN_ANY_LANGUAGE))
def test_a_number_in_any_of_these_languages_is_no_score(text: str) -> None:
    assert on_five(text) is None


@pytest.mark.parametrize(("text", "score"), STATED, ids=[repr(text)[:60] for text, _ in STATED])
def test_a_score_that_is_stated_is_read(text: str, score: float) -> None:
    assert on_five(text) == score


@pytest.mark.parametrize("text", NOT_STATED, ids=[repr(text)[:60] for text in NOT_STATED])
def test_a_number_that_is_not_stated_as_a_score_is_none(text: str) -> None:
    assert on_five(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Wrong; the treaty was signed in 1648.",
        "1. It names Sydney, which is wrong.",
        "Please call 911",
        "Wrong: the right answer is 42",
        "2 of the 3 facts are right",
        "The right answer is\n\n1648",
        "It holds 2/3 of the facts.",
        "1648\nis the year it should name.",
        "On 2024-05-04, 40% voted.",
        "Verdict: 1. It names Sydney.",
        "1) wrong 2) right",
    ],
)
def test_without_a_scale_a_number_in_prose_is_no_score_either(text: str) -> None:
    assert score_of(text, {}).value is None


def test_what_a_judge_said_is_kept_beside_its_score_and_can_be_written_down() -> None:
    found = score_of("Score: 4 \ud83d", {}, low=1, high=5)
    assert (found.value, found.label) == (4.0, "Score: 4 \ufffd")


@pytest.mark.parametrize(
    ("value", "score"),
    [(5, 5.0), (6, None), (0.5, None), (10**400, None), (True, 1.0)],
    ids=lambda value: repr(value)[:9],
)
def test_a_number_of_an_object_keeps_to_the_scale_too(value: float, score: float | None) -> None:
    assert score_of(value, {}, low=1, high=5).value == score


@pytest.mark.parametrize(("text", "label"), SAID, ids=[repr(text)[:60] for text, _ in SAID])
def test_a_label_is_read_where_it_is_the_verdict(text: str, label: str | None) -> None:
    found = score_of(text, {"CORRECT": 1, "INCORRECT": 0})
    assert (found.label if found.value is not None else None) == label


@pytest.mark.parametrize(("text", "label"), LETTERS, ids=[repr(text)[:60] for text, _ in LETTERS])
def test_a_letter_is_a_verdict_only_where_it_is_no_word(text: str, label: str | None) -> None:
    found = score_of(text, {"A": 1, "B": 0, "C": 0.5})
    assert (found.label if found.value is not None else None) == label


def test_labels_may_be_signs_and_may_differ_in_case_only() -> None:
    assert score_of("👍", {"👍": 1, "👎": 0}).value == 1
    assert score_of('{"verdict": "YES"}', {"Yes": 1, "yes": 1}).value == 1
    assert score_of("yes", {" ": 3, "yes": 1}).value == 1


# Whatever stands around a score that is stated, without another number or name.
words = st.sampled_from(
    ["the", "answer", "is", "right", "but", "short", "and", "misses", "a", "detail", "of", "it"]
)
prose = st.lists(words, min_size=1, max_size=12).map(
    lambda found: " ".join(found).capitalize() + "."
)
forms = st.sampled_from(
    ["Score: {}", "**Score:** {}", "Rating: [[{}]]", "Final score: {}/5", "<score>{}</score>"]
    + ["Score (1-5): {}", "[RESULT] {}", "### Score\n{}", "The score is {}.", "Score: {} (fair)"]
    + ["{}/5", "I would rate it {}.", "\\boxed{{{}}}", "{}", "**{}**", "{} points", "Score : {}"]
)


@given(number=st.integers(1, 5), form=forms, before=prose, after=prose, first=st.booleans())
def test_a_stated_score_survives_what_stands_around_it(
    number: int, form: str, before: str, after: str, first: bool
) -> None:
    stated = form.format(number)
    assert on_five(stated) == number
    assert on_five(f"{stated}\n\n{after}" if first else f"{before}\n\n{stated}\n") == number
    assert on_five(f"  {stated}  \n") == number


facts = st.sampled_from(
    ["It was signed in {}.", "It costs ${}.", "{} people came.", "About {}% agree.", "See page {}."]
    + ["On 2024-05-{:02}.", "It takes {} days.", "{}. It names the city.", "{}) It is short."]
    + ["It has {} of the facts.", "The right answer is {}.", "Call {} first.", "Rule {} holds."]
    + ["between {} and more", "GPT-{} says so.", "The maximum is {}.", "Question {}: why?"]
)
told = st.tuples(facts, st.integers(1, 5) | st.integers(1, 3000)).map(lambda f: f[0].format(f[1]))


@given(st.lists(told | prose, min_size=1, max_size=8), st.sampled_from([" ", "\n", "\n\n"]))
def test_prose_with_years_prices_and_lists_has_no_score(told: list[str], between: str) -> None:
    text = between.join(told)
    assert on_five(text) is None
    assert score_of(text, {}).value is None


@given(st.text())
def test_a_text_without_a_digit_has_no_score(text: str) -> None:
    assert any(each.isdigit() or each in "★⭐🌟" for each in text) or on_five(text) is None


ALPACA = {"m": 1.0, "M": 0.0}
DECIDED = {"Response 1": 1.0, "Response 2": 0.0, "Tie": 0.5}
ARENA = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B>A": 0.25, "B>>A": 0.0}
YES_NO = {"yes": 1.0, "no": 0.0}


@pytest.mark.parametrize(
    ("text", "labels", "value"),
    [
        ("m", ALPACA, 1.0),
        ("M", ALPACA, 0.0),
        ("Verdict: M", ALPACA, 0.0),
        ("3. The final decision is Response 1.", DECIDED, 1.0),  # Auto-J
        ("In conclusion, both are fine. So, the final decision is Tie", DECIDED, 0.5),
        ("My final verdict is: [[A >> B]]", ARENA, 1.0),
        ("Options are [[A>>B]] and so on. My final verdict is [[B>>A]]", ARENA, 0.0),
        ("My final verdict is [[A>>B]], not quite [[A>B]]", ARENA, None),
        ('{"winner": "Tie", "score": 3}', DECIDED, 0.5),
        ('{"verdict": "yes", "label": "no"}', YES_NO, None),
        (
            "extracted_final_answer: Paris\nreasoning: same\ncorrect: yes\nconfidence: 90%",
            YES_NO,
            1,
        ),
        ("correct: no\nconfidence: 100%", YES_NO, 0.0),  # Humanity's Last Exam
        ("Correct: the answer names Paris.", {"correct": 1.0, "incorrect": 0.0}, None),
    ],
)
def test_labels_of_public_judges_are_read(
    text: str, labels: dict[str, float], value: float | None
) -> None:
    assert score_of(text, labels).value == value


@pytest.mark.parametrize(
    ("text", "high", "value"),
    [
        ("So the overall score is 3. [RESULT] 4", 5, None),  # it says two things
        ("So the overall score is 4. [RESULT] 4", 5, 4.0),
        ("<answer>4</answer>", 5, 4.0),
        ("<answer>\nScore: 4\n</answer>", 5, 4.0),
        ("Score: 85%", 100, 85.0),
        ("85%", 100, 85.0),
        ("85% of its facts are right.", 100, None),
        ("4%", 5, None),
    ],
)
def test_numbers_of_public_judges_are_read(text: str, high: float, value: float | None) -> None:
    assert score_of(text, {}, low=0, high=high).value == value
