"""Keys over the network: list, make, rotate, revoke. What may move money or rules is made on the host alone."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec import Meta, structs

from marginkeep.client.signing import ED25519, SECRET_BYTES
from marginkeep.errors import KeyReused
from marginkeep.service.access.access import idempotency_key
from marginkeep.service.access.keys import BOUND_SCOPES, DAY_NS, EXPIRY_DAYS_MAX, ApiKey, KeyView, view_of
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries.question import AnyRequest, context_of
from marginkeep.service.wire.answers import json_answer
from marginkeep.service.wire.bodies import read_body
from marginkeep.service.wire.openapi import documented
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.service.access.key_store import KeyStore
    from marginkeep.service.access.scopes import Caller

ID_CHARACTERS: Final = 24
PUBLIC_PATTERN: Final = "^[A-Za-z0-9+/]{43}=$"
OVERLAP_SECONDS_MAX: Final = 7 * 86_400


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make.

    Attributes
    ----------
    public : Ed25519 public key, 32 bytes in base64; whoever uses the key keeps the private one to himself
    days : how long it is good for; at most 90 unless it is bound to addresses
    """

    public: Annotated[str, Meta(max_length=64, pattern=PUBLIC_PATTERN)]
    person: Annotated[str, Meta(min_length=1, max_length=64)]
    accounts: Annotated[list[str], Meta(min_length=1, max_length=256)]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=8)] = msgspec.field(
        default_factory=lambda: [Scope.READ]
    )
    addresses: Annotated[list[str], Meta(max_length=64)] = []
    days: Annotated[int, Meta(ge=1, le=3_650)] = EXPIRY_DAYS_MAX


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that takes another's place, with the same rights.

    Attributes
    ----------
    public : the new public key, 32 bytes in base64
    overlap_seconds : how long the old one stays good
    """

    public: Annotated[str, Meta(max_length=64, pattern=PUBLIC_PATTERN)]
    overlap_seconds: Annotated[int, Meta(ge=0, le=OVERLAP_SECONDS_MAX)] = 3_600


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """Every key, oldest first."""

    keys: list[KeyView]


class OwnKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the calling key may do."""

    id: str
    algorithm: Literal["ed25519", "hmac-sha256"]
    scopes: list[Scope]
    accounts: list[str]
    expires_ns: int


_new_key: Final = msgspec.json.Decoder(NewKey)
_rotation: Final = msgspec.json.Decoder(Rotation)

_READ: Final = {"scope": Scope.RISK_ADMIN, "weight": 5, "bucket": "admin"}
_CHANGE: Final = {"scope": Scope.RISK_ADMIN, "weight": 5, "bucket": "admin", "mutates": True}


@get(
    "/v1/keys/self",
    opt={"scope": Scope.READ, "weight": 1, "bucket": "read", **documented(answer=OwnKey)},
    operation_id="ShowOwnKey",
    summary="Show the calling key",
    tags=["keys"],
)
async def show_own_key(request: AnyRequest) -> ASGIResponse:
    """Tell what the calling key may do, for whom, and until when."""
    key = _found(_store(request), request.user.key)
    stated = OwnKey(
        id=key.id,
        algorithm=key.algorithm,
        scopes=list(key.scopes),
        accounts=list(key.accounts),
        expires_ns=key.expires_ns,
    )
    return json_answer(stated)


@get(
    "/v1/keys",
    opt={**_READ, **documented(answer=KeyList)},
    operation_id="ListKeys",
    summary="List keys",
    tags=["keys"],
)
async def list_keys(request: AnyRequest) -> ASGIResponse:
    """List every key, without secrets."""
    return json_answer(KeyList(keys=[view_of(key) for key in _store(request).every()]))


