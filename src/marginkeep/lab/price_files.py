"""Read rows of price candles from Parquet and CSV files: columns found, times in UTC, nothing repaired yet."""

from __future__ import annotations

import csv
import difflib
import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.errors import PriceFileError
from marginkeep.units import INT64_SAFE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_TIME_NAMES: Final = ("ts", "timestamp", "time", "date", "datetime", "open_time")
_PRICE_NAMES: Final = ("open", "high", "low", "close")
_SERIES_NAMES: Final = ("symbol", "venue", "timeframe", "price_kind", "source")
_KLINE_NAMES: Final = ("open_time", *_PRICE_NAMES, "volume", "close_time", "quote_volume", "count")
_KLINE_COLUMNS: Final = 12
_FIRST_LINE_BYTES: Final = 65_536
_NAMES_SHOWN: Final = 12

_UNIT_NS: Final = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 604_800 * 10**9}
_TIMEFRAME_PATTERN = re.compile(r"([1-9]\d{0,3})([smhdw])\Z")
_TIMEFRAME_IN_NAME = re.compile(r"[-_]([1-9]\d{0,3}[smhdw])(?=[-_.]|\Z)")
_SYMBOL_IN_NAME = re.compile(
    r"(?P<base>[A-Z0-9]{2,}?)[-_]?(?P<quote>USDT|USDC|FDUSD|TUSD|BUSD|USD|EUR|BTC|ETH|BNB)"
    r"([-_](?P<settle>PERP|USDT|USDC|USD|BTC))?(?=[-_.]|\Z)"
)


@dataclass(frozen=True, slots=True)
class SeriesName:
    """What tells one series of a file from another; a column the file does not have is an empty text."""

    symbol: str
    venue: str
    timeframe: str
    price_kind: str
    source: str

    def describe(self) -> str:
        """Return the name without the symbol, for example ``binance 5m last``."""
        return " ".join(filter(None, (self.venue, self.timeframe, self.price_kind, self.source))) or "unnamed"


@dataclass(frozen=True, slots=True)
class PriceRows:
    """The rows of one file in file order, N of them.

    Attributes
    ----------
    times_ns : int64[N], bar open times, nanoseconds UTC
    ohlcv : float64[N, 5], open, high, low, close and volume in quote and base units, NaN where absent
    series_of : int64[N], index into `series`
    series : the names of all series in the file
    """

    times_ns: NDArray[np.int64]
    ohlcv: NDArray[np.float64]
    series_of: NDArray[np.int64]
    series: tuple[SeriesName, ...]


def read_price_rows(path: str | Path, *, symbol: str | None = None) -> PriceRows:
    """Read every candle row of a Parquet, CSV or gzip CSV file; `candles.read_candles` says which columns.

    Parameters
    ----------
    path : the file; its kind is told by its first bytes
    symbol : what the rows are, when the file has no symbol column and its name does not say

    Raises
    ------
    PriceFileError : the file cannot be read, lacks columns or rows, or has a cell that is no time or number
    """
    file = Path(path)
    table = _read_table(file)
    if table.num_rows == 0:
        raise PriceFileError(f"{file}: no rows below the column names: give a file with at least two bars")
    times_ns = _times_ns(table.column("time"), file)
    absent = np.full(table.num_rows, np.nan)
    columns = [_numbers(table, name, file) for name in _PRICE_NAMES]
    columns.append(_numbers(table, "volume", file) if "volume" in table.column_names else absent)
    series_of, series = _series(table, file, symbol)
    return PriceRows(times_ns, np.column_stack(columns), series_of, series)


def timeframe_ns(text: str) -> int | None:
    """Return the length of a timeframe such as ``5m`` in nanoseconds, None when the text is not one."""
    match = _TIMEFRAME_PATTERN.match(text)
    return int(match[1]) * _UNIT_NS[match[2]] if match else None


def timeframe_text(step_ns: int) -> str:
    """Write a bar length the short way: 300 seconds are ``5m``."""
    for unit in ("d", "h", "m", "s"):
        if step_ns % _UNIT_NS[unit] == 0:
            return f"{step_ns // _UNIT_NS[unit]}{unit}"
    return f"{step_ns}ns"


