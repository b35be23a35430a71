"""venues.jsonl: liquidation and bankruptcy prices.

How a venue's words become a case:

- a fee paid on the value at the liquidation price is part of the maintenance rate;
- a maintenance amount (`cum`) is the lower tier of a marginal table (`less_amount`);
- a maintenance margin fixed when the position was opened is a holding of weight 0 (`one_position(held=...)`);
- where a rule is linear in the size and the vector's margin is no decimal (1/3), the whole case is a multiple of it;
- a venue's safety buffer, and its rounding to a tick, are applied here: the product states the exact root.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from .reading import (
    ACCOUNT,
    NEEDS_VECTORS,
    PRINTED,
    SETTLE,
    Near,
    Vector,
    cases_of,
    disagreements,
    each,
    flat,
    half_of_last_digit,
    less_amount,
    one_position,
    price_of,
    state,
    state_one,
    text,
    to_tick,
    vectors_of,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "venues"
NIL: Final = Fraction(0)


def bankruptcy_of(case: dict[str, Any]) -> Fraction:
    price = price_of(state_one(case)[1].bankruptcy_price)
    assert price is not None
    return price


def liquidation_of(case: dict[str, Any]) -> Fraction:
    price = price_of(state_one(case)[1].liquidation_price)
    assert price is not None
    return price


def binance_case(vector: Vector) -> dict[str, Any]:
    leverage, entry = vector.number("leverage", "1"), vector.number("entry")
    factor = 1 if "wallet" in vector.inputs else whole(leverage)
    size = vector.number("qty") * factor
    wallet = vector.number("wallet") if "wallet" in vector.inputs else size * entry / leverage
    tiers = less_amount(vector.number("mmr"), vector.number("cum") * factor)
    case = one_position(tiers, vector.sign * size, entry, wallet)
    for index, other in enumerate(vector.inputs.get("others", [])):
        name = f"OTHER-{index}"
        rows = less_amount(Fraction(other["mmr"]), Fraction(other["cum"]))
        held = Fraction(other["qty"]) * (1 if other["side"] == "long" else -1)
        case["markets"][name] = {"settle": SETTLE, "tiers": rows}
        case["prices"][name] = other["mark"]
        account = case["accounts"][0]
        account["mode"] = "cross"
        account["positions"].append({"market": name, "size": text(held), "entry": other["entry"]})
    return case


def fee_in_rate_case(vector: Vector) -> dict[str, Any]:
    leverage, entry = vector.number("leverage"), vector.number("entry")
    size = vector.number("qty") * whole(leverage)
    rate = vector.number("mmr") + vector.number("taker")
    return one_position(flat(rate), vector.sign * size, entry, size * entry / leverage)


def fixed_maintenance_case(vector: Vector) -> dict[str, Any]:
    leverage, entry = vector.number("leverage"), vector.number("entry")
    value = entry * whole(leverage)
    held = vector.number("mmr") * value
    size = vector.sign * Fraction(whole(leverage))
    return one_position(flat("0"), size, entry, value / leverage - held, held)


def inverse_case(vector: Vector) -> dict[str, Any]:
    """Hold `entry * leverage` quote units, which are `leverage` coins at entry."""
    leverage, entry = vector.number("leverage"), vector.number("entry")
    coins = Fraction(whole(leverage))
    held = vector.number("mmr", "0") * coins
    margin = coins / leverage - held
    return one_position(flat("0"), vector.sign * coins * entry, entry, margin, held, payoff="inverse")


def binance_price(vector: Vector) -> dict[str, Any]:
    return {"liquidation_price": liquidation_of(binance_case(vector))}


def binance_cross_price(vector: Vector) -> dict[str, Any]:
    """The worked example prints two decimals, rounded."""
    price = liquidation_of(binance_case(vector))
    return {"liquidation_price": Near(price, half_of_last_digit(vector.expected["liquidation_price"]))}


def fee_in_rate_price(vector: Vector) -> dict[str, Any]:
    return {"liquidation_price": Near(liquidation_of(fee_in_rate_case(vector)), PRINTED)}


def bybit_price(vector: Vector) -> dict[str, Any]:
    account, position = state_one(fixed_maintenance_case(vector))
    price, bust = price_of(position.liquidation_price), price_of(position.bankruptcy_price)
    assert price is not None
    if vector.number("mmr") > 1 / vector.number("leverage"):
        assert account.status == "liquidatable"
    if "tick" not in vector.inputs:
        return {"liquidation_price": Near(price, PRINTED)}
    assert bust is not None
    tick, is_long = vector.number("tick"), vector.sign > 0
    return {"liqPrice": to_tick(price, tick, up=is_long), "bustPrice": to_tick(bust, tick, up=is_long)}


def buffered(case_for: Callable[[Vector], dict[str, Any]]) -> Callable[[Vector], dict[str, Any]]:
    """Return the check of a price moved towards the entry by the bot's safety buffer, applied here."""

    def check(vector: Vector) -> dict[str, Any]:
        price = liquidation_of(case_for(vector))
        moved = price + vector.sign * abs(vector.number("entry") - price) * vector.number("buffer")
        return {"liquidation_price": max(NIL, moved)}

    return check


