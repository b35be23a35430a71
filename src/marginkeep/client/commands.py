"""Every command as a call, and the pre-trade check. Amounts are decimal strings or `Decimal`; floats are refused.

Each takes `key`, the idempotency key (left out: a new one), and `correlation`, a text kept with the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from marginkeep.client.amounts import Amount, decimal_table, decimal_text
from marginkeep.client.answers import Answer, Result, Verdict, read_answer, read_results, read_verdicts
from marginkeep.client.calls import Call, path, reader, require_name, stated_only
from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Side = Literal["buy", "sell"]

_PATHS: Final = {
    "Deposit": "deposits",
    "Withdraw": "withdrawals",
    "Transfer": "transfers",
    "AddMargin": "margin/additions",
    "RemoveMargin": "margin/removals",
    "ChangeMode": "modes",
    "ReserveOrder": "orders",
    "ReleaseOrder": "orders/releases",
    "Trade": "trades",
    "SetPrices": "prices",
    "PublishQuotes": "quotes",
    "ObserveBook": "order-books",
    "PayFunding": "funding",
    "AdvanceTime": "time",
    "Halt": "halts",
    "Resume": "resumes",
    "TopUpFund": "fund-top-ups",
    "RegisterLiquidator": "liquidators",
    "Bid": "bids",
}


def _command(kind: str, members: Mapping[str, Any], key: str | None, correlation: str) -> Call[Answer]:
    body = {"type": kind, **stated_only(members)}
    target = path(*_PATHS[kind].split("/"))
    return Call("POST", target, read_answer, body, mutates=True, key=key, correlation=correlation)


def deposit(account: str, asset: str, amount: Amount, *, key: str | None = None, correlation: str = "") -> Call[Answer]:
    """Book a deposit; opens the account if it is new. The venue's to send."""
    return _command("Deposit", _money(account, asset, amount), key, correlation)


def withdraw(
    account: str, asset: str, amount: Amount, *, key: str | None = None, correlation: str = ""
) -> Call[Answer]:
    """Take an amount out; refused if it would leave less than the initial requirement."""
    return _command("Withdraw", _money(account, asset, amount), key, correlation)


def transfer(
    source: str, target: str, asset: str, amount: Amount, *, key: str | None = None, correlation: str = ""
) -> Call[Answer]:
    """Move an amount between two cross accounts, under the rules of a withdrawal."""
    members = {"source": source, "target": target, "asset": asset, "amount": decimal_text(amount, "amount")}
    return _command("Transfer", members, key, correlation)


def add_margin(
    account: str, market: str, amount: Amount, *, key: str | None = None, correlation: str = ""
) -> Call[Answer]:
    """Assign collateral to the isolated position of a market; opens ``account/market`` if new."""
    members = {"account": account, "market": market, "amount": decimal_text(amount, "amount")}
    return _command("AddMargin", members, key, correlation)


def remove_margin(
    account: str, market: str, amount: Amount, *, key: str | None = None, correlation: str = ""
) -> Call[Answer]:
    """Return collateral from an isolated position to its owner."""
    members = {"account": account, "market": market, "amount": decimal_text(amount, "amount")}
    return _command("RemoveMargin", members, key, correlation)


def change_mode(
    account: str,
    market: str,
    mode: Literal["cross", "isolated"],
    margin: Amount = "0",
    *,
    key: str | None = None,
    correlation: str = "",
) -> Call[Answer]:
    """Make a cross position isolated with `margin` of its own, or an isolated one cross again."""
    members = {"account": account, "market": market, "mode": mode, "margin": decimal_text(margin, "margin")}
    return _command("ChangeMode", members, key, correlation)


def order(
    account: str,
    order: str,
    market: str,
    side: Side,
    size: Amount,
    price: Amount,
    *,
    key: str | None = None,
    correlation: str = "",
) -> Call[Answer]:
    """Check an order and hold margin for its worst-case fill until it is filled or released."""
    return _command("ReserveOrder", _order(account, order, market, side, size, price), key, correlation)


def release(account: str, order: str, *, key: str | None = None, correlation: str = "") -> Call[Answer]:
    """Give back what an order still reserves."""
    return _command("ReleaseOrder", {"account": account, "order": order}, key, correlation)


