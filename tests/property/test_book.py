"""The columns of the book: what is written is read again, whatever was written, grown or emptied before."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book import CROSS, ISOLATED, SYSTEM, Account, Book, Position
from marginkeep.book import columns as c
from marginkeep.book.account import NO_PARENT
from marginkeep.units import INT64_SAFE
from tests.property.strategies import up_to, within

NUMBERS = st.one_of(within(INT64_SAFE), st.integers(-3, 3))
LOTS = st.one_of(up_to(INT64_SAFE, 0), st.integers(0, 3))
POSITIONS = st.builds(Position, NUMBERS, NUMBERS, NUMBERS, LOTS, NUMBERS, LOTS, NUMBERS)
ACCOUNTS = st.builds(
    Account,
    mode=st.sampled_from([CROSS, ISOLATED, SYSTEM]),
    parent=st.integers(NO_PARENT, 20),
    balances=st.dictionaries(st.integers(0, 30), NUMBERS, max_size=9),
    positions=st.dictionaries(st.integers(0, 300), POSITIONS, max_size=12),
)
EDITS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 50)), ACCOUNTS), max_size=20)


def kept(account: Account) -> Account:
    """Return the account as the book must keep it: without empty positions and zero balances."""
    return Account(
        account.mode,
        account.parent,
        {asset: amount for asset, amount in account.balances.items() if amount},
        {market: position for market, position in account.positions.items() if not position.is_empty},
    )


def blocks(book: Book, start_column: int) -> list[tuple[int, int]]:
    """Return each account's block of rows as (start, end), in row order, leaving out those without rows."""
    rows = book.accounts[: book.count].tolist()
    spans = [(row[start_column], row[start_column] + row[start_column + 2]) for row in rows]
    return sorted(span for span in spans if span[0] < span[1])


def require_sound(book: Book) -> None:
    """Require that no two accounts share a row and that every block lies in its table, with room for its count."""
    for start_column, table in ((c.POSITION_START, book.positions), (c.BALANCE_START, book.balances)):
        spans = blocks(book, start_column)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert not spans or spans[-1][1] <= table.used <= len(table.rows)
        used = book.accounts[: book.count]
        assert (used[:, start_column + 1] <= used[:, start_column + 2]).all()


@settings(max_examples=80, deadline=None)
@given(EDITS)
def test_every_account_reads_as_last_written_whatever_was_edited_around_it(edits):
    book, expected = Book(), []
    for target, account in edits:
        if target is None or target >= len(expected):
            assert book.add(account) == len(expected)
            expected.append(kept(account))
        else:
            book.write(target, account)
            expected[target] = kept(account)
        require_sound(book)
        assert book.count == len(expected)
        assert [book.read(index) for index in range(book.count)] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 9)), min_size=10, max_size=60))
def test_no_two_accounts_ever_share_a_row_as_their_blocks_move(edits):
    """Few accounts, many moves: the blocks they leave behind go to others, each to one only."""
    book, expected = Book(), [Account() for _ in range(8)]
    for account in expected:
        book.add(account)
    for step, (target, positions, balances) in enumerate(edits, start=1):
        expected[target] = Account(
            balances=dict.fromkeys(range(balances), step),
            positions={market: Position(size=step, cost=market) for market in range(positions)},
        )
        book.write(target, expected[target])
        require_sound(book)
    assert [book.read(index) for index in range(8)] == expected


@settings(max_examples=50, deadline=None)
@given(ACCOUNTS, ACCOUNTS)
def test_a_read_account_is_independent_of_the_columns(first, second):
    book = Book()
    book.add(first)
    read = book.read(0)
    read.balances[0] = read.balances.get(0, 0) + 1
    for position in read.positions.values():
        position.size += 1
    assert book.read(0) == kept(first)
    before = book.read(0)
    book.write(0, second)
    assert before == kept(first)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_a_block_left_behind_is_used_again_by_the_next_account_of_its_size(few, many):
    def holding(count: int) -> Account:
        return Account(positions={market: Position(size=1) for market in range(count)})

    book = Book()
    book.add(holding(few))
    book.add(Account())
    book.write(0, holding(few + many))
    used = book.positions.used
    moved = book.accounts[0, c.POSITION_START] != 0
    book.write(1, holding(few))
    assert book.positions.used == used if moved else book.positions.used > used
    require_sound(book)
    assert [book.read(0), book.read(1)] == [holding(few + many), holding(few)]


@settings(max_examples=80, deadline=None)
@given(st.lists(ACCOUNTS, max_size=8), st.data())
def test_a_book_built_from_rows_equals_one_built_by_adding(accounts, data):
    accounts = [with_one_balance(kept(account)) for account in accounts]
    book = Book()
    for account in accounts:
        book.add(account)
    built = from_rows(accounts)
    assert built.count == book.count
    require_sound(built)
    for index, account in enumerate(accounts):
        assert kept(built.read(index)) == book.read(index) == kept(account)
    if accounts:
        target, written = data.draw(st.integers(0, len(accounts) - 1)), data.draw(ACCOUNTS)
        for either in (built, book):
            either.write(target, written)
            either.add(written)
        require_sound(built)
        assert [kept(built.read(i)) for i in range(built.count)] == [book.read(i) for i in range(book.count)]


def with_one_balance(account: Account) -> Account:
    asset, amount = next(iter(account.balances.items()), (0, 0))
    return Account(account.mode, NO_PARENT, {asset: amount}, account.positions)


def from_rows(accounts: list[Account]) -> Book:
    def row(market: int, p: Position) -> tuple[int, ...]:
        return (market, p.size, p.cost, p.funding_entry, p.bid_size, p.bid_cost, p.ask_size, p.ask_cost)

    positions = [row(market, position) for account in accounts for market, position in account.positions.items()]
    balances = [item for account in accounts for item in account.balances.items()]
    return Book.from_rows(
        np.array([account.mode for account in accounts], np.int64),
        np.array([len(account.positions) for account in accounts], np.int64),
        np.array(positions, np.int64).reshape(-1, c.POSITION_WIDTH),
        np.array(balances, np.int64).reshape(-1, c.BALANCE_WIDTH),
    )


def test_a_book_grows_past_its_first_rows_without_losing_any():
    accounts = [Account(balances={0: i + 1}, positions={i: Position(size=i + 1, cost=-i)}) for i in range(500)]
    book = Book()
    for account in accounts:
        book.add(account)
    require_sound(book)
    assert [book.read(index) for index in range(500)] == accounts
