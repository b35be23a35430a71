"""Price candles on one time grid for a replay: read, repaired, and every repair counted and said.

No price is ever taken from the future: a gap holds the last close, a symbol that begins late cuts the start or is
left out, and a bar longer than the grid step stands where it closes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.errors import PriceFileError
from marginkeep.lab.price_files import (
    PriceRows,
    bar_length_ns,
    read_price_rows,
    time_text,
    timeframe_ns,
    timeframe_text,
    wanted_symbols,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_MARK_KINDS: Final = frozenset({"mark_or_index", "mark", "index"})
_PRICE_NAMES: Final = ("open", "high", "low", "close")
_PRICE_COLUMNS: Final = len(_PRICE_NAMES)
_CLOSE: Final = 3
_SYMBOLS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Candles of S symbols on a grid of T times.

    Attributes
    ----------
    symbols : names, ccxt style, one a column
    times_ns : int64[T], open time of each grid step, nanoseconds UTC, strictly rising; a time at which no symbol
        has a bar is absent. A bar longer than the grid step stands at the step in which it closes.
    open, high, low, close : float64[T, S], quote units for one base unit; NaN where the symbol has no bar
    volume : float64[T, S], base units, NaN where unknown
    step_ns : length of the shortest bar, nanoseconds
    symbol_steps_ns : length of each symbol's bars
    repairs : sentences saying what was repaired, chosen or left out
    counts : name -> how many, zero included
    """

    symbols: tuple[str, ...]
    times_ns: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    step_ns: int
    symbol_steps_ns: tuple[int, ...]
    repairs: tuple[str, ...]
    counts: Mapping[str, int]


def read_candles(
    path: str | Path,
    *,
    symbols: Sequence[str] | None = None,
    timeframe: str | None = None,
    symbol: str | None = None,
    drop_bad_rows: bool = False,
) -> Candles:
    """Read candles from Parquet, CSV or gzip CSV, one series a symbol.

    Columns: a time (`ts`, `timestamp`, `time`, `date`, `datetime` or `open_time`; a timestamp, ISO 8601 text, or
    epoch s, ms, us or ns; UTC where no zone is given), `open`, `high`, `low`, `close`, and optionally `volume`,
    `symbol`, `venue`, `timeframe`, `price_kind`, `source`. Exchange kline files of 12 columns need no header.

    Where a symbol has several series, one is taken: never `implied` prices if there are others, then the shortest
    bars, then mark prices before last prices, then the most rows, then by name.

    Parameters
    ----------
    symbols : which to read, in this order; all, sorted, when None
    timeframe : read only bars of this length, such as ``5m``
    symbol : what the rows are, when the file has no symbol column and its name does not begin with one
    drop_bad_rows : drop and count rows with a price that is no finite positive number, instead of refusing the file

    Raises
    ------
    PriceFileError : an unreadable file, missing columns or rows, a bad time or price, an unknown symbol or timeframe
    """
    rows = read_price_rows(path, symbol=symbol)
    try:
        picks, sentences = _pick(rows, symbols, timeframe)
        unused = len(rows.times_ns) - sum(pick.rows for pick in picks)
        counts = {"rows": len(rows.times_ns), "unused_rows": unused}
        ledger = _Ledger(tuple(pick.symbol for pick in picks), sentences, counts)
        bars = _repaired(_bars_of(rows, picks, ledger), ledger, drop_bad_rows)
    except PriceFileError as error:
        raise PriceFileError(f"{path}: {error}") from error
    return _aligned(bars, [pick.step_ns for pick in picks], ledger)


def window(candles: Candles, start_ns: int | None = None, end_ns: int | None = None) -> Candles:
    """Return the candles with `start_ns <= time < end_ns`; None leaves that side open.

    Fill first and cut afterwards where the price before the window should still count.

    Raises
    ------
    PriceFileError : no bar lies in the window
    """
    times = candles.times_ns
    first = 0 if start_ns is None else int(np.searchsorted(times, start_ns))
    stop = len(times) if end_ns is None else int(np.searchsorted(times, end_ns))
    if first >= stop:
        asked = " until before ".join("any" if at is None else time_text(at) for at in (start_ns, end_ns))
        span = f"{time_text(times[0])} to {time_text(times[-1])}"
        raise PriceFileError(f"no bar from {asked}: the prices run from {span}, choose a window inside")
    return _taken(candles, np.arange(first, stop), np.arange(len(candles.symbols)))


