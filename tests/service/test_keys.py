"""What a key may be, where it is kept, how the host and the network change it, and what the chain says of it."""

import asyncio
import json
import os
from base64 import b64encode

import httpx
import pytest
from click.testing import CliRunner
from msgspec import structs

from marginkeep.cli.keys import keys as keys_command
from marginkeep.client.signing import Credentials, HmacKey, sign_request
from marginkeep.errors import InputError
from marginkeep.journal.opening import open_log
from marginkeep.journal.record import Genesis
from marginkeep.service.access.access import REQUESTS_ENDING, SECRET_ENDING, open_access
from marginkeep.service.access.key_requests import KeyRequest, beside, leave_request, waiting_requests
from marginkeep.service.access.keys import DAY_NS, check_key, decode_key, same_person
from marginkeep.service.access.scopes import Scope
from marginkeep.service.access.sealing import Seal
from marginkeep.service.operations.settings import JournalSettings, ServerSettings, Settings
from marginkeep.service.running import close_context, open_context
from tests.service.access_world import api_key, private_key, rules, running

pytestmark = pytest.mark.without_shadows("no command of these tests changes a book")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scopes": (Scope.TRANSFER,), "addresses": ()}, "bound to addresses"),
        ({"scopes": (Scope.RISK_ADMIN,), "addresses": ()}, "bound to addresses"),
        ({"addresses": (), "expires_ns": 0}, "must expire"),
        ({"addresses": (), "created_ns": 0, "expires_ns": 90 * DAY_NS + 1}, "90 days at most"),
        ({"created_ns": 5, "expires_ns": 5}, "before it is made"),
        ({"public": b"short"}, "32 bytes"),
        ({"public": bytes(32)}, "small order"),
        ({"public": bytes.fromhex("ec" + "ff" * 31)}, "small order"),
        ({"algorithm": "hmac-sha256"}, "no public key"),
        ({"scopes": ()}, "at least one scope"),
        ({"person": "  "}, "answers for it"),
        ({"accounts": ()}, "acts for"),
        ({"accounts": ("ann/BTC-PERP",)}, "is no owner"),
        ({"accounts": ("*", "ann")}, "every account"),
        ({"addresses": ("0.0.0.0/0",)}, "every address"),
    ],
)
def test_a_key_that_could_do_too_much_is_refused(changes, why):
    with pytest.raises(InputError, match=why):
        check_key(api_key("ann", **changes))


def test_a_key_has_the_read_scope_alone_unless_more_is_said():
    key = api_key("ann")
    check_key(structs.replace(key, addresses=(), created_ns=0, expires_ns=90 * DAY_NS))
    assert key.scopes == (Scope.READ,)


def test_a_person_is_the_same_however_the_name_is_written():
    assert same_person("Ann  Smith", " ann smith")
    assert not same_person("Ann Smith", "Ann Smyth")


def test_a_sealed_secret_opens_for_its_own_key_alone(tmp_path):
    seal = Seal.open(tmp_path / "s")
    sealed = seal.seal("ann", b"secret")
    assert Seal.open(tmp_path / "s").unseal("ann", sealed) == b"secret"
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    for name, other in (("bob", sealed), ("ann", sealed[:-1] + b"\x00"), ("ann", b"")):
        with pytest.raises(InputError):
            seal.unseal(name, other)
    (tmp_path / "s").chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        Seal.open(tmp_path / "s")


# The host's command line -------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "journal.db"
    log = open_log(str(path))
    log.create(Genesis(name="test", rules=rules(), created_ns=1))
    log.close()
    return str(path)


