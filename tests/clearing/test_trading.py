from tests.houses import balance, fund, ledger, opened, position, prices, usd

from marginkeep.book.fills import cost_of
from marginkeep.clearing import (
    PayFunding,
    ReleaseOrder,
    ReserveOrder,
    Trade,
    check_conservation,
)


def buy(account, size, price, order="1", market="BTC-PERP"):
    return ReserveOrder(account=account, order=order, market=market, side="buy", size=size, price=price)


def sell(account, size, price, order="1", market="BTC-PERP"):
    return ReserveOrder(account=account, order=order, market=market, side="sell", size=size, price=price)


def trade(size, price=500_000, buyer="ann", seller="external", market="BTC-PERP", **more):
    return Trade(market=market, buyer=buyer, seller=seller, size=size, price=price, **more)


def test_an_order_reserves_the_initial_margin_and_fee_of_its_fill():
    house = opened()
    fund(house, "ann", 1_025)
    assert house.apply(buy("ann", 1_000, 500_000))[0].free == 0
    refused = house.apply(buy("ann", 1, 500_000, order="2"))[0]
    assert refused.code == "insufficient_margin"
    assert refused.numbers["missing"] == usd(50 * 0.02) + usd(50 * 0.0005)


def test_a_bid_above_the_mark_reserves_its_loss_at_once_as_well():
    house = opened()
    fund(house, "ann", 5_000)
    free = house.apply(buy("ann", 1_000, 505_000))[0].free
    assert free == usd(5_000) - usd(1_000) - usd(500) - usd(50_500 * 0.0005)


def test_orders_on_both_sides_reserve_the_worse_side_only():
    house = opened()
    fund(house, "ann", 5_000)
    one_side = house.apply(buy("ann", 1_000, 500_000))[0].free
    assert house.apply(sell("ann", 900, 500_000, order="2"))[0].free == one_side


def test_an_order_that_only_reduces_passes_even_below_the_initial_requirement():
    house = opened()
    fund(house, "ann", 1_100)
    house.apply(trade(1_000))
    house.apply(prices(btc=49_700))
    assert house.apply(buy("ann", 10, 497_000))[0].code == "insufficient_margin"
    assert house.apply(sell("ann", 1_000, 497_000, order="2"))[0].free < 0
    assert house.apply(sell("ann", 1_500, 497_000, order="3"))[0].code == "insufficient_margin"


def test_releasing_an_order_gives_everything_back():
    house = opened()
    fund(house, "ann", 1_025)
    house.apply(buy("ann", 1_000, 500_000))
    assert house.apply(ReleaseOrder(account="ann", order="1"))[0].reason == "released"
    assert house.apply(ReleaseOrder(account="ann", order="1"))[0].code == "unknown_order"
    assert position(house, "ann", "BTC-PERP") is None
    check_conservation(house)


def test_a_partial_fill_shrinks_the_order_and_the_last_fill_ends_it():
    house = opened()
    fund(house, "ann", 10_000)
    house.apply(buy("ann", 1_000, 500_000))
    events = house.apply(trade(400, buyer_order="1"))
    assert [type(event).__name__ for event in events] == ["Traded"]
    held = position(house, "ann", "BTC-PERP")
    assert (held.size, held.bid_size) == (400, 600)
    assert house.apply(trade(601, buyer_order="1"))[0].code == "overfill"
    events = house.apply(trade(600, buyer_order="1"))
    assert [type(event).__name__ for event in events] == ["OrderReleased", "Traded"]
    assert position(house, "ann", "BTC-PERP").bid_size == 0
    check_conservation(house)


def test_a_fill_must_match_its_order():
    house = opened()
    fund(house, "ann", 10_000)
    house.apply(buy("ann", 10, 500_000))
    assert house.apply(trade(5, buyer="external", seller="ann", seller_order="1"))[0].code == "wrong_order"
    wrong_market = trade(5, price=300_000, market="ETH-PERP", buyer_order="1")
    assert house.apply(wrong_market)[0].code == "wrong_order"
    assert house.apply(trade(5, buyer_order="nope"))[0].code == "unknown_order"


def test_taker_pays_and_maker_receives_and_the_rest_stays_in_fees():
    house = opened()
    fund(house, "ann", 10_000)
    fund(house, "bob", 10_000)
    traded = house.apply(trade(1_000, seller="bob", taker="seller"))[0]
    assert traded.buyer.fee == -usd(5)
    assert traded.seller.fee == usd(25)
    assert ledger(house, "fees") == usd(20)
    assert balance(house, "ann") == usd(10_005)


