"""A book as columns: the same accounts give the same bytes whatever their history, and come back from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginkeep.book import columns as c
from marginkeep.book.account import CROSS, ISOLATED, NO_PARENT, Account, Position
from marginkeep.book.columns import Book
from marginkeep.clearing.snapshot_columns import (
    INT64_BOUNDS,
    BookColumns,
    book_of,
    columns_of,
    copy_book,
    pack,
    plain_columns,
    unpack,
    vector_columns,
)
from marginkeep.errors import InputError

MARKETS, ASSETS = 5, 3
INT64 = st.integers(*INT64_BOUNDS)
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([-129, -128, 127, 128, -32_769, 32_768, 2**31 - 1]), INT64)
POSITIONS = st.builds(Position, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
ACCOUNTS = st.builds(
    Account,
    st.sampled_from([CROSS, ISOLATED]),
    st.just(NO_PARENT),
    st.dictionaries(st.integers(0, ASSETS - 1), NUMBERS),
    st.dictionaries(st.integers(0, MARKETS - 1), POSITIONS),
)


def held(account: Account) -> Account:
    """The account without what a book drops."""
    balances = {asset: amount for asset, amount in account.balances.items() if amount}
    return Account(
        account.mode, account.parent, balances, {m: p for m, p in account.positions.items() if not p.is_empty}
    )


def book_with(accounts: list[Account]) -> Book:
    book = Book()
    for account in accounts:
        book.add(account)
    return book


def loose_book(accounts: list[Account]) -> Book:
    """A book of whole rows, the empty ones among them, positions and balances in the order they are given."""
    rows = [
        (market, p.size, p.cost, p.funding_entry, p.bid_size, p.bid_cost, p.ask_size, p.ask_cost)
        for account in accounts
        for market, p in account.positions.items()
    ]
    amounts = [item for account in accounts for item in account.balances.items()]
    return Book.from_rows(
        np.array([account.mode for account in accounts], np.int64),
        np.array([len(account.positions) for account in accounts], np.int64),
        np.array(rows, np.int64).reshape(-1, c.POSITION_WIDTH),
        np.array(amounts, np.int64).reshape(-1, c.BALANCE_WIDTH),
        np.array([len(account.balances) for account in accounts], np.int64),
    )


def read_back(columns: BookColumns, accounts: int) -> Book:
    return book_of(columns, accounts, MARKETS, ASSETS)


@settings(max_examples=100)
@given(st.lists(ACCOUNTS, max_size=6), st.lists(st.tuples(st.integers(0, 5), ACCOUNTS), max_size=6))
def test_columns_depend_on_the_accounts_and_not_on_how_they_came_to_be(accounts, detours):
    wandering = book_with([account for _, account in detours][: len(accounts)])
    for index, account in detours:
        if index < wandering.count:
            wandering.write(index, account)
    for index, account in enumerate(accounts):
        if index < wandering.count:
            wandering.write(index, account)
        else:
            wandering.add(account)
    copies = [copy_book(book) for book in (book_with(accounts), wandering, loose_book(accounts))]
    written = [columns for copy in copies for columns in (plain_columns(copy), vector_columns(copy))]
    assert written == [written[0]] * 6


@settings(max_examples=100)
@given(st.lists(ACCOUNTS, min_size=1, max_size=6), st.data())
def test_a_book_comes_back_from_its_columns_and_goes_on(accounts, data):
    book = book_with(accounts)
    again = read_back(columns_of(copy_book(book)), len(accounts))
    target, account = data.draw(st.integers(0, len(accounts) - 1)), data.draw(ACCOUNTS)
    for either in (book, again):
        either.write(target, account)
        either.add(Account(ISOLATED, target, {0: 1}))
        assert [either.read(index) for index in range(either.count)] == [
            *(held(account if index == target else one) for index, one in enumerate(accounts)),
            Account(ISOLATED, target, {0: 1}),
        ]
    assert columns_of(copy_book(again)) == columns_of(copy_book(book))


@settings(max_examples=100)
@given(st.lists(ACCOUNTS, min_size=1, max_size=4), st.data())
def test_another_account_gives_other_columns(accounts, data):
    target, account = data.draw(st.integers(0, len(accounts) - 1)), data.draw(ACCOUNTS)
    changed = [account if index == target else one for index, one in enumerate(accounts)]
    one, other = (columns_of(copy_book(book_with(each))) for each in (accounts, changed))
    assert (one == other) == (held(account) == held(accounts[target]))


@pytest.mark.parametrize("accounts", [47, 48, 2_047, 2_048, 2_049, 5_000])
def test_many_accounts_are_written_as_few_are(accounts):
    rng = np.random.Generator(np.random.PCG64(accounts))
    book = Book()
    for index in range(accounts):
        markets = rng.permutation(MARKETS)[: index % (MARKETS + 1)].tolist()
        # costs widen from one stretch of accounts to the next, and one account in seven holds nothing
        positions = {market: Position(index % 7, 7 ** (index // 600) * (index % 7)) for market in markets}
        book.add(Account(balances={2: index % 3, 0: -index}, positions=positions))
    copy = copy_book(book)
    columns = plain_columns(copy)
    assert vector_columns(copy) == columns_of(copy) == columns
    again = read_back(columns, accounts)
    assert [again.read(index) for index in range(accounts)] == [book.read(index) for index in range(accounts)]


@given(st.lists(NUMBERS, max_size=5))
def test_a_column_takes_the_narrowest_width_and_no_other_is_read(numbers):
    column = pack(numbers)
    assert unpack(column, len(numbers), "numbers", *INT64_BOUNDS).tolist() == numbers
    bits = max([8 * len(column) // len(numbers)] if numbers else [8])
    assert all(-(1 << (bits - 1)) <= number < 1 << (bits - 1) for number in numbers)
    if numbers and bits < 64:
        wider = np.array(numbers, f"<i{bits // 4}").tobytes()
        with pytest.raises(InputError, match="where fewer hold it"):
            unpack(wider, len(numbers), "numbers", *INT64_BOUNDS)


@given(st.binary(max_size=40), st.integers(0, 6))
def test_a_column_of_any_bytes_is_read_or_refused(column, count):
    try:
        numbers = unpack(column, count, "numbers", *INT64_BOUNDS)
    except InputError:
        return
    assert pack(numbers.tolist()) == column
