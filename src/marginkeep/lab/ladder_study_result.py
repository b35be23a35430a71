"""What a ladder study found, as plain values, and `study.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import marginkeep
from marginkeep.lab.ladder_study import TAIL
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from marginkeep.lab.ladder_study import VariantRun
    from marginkeep.lab.ladder_study_rules import Variant

PATH_STEPS: Final = 240
"""At most so many points of a fund's path are written to study.json."""


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """Everything a study found; amounts count the reporting asset's smallest unit.

    Attributes
    ----------
    runs : finished variants, in the order of `planned`
    planned : all that there would have been
    times_ns : int64[T], of the ticks
    inputs : what determined the study, for study.json
    reproduce : the command line that gives this result again
    """

    title: str
    runs: tuple[VariantRun, ...]
    planned: tuple[Variant, ...]
    reporting_asset: str
    reporting_decimals: int
    accounts: int
    markets: int
    times_ns: Any
    open_interest: int
    assumptions: tuple[str, ...]
    repairs: tuple[str, ...]
    reproduce: str
    inputs: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """False when the study was interrupted: then some variants are missing."""
        return len(self.runs) == len(self.planned)


def study_record(result: StudyResult) -> dict[str, Any]:
    """Return the content of study.json."""
    from marginkeep.lab.outcome import program_versions

    return {
        "marginkeep": marginkeep.__version__,
        "versions": program_versions(),
        "reproduce": result.reproduce,
        "complete": result.complete,
        "inputs": dict(result.inputs),
        "reporting_asset": result.reporting_asset,
        "ticks": len(result.times_ns),
        "markets": result.markets,
        "open_interest": format_units(result.open_interest, result.reporting_decimals),
        "planned": [variant.key for variant in result.planned],
        "rulebooks": [_run_record(result, run) for run in result.runs],
    }


def _run_record(result: StudyResult, run: VariantRun) -> dict[str, Any]:
    def money(amount: int) -> str:
        return format_units(amount, result.reporting_decimals)

    return {
        "rulebook": run.variant.key,
        "sha256": run.rulebook_hash,
        "accounts": {
            name: getattr(run, name)
            for name in ("called", "cured", "liquidated", "auctioned", "bankrupt", "winners", "unresolved")
        },
        "deposited": money(run.deposited),
        "liquidated_notional": money(run.notional),
        "trader_losses": {
            "penalty": money(run.penalty),
            "slippage": money(run.slippage),
            "price_after": money(run.hindsight),
            "sum": money(run.trader_losses),
        },
        "results": {who: money(getattr(run, f"{who}_result")) for who in ("owners", "liquidator", "bidders")},
        "unpaid": {
            "fund_paid": money(run.fund_paid),
            "deleveraged_profit": money(run.deleveraged),
            "socialised": money(run.socialised),
            "bad_debt": money(run.bad_debt),
            "sum": money(run.unpaid),
        },
        "deleveraged_notional": money(run.deleveraged_notional),
        "auctions": {
            "notional": money(run.auctioned_notional),
            "bids": run.bids,
            "bidders_left": run.left,
            "bidders_ruined": run.ruined,
        },
        "fund": {"start": money(run.fund_start), **_path_record(result, run)},
        "resolution": {
            "stays": len(run.resolved_ns),
            "median_seconds": run.resolution_percentile(50) / 10**9,
            f"p{TAIL}_seconds": run.resolution_percentile(TAIL) / 10**9,
            "worst_seconds": run.resolution_percentile(100) / 10**9,
        },
    }


def _path_record(result: StudyResult, run: VariantRun) -> dict[str, Any]:
    """Return the fund's lowest and last balance, and its path thinned evenly, the last tick always included."""
    balances = [format_units(amount, result.reporting_decimals) for amount in run.fund_path.tolist()]
    step = -(-len(balances) // PATH_STEPS)
    rows = range((len(balances) - 1) % step, len(balances), step)
    return {
        "lowest": format_units(int(run.fund_path.min()), result.reporting_decimals),
        "end": balances[-1],
        "path": [[int(result.times_ns[row]), balances[row]] for row in rows],
    }


def write_study(result: StudyResult, path: Path) -> None:
    """Write study.json."""
    path.write_text(json.dumps(study_record(result), indent=2) + "\n", encoding="utf-8")
