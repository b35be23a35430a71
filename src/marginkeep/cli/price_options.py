"""What commands that replay prices share: options that choose them, reading or making them up, what was repaired."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import click

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from marginkeep.lab.candles import Candles
    from marginkeep.lab.opening import PricePath

ARCHETYPE: Final = "flash_cascade"
"""The kind of crash that a study makes up without a price file."""

TIME_FORMATS: Final = (
    "%Y-%m-%d",
    *(f"%Y-%m-%d{sep}%H:%M{sec}{zone}" for sep in "T " for sec in (":%S", "") for zone in ("", "%z")),
)


def in_utc(context: click.Context, option: click.Parameter, moment: datetime | None) -> datetime | None:
    """Return an option's time without a zone, which is UTC."""
    if moment is None or moment.tzinfo is None:
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None)


def price_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose prices: ``symbols``, ``start``, ``end``, ``drop_bad_rows`` and ``kind``."""
    options = (
        click.option("--symbols", help="Only these symbols of the price file, comma separated."),
        click.option("--start", type=click.DateTime(TIME_FORMATS), callback=in_utc, help="First time to replay, UTC."),
        click.option("--end", type=click.DateTime(TIME_FORMATS), callback=in_utc, help="Time at which to stop, UTC."),
        click.option(
            "--drop-bad-rows", is_flag=True, help="Drop and count rows with a bad price instead of refusing the file."
        ),
        click.option(
            "--path",
            "kind",
            type=click.Choice(["close", "ohlc"]),
            default="close",
            show_default=True,
            help="How a candle becomes prices.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def read_price_file(prices: Path, options: dict[str, Any]) -> Candles:
    """Return the candles that the options choose, gaps filled."""
    from marginkeep.lab.candles import filled, read_candles, window

    symbols = [symbol.strip() for symbol in options["symbols"].split(",")] if options["symbols"] else None
    candles = read_candles(prices, symbols=symbols, drop_bad_rows=options["drop_bad_rows"])
    moments = _moments(options)
    return filled(candles if moments == (None, None) else window(candles, *moments))


def read_or_make_up(prices: Path | None, options: dict[str, Any]) -> Candles:
    """Return the candles that the options choose, of a crash made up from ``seed`` where there is no file.

    Raises
    ------
    InputError : symbols are chosen without a file
    """
    from marginkeep.cli.demo import made_up_candles
    from marginkeep.lab.candles import window

    if prices is not None:
        return read_price_file(prices, options)
    if options["symbols"]:
        raise InputError("--symbols chooses from a price file: give PRICES, or leave --symbols out")
    return window(made_up_candles(options["seed"], ARCHETYPE), *_moments(options))


def _moments(options: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return start and end, nanoseconds UTC."""
    first, last = (
        None if options[name] is None else int(options[name].replace(tzinfo=UTC).timestamp()) * 10**9
        for name in ("start", "end")
    )
    return first, last


def path_repairs(candles: Candles, path: PricePath) -> tuple[str, ...]:
    """Say what was repaired in the prices, from the file to the ticks."""
    ignored = (f"Symbols that no market uses: {', '.join(path.unused)}.",) if path.unused else ()
    rounded = (f"{path.rounded:,} prices were rounded to the nearest tick.",) if path.rounded else ()
    raised = (f"{path.raised:,} prices below half a tick were raised to one tick.",) if path.raised else ()
    return (*candles.repairs, *ignored, *rounded, *raised)
