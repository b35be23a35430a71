"""Insurance funds by pool, their caps, bad debt and who must wait while it is open."""

import pytest
from tests.ladder_houses import (
    balance,
    check_books,
    fund,
    kinds,
    ledger,
    only,
    opened,
    position,
    prices,
    rules_text,
    trade,
    usd,
)

from marginkeep.clearing import (
    AdoptRulebook,
    AdvanceTime,
    Deposit,
    Rejected,
    SetPrices,
    TopUpFund,
    Trade,
    Transfer,
    Withdraw,
)
from marginkeep.clearing.events import Liquidated, RulebookAdopted
from marginkeep.clearing.funds import plan_payments
from marginkeep.clearing.ill import Ill
from marginkeep.clearing.loss_events import BadDebtRepaid, LossCovered
from marginkeep.clearing.losses import ClosedLots, Loss, sum_losses
from marginkeep.clearing.transaction import Transaction
from marginkeep.clearing.waterfall import Covered, cover
from marginkeep.liquidation.insurance import DAY_NS
from marginkeep.rulebook.ladder_rules import BANKRUPT

FUNDS = {
    "majors": {"markets": ["BTC-PERP"], "most_an_event": "400", "most_a_day": "1000"},
    "last": {"most_an_event": "300", "most_a_day": "100000"},
}
PLAIN = {"policy": "none", "socialise": "none"}


def top_up(house, amount, name=None, asset="USD"):
    return house.apply(TopUpFund(asset=asset, amount=usd(amount) if asset == "USD" else amount, fund=name))


def ruin(house, name, lots=100, cash=500, market="BTC-PERP", price=50_000, drop=0.8):
    """A long that loses more than it has, and is closed; return what was covered, and put the price back."""
    fund(house, name, cash)
    trade(house, name, "external", lots, price, market)
    answer = house.apply(prices(price * drop) if market == "BTC-PERP" else prices(eth=price * drop))
    check_books(house)
    house.apply(prices(price) if market == "BTC-PERP" else prices(eth=price))
    return only(answer, LossCovered)[0]


def test_the_fund_of_the_pool_pays_first_and_then_the_last():
    house = opened({**PLAIN, "funds": FUNDS})
    top_up(house, 5_000, "majors")
    top_up(house, 5_000)
    covered = ruin(house, "ann")  # loses 1000 and 8 of slippage, has 500
    assert covered.funds == {"fund:majors": usd(400), "insurance_fund": usd(108)}
    assert covered.fund_paid == usd(508)
    assert covered.bad_debt == 0
    assert ledger(house, "fund:majors") == usd(4_600)
    assert ledger(house, "insurance_fund") == usd(4_892)
    assert balance(house, "ann") == 0


def test_a_market_of_no_pool_has_the_last_fund_alone():
    house = opened({**PLAIN, "funds": FUNDS})
    top_up(house, 5_000, "majors")
    top_up(house, 5_000, "last")
    covered = ruin(house, "ann", lots=100, cash=200, market="ETH-PERP", price=3_000)
    assert covered.funds == {"insurance_fund": usd(300)}
    assert covered.bad_debt == covered.owed - usd(300)


def test_a_fund_pays_no_more_than_its_cap_of_a_day_until_the_next():
    house = opened({**PLAIN, "funds": {"majors": FUNDS["majors"]}})
    top_up(house, 5_000, "majors")
    paid = [ruin(house, name).fund_paid for name in ("ann", "bob", "cid", "dan")]
    assert paid == [usd(400), usd(400), usd(200), 0]
    house.apply(AdvanceTime(now_ns=DAY_NS - 1))
    assert ruin(house, "eve").fund_paid == 0
    house.apply(AdvanceTime(now_ns=DAY_NS))
    assert ruin(house, "fay").fund_paid == usd(400)


def test_a_fund_without_rules_pays_all_it_has():
    house = opened(PLAIN)
    top_up(house, 300)
    covered = ruin(house, "ann")
    assert (covered.fund_paid, covered.socialised, covered.bad_debt) == (usd(300), 0, usd(208))
    assert ledger(house, "bad_debt") == -usd(208)


def test_a_fund_buys_what_is_owed_within_its_caps():
    inverse = {"settle": "BTC", "payoff": "inverse", "lot": "1", "contract_size": "1", "tick": "0.5"}
    tiers = [{"floor": "0", "initial": "0.05", "maintenance": "0.01"}]
    house = opened(
        {**PLAIN, "funds": {"last": {"most_an_event": "100", "most_a_day": "150"}}},
        markets={"BTC-INV": {**inverse, "max_price": "1000000", "tier_unit": "contracts", "tiers": tiers}},
        btc=None,
        eth=None,
    )

    def at(price):
        return house.apply(SetPrices(marks={"BTC-INV": 2 * price}, prices={"BTC": 100 * price}))

    at(50_000)
    top_up(house, 5_000)
    top_up(house, 100_000, asset="BTC")  # 0.001 BTC, 40 USD at 40,000
    fund(house, "ann", 0.02, "BTC")
    house.apply(Trade(market="BTC-INV", buyer="ann", seller="external", size=10_000, price=100_000))
    covered = only(at(40_000), LossCovered)[0]
    check_books(house)
    assert covered.fund_paid == covered.funds["insurance_fund"]
    assert usd(99.99) < covered.fund_paid <= usd(100)
    assert ledger(house, "insurance_fund", "BTC") == 0
    assert usd(4_940) <= ledger(house, "insurance_fund") <= usd(4_940.01)
    assert covered.bad_debt > 0


