"""Reading how the mark price of each market is made: a preset, or components one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from marginkeep.errors import RulebookError
from marginkeep.rulebook import mark_presets
from marginkeep.rulebook.durations import format_duration
from marginkeep.rulebook.fields import require_name, shown
from marginkeep.rulebook.oracle_rules import WEIGHT_MAX, ComponentKind, MarkComponent, MarkRules
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Collection

    from marginkeep.rulebook.fields import Fields

    Components = tuple[MarkComponent, ...]

PRESETS: Final = ("hyperliquid", "binance", "vega-weighted", "vega-median", "index")
COMPONENTS_MAX: Final = 32
POWER_MAX: Final = 3

_WINDOWS: Final[dict[str, int]] = {
    "basis": mark_presets.HALF_LIFE_NS,
    "mean_basis": mark_presets.MEAN_WINDOW_NS,
    "funding": mark_presets.FUNDING_INTERVAL_NS,
    "trades": mark_presets.TRADES_WINDOW_NS,
    "touch": 0,
}
"""The window of each kind that has one, unless stated; only one that is 0 here may be 0."""


def read_marks(fields: Fields, markets: Collection[str], feeds: Collection[str]) -> tuple[MarkRules, ...]:
    """Read ``marks``, one table a market."""
    marks = []
    for market, row in fields.tables("marks"):
        require_name(market, row.path, markets, "market")
        marks.append(_read_mark(market, row, feeds))
        row.finish()
    return tuple(marks)


def _read_mark(market: str, row: Fields, feeds: Collection[str]) -> MarkRules:
    index = row.known("index", feeds, "feed")
    preset = row.choice("preset", PRESETS) if row.take("preset", None) is not None else None
    if preset and row.has("components"):
        raise RulebookError(
            f"{row.at('components')} stands beside preset {preset!r}, which names its own: leave one of them out"
        )
    components = _read_preset(row, preset, index, feeds) if preset else _read_own(row, feeds)
    _require_a_price_of_its_own(components, row.at("components"))
    return MarkRules(
        market=market,
        index=index,
        method=_read_method(row, preset),
        components=components,
        band=row.rate("band", 0, RATE_ONE, "0" if preset else "0.05"),
    )


def _require_a_price_of_its_own(components: Components, path: str) -> None:
    others = sum(component.kind == "others" for component in components)
    if others > 1:
        raise RulebookError(f"{path} has {others} of kind 'others': give at most one")
    if all(component.reserve or component.kind == "others" for component in components):
        rest = " and the median of the others" if others else ""
        raise RulebookError(f"{path} has nothing but reserves{rest}: let at least one count always")


def _read_method(row: Fields, preset: str | None) -> Literal["median", "weighted"]:
    if preset is None:
        method: Literal["median", "weighted"] = row.choice("method", ("median", "weighted"), "median")
        return method
    return "weighted" if preset == "vega-weighted" else "median"


def _read_preset(row: Fields, preset: str, index: str, feeds: Collection[str]) -> Components:
    stale_after = _read_stale_after(row)
    if preset == "hyperliquid":
        return mark_presets.hyperliquid(row.known("perpetuals", feeds, "feed", None), stale_after)
    if preset == "binance":
        interval = format_duration(mark_presets.FUNDING_INTERVAL_NS)
        return mark_presets.binance(row.duration("funding_interval", interval, zero=False), stale_after)
    if preset == "index":
        return mark_presets.index_alone(stale_after)
    return _read_vega(row, preset, index, feeds, stale_after)


def _read_vega(row: Fields, preset: str, index: str, feeds: Collection[str], stale_after: int) -> Components:
    outside = row.names("feeds", [index])
    for feed in outside:
        require_name(feed, row.at("feeds"), feeds, "feed")
    others = row.flag("others", False)
    count = 2 + len(outside) + others
    weights = _read_weights(row, count, others) if preset == "vega-weighted" else None
    window, decay, power = _read_trades(row)
    return mark_presets.vega(outside, weights, [stale_after] * count, window, decay, power, others)


def _read_weights(row: Fields, count: int, others: bool) -> list[int]:
    """Read ``weights``: whole numbers for trades, impact, each feed and, with `others`, their median, in this order."""
    weights = row.take("weights", [1] * count)
    whole = isinstance(weights, list) and all(type(weight) is int and 0 <= weight <= WEIGHT_MAX for weight in weights)
    if not whole or len(weights) != count or not any(weights):
        raise RulebookError(
            f"{row.at('weights')} is {shown(weights)}: give {count} whole numbers from 0 to {WEIGHT_MAX}, not all 0, "
            f"for trades, impact{', each feed and the others' if others else ' and each feed'}"
        )
    return list(weights)


def _read_own(row: Fields, feeds: Collection[str]) -> Components:
    if not row.has("components"):
        row.take("components", None)
        return mark_presets.house(_read_stale_after(row))
    stale_after = _read_stale_after(row)
    rows = row.rows("components")
    if not 1 <= len(rows) <= COMPONENTS_MAX:
        raise RulebookError(f"{row.at('components')} has {len(rows)} entries: give from 1 to {COMPONENTS_MAX}")
    return tuple(_read_component(entry, feeds, stale_after) for entry in rows)


def _read_component(row: Fields, feeds: Collection[str], stale_after: int) -> MarkComponent:
    """Read one component; window, feed, decay, power and reserve are known only to the kinds that have them."""
    kind: ComponentKind = row.choice("kind", get_args(ComponentKind))
    window, decay, power = _read_trades(row) if kind == "trades" else (_read_window(row, kind), 0, 1)
    component = MarkComponent(
        kind=kind,
        weight=row.whole("weight", 1, WEIGHT_MAX, 1),
        stale_after_ns=row.duration("stale_after", format_duration(stale_after), zero=False),
        window_ns=window,
        feed=row.known("feed", feeds, "feed") if kind == "feed" else None,
        decay=decay,
        power=power,
        reserve=row.flag("reserve", False) if kind != "others" else False,
    )
    row.finish()
    return component


def _read_stale_after(row: Fields) -> int:
    return row.duration("stale_after", format_duration(mark_presets.STALE_AFTER_NS), zero=False)


def _read_window(row: Fields, kind: str) -> int:
    if kind not in _WINDOWS:
        return 0
    window = _WINDOWS[kind]
    return row.duration("window", format_duration(window), zero=not window)


def _read_trades(row: Fields) -> tuple[int, int, int]:
    """Return window, decay and power of a decaying mean of trades."""
    return _read_window(row, "trades"), row.rate("decay", 0, RATE_ONE, "1"), row.whole("power", 1, POWER_MAX, 1)
