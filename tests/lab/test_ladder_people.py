from fractions import Fraction

import numpy as np
import pytest

from marginkeep.book.case import read_case
from marginkeep.clearing import AdvanceTime, Deposit, SetPrices, check_conservation
from marginkeep.clearing.auctioning import open_auctions
from marginkeep.clearing.events import (
    AuctionBid,
    CallCured,
    DepositAsked,
    Liquidated,
    LiquidationStep,
    MarginCalled,
    RungChanged,
)
from marginkeep.clearing.loss_events import LossCovered
from marginkeep.lab.ladder_study import LadderReplay
from marginkeep.lab.ladder_study_people import BIDDER_PREFIX, BIDDERS, Bidders, Owners
from marginkeep.lab.ladder_study_rules import (
    VARIANTS,
    variant_text,
)
from marginkeep.lab.ladder_study_tally import Tally
from marginkeep.lab.opening import PricePath, open_case, set_opening_prices
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text

SECOND = 10**9
MINUTE = 60 * SECOND
USD = 10**6
NO_PARTIAL, PARTIAL, SOFT, FULL = VARIANTS

pytestmark = pytest.mark.without_shadows("long replays; the ladder's own tests have shadows")


# One account ---------------------------------------------------------------------------------------------------


def one_account(variant, marks, cash="1000", size="10", calls="0.05"):
    """A long of ten at 1000 with this cash, and the path of its market's marks, one a minute."""
    tier = {"floor": "0", "initial": "0.08", "maintenance": "0.02", "call": calls, "target": "0.06"}
    terms = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "100000"}
    case = read_case(
        {
            "assets": {"USD": {}},
            "liquidation": {"slippage": "0.002", "penalty": "0.003", "liquidator_share": "0.4"},
            "markets": {"A-PERP": {**terms, "tiers": [tier]}},
            "prices": {"A-PERP": "1000"},
            "accounts": [
                {
                    "id": "ann",
                    "balances": {"USD": cash},
                    "positions": [{"market": "A-PERP", "size": size, "entry": "1000"}],
                }
            ],
        }
    )
    text = "\n".join(
        (
            'name = "example"',
            "[liquidation]",
            'slippage = "0.002"',
            'penalty = "0.003"',
            'liquidator_share = "0.4"',
            "[assets.USD]",
            "[markets.A-PERP]",
            'settle = "USD"',
            'lot = "0.001"',
            'tick = "0.1"',
            'max_price = "100000"',
            "tiers = [",
            f'{{ floor = "0", initial = "0.08", maintenance = "0.02", call = "{calls}", target = "0.06" }},',
            "]\n",
        )
    )
    text = variant_text(text, variant, {"A-PERP": Fraction(1000)})
    rulebook = read_rulebook(parse_text(text, ".toml", "a test"))
    house = open_case(case, rulebook)
    times = MINUTE * np.arange(1, len(marks) + 1, dtype=np.int64)
    ticks = np.array(marks, np.int64).reshape(-1, 1) * 10
    path = PricePath(times, ("A-PERP",), (), ticks, np.zeros((len(marks), 0), np.int64), (), 0)
    set_opening_prices(house.state.valuation, path)
    return house, path


def size_of(house):
    account = house.state.book.read(house.state.index["ann"])
    return sum(position.size for position in account.positions.values())


def replayed(variant, marks, **account):
    house, path = one_account(variant, marks, **account)
    replay = LadderReplay(house, path, 3)
    replay.run()
    check_conservation(house)
    return replay


def test_without_partial_steps_all_is_closed_that_partial_steps_would_keep():
    whole, part = (replayed(variant, [1000, 915, 915]) for variant in (NO_PARTIAL, PARTIAL))
    assert size_of(whole.house) == 0
    assert 0 < size_of(part.house) < 10_000
    assert whole.tally.notional > part.tally.notional > 0


def test_soft_steps_take_time_and_partial_ones_do_not():
    at_once, paced = (replayed(variant, [1000, 915, 915, 915, 915, 915]) for variant in (PARTIAL, SOFT))
    assert at_once.tally.resolved_ns == [0]
    assert len(paced.tally.resolved_ns) == 1
    assert 0 < paced.tally.resolved_ns[0] <= 3 * MINUTE
    assert paced.liquidations > at_once.liquidations == 1
    assert paced.tally.penalty < at_once.tally.penalty


