"""What is spent and held together never exceeds the cap, and so neither does the bill."""

from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_batch.sending.client import Budget

AMOUNTS = st.floats(0, 2)
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "more", "charge", "release"]),
        st.sampled_from("abcd"),
        AMOUNTS,
    ),
    max_size=60,
)


@given(cap=st.floats(0, 5), deeds=DEEDS)
def test_spent_and_held_never_exceed_the_cap_in_any_order(
    cap: float, deeds: list[tuple[str, str, float]]
) -> None:
    budget = Budget(cap)
    held: dict[str, float] = {}
    for deed, item, amount in deeds:
        if deed == "hold" and budget.hold(item, amount):
            held[item] = amount
        elif deed == "more" and budget.hold_more(item, amount):
            held[item] = held.get(item, 0.0) + amount
        elif deed == "charge":
            # What a call costs is at most what was held for it.
            cost = min(amount, held.get(item, 0.0))
            budget.charge(item, cost)
            held[item] = held.get(item, 0.0) - cost
        elif deed == "release":
            budget.release(item)
            held.pop(item, None)
        assert budget.spent + budget.held <= cap + 1e-6
        assert abs(budget.held - sum(held.values())) < 1e-6


@settings(max_examples=25, deadline=None)
@given(
    cap=st.floats(0.1, 5),
    plans=st.lists(
        st.lists(st.tuples(AMOUNTS, st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
        min_size=2,
        max_size=6,
    ),
)
def test_the_bill_of_many_threads_never_exceeds_the_cap(
    cap: float, plans: list[list[tuple[float, float, bool]]]
) -> None:
    """Every thread: hold the worst case, perhaps more, pay a part of it, give the rest back."""
    budget = Budget(cap)
    bills: list[float] = []

    def work(name: int, plan: list[tuple[float, float, bool]]) -> None:
        for turn, (worst, share, again) in enumerate(plan):
            item = f"{name}-{turn}"
            if not budget.hold(item, worst):
                continue
            times = 2 if again and budget.hold_more(item, worst) else 1
            bills.append(times * worst * share)
            budget.charge(item, bills[-1])
            budget.release(item)

    threads = [threading.Thread(target=work, args=(name, plan)) for name, plan in enumerate(plans)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(bills) <= cap + 1e-6
    assert abs(budget.spent - sum(bills)) < 1e-6
    assert budget.held == 0
