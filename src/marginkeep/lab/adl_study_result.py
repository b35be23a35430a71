"""What the deleveraging study found, as plain values: figures by policy, how well the population fits, `study.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import marginkeep
from marginkeep.lab.adl_study import PRODUCTION
from marginkeep.lab.adl_study_waves import DECIMALS, FACTS
from marginkeep.units import RATE_ONE, format_exact, format_ratio, format_units

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from pathlib import Path

    from marginkeep.lab.adl_study import Identity, PolicyRun
    from marginkeep.lab.adl_study_waves import Wave

LABELS: Final[Mapping[str, str]] = {
    PRODUCTION: "queue, production's prices",
    "queue": "queue",
    "pro_rata": "pro rata",
    "risk_aware": "risk-aware",
    "portfolio_aware": "portfolio-aware",
}
"""How runs are called; all but the first close at the bankruptcy price."""

TOPS: Final = (1, 10, 100)

DATA: Final = (
    "Data, by wave: what was needed, what production took, and how many positions it closed.",
    f"Data, in all: {FACTS.notional:,} USD of notional closed, {FACTS.profit:,} USD of profit, {FACTS.users:,} users.",
    "Data: the median leverage of those users, and how much of the notional the 1, 10 and 100 largest had.",
    "So what production took beyond and below the need is data: no part of it comes from the population.",
)
"""What of the study was published."""

MADE_UP: Final = (
    "Generated: every account. No account of the event is in the study.",
    "One market stands for all coins, in lots of one USD of notional; the mark does not move between waves.",
    "Only the sum of the closed notional is known: it is divided among waves by the positions closed in each.",
    "The queue reaches 60 % of the accounts and of the notional: an assumption.",
    "Those it reaches have the published sizes, median leverage and profit by construction; the others likewise.",
    "Between the published shares sizes fall with the rank as a power.",
    "Leverage and profit ratio are log-normal and do not depend on size.",
    "No large position is placed where the end of a wave would cut it in two.",
    "A quarter of the accounts hold half to all of their position's other side elsewhere: closing costs them health.",
    "Without margin relief for hedges nobody is hurt that way, and portfolio-aware is the queue.",
    "A wave's bankruptcy price is what was needed a lot, production's price what was taken a lot; neither is rounded.",
    "Real prices have ticks: a wave then takes up to a tick a lot more than needed, never less.",
    "Nobody reacts: no deposits, no trades, no new positions between waves.",
)
"""What of the study is a model."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A figure of the population under the queue, beside the published one."""

    name: str
    published: Fraction
    reached: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """Everything the study found.

    Attributes
    ----------
    runs : the queue at production's prices first, then each policy at the bankruptcy price
    identity : None where the budget exceeds the largest profit
    source : of the waves, in words
    reproduce : the command line that gives this result again
    """

    waves: tuple[Wave, ...]
    runs: tuple[PolicyRun, ...]
    identity: Identity | None
    accounts: int
    seed: int
    source: str
    reproduce: str
    inputs: Mapping[str, Any]

    def run(self, name: str) -> PolicyRun:
        """Return the run of a policy."""
        return next(one for one in self.runs if one.name == name)

    @property
    def fit(self) -> tuple[Fit, ...]:
        """How the population compares with what was published, under the queue at production's prices."""
        from fractions import Fraction

        run = self.runs[0]
        tops = tuple(
            Fit(f"share of the largest {rank}", share, Fraction(run.figures.concentration(rank), RATE_ONE))
            for rank, share in FACTS.top
        )
        unit = 10**DECIMALS
        return (
            *tops,
            Fit("median leverage", FACTS.leverage, Fraction(run.leverage).limit_denominator(10**6)),
            Fit("accounts", Fraction(FACTS.users), Fraction(run.figures.count)),
            Fit("closed notional, USD", Fraction(FACTS.notional), Fraction(run.figures.closed)),
            Fit("profit closed, USD", Fraction(FACTS.profit), Fraction(round(Fraction(run.profit, unit)))),
        )


def study_record(result: StudyResult) -> dict[str, Any]:
    """Return the content of study.json; amounts are USD."""
    from marginkeep.lab.outcome import program_versions

    return {
        "marginkeep": marginkeep.__version__,
        "versions": program_versions(),
        "reproduce": result.reproduce,
        "inputs": dict(result.inputs),
        "waves": [
            {"wave": wave.number, "needed": money(wave.needed), "taken": money(wave.taken), "fills": wave.fills}
            for wave in result.waves
        ],
        "policies": [_run_record(run) for run in result.runs],
        "fit": [
            {"figure": one.name, "published": format_exact(one.published, 6), "reached": format_exact(one.reached, 6)}
            for one in result.fit
        ],
        "identity": _identity_record(result.identity),
        "data": list(DATA),
        "generated": list(MADE_UP),
    }


def money(amount: int) -> str:
    """Write millionths of a USD as USD."""
    return format_units(amount, DECIMALS)


def _run_record(run: PolicyRun) -> dict[str, Any]:
    figures = run.figures
    return {
        "policy": run.name,
        "prices": "production" if run.name == PRODUCTION else "bankruptcy",
        "needed": money(figures.needed),
        "taken": money(figures.taken),
        "over": money(figures.over),
        "under": money(figures.under),
        "lots": {"wanted": figures.wanted, "closed": figures.closed},
        "accounts": figures.count,
        "concentration": {str(top): format_ratio(figures.concentration(top), RATE_ONE) for top in TOPS},
        "largest_haircut": money(largest_haircut(run)),
        "median_leverage": round(run.leverage, 6),
        "hedges_hurt": run.hedges,
        "health_lost": money(run.health_lost),
        "profit_closed": money(run.profit),
        "waves": [money(gap) for gap in run.waves],
    }


def largest_haircut(run: PolicyRun) -> int:
    """Return the most that one account gave up."""
    return int(run.figures.haircuts.max(initial=0))


def _identity_record(identity: Identity | None) -> dict[str, Any] | None:
    if identity is None:
        return None
    return {
        "budget": money(identity.budget),
        "largest_profit": money(identity.top),
        "sum_of_profits": money(identity.total),
        "queue": money(identity.queue),
        "pro_rata": money(identity.pro_rata),
        "gap": money(identity.queue - identity.pro_rata),
        "formula": format_exact(identity.formula / 10**DECIMALS, DECIMALS),
        "holds": identity.holds,
    }


def write_study(result: StudyResult, path: Path) -> None:
    """Write study.json."""
    path.write_text(json.dumps(study_record(result), indent=2) + "\n", encoding="utf-8")
