"""Speaking to a service byte by byte, as no library would."""

from __future__ import annotations

import json
import socket

BOUND_S = 20


def opened(service, receive_buffer=0, source=""):
    host, port = service.url.removeprefix("http://").split(":")
    raw = socket.socket()
    raw.settimeout(BOUND_S)
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        raw.bind((source, 0))
    raw.connect((host, int(port)))
    return raw


def everything(raw):
    """What comes until the service closes."""
    received = b""
    try:
        while block := raw.recv(65_536):
            received += block
    except ConnectionResetError:
        pass
    raw.close()
    return received


def exchanged(service, *parts):
    raw = opened(service)
    try:
        for part in parts:
            raw.sendall(part)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was closed while more was being sent
    return everything(raw)


def problem_in(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer[:300]
    return json.loads(body)["code"]
