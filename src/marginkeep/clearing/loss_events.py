"""What the clearinghouse answers when losses are borne: by winners, by funds, by holders of a market, by nobody."""

from __future__ import annotations

import msgspec

from marginkeep.clearing.events import Event


class DeleveragedFill(msgspec.Struct, frozen=True):
    """What was closed of one winner.

    Attributes
    ----------
    size : lots it traded, negative for a long that sold
    haircut : what it gave up against the mark, in reporting units; negative for a gain
    realised : its realised profit, settle units
    """

    account: str
    size: int
    haircut: int
    realised: int


class Deleveraged(Event, frozen=True, kw_only=True):
    """A bankrupt position was closed against winners, at the price at which its owner keeps nothing and owes nothing.

    Attributes
    ----------
    size, value, realised : of the bankrupt account: lots traded, their absolute cost and the profit, settle units
    price, mark : ticks
    policy : the rulebook's, by which winners were chosen
    wanted : lots that had to be closed; what of them nobody took goes the ordinary way
    needed, taken : what the position could not pay, and what winners gave up, in reporting units
    over, under : by how much more, and less, was taken than needed; `taken - needed = over - under`
    """

    account: str
    market: str
    size: int
    value: int
    realised: int
    price: int
    mark: int
    policy: str
    wanted: int
    needed: int
    taken: int
    over: int
    under: int
    fills: tuple[DeleveragedFill, ...]


class LossSocialised(Event, frozen=True, kw_only=True):
    """A loss that no fund paid was spread over open positions, by one step of a market's cumulative funding index.

    Attributes
    ----------
    side : who bears it: ``long``, ``short`` or ``both``
    amount : settle units of the market
    index_move : 10^-9 settle units that each lot pays
    lots : that pay
    """

    account: str
    market: str
    side: str
    amount: int
    index_move: int
    lots: int


class LossCovered(Event, frozen=True, kw_only=True):
    """An emptied account's debt was paid: by funds, by holders of its markets, and what is left is bad debt.

    Attributes
    ----------
    owed, fund_paid, socialised, bad_debt : reporting units, each rounded up
    funds : ledger account of a fund -> what it paid, in reporting units
    """

    account: str
    owed: int
    fund_paid: int
    socialised: int
    bad_debt: int
    funds: dict[str, int]


class BadDebtRepaid(Event, frozen=True, kw_only=True):
    """New money of a fund has repaid a loss that nobody had paid."""

    asset: str
    fund: str
    amount: int
