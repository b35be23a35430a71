"""A mail server on a port of this machine, which keeps what it is sent, or refuses it."""

from __future__ import annotations

import asyncio
import threading
from email import message_from_bytes, policy

WAIT_SECONDS = 20


class MailReceiver:
    """Speaks as much SMTP as a client needs to hand over one mail.

    Attributes
    ----------
    refuses : recipients are refused for now
    taken : (sender, recipients, message) of every mail, in order
    refused : recipients that were refused
    """

    def __init__(self):
        self.refuses = False
        self.taken, self.refused = [], []
        self.changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, name="mail", daemon=True)
        self.thread.start()

    def close(self):
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(WAIT_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WAIT_SECONDS)
        self.loop.close()

    async def _close(self):
        self.server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def wait(self, holds, seconds=WAIT_SECONDS):
        """Wait until something holds of the receiver."""
        with self.changed:
            assert self.changed.wait_for(lambda: holds(self), seconds), (len(self.taken), len(self.refused))

    async def _serve(self, reader, writer):
        sender, recipients = "", []
        writer.write(b"220 mail.example.org\r\n")
        while line := (await reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            answer = b"250 ok\r\n"
            if verb.upper() == "MAIL":
                sender = _address_in(rest)
            elif verb.upper() == "RCPT":
                answer = self._recipient(_address_in(rest), recipients)
            elif verb.upper() == "DATA":
                writer.write(b"354 go on\r\n")
                self._take(sender, recipients, await reader.readuntil(b"\r\n.\r\n"))
                recipients = []
            elif verb.upper() == "QUIT":
                answer = b"221 bye\r\n"
            writer.write(answer)
            await writer.drain()
        writer.close()

    def _recipient(self, address, recipients):
        if not self.refuses:
            recipients.append(address)
            return b"250 ok\r\n"
        with self.changed:
            self.refused.append(address)
            self.changed.notify_all()
        return b"451 not now\r\n"

    def _take(self, sender, recipients, content):
        message = message_from_bytes(content.removesuffix(b".\r\n"), policy=policy.default)
        with self.changed:
            self.taken.append((sender, recipients, message))
            self.changed.notify_all()


def _address_in(text):
    return text[text.index("<") + 1 : text.index(">")]