def filled(candles: Candles, *, keep: Sequence[str] = ()) -> Candles:
    """Return candles without NaN prices: gaps hold the previous close, the start waits until all have begun.

    The start is the one that keeps most bars, each symbol counted until its last, and with equal bars most symbols;
    symbols that begin later or end before are left out. A filled bar is flat at the previous close, its volume NaN.

    Parameters
    ----------
    keep : symbols that must not be left out, however late they begin

    Raises
    ------
    PriceFileError : a symbol of `keep` has no bar
    """
    present = ~np.isnan(candles.close)
    ledger = _Ledger(candles.symbols, list(candles.repairs), dict(candles.counts))
    start, columns = _best_start(candles, present, keep)
    _report_cut(candles, start, columns, ledger)
    last = np.maximum.accumulate(np.where(present, np.arange(len(present))[:, None], 0), axis=0)
    times = start + np.flatnonzero(present[start:, columns].any(axis=1))
    _report_filled(candles, last, np.ix_(times, columns), ledger)
    held = np.take_along_axis(candles.close, last, axis=0)
    whole = replace(
        candles,
        open=np.where(present, candles.open, held),
        high=np.where(present, candles.high, held),
        low=np.where(present, candles.low, held),
        close=held,
        repairs=tuple(ledger.sentences),
        counts=ledger.counts,
    )
    return _taken(whole, times, columns)


@dataclass(frozen=True, slots=True)
class _Pick:
    """The one series taken for a symbol."""

    symbol: str
    code: int
    rows: int
    step_ns: int
    rank: tuple[object, ...]
    label: str


