"""Signed checkpoints of the tree, as C2SP tlog-checkpoint and signed-note have them, with Ed25519 (algorithm 1).

A note is text, a blank line, and signature lines: a dash, the key's name, and base64 of the key id (four bytes) and the
signature, with a space between them. Witnesses may add lines of their own; ours is required.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.record import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ED25519: Final = b"\x01"
SEED_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
SIGNATURE_BYTES: Final = 64
SIGNATURE_START: Final = "\u2014 "
SECRET_START: Final = "PRIVATE+KEY+"  # noqa: S105 - how the file of a key begins
LINES_MIN: Final = 3
SIZE_MAX: Final = 2**63 - 1
OTHERS_MAX: Final = 0o077


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a note says.

    Attributes
    ----------
    origin : the journal's name
    size, root : of the tree
    extra : further lines that are signed with it
    """

    origin: str
    size: int
    root: bytes
    extra: tuple[str, ...] = ()


class Signer:
    """Signs checkpoints with a private key.

    Parameters
    ----------
    name : the key's, without spaces and plus signs
    seed : 32 secret bytes
    origin : first line of the checkpoints, the journal's name; the key's name where left out
    """

    def __init__(self, name: str, seed: bytes, origin: str | None = None) -> None:
        _require_name(name)
        if len(seed) != SEED_BYTES:
            raise InputError(f"the key of {name!r} has {len(seed)} bytes, {SEED_BYTES} are needed: make a new one")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self.name = name
        self.origin = name if origin is None else origin
        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes_raw()
        self._id = key_id(name, self._public)

    @classmethod
    def load(cls, path: Path | str, origin: str | None = None) -> Signer:
        """Read a private key that `make_key` has written.

        Raises
        ------
        InputError : no such file, no such key, or one that other users of the machine can read
        """
        place = Path(path)
        try:
            mode, text = place.stat().st_mode, place.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the signing key {place} cannot be read ({error}): make one, or name another") from error
        if mode & OTHERS_MAX:
            raise InputError(f"the signing key {place} is open to others (mode {mode & 0o777:o}): chmod 600 it")
        name, found_id, secret = _split_key(text.removeprefix(SECRET_START), str(place), text.startswith(SECRET_START))
        signer = cls(name, secret, origin)
        if signer._id != found_id:
            raise InputError(f"the signing key {place} is damaged: its id is not that of its secret")
        return signer

    @property
    def vkey(self) -> str:
        """The public key as text: ``name+id+key``."""
        return f"{self.name}+{self._id.hex()}+{base64.b64encode(ED25519 + self._public).decode()}"

    def sign_checkpoint(self, size: int, root: bytes, extra: Sequence[str] = ()) -> str:
        """Return a signed note on a tree."""
        text = checkpoint_text(Checkpoint(origin=self.origin, size=size, root=root, extra=tuple(extra)))
        return f"{text}\n{self.signature_line(text)}\n"

    def signature_line(self, text: str) -> str:
        """Return the line that signs a note's text."""
        signature = self._id + self._key.sign(text.encode())
        return f"{SIGNATURE_START}{self.name} {base64.b64encode(signature).decode()}"


def make_key(path: Path | str, name: str, seed: Callable[[int], bytes] = os.urandom) -> Signer:
    """Make a private key in a new file that only its owner may read, and return its signer.

    Raises
    ------
    InputError : the file exists, or cannot be written
    """
    secret = seed(SEED_BYTES)
    signer = Signer(name, secret)
    text = f"{SECRET_START}{name}+{signer._id.hex()}+{base64.b64encode(ED25519 + secret).decode()}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"the signing key {path} cannot be written ({error.strerror}): name a new file") from error
    return signer


