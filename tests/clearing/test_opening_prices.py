"""New risk is measured at the worse of mark and stable price; liquidation looks at the mark alone."""

from __future__ import annotations

import pytest
from tests.oracle_houses import (
    HOUR,
    START,
    buy,
    calls,
    done,
    fund,
    health,
    line,
    liquidated,
    mark,
    opened,
    price,
    quotes,
    refused,
    units,
)

from marginkeep.clearing import Clearinghouse, ReserveOrder, SetPrices, Withdraw, check_conservation

CALM = {"feeds__ETH": {"volatile_band": "0"}, "feeds__BTC": {"volatile_band": "0"}}
"""No price is volatile, so that the stable price alone stands between a spike and the house."""

STABLE = {**CALM, "stable": {}}


def pump(house: Clearinghouse, feed: str, start: float, end: float, hours: float = 1) -> None:
    """Move a price in equal steps of 10 seconds, all sources alike; the others stay."""
    steps = round(hours * HOUR // 10**10)
    for step in range(1, steps + 1):
        now = {"BTC": 50_000, "ETH": 3_000, "USDC": 1, feed: start * (end / start) ** (step / steps)}
        done(house, quotes(START + 10 * step, **now))


def test_a_spike_of_ten_times_in_an_hour_cannot_be_borrowed_against():
    """The shape of Mango, October 2022: collateral whose price somebody drives up backs what is not worth it.

    10 ETH and 10,000 dollars carry a long of 20,000 dollars. At 30,000 dollars each the ETH would back a long of two
    millions more.
    """
    house, free = opened(**STABLE), opened(**CALM)
    for one in (house, free):
        fund(one, "eve", 10, "ETH")
        fund(one, "eve", 10_000)
        done(one, buy(one, "eve", "BTC-PERP", 400))
        pump(one, "ETH", 3_000, 30_000)
        assert line(one, "ETH").quality == "valid"
        assert price(one, "ETH") == 3_000_000
        assert health(one, "eve") > units(200_000)
    done(free, buy(free, "eve", "BTC-PERP", 40_000))
    assert 300_000 < line(house, "ETH").stable.value < 540_000
    answer = refused(house, buy(house, "eve", "BTC-PERP", 40_000))
    assert answer.code == "insufficient_margin"
    assert [seen.name for seen in answer.prices] == ["ETH"]
    assert answer.prices[0].blocked == f"counts at {line(house, 'ETH').stable.value} to 3000000 ticks"
    order = ReserveOrder(account="eve", order="1", market="BTC-PERP", side="sell", size=40_000, price=500_000)
    assert refused(house, order).code == "insufficient_margin"
    done(house, buy(house, "eve", "BTC-PERP", 100))


def test_profit_of_a_pumped_perpetual_cannot_be_taken_for_margin_elsewhere():
    house, free = opened(**STABLE), opened(**CALM)
    for one in (house, free):
        fund(one, "eve", 40_000)
        done(one, buy(one, "eve", "ETH-PERP", 1_000))
        pump(one, "ETH", 3_000, 30_000)
        assert mark(one, "ETH-PERP") == 3_000_000
    big = buy(house, "eve", "BTC-PERP", 40_000)
    done(free, big)
    answer = refused(house, big)
    assert (answer.code, [seen.name for seen in answer.prices]) == ("insufficient_margin", ["ETH-PERP"])


def test_collateral_bought_at_the_spike_cannot_be_withdrawn_against_what_it_backs():
    house, free = opened(**STABLE), opened(**CALM)
    for one in (house, free):
        pump(one, "ETH", 3_000, 30_000)
        fund(one, "eve", 2, "ETH")
        done(one, buy(one, "eve", "BTC-PERP", 1_000))
    leaving = Withdraw(account="eve", asset="ETH", amount=19 * 10**7)
    done(free, leaving)
    answer = refused(house, leaving)
    assert (answer.code, [seen.name for seen in answer.prices]) == ("insufficient_margin", ["ETH"])
    done(house, Withdraw(account="eve", asset="ETH", amount=10**8))


def test_liquidation_uses_the_mark_alone():
    """At the stable price, far behind, bob would be well: he is sold at the mark."""
    house = opened(**STABLE)
    fund(house, "ann", 1_400)
    fund(house, "bob", 1_400)
    done(house, buy(house, "ann", "ETH-PERP", 1_000))
    done(house, buy(house, "bob", "ETH-PERP", -1_000))
    events = done(house, quotes(START + 10, ETH=3_120))
    assert 300_000 <= line(house, "ETH-PERP").stable.value < 301_000
    assert (liquidated(events), calls(events)) == (["bob"], [])
    assert health(house, "ann") > 0


def test_a_short_opens_at_the_higher_of_mark_and_stable_price():
    """After a fall the stable price is above the mark: a short has lost there, a long has not gained."""
    house = opened(**STABLE)
    fund(house, "ann", 8_500)
    done(house, buy(house, "ann", "ETH-PERP", -1_000))
    done(house, quotes(START + 10, ETH=2_400, BTC=50_000))
    assert health(house, "ann") > units(5_000)
    answer = refused(house, buy(house, "ann", "BTC-PERP", 6_000))
    assert answer.prices[0].blocked == f"counts at 240000 to {line(house, 'ETH-PERP').stable.value} ticks"


def test_reducing_is_possible_however_far_the_stable_price_is():
    house = opened(**STABLE)
    fund(house, "ann", 2_500)
    done(house, buy(house, "ann", "ETH-PERP", 1_000))
    done(house, quotes(START + 10, ETH=2_985))
    done(house, quotes(START + 20, ETH=3_300))
    done(house, buy(house, "ann", "ETH-PERP", -100))
    check_conservation(house)


def test_the_stable_price_of_a_jump_is_the_one_of_mango():
    """perp-dex.jsonl: a jump to ten times moves it to 1.8 times in an hour."""
    house = opened(**STABLE)
    done(house, quotes(START + 10, BTC=50_000, ETH=3_000, USDC=1))
    for step in range(2, 362):
        done(house, quotes(START + 10 * step, BTC=50_000, ETH=30_000, USDC=1))
    assert line(house, "ETH").stable.value / 300_000 == pytest.approx(1.8, abs=0.1)
    assert line(house, "ETH-PERP").stable.value == line(house, "ETH").stable.value


def test_the_stable_price_believes_valid_prices_only():
    house = opened(stable={})
    for step in range(1, 30):
        done(house, quotes(START + 10 * step, ETH=(2_950, 3_000, 3_055), BTC=50_000, USDC=1))
    assert line(house, "ETH").quality == "divergent"
    before = line(house, "ETH").stable.value
    assert before == 300_000
    done(house, quotes(START + 300, ETH=3_030, BTC=50_000, USDC=1))
    assert line(house, "ETH").quality == "valid"
    assert line(house, "ETH").stable.value > before


def test_prices_set_by_hand_count_as_they_are():
    house = opened(**STABLE)
    done(house, SetPrices(marks={"COIN-PERP": 1_000}, prices={"COIN": 1_000}))
    fund(house, "ann", 100, "COIN")
    done(house, buy(house, "ann", "BTC-PERP", 10))
    done(house, SetPrices(marks={"COIN-PERP": 10_000}, prices={"COIN": 10_000}))
    done(house, buy(house, "ann", "BTC-PERP", 100))


def test_a_restart_measures_opening_as_before():
    """The prices for opening are derived state; the shadows compare every refusal's numbers after a restart."""
    house = opened(**STABLE)
    fund(house, "ann", 1, "ETH")
    done(house, quotes(START + 10, ETH=6_000))
    for size in (1_000, 900, 800, 10):
        house.apply(buy(house, "ann", "BTC-PERP", size))
    assert health(house, "ann") > 0
