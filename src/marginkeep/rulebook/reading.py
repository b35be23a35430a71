"""Reading rulebooks from TOML or JSON; every refusal names path, value, bound and cure."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from marginkeep.errors import InputError, RulebookError
from marginkeep.rulebook.assets import read_asset
from marginkeep.rulebook.fields import Fields
from marginkeep.rulebook.funding_reading import read_funding
from marginkeep.rulebook.ladder_reading import read_ladder
from marginkeep.rulebook.levels import read_shares
from marginkeep.rulebook.limit_rules import read_limits
from marginkeep.rulebook.markets import read_market
from marginkeep.rulebook.model import Rulebook
from marginkeep.rulebook.oracle_reading import read_oracle
from marginkeep.rulebook.terms import NO_COST, read_terms

if TYPE_CHECKING:
    from pathlib import Path

    from marginkeep.rulebook.model import Asset, Market


def parse_file(path: Path) -> dict[str, Any]:
    """Parse a TOML or JSON file, keeping every decimal exact.

    Raises
    ------
    RulebookError : unreadable, not TOML or JSON by its suffix, or malformed
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RulebookError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse_text(text, path.suffix.lower(), str(path))


def parse_text(text: str, suffix: str, name: str) -> dict[str, Any]:
    """Parse TOML (``.toml``) or JSON (``.json``) text; see `parse_file`."""
    try:
        if suffix == ".toml":
            return tomllib.loads(text, parse_float=_exact)
        if suffix == ".json":
            loaded = json.loads(text, parse_float=_exact, parse_constant=_exact, object_pairs_hook=_unique)
            return dict(Fields(loaded, name).table)
    except (ValueError, RecursionError) as error:
        raise RulebookError(f"{name} is not valid {suffix[1:].upper()}: {error}") from error
    raise RulebookError(f"{name} has suffix {suffix or 'none'}: use .toml or .json")


def _exact(text: str) -> Decimal | str:
    """Keep what is not a finite decimal as text, so that the field that holds it names it in its refusal."""
    if text.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return text
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the exponent of {text[:60]} is beyond that of any decimal number") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} stands twice in one table")
    return table


def load_rulebook(path: Path) -> Rulebook:
    """Read a rulebook file.

    Raises
    ------
    RulebookError : with the file, the path of the field, its value, the bound it breaks, and the cure
    """
    table = parse_file(path)
    try:
        return read_rulebook(table, default_name=path.stem)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error


def read_rulebook(table: dict[str, Any], default_name: str = "rulebook") -> Rulebook:
    """Read a parsed rulebook; see `load_rulebook`."""
    fields = Fields(table, "")
    name = fields.text("name", default_name)
    shares = read_shares(fields)
    terms = read_terms(fields, NO_COST)
    rows = list(fields.tables("assets"))
    if not rows:
        raise RulebookError("assets is missing: name at least the reporting asset, for example [assets.USD]")
    reporting = find_reporting(fields, [name for name, _ in rows])
    assets = {key: read_asset(key, row, reporting, shares, terms, strict=True) for key, row in rows}
    markets = {key: read_market(key, row, assets, shares, terms, strict=True) for key, row in fields.tables("markets")}
    check_names(assets, markets)
    oracle = None
    if fields.take("oracle", None) is not None:
        oracle = read_oracle(fields.sub("oracle"), reporting, assets, markets, shares)
    ladder = None
    if fields.take("ladder", None) is not None:
        ladder = read_ladder(fields.sub("ladder"), assets[reporting], assets, markets)
    funding = read_funding(fields, markets, [mark.market for mark in oracle.marks] if oracle else ())
    measured = [impact.market for impact in ladder.impacts] if ladder else ()
    limits = read_limits(fields, markets, assets[reporting].unit, measured)
    fields.finish()
    return Rulebook(name, reporting, assets, markets, oracle, ladder, funding, limits)


def find_reporting(fields: Fields, assets: list[str]) -> str:
    """Return the asset in which accounts are reported: as stated, else USD, else the only one there is."""
    stated = fields.text("reporting", None)
    if stated is None:
        if "USD" in assets:
            return "USD"
        if len(assets) == 1:
            return assets[0]
        raise RulebookError(f'reporting is missing: name one of {", ".join(assets)}, as in reporting = "{assets[0]}"')
    if stated not in assets:
        raise RulebookError(f"reporting is {stated!r}, which is not an asset: use one of {', '.join(assets)}")
    return str(stated)


def check_names(assets: dict[str, Asset], markets: dict[str, Market]) -> None:
    """Refuse a name that stands for both an asset and a market: prices are given by name."""
    for name in markets:
        if name in assets:
            raise RulebookError(f"markets.{name} has the name of an asset: rename it, for example {name}-PERP")
