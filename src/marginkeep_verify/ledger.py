"""Conservation, as far as events alone show it: money and lots only move, and what is told is what was posted."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marginkeep_verify.report import Report

OUTSIDE, LIQUIDATOR, FEES = "outside", "liquidator", "fees"
SETTLEMENT = "settlement:"
INWARD = {"deposit": 1, "fund top-up": 1, "withdrawal": -1}
MOVES = ("Deposit", "Withdraw", "Transfer", "AddMargin", "RemoveMargin", "TopUpFund")
TEXTS = ("asset", "source", "target", "reason")


class Ledger:
    """Balances of the ledger's own accounts, and positions, rebuilt from events.

    Attributes
    ----------
    is_known : everything began at zero; otherwise a position is known from its first trade on
    rules : the rulebook in force, TOML text; None = not known
    """

    def __init__(self, report: Report) -> None:
        self.is_known = True
        self.rules: str | None = None
        self._report = report
        self._sequence = 0
        self._balances: dict[tuple[str, str], int] = defaultdict(int)
        self._flows: dict[str, int] = defaultdict(int)
        self._sizes: dict[tuple[str, str], int] = {}
        self._costs: dict[tuple[str, str], int | None] = {}

    def take(self, record: dict[str, Any]) -> None:
        """Book what a record's events say."""
        self._sequence = record["sequence"]
        if record["kind"] != "command":
            self._note("postings", not record["events"], "a note has events")
            return
        try:
            command, events = json.loads(record["body"]), json.loads(record["events"])
            for event in events:
                self._take_event(event)
            self._check_asked(command, events)
            if any(event["type"] == "RulebookAdopted" for event in events):
                self.rules = command["rules"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._note("postings", False, f"its content cannot be read: {type(error).__name__} {error}")

    def _note(self, check: str, holds: bool, text: str) -> None:
        self._report.note(check, self._sequence, holds, text)

    def _check_asked(self, command: dict[str, Any], events: list[dict[str, Any]]) -> None:
        """See that what was asked to move has moved, or was refused and nothing moved."""
        kinds = [event["type"] for event in events]
        if "Rejected" in kinds:
            silent = len(kinds) == 1 and not events[0].get("postings")
            self._note("postings", silent, "a refused command has moved something")
        elif command["type"] in MOVES:
            moved = [(e["asset"], e["amount"]) for e in events if e["type"] == "BalanceMoved"]
            asked = command["amount"], command.get("asset")
            found = any(amount == asked[0] and asked[1] in (asset, None) for asset, amount in moved)
            self._note("postings", found, f"{command['type']} of {asked[0]} was asked for, {moved} is told")

    def _take_event(self, event: dict[str, Any]) -> None:
        postings = event.get("postings", [])
        for one in postings:
            amount = one["amount"]
            sound = type(amount) is int and amount >= 0 and all(type(one[name]) is str for name in TEXTS)
            self._note("postings", sound, f"the posting {one} is not an amount of 0 or more between two accounts")
            if sound:
                self._add(one["asset"], one["source"], -amount)
                self._add(one["asset"], one["target"], amount)
        take = getattr(self, f"_take_{event['type']}", None)
        if take is not None:
            take(event, postings)

    def _add(self, asset: str, account: str, amount: int) -> None:
        """Book an amount; accounts of people are one sum."""
        is_own = ":" in account or account in (OUTSIDE, FEES, "insurance_fund", "bad_debt")
        self._balances[account if is_own else "", asset] += amount

    def _take_BalanceMoved(self, event: dict[str, Any], postings: list[dict[str, Any]]) -> None:  # noqa: N802
        told = [event[name] for name in ("asset", "source", "target", "amount")]
        posted = [[one[name] for name in ("asset", "source", "target", "amount")] for one in postings]
        self._note("postings", told in posted, f"{event['what']} of {event['amount']} is told, {posted} is posted")
        self._flows[event["asset"]] += INWARD.get(event["what"], 0) * event["amount"]

    def _take_Traded(self, event: dict[str, Any], postings: list[dict[str, Any]]) -> None:  # noqa: N802
        market = event["market"]
        moved: int | None = 0
        for name, lots in (("buyer", event["size"]), ("seller", -event["size"])):
            side = event[name]
            place = (market, side["account"])
            before = self._sizes.get(place, 0 if self.is_known else None)
            if before is None:
                self._report.checks["trades"].unchecked += 1
            else:
                what = f"{place[1]} held {before} of {market}, traded {lots}, and holds {side['size']}"
                self._note("trades", before + lots == side["size"], what)
            cost = self._costs.get(place, 0 if self.is_known else None)
            moved = None if cost is None or moved is None else moved + side["cost"] - cost
            self._sizes[place], self._costs[place] = side["size"], side["cost"]
            self._drop_empty(place)
            for told, reason, sign in (
                ("fee", "fee", -1),
                ("realised", "realised profit", 1),
                ("funding", "funding", 1),
            ):
                posted = sign * _received(postings, side["account"], reason)
                self._note("trades", side[told] == posted, f"{place[1]}: {told} {side[told]} told, {posted} posted")
        if moved is None:
            self._report.checks["trades"].unchecked += 1
        else:
            mirrored = _received(postings, SETTLEMENT + market)
            self._note("trades", moved + mirrored == 0, f"costs move by {moved}, settlement by {mirrored}")

    def _take_Liquidated(self, event: dict[str, Any], _: list[dict[str, Any]]) -> None:  # noqa: N802
        self._swap(event["account"], LIQUIDATOR, event["steps"])

    def _take_AuctionBid(self, event: dict[str, Any], _: list[dict[str, Any]]) -> None:  # noqa: N802
        self._swap(event["account"], event["liquidator"], event["fills"])

    def _take_Deleveraged(self, event: dict[str, Any], _: list[dict[str, Any]]) -> None:  # noqa: N802
        total = event["size"] + sum(fill["size"] for fill in event["fills"])
        self._note("trades", total == 0, f"lots closed against winners sum to {total}")
        for side in (event, *event["fills"]):
            self._shift(event["market"], side["account"], side["size"])

    def _take_ModeChanged(self, event: dict[str, Any], _: list[dict[str, Any]]) -> None:  # noqa: N802
        own, child = (event["market"], event["account"]), (event["market"], f"{event['account']}/{event['market']}")
        source, target = (own, child) if event["mode"] == "isolated" else (child, own)
        for table in (self._sizes, self._costs):
            if source in table:
                table[target] = table.pop(source)  # type: ignore[assignment]

    def _swap(self, account: str, other: str, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            if step["what"] == "close":
                self._shift(step["name"], account, step["size"])
                self._shift(step["name"], other, -step["size"])

    def _shift(self, market: str, account: str, lots: int) -> None:
        """Move a position by a trade whose cost no event tells."""
        place = (market, account)
        if self.is_known or place in self._sizes:
            self._sizes[place] = self._sizes.get(place, 0) + lots
        self._costs[place] = None
        self._drop_empty(place)

    def _drop_empty(self, place: tuple[str, str]) -> None:
        if self._sizes.get(place) == 0:
            self._costs[place] = 0
            if self.is_known:
                del self._sizes[place], self._costs[place]

    def finish(self) -> None:
        """Compare the sums at the end."""
        self._sequence = 0
        for asset in sorted({asset for _, asset in self._balances}):
            total = sum(amount for (_, of), amount in self._balances.items() if of == asset)
            self._note("money", total == 0, f"all balances of {asset} sum to {total}")
            outside = self._balances[OUTSIDE, asset]
            what = f"{self._flows[asset]} of {asset} came in by what is told, the outside account says {-outside}"
            self._note("money", self._flows[asset] == -outside, what)
        if not self.is_known:
            return
        for market in sorted({market for market, _ in self._sizes}):
            total = sum(lots for (of, _), lots in self._sizes.items() if of == market)
            self._note("trades", total == 0, f"positions in {market} sum to {total} lots")


def _received(postings: list[dict[str, Any]], account: str, reason: str | None = None) -> int:
    """Return what an account received by postings, less what it gave."""
    chosen = [one for one in postings if reason in (None, one["reason"])]
    return sum(((one["target"] == account) - (one["source"] == account)) * one["amount"] for one in chosen)
