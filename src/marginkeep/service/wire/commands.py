"""Commands as they come over the wire: the clearinghouse's own, with decimal strings for everything that has a unit.

One table says which; the structs, both directions and the published schema are made from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Union

import msgspec
from msgspec import Meta, structs

from marginkeep.clearing import commands as core
from marginkeep.errors import PrecisionError
from marginkeep.service.wire.amounts import (
    DECIMAL_LENGTH_MAX,
    DECIMAL_PATTERN,
    EACH_KEY,
    PLAIN,
    RATE,
    Kind,
    Unit,
    Units,
    units_of,
)
from marginkeep.service.wire.problems import Problem
from marginkeep.units import INT64_SAFE, format_units

if TYPE_CHECKING:
    from marginkeep.rulebook import Rulebook

_ASSET_AMOUNT: Final = {"amount": Unit("amount", "asset")}
_MARGIN_AMOUNT: Final = {"amount": Unit("settle", "market")}
_SIZE_AND_PRICE: Final = {"size": Unit("lots", "market"), "price": Unit("ticks", "market")}

COMMAND_UNITS: Final[dict[type[msgspec.Struct], dict[str, Unit]]] = {
    core.Deposit: _ASSET_AMOUNT,
    core.Withdraw: _ASSET_AMOUNT,
    core.Transfer: _ASSET_AMOUNT,
    core.AddMargin: _MARGIN_AMOUNT,
    core.RemoveMargin: _MARGIN_AMOUNT,
    core.ChangeMode: {"margin": Unit("settle", "market")},
    core.ReserveOrder: _SIZE_AND_PRICE,
    core.ReleaseOrder: {},
    core.Trade: _SIZE_AND_PRICE,
    core.SetPrices: {"marks": Unit("ticks", EACH_KEY), "prices": Unit("ticks", EACH_KEY)},
    core.PublishQuotes: {},
    core.Quote: {
        "price": Unit("feed", "feed"),
        "confidence": Unit("feed", "feed"),
        "source_ns": PLAIN,
        "arrival_ns": PLAIN,
    },
    core.ObserveBook: {name: Unit("ticks", "market") for name in ("bid", "ask", "impact_bid", "impact_ask")}
    | {"at_ns": PLAIN},
    core.Halt: {},
    core.Resume: {},
    core.PayFunding: {"rate": RATE},
    core.AdvanceTime: {"now_ns": PLAIN},
    core.TopUpFund: _ASSET_AMOUNT,
    core.RegisterLiquidator: {},
    core.Bid: {"fraction": RATE, "least_discount": RATE},
    core.AdoptRulebook: {},
}
"""Every number of every command, and of what it holds, with its unit."""

_MEANING: Final[dict[Kind, tuple[str, str]]] = {
    "amount": ("amount in whole units of the asset", "1500.25"),
    "settle": ("amount in whole units of the market's settle asset", "250"),
    "lots": ("size in contracts, a multiple of the market's lot", "0.5"),
    "ticks": ("price, a multiple of the tick", "50000.5"),
    "feed": ("price, a multiple of the feed's tick", "50000.12"),
    "rate": ("rate: 0.01 is 1 %", "0.0001"),
}
_NAME_EXAMPLES: Final = {
    "account": "ann",
    "source": "ann",
    "target": "bob",
    "asset": "USD",
    "market": "BTC-PERP",
    "order": "o-1",
    "buyer": "ann",
    "seller": "bob",
    "liquidator": "carol",
    "feed": "BTC",
}
NAME_LENGTH_MAX: Final = 64
RULES_LENGTH_MAX: Final = 2**22


class WireCommand(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True, omit_defaults=True
):
    """Base of all commands on the wire."""

    def to_command(self, rulebook: Rulebook) -> core.Command:
        """Return the clearinghouse's command.

        Raises
        ------
        Problem : ``bad_request`` for a number too fine or too large, ``rejected`` for a name that the rulebook lacks
        """
        command: core.Command = _to_core(self, units_of(rulebook))
        return command


def _decimal(unit: Unit) -> Any:
    description, example = _MEANING[unit.kind]
    meta = Meta(pattern=DECIMAL_PATTERN, max_length=DECIMAL_LENGTH_MAX, description=description, examples=[example])
    return Annotated[str, meta]


def _wire_type(field: structs.FieldInfo, unit: Unit | None) -> Any:
    """Return what a field is on the wire."""
    if unit is not None:
        if unit is PLAIN:
            return Annotated[int, Meta(ge=0, le=INT64_SAFE, description="nanoseconds since 1970, UTC")]
        return dict.__class_getitem__((str, _decimal(unit))) if unit.of == EACH_KEY else _decimal(unit)
    if field.name == "quotes":
        return list.__class_getitem__(WIRE[core.Quote])
    if field.type is str or field.type == str | None:
        longest = RULES_LENGTH_MAX if field.name == "rules" else NAME_LENGTH_MAX
        examples = [_NAME_EXAMPLES[field.name]] if field.name in _NAME_EXAMPLES else None
        name = Annotated[str, Meta(min_length=1, max_length=longest, examples=examples)]
        return name if field.type is str else name | None
    return field.type


def _wire_field(field: structs.FieldInfo, unit: Unit | None) -> tuple[Any, ...]:
    kind = _wire_type(field, unit)
    if field.default_factory is not msgspec.NODEFAULT:
        return (field.name, kind, msgspec.field(default_factory=field.default_factory))
    if field.default is msgspec.NODEFAULT:
        return (field.name, kind)
    is_decimal = unit is not None and unit is not PLAIN
    return (field.name, kind, format_units(field.default, 0) if is_decimal else field.default)


def _make_struct(command: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Make a command's struct on the wire."""
    units = COMMAND_UNITS[command]
    is_command = issubclass(command, core.Command)
    return msgspec.defstruct(
        command.__name__,
        [_wire_field(field, units.get(field.name)) for field in structs.fields(command)],
        bases=(WireCommand,) if is_command else None,
        namespace={"__doc__": command.__doc__},
        module=__name__,
        tag=command.__name__ if is_command else None,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


WIRE: Final[dict[type[msgspec.Struct], type[Any]]] = {}
"""The clearinghouse's command (and quote) -> its struct on the wire."""
WIRE[core.Quote] = _make_struct(core.Quote)
WIRE.update({command: _make_struct(command) for command in COMMAND_UNITS if command is not core.Quote})
_CORE: Final = {wire: command for command, wire in WIRE.items()}

AnyWireCommand: Any = Union[tuple(wire for command, wire in WIRE.items() if issubclass(command, core.Command))]  # noqa: UP007
DirectWireCommand: Any = Union[  # noqa: UP007
    tuple(
        wire
        for command, wire in WIRE.items()
        if issubclass(command, core.Command) and command is not core.AdoptRulebook
    )
]
"""What may be sent in batches and over WebSocket: rulebooks go through proposals."""


def from_command(command: core.Command, rulebook: Rulebook) -> Any:
    """Return a command as it goes over the wire."""
    return _to_wire(command, units_of(rulebook))


def _to_core(wire: Any, units: Units) -> Any:
    command = _CORE[type(wire)]
    values = {}
    for name, read, _ in _converters(command):
        value = getattr(wire, name)
        values[name] = value if read is None else read(value, wire, units)
    return command(**values)


def _to_wire(command: Any, units: Units) -> Any:
    values = {}
    for name, _, write in _converters(type(command)):
        value = getattr(command, name)
        values[name] = value if write is None else write(value, command, units)
    return WIRE[type(command)](**values)


_known: dict[type[Any], list[tuple[str, Any, Any]]] = {}


def _converters(command: type[Any]) -> list[tuple[str, Any, Any]]:
    """Return (field, reader, writer) of a command's fields; None where the value stays as it is."""
    found = _known.get(command)
    if found is None:
        units = COMMAND_UNITS[command]
        found = _known[command] = [(name, *_converter(name, units.get(name))) for name in command.__struct_fields__]
    return found


def _converter(name: str, unit: Unit | None) -> tuple[Any, Any]:
    if name == "quotes":
        return _read_quotes, _write_quotes
    if unit is None or unit is PLAIN:
        return None, None
    kind, of = unit
    if of == EACH_KEY:
        return (
            lambda value, _, units: {key: _parse(units, kind, key, text, name) for key, text in value.items()},
            lambda value, _, units: {key: units.grid(kind, key).format(count) for key, count in value.items()},
        )
    return (
        lambda value, row, units: _parse(units, kind, getattr(row, of) if of else "", value, name),
        lambda value, row, units: units.grid(kind, getattr(row, of) if of else "").format(value),
    )


def _parse(units: Units, kind: Kind, owner: str, text: str, what: str) -> int:
    try:
        return units.grid(kind, owner).parse(text, what)
    except PrecisionError as error:
        raise Problem("bad_request", str(error)) from error


def _read_quotes(value: Any, _: Any, units: Units) -> tuple[Any, ...]:
    return tuple(_to_core(quote, units) for quote in value)


def _write_quotes(value: Any, _: Any, units: Units) -> list[Any]:
    return [_to_wire(quote, units) for quote in value]
