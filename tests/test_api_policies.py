"""/v1/policies, /v1/bank, /v1/webhooks: written, tried, put into force, told; and who may do what."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api_helpers import client
from hit import moderation
from hit.library import Library
from hit.service import Service
from hit.service.access import Access
from toy import PLUGIN

RED = {"texts": ["red"], "review": {"score": 1.4}, "block": {"score": 1.9}}


@pytest.fixture
def mine(own: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.syspath_prepend(str(PLUGIN))
    with client(own, allow_private=True) as opened:
        yield opened


def good(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def library_of(api: TestClient) -> Library:
    service: Service = api.app.state.service  # type: ignore[attr-defined]
    return service.library


def test_a_policy_is_written_tried_and_enforced(mine: TestClient) -> None:
    made = good(mine.put("/v1/policies/reds", json=RED))
    assert (made["version"], made["state"], made["fitted"], made["counts"]) == (1, "draft", None, None)
    assert made["document"]["review"] == {"score": 1.4} and made["document"]["severity"] == 3
    tried = good(mine.post("/v1/policies/reds/test", json={}))
    assert tried["counts"] == {"pass": 3, "review": 0, "block": 2} and tried["previous"] is None
    assert {one["title"] for one in tried["block"]} == {"red.mp4", "long.mp4"}
    (long,) = [one for one in tried["block"] if one["title"] == "long.mp4"]
    assert long["poster_url"] == f"/v1/segments/{long['evidence'][0]['segment_id']}/poster"
    assert good(mine.get(long["poster_url"].replace("/poster", "")))["start"] == 5.0
    assert good(mine.get("/v1/policies/reds/verdicts"))["total"] == 0

    done = good(mine.post("/v1/policies/reds/enforce", json={}))
    assert done["policy"]["state"] == "enforced" and done["policy"]["fitted"]["block"] == 1.9
    assert (done["job"]["kind"], done["job"]["detail"]) == ("judge", {"policies": ["reds"]})
    moderation.judge(library_of(mine))
    page = good(mine.get("/v1/policies/reds/verdicts?limit=2"))
    assert [one["verdict"] for one in page["verdicts"]] == ["block", "block"] and page["total"] == 5
    rest = good(mine.get(f"/v1/policies/reds/verdicts?limit=9&page_token={page['next_page_token']}"))
    assert [one["verdict"] for one in rest["verdicts"]] == ["pass"] * 3 and rest["next_page_token"] is None
    assert good(mine.get("/v1/policies/reds/verdicts?verdict=review"))["verdicts"] == []
    own = good(mine.get(f"/v1/videos/{long['video_id']}/verdicts"))["verdicts"]
    assert [(one["policy"], one["verdict"], one["severity"]) for one in own] == [("reds", "block", 3)]
    (listed,) = good(mine.get("/v1/policies"))["policies"]
    assert (listed["enforced_version"], listed["counts"]) == (1, {"pass": 3, "review": 0, "block": 2})


def test_versions_differ_and_go_back(mine: TestClient) -> None:
    mine.put("/v1/policies/reds", json=RED)
    mine.post("/v1/policies/reds/enforce", json={})
    made = good(mine.put("/v1/policies/reds", json={**RED, "block": None, "note": "softer"}))
    assert (made["version"], made["state"], [one["version"] for one in made["versions"]]) == (2, "draft", [2, 1])
    found = good(mine.get("/v1/policies/reds/diff?before=1&after=2"))["changes"]
    assert {one["field"]: (one["before"], one["after"]) for one in found} == {
        "block": ({"score": 1.9}, None),
        "note": ("", "softer"),
    }
    done = good(mine.post("/v1/policies/reds/enforce", json={"version": 2}))
    assert [one["state"] for one in done["policy"]["versions"]] == ["enforced", "retired"]
    back = good(mine.post("/v1/policies/reds/enforce", json={"version": 1}))
    assert [one["state"] for one in back["policy"]["versions"]] == ["retired", "enforced"]
    over = good(mine.post("/v1/policies/reds/retire", json={}))
    assert over["job"] is None and {one["state"] for one in over["policy"]["versions"]} == {"retired"}
    assert [one["change"] for one in over["policy"]["changes"]][:3] == ["retired", "enforced", "retired"]
    assert mine.post("/v1/policies/reds/shadow", json={}).status_code == 400  # there is no draft


def test_a_document_that_is_written_nowhere_is_tried(mine: TestClient) -> None:
    tried = good(mine.post("/v1/policies/new/test", json={"document": {**RED, "audit_share": 1}}))
    assert tried["version"] is None and tried["audit"] == 3
    assert mine.get("/v1/policies/new").status_code == 404


def test_what_does_not_fit_is_a_problem(mine: TestClient) -> None:
    assert mine.put("/v1/policies/p", json={"texts": ["a"], "exeptions": []}).status_code == 422
    answer = mine.put("/v1/policies/p", json={"texts": ["a"], "review": {"percentle": 9}})
    assert answer.status_code == 400 and "there is no rule" in answer.json()["detail"]
    assert mine.put("/v1/policies/p", json={"texts": ["a"], "scope": "((("}).status_code == 400
    assert mine.put("/v1/policies/p", json={"texts": ["a"], "examples_for": ["none"]}).status_code == 400
    for path in ("policies/p", "policies/p/verdicts", "policies/p/export", "policies/p/diff?before=1&after=2"):
        assert mine.get(f"/v1/{path}").status_code == 404
    for verb in ("shadow", "enforce", "retire", "test"):
        assert mine.post(f"/v1/policies/p/{verb}", json={}).status_code == 404
    mine.put("/v1/policies/p", json={"texts": ["a"]})
    assert mine.get("/v1/policies/p/verdicts?page_token=AAAA").status_code == 400
    assert mine.get("/v1/policies/p?version=7").status_code == 404


def test_verdicts_are_exported(mine: TestClient) -> None:
    mine.put("/v1/policies/reds", json=RED)
    mine.post("/v1/policies/reds/shadow", json={})
    moderation.judge(library_of(mine))
    lines = mine.get("/v1/policies/reds/export")
    assert lines.headers["content-type"] == "application/x-ndjson" and len(lines.text.splitlines()) == 5
    table = mine.get("/v1/policies/reds/export?format=csv")
    assert table.text.startswith("policy,version,video_id,title") and len(table.text.splitlines()) == 6


def test_the_bank(mine: TestClient) -> None:
    (red,) = [one for one in good(mine.get("/v1/videos?q=red.mp4"))["videos"] if one["title"] == "red.mp4"]
    made = good(mine.post("/v1/bank", json={"video_id": red["id"], "note": "known"}), 201)
    assert made["title"] == "red.mp4" and made["job"]["kind"] == "judge"
    assert [one["id"] for one in good(mine.get("/v1/bank"))["bank"]] == [made["id"]]
    (match,) = good(mine.get(f"/v1/videos/{red['id']}/matches"))["matches"]
    assert (match["bank_id"], match["share"], match["note"]) == (made["id"], 1.0, "known")
    assert mine.post("/v1/bank", json={"video_id": "nothing"}).status_code == 404
    assert mine.delete(f"/v1/bank/{made['id']}").status_code == 204
    assert mine.delete(f"/v1/bank/{made['id']}").status_code == 404


def test_webhooks(mine: TestClient) -> None:
    asked = {"name": "site", "url": "http://127.0.0.1:9/?key=hidden", "events": ["policy.changed"]}
    made = good(mine.post("/v1/webhooks", json=asked), 201)
    assert made["secret"].startswith("whsec_")
    assert mine.post("/v1/webhooks", json=asked).status_code == 409
    assert mine.post("/v1/webhooks", json={**asked, "name": "x", "url": "ftp://a/"}).status_code == 400
    assert mine.post("/v1/webhooks", json={**asked, "name": "x", "events": ["else"]}).status_code == 422
    mine.put("/v1/policies/reds", json=RED)
    (listed,) = good(mine.get("/v1/webhooks"))["webhooks"]
    assert listed["queued"] == 1 and "secret" not in listed
    sent = good(mine.post("/v1/webhooks/site/test"), 202)
    found = good(mine.get("/v1/webhooks/deliveries?limit=1"))
    assert found["deliveries"] == [sent] and found["next_page_token"] == str(sent["id"])
    (first,) = good(mine.get(f"/v1/webhooks/deliveries?page_token={sent['id']}"))["deliveries"]
    assert first["event"] == "policy.changed"
    assert mine.post(f"/v1/webhooks/deliveries/{first['id']}/retry").status_code == 409  # it is not dead
    delivery = library_of(mine).db.deliveries()[0]
    library_of(mine).db.end_delivery(delivery, "no")
    assert good(mine.get("/v1/webhooks/deliveries?state=dead"))["deliveries"][0]["error"] == "no"
    assert good(mine.post(f"/v1/webhooks/deliveries/{delivery.id}/retry"), 202)["state"] == "queued"
    assert mine.delete("/v1/webhooks/site").status_code == 204 and mine.delete("/v1/webhooks/site").status_code == 404


MATRIX = [
    *[
        ("viewer", "GET", path, None)
        for path in ("policies", "policies/p", "policies/p/verdicts", "policies/p/diff?before=1&after=1")
    ],
    ("viewer", "POST", "policies/p/test", {}),
    *[("senior", "POST", f"policies/p/{verb}", {}) for verb in ("shadow", "enforce", "retire")],
    ("senior", "PUT", "policies/p", {"texts": ["a"]}),
    ("senior", "GET", "policies/p/export", None),
    ("reviewer", "GET", "videos/none/matches", None),
    ("viewer", "GET", "videos/none/verdicts", None),
    *[("admin", "GET", path, None) for path in ("bank", "webhooks", "webhooks/deliveries")],
    *[("admin", "DELETE", path, None) for path in ("bank/1", "webhooks/x")],
    ("admin", "POST", "bank", {"video_id": "x"}),
    ("admin", "POST", "webhooks", {"name": "x", "url": "ftp://x/"}),
    ("admin", "POST", "webhooks/x/test", None),
    ("admin", "POST", "webhooks/deliveries/1/retry", None),
]
ROLES = ("viewer", "reviewer", "senior", "admin")


def test_who_may_do_what(own: Path) -> None:
    with client(own, auth="on") as api:
        access = Access(library_of(api).db)
        secrets = {role: access.create(role, role, None)[0] for role in ROLES}  # type: ignore[arg-type]
        library_of(api).db.draft_policy("p", {"texts": ["a"]}, "ann")
        for least, method, path, body in MATRIX:
            assert api.request(method, f"/v1/{path}", json=body).status_code == 401
            for role in ROLES:
                answer = api.request(method, f"/v1/{path}", json=body, headers={"Authorization": f"Bearer {secrets[role]}"})
                may = ROLES.index(role) >= ROLES.index(least)
                assert (answer.status_code != 403) == may, (role, method, path, answer.text)


def test_a_write_that_comes_again_is_done_once(mine: TestClient) -> None:
    mine.put("/v1/policies/reds", json=RED)
    head = {"Idempotency-Key": "k1"}
    first = mine.post("/v1/policies/reds/enforce", json={}, headers=head)
    again = mine.post("/v1/policies/reds/enforce", json={}, headers=head)
    assert good(first) == good(again)
    assert len(library_of(mine).db.policy_changes("reds")) == 2