@post(
    "/v1/keys",
    opt={**_CHANGE, **documented(body=NewKey, answer=KeyView)},
    status_code=200,
    operation_id="CreateKey",
    summary="Make a key",
    tags=["keys"],
)
async def create_key(request: AnyRequest) -> ASGIResponse:
    """Make a key from a public key. Scopes transfer and risk.admin are given by the command line on the host alone."""
    wire = await read_body(_new_key, request)
    _require_network_scopes(wire.scopes)
    now_ns = context_of(request).clock()
    key = ApiKey(
        id=_id_for(request),
        algorithm=ED25519,
        person=wire.person,
        public=_public_of(wire.public),
        scopes=tuple(wire.scopes),
        accounts=tuple(wire.accounts),
        addresses=tuple(wire.addresses),
        created_ns=now_ns,
        created_by=request.user.key,
        expires_ns=now_ns + wire.days * DAY_NS,
    )
    return json_answer(view_of(await _created(request, key)))


@post(
    "/v1/keys/{key_id:str}/rotate",
    opt={**_CHANGE, **documented(body=Rotation, answer=KeyView)},
    status_code=200,
    operation_id="RotateKey",
    summary="Put a new key in the place of another",
    tags=["keys"],
)
async def rotate_key(request: AnyRequest, key_id: FromPath[str]) -> ASGIResponse:
    """Make a key with the rights of another, which expires after an overlap; its own end of life is not put off."""
    wire = await read_body(_rotation, request)
    store, now_ns = _store(request), context_of(request).clock()
    old = _found(store, key_id)
    _require_network_scopes(old.scopes)
    if not old.is_live(now_ns) and store.get(_id_for(request)) is None:
        raise Problem("conflict", "the key is revoked or has expired: make a new one")
    fresh = structs.replace(
        old,
        id=_id_for(request),
        algorithm=ED25519,
        public=_public_of(wire.public),
        sealed=b"",
        created_ns=now_ns,
        created_by=request.user.key,
    )
    made = await _created(request, fresh)
    await store.expire(key_id, now_ns + wire.overlap_seconds * 10**9, request.user.key)
    return json_answer(view_of(made))


@post(
    "/v1/keys/{key_id:str}/revoke",
    opt={**_CHANGE, **documented(answer=KeyView)},
    status_code=200,
    operation_id="RevokeKey",
    summary="Revoke a key",
    tags=["keys"],
)
async def revoke_key(request: AnyRequest, key_id: FromPath[str]) -> ASGIResponse:
    """Take a key out of use at once and for good; one pair of eyes is enough for that."""
    idempotency_key(request.headers)
    revoked = await _store(request).revoke(key_id, request.user.key)
    if revoked is None:
        raise Problem("not_found", _NO_KEY)
    return json_answer(view_of(revoked))


_NO_KEY: Final = "there is no such key: list them"


def _store(request: AnyRequest) -> KeyStore:
    store: KeyStore = context_of(request).parts["keys"]
    return store


def _found(store: KeyStore, key_id: str) -> ApiKey:
    found = store.get(key_id)
    if found is None:
        raise Problem("not_found", _NO_KEY)
    return found.key


async def _created(request: AnyRequest, key: ApiKey) -> ApiKey:
    """Make a key that reaches no further than its maker."""
    caller: Caller = request.user
    if not caller.acts_for_all and not all(caller.acts_for(account) for account in key.accounts):
        raise Problem("forbidden", "a key may be made for accounts that its maker acts for: name some of those")
    try:
        return await _store(request).create(key, caller.key)
    except KeyReused as error:
        raise Problem("key_reused", str(error)) from error


def _id_for(request: AnyRequest) -> str:
    """Return the id of the key that a request makes: the same one when it is sent again."""
    asked = f"key\n{request.user.key}\n{idempotency_key(request.headers)}"
    return hashlib.sha256(asked.encode()).hexdigest()[:ID_CHARACTERS]


def _public_of(text: str) -> bytes:
    try:
        public = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Problem("bad_request", "public is not base64: give the 32 bytes of an Ed25519 public key") from error
    if len(public) != SECRET_BYTES:
        raise Problem("bad_request", f"public has {len(public)} bytes: give the {SECRET_BYTES} of an Ed25519 key")
    return public


def _require_network_scopes(scopes: list[Scope] | tuple[Scope, ...]) -> None:
    for scope in scopes:
        if scope in BOUND_SCOPES:
            raise Problem(
                "forbidden", f"scope {scope.value} is given by `marginkeep keys create` on the host alone", scope=scope
            )


ROUTES: Final = [show_own_key, list_keys, create_key, rotate_key, revoke_key]
