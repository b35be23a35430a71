"""Accounts: as columns, as single values, and their exact health."""

from marginkeep.book.account import CROSS, ISOLATED, SYSTEM, Account, Position
from marginkeep.book.case import Case, load_case, read_case
from marginkeep.book.columns import Book
from marginkeep.book.health import equity, measure
from marginkeep.book.statement import AccountStatement, PositionStatement, state_account
from marginkeep.book.valuation import Valuation

__all__ = [
    "CROSS",
    "ISOLATED",
    "SYSTEM",
    "Account",
    "AccountStatement",
    "Book",
    "Case",
    "Position",
    "PositionStatement",
    "Valuation",
    "equity",
    "load_case",
    "measure",
    "read_case",
    "state_account",
]
