"""The latest state of many rows, for everybody who listens: each listener asks for what changed since it last did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marginkeep.service.stream.rows import Row

_encode = msgspec.json.Encoder().encode


class RowBoard:
    """Encoded rows by name, each with the version at which it last changed.

    Attributes
    ----------
    version : rises with every update that changed something
    sequence : the journal's state that the rows show, or an earlier one
    """

    def __init__(self) -> None:
        self.version = 0
        self.sequence = 0
        self._rows: dict[str, tuple[int, bytes]] = {}

    def update(self, rows: Mapping[str, Row | None], sequence: int) -> bool:
        """Take rows in (None = the row is gone) and tell whether any has changed."""
        fresh = {name: b"" if row is None else _encode(row) for name, row in rows.items()}
        changed = [name for name, row in fresh.items() if self._rows.get(name, (0, b""))[1] != row]
        self.sequence = sequence
        if not changed:
            return False
        self.version += 1
        self._rows.update((name, (self.version, fresh[name])) for name in changed)
        return True

    def since(self, version: int, names: Iterable[str] | None = None) -> list[bytes]:
        """Return the rows that changed after a version, of these names or of all."""
        if self.version <= version:
            return []
        rows = self._rows.values() if names is None else [self._rows[name] for name in names if name in self._rows]
        return [row for changed, row in rows if changed > version and row]

    def forget(self, names: Iterable[str]) -> None:
        """Drop rows that nobody listens to any more."""
        for name in names:
            self._rows.pop(name, None)
