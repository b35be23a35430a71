"""Limits of positions in the house: of an account, of an owner's accounts, of a market; and margin by open interest."""

from __future__ import annotations

import pytest
from tests.clearing.funding_house import MARKET, house_of, tables, text
from tests.houses import position
from tests.oracle_houses import START, buy, done, fund, line, quotes, refused, units

from marginkeep.clearing import (
    AdoptRulebook,
    ChangeMode,
    ReleaseOrder,
    ReserveOrder,
    Trade,
    Withdraw,
    check_conservation,
)
from marginkeep.clearing.transaction import Transaction
from marginkeep.rulebook.limit_rules import scaled_initial
from marginkeep.units import RATE_ONE


def limited(**rules):
    """A house with limits of BTC-PERP at 50,000: a lot is worth 50 USD."""
    house = house_of(tables({}, {MARKET: rules}))
    for name in ("ann", "ann.bot", "ben"):
        fund(house, name, 1_000_000)
    return house


def order(account, key, size, side="buy"):
    return ReserveOrder(account=account, order=key, market=MARKET, side=side, size=size, price=500_000)


def initial(house, name):
    return Transaction(house.state).initial(name).requirement


# Accounts ----------------------------------------------------------------------------------------------------------


def test_an_account_may_reach_its_limit_and_not_pass_it():
    house = limited(account={"size": "2"})
    done(house, buy(house, "ann", MARKET, 2_000))
    no = refused(house, buy(house, "ann", MARKET, 1))
    assert (no.code, no.numbers) == ("position_limit", {"reach": 2_001, "bound": 2_000})
    assert no.reason.startswith("BTC-PERP: ann would reach 2001 lots")
    refused(house, buy(house, "ben", MARKET, -2_001))
    done(house, buy(house, "ben", MARKET, -2_000))


def test_open_orders_count_as_if_they_were_filled():
    house = limited(account={"size": "2"})
    done(house, order("ann", "a1", 1_500))
    assert refused(house, order("ann", "a2", 501)).numbers == {"reach": 2_001, "bound": 2_000}
    done(house, order("ann", "a2", 2_000, "sell"))  # the other side is another reach
    trade = Trade(market=MARKET, buyer="ann", seller="external", size=1_500, price=500_000, buyer_order="a1")
    done(house, trade)
    assert refused(house, order("ann", "a3", 501)).code == "position_limit"
    done(house, order("ann", "a3", 500))


def test_a_value_bounds_at_the_mark_of_the_moment():
    house = limited(account={"value": "100000"})
    done(house, buy(house, "ann", MARKET, 2_000))
    done(house, quotes(START + 10, house, BTC=50_500))
    assert refused(house, buy(house, "ben", MARKET, 1_981)).numbers == {"reach": 1_981, "bound": 1_980}


def test_what_does_not_grow_passes_though_it_is_beyond_the_limit():
    house = limited(account={"size": "2"}, group={"size": "2"}, interest={"size": "2"})
    done(house, buy(house, "ann", MARKET, 2_000, "ben"))
    lower = {"account": {"size": "1"}, "group": {"size": "1"}, "interest": {"size": "1"}}
    done(house, AdoptRulebook(rules=text(tables({}, {MARKET: lower}))))
    done(house, order("ann", "a1", 2_000, "sell"))
    done(house, ReleaseOrder(account="ann", order="a1"))
    done(house, buy(house, "ben", MARKET, 500, "ann"))
    assert refused(house, buy(house, "ann", MARKET, 1, "ben")).numbers == {"reach": 1_501, "bound": 1_000}
    assert refused(house, order("ann", "a1", 1)).code == "position_limit"
    done(house, ChangeMode(account="ann", market=MARKET, mode="isolated", margin=units(50_000)))
    check_conservation(house)


def test_system_accounts_have_no_limit_of_their_own():
    house = limited(account={"size": "2"}, group={"size": "2"})
    done(house, buy(house, "ann", MARKET, 2_000))
    done(house, buy(house, "ben", MARKET, 2_000))
    assert position(house, "external", MARKET).size == -4_000


def test_other_markets_are_not_limited():
    house = limited(account={"size": "2"})
    done(house, buy(house, "ann", "ETH-PERP", 100_000))


# Owners ------------------------------------------------------------------------------------------------------------


def test_accounts_of_one_owner_share_a_limit():
    house = limited(group={"size": "3"})
    done(house, buy(house, "ann", MARKET, 2_000))
    done(house, buy(house, "ann.bot", MARKET, 1_000))
    no = refused(house, buy(house, "ann.bot", MARKET, 1))
    assert (no.code, no.numbers) == ("group_limit", {"reach": 3_001, "bound": 3_000})
    assert no.reason.startswith("BTC-PERP: the accounts of ann would together")
    done(house, buy(house, "ben", MARKET, 3_000))


def test_longs_and_shorts_of_one_owner_do_not_offset_each_other():
    house = limited(group={"size": "3"})
    done(house, buy(house, "ann", MARKET, 2_000))
    done(house, buy(house, "ann.bot", MARKET, -3_000))
    assert refused(house, buy(house, "ann", MARKET, 1_001)).numbers["reach"] == 3_001


def test_an_owner_may_move_a_position_from_one_account_to_another_at_the_limit():
    house = limited(group={"size": "2"})
    done(house, buy(house, "ann", MARKET, 2_000))
    done(house, buy(house, "ann.bot", MARKET, 2_000, "ann"))
    assert position(house, "ann.bot", MARKET).size == 2_000


