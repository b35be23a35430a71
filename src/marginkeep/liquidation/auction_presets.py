"""Three venues' auctions with their own numbers and rounding, for comparison: Maker, Derive, Euler.

Maker counts amounts in wads (10^18), prices in rays (10^27), money in rads (10^45); Derive and Euler count in wads.
Every function takes and returns such integers, and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.units import floor_div

if TYPE_CHECKING:
    from collections.abc import Sequence

WAD: Final = 10**18
RAY: Final = 10**27
BASIS_POINTS: Final = 10_000
SOCIALISED_FROM: Final = 10**6
"""Euler writes off a debt whose value is at least this."""


def ray_product(first: int, second: int) -> int:
    """Return a product of rays, rounded down."""
    return floor_div(first * second, RAY)


def ray_power(base: int, exponent: int) -> int:
    """Return a ray to a power by squaring, each product rounded half up: Maker's loop, bit for bit."""
    result = base if exponent & 1 else RAY
    exponent >>= 1
    while exponent:
        base = (base * base + RAY // 2) // RAY
        if exponent & 1:
            result = (result * base + RAY // 2) // RAY
        exponent >>= 1
    return result


def maker_linear(top: int, elapsed: int, duration: int) -> int:
    """Return the price that falls from `top` to 0 in a straight line."""
    if elapsed >= duration:
        return 0
    return ray_product(top, floor_div((duration - elapsed) * RAY, duration))


def maker_stairstep(top: int, elapsed: int, step: int, cut: int) -> int:
    """Return the price that is multiplied by `cut` once a step."""
    return ray_product(top, ray_power(cut, elapsed // step))


def maker_exponential(top: int, elapsed: int, cut: int) -> int:
    """Return the price that is multiplied by `cut` once a second."""
    return ray_product(top, ray_power(cut, elapsed))


def maker_needs_restart(price: int, top: int, elapsed: int, longest: int, lowest: int) -> bool:
    """Tell whether an auction has run too long, or its price has fallen below the share `lowest` of its top."""
    return elapsed > longest or floor_div(price * RAY, top) < lowest


def maker_reward(tip: int, chip: int, debt: int) -> int:
    """Return what starting an auction of a debt pays: a flat tip, and a share `chip` (a wad) of the debt."""
    return tip + floor_div(debt * chip, WAD)


class MakerPurchase(NamedTuple):
    """One purchase: what was paid and bought, what is left, and who has what when the auction closes."""

    paid: int
    bought: int
    debt: int
    lot: int
    is_closed: bool
    bad_debt: int
    returned: int


def maker_purchase(debt: int, lot: int, price: int, wanted: int, smallest: int) -> MakerPurchase | None:
    """Return a purchase of at most `wanted` of the lot, or None where only the whole may be bought.

    Nobody pays more than the debt; a part must leave a debt of at least `smallest`, so it may have to shrink.
    """
    bought = min(lot, wanted)
    paid = bought * price
    if paid > debt:
        paid, bought = debt, debt // price
    elif bought < lot and 0 < debt - paid < smallest:
        if debt <= smallest:
            return None
        paid = debt - smallest
        bought = paid // price
    debt, lot = debt - paid, lot - bought
    bad_debt = debt if lot == 0 else 0
    returned = lot if debt == 0 else 0
    return MakerPurchase(paid, bought, debt, lot, lot == 0 or debt == 0, bad_debt, returned)


class MakerLoan(NamedTuple):
    """An unsafe loan, the caps on debt in auctions (all, and of this collateral), and the penalty factor (a wad)."""

    collateral: int
    debt: int
    rate: int
    price: int
    dust: int
    penalty: int
    most_debt: int
    running_debt: int
    most_debt_of_kind: int
    running_debt_of_kind: int


class MakerLot(NamedTuple):
    """What goes to auction: normalised debt, collateral, and the sum to raise."""

    debt: int
    collateral: int
    to_raise: int


def maker_lot(loan: MakerLoan) -> MakerLot | str:
    """Return what of a loan goes to auction under the caps, or why nothing does.

    The whole goes where the rest would be below the dust, over the cap by no more than that.
    """
    if loan.price <= 0 or loan.collateral * loan.price >= loan.debt * loan.rate:
        return "not_unsafe"
    room = min(loan.most_debt - loan.running_debt, loan.most_debt_of_kind - loan.running_debt_of_kind)
    if room <= 0:
        return "limit_hit"
    debt = min(loan.debt, room * WAD // loan.rate // loan.penalty)
    if (loan.debt - debt) * loan.rate < loan.dust:
        debt = loan.debt
    elif debt < loan.debt and debt * loan.rate < loan.dust:
        return "dusty"
    collateral = loan.collateral * debt // loan.debt
    if collateral == 0:
        return "null_auction"
    return MakerLot(debt, collateral, debt * loan.rate * loan.penalty // WAD)


@dataclass(frozen=True, slots=True)
class DeriveAuction:
    """Derive's auction: the share of the value that is paid falls fast from `start` to `cutoff`, then slowly to 0."""

    start: int
    cutoff: int
    fast: int
    slow: int
    buffer: int


def derive_price_share(rules: DeriveAuction, elapsed: int) -> int:
    """Return the share of the value that a bidder pays."""
    if elapsed < rules.fast:
        return rules.start - (rules.start - rules.cutoff) * elapsed // rules.fast
    if elapsed >= rules.fast + rules.slow:
        return 0
    return rules.cutoff - rules.cutoff * (elapsed - rules.fast) // rules.slow


def derive_buffer_margin(rules: DeriveAuction, margin: int, value: int) -> int:
    """Return the margin that bids must restore to 0: maintenance, and a buffer of the requirement beyond it."""
    return margin + floor_div(rules.buffer * (margin - value), WAD)


def derive_bid(value: int, reserved: int, share: int) -> int:
    """Return the price of the whole account: its value without what earlier bidders paid in, times the share."""
    return floor_div((value - reserved) * share, WAD)


def derive_most_fraction(buffer_margin: int, value: int, reserved: int, share: int) -> int:
    """Return the largest share of the account that may be bought: what restores the buffer margin to 0."""
    paid = floor_div(value * share + reserved * (WAD - share), WAD)
    return min(WAD, floor_div(-buffer_margin * WAD, paid - buffer_margin))


class EulerCollateral(NamedTuple):
    """A holding: its balance, its price as a wad, and its liquidation loan-to-value in basis points."""

    balance: int
    price: int
    loan_to_value: int

    @property
    def value(self) -> int:
        """Value at the price."""
        return floor_div(self.balance * self.price, WAD)


class EulerLiquidation(NamedTuple):
    """What a liquidator may repay and get, and what then happens to the rest of the debt; `factor` is a wad."""

    adjusted: int
    debt_value: int
    factor: int
    repay: int
    seized: int
    left: int
    socialised: int


def euler_factor(adjusted: int, debt_value: int, most_discount: int) -> int:
    """Return the price share of seized collateral: the health itself, at least 1 - `most_discount` (basis points)."""
    lowest = WAD - WAD * most_discount // BASIS_POINTS
    return max(floor_div(adjusted * WAD, debt_value), lowest)


def euler_liquidation(
    debt: int, price: int, holdings: Sequence[EulerCollateral], seize: int, most_discount: int
) -> EulerLiquidation | None:
    """Return the largest liquidation against one holding; None where the loan is healthy.

    A worthless holding may be seized for nothing. The rest of the debt is written off once no holding is left.
    """
    debt_value = floor_div(debt * price, WAD)
    adjusted = sum(floor_div(row.value * row.loan_to_value, BASIS_POINTS) for row in holdings)
    if debt_value == 0 or adjusted > debt_value:
        return None
    factor = euler_factor(adjusted, debt_value, most_discount)
    held = holdings[seize]
    repay_value, seized_value = debt_value, floor_div(debt_value * WAD, factor)
    if held.value < seized_value:
        repay_value, seized_value = floor_div(held.value * factor, WAD), held.value
    repay = floor_div(repay_value * debt, debt_value)
    seized = floor_div(seized_value * held.balance, held.value) if held.value else held.balance
    left = debt - repay
    is_bare = seized == held.balance and not any(row.balance for i, row in enumerate(holdings) if i != seize)
    socialised = left if is_bare and debt_value >= SOCIALISED_FROM else 0
    return EulerLiquidation(adjusted, debt_value, factor, repay, seized, left, socialised)
