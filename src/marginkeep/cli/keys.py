"""`marginkeep keys`: make, list, rotate and revoke the keys of a service on this host.

Nothing here writes the journal, which belongs to its one writer: a request is left beside it. A running service takes
it up within two seconds, one that is stopped when it starts, before it serves anybody.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from marginkeep.errors import InputError

if TYPE_CHECKING:
    from marginkeep.service.access.keys import ApiKey, KeyView

_journal = click.option("--journal", "place", required=True, metavar="PLACE", help="SQLite file, or postgresql://...")
_output = click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Credentials file to write; ID.key where left out."
)
_sealing_key = click.option(
    "--sealing-key", type=click.Path(path_type=Path), help="The service's access.sealing_key, for HMAC keys."
)
EXPIRY_DAYS: Final = 90
TAKEN_UP: Final = "a running service takes it up within 2 seconds, a stopped one when it starts"


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke the keys of a service on this host."""


@keys.command()
@_journal
@_output
@click.option("--person", required=True, help="Who answers for the key.")
@click.option("--account", "accounts", multiple=True, required=True, help="Owner it acts for; * = every account.")
@click.option("--scope", "scopes", multiple=True, default=("read",), show_default=True, help="What it may do.")
@click.option("--address", "addresses", multiple=True, metavar="CIDR", help="Network it may be used from.")
@click.option("--days", type=click.IntRange(1, 3_650), default=EXPIRY_DAYS, show_default=True, help="Good for.")
@click.option("--algorithm", type=click.Choice(["ed25519", "hmac-sha256"]), default="ed25519", show_default=True)
@click.option("--url", default="", help="Address of the service, kept in the credentials file.")
@_sealing_key
def create(place: str, output: Path | None, algorithm: str, url: str, sealing_key: Path | None, **stated: Any) -> None:
    """Make a key and write its credentials file; the secret is nowhere else.

    Scopes: read, trade, transfer, liquidate, oracle.publish, risk.admin, audit.read. A key with transfer or risk.admin
    must be bound to addresses.
    """
    from marginkeep.service.access.keys import check_key

    key, secret = _made(place, algorithm, stated, sealing_key)
    try:
        check_key(key)
    except InputError as error:
        bind = "; --address 127.0.0.1/32 is this machine" if "bound to" in str(error) else ""
        raise InputError(f"{error}{bind}") from error
    _hand_out(place, key, secret, output, url)


@keys.command()
@_journal
@_output
@click.argument("key_id", metavar="ID")
@click.option("--overlap", type=click.IntRange(0, 604_800), default=3_600, show_default=True, help="Seconds.")
@click.option("--url", default="", help="Address of the service, kept in the credentials file.")
@_sealing_key
def rotate(place: str, output: Path | None, key_id: str, overlap: int, url: str, sealing_key: Path | None) -> None:
    """Put a new key with the same rights in the place of key ID, which stays good for an overlap."""
    old = _stored(place).get(key_id)
    if old is None or not old.is_live(time.time_ns()):
        raise InputError(f"{place} holds no key {key_id!r} that is good: see `marginkeep keys list`")
    kept = ("person", "accounts", "scopes", "addresses")
    rights = {**{name: getattr(old, name) for name in kept}, "days": 0}
    key, secret = _made(place, old.algorithm, rights, sealing_key)
    from msgspec import structs

    key = structs.replace(key, expires_ns=old.expires_ns)
    _hand_out(place, key, secret, output, url, replaces=key_id, at_ns=key.created_ns + overlap * 10**9)


@keys.command()
@_journal
@click.argument("key_id", metavar="ID")
def revoke(place: str, key_id: str) -> None:
    """Take key ID out of use for good."""
    from marginkeep.service.access.key_requests import KeyRequest

    if key_id not in _stored(place):
        raise InputError(f"{place} holds no key {key_id!r}: see `marginkeep keys list`")
    _leave(place, KeyRequest(revoke=key_id))
    click.echo(f"key {key_id} is to be revoked: {TAKEN_UP}")


