"""What refusals teach: the pace a provider really allows, and how many requests at once.

A limit is measured, not guessed. From one moment of sending again after a refusal to the next, a
provider admits what its limit allows for that time, whether it counts in a sliding window, in
windows of the calendar or in a bucket: the count over the time is the limit. So the pace goes to
what was measured at once, instead of by steps, as in BBR (Cardwell et al., 2016), stays there for
a while, and then rises, slowly at first and faster the longer nothing is refused, as in CUBIC
(RFC 9438). Both are counted in requests: a measurement is trusted for about as many requests as it
rests on, and for twice as many each time it is confirmed, so that trying for more costs a
refusal in some hundreds.

A run that became faster within a minute and then met a sliding window of it may not go on evenly:
the window forgets little at first. What it remembers is counted, and waited for.

Where the number of requests under way is what a provider minds, no pace is right. Then refusals
come when as many are under way, and what is sent with fewer beside it passes (a ratio of
likelihoods). That number is the most at once from then on, and one more is tried now and then.

What one refusal takes follows from how many requests passed before it: a pace that is 3 % too fast
is refused about once in 33 requests, regularly, while a late request that meets the next one is
refused now and then at any pace.

Not every refusal is a limit. A single one slows a few requests only. Where what was sent after
refused requests has passed, the others need no pause; and where a slower pace does not make
refusals rarer, they have nothing to do with the pace, which is given up.

Where no limit was given or stated, this is tried soon. After a few refusals a faster pace is sent:
a limit refuses what is sent beyond it, an overloaded server no more than before (a sequential test,
Wald, 1945). Then refused requests wait by themselves, and all others go at the workers' own speed.
Now and then a slower pace is tried as well, for a limit that is only a little exceeded. Chance may
tell wrongly that there is a limit: where a large share is refused all the same, or the pace sinks,
it is asked again.
"""

from __future__ import annotations

from collections import deque
from statistics import fmean, pstdev
from typing import NamedTuple

from llm_batch.sending.evidence import Beside, Free, Window
from llm_batch.sending.rate import SHARE

