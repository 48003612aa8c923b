"""Webhooks: who is told of what, and how a message is signed, by the Standard Webhooks (https://www.standardwebhooks.com).

A secret is made of the library's key, LIB/webhook.key, and of the endpoint's salt: the database and its copies have none.
"""

import base64
import contextlib
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from hit import files
from hit.db import Delivery, Endpoint
from hit.db.access import aware
from hit.errors import UserError
from hit.library import KEY, Library
from hit.objects import Folder
from hit.remote import shown

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def add(library: Library, name: str, url: str, events: Sequence[str], by: str, private: bool = False) -> dict[str, Any]:
    """Have events, all where none is named, sent to an address; the answer has the secret, once.

    private: whether it may be an address of a private network. Raises UserError for what is no address to send to.
    """
    check(url, private)
    _key(library, make=True)
    endpoint = Endpoint(name=name, url=url, events=list(events), salt=secrets.token_hex(16), by=by, created_at=datetime.now(UTC))
    library.db.add_endpoint(endpoint)
    return {**_row(endpoint, {}), "secret": secret(library, endpoint)}


def listed(library: Library) -> list[dict[str, Any]]:
    """Return all endpoints, without their secrets."""
    return [_row(endpoint, counts) for endpoint, counts in library.db.endpoints()]


def delivery_json(one: Delivery) -> dict[str, Any]:
    """Return a delivery as it is listed."""
    kept = ("id", "event", "state", "tries", "created_at", "due_at", "sent_at", "error")
    return {**{name: getattr(one, name) for name in kept}, "webhook": one.endpoint}


def check(url: str, private: bool) -> None:
    """Raise UserError for an address that nothing may be sent to."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UserError("the webhook's address", "is none of the web", "write it as https://HOST/PATH")
    if parts.username or parts.password or parts.fragment:
        raise UserError("the webhook's address", "has a user, a password or a fragment in it", "leave them out")
    with contextlib.suppress(ValueError):
        if not private and barred(ipaddress.ip_address(host)):
            raise private_error(host)


def barred(address: Address) -> bool:
    """Tell whether an address is none of the public internet, also where it is wrapped in one that is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        else:
            address = address.ipv4_mapped or address.sixtofour or address
    return not address.is_global or address.is_multicast


def private_error(host: str) -> UserError:
    """Return what is said of an address of a private network."""
    return UserError(f"the webhook's host {host}", "is of a private network", "allow_private = true in serve.toml allows it")


def message(library: Library, delivery: Delivery) -> tuple[str, bytes]:
    """Return a delivery's id, which stays the same however often it is tried, and its body."""
    body = {"type": delivery.event, "timestamp": aware(delivery.created_at).isoformat(), "data": delivery.body}
    return f"msg_{library.config.id}_{delivery.id}", json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def secret(library: Library, endpoint: Endpoint) -> str:
    """Return what an endpoint's messages are signed with, as receivers take it. Raises UserError where the key is gone."""
    made = hmac.digest(_key(library), endpoint.salt.encode(), hashlib.sha256)
    return f"whsec_{base64.b64encode(made).decode()}"


def sign(secret: str, number: str, moment: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message: its id, the second at which it is sent, and its signature."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.digest(key, f"{number}.{moment}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(made).decode()}"
    return {"webhook-id": number, "webhook-timestamp": str(moment), "webhook-signature": signature}


def _row(endpoint: Endpoint, counts: dict[str, int]) -> dict[str, Any]:
    kept = {name: getattr(endpoint, name) for name in ("name", "url", "events", "created_at")}
    return {**kept, "queued": counts.get("queued", 0), "dead": counts.get("dead", 0)}


def _key(library: Library, make: bool = False) -> bytes:
    """Return the library's key. make: as the first endpoint is added; else whoever restored a library without it is told.

    Machines that share a library have it from the object store that holds its files.
    """
    path, store = library.path / KEY, library.db.objects
    kept = _kept(store) if store and (make or not path.exists()) else None
    if kept and not path.exists():
        files.create(path, kept, 0o600)
    if make and not (path.exists() and (kept or not store)):
        with library.db.write(content=False):  # of all machines one at a time
            kept = _kept(store) if store else None
            if not path.exists() and (kept or not library.db.endpoints()):
                files.create(path, kept or secrets.token_bytes(32), 0o600)
            if store and kept is None and path.exists():
                store.write(KEY, path.read_bytes())
    try:
        return path.read_bytes()
    except FileNotFoundError:
        fix = "bring the file back, or remove all webhooks and add them again"
        raise UserError(path, "is gone, and what webhooks are signed with comes from it", fix) from None


def _kept(store: Folder) -> bytes | None:
    try:
        return store.read(KEY)
    except FileNotFoundError:
        return None


def host_of(url: str) -> str:
    """Return an address without what may be secret in it."""
    return shown(url)
