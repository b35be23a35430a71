"""Real venues' tier tables: every symbol loads, every published amount agrees, and a market built from them margins."""

import json
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path

import pytest

from marginkeep.book import Account, Position, Valuation, measure
from marginkeep.book.case import fill_cost
from marginkeep.book.health import size_requirement
from marginkeep.errors import RulebookError
from marginkeep.rulebook import CALL, INITIAL, MAINTENANCE, TARGET, Rulebook, build_tables, read_rulebook
from marginkeep.units import RATE_ONE
from marginkeep.venues import market_from_ccxt, read_venue_tiers

VENUES = Path(__file__).resolve().parents[2] / ".." / "shared" / "venues"
FILES = {
    # name: (symbols, tiers, kind, unit of linear tables)
    "binance": (349, 2805, "marginal", "quote"),
    "bybit": (1, 20, "marginal", "quote"),
    "hyperliquid": (39, 78, "marginal", "quote"),
    "krakenfutures": (5, 34, "marginal", "quote"),
    "okx": (4, 48, "whole_position", "contracts"),
}
MARGINAL = [name for name, facts in FILES.items() if facts[2] == "marginal"]
AMOUNT = {"floor": "0", "cap": "1000", "max_leverage": "50", "mmr": "0.01", "maintenance_amount": "0"}


def load(venue):
    path = VENUES / f"{venue}_tiers.json"
    if not path.exists():
        pytest.skip("the venue tables are not beside the repository: expected ../shared/venues")
    _, _, kind, unit = FILES[venue]
    return read_venue_tiers(path, kind=kind, unit=unit), json.loads(path.read_text())


def rulebook_of(*markets, reporting="USDT"):
    names = {reporting, *(market.settle for market in markets)}
    assets = read_rulebook({"reporting": reporting, "assets": {name: {} for name in sorted(names)}}).assets
    return Rulebook("venue", reporting, assets, {market.name: market for market in markets})


def tables_of(tiers):
    """Integer tables of every symbol, through markets built from the symbols."""
    markets = [market_from_ccxt(symbol, table, "1", "0.01") for symbol, table in tiers.items()]
    return build_tables(rulebook_of(*markets))


def write(folder, table):
    path = folder / "venue.json"
    path.write_text(json.dumps(table))
    return path


def refusal(folder, table, **options):
    with pytest.raises(RulebookError) as caught:
        read_venue_tiers(write(folder, table), **({"kind": "marginal"} | options))
    return str(caught.value)


@pytest.mark.parametrize("venue", FILES)
def test_every_symbol_of_every_file_loads(venue):
    tiers, _ = load(venue)
    symbols, rows, kind, unit = FILES[venue]
    assert (len(tiers), sum(len(table.tiers) for table in tiers.values())) == (symbols, rows)
    assert {table.tier_kind for table in tiers.values()} == {kind}
    linear = {table.tier_unit for symbol, table in tiers.items() if symbol.split("/")[0] != symbol.split(":")[-1]}
    assert linear == {unit}


@pytest.mark.parametrize("venue", FILES)
def test_rates_are_those_of_the_file_rounded_up_to_the_rate_step(venue):
    tiers, raw = load(venue)
    for symbol, rows in raw.items():
        for row, tier in zip(rows, tiers[symbol].tiers, strict=True):
            initial = Fraction(row["imr"]) if row.get("imr") else 1 / Fraction(row["max_leverage"])
            assert tier.rates[MAINTENANCE] == ceil(Fraction(row["mmr"]) * RATE_ONE)
            assert tier.rates[INITIAL] == ceil(initial * RATE_ONE)
            assert tier.rates[MAINTENANCE] < tier.rates[CALL] < tier.rates[TARGET] < tier.rates[INITIAL]
            assert tier.floor == Fraction(row["floor"])


