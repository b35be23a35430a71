"""Tables of the pages on the service that are the code's to state: `python -m tests.docs.tables` prints them anew."""

from __future__ import annotations

import re
import sys
from typing import Any

from marginkeep.service.application import every_route, openapi_document
from marginkeep.service.operations.metrics import Metrics
from marginkeep.service.operations.settings import JournalSettings, Settings
from marginkeep.service.operations.settings_reading import settings_fields
from marginkeep.service.running import close_context, open_context
from marginkeep.service.wire.problems import PROBLEMS
from tests.docs.blocks import ROOT

PUBLIC = "public"
Rows = list[tuple[str, ...]]


def routes() -> Rows:
    """Return method, path, scope, bucket, weight and summary of every route, by path."""
    found = []
    for route in (*every_route(), openapi_document):
        opt = route.opt
        scope = PUBLIC if opt["scope"] is None else opt["scope"].value + (", venue" if opt.get("venue_only") else "")
        summary = getattr(route, "summary", None) or "Listen, and send commands and checks"
        shown = (scope, opt.get("bucket", PUBLIC), str(opt.get("weight", 1)), summary.removeprefix("ccxt "))
        methods = getattr(route, "http_methods", ("WEBSOCKET",))
        paths = (re.sub(r":\w+}", "}", path) for path in route.paths)
        found += [(str(method), f"`{path}`", *shown) for path in paths for method in methods]
    return sorted(found, key=lambda row: (row[1].strip("`"), row[0]))


def problems() -> Rows:
    """Return code, status and title of every problem."""
    return [(f"`{code}`", str(status), title) for code, (status, title) in PROBLEMS.items()]


def settings() -> Rows:
    """Return name, default and meaning of every setting."""
    return [(f"`{name}`", default_text(one.default), one.meaning) for name, one in settings_fields().items()]


def default_text(value: Any) -> str:
    """Return a default as the table has it: empty for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else f"`{value}`" if value else ""


def metrics() -> Rows:
    """Return name, kind and meaning of everything that Prometheus is told of the service."""
    rules = str(ROOT / "examples" / "oracle.toml")
    context = open_context(Settings(rules=rules, journal=JournalSettings(place="memory")))
    try:
        families = list(Metrics(context).registry.collect())
    finally:
        close_context(context)
    ours = [family for family in families if family.name.startswith("marginkeep_")]
    return [(f"`{one.name}`", one.type, one.documentation) for one in ours]


if __name__ == "__main__":
    for rows in (routes(), problems(), settings(), metrics()):
        sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n")
