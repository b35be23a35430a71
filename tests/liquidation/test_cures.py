import pytest
from tests.houses import LINEAR, usd
from tests.liquidation.holdings import holding, valued

from marginkeep.liquidation.cures import (
    DepositCure,
    close_cure,
    deposit_cure,
    find_cures,
    missing_health,
    with_close,
    with_deposit,
)

BTC = {"tick": "0.01", "weight": {"initial": "0.9", "maintenance": "0.95"}, "max_price": "200000"}
LOT_AT_TARGET = usd(49.4 * (0.015 - 0.0005))
"""What closing a lot at 49,400 adds to health at the target: its requirement less the taker fee."""


def called():
    """1 BTC bought at 50,000: at 49,400 it has 519 left, and its call level requires 617.5, its target 741."""
    valuation = valued(btc=49_400)
    account = holding(valuation, 1_119, ("BTC-PERP", 1_000, 500_000))
    assert missing_health(account, valuation) == usd(1_119 - 600) - usd(741)
    return account, valuation


def names_of(cures, tables):
    return [tables[cure[0]].name for cure in cures]


def test_the_deposit_of_the_reporting_asset_is_the_shortfall_to_the_unit():
    account, valuation = called()
    assert deposit_cure(account, valuation.tables.assets[0], valuation) == DepositCure(0, usd(222), usd(222))


