"""Assets, markets, tiers, parameters: reading, checking, hashing and comparing rulebooks."""

from marginkeep.rulebook.canonical import Difference, canonical, compare, rulebook_hash
from marginkeep.rulebook.model import (
    CALL,
    INITIAL,
    LEVELS,
    MAINTENANCE,
    TARGET,
    Asset,
    LiquidationTerms,
    Market,
    Rulebook,
    Tier,
)
from marginkeep.rulebook.reading import load_rulebook, parse_file, read_rulebook
from marginkeep.rulebook.tables import AssetTable, MarketTable, Tables, build_tables

__all__ = [
    "CALL",
    "INITIAL",
    "LEVELS",
    "MAINTENANCE",
    "TARGET",
    "Asset",
    "AssetTable",
    "Difference",
    "LiquidationTerms",
    "Market",
    "MarketTable",
    "Rulebook",
    "Tables",
    "Tier",
    "build_tables",
    "canonical",
    "compare",
    "load_rulebook",
    "parse_file",
    "read_rulebook",
    "rulebook_hash",
]
