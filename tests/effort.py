"""What work costs a processor, measured so that a busy machine does not change the answer."""

from __future__ import annotations

import time
from collections.abc import Callable


def effort(do: Callable[[], object], most: float) -> float:
    """CPU seconds of this thread: the first of three tries that take under ``most``, or the best.

    Whoever shares the processor takes its cache as well, so a single measurement may be several
    times too long. What takes ten times too long is not tried again.
    """
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        do()
        best = min(best, time.thread_time() - began)
        if best < most or best > 10 * most:
            break
    return best
