"""Reading circuit breakers: by market, and of the venue as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.durations import format_duration
from marginkeep.rulebook.fields import require_name
from marginkeep.rulebook.lognormal import fixed_bounds, lognormal_bounds
from marginkeep.rulebook.model import RATE_MAX
from marginkeep.rulebook.oracle_rules import (
    FACTOR_ONE,
    GUARDED,
    MARKET_STATES,
    BreakerRules,
    BreakerTrigger,
    VenueBreaker,
)
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Collection

    from marginkeep.rulebook.fields import Fields

NO_VENUE_BREAKER: Final = VenueBreaker(markets=0, state=GUARDED)
MARKETS_MAX: Final = 1_000_000

_FIXED: Final = ("fall", "rise")
_MODEL: Final = ("probability", "volatility", "drift")


def read_breakers(fields: Fields, marked: Collection[str]) -> tuple[tuple[str, BreakerRules], ...]:
    """Read ``breakers``, one table a market; only a market with a mark of its own can be watched."""
    breakers = []
    for market, row in fields.tables("breakers"):
        require_name(market, row.path, marked, "market with a mark")
        rules = BreakerRules(
            triggers=_read_triggers(row),
            liquidation_share=row.rate("liquidation_share", 0, RATE_ONE, "0.02"),
            liquidation_interval_ns=row.duration("liquidation_interval", "10s", zero=False),
        )
        row.finish()
        breakers.append((market, rules))
    return tuple(breakers)


def _read_triggers(row: Fields) -> tuple[BreakerTrigger, ...]:
    triggers: list[BreakerTrigger] = []
    for table in row.rows("triggers", []):
        trigger = _read_trigger(table)
        if triggers and trigger.horizon_ns < triggers[-1].horizon_ns:
            raise RulebookError(
                f"{table.at('horizon')} is {format_duration(trigger.horizon_ns)}, below that of the trigger before, "
                f"{format_duration(triggers[-1].horizon_ns)}: put the shortest horizon first"
            )
        triggers.append(trigger)
    return tuple(triggers)


def _read_trigger(table: Fields) -> BreakerTrigger:
    horizon = table.duration("horizon", zero=False)
    lower, upper = _read_bounds(table, horizon)
    trigger = BreakerTrigger(
        horizon_ns=horizon,
        lower=lower,
        upper=upper,
        state=_read_state(table, "guarded"),
        duration_ns=table.duration("duration", "60s", zero=False),
    )
    table.finish()
    return trigger


def _read_bounds(table: Fields, horizon: int) -> tuple[int, int]:
    """Return lower and upper bound of a move, from fixed shares or from a log-normal model."""
    fixed = [name for name in _FIXED if table.has(name)]
    model = [name for name in _MODEL if table.has(name)]
    if bool(fixed) == bool(model):
        both = f"states {fixed[0]} and {model[0]}" if fixed else "states no bound"
        raise RulebookError(
            f"{table.path} {both}: give either fall and rise, or probability, volatility and, if wanted, drift"
        )
    if fixed:
        return fixed_bounds(table.rate("fall", 1, RATE_ONE - 1), table.rate("rise", 1, RATE_MAX))
    probability, volatility, drift = (
        table.decimal("probability"),
        table.decimal("volatility"),
        table.decimal("drift", "0"),
    )
    try:
        lower, upper = lognormal_bounds(probability, volatility, drift, horizon)
    except RulebookError as error:
        raise RulebookError(f"{table.path}: {error}") from None
    if not 0 < lower < FACTOR_ONE < upper:
        raise RulebookError(f"{table.path} leaves the price no room to move: raise probability, volatility or horizon")
    return lower, upper


def _read_state(table: Fields, default: str) -> int:
    """Read what a market becomes; ``open`` is no answer to a breach."""
    return MARKET_STATES.index(table.choice("state", MARKET_STATES[1:], default))


def read_venue_breaker(fields: Fields) -> VenueBreaker:
    """Read ``venue_breaker``; without it markets do not affect each other."""
    if fields.take("venue_breaker", None) is None:
        return NO_VENUE_BREAKER
    table = fields.sub("venue_breaker")
    breaker = VenueBreaker(table.whole("markets", 0, MARKETS_MAX), _read_state(table, "guarded"))
    table.finish()
    return breaker
