"""Events as sentences, from their form on the wire: every number in whole units.

The first sentence says what happened, the others how. A kind or a member that a newer service has is passed over.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

Wire = dict[str, Any]

SECOND_NS: Final = 10**9

_TEMPLATES: Final[dict[str, str]] = {
    "Rejected": "{command} was refused, {code}: {reason}",
    "AccountOpened": "account {account} opened, {mode}",
    "ModeChanged": "the position of {account} in {market} became {mode}",
    "OrderReserved": "order {order} of {account} reserved; {free} {reporting} of initial margin remain free",
    "OrderReleased": "order {order} of {account}: {reason}",
    "BookObserved": "the order book of {market} was seen",
    "OracleChanged": "{what} of {name}: {before} became {after}, because {why}",
    "PriceAnnounced": "{asset} will be priced at {price}",
    "CallCured": "the margin call of {account} is cured",
    "RungChanged": "{account} moved on the ladder from {before} to {after}",
    "FundingPaid": "funding of {market} at rate {rate}: each lot that is long pays {paid}",
    "TimeAdvanced": "the house's time became {now_ns} ns",
    "RulebookAdopted": "rulebook {after} took the place of {before}",
    "Halted": "the house halted itself: {report}",
    "LiquidatorRegistered": "{account} may bid in auctions",
    "AuctionWaits": "the auction of {account} waits: {value} {reporting} to offer, {running} on offer already",
    "AuctionRestarted": "the auction of {account} began anew, for the {restarts}. time",
    "LossSocialised": "{amount} that nobody paid for {account} were spread over those {side} in {market}: each "
    "of {lots} contracts bears its part, {index_move} a lot",
    "BadDebtRepaid": "{fund} repaid {amount} {asset} of a loss that nobody had paid",
}
"""What is one sentence of its own fields; `reporting` is the reporting asset."""


def sentences(wire: Wire, reporting: str, account: str = "") -> list[str]:
    """Return what an event says.

    Parameters
    ----------
    wire : the event as it goes over the wire
    account : whose side of it is told first, where it has several
    """
    writer = _WRITERS.get(wire["type"])
    if writer is not None:
        return writer(wire, reporting, account)
    template = _TEMPLATES.get(wire["type"])
    return [template.format(**wire, reporting=reporting)] if template is not None else []


def until(deadline_ns: int) -> str:
    """Return a deadline in words."""
    if not deadline_ns:
        return "to be cured before prices allow liquidation"
    return f"to be cured by {datetime.fromtimestamp(deadline_ns // SECOND_NS, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _numbers(wire: Wire) -> str:
    return ", ".join(f"{name} {value}" for name, value in wire.items())


def _rejected(wire: Wire, reporting: str, _: str) -> list[str]:
    lines = [_TEMPLATES["Rejected"].format(**wire)]
    further = {name: number for name, number in wire["numbers"].items() if str(number) not in wire["reason"]}
    if further:
        lines.append(f"its numbers: {_numbers(further)}")
    return lines + _blocked(wire)


def _blocked(wire: Wire) -> list[str]:
    return [
        f"{seen['name']} at {seen['price']} stood in the way: {seen['blocked']}"
        for seen in wire["prices"]
        if seen["blocked"]
    ]


def _balance_moved(wire: Wire, _: str, __: str) -> list[str]:
    source, target = wire["source"] or "another", wire["target"] or "another"
    return [f"{wire['what']}: {wire['amount']} {wire['asset']} from {source} to {target}"]


def _reminded(wire: Wire, reporting: str, _: str) -> list[str]:
    return [f"REMINDER: {wire['account']} still lacks {wire['missing']} {reporting}, {until(wire['deadline_ns'])}"]


def _traded(wire: Wire, _: str, account: str) -> list[str]:
    lines = [f"{wire['size']} {wire['market']} traded at {wire['price']}"]
    for side, verb in (("buyer", "bought"), ("seller", "sold")):
        one = wire[side]
        if one["account"] and (not account or one["account"] == account):
            cost = f"fee {one['fee']}, realised {one['realised']}, funding {one['funding']}"
            lines.append(f"{one['account']} {verb}: {cost}; it now holds {one['size']}")
    return lines


def _prices_set(wire: Wire, _: str, __: str) -> list[str]:
    return [f"prices set: {_numbers({**wire['marks'], **wire['prices']}) or 'none'}"]


def _quotes_taken(wire: Wire, _: str, __: str) -> list[str]:
    ignored = f"; ignored: {_numbers(wire['ignored'])}" if wire["ignored"] else ""
    return [f"the oracle took {wire['taken']} quotes in{ignored}"]


def _market_held(wire: Wire, _: str, __: str) -> list[str]:
    return [f"an operator holds {wire['market'] or 'every market'} at {wire['state']}"]


def _called(wire: Wire, reporting: str, _: str) -> list[str]:
    stated = f"{wire['missing']} {reporting} missing, {until(wire['deadline_ns'])}"
    lines = [f"MARGIN CALL for {wire['account']}: {stated}"]
    cures = [_deposit(one, reporting) for one in wire["deposits"]] + [_close(one, reporting) for one in wire["closes"]]
    lines += [f"{'or' if number else 'cured'} by {cure}" for number, cure in enumerate(cures)]
    if wire["because"] and not cures:
        lines.append(f"called because {wire['because']}")
    if wire["soft_cost"] != "0":
        cost, highest = wire["soft_cost"], wire["soft_cost_high"]
        lines.append(f"soft liquidation is expected to cost {cost} {reporting}, at most {highest} in 95 % of cases")
    return lines + _blocked(wire)


def _deposit(wire: Wire, reporting: str) -> str:
    worth = "" if wire["asset"] == reporting else f", worth {wire['value']} {reporting}"
    return f"a deposit of {wire['amount']} {wire['asset']}{worth}"


def _close(wire: Wire, reporting: str) -> str:
    verb = "selling" if wire["size"].startswith("-") else "buying"
    size = wire["size"].removeprefix("-")
    return f"{verb} {size} {wire['market']} at {wire['price']}, for a fee of {wire['cost']} {reporting}"


def _liquidated(wire: Wire, reporting: str, _: str) -> list[str]:
    seen = f"{_margin(wire, reporting)}, health at target {wire['health_target']} {reporting}"
    lines = [f"{wire['account']} was liquidated on the {wire['rung']} rung: {seen}"]
    lines += [_step(step) for step in wire["steps"]]
    lines.append(
        f"in all {wire['notional']} {reporting} closed, penalty {wire['penalty']} {reporting}; health at target "
        f"afterwards {wire['health_after']} {reporting}"
    )
    if (wire["fund_paid"], wire["bad_debt"]) != ("0", "0"):
        lines.append(f"the fund paid {wire['fund_paid']} {reporting}, nobody paid {wire['bad_debt']} {reporting}")
    return lines + _blocked(wire)


def _step(step: Wire) -> str:
    done = "sold" if step["what"] == "sell" else "closed"
    return (
        f"{done} {step['size'].removeprefix('-')} {step['name']} at {step['price']} (mark {step['mark']}): realised "
        f"{step['realised']} {step['asset']}, penalty {step['penalty']} {step['asset']}"
    )


def _auction_opened(wire: Wire, reporting: str, _: str) -> list[str]:
    lines = [
        f"the auction of {wire['account']} began: {_margin(wire, reporting)}",
        f"the discount begins at {wire['discount']} and becomes {wire['most']} at most",
        f"on offer: {', '.join(f'{size} of {market}' for market, size in wire['legs'].items())}",
    ]
    return lines + _blocked(wire)


def _margin(wire: Wire, reporting: str) -> str:
    return f"collateral {wire['collateral']} {reporting}, requirement {wire['requirement']} {reporting}"


def _auction_bid(wire: Wire, reporting: str, _: str) -> list[str]:
    who, terms = wire["liquidator"] or "a liquidator", f"{wire['discount']} (the curve gave {wire['curve']})"
    share = f"a share of {wire['fraction']} of {wire['account']}, worth {wire['notional']} {reporting}"
    lines = [f"{who} took {share}, at a discount of {terms}", *(_step(fill) for fill in wire["fills"])]
    if wire["reward"] != "0":
        lines.append(f"the bidder's reward: {wire['reward']} {wire['reward_asset']}")
    lines.append(
        f"collateral {wire['collateral']} became {wire['collateral_after']}, requirement {wire['requirement']} became "
        f"{wire['requirement_after']} {reporting}"
    )
    return lines


def _deleveraged(wire: Wire, reporting: str, account: str) -> list[str]:
    size, whose = wire["size"].removeprefix("-"), wire["account"] or "a bankrupt account"
    terms = f"at {wire['price']} (mark {wire['mark']}), chosen by {wire['policy']}"
    lines = [f"{size} {wire['market']} of {whose} were closed against winners {terms}"]
    if wire["account"] == account or not account:
        lines.append(
            f"the position could not pay {wire['needed']} {reporting}; winners gave up {wire['taken']} {reporting}"
        )
    for fill in wire["fills"]:
        if account in ("", wire["account"], fill["account"]):
            given = f"gave up {fill['haircut']} {reporting} against the mark, and realised {fill['realised']}"
            lines.append(f"{fill['account']} traded {fill['size']}, {given}")
    return lines


def _loss_covered(wire: Wire, reporting: str, _: str) -> list[str]:
    paid = "".join(f"; {fund} paid {amount} {reporting}" for fund, amount in wire["funds"].items())
    borne = f"funds paid {wire['fund_paid']}, holders bear {wire['socialised']}, nobody paid {wire['bad_debt']}"
    return [f"{wire['account']} owed {wire['owed']} {reporting} that it could not pay: {borne}{paid}"]


_WRITERS: Final[dict[str, Callable[[Wire, str, str], list[str]]]] = {
    "Rejected": _rejected,
    "BalanceMoved": _balance_moved,
    "CallReminded": _reminded,
    "Traded": _traded,
    "PricesSet": _prices_set,
    "QuotesTaken": _quotes_taken,
    "MarketHeld": _market_held,
    "MarginCalled": _called,
    "Liquidated": _liquidated,
    "AuctionOpened": _auction_opened,
    "AuctionBid": _auction_bid,
    "Deleveraged": _deleveraged,
    "LossCovered": _loss_covered,
}
