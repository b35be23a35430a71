"""Reading the configuration: defaults, then a TOML file, then the environment, then flags, each naming what is wrong.

A setting ``server.port`` is ``port`` in table ``[server]`` of the file and ``MARGINKEEP_SERVER_PORT`` in the
environment, where the members of a list are separated by blanks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from marginkeep.errors import InputError
from marginkeep.service.operations.settings import Settings

PREFIX: Final = "MARGINKEEP_"
MASK: Final = "***"
_WHOLLY_SECRET: Final = ("notifications.targets", "notifications.mail")
_OPTIONS: Final = {"journal.place": "journal"}
"""Options of the command line that are not called what their setting is."""

_SECRET_OPTIONS: Final = ("password", "sslpassword")

Source = Literal["default", "file", "environment", "flag"]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it is in force.

    Attributes
    ----------
    value : with secrets masked
    source, place : what decided it, and where: the file, the variable or the flag
    """

    name: str
    value: Any
    source: Source
    place: str
    meaning: str


class _Field(msgspec.Struct, frozen=True):
    kind: Any
    default: Any
    meaning: str


def read_settings(
    file: Path | None = None, environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> tuple[Settings, list[Setting]]:
    """Return the settings in force, and where each comes from.

    Parameters
    ----------
    file : a TOML file
    environment : variables; those that begin with ``MARGINKEEP_`` and the name of a section must be settings
    flags : values by setting name, already of the right kind; None = not given

    Raises
    ------
    InputError : names the place, the setting, its value and what to write instead
    """
    fields = settings_fields()
    stated: dict[str, tuple[Any, Source, str]] = {}
    for name, value in _from_file(file, fields) if file is not None else ():
        stated[name] = (_checked(name, value, fields, str(file)), "file", str(file))
    for name, text in _from_environment(environment or {}, fields):
        variable = variable_of(name)
        stated[name] = (
            _checked(name, _as_list(text, fields[name]), fields, variable, strict=False),
            "environment",
            variable,
        )
    for name, value in (flags or {}).items():
        if value is not None:
            option = "--" + _OPTIONS.get(name, name.rpartition(".")[2])
            stated[name] = (_checked(name, value, fields, "the command line"), "flag", option)
    settings = msgspec.convert(_nested({name: value for name, (value, _, _) in stated.items()}), Settings)
    _require_consistent(settings)
    return settings, list(_explained(settings, fields, stated))


def settings_fields() -> dict[str, _Field]:
    """Return every setting by its dotted name, in the order in which they are declared."""
    found: dict[str, _Field] = {}
    for section, name, kind, default in _declared(Settings):
        dotted = f"{section}.{name}" if section else name
        found[dotted] = _Field(kind, default, kind.__metadata__[0].description)
    return found


def variable_of(name: str) -> str:
    """Return the environment variable of a setting.

    Examples
    --------
    >>> variable_of("server.port")
    'MARGINKEEP_SERVER_PORT'
    """
    return PREFIX + name.replace(".", "_").upper()


def masked(name: str, value: Any) -> Any:
    """Return a value as it may be shown: passwords in addresses, and whatever a chat service's address holds, hidden.

    Examples
    --------
    >>> masked("journal.place", "postgresql://keeper:hunter2@db/keep")
    'postgresql://keeper:***@db/keep'
    """
    if isinstance(value, (tuple, list)):
        return tuple(masked(name, one) for one in value)
    if not isinstance(value, str) or "://" not in value:
        return value
    if name in _WHOLLY_SECRET:
        return f"{value.partition('://')[0]}://{MASK}"
    return _without_password(value)


# Leaves --------------------------------------------------------------------------------------------------------------


def _declared(kind: type, section: str = "") -> Iterator[tuple[str, str, Any, Any]]:
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        if isinstance(hints[field.name], type) and issubclass(hints[field.name], msgspec.Struct):
            yield from _declared(hints[field.name], field.name)
        else:
            yield section, field.name, hints[field.name], field.default


def _from_file(file: Path, fields: Mapping[str, _Field]) -> Iterator[tuple[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the configuration {file} cannot be read: {error}") from error
    sections = {name.partition(".")[0] for name in fields if "." in name}
    for key, value in tables.items():
        if key not in sections:
            yield _known(key, fields, str(file), [*fields, *sections]), value
            continue
        if not isinstance(value, dict):
            raise InputError(f"{file}: {key} is a section: write [{key}] and its settings below it")
        for inner, one in value.items():
            yield _known(f"{key}.{inner}", fields, str(file), list(fields)), one


def _from_environment(environment: Mapping[str, str], fields: Mapping[str, _Field]) -> Iterator[tuple[str, str]]:
    by_variable = {variable_of(name): name for name in fields}
    sections = tuple({variable_of(name.partition(".")[0]) + "_" for name in fields if "." in name})
    for variable, text in environment.items():
        if variable in by_variable:
            yield by_variable[variable], text
        elif variable.startswith(sections):
            raise InputError(f"{variable} is not a setting{_nearest(variable, list(by_variable))}")


def _known(name: str, fields: Mapping[str, _Field], place: str, candidates: list[str]) -> str:
    if name not in fields:
        raise InputError(f"{place}: {name} is not a setting{_nearest(name, candidates)}")
    return name


def _nearest(name: str, candidates: list[str]) -> str:
    """Return the nearest name as the end of a message."""
    last = {one.rpartition(".")[2]: one for one in candidates}
    found = get_close_matches(name, candidates, 1, 0.7) or [
        last[one] for one in get_close_matches(name.rpartition(".")[2], list(last), 1, 0.7)
    ]
    return f": did you mean {found[0]}?" if found else ": see `marginkeep serve --explain` for those there are"


def _as_list(text: str, field: _Field) -> Any:
    return text.split() if isinstance(field.default, tuple) else text


def _checked(name: str, value: Any, fields: Mapping[str, _Field], place: str, *, strict: bool = True) -> Any:
    try:
        return msgspec.convert(value, fields[name].kind, strict=strict)
    except msgspec.ValidationError as error:
        shown = repr(masked(name, value))
        raise InputError(f"{place}: {name} is {shown:.80}: {error}; it is {fields[name].meaning}") from error


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, value in values.items():
        section, _, last = name.rpartition(".")
        (tables.setdefault(section, {}) if section else tables)[last] = value
    return tables


def _require_consistent(settings: Settings) -> None:
    """Refuse settings that each are right and together are not."""
    access, notifications = settings.access, settings.notifications
    if access.window_ms > access.window_ms_max:
        raise InputError(
            f"access.window_ms is {access.window_ms}, above access.window_ms_max {access.window_ms_max}: lower it"
        )
    if notifications.retry_seconds > notifications.retry_seconds_max:
        raise InputError(
            f"notifications.retry_seconds is {notifications.retry_seconds}, above notifications.retry_seconds_max "
            f"{notifications.retry_seconds_max}: lower it"
        )


def _explained(
    settings: Settings, fields: Mapping[str, _Field], stated: Mapping[str, tuple[Any, Source, str]]
) -> Iterator[Setting]:
    for name, field in fields.items():
        section, _, last = name.rpartition(".")
        value = getattr(getattr(settings, section) if section else settings, last)
        _, source, place = stated.get(name, (None, "default", ""))
        yield Setting(name=name, value=masked(name, value), source=source, place=place, meaning=field.meaning)


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    query = parts.query
    if any(key in _SECRET_OPTIONS for key, _ in parse_qsl(query)):
        options = [(key, MASK if key in _SECRET_OPTIONS else text) for key, text in parse_qsl(query)]
        query = urlencode(options, safe="*")
    return urlunsplit(parts._replace(netloc=f"{name}{colon and f':{MASK}'}{at}{host}", query=query))
