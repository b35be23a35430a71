"""Lengths of time and instants as text: read to whole nanoseconds and written back, exactly."""

from __future__ import annotations

import re
from typing import Final

from marginkeep.errors import PrecisionError
from marginkeep.units import format_units

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

DURATION_MAX: Final = 3_650 * DAY
"""Longest duration, ten years of 365 days: sums of a few of them and of today stay within int64 nanoseconds."""

YEAR_MIN: Final = 1970
YEAR_MAX: Final = 2200
"""Years of an instant: from the epoch to where int64 nanoseconds still have room for a `DURATION_MAX`."""

_UNITS: Final = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DURATION: Final = re.compile(r"(\d{1,19})(?:\.(\d{1,18}))?(ns|us|ms|s|m|h|d)", re.ASCII)
_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)
_DAYS_OF_400_YEARS: Final = 146_097
_EPOCH_DAY: Final = 719_468
"""Days from 0000-03-01 to 1970-01-01; years that begin in March have their leap day last."""


def parse_duration(value: object, what: str = "duration") -> int:
    """Read a number with its unit as whole nanoseconds, from 0 to `DURATION_MAX`.

    Parameters
    ----------
    value : text such as ``"30s"``, ``"1.5h"``, ``"500ms"``; units are ns, us, ms, s, m, h, d
    what : how to call it in the error message, for example a field's path

    Raises
    ------
    PrecisionError : not such a text, finer than a nanosecond, or too long

    Examples
    --------
    >>> parse_duration("1.5h") == 90 * MINUTE
    True
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PrecisionError(
            f'{what} is {repr(value)[:60]}: give a number with its unit (ns, us, ms, s, m, h, d) as "30s"'
        )
    whole, part, unit = match.group(1), match.group(2) or "", match.group(3)
    scale: int = 10 ** len(part)
    scaled = int(whole + part) * _UNITS[unit]
    if scaled % scale:
        raise PrecisionError(f"{what} is {value!r}: it must be a whole number of nanoseconds")
    if scaled // scale > DURATION_MAX:
        raise PrecisionError(f"{what} is {value!r}: it must be at most {format_duration(DURATION_MAX)}")
    return scaled // scale


def format_duration(length: int) -> str:
    """Write nanoseconds in the largest unit that leaves a whole number; `parse_duration` reads it back.

    Examples
    --------
    >>> format_duration(90 * SECOND), format_duration(2 * HOUR), format_duration(0)
    ('90s', '2h', '0s')
    """
    for unit, size in _UNITS.items():
        if length and length % size == 0:
            return f"{length // size}{unit}"
    return "0s"


def format_seconds(length: int) -> str:
    """Write nanoseconds in seconds, whatever their length.

    Examples
    --------
    >>> format_seconds(1_500_000_000)
    '1.5s'
    """
    return f"{format_units(length, 9)}s"


def parse_time(value: object, what: str = "time") -> int:
    """Read a UTC time of ISO 8601 with whole seconds as nanoseconds since 1970.

    Raises
    ------
    PrecisionError : not of the form ``"2026-01-01T00:00:00Z"``, no day of the calendar, or beyond the years allowed

    Examples
    --------
    >>> parse_time("1970-01-02T00:00:01Z") == DAY + SECOND
    True
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    instant = _instant(*map(int, match.groups())) if match else None
    if instant is None or format_time(instant) != value:
        raise PrecisionError(
            f"{what} is {repr(value)[:60]}: give a UTC time of the years {YEAR_MIN} to {YEAR_MAX} in quotes, "
            f'as in "2026-01-01T00:00:00Z"'
        )
    return instant


def _instant(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    """Return the instant, or None where a part is out of range; the 31st of a short month lands in the next one."""
    known = YEAR_MIN <= year <= YEAR_MAX and 1 <= month <= 12 and 1 <= day <= 31
    if not known or hour > 23 or minute > 59 or second > 59:
        return None
    from_march = (month - 3) % 12
    year -= month < 3
    days = year * 365 + year // 4 - year // 100 + year // 400 + (153 * from_march + 2) // 5 + day - 1 - _EPOCH_DAY
    return days * DAY + hour * HOUR + minute * MINUTE + second * SECOND


def format_time(instant: int) -> str:
    """Write nanoseconds since 1970 as a UTC time with whole seconds, rounded down; `parse_time` reads it back.

    Source of the day count: H. Hinnant, chrono-compatible low-level date algorithms, civil_from_days.
    """
    days, rest = divmod(instant, DAY)
    era, day = divmod(days + _EPOCH_DAY, _DAYS_OF_400_YEARS)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    from_march = (5 * day + 2) // 153
    date = (era * 400 + year + (from_march > 9), (from_march + 2) % 12 + 1, day - (153 * from_march + 2) // 5 + 1)
    clock = (rest // HOUR, rest // MINUTE % 60, rest // SECOND % 60)
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*date, *clock)