# Requests a measurement is trusted for: times what it rests on, at least, and at most (or what
# is sent in a minute, if that is more).
_TRUST_TIMES, _TRUST_LEAST, _TRUST_MOST = 4.0, 16.0, 350.0
_TRUST_MINUTES, _TRUST_DOUBTED = 1.5, 32.0
# Answers with the most requests under way until one more is tried; doubles each time it fails.
_AT_ONCE_TRUST, _AT_ONCE_SURE, _AT_ONCE_TRUST_MOST, _AT_ONCE_SECONDS = 25.0, 50.0, 200.0, 60.0
# So many refusals with fewer under way than a number that is sure say that it does not matter.
_AT_ONCE_BELOW = 4
# The logarithm of a ratio of likelihoods by which a number at once is told: usually, beside a pace
# that is trusted for so many requests, and where those sent after refused ones passed.
_AT_ONCE_GAIN, _AT_ONCE_GAIN_SURE, _AT_ONCE_GAIN_OPEN = 2.5, 3.5, 6.0
_SURE_TRUST = 250.0
# Besides, a pace rises evenly, by such a share of it in the time it is trusted for, up to a share:
# what is refused at random comes too soon for the faster way up.
_EVENLY, _EVENLY_MOST = 0.03, 0.05
# Measurements that differ by less than this share are of the same limit.
_SAME = 0.25
# A pace that has grown by this factor met the limit on the way.
_GREW = 1.05
# Requests that are too few to measure by.
_FEW = 60
# A pace that is one in so many too fast is refused once in as many requests. So a refusal takes
# what the last two runs show, less what is refused at any pace (a late request meets the next
# one), within bounds; the wider one is for runs of a few requests, of which more are refused.
_STEP, _LEAST_DOWN, _NOISE = 0.02, 0.005, 0.005
_MOST_DOWN, _MOST_DOWN_SHORT, _SHORT_SHARE = 0.13, 0.3, 0.25
# What is refused at random comes irregularly, a limit that is met comes regularly: the shortest of
# three runs as a share of the longest, and the spread of later ones as a share of their mean.
_REGULAR, _IRREGULAR = 0.65, 0.5
# A measured pace that is less than this share of the one sent at is far from it.
_FAR = 0.86
# Of runs shorter than this that follow each other, the first takes one step, each later one twice
# as much: a single late request may have two others refused.
_SHORT_RUN = 25
# What of the way up, in requests, is kept when it met a limit; and how many times what was measured
# a pace is at most, where so many requests were: another limit may have held it.
_KEPT, _KEPT_TIMES, _KEPT_REQUESTS = 0.8, 1.3, 20
# A single refusal is no limit: the pace of before is back after a few requests.
_TRUST_SINGLE = 2.0
# The door is open where so many requests passed after refused ones, for so many that did not.
_OPEN_LEAST, _OPEN_SHARE, _OPEN_MOST = 8.0, 0.1, 100.0
# Fewer than these after one say nothing: where a pace is a little too fast, most pass as well.
_OPEN_EACH = 3
# The share of the requests that may be refused so without a slower pace, counted by so many.
_TOLERATED, _RECENT = 0.015, 10
# Refusals that a slower pace did not help against are no matter of the pace: after so many of
# them, at so much of the pace that the first one was met with (fewer where the door is open), if
# no run between them was so long, the later ones not so many times as long, and no more refused.
_VAIN, _VAIN_SHARE, _VAIN_OPEN, _VAIN_OPEN_SHARE = 10, 0.5, 4, 0.85
_VAIN_RUN, _VAIN_LONGER, _VAIN_MOST = 150, 2.5, 0.06
_STRAY_TIMES, _STRAY_MORE = 2.5, 0.01
# After so many refusals while sending freely, if they are such a share, a slower pace is tried;
# next after so many times as many. So many refusals at that pace tell whether it has helped: if
# they are less than such a part of the share before.
_FREE_REFUSALS, _FREE_SHARE, _FREE_TIMES = 5, 0.015, 4
_SLOW_SHARE, _SLOW_REFUSALS, _HELPED = 0.95, 3, 0.33
# After so many refusals at a pace so many times as much is tried, the first time, and later where
# such a share is refused or the pace has come down to such a part; after so many times as many
# refusals where there was a limit, unless such a share is refused or the pace has come down again:
# no limit does that to its pace.
_ASK_REFUSALS, _TRY_TIMES, _ASK_SHARE, _SUNK, _ASK_TIMES = 4, 3.0, 0.04, 0.7, 3
_ASK_AT_ONCE = 0.12
# The least that one refusal leaves of a pace.
_LEAST_STEP = 0.3
# The same where the pause was too short, so that little is known.
_SHORT_STEP = 0.92
# How late a request may be and the pace still catch up with it.
_LATE_SECONDS, _BINDS_SECONDS = 0.05, 0.1
# A pace that has grown by this factor without a refusal is no limit any more.
_GONE = 50.0
#: Pauses where the provider does not say how long: while requests are admitted, then doubling
#: from the second on, so that six refusals outlast a minute.
_FIRST_PAUSE_SECONDS, _PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 2.0, 32.0
_SHORTEST_PAUSE_SECONDS = 0.2
# The pause where a pace is known, in requests of it. If what follows is refused within so many
# seconds, the pause was too short, which says little of the pace.
_PAUSE_REQUESTS, _SHORT_SECONDS = 0.7, 6.0
# How long a request must be under way to count as admitted: times what refusals take.
_PROBE_TIMES, _PROBE_MOST = 2.0, 2.0
# Whoever waits for another request to end looks again after this share of what they take.
_LOOK_SHARE, _LOOK_LEAST, _LOOK_MOST = 0.02, 0.001, 0.05
# After so many times what requests take without an end of one, what is under way is forgotten:
# whoever sent it is gone.
_LOST_TIMES, _LOST_SECONDS = 5.0, 120.0


class Sent(NamedTuple):
    """A request as it was sent.

    Attributes:
        number: From 1.
        beside: Requests that were under way.
    """

    number: int
    beside: int


class Slowed(NamedTuple):
    """What refusals have taught and holds now.

    Attributes:
        per_minute: Requests a minute; ``None`` where the pace is not what is limited.
        at_once: Requests at once; ``None`` likewise.
    """

    per_minute: float | None
    at_once: int | None

    @property
    def words(self) -> str:
        """For a progress line; empty where nothing was slowed."""
        words = []
        if self.per_minute is not None:
            words.append(f"slowed to {self.per_minute:,.0f} a minute")
        if self.at_once is not None:
            words.append(f"{self.at_once:,} at a time")
        return f"refused, {', '.join(words)}" if words else ""

    @property
    def advice(self) -> str:
        """What to set, so that the next run is not refused."""
        if self.at_once is not None:
            return f"--workers {self.at_once}"
        return f"--rpm {max(1, round(self.per_minute or 0.0))}"


