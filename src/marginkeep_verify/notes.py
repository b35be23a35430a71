"""Signed notes: C2SP tlog-checkpoint with Ed25519 signatures."""

from __future__ import annotations

import base64
import hashlib

DASH = "\u2014 "


def read_note(note: str) -> tuple[str, int, bytes]:
    """Return origin, size and root of a note.

    Raises
    ------
    ValueError : it is not one, or not in its one canonical form
    """
    body, gap, signatures = note.rpartition("\n\n")
    lines = body.split("\n")
    if not gap or len(lines) < 3 or not all(line.isprintable() and line for line in lines):
        raise ValueError("not a signed note")
    root = decode(lines[2])
    if not lines[1].isascii() or not lines[1].isdigit() or str(int(lines[1])) != lines[1] or len(root) != 32:
        raise ValueError("size or root is malformed")
    if not signatures.endswith("\n"):
        raise ValueError("the last signature is cut short")
    for line in signatures[:-1].split("\n"):
        name, _, encoded = line.removeprefix(DASH).partition(" ")
        if not line.startswith(DASH) or not name or len(decode(encoded)) <= 4:
            raise ValueError(f"{line!r:.80} is not a signature")
    return lines[0], int(lines[1]), root


def is_signed(note: str, vkey: str) -> bool:
    """Tell whether the key has signed the note; signatures of others are not looked at.

    Raises
    ------
    ValueError : the key is not one
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, public, key_id = read_key(vkey)
    body, _, signatures = note.rpartition("\n\n")
    start, signed = f"{DASH}{name} ", 0
    for line in signatures.split("\n"):
        raw = decode(line.removeprefix(start)) if line.startswith(start) else b""
        if raw[:4] == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], f"{body}\n".encode())
            except InvalidSignature:
                return False
            signed += 1
    return signed > 0


def read_key(vkey: str) -> tuple[str, bytes, bytes]:
    """Return name, public key and id of a key's text, ``name+id+base64``.

    Raises
    ------
    ValueError : it is not one
    """
    parts = vkey.strip().split("+", 2)
    if len(parts) != 3 or not (raw := base64.b64decode(parts[2])).startswith(b"\x01") or len(raw) != 33:
        raise ValueError("not an Ed25519 key: give name+id+base64")
    key_id = hashlib.sha256(f"{parts[0]}\n".encode() + raw).digest()[:4]
    if key_id.hex() != parts[1]:
        raise ValueError("the key's id is not that of its key")
    return parts[0], raw[1:], key_id


def decode(text: str) -> bytes:
    """Decode base64 in its one canonical form."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("base64 that is not canonical")
    return raw
