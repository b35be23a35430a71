"""Opening a replay from a case file: which names, positions and prices the clearinghouse takes."""

import numpy as np
import pytest

from marginkeep.book.account import CROSS, ISOLATED
from marginkeep.book.case import read_case
from marginkeep.clearing import Clearinghouse, Deposit, check_conservation
from marginkeep.clearing.state import BAD_DEBT, FEES, INSURANCE_FUND, OUTSIDE
from marginkeep.errors import InputError
from marginkeep.lab.candles import Candles
from marginkeep.lab.example_rules import example_rulebook
from marginkeep.lab.opening import open_case, price_path
from marginkeep.lab.replay import Replay, top_up_fund

TIERS = [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]
MARKET = {"settle": "USD", "lot": "0.001", "tick": "0.1", "tiers": TIERS}
LONG = {"market": "BTC-PERP", "size": "1", "entry": "50000"}


def case_of(*accounts):
    return read_case(
        {
            "assets": {"USD": {}},
            "markets": {"BTC-PERP": MARKET, "ETH-PERP": MARKET},
            "prices": {"BTC-PERP": "50000", "ETH-PERP": "3000"},
            "accounts": list(accounts),
        }
    )


def account(name, **fields):
    return {"id": name, "balances": {"USD": "5000"}, "positions": [LONG], **fields}


def opened(*accounts):
    case = case_of(*accounts)
    return open_case(case, case.rulebook)


def candles_of(prices, symbol="BTC/USDT"):
    column = np.array(prices, dtype=np.float64)[:, None]
    return Candles(
        symbols=(symbol,),
        times_ns=np.arange(len(prices), dtype=np.int64) * 60 * 10**9,
        **dict.fromkeys(("open", "high", "low", "close", "volume"), column),
        step_ns=60 * 10**9,
        symbol_steps_ns=(60 * 10**9,),
        repairs=(),
        counts={},
    )


@pytest.mark.parametrize(
    "name",
    [*(INSURANCE_FUND, BAD_DEBT, FEES, OUTSIDE, "external", "liquidator"), "settlement:BTC-PERP", "funding:BTC-PERP"],
)
def test_an_id_that_names_an_account_of_the_ledger_is_refused(name):
    with pytest.raises(InputError, match="reserved for the clearinghouse; rename it"):
        opened(account(name))


@pytest.mark.parametrize("name", [INSURANCE_FUND, BAD_DEBT, FEES, OUTSIDE])
def test_the_clearinghouse_refuses_the_same_names_in_a_deposit(name):
    house = Clearinghouse(case_of().rulebook)
    assert house.apply(Deposit(account=name, asset="USD", amount=1))[0].code == "bad_name"


def test_an_isolated_account_cannot_bring_a_reserved_owner_in():
    own = {**LONG, "mode": "isolated", "margin": "100"}
    with pytest.raises(InputError, match="reserved for the clearinghouse"):
        opened({"id": INSURANCE_FUND, "mode": "isolated", "positions": [own]})


def test_an_id_longer_than_a_command_may_name_is_refused():
    assert opened(account("a" * 64)).state.book.count == 3
    with pytest.raises(InputError, match="1 to 64 printable characters"):
        opened(account("a" * 65))


def test_a_slash_of_ones_own_is_refused():
    with pytest.raises(InputError, match="'/' is reserved"):
        opened(account("ann/BTC-PERP"))


def test_an_owner_that_a_case_leaves_out_is_opened_empty():
    own = {**LONG, "mode": "isolated", "margin": "3000"}
    other = {**own, "market": "ETH-PERP", "entry": "3000"}
    house = opened({"id": "ann", "mode": "isolated", "positions": [own, other]}, account("bob"))
    state = house.state
    assert state.names == ["external", "liquidator", "ann", "ann/BTC-PERP", "ann/ETH-PERP", "bob"]
    owner, first, second = (state.book.read(index) for index in (2, 3, 4))
    assert (owner.mode, owner.balances, owner.positions) == (CROSS, {}, {})
    assert (first.mode, first.parent, second.parent) == (ISOLATED, 2, 2)
    check_conservation(house)


def test_an_order_without_a_position_needs_no_market_in_the_rulebook_and_no_prices():
    order = {"market": "ETH-PERP", "side": "buy", "size": "1", "price": "2900"}
    case = case_of(account("ann", orders=[order]))
    del case.rulebook.markets["ETH-PERP"]
    house = open_case(case, case.rulebook)
    assert list(house.state.book.read(2).positions) == [0]
    assert list(house.state.book.read(0).positions) == [0]


def test_prices_below_half_a_tick_are_raised_to_one_tick_and_counted():
    rulebook = case_of().rulebook
    path = price_path(candles_of([50_000, 0.3, 0.31, 0.04, 0.001]), rulebook, "close", ["BTC-PERP"])
    assert path.mark_ticks[:, 0].tolist() == [500_000, 3, 3, 1, 1]
    assert (path.rounded, path.raised) == (1, 2)


def test_a_price_that_falls_to_nothing_is_replayed_to_its_end():
    candles = candles_of([100, 50, 1, 1e-3, 1e-5], "LUNA/USDT")
    rulebook = example_rulebook({"LUNA/USDT": 100.0}, {"LUNA/USDT": 1e-5})
    assert rulebook.markets["LUNA-PERP"].tick * 100 <= 10**-5 * (1 + 1e-9)
    path = price_path(candles, rulebook, "close", ["LUNA-PERP"])
    assert path.raised == 0
    replay = Replay(Clearinghouse(rulebook), path)
    replay.run()
    assert replay.done == 5


def test_a_fund_that_the_clearinghouse_refuses_is_an_error_and_not_silence():
    house = Clearinghouse(case_of().rulebook)
    with pytest.raises(InputError, match="cannot start with 10000000000000 USD: amount is beyond the bound"):
        top_up_fund(house, 10**19)
    assert not house.state.ledger


def test_a_replay_asked_to_stop_keeps_the_figures_of_the_last_finished_tick():
    rulebook = case_of().rulebook
    replay = Replay(Clearinghouse(rulebook), price_path(candles_of([100] * 9), rulebook, "close"))
    replay.run(stopped=lambda: replay.done == 4)
    assert replay.done == len(replay.timeline().times_ns) == 4
    assert replay.house.state.now_ns == int(replay.path.times_ns[3])


def test_a_scan_counts_as_many_evaluations_as_there_are_accounts():
    house = opened(account("ann"), account("bob"))
    replay = Replay(house, price_path(candles_of([50_000] * 5), house.state.rulebook, "close"))
    replay.run()
    assert replay.evaluations.tolist() == [2] * 5
