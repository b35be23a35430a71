"""Keys: who may ask what of the service, for whom, from where and until when. Secrets are sealed or never seen."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from marginkeep.client.signing import ED25519, HMAC_SHA256, SECRET_BYTES, SIGNATURE_BYTES
from marginkeep.errors import InputError
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.service.access.addresses import Network, is_within, read_networks
from marginkeep.service.access.scopes import EVERY_ACCOUNT, Caller, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.service.access.sealing import Seal

DAY_NS: Final = 86_400 * 10**9
EXPIRY_DAYS_MAX: Final = 90
"""Days that a key without addresses is good for, at most."""

BOUND_SCOPES: Final = (Scope.TRANSFER, Scope.RISK_ADMIN)
"""Scopes that only keys bound to addresses have, and that only the command line on the host gives."""

ACCOUNTS_MAX: Final = 256
NAME_MAX: Final = 64
ID_BYTES: Final = 12

SMALL_ORDER_Y: Final = frozenset(
    {
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    }
)
"""Ed25519 points of small order, without their sign bit: for such a public key anybody can sign."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, as stored.

    Attributes
    ----------
    public : Ed25519 public key; empty for HMAC
    sealed : the HMAC secret, encrypted by `Seal`; empty for Ed25519
    accounts : owners it acts for; `EVERY_ACCOUNT` = all
    addresses : networks it may be used from; none = from anywhere
    person : the human being who answers for it; two different ones are needed to change the rules
    expires_ns, revoked_ns : 0 = never
    """

    id: str
    algorithm: Literal["ed25519", "hmac-sha256"]
    person: str
    created_ns: int
    public: bytes = b""
    sealed: bytes = b""
    scopes: tuple[Scope, ...] = (Scope.READ,)
    accounts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    created_by: str = "local"
    expires_ns: int = 0
    revoked_ns: int = 0

    def is_live(self, now_ns: int) -> bool:
        """Tell whether it is neither revoked nor expired."""
        return self.revoked_ns == 0 and (self.expires_ns == 0 or now_ns < self.expires_ns)


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a key: everything but its secret."""

    id: str
    algorithm: str
    person: str
    scopes: tuple[Scope, ...]
    accounts: tuple[str, ...]
    addresses: tuple[str, ...]
    created_ns: int
    created_by: str
    expires_ns: int
    revoked_ns: int


def view_of(key: ApiKey) -> KeyView:
    """Return what may be told of a key."""
    return KeyView(**{name: getattr(key, name) for name in KeyView.__struct_fields__})


def check_key(key: ApiKey, expiry_days_max: int = EXPIRY_DAYS_MAX) -> None:
    """Refuse a key that could do more than it should, or nothing.

    Raises
    ------
    InputError : says which bound it breaks
    """
    networks = read_networks(key.addresses)
    _check_secret(key)
    _check_texts(key)
    bound = [scope for scope in key.scopes if scope in BOUND_SCOPES]
    if bound and not networks:
        raise InputError(f"a key with scope {bound[0]} must be bound to addresses: name the networks it is used from")
    if not networks and not key.expires_ns:
        raise InputError(f"a key bound to no address must expire within {expiry_days_max} days: state when, or bind it")
    if not networks and key.expires_ns - key.created_ns > expiry_days_max * DAY_NS:
        raise InputError(f"a key bound to no address is good for {expiry_days_max} days at most: bind it, or ask less")
    if key.expires_ns and key.expires_ns <= key.created_ns:
        raise InputError("the key would have expired before it is made: state a later time")


def _check_secret(key: ApiKey) -> None:
    if key.algorithm == HMAC_SHA256:
        if key.public or not key.sealed:
            raise InputError("an HMAC key has a sealed secret and no public key")
        return
    if len(key.public) != SECRET_BYTES or key.sealed:
        raise InputError(f"an Ed25519 key is given as its public key of {SECRET_BYTES} bytes, not {len(key.public)}")
    unsigned = key.public[:-1] + bytes([key.public[-1] & 0x7F])
    if unsigned.hex() in SMALL_ORDER_Y:
        raise InputError("the public key is a point of small order, for which anybody can sign: make another key")


def _check_texts(key: ApiKey) -> None:
    if not key.scopes or len(set(key.scopes)) != len(key.scopes):
        raise InputError("a key has at least one scope, and each one once")
    if not key.person.strip() or len(key.person) > NAME_MAX or not key.person.isprintable():
        raise InputError(f"a key names the person who answers for it, in at most {NAME_MAX} printable characters")
    if not key.accounts or len(key.accounts) > ACCOUNTS_MAX:
        raise InputError(f"a key acts for 1 to {ACCOUNTS_MAX} accounts, not {len(key.accounts)}: name them, or *")
    for account in key.accounts:
        if not account or len(account) > NAME_MAX or not account.isprintable() or owner_of(account) != account:
            raise InputError(f"account {account!r:.80} is no owner: name the part before the first / or dot")
    if EVERY_ACCOUNT in key.accounts and len(key.accounts) > 1:
        raise InputError(f"{EVERY_ACCOUNT} stands for every account: name no others beside it")


def same_person(first: str, second: str) -> bool:
    """Tell whether two keys answer to one human being, however the name is written."""
    return " ".join(first.split()).casefold() == " ".join(second.split()).casefold()


class LoadedKey:
    """A key ready to check signatures with; what that takes is made once, on first use."""

    __slots__ = ("_check", "_seal", "accounts", "key", "networks", "scopes")

    def __init__(self, key: ApiKey, seal: Seal | None) -> None:
        self.key = key
        self.networks: tuple[Network, ...] = read_networks(key.addresses)
        self.scopes = frozenset(key.scopes)
        self.accounts = frozenset(key.accounts)
        self._seal = seal
        self._check: Callable[[bytes, bytes], bool] | None = None

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a signature is this key's over a message.

        The algorithm is the key's own and never the request's, so one cannot be taken for the other.
        """
        if len(signature) != SIGNATURE_BYTES[self.key.algorithm]:
            return False
        if self._check is None:
            self._check = self._make_check()
        return self._check(message, signature)

    def is_used_from(self, address: str) -> bool:
        """Tell whether the key may be used from an address."""
        return not self.networks or is_within(address, self.networks)

    def caller(self, address: str, until_ns: int = 0) -> Caller:
        """Return who a request with this key comes from."""
        return Caller(key=self.key.id, scopes=self.scopes, accounts=self.accounts, address=address, until_ns=until_ns)

    def _make_check(self) -> Callable[[bytes, bytes], bool]:
        if self.key.algorithm == ED25519:
            return ed25519_check(self.key.public)
        if self._seal is None:
            raise InputError(f"the secret of key {self.key.id!r} is sealed: the service's secret is needed")
        secret = self._seal.unseal(self.key.id, self.key.sealed)
        return lambda message, code: hmac.compare_digest(hmac.digest(secret, message, "sha256"), code)


def ed25519_check(public: bytes) -> Callable[[bytes, bytes], bool]:
    """Return what checks signatures against a public key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    loaded = Ed25519PublicKey.from_public_bytes(public)

    def check(message: bytes, signature: bytes) -> bool:
        try:
            loaded.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return check


def encode_key(key: ApiKey) -> bytes:
    """Write a key as a document."""
    return msgspec.json.encode(key)


def decode_key(body: bytes) -> ApiKey:
    """Read a key's document back.

    Raises
    ------
    msgspec.ValidationError : it is none
    """
    return msgspec.json.decode(body, type=ApiKey)