def test_if_either_side_is_refused_nothing_moves():
    house = opened()
    fund(house, "ann", 10_000)
    fund(house, "bob", 10)
    refused = house.apply(trade(1_000, seller="bob"))[0]
    assert refused.code == "insufficient_margin"
    assert "bob" in refused.reason
    assert position(house, "ann", "BTC-PERP") is None
    assert balance(house, "ann") == usd(10_000)
    assert ledger(house, "fees") == 0


def test_realised_profit_comes_from_the_settlement_account_which_mirrors_open_costs():
    house = opened()
    fund(house, "ann", 10_000)
    fund(house, "bob", 10_000)
    house.apply(trade(100, seller="bob"))
    house.apply(prices(btc=51_000))
    traded = house.apply(trade(60, price=510_000, buyer="external", seller="ann", taker="buyer"))[0]
    assert traded.seller.realised == usd(0.06 * 1_000)
    assert ledger(house, "settlement:BTC-PERP") == -usd(60)
    check_conservation(house)


def test_crossing_through_zero_closes_and_opens_at_the_trade_price():
    house = opened()
    fund(house, "ann", 100_000)
    house.apply(trade(100))
    house.apply(trade(250, price=520_000, buyer="external", seller="ann", taker="buyer"))
    held = position(house, "ann", "BTC-PERP")
    assert (held.size, held.cost) == (-150, -usd(0.150 * 52_000))


def test_an_inverse_trade_costs_coin_and_its_dust_goes_to_the_fund():
    house = opened()
    fund(house, "ann", 1, "BTC")
    fund(house, "bob", 1, "BTC")
    house.apply(trade(7, price=99_999, seller="bob", market="BTC-INV"))
    market = house.state.tables.markets[house.state.tables.market_index["BTC-INV"]]
    dust = cost_of(market, 7, 99_999) + cost_of(market, -7, 99_999)
    assert dust == 1
    assert ledger(house, "insurance_fund", "BTC") == 1
    assert ledger(house, "settlement:BTC-INV", "BTC") == -1
    check_conservation(house)


def test_funding_is_booked_when_a_position_is_next_touched_and_nets_to_nothing():
    house = opened()
    fund(house, "ann", 10_000)
    fund(house, "bob", 10_000)
    house.apply(trade(1_000, seller="bob"))
    start = balance(house, "ann")
    house.apply(PayFunding(market="BTC-PERP", rate=100_000))
    house.apply(PayFunding(market="BTC-PERP", rate=-40_000))
    assert balance(house, "ann") == start
    touched = house.apply(trade(1))[0]
    assert touched.buyer.funding == -usd(50_000 * 0.00006)
    house.apply(trade(1, buyer="bob"))
    assert balance(house, "bob") == usd(10_000 - -5 + 3 - 0.025)
    assert ledger(house, "funding:BTC-PERP") == 0
    check_conservation(house)


def test_unbooked_funding_already_counts_in_health():
    house = opened()
    fund(house, "ann", 1_100)
    house.apply(trade(1_000))
    house.apply(PayFunding(market="BTC-PERP", rate=2_000_000))
    assert house.apply(buy("ann", 1, 400_000))[0].code == "insufficient_margin"


def test_a_trade_with_oneself_or_of_nothing_or_at_no_price_is_refused():
    house = opened()
    fund(house, "ann", 10_000)
    assert house.apply(trade(1, seller="ann"))[0].code == "self_trade"
    assert house.apply(trade(0))[0].code == "bad_size"
    assert house.apply(trade(1, price=0))[0].code == "bad_price"
    assert house.apply(trade(1, price=10**8))[0].code == "bad_price"


def test_positions_and_orders_together_stay_within_the_limit_of_the_columns():
    house = opened()
    most = house.state.limits.markets[0].max_position
    refused = house.apply(trade(most + 1, seller="ann", buyer="external"))[0]
    assert refused.code == "unknown_account"
    fund(house, "ann", 10_000)
    refused = house.apply(buy("ann", most + 1, 1))[0]
    assert (refused.code, refused.numbers["bound"]) == ("position_limit", most)


def test_a_trade_may_leave_an_unhealthy_account_better_but_not_worse():
    house = opened()
    fund(house, "ann", 1_100)
    house.apply(trade(1_000))
    house.apply(prices(btc=49_700))
    assert house.apply(trade(10, price=497_000))[0].code == "insufficient_margin"
    closed = house.apply(trade(10, price=497_000, buyer="external", seller="ann", taker="buyer"))[0]
    assert closed.seller.size == 990
    cheap = trade(10, price=400_000, buyer="external", seller="ann", taker="buyer")
    assert house.apply(cheap)[0].code == "insufficient_margin"
