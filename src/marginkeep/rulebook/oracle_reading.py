"""Reading the ``oracle`` table of a rulebook: what makes a price one to act on, and for which action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.oracle_breakers import read_breakers, read_venue_breaker
from marginkeep.rulebook.oracle_feeds import read_feeds, read_sources
from marginkeep.rulebook.oracle_marks import read_marks
from marginkeep.rulebook.oracle_pegs import read_pegs
from marginkeep.rulebook.oracle_rules import ACTIONS, HALTED, QUALITIES, VALID, OracleRules, StableRules
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.rulebook.fields import Fields
    from marginkeep.rulebook.model import Asset, Market

_TO_CLOSE: Final = ("valid", "stale", "uncertain", "volatile")

DEFAULT_ACTIONS: Final[dict[str, tuple[str, ...]]] = {
    "open": ("valid",),
    "reduce": ("valid", "stale", "uncertain", "divergent", "volatile"),
    "withdraw": ("valid",),
    "call": QUALITIES,
    "soft": _TO_CLOSE,
    "liquidate": _TO_CLOSE,
    "auction": _TO_CLOSE,
    "settle": ("valid",),
    "fund": ("valid", "uncertain", "volatile"),
}
"""The qualities that each action accepts unless the rulebook says otherwise; a margin call may name any price."""

_CONTAINED: Final = (
    ("open", "liquidate", "a suspicious price blocks opening before it blocks liquidation"),
    ("open", "reduce", "a suspicious price blocks opening before it blocks reducing"),
    ("withdraw", "liquidate", "a suspicious price blocks withdrawals before it blocks liquidation"),
)
"""(narrower, wider, why) of the actions of which one must accept all that the other does."""


def read_oracle(
    fields: Fields,
    reporting: str,
    assets: Mapping[str, Asset],
    markets: Mapping[str, Market],
    shares: tuple[int, int],
) -> OracleRules:
    """Read the oracle table.

    Parameters
    ----------
    fields : the table
    reporting, assets, markets : those of the rulebook, which feeds, marks, breakers and pegs name
    shares : where call and target lie between maintenance and initial when not stated (rates)

    Raises
    ------
    RulebookError : with the path of the field, its value, the bound it breaks, and the cure
    """
    feeds = read_feeds(fields, read_sources(fields), assets, reporting)
    names = [feed.name for feed in feeds]
    marks = read_marks(fields, markets, names)
    rules = OracleRules(
        feeds=feeds,
        marks=marks,
        breakers=read_breakers(fields, [mark.market for mark in marks]),
        venue=read_venue_breaker(fields),
        pegs=read_pegs(fields, assets, names, shares),
        stable=_read_stable(fields),
        accepts=_read_actions(fields.sub("actions", {})),
    )
    fields.finish()
    return rules


def _read_stable(fields: Fields) -> StableRules | None:
    if fields.take("stable", None) is None:
        return None
    table = fields.sub("stable")
    rules = StableRules(
        per_second=table.rate("per_second", 1, RATE_ONE, "0.0003"),
        delayed_per_hour=table.rate("delayed_per_hour", 1, RATE_ONE, "0.06"),
    )
    table.finish()
    return rules


def _read_actions(table: Fields) -> tuple[int, ...]:
    """Return per action the qualities it accepts, as bits; a row that is given replaces the default."""
    accepted = {action: _read_action(table, action) for action in ACTIONS}
    table.finish()
    for narrow, wide, why in _CONTAINED:
        for quality in accepted[narrow]:
            if quality not in accepted[wide]:
                raise RulebookError(
                    f"{table.at(narrow)} accepts {quality!r}, which {table.at(wide)} does not; {why}: "
                    f"take it out of {narrow} or add it to {wide}"
                )
    return tuple(sum(1 << QUALITIES.index(quality) for quality in accepted[action]) for action in ACTIONS)


def _read_action(table: Fields, action: str) -> list[str]:
    accepted = table.names(action, list(DEFAULT_ACTIONS[action]))
    for index, quality in enumerate(accepted):
        path = f"{table.at(action)}[{index}]"
        if quality not in QUALITIES:
            raise RulebookError(f"{path} is {quality!r}: use one of {', '.join(QUALITIES)}")
        if quality == QUALITIES[HALTED] and action != "call":
            raise RulebookError(f"{path} is {quality!r}: nothing but a margin call may use a halted price, take it out")
    if accepted and QUALITIES[VALID] not in accepted:
        raise RulebookError(f"{table.at(action)} accepts {accepted[0]!r} but not 'valid': add it, or accept nothing")
    return accepted
