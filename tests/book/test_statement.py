"""Statements: the figures of design section 9 computed by hand, and null where a number does not exist."""

import copy
from dataclasses import asdict
from decimal import Decimal

import pytest

from marginkeep.book import Account, Position, read_case, state_account
from marginkeep.book.account import SYSTEM

TIERS = [
    {"floor": "0", "initial": "0.02", "maintenance": "0.01"},
    {"floor": "100000", "initial": "0.05", "maintenance": "0.025"},
]
TABLE = {
    "assets": {"USD": {}, "BTC": {"price": "50000", "weight": {"initial": "0.90", "maintenance": "0.95"}}},
    "markets": {"PERP": {"settle": "USD", "lot": "0.001", "tick": "0.1", "tiers": TIERS}},
    "prices": {"PERP": "50000"},
}


def statements(*accounts, prices=None, markets=None, assets=None, marks=None):
    table = copy.deepcopy(TABLE)
    table["accounts"] = list(accounts)
    table["markets"] |= markets or {}
    table["assets"] |= assets or {}
    table["prices"] |= marks or {}
    case = read_case(table, prices)
    return {name: state_account(name, account, case.valuation) for name, account in case.accounts.items()}


def statement(*, prices=None, markets=None, assets=None, marks=None, **account):
    found = statements({"id": "a"} | account, prices=prices, markets=markets, assets=assets, marks=marks)
    return found["a"]


def held(size, entry="50000", market="PERP", **others):
    return {"market": market, "size": size, "entry": entry} | others


def order(side, size, price):
    return {"market": "PERP", "side": side, "size": size, "price": price}


def test_the_case_of_the_design_gives_the_figures_computed_by_hand():
    alice = statement(
        balances={"USD": "10000", "BTC": "0.1"},
        positions=[held("-1.5", "48000")],
        orders=[order("buy", "0.5", "47000")],
    )
    value = Decimal("1.5") * 50000
    profit = Decimal("-1.5") * (50000 - 48000)
    coin = Decimal("0.1") * 50000
    assert (value, profit, coin) == (75000, -3000, 5000)
    collateral = 10000 + Decimal("0.95") * coin + profit
    maintenance = Decimal("0.01") * value  # all of it in the first tier
    initial = Decimal("0.02") * value  # the order, if filled, would make the position smaller
    assert (collateral, maintenance, initial) == (11750, 750, 1500)
    assert asdict(alice) | {"why": None} == {
        "id": "a",
        "mode": "cross",
        "equity": "12000",  # 10,000 + 5,000 - 3,000
        "collateral": "11750",
        "initial_margin": "1500",
        "maintenance_margin": "750",
        "health": "11000",  # 11,750 - 750
        "health_initial": "10000",  # 10,000 + 0.90 * 5,000 - 3,000 - 1,500
        "health_factor": "15.666666666666666666",  # 11,750 / 750, rounded down
        "margin_ratio": "0.156666666666666666",  # 11,750 / 75,000, rounded down
        "leverage": "6.25",  # 75,000 / 12,000
        "status": "healthy",
        "positions": (
            {
                "market": "PERP",
                "settle": "USD",
                "size": "-1.5",
                "notional": "75000",
                "mark": "50000",
                "unrealized_pnl": "-3000",
                "initial_margin": "1500",
                "maintenance_margin": "750",
                # 10,000 + 4,750 + 72,000 = 86,750 = 1.01 * N: N = 85,891.09, still in the first tier; / 1.5
                "liquidation_price": "57260.726072607260726073",
                "bankruptcy_price": "58000",  # (10,000 + 5,000 + 72,000) / 1.5
            },
        ),
        "why": None,
    }


def test_why_says_every_term_in_order_and_ends_with_a_verdict():
    why = statement(balances={"USD": "10000", "BTC": "-0.1"}, positions=[held("-1.5", "48000")]).why
    assert why[0] == "holding of 10000 USD at 1, weight 1 at maintenance, 1 at initial"
    assert why[1].startswith("debt of 0.1 BTC at 50000, weight 1 at maintenance")
    assert why[2] == (
        "PERP short 1.5 at mark 50000: unrealised profit -3000 USD, maintenance requirement 750 USD = 0.01 of 75000"
    )
    # collateral 10,000 - 3,000; requirement 5,000 of debt + 750
    assert why[3] == "health at maintenance = collateral 7000 USD - requirement 5750 USD = 1250 USD"
    assert why[4] == "healthy: 500 USD above the initial requirement is free"
    assert len(why) == 5


@pytest.mark.parametrize(
    ("balance", "status"),
    [
        ("1000", "healthy"),  # 2 % of 50,000: exactly enough
        ("999.999999", "reduce_only"),
        ("625", "reduce_only"),  # call: a quarter of the way from 500 to 1,000
        ("624.999999", "margin_call"),
        ("500", "margin_call"),  # 1 %: exactly enough is not liquidated
        ("499.999999", "liquidatable"),
        ("0", "liquidatable"),
        ("-0.000001", "bankrupt"),
    ],
)
def test_each_status_begins_one_unit_below_its_level(balance, status):
    assert statement(balances={"USD": balance}, positions=[held("1")]).status == status


