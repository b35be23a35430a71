from hypothesis import given
from hypothesis import strategies as st

from marginkeep.liquidation.loss_presets import (
    DeriveCash,
    DydxAccount,
    derive_exchange_rate,
    derive_print,
    dydx_fillable_price,
    vega_collect,
    vega_payments,
)
from marginkeep.liquidation.size_presets import MICRO

amounts = st.integers(min_value=0, max_value=10**14)


@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=9), amounts, st.data())
def test_what_is_collected_is_paid_whatever_is_rounded(losses, fund, data):
    expected = sum(loss for loss, _ in losses)
    cuts = sorted(data.draw(st.lists(st.integers(0, expected), max_size=6)))
    wins = [high - low for low, high in zip([0, *cuts], [*cuts, expected], strict=True)]
    network = data.draw(st.none() | st.integers(0, len(wins) - 1))
    collected, left = vega_collect(losses, fund)
    paid = vega_payments(wins, collected, expected, network)
    assert sum(paid) == collected
    assert min(paid) >= 0
    assert 0 <= left <= fund
    assert left == 0 or paid == wins


def test_the_remainder_of_rounding_goes_to_the_network_where_it_won():
    assert vega_payments([1, 1, 1], 2, 3) == [0, 0, 2]
    assert vega_payments([1, 1, 1], 2, 3, network=1) == [0, 2, 0]


def test_fees_of_the_module_are_spent_before_cash_loses_worth():
    cash = DeriveCash(stable=10_000, supply=9_000, fees=1_000)
    assert derive_exchange_rate(derive_print(cash, 1_000)) == 10**18
    assert derive_exchange_rate(derive_print(cash, 3_500)) == 8 * 10**17


def test_a_forced_price_is_rounded_against_the_taker():
    broke = DydxAccount(collateral=0, requirement=3)
    assert dydx_fillable_price(broke, 100, 1, 3, MICRO, MICRO, 1) == 33
    assert dydx_fillable_price(broke, 102, 1, 3, MICRO, MICRO, 1) == 34
    assert dydx_fillable_price(broke, -102, 1, -3, MICRO, MICRO, 1) == 34
    assert dydx_fillable_price(broke, -100, 1, -3, MICRO, MICRO, 1) == 33


def test_an_account_above_its_requirement_sells_at_the_index():
    assert dydx_fillable_price(DydxAccount(9, 3), 100, 1, 4, MICRO, MICRO, 1) == 25
