"""What every route needs, in one object made when the service starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.clearing import Clearinghouse
    from marginkeep.clearing.state import State
    from marginkeep.journal.command_log import CommandLog
    from marginkeep.journal.durable import DurableHouse
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.feed import Feed
    from marginkeep.service.operations.settings import Settings
    from marginkeep.service.writer import Writer


@dataclass(slots=True)
class ServiceContext:
    """The running service.

    Attributes
    ----------
    settings : configuration, immutable
    durable : the house with its journal; read `house` and `state` freely in the event loop's thread
    writer : the one way to change it
    feed : what has become durable
    clock : nanoseconds UTC
    log : the journal; its documents keep keys, proposals and cursors
    parts : what rooms of the service keep here by name: ``access``, ``keys``, ``proposals``, ``notifications`` ...
    """

    settings: Settings
    durable: DurableHouse
    writer: Writer
    feed: Feed
    clock: Callable[[], int]
    log: CommandLog
    parts: dict[str, Any] = field(default_factory=dict)

    @property
    def house(self) -> Clearinghouse:
        """The clearinghouse."""
        return self.durable.house

    @property
    def state(self) -> State:
        """The clearinghouse's state, to be read only."""
        return self.durable.house.state

    @property
    def rulebook(self) -> Rulebook:
        """The rulebook in force."""
        return self.durable.house.state.rulebook