def test_a_position_in_the_second_tier_pays_each_slice_at_its_own_rate():
    only = statement(balances={"USD": "20000"}, positions=[held("3")])
    # 150,000 = 100,000 at 1 % + 50,000 at 2.5 %; at initial 2 % and 5 %
    assert (only.maintenance_margin, only.initial_margin) == ("2250", "4500")


def test_a_whole_position_pays_one_rate_and_jumps_at_the_floor():
    stepped = {"PERP": TABLE["markets"]["PERP"] | {"tier_kind": "whole_position"}}
    below = statement(balances={"USD": "9000"}, positions=[held("1.999")], markets=stepped)
    at_floor = statement(balances={"USD": "9000"}, positions=[held("2")], markets=stepped)
    assert (below.maintenance_margin, at_floor.maintenance_margin) == ("999.5", "2500")


def test_two_positions_of_a_cross_account_share_the_collateral():
    markets = {"ETH": {"settle": "USD", "lot": "0.01", "tick": "0.01", "tiers": TIERS}}
    only = statement(
        balances={"USD": "1000"},
        positions=[held("1", "49000"), held("-10", "2900", market="ETH")],
        markets=markets,
        marks={"ETH": "3000"},
    )
    # profit 1,000 and -1,000; requirement 500 + 300
    assert (only.equity, only.collateral, only.maintenance_margin, only.health) == ("1000", "1000", "800", "200")
    assert (only.health_factor, only.leverage, only.status) == (
        "1.25",
        "80",
        "reduce_only",
    )  # 625 + 375 at the call level: just enough
    assert [position.market for position in only.positions] == ["PERP", "ETH"]
    assert [position.unrealized_pnl for position in only.positions] == ["1000", "-1000"]


def test_an_isolated_position_is_stated_apart_from_its_owner():
    isolated = held("1", "48000", mode="isolated", margin="500")
    found = statements({"id": "a", "balances": {"USD": "100"}, "positions": [isolated]})
    owner, child = found["a"], found["a/PERP"]
    assert (owner.equity, owner.maintenance_margin, owner.positions) == ("100", "0", ())
    assert (child.mode, child.equity, child.health) == ("isolated", "2500", "2000")  # 500 + 2,000 of profit


def test_part_of_the_profit_may_count_and_all_of_a_loss():
    half = {"PERP": TABLE["markets"]["PERP"] | {"profit_weight": {"initial": "0", "maintenance": "0.5"}}}
    gain = statement(balances={"USD": "600"}, positions=[held("1", "48000")], markets=half)
    # equity counts all of the 2,000, collateral at maintenance half of it, at initial nothing
    assert (gain.equity, gain.collateral, gain.health_initial) == ("2600", "1600", "-400")
    # the call level, a quarter of the way from maintenance, counts 37.5 %: 1,350, of which 625 is required
    assert gain.status == "reduce_only"
    loss = statement(balances={"USD": "3000"}, positions=[held("1", "52000")], markets=half)
    assert (loss.equity, loss.collateral, loss.health_initial) == ("1000", "1000", "0")


def test_a_lending_account_gives_the_health_factor_of_its_protocol():
    # Aave: health factor = collateral * liquidation threshold / debt
    assets = {"ETH": {"price": "2000", "loan_to_value": "0.8", "liquidation_threshold": "0.825"}}
    only = statement(balances={"ETH": "10", "USD": "-11000"}, assets=assets)
    assert (only.collateral, only.maintenance_margin) == ("16500", "11000")  # 10 * 2,000 * 0.825
    assert (only.health_factor, only.health, only.health_initial) == ("1.5", "5500", "5000")
    assert (only.margin_ratio, only.leverage, only.positions) == (None, "0", ())
    at_edge = statement(balances={"ETH": "10", "USD": "-16500"}, assets=assets)
    assert (at_edge.health_factor, at_edge.status) == ("1", "margin_call")
    over = statement(balances={"ETH": "10", "USD": "-16500.000001"}, assets=assets)
    assert over.status == "liquidatable"
    assert Decimal(over.health_factor) < 1


def test_a_debt_weight_makes_a_debt_count_more_than_it_is_worth():
    assets = {"ETH": {"price": "2000", "debt_weight": {"initial": "1.2", "maintenance": "1.1"}}}
    only = statement(balances={"ETH": "-1", "USD": "2300"}, assets=assets)
    assert (only.equity, only.maintenance_margin, only.initial_margin) == ("300", "2200", "2400")
    assert (only.health, only.health_initial) == ("100", "-100")


def test_debts_without_holdings_have_a_health_factor_of_zero_and_no_leverage():
    only = statement(balances={"USD": "-4000"})
    assert (only.health_factor, only.leverage, only.margin_ratio, only.status) == ("0", None, None, "bankrupt")


