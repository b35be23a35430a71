"""venues.jsonl: margin requirements, haircuts, profit, fees, and sizing of a liquidation.

Requirements are rounded up to the settle asset's smallest unit (9 decimals here), and a rate such as 1/3 is stated
rounded up to 10^-9: `one_step` is the allowance for both. Everything else is exact.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

from marginkeep.book import Position, read_case, state_account
from marginkeep.book.fills import fill_position
from marginkeep.book.threshold_prices import bankruptcy_price
from marginkeep.clearing import Clearinghouse, Deposit, SetPrices, Trade, Traded
from marginkeep.liquidation import plan_reduction
from marginkeep.liquidation.sizing import smallest_sufficient
from marginkeep.rulebook import read_rulebook

from .reading import (
    ACCOUNT,
    HELD,
    MARKET,
    NEEDS_VECTORS,
    RATE_STEP,
    SETTLE,
    UNIT,
    Near,
    Vector,
    cases_of,
    disagreements,
    each,
    flat,
    half_of_last_digit,
    less_amount,
    one_position,
    one_step,
    rate_up,
    state,
    state_one,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "venues"
ONE: Final = Fraction(1)


def margins_of(notional: Fraction, initial: Fraction, maintenance: Fraction) -> tuple[Fraction, Fraction]:
    """Return (initial, maintenance) margin of a position of a given value."""
    _, position = state_one(one_position(flat(maintenance, initial), notional, ONE))
    return Fraction(position.initial_margin), Fraction(position.maintenance_margin)


def initial_margin(vector: Vector) -> dict[str, Any]:
    notional = vector.number("notional")
    rows = [{"floor": "0", "max_leverage": vector.inputs["leverage"], "maintenance": "0"}]
    _, position = state_one(one_position(rows, notional, ONE))
    within = one_step(notional, 1 / vector.number("leverage"))
    return {"stake": Near(Fraction(position.initial_margin), within)}


def nautilus_margin(vector: Vector) -> dict[str, Any]:
    notional = vector.number("notional")
    rate = vector.number("rate") * vector.number("multiplier") / vector.number("leverage", "1")
    return {"margin": Near(margins_of(notional, rate_up(rate), rate_up(rate))[1], one_step(notional, rate))}


def nautilus_inverse(vector: Vector) -> dict[str, Any]:
    """Rounded up to 10^-9 of a coin here, printed to 10^-8 by the source."""
    rate = rate_up(vector.number("rate") / vector.number("leverage"))
    case = one_position(flat(rate), vector.number("qty"), vector.number("price"), payoff="inverse")
    printed = half_of_last_digit(vector.expected["margin"])
    return {"margin": Near(Fraction(state_one(case)[1].maintenance_margin), printed)}


def netted_margin(vector: Vector) -> dict[str, Any]:
    """Trade both legs into one position, then measure it at the average price that survives."""
    tiers = flat(vector.number("rate"))
    rules = read_case(one_position(tiers, ONE, ONE, tick="0.0001"))
    position = Position()
    for side, size, price in vector.inputs["legs"]:
        lots, ticks = rules.rulebook.lots(MARKET, size), rules.rulebook.ticks(MARKET, price)
        fill_position(rules.tables.markets[0], position, lots if side == "buy" else -lots, ticks)
    cost = position.cost * UNIT
    case = one_position(tiers, Fraction(position.size), cost / position.size, cost=cost)
    return {"maintenance": Fraction(state_one(case)[1].maintenance_margin)}


def inverse_threshold(vector: Vector) -> dict[str, Any]:
    """The requirement is fixed at the entry, so it is measured there and then held back at the price asked about."""
    entry, size = vector.number("entry"), vector.sign * vector.number("qty")
    rate = vector.number("maint_rate") / vector.number("leverage")
    at_entry = state_one(one_position(flat(rate), size, entry, payoff="inverse"))[1]
    threshold = state_one(one_position(flat(rate * vector.number("trigger_ratio")), size, entry, payoff="inverse"))[1]
    held = Fraction(threshold.maintenance_margin)
    margin = vector.number("start_balance") - held
    case = one_position(flat("0"), size, vector.number("price"), margin, held, entry=entry, payoff="inverse")
    account, position = state_one(case)
    assert account.status == "liquidatable"
    return {
        "pnl": Fraction(position.unrealized_pnl),
        "maintenance": Fraction(at_entry.maintenance_margin),
        "threshold": held,
    }


def gate_margin(vector: Vector) -> dict[str, Any]:
    """The fee to close is part of the margin: the initial rate is 1/L + fee."""
    notional = vector.number("entry") * vector.number("qty")
    rate = 1 / vector.number("leverage") + vector.number("taker")
    return {"margin": Near(margins_of(notional, rate_up(rate), Fraction(0))[0], one_step(notional, rate))}


def gate_unified(vector: Vector) -> dict[str, Any]:
    notional = vector.number("notional")
    rate = 1 / vector.number("leverage") + vector.number("taker")
    initial, maintenance = margins_of(notional, rate_up(rate), vector.number("mmr"))
    within = one_step(notional, rate)
    return {
        "initialMargin": Near(initial, within),
        "initialMarginPercentage": Near(initial / notional, within / notional),
        "maintenanceMargin": maintenance,
    }


def binance_margin(vector: Vector) -> dict[str, Any]:
    size, mark = vector.number("qty"), vector.number("mark")
    rows = [{"floor": "0", "max_leverage": vector.inputs["leverage"], "maintenance": vector.inputs["mmr"]}]
    _, position = state_one(one_position(rows, size, mark, entry=vector.number("entry")))
    within = one_step(abs(size) * mark, 1 / vector.number("leverage"))
    return {
        "initialMargin": Near(Fraction(position.initial_margin), within),
        "maintMargin": Fraction(position.maintenance_margin),
        "unRealizedProfit": Fraction(position.unrealized_pnl),
    }


def bybit_margin(vector: Vector) -> dict[str, Any]:
    """The fee to close at the bankruptcy price, `value * (1 - s/L) * fee`, is part of both rates."""
    value, leverage = vector.number("position_value"), vector.number("leverage")
    sign = vector.sign if "side" in vector.inputs else 1
    fee = (1 - sign / leverage) * vector.number("taker", "0")
    initial, maintenance = margins_of(value, rate_up(1 / leverage + fee), rate_up(vector.number("mmr") + fee))
    return {"positionIM": initial, "positionMM": maintenance}


def okx_margin_ratio(vector: Vector) -> dict[str, Any]:
    """One contract is 10 USD of coin; ten million are held, so that the payload's 16 decimals are whole units."""
    contracts, mark = 10**7, vector.number("mark")
    value = contracts * 10 / mark
    maintenance = vector.number("mmr") * contracts
    rate = rate_up(maintenance / value - RATE_STEP / 2) + vector.number("fee")
    profit = vector.number("upl") * contracts
    cost = (-value - profit) // UNIT * UNIT
    margin = vector.number("margin") * contracts
    case = one_position(flat(rate), Fraction(contracts), mark, margin, cost=cost, payoff="inverse", contract_size="10")
    return {"mgnRatio": Fraction(state_one(case)[0].health_factor or 0)}