class _Measured(NamedTuple):
    """What was admitted, from when on."""

    began: float
    requests: int
    tokens: float


class Learned:
    """The learned limits of one model. Not safe for threads; times are seconds.

    Args:
        minute_seconds: How long a minute lasts; tests and rehearsals shorten it.

    Attributes:
        in_a_row: Refusals since a request was admitted, those sent at one time counted once; 0
            again once one was answered.
    """

    def __init__(self, minute_seconds: float = 60.0) -> None:
        self._minute = minute_seconds
        self.in_a_row = 0
        # The pace before it grows, in units a second, and how many requests it is trusted for.
        # A unit is a request, or a token when tokens are what was waited for.
        self._pace: float | None = None
        self._trust, self._quiet = _TRUST_LEAST, 0
        self._by_tokens = False
        self._arrival = float("-inf")
        # Requests that passed and that did not though sent after a refused one, the last one's
        # number and what was sent after it, and the numbers of the last ones refused.
        self._open, self._shut, self._after = 0.0, 0.0, 0
        self._recent: deque[int] = deque(maxlen=_RECENT)
        # The share refused that is no matter of the pace; refusals in vain, from which pace on.
        self._tolerated = _TOLERATED
        self._series: list[tuple[float, int]] = []
        self._vain_times = 1
        # Sending freely, and after how many refusals a slower pace is tried against them.
        self._free: Free | None = None
        self._bound = False
        self._free_refusals = _FREE_REFUSALS
        # Refusals and requests since it was asked whether the pace helps, the pace then, and after
        # how many refusals it is asked again.
        self._looked_refused, self._looked_count = 0, 0
        self._looked_pace: float | None = None
        self._look_refusals = _ASK_REFUSALS
        # What a sliding window of a minute remembers.
        self._window = Window(minute_seconds)
        # Whether a refusal was met that is no limit yet.
        self._single = False
        # What was sent, and of the measurement that goes on: since when, and what before it.
        self._count, self._tokens, self._quiet_from = 0, 0.0, 0
        self._began: float | None = None
        self._count_then, self._tokens_then = 0, 0.0
        self._refused, self._refused_tokens = 0, 0.0
        # The measurements of the last minute, and whether the last one rests on few requests.
        self._lately: deque[_Measured] = deque()
        self._few = False
        # Short runs that followed each other.
        self._shorts = 0
        # Requests admitted in the last three of them.
        self._runs: deque[int] = deque(maxlen=3)
        # The last request that was sent before the last refusal was known, when that was, and
        # whether the next one ends the measurement.
        self._known = 0
        self._refused_at = float("-inf")
        self._ends = False
        # After a pause one request shows whether there is room; the others wait until then.
        self._probe_until = 0.0
        self._refusal_takes = 0.0
        # Requests under way: the most of them, answers while that was reached, requests beside
        # the last refused one, and the most beside one that was admitted in this measurement.
        self.under_way = 0
        self._at_once: int | None = None
        self._at_once_trust, self._at_once_answers = _AT_ONCE_TRUST, 0
        self._beside, self._refused_below = Beside(), 0
        self._takes = 0.0
        self._ended_at = 0.0

    @property
    def active(self) -> bool:
        """Whether anything was refused and holds still."""
        return (
            self._pace is not None
            or self._at_once is not None
            or self._free is not None
            or self.in_a_row > 0
        )

    @property
    def is_open(self) -> bool:
        """Whether a refusal concerns one request only: those sent after such ones have passed."""
        return self._free is not None or (
            self.in_a_row <= 1
            and self._at_once is None
            and self._open >= _OPEN_LEAST
            and self._shut <= _OPEN_SHARE * self._open
            and self._share() <= _OPEN_SHARE
        )

    @property
    def quiet(self) -> int:
        """Requests since the last refusal that is a matter of the pace, or since `forget_quiet`."""
        free = self._free
        then = free.count if free is not None and free.passed else self._count_then
        return self._count - max(then, self._quiet_from)

    @property
    def slowed(self) -> Slowed:
        """What holds now; a pace in requests a minute, whatever its unit."""
        per_minute = None
        if self._pace is not None:
            units = 1.0
            if self._by_tokens:
                units = sum(m.requests for m in self._lately) / sum(m.tokens for m in self._lately)
            per_minute = self._pace * units * self._minute
        return Slowed(per_minute, self._at_once)

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request may be sent; for one that waits for another's end, a guess."""
        wait = self._probe_until - now if self._probe_until else 0.0
        if self._at_once is not None and self.under_way >= self._most():
            if now - self._ended_at <= max(_LOST_SECONDS, _LOST_TIMES * self._takes):
                wait = min(_LOOK_MOST, max(_LOOK_LEAST, _LOOK_SHARE * self._takes))
            else:
                self.under_way = 0
        wait = max(wait, self._window.wait(now))
        if self._pace is not None and not self._ends:
            wait = max(wait, self._arrival - _LATE_SECONDS - now)
        return wait

    def take(self, tokens: float, now: float) -> Sent:
        """Count a request as sent."""
        if self._began is None:
            self._began = now
        elif self._ends:
            if self._pace is None or self.in_a_row > 1:
                self._probe_until = now + min(_PROBE_MOST, _PROBE_TIMES * self._refusal_takes)
            self._measure(now)
        if self._pace is not None:
            speed, late = self._speed(), now - self._arrival
            self._arrival = now - min(0.0, late) + (tokens if self._by_tokens else 1.0) / speed
            # Else it is not the pace that requests wait for.
            if late < _BINDS_SECONDS and not self._window.holds:
                self._quiet += 1
                if speed > _GONE * self._pace:
                    self._pace = None
        self._count += 1
        self._tokens += tokens
        self._window.take(now)
        beside = self.under_way
        self._beside.sent(beside)
        if not beside:
            self._ended_at = now
        self.under_way = beside + 1
        return Sent(self._count, beside)

    def answered(self, sent: Sent, seconds: float, now: float) -> None:
        """Note that an attempt ended that was not refused, after so many seconds."""
        self._end(now)
        self._takes += (seconds - self._takes) * 0.1 if self._takes else seconds
        if sent.number > self._known:
            self.in_a_row = 0
        if self._at_once is not None and self.under_way + 1 >= self._most():
            self._at_once_answers += 1

    def refused(
        self,
        sent: Sent,
        tokens: float,
        seconds: float,
        now: float,
        by_tokens: bool,
        bound: bool = False,
    ) -> None:
        """Note a refusal.

        Args:
            sent: From `take`.
            tokens: Of the request.
            seconds: How long it took.
            now: The time.
            by_tokens: Whether tokens were what requests waited for.
            bound: Whether a limit was given or stated, so that nothing is sent faster to try.
        """
        self._end(now)
        self._window.refused(now - seconds)
        self._recent.append(sent.number)
        self._refusal_takes += (seconds - self._refusal_takes) * (0.1 if self._refusal_takes else 1)
        admitted = sent.number - 1 - self._count_then - self._refused
        if sent.number > self._count_then:
            self._refused += 1
            self._refused_tokens += tokens
        if self._free is not None:
            self._free.refused(sent.number, self._count)
        if sent.number <= self._known and not (self._free and self._free.limited):
            self._shut += 1.0
            self._after = max(0, self._after - 1)
            if self._free is None:
                self._beside.refused(sent.beside, True)
                if self._at_once is None and self._finds_at_once(admitted):
                    self.in_a_row = 0
                    self._begin(now)
            return  # it was sent before the last refusal was known, and says nothing new of a pace
        if self._after >= _OPEN_EACH:
            self._open += self._after
        if self._open + self._shut > _OPEN_MOST:
            self._open, self._shut = self._open / 2, self._shut / 2
        self._known, self._after = self._count, self._count - sent.number
        tried = self._free is not None
        if not tried:
            self._beside.refused(sent.beside, False)
        self._bound = bound
        if not bound and self._goes_on_freely(sent, admitted, now):
            return
        if self.is_open:
            if self._share() <= self._tolerated:
                return
            self.in_a_row, self._refused_at, self._ends = 1, now, True
            if self._pace is None:
                self._by_tokens = by_tokens
            return
        if not tried and self._too_many_at_once(sent, admitted):
            self.in_a_row = 0
            self._begin(now)
            return
        self.in_a_row = 1 if admitted > 0 else self.in_a_row + 1
        if self.in_a_row == 1:
            self._refused_at = now
        if self._pace is None:
            self._by_tokens = by_tokens
        elif not admitted:
            self._open = 0.0
        self._ends = True

    def pause_seconds(self, now: float) -> float:
        """How long to send nothing after the last refusal, where the provider does not say."""
        if not self.in_a_row:
            return 0.0
        if self.in_a_row == 1:
            if self._pace is None or self._by_tokens or self._single:
                return _FIRST_PAUSE_SECONDS
            return min(
                _FIRST_PAUSE_SECONDS, max(_SHORTEST_PAUSE_SECONDS, _PAUSE_REQUESTS / self._pace)
            )
        seconds = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2.0 ** (self.in_a_row - 1))
        # A minute after the first request that was admitted, a limit of a minute has room.
        began = self._lately[0].began if self._lately else float("-inf")
        room = began + self._minute + _FIRST_PAUSE_SECONDS - now
        return min(seconds, room) if room > _FIRST_PAUSE_SECONDS else seconds

    def forget_quiet(self) -> None:
        """Count `quiet` from now on."""
        self._quiet_from = self._count

    def hold(self, until: float) -> None:
        """Go on evenly after a pause."""
        self._arrival = max(self._arrival, until)

    def _end(self, now: float) -> None:
        self._ended_at = now
        if self.under_way:
            self.under_way -= 1

    def _in_vain(self, speed: float, admitted: int) -> bool:
        """Whether a slower pace has not helped, so that it is not the pace that is refused."""
        series = self._series
        if admitted >= _VAIN_RUN or (series and speed > series[0][0]):
            series.clear()
        series.append((speed, admitted))
        needed, share = (_VAIN_OPEN, _VAIN_OPEN_SHARE) if self.is_open else (_VAIN, _VAIN_SHARE)
        if len(series) < needed * self._vain_times or speed > share * series[0][0]:
            return False
        half = len(series) // 2
        runs = [run for _, run in series]
        later = runs[-half:]
        irregular = self.is_open or pstdev(later) >= _IRREGULAR * fmean(later)
        no_longer = sum(later) <= _VAIN_LONGER * sum(runs[:half])
        vain = irregular and no_longer and self._share() <= _VAIN_MOST
        del series[: None if vain else half]
        if vain:
            self._tolerated = _STRAY_TIMES * self._share() + _STRAY_MORE
        return vain

    def _goes_on_freely(self, sent: Sent, admitted: int, now: float) -> bool:
        """Whether a refusal is no matter of the pace, as far as is known; begins to try that."""
        free = self._free
        if free is None:
            # One more than the known number at once was tried: that explains it.
            trying = self._at_once is not None and self._most() > self._at_once
            self._looked_refused += admitted > 0 and not trying
            share = self._looked_refused / max(1, self._count - self._looked_count)
            sunk = (self._pace or 0.0) < _SUNK * (self._looked_pace or 0.0)
            soon = share >= _ASK_AT_ONCE or (sunk and self._pace is not None)
            needed = _ASK_REFUSALS if soon else self._look_refusals
            if admitted <= 0 or self._looked_refused < needed:
                return False
            helped = self._looked_pace is not None and share < _ASK_SHARE and not sunk
            self._look()
            if helped:
                return False
            held = (self._pace, self._trust, self._at_once)
            self._free = Free(sent.number, share, held, now, self._count, self._tokens)
            # Not all at once: those of a limit would all be refused.
            if self._pace is not None:
                self._pace, self._trust, self._quiet = _TRY_TIMES * self._speed(), _TRUST_LEAST, 0
                self._arrival = now
            if self._at_once is not None:
                self._at_once *= 2
            self._beside.clear()
        elif free.limited:
            self._free = None
            self._look_refusals *= _ASK_TIMES
            if now - free.began < self._minute:
                self._pace, self._trust, self._at_once = free.held
            self._refused_below = 0
            self._beside.clear()
            self._look()
            return False
        elif free.slow_from is not None:
            free.slow_refused += sent.number > free.slow_from
            if free.slow_refused >= _SLOW_REFUSALS:
                if free.slow_refused < _HELPED * free.share * (self._count - free.slow_from):
                    self._free = None
                    self._look_refusals *= _ASK_TIMES
                    self._look()
                    return False
                self._pace, free.slow_from, free.slow_refused = None, None, 0
        elif free.passed:
            self._pace = self._at_once = None
            if free.refusals >= self._free_refusals and free.share >= _FREE_SHARE:
                self._free_refusals *= _FREE_TIMES
                units = self._tokens - free.tokens if self._by_tokens else self._count - free.count
                self._pace = _SLOW_SHARE * (1.0 - free.share) * units / max(now - free.began, 1e-3)
                self._trust, self._quiet, self._arrival = _TRUST_MOST, 0, now
                free.slow_from = self._count
        self.in_a_row = 0
        self._begin(now)
        return True

    def _look(self) -> None:
        self._looked_refused, self._looked_count, self._looked_pace = 0, self._count, self._pace

    def _share(self) -> float:
        """What of the requests was refused lately; 0 while it is too early to say."""
        if len(self._recent) < _RECENT:
            return 0.0
        return (_RECENT - 1) / max(1, self._count - self._recent[0])

    def _most(self) -> int:
        """Requests that may be under way at once now."""
        assert self._at_once is not None
        grown = 1.0 + (self._at_once_answers / self._at_once_trust) ** 3
        return max(self._at_once, int(self._at_once * grown))

    def _step(self) -> float:
        """The share of the pace that a refusal takes, from the runs before it."""
        runs = list(self._runs)
        beyond = len(runs[-2:]) / max(1, sum(runs[-2:]))
        if len(runs) == 3 and min(runs) >= _REGULAR * max(runs):
            return min(_MOST_DOWN, max(_STEP, beyond))
        most = _MOST_DOWN if beyond < _SHORT_SHARE else _MOST_DOWN_SHORT
        return min(most, max(_LEAST_DOWN, beyond - _NOISE))

    def _speed(self) -> float:
        """Units a second now."""
        assert self._pace is not None
        part = self._quiet / self._trust
        evenly = min(_EVENLY_MOST, _EVENLY * part) if self._trust >= _SURE_TRUST else 0.0
        return self._pace * (1.0 + max(part**3, evenly))

    def _too_many_at_once(self, sent: Sent, admitted: int) -> bool:
        """Whether the number under way is what was refused; the most at once follows it."""
        known = self._at_once
        if known is not None:
            if self._most() > known:
                if admitted < known:
                    return False  # it was refused just before: there is more to it than this
                self._limit_at_once(max(known, sent.beside), 2.0 * self._at_once_trust)
                return True
            self._refused_below += 1
            sure = self._at_once_trust > _AT_ONCE_SURE
            if sure and self._refused_below < _AT_ONCE_BELOW:
                return False  # one request may have been late
            self._at_once = None
        return self._finds_at_once(admitted)

    def _finds_at_once(self, admitted: int) -> bool:
        """Whether a number at once explains the last refusals; then it holds from now on."""
        gain = _AT_ONCE_GAIN
        if self._pace is not None and self._trust >= _SURE_TRUST:
            gain = _AT_ONCE_GAIN_SURE
        found = self._beside.limit(_AT_ONCE_GAIN_OPEN if self.is_open else gain)
        if found is None:
            return False
        trust = self._trust
        self._limit_at_once(found, _AT_ONCE_TRUST)
        if self._pace is not None and admitted >= _FEW:
            self._trust = trust  # two late requests may each have met the next one
        else:
            # What was measured before was no pace.
            self._pace = None
            self._lately.clear()
        return True

    def _limit_at_once(self, most: int, trust: float) -> None:
        if trust > _AT_ONCE_SURE:
            least = _AT_ONCE_SECONDS * most / max(self._takes, 1e-3)
            trust = max(least, min(_AT_ONCE_TRUST_MOST, trust))
        self._at_once, self._at_once_answers, self._at_once_trust = most, 0, trust
        self._refused_below = 0
        # A pace beside it may rest on the same refusals.
        self._trust = min(self._trust, _TRUST_DOUBTED)

    def _begin(self, now: float) -> int:
        """Begin another measurement; how many requests were admitted in the one before."""
        requests = self._count - self._count_then - self._refused
        lately = self._lately
        if requests > 0:
            assert self._began is not None  # something was sent
            tokens = self._tokens - self._tokens_then - self._refused_tokens
            lately.append(_Measured(self._began, requests, tokens))
        while len(lately) > 1 and lately[1].began <= now - self._minute:
            lately.popleft()
        self._began, self._ends, self._quiet = now, False, 0
        self._count_then, self._tokens_then = self._count, self._tokens
        self._refused, self._refused_tokens = 0, 0.0
        return requests

    def _measure(self, now: float) -> None:
        """End the measurement: take the pace from it, and begin another."""
        base, quiet = self._pace, self._quiet
        speed = self._speed() if base else 0.0
        lately = self._lately
        admitted = self._begin(now)
        if self._free is not None:
            return
        closed = admitted <= 0
        if not lately:
            return
        since = lately[0] if closed else lately[-1]
        few = self._few
        self._few = not closed and admitted < _FEW and speed < _GREW * (base or 0.0)
        if self._few and few:
            since = lately[-2] if len(lately) > 1 else since
        requests = sum(each.requests for each in lately if each.began >= since.began)
        tokens = sum(each.tokens for each in lately if each.began >= since.began)
        units = tokens if self._by_tokens else requests
        if units <= 0:
            return
        if closed:
            # Beyond a minute, what was closed was no limit of a minute but an outage.
            seconds = max(self._refused_at - since.began, min(now - since.began, self._minute))
        else:
            # A pause may be longer than the limit wants.
            seconds = (self._refused_at + now) / 2 - since.began
        measured = SHARE * units / max(seconds, 1e-3)
        short = closed and now - self._refused_at < _SHORT_SECONDS
        single, self._single = self._single, False
        recent = self._refused_at - since.began < self._minute / 2
        if self._tolerated > _TOLERATED and (not closed or short):
            if self._share() <= self._tolerated:
                return
            self._tolerated = _TOLERATED  # this is more than was no matter of the pace
            self._vain_times = min(4, 2 * self._vain_times)
        held = None if self._by_tokens else self._window.met(admitted, now)
        if base and held is not None:
            self._pace = min(held, speed)
            self._trust = _TRUST_MINUTES * self._minute * self._pace
            return
        # On the way up the pace may be faster than what was really sent.
        rising = single or speed >= _GREW * (base or 0.0)
        met = min(speed, measured) if rising else speed
        if base and not closed and self._bound and self._in_vain(met, admitted):
            self._pace = None
            return
        fresh = not base and not closed and not self.is_open
        sure = self._at_once_trust > _AT_ONCE_SURE
        if fresh and self._at_once is not None and (sure or not recent):
            return  # it was refused with fewer under way: a late one, as far as is known
        if fresh and self._at_once is None and not (single and recent):
            self._single = True
            self._pace, self._trust, self._arrival = measured, _TRUST_SINGLE, now
            return
        self._runs.append(max(0, admitted))
        self._shorts = self._shorts + 1 if admitted < _SHORT_RUN else 0
        step = self._step()
        if not base or (single and not closed):
            self._pace, self._trust = measured, _TRUST_TIMES * requests
        elif short:
            self._pace = min(speed * (1.0 - _STEP), max(measured, _SHORT_STEP * speed))
            if single:
                self._trust = _TRUST_TIMES * requests
        elif closed:
            self._pace = min(speed, max(measured, _LEAST_STEP * speed))
            self._trust = _TRUST_TIMES * requests
        elif speed >= _GREW * base:
            # The limit was met on the way up, a little before it was noticed.
            kept = (1.0 - step) * base * (1.0 + (_KEPT * quiet / self._trust) ** 3)
            if admitted >= _KEPT_REQUESTS:
                kept = min(kept, max((1.0 - step) * base, _KEPT_TIMES * measured))
            self._pace = kept
            self._trust *= 4.0
        elif self.is_open:
            # The others passed, so the share that did not is what there was too much of.
            self._pace, self._trust = speed * (1.0 - max(_STEP, self._share())), _TRUST_MOST
        elif self._few and few:
            if measured < _FAR * speed and self._open < _OPEN_LEAST:
                step = max(step, _MOST_DOWN)
            if self._shorts:
                step = min(step, _STEP * 2.0 ** (self._shorts - 1))
            self._pace = min(speed, max(measured, (1.0 - step) * speed))
            self._trust *= 2.0
        elif measured >= (1.0 - _SAME) * speed or self._few:
            # One in so many is what trying for more costs, and what a late request may.
            self._pace = speed * (1.0 - min(step, _STEP))
            self._trust *= 2.0
        else:
            self._pace = min(speed, max(measured, _LEAST_STEP * speed))
            self._trust = _TRUST_TIMES * requests
        self._arrival = now
        most = (
            0.0 if self.is_open else _TRUST_MINUTES * self._minute * self._pace * requests / units
        )
        self._trust = max(_TRUST_LEAST, min(self._trust, max(_TRUST_MOST, most)))