def test_nothing_required_means_no_health_factor_and_nothing_held_no_leverage():
    rich = statement(balances={"USD": "5"})
    assert (rich.health_factor, rich.margin_ratio, rich.leverage) == (None, None, "0")
    empty = statement()
    assert (empty.equity, empty.health, empty.health_factor, empty.leverage) == ("0", "0", None, None)
    assert empty.status == "healthy"


def test_leverage_does_not_exist_without_equity():
    broke = statement(balances={"USD": "0"}, positions=[held("1")])
    assert (broke.equity, broke.leverage, broke.health_factor) == ("0", None, "0")


def test_orders_count_at_initial_by_their_worst_side_with_loss_and_fee():
    fee = {"PERP": TABLE["markets"]["PERP"] | {"taker_fee": "0.0005"}}
    orders = [order("buy", "1", "51000"), order("sell", "0.5", "50500")]
    only = statement(balances={"USD": "9000"}, positions=[held("0.5")], orders=orders, markets=fee)
    # bids filled: 1.5 * 50,000 * 2 % = 1,500, loss 51,000 - 50,000, fee 51,000 * 0.0005
    assert only.initial_margin == "2525.5"
    assert only.maintenance_margin == "250"  # orders do not count
    assert "open orders buy 1, sell 0.5 count at initial" in " ".join(only.why)


def test_a_market_with_orders_only_is_stated_without_prices_that_do_not_exist():
    only = statement(balances={"USD": "9000"}, orders=[order("buy", "1", "49000")])
    (position,) = only.positions
    assert (position.size, position.notional, position.maintenance_margin) == ("0", "0", "0")
    assert position.initial_margin == "1000"  # a better price than the mark is no credit
    assert (position.liquidation_price, position.bankruptcy_price) == (None, None)
    assert (only.health_factor, only.margin_ratio) == (None, None)


def test_a_market_with_orders_only_is_not_called_short_in_the_reasons():
    only = statement(balances={"USD": "9000"}, orders=[order("buy", "1", "49000")])
    assert only.why[1] == "PERP no position at mark 50000; open orders buy 1, sell 0 count at initial"


def test_a_margin_call_says_what_ends_it():
    only = statement(balances={"USD": "600"}, positions=[held("1")])
    assert only.status == "margin_call"
    assert only.why[-1] == (  # 625 required at the call level, 1,000 at initial
        "margin call: 25 USD short of the call requirement, 400 USD short of the initial requirement; deposit or reduce"
    )


def test_a_what_if_price_moves_the_mark_and_nothing_else():
    only = statement(
        balances={"USD": "10000", "BTC": "0.1"}, positions=[held("-1.5", "48000")], prices={"PERP": "40000"}
    )
    assert (only.positions[0].mark, only.positions[0].unrealized_pnl) == ("40000", "12000")
    assert only.equity == "27000"  # the 0.1 BTC held are still worth 5,000


def test_an_inverse_position_is_stated_in_coin_and_its_account_in_the_reporting_asset():
    markets = {
        "INV": TABLE["markets"]["PERP"] | {"settle": "BTC", "payoff": "inverse", "lot": "1", "tier_unit": "contracts"}
    }
    only = statement(
        balances={"BTC": "0.1"},
        positions=[held("10000", "40000", market="INV")],
        markets=markets,
        assets={"BTC": {"price": "50000"}},
        marks={"INV": "50000"},
    )
    (position,) = only.positions
    # 10,000 USD are 0.25 BTC at 40,000 and 0.2 BTC at 50,000
    assert (position.settle, position.notional, position.unrealized_pnl) == ("BTC", "0.2", "0.05")
    assert position.maintenance_margin == "0.002"
    assert (only.equity, only.maintenance_margin, only.leverage) == ("7500", "100", "1.333333333333333333")


def test_a_requirement_of_less_than_one_unit_is_rounded_up_to_one():
    tiny = {"PERP": TABLE["markets"]["PERP"] | {"lot": "0.00000001"}}
    only = statement(balances={"USD": "1"}, positions=[held("0.00000001")], markets=tiny)
    assert (only.positions[0].notional, only.maintenance_margin) == ("0.0005", "0.000005")
    dust = statement(balances={"USD": "1"}, positions=[held("0.00000001", "1")], markets=tiny, prices={"PERP": "0.1"})
    assert (dust.positions[0].notional, dust.maintenance_margin) == ("0.000001", "0.000001")


def test_a_system_account_is_stated_without_requirement():
    case = read_case(copy.deepcopy(TABLE) | {"accounts": []})
    account = Account(mode=SYSTEM, balances={0: -5_000_000}, positions={0: Position(size=1000, cost=10**10)})
    only = state_account("house", account, case.valuation)
    assert (only.mode, only.maintenance_margin, only.health, only.status) == ("system", "0", "0", "healthy")
    assert (only.positions[0].liquidation_price, only.positions[0].bankruptcy_price) == (None, None)
