"""Accounts of a case: how positions, margins and orders become accounts."""

import pytest

from marginkeep.book import read_case
from marginkeep.book.account import CROSS, ISOLATED
from marginkeep.errors import InputError
from tests.book.case_table import ALICE, DELETE, POSITION, accounts, changed, refusal


def test_an_entry_need_not_be_a_multiple_of_the_tick_but_its_cost_is_rounded_up():
    case = read_case(changed(((*POSITION, "entry"), "48000.0000005")))
    assert case.accounts["alice"].positions[0].cost == -72_000_000_000  # -72,000.00000075, up
    case = read_case(changed(((*POSITION, "entry"), "48000.0000005"), ((*POSITION, "size"), "1.5")))
    assert case.accounts["alice"].positions[0].cost == 72_000_000_001


def test_a_cost_may_stand_in_place_of_the_entry():
    table = changed(((*POSITION, "entry"), DELETE), ((*POSITION, "cost"), "-72000.5"))
    assert read_case(table).accounts["alice"].positions[0].cost == -72_000_500_000


def test_an_isolated_account_holds_one_position_on_its_own_balance():
    position = {"market": "BTC-PERP", "size": "1", "entry": "48000"}
    case = read_case(accounts({"id": "a", "mode": "isolated", "balances": {"USD": "100"}, "positions": [position]}))
    assert list(case.accounts) == ["a"]
    assert (case.accounts["a"].mode, case.accounts["a"].balances) == (ISOLATED, {0: 100 * 10**6})


def test_a_position_with_its_own_margin_becomes_an_account_of_its_own():
    isolated = {"market": "BTC-PERP", "size": "1", "entry": "48000", "mode": "isolated", "margin": "5000"}
    case = read_case(accounts({"id": "a", "balances": {"USD": "100"}, "positions": [isolated]}))
    assert list(case.accounts) == ["a", "a/BTC-PERP"]
    owner, child = case.accounts.values()
    assert (owner.mode, owner.positions, owner.balances) == (CROSS, {}, {0: 100 * 10**6})
    assert (child.mode, child.balances, child.positions[0].size) == (ISOLATED, {0: 5000 * 10**6}, 1000)


def test_the_positions_of_an_isolated_account_may_each_have_a_margin():
    table = accounts(
        {
            "id": "a",
            "mode": "isolated",
            "positions": [
                {"market": "BTC-PERP", "size": "1", "entry": "48000", "margin": "5000"},
                {"market": "BTC-2", "size": "-1", "entry": "48000", "margin": "6000"},
            ],
        }
    )
    table["markets"]["BTC-2"] = table["markets"]["BTC-PERP"]
    table["prices"]["BTC-2"] = "50000"
    case = read_case(table)
    assert list(case.accounts) == ["a/BTC-PERP", "a/BTC-2"]  # and no empty account "a"
    assert [account.balances[0] for account in case.accounts.values()] == [5000 * 10**6, 6000 * 10**6]


def test_two_positions_on_one_isolated_balance_are_refused_with_the_cure():
    table = accounts(
        {
            "id": "a",
            "mode": "isolated",
            "positions": [
                {"market": "BTC-PERP", "size": "1", "entry": "48000"},
                {"market": "BTC-2", "size": "-1", "entry": "48000"},
            ],
        }
    )
    table["markets"]["BTC-2"] = table["markets"]["BTC-PERP"]
    table["prices"]["BTC-2"] = "50000"
    with pytest.raises(InputError, match=r'accounts\[0\]\.positions: .*\(margin = "\.\.\."\) or use mode = "cross"'):
        read_case(table)


def test_an_order_in_a_market_held_isolated_belongs_to_the_isolated_account():
    table = changed(((*POSITION, "mode"), "isolated"), ((*POSITION, "margin"), "5000"))
    case = read_case(table)
    assert case.accounts["alice"].positions == {}
    assert case.accounts["alice/BTC-PERP"].positions[0].bid_size == 500


