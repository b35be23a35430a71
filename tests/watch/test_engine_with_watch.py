"""The clearinghouse with a watch does exactly what it does with a scan."""

import msgspec
import pytest

from marginkeep.book.account import Account, Position
from marginkeep.clearing import Clearinghouse, Deposit, Rejected, Trade, check_conservation, state_hash
from marginkeep.clearing.events import Halted
from marginkeep.lab.replay import Replay, top_up_fund
from tests.houses import fund, opened, position, prices, usd
from tests.lab.test_replay import crash_path, generated_house
from tests.simulation.test_random_commands import World


def pair(seed: int) -> tuple[Clearinghouse, Clearinghouse]:
    watched, scanned = opened(), opened()
    watched.state.watch_from = 0
    return watched, scanned


def watching_a_long_of_one() -> Clearinghouse:
    """Ann is long a BTC at 50,000 with 10,000 USD; the next price begins the watch."""
    house = opened()
    house.state.watch_from = 0
    fund(house, "ann", 10_000)
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=1_000, price=500_000))
    return house


@pytest.mark.parametrize("seed", range(6))
def test_a_seeded_world_gives_the_same_events_and_state_with_watch_and_with_scan(seed):
    watched, scanned = pair(seed)
    world = World(seed)
    for step in range(200):
        command = world.command()
        answers = [msgspec.json.encode(house.apply(command)) for house in (watched, scanned)]
        assert answers[0] == answers[1], f"seed {seed}, step {step}: {command}"
        check_conservation(watched)
    assert watched.state.watch is not None
    assert scanned.state.watch is None
    assert state_hash(watched) == state_hash(scanned)


@pytest.mark.without_shadows("two replays of the same commands are compared here; the shadows run on shorter ones")
def test_a_replay_gives_the_same_state_with_watch_and_with_scan():
    houses = []
    for watch_from in (0, 10**9):
        rulebook, path = crash_path()
        house = generated_house(rulebook, path, 1_500, 5)
        house.state.watch_from = watch_from
        top_up_fund(house, 10**10)
        replay = Replay(house, path)
        replay.run()
        houses.append((state_hash(house), replay.liquidations, int(replay.evaluations.sum())))
    assert houses[0][:2] == houses[1][:2]
    assert houses[0][2] < houses[1][2] / 5


@pytest.mark.without_shadows("the defect is planted by hand; replicas do not have it")
def test_a_contradiction_halts_what_adds_risk_and_nothing_else():
    from marginkeep.clearing import ReserveOrder, Withdraw

    house = watching_a_long_of_one()
    house.apply(prices(btc=50_100))
    house.state.watch.statuses[house.state.index["ann"]] = 1
    events = house.apply(prices(btc=50_100.1))
    assert isinstance(events[-1], Halted)
    assert "account 2" in events[-1].report
    order = {"account": "ann", "order": "1", "market": "BTC-PERP", "size": 10, "price": 501_000}
    assert house.apply(ReserveOrder(side="buy", **order))[0].code == "halted"
    assert house.apply(Withdraw(account="ann", asset="USD", amount=1))[0].code == "halted"
    more = Trade(market="BTC-PERP", buyer="ann", seller="external", size=10, price=501_000)
    assert house.apply(more)[0].code == "halted"
    assert not isinstance(house.apply(ReserveOrder(side="sell", **order))[0], Rejected)
    assert not isinstance(house.apply(Deposit(account="ann", asset="USD", amount=1))[0], Rejected)
    less = Trade(market="BTC-PERP", buyer="external", seller="ann", size=10, price=501_000, taker="buyer")
    assert not isinstance(house.apply(less)[0], Rejected)
    assert position(house, "ann", "BTC-PERP").size == 990


@pytest.mark.without_shadows("2,500 accounts, added by hand: the two houses are compared with one another")
def test_everybody_breached_at_once_is_no_problem():
    results = []
    for watch_from in (0, 10**9):
        house = opened()
        house.state.watch_from = watch_from
        for number in range(2_500):
            house.state.add_account(f"user{number}", long_one())
        house.state.open_ledger()
        house.apply(prices(btc=50_000))
        events = house.apply(prices(btc=25_000))
        events += house.apply(prices(btc=24_000))
        results.append((state_hash(house), sum(type(event).__name__ == "Liquidated" for event in events)))
    assert results[0] == results[1]
    assert results[0][1] == 2_500


def long_one() -> Account:
    """A long of 0.1 BTC at 50,000 with 300 USD."""
    return Account(balances={0: usd(300)}, positions={0: Position(size=100, cost=usd(5_000))})


