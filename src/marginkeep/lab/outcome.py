"""From a replay, finished or interrupted, to the values that are shown: the summary, the bars, `run.json`."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import TYPE_CHECKING, Any, Final

import marginkeep
from marginkeep.clearing import state_hash
from marginkeep.clearing.state import INSURANCE_FUND
from marginkeep.lab.bars import judge_bars
from marginkeep.lab.price_files import time_text
from marginkeep.lab.replay import fund_value, health_factors
from marginkeep.lab.result import ReplayResult, Timeline
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from marginkeep.lab.replay import Replay

AMOUNTS: Final = frozenset(
    {"liquidated_notional", "penalty", "fund_start", "fund_used", "fund_end", "bad_debt", "worst_minute_notional"}
)
FIGURES: Final = (
    "liquidated_accounts",
    "liquidations",
    "liquidated_notional",
    "penalty",
    "fund_start",
    "fund_used",
    "fund_end",
    "bad_debt",
    "worst_minute_notional",
    "ticks",
    "evaluations",
)
"""Names that `--fail-if` may compare; amounts are in whole units of the reporting asset."""


def summarise(replay: Replay, timeline: Timeline, fund_start: int) -> dict[str, int | str]:
    """Return the figures of a replay, in the order to show them."""
    worst = int(timeline.liquidated_notional.argmax()) if len(timeline.times_ns) else None
    when = "none"
    if worst is not None and timeline.liquidated_notional[worst]:
        when = time_text(int(timeline.times_ns[worst]))
    return {
        "liquidated_accounts": len(replay.stories),
        "liquidations": replay.liquidations,
        "liquidated_notional": int(timeline.liquidated_notional.sum()),
        "penalty": int(timeline.penalties.sum()),
        "fund_start": fund_start,
        "fund_used": replay.fund_paid,
        "fund_end": fund_value(replay.house, INSURANCE_FUND),
        "bad_debt": int(timeline.bad_debt[-1]) if len(timeline.bad_debt) else 0,
        "worst_minute": when,
        "worst_minute_notional": 0 if worst is None else int(timeline.liquidated_notional[worst]),
        "ticks": replay.done,
        "evaluations": int(timeline.evaluations.sum()),
    }


def conclude(
    replay: Replay,
    *,
    title: str,
    fund_start: int,
    expressions: tuple[str, ...],
    assumptions: tuple[str, ...],
    repairs: tuple[str, ...],
    reproduce: str,
    inputs: Mapping[str, Any],
) -> ReplayResult:
    """Return the result of a replay as far as it ran.

    Parameters
    ----------
    title, assumptions, repairs, reproduce : texts for people
    fund_start : the insurance fund's opening balance, reporting units
    expressions : stated bars, already checked
    inputs : what determined the run (seed, hashes of files, options), for run.json
    """
    state = replay.house.state
    reporting = state.rulebook.assets[state.rulebook.reporting]
    timeline = replay.timeline()
    summary = summarise(replay, timeline, fund_start)
    bars = judge_bars(expressions, summary, AMOUNTS, reporting.decimals)
    complete = replay.done == len(replay.path.times_ns)
    run = {
        "marginkeep": marginkeep.__version__,
        "versions": program_versions(),
        "command": reproduce,
        "complete": complete,
        "inputs": dict(inputs),
        "rulebook": {"name": state.rulebook.name, "sha256": state.rulebook_hash},
        "result": {
            name: format_units(figure, reporting.decimals) if name in AMOUNTS and isinstance(figure, int) else figure
            for name, figure in summary.items()
        },
        "reporting_asset": reporting.name,
        "bars": [{"expression": bar.expression, "value": bar.value, "failed": bar.failed} for bar in bars],
        "state_sha256": state_hash(replay.house),
    }
    return ReplayResult(
        title=title,
        complete=complete,
        accounts=state.book.count - 2,
        reporting_asset=reporting.name,
        reporting_decimals=reporting.decimals,
        timeline=timeline,
        summary=summary,
        amounts=AMOUNTS,
        bars=bars,
        health_before=replay.health_before,
        health_after=health_factors(replay.house),
        worst=replay.worst(),
        assumptions=assumptions,
        repairs=repairs,
        reproduce=reproduce,
        run=run,
    )


def program_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries on which numbers and pictures depend."""
    from importlib.metadata import version

    names = ("numpy", "numba", "msgspec", "pyarrow", "plotly")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_run(result: ReplayResult, path: Path) -> None:
    """Write run.json: what is needed to reproduce the run and to check that it came out the same."""
    path.write_text(json.dumps(result.run, indent=2) + "\n", encoding="utf-8")
