"""One account as plain Python values: what the twin evaluates and what commands change.

Accounts are read out of the book's columns, changed as copies, and written back when a command succeeds.
"""

from __future__ import annotations

from typing import Final

import msgspec

CROSS: Final = 0
ISOLATED: Final = 1
SYSTEM: Final = 2
MODES: Final = ("cross", "isolated", "system")
"""Margin modes; a system account (liquidator, external) is a counterparty without margin requirement."""

NO_PARENT: Final = -1


class Position(msgspec.Struct, gc=False):
    """One market's holding of one account, in lots and settle units.

    Attributes
    ----------
    size : lots, negative when short
    cost : what the open size cost, signed like the value it is compared with; unrealised profit = value - cost
    funding_entry : the market's cumulative funding index when funding was last booked
    bid_size, bid_cost, ask_size, ask_cost : open orders by side: lots >= 0, and the cost of their complete fill
    """

    size: int = 0
    cost: int = 0
    funding_entry: int = 0
    bid_size: int = 0
    bid_cost: int = 0
    ask_size: int = 0
    ask_cost: int = 0

    def copy(self) -> Position:
        """Return an independent copy."""
        return Position(
            self.size,
            self.cost,
            self.funding_entry,
            self.bid_size,
            self.bid_cost,
            self.ask_size,
            self.ask_cost,
        )

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is held and nothing reserved: such a position is dropped."""
        return not (self.size or self.cost or self.bid_size or self.ask_size)


class Account(msgspec.Struct, gc=False):
    """Balances and positions under one margin mode; keys are asset and market indices."""

    mode: int = CROSS
    parent: int = NO_PARENT
    balances: dict[int, int] = msgspec.field(default_factory=dict)
    positions: dict[int, Position] = msgspec.field(default_factory=dict)

    def copy(self) -> Account:
        """Return an independent copy."""
        positions = {market: position.copy() for market, position in self.positions.items()}
        return Account(self.mode, self.parent, dict(self.balances), positions)
