"""Sending webhooks: each at least once, again after longer and longer pauses, and given up at last.

Whoever sends a delivery has taken it by one conditional statement, for LEASE seconds: if its process is killed, another sends it
again then, under the same id. Redirects are not followed; names are resolved here, and what is connected to is the address that
was looked at, so that no name leads into a private network.
"""

import asyncio
import ipaddress
import logging
import random
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import urlsplit

import httpx2

import hit
from hit import traces
from hit.db import Delivery, Endpoint
from hit.errors import AwayError, UserError
from hit.library import Library
from hit.moderation import webhooks

log = logging.getLogger(__name__)
TRIES = 12  # over a day and more
LEASE = 60.0  # seconds
SECONDS = 15.0  # for a try, all in all
_FIRST, _TIMES, _LONGEST = 5.0, 4.0, 6 * 3600.0  # seconds of the first pause, how it grows, and how far
_AT_ONCE = 8
_ANSWER = 2**16  # bytes of an answer that are read, and thrown away
_POLL = 2.0  # seconds between two looks for what is due
_WORDS = 300  # characters of an error that are kept


class _Refused(Exception):  # noqa: N818 (what happened, not what went wrong with us)
    """An answer that is none of success. gone: there is no use in another try; after: seconds that are asked for."""

    def __init__(self, why: str, gone: bool = False, after: float = 0.0) -> None:
        super().__init__(why)
        self.gone, self.after = gone, after


def pause(tries: int, chance: float) -> float:
    """Return after how many seconds to try again, after so many tries; `chance` in [0, 1) spreads what failed together."""
    longest: float = min(_LONGEST, _FIRST * _TIMES ** min(tries - 1, 20))
    return longest * (0.5 + 0.5 * chance)


def send_due(
    library: Library, private: bool = False, seconds: float = SECONDS, stop: threading.Event | None = None
) -> dict[str, int]:
    """Send what is due now, some at a time, unless it is to stop; return how many were {sent, failed, dead}."""
    counts, begun = {"sent": 0, "failed": 0, "dead": 0}, datetime.now(UTC)
    while not (stop and stop.is_set()):
        batch: list[tuple[Delivery, Endpoint]] = []
        while len(batch) < _AT_ONCE and (taken := library.db.claim_delivery(LEASE, begun)):
            batch.append(taken)
        if not batch:
            break
        for word in asyncio.run(_all(library, batch, private, seconds)):
            counts[word] += 1
    return counts


class Sender:
    """A thread that sends what is due until it is closed; any number of them, in any processes, share the work."""

    def __init__(self, library: Library, private: bool = False) -> None:
        self._library, self._private = library, private
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Begin nothing more, and wait for what is on its way: a try at most."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.wait(_POLL):
            try:
                send_due(self._library, self._private, stop=self._closing)
            except AwayError as error:  # for a moment
                log.warning("webhooks: %s", error)
            except Exception:  # a defect, which does not end what comes later
                log.exception("webhooks")


async def _all(library: Library, batch: list[tuple[Delivery, Endpoint]], private: bool, seconds: float) -> list[str]:
    async with httpx2.AsyncClient(verify=_trust(), follow_redirects=False, timeout=seconds, trust_env=False) as client:
        return await asyncio.gather(*(_one(library, client, *taken, private, seconds) for taken in batch))


@cache
def _trust() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # reading who is trusted takes longer than sending


async def _one(
    library: Library, client: httpx2.AsyncClient, delivery: Delivery, endpoint: Endpoint, private: bool, seconds: float
) -> str:
    """Try a delivery, and note how it went. It is a task: what it logs bears the request of the delivery and of no other."""
    if request := delivery.body.get("request_id"):
        traces.take(request)
    error, gone, after = None, False, 0.0
    try:
        async with asyncio.timeout(seconds):
            await _post(library, client, delivery, endpoint, private)
    except TimeoutError:
        error = f"no answer within {seconds:g} seconds"
    except _Refused as refused:
        error, gone, after = str(refused), refused.gone, refused.after
    except UserError as wrong:
        error = str(wrong)
    except (OSError, httpx2.HTTPError, httpx2.InvalidURL) as wrong:
        error = f"{type(wrong).__name__}: {str(wrong).partition(chr(10))[0]}".replace(
            endpoint.url, webhooks.host_of(endpoint.url)
        )
    if error is None:
        library.db.end_delivery(delivery)
        return "sent"
    dead = gone or delivery.tries >= TRIES
    wait = max(pause(delivery.tries, random.random()), min(after, _LONGEST))  # noqa: S311 (nothing secret hangs on it)
    library.db.end_delivery(delivery, error[:_WORDS], None if dead else datetime.now(UTC) + timedelta(seconds=wait))
    log.warning("webhook %s, delivery %d, try %d: %s", endpoint.name, delivery.id, delivery.tries, error[:_WORDS])
    return "dead" if dead else "failed"


async def _post(library: Library, client: httpx2.AsyncClient, delivery: Delivery, endpoint: Endpoint, private: bool) -> None:
    webhooks.check(endpoint.url, private)
    host, parts = urlsplit(endpoint.url).hostname or "", httpx2.URL(endpoint.url)
    address = await _resolve(host, parts.port or {"http": 80, "https": 443}[parts.scheme], private)
    number, body = webhooks.message(library, delivery)
    headers = {
        **webhooks.sign(webhooks.secret(library, endpoint), number, int(time.time()), body),
        "Content-Type": "application/json",
        "User-Agent": f"hit/{hit.__version__}",
        "Host": parts.netloc.decode("ascii"),
    }
    if asked := traces.current_id():
        headers["X-Request-ID"] = asked
    request = client.build_request("POST", parts.copy_with(host=address), content=body, headers=headers)
    request.extensions = {**request.extensions, "sni_hostname": parts.raw_host.decode("ascii")}
    answer = await client.send(request, stream=True)
    try:
        read = 0
        async for block in answer.aiter_raw():
            read += len(block)
            if read > _ANSWER:
                break
    finally:
        await answer.aclose()
    if not answer.is_success:
        words = f"the server answered {answer.status_code}" + (", and redirects are not followed" if answer.is_redirect else "")
        asked = answer.headers.get("retry-after", "")
        raise _Refused(words, gone=answer.status_code == 410, after=float(asked) if asked.isdecimal() and len(asked) < 9 else 0.0)


async def _resolve(host: str, port: int, private: bool) -> str:
    """Return an address of a host. Raises UserError where one of them is of a private network, unless these are allowed."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise UserError(f"the webhook's host {host}", f"cannot be found: {error.strerror}") from None
    addresses = [str(one[4][0]).partition("%")[0] for one in found]
    if not private and any(webhooks.barred(ipaddress.ip_address(one)) for one in addresses):
        raise webhooks.private_error(host)
    return addresses[0]
