"""What is kept between two payments of funding: samples in their slots, or sums over time of what holds until the next.

State is a handful of integers, except where tails are left out or a sample is the median of votes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.oracle.market_prices import without_tails
from marginkeep.units import floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.rulebook.funding_rules import FundingRules

VOTES_MAX: Final = 1_000
"""Votes of one sample that count; later ones do not."""


class Held:
    """Averages over time of values that hold until the next ones; time without values does not count."""

    __slots__ = ("_covered_ns", "_since_ns", "_sums", "_values")

    def __init__(self, now_ns: int, count: int) -> None:
        self._since_ns = now_ns
        self._values: list[int] | None = None
        self._sums = [0] * count
        self._covered_ns = 0

    def observe(self, values: Sequence[int] | None, now_ns: int) -> None:
        """Let values hold from now on; None: nothing is known until the next."""
        self._sums, self._covered_ns = self._totals(now_ns)
        self._since_ns = max(now_ns, self._since_ns)
        self._values = None if values is None else list(values)

    def averages(self, now_ns: int) -> tuple[Fraction, ...] | None:
        """Return the averages, exactly; the values as they are where no time has passed yet, None without any."""
        sums, covered = self._totals(now_ns)
        if covered:
            return tuple(Fraction(total, covered) for total in sums)
        return None if self._values is None else tuple(Fraction(value) for value in self._values)

    def covered_ns(self, now_ns: int) -> int:
        """Return for how long values were known."""
        return self._totals(now_ns)[1]

    def restart(self, now_ns: int) -> None:
        """Begin a new time; the last values hold on."""
        self._sums, self._covered_ns = [0] * len(self._sums), 0
        self._since_ns = now_ns

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self._since_ns, self._values, list(self._sums), self._covered_ns]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        self._since_ns, values, sums, self._covered_ns = saved
        self._values, self._sums = None if values is None else list(values), list(sums)

    def _totals(self, now_ns: int) -> tuple[list[int], int]:
        passed = max(0, now_ns - self._since_ns)
        if self._values is None:
            return list(self._sums), self._covered_ns
        sums = [total + value * passed for total, value in zip(self._sums, self._values, strict=True)]
        return sums, self._covered_ns + passed


class PremiumSamples:
    """One sample for each `sample_every_ns` since a start; see `FundingRules` for how they are averaged."""

    __slots__ = ("_filled", "_kept", "_rules", "_slot", "_start_ns", "_total", "_votes", "_weight")

    def __init__(self, rules: FundingRules, start_ns: int) -> None:
        self._rules = rules
        self.restart(start_ns)

    def restart(self, start_ns: int) -> None:
        """Forget all samples; the first slot begins at `start_ns`."""
        self._start_ns = start_ns
        self._slot = 0
        self._votes: list[int] = []
        self._kept: list[int] = []
        self._filled = self._total = self._weight = 0

    def add(self, premium: int, now_ns: int) -> None:
        """Take a premium in: a vote on the sample of its slot."""
        slot = self._slot_at(now_ns)
        if slot != self._slot:
            self._filled, self._total, self._weight, self._kept = self._closed()
            self._slot, self._votes = slot, []
        if self._rules.votes == "last":
            self._votes = [premium]
        elif len(self._votes) < VOTES_MAX:
            self._votes.append(premium)

    def average(self, now_ns: int, whole: bool) -> Fraction | None:
        """Return the average premium, exactly; None where nothing is known.

        Parameters
        ----------
        whole : of the whole time between two payments; otherwise of the slots begun so far
        """
        filled, total, weight, kept = self._closed()
        slots = self._slot_at(now_ns) + 1
        if whole:
            slots = max(self._rules.samples, self._slot + 1 if filled else 0)
        if self._rules.zero_padded:
            weight = slots * (slots + 1) // 2 if self._rules.average == "rising" else slots
            kept = kept + [0] * (slots - filled) if self._rules.tail else kept
        if self._rules.tail and kept:
            kept = without_tails(kept, self._rules.tail)
            return Fraction(sum(kept), len(kept))
        return Fraction(total, weight) if weight else None

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        counts = [self._start_ns, self._slot, self._filled, self._total, self._weight]
        return [*counts, list(self._votes), list(self._kept)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        self._start_ns, self._slot, self._filled, self._total, self._weight, votes, kept = saved
        self._votes, self._kept = list(votes), list(kept)

    def _slot_at(self, now_ns: int) -> int:
        return max(self._slot, floor_div(now_ns - self._start_ns, self._rules.sample_every_ns))

    def _closed(self) -> tuple[int, int, int, list[int]]:
        """Return count, weighted sum, weight and list of the samples, the open one included."""
        if not self._votes:
            return self._filled, self._total, self._weight, self._kept
        missing = self._rules.least_votes - len(self._votes) if self._rules.votes == "median" else 0
        sample = middle([*self._votes, *[0] * missing])
        weight = self._slot + 1 if self._rules.average == "rising" else 1
        kept = [*self._kept, sample] if self._rules.tail else []
        return self._filled + 1, self._total + sample * weight, self._weight + weight, kept


def middle(votes: Sequence[int]) -> int:
    """Return the median; of an even count the mean of the middle two, rounded toward zero."""
    ordered = sorted(votes)
    total = ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]
    half = floor_div(abs(total), 2)
    return half if total >= 0 else -half