def test_every_reduction_is_counted_also_those_that_time_alone_brings():
    replay = replayed(SOFT, [1000, 915, 915, 915, 915, 915])
    assert replay.tally.notional == int(replay.liquidated_notional.sum())
    assert replay.tally.penalty == int(replay.penalties.sum())
    closed = 10_000 - size_of(replay.house)
    valuation = replay.house.state.valuation
    assert replay.tally.hindsight(valuation) == 0
    valuation.set_mark(0, 10_150)
    assert replay.tally.hindsight(valuation) == closed * 100 * USD // 1_000 > 0


def test_a_call_is_answered_in_time_by_some_seed_and_cures():
    cured = set()
    for seed in range(12):
        house, path = one_account(FULL, [1000, 940, 940, 940, 940, 940, 940, 940])
        replay = LadderReplay(house, path, seed)
        replay.run()
        assert replay.tally.called == {"ann"}
        assert bool(replay.owners.deposited) == bool(replay.tally.cured) == (size_of(house) == 10_000)
        cured.add(replay.tally.cured)
    assert cured == {0, 1}


# What is added up ----------------------------------------------------------------------------------------------


def close_of(size, price, mark, penalty=0, value=None):
    value = abs(size * price * 100) if value is None else value
    return LiquidationStep("close", "A-PERP", size, price, "USD", value, 0, penalty, mark)


def reduction(*steps, account="ann", rung="partial"):
    return Liquidated(
        account=account,
        collateral=1,
        requirement=2,
        health_target=-1,
        health_after=0,
        notional=sum(step.value for step in steps),
        penalty=sum(step.penalty for step in steps),
        fund_paid=0,
        bad_debt=0,
        marks={},
        steps=steps,
        rulebook="",
        rung=rung,
    )


def house_at(mark):
    house, _ = one_account(PARTIAL, [1000])
    house.apply(SetPrices(marks={"A-PERP": mark * 10}))
    return house


def test_losses_are_penalty_slippage_and_what_the_price_did_afterwards():
    house, tally = house_at(1000), Tally()
    tally.add([reduction(close_of(-2_000, 9_900, 10_000, penalty=7))], house.state)  # two sold at 990, mark 1000
    tally.add([reduction(close_of(1_000, 10_100, 10_000))], house.state)  # one bought back at 1010
    assert tally.penalty == 7
    assert tally.slippage == 30 * USD
    assert tally.hindsight(house.state.valuation) == 0
    house.apply(SetPrices(marks={"A-PERP": 11_000}))
    assert tally.hindsight(house.state.valuation) == (2 - 1) * 100 * USD
    assert tally.forced == {"ann"}


def test_what_bankrupt_accounts_lose_is_not_theirs():
    house, tally = house_at(1000), Tally()
    tally.add([reduction(close_of(-2_000, 9_900, 10_000, penalty=7), rung="bankrupt")], house.state)
    assert (tally.penalty, tally.slippage, tally.hindsight(house.state.valuation)) == (0, 0, 0)
    assert tally.notional == 1_980 * USD


def test_a_bid_costs_its_discount_and_its_reward():
    house, tally = house_at(1000), Tally()
    numbers = dict.fromkeys(
        ("asked", "fraction", "discount", "curve", "collateral", "requirement", "collateral_after"), 1
    )
    bid = AuctionBid(
        account="ann",
        liquidator="bob",
        fills=(close_of(-1_000, 9_700, 10_000),),
        notional=1_000 * USD,
        reward=3 * USD,
        reward_asset="USD",
        requirement_after=1,
        **numbers,
    )
    tally.add([bid], house.state)
    assert tally.slippage == 33 * USD
    assert tally.notional == tally.auctioned_notional == 1_000 * USD


def test_time_to_resolution_runs_from_the_first_forced_rung_to_healthy_or_closed():
    house, tally = house_at(1000), Tally()

    def at(second, *moves):
        house.apply(AdvanceTime(now_ns=second * SECOND))
        tally.add([RungChanged(account="ann", before=a, after=b) for a, b in moves], house.state)

    at(10, ("called", "soft"))
    at(20, ("soft", "partial"))
    at(50, ("partial", "healthy"))
    at(60, ("healthy", "partial"), ("partial", "closed"))
    at(70, ("called", "healthy"))
    assert tally.resolved_ns == [40 * SECOND, 0]
    at(80, ("healthy", "auction"))
    at(90, ("auction", "bankrupt"))
    assert tally.begun == {"ann": 80 * SECOND}
    assert tally.bankrupt == {"ann"}


def test_cured_are_those_who_were_never_reduced():
    house, tally = house_at(1000), Tally()
    tally.add([CallCured(account="ann"), CallCured(account="bob")], house.state)
    assert tally.cured == 2
    tally.add([reduction(close_of(-1, 1, 1), account="bob")], house.state)
    assert tally.cured == 1


