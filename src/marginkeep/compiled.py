"""How kernels are compiled: once, kept beside the source, and thrown away together when any of their sources changes.

Numba's own cache looks only at the file of the function that is called, not at the files of the functions compiled
into it, so an edited leaf could go on living in a cached kernel. A stamp of all sources closes that gap.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PACKAGE: Final = Path(__file__).resolve().parent
_SOURCES: Final = (
    *("units.py", "compiled.py", "margin/tiered.py", "rulebook/model.py", "rulebook/oracle_rules.py"),
    *("book/account.py", "book/columns.py", "book/kernels.py", "book/fills.py"),
    *("book/watch_lists.py", "book/watch_limits.py", "book/watch_budget.py", "book/watch_tick.py"),
    *("oracle/source_rows.py", "oracle/combining.py", "oracle/aggregation.py", "oracle/kernels.py"),
    *("liquidation/wide_division.py", "liquidation/sizing.py", "liquidation/incentive.py", "liquidation/reduction.py"),
    *("liquidation/plan_desk.py", "liquidation/plan_kernels.py"),
)


def _drop_stale_cache() -> None:
    """Delete compiled files when a source has changed since they were made; a read-only installation never changes."""
    text = b"".join(_PACKAGE.joinpath(name).read_bytes() for name in _SOURCES)
    digest = hashlib.sha256(text).hexdigest()
    stamp = _PACKAGE.joinpath("__pycache__", "kernels.stamp")
    try:
        if stamp.exists() and stamp.read_text(encoding="ascii") == digest:
            return
        for folder in ("", "margin", "book", "oracle", "liquidation"):
            for compiled in _PACKAGE.joinpath(folder, "__pycache__").glob("*.nb[ic]"):
                compiled.unlink(missing_ok=True)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(digest, encoding="ascii")
    except OSError:
        return


_drop_stale_cache()

kernel = partial(njit, cache=True, error_model="numpy")
"""Decorator of every kernel: compiled on first use, no checks for division by zero (divisors are proved above 0)."""

lending_kernel = partial(kernel, _nrt=False)
"""The same for kernels that make no arrays: those they are lent are not counted at every call, which can cost more than
all the rest where small kernels pass many arrays to each other."""


def compile_together(functions: Iterable[Callable[..., Any]]) -> dict[str, Any]:
    """Compile plain functions that call each other, from their own source, and return them by name.

    Parameters
    ----------
    functions : those that are called before those that call them; what else they name stays as it is
    """
    compiled: dict[str, Any] = {}
    for function in functions:
        assert isinstance(function, FunctionType)
        names = {**function.__globals__, **compiled}
        copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
        copy.__module__ = function.__module__
        copy.__qualname__ = function.__qualname__
        compiled[function.__name__] = kernel()(copy)
    return compiled
