"""What the service writes to standard error: pretty on a terminal, one JSON object a line elsewhere, never a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

from marginkeep.service.operations.settings import LogSettings

HIDDEN: Final = frozenset(
    {"authorization", "body", "headers", "login", "nonce", "password", "payload", "secret", "signature", "token"}
)
"""Members that no line has, whoever writes it."""

_Event = MutableMapping[str, Any]
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logs(
    settings: LogSettings, clock: Callable[[], int], stream: TextIO | None = None, *, as_json: bool = False
) -> None:
    """Set logging up for the process, the web server's included.

    Parameters
    ----------
    clock : nanoseconds UTC, for the time of each line
    stream : None = standard error
    as_json : whatever the settings say
    """
    out = sys.stderr if stream is None else stream
    pretty = not as_json and (settings.format == "pretty" or (settings.format == "auto" and out.isatty()))
    shared = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, _stamp(clock), hide]
    shared.append(structlog.processors.format_exc_info)
    renderer = _pretty_renderer(out) if pretty else _render_json
    shared += [_shorten_time] if pretty else []
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    _take_over_standard_logging(shared, renderer, out)


def hide(_: Any, __: str, event: _Event) -> _Event:
    """Leave out what must not be in a log."""
    for name in HIDDEN.intersection(event):
        del event[name]
    return event


def _stamp(clock: Callable[[], int]) -> Callable[[Any, str, _Event], _Event]:
    def stamp(_: Any, __: str, event: _Event) -> _Event:
        event["at"] = datetime.fromtimestamp(clock() // 10**3 / 10**6, UTC).isoformat(timespec="microseconds")
        return event

    return stamp


def _shorten_time(_: Any, __: str, event: _Event) -> _Event:
    """Leave the time of day, to the millisecond, UTC: who looks at a terminal knows the date."""
    event["at"] = event["at"][11:23]
    return event


def _render_json(_: Any, __: str, event: _Event) -> str:
    """Return one line: time, level and what happened first, then its members."""
    first = {"at": event.pop("at", ""), "level": event.pop("level", ""), "event": event.pop("event", "")}
    return msgspec.json.encode({**first, **event}, enc_hook=repr).decode()


def _pretty_renderer(out: TextIO) -> Any:
    return structlog.dev.ConsoleRenderer(timestamp_key="at", colors=out.isatty(), pad_event_to=34, sort_keys=False)


def _take_over_standard_logging(shared: list[Any], renderer: Any, out: TextIO) -> None:
    """Send what libraries write, of warnings and above, the same way."""
    handler = logging.StreamHandler(out)
    stripped = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[stripped, renderer]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
