"""How kernels are compiled: once, kept beside the source, and thrown away together when any of their sources changes.

Numba's own cache looks only at the file of the function that is called, not at the files of the functions compiled
into it, so an edited leaf could go on living in a cached kernel. A stamp of all sources closes that gap.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Final

from numba import njit

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_SOURCES: Final = (
    *("units.py", "margin/tiered.py", "rulebook/model.py", "book/account.py", "book/columns.py"),
    *("book/compiled.py", "book/kernels.py"),
    *("book/watch_lists.py", "book/watch_limits.py", "book/watch_budget.py", "book/watch_tick.py"),
)


def _drop_stale_cache() -> None:
    """Delete compiled files when a source has changed since they were made; a read-only installation never changes."""
    text = b"".join(_PACKAGE.joinpath(name).read_bytes() for name in _SOURCES)
    digest = hashlib.sha256(text).hexdigest()
    stamp = _PACKAGE.joinpath("book", "__pycache__", "kernels.stamp")
    try:
        if stamp.exists() and stamp.read_text(encoding="ascii") == digest:
            return
        for folder in ("__pycache__", "margin/__pycache__", "book/__pycache__"):
            for compiled in _PACKAGE.joinpath(folder).glob("*.nb[ic]"):
                compiled.unlink(missing_ok=True)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(digest, encoding="ascii")
    except OSError:
        return


_drop_stale_cache()

kernel = partial(njit, cache=True, error_model="numpy")
"""Decorator of every kernel: compiled on first use, no checks for division by zero (divisors are proved above 0)."""
