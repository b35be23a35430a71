"""Every question as a call. Accounts are named by their owner, or ``owner/MARKET`` for an isolated one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from marginkeep.client.amounts import Amount, decimal_table
from marginkeep.client.calls import Call, account_path, path, reader, require_name, stated_only, with_query
from marginkeep.client.events import holding_events
from marginkeep.client.venue_views import (
    AssetList,
    AuctionPage,
    FundsView,
    MarketList,
    OneMarket,
    OracleView,
    RulebookView,
)
from marginkeep.client.views import (
    AccountPage,
    EventPage,
    HealthList,
    OrderList,
    OwnerView,
    OwnKey,
    PositionList,
    RecordEvents,
    RecordView,
    ServiceTime,
    Status,
    WhatIf,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def account(owner: str) -> Call[OwnerView]:
    """Show an owner's accounts: balances, positions, orders, distances to liquidation, standing."""
    return Call("GET", account_path(_owner(owner)), reader(OwnerView))


def positions(owner: str) -> Call[PositionList]:
    """List the positions of all of an owner's accounts."""
    return Call("GET", account_path(_owner(owner)) + "/positions", reader(PositionList))


def orders(owner: str) -> Call[OrderList]:
    """List what is left of the open orders of all of an owner's accounts."""
    return Call("GET", account_path(_owner(owner)) + "/orders", reader(OrderList))


def health(owner: str) -> Call[HealthList]:
    """Show the health of all of an owner's accounts in few numbers."""
    return Call("GET", account_path(_owner(owner)) + "/health", reader(HealthList))


def accounts(
    after: str | None = None, limit: int | None = None, *, status: str | None = None, rung: str | None = None
) -> Call[AccountPage]:
    """List all accounts, nearest to liquidation first; the venue's to ask. `after` is the `next` of a page."""
    target = with_query(path("accounts"), after=after, limit=limit, status=status, rung=rung)
    return Call("GET", target, reader(AccountPage))


def markets() -> Call[MarketList]:
    """List the markets: rules, mark, quality, state, open interest and funding."""
    return Call("GET", path("markets"), reader(MarketList))


def market(name: str) -> Call[OneMarket]:
    """Show one market."""
    return Call("GET", path("markets", require_name(name, "market")), reader(OneMarket))


def assets() -> Call[AssetList]:
    """List the assets: weights, prices, pegs."""
    return Call("GET", path("assets"), reader(AssetList))


def oracle() -> Call[OracleView]:
    """Show feeds with their sources, breakers and pegs."""
    return Call("GET", path("oracle"), reader(OracleView))


def funds() -> Call[FundsView]:
    """Show the insurance funds and what nobody has paid for."""
    return Call("GET", path("funds"), reader(FundsView))


def auctions(after: str | None = None, limit: int | None = None) -> Call[AuctionPage]:
    """List open auctions, as a bid would find them now."""
    return Call("GET", with_query(path("auctions"), after=after, limit=limit), reader(AuctionPage))


def rulebook() -> Call[RulebookView]:
    """Show the rulebook in force as TOML text."""
    return Call("GET", path("rulebook"), reader(RulebookView))


def events(after: int = 0, limit: int | None = None, *, account: str | None = None) -> Call[EventPage]:
    """List what has happened after a record, as far as the key may see it; `account` narrows it to one owner's."""
    return Call("GET", with_query(path("events"), after=after, limit=limit, account=account), _read_page)


def proof(sequence: int) -> Call[RecordView]:
    """Show a record with the proof that it is under a signed checkpoint."""
    return Call("GET", path("records", str(sequence)), _read_record)


def what_if(
    account: str | None = None,
    *,
    prices: Mapping[str, Amount] | None = None,
    changes: Iterable[Call[Any]] = (),
    case: Mapping[str, Any] | None = None,
) -> Call[WhatIf]:
    """Ask how an account would stand at other prices and after some changes; nothing is changed or recorded.

    Parameters
    ----------
    account : owner or isolated account; None = the whole book, for the venue
    changes : commands that functions of `commands` have built, tried in their order
    case : a whole case of its own instead, as in a case file
    """
    body: dict[str, Any] = stated_only({"account": account, "case": case})
    if prices:
        body["prices"] = decimal_table(prices, "price")
    listed = [change.body for change in changes]
    if listed:
        body["changes"] = listed
    return Call("POST", path("what-if"), reader(WhatIf), body)


def status() -> Call[Status]:
    """Tell how the service stands."""
    return Call("GET", path("status"), reader(Status))


def time() -> Call[ServiceTime]:
    """Tell the server's clock and the house's time."""
    return Call("GET", path("time"), reader(ServiceTime))


def own_key() -> Call[OwnKey]:
    """Tell what the calling key may do."""
    return Call("GET", path("keys", "self"), reader(OwnKey))


def _owner(name: str) -> str:
    return require_name(name, "owner").partition("/")[0]


def _read_page(body: bytes) -> EventPage:
    members = msgspec.json.decode(body, type=dict[str, Any])
    page = msgspec.convert({**members, "records": []}, EventPage)
    records = [holding_events(one, RecordEvents) for one in members["records"]]
    return msgspec.structs.replace(page, records=records)


def _read_record(body: bytes) -> RecordView:
    return holding_events(msgspec.json.decode(body, type=dict[str, Any]), RecordView)
