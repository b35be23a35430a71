"""What happened to a liquidated account, kept while it happens and told in sentences when asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from marginkeep.lab.result import LiquidatedAccount
from marginkeep.units import format_exact, format_units

if TYPE_CHECKING:
    from marginkeep.clearing import Liquidated
    from marginkeep.clearing.events import LiquidationStep
    from marginkeep.clearing.state import State


@dataclass(slots=True)
class Story:
    """Sums over an account's liquidations, its first one and its last; amounts in reporting units."""

    account: str
    first_time_ns: int
    first: Liquidated
    last: Liquidated | None = None
    times: int = 0
    steps: int = 0
    notional: int = 0
    penalty: int = 0
    fund_paid: int = 0
    bad_debt: int = 0
    lost: int = 0

    @property
    def unpaid(self) -> int:
        """What its collateral did not cover, whoever paid for it."""
        return self.fund_paid + self.bad_debt

    def add(self, event: Liquidated, realised: int) -> None:
        """Add one liquidation, which realised a profit (below 0: a loss)."""
        self.last = event
        self.times += 1
        self.steps += len(event.steps)
        self.notional += event.notional
        self.penalty += event.penalty
        self.fund_paid += event.fund_paid
        self.bad_debt += event.bad_debt
        self.lost += event.penalty - realised


def tell(story: Story, state: State) -> LiquidatedAccount:
    """Return the account's story with its explanation in sentences."""
    return LiquidatedAccount(
        account=story.account,
        first_time_ns=story.first_time_ns,
        steps=story.steps,
        notional=story.notional,
        penalty=story.penalty,
        bad_debt=story.bad_debt,
        explanation=tuple(_sentences(story, state)),
    )


def _sentences(story: Story, state: State) -> list[str]:
    first = story.first
    money = Money(state)
    moment = datetime.fromtimestamp(story.first_time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M UTC")
    marks = ", ".join(f"{name} {price_text(state, name, ticks)}" for name, ticks in first.marks.items())
    lines = [
        f"{moment}: collateral {money(first.collateral)} was below the maintenance requirement "
        f"{money(first.requirement)}" + (f", at marks {marks}" if marks else ""),
        *(_step(state, step) for step in first.steps),
        f"health at the target level went from {money(first.health_target)} to {money(first.health_after)}",
    ]
    if story.times > 1:
        lines.append(
            f"liquidated {story.times} times in all: {money(story.notional)} closed, {money(story.penalty)} penalty"
        )
    if story.fund_paid:
        lines.append(f"its collateral did not suffice: the insurance fund paid {money(story.fund_paid)}")
    if story.bad_debt:
        lines.append(f"the fund could not pay all: {money(story.bad_debt)} is recorded as bad debt")
    lines.append(f"decided under rulebook {first.rulebook[:16]}")
    return lines


def _step(state: State, step: LiquidationStep) -> str:
    decimals = state.rulebook.assets[step.asset].decimals
    value = f"{_cents(step.value, decimals)} {step.asset}, penalty {_cents(step.penalty, decimals)} {step.asset}"
    price, mark = price_text(state, step.name, step.price), price_text(state, step.name, step.mark)
    if step.what == "sell":
        amount = format_units(step.size, state.rulebook.assets[step.name].decimals)
        return f"sold {amount} {step.name} of collateral at {price} (price {mark} less slippage) for {value}"
    size = format_exact(abs(step.size) * state.rulebook.markets[step.name].lot)
    verb = "sold" if step.size < 0 else "bought back"
    sign = "less" if step.size < 0 else "plus"
    return f"{verb} {size} {step.name} at {price} (mark {mark} {sign} slippage), worth {value}"


def price_text(state: State, name: str, ticks: int) -> str:
    """Write a market's mark or an asset's price exactly."""
    owner = state.rulebook.markets.get(name) or state.rulebook.assets[name]
    return format_exact(ticks * owner.tick)


def _cents(amount: int, decimals: int) -> str:
    return f"{amount / 10**decimals:,.2f}"


class Money:
    """Formats reporting amounts to the cent; exact figures are in the events."""

    def __init__(self, state: State) -> None:
        asset = state.rulebook.assets[state.rulebook.reporting]
        self._decimals, self._name = asset.decimals, asset.name

    def __call__(self, amount: int) -> str:
        """Write an amount of the reporting asset, with its name."""
        return f"{_cents(amount, self._decimals)} {self._name}"
