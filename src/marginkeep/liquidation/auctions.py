"""The auction of one ill account: its state, and pure functions for discount, slice, price, reward and expiry.

A bidder takes lots of a leg, or a share of every leg, at the mark less a discount that the account pays. Nobody holds
the auction up: it ends `restarts + 1` times `duration_ns` after it began, whatever is bid, and then the house acts.
An account without equity has nothing to pay a discount with: the insurance fund pays the bidder instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.auction_curve import discount
from marginkeep.liquidation.sizing import smallest_sufficient
from marginkeep.units import RATE_ONE, ceil_div, floor_div, rate_ceil, rate_floor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marginkeep.rulebook.ladder_rules import AuctionRules


@dataclass(frozen=True, slots=True)
class Auction:
    """One account's auction.

    Attributes
    ----------
    account : index of the account
    started_ns : when the present run began
    restarts : how often it has begun anew
    bids, taken : bids accepted since it was opened, and the value they took
    is_insolvent : the fund pays the bidders, not the account
    """

    account: int
    started_ns: int
    restarts: int = 0
    bids: int = 0
    taken: int = 0
    is_insolvent: bool = False

    def save(self) -> list[Any]:
        """Return the state as a list; `restore_auction` reads it."""
        return [self.account, self.started_ns, self.restarts, self.bids, self.taken, int(self.is_insolvent)]


class Leg(NamedTuple):
    """A position on offer: its size in lots (negative = short) and its value at the mark in reporting units."""

    market: int
    size: int
    value: int


def restore_auction(saved: list[Any]) -> Auction:
    """Return the auction that `Auction.save` wrote."""
    account, started_ns, restarts, bids, taken, is_insolvent = saved
    return Auction(account, started_ns, restarts, bids, taken, bool(is_insolvent))


def open_auction(account: int, now_ns: int, is_insolvent: bool = False) -> Auction:
    """Return a new auction of an account."""
    return Auction(account, now_ns, is_insolvent=is_insolvent)


def turn_insolvent(auction: Auction, now_ns: int) -> Auction:
    """Return the auction of an account that has lost its equity: it begins anew, for the fund's money."""
    return replace(auction, started_ns=now_ns, is_insolvent=True)


def after_bid(auction: Auction, value: int) -> Auction:
    """Return the auction after a bid that took `value`."""
    return replace(auction, bids=auction.bids + 1, taken=auction.taken + value)


def elapsed_ns(auction: Auction, now_ns: int) -> int:
    """Return how long the present run has lasted."""
    if now_ns < auction.started_ns:
        raise InvariantViolation(f"auction of account {auction.account} began at {auction.started_ns}, now is {now_ns}")
    return now_ns - auction.started_ns


def expires_ns(auction: Auction, rules: AuctionRules) -> int:
    """Return when the present run ends."""
    return auction.started_ns + rules.duration_ns


def is_over(auction: Auction, rules: AuctionRules, now_ns: int) -> bool:
    """Tell whether the present run has ended; at that very instant it has, and no bid is taken any more."""
    return now_ns >= expires_ns(auction, rules)


def next_run(auction: Auction, rules: AuctionRules, now_ns: int) -> Auction | None:
    """Return the auction begun anew once a run is over, or None where the house takes over.

    A run counts even if something was bid in it, so that small bids cannot put the house off. An insolvent auction
    has one run: at its end it has already offered all that it may.
    """
    if auction.is_insolvent or auction.restarts >= rules.restarts:
        return None
    return replace(auction, started_ns=now_ns, restarts=auction.restarts + 1)


def discount_now(auction: Auction, rules: AuctionRules, now_ns: int, factor: int, healing: int) -> int:
    """Return the discount of a bid made now: that of the curve, and never more than what heals.

    Parameters
    ----------
    factor : health factor as a rate
    healing : `healing_discount` of the slice, less what the first bidder's reward takes of it
    """
    if auction.is_insolvent:
        return 0
    return max(0, min(discount(rules, elapsed_ns(auction, now_ns), factor), healing))


def slice_price(mark: int, discount: int, selling: bool) -> int:
    """Return the price in whole ticks at which the account closes: rounded toward the mark, against the bidder.

    So the discount in fact given is never more than the one that heals.
    """
    if selling:
        return max(1, rate_ceil(mark, RATE_ONE - discount))
    return rate_floor(mark, RATE_ONE + discount)


