"""Faults of quoting sources: read from text, and worked into the quotes of a path."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from marginkeep.errors import InputError, PrecisionError
from marginkeep.rulebook.durations import MINUTE, format_duration, format_time, parse_duration, parse_time
from marginkeep.units import INT64_SAFE, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from marginkeep.lab.quote_paths import QuotePath

Kind = Literal["freeze", "scale", "silence", "swap", "zero", "late", "ahead"]

FORMS: Final = {
    "freeze": "freeze:alpha@+1h+10m",
    "scale": "scale:alpha*10@+1h+10m",
    "silence": "silence:alpha,bravo@+1h+10m",
    "swap": "swap:alpha:BTC<->ETH@+1h+10m",
    "zero": "zero:alpha@+1h+10m",
    "late": "late:alpha+30s@+1h+10m",
    "ahead": "ahead:alpha+30s@+1h+10m",
}
"""An example of each kind of fault."""

FACTOR_MAX: Final = 1_000_000
LEAST_NS: Final = 10 * MINUTE
LEAST_TICKS: Final = 2

_LENGTH: Final = r"\d[\d.]*(?:ns|us|ms|s|m|h|d)"
_WHEN: Final = re.compile(rf"(?:\+({_LENGTH})|(\d{{4}}-\d\d-\d\dT\d\d:\d\d)(:\d\d)?Z?)\+({_LENGTH})", re.ASCII)
_DETAIL: Final = {
    "scale": re.compile(r"(.+)\*(\d+(?:\.\d+)?)"),
    "late": re.compile(rf"(.+)\+({_LENGTH})", re.ASCII),
    "ahead": re.compile(rf"(.+)\+({_LENGTH})", re.ASCII),
    "swap": re.compile(r"(.+):(.+<->.+)"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with some sources for a while.

    Attributes
    ----------
    text : as it was given
    sources : who; feed : only in this feed, None = in all
    start_ns, end_ns : first time, and the first after it
    factor : for ``scale``
    shift_ns : for ``late`` and ``ahead``
    feeds : the two of a ``swap``
    """

    text: str
    kind: Kind
    sources: tuple[str, ...]
    feed: str | None
    start_ns: int
    end_ns: int
    factor: Fraction = Fraction(1)
    shift_ns: int = 0
    feeds: tuple[str, str] = ("", "")

    @property
    def words(self) -> str:
        """The fault in a few words, without its times."""
        who = ", ".join(self.sources) + (f" in {self.feed}" if self.feed else "")
        length = format_duration(self.shift_ns)
        details = {
            "freeze": f"{who} frozen",
            "scale": f"{who} x{_decimal(self.factor)}",
            "silence": f"{who} silent",
            "swap": f"{who} swaps {' and '.join(self.feeds)}",
            "zero": f"{who} at zero",
            "late": f"{who} late by {length}",
            "ahead": f"{who} with a clock {length} ahead",
        }
        return details[self.kind]


def _decimal(factor: Fraction) -> str:
    return f"{float(factor):g}"


def parse_fault(text: str, quotes: QuotePath) -> Fault:
    """Read a fault such as ``freeze:alpha@2021-05-19T12:50+10m`` or ``scale:alpha/BTC*10@+1h+10m``.

    Who comes first, then ``@`` and when: a UTC time, or ``+`` and the time since the first tick; then ``+`` and how
    long. ``/FEED`` after the sources restricts it to one feed.

    Raises
    ------
    InputError : not of that form, a source or feed that does not quote, or a time without any tick
    """
    kind, colon, rest = text.partition(":")
    if kind not in get_args(Kind) or not colon:
        raise InputError(f"--fault {text!r}: begin with one of {', '.join(get_args(Kind))} and a colon, as in {_any()}")
    who, at, when = rest.rpartition("@")
    times = _WHEN.fullmatch(when)
    if not at or times is None:
        raise InputError(
            f"--fault {text!r}: end with @ and when, a UTC time or the time since the start, and how long, as in "
            f"@2021-05-19T12:50+10m or @+1h+10m"
        )
    start_ns, end_ns = _times(text, times, int(quotes.times_ns[0]))
    fault = _read_who(Fault(text, kind, (), None, start_ns, end_ns), who)  # type: ignore[arg-type]
    _check(fault, quotes)
    return fault


def _any() -> str:
    return FORMS["freeze"]