def xt_margin(vector: Vector) -> dict[str, Any]:
    entry, contract = vector.number("entry"), vector.number("contract_size")
    rows = [{"floor": "0", "max_leverage": vector.inputs["leverage"], "maintenance": "0"}]
    case = one_position(rows, vector.number("contracts"), entry, contract_size=text(contract))
    notional = vector.number("contracts") * contract * entry
    within = one_step(notional, 1 / vector.number("leverage"))
    return {"isolatedMargin": Near(Fraction(state_one(case)[1].initial_margin), within)}


def bybit_maintenance(vector: Vector) -> dict[str, Any]:
    rows = less_amount(vector.number("mmr"), vector.number("deduction"))
    _, position = state_one(one_position(rows, vector.number("position_value"), ONE))
    return {"maintenance": Fraction(position.maintenance_margin)}


def kucoin_maintenance(vector: Vector) -> dict[str, Any]:
    case = one_position(
        flat(vector.number("mmr")),
        vector.number("contracts"),
        vector.number("mark"),
        contract_size=vector.inputs["multiplier"],
    )
    _, position = state_one(case)
    return {
        "position_value": Fraction(position.notional),
        "maintenance": Fraction(position.maintenance_margin),
    }


def sliced_charge(vector: Vector) -> dict[str, Any]:
    """Slices, each at its own factor, are a marginal table whose floors are the running totals."""
    rows, floor = [], Fraction(0)
    for width, factor in vector.inputs["slices"]:
        rows.append({"floor": text(floor), "initial": factor, "maintenance": factor})
        floor += Fraction(width)
    return {"mr9": Fraction(state_one(one_position(rows, floor, ONE))[1].maintenance_margin)}


def haircut_case(rate: str, holding: Fraction, debt: Fraction, decimals: int = 9) -> dict[str, Any]:
    return {
        "reporting": SETTLE,
        "assets": {SETTLE: {"decimals": decimals}, HELD: {"decimals": decimals, "price": "1", "weight": rate}},
        "accounts": [{"id": ACCOUNT, "balances": {SETTLE: text(-debt), HELD: text(holding)}}],
    }


