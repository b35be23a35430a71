"""A price as a decision saw it: the evidence that goes into every event which acts on prices, or refuses to."""

from __future__ import annotations

import msgspec


class SourceSeen(msgspec.Struct, frozen=True):
    """How one source stood in a feed.

    Attributes
    ----------
    price : ticks of the feed; of the quote that was used, or of the latest
    age_ns : its age by its source time
    use : ``used``, or why not
    """

    source: str
    price: int
    age_ns: int
    use: str


class PriceSeen(msgspec.Struct, frozen=True):
    """One market's mark or one asset's price.

    Attributes
    ----------
    name : market or asset
    price : ticks that maintenance is computed at: the last price that liquidation accepts
    latest : ticks of the latest price, whatever its quality
    quality : worst of the qualities that apply to the latest price
    state : the market's state, or the stage of the asset's peg; empty where there is neither
    sources : how the sources of its index stood
    blocked : what this price kept from happening, and why; empty when nothing
    """

    name: str
    price: int
    latest: int
    quality: str
    state: str
    sources: tuple[SourceSeen, ...]
    blocked: str = ""
