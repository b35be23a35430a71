from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from marginkeep.errors import PriceFileError
from marginkeep.lab.candles import filled, read_candles, window
from marginkeep.lab.price_files import symbol_of_file_name

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
MINUTE = 60 * 10**9
START = 1_722_816_000 * 10**9  # 2024-08-05T00:00:00Z
HEADER = "ts,symbol,open,high,low,close,volume"


def real(name):
    file = SHARED / f"{name}.parquet"
    if not file.exists():
        pytest.skip(f"the historical price file {name} is not beside the repository")
    return file


def write(path, *lines, header=HEADER):
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def bar(minute, close, symbol="BTC/USDT", **changes):
    """One CSV line: a flat bar at `close`, unless open, high or low are changed."""
    price = {"open": close, "high": close, "low": close, "close": close} | changes
    return ",".join(map(str, (START // 10**6 + minute * 60_000, symbol, *price.values(), 1)))


def series(symbol, minutes, price, timeframe="1m", venue="binance", price_kind="last", source="a"):
    """Rows of a Parquet table, a flat bar at each minute."""
    named = {"symbol": symbol, "venue": venue, "timeframe": timeframe, "price_kind": price_kind, "source": source}
    flat = dict.fromkeys(("open", "high", "low", "close"), float(price))
    return [{"ts": START + minute * MINUTE, **named, **flat, "volume": None} for minute in minutes]


def write_parquet(path, *groups):
    rows = [row for group in groups for row in group]
    table = pa.Table.from_pylist(rows)
    time = table.column("ts").cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("ms", "UTC"))
    parquet.write_table(table.set_column(0, "ts", time), path)
    return path


@pytest.mark.parametrize(
    ("name", "shape", "filled_shape", "filled_start"),
    [
        ("open/ohlcv/2020-03_crash_5m", (14593, 10), (14593, 10), "2020-02-10T00:00"),
        ("open/ohlcv/2021-05_crash_1m", (15641, 18), (7001, 18), "2021-05-16T00:00"),
        ("open/ohlcv/2021-05_crash_5m", (26122, 7), (26122, 7), "2021-04-01T00:00"),
        ("open/ohlcv/2022-01_selloff_btcperp_1m", (24812, 1), (24812, 1), "2022-01-15T00:00"),
        ("open/ohlcv/2023-03_usdc_depeg_5m", (12944, 2), (12944, 2), "2023-02-15T00:00"),
        ("open/ohlcv/2024-08_crash_5m", (14688, 4), (14688, 4), "2024-07-01T00:00"),
        ("open/ohlcv/hourly_btc_eth_2019_2025", (37711, 1), (37711, 1), "2020-01-01T00:00"),
        ("restricted/ohlcv/2020-03_crash_btc_1m", (214, 1), (214, 1), "2020-03-12T10:00"),
        ("restricted/ohlcv/2022-05_luna_multi", (12907, 7), (12896, 7), "2022-04-15T00:55"),
        ("restricted/ohlcv/2022-06_2022-11_crashes_5m", (22176, 10), (13534, 7), "2022-10-15T00:10"),
        ("restricted/ohlcv/2023-03_usdc_depeg_5m", (12960, 5), (12960, 3), "2023-02-15T00:00"),
        ("restricted/ohlcv/2024-08_crash_1m", (24480, 2), (24480, 2), "2024-07-27T00:00"),
        ("restricted/ohlcv/2025-10_crash_5m", (10080, 2), (8928, 2), "2025-10-01T00:00"),
        ("restricted/ohlcv/2025-10_crash_btc_mark_1m", (2880, 1), (2880, 1), "2025-10-09T00:00"),
        ("restricted/ohlcv/hourly_btc_eth_2019_2025", (42893, 3), (25696, 2), "2023-01-01T00:00"),
    ],
)
def test_a_real_file_is_read_and_filled_without_a_hole(name, shape, filled_shape, filled_start):
    candles = read_candles(real(name))
    assert candles.close.shape == shape
    whole = filled(candles)
    assert whole.close.shape == filled_shape == (len(whole.times_ns), len(whole.symbols))
    assert whole.times_ns[0] == np.datetime64(filled_start, "ns").astype(np.int64)
    assert (np.diff(whole.times_ns) > 0).all()
    assert (whole.low > 0).all()
    assert (whole.high >= np.maximum(whole.open, whole.close)).all()
    assert (whole.low <= np.minimum(whole.open, whole.close)).all()


def test_the_known_low_of_may_2021_stands_at_its_minute():
    candles = read_candles(real("open/ohlcv/2021-05_crash_1m"), symbols=["BTC/USDT"])
    at = int(np.argmin(candles.low[:, 0]))
    assert candles.low[at, 0] == 30_000.0
    assert candles.times_ns[at] // (10 * MINUTE) == np.datetime64("2021-05-19T13:10", "m").astype(int) // 10


def test_a_mark_price_is_taken_before_a_longer_last_price_series():
    candles = read_candles(real("restricted/ohlcv/2025-10_crash_5m"))
    assert candles.counts["unused_rows"] == 11_123
    assert "took binanceusdm 5m mark_or_index" in candles.repairs[0]
    assert np.isnan(candles.volume[:, candles.symbols.index("BTC/USDT:USDT")]).all()


def test_implied_prices_are_left_out_and_the_end_of_trading_is_said():
    whole = filled(read_candles(real("open/ohlcv/2020-03_crash_5m")))
    assert "left out derived 5m implied" in whole.repairs[0]
    assert whole.counts["ended_bars"] == 5_505
    assert whole.counts["close_only"] == 0


def test_a_wide_table_is_refused_with_its_columns_named():
    with pytest.raises(PriceFileError, match=r"missing columns: open, high, low, close. Found: ts, AAVE/USDT:USDT"):
        read_candles(real("restricted/ohlcv/hourly_close_28coins_2020_2024"))


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
def test_the_unit_of_an_epoch_time_is_told_by_its_size(tmp_path, per_second):
    lines = [f"{(START // 10**9 + 60 * minute) * per_second},BTC/USDT,1,1,1,1,1" for minute in range(3)]
    candles = read_candles(write(tmp_path / "p.csv", *lines))
    assert candles.times_ns.tolist() == [START, START + MINUTE, START + 2 * MINUTE]
    assert candles.step_ns == MINUTE


@pytest.mark.parametrize("form", ["2024-08-05 00:0{}:00", "2024-08-05T00:0{}:00Z", "2024-08-05T02:0{}:00+02:00"])
def test_iso_times_are_read_as_utc(tmp_path, form):
    lines = [f"{form.format(minute)},1,2,0.5,1.5,9" for minute in range(3)]
    path = write(tmp_path / "ETHUSDT-1m.csv", *lines, header="Date,Open,High,Low,Close,Volume")
    candles = read_candles(path)
    assert candles.symbols == ("ETH/USDT",)
    assert candles.times_ns.tolist() == [START, START + MINUTE, START + 2 * MINUTE]
    assert [candles.open[0, 0], candles.high[0, 0], candles.low[0, 0], candles.close[0, 0]] == [1, 2, 0.5, 1.5]


@pytest.mark.parametrize("per_second", [10**3, 10**6])
@pytest.mark.parametrize("with_header", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_exchange_klines_are_read_with_and_without_header(tmp_path, per_second, with_header, compressed):
    header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_quote,ignore"
    opens = [(START // 10**9 + 60 * minute) * per_second for minute in range(2)]
    lines = [f"{at},100.5,102,99,101,7,{at + 60 * per_second - 1},700,5,3,300,0" for at in opens]
    text = "\n".join([header, *lines] if with_header else lines)
    path = tmp_path / ("BTCUSDT-1m-2024-08-05.csv" + (".gz" if compressed else ""))
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    candles = read_candles(path)
    assert candles.symbols == ("BTC/USDT",)
    assert candles.times_ns.tolist() == [START, START + MINUTE]
    assert candles.close[:, 0].tolist() == [101, 101]
    assert candles.volume[:, 0].tolist() == [7, 7]


def test_a_symbol_is_read_from_a_file_name_only_when_it_is_there():
    assert symbol_of_file_name("BTCUSDT-1m-2024-08-05.csv") == "BTC/USDT"
    assert symbol_of_file_name("USDCUSDT-1h.csv") == "USDC/USDT"
    assert symbol_of_file_name("BTC_USDT_USDT-5m-futures.parquet") == "BTC/USDT:USDT"
    assert symbol_of_file_name("BTCUSD_PERP-1m.csv") == "BTC/USD:BTC"
    assert symbol_of_file_name("2021-05_crash_1m.parquet") is None
    assert symbol_of_file_name("prices.csv") is None


def test_the_caller_can_name_the_rows_of_a_file_without_symbols(tmp_path):
    lines = [f"2024-08-05T00:0{minute}:00Z,1,1,1,1" for minute in range(2)]
    path = write(tmp_path / "prices.csv", *lines, header="ts,open,high,low,close")
    with pytest.raises(PriceFileError, match="pass symbol="):
        read_candles(path)
    assert read_candles(path, symbol="SOL/USDT").symbols == ("SOL/USDT",)


def test_numbers_that_turn_fractional_late_in_a_large_file_are_read(tmp_path):
    lines = [bar(minute, 100) for minute in range(40_000)] + [bar(40_000, 100.25)]
    candles = read_candles(write(tmp_path / "p.csv", *lines))
    assert candles.close[-1, 0] == 100.25


def test_unsorted_rows_are_sorted_and_counted(tmp_path):
    candles = read_candles(write(tmp_path / "p.csv", bar(0, 10), bar(3, 13), bar(1, 11), bar(2, 12)))
    assert candles.close[:, 0].tolist() == [10, 11, 12, 13]
    assert candles.counts["unsorted"] == 1
    assert candles.repairs == ("1 rows were earlier than the row before: sorted (BTC/USDT 1)",)


def test_interleaved_symbols_are_not_unsorted(tmp_path):
    lines = [bar(minute, 10, symbol) for minute in range(3) for symbol in ("ETH/USDT", "BTC/USDT")]
    candles = read_candles(write(tmp_path / "p.csv", *lines))
    assert candles.symbols == ("BTC/USDT", "ETH/USDT")
    assert candles.repairs == ()
    assert not any(count for name, count in candles.counts.items() if name != "rows")


def test_exact_duplicates_and_conflicting_ones_are_told_apart_and_the_last_wins(tmp_path):
    lines = [bar(0, 10), bar(0, 10), bar(1, 11), bar(1, 99), bar(1, 12), bar(2, 13)]
    candles = read_candles(write(tmp_path / "p.csv", *lines))
    assert candles.close[:, 0].tolist() == [10, 12, 13]
    assert candles.counts["duplicates"] == 1
    assert candles.counts["conflicting_duplicates"] == 2


def test_a_high_or_low_inside_the_bar_is_widened_and_counted(tmp_path):
    lines = [bar(0, 10, open=8, high=9), bar(1, 10, low=11), bar(2, 10, high=12, low=9)]
    candles = read_candles(write(tmp_path / "p.csv", *lines))
    assert candles.high[:, 0].tolist() == [10, 11, 12]
    assert candles.low[:, 0].tolist() == [8, 10, 9]
    assert candles.counts["widened"] == 2


def test_a_gap_is_filled_with_the_previous_close_and_counted(tmp_path):
    held = [bar(minute, 5, "ETH/USDT") for minute in range(5)]
    lines = [bar(0, 10), bar(1, 11, high=20), bar(4, 14), *held]
    candles = read_candles(write(tmp_path / "p.csv", *lines))
    assert candles.counts["gaps"] == 2
    assert np.isnan(candles.close[2:4, 0]).all()
    whole = filled(candles)
    for column in (whole.open, whole.high, whole.low, whole.close):
        assert column[2:4, 0].tolist() == [11, 11]
    assert whole.high[1, 0] == 20
    assert whole.counts["filled_bars"] == 2
    assert "2 missing bars were filled with the previous close (BTC/USDT 2)" in whole.repairs


def test_a_time_at_which_no_symbol_has_a_bar_is_absent_and_counted_as_a_gap(tmp_path):
    whole = filled(read_candles(write(tmp_path / "p.csv", bar(0, 10), bar(1, 11), bar(4, 14))))
    assert whole.times_ns.tolist() == [START, START + MINUTE, START + 4 * MINUTE]
    assert whole.counts["gaps"] == 2
    assert whole.counts["filled_bars"] == 0


def test_the_start_keeps_all_symbols_when_that_keeps_most_bars(tmp_path):
    late = [bar(minute, 7, f"C{coin}/USDT") for coin in range(4) for minute in range(6, 10)]
    whole = filled(read_candles(write(tmp_path / "p.csv", *(bar(m, 10 + m) for m in range(10)), *late)))
    assert len(whole.symbols) == 5
    assert whole.times_ns[0] == START + 6 * MINUTE
    assert whole.close[0, 0] == 16
    assert (whole.counts["cut_times"], whole.counts["cut_symbols"]) == (6, 0)


def test_a_symbol_that_begins_too_late_is_left_out_unless_it_must_be_kept(tmp_path):
    lines = [*(bar(m, 10) for m in range(10)), *(bar(m, 7, "NEW/USDT") for m in range(8, 10))]
    candles = read_candles(write(tmp_path / "p.csv", *lines))
    whole = filled(candles)
    assert whole.symbols == ("BTC/USDT",)
    assert len(whole.times_ns) == 10
    assert whole.repairs[-1].endswith("NEW/USDT")
    kept = filled(candles, keep=["NEW/USDT"])
    assert kept.symbols == ("BTC/USDT", "NEW/USDT")
    assert kept.times_ns[0] == START + 8 * MINUTE
    with pytest.raises(PriceFileError, match="XRP/USDT must be kept but has no bar"):
        filled(candles, keep=["XRP/USDT"])


def test_with_equal_bars_the_start_with_more_symbols_wins(tmp_path):
    lines = [*(bar(m, 10) for m in range(4)), *(bar(m, 7, "NEW/USDT") for m in range(2, 4))]
    assert filled(read_candles(write(tmp_path / "p.csv", *lines))).symbols == ("BTC/USDT", "NEW/USDT")


def test_a_symbol_that_ended_before_the_start_is_not_carried_along(tmp_path):
    old = [bar(minute, 3, f"OLD{coin}/USDT") for coin in range(3) for minute in range(2)]
    new = [bar(minute, 7, symbol) for symbol, first in (("A/USDT", 0), ("B/USDT", 3)) for minute in range(first, 20)]
    whole = filled(read_candles(write(tmp_path / "p.csv", *old, *new)))
    assert whole.symbols == ("A/USDT", "B/USDT")
    assert whole.counts["cut_symbols"] == 3


def test_a_longer_bar_is_seen_only_when_it_closes(tmp_path):
    path = write_parquet(
        tmp_path / "p.parquet",
        series("BTC/USDT", range(15), 10),
        series("SOL/USDT", [0], 100, timeframe="5m"),
        series("SOL/USDT", [5], 60, timeframe="5m"),
        series("SOL/USDT", [10], 70, timeframe="5m"),
    )
    whole = filled(read_candles(path))
    sol = whole.close[:, whole.symbols.index("SOL/USDT")]
    at = dict(zip(((whole.times_ns - START) // MINUTE).tolist(), sol.tolist(), strict=True))
    assert at == {4: 100, 5: 100, 6: 100, 7: 100, 8: 100, 9: 60, 10: 60, 11: 60, 12: 60, 13: 60, 14: 70}
    assert whole.symbol_steps_ns == (MINUTE, 5 * MINUTE)
    assert whole.counts["filled_bars"] == 0


def test_one_series_a_symbol_is_taken_by_length_kind_and_rows(tmp_path):
    path = write_parquet(
        tmp_path / "p.parquet",
        series("BTC/USDT", range(0, 50, 5), 1, timeframe="5m", price_kind="mark_or_index"),
        series("BTC/USDT", range(9), 2),
        series("BTC/USDT", range(10), 3, source="b"),
        series("BTC/USDT", range(4), 4, price_kind="mark_or_index"),
        series("BTC/USDT", range(30), 5, price_kind="implied"),
    )
    assert set(read_candles(path).close[:, 0]) == {4}
    candles = read_candles(path, timeframe="5m")
    assert set(candles.close[:, 0]) == {1}
    assert candles.counts["unused_rows"] == 53
    assert candles.step_ns == 5 * MINUTE


def test_implied_closes_serve_when_there_is_nothing_else(tmp_path):
    rows = series("BTC/USDT", range(3), 8, price_kind="implied")
    path = write_parquet(tmp_path / "p.parquet", [row | {"open": None, "high": None, "low": None} for row in rows])
    candles = read_candles(path)
    assert candles.low[:, 0].tolist() == [8, 8, 8]
    assert candles.counts["close_only"] == 3


def test_a_timeframe_no_requested_symbol_has_is_refused(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", series("BTC/USDT", range(3), 8), series("ETH/USDT", range(3), 8))
    with pytest.raises(PriceFileError, match="no 5m bars: the file has 1m"):
        read_candles(path, timeframe="5m")
    with pytest.raises(PriceFileError, match="BTC/USDT has no 1h bars: it has binance 1m last"):
        read_candles(path, timeframe="1h", symbols=["BTC/USDT"])
    with pytest.raises(PriceFileError, match="timeframe is 'quick'"):
        read_candles(path, timeframe="quick")


def test_requested_symbols_come_in_the_requested_order_and_unknown_ones_are_refused(tmp_path):
    path = write(tmp_path / "p.csv", *(bar(m, 10, s) for s in ("BTC/USDT", "ETH/USDT", "SOL/USDT") for m in (0, 1)))
    assert read_candles(path, symbols=["SOL/USDT", "BTC/USDT"]).symbols == ("SOL/USDT", "BTC/USDT")
    with pytest.raises(PriceFileError, match=r"no symbol ETH/USD: did you mean ETH/USDT.*BTC/USDT, ETH/USDT, SOL/USDT"):
        read_candles(path, symbols=["ETH/USD"])
    with pytest.raises(PriceFileError, match="symbols is empty"):
        read_candles(path, symbols=[])


def test_a_window_is_closed_at_its_start_and_open_at_its_end(tmp_path):
    candles = read_candles(write(tmp_path / "p.csv", *(bar(minute, 10 + minute) for minute in range(5))))
    assert window(candles, START + MINUTE, START + 3 * MINUTE).close[:, 0].tolist() == [11, 12]
    assert window(candles, end_ns=START + MINUTE).close[:, 0].tolist() == [10]
    with pytest.raises(PriceFileError, match="run from 2024-08-05T00:00:00Z to 2024-08-05T00:04:00Z"):
        window(candles, start_ns=START + 60 * MINUTE)


@pytest.mark.parametrize("value", ["", "nan", "0", "-3", "inf"])
def test_a_bad_price_is_refused_with_its_row_or_dropped_and_counted(tmp_path, value):
    path = write(tmp_path / "p.csv", bar(0, 10), bar(1, 11), bar(2, 12, low=value), bar(3, 13))
    with pytest.raises(PriceFileError, match=r"row 3: BTC/USDT at 2024-08-05T00:02:00Z: low is .*drop_bad_rows"):
        read_candles(path)
    candles = read_candles(path, drop_bad_rows=True)
    assert candles.close[:, 0].tolist() == [10, 11, 13]
    assert (candles.counts["dropped_rows"], candles.counts["gaps"]) == (1, 1)


def test_a_symbol_whose_every_row_is_bad_is_refused_even_when_bad_rows_may_be_dropped(tmp_path):
    path = write(tmp_path / "p.csv", bar(0, 10), bar(1, 11), bar(0, 0, "X/USDT"), bar(1, 0, "X/USDT"))
    with pytest.raises(PriceFileError, match="X/USDT: every row has a bad price"):
        read_candles(path, drop_bad_rows=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["2024-08-05T00:00:00Z,A,1,1,1,1,1", "yesterday,A,1,1,1,1,1"], "row 2: time is 'yesterday'"),
        (["soon,A,1,1,1,1,1"], "row 1: time is 'soon'"),
        (["20240805,A,1,1,1,1,1"], "row 1: time is 20240805, not an epoch time"),
        ([",A,1,1,1,1,1"], "row 1: the time is missing"),
        (["2024-08-05T00:00:00Z,,1,1,1,1,1"], "row 1: the symbol is missing"),
        ([bar(0, 1), bar(1, "cheap")], "row 2: open is 'cheap', not a number"),
        ([bar(0, 1)], "one time only, so the bar length is unknown"),
        ([bar(0, 1), "1,2,3"], "cannot be read .*Expected 7 columns"),
        ([], "no rows"),
    ],
)
def test_a_bad_csv_file_is_refused_with_place_and_value(tmp_path, lines, message):
    with pytest.raises(PriceFileError, match=message) as caught:
        read_candles(write(tmp_path / "p.csv", *lines))
    assert "p.csv" in str(caught.value)


def test_missing_and_doubled_columns_are_named(tmp_path):
    with pytest.raises(PriceFileError, match=r"missing columns: a time column .*, low. Found: when, open, high, close"):
        read_candles(write(tmp_path / "p.csv", "1,1,1,1", header="when,open,high,close"))
    with pytest.raises(PriceFileError, match="2 columns are named 'close'"):
        read_candles(write(tmp_path / "p.csv", "1,1,1,1,1,1", header="ts,open,high,low,close,Close"))
    with pytest.raises(PriceFileError, match="begins with the number 1722816000000 and has 6 columns"):
        read_candles(write(tmp_path / "p.csv", header="1722816000000,1,1,1,1,1"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", b"", "the file is empty"),
        ("p.parquet", b"ts,open\n", "not a Parquet file"),
        ("p.csv.gz", b"\x1f\x8b\x08\x00broken", "cannot be read"),
        ("p.csv", b"\xff\xfe\x00\x01", "cannot be read"),
        ("p.zip", b"PK\x03\x04rest", "a zip archive: unzip it"),
        ("p.feather", b"ARROW1\x00\x00", "save it as Parquet or CSV"),
    ],
)
def test_a_file_that_is_no_price_file_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PriceFileError, match=message):
        read_candles(path)


def test_a_truncated_parquet_file_and_an_absent_file_are_refused(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", series("BTC/USDT", range(3), 8))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PriceFileError, match="cannot be read"):
        read_candles(path)
    with pytest.raises(PriceFileError, match="no such file"):
        read_candles(tmp_path / "absent.csv")


def test_a_stated_timeframe_longer_than_the_spacing_is_not_believed(tmp_path):
    candles = read_candles(write_parquet(tmp_path / "p.parquet", series("BTC/USDT", range(9), 8, timeframe="1h")))
    assert candles.step_ns == MINUTE
    assert candles.repairs == ("BTC/USDT binance 1h last a: bars are 1m apart, not 1h",)
