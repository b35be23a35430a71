"""Which record an idempotency key belongs to, in SQLite: the newest in memory, all others in a table in its own order.

A digest belongs anywhere in an index. Indexed one by one, a thousand new keys would change a thousand pages of a large
journal; here they wait until there are many, and go in side by side, some with every batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from marginkeep.errors import InvariantViolation

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

GENERATION: Final = 32_768
"""Keys that wait before they go in together: 2 MiB of memory, and read again when a journal is opened."""

_SELECT_WAITING: Final = """SELECT key_digest, sequence FROM records
    WHERE key_digest IS NOT NULL AND sequence > (SELECT sequence FROM keys_end)"""
_INSERT: Final = "INSERT OR REPLACE INTO keys VALUES (?, ?)"
# Replacing, because a generation cut short goes in again after a restart. So the table itself stops nobody from writing
# a key twice: that a key is new to it is for `find` to tell, which `DurableHouse.stage` asks for every batch.
_END: Final = "UPDATE keys_end SET sequence = ?"


class NewestKeys:
    """The keys that are not in the table yet. One thread writes; others may ask.

    Attributes
    ----------
    _newest : digest -> sequence, of records after all others
    _waiting : the generation that is going in, until all of it is durable there
    _order : its items in the table's order; `_gone` of them are in, `_going` when the present batch is durable
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._newest: dict[bytes, int] = dict(db.execute(_SELECT_WAITING))
        self._waiting: dict[bytes, int] = {}
        self._order: list[tuple[bytes, int]] = []
        self._gone = self._going = 0

    def find(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        """Return the sequences of those that are known here; ask the table, afterwards, for the others."""
        newest, waiting = self._newest, self._waiting
        return {one: newest.get(one) or waiting[one] for one in digests if one in newest or one in waiting}

    def require_new(self, digests: list[bytes]) -> None:
        """Stop a writer that has not asked, as far as memory tells: `find` has read the table, nobody reads it again.

        Raises
        ------
        InvariantViolation : one of them is known here, or is there twice
        """
        if len(set(digests)) < len(digests) or self.find(digests):
            raise InvariantViolation("an idempotency key was written twice; find() it first")

    def move(self, db: sqlite3.Connection, most: int) -> None:
        """Put up to `most` keys into the table, within a batch's transaction; `landed` must follow."""
        if self._gone == len(self._order):
            self._begin()
        part = self._order[self._gone : self._gone + most]
        self._going = self._gone + len(part)
        if part:
            db.executemany(_INSERT, part)
            if self._going == len(self._order):
                db.execute(_END, (max(self._waiting.values()),))

    def landed(self, digests: Iterable[tuple[bytes, int]]) -> None:
        """Learn the keys of a batch that is durable, and that what was moved with it is."""
        self._newest.update(digests)
        self._gone = self._going

    def forget(self, until: int) -> None:
        """Let go of the keys of records that were deleted."""
        self._order = [item for item in self._order[self._gone :] if item[1] > until]
        self._gone = self._going = 0
        self._newest = {digest: sequence for digest, sequence in self._newest.items() if sequence > until}
        self._waiting = {digest: sequence for digest, sequence in self._waiting.items() if sequence > until}

    def _begin(self) -> None:
        """Let the next generation wait; the one before is durable in the table by now."""
        self._order, self._gone, self._going = [], 0, 0
        if len(self._newest) < GENERATION:
            self._waiting = {}
            return
        items = list(self._newest.items())
        heads = np.frombuffer(b"".join(digest[:8] for digest, _ in items), ">u8")
        self._order = [items[place] for place in np.argsort(heads).tolist()]
        # Whoever asks meanwhile looks at the newest first: no key is in neither.
        self._waiting = self._newest
        self._newest = {}