def _times(text: str, match: re.Match[str], first_ns: int) -> tuple[int, int]:
    relative, day, seconds, length = match.groups()
    what = f"--fault {text!r}: the time"
    start = first_ns + parse_duration(relative, what) if relative else parse_time(f"{day}{seconds or ':00'}Z", what)
    lasting = parse_duration(length, f"--fault {text!r}: the duration")
    return start, start + lasting


def _read_who(fault: Fault, who: str) -> Fault:
    """Read sources and feed, and what the kind needs besides."""
    pattern = _DETAIL.get(fault.kind)
    if pattern is not None:
        match = pattern.fullmatch(who)
        if match is None:
            raise InputError(f"--fault {fault.text!r}: write {fault.kind} as in {FORMS[fault.kind]}")
        who, detail = match.groups()
        fault = _with_detail(fault, detail)
    names, slash, feed = who.partition("/")
    if slash and fault.kind == "swap":
        raise InputError(f"--fault {fault.text!r}: swap names its two feeds itself, leave out /{feed}")
    return replace(fault, sources=tuple(names.split(",")), feed=feed if slash else None)


def _with_detail(fault: Fault, detail: str) -> Fault:
    if fault.kind == "swap":
        one, _, other = detail.partition("<->")
        return replace(fault, feeds=(one, other))
    if fault.kind == "scale":
        factor = parse_decimal(detail, f"the factor of --fault {fault.text!r}")
        if not 0 < factor <= FACTOR_MAX:
            raise InputError(f"--fault {fault.text!r}: the factor is {detail}, give one above 0 and to {FACTOR_MAX:,}")
        return replace(fault, factor=factor)
    try:
        return replace(fault, shift_ns=parse_duration(detail, f"--fault {fault.text!r}: the shift"))
    except PrecisionError as error:
        raise InputError(str(error)) from error


def _check(fault: Fault, quotes: QuotePath) -> None:
    for known, names, what in (
        (quotes.sources, fault.sources, "source"),
        (quotes.feeds, [fault.feed] if fault.feed is not None else [], "feed"),
        (quotes.feeds, fault.feeds if fault.kind == "swap" else (), "feed"),
    ):
        for name in names:
            if name not in known:
                raise InputError(f"--fault {fault.text!r}: there is no {what} {name!r}, use one of {', '.join(known)}")
    if fault.kind == "swap" and fault.feeds[0] == fault.feeds[1]:
        raise InputError(f"--fault {fault.text!r}: a swap needs two different feeds")
    if not _columns(fault, quotes, fault.feed):
        raise InputError(f"--fault {fault.text!r}: {', '.join(fault.sources)} does not quote {fault.feed}")
    rows = _rows(fault, quotes)
    if rows.start == rows.stop:
        first, last = (format_time(int(quotes.times_ns[row])) for row in (0, -1))
        raise InputError(
            f"--fault {fault.text!r}: from {format_time(fault.start_ns)} to {format_time(fault.end_ns)} there is no "
            f"tick, the prices go from {first} to {last}: choose a time in there, and at least as long as a tick"
        )


def apply_faults(quotes: QuotePath, faults: Sequence[Fault]) -> QuotePath:
    """Return the quotes as the faults leave them, each applied to what the one before left."""
    for fault in faults:
        quotes = _APPLY[fault.kind](quotes, fault)
    return quotes


def _rows(fault: Fault, quotes: QuotePath) -> slice:
    start, stop = np.searchsorted(quotes.times_ns, [fault.start_ns, fault.end_ns]).tolist()
    return slice(start, stop)


def _columns(fault: Fault, quotes: QuotePath, feed: str | None) -> list[int]:
    return [
        column for column, (own, source) in enumerate(quotes.lines) if source in fault.sources and feed in (None, own)
    ]


def _with_prices(quotes: QuotePath, fault: Fault, chosen: NDArray[np.int64] | int) -> QuotePath:
    """Put other prices, int64[rows, columns], where the fault is."""
    prices = quotes.prices.copy()
    prices[_rows(fault, quotes), _columns(fault, quotes, fault.feed)] = chosen
    return replace(quotes, prices=prices)


def _freeze(quotes: QuotePath, fault: Fault) -> QuotePath:
    """Repeat the last price before the fault, under new times."""
    last = max(0, _rows(fault, quotes).start - 1)
    return _with_prices(quotes, fault, quotes.prices[last, _columns(fault, quotes, fault.feed)])


