"""What a replay found, as plain values: the summary, the report and `run.json` are all written from these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Timeline:
    """Columns with one row a tick; amounts are int64 counts of the reporting asset's smallest unit.

    Attributes
    ----------
    times_ns : int64, nanoseconds UTC, strictly rising
    marks : market -> float64 mark price, for pictures only (money was computed from ticks)
    liquidated_accounts : int64, accounts with at least one liquidation step in this tick
    liquidated_notional, penalties : int64, amounts of this tick
    fund_balance, bad_debt : int64, levels at the end of this tick
    evaluations : int64, accounts whose health was computed in this tick
    """

    times_ns: NDArray[np.int64]
    marks: Mapping[str, NDArray[np.float64]]
    liquidated_accounts: NDArray[np.int64]
    liquidated_notional: NDArray[np.int64]
    penalties: NDArray[np.int64]
    fund_balance: NDArray[np.int64]
    bad_debt: NDArray[np.int64]
    evaluations: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LiquidatedAccount:
    """One account's story: how much was closed, what it cost, and why, in sentences."""

    account: str
    first_time_ns: int
    steps: int
    notional: int
    penalty: int
    bad_debt: int
    explanation: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A stated bar such as ``bad_debt>0``: `failed` when the expression came out true."""

    expression: str
    value: str
    failed: bool


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Everything a replay found; amounts count the reporting asset's smallest unit.

    Attributes
    ----------
    complete : False when the run was interrupted: everything then describes the part that ran
    summary : name -> figure (int amounts, int counts, or text), in the order to show them
    amounts : names in `summary` that are amounts of the reporting asset
    health_before, health_after : float64 health factors of accounts that need margin, for pictures only
    worst : liquidated accounts by what others paid for them, then by their loss, worst first
    assumptions, repairs : sentences; how prices became marks, what was repaired in the price file
    reproduce : the command line that gives this result again
    run : the content of run.json
    """

    title: str
    complete: bool
    accounts: int
    reporting_asset: str
    reporting_decimals: int
    timeline: Timeline
    summary: Mapping[str, int | str]
    amounts: frozenset[str]
    bars: tuple[Bar, ...]
    health_before: NDArray[np.float64]
    health_after: NDArray[np.float64]
    worst: tuple[LiquidatedAccount, ...]
    assumptions: tuple[str, ...]
    repairs: tuple[str, ...]
    reproduce: str
    run: Mapping[str, Any] = field(default_factory=dict)