def trade(
    market: str,
    buyer: str,
    seller: str,
    size: Amount,
    price: Amount,
    *,
    taker: Literal["buyer", "seller"] = "buyer",
    buyer_order: str | None = None,
    seller_order: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> Call[Answer]:
    """Report a matched trade with the orders that it fills; either side may be refused, then nothing moves."""
    names = {"market": market, "buyer": buyer, "seller": seller, "taker": taker}
    numbers = {"size": decimal_text(size, "size"), "price": decimal_text(price, "price")}
    members = {**names, **numbers, "buyer_order": buyer_order, "seller_order": seller_order}
    return _command("Trade", members, key, correlation)


def set_prices(
    marks: Mapping[str, Amount] | None = None,
    prices: Mapping[str, Amount] | None = None,
    *,
    key: str | None = None,
    correlation: str = "",
) -> Call[Answer]:
    """Set marks of markets and prices of assets; who is then below maintenance is liquidated."""
    members = {"marks": decimal_table(marks or {}, "mark"), "prices": decimal_table(prices or {}, "price")}
    return _command("SetPrices", members, key, correlation)


def publish_quotes(
    quotes: Iterable[Mapping[str, Any]], *, key: str | None = None, correlation: str = ""
) -> Call[Answer]:
    """Give the oracle quotes in order of arrival: source, feed, price, source_ns, arrival_ns, confidence each."""
    rows = [
        {name: decimal_text(value, name) if name in ("price", "confidence") else value for name, value in one.items()}
        for one in quotes
    ]
    return _command("PublishQuotes", {"quotes": rows}, key, correlation)


def observe_book(
    market: str,
    bid: Amount,
    ask: Amount,
    at_ns: int,
    *,
    impact_bid: Amount = "0",
    impact_ask: Amount = "0",
    key: str | None = None,
    correlation: str = "",
) -> Call[Answer]:
    """Show the oracle a market's order book: best prices, and the mean prices of an impact trade."""
    prices = {"bid": bid, "ask": ask, "impact_bid": impact_bid, "impact_ask": impact_ask}
    members = {"market": market, "at_ns": at_ns, **{name: decimal_text(one, name) for name, one in prices.items()}}
    return _command("ObserveBook", members, key, correlation)


def pay_funding(market: str, rate: Amount, *, key: str | None = None, correlation: str = "") -> Call[Answer]:
    """Let longs pay shorts a rate of the value at mark; negative the other way."""
    return _command("PayFunding", {"market": market, "rate": decimal_text(rate, "rate")}, key, correlation)


def advance_time(now_ns: int, *, key: str | None = None, correlation: str = "") -> Call[Answer]:
    """Set the house's time, nanoseconds UTC; it never goes back."""
    return _command("AdvanceTime", {"now_ns": now_ns}, key, correlation)


def halt(
    market: str | None = None,
    state: Literal["reduce_only", "guarded", "halted"] = "halted",
    *,
    key: str | None = None,
    correlation: str = "",
) -> Call[Answer]:
    """Hold a market, or all of them, at a state or worse until resumed."""
    return _command("Halt", {"market": market, "state": state}, key, correlation)


def resume(market: str | None = None, *, key: str | None = None, correlation: str = "") -> Call[Answer]:
    """End an operator's hold."""
    return _command("Resume", {"market": market}, key, correlation)


def top_up_fund(
    asset: str, amount: Amount, fund: str | None = None, *, key: str | None = None, correlation: str = ""
) -> Call[Answer]:
    """Bring an amount into an insurance fund."""
    members = {"asset": asset, "amount": decimal_text(amount, "amount"), "fund": fund}
    return _command("TopUpFund", members, key, correlation)


def register_liquidator(account: str, *, key: str | None = None, correlation: str = "") -> Call[Answer]:
    """Let an account bid in auctions."""
    return _command("RegisterLiquidator", {"account": account}, key, correlation)


def bid(
    account: str,
    liquidator: str,
    fraction: Amount,
    *,
    market: str | None = None,
    least_discount: Amount = "0",
    key: str | None = None,
    correlation: str = "",
) -> Call[Answer]:
    """Take a share of an auctioned account's positions at the mark less the discount of the moment."""
    rates = {"fraction": fraction, "least_discount": least_discount}
    members = {"account": account, "liquidator": liquidator, "market": market}
    members |= {name: decimal_text(one, name) for name, one in rates.items()}
    return _command("Bid", members, key, correlation)


# Checks and batches --------------------------------------------------------------------------------------------------


def check_order(
    account: str, market: str, side: Side, size: Amount, price: Amount, *, order: str = "check"
) -> Call[Verdict]:
    """Ask what an order would be answered now; nothing is changed or recorded."""
    body = _order(account, order, market, side, size, price)
    return Call("POST", "/v1/orders/check", reader(Verdict), body)


def check_orders(checks: Iterable[Call[Verdict]]) -> Call[tuple[Verdict, ...]]:
    """Ask about many orders at once, each as if it were the only one; give what `check_order` of this module makes."""
    return Call("POST", "/v1/orders/check-batch", read_verdicts, {"orders": [one.body for one in checks]})


def batch(commands: Iterable[Call[Answer]]) -> Call[tuple[Result, ...]]:
    """Apply commands in order and answer each at its place; one that is refused does not keep the others back.

    Each needs a key of its own: `Client.batch` gives one to those that have none.
    """
    items = [batch_item(one) for one in commands]
    return Call("POST", "/v1/batch", read_results, {"commands": items})


def batch_item(command: Call[Answer]) -> dict[str, Any]:
    """Return a command as one of several.

    Raises
    ------
    InputError : it is no command, or has no key
    """
    if not command.mutates or command.body is None or "type" not in command.body:
        raise InputError(f"{command.target} is no command: only commands go into a batch")
    if not command.key:
        raise InputError(f"{command.body['type']} has no key: give each command of a batch one of its own")
    return {"key": command.key, "command": command.body, "correlation": command.correlation}


def _money(account: str, asset: str, amount: Amount) -> dict[str, Any]:
    return {"account": account, "asset": asset, "amount": decimal_text(amount, "amount")}


def _order(account: str, order: str, market: str, side: Side, size: Amount, price: Amount) -> dict[str, Any]:
    names = {"account": account, "order": order, "market": market, "side": side}
    for what, name in names.items():
        require_name(name, what)
    return {**names, "size": decimal_text(size, "size"), "price": decimal_text(price, "price")}
