"""Health factors that owners want to be told of: looked at when prices move, told once for each fall."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from marginkeep.book.health import measure
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.liquidation.rungs import health_factor
from marginkeep.rulebook.model import MAINTENANCE
from marginkeep.service.notifications.notices import Notice
from marginkeep.units import RATE_ONE, format_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.clearing.state import State
    from marginkeep.service.notifications.endpoints import Endpoint

SLICE_ACCOUNTS: Final = 64
"""Levels looked at in one go; bounds how long the event loop is kept from everything else."""


class Fall(NamedTuple):
    """An account's health factor has fallen below a level."""

    endpoint: str
    notice: Notice


class Levels:
    """All levels of all endpoints, and which of them have been told of.

    A level is told when the factor is below it, and again only after the factor has been back above the level's upper
    value: what swings around one value is told once.
    """

    def __init__(self) -> None:
        self._levels: dict[str, list[tuple[str, int, int]]] = {}
        self._told: set[tuple[str, int]] = set()

    def __bool__(self) -> bool:
        return bool(self._levels)

    def watch(self, endpoint: Endpoint, told: Iterable[int] = ()) -> None:
        """Watch an endpoint's levels; `told` are the places of those that it has been told of."""
        rows = [(level.account, *level.rates()) for level in endpoint.preferences.levels]
        if rows:
            self._levels[endpoint.id] = rows
            self._told.update((endpoint.id, place) for place in told if place < len(rows))

    def forget(self, endpoint: str) -> None:
        """Watch an endpoint's levels no more."""
        self._levels.pop(endpoint, None)
        self._told = {one for one in self._told if one[0] != endpoint}

    def told(self, endpoint: str) -> list[int]:
        """Return the places of an endpoint's levels that it has been told of."""
        return sorted(place for name, place in self._told if name == endpoint)

    async def look(self, state: State, sequence: int, now_ns: int) -> list[Fall]:
        """Return which accounts have fallen below a level since the last look."""
        falls: list[Fall] = []
        looked = 0
        for endpoint, rows in list(self._levels.items()):
            for place, (account, below, above) in enumerate(rows):
                factor = factor_of(state, account)
                if factor is not None and self._crosses(endpoint, place, factor, below, above):
                    falls.append(Fall(endpoint, _notice(endpoint, place, account, factor, below, sequence, now_ns)))
                looked += 1
                if looked % SLICE_ACCOUNTS == 0:
                    await asyncio.sleep(0)
        return falls

    def _crosses(self, endpoint: str, place: int, factor: int, below: int, above: int) -> bool:
        if (endpoint, place) in self._told:
            if factor >= above:
                self._told.discard((endpoint, place))
            return False
        if factor < below:
            self._told.add((endpoint, place))
            return True
        return False


def factor_of(state: State, account: str) -> int | None:
    """Return an account's health factor at maintenance; None where it does not exist or requires nothing."""
    index = state.index.get(account)
    if index is None:
        return None
    found = measure(state.book.read(index), state.valuation, MAINTENANCE)
    return health_factor(found) if found.requirement else None


def _notice(endpoint: str, place: int, account: str, factor: int, below: int, sequence: int, now_ns: int) -> Notice:
    shown, level = (format_ratio(value, RATE_ONE, 4) for value in (factor, below))
    return Notice(
        id=f"{sequence}-level-{endpoint}-{place}",
        sequence=sequence,
        recorded_ns=now_ns,
        owner=owner_of(account),
        kind="health",
        severity="warning",
        account=account,
        title=f"Health factor below {level}: {account}",
        text=f"The health factor of {account} is {shown}, below the level of {level} that you set.",
    )