def test_orders_of_one_side_add_up():
    orders = [
        {"market": "BTC-PERP", "side": side, "size": size, "price": price}
        for side, size, price in [("buy", "0.5", "47000"), ("buy", "1", "46000"), ("sell", "2", "51000")]
    ]
    position = read_case(changed(((*ALICE, "orders"), orders))).accounts["alice"].positions[0]
    assert (position.bid_size, position.bid_cost) == (1500, (23_500 + 46_000) * 10**6)
    assert (position.ask_size, position.ask_cost) == (2000, -102_000 * 10**6)


def test_duplicate_ids_are_refused_with_the_path_of_the_second():
    with pytest.raises(InputError) as caught:
        read_case(accounts({"id": "a"}, {"id": "b"}, {"id": "a"}))
    assert str(caught.value) == "accounts[2].id is 'a', which another account has: ids must be unique"


def test_an_id_that_an_isolated_position_already_uses_is_refused():
    isolated = {"market": "BTC-PERP", "size": "1", "entry": "48000", "mode": "isolated", "margin": "5000"}
    with pytest.raises(InputError, match=r"'a/BTC-PERP', which another account has"):
        read_case(accounts({"id": "a/BTC-PERP"}, {"id": "a", "positions": [isolated]}))


def test_one_market_twice_in_one_account_is_refused():
    positions = [{"market": "BTC-PERP", "size": size, "entry": "48000"} for size in ("1", "-2")]
    message = refusal(((*ALICE, "positions"), positions))
    assert message == "accounts[0].positions[1].market stands twice in one account: net the positions into one"


def test_an_unknown_mode_of_a_position_is_refused():
    message = refusal(((*POSITION, "mode"), "isolted"))
    assert message == "accounts[0].positions[0].mode is 'isolted': use one of cross, isolated"


def test_a_margin_on_a_cross_position_is_refused_with_the_cure():
    for fields in (
        [],
        [((*POSITION, "mode"), "cross")],
        [((*ALICE, "mode"), "isolated"), ((*POSITION, "mode"), "cross")],
    ):
        message = refusal(((*POSITION, "margin"), "5000"), *fields)
        assert message.startswith("accounts[0].positions[0].margin is '5000', but a cross position has no margin ")
        assert 'add mode = "isolated"' in message


def test_cost_and_entry_together_are_refused_with_the_choice():
    message = refusal(((*POSITION, "cost"), "-72000"))
    assert "cost" in message.split(":")[0]
    assert "entry" in message.split(":")[0]


def test_a_negative_margin_of_an_isolated_position_is_refused():
    message = refusal(((*POSITION, "mode"), "isolated"), ((*POSITION, "margin"), "-5000"))
    assert message == "accounts[0].positions[0].margin is '-5000': collateral must be 0 or more"
    case = read_case(changed(((*POSITION, "mode"), "isolated"), ((*POSITION, "margin"), "0")))
    assert case.accounts["alice/BTC-PERP"].balances == {0: 0}


def isolated_account(**fields):
    own = {"market": "BTC-PERP", "size": "1", "entry": "48000", "margin": "5000"}
    return {"id": "a", "mode": "isolated", "positions": [own], **fields}


def test_an_id_stands_for_one_account_even_if_that_account_is_only_an_owner():
    with pytest.raises(InputError, match=r"accounts\[1\]\.id is 'a', which another account has"):
        read_case(accounts(isolated_account(), {"id": "a"}))
    with pytest.raises(InputError, match=r"accounts\[1\]\.id is 'a', which another account has"):
        read_case(accounts({"id": "a"}, isolated_account()))


def test_balances_that_back_no_position_of_an_isolated_account_are_refused_with_the_cure():
    with pytest.raises(InputError, match=r"accounts\[0\]\.balances: .*leave them out, or use mode = \"cross\""):
        read_case(accounts(isolated_account(balances={"USD": "100"})))


def test_an_order_keeps_an_isolated_account_whose_positions_have_margins_of_their_own():
    table = accounts(
        isolated_account(orders=[{"market": "BTC-2", "side": "buy", "size": "1", "price": "40000"}]),
    )
    table["markets"]["BTC-2"] = table["markets"]["BTC-PERP"]
    table["prices"]["BTC-2"] = "50000"
    assert list(read_case(table).accounts) == ["a", "a/BTC-PERP"]
