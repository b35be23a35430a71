"""Reading the ``funding`` table of a rulebook: a preset for each market, and what it overrides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, get_args

from marginkeep.errors import RulebookError
from marginkeep.rulebook.durations import format_duration
from marginkeep.rulebook.fields import require_name
from marginkeep.rulebook.funding_presets import PRESETS
from marginkeep.rulebook.funding_rules import (
    FUNDING_RATE_MAX,
    Accrual,
    Average,
    FundingRules,
    PaidOn,
    Votes,
    margin_gap,
)
from marginkeep.rulebook.model import INITIAL, MAINTENANCE
from marginkeep.units import RATE_ONE, format_units

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from marginkeep.rulebook.fields import Fields
    from marginkeep.rulebook.model import Market

SAMPLES_MAX: Final = 100_000
"""Most samples of one payment."""

KEPT_MAX: Final = 10_000
"""Most samples of one payment where tails are left out: all of them must be kept."""

FACTOR_MAX: Final = 1_000 * RATE_ONE
VOTES_MAX: Final = 1_000
DIVISOR_MAX: Final = 10**9

_SLOTS: Final = ("mean", "rising")


def read_funding(
    fields: Fields, markets: Mapping[str, Market], marked: Collection[str] = ()
) -> tuple[FundingRules, ...]:
    """Read ``funding``, one table a market; a market without one is funded by commands alone.

    Parameters
    ----------
    fields : the rulebook's own table
    markets : those of the rulebook
    marked : the markets that have a mark in the oracle, and with it the index that premiums are measured from

    Raises
    ------
    RulebookError : with the path of the field, its value, the bound it breaks, and the cure
    """
    return tuple(_read_market(name, row, markets, marked) for name, row in fields.tables("funding"))


def _read_market(name: str, row: Fields, markets: Mapping[str, Market], marked: Collection[str]) -> FundingRules:
    require_name(name, row.path, markets, "market")
    market = markets[name]
    if market.kind != "perpetual":
        raise RulebookError(f"{row.path} funds a {market.kind}, which its settlement ties to the index: leave it out")
    if name not in marked:
        raise RulebookError(
            f"{row.path} needs the index that premiums are measured from: add [oracle.marks.{name}], or leave it out"
        )
    preset = row.choice("preset", tuple(PRESETS), "house")
    rules = _read_times(row, PRESETS[preset](name), follows=preset == "vega")
    rules = _read_average(row, rules)
    rules = _read_rate(row, rules)
    rules = _read_bounds(row, rules, market)
    row.finish()
    _check_average(row, rules)
    _check_payment(row, rules, market)
    return rules


def _read_times(row: Fields, rules: FundingRules, follows: bool) -> FundingRules:
    """Read interval and period; with `follows` the period is the interval unless stated."""
    interval = row.duration("interval", format_duration(rules.interval_ns), zero=False)
    period = interval if follows else rules.period_ns
    return replace(
        rules,
        interval_ns=interval,
        period_ns=row.duration("period", format_duration(period), zero=False),
        sample_every_ns=row.duration("sample_every", format_duration(rules.sample_every_ns), zero=False),
        stale_after_ns=row.duration("stale_after", format_duration(rules.stale_after_ns), zero=False),
    )


def _read_average(row: Fields, rules: FundingRules) -> FundingRules:
    return replace(
        rules,
        average=row.choice("average", get_args(Average), rules.average),
        zero_padded=row.flag("zero_padded", rules.zero_padded),
        votes=row.choice("votes", get_args(Votes), rules.votes),
        least_votes=row.whole("least_votes", 0, VOTES_MAX, rules.least_votes),
        tail=_rate(row, "tail", 0, RATE_ONE // 2 - 1, rules.tail),
        premium_cap=_rate(row, "premium_cap", 0, FACTOR_MAX, rules.premium_cap),
        premium_cap_of_margin=_rate(row, "premium_cap_of_margin", 0, FACTOR_MAX, rules.premium_cap_of_margin),
        step=_rate(row, "step", 1, RATE_ONE // 1_000, rules.step),
        by_coverage=row.flag("by_coverage", rules.by_coverage),
    )


def _read_rate(row: Fields, rules: FundingRules) -> FundingRules:
    slope, most = _read_imbalance(row, rules)
    return replace(
        rules,
        interest=_rate(row, "interest", -RATE_ONE, RATE_ONE, rules.interest),
        interest_period_ns=row.duration("interest_period", format_duration(rules.interest_period_ns), zero=False),
        damping=_read_damping(row, rules.damping),
        scale=_rate(row, "scale", 0, FACTOR_MAX, rules.scale),
        imbalance_slope=slope,
        imbalance_most=most,
        paid_on=row.choice("paid_on", get_args(PaidOn), rules.paid_on),
        whole_ticks=row.flag("whole_ticks", rules.whole_ticks),
        accrual=row.choice("accrual", get_args(Accrual), rules.accrual),
    )


def _read_damping(row: Fields, damping: tuple[int, int] | None) -> tuple[int, int] | None:
    """Read ``damping``: one rate for both sides, a table of lower and upper, or false for none."""
    value = row.take("damping", None)
    if value is None:
        return damping
    if value is False:
        return None
    if not isinstance(value, dict):
        both = row.rate("damping", 0, RATE_ONE)
        return -both, both
    table = row.sub("damping")
    lower, upper = table.rate("lower", -RATE_ONE, RATE_ONE), table.rate("upper", -RATE_ONE, RATE_ONE)
    table.finish()
    _require_order(table, "lower", lower, "upper", upper)
    return lower, upper


def _read_imbalance(row: Fields, rules: FundingRules) -> tuple[int, int]:
    if row.take("imbalance", None) is None:
        return rules.imbalance_slope, rules.imbalance_most
    table = row.sub("imbalance")
    slope = table.rate("slope", 0, RATE_ONE)
    most = _rate(table, "most", 0, RATE_ONE, slope)
    table.finish()
    return slope, most


def _read_bounds(row: Fields, rules: FundingRules, market: Market) -> FundingRules:
    lowest, highest = _read_payment_bounds(row, rules)
    rates = market.tiers[0].rates
    return replace(
        rules,
        cap=_rate(row, "cap", 0, FACTOR_MAX, rules.cap),
        cap_of_margin=_rate(row, "cap_of_margin", 0, FACTOR_MAX, rules.cap_of_margin),
        cap_divisor=row.whole("cap_divisor", 0, DIVISOR_MAX, rules.cap_divisor),
        lowest=lowest,
        highest=highest,
        margin_gap=max(0, margin_gap(rates[INITIAL], rates[MAINTENANCE], rules.step)),
    )


def _read_payment_bounds(row: Fields, rules: FundingRules) -> tuple[int, int]:
    """Read ``most``, the bound of one payment on both sides, or ``lowest`` and ``highest`` apart."""
    if row.take("most", None) is not None:
        apart = [name for name in ("lowest", "highest") if row.has(name)]
        if apart:
            raise RulebookError(f"{row.at('most')} stands beside {apart[0]}: state the one or the other")
        most = row.rate("most", 0, FUNDING_RATE_MAX)
        return -most, most
    lowest = _rate(row, "lowest", -FUNDING_RATE_MAX, FUNDING_RATE_MAX, rules.lowest)
    highest = _rate(row, "highest", -FUNDING_RATE_MAX, FUNDING_RATE_MAX, rules.highest)
    _require_order(row, "lowest", lowest, "highest", highest)
    return lowest, highest


def _check_average(row: Fields, rules: FundingRules) -> None:
    if rules.average not in _SLOTS:
        for name in ("tail", "votes", "least_votes", "zero_padded"):
            if row.has(name):
                raise RulebookError(
                    f"{row.at(name)} concerns single samples, which average {rules.average!r} does not have: "
                    f"leave it out, or use one of {', '.join(_SLOTS)}"
                )
        return
    if rules.interval_ns % rules.sample_every_ns:
        raise RulebookError(
            f"{row.at('sample_every')} is {format_duration(rules.sample_every_ns)}, which does not divide the interval "
            f"of {format_duration(rules.interval_ns)}: make it a whole part of that"
        )
    if rules.tail and rules.average != "mean":
        raise RulebookError(f"{row.at('tail')} leaves samples out of a plain mean only: use average 'mean'")
    most = KEPT_MAX if rules.tail else SAMPLES_MAX
    if rules.samples > most:
        raise RulebookError(
            f"{row.at('sample_every')} is {format_duration(rules.sample_every_ns)}, which makes {rules.samples} "
            f"samples a payment: at most {most} are possible, make it longer"
        )


def _check_payment(row: Fields, rules: FundingRules, market: Market) -> None:
    if rules.average == "prices" and market.payoff == "inverse":
        raise RulebookError(
            f"{row.at('average')} is 'prices', a distance of prices, but {market.name} is inverse: use an average of "
            f"premiums"
        )
    if rules.paid_on == "average" and rules.average != "prices":
        raise RulebookError(f"{row.at('paid_on')} is 'average', which only average 'prices' knows: use mark or index")
    if rules.whole_ticks and rules.paid_on != "average":
        raise RulebookError(f"{row.at('whole_ticks')} is true, but rounds payments on the average alone: set it false")
    if rules.cap_divisor and rules.average != "prices":
        raise RulebookError(f"{row.at('cap_divisor')} bounds a distance of prices: use cap, or average 'prices'")


def _require_order(row: Fields, low_name: str, low: int, high_name: str, high: int) -> None:
    if low > high:
        raise RulebookError(
            f"{row.at(low_name)} is {format_units(low, 9)}, above {high_name} {format_units(high, 9)}: lower it"
        )


def _rate(row: Fields, name: str, lowest: int, highest: int, default: int) -> int:
    return row.rate(name, lowest, highest, format_units(default, 9))