def command(*arguments):
    result = CliRunner().invoke(keys_command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def made(place, output, *arguments, person="Ann"):
    given = ("create", "--journal", place, "--person", person, "--account", "ann", "-o", str(output), *arguments)
    command(*given)
    return Credentials.load(output)


def listed(place):
    return {key["id"]: key for key in json.loads(command("list", "--journal", place, "--json"))["keys"]}


def serve_once(place, work=None):
    """Open the service as it does when it starts, run some work in its loop, and close it."""
    settings = Settings(
        journal=JournalSettings(place=place, snapshot_records=0), server=ServerSettings(port=0, tick_seconds=0)
    )
    context = open_context(settings)

    async def run():
        context.writer.start()
        store = context.parts["keys"]
        await store.start()
        try:
            return await work(store) if work is not None else None
        finally:
            await store.stop()
            await context.writer.stop()

    try:
        return asyncio.run(run())
    finally:
        close_context(context)


@pytest.mark.parametrize("algorithm", ["ed25519", "hmac-sha256"])
def test_a_key_made_while_the_service_is_stopped_is_good_when_it_starts(place, tmp_path, algorithm):
    credentials = made(place, tmp_path / "ann.key", "--algorithm", algorithm, "--scope", "read", "--scope", "trade")
    assert listed(place) == {}
    message = b"message"

    async def look(store):
        return store.get(credentials.key).verifies(message, credentials.credential().sign(message))

    assert serve_once(place, look)
    stated = listed(place)[credentials.key]
    assert (stated["person"], stated["scopes"], stated["accounts"]) == ("Ann", ["read", "trade"], ["ann"])
    assert credentials.secret not in json.dumps(stated)
    assert os.listdir(place + REQUESTS_ENDING) == []
    # What is stored opens nothing without the service's secret.
    log = open_log(place, read_only=True)
    assert credentials.secret.encode() not in log.documents("key")[credentials.key]
    log.close()


def test_a_request_left_while_the_service_runs_is_taken_up(place, tmp_path):
    credentials = made(place, tmp_path / "ann.key")

    async def change(store):
        assert store.is_live(credentials.key)
        await asyncio.to_thread(command, "revoke", "--journal", place, credentials.key)
        assert await store.take_requests() == 1
        return store.is_live(credentials.key)

    assert serve_once(place, change) is False
    assert listed(place)[credentials.key]["revoked_ns"] > 0


def test_a_key_is_rotated_with_an_overlap_and_keeps_its_end_of_life(place, tmp_path):
    old = made(place, tmp_path / "old.key")
    serve_once(place)
    before = listed(place)[old.key]
    command("rotate", "--journal", place, old.key, "--overlap", "60", "-o", str(tmp_path / "new.key"))
    serve_once(place)
    new, stated = Credentials.load(tmp_path / "new.key"), listed(place)
    assert stated[new.key]["expires_ns"] == before["expires_ns"] > stated[old.key]["expires_ns"]
    assert stated[old.key]["expires_ns"] == stated[new.key]["created_ns"] + 60 * 10**9
    assert {name: stated[new.key][name] for name in ("person", "scopes", "accounts")} == {
        name: before[name] for name in ("person", "scopes", "accounts")
    }


def test_every_change_is_in_the_chain_once_and_names_can_be_erased(place, tmp_path):
    credentials = made(place, tmp_path / "ann.key", person="Ann Smith")
    serve_once(place)
    # The same request again, as after a crash between carrying it out and deleting it.
    log = open_log(place, read_only=True)
    folder = beside(log, REQUESTS_ENDING)
    key = decode_key(log.documents("key")[credentials.key])
    log.close()
    leave_request(folder, KeyRequest(create=key), lambda: 1)
    leave_request(folder, KeyRequest(revoke=key.id), lambda: 2)
    serve_once(place)
    log = open_log(place, read_only=True)
    records = [record for record in log.read() if record.kind == "note"]
    assert [json.loads(record.body)["type"] for record in records] == ["KeyCreated", "KeyRevoked"]
    assert b"Ann Smith" not in records[0].body
    assert b"Ann Smith" in log.personal(records[0].sequence).payload
    log.close()


def test_a_request_that_others_could_have_written_is_passed_over(place, tmp_path):
    made(place, tmp_path / "ann.key")
    log = open_log(place)
    folder = beside(log, REQUESTS_ENDING)
    log.close()
    (path, _), *_ = waiting_requests(folder)
    path.chmod(0o666)
    assert waiting_requests(folder) == []
    path.chmod(0o600)
    assert len(waiting_requests(folder)) == 1
    folder.chmod(0o777)
    assert waiting_requests(folder) == []
    with pytest.raises(InputError, match="others"):
        leave_request(folder, KeyRequest(revoke="x"), lambda: 1)


def test_a_revoked_key_is_out_of_use_even_where_the_journal_cannot_say_so(place, tmp_path):
    credentials = made(place, tmp_path / "ann.key")

    async def revoke(store):
        async def no_room(_):
            raise OSError("disk full")

        store._submit = no_room
        with pytest.raises(OSError, match="disk full"):
            await store.revoke(credentials.key, "local")
        return store.is_live(credentials.key)

    assert serve_once(place, revoke) is False


def test_a_journal_in_memory_has_nothing_beside_it():
    with running() as world:
        assert beside(world.context.log, SECRET_ENDING) is None
        assert open_access(world.context).keys.seal is None


# The network -------------------------------------------------------------------------------------------------------

ADMIN = private_key("admin")


@pytest.fixture(scope="module")
def world():
    with running(api_key("admin", Scope.RISK_ADMIN), api_key("money", Scope.TRANSFER), api_key("ann")) as world:
        yield world


def new_key(name, **changes):
    public = b64encode(private_key(name).public).decode()
    return {"public": public, "person": "Ann", "accounts": ["ann"], "addresses": ["127.0.0.1"], **changes}


def test_a_key_is_made_from_a_public_key_and_the_same_request_makes_the_same_key(world):
    first = world.send(ADMIN, "POST", "/v1/keys", new_key("fresh"), key="k1")
    again = world.send(ADMIN, "POST", "/v1/keys", new_key("fresh"), key="k1")
    other = world.send(ADMIN, "POST", "/v1/keys", new_key("fresher"), key="k1")
    assert (first.status_code, first.json()) == (200, again.json())
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    fresh = private_key("fresh")
    fresh.key = first.json()["id"]
    assert world.send(fresh, "GET", "/v1/keys/self").json()["scopes"] == ["read"]
    assert len(world.notes("KeyCreated")) >= 1


def test_a_key_reaches_no_further_than_its_maker():
    with running(api_key("admin", Scope.RISK_ADMIN, accounts=("ann",))) as world:
        for number, accounts in enumerate((["*"], ["bob"], ["ann", "bob"])):
            body = new_key("fresh", accounts=accounts)
            assert world.send(ADMIN, "POST", "/v1/keys", body, key=f"m{number}").status_code == 403
        assert world.send(ADMIN, "POST", "/v1/keys", new_key("fresh"), key="m3").status_code == 200


@pytest.mark.parametrize("scope", ["risk.admin", "transfer"])
def test_what_moves_money_or_rules_is_not_made_over_the_network(world, scope):
    refused = world.send(ADMIN, "POST", "/v1/keys", new_key("fresh", scopes=["read", scope]), key=f"n-{scope}")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    body = {"public": b64encode(private_key("other").public).decode()}
    rotated = world.send(ADMIN, "POST", "/v1/keys/money/rotate", body, key="n-rotate")
    assert rotated.status_code == 403


def test_a_key_is_rotated_and_revoked_over_the_network(world):
    old = world.send(ADMIN, "POST", "/v1/keys", new_key("old"), key="r1").json()
    body = {"public": b64encode(private_key("new").public).decode(), "overlap_seconds": 0}
    fresh = world.send(ADMIN, "POST", f"/v1/keys/{old['id']}/rotate", body, key="r2").json()
    first, second = private_key("old"), private_key("new")
    first.key, second.key = old["id"], fresh["id"]
    assert world.send(first, "GET", "/v1/keys/self").status_code == 401
    assert world.send(second, "GET", "/v1/keys/self").status_code == 200
    revoked = world.send(ADMIN, "POST", f"/v1/keys/{second.key}/revoke", key="r3")
    assert revoked.json()["revoked_ns"] > 0
    assert world.send(second, "GET", "/v1/keys/self").status_code == 401
    assert world.send(ADMIN, "POST", f"/v1/keys/{'0' * 24}/revoke", key="r4").status_code == 404


def test_no_secret_is_ever_told(world):
    body = world.send(ADMIN, "GET", "/v1/keys").json()
    fields = {name for key in body["keys"] for name in key}
    assert "sealed" not in fields
    assert "public" not in fields


def test_strict_bodies_and_idempotency_keys_are_demanded(world):
    unknown = world.send(ADMIN, "POST", "/v1/keys", new_key("x", admin=True), key="s1")
    missing = world.send(ADMIN, "POST", "/v1/keys", new_key("x"))
    assert (unknown.status_code, unknown.json()["code"]) == (400, "bad_request")
    assert (missing.status_code, missing.json()["code"]) == (400, "key_missing")


def test_an_hmac_key_works_over_the_network():
    seal, secret = Seal(b"z" * 32), b"h" * 32
    key = api_key("mac", algorithm="hmac-sha256", public=b"", sealed=seal.seal("mac", secret))

    def with_seal(context):
        context.parts["keys"].seal = seal
        context.parts["keys"].load()

    with running(key, prepare=with_seal) as world:
        headers = sign_request(HmacKey("mac", secret), "GET", "/v1/keys/self", clock=world.clock)
        assert httpx.get(f"{world.client.base_url}/v1/keys/self", headers=headers).json()["id"] == "mac"
