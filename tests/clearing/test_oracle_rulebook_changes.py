"""Adopting a rulebook: an oracle is added, taken away or changed, and what it knows is carried over where it can be."""

from __future__ import annotations

import pytest
from tests.oracle_houses import (
    GUARDED_AT_10,
    PEG,
    SECOND,
    START,
    at,
    buy,
    calls,
    changes,
    done,
    fund,
    health,
    line,
    liquidated,
    mark,
    opened,
    price,
    quote,
    quotes,
    refused,
    rules_text,
    table,
    units,
)

from marginkeep.clearing import (
    AdoptRulebook,
    Clearinghouse,
    SetPrices,
    Withdraw,
    check_conservation,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.clearing.commands import Halt, PublishQuotes
from marginkeep.rulebook import read_rulebook

MARKS = {"BTC-PERP": 500_000, "ETH-PERP": 300_000, "BTC-INV": 100_000, "ETH-USDC": 300_000}
PRICES = {"BTC": 5_000_000, "ETH": 300_000, "USDC": 10_000}


def by_hand() -> Clearinghouse:
    """A house without an oracle whose prices are set by hand."""
    whole = table()
    del whole["oracle"]
    house = Clearinghouse(read_rulebook(whole))
    done(house, at(START))
    done(house, SetPrices(marks=MARKS, prices=PRICES))
    return house


def adopt(house: Clearinghouse, **changed):
    return done(house, AdoptRulebook(rules=rules_text(**changed)))


# Added -------------------------------------------------------------------------------------------------------------


def test_an_oracle_that_is_added_trusts_the_prices_there_are_and_lets_nothing_new_begin():
    house = by_hand()
    fund(house, "ann", 100_000)
    fund(house, "ann", 1, "BTC")
    done(house, buy(house, "ann", "BTC-PERP", 100))
    before = health(house, "ann")
    adopt(house)
    assert health(house, "ann") == before
    answer = refused(house, buy(house, "ann", "BTC-PERP", 1))
    assert (answer.prices[0].price, answer.prices[0].quality) == (500_000, "too_few_sources")
    assert refused(house, Withdraw(account="ann", asset="USD", amount=1)).code == "price"
    assert refused(house, SetPrices(marks={"BTC-PERP": 1})).code == "oracle_fed"
    events = done(house, quotes(START + 1, BTC=51_000, ETH=3_000, USDC=1))
    assert changes(events, "quality")
    assert mark(house, "BTC-PERP") == 510_000
    done(house, buy(house, "ann", "BTC-PERP", 1))


def test_collateral_without_a_quote_yet_backs_nothing_new_after_an_oracle_is_added():
    house = by_hand()
    done(house, SetPrices(marks={"COIN-PERP": 1_000}))
    fund(house, "ann", 1, "BTC")
    done(house, buy(house, "ann", "COIN-PERP", 100))
    adopt(house)
    assert refused(house, buy(house, "ann", "COIN-PERP", 100)).code == "insufficient_margin"
    done(house, quotes(START + 1, BTC=50_000))
    done(house, buy(house, "ann", "COIN-PERP", 100))


def test_nobody_is_liquidated_at_a_hand_set_price_of_what_the_oracle_makes_now():
    house = by_hand()
    fund(house, "ann", 3_000)
    done(house, buy(house, "ann", "BTC-PERP", 1_000))
    done(house, SetPrices(marks={"COIN-PERP": 1_000}))
    done(house, buy(house, "ann", "COIN-PERP", 50_000))
    adopt(house)
    events = done(house, SetPrices(marks={"COIN-PERP": 490}))
    assert (liquidated(events), calls(events)) == (["ann"], ["ann"])
    assert house.state.called == {"ann": ("BTC-PERP",)}
    assert liquidated(done(house, quotes(START + 1, BTC=50_000))) == ["ann"]
    assert house.state.called == {}


# Taken away --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watch_from", [0, 10**9])
def test_an_oracle_that_is_taken_away_leaves_its_prices_and_nobody_who_must_wait(watch_from):
    house = opened()
    house.state.watch_from = watch_from
    fund(house, "ann", 3_000)
    done(house, buy(house, "ann", "BTC-PERP", 1_000))
    done(house, SetPrices(marks={"COIN-PERP": 1_000}))
    done(house, buy(house, "ann", "COIN-PERP", 50_000))
    done(house, Halt(market="BTC-PERP"))
    done(house, SetPrices(marks={"COIN-PERP": 490}))
    assert house.state.called == {"ann": ("BTC-PERP",)}
    events = done(house, AdoptRulebook(rules=rules_text(oracle=False)))
    assert liquidated(events) == ["ann"]
    assert house.state.called == {}
    assert (house.state.oracle, house.state.opening) == (None, None)
    assert mark(house, "BTC-PERP") == 500_000
    assert refused(house, PublishQuotes(quotes=(quote("okx", "BTC", 50_000, START + 1),))).code == "no_oracle"
    done(house, SetPrices(marks={"BTC-PERP": 400_000}, prices={"BTC": 4_000_000}))
    check_conservation(house)


def test_a_broken_pegs_weight_returns_with_the_rules_that_know_no_peg():
    house = opened(pegs={"USDC": PEG})
    done(house, quotes(START + 1, USDC=0.97, BTC=50_000, ETH=3_000))
    fund(house, "ann", 100, "USDC")
    assert health(house, "ann") == units(100 * 0.97 * 0.99 * 0.9)
    adopt(house)
    assert health(house, "ann") == units(100 * 0.97 * 0.99)


def test_a_market_that_loses_its_mark_keeps_its_price_and_is_set_by_hand_again():
    house = opened()
    fund(house, "ann", 3_000)
    done(house, buy(house, "ann", "BTC-PERP", 1_000))
    adopt(house, marks={"ETH-PERP": {"index": "ETH"}})
    assert mark(house, "BTC-PERP") == 500_000
    assert liquidated(done(house, SetPrices(marks={"BTC-PERP": 470_000}))) == ["ann"]


# Changed -----------------------------------------------------------------------------------------------------------

FULL = {
    "stable": {},
    "breakers": {"BTC-PERP": GUARDED_AT_10},
    "pegs": {"USDC": PEG},
    "feeds__BTC": {"volatile_band": "0"},
    "feeds__ETH": {"delay": "1h", "volatile_band": "0"},
}


def lived(**changed) -> Clearinghouse:
    """A house with a history: BTC crashed, USDC strained, ETH announced."""
    house = opened(at=3_590, **{**FULL, **changed})
    for second in range(3_591, 3_630):
        done(house, quotes(second, BTC=50_000, ETH=3_100, USDC=0.993))
    done(house, quotes(3_631, BTC=44_500, ETH=3_100, USDC=0.993))
    assert line(house, "BTC-PERP").state_name == "guarded"
    assert line(house, "USDC").state_name == "strained"
    assert line(house, "ETH").source.feed.announced == (310_000, 7_200 * SECOND)
    return house


def test_the_same_rules_again_change_nothing_at_all():
    house, other = lived(), lived()
    adopt(house, **FULL)
    refused(other, Withdraw(account="nobody", asset="USD", amount=1))  # a command like any other
    saved, expected = house.state.oracle.save(), other.state.oracle.save()
    assert saved[1:4] == expected[1:4]
    for one in (house, other):
        done(one, quotes(3_632, BTC=44_400, ETH=3_100, USDC=0.993))
        done(one, quotes(3_700, BTC=44_400, ETH=3_100, USDC=0.993))
    assert state_hash(house) == state_hash(other)


@pytest.mark.parametrize(
    "changed",
    [
        {"stable": {"per_second": "0.001"}},
        {"marks__BTC-PERP": {"index": "BTC", "preset": "index", "band": "0.02"}},
        {"feeds__BTC": {"volatile_band": "0", "max_age": "30s"}},
        {"actions": {"fund": ["valid"]}},
        {"sources": ["binance", "okx", "bybit", "kraken"]},
    ],
)
def test_other_rules_leave_breakers_pegs_and_announcements_as_they_are(changed):
    house = lived()
    adopt(house, **{**FULL, **changed})
    done(house, quotes(3_632, BTC=44_500, ETH=3_100, USDC=0.993))
    assert line(house, "BTC-PERP").state_name == "guarded"
    assert line(house, "USDC").state_name == "strained"
    assert price(house, "ETH") == 300_000
    done(house, quotes(7_200, BTC=44_500, ETH=3_100, USDC=0.993))
    assert price(house, "ETH") == 310_000


@pytest.mark.parametrize(
    ("changed", "stable_stays"),
    [({}, True), ({"breakers": {}}, True), ({"pegs": {}}, True), ({"stable": {"per_second": "0.001"}}, False)],
)
def test_the_stable_price_stays_unless_its_own_rules_change(changed, stable_stays):
    house = lived()
    done(house, quotes(3_645, BTC=44_500, ETH=3_100, USDC=0.993))
    before = line(house, "BTC").stable.value
    assert before > 4_450_000
    adopt(house, **{**FULL, **changed})
    assert line(house, "BTC").stable.value == (before if stable_stays else 0)


def test_a_changed_breaker_begins_anew():
    house = lived()
    softer = {**GUARDED_AT_10, "liquidation_share": "0.05"}
    adopt(house, **{**FULL, "breakers": {"BTC-PERP": softer}})
    assert line(house, "BTC-PERP").state_name == "guarded"
    events = done(house, quotes(3_632, BTC=44_500, ETH=3_100, USDC=0.993))
    assert changes(events, "market") == [("BTC-PERP", "guarded", "open")]


def test_a_feed_in_another_tick_begins_anew_and_the_assets_keep_their_prices():
    house = lived()
    adopt(house, **{**FULL, "feeds__BTC": {"tick": "0.1", "volatile_band": "0"}})
    assert price(house, "BTC") == 4_450_000
    events = done(house, at(3_632))
    assert ("BTC", "valid", "too_few_sources") in changes(events, "quality")
    assert price(house, "BTC") == 4_450_000
    rows = tuple(quote(source, "BTC", 4_400, 3_633) for source in ("okx", "bybit"))
    done(house, PublishQuotes(quotes=rows))
    assert price(house, "BTC") == 4_400_000


def test_a_stricter_table_counts_at_once():
    house = opened()
    fund(house, "ann", 30_000)
    done(house, buy(house, "ann", "BTC-PERP", 1_000))
    done(house, quotes(START + 1, BTC=44_800))
    assert line(house, "BTC-PERP").quality == "volatile"
    done(house, buy(house, "ann", "BTC-PERP", -1))
    adopt(house, actions={"reduce": ["valid"]})
    assert refused(house, buy(house, "ann", "BTC-PERP", -1)).code == "price"


def test_limits_that_an_untrusted_latest_price_is_beyond_are_survived():
    """The mark fits the new limits, the price that nobody trusts yet does not: it is not kept."""
    house = opened()
    done(house, quotes(START + 1, BTC=(50_000, 51_000, 51_900)))
    done(house, Halt(market="BTC-PERP"))
    done(house, quotes(START + 2, BTC=54_000))
    assert line(house, "BTC-PERP").latest == 540_000
    whole = rules_text().replace('"max_price" = "1000000", "tiers"', '"max_price" = "52000", "tiers"', 1)
    done(house, AdoptRulebook(rules=whole))
    assert line(house, "BTC-PERP").bounds[1] == 520_000
    assert line(house, "BTC-PERP").latest == mark(house, "BTC-PERP") <= 520_000


def test_a_house_that_adopted_an_oracle_is_restored_as_it_is():
    house = by_hand()
    fund(house, "ann", 100_000)
    adopt(house, **FULL)
    done(house, quotes(START + 1, BTC=50_000, ETH=3_000, USDC=1))
    done(house, buy(house, "ann", "BTC-PERP", 100))
    again = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert state_hash(again) == state_hash(house)
