"""Texts of notices: names in braces-free templates, filled in with plain text and nothing else."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Final

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATE_LENGTH_MAX: Final = 2_000
TEXT_LENGTH_MAX: Final = 4_000
FIELDS: Final = ("id", "kind", "severity", "account", "sequence", "recorded_ns", "title", "text")
"""What a template may name, as ``$account`` or ``${account}``."""


def check_template(text: str) -> None:
    """Refuse a template that could not be filled in.

    Raises
    ------
    InputError : too long, a stray ``$``, or a name that no notice has
    """
    if len(text) > TEMPLATE_LENGTH_MAX:
        raise InputError(f"the template has {len(text)} characters, at most {TEMPLATE_LENGTH_MAX} are kept")
    template = Template(text)
    if not template.is_valid():
        raise InputError("the template has a $ without a name behind it: write $$ for the sign itself")
    unknown = [name for name in template.get_identifiers() if name not in FIELDS]
    if unknown:
        raise InputError(f"the template names {unknown[0]!r:.60}: it may name {', '.join(FIELDS)}")


def fill(text: str, fields: Mapping[str, str]) -> str:
    """Fill a checked template in; control characters of the fields become spaces."""
    clean = {name: "".join(c if c.isprintable() or c == "\n" else " " for c in fields[name]) for name in FIELDS}
    return Template(text).safe_substitute(clean)[:TEXT_LENGTH_MAX]
