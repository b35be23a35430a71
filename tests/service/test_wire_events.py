import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.clearing import commands as core
from marginkeep.clearing import events as e
from marginkeep.clearing.loss_events import Deleveraged, DeleveragedFill, LossSocialised
from marginkeep.oracle.price_seen import PriceSeen, SourceSeen
from marginkeep.service.feed import Entry
from marginkeep.service.wire.amounts import PLAIN, Units
from marginkeep.service.wire.audience import accounts_in, seen_by_owners
from marginkeep.service.wire.event_schemas import AnyEvent
from marginkeep.service.wire.events import EVENT_UNITS, struct_in, wire_event, wire_events, wire_numbers
from marginkeep.units import INT64_SAFE
from tests import houses, oracle_houses

UNITS = Units(houses.rules())
ORACLE_UNITS = Units(oracle_houses.rules())
EVENTS = e.Event.__subclasses__()
COUNTS = st.integers(-INT64_SAFE, INT64_SAFE)
MARKET = st.just("BTC-PERP")
ASSET = st.just("USD")
NAMED = {"market": MARKET, "asset": ASSET, "reward_asset": ASSET, "name": MARKET}
STRANGERS = {"eve", "fay", "fay/BTC-PERP"}
NAMING = dict.fromkeys(("account", "liquidator", "source", "target"), st.sampled_from(["ann", *sorted(STRANGERS)]))


def structs_reached():
    """Every event, and every struct that one holds."""
    reached, todo = [], list(EVENTS)
    while todo:
        kind = todo.pop(0)
        if kind in reached:
            continue
        reached.append(kind)
        held = (struct_in(field.type) for field in msgspec.structs.fields(kind))
        todo += [one for one in held if one is not None]
    return reached


def name_of(kind):
    return kind.__name__


@pytest.mark.parametrize("kind", structs_reached(), ids=name_of)
def test_every_number_of_an_event_has_a_unit_and_nothing_else_has_one(kind):
    numbers = {field.name for field in msgspec.structs.fields(kind) if "int" in str(field.type)}
    assert set(EVENT_UNITS[kind]) == numbers - {field for field in numbers if is_struct(kind, field)}


def is_struct(kind, name):
    (field,) = (field for field in msgspec.structs.fields(kind) if field.name == name)
    return struct_in(field.type) is not None


def test_no_table_has_a_row_for_something_that_is_gone():
    assert set(EVENT_UNITS) == set(structs_reached())


def values_of(kind, field, named=NAMED):
    held = struct_in(field.type)
    if held is not None:
        each = instances(held, named)
        return each if field.type is held else st.lists(each, max_size=2).map(tuple)
    if field.name in named:
        return named[field.name]
    if field.name in ("marks", "prices", "legs"):
        return st.dictionaries(MARKET, COUNTS)
    if getattr(field.type, "__origin__", None) is dict:
        return st.dictionaries(st.text("ab"), COUNTS)
    if field.type is int:
        return COUNTS
    if field.type is bool:
        return st.booleans()
    if field.type == int | None:
        return st.none() | COUNTS
    return st.text("ab") if field.type is str else st.none() | st.text("ab")


def instances(kind, named=NAMED):
    return st.builds(kind, **{field.name: values_of(kind, field, named) for field in msgspec.structs.fields(kind)})


@pytest.mark.parametrize("kind", EVENTS, ids=name_of)
@given(draw=st.data())
def test_every_event_goes_over_the_wire_in_its_published_shape(kind, draw):
    event = draw.draw(instances(kind))
    wire = wire_event(event, ORACLE_UNITS)
    assert msgspec.to_builtins(msgspec.convert(wire, AnyEvent, strict=True)) == wire


@pytest.mark.parametrize("kind", EVENTS, ids=name_of)
@given(draw=st.data())
def test_no_number_with_a_unit_goes_over_the_wire_as_a_number(kind, draw):
    event = draw.draw(instances(kind))
    wire = wire_event(event, ORACLE_UNITS)
    for name, unit in EVENT_UNITS[kind].items():
        if unit is not PLAIN:
            found = wire[name].values() if isinstance(wire[name], dict) else (wire[name],)
            assert all(one is None or isinstance(one, str) for one in found), name


def test_a_trade_is_told_in_contracts_prices_and_settle_units():
    side = e.TradeSide("ann", None, 25_000_000, -1_500_000, 3, 1_500, 75_000_000_000)
    event = e.Traded(market="BTC-PERP", size=1_000, price=500_005, buyer=side, seller=side)
    wire = wire_event(event, UNITS)
    assert (wire["size"], wire["price"]) == ("1", "50000.5")
    assert wire["buyer"] == {
        "account": "ann",
        "order": None,
        "fee": "25",
        "realised": "-1.5",
        "funding": "0.000003",
        "size": "1.5",
        "cost": "75000",
    }


def test_a_forced_sale_is_told_in_units_of_what_was_sold_and_a_close_in_contracts():
    close = e.LiquidationStep("close", "BTC-PERP", -1_500, 500_000, "USD", 75 * 10**9, -(10**6), 2 * 10**6, 500_001)
    sale = e.LiquidationStep("sell", "BTC", 150_000_000, 5_000_000, "USD", 75 * 10**9, 0, 2 * 10**6, 5_000_001)
    event = e.AuctionBid(
        account="ann",
        liquidator="bob",
        asked=10**9,
        fraction=5 * 10**8,
        discount=10**7,
        curve=10**7,
        fills=(close, sale),
        notional=75 * 10**9,
        reward=10**6,
        reward_asset="BTC",
        collateral=1,
        requirement=2,
        collateral_after=3,
        requirement_after=4,
    )
    wire = wire_event(event, UNITS)
    assert [(step["size"], step["price"], step["mark"]) for step in wire["fills"]] == [
        ("-1.5", "50000", "50000.1"),
        ("1.5", "50000", "50000.01"),
    ]
    assert (wire["asked"], wire["fraction"], wire["discount"], wire["reward"]) == ("1", "0.5", "0.01", "0.01")


