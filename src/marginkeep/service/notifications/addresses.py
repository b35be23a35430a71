"""Where a webhook may go: public addresses, resolved once, and connected to as resolved."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Resolver = "Callable[[str, int], Awaitable[list[str]]]"

URL_LENGTH_MAX: Final = 2_048
PORTS: Final = {"https": 443, "http": 80}
_EMBEDDING: Final = tuple(
    ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)
"""IPv6 networks whose addresses stand for IPv4 ones."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse an address that no webhook may have.

    Raises
    ------
    InputError : not an https address (http where private addresses are allowed), too long, or with a password in it
    """
    schemes = ("https", "http") if allow_private else ("https",)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"webhook address {url[:80]!r} cannot be read: {error}") from error
    if len(url) > URL_LENGTH_MAX or not url.isprintable() or " " in url:
        raise InputError(f"webhook address {url[:80]!r}: give at most {URL_LENGTH_MAX} characters without spaces")
    if parts.scheme not in schemes or not parts.hostname:
        raise InputError(f"webhook address {url[:80]!r}: give one that begins with {' or '.join(schemes)}://")
    if parts.username is not None or parts.password is not None or port == 0:
        raise InputError(f"webhook address {url[:80]!r}: leave user, password and port 0 out")


def is_public(text: str) -> bool:
    """Tell whether an address belongs to the public internet, and to nothing else in disguise."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if any(address in network for network in _EMBEDDING) or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def pinned_address(
    url: str, *, allow_private: bool, resolver: Callable[[str, int], Awaitable[list[str]]] = resolve
) -> str:
    """Return the one address that a request to a URL may connect to.

    A host that has a single address which is not public is refused as a whole.

    Raises
    ------
    InputError : it has no address, or one that is not public
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        found = await resolver(host, parts.port or PORTS[parts.scheme])
    except (OSError, UnicodeError) as error:
        raise InputError(f"{host} has no address") from error
    if not found:
        raise InputError(f"{host} has no address")
    if not allow_private and not all(map(is_public, found)):
        raise InputError(f"{host} has an address that is not public: webhooks go to the public internet")
    return found[0]
