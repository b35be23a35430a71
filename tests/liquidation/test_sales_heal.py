"""What a sale of one of several holdings may take, where the rest must still carry the debt."""

import pytest

from marginkeep.book.account import Account
from marginkeep.book.valuation import Valuation
from marginkeep.liquidation import Allowance, plan_reduction
from marginkeep.liquidation.incentive import heals, settled_measure
from marginkeep.liquidation.reduction import sell_holding
from marginkeep.liquidation.trial import Trial
from marginkeep.rulebook import MAINTENANCE, build_tables, read_rulebook

COIN = {"decimals": 6, "tick": "1", "weight": {"initial": "0.9", "maintenance": "0.95"}}
COSTS = {"slippage": "0.002", "penalty": "0.04", "liquidator_share": "0.5"}
USD, BTC, ETH = range(3)


def loan():
    """A debt of 100,000 against coins worth 101,000 at weight 0.95: a health factor of 0.9595, an equity of 1,000."""
    rules = read_rulebook({"assets": {"USD": {}, "BTC": COIN, "ETH": COIN}, "liquidation": COSTS})
    valuation = Valuation(build_tables(rules))
    valuation.set_price(BTC, 1_000)
    valuation.set_price(ETH, 1_000)
    balances = {USD: -100_000 * 10**6, BTC: 50 * 10**6, ETH: 51 * 10**6}
    return Account(balances=balances), valuation


@pytest.mark.parametrize(("bounded", "raises"), [(True, True), (False, False)])
def test_the_penalty_of_a_sale_gives_way_to_what_heals_and_would_harm_unbounded(bounded, raises):
    account, valuation = loan()
    before = settled_measure(account, valuation, MAINTENANCE)
    trial = Trial(account, valuation)
    sale = sell_holding(trial, valuation.tables.assets[ETH], 51 * 10**6, USD, Allowance(heals=bounded))
    assert heals(before, settled_measure(trial.account, valuation, MAINTENANCE)) is raises
    # 51,000 less slippage repay 50,898; the factor rises as long as less than about 403 of it goes on a penalty
    assert (sale.penalty < 404 * 10**6) is bounded
    assert sale.penalty > 400 * 10**6


def test_a_plan_that_must_heal_sells_the_first_holding_so_that_the_second_carries_what_is_left():
    account, valuation = loan()
    plan = plan_reduction(account, valuation, Allowance(heals=True))
    assert [step.asset for step in plan.steps][:1] == [ETH]
    assert plan.steps[0].penalty < 404 * 10**6
