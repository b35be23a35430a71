"""Reading a parsed TOML or JSON table field by field, so that every refusal names its path."""

from __future__ import annotations

import difflib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marginkeep.errors import PrecisionError, RulebookError
from marginkeep.rulebook.durations import parse_duration, parse_time
from marginkeep.rulebook.grid import count_units, exact_text
from marginkeep.units import RATE_ONE, format_units, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_MISSING: Any = object()


class Fields:
    """One table of the file, with the path that leads to it. Call `finish` last: it refuses unknown keys."""

    def __init__(self, table: object, path: str) -> None:
        if not isinstance(table, dict):
            raise RulebookError(f"{path or 'the file'} is {shown(table)}: give a table of named fields")
        self.table: dict[str, Any] = table
        self.path = path
        self._taken: set[str] = set()

    def at(self, name: str) -> str:
        """Return the full path of a field of this table."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Tell whether the field is given."""
        return name in self.table

    def take(self, name: str, default: Any = _MISSING) -> Any:
        """Return the field's raw value and mark it as known."""
        self._taken.add(name)
        if name in self.table:
            return self.table[name]
        if default is _MISSING:
            raise RulebookError(f"{self.at(name)} is missing: add it{self._near(name)}")
        return default

    def _near(self, name: str) -> str:
        unknown = [key for key in self.table if key not in self._taken]
        match = difflib.get_close_matches(name, unknown, n=1)
        return f" (did you mean it by {match[0]!r}?)" if match else ""

    def text(self, name: str, default: Any = _MISSING) -> Any:
        """Return a non-empty string of printable characters (or the default as it is)."""
        value = self.take(name, default)
        if value is default and default is not _MISSING:
            return value
        if not isinstance(value, str) or not value:
            raise RulebookError(f"{self.at(name)} is {shown(value)}: give a non-empty text")
        require_printable(value, self.at(name))
        return value

    def choice(self, name: str, choices: Sequence[str], default: Any = _MISSING) -> Any:
        """Return one of the named choices."""
        value = self.take(name, default)
        if value not in choices:
            raise RulebookError(f"{self.at(name)} is {shown(value)}: use one of {', '.join(choices)}")
        return value

    def known(self, name: str, names: Collection[str], what: str, default: Any = _MISSING) -> Any:
        """Return the name of something that exists (or the default as it is); `what` says of which kind."""
        value = self.text(name, default)
        if value is not default:
            require_name(value, self.at(name), names, what)
        return value

    def names(self, name: str, default: Any = _MISSING) -> list[str]:
        """Return a list of texts, none of them twice."""
        value = self.take(name, default)
        if not isinstance(value, list) or not all(isinstance(entry, str) and entry for entry in value):
            raise RulebookError(f"{self.at(name)} is {shown(value)}: give a list of names in quotes")
        for index, entry in enumerate(value):
            require_printable(entry, f"{self.at(name)}[{index}]")
            if entry in value[:index]:
                raise RulebookError(f"{self.at(name)}[{index}] is {entry!r}, which stands there already: take one out")
        return list(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise RulebookError(f"{self.at(name)} is {shown(value)}: give true or false, without quotes")
        return value

    def duration(self, name: str, default: Any = _MISSING, zero: bool = True) -> int:
        """Return a duration in nanoseconds; see `parse_duration`. With `zero` false it must be above 0."""
        value = self.take(name, default)
        try:
            length = parse_duration(value, self.at(name))
        except PrecisionError as error:
            raise RulebookError(str(error)) from None
        if not length and not zero:
            raise RulebookError(f"{self.at(name)} is {shown(value)}: it must be above 0")
        return length

    def time(self, name: str) -> int:
        """Return an instant in nanoseconds since 1970; see `parse_time`."""
        try:
            return parse_time(self.take(name), self.at(name))
        except PrecisionError as error:
            raise RulebookError(str(error)) from None

    def whole(self, name: str, lowest: int, highest: int, default: Any = _MISSING) -> int:
        """Return an integer within bounds."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise RulebookError(f"{self.at(name)} is {shown(value)}: give a whole number from {lowest} to {highest}")
        return value

    def positive(self, name: str, default: Any = _MISSING) -> Fraction:
        """Return an exact decimal above zero."""
        value = self.decimal(name, default)
        if value <= 0:
            raise RulebookError(f"{self.at(name)} is {shown(self.table.get(name))}: it must be above 0")
        return value

    def decimal(self, name: str, default: Any = _MISSING) -> Fraction:
        """Return an exact decimal."""
        try:
            return parse_decimal(self.take(name, default), self.at(name))
        except PrecisionError as error:
            raise RulebookError(str(error)) from None

    def step(self, name: str, default: Fraction | None) -> Fraction:
        """Return a step of sizes or prices, an exact decimal above zero; required where there is no default."""
        if default is not None and not self.has(name):
            self._taken.add(name)
            return default
        return self.positive(name)

    def units(self, name: str, unit: Fraction, unit_name: str, cure: str = "", zero: bool = True) -> int:
        """Return an exact decimal as a whole number of units; see `count_units`."""
        return count_units(self.decimal(name), unit, self.at(name), unit_name, cure, zero)

    def price(self, name: str, tick: Fraction, highest: int) -> int:
        """Return a price above 0 in whole ticks, at most so many."""
        try:
            ticks = count_units(self.decimal(name), tick, self.at(name), "tick", ", or a finer tick", zero=False)
        except PrecisionError as error:
            raise RulebookError(str(error)) from None
        if not 1 <= ticks <= highest:
            raise RulebookError(
                f"{self.at(name)} is {exact_text(ticks * tick)}: it must lie from {exact_text(tick)} "
                f"to {exact_text(highest * tick)}"
            )
        return ticks

    def limit(self, name: str, unit: Fraction, unit_name: str) -> int | None:
        """Return an optional limit in whole units: one between two units is the lower one."""
        if self.take(name, None) is None:
            return None
        value = self.positive(name)
        if value < unit:
            raise RulebookError(
                f"{self.at(name)} is {exact_text(value)}, below one {unit_name} of {exact_text(unit)}: "
                f"raise it to that or more"
            )
        return value // unit

    def rate(self, name: str, lowest: int, highest: int, default: Any = _MISSING) -> int:
        """Return a rate in 10^-9 within bounds."""
        return checked_rate(self.take(name, default), self.at(name), lowest, highest)

    def tables(self, name: str) -> Iterator[tuple[str, Fields]]:
        """Yield (name, fields) of each sub-table of a field, in file order."""
        outer = Fields(self.take(name, {}), self.at(name))
        for key, value in outer.table.items():
            require_printable(key, f"a name in {outer.path}")
            yield key, Fields(value, outer.at(key))

    def rows(self, name: str, default: Any = _MISSING) -> list[Fields]:
        """Return each element of a field that is a list of tables."""
        value = self.take(name, default)
        if not isinstance(value, list):
            raise RulebookError(f"{self.at(name)} is {shown(value)}: give a list of tables")
        return [Fields(row, f"{self.at(name)}[{index}]") for index, row in enumerate(value)]

    def sub(self, name: str, default: Any = _MISSING) -> Fields:
        """Return a sub-table."""
        return Fields(self.take(name, default), self.at(name))

    def finish(self) -> None:
        """Refuse keys that nobody asked for: a misspelt parameter must not pass as its default."""
        for key in self.table:
            if key not in self._taken:
                match = difflib.get_close_matches(key, self._taken, n=1)
                cure = f"did you mean {match[0]!r}?" if match else f"known: {', '.join(sorted(self._taken))}"
                raise RulebookError(f"{self.at(key)} is not a known field: {cure}")


def require_printable(text: str, path: str) -> None:
    """Refuse text that cannot be shown or written, such as control characters or half a surrogate pair."""
    if not text.isprintable():
        raise RulebookError(f"{path} is {ascii(text)[:60]}: use printable characters only, in one line")


def require_name(name: str, path: str, names: Collection[str], what: str) -> None:
    """Refuse a name that is not among those that exist; `what` says of which kind, for example ``"feed"``."""
    if name not in names:
        article = "an" if what[0] in "aeiou" else "a"
        known = ", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else "")
        cure = f"use one of {known}" if names else f"there is none yet, add {article} {what}"
        raise RulebookError(f"{path} is {shown(name)}, which is not {article} {what}: {cure}")


def checked_rate(value: object, path: str, lowest: int, highest: int) -> int:
    """Return a rate in 10^-9, refusing one outside [lowest, highest]."""
    try:
        rate = count_units(parse_decimal(value, path), Fraction(1, RATE_ONE), path, "rate step")
    except PrecisionError as error:
        raise RulebookError(str(error)) from None
    if not lowest <= rate <= highest:
        raise RulebookError(
            f"{path} is {shown(value)}: it must lie from {format_units(lowest, 9)} to {format_units(highest, 9)}"
        )
    return rate


def shown(value: object) -> str:
    """Write a value of the file for a message, shortened."""
    text = repr(value) if not isinstance(value, (int, float)) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
