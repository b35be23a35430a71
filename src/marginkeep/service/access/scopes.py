"""What a key may do, and whose accounts it may do it for."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from marginkeep.liquidation.position_limits import owner_of


class Scope(StrEnum):
    """A permission; a new key has `READ` alone."""

    READ = "read"
    TRADE = "trade"
    TRANSFER = "transfer"
    LIQUIDATE = "liquidate"
    ORACLE_PUBLISH = "oracle.publish"
    RISK_ADMIN = "risk.admin"
    AUDIT_READ = "audit.read"


EVERY_ACCOUNT: Final = "*"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request comes from, once its signature is checked.

    Attributes
    ----------
    key : the key's id; becomes the record's actor
    scopes : what it may do
    accounts : owners it may act for, `EVERY_ACCOUNT` = all; isolated accounts belong to their owner
    address : where the request comes from
    until_ns : the end of the request's time window, after which it is no longer begun; 0 = never
    """

    key: str
    scopes: frozenset[Scope]
    accounts: frozenset[str]
    address: str = ""
    until_ns: int = 0

    def may(self, scope: Scope) -> bool:
        """Tell whether the key has a scope."""
        return scope in self.scopes

    def acts_for(self, account: str) -> bool:
        """Tell whether the key is bound to an account, or to all."""
        return EVERY_ACCOUNT in self.accounts or owner_of(account) in self.accounts

    @property
    def acts_for_all(self) -> bool:
        """Tell whether the key belongs to the venue rather than to one of its users."""
        return EVERY_ACCOUNT in self.accounts
