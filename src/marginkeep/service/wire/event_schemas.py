"""The shapes of events on the wire, for the published schema: made from the table that writes them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Union

import msgspec
from msgspec import Meta, structs

from marginkeep.clearing import events as e
from marginkeep.service.wire.amounts import PLAIN, Kind, Unit
from marginkeep.service.wire.events import EVENT_UNITS, struct_in

_MEANING: Final[dict[Kind, str]] = {
    "amount": "whole units of the asset",
    "settle": "whole units of the market's settle asset",
    "lots": "contracts",
    "ticks": "price",
    "size": "contracts of a market, or whole units of an asset",
    "source": "price of the feed",
    "rate": "rate: 0.01 is 1 %",
    "reporting": "whole units of the reporting asset",
    "index": "settle units a lot",
}


def _decimal(unit: Unit) -> Any:
    return Annotated[str, Meta(description=_MEANING[unit.kind])]


def _schema_type(field: structs.FieldInfo, unit: Unit | None) -> Any:
    """Return what a field is on the wire."""
    held = struct_in(field.type)
    if held is not None:
        return SHAPES[held] if field.type is held else list.__class_getitem__(SHAPES[held])
    if field.name == "numbers":
        return dict[str, str | int]
    if unit is None or unit is PLAIN:
        return field.type
    if getattr(field.type, "__origin__", None) is dict:
        return dict.__class_getitem__((str, _decimal(unit)))
    return _decimal(unit) if field.type is int else _decimal(unit) | None


def _shape(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    units = EVENT_UNITS[kind]
    fields = [(one.name, _schema_type(one, units.get(one.name))) for one in structs.fields(kind)]
    is_event = issubclass(kind, e.Event)
    return msgspec.defstruct(
        kind.__name__,
        fields,
        namespace={"__doc__": kind.__doc__},
        module=__name__,
        tag=kind.__name__ if is_event else None,
        tag_field="type" if is_event else None,
        kw_only=True,
    )


SHAPES: Final[dict[type[msgspec.Struct], type[Any]]] = {}
"""Event, or what one holds -> its shape on the wire."""


def _add(kind: type[msgspec.Struct]) -> None:
    """Make a shape after those that it holds."""
    for field in structs.fields(kind):
        held = struct_in(field.type)
        if held is not None and held not in SHAPES:
            _add(held)
    SHAPES[kind] = _shape(kind)


for _kind in EVENT_UNITS:
    if _kind not in SHAPES:
        _add(_kind)

AnyEvent: Any = Union[tuple(shape for kind, shape in SHAPES.items() if issubclass(kind, e.Event))]  # noqa: UP007
