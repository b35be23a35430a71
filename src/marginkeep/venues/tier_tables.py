"""Venues' tier tables (leverage brackets, risk limits, position tiers) as checked tiers and as markets.

A file is one JSON table: ccxt unified symbol -> list of ``{floor, cap, max_leverage, mmr, maintenance_amount}``,
lowest tier first, with ``imr`` where the venue publishes it apart from the leverage. Holes, falling rates and wrong
maintenance amounts are found by the rulebook's own reader, so that a rule is stated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import Fields
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.levels import DEFAULT_SHARES
from marginkeep.rulebook.model import LEVELS, Market, Tier
from marginkeep.rulebook.reading import parse_file, read_rulebook
from marginkeep.rulebook.tiers import read_tiers
from marginkeep.units import RATE_ONE, ceil_div, format_exact, format_units, parse_decimal
from marginkeep.venues.ccxt_symbols import Contract, read_symbol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TierKind = Literal["marginal", "whole_position"]
TierUnit = Literal["quote", "base", "contracts"]

UNBOUNDED: Final = 2**63 - 1
"""A last cap of this or more means no limit: the largest int64, which floats round up."""

_RATES: Final = ("mmr", "imr")


@dataclass(frozen=True, slots=True)
class VenueTiers:
    """One symbol's tiers.

    Attributes
    ----------
    symbol : ccxt unified symbol
    tiers : lowest first; floors in `tier_unit`, rates in 10^-9
    limit : largest position, in `tier_unit`; None = unbounded
    tier_unit : what floors and limit measure: ``quote``, ``base`` or ``contracts``
    tier_kind : ``marginal`` (each slice at its own rate) or ``whole_position`` (all of it at one rate)
    """

    symbol: str
    tiers: tuple[Tier, ...]
    limit: Fraction | None
    tier_unit: TierUnit
    tier_kind: TierKind


def read_venue_tiers(
    path: Path,
    *,
    kind: TierKind,
    unit: TierUnit = "quote",
    inverse_unit: TierUnit = "contracts",
    shares: tuple[int, int] = DEFAULT_SHARES,
) -> dict[str, VenueTiers]:
    """Read a file of tier tables.

    Parameters
    ----------
    path : JSON (or TOML) file; every value a decimal string, a null maintenance amount = not published
    kind : how the venue applies a rate: to each slice, or to the whole position
    unit, inverse_unit : what the file's floors and caps measure, in linear and in inverse contracts
    shares : where call and target, which venues do not publish, lie between maintenance and initial (rates)

    Returns
    -------
    symbol -> tiers, in file order. A rate finer than 10^-9 is rounded up, as every requirement is.

    Raises
    ------
    RulebookError : with the file, symbol and tier, the value, the bound it breaks, and the cure
    """
    fields = Fields(parse_file(path), "")
    found: dict[str, VenueTiers] = {}
    for symbol in fields.table:
        try:
            linear = read_symbol(symbol).payoff == "linear"
            limit, tiers = _read_table(symbol, fields.rows(symbol), kind, shares)
        except RulebookError as error:
            raise RulebookError(f"{path.name}: {error}") from None
        found[symbol] = VenueTiers(symbol, tiers, limit, unit if linear else inverse_unit, kind)
    return found


def _read_table(
    symbol: str, rows: Sequence[Fields], kind: TierKind, shares: tuple[int, int]
) -> tuple[Fraction | None, tuple[Tier, ...]]:
    if not rows:
        raise RulebookError(f"{symbol} has no tiers: give at least one with floor 0, or leave the symbol out")
    limit = _take_limit(rows[-1])
    if kind == "marginal" and any(_is_too_fine(row, "mmr") for row in rows):
        _check_near_amounts(rows)
    for row in rows:
        _round_rates(row)
    return limit, read_tiers(rows, shares, kind, strict=True, path=symbol)


def _take_limit(last: Fields) -> Fraction | None:
    """Strip the last tier's cap, which bounds the position, not the tier: a position above it needs a rate too."""
    if last.take("cap", None) is None:
        last.table.pop("cap", None)
        return None
    cap, floor = last.positive("cap"), last.decimal("floor")
    if cap <= floor:
        raise RulebookError(
            f"{last.at('cap')} is {exact_text(cap)}, not above its floor {exact_text(floor)}: correct one of "
            f"them, or give null for a last tier without limit"
        )
    del last.table["cap"]
    return None if cap >= UNBOUNDED else cap


def _is_too_fine(row: Fields, name: str) -> bool:
    """Tell whether a rate, if it is given at all, has more decimals than a rate can hold."""
    return row.table.get(name) is not None and (row.decimal(name) * RATE_ONE).denominator != 1


