"""Insurance funds: which of them answers for a loss, how much it may pay, and how large it should be.

Amounts are smallest units of the reporting asset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from marginkeep.errors import InputError
from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_floor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marginkeep.rulebook.ladder_rules import FundRules

DAY_NS: Final = 86_400 * 10**9


class Fund:
    """What one fund has paid in the present UTC day."""

    __slots__ = ("_day", "_paid")

    def __init__(self) -> None:
        self._day = 0
        self._paid = 0

    def paid_today(self, now_ns: int) -> int:
        """Return what has been paid in the UTC day of an instant."""
        return self._paid if now_ns // DAY_NS <= self._day else 0

    def payable(self, rules: FundRules, balance: int, wanted: int, now_ns: int, paid_before: int = 0) -> int:
        """Return how much of `wanted` the fund may pay now: within its balance, its cap of an event and of a day.

        Parameters
        ----------
        balance : what the fund holds
        paid_before : what it has already paid for this event, the same account's loss
        """
        left_of_event = rules.most_an_event - paid_before
        left_of_day = rules.most_a_day - self.paid_today(now_ns)
        return max(0, min(wanted, balance, left_of_event, left_of_day))

    def note_paid(self, amount: int, now_ns: int) -> None:
        """Record a payment."""
        assert amount >= 0, f"fund paid {amount}"
        if amount == 0:
            return
        paid = self.paid_today(now_ns)
        self._day, self._paid = max(self._day, now_ns // DAY_NS), paid + amount

    def save(self) -> list[Any]:
        """Return the last day of a payment and what was paid in it."""
        return [self._day, self._paid]

    def restore(self, saved: list[Any]) -> None:
        """Take over what `save` returned."""
        self._day, self._paid = saved


def answering_funds(funds: Sequence[FundRules], losses: Mapping[str, int]) -> tuple[int, ...]:
    """Return the indices of the funds that answer for an account, in order: its pool's, then the last, for all.

    Parameters
    ----------
    losses : by market, what the account has lost in it. Its pool is that of the market with the largest loss, the
        first in alphabetical order among equals; an account without a loss in a market has the last fund alone.
    """
    last = [index for index, rules in enumerate(funds) if not rules.markets][:1]
    lost = [market for market in sorted(losses) if losses[market] > 0]
    if not lost:
        return tuple(last)
    worst = max(lost, key=lambda market: losses[market])
    pools = [index for index, rules in enumerate(funds) if worst in rules.markets][:1]
    return (*pools, *last)


def bankruptcy_quote(value_change: int, collateral: int, requirement: int, released: int) -> int:
    """Return what closing must bring so that nothing is left of the closed part's share of collateral, rounded up.

    Each position has a share of collateral in proportion to its requirement, dYdX's rule; a negative one is a debt
    that closing has to bring in besides the position's value.

    Parameters
    ----------
    value_change : change of signed value that closing makes: negative when a long is sold
    collateral, requirement : of the account, before
    released : how much lower the requirement is afterwards; requirement and released above 0
    """
    return -value_change - floor_div(collateral * released, requirement)


def fund_delta(fill_quote: int, bankruptcy_quote: int, most_fee: int) -> int:
    """Return what a forced close brings the fund: the gain over the bankruptcy quote up to a fee, or all of the loss.

    Parameters
    ----------
    fill_quote : what the close brought, signed: negative when a short was bought back
    most_fee : largest liquidation fee, a rate of the fill
    """
    delta = fill_quote - bankruptcy_quote
    return delta if delta <= 0 else min(rate_floor(abs(fill_quote), most_fee), delta)


class Replenishment(NamedTuple):
    """How long a fund needs to be full again.

    Attributes
    ----------
    missing : target less balance, 0 when full
    daily : mean net income of a day, rounded down
    days : days to fill it at that income, rounded up; None where it never does
    """

    missing: int
    daily: int
    days: int | None


def replenishment(balance: int, target: int, daily_incomes: Sequence[int]) -> Replenishment:
    """Return how long a fund of a balance needs to reach a target, at the mean of past days' net income."""
    missing = max(0, target - balance)
    daily = floor_div(sum(daily_incomes), len(daily_incomes)) if daily_incomes else 0
    if missing == 0:
        return Replenishment(0, daily, 0)
    return Replenishment(missing, daily, ceil_div(missing, daily) if daily > 0 else None)


def sizing(daily_losses: Sequence[int], quantile: int, days: int = 1) -> int:
    """Return the sum that covers the losses of `days` consecutive days in a share `quantile` of all such spans.

    The exact nearest rank: the smallest observed sum that at least the share of the sums does not exceed.

    Parameters
    ----------
    daily_losses : what the fund would have had to pay on each day, days without a loss included
    quantile : a rate above 0, at most 1
    days : how long the fund must last without income

    Raises
    ------
    InputError : quantile out of range, or fewer days than one span

    Examples
    --------
    >>> sizing([0, 0, 70, 10, 0], 800_000_000)
    10
    """
    if not 0 < quantile <= RATE_ONE:
        raise InputError(f"quantile is {quantile} parts per 10^9: give one above 0 and at most {RATE_ONE}")
    if not 1 <= days <= len(daily_losses):
        raise InputError(f"a span of {days} days in {len(daily_losses)} days of losses: give 1 to that many days")
    spans = sorted(sum(daily_losses[first : first + days]) for first in range(len(daily_losses) - days + 1))
    return spans[ceil_div(quantile * len(spans), RATE_ONE) - 1]
