"""Events as they go over the wire: JSON objects with decimal strings for everything that has a unit.

One table says which unit each number has; whom an event concerns is in `audience`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.clearing import commands as core
from marginkeep.clearing import events as e
from marginkeep.clearing.loss_events import BadDebtRepaid, Deleveraged, DeleveragedFill, LossCovered, LossSocialised
from marginkeep.oracle.price_seen import PriceSeen, SourceSeen
from marginkeep.service.wire.amounts import EACH_KEY, PLAIN, RATE, REPORTING, Kind, Unit, Units, units_of
from marginkeep.service.wire.problems import Problem
from marginkeep.service.wire.refusal_words import counted_in, owner_of_count, refusal_words

if TYPE_CHECKING:
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.feed import Entry

_AMOUNT: Final = {"amount": Unit("amount", "asset")}
_SETTLE: Final = Unit("settle", "market")
_LOTS: Final = Unit("lots", "market")
_TICKS: Final = Unit("ticks", "market")
_NAMED: Final = Unit("ticks", "name")
_BY_NAME: Final = Unit("ticks", EACH_KEY)


def _reporting(*names: str) -> dict[str, Unit]:
    return dict.fromkeys(names, REPORTING)


EVENT_UNITS: Final[dict[type[msgspec.Struct], dict[str, Unit]]] = {
    e.Posting: _AMOUNT,
    PriceSeen: {"price": _NAMED, "latest": _NAMED},
    SourceSeen: {"price": Unit("source", "name"), "age_ns": PLAIN},
    e.Rejected: {"numbers": PLAIN},
    e.AccountOpened: {},
    e.BalanceMoved: _AMOUNT,
    e.ModeChanged: {"margin": _SETTLE},
    e.OrderReserved: {"free": REPORTING},
    e.OrderReleased: {},
    e.TradeSide: {**dict.fromkeys(("fee", "realised", "funding", "cost"), _SETTLE), "size": _LOTS},
    e.Traded: {"size": _LOTS, "price": _TICKS},
    e.PricesSet: {"marks": _BY_NAME, "prices": _BY_NAME},
    e.QuotesTaken: {"taken": PLAIN, "ignored": PLAIN},
    e.BookObserved: {},
    e.MarketHeld: {},
    e.OracleChanged: {},
    e.PriceAnnounced: {"price": Unit("ticks", "asset"), "at_ns": PLAIN},
    e.DepositAsked: {**_AMOUNT, "value": REPORTING},
    e.CloseAsked: {"size": _LOTS, "price": _TICKS, "cost": REPORTING},
    e.MarginCalled: {**_reporting("missing", "soft_cost", "soft_cost_high"), "deadline_ns": PLAIN},
    e.CallReminded: {"missing": REPORTING, "deadline_ns": PLAIN},
    e.CallCured: {},
    e.RungChanged: {},
    e.FundingPaid: {
        **dict.fromkeys(("rate", "premium", "interest", "pull", "uncapped"), RATE),
        **dict.fromkeys(("paid", "index"), Unit("index", "market")),
    },
    e.TimeAdvanced: {"now_ns": PLAIN},
    e.RulebookAdopted: {},
    e.Halted: {},
    e.LiquidationStep: {
        "size": Unit("size", "name"),
        "price": _NAMED,
        "mark": _NAMED,
        **dict.fromkeys(("value", "realised", "penalty"), Unit("amount", "asset")),
    },
    e.Liquidated: {
        **_reporting("collateral", "requirement", "health_target", "health_after", "notional", "penalty"),
        **_reporting("fund_paid", "bad_debt"),
        "marks": _BY_NAME,
    },
    e.LiquidatorRegistered: {},
    e.AuctionWaits: _reporting("value", "running"),
    e.AuctionOpened: {
        **_reporting("collateral", "requirement"),
        "discount": RATE,
        "most": RATE,
        "expires_ns": PLAIN,
        "legs": Unit("lots", EACH_KEY),
    },
    e.AuctionRestarted: {"restarts": PLAIN, "expires_ns": PLAIN},
    e.AuctionBid: {
        **dict.fromkeys(("asked", "fraction", "discount", "curve"), RATE),
        **_reporting("notional", "collateral", "requirement", "collateral_after", "requirement_after"),
        "reward": Unit("amount", "reward_asset"),
    },
    DeleveragedFill: {"size": _LOTS, "haircut": REPORTING, "realised": _SETTLE},
    Deleveraged: {
        **dict.fromkeys(("size", "wanted"), _LOTS),
        **dict.fromkeys(("value", "realised"), _SETTLE),
        **dict.fromkeys(("price", "mark"), _TICKS),
        **_reporting("needed", "taken", "over", "under"),
    },
    LossSocialised: {"amount": _SETTLE, "index_move": Unit("index", "market"), "lots": _LOTS},
    LossCovered: {**_reporting("owed", "fund_paid", "socialised", "bad_debt"), "funds": REPORTING},
    BadDebtRepaid: _AMOUNT,
}
"""Every number of every event, and of what it holds; `Unit.of` is looked for in the struct, then in what holds it."""

REFUSAL_UNITS: Final[dict[tuple[str, str], Unit]] = {
    **{("insufficient_margin", name): REPORTING for name in ("missing", "collateral", "requirement")},
    **{("shortfall_open", name): REPORTING for name in ("owed", "held")},
    **{("does_not_heal", name): REPORTING for name in ("collateral", "requirement")},
    **{("discount_too_low", name): RATE for name in ("discount", "asked", "curve")},
    **{
        (code, name): _LOTS
        for code in ("position_limit", "group_limit", "interest_limit")
        for name in ("reach", "bound")
    },
    ("does_not_heal", "fraction"): RATE,
    ("nothing_to_take", "health"): REPORTING,
    ("bad_rate", "bound"): RATE,
}
"""(code, number) of refusals -> unit, of the command's asset or market; others stay integers: counts and times."""

