"""Real venues: their published tier tables and their names of markets, turned into this house's own values."""

from marginkeep.venues.tier_tables import TierKind, TierUnit, VenueTiers, market_from_ccxt, read_venue_tiers

__all__ = ["TierKind", "TierUnit", "VenueTiers", "market_from_ccxt", "read_venue_tiers"]