def time_text(time_ns: int) -> str:
    """Write a time as ISO 8601 UTC to the second."""
    return f"{np.datetime64(int(time_ns), 'ns').astype('datetime64[s]')}Z"


def symbol_of_file_name(name: str) -> str | None:
    """Return the ccxt symbol a file name begins with, None when it does not.

    Examples
    --------
    >>> symbol_of_file_name("BTCUSDT-1m-2024-08-05.csv"), symbol_of_file_name("BTCUSD_PERP-1m.csv")
    ('BTC/USDT', 'BTC/USD:BTC')
    """
    match = _SYMBOL_IN_NAME.match(name)
    if match is None:
        return None
    base, quote, settle = match["base"], match["quote"], match["settle"]
    if settle == "PERP":
        settle = base if quote == "USD" else quote
    return f"{base}/{quote}:{settle}" if settle else f"{base}/{quote}"


def wanted_symbols(rows: PriceRows, symbols: Sequence[str] | None) -> list[str]:
    """Return the asked symbols without repetition, all sorted when None; refuse an unknown one."""
    available = sorted({name.symbol for name in rows.series})
    if symbols is None:
        return available
    wanted = list(dict.fromkeys([symbols] if isinstance(symbols, str) else symbols))
    if not wanted:
        raise PriceFileError(f"symbols is empty: name some of {', '.join(available)}, or leave it out for all")
    for name in wanted:
        if name not in available:
            near = difflib.get_close_matches(name, available, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise PriceFileError(f"no symbol {name}: {hint}The file has {', '.join(available)}")
    return wanted


def bar_length_ns(times_ns: NDArray[np.int64], stated: int | None, what: str, sentences: list[str]) -> int:
    """Return the bar length: as stated, unless the most common spacing is shorter than bars can be apart."""
    spacings, counts = np.unique(np.diff(np.unique(times_ns)), return_counts=True)
    if not len(spacings):
        if stated is None:
            raise PriceFileError(f"{what}: one time only, so the bar length is unknown: add a timeframe column")
        return stated
    common = int(spacings[np.argmax(counts)])
    if stated is not None and common < stated:
        sentences.append(f"{what}: bars are {timeframe_text(common)} apart, not {timeframe_text(stated)}")
    return common if stated is None else min(stated, common)


def _read_table(file: Path) -> Any:
    import pyarrow as pa

    try:
        with file.open("rb") as stream:
            magic = stream.read(6)
        if not magic:
            raise PriceFileError(f"{file}: the file is empty")
        if magic[:4] == b"PAR1":
            return _read_parquet(file)
        _refuse_other_formats(file, magic)
        return _read_csv(file, compressed=magic[:2] == b"\x1f\x8b")
    except FileNotFoundError as error:
        raise PriceFileError(f"{file}: no such file: check the path") from error
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:300]
        raise PriceFileError(f"{file}: cannot be read ({reason}): fetch or write the file again") from error


def _refuse_other_formats(file: Path, magic: bytes) -> None:
    if file.suffix == ".parquet":
        raise PriceFileError(f"{file}: not a Parquet file, it begins with {magic!r}: fetch or write it again")
    if magic[:4] == b"PK\x03\x04":
        raise PriceFileError(f"{file}: a zip archive: unzip it and give the CSV file inside")
    if magic == b"ARROW1":
        raise PriceFileError(f"{file}: an Arrow or Feather file: save it as Parquet or CSV")


def _read_parquet(file: Path) -> Any:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(file) as source:
        wanted = _wanted_columns(source.schema_arrow.names, file)
        table = source.read(columns=list(wanted.values()))
    return table.select(list(wanted.values())).rename_columns(list(wanted))