@keys.command("list")
@_journal
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(place: str, as_json: bool) -> None:
    """List the keys of a journal, without secrets."""
    import msgspec

    from marginkeep.service.access.keys import view_of

    views = [view_of(key) for key in _stored(place).values()]
    if as_json:
        click.echo(json.dumps({"keys": msgspec.to_builtins(views)}, indent=2))
        return
    if not views:
        click.echo("no keys: make one with `marginkeep keys create`")
        return
    rows = [("id", "person", "state", "accounts", "scopes")]
    rows += [(one.id, one.person, _state(one), ",".join(one.accounts), ",".join(one.scopes)) for one in views]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _made(place: str, algorithm: str, stated: dict[str, Any], sealing_key: Path | None) -> tuple[ApiKey, bytes]:
    """Return a key and its secret."""
    from marginkeep.client.signing import ED25519, SECRET_BYTES, Ed25519Key
    from marginkeep.service.access.access import SECRET_ENDING
    from marginkeep.service.access.keys import DAY_NS, ID_BYTES, ApiKey
    from marginkeep.service.access.sealing import Seal

    now_ns, key_id, secret = time.time_ns(), os.urandom(ID_BYTES).hex(), os.urandom(SECRET_BYTES)
    public = sealed = b""
    if algorithm == ED25519:
        public = Ed25519Key(key_id, secret).public
    else:
        sealed = Seal.open(sealing_key or _beside(place, SECRET_ENDING)).seal(key_id, secret)
    key = ApiKey(
        id=key_id,
        algorithm=algorithm,  # type: ignore[arg-type]
        person=stated["person"],
        public=public,
        sealed=sealed,
        scopes=_scopes(stated["scopes"]),
        accounts=tuple(stated["accounts"]),
        addresses=tuple(stated["addresses"]),
        created_ns=now_ns,
        expires_ns=now_ns + stated["days"] * DAY_NS if stated["days"] else 0,
    )
    return key, secret


def _scopes(texts: tuple[str, ...]) -> Any:
    from marginkeep.service.access.scopes import Scope

    known = [scope.value for scope in Scope]
    for text in texts:
        if text not in known:
            raise InputError(f"scope {text!r:.40} is not known: {', '.join(known)} are")
    return tuple(Scope(text) for text in dict.fromkeys(texts))


def _hand_out(
    place: str, key: ApiKey, secret: bytes, output: Path | None, url: str, replaces: str = "", at_ns: int = 0
) -> None:
    """Write the credentials first: a key that nobody holds would be worse than a file that opens nothing yet."""
    import base64

    from marginkeep.client.signing import Credentials
    from marginkeep.service.access.key_requests import KeyRequest

    path = output or Path(f"{key.id}.key")
    encoded = base64.b64encode(secret).decode()
    Credentials(key=key.id, algorithm=key.algorithm, secret=encoded, url=url).save(path)
    _leave(place, KeyRequest(create=key, expire=replaces, at_ns=at_ns))
    click.echo(f"key {key.id} with {', '.join(key.scopes)}: {TAKEN_UP}")
    click.echo(f"credentials in {path}, which is the only copy of the secret")
    if "://" not in place and not Path(place).exists():
        click.echo(f"marginkeep: {place} is not there yet: the key is good once a service has made it", err=True)


def _leave(place: str, request: Any) -> None:
    from marginkeep.service.access.access import REQUESTS_ENDING
    from marginkeep.service.access.key_requests import leave_request

    leave_request(_beside(place, REQUESTS_ENDING), request, time.time_ns)


def _stored(place: str) -> dict[str, ApiKey]:
    """Return the keys in a journal."""
    from marginkeep.journal.opening import open_log
    from marginkeep.service.access.key_store import DOCUMENT
    from marginkeep.service.access.keys import decode_key

    log = open_log(place, read_only=True)
    try:
        if log.genesis() is None:
            raise InputError(f"{place} holds no journal: see its name, or start the service once")
        return {name: decode_key(body) for name, body in log.documents(DOCUMENT).items()}
    finally:
        log.close()


def _beside(place: str, ending: str) -> Path:
    """Return a path beside a journal, which need not be there yet."""
    from marginkeep.journal.opening import open_log
    from marginkeep.service.access.key_requests import beside

    log = open_log(place)
    try:
        path = beside(log, ending)
    finally:
        log.close()
    if path is None:
        raise InputError(f"{place} is a journal in memory, which keeps no keys: name a file or a database")
    return path


def _state(view: KeyView) -> str:
    if view.revoked_ns:
        return "revoked"
    if not view.expires_ns:
        return "good"
    return f"{'until' if view.expires_ns > time.time_ns() else 'expired'} {_date(view.expires_ns)}"


def _date(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_ns // 10**9))
