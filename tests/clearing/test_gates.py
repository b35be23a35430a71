"""The action table: at a price of each quality each action does what the rulebook says, and a refusal says why."""

from __future__ import annotations

import pytest
from tests.oracle_houses import (
    START,
    at,
    buy,
    calls,
    done,
    fund,
    line,
    mark,
    opened,
    price,
    quote,
    quotes,
    refused,
    units,
)

from marginkeep.clearing import (
    AddMargin,
    ChangeMode,
    Clearinghouse,
    Command,
    Deposit,
    Liquidated,
    PayFunding,
    Rejected,
    RemoveMargin,
    ReserveOrder,
    SetPrices,
    Trade,
    Transfer,
    Withdraw,
)
from marginkeep.clearing.commands import PublishQuotes
from marginkeep.rulebook.oracle_reading import DEFAULT_ACTIONS
from marginkeep.rulebook.oracle_rules import QUALITIES

UNCERTAIN = PublishQuotes(quotes=tuple(quote(s, "BTC", 50_000, START + 1, confidence=10**5) for s in ("okx", "bybit")))
BRINGING: dict[str, list[Command]] = {
    "valid": [],
    "stale": [at(START + 16)],
    "uncertain": [UNCERTAIN],
    "divergent": [quotes(START + 1, BTC=(49_100, 50_000, 50_900))],
    "volatile": [quotes(START + 1, BTC=44_000)],
    "too_few_sources": [at(START + 50), quotes(START + 61, BTC=(None, 50_000, None))],
    "halted": [quotes(START + 1, BTC=1_000_001)],
}
"""What brings BTC, and with it BTC-PERP, into each quality."""


def in_quality(quality: str, **changes) -> Clearinghouse:
    """A house with prepared accounts, in which the latest price of BTC has a quality.

    `ann` is long and rich, cross and isolated; `bob` is long BTC-PERP and COIN-PERP and will be poor.
    """
    house = opened(**changes)
    done(house, SetPrices(marks={"COIN-PERP": 1_000}, prices={"COIN": 1_000}))
    for name, amount in (("ann", 500_000), ("bob", 3_000), ("cat", 500_000), ("dan", 500_000)):
        fund(house, name, amount)
    for name in ("ann", "dan"):
        done(house, buy(house, name, "BTC-PERP", 1_000))
    done(house, AddMargin(account="cat", market="BTC-PERP", amount=units(100_000)))
    done(house, buy(house, "cat/BTC-PERP", "BTC-PERP", 1_000))
    done(house, buy(house, "bob", "BTC-PERP", 100))
    done(house, buy(house, "bob", "COIN-PERP", 80_000))
    for command in BRINGING[quality]:
        done(house, command)
    assert line(house, "BTC-PERP").quality == quality
    return house


def order(house: Clearinghouse, side: str) -> ReserveOrder:
    return ReserveOrder(account="ann", order="1", market="BTC-PERP", side=side, size=10, price=mark(house, "BTC-PERP"))


COMMANDS = {
    "open": [
        lambda house: buy(house, "ann", "BTC-PERP", 10),
        lambda house: buy(house, "ann", "BTC-PERP", -1_010),
        lambda house: order(house, "buy"),
    ],
    "reduce": [
        lambda house: buy(house, "ann", "BTC-PERP", -10),
        lambda house: buy(house, "ann", "BTC-PERP", -1_000),
        lambda house: order(house, "sell"),
    ],
    "withdraw": [
        lambda house: Withdraw(account="ann", asset="USD", amount=1),
        lambda house: Transfer(source="ann", target="bob", asset="USD", amount=1),
        lambda house: AddMargin(account="ann", market="ETH-PERP", amount=1),
        lambda house: RemoveMargin(account="cat", market="BTC-PERP", amount=1),
        lambda house: ChangeMode(account="dan", market="BTC-PERP", mode="isolated", margin=units(100_000)),
        lambda house: ChangeMode(account="cat", market="BTC-PERP", mode="cross"),
    ],
    "fund": [lambda house: PayFunding(market="BTC-PERP", rate=1_000)],
}
CASES = [
    (quality, action, number) for quality in QUALITIES for action in COMMANDS for number in range(len(COMMANDS[action]))
]


