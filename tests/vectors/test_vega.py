"""vega.jsonl: margin levels, liquidation prices and profit.

Slippage per unit of an open volume is part of its rate: `linear + quadratic * volume + risk factor`; orders pay the
risk factor alone. So a side of an account is up to two markets, one for the position and one for the orders, and the
requirement is the larger side's. A factor of a level (search 1.1, initial 1.2, release 1.4) multiplies the rates.

Risk factors have up to 17 decimals there, a rate has 9 here (rounded up): `one_step` allows for it, beside one unit of
10^-9 for each term. The source's own rounding to whole units is applied here, to what the product states.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from marginkeep.book import Position, read_case
from marginkeep.book.fills import fill_position

from .reading import (
    ACCOUNT,
    NEEDS_VECTORS,
    SETTLE,
    Near,
    Vector,
    cases_of,
    disagreements,
    each,
    flat,
    one_position,
    one_step,
    price_of,
    rate_up,
    state,
    state_one,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.book import AccountStatement

FILE: Final = "vega"
NIL: Final = Fraction(0)
ONE: Final = Fraction(1)


class Term(NamedTuple):
    """A volume at a price and a rate: a position, or an open order."""

    volume: Fraction
    price: Fraction
    rate: Fraction
    is_order: bool


class Orders(NamedTuple):
    """What one side's orders add up to: volume, and the price that margin values it at."""

    volume: Fraction
    price: Fraction


def requirement(terms: list[Term], charge: Fraction = NIL) -> Near:
    """Return what a case requires for the terms, a market each, and for a charge, which is a debt."""
    held = [term for term in terms if term.volume]
    markets = {f"M-{index}": {"settle": SETTLE, "tiers": flat(rate_up(term.rate))} for index, term in enumerate(held)}
    account: dict[str, Any] = {"id": ACCOUNT, "balances": {SETTLE: text(-charge)}, "positions": [], "orders": []}
    for name, term in zip(markets, held, strict=True):
        size, price = text(term.volume), text(term.price)
        if term.is_order:
            account["orders"].append({"market": name, "side": "buy", "size": size, "price": price})
        else:
            account["positions"].append({"market": name, "size": size, "entry": price})
    stated = state(
        {
            "reporting": SETTLE,
            "assets": {SETTLE: {"decimals": 9}},
            "markets": markets,
            "prices": {name: text(term.price) for name, term in zip(markets, held, strict=True)},
            "accounts": [account],
        }
    )[ACCOUNT]
    return Near(_counted(stated, held), sum((one_step(term.volume * term.price, term.rate) for term in held), NIL))


def _counted(stated: AccountStatement, terms: list[Term]) -> Fraction:
    """Return the requirement at the level that counts the terms; both levels have one rate here, orders only one."""
    if not any(term.is_order for term in terms):
        assert stated.maintenance_margin == stated.initial_margin
    return Fraction(stated.initial_margin)


def sides(vector: Vector, orders: tuple[Orders, Orders]) -> list[list[Term]]:
    """Return the terms of the long and of the short side; orders against the position first offset it."""
    volume = Fraction(vector.inputs["open_volume"]) / 10 ** int(vector.inputs.get("position_decimal_places", "0"))
    mark, linear, quadratic = (vector.number(name) for name in ("mark_price", "linear_slippage", "quadratic_slippage"))
    both = []
    for sign, name, placed in zip((1, -1), ("long", "short"), orders, strict=True):
        factor = vector.number(f"risk_factor_{name}")
        held = max(NIL, sign * volume)
        added = max(NIL, sign * volume + placed.volume) - held
        position = Term(held, mark, linear + quadratic * held + factor, is_order=False)
        both.append([position, Term(added, placed.price, factor, is_order=True)])
    return both


def charge_for_funding(vector: Vector) -> Fraction:
    return max(NIL, vector.number("funding_increment_per_unit", "0") * vector.number("open_volume"))


def margin(vector: Vector, orders: tuple[Orders, Orders], factor: Fraction = ONE) -> Near:
    """Return the larger side's requirement, its rates multiplied by a level's factor."""
    charge = charge_for_funding(vector) * factor
    levels = [
        requirement([term._replace(rate=term.rate * factor) for term in side], charge) for side in sides(vector, orders)
    ]
    return max(levels, key=lambda level: level.value)