@pytest.mark.parametrize(
    ("held", "coins", "cap", "paid"),
    [
        (5_000, 0, "100", [("USD", 80, 0), ("BTC", 0, 40_000)]),  # 20 of the 100 are left for the second debt
        (90, 0, "1000", [("USD", 80, 0), ("BTC", 0, 20_000)]),  # 10 of the 90 are left
        (5_000, 30_000, "1000", [("USD", 80, 0), ("BTC", 30_000, 130_000)]),  # coins held, then coins bought
        (5_000, 30_000, "85", [("USD", 80, 0), ("BTC", 10_000, 0)]),  # coins count toward the cap as well
    ],
)
def test_a_fund_pays_two_debts_out_of_one_purse_and_one_cap(held, coins, cap, paid):
    house = opened({**PLAIN, "funds": {"last": {"most_an_event": cap, "most_a_day": "1000"}}})
    top_up(house, held)
    if coins:
        top_up(house, coins, asset="BTC")
    planned = plan_payments(Transaction(house.state), {0: usd(80), 1: 160_000}, {})
    names = [asset.name for asset in house.state.tables.assets]
    seen = [(names[p.asset], p.in_kind // (10**6 if p.asset == 0 else 1), p.bought) for p in planned]
    assert seen == paid
    assert sum(payment.worth for payment in planned) <= usd(float(cap))


def test_the_funds_share_of_a_penalty_goes_to_the_fund_of_the_pool():
    house = opened({**PLAIN, "funds": FUNDS})
    fund(house, "ann", 3_000)
    trade(house, "ann", "external", 1_000, 50_000)
    done = only(house.apply(prices(47_400)), Liquidated)[0]
    penalty = done.penalty
    assert penalty > 0
    assert ledger(house, "fund:majors") == penalty - penalty * 4 // 10
    assert ledger(house, "insurance_fund") == 0
    check_books(house)


def test_new_money_of_a_fund_repays_open_bad_debt_first():
    house = opened({**PLAIN, "funds": FUNDS})
    ruin(house, "ann")
    assert ledger(house, "bad_debt") == -usd(508)
    repaid = only(top_up(house, 100, "majors"), BadDebtRepaid)
    assert [(event.fund, event.amount) for event in repaid] == [("fund:majors", usd(100))]
    assert ledger(house, "fund:majors") == 0
    fund(house, "bob", 3_000)
    trade(house, "bob", "external", 1_000, 50_000)
    house.apply(prices(47_400))
    assert -usd(408) < ledger(house, "bad_debt") < -usd(300)
    top_up(house, 1_000)
    assert ledger(house, "bad_debt") == 0
    assert ledger(house, "fund:majors") == 0
    check_books(house)


def test_what_a_fund_held_before_is_not_drained_by_a_top_up():
    house = opened({**PLAIN, "funds": FUNDS})
    top_up(house, 5_000, "majors")
    ruin(house, "ann")
    assert ledger(house, "bad_debt") == -usd(108)
    top_up(house, 8, "majors")
    assert ledger(house, "bad_debt") == -usd(100)
    assert ledger(house, "fund:majors") == usd(4_600)


def test_a_fund_that_the_rules_do_not_name_is_refused():
    house = opened({**PLAIN, "funds": FUNDS})
    assert top_up(house, 1, "minors")[0].code == "unknown_fund"
    assert opened(None).apply(TopUpFund(asset="USD", amount=1, fund="majors"))[0].code == "unknown_fund"
    assert top_up(house, 1, "last")[0].target == "insurance_fund"


def test_money_of_an_asset_waits_while_its_bad_debt_is_open():
    """A debt that no position made is nobody's gain: there is no side to bear it."""
    house = opened({"policy": "none", "socialise": "side"})
    for name in ("bob", "cid"):
        fund(house, name, 1_000)
        fund(house, name, 1, "BTC")
    fund(house, "ann", 1, "BTC")
    trade(house, "ann", "external", 1_000, 3_000, "ETH-PERP")
    trade(house, "external", "ann", 1_000, 1_000, "ETH-PERP")
    covered = only(house.apply(prices(10_000)), LossCovered)[0]
    assert covered.bad_debt == covered.owed == usd(20_000) - usd(9_980)
    take = Withdraw(account="bob", asset="USD", amount=usd(1))
    assert house.apply(take)[0].code == "shortfall_open"
    assert house.apply(take)[0].numbers == {"unpaid": covered.owed}
    give = Transfer(source="bob", target="cid", asset="USD", amount=usd(1))
    assert house.apply(give)[0].code == "shortfall_open"
    assert kinds(house.apply(Withdraw(account="bob", asset="BTC", amount=1))) == ["BalanceMoved"]
    assert kinds(house.apply(Deposit(account="bob", asset="USD", amount=1))) == ["BalanceMoved"]
    assert kinds(top_up(house, 10_020)) == ["BalanceMoved", "BadDebtRepaid"]
    assert kinds(house.apply(take)) == ["BalanceMoved"]
    assert kinds(house.apply(give)) == ["BalanceMoved"]
    check_books(house)


@pytest.mark.parametrize("ladder", [None, PLAIN])
def test_without_socialised_losses_bad_debt_holds_nobodys_money(ladder):
    house = opened(ladder)
    fund(house, "ann", 500)
    trade(house, "ann", "external", 100, 50_000)
    house.apply(prices(40_000))
    assert ledger(house, "bad_debt") == -usd(508)
    fund(house, "bob", 1)
    assert kinds(house.apply(Withdraw(account="bob", asset="USD", amount=1))) == ["BalanceMoved"]


@pytest.mark.without_shadows  # the state is made by hand: a bankrupt account that waits for a price
def test_money_waits_while_insolvent_accounts_owe_more_than_the_funds_hold():
    house = opened({"policy": "none", "socialise": "side", "funds": FUNDS})
    fund(house, "ann", 500)
    trade(house, "ann", "external", 100, 50_000)
    fund(house, "bob", 10)
    house.state.valuation.set_mark(0, 400_000)
    house.state.ill["ann"] = Ill(BANKRUPT, 0)
    take = Withdraw(account="bob", asset="USD", amount=usd(1))
    refused = house.apply(take)[0]
    assert isinstance(refused, Rejected)
    assert refused.numbers == {"owed": usd(500), "held": 0}
    house.state.ledger["fund:majors", 0], house.state.ledger["insurance_fund", 0] = usd(499), usd(1)
    assert kinds(house.apply(take))[0] == "BalanceMoved"


@pytest.mark.parametrize("asset", ["BTC", "EUR"])
def test_one_unit_left_does_not_delay_a_loss(asset):
    """The second asset has no price: it cannot be sold, and stays."""
    assets = {"USD": {}, "BTC": {"tick": "0.01"}, "EUR": {"tick": "0.01"}}
    house = opened({"policy": "none", "socialise": "side"}, assets=assets)
    house.apply(Deposit(account="ann", asset=asset, amount=1))
    fund(house, "bob", 10_000)
    fund(house, "ann", 500)
    trade(house, "ann", "bob", 100, 50_000)
    covered = only(house.apply(prices(40_000)), LossCovered)[0]
    assert covered.socialised == covered.owed
    assert usd(508) - 500 <= covered.owed <= usd(508)
    assert balance(house, "ann") == 0
    assert balance(house, "ann", asset) == (asset == "EUR")
    check_books(house)


def test_nothing_is_covered_while_a_position_is_left():
    house = opened()
    fund(house, "ann", 500)
    trade(house, "ann", "external", 100, 50_000)
    assert cover(Transaction(house.state), "ann") == Covered(0, 0, 0)
    assert position(house, "ann", "BTC-PERP").size == 100


def test_losses_are_counted_by_market_and_closes_share_where_none_lost():
    state = opened().state
    lost = sum_losses(state, [ClosedLots(0, -5, -70, 900), ClosedLots(1, 8, 30, 500), ClosedLots(0, -5, 20, 800)])
    assert lost == {0: Loss(50, True)}
    drained = sum_losses(state, [ClosedLots(1, 8, 30, 500), ClosedLots(0, -5, 0, 900)])
    assert drained == {0: Loss(900, True), 1: Loss(500, False)}
    assert sum_losses(state, []) == {}


def test_adopted_rules_hand_what_unknown_funds_hold_to_the_last_one():
    house = opened({**PLAIN, "funds": FUNDS})
    top_up(house, 700, "majors")
    ruin(house, "ann")
    left = ledger(house, "fund:majors")
    adopted = house.apply(AdoptRulebook(rules=rules_text({**PLAIN, "funds": {"last": FUNDS["last"]}})))
    assert only(adopted, RulebookAdopted)[0].postings[0].amount == left == usd(300)
    assert ledger(house, "fund:majors") == 0
    assert ledger(house, "insurance_fund") == left
    assert "fund:majors" not in house.state.funds
    check_books(house)
