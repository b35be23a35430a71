"""Amounts, sizes, prices and rates on their way out: decimal strings, never floats."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from marginkeep.errors import PrecisionError

if TYPE_CHECKING:
    from collections.abc import Mapping

Amount = str | int | Decimal
"""What is taken in for a number with a unit; what comes back is a `str`."""

_PLAIN: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?\Z", re.ASCII)


def decimal_text(value: Amount, what: str) -> str:
    """Return a number as the plain decimal string that goes over the wire.

    Raises
    ------
    PrecisionError : a float, which has lost digits already, or not a plain decimal number
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise PrecisionError(f'{what} is {value!r:.60}: give a decimal string such as "0.001", or a Decimal')
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if not _PLAIN.match(text):
        raise PrecisionError(f'{what} is {text[:60]!r}: give a plain decimal such as "0.001"')
    return text


def decimal_table(values: Mapping[str, Amount], what: str) -> dict[str, str]:
    """Return a table of numbers as decimal strings."""
    return {name: decimal_text(value, f"{what} of {name}") for name, value in values.items()}