@pytest.mark.parametrize("venue", MARGINAL)
def test_the_integer_tables_give_notional_times_rate_minus_amount_inside_every_tier(venue):
    tiers, raw = load(venue)
    tables = tables_of(tiers)
    checked = 0
    for symbol, rows in raw.items():
        table = tables.markets[tables.market_index[symbol]]
        unit = Fraction(1) if table.by_size else tables.assets[table.settle].asset.unit
        amount, below = Fraction(0), Fraction(0)
        for row in rows:
            # what is published; else, and where the file truncates a periodic rate, the recursion it follows
            rate = Fraction(ceil(Fraction(row["mmr"]) * RATE_ONE), RATE_ONE)
            amount += Fraction(row["floor"]) * (rate - below)
            below = rate
            exact = rate == Fraction(row["mmr"])
            assert row["maintenance_amount"] is None or not exact or Fraction(row["maintenance_amount"]) == amount
            cap = 3 * Fraction(row["floor"]) + 10 if row["cap"] is None else Fraction(row["cap"])
            first, last = ceil(Fraction(row["floor"]) / unit), min(ceil(cap / unit) - 1, 2**61)
            for measure_ in {first, first + 1, (first + last) // 2, last}:
                required = size_requirement(table, MAINTENANCE, measure_, 1, 1)
                assert required == ceil((measure_ * unit * rate - amount) / unit), (symbol, row, measure_)
                checked += 1
    assert checked >= 3 * FILES[venue][1]


def test_a_periodic_rate_never_asks_for_less_than_the_venue():
    tiers, raw = load("hyperliquid")
    table = tables_of(tiers).markets[list(tiers).index("ETH/USDC:USDC")]
    row = raw["ETH/USDC:USDC"][-1]
    assert len(row["mmr"].split(".")[1]) == 30  # one thirtieth, printed as 0.0333...
    size = 250_000_000 * 10**8
    published = size * Fraction(row["mmr"]) - Fraction(row["maintenance_amount"]) * 10**8
    ours = size_requirement(table, MAINTENANCE, size, 1, 1)
    assert published <= ours <= published + size / Fraction(RATE_ONE) + 1


def test_a_whole_position_table_jumps_at_its_floors():
    tiers, raw = load("okx")
    tables = tables_of(tiers)
    for symbol, rows in raw.items():
        table = tables.markets[tables.market_index[symbol]]
        for below, above in pairwise(rows):
            floor = int(above["floor"])
            at_floor = size_requirement(table, MAINTENANCE, floor, RATE_ONE, 1)
            just_below = size_requirement(table, MAINTENANCE, floor - 1, RATE_ONE, 1)
            assert at_floor == floor * Fraction(above["mmr"]) * RATE_ONE
            assert just_below == (floor - 1) * Fraction(below["mmr"]) * RATE_ONE


def test_the_last_cap_is_kept_as_the_limit_and_the_sentinel_means_none():
    tiers, raw = load("binance")
    assert raw["BTCST/USDT:USDT"][-1]["cap"] == "9223372036854775807"
    assert tiers["BTCST/USDT:USDT"].limit is None
    bounded = [symbol for symbol in raw if symbol != "BTCST/USDT:USDT"]
    assert len(bounded) == 348
    for symbol in bounded:
        assert tiers[symbol].limit == Fraction(raw[symbol][-1]["cap"])


@pytest.mark.parametrize("cap", [None, "9223372036854775807", "9223372036854775808", "9.223372036854776e18"])
def test_a_last_cap_of_null_or_the_largest_integer_however_rounded_means_no_limit(tmp_path, cap):
    tiers = read_venue_tiers(write(tmp_path, {"BTC/USDT:USDT": [AMOUNT | {"cap": cap}]}), kind="marginal")
    assert tiers["BTC/USDT:USDT"].limit is None


def requirement(market, size, mark, reporting, prices):
    """Maintenance requirement of an account that holds one position, in reporting units."""
    tables = build_tables(rulebook_of(market, reporting=reporting))
    valuation = Valuation(tables)
    for name, price in prices.items():
        valuation.set_price(tables.asset_index[name], tables.rulebook.ticks(name, price))
    valuation.set_mark(0, tables.rulebook.ticks(market.name, mark))
    settle = tables.rulebook.assets[market.settle]
    lots = tables.rulebook.lots(market.name, size)
    position = Position(size=lots, cost=fill_cost(market, settle, lots, Fraction(mark)))
    account = Account(balances={tables.reporting: 0}, positions={0: position})
    return measure(account, valuation, MAINTENANCE).requirement


def published(rows, notional):
    row = [row for row in rows if Fraction(row["floor"]) <= notional][-1]
    return notional * Fraction(row["mmr"]) - Fraction(row["maintenance_amount"])


@pytest.mark.parametrize(
    ("venue", "symbol", "size", "mark"),
    [
        ("binance", "BTC/USDT:USDT", "12.5", "64321.5"),
        ("binance", "BTC/USDT:USDT-250328", "-3.001", "70000"),
        ("binance", "1000SHIB/USDC:USDC", "-123456789", "0.02"),
        ("bybit", "BTC/USDT:USDT", "-55", "91234.5"),
        ("hyperliquid", "SOL/USDC:USDC", "500000", "150.25"),
    ],
)
def test_a_market_built_from_a_symbol_asks_what_the_venue_publishes(venue, symbol, size, mark):
    tiers, raw = load(venue)
    market = market_from_ccxt(symbol, tiers[symbol], "0.001", "0.01")
    notional = abs(Fraction(size)) * Fraction(mark)
    expected = published(raw[symbol], notional)
    assert expected > 0
    assert requirement(market, size, mark, market.settle, {}) == ceil(expected * 10**6)


def test_a_linear_market_settled_in_coin_asks_in_coin():
    tiers, raw = load("binance")
    market = market_from_ccxt("ETH/BTC:BTC", tiers["ETH/BTC:BTC"], "0.01", "0.00001")
    assert (market.payoff, market.settle) == ("linear", "BTC")
    expected = published(raw["ETH/BTC:BTC"], 200 * Fraction("0.04"))  # 8 BTC: the second tier
    assert expected == Fraction("0.043")  # 8 * 0.006 - 0.005
    assert requirement(market, "200", "0.04", "USDT", {"BTC": "50000"}) == expected * 50000 * 10**6


def test_an_inverse_market_weighs_contracts_and_values_them_in_coin():
    tiers, _ = load("krakenfutures")
    market = market_from_ccxt("BTC/USD:BTC", tiers["BTC/USD:BTC"], "1", "0.5")
    assert (market.payoff, market.tier_unit) == ("inverse", "contracts")
    first, second = market.tiers[:2]
    assert (second.floor, first.rates[MAINTENANCE], second.rates[MAINTENANCE]) == (500_000, 10**7, 2 * 10**7)
    # 750,000 contracts of 1 USD: 500,000 * 1 % + 250,000 * 2 % = 10,000 USD, 0.2 BTC at 50,000
    assert requirement(market, "750000", "50000", "USD", {"BTC": "50000"}) == 10_000 * 10**6


def test_a_whole_position_market_asks_one_rate_on_all_contracts():
    tiers, raw = load("okx")
    market = market_from_ccxt("AAVE/USDT:USDT", tiers["AAVE/USDT:USDT"], "1", "0.01", contract_size="0.1")
    assert raw["AAVE/USDT:USDT"][1]["mmr"] == "0.01"
    # 2,000 contracts of 0.1 AAVE at 90: a notional of 18,000, all of it at the second tier's 1 %
    assert requirement(market, "-2000", "90", "USDT", {}) == 180 * 10**6
    assert market.max_position == 80_000


def test_a_dated_symbol_is_a_future_that_expires_in_the_morning():
    tiers, _ = load("binance")
    market = market_from_ccxt("BTC/USDT:USDT-250328", tiers["BTC/USDT:USDT-250328"], "0.001", "0.1")
    assert (market.kind, market.expiry) == ("future", "2025-03-28T08:00:00Z")
    assert market.symbol == market.name == "BTC/USDT:USDT-250328"


def one_tier(folder, symbol="BTC/USDT:USDT", unit="quote", limit="1000"):
    path = write(folder, {symbol: [AMOUNT | {"cap": limit}]})
    return read_venue_tiers(path, kind="marginal", unit=unit, inverse_unit=unit)[symbol]


@pytest.mark.parametrize(
    ("symbol", "unit", "contract_size", "lots"),
    [
        ("BTC/USDT:USDT", "quote", "0.1", None),  # a notional moves with the price: not a size
        ("BTC/USDT:USDT", "base", "0.1", 10_000),
        ("BTC/USDT:USDT", "contracts", "0.1", 1_000),
        ("BTC/USD:BTC", "base", "100", None),
        ("BTC/USD:BTC", "quote", "100", 10),
        ("BTC/USD:BTC", "contracts", "100", 1_000),
    ],
)
def test_the_limit_becomes_a_position_limit_only_where_it_counts_contracts(tmp_path, symbol, unit, contract_size, lots):
    market = market_from_ccxt(symbol, one_tier(tmp_path, symbol, unit), "1", "0.5", contract_size=contract_size)
    assert market.max_position == lots


def test_other_parameters_of_a_market_can_be_given_and_win(tmp_path):
    market = market_from_ccxt(
        "BTC/USDT:USDT",
        one_tier(tmp_path, unit="contracts"),
        "1",
        "0.5",
        name="BTC-PERP",
        parameters={"taker_fee": "0.0005", "max_position": "7"},
    )
    assert (market.name, market.taker_fee, market.max_position) == ("BTC-PERP", 500_000, 7)


def test_a_misspelt_parameter_of_a_market_is_refused(tmp_path):
    with pytest.raises(RulebookError, match=r"markets\.BTC/USDT:USDT\.taker_fees .*did you mean 'taker_fee'\?"):
        market_from_ccxt("BTC/USDT:USDT", one_tier(tmp_path), "1", "0.5", parameters={"taker_fees": "0.1"})


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("BTCUSDT", ["'BTCUSDT'", "BASE/QUOTE:SETTLE"]),
        ("BTC/USDT", ["'BTC/USDT'", "spot", "'BTC/USDT:USDT'"]),
        ("BTC/USD:BTC-250328-50000-C", ["option"]),
        ("BTC/USD:ETH", ["'ETH'", "'USD' (linear)", "'BTC' (inverse)"]),
        ("BTC/BTC:BTC", ["must differ"]),
        ("BTC/USDT:USDT-250230", ["'250230'", "not a day", "YYMMDD"]),
        ("BTC/USDT:USDT-2503", ["not a unified symbol", "YYMMDD"]),
    ],
)
def test_a_symbol_that_is_no_perpetual_or_future_is_refused_by_name(tmp_path, symbol, words):
    message = refusal(tmp_path, {symbol: [AMOUNT]})
    assert message.startswith("venue.json: ")
    for word in words:
        assert word in message
    with pytest.raises(RulebookError):
        market_from_ccxt(symbol, one_tier(tmp_path), "1", "0.5")


