"""One attempt to deliver one notice, to a webhook, signed, or by mail or chat; and why it failed.

What a webhook answers is never passed on: whoever may name a URL would read the venue's network with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import msgspec
import structlog

from marginkeep.errors import InputError
from marginkeep.service.notifications.addresses import PORTS, pinned_address, resolve
from marginkeep.service.notifications.templates import fill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from marginkeep.service.access.sealing import Seal
    from marginkeep.service.notifications.endpoints import Endpoint
    from marginkeep.service.notifications.notices import Notice
    from marginkeep.service.operations.settings import NotificationSettings

ID_HEADER: Final = "Webhook-Id"
TIMESTAMP_HEADER: Final = "Webhook-Timestamp"
SIGNATURE_HEADER: Final = "Webhook-Signature"
ANSWER_BYTES_MAX: Final = 16_384
CHAT_THREADS: Final = 4
CHAT_SECONDS: Final = 30.0
"""For one attempt by mail or chat: the library has time limits of its own, and takes a while to load."""

_SUCCESS: Final = range(200, 300)
_log = structlog.get_logger("marginkeep.notifications")


class Undelivered(Exception):
    """An attempt failed; the message may be shown to the endpoint's owner."""


class Sender:
    """Delivers notices.

    Parameters
    ----------
    clock : nanoseconds UTC
    seal : opens webhooks' secrets; None = they are stored as they are
    resolver : host and port to addresses
    """

    def __init__(
        self,
        settings: NotificationSettings,
        clock: Callable[[], int],
        seal: Seal | None = None,
        resolver: Callable[[str, int], Awaitable[list[str]]] = resolve,
    ) -> None:
        self._settings, self._clock, self._seal, self._resolver = settings, clock, seal, resolver
        self._threads = ThreadPoolExecutor(CHAT_THREADS, "notices")
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Let go of connections; an attempt in a thread is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            await self._client.aclose()

    async def send(self, endpoint: Endpoint, notice: Notice) -> None:
        """Make one attempt.

        Raises
        ------
        Undelivered : why
        """
        seconds = self._settings.timeout_seconds if endpoint.kind == "webhook" else CHAT_SECONDS
        try:
            async with asyncio.timeout(seconds):
                if endpoint.kind == "webhook":
                    await self._post(endpoint, notice)
                else:
                    await self._notify(endpoint, notice)
        except TimeoutError as error:
            raise Undelivered(f"no answer within {seconds} s") from error
        except Undelivered:
            raise
        except Exception as error:  # a service's library may raise anything, and the next notice is not to blame
            _log.warning("an attempt failed", endpoint=endpoint.id, id=notice.id, error=repr(error))
            raise Undelivered(f"the attempt failed ({type(error).__name__})") from error

    # Webhooks -----------------------------------------------------------------------------------------------------

    async def _post(self, endpoint: Endpoint, notice: Notice) -> None:
        import httpx

        private = self._settings.allow_private_addresses
        try:
            address = await pinned_address(endpoint.target, allow_private=private, resolver=self._resolver)
        except InputError as error:
            raise Undelivered(str(error)) from error
        body = body_of(endpoint, notice)
        timestamp = str(self._clock() // 10**9)
        headers = {
            "Content-Type": "application/json",
            ID_HEADER: notice.id,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret(endpoint), timestamp, body),
        }
        try:
            status = await self._exchange(endpoint.target, address, headers, body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Undelivered(f"the connection failed ({type(error).__name__})") from error
        if status not in _SUCCESS:
            raise Undelivered(
                f"answered {status}; a redirect is not followed" if 300 <= status < 400 else f"answered {status}"
            )

    async def _exchange(self, url: str, address: str, headers: dict[str, str], body: bytes) -> int:
        """Connect to the address that was checked, and to no other, under the URL's own name; return the status."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        at = f"[{address}]" if ":" in address else address
        named = f"[{host}]" if ":" in host else host
        target = f"{parts.scheme}://{at}:{port}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
        headers = {**headers, "Host": named if port == PORTS[parts.scheme] else f"{named}:{port}"}
        extensions = {"sni_hostname": host}
        async with self._http().stream("POST", target, content=body, headers=headers, extensions=extensions) as answer:
            size = 0
            async for part in answer.aiter_raw():
                size += len(part)
                if size > ANSWER_BYTES_MAX:
                    break
            return answer.status_code

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            # No pool: a connection to an address outlives the check of the address if it is kept.
            limits = httpx.Limits(max_keepalive_connections=0)
            seconds = self._settings.timeout_seconds
            self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=limits, timeout=seconds)
        return self._client

    def _secret(self, endpoint: Endpoint) -> bytes:
        return endpoint.secret if self._seal is None else self._seal.unseal(f"webhook {endpoint.id}", endpoint.secret)

    # Mail and chat ------------------------------------------------------------------------------------------------

    async def _notify(self, endpoint: Endpoint, notice: Notice) -> None:
        title, text = notice.title, text_of(endpoint, notice)
        loop = asyncio.get_running_loop()
        address = endpoint.target if endpoint.kind == "apprise" else mail_address(self._settings.mail, endpoint.target)
        if not await loop.run_in_executor(self._threads, _notify_apprise, address, title, text):
            raise Undelivered("the service did not take it")


def _notify_apprise(address: str, title: str, text: str) -> bool:
    import apprise

    service = apprise.Apprise()
    return bool(service.add(address) and service.notify(title=title, body=text, body_format="text"))


def mail_address(server: str, recipient: str) -> str:
    """Return the Apprise address that sends a mail to somebody through the venue's server."""
    return f"{server}{'&' if '?' in server else '?'}to={quote(recipient, safe='')}"


def text_of(endpoint: Endpoint, notice: Notice) -> str:
    """Return the text for people: the endpoint's template filled in, or the standard one."""
    template = endpoint.preferences.template
    return fill(template, notice.fields()) if template else f"{notice.text}\n\n{notice.severity}, id {notice.id}"


def body_of(endpoint: Endpoint, notice: Notice) -> bytes:
    """Return a webhook's body."""
    document: dict[str, Any] = {
        "id": notice.id,
        "endpoint": endpoint.id,
        "sequence": notice.sequence,
        "recorded_ns": notice.recorded_ns,
        "kind": notice.kind,
        "severity": notice.severity,
        "account": notice.account,
        "title": notice.title,
        "text": fill(endpoint.preferences.template, notice.fields()) if endpoint.preferences.template else notice.text,
        "event": notice.event,
    }
    return msgspec.json.encode(document)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return ``v1=`` and the hexadecimal HMAC-SHA256 of ``timestamp.body``: a receiver checks it before it believes."""
    return f"v1={hmac.new(secret, timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"
