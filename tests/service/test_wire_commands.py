import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.clearing import commands as core
from marginkeep.service.wire.amounts import Units
from marginkeep.service.wire.commands import (
    COMMAND_UNITS,
    WIRE,
    AnyWireCommand,
    DirectWireCommand,
    from_command,
)
from marginkeep.service.wire.problems import Problem
from marginkeep.units import INT64_SAFE
from tests import houses, oracle_houses

PLAIN_RULES = houses.rules()
ORACLE_RULES = oracle_houses.rules()
COMMANDS = core.Command.__subclasses__()
COUNTS = st.integers(-INT64_SAFE, INT64_SAFE)
TIMES = st.integers(0, INT64_SAFE)
NAMES = st.text("abcxyz0189-./", min_size=1, max_size=64)
ASSETS = st.sampled_from(["USD", "BTC"])
MARKETS = st.sampled_from(list(PLAIN_RULES.markets))
FEEDS = st.sampled_from([feed.name for feed in ORACLE_RULES.oracle.feeds])

NAMED = {"asset": ASSETS, "market": MARKETS, "feed": FEEDS}


def values_of(field, kind):
    if field.name in NAMED:
        named = NAMED[field.name]
        return named if field.type is str else st.none() | named
    if field.name == "marks":
        return st.dictionaries(MARKETS, COUNTS)
    if field.name == "prices":
        return st.dictionaries(ASSETS, COUNTS)
    if field.name == "quotes":
        return st.lists(instances(core.Quote), max_size=4).map(tuple)
    if field.name.endswith("_ns"):
        return TIMES
    if field.type is int:
        return COUNTS
    if field.type is str:
        return NAMES
    if field.type == str | None:
        return st.none() | NAMES
    return st.sampled_from(field.type.__args__)


def instances(kind):
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, **{field.name: values_of(field, kind) for field in fields})


def rulebook_for(command):
    return ORACLE_RULES if isinstance(command, core.PublishQuotes) else PLAIN_RULES


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
@given(draw=st.data())
def test_every_command_survives_the_way_over_the_wire(kind, draw):
    command = draw.draw(instances(kind))
    rulebook = rulebook_for(command)
    sent = msgspec.json.encode(from_command(command, rulebook))
    assert msgspec.json.decode(sent, type=AnyWireCommand).to_command(rulebook) == command
    assert msgspec.json.decode(sent, type=WIRE[kind]).to_command(rulebook) == command


@pytest.mark.parametrize("kind", [*COMMANDS, core.Quote], ids=lambda kind: kind.__name__)
def test_every_number_of_a_command_has_a_unit_and_nothing_else_has_one(kind):
    numbers = {field.name for field in msgspec.structs.fields(kind) if "int" in str(field.type)}
    assert set(COMMAND_UNITS[kind]) == numbers


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_the_wire_has_no_number_but_times(kind):
    for field in msgspec.structs.fields(WIRE[kind]):
        assert field.name.endswith("_ns") or "int" not in str(field.type), field.name
        assert "float" not in str(field.type)


def order(**changes):
    body = {"account": "ann", "order": "1", "market": "BTC-PERP", "side": "buy", "size": "0.5", "price": "50000.5"}
    return msgspec.json.encode({**body, **changes})


def decoded(body, kind=core.ReserveOrder):
    return msgspec.json.decode(body, type=WIRE[kind])


def test_decimals_count_whole_units_of_their_market():
    command = decoded(order()).to_command(PLAIN_RULES)
    assert (command.size, command.price) == (500, 500_005)


@pytest.mark.parametrize("size", ["0.0005", "0.50000000000000000000000000001"])
def test_a_size_between_two_lots_is_a_bad_request_that_names_the_neighbours(size):
    with pytest.raises(Problem, match="is not a multiple of the lot") as found:
        decoded(order(size=size)).to_command(PLAIN_RULES)
    assert found.value.code == "bad_request"


def test_a_size_that_the_engine_cannot_hold_is_a_bad_request():
    with pytest.raises(Problem, match="beyond what the engine can hold") as found:
        decoded(order(size=str(10**20))).to_command(PLAIN_RULES)
    assert found.value.code == "bad_request"


@pytest.mark.parametrize(
    "size", ["", "1e3", "+1", " 1", "1 ", ".5", "1.", "NaN", "inf", "0x10", "1_000", "١", "1" * 61]
)
def test_only_plain_decimals_are_numbers(size):
    with pytest.raises(msgspec.ValidationError):
        decoded(order(size=size))


def test_a_decimal_with_a_line_feed_behind_it_is_no_number():
    # The schema's pattern lets it pass: `$` also stands before a last line feed.
    with pytest.raises(Problem, match="give a plain decimal"):
        decoded(order(size="1\n")).to_command(PLAIN_RULES)


@pytest.mark.parametrize("size", [0.5, 1, None, True, ["1"]])
def test_a_number_that_is_no_text_is_refused(size):
    with pytest.raises(msgspec.ValidationError, match="size"):
        decoded(order(size=size))


def test_an_unknown_field_is_refused():
    with pytest.raises(msgspec.ValidationError, match="sized"):
        decoded(order(sized="1"))


def test_a_command_under_another_ones_name_is_refused():
    with pytest.raises(msgspec.ValidationError, match="type"):
        decoded(order(type="Trade"))


@pytest.mark.parametrize(
    ("kind", "fields", "refusal"),
    [
        (core.ReserveOrder, {**msgspec.json.decode(order()), "market": "X"}, "unknown_market"),
        (core.Withdraw, {"account": "ann", "asset": "X", "amount": "1"}, "unknown_asset"),
        (core.AddMargin, {"account": "ann", "market": "X", "amount": "1"}, "unknown_market"),
        (core.SetPrices, {"marks": {"X": "1"}}, "unknown_market"),
    ],
    ids=["order", "withdrawal", "margin", "prices"],
)
def test_a_name_the_rulebook_lacks_is_refused_with_the_clearinghouses_own_code(kind, fields, refusal):
    with pytest.raises(Problem) as found:
        decoded(msgspec.json.encode(fields), kind).to_command(PLAIN_RULES)
    assert (found.value.code, found.value.more["refusal"]) == ("rejected", refusal)


def test_rulebooks_are_not_sent_as_commands():
    with pytest.raises(msgspec.ValidationError, match="AdoptRulebook"):
        msgspec.json.decode(b'{"type": "AdoptRulebook", "rules": ""}', type=DirectWireCommand)


@given(count=COUNTS, market=MARKETS)
def test_what_is_written_is_read_as_the_same_count(count, market):
    units = Units(PLAIN_RULES)
    for kind in ("lots", "ticks", "settle", "rate", "reporting"):
        grid = units.grid(kind, market)
        assert grid.parse(grid.format(count), kind) == count
