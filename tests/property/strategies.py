"""Random rulebooks, valuations and accounts, always inside the limits that the engine proves for them.

Rulebooks are drawn as the tables of a file and read by the strict reader, so each is one that a user could load.
Units are drawn so that an amount of the smallest unit may be worth much less or much more than a reporting unit.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from marginkeep.book import CROSS, ISOLATED, SYSTEM, Account, Position, Valuation
from marginkeep.book.fills import cost_of
from marginkeep.book.limits import TERM_MAX, AssetLimits, Limits, prove_limits
from marginkeep.rulebook import MarketTable, Rulebook, Tables, build_tables, read_rulebook
from marginkeep.rulebook.model import INITIAL
from marginkeep.units import INT64_SAFE, RATE_ONE, format_exact, format_units

REPORTING = "USD"
LOT_VALUE_DIGITS = (-2, 5)
"""A lot is worth 10^-2 to 10^5 settle units at its largest."""


def within(limit: int) -> st.SearchStrategy[int]:
    """Return integers from -limit to limit, the bounds themselves often among them."""
    return st.one_of(st.integers(-limit, limit), st.sampled_from([-limit, limit, 1 - limit, limit - 1]))


def up_to(limit: int, lowest: int = 1) -> st.SearchStrategy[int]:
    """Return integers from `lowest` to limit, the bounds often among them."""
    return st.one_of(st.integers(lowest, limit), st.sampled_from([lowest, limit]))


def _power(mantissa: int | str, exponent: int) -> str:
    return f"{Decimal(mantissa).scaleb(exponent):f}"


@st.composite
def rulebooks(draw: st.DrawFn, plain: bool = False, assets: int = 3, markets: int = 3) -> Rulebook:
    """Draw a rulebook.

    Parameters
    ----------
    plain : the reporting asset alone, weight 1, and floors on whole units: one position then has no rounding but its
        own
    assets, markets : the most of each, the reporting asset beside them
    """
    decimals = draw(st.integers(2, 9))
    weight: Any = "1" if plain else draw(_weights())
    rows: dict[str, Any] = {REPORTING: {"decimals": decimals, "weight": weight, "debt_weight": draw(_debt_weights())}}
    for index in range(0 if plain else draw(st.integers(0, assets))):
        rows[f"C{index}"] = draw(_asset_rows(decimals))
    names = st.sampled_from(sorted(rows))
    table = {
        "name": "drawn",
        "reporting": REPORTING,
        "assets": rows,
        "markets": {
            f"M{index}": draw(_market_rows(settle := draw(names), rows[settle], decimals, plain))
            for index in range(draw(st.integers(1, markets)))
        },
    }
    return read_rulebook(table)


@st.composite
def _weights(draw: st.DrawFn) -> dict[str, str]:
    """Draw shares of one: initial <= call <= maintenance, target <= maintenance."""
    rates = sorted(draw(st.tuples(*[up_to(RATE_ONE, 0)] * 3)))
    return _levels(*rates, draw(up_to(rates[2], 0)))


@st.composite
def _debt_weights(draw: st.DrawFn) -> dict[str, str]:
    """Draw factors from 1 to 4: initial >= call >= maintenance, target >= maintenance."""
    rates = sorted(draw(st.tuples(*[up_to(4 * RATE_ONE, RATE_ONE)] * 3)), reverse=True)
    return _levels(*rates, draw(up_to(4 * RATE_ONE, rates[2])))


def _levels(*rates: int) -> dict[str, str]:
    names = ("initial", "call", "maintenance", "target")
    return {name: format_units(rate, 9) for name, rate in zip(names, rates, strict=True)}


@st.composite
def _asset_rows(draw: st.DrawFn, reporting_decimals: int) -> dict[str, Any]:
    decimals, tick_digits = draw(st.integers(2, 9)), draw(st.integers(0, 6))
    digits = reporting_decimals - decimals - tick_digits
    price_digits = draw(st.integers(2, min(6, 17 + digits, 12 - digits)))
    mantissa = draw(st.sampled_from([1, 2, 5]))
    return {
        "decimals": decimals,
        "tick": _power(mantissa, -tick_digits),
        "max_price": _power(mantissa, price_digits - tick_digits),
        "weight": draw(_weights()),
        "debt_weight": draw(_debt_weights()),
    }


@st.composite
def _market_rows(
    draw: st.DrawFn, settle: str, settle_row: dict[str, Any], reporting_decimals: int, plain: bool
) -> dict[str, Any]:
    inverse = draw(st.booleans())
    contract, tick_digits = draw(st.sampled_from(["1", "0.01", "100", "3", "0.7"])), draw(st.integers(0, 6))
    tick = Fraction(draw(st.sampled_from([1, 2, 5])), 10**tick_digits)
    price_digits = draw(st.integers(2, 6))
    lowest = 10 ** max(0, price_digits - draw(st.integers(1, 3))) if inverse else 1
    unit = Fraction(1, 10 ** settle_row["decimals"])
    worth = max(1, Fraction(settle_row.get("max_price", "1")) * unit * 10**reporting_decimals)
    largest = min(LOT_VALUE_DIGITS[1], 12 - len(str(int(worth))))
    lot_value = Fraction(10) ** draw(st.integers(LOT_VALUE_DIGITS[0], largest)) * unit
    of_one = Fraction(contract) / (lowest * tick) if inverse else Fraction(contract) * 10**price_digits * tick
    lot = _power_of_ten_near(lot_value / of_one)
    reach = int(min(2 * 10**9, TERM_MAX / (worth * max(1, lot * of_one / unit))))
    tier_unit = draw(st.sampled_from(["quote", "base", "contracts"]))
    step = lot if tier_unit == "contracts" else lot * Fraction(contract)
    if tier_unit == ("base" if inverse else "quote"):
        step, reach = unit, max(1, int(reach * lot * of_one / unit))
    maker, taker = draw(st.tuples(up_to(RATE_ONE // 10, 0), up_to(RATE_ONE // 10, 0)))
    return {
        "payoff": "inverse" if inverse else "linear",
        "settle": settle,
        "contract_size": contract,
        "lot": format_exact(lot, 30),
        "tick": format_exact(tick, 30),
        "max_price": format_exact(10**price_digits * tick, 30),
        "min_price": format_exact(lowest * tick, 30),
        "tier_kind": draw(st.sampled_from(["marginal", "whole_position"])),
        "tier_unit": tier_unit,
        "tiers": draw(_tier_rows(step, reach, plain)),
        "maker_fee": format_units(max(maker - RATE_ONE // 20, -taker), 9),
        "taker_fee": format_units(taker, 9),
        "profit_weight": draw(st.one_of(st.just("1"), _weights())),
    }


def _power_of_ten_near(value: Fraction) -> Fraction:
    lot = Fraction(1)
    while lot > value:
        lot /= 10
    while lot * 10 <= value:
        lot *= 10
    return lot


@st.composite
def _tier_rows(draw: st.DrawFn, step: Fraction, reach: int, plain: bool) -> list[dict[str, str]]:
    """Draw tiers whose floors count steps of the measure up to `reach`, some of them between two steps."""
    count = draw(st.integers(0, 4))
    between = [Fraction(0)] if plain else [Fraction(0), Fraction(1, 2), Fraction(1, 8)]
    counts = draw(st.sets(up_to(reach), max_size=count))
    floors = [Fraction(0), *(whole + draw(st.sampled_from(between)) for whole in sorted(counts))]
    maintenance, call, initial, target = draw(st.tuples(*[st.integers(0, RATE_ONE // 6)] * 4))
    rows = []
    for floor in floors:
        rows.append(
            {
                "floor": format_exact(floor * step, 40),
                **_levels(maintenance + call + initial + 1, maintenance + call, maintenance, maintenance + target),
            }
        )
        more = draw(st.tuples(*[up_to(RATE_ONE // 6, 0)] * 4))
        maintenance, call, initial, target = (
            rate + rise for rate, rise in zip((maintenance, call, initial, target), more, strict=True)
        )
    return rows


@st.composite
def valuations(draw: st.DrawFn, rulebook: Rulebook) -> Valuation:
    """Draw marks, prices and funding indices within the limits."""
    tables = build_tables(rulebook)
    limits = prove_limits(tables)
    valuation = Valuation(tables)
    for table, asset in zip(tables.assets, limits.assets, strict=True):
        if table.index != tables.reporting:
            valuation.set_price(table.index, draw(up_to(asset.max_price)))
    for index, market in enumerate(limits.markets):
        valuation.set_mark(index, draw(up_to(market.max_price, market.min_price)))
        valuation.funding[index] = draw(within(funding_bound(tables, index, limits)))
        valuation.funding_short[index] = draw(within(funding_bound(tables, index, limits)))
    return valuation


def funding_bound(tables: Tables, index: int, limits: Limits) -> int:
    """Return the largest funding index that lets the largest position owe at most a term (2^52 reporting units)."""
    settle = tables.assets[tables.markets[index].settle]
    worth = max(Fraction(1), Fraction(limits.assets[settle.index].max_price * settle.numerator, settle.denominator))
    return min(INT64_SAFE // 4, int(TERM_MAX * RATE_ONE / worth) // (2 * limits.markets[index].max_position))


@st.composite
def accounts(draw: st.DrawFn, valuation: Valuation, modes: tuple[int, ...] = (CROSS, ISOLATED, SYSTEM)) -> Account:
    """Draw an account: any balances and positions, one position if it is isolated."""
    limits = prove_limits(valuation.tables)
    mode = draw(st.sampled_from(modes))
    most = 1 if mode == ISOLATED else len(limits.markets)
    fewest = draw(st.sampled_from([1, 1, 1, 0]))
    held = draw(st.lists(st.integers(0, len(limits.markets) - 1), min_size=fewest, max_size=most, unique=True))
    assets = draw(st.lists(st.integers(0, len(limits.assets) - 1), min_size=0, max_size=3, unique=True))
    return Account(
        mode=mode,
        balances={asset: draw(balances(limits.assets[asset])) for asset in assets},
        positions={market: draw(positions(valuation, market, limits)) for market in held},
    )


def balances(limits: AssetLimits) -> st.SearchStrategy[int]:
    """Return balances and debts up to the limit; any of them may be 0."""
    return st.one_of(within(limits.max_balance), within(min(10**9, limits.max_balance)))


@st.composite
def positions(draw: st.DrawFn, valuation: Valuation, index: int, proven: Limits) -> Position:
    """Draw a position with or without orders; sizes on the edges of tiers are drawn often."""
    market, limits = valuation.tables.markets[index], proven.markets[index]
    edges = [size for size in edge_sizes(market, valuation) if abs(size) <= limits.max_position]
    size = draw(st.one_of(within(limits.max_position), within(min(1000, limits.max_position)), st.sampled_from(edges)))
    prices = up_to(limits.max_price, limits.min_price)
    position = Position(size=size, cost=cost_of(market, size, draw(prices)) if size else 0)
    bound = funding_bound(valuation.tables, index, proven)
    position.funding_entry = draw(st.one_of(st.just(valuation.funding_index(index, position.size)), within(bound)))
    left = limits.max_position - abs(size)
    if left and draw(st.booleans()):
        position.bid_size = draw(up_to(left, 0))
        position.bid_cost = cost_of(market, position.bid_size, draw(prices))
    left -= position.bid_size
    if left and draw(st.booleans()):
        position.ask_size = draw(up_to(left, 0))
        position.ask_cost = cost_of(market, -position.ask_size, draw(prices))
    return position


def edge_sizes(market: MarketTable, valuation: Valuation) -> list[int]:
    """Return sizes in lots at, just below and just above the floors of a market's tiers at its mark."""
    x, y = valuation.market_x[market.index], valuation.market_y[market.index]
    sizes = {0, 1}
    for floor, *_ in market.tiers[INITIAL]:
        lots = floor if market.by_size else floor * y // x
        sizes.update((lots - 1, lots, lots + 1))
    return sorted(sizes | {-size for size in sizes})


@st.composite
def houses(draw: st.DrawFn, most: int = 1, plain: bool = False) -> tuple[Valuation, list[Account]]:
    """Draw a valuation of a new rulebook and up to `most` accounts under it, at least one."""
    valuation = draw(valuations(draw(rulebooks(plain=plain))))
    return valuation, draw(st.lists(accounts(valuation), min_size=1, max_size=most))


@st.composite
def tier_edges(draw: st.DrawFn) -> tuple[Valuation, list[Account]]:
    """Draw a valuation and one account for each size at, just below and just above each floor of each market."""
    valuation = draw(valuations(draw(rulebooks())))
    return valuation, accounts_on_edges(valuation)


def accounts_on_edges(valuation: Valuation) -> list[Account]:
    """Return an account of one position, bought at the mark, for each edge size within the limits."""
    limits = prove_limits(valuation.tables)
    return [
        Account(positions={market.index: Position(size, cost_of(market, size, valuation.marks[market.index]))})
        for market, bounds in zip(valuation.tables.markets, limits.markets, strict=True)
        for size in edge_sizes(market, valuation)
        if 0 < abs(size) <= bounds.max_position
    ]