def rows(*floors_caps_rates_amounts):
    return [
        {"floor": floor, "cap": cap, "max_leverage": str(20 - 2 * index), "mmr": rate, "maintenance_amount": amount}
        for index, (floor, cap, rate, amount) in enumerate(floors_caps_rates_amounts)
    ]


def test_a_hole_between_tiers_is_refused_with_path_values_and_cure(tmp_path):
    # as in a recorded table of AAVE: nothing between 1,000,000 and 10,000,000
    table = rows(("0", "1000000", "0.01", "0"), ("10000000", "20000000", "0.02", "100000"))
    message = refusal(tmp_path, {"ADA/USDT:USDT": [AMOUNT], "AAVE/USDT:USDT": table})
    assert message == (
        "venue.json: AAVE/USDT:USDT[0].cap is 1000000 but the next floor is 10000000: a hole between tiers; "
        "make them equal"
    )


def test_an_overlap_a_falling_rate_and_a_wrong_amount_are_refused(tmp_path):
    overlap = rows(("0", "2000", "0.01", "0"), ("1000", None, "0.02", "10"))
    assert "an overlap between tiers" in refusal(tmp_path, {"A/B:B": overlap})
    falling = rows(("0", "1000", "0.02", "0"), ("1000", None, "0.01", "-10"))
    assert "below the tier before it, 0.02" in refusal(tmp_path, {"A/B:B": falling})
    amount = rows(("0", "1000", "0.01", "0"), ("1000", None, "0.02", "11"))
    message = refusal(tmp_path, {"A/B:B": amount})
    assert "A/B:B[1].maintenance_amount is 11, but floors and rates make it 10" in message