def haircut(vector: Vector) -> dict[str, Any]:
    if "value" in vector.inputs:
        account = state(haircut_case(vector.inputs["rate"], vector.number("value"), Fraction(0)))[ACCOUNT]
        return {"margin_value": Fraction(account.collateral)}
    debt = vector.number("deficit")

    def health_with(cents: int) -> int:
        case = read_case(haircut_case(vector.inputs["collateral_rate"], Fraction(cents, 100), debt, decimals=2))
        return int(Fraction(state_account(ACCOUNT, case.accounts[ACCOUNT], case.valuation).health) * 100)

    return {"asset_usd": Fraction(smallest_sufficient(int(10 * debt * 100), health_with), 100)}


def linear_profit(vector: Vector) -> dict[str, Any]:
    case = one_position(flat("0"), vector.number("signed_qty"), vector.number("price"), entry=vector.number("entry"))
    return {"pnl": Fraction(state_one(case)[1].unrealized_pnl)}


def two_way_fee(vector: Vector) -> dict[str, Any]:
    """Trade in at the entry and out at the bankruptcy price, as taker both times."""
    entry, leverage = vector.number("entry"), vector.number("leverage")
    bust = entry * (1 - vector.sign / leverage)
    market = {"settle": SETTLE, "lot": "0.001", "tick": "0.000001", "taker_fee": vector.inputs["taker"]}
    tiers = [{"floor": "0", "initial": "0.0001", "maintenance": "0"}]
    rules = read_rulebook({"assets": {SETTLE: {"decimals": 6}}, "markets": {MARKET: {**market, "tiers": tiers}}})
    house = Clearinghouse(rules)
    house.apply(Deposit(account=ACCOUNT, asset=SETTLE, amount=rules.units(SETTLE, "10000000")))
    house.apply(SetPrices(marks={MARKET: rules.ticks(MARKET, text(entry))}))
    fees = Fraction(0)
    for sign, price in ((vector.sign, entry), (-vector.sign, bust)):
        buyer, seller = (ACCOUNT, "external") if sign > 0 else ("external", ACCOUNT)
        side: Literal["buyer", "seller"] = "buyer" if sign > 0 else "seller"
        size, ticks = rules.lots(MARKET, vector.inputs["qty"]), rules.ticks(MARKET, text(price))
        (event,) = house.apply(Trade(market=MARKET, buyer=buyer, seller=seller, size=size, price=ticks, taker=side))
        assert isinstance(event, Traded)
        fees += Fraction(getattr(event, side).fee, 10**6)
    return {"fee": fees}


def inverse_average(vector: Vector) -> dict[str, Any]:
    """Fill an inverse position; with no collateral behind it, its bankruptcy price is its average price.

    Sizes are a multiple of the vector's, so that every fill costs a whole number of units.
    """
    fills = [(Fraction(size), Fraction(price)) for size, price in vector.inputs["fills"]]
    multiple = math.lcm(*(price.numerator for _, price in fills))
    finest = min(UNIT, *(Fraction(1, price.denominator) for _, price in fills))
    case = read_case(one_position(flat("0"), ONE, ONE, tick=text(finest), payoff="inverse"))
    market, account = case.tables.markets[0], case.accounts[ACCOUNT]
    account.positions[0] = Position()
    for size, price in fills:
        fill_position(market, account.positions[0], int(size * multiple), int(price / finest))
    average = bankruptcy_price(account, market, case.valuation)
    assert average is not None
    return {"exit": average * finest}


def cut_to_requirement(vector: Vector) -> dict[str, Any]:
    """Liquidate to the requirement itself: target, maintenance and initial are one rate."""
    size, rate = vector.number("invested"), vector.number("requirement")
    case = read_case(one_position(flat(rate), size, ONE, vector.number("equity"), lot="0.01"))
    plan = plan_reduction(case.accounts[ACCOUNT], case.valuation)
    return {"target_invested": plan.after.positions[0].size * Fraction(1, 100)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "margin.initial": initial_margin,
    "margin.model.nautilus": nautilus_margin,
    "margin.inverse.nautilus": nautilus_inverse,
    "margin.hedge_netting.nautilus": netted_margin,
    "margin.inverse.threshold": inverse_threshold,
    "margin.gate.live": gate_margin,
    "ccxt.unified.gate": gate_unified,
    "margin.binance.live": binance_margin,
    "margin.bybit.live": bybit_margin,
    "margin_ratio.okx": okx_margin_ratio,
    "margin.xt.live": xt_margin,
    "margin.maintenance.bybit": bybit_maintenance,
    "margin.maintenance.kucoin": kucoin_maintenance,
    "margin.okx.pm.mr9": sliced_charge,
    "haircut.binance": haircut,
    "pnl.linear": linear_profit,
    "fee.two_way_taker": two_way_fee,
    "exit.average.inverse": inverse_average,
    "liq.bt.margin": cut_to_requirement,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_margins_are_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
