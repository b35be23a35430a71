"""The oracle of a house: quotes, books and time in; prices one may act on, and who may act on them, out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from marginkeep.errors import InvariantViolation
from marginkeep.oracle.aggregation import DISPERSION, FLAGS, INDEX, NEWEST_NS
from marginkeep.oracle.breakers import venue_state
from marginkeep.oracle.building import asset_lines, feed_prices, find_dependents, market_lines
from marginkeep.oracle.evidence import Evidence
from marginkeep.oracle.feeds import Feeds
from marginkeep.rulebook.oracle_rules import MARKET_STATES, OPEN, QUALITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray

    from marginkeep.oracle.feeds import Intake
    from marginkeep.oracle.lines import AssetLine, Line, MarketLine
    from marginkeep.rulebook import Tables
    from marginkeep.rulebook.oracle_rules import FeedRules, OracleRules

SWEEP_NS: Final = 1_000_000_000
"""What changes with time alone (averages, stable prices, breakers, pegs, delays) is looked at this often."""

_ALL_CLEAR: Final = "nothing holds it any more, and its latest price is within all bounds"


class Note(NamedTuple):
    """A change of quality, market state, peg or source, in words: what changed, from what, to what, and why."""

    what: Literal["quality", "market", "peg", "source"]
    name: str
    before: str
    after: str
    why: str


@dataclass(slots=True)
class Movement:
    """What a step of the oracle changed.

    Attributes
    ----------
    marks, prices : market or asset index -> trusted price in ticks, where it moved
    announced : asset index -> price in ticks that comes next, and when
    waits : the latest price of a line moved, and liquidation may not use it yet
    gates : some action may be possible, or impossible, that was not before
    weights : a peg changed stage, and with it an asset's collateral weight
    """

    marks: dict[int, int] = field(default_factory=dict)
    prices: dict[int, int] = field(default_factory=dict)
    announced: dict[int, tuple[int, int]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    waits: bool = False
    gates: bool = False
    weights: bool = False

    @property
    def acts(self) -> bool:
        """Tell whether accounts have to be looked at."""
        return bool(self.marks or self.prices or self.announced or self.waits or self.gates or self.weights)


class Oracle:
    """All feeds and lines of a rulebook.

    Parameters
    ----------
    tables : of a rulebook that has oracle rules
    markets, assets : by index, the lowest and highest price in ticks that the books can hold

    Attributes
    ----------
    assets, markets : index -> line, for those that the oracle prices
    evidence : what decisions at these prices are explained with
    """

    __slots__ = (
        "_announced",
        "_asks",
        "_dependents",
        "_held",
        "_prices",
        "_swept_ns",
        "_venue",
        "assets",
        "evidence",
        "feeds",
        "markets",
        "rules",
    )

    def __init__(self, tables: Tables, markets: Sequence[tuple[int, int]], assets: Sequence[tuple[int, int]]) -> None:
        rules = tables.rulebook.oracle
        if rules is None:
            raise InvariantViolation("an oracle was made for a rulebook without oracle rules")
        self.rules: OracleRules = rules
        self.feeds = Feeds(rules.feeds)
        self._prices = feed_prices(rules)
        by_name = {feed.name: price for feed, price in zip(rules.feeds, self._prices, strict=True)}
        self.assets = asset_lines(tables, by_name, assets)
        self.markets = market_lines(tables, by_name, markets)
        self._dependents = find_dependents(rules, by_name, self.assets, self.markets)
        self.evidence = Evidence(self.feeds, self._prices)
        self._held = OPEN
        self._asks = False  # an operator has acted: the venue's state must be computed
        self._venue = OPEN
        self._swept_ns = 0
        self._announced: dict[int, tuple[int, int]] = {}

    # Steps -----------------------------------------------------------------------------------------------------

    def take(self, quotes: NDArray[np.int64], now_ns: int) -> tuple[Intake, Movement]:
        """Take quotes in (see `Feeds.take`) and return what they changed."""
        intake = self.feeds.take(quotes, now_ns)
        # A quote that moves nothing is evidence too, also for a second decision of the same nanosecond.
        self.evidence = Evidence(self.feeds, self._prices)
        movement = self._step(intake, [])
        return intake, movement

    def advance(self, now_ns: int) -> Movement:
        """Let time pass."""
        return self._step(self.feeds.advance(now_ns), [])

    def look_again(self, markets: Iterable[int], now_ns: int) -> Movement:
        """Compose marks anew after a book, a trade or a hold has been observed."""
        return self._step(self.feeds.advance(now_ns), [self.markets[index] for index in markets])

    def hold(self, market: int | None, state: int, now_ns: int) -> None:
        """Keep one market, or all, at a state or worse; `look_again` must follow."""
        self._asks = True
        if market is None:
            self._held = state
        else:
            self.markets[market].breaker.hold(state, now_ns)

    def release(self, market: int | None) -> None:
        """End an operator's hold; `look_again` must follow."""
        self._asks = True
        if market is None:
            self._held = OPEN
        else:
            self.markets[market].breaker.release()

    def _step(self, intake: Intake, markets: list[MarketLine]) -> Movement:
        movement = Movement(notes=self._source_notes(intake))
        is_sweep = intake.now_ns - self._swept_ns >= SWEEP_NS
        if not is_sweep and not intake.feeds and not markets:
            return movement
        changed = self._update_feeds(range(len(self._prices)) if is_sweep else intake.feeds, intake.now_ns)
        if is_sweep:
            self._swept_ns = intake.now_ns
            for price in self._prices:
                price.sample(intake.now_ns)
        assets, touched = self._lines_of(changed, is_sweep, markets)
        self._update_assets(assets, intake.now_ns, is_sweep, movement)
        self._update_markets(touched, intake.now_ns, is_sweep, movement)
        self._announce(movement)
        return movement

    def _update_feeds(self, numbers: Sequence[int], now_ns: int) -> list[int]:
        """Bring feeds' prices up to date, bases before the ratios to them; return those that changed."""
        changed = []
        pending = [number for number in numbers if self._prices[number].base is None]
        ratios = [number for number in numbers if self._prices[number].base is not None]
        rows = self.feeds.feeds[pending].tolist()
        for number, row in zip(pending, rows, strict=True):
            if self._update_feed(number, row, now_ns):
                changed.append(number)
                ratios += [ratio for ratio in self._dependents[number].ratios if ratio not in ratios]
        rows = self.feeds.feeds[ratios].tolist()
        changed += [number for number, row in zip(ratios, rows, strict=True) if self._update_feed(number, row, now_ns)]
        return changed

    def _update_feed(self, number: int, row: list[int], now_ns: int) -> bool:
        return self._prices[number].update(row[INDEX], row[FLAGS], row[NEWEST_NS], row[DISPERSION], now_ns)

    def _lines_of(
        self, changed: list[int], is_sweep: bool, markets: list[MarketLine]
    ) -> tuple[list[AssetLine], list[MarketLine]]:
        """Return the lines to bring up to date, each once, in the order of the tables."""
        if is_sweep:
            return list(self.assets.values()), list(self.markets.values())
        assets: dict[int, AssetLine] = {}
        touched = {line.index: line for line in markets}
        for number in changed:
            assets.update((line.index, line) for line in self._dependents[number].assets)
            touched.update((line.index, line) for line in self._dependents[number].markets)
        return [assets[index] for index in sorted(assets)], [touched[index] for index in sorted(touched)]

    def _update_assets(self, lines: list[AssetLine], now_ns: int, is_sweep: bool, movement: Movement) -> None:
        for line in lines:
            before, stage = _standing(line), line.state_name
            if line.update(now_ns, is_sweep):
                movement.weights = movement.gates = True
                assert line.peg is not None
                movement.notes.append(Note("peg", line.name, stage, line.state_name, line.peg.why))
            self._note_changes(line, before, movement, movement.prices)

    def _update_markets(self, lines: list[MarketLine], now_ns: int, is_sweep: bool, movement: Movement) -> None:
        before = [_standing(line) for line in lines]
        changed = [line for line in lines if line.update(now_ns, is_sweep)]
        if changed or is_sweep or self._asks:
            self._asks = False
            lines = self._follow_venue(lines, before, now_ns, is_sweep)
        for line, standing in zip(lines, before, strict=True):
            state = line.state
            if line.settle(self._venue):
                movement.gates = True
                why = line.why or _ALL_CLEAR
                movement.notes.append(Note("market", line.name, MARKET_STATES[state], line.state_name, why))
            self._note_changes(line, standing, movement, movement.marks)

    def _follow_venue(
        self, lines: list[MarketLine], before: list[tuple[int, int, int]], now_ns: int, is_sweep: bool
    ) -> list[MarketLine]:
        """Compute the venue's state; where it changed, every market has to settle, and `before` grows by the others."""
        venue = max(self._held, venue_state([line.breaker.state for line in self.markets.values()], self.rules.venue))
        if venue == self._venue:
            return lines
        self._venue = venue
        others = [line for line in self.markets.values() if line not in lines]
        before += [_standing(line) for line in others]
        for line in others:
            line.update(now_ns, is_sweep)
        return [*lines, *others]

    def _note_changes(
        self, line: Line, before: tuple[int, int, int], movement: Movement, moved: dict[int, int]
    ) -> None:
        trusted, latest, flags = before
        self.evidence.forget(line)
        movement.waits = movement.waits or (line.latest != latest and line.waits)
        if line.trusted != trusted:
            moved[line.index] = line.trusted
        if line.flags != flags:
            movement.gates = True
            quality = QUALITIES[flags.bit_length() - 1]
            if quality != line.quality:
                why = self.evidence.why_quality(line)
                movement.notes.append(Note("quality", line.name, quality, line.quality, why))

    def _source_notes(self, intake: Intake) -> list[Note]:
        notes = []
        for pairs, words in (
            (intake.quarantined, ("trusted", "quarantined")),
            (intake.returned, ("quarantined", "trusted")),
        ):
            for feed, source in pairs:
                rules = self.rules.feeds[feed]
                why = (
                    "too many of its quotes were late or outliers"
                    if words[1] == "quarantined"
                    else "it quotes well again"
                )
                notes.append(Note("source", f"{rules.sources[source].name}:{rules.name}", *words, why))
        return notes

    def _announce(self, movement: Movement) -> None:
        """Note the prices to come of delayed feeds, each once: the product with a base moves on, its time does not."""
        for line in self.assets.values():
            coming = line.source.feed.announced
            if coming is None:
                self._announced.pop(line.index, None)
                continue
            ticks, at_ns = line.source.ticks(coming[0]), coming[1]
            known = self._announced.get(line.index)
            if (known is None or known[1] != at_ns) and line.bounds[0] <= ticks <= line.bounds[1]:
                self._announced[line.index] = movement.announced[line.index] = (ticks, at_ns)

    # Asking ----------------------------------------------------------------------------------------------------

    def price_of(self, number: int) -> Fraction:
        """Return what the house takes a feed's price to be, in the reporting asset; 0 before the first."""
        feed = self._prices[number]
        return feed.ticks * feed.unit

    def waiting(self) -> tuple[list[MarketLine], list[AssetLine]]:
        """Return the lines whose latest price margin calls may name and liquidation may not use yet."""
        markets, assets = self.markets.values(), self.assets.values()
        return [line for line in markets if line.waits], [line for line in assets if line.waits]

    # Snapshots -------------------------------------------------------------------------------------------------

    def save(self) -> list[Any]:
        """Return the whole state as lists."""
        return [
            self.feeds.save(),
            [price.save() for price in self._prices],
            [line.save() for line in self.assets.values()],
            [line.save() for line in self.markets.values()],
            [self._held, self._venue, self._swept_ns],
            [[index, *coming] for index, coming in sorted(self._announced.items())],
        ]

    def start_from(self, marks: Sequence[int], prices: Sequence[int]) -> None:
        """Let lines without a price of their own trust the house's present ones, in ticks by index; 0 = none."""
        for index, market in self.markets.items():
            market.trusted = market.trusted or marks[index]
        for index, line in self.assets.items():
            line.trusted = line.trusted or prices[index]

    def carry_over(self, old: Oracle) -> None:
        """Take over what the oracle of an earlier rulebook knows, as far as the rules it belongs to are the same."""
        self.feeds.carry_over(old.feeds)
        before = {feed.name: (feed, price) for feed, price in zip(old.rules.feeds, old._prices, strict=True)}
        for feed, price in zip(self.rules.feeds, self._prices, strict=True):
            rules, known = before.get(feed.name, (feed, price))
            if known.unit == price.unit and rules.base == feed.base:
                price.restore(_kept(rules, feed, known.save()))
        for index, line in self.assets.items():
            if index in old.assets:
                line.carry_over(old.assets[index])
        for index, market in self.markets.items():
            if index in old.markets:
                market.carry_over(old.markets[index])
        self._held, self._venue = old._held, old._venue
        self._announced = {index: coming for index, coming in old._announced.items() if index in self.assets}

    def restore(self, saved: list[Any]) -> None:
        """Take over the state of an oracle with the same rules."""
        feeds, prices, assets, markets, own, announced = saved
        self.feeds.restore(feeds)
        for parts, states in ((self._prices, prices), (self.assets.values(), assets), (self.markets.values(), markets)):
            for part, state in zip(parts, states, strict=True):
                part.restore(state)  # type: ignore[attr-defined]
        self._held, self._venue, self._swept_ns = own
        self._announced = {index: (ticks, at_ns) for index, ticks, at_ns in announced}


def _kept(old: FeedRules, new: FeedRules, saved: list[Any]) -> list[Any]:
    """Return a feed's saved state without the parts whose rules have changed: they begin anew."""
    own, average, limiter, delayed = saved
    if (old.volatile_band > 0, old.average_half_life_ns) != (new.volatile_band > 0, new.average_half_life_ns):
        own, average = [0, *own[1:]], None
    if old.jump_limit != new.jump_limit:
        limiter = None
    if old.delay_ns != new.delay_ns:
        delayed = None
    return [own, average, limiter, delayed]


def _standing(line: Line) -> tuple[int, int, int]:
    return line.trusted, line.latest, line.flags
