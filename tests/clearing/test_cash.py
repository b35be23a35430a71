from tests.houses import balance, fund, ledger, opened, position, prices, usd

from marginkeep.clearing import (
    AddMargin,
    ChangeMode,
    Deposit,
    RemoveMargin,
    ReserveOrder,
    TopUpFund,
    Trade,
    Transfer,
    Withdraw,
    check_conservation,
)


def code(events):
    return events[0].code


def test_a_deposit_opens_an_account_and_a_withdrawal_of_it_all_leaves_nothing():
    house = opened()
    first = house.apply(Deposit(account="ann", asset="USD", amount=usd(100)))
    assert [type(event).__name__ for event in first] == ["AccountOpened", "BalanceMoved"]
    assert ledger(house, "outside") == -usd(100)
    assert len(house.apply(Withdraw(account="ann", asset="USD", amount=usd(100)))) == 1
    assert balance(house, "ann") == 0
    assert ledger(house, "outside") == 0
    check_conservation(house)


def test_a_withdrawal_beyond_the_balance_is_refused_with_what_is_missing():
    house = opened()
    fund(house, "ann", 100)
    refused = house.apply(Withdraw(account="ann", asset="USD", amount=usd(130)))[0]
    assert (refused.code, refused.numbers["missing"]) == ("insufficient_balance", usd(30))
    assert balance(house, "ann") == usd(100)


def test_a_withdrawal_may_take_all_but_the_initial_requirement_to_the_unit():
    house = opened()
    fund(house, "ann", 2_000)
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=1_000, price=500_000))
    free = usd(2_000) - usd(25) - usd(1_000)
    refused = house.apply(Withdraw(account="ann", asset="USD", amount=free + 1))[0]
    assert (refused.code, refused.numbers["missing"]) == ("insufficient_margin", 1)
    assert code(house.apply(Withdraw(account="ann", asset="USD", amount=free + 1))) == "insufficient_margin"
    assert house.apply(Withdraw(account="ann", asset="USD", amount=free))[0].amount == free
    assert balance(house, "ann") == usd(1_000)


def test_coin_counts_with_its_initial_weight_when_withdrawing():
    house = opened()
    fund(house, "ann", 1, "BTC")
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=10_000, price=500_000))
    refused = house.apply(Withdraw(account="ann", asset="BTC", amount=10**8))[0]
    assert refused.code == "insufficient_margin"


def test_a_transfer_moves_money_between_accounts_and_needs_both():
    house = opened()
    fund(house, "ann", 100)
    assert code(house.apply(Transfer(source="ann", target="bob", asset="USD", amount=1))) == "unknown_account"
    fund(house, "bob", 1)
    house.apply(Transfer(source="ann", target="bob", asset="USD", amount=usd(40)))
    assert (balance(house, "ann"), balance(house, "bob")) == (usd(60), usd(41))
    assert code(house.apply(Transfer(source="ann", target="ann", asset="USD", amount=1))) == "same_account"


def test_isolated_margin_is_its_own_account_and_comes_back():
    house = opened()
    fund(house, "ann", 1_000)
    house.apply(AddMargin(account="ann", market="BTC-PERP", amount=usd(600)))
    assert (balance(house, "ann"), balance(house, "ann/BTC-PERP")) == (usd(400), usd(600))
    house.apply(Trade(market="BTC-PERP", buyer="ann/BTC-PERP", seller="external", size=100, price=500_000))
    assert position(house, "ann", "BTC-PERP") is None
    refused = house.apply(RemoveMargin(account="ann", market="BTC-PERP", amount=usd(550)))[0]
    assert refused.code == "insufficient_margin"
    house.apply(RemoveMargin(account="ann", market="BTC-PERP", amount=usd(450)))
    assert balance(house, "ann") == usd(850)


def test_an_isolated_account_trades_only_its_own_market_and_takes_no_deposit():
    house = opened()
    fund(house, "ann", 10_000)
    house.apply(AddMargin(account="ann", market="BTC-PERP", amount=usd(5_000)))
    other = Trade(market="ETH-PERP", buyer="ann/BTC-PERP", seller="external", size=1, price=300_000)
    assert code(house.apply(other)) == "isolated_account"
    order = ReserveOrder(account="ann/BTC-PERP", order="1", market="ETH-PERP", side="buy", size=1, price=300_000)
    assert code(house.apply(order)) == "isolated_account"
    assert code(house.apply(Deposit(account="ann/BTC-PERP", asset="USD", amount=1))) == "isolated_account"
    assert code(house.apply(Withdraw(account="ann/BTC-PERP", asset="USD", amount=1))) == "isolated_account"
    nested = AddMargin(account="ann/BTC-PERP", market="BTC-PERP", amount=1)
    assert code(house.apply(nested)) == "isolated_account"


def test_changing_to_isolated_and_back_moves_position_orders_and_margin():
    house = opened()
    fund(house, "ann", 10_000)
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=1_000, price=500_000))
    house.apply(ReserveOrder(account="ann", order="1", market="BTC-PERP", side="sell", size=500, price=510_000))
    before = balance(house, "ann")
    events = house.apply(ChangeMode(account="ann", market="BTC-PERP", mode="isolated", margin=usd(2_000)))
    assert [type(event).__name__ for event in events] == ["AccountOpened", "ModeChanged"]
    child = position(house, "ann/BTC-PERP", "BTC-PERP")
    assert (child.size, child.ask_size) == (1_000, 500)
    assert position(house, "ann", "BTC-PERP") is None
    assert balance(house, "ann/BTC-PERP") == usd(2_000)
    house.apply(ChangeMode(account="ann", market="BTC-PERP", mode="cross"))
    assert position(house, "ann", "BTC-PERP").size == 1_000
    assert balance(house, "ann") == before
    assert house.state.orders[house.state.index["ann"]].keys() == {"1"}
    check_conservation(house)


def test_isolating_with_too_little_margin_is_refused_and_changes_nothing():
    house = opened()
    fund(house, "ann", 10_000)
    house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=1_000, price=500_000))
    events = house.apply(ChangeMode(account="ann", market="BTC-PERP", mode="isolated", margin=usd(10)))
    assert code(events) == "insufficient_margin"
    assert "ann/BTC-PERP" not in house.state.index
    assert position(house, "ann", "BTC-PERP").size == 1_000


def test_names_that_sub_accounts_and_the_ledger_use_cannot_be_opened():
    house = opened()
    for name in ("ann/BTC-PERP", "settlement:BTC-PERP", "fees", "insurance_fund", "outside"):
        assert code(house.apply(Deposit(account=name, asset="USD", amount=1))) == "bad_name"
    for name in ("external", "liquidator"):
        assert code(house.apply(Deposit(account=name, asset="USD", amount=1))) == "system_account"


def test_topping_up_the_fund_is_outside_money():
    house = opened()
    house.apply(TopUpFund(asset="USD", amount=usd(500)))
    assert (ledger(house, "insurance_fund"), ledger(house, "outside")) == (usd(500), -usd(500))
    house.apply(prices(btc=40_000))
    check_conservation(house)
