"""A typed client of the service, and the signing of its requests. It needs no engine.

`Client` waits for its answers, `AsyncClient` is awaited; both have the same `methods`, made from `commands`,
`queries` and `rule_changes`. What they may raise is drawn in `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from marginkeep.client.awaiting import AsyncClient
    from marginkeep.client.blocking import Client

__all__ = ["AsyncClient", "Client"]

_PLACES: Final = {"AsyncClient": "awaiting", "Client": "blocking"}


def __getattr__(name: str) -> Any:
    """Import a client when it is first asked for: signing alone needs neither."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