def test_isolated_accounts_and_later_ones_count_for_their_owner():
    house = limited(group={"size": "2"})
    done(house, buy(house, "ann", MARKET, 1_500))
    done(house, ChangeMode(account="ann", market=MARKET, mode="isolated", margin=units(50_000)))
    assert refused(house, buy(house, "ann", MARKET, 501)).code == "group_limit"
    fund(house, "ann.new", 1_000_000)
    assert refused(house, buy(house, "ann.new", MARKET, 501)).code == "group_limit"
    done(house, buy(house, "ann.new", MARKET, 500))
    fund(house, "annette", 1_000_000)
    done(house, buy(house, "annette", MARKET, 2_000))


# Markets -----------------------------------------------------------------------------------------------------------


def test_open_interest_has_a_limit_whoever_holds_it():
    house = limited(interest={"size": "3"})
    done(house, buy(house, "ann", MARKET, 2_000, "ben"))
    no = refused(house, buy(house, "ann.bot", MARKET, 1_001))
    assert (no.code, no.numbers) == ("interest_limit", {"reach": 3_001, "bound": 3_000})
    done(house, buy(house, "ann.bot", MARKET, 1_000))
    fund(house, "cat", 10_000)
    done(house, buy(house, "cat", MARKET, 2_000, "ann"))  # from hand to hand: it does not grow
    assert house.state.open_interest[0] == 3_000


def test_a_limit_may_follow_the_depth_that_the_ladder_states():
    whole = tables({}, {MARKET: {"interest": {"depth": "10"}}})
    impact = {"depth": "0.2", "impact": "0.001", "share": "0.5", "interval": "1m"}
    whole["ladder"] = {"impact": {MARKET: impact}}
    house = house_of(whole)
    fund(house, "ann", 1_000_000)
    done(house, buy(house, "ann", MARKET, 2_000))
    assert refused(house, buy(house, "ann", MARKET, 1)).numbers == {"reach": 2_001, "bound": 2_000}


# Margin by open interest -------------------------------------------------------------------------------------------


def test_the_initial_rate_rises_from_its_own_to_one_as_at_dydx():
    """Cap from 20 to 50 million, rate 2 %: at 35 million 2 % + 98 % * 15 / 30 = 51 %."""
    house = limited(margin={"from": "20000000", "to": "50000000"})
    fund(house, "whale", 500_000_000)
    fund(house, "other", 500_000_000)
    done(house, buy(house, "ann", MARKET, 1_000))
    assert initial(house, "ann") == units(1_000)
    done(house, buy(house, "whale", MARKET, 699_000, "other"))  # 700 BTC: 35 million
    assert scaled_initial(RATE_ONE // 50, 35, 20, 50) == RATE_ONE * 51 // 100
    assert initial(house, "ann") == units(0.51 * 50_000)
    done(house, buy(house, "whale", MARKET, 500_000, "other"))
    assert initial(house, "ann") == units(50_000)
    assert initial(house, "external") == 0


def test_a_trade_needs_the_margin_of_the_open_interest_that_it_makes():
    house = limited(margin={"from": "0", "to": "1000000"})
    # 10 BTC are 500,000, half of the way; the rate 2 % to 100,000 and 5 % beyond
    plain = 0.02 * 100_000 + 0.05 * 400_000
    fund(house, "cat", plain + (500_000 - plain) / 2)
    refused(house, buy(house, "cat", MARKET, 10_100))
    done(house, buy(house, "cat", MARKET, 10_000))
    assert Transaction(house.state).initial("cat").health == 0
    assert refused(house, Withdraw(account="cat", asset="USD", amount=1)).numbers["missing"] == 1


def test_who_lacks_the_risen_margin_may_still_reduce():
    house = limited(margin={"from": "500000", "to": "1000000"})
    fund(house, "cat", 10_000)
    done(house, buy(house, "cat", MARKET, 1_000))
    done(house, buy(house, "ann", MARKET, 19_000, "ben"))
    assert Transaction(house.state).initial("cat").health < 0
    assert refused(house, buy(house, "cat", MARKET, 1)).code == "insufficient_margin"
    done(house, buy(house, "cat", MARKET, -400))


def test_an_order_reserves_at_the_risen_rate():
    house = limited(margin={"from": "0", "to": "1000000"})
    done(house, buy(house, "ann", MARKET, 10_000, "ben"))
    fund(house, "cat", 100_000)
    free = done(house, order("cat", "c1", 1_000))[-1].free
    assert free == units(100_000 - 0.51 * 50_000)


def test_stable_prices_count_in_the_risen_margin_too():
    whole = tables({}, {MARKET: {"margin": {"from": "0", "to": "1000000"}}}, stable={})
    house = house_of(whole)
    for name in ("ann", "ben"):
        fund(house, name, 1_000_000)
    done(house, buy(house, "ann", MARKET, 10_000, "ben"))
    before = initial(house, "ann")
    done(house, quotes(START + 10, house, BTC=55_000))
    after = initial(house, "ann")
    # a long counts at the stable price, which has stayed behind; open interest at the mark: 55 % of the way
    value = line(house, MARKET).stable.value
    assert 50_000 * 10 < value < 51_000 * 10
    plain = 0.02 * 100_000 + 0.05 * (value - 100_000)
    assert after == pytest.approx(units(plain + (value - plain) * 0.55), abs=2)
    assert after > before
