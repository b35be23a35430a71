"""The waves of deleveraging that the study applies: published figures of 10 October 2025, or a file of the same form.

Source of the built-in figures: pluriholonomic/autodeleveraging-analysis, per-wave budgets of Hyperliquid,
10 October 2025, 21:16 to 21:26 UTC (MIT licence). A wave is a burst of fills with no gap of more than 5 seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DECIMALS: Final = 6
"""Money of the study counts millionths of a USD."""

COLUMNS: Final = ("wave", "budget_needed", "budget_prod", "n_rows")
WAVES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave as it was.

    Attributes
    ----------
    number : the source's
    needed : what bankrupt positions could not pay, millionths of a USD
    taken : what the production queue took from winners
    fills : positions of winners that were closed
    """

    number: int
    needed: int
    taken: int
    fills: int


PUBLISHED_WAVES: Final = tuple(
    Wave(number, needed, taken, fills)
    for number, needed, taken, fills in (
        (1, 2_266_239_820_241, 414_233_970_596, 11_279),
        (2, 1_383_878_324_761, 171_137_103_496, 2_915),
        (4, 1_065_843_446_131, 407_593_465_724, 1_179),
        (5, 115_496_578_335, 41_011_407_990, 304),
        (7, 8_055_871_928, 8_995_085_465, 21),
        (8, 1_576_039_218_553, 11_415_047_961_085, 2_248),
        (9, 44_867_642_117, 16_097_974_908, 100),
        (10, 1_622_228_637_649, 1_071_568_120_978, 2_290),
        (11, 373_726_469_379, 1_202_926_644_864, 817),
        (12, 5_177_076_340, 7_682_724_309, 82),
        (13, 5_584_123_653_721, 38_449_033_213_866, 7_873),
        (14, 1_021_113_060_378, 6_612_642_338_278, 1_896),
        (17, 9_400_221_401, 243_600_801_630, 75),
        (21, 1_545_189_040, 18_544_059_894, 26),
        (25, 671_647_934, 17_880_936_719, 10),
        (28, 1_262_751_100, 10_339_518_343, 37),
    )
)
"""Needed 15.08 M USD, taken 60.11 M: 49.41 M over in ten waves, 4.38 M under in six."""


@dataclass(frozen=True, slots=True)
class PublishedFacts:
    """What was published of the same event as a whole; amounts in whole USD, shares of the closed notional.

    Attributes
    ----------
    notional, profit : of all positions that were closed, and their profit
    users : who was deleveraged
    leverage : median of the deleveraged accounts
    top : of closed notional, the share of the 1, 10 and 100 largest
    """

    notional: int
    profit: int
    users: int
    leverage: Fraction
    top: tuple[tuple[int, Fraction], ...]


FACTS: Final = PublishedFacts(
    notional=2_103_000_000,
    profit=834_300_000,
    users=19_337,
    leverage=Fraction(1, 5),
    top=((1, Fraction(157, 1000)), (10, Fraction(458, 1000)), (100, Fraction(776, 1000))),
)


def read_waves(path: Path) -> tuple[Wave, ...]:
    """Read waves from a Parquet file with the columns `COLUMNS`; amounts are USD.

    Raises
    ------
    InputError : not such a file, no waves, or an amount or a count that cannot be
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as source:
            missing = [name for name in COLUMNS if name not in source.schema_arrow.names]
            rows = [] if missing else source.read(columns=list(COLUMNS)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"--waves {path} cannot be read as Parquet ({error}): give the waves' file") from error
    if missing:
        raise InputError(f"--waves {path} has no column {', '.join(missing)}: the waves' file has {', '.join(COLUMNS)}")
    if not 1 <= len(rows) <= WAVES_MAX:
        raise InputError(f"--waves {path} has {len(rows)} rows: give 1 to {WAVES_MAX} waves")
    return tuple(_wave(row, path) for row in rows)


def _wave(row: dict[str, Any], path: Path) -> Wave:
    try:
        needed, taken = (round(Fraction(row[name]) * 10**DECIMALS) for name in ("budget_needed", "budget_prod"))
        wave = Wave(int(row["wave"]), needed, taken, int(row["n_rows"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"--waves {path}, wave {row['wave']}: a cell is empty or no number: {row}") from error
    largest = FACTS.notional * 10**DECIMALS
    if not (0 <= wave.needed <= largest and 0 <= wave.taken <= largest and wave.fills >= 1):
        raise InputError(
            f"--waves {path}, wave {wave.number}: amounts must lie between 0 and {FACTS.notional:,} USD, "
            f"n_rows must be at least 1: {row}"
        )
    return wave


def lots_of(waves: Sequence[Wave]) -> tuple[int, ...]:
    """Divide the published closed notional among waves in proportion to their fills; a lot is one USD at mark.

    The notional of each wave was not published: this is an assumption of the study.
    """
    fills = [wave.fills for wave in waves]
    upto = [FACTS.notional * sum(fills[: index + 1]) // sum(fills) for index in range(len(fills))]
    return tuple(after - before for before, after in zip([0, *upto], upto, strict=False))