def most_fraction(collateral: int, requirement: int, value: int, discount: int, reward: int = 0) -> int:
    """Return the largest share of the portfolio that may be taken, a rate: just enough to reach the target level.

    Parameters
    ----------
    collateral, requirement : `settled_measure` at the target level
    value : gross value of all legs
    reward : what the bidder gets beside the discount

    Notes
    -----
    A share f costs `f * discount * value + reward` and releases `f * requirement`, so the target is reached at
    `f = (requirement - collateral + reward) / (requirement - discount * value)`, rounded up; all, if that is more.
    Exact where requirements are linear; with tiers a share releases more than this, and `smallest_fraction` is exact.
    """
    missing = requirement - collateral
    if missing <= 0:
        return 0
    gain = requirement * RATE_ONE - discount * value
    needed = (missing + reward) * RATE_ONE * RATE_ONE
    return RATE_ONE if gain <= 0 else min(RATE_ONE, ceil_div(needed, gain))


def smallest_fraction(health_after: Callable[[int], int], stops: Sequence[int] = ()) -> int:
    """Return the smallest share, a rate, after which health at the target level is not negative; all if none is.

    Parameters
    ----------
    health_after : health once a share has been taken; between two stops it rises or falls throughout
    stops : shares at which a leg drops to a lower tier, rising
    """
    return smallest_sufficient(RATE_ONE, health_after, stops)


def slice_of_portfolio(legs: Sequence[Leg], fraction: int, dust: int = 0) -> tuple[int, ...]:
    """Return the lots taken of each leg, unsigned: the share rounded down, at least one lot of the largest leg.

    Rounding down, a bid never closes more than it may; one lot at least, so that every bid brings the end nearer.

    Parameters
    ----------
    fraction : share of every leg, a rate above 0
    dust : a leg that would be left with less value than this is taken whole
    """
    if fraction <= 0 or not any(leg.size for leg in legs):
        return (0,) * len(legs)
    lots = [floor_div(abs(leg.size) * min(fraction, RATE_ONE), RATE_ONE) for leg in legs]
    if not any(lots):
        largest = max((i for i, leg in enumerate(legs) if leg.size), key=lambda i: (legs[i].value, -i))
        lots[largest] = 1
    return tuple(_or_whole(leg, taken, dust) for leg, taken in zip(legs, lots, strict=True))


def slice_of_leg(leg: Leg, wanted: int, most: int, dust: int = 0) -> int:
    """Return the lots taken of one leg, unsigned: what is wanted, at most `most`; all rather than leaving dust."""
    return _or_whole(leg, min(wanted, most, abs(leg.size)), dust)


def _or_whole(leg: Leg, taken: int, dust: int) -> int:
    held = abs(leg.size)
    leaves_dust = 0 < taken < held and leg.value * (held - taken) < dust * held
    return held if leaves_dust else taken


def first_bid_reward(auction: Auction, rules: AuctionRules, value: int) -> int:
    """Return tip and chip, for the first bid of an auction only; the account pays them within what heals.

    A tiny first bid releases little requirement, so what heals bounds its tip too.
    """
    return 0 if auction.bids else rules.tip + rate_floor(value, rules.chip)


def insolvent_bid(equity: int, health: int, passed_ns: int, length_ns: int) -> int:
    """Return what a bidder pays for the whole account, negative = is paid: from `min(equity, 0)` linearly to `health`.

    At the start the fund fills the hole and no more; at the end it also gives all that the positions require. Rounded
    up, against the bidder. Derive's rule.

    Parameters
    ----------
    equity : value of the account at the marks
    health : equity less requirement; at 0 or more nothing is paid
    passed_ns, length_ns : time since the start, and until the whole is offered
    """
    if health >= 0:
        return 0
    start = min(equity, 0)
    passed = min(passed_ns, length_ns)
    return start + ceil_div((health - start) * passed, length_ns)


def insolvent_payment(bid: int, fraction: int) -> int:
    """Return the fund's money for a share of an insolvent account, rounded down: hole and bonus together."""
    return rate_floor(-bid, fraction)


def insolvent_bonus(equity: int, bid: int) -> int:
    """Return the part of `-bid` beyond the hole: what a bidder is paid who takes positions at the mark, not the debt.

    The debt then stays with the account, and the waterfall covers it: the fund's total is the same.
    """
    return max(0, min(equity, 0) - bid)