def table(action: str, quality: str, accepted: bool) -> dict[str, list[str]]:
    """A table in which one action accepts one quality, or only valid prices; what must accept more then does."""
    row = ["valid", quality] if accepted and quality != "valid" else ["valid"]
    wider = [name for name in QUALITIES if name != "halted"]
    rows = {"open": ["valid"], "withdraw": ["valid"], "reduce": wider, "liquidate": wider, "fund": ["valid"]}
    return {**rows, action: row, **({"reduce": row, "open": ["valid"]} if action == "reduce" else {})}


def follows_the_table(house: Clearinghouse, command: Command, accepted: bool) -> None:
    events = house.apply(command)
    if accepted:
        assert not isinstance(events[0], Rejected), events[0]
    else:
        assert isinstance(events[0], Rejected)
        assert events[0].code == "price"


@pytest.mark.parametrize(("quality", "action", "number"), CASES)
def test_the_default_table_says_what_may_be_done_at_a_price(quality, action, number):
    house = in_quality(quality)
    follows_the_table(house, COMMANDS[action][number](house), quality in DEFAULT_ACTIONS[action])


@pytest.mark.parametrize(("quality", "action", "number"), [case for case in CASES if case[0] != "halted"])
@pytest.mark.parametrize("accepted", [True, False])
def test_another_table_of_the_rulebook_is_obeyed_as_well(quality, action, number, accepted):
    house = in_quality(quality, actions=table(action, quality, accepted))
    follows_the_table(house, COMMANDS[action][number](house), accepted or quality == "valid")


@pytest.mark.parametrize("quality", QUALITIES)
def test_what_adds_no_risk_passes_at_any_price(quality):
    house = in_quality(quality)
    done(house, Deposit(account="ann", asset="BTC", amount=1))
    done(house, Deposit(account="bob", asset="USD", amount=1))
    done(house, AddMargin(account="cat", market="BTC-PERP", amount=1))


@pytest.mark.parametrize(
    ("quality", "accepted"),
    [
        (quality, accepted)
        for quality in QUALITIES
        for accepted in (True, False, None)
        if quality != "halted" or not accepted
    ],
)
def test_an_account_is_liquidated_at_a_price_or_called(quality, accepted):
    """COIN-PERP takes more from bob than closing it gives back: then BTC-PERP is next, if its price may be used."""
    changed = (
        {} if accepted is None else {"actions": {"liquidate": sorted({"valid", quality}) if accepted else ["valid"]}}
    )
    house = in_quality(quality, **changed)
    events = done(house, SetPrices(marks={"COIN-PERP": 705 if quality == "volatile" else 630}))
    closed = {step.name for event in events if isinstance(event, Liquidated) for step in event.steps}
    may = quality in DEFAULT_ACTIONS["liquidate"] if accepted is None else accepted or quality == "valid"
    assert ("BTC-PERP" in closed) == may
    assert calls(events) == ([] if may else ["bob"])
    if not may:
        assert house.state.called == {"bob": ("BTC-PERP",)}
        seen = next(seen for seen in events[-1].prices if seen.name == "BTC-PERP")
        assert seen.quality == quality
        assert seen.blocked.startswith("liquidation: ")
        assert quality in seen.blocked
        assert f"BTC-PERP: {seen.blocked}" in events[-1].because


@pytest.mark.parametrize("quality", QUALITIES[1:])
def test_a_refusal_names_the_price_its_sources_their_ages_and_what_blocks(quality):
    house = in_quality(quality)
    answer = refused(house, buy(house, "ann", "BTC-PERP", 10))
    (seen,) = answer.prices
    assert (seen.name, seen.quality, seen.state) == ("BTC-PERP", quality, "open")
    assert seen.price == mark(house, "BTC-PERP") == line(house, "BTC-PERP").trusted
    assert [source.source for source in seen.sources] == ["binance", "okx", "bybit"]
    assert all(source.age_ns >= 0 for source in seen.sources)
    assert "the trade in BTC-PERP needs BTC-PERP, but its price is " + quality in answer.reason
    assert "open accepts valid; its sources: binance " in answer.reason
    assert f"its price is {quality}, open accepts valid" in seen.blocked


