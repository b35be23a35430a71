"""What owners and the venue are told of accounts, and that nobody is told of others'."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.book.account import Account, Position
from marginkeep.book.columns import Book
from marginkeep.book.valuation import Valuation
from marginkeep.clearing import AdvanceTime, RegisterLiquidator
from marginkeep.rulebook import build_tables
from marginkeep.service.queries.account_pages import STATUSES, measured, page_of
from marginkeep.service.queries.captured import Captured
from marginkeep.service.wire.problems import Problem
from tests.ladder_houses import rules
from tests.service.query_world import BTC, ask, deposit, ladder_log, marks, populate, trade

pytestmark = pytest.mark.without_shadows("questions change nothing; what the house does is tested elsewhere")
SECOND = 10**9


@pytest.fixture
def service(start_service):
    return populate(start_service(log=ladder_log()))


def test_an_owner_sees_balances_positions_orders_and_distances(service):
    service.apply(RegisterLiquidator(account="ann"))
    told = ask(service, "/v1/accounts/ann")
    assert (told["owner"], told["liquidator"]) == ("ann", True)
    cross, isolated = told["accounts"]
    assert (cross["account"], isolated["account"]) == ("ann", "ann/BTC-PERP")
    assert cross["balances"] == {"USD": "5000"}
    assert cross["orders"] == [
        {"order": "o1", "account": "ann", "market": "ETH-PERP", "side": "buy", "size": "0.1", "price": "2900"}
    ]
    long = next(one for one in cross["positions"] if one["market"] == BTC)
    assert (long["side"], long["size"], long["entry"], long["notional"]) == ("long", "1", "50000", "50000")
    # 5,000 + (P - 50,000) = 1 % of P
    assert long["liquidation_price"].startswith("45454.54")
    assert long["distance"].startswith("-0.0909")
    assert long["distance_value"].startswith("4545.45")
    assert (long["queue"]["of"], long["queue"]["sequence"]) == (2, told["sequence"])
    assert isolated["mode"] == "isolated"
    assert isolated["balances"] == {"USD": "1000"}


def test_places_in_the_queue_are_told_apart_and_follow_the_price(service):
    def places():
        accounts = ask(service, "/v1/accounts/ann")["accounts"]
        return [one["queue"] for account in accounts for one in account["positions"] if one["market"] == BTC]

    assert sorted(place["rank"] for place in places()) == [1, 2]
    service.apply(marks(51_000))
    after = places()
    assert {place["of"] for place in after} == {2}
    assert all(1 <= place["lights"] <= 5 for place in after)
    assert max(place["lights"] for place in after) == 5


def test_without_deleveraging_there_is_no_queue(start_service):
    service = populate(start_service(log=ladder_log(None)))
    assert ask(service, "/v1/accounts/ann")["accounts"][0]["positions"][0]["queue"] is None


def test_a_called_account_is_told_its_deadline_and_what_is_missing(service):
    service.apply(AdvanceTime(now_ns=SECOND), marks(46_200))
    account = ask(service, "/v1/accounts/ann")["accounts"][0]
    assert (account["status"], account["rung"]) == ("margin_call", "called")
    assert account["call"]["deadline_ns"] == SECOND + 600 * SECOND
    # 3 % of 46,200 less what is left, 1,200
    assert account["call"]["missing"] == "186"
    (row, _) = ask(service, "/v1/accounts/ann/health")["accounts"]
    assert (row["rung"], row["deadline_ns"]) == ("called", SECOND + 600 * SECOND)


def test_lean_lists_agree_with_the_full_view(service):
    full = ask(service, "/v1/accounts/ann")["accounts"]
    orders = ask(service, "/v1/accounts/ann/orders")["orders"]
    assert orders == [order for account in full for order in account["orders"]]
    listed = ask(service, "/v1/accounts/ann/positions")["positions"]
    whole = [{**one, "queue": None} for account in full for one in account["positions"]]
    assert [one["position"] for one in listed] == whole
    rows = ask(service, "/v1/accounts/ann/health")["accounts"]
    assert [row["health"] for row in rows] == [account["health"] for account in full]
    one = ask(service, "/v1/accounts/ann/isolated/BTC-PERP")["account"]
    assert {**one, "positions": []} == {**full[1], "positions": []}


FOREIGN = ["", "/positions", "/orders", "/health", "/isolated/BTC-PERP"]


@pytest.mark.parametrize("rest", FOREIGN)
def test_a_foreign_account_is_told_like_an_absent_one(service, rest):
    foreign = ask(service, f"/v1/accounts/ann{rest}", key="bob", status=404)
    absent = ask(service, f"/v1/accounts/nobody{rest}", key="bob", status=404)
    assert foreign == absent
    assert ask(service, f"/v1/accounts/ann{rest}", key="venue")


@pytest.mark.parametrize("name", ["external", "liquidator", "fees", "insurance_fund"])
def test_the_houses_own_accounts_are_nobodys(service, name):
    ask(service, f"/v1/accounts/{name}", key="ann", status=404)


def test_all_accounts_are_the_venues_to_list(service):
    assert ask(service, "/v1/accounts", key="ann", status=403)["code"] == "forbidden"
    page = ask(service, "/v1/accounts?limit=2", key="venue")
    factors = [row["health_factor"] for row in page["rows"]]
    assert factors == sorted(factors, key=float)
    rest = ask(service, f"/v1/accounts?after={page['next']}", key="venue")
    names = [row["account"] for row in page["rows"] + rest["rows"]]
    assert sorted(names) == ["ann", "ann/BTC-PERP", "bob"]
    assert rest["next"] is None


def test_lists_are_narrowed_by_status_and_rung(service):
    service.apply(AdvanceTime(now_ns=SECOND), marks(46_200))
    called = ask(service, "/v1/accounts?status=margin_call&rung=called", key="venue")["rows"]
    assert [row["account"] for row in called] == ["ann"]
    assert ask(service, "/v1/accounts?status=bankrupt", key="venue")["rows"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "status=ill", "rung=x", "after=!", "after=MQ", "what=1"])
def test_strange_questions_are_refused(service, query):
    assert ask(service, f"/v1/accounts?{query}", key="venue", status=400)["code"] == "bad_request"


# Pages over many accounts ------------------------------------------------------------------------------------------

RULES = rules(None)
TABLES = build_tables(RULES)


def board(rows):
    """Measure accounts of (USD balance, lots of BTC)."""
    book, valuation = Book(), Valuation(TABLES)
    valuation.set_mark(TABLES.market_index[BTC], 500_000)
    for amount, lots in rows:
        positions = {TABLES.market_index[BTC]: Position(size=lots, cost=lots * 50 * 10**6)} if lots else {}
        book.add(Account(balances={TABLES.asset_index["USD"]: amount} if amount else {}, positions=positions))
    return measured(Captured(7, RULES, book, valuation, [f"u{i}" for i in range(len(rows))], {}))


rows_of_accounts = st.lists(
    st.tuples(st.integers(-(10**10), 10**10), st.sampled_from([0, 0, 1, -1, 20, -300])), min_size=1, max_size=40
)


@given(rows=rows_of_accounts, limit=st.integers(1, 7))
def test_pages_hold_every_account_once_and_the_nearest_to_liquidation_first(rows, limit):
    whole = board(rows)
    seen, after = [], ""
    while after is not None:
        page = page_of(whole, after, limit)
        assert len(page.rows) <= limit
        seen += page.rows
        after = page.next
    assert sorted(row.account for row in seen) == sorted(f"u{i}" for i in range(len(rows)))
    keys = [whole.key(int(row.account[1:])) for row in seen]
    assert keys == sorted(keys)


@given(rows=rows_of_accounts, more=rows_of_accounts, limit=st.integers(1, 5))
def test_a_token_goes_on_behind_its_row_whatever_else_has_changed(rows, more, limit):
    first = page_of(board(rows), "", limit)
    if first.next is None:
        return
    told = {row.account for row in first.rows}
    grown = board(rows + more)
    rest = page_of(grown, first.next, 1_000)
    last = grown.key(int(first.rows[-1].account[1:]))
    assert [row.account for row in rest.rows] == [
        f"u{i}" for i in sorted(range(len(rows + more)), key=grown.key) if grown.key(i) > last
    ]
    assert not told & {row.account for row in rest.rows}


@given(rows=rows_of_accounts)
def test_filters_keep_what_they_name(rows):
    whole = board(rows)
    parts = [page_of(whole, "", 1_000, status=status).rows for status in STATUSES]
    assert sum(map(len, parts)) == len(rows)
    assert all(row.status == status for status, part in zip(STATUSES, parts, strict=True) for row in part)


def test_a_token_that_is_none_is_refused():
    with pytest.raises(Problem, match="not the token of a page"):
        page_of(board([(1, 0)]), "x" * 500, 5)


@pytest.mark.slow
def test_many_accounts_are_measured_by_the_kernels_as_one_by_one():
    rows = [((i * 7919) % 10**9 - 10**8, (i % 41) - 20) for i in range(1_500)]
    whole = board(rows)
    started = time.monotonic()
    first = page_of(whole, "", 1_000)
    assert time.monotonic() - started < 5
    few = {row.account: row for row in page_of(board(rows[:900]), "", 1_000).rows}
    for row in first.rows:
        assert row == few.get(row.account, row)


def test_a_newcomer_is_listed_at_once(service):
    service.apply(deposit("new", 5), trade("bob", "external", 1, 50_000))
    assert "new" in [row["account"] for row in ask(service, "/v1/accounts", key="venue")["rows"]]
