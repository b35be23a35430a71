"""What a study of update policies found, as plain values: cost, harm, the Pareto front, and `study.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import marginkeep
from marginkeep.lab.oracle_study import TAIL
from marginkeep.lab.price_files import timeframe_text
from marginkeep.units import RATE_ONE, format_ratio, format_units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from marginkeep.lab.oracle_study import PolicyRun
    from marginkeep.oracle.update_policy import UpdatePolicy

NS_PER_MINUTE: Final = 60 * 10**9

Harm = Literal["bad_debt", "late", "error", "taken_over"]
HARMS: Final[Mapping[Harm, str]] = {
    "bad_debt": "what liquidated accounts leave unpaid (bad debt and fund payments), beyond that with every tick",
    "late": "mean lateness of liquidations; an account never liquidated counts as late until the last tick",
    "error": "mean distance of the published from the true price",
    "taken_over": "what is lost by who takes positions over, where the true price was worse than the forced one",
}
"""The single figures that a policy may be judged by, in words."""


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """Everything a study found; amounts count the reporting asset's smallest unit.

    Attributes
    ----------
    runs : finished policies; the first published every tick. Empty when interrupted before that one ended
    planned : how many policies there would have been
    first_ns, last_ns, step_ns : first, last and shortest time between ticks
    update_cost : of one update of one feed
    inputs, rulebook : what determined the study, for study.json
    reproduce : the command line that gives this result again
    """

    title: str
    runs: tuple[PolicyRun, ...]
    planned: int
    harm: Harm
    update_cost: int
    reporting_asset: str
    reporting_decimals: int
    accounts: int
    feeds: int
    ticks: int
    first_ns: int
    last_ns: int
    step_ns: int
    assumptions: tuple[str, ...]
    repairs: tuple[str, ...]
    reproduce: str
    inputs: Mapping[str, Any]
    rulebook: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """False when the study was interrupted: then some policies are missing."""
        return len(self.runs) == self.planned

    def cost(self, run: PolicyRun) -> int:
        """Return what a policy's updates cost."""
        return run.updates * self.update_cost

    def harm_of(self, run: PolicyRun) -> float:
        """Return the figure that the policies are judged by: whole amounts, minutes or basis points."""
        if self.harm == "late":
            return run.mean_late_ns / NS_PER_MINUTE
        if self.harm == "error":
            return run.mean_error_bp
        amount = run.taken_over if self.harm == "taken_over" else run.shortfall - self.runs[0].shortfall
        return float(amount) / float(10**self.reporting_decimals)

    @property
    def harm_unit(self) -> str:
        """The unit of `harm_of`."""
        units = {"late": "minutes", "error": "basis points"}
        return units.get(self.harm, self.reporting_asset)

    def front(self) -> tuple[bool, ...]:
        """Tell of each run whether it is on the Pareto front of cost and harm."""
        return pareto_front([self.cost(run) for run in self.runs], [self.harm_of(run) for run in self.runs])

    def on_front(self) -> tuple[PolicyRun, ...]:
        """Return the runs on the Pareto front, the dearest first."""
        chosen = [run for run, best in zip(self.runs, self.front(), strict=True) if best]
        return tuple(sorted(chosen, key=lambda run: (-self.cost(run), self.harm_of(run))))


def pareto_front(costs: Sequence[float], harms: Sequence[float]) -> tuple[bool, ...]:
    """Tell of each point whether no other is as good in both and better in one.

    Examples
    --------
    >>> pareto_front([3, 1, 2, 3], [0, 5, 5, 0])
    (True, True, False, True)
    """
    points = list(zip(costs, harms, strict=True))
    return tuple(
        not any(other[0] <= cost and other[1] <= harm and other != (cost, harm) for other in points)
        for cost, harm in points
    )


def policy_label(policy: UpdatePolicy | None) -> str:
    """Write a policy the short way.

    Examples
    --------
    >>> from marginkeep.oracle.update_policy import UpdatePolicy
    >>> policy_label(UpdatePolicy(deviation=5_000_000, heartbeat_ns=600 * 10**9))
    '0.5 % or 10m'
    """
    if policy is None:
        return "every tick"
    return f"{format_ratio(policy.deviation * 100, RATE_ONE)} % or {heartbeat_text(policy)}"


def heartbeat_text(policy: UpdatePolicy) -> str:
    """Write a policy's heartbeat as the command line reads it."""
    return timeframe_text(policy.heartbeat_ns) if policy.heartbeat_ns else "0"


def study_record(result: StudyResult) -> dict[str, Any]:
    """Return the content of study.json."""
    from marginkeep.lab.outcome import program_versions

    return {
        "marginkeep": marginkeep.__version__,
        "versions": program_versions(),
        "reproduce": result.reproduce,
        "complete": result.complete,
        "inputs": dict(result.inputs),
        "rulebook": dict(result.rulebook),
        "reporting_asset": result.reporting_asset,
        "ticks": result.ticks,
        "feeds": result.feeds,
        "harm": {"name": result.harm, "words": HARMS[result.harm], "unit": result.harm_unit},
        "planned": result.planned,
        "policies": [_run_record(result, run, best) for run, best in zip(result.runs, result.front(), strict=True)],
    }


def _run_record(result: StudyResult, run: PolicyRun, best: bool) -> dict[str, Any]:
    def money(amount: int) -> str:
        return format_units(amount, result.reporting_decimals)

    policy = run.policy
    return {
        "policy": policy_label(policy),
        "deviation": None if policy is None else format_ratio(policy.deviation, RATE_ONE),
        "heartbeat": None if policy is None else heartbeat_text(policy),
        "pareto": best,
        "updates": run.updates,
        "cost": money(result.cost(run)),
        "harm": round(result.harm_of(run), 6),
        "error_bp": {"mean": round(run.mean_error_bp, 6), "worst": round(run.worst_error_bp, 6)},
        "liquidated": run.liquidated,
        "late": {
            "accounts": run.late,
            "median_seconds": seconds(run.late_percentile(50)),
            f"p{TAIL}_seconds": seconds(run.late_percentile(TAIL)),
            "worst_seconds": seconds(run.late_percentile(100)),
            "mean_seconds": round(run.mean_late_ns / 10**9, 6),
        },
        "never": run.never,
        "early": run.early,
        "extra": run.extra,
        "bad_debt": money(run.bad_debt),
        "fund_paid": money(run.fund_paid),
        "unpaid": money(run.shortfall),
        "taken_over": money(run.taken_over),
    }


def seconds(time_ns: int) -> float:
    """Return nanoseconds as seconds."""
    return time_ns / 10**9


def write_study(result: StudyResult, path: Path) -> None:
    """Write study.json."""
    path.write_text(json.dumps(study_record(result), indent=2) + "\n", encoding="utf-8")
