"""A process that imports everything once and then forks a child for each crash: ``-m tests.journal.crash_runner``.

It is started with the shim preloaded. A line of JSON on standard input asks for a crash, a line on standard output
tells what the child had acknowledged and how it ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

from marginkeep.errors import JournalError
from tests.journal.crash_runs import RUNS, requests

SHIM = ctypes.CDLL(None)
SHIM.shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_ulonglong]
SHIM.shim_calls.restype = ctypes.c_long


def child(order, pipe):
    """Run with the shim armed; whatever is written to the pipe has been acknowledged."""
    ended = "done"
    SHIM.shim_arm(order["path"].encode(), order["mode"], order["at"], order["error"], order["seed"])
    try:
        RUNS[order["run"]][0](order["path"], lambda number: os.write(pipe, b"%d\n" % number))
    except JournalError as error:
        ended = f"{type(error).__name__}: {error}"
    calls = SHIM.shim_calls()
    os.write(pipe, json.dumps({"calls": calls, "ended": ended}).encode())


def serve(order):
    if order["fresh"]:
        SHIM.shim_forget_lost()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(order, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        *acknowledged, end = pipe.read().split("\n")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    told = {"acknowledged": [int(number) for number in acknowledged], "calls": None, "ended": "failed"}
    if status == 0:
        return {**told, **json.loads(end)}
    return {**told, "ended": "killed" if status == -signal.SIGKILL else f"exit {status}"}


def main():
    requests()
    SHIM.shim_share()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
