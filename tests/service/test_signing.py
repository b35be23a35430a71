import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.client.signing import (
    Credentials,
    Ed25519Key,
    HmacKey,
    canonical_text,
    sign_request,
)
from marginkeep.errors import InputError

SEED = bytes(range(32))
AT_NS = 1_700_000_000_123_456_789


def signed(credential, body=b"{}"):
    return sign_request(credential, "post", "/v1/x?b=2&a=1", body, clock=lambda: AT_NS, nonce=lambda: "nonce-01")


def test_the_canonical_text_is_nine_lines():
    stated = {"idempotency_key": "order 7", "window": "250"}
    text = canonical_text("ann", "post", "/v1/x?b=2&a=1&a=0", 1_700_000_000_123_456, "nonce-01", b"", **stated)
    assert text.decode().split("\n") == [
        "v1",
        "ann",
        "POST",
        "/v1/x?b=2&a=1&a=0",
        "1700000000123456",
        "nonce-01",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "order 7",
        "250",
    ]


def test_an_empty_query_is_no_query():
    assert text_of(target="/v1/x?") == text_of(target="/v1/x")


def text_of(key="k", method="GET", target="/", timestamp_us=1, nonce="nonce-01", body=b"", **more):
    return canonical_text(key, method, target, timestamp_us, nonce, body, **more)


PARTS = {
    "key": st.text("ab", min_size=1, max_size=2),
    "method": st.sampled_from(["GET", "POST"]),
    "target": st.text("/?&=%2ab", max_size=6)
    .map(lambda text: f"/{text}")
    .filter(lambda text: text.find("?") + 1 < len(text)),
    "timestamp_us": st.integers(0, 12),
    "nonce": st.text("ab1", min_size=1, max_size=2),
    "body": st.binary(max_size=1),
    "idempotency_key": st.text("a1 ", max_size=2),
    "window": st.sampled_from(["", "1", "11"]),
}


@given(st.fixed_dictionaries(PARTS), st.fixed_dictionaries(PARTS), st.sets(st.sampled_from(sorted(PARTS))))
def test_no_two_requests_have_one_text(first, other, changed):
    second = first | {name: other[name] for name in changed}
    assert (text_of(**first) == text_of(**second)) == (first == second)


def test_both_algorithms_sign_the_same_text():
    # Made once with OpenSSL's command line from the nine lines of the text.
    assert signed(HmacKey("k", SEED))["Marginkeep-Signature"] == "iMUkH/m3QPJukhjjc6fzgIV1lTfg44tSJ7u7rZi1QU8="
    assert signed(Ed25519Key("k", SEED))["Marginkeep-Signature"] == (
        "0QYGI7zt9GdvHnbGpXfls1IzTRaOceHD6jLvEvIoxzXZ0NTGTargASBcNx+gxR6X93Avv9ilutDlmL0aF33rBA=="
    )
    assert signed(Ed25519Key("k", SEED))["Marginkeep-Timestamp"] == "1700000000123456"


def test_the_window_is_stated_only_where_asked_for():
    assert "Marginkeep-Window" not in signed(HmacKey("k", SEED))
    assert sign_request(HmacKey("k", SEED), "GET", "/", window_ms=250)["Marginkeep-Window"] == "250"


def test_credentials_come_back_as_saved_from_a_file_that_only_the_owner_reads(tmp_path):
    path = tmp_path / "ann.key"
    saved = Credentials(key="k", algorithm="ed25519", secret="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", url="u")
    saved.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = Credentials.load(path)
    assert loaded == saved
    assert signed(loaded.credential()) == signed(Ed25519Key("k", SEED))
    assert "AAEC" not in repr(loaded)
    with pytest.raises(InputError, match="cannot be written"):
        saved.save(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        Credentials.load(path)


@pytest.mark.parametrize(
    "changes", [{"secret": "AAEC"}, {"secret": "not base64"}, {"algorithm": "rsa"}], ids=["short", "garbled", "unknown"]
)
def test_credentials_that_cannot_sign_are_refused(changes):
    stated = {"key": "k", "algorithm": "ed25519", "secret": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
    with pytest.raises(InputError):
        Credentials(**{**stated, **changes}).credential()


def test_signing_needs_nothing_of_the_engine():
    code = (
        "import sys, marginkeep.client.signing as s; s.Ed25519Key('k', bytes(32)).sign(b'');"
        "print(sorted(m for m in sys.modules if m.startswith('marginkeep')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "['marginkeep', 'marginkeep.client', 'marginkeep.client.signing', 'marginkeep.errors']"
