"""Where notices go and what each place wants to hear: documents beside the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from marginkeep.errors import InputError
from marginkeep.service.access.scopes import EVERY_ACCOUNT
from marginkeep.service.notifications.addresses import check_url
from marginkeep.service.notifications.notices import SEVERITIES, Kind, Notice, Severity
from marginkeep.service.notifications.templates import check_template
from marginkeep.units import RATE_ONE, parse_rate

if TYPE_CHECKING:
    from marginkeep.service.operations.settings import NotificationSettings

ENDPOINT: Final = "endpoint"
CURSOR: Final = "cursor"
DEAD_LETTER: Final = "dead_letter"
LEVELS_MAX: Final = 20
QUIET_SECONDS_MAX: Final = 86_400
_FACTOR_MAX: Final = 1_000 * RATE_ONE


class WatchLevel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tell me when an account's health factor, collateral by requirement at maintenance, falls below a value.

    Attributes
    ----------
    below : decimal string such as ``"1.5"``
    again_above : it must rise to this before its next fall is told; a twentieth above `below` where left out
    """

    account: Annotated[str, Meta(min_length=1, max_length=64)]
    below: Annotated[str, Meta(max_length=30)]
    again_above: Annotated[str, Meta(max_length=30)] = ""

    def rates(self) -> tuple[int, int]:
        """Return both values as rates.

        Raises
        ------
        PrecisionError, InputError : not decimals, or not in order
        """
        below = parse_rate(self.below, "below")
        above = parse_rate(self.again_above, "again_above") if self.again_above else below + below // 20
        if not 0 < below <= above <= _FACTOR_MAX:
            raise InputError(f"below is {self.below}, again_above {self.again_above}: give 0 < below <= again_above")
        return below, above


class Preferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an endpoint wants to hear.

    Attributes
    ----------
    kinds : of notices; none = all
    least_severity : what matters less is left out
    quiet_seconds : the same kind for the same account is not repeated within this time; critical notices are
    levels : health factors to be watched
    template : text of a notice in place of the standard one
    """

    kinds: Annotated[tuple[Kind, ...], Meta(max_length=16)] = ()
    least_severity: Severity = "info"
    quiet_seconds: Annotated[int, Meta(ge=0, le=QUIET_SECONDS_MAX)] = 0
    levels: Annotated[tuple[WatchLevel, ...], Meta(max_length=LEVELS_MAX)] = ()
    template: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A place to which notices go.

    Attributes
    ----------
    owner : whose notices it gets; `EVERY_ACCOUNT` = the venue's operators, who get all
    kind, target : ``webhook`` and its URL, ``apprise`` and its address, ``mail`` and a mail address
    secret : signs a webhook's notices, sealed where the service has a seal
    start : the journal's sequence when it was made: nothing before is told
    key : who made it
    """

    id: str
    owner: str
    kind: Literal["webhook", "apprise", "mail"]
    target: str
    secret: bytes = b""
    preferences: Preferences = Preferences()
    created_ns: int
    start: int = 0
    key: str = ""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A notice that could not be delivered."""

    endpoint: str
    owner: str
    notice: Notice
    attempts: int
    reason: str
    at_ns: int

    @property
    def name(self) -> str:
        """Its document's name."""
        return f"{self.endpoint}:{self.notice.id}"


def wants(endpoint: Endpoint, notice: Notice) -> bool:
    """Tell whether an endpoint is told of a notice at all; repetition is another question."""
    preferences = endpoint.preferences
    if endpoint.owner != notice.owner and not (notice.public and endpoint.owner != EVERY_ACCOUNT):
        return False
    if preferences.kinds and notice.kind not in preferences.kinds:
        return False
    return SEVERITIES.index(notice.severity) >= SEVERITIES.index(preferences.least_severity)


def check_endpoint(endpoint: Endpoint, settings: NotificationSettings) -> None:
    """Refuse an endpoint that could not work, or should not.

    Raises
    ------
    InputError, PrecisionError : saying which field, and what it may be
    """
    if endpoint.kind == "webhook":
        check_url(endpoint.target, allow_private=settings.allow_private_addresses)
    elif endpoint.kind == "apprise":
        _check_apprise(endpoint)
    else:
        _check_mail(endpoint.target, settings)
    if endpoint.preferences.template:
        check_template(endpoint.preferences.template)
    for level in endpoint.preferences.levels:
        level.rates()


_FIXED_HOSTS: Final = ("slack://", "tgram://", "discord://", "pover://")
"""Apprise services that talk to a host of their own: an owner's address cannot point them at the venue's network."""


def _check_apprise(endpoint: Endpoint) -> None:
    if endpoint.owner != EVERY_ACCOUNT and not endpoint.target.startswith(_FIXED_HOSTS):
        names = ", ".join(name.removesuffix("://") for name in _FIXED_HOSTS)
        raise InputError(f"an owner's chat address is of {names}: others are the operators' to set")
    import apprise

    if apprise.Apprise.instantiate(endpoint.target) is None:
        raise InputError("the address is of no service that is known: see the list of Apprise")


def _check_mail(target: str, settings: NotificationSettings) -> None:
    local, at, domain = target.partition("@")
    plain = all(c.isalnum() or c in "._+-" for c in local + domain)
    if not settings.mail:
        raise InputError("this venue sends no mail: ask it to set notifications.mail, or use a webhook")
    if not (at and local and "." in domain and plain and target.isascii()) or len(target) > 254:
        raise InputError(f"{target[:80]!r} is not a mail address: give one such as ann@example.org")
