"""Checkpoints: their form, who signed them, and keys in files."""

from __future__ import annotations

import base64
import hashlib
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.checkpoint import (
    Checkpoint,
    Signer,
    add_cosignature,
    make_key,
    parse_note,
    verify_note,
)

SIGNER = Signer("example.org/house", bytes(range(32)))
ROOT = hashlib.sha256(b"root").digest()
NOTE = SIGNER.sign_checkpoint(1234, ROOT)
WITNESS = Signer("witness.example", bytes(32))
FIRST_TEST_KEY = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
FIRST_TEST_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_a_note_has_the_form_of_the_standard():
    text, signatures = NOTE.split("\n\n")
    assert text.split("\n") == ["example.org/house", "1234", base64.b64encode(ROOT).decode()]
    dash, name, encoded = signatures.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", "example.org/house")
    public = base64.b64decode(SIGNER.vkey.split("+", 2)[2])
    assert public[:1] == b"\x01"
    raw = base64.b64decode(encoded)
    assert raw[:4] == hashlib.sha256(b"example.org/house\n" + public).digest()[:4]
    assert raw[:4].hex() == SIGNER.vkey.split("+")[1]
    assert len(raw) == 68


def test_keys_are_those_of_rfc_8032():
    signer = Signer("name", FIRST_TEST_KEY)
    assert base64.b64decode(signer.vkey.split("+", 2)[2]) == b"\x01" + FIRST_TEST_PUBLIC


def test_a_signed_note_is_read_back_with_its_further_lines():
    note = SIGNER.sign_checkpoint(7, ROOT, ("epoch 3", "time 12"))
    expected = Checkpoint(origin="example.org/house", size=7, root=ROOT, extra=("epoch 3", "time 12"))
    assert verify_note(note, SIGNER.vkey) == parse_note(note) == expected
    named = Signer("key", bytes(32), "journal of a house")
    assert verify_note(named.sign_checkpoint(0, ROOT), named.vkey).origin == "journal of a house"


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(0, 7))
def test_no_bit_of_a_note_can_change(at, bit):
    raw = bytearray(NOTE.encode())
    raw[at] ^= 1 << bit
    with pytest.raises(JournalCorrupt):
        verify_note(raw.decode(errors="surrogateescape"), SIGNER.vkey)


def test_ours_is_required_and_others_are_not_looked_at():
    body = NOTE.split("\n\n")[0] + "\n"
    line = WITNESS.signature_line(body)
    both = add_cosignature(NOTE, line)
    assert both == NOTE + line + "\n"
    assert add_cosignature(both, line) == both
    assert verify_note(both, SIGNER.vkey).size == verify_note(both, WITNESS.vkey).size == 1234
    foreign = both.replace(NOTE.split("\n\n")[1], "")
    with pytest.raises(JournalCorrupt, match=r"not signed by example\.org/house"):
        verify_note(foreign, SIGNER.vkey)
    assert verify_note(add_cosignature(NOTE, "\u2014 other AAAAAAECAwQ="), SIGNER.vkey).size == 1234
    with pytest.raises(JournalCorrupt, match="no signature"):
        add_cosignature(NOTE, "signed: somebody")


def test_a_false_signature_of_ours_is_told_from_a_missing_one():
    other = SIGNER.sign_checkpoint(1235, ROOT)
    with pytest.raises(JournalCorrupt, match="false"):
        verify_note(NOTE.split("\n\n")[0] + "\n\n" + other.split("\n\n")[1], SIGNER.vkey)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one line\n",
        NOTE.replace("1234", "01234"),
        NOTE.replace("1234", "-4"),
        NOTE.replace("1234", "12e3"),
        NOTE.replace("\n\n", "\n"),
        NOTE.rstrip("\n"),
        NOTE.replace("example.org/house\n1234", "\n1234"),
        NOTE.replace(base64.b64encode(ROOT).decode(), base64.b64encode(ROOT[:31]).decode()),
    ],
    ids=["empty", "one_line", "leading_zero", "negative", "no_number", "no_gap", "no_end", "no_origin", "short_root"],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(JournalCorrupt):
        parse_note(text)


def test_lines_that_would_change_the_form_cannot_be_signed():
    for extra in ("", "two\nlines"):
        with pytest.raises(InputError, match="cannot have the line"):
            SIGNER.sign_checkpoint(1, ROOT, (extra,))


def test_a_key_in_a_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "house.key"
    made = make_key(path, "example.org/house", lambda count: bytes(range(count)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Signer.load(path).vkey == made.vkey == SIGNER.vkey
    assert Signer.load(path).sign_checkpoint(1234, ROOT) == NOTE
    assert Signer.load(path, "another origin").origin == "another origin"
    with pytest.raises(InputError, match="cannot be written"):
        make_key(path, "again")
    path.chmod(0o640)
    with pytest.raises(InputError, match="open to others"):
        Signer.load(path)


def test_damaged_and_missing_keys_are_named(tmp_path):
    path = tmp_path / "house.key"
    with pytest.raises(InputError, match="cannot be read"):
        Signer.load(path)
    make_key(path, "house")
    name, key_id, rest = path.read_text().removeprefix("PRIVATE+KEY+").split("+", 2)
    for text in ("", "PRIVATE+KEY+", f"{name}+{key_id}+{rest}", f"PRIVATE+KEY+{name}+00000000+{rest}"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"holds no|damaged"):
            Signer.load(path)


@pytest.mark.parametrize("vkey", ["", "name", "name+00+AA==", SIGNER.vkey[:-4] + "AAA=", "x" + SIGNER.vkey])
def test_a_text_that_is_no_key_is_refused(vkey):
    with pytest.raises(InputError):
        verify_note(NOTE, vkey)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nfeed"])
def test_names_that_would_break_the_form_are_refused(name):
    with pytest.raises(InputError, match="cannot be named"):
        Signer(name, bytes(32))
