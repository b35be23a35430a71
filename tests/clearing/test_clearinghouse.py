import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.houses import fund, opened, prices, rules, usd

from marginkeep.clearing import (
    AdvanceTime,
    Clearinghouse,
    Deposit,
    PayFunding,
    Rejected,
    ReserveOrder,
    SetPrices,
    Trade,
    commands,
    decode_command,
    encode_command,
    restore_snapshot,
    state_hash,
    take_snapshot,
)
from marginkeep.errors import InputError

ALL_COMMANDS = [
    kind
    for kind in vars(commands).values()
    if isinstance(kind, type) and issubclass(kind, commands.Command) and kind is not commands.Command
]


def test_time_never_goes_back():
    house = opened()
    assert house.apply(AdvanceTime(now_ns=5))[0].now_ns == 5
    assert house.apply(AdvanceTime(now_ns=5))[0].now_ns == 5
    refused = house.apply(AdvanceTime(now_ns=4))[0]
    assert (refused.code, refused.numbers) == ("bad_time", {"now_ns": 5})


def test_prices_are_set_all_or_none():
    house = opened()
    refused = house.apply(SetPrices(marks={"BTC-PERP": 400_000, "ETH-PERP": 0}))[0]
    assert refused.code == "bad_price"
    assert house.state.valuation.marks[0] == 500_000
    assert house.apply(SetPrices(marks={"NOPE": 1}))[0].code == "unknown_market"
    assert house.apply(SetPrices(prices={"NOPE": 1}))[0].code == "unknown_asset"
    assert house.apply(SetPrices())[0].code == "no_price"


def test_a_market_without_a_mark_cannot_be_traded():
    house = Clearinghouse(rules())
    fund(house, "ann", 100)
    refused = house.apply(Trade(market="BTC-PERP", buyer="ann", seller="external", size=1, price=1))[0]
    assert refused.code == "no_price"


def test_absurd_funding_is_refused():
    house = opened()
    assert house.apply(PayFunding(market="BTC-PERP", rate=10**9))[0].code == "bad_rate"


@pytest.mark.parametrize("kind", ALL_COMMANDS, ids=lambda kind: kind.__name__)
@pytest.mark.without_shadows("commands of wrong types cannot be decoded again; rejection is the point here")
@given(values=st.data())
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_field_of_any_type_makes_the_core_raise(kind, values):
    wild = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=70),
        st.sampled_from(["ann", "ann/BTC-PERP", "BTC-PERP", "USD", "BTC", "external", "buy", "isolated"]),
        st.binary(max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=9), st.integers()), st.integers() | st.text(), max_size=2),
        st.lists(st.integers(), max_size=2),
    )
    house = opened()
    house.apply(Deposit(account="ann", asset="USD", amount=usd(1_000)))
    before = state_hash(house)
    command = kind(**{name: values.draw(wild) for name in kind.__struct_fields__})
    sequence = house.state.sequence
    events = house.apply(command)
    if isinstance(events[0], Rejected):
        house.state.sequence = sequence
        assert state_hash(house) == before, "a refused command changed something besides the sequence number"


def test_what_is_not_a_command_is_refused():
    house = opened()
    for thing in (None, 7, "deposit", object(), {"type": "Deposit"}):
        assert house.apply(thing)[0].code == "unknown_command"


def test_commands_survive_a_round_trip_through_json():
    house = opened()
    order = ReserveOrder(account="ann", order="1", market="BTC-PERP", side="buy", size=1, price=2)
    for command in (order, prices(btc=1), Deposit(account="ann", asset="USD", amount=3)):
        assert decode_command(encode_command(command)) == command
    with pytest.raises(msgspec.ValidationError, match="amount"):
        decode_command('{"type": "Deposit", "account": "ann", "asset": "USD", "amount": 1.5}')
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        decode_command('{"type": "Deposit", "account": "ann", "asset": "USD", "amount": 1, "ammount": 2}')
    assert house.state.sequence == 1


def test_a_snapshot_restores_the_same_state_and_names_what_it_cannot_read():
    house = opened()
    fund(house, "ann", 1_000)
    house.apply(ReserveOrder(account="ann", order="1", market="BTC-PERP", side="buy", size=5, price=500_000))
    snapshot = take_snapshot(house)
    assert state_hash(restore_snapshot(house.state.rulebook, snapshot)) == state_hash(house)
    with pytest.raises(InputError, match="cannot be read"):
        restore_snapshot(house.state.rulebook, snapshot[:-3])
    with pytest.raises(InputError, match="was taken under rulebook"):
        restore_snapshot(rules(name="another"), snapshot)
    with pytest.raises(InputError, match="format 99"):
        restore_snapshot(rules(), msgspec.msgpack.encode({"format": 99, "rulebook": "x"}))


def test_the_state_hash_does_not_depend_on_the_way_there():
    one, other = opened(), opened()
    for account, amount in (("ann", 100), ("bob", 25), ("bob", 25)):
        fund(one, account, amount)
    for account, amount in (("ann", 60), ("bob", 50), ("ann", 40)):
        fund(other, account, amount)
    assert state_hash(one) == state_hash(other)