def test_what_others_bear_is_added_up():
    house, tally = house_at(1000), Tally()
    for _ in range(2):
        covered = LossCovered(account="ann", owed=9, fund_paid=4, socialised=3, bad_debt=2, funds={})
        tally.add_losses([covered], house.state)
    assert (tally.fund_paid, tally.socialised) == (8, 6)


# The people ----------------------------------------------------------------------------------------------------


def test_owners_decide_by_seed_account_and_number_of_the_call_alone():
    house, _ = one_account(FULL, [1000])
    asked = (DepositAsked("USD", 100 * USD, 100 * USD),)
    call = MarginCalled(account="ann", missing=1, because="", prices=(), deadline_ns=300 * SECOND, deposits=asked)

    def answers(calls):
        owners, waiting = Owners(5), []
        for one in calls:
            owners.read([one], house)
            waiting.append(owners.is_waiting)
        return waiting

    alone = answers([call] * 20)
    assert alone == answers([call] * 20)
    assert any(alone)


def test_a_call_without_a_deposit_that_cures_it_is_not_answered():
    house, _ = one_account(FULL, [1000])
    owners = Owners(5)
    for _ in range(20):
        owners.read([MarginCalled(account="ann", missing=1, because="", prices=(), deadline_ns=300 * SECOND)], house)
    assert not owners.is_waiting


def auction_house(capital=50_000):
    """A house in which ann's long is being auctioned, and its bidders with this capital each."""
    house, _ = one_account(FULL, [1000])
    bidders = Bidders(house, 3, capital * BIDDERS * USD * 200, house.apply)
    house.apply(AdvanceTime(now_ns=MINUTE))
    house.apply(SetPrices(marks={"A-PERP": 9_080}))
    assert house.state.ill["ann"].auction is not None
    return house, bidders


def test_a_bidder_waits_until_the_discount_exceeds_what_it_asks_for_and_carries_so_much_only():
    house, bidders = auction_house(capital=100)
    asked = []

    def apply(command):
        asked.append(command)
        assert command.least_discount <= open_auctions(house.state)[0].discount
        return house.apply(command)

    for _ in range(2 * BIDDERS):
        bidders.act(house, apply)
    names = [f"{BIDDER_PREFIX}{number + 1}" for number in range(BIDDERS)]
    took = list(dict.fromkeys(bid.liquidator for bid in asked))
    assert took == names[: len(took)]
    assert 1 < len(took) < BIDDERS
    for name in names:
        account = house.state.book.read(house.state.index[name])
        assert (
            sum(abs(position.size) for position in account.positions.values()) * 908 <= 500 * 1_000 + 908
        )  # a bid takes at least a lot
    check_conservation(house)


def test_bidders_who_have_seen_enough_leave_for_good_and_pass_on_what_they_hold():
    house, bidders = auction_house()
    for second in range(70, 120, 10):
        house.apply(AdvanceTime(now_ns=second * SECOND))
        bidders.act(house, house.apply)
    held = holdings(house)
    assert held > 0
    bidders.pass_on(house, house.apply)
    assert 0 < holdings(house) < held
    assert bidders.left == []
    house.apply(SetPrices(marks={"A-PERP": 4_000}))
    bidders.pass_on(house, house.apply)
    assert len(bidders.left) == BIDDERS
    house.apply(SetPrices(marks={"A-PERP": 9_900}))
    bidders.pass_on(house, house.apply)
    assert len(bidders.left) == BIDDERS
    check_conservation(house)


def holdings(house):
    names = [name for name in house.state.names if name.startswith(BIDDER_PREFIX)]
    accounts = [house.state.book.read(house.state.index[name]) for name in names]
    return sum(position.size for account in accounts for position in account.positions.values())


def test_an_auction_without_bidders_still_ends():
    house, _ = auction_house()
    for second in range(70, 400, 10):
        house.apply(AdvanceTime(now_ns=second * SECOND))
    assert "ann" not in house.state.ill
    check_conservation(house)


def test_bidders_are_nobody_whom_the_study_counts():
    house, path = one_account(FULL, [1000])
    replay = LadderReplay(house, path, 3)
    replay.take_in(0, house.apply(Deposit(account=f"{BIDDER_PREFIX}1", asset="USD", amount=1)))
    replay.take_in(0, (reduction(close_of(-1, 1, 1), account=f"{BIDDER_PREFIX}1"),))
    assert not replay.tally.forced
    assert not replay.stories
