"""Funding that the house makes out of books and quotes: paid on time, in full, by longs to shorts."""

from __future__ import annotations

import random

import pytest
from tests.clearing.funding_house import (
    FIRST,
    INTERVAL,
    MARKET,
    PLAIN,
    book,
    funded,
    house_of,
    minute,
    payments,
    run,
    tables,
    text,
)
from tests.houses import balance, ledger
from tests.oracle_houses import START, at, buy, done, fund, liquidated, quotes, refused, units

from marginkeep.clearing import (
    AdoptRulebook,
    AdvanceTime,
    PayFunding,
    Trade,
    check_conservation,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.clearing.commands import Halt, ObserveBook, Resume
from marginkeep.units import RATE_ONE

ACCRUALS = ("period", "continuous")
PREMIUM = RATE_ONE // 1_000
LOT = 50 * 10**6
"""Value of a lot of BTC-PERP at 50,000, in smallest units of USD."""


def pair(house, longs="ann", shorts="ben", size=1_000, deposit=10_000):
    """Two accounts that hold a bitcoin against each other."""
    for name in (longs, shorts):
        fund(house, name, deposit)
    done(house, buy(house, longs, MARKET, size, shorts))


def test_a_premium_makes_longs_pay_shorts_and_the_payments_sum_to_zero():
    house = funded()
    pair(house)
    (paid,) = run(house, START + 20, FIRST, 0.001)
    assert (paid.market, paid.rate, paid.premium, paid.paid) == (MARKET, PREMIUM, PREMIUM, PREMIUM * LOT)
    trade = done(house, buy(house, "ben", MARKET, 1_000, "ann"))[-1]
    assert (trade.buyer.funding, trade.seller.funding) == (units(50), units(-50))
    assert ledger(house, f"funding:{MARKET}") == 0
    check_conservation(house)


def test_a_discount_makes_shorts_pay_longs():
    house = funded()
    pair(house)
    run(house, START + 20, FIRST, -0.001)
    trade = done(house, buy(house, "ben", MARKET, 1_000, "ann"))[-1]
    assert (trade.buyer.funding, trade.seller.funding) == (units(-50), units(50))


def test_every_interval_pays_the_mean_of_its_own_minutes():
    house = funded()
    paid = run(house, START + 20, FIRST, 0.001) + run(house, FIRST + 60, FIRST + INTERVAL, 0.002)
    # the payment comes before the sample of its own minute: the first of the next ten
    assert [one.rate for one in paid] == [PREMIUM, (PREMIUM + 9 * 2 * PREMIUM) // 10]


def test_nothing_is_paid_before_it_is_due_and_once_when_it_is():
    house = funded()
    run(house, START + 20, FIRST - 60, 0.001)
    assert minute(house, FIRST - 1, 0.001) == []
    assert len(payments(done(house, at(FIRST)))) == 1
    assert payments(done(house, at(FIRST))) == []


def test_a_payment_explains_its_rate():
    house = house_of(tables({MARKET: {"interval": "10m", "sample_every": "1m"}}))
    (paid,) = run(house, START + 20, FIRST, 0.004)
    assert (paid.premium, paid.interest) == (4 * PREMIUM, -RATE_ONE // 2_000)  # 0.4 % and a damping of at most 0.05 %
    assert paid.uncapped == paid.premium + paid.interest
    assert paid.rate == paid.uncapped * 600 // (8 * 3_600)


def test_a_cap_holds_on_both_sides():
    for premium in (0.01, -0.01):
        house = funded(cap="0.002")
        (paid,) = run(house, START + 20, FIRST, premium)
        assert paid.rate == (2 * PREMIUM if premium > 0 else -2 * PREMIUM)
        assert paid.uncapped == (10 * PREMIUM if premium > 0 else -10 * PREMIUM)


def test_funding_on_the_index_is_of_its_value_not_of_the_marks():
    marks = {"marks__BTC-PERP": {"index": "BTC", "band": "0", "components": [{"kind": "impact"}]}}
    for paid_on, price in (("index", 500_000), ("mark", 505_000)):
        house = funded(oracle=marks, paid_on=paid_on)
        (paid,) = run(house, START + 20, FIRST, 0.01)
        assert house.state.valuation.marks[0] == 505_000
        assert paid.paid == paid.rate * price * 100


def test_averages_of_prices_pay_the_distance_of_mark_and_index():
    marks = {"marks__BTC-PERP": {"index": "BTC", "band": "0", "components": [{"kind": "impact"}]}}
    rules = {"preset": "drift", "interval": "10m", "period": "10m", "interest": "0"}
    house = house_of(tables({MARKET: rules}, **marks))
    (paid,) = run(house, START + 20, FIRST, 0.01)
    assert (paid.premium, paid.paid) == (10 * PREMIUM, 5_000 * RATE_ONE * 100)


# What is known of the premium ------------------------------------------------------------------------------------


def test_without_a_book_nothing_is_known_and_nothing_is_paid():
    house = funded()
    for seconds in range(START + 20, FIRST + 1, 60):
        paid = payments(done(house, quotes(seconds, house, BTC=50_000)))
    assert [(one.rate, one.premium) for one in paid] == [(0, None)]


def test_a_stale_book_says_nothing_of_the_premium():
    house = funded(stale_after="30s")
    minute(house, START + 20, 0.001)
    for seconds in range(START + 80, FIRST + 1, 60):
        paid = payments(done(house, quotes(seconds, house, BTC=51_000)))
    assert [one.premium for one in paid] == [PREMIUM]  # that of the first minute; the later ones do not count


def test_a_book_without_impact_prices_says_nothing():
    house = funded()
    assert [one.premium for one in run(house, START + 20, FIRST, None)] == [None]


def test_a_price_that_may_not_be_funded_at_is_not_sampled():
    house = funded()
    minute(house, START + 20, 0.001)
    done(house, Halt(market=MARKET))
    run(house, START + 80, FIRST - 60, 0.009)
    done(house, Resume(market=MARKET))
    (paid,) = minute(house, FIRST, 0.001)
    assert paid.premium == 5 * PREMIUM  # of the first minute and of that of the return, not of the one between them


def test_a_closed_gate_keeps_a_payment_due_and_it_is_made_once():
    house = funded()
    run(house, START + 20, FIRST - 60, 0.001)
    done(house, Halt(market=MARKET))
    assert run(house, FIRST, FIRST + 2 * INTERVAL + 60, 0.001) == []
    assert [one.rate for one in payments(done(house, Resume(market=MARKET)))] == [PREMIUM]
    assert run(house, FIRST + 2 * INTERVAL + 120, FIRST + 3 * INTERVAL - 60, 0.002) == []
    assert len(minute(house, FIRST + 3 * INTERVAL, 0.002)) == 1


def test_a_refused_command_leaves_the_machines_alone():
    house = funded()
    run(house, START + 20, FIRST - 60, 0.001)
    before = house.state.funding_machines[0].save()
    refused(house, AdvanceTime(now_ns=START))
    refused(house, PayFunding(market=MARKET, rate=RATE_ONE))
    assert house.state.funding_machines[0].save() == before


def test_a_market_without_rules_is_funded_by_commands_alone():
    house = funded()
    assert {one.market for one in run(house, START + 20, FIRST, 0.001)} == {MARKET}
    (paid,) = done(house, PayFunding(market="ETH-PERP", rate=PREMIUM))
    assert (paid.premium, paid.accrued) == (None, False)


def test_a_payment_stops_at_the_bound_of_the_index():
    house = funded()
    paid = [payments(house.apply(PayFunding(market=MARKET, rate=RATE_ONE // 4))) for _ in range(41)]
    assert paid[-1] == []  # refused: 40 quarters of 50,000 are half of max_price
    last = run(house, START + 20, FIRST, 0.001)
    assert [(one.rate, one.paid) for one in last] == [(PREMIUM, 0)]
    (back,) = run(house, FIRST + 60, FIRST + INTERVAL, -0.001)
    assert back.paid < 0


# Pull of an unbalanced book --------------------------------------------------------------------------------------


def test_users_all_on_one_side_pay_to_be_there():
    rules = {"imbalance": {"slope": "0.0005", "most": "0.0004"}}
    house = funded(**rules)
    fund(house, "ann", 10_000)
    done(house, buy(house, "ann", MARKET, 1_000))
    (paid,) = run(house, START + 20, FIRST, 0.001)
    assert (paid.pull, paid.rate) == (400_000, PREMIUM + 400_000)


def test_users_against_each_other_are_balanced():
    house = funded(imbalance={"slope": "0.0005"})
    pair(house)
    (paid,) = run(house, START + 20, FIRST, 0.001)
    assert (paid.pull, paid.rate) == (0, PREMIUM)


def test_the_pull_is_the_average_over_the_time():
    house = funded(imbalance={"slope": "0.0005"})
    pair(house)
    run(house, START + 20, START + 80, 0.001)
    fund(house, "cat", 10_000)
    done(house, buy(house, "cat", MARKET, -1_000))  # users: one long, two short; the other long is the system's
    (paid,) = run(house, START + 140, FIRST, 0.001)
    # -1/2 from the next look at 1,140 s on, 60 s of the 200 since the first
    assert paid.pull == -round(500_000 / 2 * 60 / 200)


# Accrual ---------------------------------------------------------------------------------------------------------


def test_accrued_parts_sum_to_the_payment():
    whole, parts = funded(), funded(accrual="continuous")
    for house in (whole, parts):
        pair(house)
        assert run(house, START + 20, FIRST, 0.001)
        run(house, FIRST + 60, FIRST + INTERVAL - 60, 0.003)
    assert parts.state.valuation.funding[0] > whole.state.valuation.funding[0]  # in every margin before it is due
    last = minute(parts, FIRST + INTERVAL, 0.003)
    (due,) = minute(whole, FIRST + INTERVAL, 0.003)
    assert [one.accrued for one in last] == [False]
    assert 0 < last[0].paid < due.paid // 2
    assert parts.state.valuation.funding == whole.state.valuation.funding


def test_who_holds_half_the_time_pays_half_where_funding_accrues():
    house = funded(accrual="continuous")
    pair(house)
    run(house, START + 20, FIRST + INTERVAL // 2, 0.001)
    trade = done(house, buy(house, "ben", MARKET, 1_000, "ann"))[-1]
    # one whole payment, and half of the next
    assert (trade.buyer.funding, trade.seller.funding) == (units(75), units(-75))
    run(house, FIRST + INTERVAL // 2 + 60, FIRST + INTERVAL, 0.001)
    assert balance(house, "ann") + balance(house, "ben") == units(20_000)
    check_conservation(house)


def test_accrual_falls_back_when_the_premium_does():
    house = funded(accrual="continuous")
    run(house, START + 20, FIRST, 0)
    rising = run(house, FIRST + 60, FIRST + 240, 0.01)
    falling = run(house, FIRST + 300, FIRST + INTERVAL, -0.02)
    assert rising[-1].paid > 0 > falling[-1].paid
    assert sum(one.rate for one in rising + falling) == (4 * 10 - 5 * 20) * PREMIUM // 10


def test_a_payment_liquidates_whom_it_puts_below_maintenance_and_accrual_does_so_earlier():
    reduced = {}
    for accrual in ACCRUALS:
        house = funded(accrual=accrual)
        fund(house, "ann", 1_100)
        done(house, buy(house, "ann", MARKET, 1_000))  # maintenance is 500: more than 600 of funding are too much
        minute(house, START + 20, 0.016)
        for seconds in range(START + 80, FIRST + 1, 60):
            if liquidated(done(house, quotes(seconds, house, BTC=50_000))) == ["ann"]:
                reduced.setdefault(accrual, seconds)
            assert liquidated(book(house, seconds, 0.016)) == []
        check_conservation(house)
    # 800 in all: 600 and more of it have accrued when three quarters of the ten minutes have passed
    assert reduced == {"period": FIRST, "continuous": FIRST - 120}


# With a watch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ladder", [None, {"policy": "pro_rata", "socialise": "side"}], ids=["plain", "ladder"])
@pytest.mark.parametrize("accrual", ACCRUALS)
def test_the_watch_hears_of_every_market_that_was_paid(accrual, ladder):
    rules = {**PLAIN, "accrual": accrual}
    whole = tables({MARKET: rules, "ETH-PERP": rules})
    answers = []
    for watch_from in (1, 10**6):
        house = house_of(whole if ladder is None else {**whole, "ladder": ladder})
        house.state.watch_from = watch_from
        for name, market, size in (("ann", MARKET, 1_000), ("ben", "ETH-PERP", 1_600), ("cat", MARKET, -1_000)):
            fund(house, name, 1_800)
            done(house, buy(house, name, market, size))
        events = [event for seconds in range(START + 20, FIRST + 2 * INTERVAL, 60) for event in _look(house, seconds)]
        check_conservation(house)
        assert (house.state.watch is None) == (watch_from > 1)
        answers.append((events, state_hash(house)))
    assert answers[0] == answers[1]
    assert {*liquidated(answers[0][0])} >= {"ann", "ben"}


def _look(house, seconds):
    """The same prices, and a premium of 3 % in both markets."""
    events = [*done(house, quotes(seconds, house, BTC=50_000, ETH=3_000, USDC=1)), *book(house, seconds, 0.03)]
    prices = {"bid": 300_000, "ask": 300_001, "impact_bid": 309_000, "impact_ask": 309_001}
    return events + list(done(house, ObserveBook(market="ETH-PERP", at_ns=seconds * 10**9, **prices)))


# Restart and adoption ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["house", "binance", "hyperliquid", "dydx", "drift", "vega", "derive"])
def test_a_restart_in_mid_period_equals_never_having_stopped(preset):
    rules = {"preset": preset, "interval": "10m", "sample_every": "1m", "imbalance": {"slope": "0.0005"}}
    house = house_of(tables({MARKET: {**rules, "accrual": "continuous"}}))
    pair(house)
    run(house, START + 20, FIRST + 120, 0.001)
    other = restore_snapshot(house.state.rulebook, take_snapshot(house))
    assert take_snapshot(other) == take_snapshot(house)
    for one in (house, other):
        run(one, FIRST + 180, FIRST + INTERVAL, 0.002)
    assert state_hash(other) == state_hash(house)


def test_other_rules_elsewhere_leave_a_period_as_it_is():
    house, untouched = funded(), funded()
    for one in (house, untouched):
        run(one, START + 20, FIRST - 60, 0.001)
    done(house, AdoptRulebook(rules=text(tables({MARKET: PLAIN, "ETH-PERP": PLAIN}))))
    assert [*house.state.funding_machines] == [0, 1]
    assert [one.rate for one in minute(house, FIRST, 0.001) if one.market == MARKET] == [PREMIUM]
    assert [one.rate for one in minute(untouched, FIRST, 0.001)] == [PREMIUM]


def test_changed_rules_begin_a_period_anew_and_dropped_ones_end_it():
    house = funded()
    run(house, START + 20, FIRST - 60, 0.001)
    done(house, AdoptRulebook(rules=text(tables({MARKET: {**PLAIN, "cap": "0.1"}}))))
    (paid,) = run(house, FIRST - 50, FIRST, 0.003) or minute(house, FIRST, 0.003)
    assert paid.premium == 3 * PREMIUM
    done(house, AdoptRulebook(rules=text(tables({}))))
    assert run(house, FIRST + 60, FIRST + 2 * INTERVAL, 0.003) == []


def test_funding_is_part_of_the_rulebooks_hash_and_a_house_without_it_keeps_its_own():
    plain, with_rules = house_of(tables({})), funded()
    assert plain.state.rulebook_hash != with_rules.state.rulebook_hash
    whole = tables({})
    del whole["funding"]
    assert house_of(whole).state.rulebook_hash == plain.state.rulebook_hash


# Whatever happens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_in_a_random_world_no_unit_is_lost(seed):
    chance = random.Random(seed)
    rules = {**PLAIN, "preset": chance.choice(["house", "dydx", "derive"]), "accrual": chance.choice(ACCRUALS)}
    house = house_of(tables({MARKET: {**rules, "imbalance": {"slope": "0.001"}}}))
    names, seconds, btc = ("ann", "ann.bot", "ben"), START + 1, 50_000.0
    for name in names:
        fund(house, name, 5_000)
    paid = []
    for _ in range(120):
        seconds += chance.choice([1, 20, 60, 60, 200])
        btc *= chance.uniform(0.997, 1.003)
        paid += minute(house, seconds, chance.uniform(-0.01, 0.012), btc)
        buyer, seller = chance.sample([*names, "external"], 2)
        price = house.state.valuation.marks[0]
        house.apply(Trade(market=MARKET, buyer=buyer, seller=seller, size=chance.randint(1, 700), price=price))
        check_conservation(house)
    assert paid