def _read_csv(file: Path, *, compressed: bool) -> Any:
    """Read all cells as text: pyarrow would guess types from the first block, and be wrong about later ones."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    names, has_header = _csv_names(file, compressed)
    wanted = _wanted_columns(names, file)
    reading = arrow_csv.ReadOptions(column_names=names, skip_rows=int(has_header))
    converting = arrow_csv.ConvertOptions(
        include_columns=list(wanted.values()),
        column_types=dict.fromkeys(wanted.values(), pa.string()),
        strings_can_be_null=True,
    )
    compression: Any = "gzip" if compressed else None
    stream: Any = pa.input_stream(str(file), compression=compression)
    with stream:
        table = arrow_csv.read_csv(stream, read_options=reading, convert_options=converting)
    return table.rename_columns(list(wanted))


def _csv_names(file: Path, compressed: bool) -> tuple[list[str], bool]:
    """Return the column names, and whether the first line holds them; klines may come without."""
    with gzip.open(file) if compressed else file.open("rb") as stream:
        line = stream.readline(_FIRST_LINE_BYTES).decode("utf-8-sig")
    names = next(csv.reader([line]), [])
    if not re.match(r"\s*\d+(\.\d+)?\s*\Z", names[0] if names else ""):
        return names, True
    if len(names) != _KLINE_COLUMNS:
        raise PriceFileError(
            f"{file}: the first line begins with the number {names[0]} and has {len(names)} columns: add a line "
            f"of column names, or give the {_KLINE_COLUMNS} columns of an exchange kline file"
        )
    unused = (f"unused_{column}" for column in range(len(_KLINE_NAMES), _KLINE_COLUMNS))
    return [*_KLINE_NAMES, *unused], False


def _wanted_columns(found: Sequence[str], file: Path) -> dict[str, str]:
    """Map this module's column names to the file's."""
    plain = [name.strip().lower().replace(" ", "_") for name in found]
    time_name = next((name for name in _TIME_NAMES if name in plain), None)
    missing = [name for name in _PRICE_NAMES if name not in plain]
    if time_name is None:
        missing.insert(0, f"a time column ({', '.join(_TIME_NAMES)})")
    if time_name is None or missing:
        shown = ", ".join(found[:_NAMES_SHOWN])[:400]
        more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
        raise PriceFileError(
            f"{file}: missing columns: {', '.join(missing)}. Found: {shown}{more}. "
            "Give one row for each symbol and time, with open, high, low and close; a table of one column a "
            "symbol must be unpivoted first"
        )
    pairs = {"time": time_name} | {n: n for n in (*_PRICE_NAMES, "volume", *_SERIES_NAMES) if n in plain}
    for name in pairs.values():
        if plain.count(name) > 1:
            raise PriceFileError(f"{file}: {plain.count(name)} columns are named {name!r}: keep one of them")
    return {ours: found[plain.index(theirs)] for ours, theirs in pairs.items()}


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _trimmed(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as compute

    return compute.utf8_trim_whitespace(column.cast(pa.string()))


def _numbers(table: Any, name: str, file: Path) -> NDArray[np.float64]:
    """Return a column as float64[N], nulls as NaN."""
    import pyarrow as pa

    column = table.column(name)
    column = _trimmed(column) if _is_text(column.type) else column
    return np.asarray(_cast(column, pa.float64(), name, "a number", file).to_numpy(), dtype=np.float64)


def _times_ns(column: Any, file: Path) -> NDArray[np.int64]:
    """Return a time column as nanoseconds UTC, int64[N]; times without a zone are taken as UTC."""
    import pyarrow as pa

    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise PriceFileError(f"{file}: row {row + 1}: the time is missing: fill it in or delete the row")
    column = _trimmed(column) if _is_text(column.type) else column
    kinds = [pa.int64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")]
    if not _is_text(column.type):
        kinds = kinds[1:] if pa.types.is_temporal(column.type) else kinds[:1]
    # The first row decides how the whole column is written; a later row that differs is an error with its number.
    kind = next((kind for kind in kinds if _refusal(column.slice(0, 1), kind) is None), kinds[0])
    cast = _cast(column, kind, "time", "a time: write ISO 8601 in UTC or epoch s, ms, us or ns", file)
    values: NDArray[np.int64] = np.asarray(cast.cast(pa.int64()).to_numpy(), dtype=np.int64)
    return _epoch_ns(values, file) if kind == pa.int64() else values


def _epoch_ns(values: NDArray[np.int64], file: Path) -> NDArray[np.int64]:
    """Tell the unit of each epoch time by its size: after March 1973 the four ranges do not overlap."""
    units: list[NDArray[np.bool_]] = [values < 10**11, values < 10**14, values < 10**17]
    multiplier: NDArray[np.int64] = np.select(units, [10**9, 10**6, 10**3], 1)
    bad = (values < 10**8) | (values > INT64_SAFE // multiplier)
    if bad.any():
        row = int(np.argmax(bad))
        raise PriceFileError(
            f"{file}: row {row + 1}: time is {values[row]}, not an epoch time in s, ms, us or ns between the "
            "years 1973 and 2116: correct it, or write ISO 8601 in UTC"
        )
    return values * multiplier


def _refusal(column: Any, kind: Any) -> Exception | None:
    import pyarrow as pa

    try:
        column.cast(kind)
    except pa.ArrowException as error:
        return error
    return None


def _cast(column: Any, kind: Any, what: str, expected: str, file: Path) -> Any:
    """Convert a column, or name the first row that cannot be converted."""
    refusal = _refusal(column, kind)
    if refusal is None:
        return column.cast(kind)
    row = _first_refused(len(column), lambda stop: _refusal(column.slice(0, stop), kind) is not None)
    value = str(column[row].as_py())[:60]
    raise PriceFileError(f"{file}: row {row + 1}: {what} is {value!r}, not {expected}") from refusal


def _first_refused(length: int, refused: Callable[[int], bool]) -> int:
    """Return the index of the first bad row by halving, given whether the first `stop` rows hold one."""
    good, bad = 0, length
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if refused(middle) else (middle, bad)
    return bad - 1


def _series(table: Any, file: Path, symbol: str | None) -> tuple[NDArray[np.int64], tuple[SeriesName, ...]]:
    """Give each row the number of its series: one for each symbol, venue, timeframe, price kind and source together."""
    if "symbol" in table.column_names and symbol is not None:
        raise PriceFileError(f"{file}: has a symbol column, so symbol={symbol!r} cannot name its rows: leave it out")
    codes, texts = np.zeros(table.num_rows, dtype=np.int64), []
    parts: list[NDArray[np.int64]] = []
    for name in _SERIES_NAMES:
        part, names = _encoded(table, name) if name in table.column_names else (np.zeros_like(codes), [""])
        codes = np.unique(codes * len(names) + part, return_inverse=True)[1].reshape(-1)
        parts.append(part)
        texts.append(names)
    first = np.unique(codes, return_index=True)[1]
    found = [[names[part[row]] for part, names in zip(parts, texts, strict=True)] for row in first]
    return codes, tuple(_named(values, int(row), file, symbol, table) for values, row in zip(found, first, strict=True))


def _encoded(table: Any, name: str) -> tuple[NDArray[np.int64], list[str]]:
    encoded = _trimmed(table.column(name)).fill_null("").combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), encoded.dictionary.to_pylist()


def _named(values: list[str], row: int, file: Path, symbol: str | None, table: Any) -> SeriesName:
    name, venue, timeframe, price_kind, source = values
    if "symbol" not in table.column_names:
        name = symbol or symbol_of_file_name(file.name) or ""
        if not name:
            raise PriceFileError(
                f"{file}: has no symbol column and its name does not begin with a symbol: pass symbol=, or "
                "name the file like BTCUSDT-1m.csv"
            )
    if not name:
        raise PriceFileError(f"{file}: row {row + 1}: the symbol is missing: fill it in or delete the row")
    in_name = _TIMEFRAME_IN_NAME.search(file.name)
    if "timeframe" not in table.column_names and in_name:
        timeframe = in_name[1]
    return SeriesName(name, venue, timeframe, price_kind, source)
