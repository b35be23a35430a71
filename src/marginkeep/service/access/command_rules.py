"""Who may send which command: one row a command, for its own route, for batches and for WebSocket alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from marginkeep.clearing import commands as core
from marginkeep.service.access.access import require_account
from marginkeep.service.access.scopes import Caller, Scope
from marginkeep.service.wire.commands import WIRE
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marginkeep.journal.durable import Request
    from marginkeep.service.access.rate_limits import Bucket


TIME_AHEAD_MAX_NS: Final = 10 * 10**9
"""How far a command's time may be ahead of the service's clock."""


class CommandRule(msgspec.Struct, frozen=True, kw_only=True):
    """One command's row.

    Attributes
    ----------
    command : the clearinghouse's command
    path : where it is posted
    summary : what it does, in a few words
    scope : what the key must have
    venue_only : only a key that acts for every account may send it: it is the venue's own act
    accounts : fields whose accounts the key must be bound to
    bucket : of the rate limits
    """

    command: type[core.Command]
    path: str
    summary: str
    scope: Scope
    bucket: Bucket
    venue_only: bool = False
    accounts: tuple[str, ...] = ()


def _row(
    command: type[core.Command],
    path: str,
    summary: str,
    scope: Scope,
    bucket: Bucket,
    *accounts: str,
    venue_only: bool = False,
) -> CommandRule:
    return CommandRule(
        command=command,
        path=path,
        summary=summary,
        scope=scope,
        bucket=bucket,
        accounts=accounts,
        venue_only=venue_only,
    )


_ROWS: Final = (
    _row(core.Deposit, "/v1/deposits", "Book a deposit", Scope.TRANSFER, "safety", venue_only=True),
    _row(core.Withdraw, "/v1/withdrawals", "Withdraw", Scope.TRANSFER, "risk", "account"),
    _row(core.Transfer, "/v1/transfers", "Transfer between accounts", Scope.TRANSFER, "risk", "source"),
    _row(core.AddMargin, "/v1/margin/additions", "Add isolated margin", Scope.TRANSFER, "safety", "account"),
    _row(core.RemoveMargin, "/v1/margin/removals", "Remove isolated margin", Scope.TRANSFER, "risk", "account"),
    _row(core.ChangeMode, "/v1/modes", "Change between cross and isolated", Scope.TRADE, "risk", "account"),
    _row(core.ReserveOrder, "/v1/orders", "Check an order and reserve margin", Scope.TRADE, "risk", "account"),
    _row(core.ReleaseOrder, "/v1/orders/releases", "Release an order", Scope.TRADE, "safety", "account"),
    _row(core.Trade, "/v1/trades", "Report a matched trade", Scope.TRADE, "risk", venue_only=True),
    _row(core.SetPrices, "/v1/prices", "Set marks and prices", Scope.ORACLE_PUBLISH, "oracle"),
    _row(core.PublishQuotes, "/v1/quotes", "Publish quotes to the oracle", Scope.ORACLE_PUBLISH, "oracle"),
    _row(core.ObserveBook, "/v1/order-books", "Show the oracle an order book", Scope.ORACLE_PUBLISH, "oracle"),
    _row(core.PayFunding, "/v1/funding", "Pay funding", Scope.ORACLE_PUBLISH, "oracle"),
    _row(core.AdvanceTime, "/v1/time", "Advance the house's time", Scope.ORACLE_PUBLISH, "oracle"),
    _row(core.Halt, "/v1/halts", "Hold a market", Scope.RISK_ADMIN, "admin"),
    _row(core.Resume, "/v1/resumes", "End a hold", Scope.RISK_ADMIN, "admin"),
    _row(core.TopUpFund, "/v1/fund-top-ups", "Top an insurance fund up", Scope.RISK_ADMIN, "safety"),
    _row(core.RegisterLiquidator, "/v1/liquidators", "Register a liquidator", Scope.RISK_ADMIN, "admin"),
    _row(core.Bid, "/v1/bids", "Bid in an auction", Scope.LIQUIDATE, "risk", "liquidator"),
)

RULES: Final[dict[type[core.Command], CommandRule]] = {row.command: row for row in _ROWS}
"""Every command that may be sent; a rulebook is adopted through a proposal alone."""

_BY_WIRE: Final[dict[type[Any], CommandRule]] = {WIRE[command]: row for command, row in RULES.items()}


def require_timely(command: core.Command, now_ns: int) -> None:
    """Refuse a time that lies ahead: the house's own never goes back, so one wrong number would end every deadline.

    Raises
    ------
    Problem : ``bad_request``
    """
    stated = _time_of(command)
    if stated > now_ns + TIME_AHEAD_MAX_NS:
        raise Problem(
            "bad_request",
            f"the time {stated} is {stated - now_ns} ns ahead of this clock, at most {TIME_AHEAD_MAX_NS} are accepted",
        )


def _time_of(command: core.Command) -> int:
    if isinstance(command, core.AdvanceTime):
        return command.now_ns
    if isinstance(command, core.ObserveBook):
        return command.at_ns
    if isinstance(command, core.PublishQuotes):
        return max((quote.arrival_ns for quote in command.quotes), default=0)
    return 0


def are_protective(requests: Sequence[Request]) -> bool:
    """Tell whether none of some requests adds risk; such find room with the writer where new risk finds none."""
    return all(request.command is not None and RULES[type(request.command)].bucket != "risk" for request in requests)


def require_allowed(caller: Caller, wire: Any) -> CommandRule:
    """Return the row of a command on the wire if the caller may send it.

    Raises
    ------
    Problem : ``forbidden`` where scope or venue lack, ``not_found`` for an account that the key is not bound to
    """
    rule = _BY_WIRE[type(wire)]
    if not caller.may(rule.scope):
        raise Problem("forbidden", f"{rule.command.__name__} needs scope {rule.scope}: use a key that has it")
    if rule.venue_only and not caller.acts_for_all:
        raise Problem(
            "forbidden", f"{rule.command.__name__} is the venue's to send: use a key that acts for every account"
        )
    for field in rule.accounts:
        require_account(caller, getattr(wire, field))
    return rule
