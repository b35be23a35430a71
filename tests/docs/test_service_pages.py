"""The pages on the service and the journal name everything there is, and their tables say what the code does."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from marginkeep.cli.client import client
from marginkeep.cli.journal import journal
from marginkeep.cli.keys import keys
from marginkeep.journal.record import Record
from marginkeep.service.access.scopes import Scope
from marginkeep.service.application import every_route
from marginkeep.service.notifications.endpoints import Preferences
from marginkeep.service.notifications.notices import SEVERITIES, Kind
from marginkeep.service.notifications.templates import FIELDS
from marginkeep.service.stream.channels import EVENT_CHANNELS, ROW_CHANNELS
from marginkeep.service.stream.messages import AnyOperation
from marginkeep_verify.report import CHECKS
from tests.docs import tables
from tests.docs.blocks import ROOT
from tests.docs.test_oracle_page import rows_of

BUCKETS = sorted({route.opt["bucket"] for route in every_route() if "bucket" in route.opt})


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([\w.*-]+)`", cell)


@pytest.mark.parametrize(
    ("name", "wanted", "columns"),
    [
        ("service.md", tables.routes, (0, 1, 2, 3, 4, 5)),
        ("service.md", tables.problems, (0, 1, 2)),
        ("operations.md", tables.settings, (0, 1, 2)),
        ("operations.md", tables.metrics, (0, 1, 2)),
    ],
    ids=["routes", "problems", "settings", "metrics"],
)
def test_a_table_is_what_the_code_states(name, wanted, columns):
    rows = wanted()
    named = {(row[0], row[1]) if wanted is tables.routes else row[0] for row in rows}
    shown = [
        tuple(row[place] for place in columns)
        for row in rows_of(page(name))
        if len(row) >= len(columns)
        if (row[0] in named or tuple(row[:2]) in named)
    ]
    assert sorted(shown) == sorted(rows), "see `python -m tests.docs.tables`"


def test_the_tables_of_routes_and_problems_have_no_rows_beyond():
    rows = rows_of(page("service.md"))
    paths = {row[1] for row in rows if len(row) == 6 and row[1].startswith("`/v1")}
    codes = {row[0] for row in rows if len(row) == 4 and row[1].isdigit()}
    assert paths == {row[1] for row in tables.routes()}
    assert codes == {row[0] for row in tables.problems()}


def test_the_tables_of_settings_and_metrics_have_no_rows_beyond():
    firsts = {row[0] for row in rows_of(page("operations.md"))}
    assert {one for one in firsts if one.startswith("`marginkeep_")} == {row[0] for row in tables.metrics()}
    sections = tuple(f"`{row[0].strip('`').partition('.')[0]}." for row in tables.settings() if "." in row[0])
    assert {one for one in firsts if one.startswith(sections)} <= {row[0] for row in tables.settings()}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("access.md", [scope.value for scope in Scope]),
        ("access.md", BUCKETS),
        ("streams.md", [*EVENT_CHANNELS, *ROW_CHANNELS]),
        ("streams.md", [kind.__struct_config__.tag for kind in get_args(AnyOperation)]),
        ("notifications.md", get_args(Kind)),
        ("notifications.md", SEVERITIES),
        ("notifications.md", FIELDS),
        ("notifications.md", Preferences.__struct_fields__),
        ("journal.md", Record.__struct_fields__),
        ("audit.md", list(CHECKS)),
    ],
    ids=[
        *("scopes", "buckets", "channels", "operations", "kinds", "severities", "template fields", "preferences"),
        *("record fields", "checks"),
    ],
)
def test_each_has_a_row_in_a_table(name, wanted):
    firsts = {one for row in rows_of(page(name)) for one in names_in(row[0])}
    assert [one for one in wanted if one not in firsts] == []


@pytest.mark.parametrize(
    ("name", "group"),
    [("journal.md", journal), ("access.md", keys), ("client.md", client)],
    ids=["journal", "keys", "client"],
)
def test_each_command_of_a_group_has_a_row_in_a_table(name, group):
    firsts = " ".join(row[0] for row in rows_of(page(name))).replace(f"marginkeep {group.name} ", "")
    assert [command for command in group.commands if not re.search(rf"`{command}[` ]", firsts)] == []