_IN_SENTENCE: Final = frozenset(
    {
        ("bad_price", "lowest"),
        ("bad_price", "highest"),
        ("insufficient_balance", "held"),
        ("insufficient_balance", "missing"),
        ("limit", "bound"),
        ("shortfall_open", "unpaid"),
    }
)
"""Numbers of refusals whose unit and asset or market are those that the refusal's sentence counts in."""


def wire_events(entry: Entry, rulebook: Rulebook) -> list[bytes]:
    """Return an entry's events as JSON objects, made once and kept with it.

    A rulebook that comes later keeps the units of what there was, so the one in force serves for old events as well.
    """
    if entry.wire is None:
        units = units_of(rulebook)
        entry.wire = [msgspec.json.encode(wire_event(event, units, entry.command)) for event in entry.events]
    return entry.wire


def wire_event(event: e.Event, units: Units, command: core.Command | None = None) -> dict[str, Any]:
    """Return an event as what JSON is made of.

    Parameters
    ----------
    command : what was asked; a refusal's numbers in the asset or market of the command need it, else stay integers
    """
    wire = {"type": type(event).__name__, **_object(event, (), units)}
    if isinstance(event, e.Rejected):
        wire["reason"] = refusal_words(event, units, command)
        wire["numbers"] = wire_numbers(event, units, command)
    return wire


def wire_numbers(refused: e.Rejected, units: Units, command: core.Command | None) -> dict[str, Any]:
    """Return a refusal's numbers: decimal strings in whole units; integers where they count something else."""
    said = counted_in(refused)
    return {
        name: _number((refused.code, name), said, number, units, command) for name, number in refused.numbers.items()
    }


def _number(
    which: tuple[str, str], said: tuple[Kind, str], number: int, units: Units, command: core.Command | None
) -> Any:
    kind, name = said if which in _IN_SENTENCE else (REFUSAL_UNITS.get(which, PLAIN).kind, "")
    return number if kind == "plain" else _format(units, kind, owner_of_count(kind, name, units, command), number)


_known: dict[type[Any], list[tuple[str, Any]]] = {}


def _object(struct: Any, holders: tuple[Any, ...], units: Units) -> dict[str, Any]:
    """Return a struct as a table; `holders` are the structs around it, nearest first."""
    wire = {}
    scope = (struct, *holders)
    for name, write in _writers(type(struct)):
        value = getattr(struct, name)
        wire[name] = value if write is None or value is None else write(value, scope, units)
    return wire


def _writers(kind: type[Any]) -> list[tuple[str, Any]]:
    """Return each field of a struct with what writes it; None where it goes as it is."""
    found = _known.get(kind)
    if found is None:
        rows = EVENT_UNITS.get(kind, {})
        found = _known[kind] = [
            (field.name, _writer(field.type, rows.get(field.name))) for field in msgspec.structs.fields(kind)
        ]
    return found


def _writer(kind: Any, unit: Unit | None) -> Any:
    held = struct_in(kind)
    if held is not None:
        if kind is held:
            return _object
        return lambda value, scope, units: [_object(one, scope, units) for one in value]
    if unit is None or unit is PLAIN:
        return None
    return _table_writer(unit) if getattr(kind, "__origin__", None) is dict else _count_writer(unit)


def _count_writer(unit: Unit) -> Any:
    kind, of = unit
    if not of:
        return lambda value, _, units: units.grid(kind, "").format(value)
    return lambda value, scope, units: _format(units, kind, _look_up(scope, of), value)


def _table_writer(unit: Unit) -> Any:
    kind, each = unit.kind, unit.of == EACH_KEY
    return lambda value, _, units: {
        key: _format(units, kind, key if each else "", count) for key, count in value.items()
    }


def _format(units: Units, kind: Kind, owner: str, count: int) -> str | int:
    """Write a count; as an integer where the rulebook has forgotten its unit: an old event of a feed that is gone."""
    try:
        return units.grid(kind, owner).format(count)
    except Problem:
        return count


def _look_up(scope: tuple[Any, ...], of: str) -> str:
    for struct in scope:
        name = getattr(struct, of, None)
        if name is not None:
            return str(name)
    raise AttributeError(of)  # pragma: no cover - the tables are tested against every event


def struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct that a field is, or that its tuple holds; None where it holds none."""
    args = getattr(kind, "__args__", ())
    for one in (kind, *args):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return one
    return None