def test_ages_and_uses_of_sources_are_those_of_the_moment():
    house = in_quality("too_few_sources")
    answer = refused(house, Withdraw(account="ann", asset="USD", amount=1))
    uses = [(source.source, source.age_ns // 10**9, source.use) for source in answer.prices[0].sources]
    assert uses == [("binance", 61, "stale"), ("okx", 0, "used"), ("bybit", 61, "stale")]
    assert "binance 50000 (61s old, stale), okx 50000 (0s old, used)" in answer.reason


def test_a_quote_that_moves_nothing_is_in_the_evidence_of_the_same_nanosecond():
    """Evidence is kept for the decisions of one moment; a restart between them must not show, and the quote must."""
    house = opened()
    fund(house, "ann", 5_000)
    done(house, buy(house, "ann", "BTC-PERP", 100))
    done(house, quotes(START + 1, BTC=(49_100, 50_000, 50_900)))
    first = refused(house, buy(house, "ann", "BTC-PERP", 10)).prices[0]
    done(house, PublishQuotes(quotes=(quote("bybit", "BTC", 50_850, START + 1),)))
    second = refused(house, buy(house, "ann", "BTC-PERP", 10)).prices[0]
    assert first.sources[2].price == 5_090_000
    assert second.sources[2].price == 5_085_000


# Which price is needed ---------------------------------------------------------------------------------------------


def test_a_stale_coin_that_is_not_needed_blocks_neither_trade_nor_withdrawal():
    house = opened()
    fund(house, "ann", 100_000)
    fund(house, "ann", 1, "BTC")
    done(house, quotes(START + 40, ETH=3_000))
    assert line(house, "BTC").quality == "stale"
    assert line(house, "ETH-PERP").quality == "valid"
    done(house, buy(house, "ann", "ETH-PERP", 1_000))
    done(house, Withdraw(account="ann", asset="USD", amount=units(1_000)))
    done(house, Withdraw(account="ann", asset="BTC", amount=10**8 // 2))


def test_a_stale_coin_that_is_needed_as_collateral_counts_nothing_and_is_named():
    house = opened()
    fund(house, "ann", 1, "BTC")
    done(house, buy(house, "ann", "ETH-PERP", 100))
    done(house, quotes(START + 40, ETH=3_000))
    for command in (Withdraw(account="ann", asset="BTC", amount=1), buy(house, "ann", "ETH-PERP", 100)):
        answer = refused(house, command)
        assert answer.code == "insufficient_margin"
        assert [(seen.name, seen.quality) for seen in answer.prices] == [("BTC", "stale")]
        assert "its price is stale" in answer.prices[0].blocked
    order = ReserveOrder(account="ann", order="1", market="ETH-PERP", side="buy", size=10, price=300_000)
    assert [seen.name for seen in refused(house, order).prices] == ["BTC"]


def test_collateral_counts_for_an_action_at_the_qualities_which_that_action_accepts():
    """Opening may lean on stale collateral here, withdrawing may not."""
    house = opened(actions={"open": ["valid", "stale"]})
    fund(house, "ann", 1, "BTC")
    done(house, buy(house, "ann", "ETH-PERP", 100))
    done(house, quotes(START + 40, ETH=3_000))
    done(house, buy(house, "ann", "ETH-PERP", 100))
    assert refused(house, Withdraw(account="ann", asset="BTC", amount=1)).code == "insufficient_margin"


def test_who_owes_a_coin_of_unknown_price_may_not_withdraw():
    """ann has lost in BTC and owes it: while nobody knows what BTC is worth, nobody knows what she can spare."""
    house = opened(feeds__BTC={"volatile_band": "0"})
    fund(house, "ann", 100_000)
    done(house, buy(house, "ann", "BTC-INV", 20_000))
    done(house, quotes(START + 1, BTC=40_000, ETH=3_000))
    done(house, buy(house, "ann", "BTC-INV", -20_000))
    assert house.state.book.read(house.state.index["ann"]).balances[1] < 0
    done(house, Withdraw(account="ann", asset="USD", amount=1))
    done(house, quotes(START + 2, BTC=(39_300, 40_000, 40_700)))
    answer = refused(house, Withdraw(account="ann", asset="USD", amount=1))
    assert (answer.code, answer.prices[0].name, answer.prices[0].quality) == ("price", "BTC", "divergent")


def test_what_a_position_settles_in_is_needed_to_withdraw_and_to_open():
    house = opened()
    fund(house, "ann", 100_000)
    done(house, buy(house, "ann", "ETH-USDC", 100))
    done(house, quotes(START + 40, ETH=3_000))
    assert line(house, "USDC").quality == "stale"
    for command in (Withdraw(account="ann", asset="USD", amount=1), buy(house, "ann", "ETH-USDC", 10)):
        answer = refused(house, command)
        assert (answer.code, [seen.name for seen in answer.prices]) == ("price", ["USDC"])
    done(house, buy(house, "ann", "ETH-USDC", -10))


def test_isolating_one_position_takes_from_the_others_and_needs_their_prices():
    house = opened()
    fund(house, "ann", 100_000)
    done(house, buy(house, "ann", "BTC-PERP", 100))
    done(house, buy(house, "ann", "ETH-PERP", 100))
    done(house, quotes(START + 40, ETH=3_000))
    isolate = ChangeMode(account="ann", market="ETH-PERP", mode="isolated", margin=units(50_000))
    answer = refused(house, isolate)
    assert (answer.code, answer.prices[0].name) == ("price", "BTC-PERP")
    done(house, quotes(START + 41, BTC=50_000))
    done(house, isolate)


def test_the_counterparty_needs_no_gate_and_a_user_on_the_other_side_does():
    """bob would only reduce, but ann on the other side would open."""
    house = in_quality("volatile")
    between = Trade(market="BTC-PERP", buyer="ann", seller="bob", size=10, price=mark(house, "BTC-PERP"))
    assert refused(house, between).code == "price"
    done(house, buy(house, "bob", "BTC-PERP", -10))


# The asymmetric guard ----------------------------------------------------------------------------------------------


def test_a_suspicious_fall_blocks_opening_before_it_blocks_liquidation():
    house = opened()
    fund(house, "ann", 500_000)
    fund(house, "bob", 3_000)
    done(house, buy(house, "bob", "BTC-PERP", 1_000))
    events = done(house, quotes(START + 1, BTC=44_500))
    assert line(house, "BTC-PERP").quality == "volatile"
    assert [event.account for event in events if isinstance(event, Liquidated)] == ["bob"]
    assert refused(house, buy(house, "ann", "BTC-PERP", 1)).code == "price"
    assert refused(house, buy(house, "ann", "BTC-PERP", -1)).code == "price"


def test_a_suspicious_rise_is_not_credited_to_collateral_and_a_suspicious_fall_is_debited():
    house = opened()
    fund(house, "ann", 1, "BTC")
    done(house, quotes(START + 1, BTC=60_000, ETH=3_000))
    assert line(house, "BTC").quality == "volatile"
    assert (price(house, "BTC"), line(house, "BTC").latest) == (5_000_000, 6_000_000)
    assert refused(house, buy(house, "ann", "ETH-PERP", 1)).code == "insufficient_margin"
    done(house, quotes(START + 2, BTC=40_000, ETH=3_000))
    assert (price(house, "BTC"), line(house, "BTC").quality) == (4_000_000, "volatile")
    done(house, quotes(START + 3, BTC=43_000, ETH=3_000))
    assert price(house, "BTC") == 4_000_000


def test_a_rise_is_credited_as_soon_as_it_is_no_longer_suspicious():
    house = opened()
    fund(house, "ann", 1, "BTC")
    for seconds in range(1, 900, 10):
        done(house, quotes(START + seconds, BTC=60_000, ETH=3_000))
    assert line(house, "BTC").quality == "valid"
    assert price(house, "BTC") == 6_000_000


def test_every_liquidation_shows_the_prices_that_it_used():
    house = opened()
    fund(house, "bob", 3_000)
    done(house, buy(house, "bob", "BTC-PERP", 1_000))
    events = done(house, quotes(START + 1, BTC=(47_300, 47_400, 47_500)))
    (event,) = [event for event in events if isinstance(event, Liquidated)]
    (seen,) = event.prices
    assert (seen.name, seen.price, seen.quality, seen.blocked) == ("BTC-PERP", 474_000, "valid", "")
    assert [(source.price, source.age_ns) for source in seen.sources] == [
        (4_730_000, 0),
        (4_740_000, 0),
        (4_750_000, 0),
    ]
