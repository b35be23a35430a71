"""Whether a position may grow: limits of an account, of its owner's accounts together, of the market.

Pure checks of sizes before and after: what does not grow always passes, so a limit that was lowered, or a price that
rose, never keeps anybody from reducing.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.rulebook.limit_rules import largest_size
from marginkeep.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marginkeep.rulebook.limit_rules import MarginScale, PositionRules

CODES: Final = ("position_limit", "group_limit", "interest_limit")


class Reach(NamedTuple):
    """How large a position can become: its size, and what its open orders would make of it, in lots."""

    size: int
    bids: int = 0
    asks: int = 0

    @property
    def long(self) -> int:
        """The largest long, 0 where there is none."""
        return max(0, self.size + self.bids)

    @property
    def short(self) -> int:
        """The largest short, 0 where there is none."""
        return max(0, self.asks - self.size)


class Growth(NamedTuple):
    """A size before and after, in lots, and whose it is."""

    name: str
    before: int
    after: int


class LimitRefusal(NamedTuple):
    """Why a position may not grow.

    Attributes
    ----------
    code : one of `CODES`
    reach, bound : what it would become, and the most allowed, in lots
    """

    code: str
    name: str
    reach: int
    bound: int

    @property
    def reason(self) -> str:
        """The refusal as a sentence, without the market's name."""
        what = {
            "position_limit": f"{self.name} would reach {self.reach} lots, open orders included",
            "group_limit": f"the accounts of {self.name} would together reach {self.reach} lots on one side",
            "interest_limit": f"open interest of {self.name} would reach {self.reach} lots",
        }[self.code]
        return f"{what}; the limit is {self.bound}: make it smaller"


def account_growth(name: str, before: Reach, after: Reach) -> Growth:
    """Return how an account's larger side changes."""
    return Growth(name, max(before.long, before.short), max(after.long, after.short))


def group_growth(name: str, before: Iterable[Reach], after: Iterable[Reach]) -> Growth:
    """Return how the larger side of linked accounts changes.

    Longs and shorts of different accounts do not offset each other: each can be liquidated alone.
    """
    return Growth(name, _larger_side(before), _larger_side(after))


def _larger_side(held: Iterable[Reach]) -> int:
    longs = shorts = 0
    for reach in held:
        longs, shorts = longs + reach.long, shorts + reach.short
    return max(longs, shorts)


def interest_growth(market: str, open_interest: int, changes: Iterable[tuple[int, int]]) -> Growth:
    """Return how open interest changes.

    Parameters
    ----------
    open_interest : before: the sum of all long sizes, the system's included
    changes : (size before, size after) of each account that trades
    """
    added = sum(longs_added(before, after) for before, after in changes)
    return Growth(market, open_interest, open_interest + added)


def longs_added(before: int, after: int) -> int:
    """Return what a change of size adds to the sum of long sizes."""
    return max(after, 0) - max(before, 0)


def refusal(
    rules: PositionRules,
    account: Growth | None,
    group: Growth | None,
    interest: Growth | None,
    depth: int | None = None,
    lot_value: tuple[int, int] | None = None,
) -> LimitRefusal | None:
    """Return the first limit that a change breaks, narrowest first; None = it may be done.

    Parameters
    ----------
    account, group, interest : None = this limit is not looked at
    depth, lot_value : see `largest_size`
    """
    bounds = (rules.account, rules.group, rules.interest)
    for code, bound, growth in zip(CODES, bounds, (account, group, interest), strict=True):
        if growth is None or growth.after <= growth.before:
            continue
        most = largest_size(bound, depth, lot_value)
        if most is not None and growth.after > most:
            return LimitRefusal(code, growth.name, growth.after, most)
    return None


def owner_of(account: str, links: Mapping[str, str] | None = None) -> str:
    """Return whose accounts an account counts among: the part of its name before the first ``/`` or ``.``.

    ``ann``, ``ann.bot``, ``ann/BTC-PERP`` (isolated) and ``ann.bot/BTC-PERP`` are all of ``ann``. No command links
    them: who opens accounts chooses their names.

    Parameters
    ----------
    links : owner by name (without ``/`` and what follows), where something else links accounts; it comes first
    """
    name = account.partition("/")[0]
    linked = (links or {}).get(name)
    return name.partition(".")[0] if linked is None else linked


def interest_share(open_interest: int, scale: MarginScale) -> Fraction:
    """Return how far open interest is on its way from the scale's lower to its upper value, from 0 to 1."""
    way = Fraction(open_interest - scale.lower, scale.upper - scale.lower)
    return max(Fraction(0), min(way, Fraction(1)))


def scaled_requirement(requirement: int, value: int, share: Fraction) -> int:
    """Return a position's initial requirement scaled by open interest, rounded up.

    Raising every rate r of a marginal table to ``r + (1 - r) * share`` raises the requirement by
    ``(value - requirement) * share``, so tiers need not be read again.

    Parameters
    ----------
    requirement, value : the position's, in settle units
    share : see `interest_share`
    """
    added = max(0, value - requirement) * share
    return requirement + ceil_div(added.numerator, added.denominator)
