"""Where requests come from: single addresses and networks in CIDR notation."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

Network = IPv4Network | IPv6Network

NETWORKS_MAX: Final = 64
GROUPS_REMEMBERED: Final = 8_192


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return networks from their texts; a single address is a network of one.

    Raises
    ------
    InputError : not an address or network, one with bits set beyond its prefix, the whole world, or too many
    """
    if len(texts) > NETWORKS_MAX:
        raise InputError(f"{len(texts)} addresses are bound to one key, at most {NETWORKS_MAX}: give networks")
    return tuple(_read_network(text) for text in texts)


def _read_network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise InputError(
            f"address {text!r:.60} is none ({error}): give one such as 192.0.2.7 or 2001:db8::/48"
        ) from error
    if network.prefixlen == 0:
        raise InputError(f"address {text!r} is every address there is: leave it out, or name networks")
    return network


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address, an IPv4 one in IPv6 clothing as IPv4; None where it is none (a local socket)."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_within(text: str, networks: Iterable[Network]) -> bool:
    """Tell whether an address lies in one of some networks."""
    address = read_address(text)
    return address is not None and any(address in network for network in networks)


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address of an ASGI connection's other end in plain form, empty where it has none."""
    client = scope.get("client")
    address = read_address(client[0]) if client else None
    return "" if address is None else str(address)


@lru_cache(GROUPS_REMEMBERED)
def group_of(text: str) -> str:
    """Return what strangers are counted under: the address, for IPv6 its /64, which one caller has to itself."""
    address = read_address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return text
