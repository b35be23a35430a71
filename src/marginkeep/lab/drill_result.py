"""What a drill found, as plain values: figures of both runs, accounts that fared otherwise, and `drill.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import marginkeep
from marginkeep.lab.drill import worst_quality
from marginkeep.lab.drill_reasons import Reasons
from marginkeep.lab.price_files import time_text
from marginkeep.rulebook.durations import format_time
from marginkeep.rulebook.oracle_rules import VALID
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from marginkeep.lab.drill import Closed, Drill, DrilledRun
    from marginkeep.lab.faults import Fault

Fate = Literal["only with", "only without", "earlier", "later"]
FATES: Final[Mapping[Fate, str]] = {
    "only with": "liquidated only with the faults",
    "earlier": "liquidated earlier with the faults",
    "later": "liquidated later with the faults",
    "only without": "not liquidated with the faults",
}
"""How an account may fare otherwise, worst first."""

AMOUNTS: Final = frozenset({"notional", "penalty", "fund_paid", "fund_end", "bad_debt"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One account that the two runs did not first liquidate at the same tick.

    Attributes
    ----------
    healthy_ns, faulted_ns : first liquidation without and with the faults, None = never
    late_ns : how much later with the faults; below 0 = earlier; None where one of the two is missing
    notional, penalty, bad_debt, fund_paid : with the faults less without, reporting units, over all liquidations
    acted_on : the prices of the first liquidation, with the faults if there is one
    in_spread : these are within what the fault-free sources said; None where the fault-free run was first
    short : why, in a few words; why : in sentences
    """

    account: str
    fate: Fate
    healthy_ns: int | None
    faulted_ns: int | None
    late_ns: int | None
    notional: int
    penalty: int
    fund_paid: int
    bad_debt: int
    acted_on: str
    in_spread: bool | None
    short: str
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DrillResult:
    """Everything a drill found; amounts count the reporting asset's smallest unit.

    Attributes
    ----------
    ticks, done : of the price path, and how many were replayed in both runs
    healthy, faulted : name -> figure of each run
    differences : accounts that fared otherwise, worst fate first, then by time
    names : what the oracle prices; the columns of the four arrays
    healthy_prices, faulted_prices : int64[done, names], ticks; healthy_flags, faulted_flags : qualities as bits
    markets : how many of `names` are markets, which come first
    changes : (time, what, name, before, after, why) in the run with faults, oldest first
    change_counts : (what, after) -> how often without and with the faults
    ignored : reason -> how many quotes without and with the faults
    """

    title: str
    ticks: int
    done: int
    faults: tuple[Fault, ...]
    healthy: Mapping[str, int]
    faulted: Mapping[str, int]
    differences: tuple[Difference, ...]
    times_ns: NDArray[np.int64]
    names: tuple[str, ...]
    markets: int
    healthy_prices: NDArray[np.int64]
    faulted_prices: NDArray[np.int64]
    healthy_flags: NDArray[np.int64]
    faulted_flags: NDArray[np.int64]
    changes: tuple[tuple[int, str, str, str, str, str], ...]
    change_counts: Mapping[tuple[str, str], tuple[int, int]]
    ignored: Mapping[str, tuple[int, int]]
    reporting_asset: str
    reporting_decimals: int
    accounts: int
    sources: tuple[str, ...]
    assumptions: tuple[str, ...]
    repairs: tuple[str, ...]
    reproduce: str
    inputs: Mapping[str, Any]
    rulebook: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """False when the drill was interrupted: everything then describes the part that ran."""
        return self.done == self.ticks

    def of_fate(self, fate: Fate) -> tuple[Difference, ...]:
        """Return the accounts of one fate."""
        return tuple(one for one in self.differences if one.fate == fate)

    def not_valid(self, flags: NDArray[np.int64], column: int) -> NDArray[np.bool_]:
        """Tell of each tick whether any quality but ``valid`` applies; bool[done]."""
        bad: NDArray[np.bool_] = flags[:, column] != 1 << VALID
        return bad


def conclude(
    drill: Drill,
    faults: Sequence[Fault],
    *,
    title: str,
    assumptions: tuple[str, ...],
    repairs: tuple[str, ...],
    reproduce: str,
    inputs: Mapping[str, Any],
) -> DrillResult:
    """Return the result of a drill as far as it ran.

    Parameters
    ----------
    title, assumptions, repairs, reproduce : texts for people
    inputs : what determined the drill, for drill.json
    """
    healthy, faulted = drill.healthy, drill.faulted
    state, done = healthy.house.state, slice(0, drill.done)
    rulebook = state.rulebook
    return DrillResult(
        title=title,
        ticks=len(healthy.path.times_ns),
        done=drill.done,
        faults=tuple(faults),
        healthy=healthy.figures(),
        faulted=faulted.figures(),
        differences=_differences(drill, faults),
        times_ns=healthy.path.times_ns[done],
        names=healthy.names,
        markets=len(healthy.oracle.markets),
        healthy_prices=healthy.prices[done],
        faulted_prices=faulted.prices[done],
        healthy_flags=healthy.flags[done],
        faulted_flags=faulted.flags[done],
        changes=_changes(faulted),
        change_counts=_pairs(healthy.counts, faulted.counts),
        ignored=_pairs(healthy.ignored, faulted.ignored),
        reporting_asset=rulebook.reporting,
        reporting_decimals=rulebook.assets[rulebook.reporting].decimals,
        accounts=state.book.count - 2,
        sources=healthy.quotes.sources,
        assumptions=assumptions,
        repairs=repairs,
        reproduce=reproduce,
        inputs=inputs,
        rulebook={"name": rulebook.name, "sha256": state.rulebook_hash},
    )


