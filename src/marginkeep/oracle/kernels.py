"""Many quotes at once: the functions of `source_rows` and `aggregation`, compiled, over all feeds' columns.

Importing this module imports Numba, so callers do it only for a batch that is large enough to gain by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.compiled import compile_together, kernel
from marginkeep.oracle import aggregation, combining, source_rows
from marginkeep.oracle.source_rows import DUPLICATE, OUT_OF_ORDER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

_LEAVES = compile_together(
    (
        *(source_rows.outside, source_rows.share_of, source_rows.sooner, source_rows.count_quote),
        *(source_rows.is_quarantined, source_rows.is_frozen, source_rows.follow_index, source_rows.use_of),
        *(source_rows.remember_good, source_rows.source_due, source_rows.take_quote),
        *(aggregation.note_uses, aggregation.next_rank, aggregation.choose_sources, aggregation.has_reserve),
        *(combining.sort_by_price, combining.total_weight, combining.weighted_median),
        *(aggregation.replace_outliers, aggregation.keep_used, aggregation.survey, aggregation.is_slow_way),
        *(aggregation.judge_prints, aggregation.describe, aggregation.judge_quality, aggregation.is_lone_jump),
        *(combining.trimmed_mean, combining.group_median, combining.median_of_medians, combining.combine),
        aggregation.remember_used,
        *(aggregation.compute_index, aggregation.leave_behind, aggregation.next_due, aggregation.aggregate),
    )
)
_take_quote = _LEAVES["take_quote"]
_aggregate = _LEAVES["aggregate"]


@kernel()
def take_quotes(
    quotes: Integers, rows: Integers, rules: Integers, now_ns: int, codes: Integers, touched: Integers
) -> int:
    """Take a batch of quotes into their sources' rows; return the house's time after it.

    Parameters
    ----------
    quotes : int64[quotes, 6]: feed, source, price, confidence, source time, arrival time
    rows, rules : int64[feeds, sources, ROW_WIDTH] and int64[feeds, RULES_WIDTH]
    codes : int64[quotes], filled with what became of each
    touched : int64[feeds], set to 1 where a quote changed something
    """
    for i in range(len(quotes)):
        feed, source = quotes[i, 0], quotes[i, 1]
        now_ns = max(now_ns, quotes[i, 5])
        code = _take_quote(rows[feed, source], rules[feed], quotes[i, 2], quotes[i, 3], quotes[i, 4], now_ns)
        codes[i] = code
        if code != DUPLICATE and code != OUT_OF_ORDER:
            touched[feed] = 1
    return now_ns


@kernel()
def aggregate_feeds(
    chosen: Integers,
    rows: Integers,
    facts: Integers,
    rules: Integers,
    feeds: Integers,
    order: Integers,
    prices: Integers,
    now_ns: int,
) -> None:
    """Compute index and quality of the chosen feeds; `order` and `prices` are int64[SOURCES_MAX] to work in."""
    for k in range(len(chosen)):
        feed = chosen[k]
        _aggregate(rows[feed], facts[feed], rules[feed], feeds[feed], order, prices, now_ns)