def kucoin_prices(vector: Vector) -> dict[str, Any]:
    """The margin is initial margin, fees to open and fees to close; the bankruptcy price knows only the first."""
    cost, leverage, taker = vector.number("cost"), vector.number("leverage"), vector.number("taker")
    size, entry, held = vector.sign * vector.number("qty"), vector.number("entry"), vector.number("pos_maint")
    fees = cost * taker * (1 + 1 / leverage)
    margined = one_position(flat("0"), size, entry, cost / leverage + fees - held, held)
    bare = one_position(flat("0"), size, entry, cost / leverage)
    tick, is_long = vector.number("tick"), vector.sign > 0
    return {
        "liquidationPrice": to_tick(liquidation_of(margined), tick, up=is_long),
        "bankruptPrice": to_tick(bankruptcy_of(bare), tick, up=not is_long),
    }


def edgex_price(vector: Vector) -> dict[str, Any]:
    """Put the position where equity is exactly its maintenance margin: there the mark is the liquidation price."""
    price, rate = vector.number("liquidate_price"), vector.number("mmr")
    case = one_position(flat(rate), Fraction(1), price, price * rate)
    assert liquidation_of(case) == price
    return {"bankrupt_price": bankruptcy_of(case)}


def inverse_price(vector: Vector) -> dict[str, Any]:
    return {"liquidation_price": Near(liquidation_of(inverse_case(vector)), PRINTED)}


def inverse_bankruptcy(vector: Vector) -> dict[str, Any]:
    price = bankruptcy_of(inverse_case(vector))
    printed = vector.expected["bankruptcy_price"]
    answers = {"bankruptcy_price": Near(price, max(PRINTED, half_of_last_digit(printed)))}
    if "rounded" in vector.expected:
        answers["rounded"] = Near(to_tick(price, Fraction(1, 2), up=vector.sign > 0), NIL)
    return answers


def inverse_cross_prices(vector: Vector) -> dict[str, Any]:
    """A price that pays the closing fee too is a liquidation price whose maintenance rate is that fee."""
    entry, fee, balance = vector.number("entry"), vector.number("fee"), vector.number("balance")
    size = vector.sign * vector.number("qty")
    bust = liquidation_of(one_position(flat(fee), size, entry, balance, payoff="inverse"))
    held = abs(size) / entry * vector.number("mmr")
    fee_to_close = -(-abs(size) * fee / bust // Fraction(1, 10**9)) * Fraction(1, 10**9)
    held += fee_to_close
    price = liquidation_of(one_position(flat("0"), size, entry, balance - held, held, payoff="inverse"))
    return {
        "bankruptcy_price": Near(bust, half_of_last_digit(vector.expected["bankruptcy_price"])),
        "liquidation_price": to_tick(price, Fraction(1, 2), up=vector.sign > 0),
    }


def linear_bankruptcy(vector: Vector) -> dict[str, Any]:
    leverage, entry = vector.number("leverage"), vector.number("entry")
    size = Fraction(whole(leverage))
    case = one_position(flat("0"), vector.sign * size, entry, size * entry / leverage)
    return {"bankruptcy_price": bankruptcy_of(case)}


def cross_bankruptcy(vector: Vector) -> dict[str, Any]:
    """A cross position is backed by its margin and the rest of the wallet."""
    margin = vector.number("position_margin") + vector.number("wallet")
    case = one_position(flat("0"), vector.sign * vector.number("qty"), vector.number("entry"), margin)
    case["accounts"][0]["mode"] = "cross"
    return {"bankruptcy_price": bankruptcy_of(case)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "liq.linear.isolated.binance": binance_price,
    "liq.linear.cross.binance": binance_cross_price,
    "liq.linear.isolated.gate": fee_in_rate_price,
    "liq.linear.isolated.okx": fee_in_rate_price,
    "liq.linear.isolated.bybit": bybit_price,
    "liq.linear.isolated.kucoin": kucoin_prices,
    "liq.linear.isolated.edgex": edgex_price,
    "liq.linear.isolated.binance.buffered": buffered(binance_case),
    "liq.linear.isolated.gate.buffered": buffered(fee_in_rate_case),
    "liq.linear.isolated.bybit.buffered": buffered(fixed_maintenance_case),
    "liq.inverse.isolated": inverse_price,
    "liq.inverse.cross.bybit": inverse_cross_prices,
    "bankruptcy.inverse": inverse_bankruptcy,
    "bankruptcy.linear": linear_bankruptcy,
    "bankruptcy.cross.bybit": cross_bankruptcy,
}

LEFT_OUT: Final[dict[str, str]] = {
    "venues-041": "its unbuffered price is below zero, which no price is: see the test of it below",
}

LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {
    ("liq.linear.isolated.kucoin", "posComm"): "how the venue composes the margin that the case is given",
    ("liq.linear.isolated.kucoin", "posMargin"): "how the venue composes the margin that the case is given",
}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_prices_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []


@NEEDS_VECTORS
def test_a_liquidation_price_below_zero_is_no_price() -> None:
    vector = next(vector for vector in vectors_of(FILE) if vector.id == "venues-041")
    stated, entry = Fraction(vector.expected["liquidation_price"]), vector.number("entry")
    unbuffered = (stated - entry * vector.number("buffer")) / (1 - vector.number("buffer"))
    assert unbuffered < 0
    assert state(binance_case(vector))[ACCOUNT].positions[0].liquidation_price is None