@dataclass(frozen=True, slots=True)
class _Bars:
    """Rows of the picked series: row number in the file from 1, column in the grid, times, float64[N, 5]."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    times_ns: NDArray[np.int64]
    ohlcv: NDArray[np.float64]

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> _Bars:
        return _Bars(self.row[which], self.column[which], self.times_ns[which], self.ohlcv[which])


@dataclass(slots=True)
class _Ledger:
    """Counts repairs by symbol and writes one sentence for each kind that happened."""

    symbols: tuple[str, ...]
    sentences: list[str]
    counts: dict[str, int]

    def add(self, name: str, by_symbol: NDArray[np.int64], sentence: str) -> None:
        total = int(by_symbol.sum())
        self.counts[name] = self.counts.get(name, 0) + total
        if total:
            self.sentences.append(f"{total:,} {sentence} ({self._tally(by_symbol)})")

    def add_rows(self, name: str, columns: NDArray[np.int64], sentence: str) -> None:
        self.add(name, np.bincount(columns, minlength=len(self.symbols)), sentence)

    def _tally(self, by_symbol: NDArray[np.int64]) -> str:
        order = [int(column) for column in np.argsort(-by_symbol, kind="stable") if by_symbol[column]]
        shown = [f"{self.symbols[column]} {by_symbol[column]:,}" for column in order[:_SYMBOLS_SHOWN]]
        more = len(order) - len(shown)
        return ", ".join(shown) + (f" and {more} more symbols" if more else "")


def _pick(rows: PriceRows, symbols: Sequence[str] | None, timeframe: str | None) -> tuple[list[_Pick], list[str]]:
    """Choose one series for each wanted symbol, in the wanted order, and say what was not taken."""
    wanted = wanted_symbols(rows, symbols)
    step_ns = timeframe_ns(timeframe) if timeframe is not None else None
    if timeframe is not None and step_ns is None:
        raise PriceFileError(f"timeframe is {timeframe!r}: write a number and a unit, such as 1m, 5m, 1h or 1d")
    found: dict[str, list[_Pick]] = {}
    sentences: list[str] = []
    for code, name in enumerate(rows.series):
        if name.symbol in wanted:
            found.setdefault(name.symbol, []).append(_candidate(rows, code, sentences))
    picks: list[_Pick] = []
    for symbol in wanted:
        of_length = [one for one in found[symbol] if step_ns in (None, one.step_ns)]
        if of_length:
            picks.append(min(of_length, key=lambda one: one.rank))
        elif symbols is not None:
            raise PriceFileError(f"{symbol} has no {timeframe} bars: it has {_labels(found[symbol])}")
        others = [one for one in found[symbol] if one not in picks]
        if others:
            taken = picks[-1].label if of_length else f"nothing, for it has no {timeframe} bars"
            sentences.append(f"{symbol}: took {taken}; left out {_labels(others)}")
    if not picks:
        steps = sorted({one.step_ns for candidates in found.values() for one in candidates})
        raise PriceFileError(f"no {timeframe} bars: the file has {', '.join(map(timeframe_text, steps))}")
    return picks, sentences


def _labels(picks: list[_Pick]) -> str:
    return ", ".join(pick.label for pick in sorted(picks, key=lambda one: one.rank))


def _candidate(rows: PriceRows, code: int, sentences: list[str]) -> _Pick:
    name = rows.series[code]
    times = rows.times_ns[rows.series_of == code]
    step_ns = bar_length_ns(times, timeframe_ns(name.timeframe), f"{name.symbol} {name.describe()}", sentences)
    label = f"{name.describe()} ({len(times):,} rows)"
    is_implied, is_last = name.price_kind == "implied", name.price_kind not in _MARK_KINDS
    return _Pick(name.symbol, code, len(times), step_ns, (is_implied, step_ns, is_last, -len(times), label), label)


def _bars_of(rows: PriceRows, picks: list[_Pick], ledger: _Ledger) -> _Bars:
    """Keep the rows of the picked series; an implied series has closes only, which stand for the whole bar."""
    column_of = np.full(len(rows.series), -1)
    column_of[[pick.code for pick in picks]] = np.arange(len(picks))
    columns = column_of[rows.series_of]
    bars = _Bars(np.arange(1, len(columns) + 1), columns, rows.times_ns, rows.ohlcv).take(columns >= 0)
    implied = np.array([rows.series[pick.code].price_kind == "implied" for pick in picks])
    close_only = implied[bars.column] & np.isnan(bars.ohlcv[:, :_CLOSE]).all(axis=1)
    bars.ohlcv[close_only, :_CLOSE] = bars.ohlcv[close_only, _CLOSE, None]
    ledger.add_rows("close_only", bars.column[close_only], "implied bars have a close only: it is the whole bar")
    return bars


def _repaired(bars: _Bars, ledger: _Ledger, drop_bad_rows: bool) -> _Bars:
    bars = _without_bad_rows(bars, ledger, drop_bad_rows)
    bars = _without_duplicates(_sorted(bars, ledger), ledger)
    prices = bars.ohlcv[:, :_PRICE_COLUMNS]
    high, low = prices.max(axis=1), prices.min(axis=1)
    narrow = (high > prices[:, 1]) | (low < prices[:, 2])
    bars.ohlcv[:, 1], bars.ohlcv[:, 2] = high, low
    ledger.add_rows("widened", bars.column[narrow], "bars had a high or low inside open and close: widened")
    return bars


def _without_bad_rows(bars: _Bars, ledger: _Ledger, drop_bad_rows: bool) -> _Bars:
    prices = bars.ohlcv[:, :_PRICE_COLUMNS]
    bad_cells = ~(np.isfinite(prices) & (prices > 0))
    bad = np.logical_or.reduce(bad_cells, axis=1)
    if bad.any() and not drop_bad_rows:
        first = int(np.argmax(bad))
        cell = int(np.argmax(bad_cells[first]))
        raise PriceFileError(
            f"row {bars.row[first]}: {ledger.symbols[bars.column[first]]} at {time_text(bars.times_ns[first])}: "
            f"{_PRICE_NAMES[cell]} is {prices[first, cell]}, not a finite number above 0 ({int(bad.sum()):,} "
            "such rows): correct the file, or drop such rows with --drop-bad-rows (drop_bad_rows)"
        )
    ledger.add_rows("dropped_rows", bars.column[bad], "rows had a price that is no finite positive number: dropped")
    kept = bars.take(~bad)
    empty = [name for column, name in enumerate(ledger.symbols) if column not in kept.column]
    if empty:
        raise PriceFileError(f"{empty[0]}: every row has a bad price: leave the symbol out or correct the file")
    return kept


def _sorted(bars: _Bars, ledger: _Ledger) -> _Bars:
    """Sort by symbol and time; rows of equal time stay in file order."""
    as_filed = bars.take(np.argsort(bars.column, kind="stable"))
    back = (np.diff(as_filed.times_ns) < 0) & (np.diff(as_filed.column) == 0)
    ledger.add_rows("unsorted", as_filed.column[1:][back], "rows were earlier than the row before: sorted")
    return as_filed.take(np.lexsort((as_filed.times_ns, as_filed.column)))


def _without_duplicates(bars: _Bars, ledger: _Ledger) -> _Bars:
    """Keep the last row of each symbol and time."""
    same = (np.diff(bars.times_ns) == 0) & (np.diff(bars.column) == 0)
    is_last = np.append(~same, True)
    group = np.append(0, np.cumsum(~same))
    kept = bars.take(is_last)
    extra, final = bars.ohlcv[~is_last, :_PRICE_COLUMNS], kept.ohlcv[group[~is_last], :_PRICE_COLUMNS]
    equal = (extra == final).all(axis=1)
    columns = bars.column[~is_last]
    ledger.add_rows("duplicates", columns[equal], "rows repeated the time and prices of another: dropped")
    conflict = "rows had the time of another but other prices: kept the last"
    ledger.add_rows("conflicting_duplicates", columns[~equal], conflict)
    return kept


def _aligned(bars: _Bars, steps_ns: list[int], ledger: _Ledger) -> Candles:
    """Put the bars, sorted by symbol and time, on the union of their times."""
    _report_gaps(bars, np.array(steps_ns), ledger)
    step_ns = min(steps_ns)
    # A long bar's close is known only when it ends: at its own open time it would be a price from the future.
    times_ns = bars.times_ns + (np.array(steps_ns) - step_ns)[bars.column]
    pairs = zip(ledger.symbols, steps_ns, strict=True)
    longer = [f"{name} {timeframe_text(step)}" for name, step in pairs if step > step_ns]
    if longer:
        ledger.sentences.append(f"bars longer than the grid step stand where they close: {', '.join(longer)}")
    grid, place = np.unique(times_ns, return_inverse=True)
    table = np.full((bars.ohlcv.shape[1], len(grid), len(steps_ns)), np.nan)
    table[:, place.reshape(-1), bars.column] = bars.ohlcv.T
    about = (step_ns, tuple(steps_ns), tuple(ledger.sentences), ledger.counts)
    return Candles(ledger.symbols, grid, table[0], table[1], table[2], table[3], table[4], *about)


def _report_gaps(bars: _Bars, steps_ns: NDArray[np.int64], ledger: _Ledger) -> None:
    column = bars.column[1:]
    missing = np.maximum(np.rint(np.diff(bars.times_ns) / steps_ns[column]).astype(np.int64) - 1, 0)
    missing[np.diff(bars.column) != 0] = 0
    by_symbol = np.bincount(column, weights=missing, minlength=len(ledger.symbols)).astype(np.int64)
    ledger.add("gaps", by_symbol, "bars are missing between a symbol's first and last")


def _best_start(candles: Candles, present: NDArray[Any], keep: Sequence[str]) -> tuple[int, NDArray[np.int64]]:
    """Return the start index and the kept columns that together keep most bars."""
    begun = present.any(axis=0)
    first = np.where(begun, present.argmax(axis=0), len(present))
    final = len(present) - 1 - present[::-1].argmax(axis=0)
    must = np.array([name in keep for name in candles.symbols])
    for name in keep:
        if name not in candles.symbols or first[candles.symbols.index(name)] == len(present):
            raise PriceFileError(f"{name} must be kept but has no bar: the prices have {', '.join(candles.symbols)}")
    earliest = int(first[must].max(initial=0))
    best, best_start, any_present = (-1, -1), earliest, np.zeros(len(present), dtype=np.bool_)
    for column in np.argsort(first, kind="stable")[: int(begun.sum())]:
        any_present |= present[:, column]
        start = max(int(first[column]), earliest)
        kept, rows = (first <= start) & ((final >= start) | must), np.cumsum(any_present)
        lives = rows[final[kept]] - rows[start] + int(any_present[start])
        score = (int(lives.clip(0).sum()), int(kept.sum()))
        if score > best:
            best, best_start = score, start
    return best_start, np.flatnonzero((first <= best_start) & ((final >= best_start) | must))


def _report_cut(candles: Candles, start: int, columns: NDArray[np.int64], ledger: _Ledger) -> None:
    cut = [name for column, name in enumerate(candles.symbols) if column not in columns]
    for name, count in (("cut_times", start), ("cut_symbols", len(cut))):
        ledger.counts[name] = ledger.counts.get(name, 0) + count
    begin = time_text(candles.times_ns[start])
    if start:
        ledger.sentences.append(f"{start:,} times before {begin} were cut: not every kept symbol had begun")
    if cut:
        ledger.sentences.append(f"symbols left out, for they begin after {begin} or end before: {', '.join(cut)}")


def _report_filled(candles: Candles, last: NDArray[np.int64], kept: tuple[Any, ...], ledger: _Ledger) -> None:
    """Count stale prices; between two bars of a longer timeframe a price is not stale until the next is due."""
    age_ns = candles.times_ns[:, None] - candles.times_ns[last]
    stale = np.zeros(last.shape, dtype=np.bool_)
    stale[kept] = (age_ns >= np.array(candles.symbol_steps_ns))[kept]
    ended = last == last[-1]
    ledger.add("filled_bars", (stale & ~ended).sum(axis=0), "missing bars were filled with the previous close")
    ledger.add("ended_bars", (stale & ended).sum(axis=0), "bars after a symbol's last one hold its last close")


def _taken(candles: Candles, times: NDArray[np.int64], columns: NDArray[np.int64]) -> Candles:
    """Return some rows and columns."""
    cells = np.ix_(times, columns)
    return replace(
        candles,
        symbols=tuple(candles.symbols[column] for column in columns),
        times_ns=candles.times_ns[times],
        open=candles.open[cells],
        high=candles.high[cells],
        low=candles.low[cells],
        close=candles.close[cells],
        volume=candles.volume[cells],
        symbol_steps_ns=tuple(candles.symbol_steps_ns[column] for column in columns),
    )