def rounded_up(level: Near) -> Near:
    """Round to whole units, as the source does; exact unless rounding a rate may have passed a whole number."""
    highest = -(-level.value // 1)
    return Near(Fraction(highest), Fraction(highest + (level.within - level.value) // 1))


def placed_at_mark(vector: Vector) -> tuple[Orders, Orders]:
    unit = 10 ** int(vector.inputs["position_decimal_places"])
    mark = vector.number("mark_price")
    return (Orders(vector.number("buy_orders") / unit, mark), Orders(vector.number("sell_orders") / unit, mark))


def all_levels(vector: Vector, orders: tuple[Orders, Orders], names: tuple[str, ...]) -> dict[str, Any]:
    """Return each level's requirement.

    A level is its own rates' requirement here, which must be the factor times that of maintenance; the source rounds
    maintenance up first and the product down, which is applied to what the product states.
    """
    maintenance = margin(vector, orders)
    whole = rounded_up(maintenance)
    answers: dict[str, Any] = {"maintenance": whole}
    for name in names:
        if name in vector.expected:
            factor = vector.number(f"{name}_factor")
            level = margin(vector, orders, factor)
            assert abs(level.value - factor * maintenance.value) <= level.within + factor * maintenance.within
            answers[name] = Near(Fraction(factor * whole.value // 1), Fraction(-(-factor * whole.within // 1)))
    return answers


def cross_levels(vector: Vector) -> dict[str, Any]:
    return all_levels(vector, placed_at_mark(vector), ("search", "initial", "release"))


def auction_levels(vector: Vector) -> dict[str, Any]:
    """In an auction orders count at the higher of their own average price and the auction price."""
    buys, sells = placed_at_mark(vector)
    auction = vector.number("auction_price")
    unit = 10 ** int(vector.inputs["position_decimal_places"])

    def valued(orders: Orders, name: str) -> Orders:
        product = vector.number(f"{name}_sum_product") / unit
        return Orders(orders.volume, max(auction, product / orders.volume)) if orders.volume else orders

    return all_levels(vector, (valued(buys, "buy"), valued(sells, "sell")), ("search", "initial", "release"))


def isolated_levels(vector: Vector) -> dict[str, Any]:
    """Isolated, only the open volume counts."""
    nothing = Orders(NIL, ONE)
    return all_levels(vector, (nothing, nothing), ("initial",))


def maintenance_margin(vector: Vector) -> dict[str, Any]:
    """Read orders one by one; a figure with decimals is not rounded in the source."""
    mark = vector.number("mark_price")
    volumes = [
        sum((Fraction(order["size"]) for order in vector.inputs[name]), NIL) for name in ("buy_orders", "sell_orders")
    ]
    level = margin(vector, (Orders(volumes[0], mark), Orders(volumes[1], mark)))
    return {"maintenance": level if "." in vector.expected["maintenance"] else rounded_up(level)}


def full_collateral(vector: Vector) -> dict[str, Any]:
    """A long pays its price and a short what is left up to the cap: positions at rate 1 of what each can lose."""
    cap, mark, volume = vector.number("price_cap"), vector.number("marked_price"), vector.number("open_volume")
    terms = [
        Term(abs(volume), mark if volume > 0 else cap - mark, ONE, is_order=False),
        Term(vector.number("buy_orders"), vector.number("buy_price"), ONE, is_order=True),
        Term(vector.number("sell_orders"), cap - vector.number("sell_price"), ONE, is_order=True),
    ]
    return dict.fromkeys(vector.expected, rounded_up(requirement(terms)))


def liquidation(vector: Vector) -> dict[str, Any]:
    """The volume is fixed, so quadratic slippage is a rate too; funding that is owed comes off the collateral."""
    volume, mark = vector.number("open_volume"), vector.number("mark_price")
    factor = vector.number("risk_factor_long" if volume > 0 else "risk_factor_short")
    rate = factor + vector.number("linear_slippage") + vector.number("quadratic_slippage") * abs(volume)
    backing = vector.number("collateral") - charge_for_funding(vector)
    price = price_of(state_one(one_position(flat(rate_up(rate)), volume, mark, backing))[1].liquidation_price)
    return {"liquidation_price": price}


def profit(vector: Vector) -> dict[str, Any]:
    """Fill a position step by step, then read what is left at the last mark."""
    steps = vector.inputs["steps"]
    mark = next(Fraction(step[1]) for step in reversed(steps) if step[0] == "mark")
    rules = read_case(one_position(flat("0"), ONE, mark, tick="1", lot="1"))
    position, realised = Position(), 0
    for _, size, price in (step for step in steps if step[0] == "trade"):
        realised += fill_position(rules.tables.markets[0], position, int(size), int(price)).realised
    unit = Fraction(1, 10**9)
    case = one_position(flat("0"), Fraction(position.size), mark, cost=position.cost * unit)
    return {
        "position": Fraction(position.size),
        "realised": realised * unit,
        "unrealised": Fraction(state_one(case)[1].unrealized_pnl),
    }


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "maintenance_margin": maintenance_margin,
    "margin_levels_cross": cross_levels,
    "margin_levels_auction": auction_levels,
    "margin_levels_isolated": isolated_levels,
    "fully_collateralised_margin": full_collateral,
    "liquidation_price": liquidation,
    "position_pnl": profit,
}

STEEP: Final = "its rate is above 4, the highest that the engine takes"
KEPT_APART: Final = "margin that isolated accounts keep apart for orders: not a figure of the engine"

LEFT_OUT: Final[dict[str, str]] = {
    "vega-margin_levels_cross-071": STEEP,
    "vega-margin_levels_cross-075": STEEP,
    "vega-liquidation_price-005": STEEP,
}

LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {
    ("margin_levels_cross", "order"): KEPT_APART,
    ("margin_levels_auction", "order"): KEPT_APART,
    ("margin_levels_isolated", "order"): KEPT_APART,
    ("margin_levels_isolated", "search"): "always 0 when isolated, where nothing is topped up or released",
    ("margin_levels_isolated", "release"): "always 0 when isolated, where nothing is topped up or released",
}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_levels_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []


def test_a_requirement_above_the_value_still_has_a_liquidation_price() -> None:
    """Above a rate of 1 a long is hurt by a rise: the rule's price is `(C - V * P) / (V * rate - V)`, here 5720."""
    volume, mark, collateral, rate = Fraction(41), Fraction(110), Fraction("9200.4"), Fraction("1.02")
    account, position = state_one(one_position(flat(rate), volume, mark, collateral))
    assert account.status == "healthy"
    assert price_of(position.liquidation_price) == (collateral - volume * mark) / (volume * (rate - 1))