def test_an_account_that_has_healed_is_not_liquidated():
    """A liquidation that can sell nothing leaves an account below maintenance; then it is funded."""
    results = []
    for watch_from in (0, 10**9):
        house = opened()
        house.state.watch_from = watch_from
        house.apply(prices(btc=50_000))
        fund(house, "ann", 1_100)
        house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=1_000, price=500_000))
        house.state.watch and house.state.watch._unhealed.append(house.state.index["ann"])
        events = house.apply(prices(btc=50_001))
        results.append([type(event).__name__ for event in events])
        assert position(house, "ann", "BTC-PERP").size == 1_000
    assert results[0] == results[1] == ["PricesSet"]


def test_orders_that_come_and_go_have_nobody_judged_again_unless_they_book_funding():
    from marginkeep.clearing import PayFunding, ReleaseOrder, ReserveOrder

    house = watching_a_long_of_one()
    house.apply(prices(btc=50_000))

    def evaluated_after(*commands) -> int:
        before = house.state.watch.evaluated
        for command in (*commands, prices(btc=50_000)):
            assert not isinstance(house.apply(command)[0], Rejected)
        return house.state.watch.evaluated - before

    bid = {"account": "ann", "market": "BTC-PERP", "side": "buy", "size": 10, "price": 499_000}
    assert evaluated_after(ReserveOrder(order="1", **bid), ReleaseOrder(account="ann", order="1")) == 0
    assert evaluated_after(Deposit(account="ann", asset="USD", amount=1)) == 1
    house.apply(PayFunding(market="BTC-PERP", rate=100_000))
    assert evaluated_after(ReserveOrder(order="2", **bid)) == 1


def test_rules_without_a_ladder_liquidate_those_who_stood_on_it():
    from marginkeep.clearing import AdoptRulebook, Liquidated
    from tests import ladder_houses as ladders

    answers = []
    for watch_from in (0, 10**9):
        impact = {"BTC-PERP": {"depth": "10", "impact": "0.005", "share": "0.001", "interval": "10s"}}
        house = ladders.opened({"impact": impact, "dust": "20"})
        house.state.watch_from = watch_from
        fund(house, "ann", 3_000)
        fund(house, "bob", 100_000)
        ladders.trade(house, "ann", "bob", 1_000, 50_000)
        house.apply(ladders.prices(btc=47_200))
        assert "ann" in house.state.ill, "she was sold whole at once"
        assert position(house, "ann", "BTC-PERP").size > 900
        adopted = house.apply(AdoptRulebook(rules=ladders.rules_text(None)))
        answers.append([msgspec.json.encode(event) for event in adopted])
        assert isinstance(adopted[-1], Liquidated)
    assert answers[0] == answers[1]


def test_a_new_order_of_who_cannot_be_liquidated_is_released_with_the_next_price_as_by_a_scan():
    """Its price is in doubt: it may be reduced at, not liquidated at. A house restored meanwhile says the same."""
    from marginkeep.clearing import ReserveOrder, SetPrices, restore_snapshot, take_snapshot
    from tests import oracle_houses as quoted

    def doubted(second: float, eth: float):
        prices_of_btc = (50_000, 45_000, 55_000)
        return quoted.quotes(quoted.START + second, house, BTC=prices_of_btc, ETH=eth, USDC=1)

    answers = []
    for watch_from in (0, 10**9):
        house = quoted.opened()
        house.state.watch_from = watch_from
        quoted.done(house, SetPrices(marks={"COIN-PERP": 1_000}, prices={"COIN": 1_000}))
        quoted.fund(house, "ann", 300, "COIN")
        quoted.fund(house, "bob", 2_000)
        quoted.done(house, quoted.buy(house, "ann", "BTC-PERP", 1_000))
        quoted.done(house, doubted(1, 3_000))
        quoted.done(house, SetPrices(marks={"COIN-PERP": 900}, prices={"COIN": 100}))
        assert house.state.called == {"ann": ("BTC-PERP",)}
        order = {"account": "ann", "market": "BTC-PERP", "side": "sell", "size": 10, "price": 500_000}
        quoted.done(house, ReserveOrder(order="1", **order))
        again = restore_snapshot(house.state.rulebook, take_snapshot(house))
        again.state.watch_from = watch_from
        answers += [one.apply(doubted(2, 3_001)) for one in (house, again)]
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert answers[0][-1].reason == "liquidation"