def _round_rates(row: Fields) -> None:
    """Round rates finer than 10^-9 up: periodic ones, such as one thirtieth, never end."""
    for name in _RATES:
        if _is_too_fine(row, name):
            parts = row.decimal(name) * RATE_ONE
            row.table[name] = format_units(ceil_div(parts.numerator, parts.denominator), 9)


def _check_near_amounts(rows: Sequence[Fields]) -> None:
    """Check amounts of a table with periodic rates as nearly as these are printed; then drop them.

    The rulebook's reader would compare them with those of the rounded rates, to which they are not equal.
    """
    amount, slack, below = Fraction(0), Fraction(0), Fraction(0)
    for index, row in enumerate(rows):
        floor, rate = row.decimal("floor"), row.decimal("mmr")
        amount += floor * (rate - below) if index else 0
        slack += floor / RATE_ONE
        below = rate
        if row.take("maintenance_amount", None) is None:
            continue
        if abs((stated := row.decimal("maintenance_amount")) - amount) > slack:
            raise RulebookError(
                f"{row.at('maintenance_amount')} is {exact_text(stated)}, but floors and rates make it "
                f"{format_exact(amount, 9)}: the table is not marginal, or a number is wrong"
            )
        row.table["maintenance_amount"] = None


def market_from_ccxt(
    symbol: str,
    tiers: VenueTiers,
    lot: str,
    tick: str,
    *,
    contract_size: str = "1",
    name: str | None = None,
    expiry_time: str = "08:00:00",
    parameters: Mapping[str, Any] | None = None,
) -> Market:
    """Build a market from a unified symbol and its tiers.

    Parameters
    ----------
    symbol : ``BASE/QUOTE:SETTLE`` or ``BASE/QUOTE:SETTLE-YYMMDD``; linear when it settles in the quote, inverse when
        in the base, a future when dated
    tiers : the symbol's own, or those of another symbol that the venue says it shares
    lot, tick : smallest steps of size (in contracts) and price, decimal strings
    contract_size : base units a contract (linear) or quote units a contract (inverse)
    name : the market's name in the rulebook; default the symbol
    expiry_time : time of day, UTC, at which a dated contract settles
    parameters : other fields of a market's table in a rulebook file, such as ``taker_fee`` or ``max_position``; the
        latter defaults to the venue's limit where that is a number of contracts at any price

    Raises
    ------
    RulebookError : as `read_rulebook` does, and for symbols that are no perpetual or future

    Examples
    --------
    >>> tier = Tier(Fraction(0), (20_000_000, 12_500_000, 10_000_000, 15_000_000))
    >>> tiers = VenueTiers("BTC/USD:BTC", (tier,), None, "contracts", "marginal")
    >>> market = market_from_ccxt("BTC/USD:BTC", tiers, "1", "0.5")
    >>> market.payoff, market.settle, market.kind
    ('inverse', 'BTC', 'perpetual')
    """
    contract = read_symbol(symbol)
    name = name or symbol
    row: dict[str, Any] = {
        "symbol": symbol,
        "kind": contract.kind,
        "payoff": contract.payoff,
        "settle": contract.settle,
        "contract_size": contract_size,
        "lot": lot,
        "tick": tick,
        "tier_kind": tiers.tier_kind,
        "tier_unit": tiers.tier_unit,
        "tiers": [_tier_row(tier) for tier in tiers.tiers],
        **_expiry(contract, expiry_time),
    }
    if (limit := _position_limit(contract, tiers, contract_size)) is not None:
        row["max_position"] = limit
    row.update(parameters or {})
    return read_rulebook({"assets": {contract.settle: {}}, "markets": {name: row}}).markets[name]


def _position_limit(contract: Contract, tiers: VenueTiers, contract_size: str) -> str | None:
    """Return the limit in contracts; None where it is a notional, which moves with the price."""
    if tiers.limit is None:
        return None
    if tiers.tier_unit == "contracts":
        return exact_text(tiers.limit)
    size = parse_decimal(contract_size, "contract_size")
    moves = (contract.payoff == "linear") == (tiers.tier_unit == "quote")
    return None if moves or size <= 0 else format_exact(tiers.limit / size)


def _tier_row(tier: Tier) -> dict[str, str]:
    rates = {name: format_units(rate, 9) for name, rate in zip(LEVELS, tier.rates, strict=True)}
    return {"floor": exact_text(tier.floor), **rates}


def _expiry(contract: Contract, time: str) -> dict[str, str]:
    return {} if contract.expiry_day is None else {"expiry": f"{contract.expiry_day.isoformat()}T{time}Z"}