def _scale(quotes: QuotePath, fault: Fault) -> QuotePath:
    factor = fault.factor
    found = quotes.prices[_rows(fault, quotes), _columns(fault, quotes, fault.feed)]
    scaled = [
        [min(INT64_SAFE, price * factor.numerator // factor.denominator) for price in row] for row in found.tolist()
    ]
    return _with_prices(quotes, fault, np.array(scaled, np.int64))


def _silence(quotes: QuotePath, fault: Fault) -> QuotePath:
    quoted = quotes.quoted.copy()
    quoted[_rows(fault, quotes), _columns(fault, quotes, fault.feed)] = False
    return replace(quotes, quoted=quoted)


def _swap(quotes: QuotePath, fault: Fault) -> QuotePath:
    """Let each of two feeds show the other's price: the same number, in its own ticks."""
    prices = quotes.prices.copy()
    rows = _rows(fault, quotes)
    for source in fault.sources:
        pair = [quotes.lines.index((feed, source)) for feed in fault.feeds if (feed, source) in quotes.lines]
        for own, other in zip(pair, reversed(pair), strict=True):
            ratio = quotes.units[other] / quotes.units[own]
            shown = [round(price * ratio) for price in quotes.prices[rows, other].tolist()]
            prices[rows, own] = np.array([min(INT64_SAFE, price) for price in shown], np.int64)
    return replace(quotes, prices=prices)


def _zero(quotes: QuotePath, fault: Fault) -> QuotePath:
    return _with_prices(quotes, fault, 0)


def _late(quotes: QuotePath, fault: Fault) -> QuotePath:
    """Show what the source saw some time before, honestly dated: the price that held at that time."""
    rows, columns = _rows(fault, quotes), _columns(fault, quotes, fault.feed)
    dated = quotes.times_ns[rows] - fault.shift_ns
    seen = np.maximum(np.searchsorted(quotes.times_ns, dated, side="right") - 1, 0)
    late = _with_prices(quotes, fault, quotes.prices[seen[:, None], columns])
    return replace(late, source_ns=_shifted(quotes, fault, -fault.shift_ns))


def _ahead(quotes: QuotePath, fault: Fault) -> QuotePath:
    """Date the quotes into the future."""
    return replace(quotes, source_ns=_shifted(quotes, fault, fault.shift_ns))


def _shifted(quotes: QuotePath, fault: Fault, by_ns: int) -> NDArray[np.int64]:
    source_ns = quotes.source_ns.copy()
    source_ns[_rows(fault, quotes), _columns(fault, quotes, fault.feed)] += by_ns
    return source_ns


_APPLY: Final = {
    "freeze": _freeze,
    "scale": _scale,
    "silence": _silence,
    "swap": _swap,
    "zero": _zero,
    "late": _late,
    "ahead": _ahead,
}


def default_faults(quotes: QuotePath) -> tuple[str, ...]:
    """Return three faults, one after another, in the steepest fall: one source frozen, one times ten, all but one down.

    Each lasts ten minutes, or two ticks where these are longer.
    """
    times = quotes.times_ns
    step = int(np.diff(times).min()) if len(times) > 1 else 1
    lasting = max(LEAST_NS, LEAST_TICKS * step)
    start = _steepest(quotes, 3 * lasting)
    first, *others = quotes.sources
    second = others[0] if others else first
    down = ",".join(others or [first])
    texts = []
    for number, who in enumerate((f"freeze:{first}", f"scale:{second}*10", f"silence:{down}")):
        since = int(times[start] - times[0]) + number * lasting
        begin, end = np.searchsorted(times - times[0], [since, since + lasting]).tolist()
        if begin < end:
            texts.append(f"{who}@+{format_duration(since)}+{format_duration(lasting)}")
    return tuple(texts)


def _steepest(quotes: QuotePath, length_ns: int) -> int:
    """Return the tick at which the fall over this length, the mean of all feeds, is the steepest."""
    times = quotes.times_ns
    level = (quotes.prices / quotes.prices[0]).mean(axis=1)
    ends = np.searchsorted(times, times + length_ns, side="right") - 1
    whole = times + length_ns <= times[-1]
    if not whole.any():
        return 0
    change = np.where(whole, level[ends] / level, np.inf)
    return int(change.argmin())
