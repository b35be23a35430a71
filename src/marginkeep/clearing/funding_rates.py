"""The funding machine of one market: premiums in, a rate at every payment out."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from marginkeep.clearing.funding_formulas import FundingDue, nothing_due, premium_due, prices_due, to_step, toward_zero
from marginkeep.clearing.funding_samples import Held, PremiumSamples
from marginkeep.units import floor_div

if TYPE_CHECKING:
    from marginkeep.rulebook.funding_rules import FundingRules

_PARTS: Final = 10**18
"""Parts in which an imbalance is kept."""


class Averages(NamedTuple):
    """What is known of the time since the last payment: the premium, or mark and index; all exact."""

    premium: Fraction | None
    prices: tuple[int, int] | None
    imbalance: Fraction
    coverage: Fraction


class Booked(NamedTuple):
    """A part of a payment that has been booked: rate, and move of the market's index."""

    rate: int
    move: int


class FundingMachine:
    """Collects premiums between two payments and states what each payment is.

    It rests until the first sample. Payments are due at the multiples of the interval since 1970; the caller asks
    `is_due` first, pays, and then samples. A payment that must wait (no price to fund at) stays due: samples go on
    being collected, and it is made once, for one interval. Intervals that pass meanwhile are not paid for afterwards.

    Parameters
    ----------
    rules : see `FundingRules`

    Attributes
    ----------
    due_ns : when the next payment is due; None before the first sample
    booked : what has been booked of the next payment already, as it accrued
    """

    __slots__ = ("_accrual_ns", "_balance", "_held", "_opened_ns", "_slots", "booked", "due_ns", "rules")

    def __init__(self, rules: FundingRules) -> None:
        self.rules = rules
        self.due_ns: int | None = None
        self.booked = Booked(0, 0)
        self._accrual_ns = 0
        self._opened_ns = 0
        self._slots = PremiumSamples(rules, 0)
        self._held = Held(0, 2 if self.takes_prices else 1)
        self._balance = Held(0, 1)

    @property
    def takes_prices(self) -> bool:
        """Whether it is made from mark and index (`sample_prices`) instead of premiums (`sample`)."""
        return self.rules.average == "prices"

    def is_due(self, now_ns: int) -> bool:
        """Tell whether a payment is due."""
        return self.due_ns is not None and now_ns >= self.due_ns

    def accrues(self, now_ns: int) -> bool:
        """Tell whether the part of the next payment that has accrued is to be booked now."""
        return self.rules.accrual == "continuous" and self.due_ns is not None and now_ns >= self._accrual_ns

    def book(self, booked: Booked, now_ns: int) -> None:
        """Note what has been booked of the next payment in all; it accrues again when the next sample begins."""
        self.booked, self._accrual_ns = booked, self.next_sample_ns(now_ns)

    def next_sample_ns(self, now_ns: int) -> int:
        """Return when the next sample begins to count, the first multiple of its interval after now."""
        every = self.rules.sample_every_ns
        return (floor_div(now_ns, every) + 1) * every

    def sample(self, premium: int | None, now_ns: int) -> None:
        """Take a premium in, a rate; None: nothing is known of it now."""
        assert not self.takes_prices, f"funding of {self.rules.market} is made from prices, not premiums"
        self._open(now_ns)
        counted = None if premium is None else self._bounded(premium)
        if self.rules.average == "time_weighted":
            self._held.observe(None if counted is None else [counted], now_ns)
        else:
            self._held.observe(None if counted is None else [0], now_ns)  # for the coverage alone
            if counted is not None:
                self._slots.add(counted, now_ns)

    def sample_prices(self, mark: int | None, index: int | None, now_ns: int) -> None:
        """Take mark and index in, in ticks of the market; without either, nothing is known now."""
        assert self.takes_prices, f"funding of {self.rules.market} is made from premiums, not prices"
        self._open(now_ns)
        self._held.observe(None if mark is None or index is None else [mark, index], now_ns)

    def sample_balance(self, users_net: int, open_interest: int, now_ns: int) -> None:
        """Take in how far users are on one side.

        Parameters
        ----------
        users_net : sum of all users' sizes, in lots: minus that of the system's accounts
        open_interest : sum of all long sizes, the system's included
        """
        self._open(now_ns)
        share = Fraction(users_net, open_interest) if open_interest else Fraction(0)
        assert abs(share) <= 1, f"users hold {users_net} net of {open_interest} lots"
        self._balance.observe([toward_zero(share.numerator * _PARTS, share.denominator)], now_ns)

    def pay(self, now_ns: int) -> FundingDue:
        """Return the payment that is due, and begin the time until the next one."""
        assert self.is_due(now_ns), f"funding of {self.rules.market} is due at {self.due_ns}, not at {now_ns}"
        due = self._due(now_ns, whole=True)
        self._begin(now_ns)
        return due

    def predicted(self, now_ns: int) -> FundingDue:
        """Return what the next payment is if the time until then goes on as it has since the last one."""
        return self._due(now_ns, whole=self.is_due(now_ns))

    def accrued(self, now_ns: int) -> FundingDue:
        """Return the part of the predicted payment that has accrued: its share of the interval, toward zero."""
        due, interval = self.predicted(now_ns), self.rules.interval_ns
        passed = 0 if self.due_ns is None else max(0, min(interval, now_ns - self.due_ns + interval))
        payment = None if due.payment is None else toward_zero(due.payment * passed, interval)
        return due._replace(rate=toward_zero(due.rate * passed, interval), payment=payment)

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        own = [self.due_ns, self._opened_ns, self._accrual_ns, *self.booked]
        return [own, self._slots.save(), self._held.save(), self._balance.save()]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        own, slots, held, balance = saved
        self.due_ns, self._opened_ns, self._accrual_ns, *booked = own
        self.booked = Booked(*booked)
        self._slots.restore(slots)
        self._held.restore(held)
        self._balance.restore(balance)

    def _open(self, now_ns: int) -> None:
        """Begin with the first sample; the slots begin with the interval it falls into."""
        if self.due_ns is None:
            self._begin(now_ns)

    def _begin(self, now_ns: int) -> None:
        interval = self.rules.interval_ns
        started = floor_div(now_ns, interval) * interval
        self.due_ns, self._opened_ns = started + interval, now_ns
        self.book(Booked(0, 0), now_ns)
        self._slots.restart(started)
        self._held.restart(now_ns)
        self._balance.restart(now_ns)

    def _bounded(self, premium: int) -> int:
        most = self.rules.most_premium
        kept = premium if most is None else max(-most, min(premium, most))
        return to_step(Fraction(kept), self.rules.step)

    def _due(self, now_ns: int, whole: bool) -> FundingDue:
        if self.due_ns is None:
            return nothing_due(self.rules)
        seen = self._averages(now_ns, whole)
        if seen.prices is not None:
            return prices_due(self.rules, *seen.prices, seen.imbalance, seen.coverage)
        if seen.premium is None:
            return nothing_due(self.rules)
        return premium_due(self.rules, seen.premium, seen.imbalance, seen.coverage)

    def _averages(self, now_ns: int, whole: bool) -> Averages:
        passed = now_ns - self._opened_ns
        coverage = Fraction(self._held.covered_ns(now_ns), passed) if passed > 0 else Fraction(1)
        balance = self._balance.averages(now_ns)
        imbalance = Fraction(0) if balance is None else balance[0] * Fraction(1, _PARTS)
        if self.rules.average in ("mean", "rising"):
            return Averages(self._slots.average(now_ns, whole), None, imbalance, coverage)
        held = self._held.averages(now_ns)
        if self.takes_prices:
            return Averages(None, None if held is None else (floor(held[0]), floor(held[1])), imbalance, coverage)
        return Averages(None if held is None else held[0], None, imbalance, coverage)