def test_a_wrong_amount_is_found_even_where_the_rates_are_periodic(tmp_path):
    third = "0." + "3" * 30
    right = rows(("0", "1000", "0.01", "0"), ("1000", None, third, "323.333333333333"))
    for row in right:
        row["max_leverage"] = "2"
    assert len(read_venue_tiers(write(tmp_path, {"A/B:B": right}), kind="marginal")["A/B:B"].tiers) == 2
    right[1]["maintenance_amount"] = "323.334"
    message = refusal(tmp_path, {"A/B:B": right})
    assert "A/B:B[1].maintenance_amount is 323.334, but floors and rates make it 323.333333333" in message


def test_an_unpublished_amount_is_not_checked_and_need_not_be_there(tmp_path):
    table = rows(("0", "1000", "0.01", None), ("1000", None, "0.02", None))
    assert len(read_venue_tiers(write(tmp_path, {"A/B:B": table}), kind="marginal")["A/B:B"].tiers) == 2
    for row in table:
        del row["maintenance_amount"]
    assert len(read_venue_tiers(write(tmp_path, {"A/B:B": table}), kind="marginal")["A/B:B"].tiers) == 2


def test_a_whole_position_table_with_amounts_is_refused(tmp_path):
    table = rows(("0", "1000", "0.01", "0"), ("1000", None, "0.02", "10"))
    message = refusal(tmp_path, {"A/B:B": table}, kind="whole_position")
    assert "A/B:B[1].maintenance_amount is 10" in message
    assert 'read the table as "marginal"' in message


