"""What the watch tells: whose status changed in a tick, and how much work it has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class WatchCounters:
    """What the watch has done; `useful` counts changes of status."""

    ticks: int = 0
    quiet_ticks: int = 0
    useful: int = 0
    full_scans: int = 0
    audited: int = 0
    audit_position: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Accounts whose status changed in a tick, by index, rising."""

    breached: list[int]
    called: list[int]
    cured: list[int]
