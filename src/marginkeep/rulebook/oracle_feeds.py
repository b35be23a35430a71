"""Reading who quotes, how a source is scored, and the feeds: one index price each, with its guards."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final, get_args

from marginkeep.errors import RulebookError
from marginkeep.rulebook.durations import MINUTE, SECOND, format_duration
from marginkeep.rulebook.fields import Fields, require_name
from marginkeep.rulebook.model import RATE_MAX
from marginkeep.rulebook.oracle_rules import (
    FEED_PRICE_MAX,
    SOURCES_MAX,
    WEIGHT_MAX,
    Aggregate,
    FeedRules,
    GrowthCap,
    JumpLimit,
    ScoreRules,
    SourceRules,
)
from marginkeep.units import RATE_ONE, format_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.rulebook.model import Asset

RANK_MAX: Final = SOURCES_MAX - 1
MEMORY_MAX: Final = 1_000_000
JUMP_MAX: Final = RATE_MAX

DEFAULT_SCORE: Final = ScoreRules(
    late_after_ns=5 * SECOND,
    memory=50,
    quarantine_above=RATE_ONE // 2,
    return_below=RATE_ONE // 10,
    quarantine_ns=10 * MINUTE,
)
DEFAULT_FEED: Final = FeedRules(
    name="",
    tick=Fraction(1),
    sources=(),
    aggregate="weighted_median",
    trim=RATE_ONE // 4,
    min_sources=0,
    max_age_ns=15 * SECOND,
    max_ahead_ns=2 * SECOND,
    outlier_band=RATE_ONE // 50,
    max_confidence=RATE_ONE // 100,
    max_dispersion=RATE_ONE // 50,
    volatile_band=RATE_ONE // 10,
    average_half_life_ns=5 * MINUTE,
    frozen_after_ns=0,
    score=DEFAULT_SCORE,
)
"""What a feed has that states nothing; `min_sources` 0 stands for two, or one where there is only one source."""


def read_sources(fields: Fields) -> dict[str, SourceRules]:
    """Read ``sources``, a list of names or a table by name, with ``stale_after`` for those that do not state it."""
    stale_after = fields.duration("stale_after", "60s", zero=False)
    if isinstance(fields.take("sources"), dict):
        rows = list(fields.tables("sources"))
    else:
        rows = [(name, Fields({}, fields.at(f"sources.{name}"))) for name in fields.names("sources")]
    if not rows:
        raise RulebookError(f'{fields.at("sources")} is empty: name who quotes, as in sources = ["binance", "okx"]')
    return {name: read_source(row, SourceRules(name, 1, 0, name, stale_after)) for name, row in rows}


def read_source(row: Fields, default: SourceRules) -> SourceRules:
    """Read one source; what it leaves out comes from the default."""
    source = SourceRules(
        name=default.name,
        weight=row.whole("weight", 1, WEIGHT_MAX, default.weight),
        rank=row.whole("rank", 0, RANK_MAX, default.rank),
        group=row.text("group", default.group),
        stale_after_ns=row.duration("stale_after", format_duration(default.stale_after_ns), zero=False),
    )
    row.finish()
    return source


def read_score(row: Fields, default: ScoreRules) -> ScoreRules:
    """Read how a source loses and regains trust; what is left out comes from the default."""
    score = ScoreRules(
        late_after_ns=row.duration("late_after", format_duration(default.late_after_ns)),
        memory=row.whole("memory", 1, MEMORY_MAX, default.memory),
        quarantine_above=row.rate("quarantine_above", 0, RATE_ONE, format_units(default.quarantine_above, 9)),
        return_below=row.rate("return_below", 1, RATE_ONE, format_units(default.return_below, 9)),
        quarantine_ns=row.duration("quarantine", format_duration(default.quarantine_ns)),
    )
    row.finish()
    if score.return_below >= score.quarantine_above:
        raise RulebookError(
            f"{row.at('return_below')} is {format_units(score.return_below, 9)}, not below quarantine_above "
            f"{format_units(score.quarantine_above, 9)}: a source would go in and out at once, so lower it"
        )
    return score


def read_feeds(
    fields: Fields, sources: Mapping[str, SourceRules], assets: Mapping[str, Asset], reporting: str
) -> tuple[FeedRules, ...]:
    """Read ``score``, ``defaults`` and ``feeds`` of the oracle table; a feed may state its own score and guards."""
    score = read_score(fields.sub("score", {}), DEFAULT_SCORE)
    defaults = fields.sub("defaults", {})
    default = replace(_read_guards(defaults, DEFAULT_FEED), score=score)
    defaults.finish()
    rows = list(fields.tables("feeds"))
    if not rows:
        raise RulebookError(f"{fields.at('feeds')} is missing: add at least one, for example [oracle.feeds.BTC]")
    feeds = []
    for name, row in rows:
        if name == reporting:
            raise RulebookError(f"{row.path} is the reporting asset's, whose price is always 1: leave it out")
        counted = row if row.has("min_sources") else defaults
        feed = _read_feed(name, row, default, sources, assets)
        feeds.append(_with_min_sources(feed, counted.at("min_sources"), row.at("sources")))
    _check_bases(dict(rows), feeds)
    return tuple(feeds)


def _read_guards(row: Fields, default: FeedRules) -> FeedRules:
    """Return the default with what the table states of it."""
    row.take("min_sources", None)
    return replace(
        default,
        aggregate=row.choice("aggregate", get_args(Aggregate), default.aggregate),
        trim=row.rate("trim", 0, RATE_ONE // 2 - 1, format_units(default.trim, 9)),
        min_sources=row.whole("min_sources", 1, SOURCES_MAX) if row.has("min_sources") else default.min_sources,
        max_age_ns=row.duration("max_age", format_duration(default.max_age_ns), zero=False),
        max_ahead_ns=row.duration("max_ahead", format_duration(default.max_ahead_ns)),
        outlier_band=row.rate("outlier_band", 1, RATE_ONE, format_units(default.outlier_band, 9)),
        max_confidence=row.rate("max_confidence", 0, RATE_ONE, format_units(default.max_confidence, 9)),
        max_dispersion=row.rate("max_dispersion", 0, RATE_ONE, format_units(default.max_dispersion, 9)),
        volatile_band=row.rate("volatile_band", 0, RATE_MAX, format_units(default.volatile_band, 9)),
        average_half_life_ns=row.duration(
            "average_half_life", format_duration(default.average_half_life_ns), zero=False
        ),
        frozen_after_ns=row.duration("frozen_after", format_duration(default.frozen_after_ns)),
    )


def _read_feed(
    name: str, row: Fields, default: FeedRules, sources: Mapping[str, SourceRules], assets: Mapping[str, Asset]
) -> FeedRules:
    base = row.text("base", None)
    # the tick of an asset is in the reporting asset, that of a ratio to another feed is not
    tick = row.step("tick", assets[name].tick if name in assets and base is None else None)
    feed = replace(
        _read_guards(row, default),
        name=name,
        tick=tick,
        sources=_read_feed_sources(row, sources),
        score=read_score(row.sub("score", {}), default.score),
        base=base,
        delay_ns=row.duration("delay", "0s"),
        growth_cap=_read_growth_cap(row, tick),
        jump_limit=_read_jump_limit(row),
    )
    row.finish()
    return feed


def _read_feed_sources(row: Fields, sources: Mapping[str, SourceRules]) -> tuple[SourceRules, ...]:
    """Return the feed's sources in the order in which the oracle table names them."""
    given = row.take("sources", None)
    if isinstance(given, dict):
        own = dict(row.tables("sources"))
    else:
        own = {name: Fields({}, row.at("sources")) for name in (row.names("sources") if given is not None else sources)}
    for name in own:
        require_name(name, row.at("sources"), sources, "source of the oracle")
    chosen = tuple(read_source(own[name], source) for name, source in sources.items() if name in own)
    if not 1 <= len(chosen) <= SOURCES_MAX:
        raise RulebookError(f"{row.at('sources')} has {len(chosen)} names: a feed has from 1 to {SOURCES_MAX} sources")
    return chosen