def test_a_deposit_that_counts_for_less_must_be_larger():
    account, valuation = called()
    bitcoin = deposit_cure(account, valuation.tables.assets[valuation.tables.asset_index["BTC"]], valuation)
    assert bitcoin.value == -(-bitcoin.amount * 49_400 * 10**6 // 10**8)
    assert 0 <= bitcoin.value - usd(222) / 0.925 < 2_000


def test_the_close_is_the_smallest_that_restores_call_and_target():
    account, valuation = called()
    cure = close_cure(account, valuation.tables.markets[0], valuation)
    lots = -(-usd(222) // LOT_AT_TARGET)
    assert (cure.size, cure.price, cure.cost) == (-lots, 494_000, usd(lots * 49.4 * 0.0005))
    for size, cures in ((cure.size, True), (cure.size + 1, False)):
        closed = with_close(account, valuation.tables.markets[0], size, valuation)
        assert (missing_health(closed, valuation) >= 0) is cures


def test_a_short_is_closed_by_buying():
    valuation = valued(btc=50_600)
    account = holding(valuation, 1_119, ("BTC-PERP", -1_000, 500_000))
    cure = close_cure(account, valuation.tables.markets[0], valuation)
    assert 0 < cure.size < 1_000
    assert missing_health(with_close(account, valuation.tables.markets[0], cure.size - 1, valuation), valuation) < 0


def test_cures_are_listed_cheapest_first_and_each_is_enough_alone():
    account, valuation = called()
    found = find_cures(account, valuation)
    assert names_of(found.deposits, valuation.tables.assets) == ["USD", "BTC"]
    for cure in found.deposits:
        assert missing_health(with_deposit(account, cure.asset, cure.amount), valuation) >= 0
        assert missing_health(with_deposit(account, cure.asset, cure.amount - 1), valuation) < 0
    assert names_of(found.closes, valuation.tables.markets) == ["BTC-PERP"]


def test_the_cheapest_of_several_closes_comes_first():
    """200,000 of ETH are held at 5 % above 100,000: closing them releases more a unit of fee than BTC's first tier."""
    valuation = valued()
    account = holding(valuation, 5_900, ("BTC-PERP", 1_900, 500_000), ("ETH-PERP", 6_600, 300_000))
    found = find_cures(account, valuation)
    assert names_of(found.closes, valuation.tables.markets) == ["ETH-PERP", "BTC-PERP"]
    assert found.closes[0].cost < found.closes[1].cost


def test_a_position_whose_whole_close_is_not_enough_is_no_cure():
    valuation = valued(btc=49_400)
    account = holding(valuation, 1_119, ("ETH-PERP", 1, 300_000), ("BTC-PERP", 1_000, 500_000))
    assert names_of(find_cures(account, valuation).closes, valuation.tables.markets) == ["BTC-PERP"]


def test_an_account_that_owes_more_than_it_has_cannot_be_cured_by_closing():
    valuation = valued(btc=48_000)
    account = holding(valuation, 1_119, ("BTC-PERP", 1_000, 500_000))
    found = find_cures(account, valuation)
    assert found.closes == ()
    assert found.deposits[0] == DepositCure(0, usd(2_000 - 1_119 + 720), usd(2_000 - 1_119 + 720))


def test_a_healthy_account_needs_no_cure():
    valuation = valued()
    account = holding(valuation, 1_119, ("BTC-PERP", 1_000, 500_000))
    assert find_cures(account, valuation) == ((), ())
    assert deposit_cure(account, valuation.tables.assets[0], valuation) is None
    assert close_cure(account, valuation.tables.markets[0], valuation) is None


def test_an_asset_without_a_price_is_not_offered():
    account, valuation = called()
    valuation.set_price(valuation.tables.asset_index["BTC"], 0)
    assert names_of(find_cures(account, valuation).deposits, valuation.tables.assets) == ["USD"]


def test_an_asset_that_counts_for_nothing_cures_only_one_who_owes_it():
    valuation = valued(assets={"USD": {}, "BTC": {**BTC, "weight": "0", "debt_weight": "1.1"}})
    bitcoin = valuation.tables.assets[valuation.tables.asset_index["BTC"]]
    assert deposit_cure(holding(valuation, 1_119, ("BTC-PERP", 2_000, 500_000)), bitcoin, valuation) is None
    # 1,200 less the 750 of the target leave 450 for 1.1 times a debt of 500
    account = holding(valuation, 1_200, ("BTC-PERP", 1_000, 500_000), BTC=-(10**6))
    cure = deposit_cure(account, bitcoin, valuation)
    assert cure.amount == 10**6 - int(450 / 1.1 / 50_000 * 10**8)
    assert deposit_cure(holding(valuation, 749, ("BTC-PERP", 1_000, 500_000), BTC=-(10**6)), bitcoin, valuation) is None


@pytest.mark.parametrize(
    ("cash", "owed", "only_in_the_middle"),
    [(0, 10**6, False), (0, 1_960_000, False), (-20, 1_960_000, True), (0, 2_500_000, False)],
)
def test_the_smallest_size_is_found_where_a_profit_pays_a_debt_on_the_way(cash, owed, only_in_the_middle):
    """Beyond the debt, what closing brings counts a tenth of what the profit did: health rises, then falls."""
    valuation = valued(btc=100_000, assets={"USD": {}, "BTC": {**BTC, "weight": "0.1", "debt_weight": "1.05"}})
    account = holding(valuation, cash, ("BTC-INV", 2_000, 100_000), BTC=-owed)
    market = valuation.tables.markets[valuation.tables.market_index["BTC-INV"]]
    healths = [missing_health(with_close(account, market, -size, valuation), valuation) for size in range(2_001)]
    enough = [size for size, health in enumerate(healths) if health >= 0]
    assert (bool(enough) and healths[0] < 0 and healths[-1] < 0) is only_in_the_middle
    cure = close_cure(account, market, valuation)
    if healths[0] >= 0 or not enough:
        assert cure is None
    else:
        assert -cure.size == enough[0]


def test_the_first_lot_is_enough_where_it_books_funding_that_repays_a_debt():
    """A debt weighs more than the funding that repays it; closing more turns profit into what hardly counts."""
    valuation = valued(btc=100_000, assets={"USD": {}, "BTC": {**BTC, "weight": "0.1", "debt_weight": "1.05"}})
    account = holding(valuation, -1_950, ("BTC-INV", 2_000, 100_000), BTC=-(10**6))
    market = valuation.tables.markets[valuation.tables.market_index["BTC-INV"]]
    valuation.funding[market.index] = -505 * 10**9  # 1,010,000 units earned on 2,000 lots
    healths = [missing_health(with_close(account, market, -size, valuation), valuation) for size in (0, 1, 2_000)]
    assert healths[0] < 0 <= healths[1]
    assert healths[2] < 0
    assert close_cure(account, market, valuation).size == -1


@pytest.mark.parametrize(("call", "target"), [("0.02", "0.015"), ("0.015", "0.02")])
def test_a_cure_restores_both_levels_whichever_is_the_stricter(call, target):
    tier = {"floor": "0", "initial": "0.03", "call": call, "maintenance": "0.01", "target": target}
    valuation = valued(markets={"BTC-PERP": {**LINEAR, "tiers": [tier]}}, btc=None, eth=None)
    valuation.set_mark(0, 500_000)
    account = holding(valuation, 900, ("BTC-PERP", 1_000, 500_000))
    found = find_cures(account, valuation)
    assert found.deposits[0] == DepositCure(0, usd(100), usd(100))
    assert found.closes[0].size == -100


def test_funding_that_is_owed_is_booked_by_a_close():
    account, valuation = called()
    valuation.funding[0] += 10**9 * usd(0.05)  # 50 owed on 1,000 lots
    cure = close_cure(account, valuation.tables.markets[0], valuation)
    assert -cure.size == 1 + usd(272) // LOT_AT_TARGET
    closed = with_close(account, valuation.tables.markets[0], cure.size, valuation)
    assert closed.positions[0].funding_entry == valuation.funding[0]


def test_finding_cures_changes_nothing_of_the_account():
    account, valuation = called()
    before = (dict(account.balances), {i: (p.size, p.cost, p.funding_entry) for i, p in account.positions.items()})
    find_cures(account, valuation)
    assert before == (account.balances, {i: (p.size, p.cost, p.funding_entry) for i, p in account.positions.items()})
