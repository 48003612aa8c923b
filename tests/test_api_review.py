"""/v1/review and /v1/cases: who may do what to which case, what blind eyes see, and a server that dies between act and answer."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from api_helpers import client
from hit.db import Answer, Database
from hit.db.schema_review import Policy, Verdict
from hit.library import Library
from hit.review import verify
from review_helpers import ask, new
from serve_toy import PATIENCE
from toy import PLUGIN, ToyEncoder

PEOPLE = {"vi": "viewer", "ann": "reviewer", "bob": "reviewer", "sue": "senior", "kim": "senior", "al": "admin"}
SECRETS = ("golden", "audit", "verdict", "machine", "score_of")  # what no blind eye may see, beside names


@dataclass(frozen=True)
class Desk:
    """A served library with cases, and everybody who works there."""

    api: TestClient
    db: Database
    tokens: dict[str, str]
    videos: list[str]

    def call(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {"Authorization": f"Bearer {self.tokens[who]}", **headers}
        return self.api.request(method, f"/v1{path}", json=body, headers=given)

    def claim(self, who: str, **wanted: Any) -> dict[str, Any]:
        answer = self.call(who, "POST", "/review/claim", {"hold": 3, **wanted})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def decide(self, who: str, seat: dict[str, Any], action: str = "block", **more: Any) -> Any:
        body = {"claim": seat["claim"], "action": action, "reason": "it shows", "seconds": 3.5, **more}
        return self.call(who, "POST", f"/review/assignments/{seat['id']}/decide", body)

    def judge(self, who: str, action: str = "block", **more: Any) -> dict[str, Any]:
        answer = self.decide(who, self.claim(who), action, **more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def desk(own: Path) -> Iterator[Desk]:
    with client(own, auth="on") as api:
        app: Any = api.app
        service = app.state.service
        service.db.golden_share = 0.0
        tokens = {name: service.access.create(name, role)[0] for name, role in PEOPLE.items()}
        videos = [card.video.id for card in service.db.videos(order="title")[0]]
        yield Desk(api, service.db, tokens, videos)


def case_of(desk: Desk, number: int, **facts: Any) -> Any:
    video = desk.videos[number]
    segment = desk.db.segments_of(video)[0]
    shown = {"segment_id": segment.id, "start": segment.start, "end": segment.end, "seek": segment.seek, "score": 0.75}
    return new(video, evidence=[shown], **facts)


# -- roles

ROUTES = {  # the least role, and whether it is of a case or of a seat
    "POST /review/claim": "reviewer",
    "GET /review/assignments": "reviewer",
    "GET /review/assignments/1": "reviewer",
    "POST /review/assignments/1/heartbeat": "reviewer",
    "POST /review/assignments/1/release": "reviewer",
    "POST /review/assignments/1/skip": "reviewer",
    "POST /review/assignments/1/decide": "reviewer",
    "GET /review/queue": "reviewer",
    "GET /cases": "senior",
    "GET /cases/1": "reviewer",
    "POST /cases/1/appeal": "reviewer",
    "POST /cases/1/reopen": "senior",
    "POST /cases/decide": "senior",
    "POST /review/batches/0123456789abcdef/undo": "senior",
    "POST /cases/golden": "senior",
    "GET /review/stats": "senior",
    "GET /review/verify": "senior",
    "GET /review/export": "senior",
    "POST /review/erase": "admin",
}
BODIES: dict[str, Any] = {
    "heartbeat": {"claim": "CLAIM"},
    "release": {"claim": "CLAIM"},
    "skip": {"claim": "CLAIM", "reason": "r"},
    "appeal": {"reason": "r"},
    "reopen": {"reason": "r"},
    "undo": {"reason": "r"},
    "golden": {"video_id": "VIDEO", "policy": "p", "answer": "block"},
    "erase": {"person": "nobody"},
}
RANKS = ("viewer", "reviewer", "senior", "admin")


def body_of(desk: Desk, route: str, claim: str) -> Any:
    what = route.rsplit("/", 1)[1]
    if what == "decide":
        bulk = {"cases": [1], "action": "pass", "reason": "r"}
        return bulk if "/cases/" in route else {"claim": claim, "action": "block", "reason": "r"}
    found = BODIES.get(what)
    return found and {name: {"CLAIM": claim, "VIDEO": desk.videos[0]}.get(value, value) for name, value in found.items()}


@pytest.mark.parametrize("state", ["open", "held", "decided"])
def test_roles_route_by_route_and_state_by_state(desk: Desk, state: str) -> None:
    """403 for too low a role; else what ann, who holds or decided case 1, may, and bob may not. A no changes nothing."""
    ask(desk.db, case_of(desk, 0))
    claim = "x"
    if state != "open":
        claim = (seat := desk.claim("ann"))["claim"]
    if state == "decided":
        assert desk.decide("ann", seat).status_code == 200
    mine = {  # what is no refusal to ann; a seat that is not hers is 404 to look at, and 409 to act from
        "open": set(),
        "held": {"GET /review/assignments/1", "GET /cases/1"},
        "decided": {"GET /cases/1"},
    }[state]
    before = verify(desk.db)
    for route, least in ROUTES.items():
        method, path = route.split()
        for who, role in PEOPLE.items():
            if role != "viewer" and (method == "POST" and RANKS.index(role) >= RANKS.index(least)) and who != "bob":
                continue  # would change something; bob's are to be refused or to change nothing
            if route == "POST /review/claim" and who != "vi":
                continue
            status = desk.call(who, method, path, body_of(desk, route, claim)).status_code
            where = f"{route} by {who}, {state}: {status}"
            if RANKS.index(role) < RANKS.index(least):
                assert status == 403, where
            elif path.startswith("/review/assignments/1"):
                assert status == (200 if who == "ann" and route in mine else 404 if method == "GET" else 409), where
            elif path.startswith("/cases/1"):
                allowed = role in ("senior", "admin") or (who == "ann" and route in mine)
                assert status == (200 if allowed else 404), where
            else:
                assert status == 200, where
    assert verify(desk.db) == before
    assert desk.api.post("/v1/review/claim").status_code == 401


def test_acts_are_refused_where_they_do_not_fit_the_state(desk: Desk) -> None:
    ask(desk.db, case_of(desk, 0), case_of(desk, 1))
    seat = desk.claim("ann")

    def status(who: str, path: str, **body: Any) -> int:
        return int(desk.call(who, "POST", path, body).status_code)

    for path in ("/cases/1/reopen", "/cases/1/appeal"):
        assert status("sue", path, reason="r") == 409, "it is not decided"
    assert status("ann", "/cases/1/appeal", reason="r") == 404
    assert status("ann", "/cases/9/appeal", reason="r") == 404 == status("sue", "/cases/9/reopen", reason="r")
    assert status("bob", f"/review/assignments/{seat['id']}/heartbeat", claim=seat["claim"]) == 409, "not his, though he knows it"
    assert status("ann", f"/review/assignments/{seat['id']}/heartbeat", claim="other") == 409
    assert desk.decide("ann", seat, evidence=["nowhere"]).status_code == 400
    assert desk.decide("ann", seat, action="maybe").status_code == 422
    assert desk.decide("ann", seat, reason="").status_code == 422
    assert status("ann", "/review/claim", hold=1) == 409
    assert status("ann", "/review/claim", hold=9) == 422
    first = desk.decide("ann", seat)
    assert first.status_code == 200 and first.json()["outcome"] == "block"
    assert desk.decide("ann", seat).json() == first.json(), "the same claim, the same answer"
    assert desk.decide("ann", seat, action="pass").status_code == 409
    assert desk.decide("bob", seat).status_code == 409
    assert status("ann", f"/review/assignments/{seat['id']}/release", claim=seat["claim"]) == 409
    assert status("bob", "/cases/1/appeal", reason="r") == 404, "not his"
    assert status("ann", "/cases/1/appeal", reason="r") == 200
    assert status("ann", "/cases/1/appeal", reason="r") == 409
    assert status("sue", "/cases/golden", video_id=desk.videos[0], policy="p", answer="pass") == 404, "no policy says anything"
    assert status("sue", "/review/batches/0123456789abcdef/undo", reason="r") == 404
    assert status("sue", "/cases/decide", cases=[1, 99], action="pass", reason="r") == 404
    assert desk.db.case(1).state == "open", "all or nothing"
    with desk.db.read() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM decisions")) == 2


# -- what is seen


def test_two_who_are_blind_and_a_senior_who_is_not(desk: Desk) -> None:
    ask(desk.db, case_of(desk, 0, seats=2, verdict="block", score=0.987654))
    one, two = desk.claim("ann"), desk.claim("bob")
    assert (one["seat"], two["seat"], one["case"]["id"]) == ("first", "second", two["case"]["id"])
    assert desk.decide("ann", one, "block", note="ann's note").json()["outcome"] == "pending"
    seen = [
        two,
        *desk.call("bob", "GET", "/review/assignments").json()["assignments"],
        desk.call("bob", "GET", "/cases/1").json(),
    ]
    for shown in seen:
        text = json.dumps(shown)
        assert "ann" not in text and "0.987654" not in text and "golden" not in _told(shown) and "audit" not in _told(shown)
        assert '"verdict"' not in json.dumps(_told(shown)) and (shown.get("case") or shown)["history"] == []
    assert desk.decide("bob", two, "pass").json()["outcome"] == "disagreed"
    assert desk.call("ann", "POST", "/review/claim").status_code == 204, "seniors only"
    senior = desk.claim("sue")
    assert senior["seat"] == "senior"
    assert [(one["action"], one["reviewer"]) for one in senior["case"]["history"]] == [("block", "ann"), ("pass", "bob")]
    assert senior["case"]["history"][0]["note"] == "ann's note"
    assert desk.decide("sue", senior, "pass").json()["outcome"] == "pass"
    own = desk.call("ann", "GET", "/cases/1").json()
    assert [one["reviewer"] for one in own["history"]] == ["ann"] and own["outcome"] is None and own["verdict"] is None
    whole = desk.call("kim", "GET", "/cases/1").json()
    assert (whole["state"], whole["outcome"], whole["verdict"], len(whole["history"])) == ("decided", "pass", "block", 3)
    assert desk.call("ann", "POST", "/cases/1/appeal", {"reason": "look again"}).status_code == 200
    for who in ("ann", "bob", "sue"):
        assert desk.call(who, "POST", "/review/claim").status_code == 204, "never to whoever judged it"
    appeal = desk.claim("kim")
    assert appeal["seat"] == "appeal" and appeal["case"]["history"][-1]["kind"] == "appeal"
    answer = desk.decide("kim", appeal, "block").json()
    assert (answer["decision"]["kind"], answer["outcome"]) == ("overturn", "block")


def _told(shown: Any) -> Any:
    """Return what has a value, down to the last field."""
    if isinstance(shown, dict):
        return {name: _told(value) for name, value in shown.items() if value is not None}
    return [_told(one) for one in shown] if isinstance(shown, list) else shown


def test_a_senior_with_a_blind_seat_is_blind_too(desk: Desk) -> None:
    ask(desk.db, case_of(desk, 0, seats=2, verdict="block", score=0.987654, audit=True))
    desk.judge("ann")
    seat = desk.claim("sue")
    assert seat["seat"] == "second"
    for path in ("/cases/1", "/cases", f"/review/assignments/{seat['id']}"):
        text = json.dumps(_told(desk.call("sue", "GET", path).json()))
        assert "0.987654" not in text and '"audit"' not in text and '"verdict"' not in text and '"ann"' not in text, path
    desk.decide("sue", seat, "block")
    assert desk.call("sue", "GET", "/cases").json()["cases"][0]["verdict"] == "block"


def test_golden_and_audit_cases_look_as_all_others(desk: Desk) -> None:
    document = {"texts": ["a red thing"], "exceptions": [], "severity": 3, "reviewers": 1, "note": "be kind"}
    now = datetime.now(UTC)
    with desk.db.write(content=False) as session:
        facts: dict[str, Any] = {"by": "x", "created_at": now, "changed_at": now}
        session.add(Policy(name="p", version=1, state="enforced", document=document, fitted=None, **facts))
        rest: dict[str, Any] = {"evidence": [], "matches": [], "confidence": None, "at": now}
        about = {"policy": "p", "version": 1, "video_id": desk.videos[2], "segment_set": "s", "revision": "r"}
        session.add(Verdict(**about, verdict="block", score=0.9, audit=False, **rest))
    made = desk.call("sue", "POST", "/cases/golden", {"video_id": desk.videos[2], "policy": "p", "answer": "pass"})
    assert made.status_code == 201 and made.json()["golden"] == "pass" and made.json()["state"] == "decided"
    again = desk.call("sue", "POST", "/cases/golden", {"video_id": desk.videos[2], "policy": "p", "answer": "block"})
    assert again.status_code == 409
    ask(desk.db, case_of(desk, 0), case_of(desk, 1, audit=True, verdict="pass"))
    desk.db.golden_share = 1.0
    golden = desk.claim("ann")
    assert golden["case"]["id"] == made.json()["id"]
    desk.db.golden_share = 0.0
    others = [desk.claim("ann"), desk.claim("ann")]
    shapes = {json.dumps(_shape(one), sort_keys=True) for one in others}
    assert len(shapes) == 1 and set(_shape(golden)["case"]) == set(_shape(others[0])["case"])
    for shown in (golden, *others):
        assert not any(word in json.dumps(shown).lower() for word in ("golden", "audit", '"verdict"')), shown
    assert golden["case"]["policy"]["texts"] == ["a red thing"] and golden["case"]["policy"]["note"] == "be kind"
    assert desk.decide("ann", golden, "block").json()["outcome"] == "block", "wrong, and nobody says so"
    assert desk.call("sue", "GET", "/review/stats").json()["golden"]["right"] == 0


def _shape(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {name: _shape(value) for name, value in shown.items()}
    return type(shown).__name__


def test_a_day_at_the_desk(desk: Desk) -> None:
    ask(desk.db, *(case_of(desk, i, severity=1 + i) for i in range(5)))
    queue = desk.call("ann", "GET", "/review/queue").json()
    assert (queue["open"], queue["mine"], [row["severity"] for row in queue["policies"]]) == (5, 0, [5, 4, 3, 2, 1])
    seat = desk.claim("ann", severity_min=2)
    assert (seat["case"]["policy"]["severity"], seat["case"]["video"]["video_id"]) == (5, desk.videos[4])
    card = seat["case"]["video"]
    assert desk.call("ann", "GET", card["poster_url"].removeprefix("/v1")).status_code == 200
    assert seat["case"]["curve"] == [[*(seat["case"]["evidence"][0][name] for name in ("start", "end", "score"))]]
    beat = desk.call("ann", "POST", f"/review/assignments/{seat['id']}/heartbeat", {"claim": seat["claim"]}).json()
    assert beat["lease_until"] > seat["lease_until"] and beat["lease_seconds"] == seat["lease_seconds"] == 120.0
    skipped = desk.call(
        "ann", "POST", f"/review/assignments/{seat['id']}/skip", {"claim": seat["claim"], "reason": "I know them"}
    )
    assert skipped.status_code == 204 and not skipped.content
    seat = desk.claim("ann")
    assert seat["case"]["video"]["video_id"] == desk.videos[3]
    evidence = [seat["case"]["evidence"][0]["segment_id"]]
    done = desk.decide("ann", seat, evidence=evidence, note="n").json()["decision"]
    assert (done["evidence"], done["seconds"], done["reviewer"], done["note"]) == (evidence, 3.5, "ann", "n")
    batch = desk.call("sue", "POST", "/cases/decide", {"cases": [1, 2, 3, 4], "action": "pass", "reason": "all"}).json()
    assert batch["decided"] == 3, "one was decided before"
    assert desk.call("sue", "GET", "/cases?state=open").json()["total"] == 1
    undone = desk.call("sue", "POST", f"/review/batches/{batch['batch']}/undo", {"reason": "no"}).json()
    assert undone == {"batch": batch["batch"], "undone": 3}
    found = desk.call("sue", "GET", "/cases?state=open&limit=3").json()
    assert found["total"] == 4 and found["next_page_token"]
    assert desk.call("sue", "GET", "/cases?outcome=block").json()["total"] == 1
    proof = desk.call("sue", "GET", "/review/verify").json()
    assert proof["sound"] and proof["decisions"] == 7
    assert desk.call("sue", "GET", f"/review/verify?head={proof['head']}").json()["sound"]
    assert not desk.call("sue", "GET", f"/review/verify?head={'0' * 64}").json()["sound"]
    table = desk.call("sue", "GET", "/review/export?format=csv")
    assert table.headers["content-type"].startswith("text/csv") and len(table.text.splitlines()) == 8
    stats = desk.call("sue", "GET", "/review/stats?policy=p&days=1").json()
    assert stats["decided"] == 4 and stats["policies"][0]["precision"]["n"] == 1
    assert desk.call("al", "POST", "/review/erase", {"person": "ann"}).json() == {"erased": 1}
    assert desk.call("sue", "GET", "/review/verify").json()["sound"]


def test_of_a_video_that_is_gone_its_title_is_left(desk: Desk) -> None:
    ask(desk.db, new("0123456789abcdef", title="<b>gone</b>"))
    shown = desk.claim("ann")["case"]["video"]
    assert shown["title"] == "<b>gone</b>" and shown["stream_url"] is None


def test_the_same_key_again_is_answered_the_same(desk: Desk) -> None:
    ask(desk.db, case_of(desk, 0), case_of(desk, 1))
    one, two = (desk.call("ann", "POST", "/review/claim", {}, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert one.json() == two.json() and len(desk.db.held_seats("ann")) == 1


# -- a server that is killed


def post(url: str, body: Any, key: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", "Idempotency-Key": key})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, None


def test_a_decision_whose_server_was_killed_before_the_answer_is_there_once(own: Path, tmp_path: Path) -> None:
    """kill -9 between decision and answer: the same request again, by the same key or another, finds it made."""
    with Library.open(own, encoder=ToyEncoder()) as library:
        ask(library.db, new("0123456789abcdef"))
    claim: dict[str, Any] = {}
    body = {"action": "block", "reason": "it shows", "seconds": 1.0}
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}
    words = [sys.executable, str(Path(__file__).with_name("serve_dying.py")), str(own)]
    answers: list[tuple[int, Any]] = []
    for key in ("same", "same", "other"):
        words_now = [*words, "dies" if not answers else "lives"]
        with subprocess.Popen(words_now, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                url = server.stdout.readline().strip()
                if not claim:
                    _, claim = post(f"{url}v1/review/claim", {}, "claim")
                path = f"{url}v1/review/assignments/{claim['id']}/decide"
                answers.append(post(path, {**body, "claim": claim["claim"]}, key))
                if len(answers) == 1:
                    assert server.wait(PATIENCE) == -signal.SIGKILL
            finally:
                server.kill()
        if len(answers) == 1:
            with closing(Database(f"sqlite:///{own / 'library.db'}", own)) as db, db.write(content=False) as session:
                past = sa.update(Answer).where(Answer.status.is_(None))  # as after two minutes
                session.execute(past.values(created_at=datetime.now(UTC) - timedelta(hours=1)))
    assert answers[0] == (0, None)
    assert answers[1][0] == answers[2][0] == 200 and answers[1][1] == answers[2][1]
    with closing(Database(f"sqlite:///{own / 'library.db'}", own)) as db:
        assert verify(db)["decisions"] == 1 and verify(db)["sound"]
        assert db.case(1).outcome == "block" == answers[1][1]["outcome"]