def test_a_last_cap_not_above_its_floor_is_refused(tmp_path):
    table = rows(("0", "1000", "0.01", "0"), ("1000", "1000", "0.02", "10"))
    message = refusal(tmp_path, {"A/B:B": table})
    assert message.startswith("venue.json: A/B:B[1].cap is 1000, not above its floor 1000: ")
    assert "null" in message


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"A/B:B": []}, ["A/B:B has no tiers", "leave the symbol out"]),
        ({"A/B:B": {}}, ["A/B:B is {}", "give a list of tables"]),
        ({"A/B:B": [AMOUNT | {"mmrr": "0.1"}]}, ["A/B:B[0].mmrr", "did you mean 'mmr'?"]),
        ({"A/B:B": [AMOUNT | {"mmr": "NaN"}]}, ["A/B:B[0].mmr is 'NaN'"]),
        ({"A/B:B": [AMOUNT | {"mmr": "-0.1"}]}, ["A/B:B[0].mmr is '-0.1'", "from 0"]),
        ({"A/B:B": [AMOUNT | {"mmr": "0.02"}]}, ["A/B:B[0].mmr is 0.02, initial is 0.02", "below initial"]),
    ],
)
def test_malformed_tables_are_refused_with_file_symbol_and_tier(tmp_path, table, words):
    message = refusal(tmp_path, table)
    assert message.startswith("venue.json: ")
    for word in words:
        assert word in message
