"""Webhooks: signed as receivers expect, sent at least once, tried again, given up, and led nowhere they must not go."""

import base64
import http.server
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from hit.db import Database, Delivery, Endpoint
from hit.db.access import aware
from hit.db.webhooks import put_event
from hit.errors import NotFoundError, UserError
from hit.files import BusyError
from hit.library import KEY, Library
from hit.moderation import sending, webhooks
from hit.moderation.sending import LEASE, TRIES, Sender, pause, send_due
from hit.upkeep import pieces
from serve_toy import until
from toy import ToyEncoder

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Receiver:
    """A server at 127.0.0.1 that keeps what it is sent; `answer` says how it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self.answer: Answer = lambda request: said(request, 204)
        self.free = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.paths.append(self.path)
                outer.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                outer.answer(self)

            do_GET = do_POST

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=hidden"

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


def said(request: http.server.BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", "0")
    request.end_headers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as opened:
        yield opened


def tell(db: Database, event: str = "policy.changed", **body: Any) -> None:
    with db.write(content=False) as session:
        put_event(session, event, body)


def now_due(db: Database) -> None:
    """Have all that waits be due."""
    with db.write(content=False) as session:
        for one in session.query(Delivery).filter_by(state="queued"):
            one.due_at = datetime.now(UTC) - timedelta(seconds=1)


def state(db: Database) -> list[tuple[str, int]]:
    return [(one.state, one.tries) for one in reversed(db.deliveries())]


# -- signing


def test_a_receiver_with_the_standard_library_trusts_what_is_sent(library: Library, receiver: Receiver) -> None:
    made = webhooks.add(library, "site", receiver.url, [], "ann", private=True)
    tell(library.db, policy="é", at="now")
    assert send_due(library, private=True) == {"sent": 1, "failed": 0, "dead": 0}
    ((headers, body),) = receiver.got
    checker = standardwebhooks.Webhook(made["secret"])
    found = checker.verify(body, headers)
    assert found["type"] == "policy.changed" and found["data"] == {"policy": "é", "at": "now"}
    assert headers["content-type"] == "application/json" and headers["host"] == f"127.0.0.1:{receiver.port}"
    for forged, heads in ((body + b" ", headers), (body, {**headers, "webhook-id": "other"})):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            checker.verify(forged, heads)
    other = webhooks.add(library, "other", receiver.url, [], "ann", private=True)
    assert other["secret"] != made["secret"]
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(other["secret"]).verify(body, headers)


@given(st.binary(max_size=200), st.integers(0, 2**33), st.binary(min_size=24, max_size=64))
def test_signatures_are_the_standard_librarys(body: bytes, moment: int, key: bytes) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    text = body.hex()
    made = webhooks.sign(secret, "msg_1", moment, text.encode())
    expected = standardwebhooks.Webhook(secret).sign("msg_1", datetime.fromtimestamp(moment, UTC), text)
    assert made["webhook-signature"] == expected


def test_the_key_is_for_nobody_else_and_in_no_list(
    library: Library, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    made = webhooks.add(library, "site", receiver.url, ["case.decided"], "ann", private=True)
    key = library.path / KEY
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
    receiver.answer = lambda request: said(request, 500)
    tell(library.db, "case.decided")
    tell(library.db, "policy.changed")  # which it does not want
    send_due(library, private=True)
    assert "500" in caplog.text and "hidden" not in caplog.text and made["secret"] not in caplog.text
    shown = json.dumps([webhooks.listed(library), [webhooks.delivery_json(one) for one in library.db.deliveries()]], default=str)
    assert made["secret"] not in shown and len(receiver.got) == 1
    again = Library.open(library.path, encoder=ToyEncoder())
    assert webhooks.secret(again, again.db.endpoint("site")) == made["secret"]
    again.close()
    key.unlink()
    with pytest.raises(UserError, match="is gone"):
        webhooks.add(library, "more", receiver.url, [], "ann", private=True)
    now_due(library.db)
    assert send_due(library, private=True)["failed"] == 1  # it says so, and makes no key of its own
    assert "is gone" in (library.db.deliveries()[0].error or "") and not key.exists()


def test_a_key_is_had_from_the_object_store_without_the_turn_to_write(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces.move(library, str(tmp_path / "far"))
    made = webhooks.add(library, "site", "https://hooks.example/x", [], "ann")
    assert library.db.home.read(KEY) == (library.path / KEY).read_bytes()
    (library.path / KEY).unlink()  # another machine
    endpoint = library.db.endpoint("site")
    monkeypatch.setattr(library.db, "write", lambda **_: pytest.fail("takes the turn to write"))
    assert webhooks.secret(library, endpoint) == made["secret"] and (library.path / KEY).stat().st_mode & 0o777 == 0o600
    library.db.home.delete([KEY])
    (library.path / KEY).unlink()
    with pytest.raises(UserError, match="is gone"):
        webhooks.secret(library, endpoint)


# -- where to


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://example.org/", "none of the web"),
        ("file:///etc/passwd", "none of the web"),
        ("https://", "none of the web"),
        ("http://[::1", "none of the web"),
        ("http://example.org:99999/", "none of the web"),
        ("https://user:pass@example.org/", "a password"),
        ("http://127.0.0.1/", "private"),
        ("http://10.1.2.3/", "private"),
        ("http://169.254.169.254/latest/meta-data", "private"),
        ("http://[::1]/", "private"),
        ("http://[::ffff:10.0.0.1]/", "private"),
        ("http://[64:ff9b::a00:1]/", "private"),
        ("http://[fd00::1]/", "private"),
        ("http://0.0.0.0/", "private"),
    ],
)
def test_addresses_that_nothing_is_sent_to(url: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        webhooks.check(url, private=False)


def test_addresses_of_the_internet_are_sent_to() -> None:
    for url in ("https://example.org/hook", "http://93.184.216.34:8080/", "https://[2606:2800:220:1::1]/"):
        webhooks.check(url, private=False)
    assert not webhooks.barred(ipaddress.ip_address("8.8.8.8")) and webhooks.barred(ipaddress.ip_address("224.0.0.1"))


def test_a_name_that_leads_into_a_private_network_is_refused_when_it_is_sent_to(library: Library, receiver: Receiver) -> None:
    webhooks.add(library, "site", f"http://localhost:{receiver.port}/", [], "ann")
    tell(library.db)
    assert send_due(library) == {"sent": 0, "failed": 1, "dead": 0}
    assert "private network" in (library.db.deliveries()[0].error or "") and not receiver.got
    now_due(library.db)
    assert send_due(library, private=True)["sent"] == 1
    assert receiver.got[0][0]["host"] == f"localhost:{receiver.port}"


def test_redirects_lead_nowhere(library: Library, receiver: Receiver) -> None:
    webhooks.add(library, "site", receiver.url, [], "ann", private=True)
    receiver.answer = lambda request: said(request, 307, Location=f"http://127.0.0.1:{receiver.port}/elsewhere")
    tell(library.db)
    assert send_due(library, private=True)["failed"] == 1
    assert receiver.paths == ["/hook?key=hidden"]
    assert "redirects are not followed" in (library.db.deliveries()[0].error or "")


# -- again, and no more


def test_it_is_tried_again_later_and_later_and_given_up_and_begun_anew_by_hand(library: Library, receiver: Receiver) -> None:
    webhooks.add(library, "site", receiver.url, [], "ann", private=True)
    receiver.answer = lambda request: said(request, 503)
    tell(library.db)
    for tries in range(1, TRIES + 1):
        counts = send_due(library, private=True)
        assert counts == {"sent": 0, "failed": tries < TRIES, "dead": tries == TRIES}
        assert send_due(library, private=True) == {"sent": 0, "failed": 0, "dead": 0}  # it is not due yet
        now_due(library.db)
    assert state(library.db) == [("dead", TRIES)] and len(receiver.got) == TRIES
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert webhooks.listed(library)[0]["dead"] == 1
    number = library.db.deliveries("dead")[0].id
    library.db.retry_delivery(number)
    receiver.answer = lambda request: said(request, 200)
    assert send_due(library, private=True)["sent"] == 1
    assert receiver.got[-1][0]["webhook-id"] == receiver.got[0][0]["webhook-id"]
    with pytest.raises(BusyError):
        library.db.retry_delivery(number)


def test_pauses_grow_with_some_chance_and_have_an_end() -> None:
    assert [pause(tries, 1.0) for tries in (1, 2, 3)] == [5.0, 20.0, 80.0]
    assert pause(1, 0.0) == 2.5 and pause(100, 1.0) == pause(9, 1.0) == 6 * 3600.0
    assert 24 * 3600 < sum(pause(tries, 0.75) for tries in range(1, TRIES)) < 48 * 3600


def test_what_is_asked_for_is_heeded(library: Library, receiver: Receiver) -> None:
    webhooks.add(library, "site", receiver.url, [], "ann", private=True)
    receiver.answer = lambda request: said(request, 429, Retry_After="600")
    tell(library.db)
    send_due(library, private=True)
    assert aware(library.db.deliveries()[0].due_at) > datetime.now(UTC) + timedelta(seconds=500)
    receiver.answer = lambda request: said(request, 410)
    now_due(library.db)
    assert send_due(library, private=True)["dead"] == 1  # it is gone for ever


def test_who_hangs_or_drips_is_left(library: Library, receiver: Receiver) -> None:
    webhooks.add(library, "site", receiver.url, [], "ann", private=True)

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            request.wfile.write(b"x-%d: y\r\n" % number)
            request.wfile.flush()
            if receiver.free.wait(0.05):
                return

    receiver.answer = drip
    tell(library.db)
    assert send_due(library, private=True, seconds=0.5)["failed"] == 1
    assert "no answer within 0.5 seconds" in (library.db.deliveries()[0].error or "")

    def flood(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        with pytest.raises(OSError):
            while True:
                request.wfile.write(b"x" * 2**16)

    receiver.answer = flood
    now_due(library.db)
    assert send_due(library, private=True)["sent"] == 1  # it said 200, and the rest is not waited for


def test_one_that_is_not_there_holds_no_other_up(library: Library, receiver: Receiver) -> None:
    webhooks.add(library, "a", "http://127.0.0.1:9/", [], "ann", private=True)
    webhooks.add(library, "b", receiver.url, [], "ann", private=True)
    for number in range(12):
        tell(library.db, number=number)
    assert send_due(library, private=True) == {"sent": 12, "failed": 12, "dead": 0}
    assert sorted(json.loads(body)["data"]["number"] for _, body in receiver.got) == list(range(12))


def test_what_was_sent_but_not_noted_by_who_was_killed_is_sent_again(library: Library, receiver: Receiver) -> None:
    webhooks.add(library, "site", receiver.url, [], "ann", private=True)
    tell(library.db)
    code = (
        "import sys, pathlib; from hit.library import Library; from hit.moderation import sending; "
        "library = Library.open(pathlib.Path(sys.argv[1]), mend=False); sending.send_due(library, True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, library.path], env={**os.environ}) as process:
        receiver.answer = lambda request: process.send_signal(signal.SIGKILL)  # it has arrived, and nobody has noted it
        assert process.wait(120) == -signal.SIGKILL
    assert state(library.db) == [("queued", 1)]
    receiver.answer = lambda request: said(request, 204)
    assert send_due(library, private=True)["sent"] == 0  # whoever holds it may live
    now_due(library.db)
    assert send_due(library, private=True)["sent"] == 1
    first, second = (headers["webhook-id"] for headers, _ in receiver.got)
    assert first == second


def test_a_thread_sends_what_comes(library: Library, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_POLL", 0.02)
    webhooks.add(library, "site", receiver.url, [], "ann", private=True)
    sender = Sender(library, private=True)
    library.db.test_endpoint("site")
    until(lambda: state(library.db) == [("sent", 1)])
    sender.close()
    assert json.loads(receiver.got[0][1])["type"] == "webhook.test"


# -- in both databases


def make(db: Database, name: str = "site", events: tuple[str, ...] = ()) -> Endpoint:
    now = datetime.now(UTC)
    return db.add_endpoint(Endpoint(name=name, url="http://x/", events=list(events), salt="", by="ann", created_at=now))


def test_a_delivery_is_taken_by_one(db: Database) -> None:
    make(db)
    for number in range(20):
        tell(db, number=number)
    taken = list[int]()

    def take() -> None:
        while found := db.claim_delivery(LEASE):
            taken.append(found[0].id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(set(taken)) and len(taken) == 20


def test_a_lease_that_ended_is_taken_again_and_its_first_holder_does_no_harm(db: Database) -> None:
    make(db)
    tell(db)
    then = datetime.now(UTC)
    first = db.claim_delivery(LEASE)
    assert first and db.claim_delivery(LEASE) is None
    second = db.claim_delivery(LEASE, then + timedelta(seconds=LEASE + 1))
    assert second and second[0].id == first[0].id and second[0].tries == 2
    db.end_delivery(first[0], "too late", None)  # it would be dead
    assert state(db) == [("queued", 2)]
    db.end_delivery(second[0])
    db.end_delivery(second[0], "once more", None)
    assert state(db) == [("sent", 2)]


def test_endpoints_and_what_is_refused(db: Database) -> None:
    make(db, "b", ("case.decided",))
    make(db, "a")
    tell(db, "case.decided")
    tell(db, "verdict.changed")
    assert [(one.name, counts) for one, counts in db.endpoints()] == [("a", {"queued": 2}), ("b", {"queued": 1})]
    with pytest.raises(BusyError):
        make(db)
        make(db)
    for name, complaint in (("a/b", "slash"), ("", "printable")):
        with pytest.raises(UserError, match=complaint):
            make(db, name)
    with pytest.raises(UserError, match=re.escape("the event 'x': is none")):
        make(db, "c", ("x",))
    db.drop_endpoint("a")
    assert [one.endpoint for one in db.deliveries()] == ["b"]
    for act in (db.drop_endpoint, db.endpoint, db.test_endpoint):
        with pytest.raises(NotFoundError):
            act("a")
    with pytest.raises(NotFoundError):
        db.retry_delivery(99)