def test_a_funding_index_counts_settle_units_a_lot():
    paid = e.FundingPaid(market="BTC-PERP", rate=10**5, paid=5_000_000_000, index=5_000_000_001)
    wire = wire_event(paid, UNITS)
    assert (wire["rate"], wire["paid"], wire["index"]) == ("0.0001", "0.000005", "0.000005000000001")
    assert wire["premium"] is None


def test_what_a_source_said_is_told_in_its_feeds_ticks():
    source = SourceSeen("okx", 5_000_012, 5 * 10**9, "used")
    seen = PriceSeen("BTC-PERP", 500_001, 500_002, "good", "open", (source,))
    wire = wire_event(e.MarginCalled(account="ann", missing=10**6, because="", prices=(seen,)), ORACLE_UNITS)
    assert wire["prices"][0]["price"] == "50000.1"
    assert wire["prices"][0]["sources"] == [{"source": "okx", "price": "50000.12", "age_ns": 5 * 10**9, "use": "used"}]


def test_a_price_of_a_feed_that_is_gone_stays_a_count_instead_of_failing():
    seen = PriceSeen("BTC-PERP", 500_001, 500_002, "good", "open", (SourceSeen("okx", 5_000_012, 5, "used"),))
    wire = wire_event(e.MarginCalled(account="ann", missing=0, because="", prices=(seen,)), UNITS)
    assert wire["prices"][0]["sources"][0]["price"] == 5_000_012


def refused(code, **numbers):
    return e.Rejected(command="Withdraw", code=code, reason="", numbers=numbers)


def test_a_refusals_numbers_are_in_the_asset_of_its_command_where_it_is_known():
    event = refused("insufficient_balance", held=1_500_000, missing=500_000)
    command = core.Withdraw(account="ann", asset="USD", amount=2_000_000)
    assert wire_numbers(event, UNITS, command) == {"held": "1.5", "missing": "0.5"}
    assert wire_numbers(event, UNITS, None) == {"held": 1_500_000, "missing": 500_000}


def test_what_is_missing_of_margin_is_in_the_reporting_asset_whatever_the_command():
    assert wire_numbers(refused("insufficient_margin", missing=2_500_000), UNITS, None) == {"missing": "2.5"}


def test_a_count_stays_an_integer():
    assert wire_numbers(refused("limit", bound=512), UNITS, None) == {"bound": 512}


def texts_in(wire):
    """Yield every text of an event; sources of prices are no accounts."""
    if isinstance(wire, str):
        yield wire
    elif isinstance(wire, (list, tuple, dict)):
        parts = wire if isinstance(wire, (list, tuple)) else (part for name, part in wire.items() if name != "prices")
        for part in parts:
            yield from texts_in(part)


@pytest.mark.parametrize("kind", [kind for kind in EVENTS if kind is not e.Rejected], ids=name_of)
@given(draw=st.data())
def test_no_event_shows_an_owner_the_account_of_a_stranger(kind, draw):
    event = draw.draw(instances(kind, NAMED | NAMING))
    seen = seen_by_owners(event, frozenset({"ann"}))
    shown = set() if seen is None else STRANGERS.intersection(texts_in(msgspec.to_builtins(seen)))
    if isinstance(seen, e.AuctionBid):
        shown.discard(seen.account)  # a bidder knows whose account it has bid for
    assert not shown


def test_a_trade_concerns_both_sides_and_a_deleveraging_every_winner():
    buyer, seller = (e.TradeSide(name, None, 0, 0, 0, 0, 0) for name in ("ann", "bob/BTC-PERP"))
    trade = e.Traded(market="BTC-PERP", size=1, price=1, buyer=buyer, seller=seller)
    assert accounts_in(trade) == {"ann", "bob/BTC-PERP"}
    numbers = dict.fromkeys(
        ("size", "value", "realised", "price", "mark", "wanted", "needed", "taken", "over", "under"), 0
    )
    fills = (DeleveragedFill("eve", 1, 1, 1), DeleveragedFill("fay", 1, 1, 1))
    event = Deleveraged(account="ann", market="BTC-PERP", policy="", fills=fills, **numbers)
    assert accounts_in(event) == {"ann", "eve", "fay"}


def test_prices_and_refusals_concern_no_account_and_a_socialised_loss_the_bankrupt():
    assert accounts_in(e.PricesSet(marks={}, prices={})) == frozenset()
    assert accounts_in(refused("limit")) == frozenset()
    socialised = LossSocialised(account="ann", market="BTC-PERP", side="both", amount=1, index_move=1, lots=1)
    assert accounts_in(socialised) == {"ann"}


def test_an_entry_is_written_once_for_all_listeners():
    entry = Entry(sequence=1, recorded_ns=1, actor="a", correlation="", events=(e.CallCured(account="ann"),))
    first = wire_events(entry, houses.rules())
    assert msgspec.json.decode(first[0]) == {"type": "CallCured", "postings": [], "account": "ann"}
    assert wire_events(entry, houses.rules()) is first