def _with_min_sources(feed: FeedRules, path: str, sources_path: str) -> FeedRules:
    count = len(feed.sources)
    if feed.min_sources > count:
        raise RulebookError(
            f"{path} is {feed.min_sources}, but {sources_path} has {count}: the feed would never have a price, "
            f"so lower the one or add to the other"
        )
    return replace(feed, min_sources=feed.min_sources or min(2, count))


def _read_growth_cap(row: Fields, tick: Fraction) -> GrowthCap | None:
    if row.take("growth_cap", None) is None:
        return None
    table = row.sub("growth_cap")
    ratio = table.price("ratio", tick, FEED_PRICE_MAX)
    cap = GrowthCap(ratio, table.time("since"), table.rate("yearly", 0, RATE_MAX))
    table.finish()
    return cap


def _read_jump_limit(row: Fields) -> JumpLimit | None:
    if row.take("jump_limit", None) is None:
        return None
    table = row.sub("jump_limit")
    limit = JumpLimit(table.rate("ratio", RATE_ONE + 1, JUMP_MAX), table.duration("window", zero=False))
    table.finish()
    return limit


def _check_bases(rows: Mapping[str, Fields], feeds: list[FeedRules]) -> None:
    """Refuse a base that does not exist or is a ratio itself: a price is made of two feeds at most."""
    bases = {feed.name: feed.base for feed in feeds}
    for feed in feeds:
        if feed.base is None:
            continue
        path = rows[feed.name].at("base")
        require_name(feed.base, path, bases, "feed")
        if bases[feed.base] is not None:
            ratio = "the feed itself" if feed.base == feed.name else f"a ratio to {bases[feed.base]!r}"
            raise RulebookError(f"{path} is {feed.base!r}, {ratio}: use a feed that has no base")
