"""Circuit breakers of a market: a price that moved too far over a horizon closes it by degrees, time re-opens it.

The market steps down one state at a time, and only while its latest price violates no bound of the state it is in.
What a breaker does depends on the prices observed and their times alone, not on how often `advance` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from marginkeep.errors import InputError
from marginkeep.oracle.breaker_windows import Window
from marginkeep.rulebook.oracle_rules import MARKET_HALTED, MARKET_STATES, OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.rulebook.oracle_rules import BreakerRules, VenueBreaker


class Breach(NamedTuple):
    """A price outside the bounds of a trigger; reference, bounds and price in ticks, state into `MARKET_STATES`."""

    horizon_ns: int
    reference: int
    lowest: int
    highest: int
    price: int
    at_ns: int
    state: int

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f"price {self.price} at {self.at_ns} ns is outside {self.lowest} to {self.highest}, the bounds around "
            f"{self.reference}, the price of {self.horizon_ns} ns before: {MARKET_STATES[self.state]}"
        )


def venue_state(states: Sequence[int], rules: VenueBreaker) -> int:
    """Return the state that all markets must be in at least, given each market's own.

    Parameters
    ----------
    states : markets' own states (`Breaker.state`), without what an earlier venue state added: else it never ends
    """
    closed = sum(state >= rules.state for state in states)
    return rules.state if 0 < rules.markets <= closed else OPEN


class Breaker:
    """State of one market as its prices and its operator make it.

    A price outside a trigger's bounds makes the market at least that trigger's state for at least its duration; each
    further breach starts the duration anew. When the duration of the present state is over, the latest price is held
    against the references of that moment: if it violates a bound of this state or a worse one, that counts as a
    further breach (lasting no less than the trigger's bucket, the time in which its reference can change); if not,
    the market steps down one state, and keeps it for the duration of the mildest trigger of at least that state.

    Times must not go back from call to call.
    """

    __slots__ = (
        "_automatic",
        "_breach",
        "_ends",
        "_highest",
        "_latest",
        "_lowest",
        "_manual",
        "_manual_since_ns",
        "_now_ns",
        "_pending_count",
        "_pending_sum",
        "_quiet_until_ns",
        "_step_ns",
        "_windows",
    )

    def __init__(self, rules: BreakerRules) -> None:
        self._windows = [Window(trigger) for trigger in rules.triggers]
        self._step_ns = [_step_duration(rules, state) for state in range(len(MARKET_STATES))]
        self._automatic = self._manual = OPEN
        self._ends = [0] * len(MARKET_STATES)  # per state: the market keeps at least this state until then
        self._now_ns = self._manual_since_ns = 0
        self._latest = -1  # no price yet
        self._breach: Breach | None = None
        # Prices seen since the windows were last brought up to date: all are in each window's open bucket.
        self._pending_sum = self._pending_count = 0
        # Until this time, and while prices lie within these bounds, an observation changes nothing.
        self._quiet_until_ns = self._lowest = self._highest = 0

    @property
    def state(self) -> int:
        """The market's state as of the last call: the worse of the automatic and the operator's."""
        return max(self._automatic, self._manual)

    @property
    def automatic(self) -> int:
        """The state that prices alone have made."""
        return self._automatic

    @property
    def manual(self) -> int:
        """The state that the operator holds the market at; open = none."""
        return self._manual

    @property
    def manual_since_ns(self) -> int:
        """When the operator began to hold it; 0 = not held."""
        return self._manual_since_ns

    @property
    def until_ns(self) -> int:
        """When time alone may next change the state; 0 = never. Call `advance` then."""
        return self._ends[self._automatic] if self._automatic else 0

    @property
    def breach(self) -> Breach | None:
        """The breach that the present automatic state comes from; None while open."""
        return self._breach

    @property
    def why(self) -> str:
        """One or two sentences on the present state; empty while open."""
        reasons = []
        if self._manual:
            reasons.append(f"held at {MARKET_STATES[self._manual]} by the operator since {self._manual_since_ns} ns")
        if self._breach is not None:
            reasons.append(f"{self._breach}; now {MARKET_STATES[self._automatic]}, at least until {self.until_ns} ns")
        return "; ".join(reasons)

    def observe(self, price: int, now_ns: int) -> bool:
        """Take in a price; tell whether the state changed, by this price or by the time that passed.

        The price is held against the references first and recorded then, breach or not, so that a level that lasts
        becomes the reference in time.
        """
        if now_ns < self._quiet_until_ns and self._lowest <= price <= self._highest:
            assert now_ns >= self._now_ns, f"time went back from {self._now_ns} to {now_ns}"
            changed = False
        else:
            before = self.state
            self._pass_time(now_ns)
            self._check(price, now_ns)
            changed = self.state != before
        self._now_ns = now_ns
        self._latest = price
        self._pending_sum += price
        self._pending_count += 1
        return changed

    def advance(self, now_ns: int) -> bool:
        """Let time pass; tell whether the state changed."""
        before = self.state
        self._pass_time(now_ns)
        self._now_ns = now_ns
        return self.state != before

    def would_breach(self, price: int, now_ns: int) -> Breach | None:
        """Return the worst breach that a price would be now, None if there is none; nothing changes."""
        if self._latest < 0:
            return None
        windows = self._windows
        if now_ns >= self._quiet_until_ns:
            self._record_pending()
            windows = [window.copy() for window in windows]
            for window in windows:
                window.advance(now_ns, self._latest)
        return _worst([window for window in windows if not window.allows(price)], price, now_ns)

    def hold(self, state: int, now_ns: int) -> bool:
        """Keep the market at a state or worse until `release`; tell whether its state changed."""
        if not OPEN < state <= MARKET_HALTED:
            names = ", ".join(MARKET_STATES[OPEN + 1 :])
            raise InputError(f"a hold names market state {state}: give one of 1 to {MARKET_HALTED} ({names})")
        before = self.state
        self._manual, self._manual_since_ns = state, now_ns
        return self.state != before

    def release(self) -> bool:
        """End the operator's hold; what prices have done stands. Tell whether the state changed."""
        before = self.state
        self._manual = self._manual_since_ns = 0
        return self.state != before

    def save(self) -> list[Any]:
        """Return all of it."""
        self._record_pending()
        return [
            self._now_ns,
            self._latest,
            self._automatic,
            list(self._ends),
            self._manual,
            self._manual_since_ns,
            None if self._breach is None else list(self._breach),
            [window.save() for window in self._windows],
        ]

    def restore(self, saved: list[Any]) -> None:
        """Take over what `save` returned; the rules must be those it was saved under."""
        self._now_ns, self._latest, self._automatic, ends, self._manual, self._manual_since_ns, breach, windows = saved
        self._ends = list(ends)
        self._breach = None if breach is None else Breach(*breach)
        self._pending_sum = self._pending_count = 0
        for window, state in zip(self._windows, windows, strict=True):
            window.restore(state)
        if self._latest >= 0:
            self._narrow()
        else:
            self._quiet_until_ns = self._lowest = self._highest = 0

    def _pass_time(self, now_ns: int) -> None:
        assert now_ns >= self._now_ns, f"time went back from {self._now_ns} to {now_ns}"
        if self._latest < 0 or now_ns < self._quiet_until_ns:
            return
        while self._automatic and self._ends[self._automatic] <= now_ns:
            due_ns = self._ends[self._automatic]
            self._advance_windows(due_ns)
            self._expire(due_ns)
        self._advance_windows(now_ns)
        self._narrow()

    def _advance_windows(self, now_ns: int) -> None:
        self._record_pending()
        for window in self._windows:
            if now_ns >= window.changes_ns:
                window.advance(now_ns, self._latest)

    def _record_pending(self) -> None:
        for window in self._windows:
            window.sum += self._pending_sum
            window.count += self._pending_count
        self._pending_sum = self._pending_count = 0

    def _expire(self, now_ns: int) -> None:
        """Decide what follows on the present state: itself again, a worse one, or the next milder one."""
        standing = [window for window in self._windows if not window.allows(self._latest)]
        standing = [window for window in standing if window.trigger.state >= self._automatic]
        if standing:
            for window in standing:
                self._keep(window.trigger.state, now_ns + max(window.trigger.duration_ns, window.bucket_ns))
            self._enter(standing, self._latest, now_ns)
            return
        self._automatic -= 1
        if self._automatic:
            self._keep(self._automatic, now_ns + self._step_ns[self._automatic])
        else:
            self._breach = None

    def _check(self, price: int, now_ns: int) -> None:
        if self._latest < 0:
            for window in self._windows:
                window.start(price, now_ns)
            self._narrow()
            return
        violated = [window for window in self._windows if not window.allows(price)]
        if violated:
            for window in violated:
                self._keep(window.trigger.state, now_ns + window.trigger.duration_ns)
            self._enter(violated, price, now_ns)
            self._narrow()

    def _keep(self, state: int, until_ns: int) -> None:
        self._ends[state] = max(self._ends[state], until_ns)

    def _enter(self, violated: list[Window], price: int, now_ns: int) -> None:
        breach = _worst(violated, price, now_ns)
        if breach is not None and breach.state >= self._automatic:
            self._automatic, self._breach = breach.state, breach

    def _narrow(self) -> None:
        """Find the bounds that satisfy every trigger, and how long they and the state stand."""
        if not self._windows:
            return  # never quiet, and the long way finds nothing to do
        self._lowest = max([window.lowest for window in self._windows])
        self._highest = min([window.highest for window in self._windows])
        self._quiet_until_ns = min([window.changes_ns for window in self._windows])
        if self._automatic:
            self._quiet_until_ns = min(self._quiet_until_ns, self._ends[self._automatic])


def _worst(violated: list[Window], price: int, now_ns: int) -> Breach | None:
    """Return the breach of the worst state; of several the one over the shortest horizon."""
    if not violated:
        return None
    window = max(violated, key=lambda one: one.trigger.state)
    trigger = window.trigger
    return Breach(trigger.horizon_ns, window.reference, window.lowest, window.highest, price, now_ns, trigger.state)


def _step_duration(rules: BreakerRules, state: int) -> int:
    """Return how long a step down to a state lasts: the duration of the mildest trigger of at least that state."""
    durations = [(trigger.state, trigger.duration_ns) for trigger in rules.triggers if trigger.state >= state]
    return min(durations)[1] if durations else 0