def key_id(name: str, public: bytes) -> bytes:
    """Return what marks a key's signatures: the first four bytes of `SHA256(name || LF || 0x01 || public key)`."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:KEY_ID_BYTES]


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """Return what is signed.

    Raises
    ------
    InputError : a line is empty or holds a line feed
    """
    root = base64.b64encode(checkpoint.root).decode()
    lines = (checkpoint.origin, str(checkpoint.size), root, *checkpoint.extra)
    for line in lines:
        if not line or not line.isprintable():
            raise InputError(f"a checkpoint cannot have the line {line!r:.80}: give printable text")
    return "\n".join(lines) + "\n"


def parse_note(text: str) -> Checkpoint:
    """Return what a note says; who signed it is not looked at.

    Raises
    ------
    JournalCorrupt : not a checkpoint, or not in its one canonical form
    """
    body, _ = _split_note(text)
    lines = body.split("\n")[:-1]
    try:
        checkpoint = Checkpoint(
            origin=lines[0], size=int(lines[1]), root=_decode(lines[2]), extra=tuple(lines[LINES_MIN:])
        )
        canonical = checkpoint_text(checkpoint)
    except (IndexError, ValueError, InputError) as error:
        raise JournalCorrupt(f"the checkpoint {text!r:.100} cannot be read: {error}") from error
    if canonical != body or len(checkpoint.root) != HASH_BYTES or not 0 <= checkpoint.size <= SIZE_MAX:
        raise JournalCorrupt(f"the checkpoint {text!r:.100} is not in canonical form")
    return checkpoint


def verify_note(text: str, vkey: str) -> Checkpoint:
    """Return what a note says if the key has signed it; other signatures are not looked at.

    Raises
    ------
    JournalCorrupt : not a checkpoint, not signed by the key, or signed differently
    InputError : `vkey` is not a key
    """
    name, public = parse_vkey(vkey)
    checkpoint = parse_note(text)
    body, lines = _split_note(text)
    ours = key_id(name, public)
    signatures = [raw for signed_by, raw in map(_split_signature, lines) if (signed_by, raw[:4]) == (name, ours)]
    if not signatures:
        raise JournalCorrupt(f"the checkpoint of {checkpoint.size} records is not signed by {name}")
    if not all(_is_signed(public, raw[KEY_ID_BYTES:], body) for raw in signatures):
        raise JournalCorrupt(f"the signature of {name} on the checkpoint of {checkpoint.size} records is false")
    return checkpoint


def add_cosignature(note: str, line: str) -> str:
    """Return a note with a witness's signature line after those that it has.

    Raises
    ------
    JournalCorrupt : the note or the line is not one
    """
    parse_note(note)
    _, lines = _split_note(note)
    _split_signature(line)
    return note if line in lines else f"{note}{line}\n"


def parse_vkey(vkey: str) -> tuple[str, bytes]:
    """Return name and public key of a key's text.

    Raises
    ------
    InputError : it is not one, or its id is not that of its key
    """
    name, found_id, public = _split_key(vkey.strip(), f"the key {vkey!r:.60}", True)
    if found_id != key_id(name, public):
        raise InputError(f"the key {vkey!r:.60} is damaged: its id is not that of its key")
    return name, public


def _split_key(text: str, where: str, holds: bool) -> tuple[str, bytes, bytes]:
    parts = text.split("+", 2)
    try:
        name, found_id, raw = parts[0], bytes.fromhex(parts[1]), base64.b64decode(parts[2], validate=True)
    except (IndexError, ValueError) as error:
        raise InputError(f"{where} holds no key (name+id+base64 expected)") from error
    if not holds or raw[:1] != ED25519 or len(raw) != 1 + SEED_BYTES:
        raise InputError(f"{where} holds no Ed25519 key: name one that `marginkeep journal init` has made")
    _require_name(name)
    return name, found_id, raw[1:]


def _split_note(text: str) -> tuple[str, list[str]]:
    """Return the signed text and the signature lines."""
    body, gap, signatures = text.rpartition("\n\n")
    if not gap or not signatures.endswith("\n") or "\n\n" in body:
        raise JournalCorrupt(
            f"the checkpoint {text!r:.100} has no signatures: text, a blank line and they are expected"
        )
    return body + "\n", signatures[:-1].split("\n")


def _split_signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(SIGNATURE_START).partition(" ")
    try:
        raw = _decode(encoded)
    except ValueError as error:
        raise JournalCorrupt(f"{line!r:.100} is no signature of a note: {error}") from error
    if not line.startswith(SIGNATURE_START) or not name or len(raw) <= KEY_ID_BYTES:
        raise JournalCorrupt(f"{line!r:.100} is no signature of a note")
    return name, raw


def _decode(text: str) -> bytes:
    """Decode base64, in its one canonical form."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise binascii.Error("base64 that is not canonical")
    return raw


def _is_signed(public: bytes, signature: bytes, body: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, body.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _require_name(name: str) -> None:
    if not name or "+" in name or any(one.isspace() for one in name) or not name.isprintable():
        raise InputError(f"a key cannot be named {name!r:.80}: give printable text without spaces and plus signs")
