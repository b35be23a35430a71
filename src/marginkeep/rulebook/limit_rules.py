"""What the rulebook says about the size of positions: of an account, of linked accounts, of a whole market.

Sizes are lots, values smallest units of the reporting asset, multiples of depth rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import require_name, shown
from marginkeep.units import RATE_ONE, floor_div, rate_floor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from fractions import Fraction

    from marginkeep.rulebook.fields import Fields
    from marginkeep.rulebook.model import Market

DEPTHS_MAX: Final = 1_000_000 * RATE_ONE


@dataclass(frozen=True, slots=True)
class SizeBound:
    """The largest size; where several are stated, the smallest of them. None = not bounded by this.

    Attributes
    ----------
    lots : a size
    value : worth at the mark
    depths : a multiple of the market's measured depth
    """

    lots: int | None = None
    value: int | None = None
    depths: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it bounds nothing."""
        return self.lots is None and self.value is None and self.depths is None


@dataclass(frozen=True, slots=True)
class MarginScale:
    """Initial margin rises with open interest, from its own rate at `lower` to 100 % at `upper` (dYdX v4)."""

    lower: int
    upper: int


@dataclass(frozen=True, slots=True)
class PositionRules:
    """The limits of one market.

    Attributes
    ----------
    account : of one account, open orders included
    group : of all accounts of one owner together, on either side
    interest : of the market's open interest, the sum of its long positions
    margin : None = initial margin does not depend on open interest
    """

    market: str
    account: SizeBound
    group: SizeBound
    interest: SizeBound
    margin: MarginScale | None


def scaled_initial(rate: int, open_interest: int, lower: int, upper: int, step: int = 1) -> int:
    """Return an initial rate that rises in proportion to open interest, from `rate` at `lower` to 100 % at `upper`.

    Parameters
    ----------
    open_interest, lower, upper : values of any one unit; `upper` 0 = does not rise
    step : what is added is rounded down to multiples of it; dYdX has 10^-6
    """
    if not upper or open_interest <= lower or rate >= RATE_ONE:
        return rate
    if open_interest >= upper:
        return RATE_ONE
    added = floor_div((RATE_ONE - rate) * (open_interest - lower), (upper - lower) * step) * step
    return min(RATE_ONE, rate + added)


def largest_size(bound: SizeBound, depth: int | None, lot_value: tuple[int, int] | None) -> int | None:
    """Return the largest size in lots that a bound allows now; None = any.

    Parameters
    ----------
    depth : the market's depth in lots; None = not known, then it bounds nothing
    lot_value : (x, y), a lot is worth x / y at the mark; None = not known, then a value bounds nothing
    """
    sizes = [] if bound.lots is None else [bound.lots]
    if bound.value is not None and lot_value is not None:
        sizes.append(floor_div(bound.value * lot_value[1], lot_value[0]))
    if bound.depths is not None and depth is not None:
        sizes.append(rate_floor(depth, bound.depths))
    return min(sizes, default=None)


def read_limits(
    fields: Fields, markets: Mapping[str, Market], unit: Fraction, measured: Collection[str] = ()
) -> tuple[PositionRules, ...]:
    """Read ``limits``, one table a market.

    Parameters
    ----------
    fields : the rulebook's own table
    unit : smallest unit of the reporting asset
    measured : the markets whose depth the ladder's impact rules state
    """
    rules = []
    for name, row in fields.tables("limits"):
        require_name(name, row.path, markets, "market")
        account, group, interest = (
            _read_bound(row, part, markets[name].lot, unit, name in measured)
            for part in ("account", "group", "interest")
        )
        rules.append(PositionRules(name, account, group, interest, _read_margin(row, unit)))
        row.finish()
    return tuple(rules)


def _read_bound(row: Fields, name: str, lot: Fraction, unit: Fraction, is_measured: bool) -> SizeBound:
    table = row.sub(name, {})
    depths = table.rate("depth", 1, DEPTHS_MAX) if table.take("depth", None) is not None else None
    if depths is not None and not is_measured:
        market = row.path.rpartition(".")[2]
        raise RulebookError(
            f"{table.at('depth')} is a multiple of the market's depth, which nothing states: add it to the ladder's "
            f"impact rules of {market}, or use size or value"
        )
    bound = SizeBound(table.limit("size", lot, "lot"), table.limit("value", unit, "smallest unit"), depths)
    table.finish()
    return bound


def _read_margin(row: Fields, unit: Fraction) -> MarginScale | None:
    if row.take("margin", None) is None:
        return None
    table = row.sub("margin")
    scale = MarginScale(table.units("from", unit, "smallest unit"), table.units("to", unit, "smallest unit"))
    table.finish()
    if not 0 <= scale.lower < scale.upper:
        raise RulebookError(
            f"{table.path} scales from {shown(table.table['from'])} to {shown(table.table['to'])}: "
            f"from must be 0 or more, and below to"
        )
    return scale