def _pairs(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, tuple[int, int]]:
    return {key: (one.get(key, 0), other.get(key, 0)) for key in sorted({*one, *other})}


def _changes(run: DrilledRun) -> tuple[tuple[int, str, str, str, str, str], ...]:
    times = run.path.times_ns
    return tuple(
        (int(times[tick]), change.what, change.name, change.before, change.after, change.why)
        for tick, change in run.changes
    )


def _differences(drill: Drill, faults: Sequence[Fault]) -> tuple[Difference, ...]:
    """Return the accounts first liquidated at different ticks: those that were glimpsed, and no others."""
    reasons = Reasons(drill, faults)
    found = [_difference(drill, account, reasons) for account in drill.glimpses]
    order = list(FATES)
    return tuple(sorted(found, key=lambda one: (order.index(one.fate), _first_ns(one), one.account)))


def _first_ns(difference: Difference) -> int:
    times = (difference.healthy_ns, difference.faulted_ns)
    return min(time for time in times if time is not None)


def _difference(drill: Drill, account: str, reasons: Reasons) -> Difference:
    without, with_faults = drill.healthy.closed.get(account), drill.faulted.closed.get(account)
    healthy_ns, faulted_ns = (_time(drill, one) for one in (without, with_faults))
    late = None if healthy_ns is None or faulted_ns is None else faulted_ns - healthy_ns
    fate: Fate = "earlier" if late is not None and late < 0 else "later"
    if late is None:
        fate = "only with" if healthy_ns is None else "only without"
    sums = {
        name: getattr(with_faults, name, 0) - getattr(without, name, 0)
        for name in ("notional", "penalty", "fund_paid", "bad_debt")
    }
    came_first = fate in ("only with", "earlier")
    return Difference(
        account=account,
        fate=fate,
        healthy_ns=healthy_ns,
        faulted_ns=faulted_ns,
        late_ns=late,
        **sums,
        acted_on=reasons.acted_on(with_faults or without),
        in_spread=reasons.in_spread(account) if came_first else None,
        short=reasons.short(account, came_first=came_first),
        why=reasons.sentences(account, came_first=came_first),
    )


def _time(drill: Drill, closed: Closed | None) -> int | None:
    return None if closed is None else int(drill.healthy.path.times_ns[closed.tick])


def drill_record(result: DrillResult) -> dict[str, Any]:
    """Return the content of drill.json."""
    from marginkeep.lab.outcome import program_versions

    return {
        "marginkeep": marginkeep.__version__,
        "versions": program_versions(),
        "reproduce": result.reproduce,
        "complete": result.complete,
        "inputs": dict(result.inputs),
        "rulebook": dict(result.rulebook),
        "reporting_asset": result.reporting_asset,
        "ticks": {"planned": result.ticks, "done": result.done},
        "accounts": result.accounts,
        "sources": list(result.sources),
        "faults": [
            {"fault": fault.text, "from": format_time(fault.start_ns), "to": format_time(fault.end_ns)}
            for fault in result.faults
        ],
        "fault_free": _figures(result, result.healthy),
        "faulted": _figures(result, result.faulted),
        "quotes_ignored": {name: {"fault_free": a, "faulted": b} for name, (a, b) in result.ignored.items()},
        "oracle_changes": [
            {"what": what, "after": after, "fault_free": a, "faulted": b}
            for (what, after), (a, b) in result.change_counts.items()
        ],
        "not_valid_ticks": _not_valid(result),
        "differences": {fate: len(result.of_fate(fate)) for fate in FATES},
        "accounts_with_a_difference": [_account_record(result, one) for one in result.differences],
        "changes_with_faults": [
            dict(zip(("at", "what", "name", "before", "after", "why"), (time_text(at), *words), strict=True))
            for at, *words in result.changes
        ],
    }


def _figures(result: DrillResult, figures: Mapping[str, int]) -> dict[str, Any]:
    return {name: _amount(result, figure) if name in AMOUNTS else figure for name, figure in figures.items()}


def _amount(result: DrillResult, amount: int) -> str:
    return format_units(amount, result.reporting_decimals)


def _not_valid(result: DrillResult) -> dict[str, dict[str, dict[str, int]]]:
    """Return, per market and asset, how many ticks ended with each quality but ``valid``."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for column, name in enumerate(result.names):
        for run, flags in (("fault_free", result.healthy_flags), ("faulted", result.faulted_flags)):
            found = flags[result.not_valid(flags, column), column].tolist()
            for quality in map(worst_quality, found):
                tally = counts.setdefault(name, {}).setdefault(run, {})
                tally[quality] = tally.get(quality, 0) + 1
    return counts


def _account_record(result: DrillResult, one: Difference) -> dict[str, Any]:
    return {
        "account": one.account,
        "fate": one.fate,
        "fault_free_at": None if one.healthy_ns is None else time_text(one.healthy_ns),
        "faulted_at": None if one.faulted_ns is None else time_text(one.faulted_ns),
        "later_seconds": None if one.late_ns is None else one.late_ns / 10**9,
        **{name: _amount(result, getattr(one, name)) for name in ("notional", "penalty", "fund_paid", "bad_debt")},
        "acted_on": one.acted_on,
        "within_the_sources_spread": one.in_spread,
        "why": list(one.why),
    }


def write_drill(result: DrillResult, path: Path) -> None:
    """Write drill.json."""
    path.write_text(json.dumps(drill_record(result), indent=2) + "\n", encoding="utf-8")
