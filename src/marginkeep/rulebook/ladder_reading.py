"""Reading the ``ladder`` table of a rulebook: what happens to ill accounts, and who bears a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.errors import PrecisionError, RulebookError
from marginkeep.rulebook.durations import format_duration
from marginkeep.rulebook.fields import require_name
from marginkeep.rulebook.grid import count_units, exact_text
from marginkeep.rulebook.ladder_calls import read_calls
from marginkeep.rulebook.ladder_rules import AuctionRules, FundRules, ImpactRules, LadderRules, SoftRules
from marginkeep.units import INT64_SAFE, RATE_ONE, format_units, rate_ceil, rate_floor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from marginkeep.rulebook.fields import Fields
    from marginkeep.rulebook.model import Asset, Market

NO_LIMIT: Final = INT64_SAFE
"""An amount that no sum of real amounts reaches: the default of limits that are left out."""

RESTARTS_MAX: Final = 1_000
CURVES: Final = ("linear", "stairstep", "exponential")
POLICIES: Final = ("queue", "pro_rata", "risk_aware", "portfolio_aware", "none")
SPREADS: Final = ("side", "market", "none")
"""How deleveraging chooses and over whom a loss is spread; ``none`` leaves the step out."""


def read_ladder(
    fields: Fields, reporting: Asset, assets: Mapping[str, Asset], markets: Mapping[str, Market]
) -> LadderRules:
    """Read the ladder table; a rung whose table is missing is left out.

    Parameters
    ----------
    fields : the table
    reporting : the asset in which amounts are stated
    assets, markets : those of the rulebook

    Raises
    ------
    RulebookError : with the path of the field, its value, the bound it breaks, and the cure
    """
    impacts = _read_impacts(fields, markets)
    soft, auctions = _read_soft(fields), _read_auctions(fields, reporting.unit)
    _check_rungs(fields, soft, auctions)
    rules = LadderRules(
        calls=read_calls(fields, assets, markets, impacts),
        soft=soft,
        auctions=auctions,
        funds=_read_funds(fields, reporting.unit, markets),
        impacts=impacts,
        dust=_amount(fields, "dust", reporting.unit, "0"),
        house_share=fields.rate("house_share", 0, RATE_ONE, "0"),
        policy=_or_none(fields.choice("policy", POLICIES, "pro_rata")),
        socialise=_or_none(fields.choice("socialise", SPREADS, "side")),
    )
    fields.finish()
    return rules


def _or_none(choice: Any) -> Any:
    return None if choice == "none" else choice


def _amount(row: Fields, name: str, unit: Fraction, default: str | None = None) -> int:
    """Return an amount of the reporting asset in smallest units; without a default, `NO_LIMIT` where not stated."""
    if default is None and row.take(name, None) is None:
        return NO_LIMIT
    try:
        amount = count_units(row.decimal(name, default or "0"), unit, row.at(name), "smallest unit")
    except PrecisionError as error:
        raise RulebookError(str(error)) from None
    if not 0 <= amount <= NO_LIMIT:
        raise RulebookError(
            f"{row.at(name)} is {exact_text(amount * unit)}: it must lie from 0 to {exact_text(NO_LIMIT * unit)}"
        )
    return amount


def _read_soft(fields: Fields) -> SoftRules | None:
    if fields.take("soft", None) is None:
        return None
    row = fields.sub("soft")
    rules = SoftRules(
        step_ns=row.duration("step", "10s", zero=False),
        duration_ns=row.duration("duration", "60s", zero=False),
        initial_share=row.rate("initial_share", 0, RATE_ONE, "0.1"),
        penalty=row.rate("penalty", 0, RATE_ONE // 2, "0"),
        hard_factor=row.rate("hard_factor", 0, RATE_ONE, "0.8"),
    )
    _check_step(row, rules.step_ns, rules.duration_ns)
    row.finish()
    return rules


def _read_auctions(fields: Fields, unit: Fraction) -> AuctionRules | None:
    if fields.take("auctions", None) is None:
        return None
    row = fields.sub("auctions")
    rules = AuctionRules(
        below_factor=row.rate("below_factor", 0, RATE_ONE, "0.5"),
        curve=row.choice("curve", CURVES, "linear"),
        start=row.rate("start", 0, RATE_ONE // 2, "0"),
        most=row.rate("most", 0, RATE_ONE // 2, "0.1"),
        illness=row.rate("illness", 0, RATE_ONE, "0.1"),
        duration_ns=row.duration("duration", "60s", zero=False),
        step_ns=row.duration("step", "5s", zero=False),
        cut=row.rate("cut", 1, RATE_ONE - 1, "0.99"),
        restarts=row.whole("restarts", 0, RESTARTS_MAX, 1),
        tip=_amount(row, "tip", unit, "0"),
        chip=row.rate("chip", 0, RATE_ONE // 2, "0"),
        most_debt=_amount(row, "most_debt", unit),
        most_debt_of_market=_amount(row, "most_debt_of_market", unit),
    )
    _check_step(row, rules.step_ns, rules.duration_ns)
    if rules.start > rules.most:
        raise RulebookError(
            f"{row.at('start')} is {format_units(rules.start, 9)}, above most {format_units(rules.most, 9)}: "
            f"a discount begins at most where it ends, lower start or raise most"
        )
    row.finish()
    return rules


def _check_step(row: Fields, step_ns: int, duration_ns: int) -> None:
    if step_ns > duration_ns:
        raise RulebookError(
            f"{row.at('step')} is {format_duration(step_ns)}, above duration {format_duration(duration_ns)}: "
            f"shorten the step or lengthen the duration"
        )


def _check_rungs(fields: Fields, soft: SoftRules | None, auctions: AuctionRules | None) -> None:
    """Refuse thresholds of health that would auction what is still paced."""
    if soft is not None and auctions is not None and auctions.below_factor > soft.hard_factor:
        raise RulebookError(
            f"{fields.at('auctions.below_factor')} is {format_units(auctions.below_factor, 9)}, above "
            f"{fields.at('soft.hard_factor')} {format_units(soft.hard_factor, 9)}: an account is paced above the one, "
            f"reduced at once between them and auctioned below the other, so lower below_factor"
        )


def _read_funds(fields: Fields, unit: Fraction, markets: Mapping[str, Market]) -> tuple[FundRules, ...]:
    funds: list[FundRules] = []
    for name, row in fields.tables("funds"):
        fund = _read_fund(name, row, unit, markets)
        for other in funds:
            _check_apart(row, fund, other)
        funds.append(fund)
    return tuple(funds)


def _read_fund(name: str, row: Fields, unit: Fraction, markets: Mapping[str, Market]) -> FundRules:
    pool = row.names("markets", [])
    for index, market in enumerate(pool):
        require_name(market, f"{row.at('markets')}[{index}]", markets, "market")
    a_day = _amount(row, "most_a_day", unit)
    an_event = _amount(row, "most_an_event", unit) if row.has("most_an_event") else a_day
    row.take("most_an_event", None)
    if an_event > a_day:
        raise RulebookError(
            f"{row.at('most_an_event')} is {exact_text(an_event * unit)}, above most_a_day "
            f"{exact_text(a_day * unit)}: one event cannot be paid more than a day's worth, lower it"
        )
    row.finish()
    return FundRules(name, tuple(pool), an_event, a_day)


def _check_apart(row: Fields, fund: FundRules, other: FundRules) -> None:
    """Refuse two funds that answer for the same market, or for all."""
    if not fund.markets and not other.markets:
        raise RulebookError(
            f"{row.at('markets')} is empty, as is that of {other.name}: one fund alone is the last, for all markets; "
            f"name the markets of one of them"
        )
    for index, market in enumerate(fund.markets):
        if market in other.markets:
            raise RulebookError(
                f"{row.at('markets')}[{index}] is {market!r}, for which {other.name} answers already: take one out"
            )


def _read_impacts(fields: Fields, markets: Mapping[str, Market]) -> tuple[ImpactRules, ...]:
    impacts = []
    for name, row in fields.tables("impact"):
        require_name(name, row.path, markets, "market")
        impacts.append(_read_impact(row, markets[name]))
        row.finish()
    return tuple(impacts)


def _read_impact(row: Fields, market: Market) -> ImpactRules:
    try:
        depth = count_units(row.positive("depth"), market.lot, row.at("depth"), "lot", zero=False)
    except PrecisionError as error:
        raise RulebookError(str(error)) from None
    rules = ImpactRules(
        market=market.name,
        depth=depth,
        impact=row.rate("impact", 0, RATE_ONE // 2, "0.01"),
        share=row.rate("share", 1, RATE_ONE, "0.1"),
        interval_ns=row.duration("interval", "10s", zero=False),
    )
    if not rate_floor(depth, rules.share):
        raise RulebookError(
            f"{row.at('share')} is {format_units(rules.share, 9)}: of depth {exact_text(depth * market.lot)} that is "
            f"less than one lot of {exact_text(market.lot)}, so nothing could be closed; raise share or depth"
        )
    if market.liquidation.slippage + rate_ceil(rules.impact, rules.share) > RATE_ONE // 2:
        raise RulebookError(
            f"{row.at('impact')} is {format_units(rules.impact, 9)}: with share and the market's slippage a forced "
            f"close would move the price by more than half; lower it"
        )
    return rules
