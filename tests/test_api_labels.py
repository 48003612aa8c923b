"""Label sets over HTTP: written, previewed, applied by a job, answered, fitted anew; and from a video to texts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from api_helpers import client
from hit.jobs import work
from hit.library import Library
from hit.pulse import Pulse
from hit.service import Service
from hit.service.access import Role
from toy import ToyEncoder

RED = {"name": "red", "group": "colour", "texts": ["red", "a red thing"], "exceptions": ["green"], "rule": {"percentile": 60}}
BLUE = {"name": "blue", "texts": ["blue"]}
SETS = "/v1/label-sets"


@pytest.fixture
def api(own: Path) -> Iterator[TestClient]:
    with client(own) as opened:
        yield opened


def service(api: TestClient) -> Service:
    found: Service = api.app.state.service  # type: ignore[attr-defined]
    return found


def done(own: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Do a job here, as its process does it, and return its result."""
    with Library.open(own, encoder=ToyEncoder()) as library:
        claimed = library.db.claim_job("test", [job["kind"]])
        assert claimed is not None and claimed.id == job["id"]
        with Pulse(library.db, job["id"], "test") as pulse:
            library.pulse = pulse
            work._run(work.KINDS[job["kind"]], library, pulse, claimed.detail)()
        ended = library.db.job(job["id"])
        assert ended.state == "done", ended.detail
        found: dict[str, Any] = ended.detail["result"]
        return found


def test_a_set_is_written_shown_and_listed(api: TestClient) -> None:
    assert api.get(SETS).json() == {"label_sets": []}
    answer = api.put(f"{SETS}/things", json={"labels": [RED, BLUE]})
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["name"], made["version"], made["state"]) == ("things", 1, "draft")
    red, blue = made["labels"]
    assert red == {**RED, "examples_for": [], "examples_against": [], "threshold": None, "kind": None, "tagged": 0}
    assert blue["rule"] == {"percentile": 99.0} and blue["group"] == ""
    assert made["model"] == {"id": "toy", "revision": "toy-1"}
    assert api.get(f"{SETS}/things").json() == made == api.get(f"{SETS}/things", params={"version": 1}).json()
    (listed,) = api.get(SETS).json()["label_sets"]
    facts = {"name": "things", "version": 1, "state": "draft", "labels": 2, "tagged": 0, "active_version": None, "by": "local"}
    assert {key: listed[key] for key in facts} == facts
    assert api.put(f"{SETS}/things", json={"labels": [BLUE]}).json()["version"] == 1
    assert api.get(f"{SETS}/none").status_code == api.get(f"{SETS}/things", params={"version": 2}).status_code == 404


@pytest.mark.parametrize(
    ("name", "body", "status", "word"),
    [
        ("a\u200eb", {"labels": [BLUE]}, 400, "printable"),
        ("things", {"labels": []}, 422, "at least 1"),
        ("things", {"labels": [{**BLUE, "texts": [" "]}]}, 400, "empty text"),
        ("things", {"labels": [BLUE, BLUE]}, 400, "comes again"),
        ("things", {"labels": [{**BLUE, "rule": {"cosine": 1}}]}, 422, "percentile"),
        ("things", {"labels": [{**BLUE, "rule": {"percentile": 101}}]}, 400, "from 0 to 100"),
        ("things", {"labels": [{**BLUE, "color": "x"}]}, 422, "Extra"),
        ("things", {"labels": [{**BLUE, "examples_for": ["none"]}]}, 404, "does not know"),
    ],
)
def test_what_is_no_set_is_refused(api: TestClient, name: str, body: dict[str, Any], status: int, word: str) -> None:
    answer = api.put(f"{SETS}/{quote(name)}", json=body)
    assert answer.status_code == status and word in answer.text, answer.text
    assert api.get(SETS).json() == {"label_sets": []}


@pytest.mark.parametrize(("kind", "media"), [("csv", "text/csv"), ("toml", "application/toml")])
def test_files_go_out_and_come_in(api: TestClient, kind: str, media: str) -> None:
    made = api.put(f"{SETS}/die Dinge", json={"labels": [RED, BLUE]}).json()
    sent = api.get(f"{SETS}/die Dinge/export", params={"format": kind})
    assert sent.headers["content-type"].startswith(media)
    assert f"die%20Dinge.{kind}" in sent.headers["content-disposition"]
    answer = api.post(f"{SETS}/copy/import", content=sent.content, headers={"Content-Type": f"{media}; charset=utf-8"})
    assert answer.status_code == 200 and answer.json()["labels"] == made["labels"]
    for content, headers, status in (
        (b"\xff\xfe", {"Content-Type": media}, 422),
        (b"nothing", {"Content-Type": media}, 400),
        (sent.content, {"Content-Type": "text/plain"}, 415),
    ):
        assert api.post(f"{SETS}/other/import", content=content, headers=headers).status_code == status


def test_a_set_is_looked_at_and_then_applied_by_a_job(api: TestClient, own: Path) -> None:
    api.put(f"{SETS}/things", json={"labels": [RED]})
    told = api.post(f"{SETS}/things/preview", json={}).json()
    assert (told["version"], told["before"], told["videos"]) == (1, None, 5)
    (red,) = told["labels"]
    assert red["before"] == red["removed"] == red["kept"] == 0 < red["added"] == red["after"]
    for sample in told["samples"]:
        card = sample["card"]
        assert card["title"].endswith(".mp4") and card["page_url"].startswith(f"/videos/{card['video_id']}?t=")
        assert api.get(card["poster_url"]).status_code == 200 and card["percentile"] is not None
    assert api.get("/v1/tags").json() == {}
    answer = api.post(f"{SETS}/things/apply", json={"version": 1}, headers={"Idempotency-Key": "once"})
    assert answer.status_code == 202
    assert api.post(f"{SETS}/things/apply", json={"version": 1}, headers={"Idempotency-Key": "once"}).json() == answer.json()
    job = answer.json()["job"]
    assert job["kind"] == "tag" and job["state"] == "queued"
    result = done(own, job)
    assert result["added"] == red["added"] and result["version"] == 1
    assert api.get("/v1/tags").json() == {"red": red["added"]}
    shown = api.get(f"{SETS}/things").json()
    assert shown["state"] == "active" and shown["labels"][0]["tagged"] == red["added"]
    assert shown["labels"][0]["kind"] == "text" and shown["labels"][0]["threshold"] is not None
    again = api.post(f"{SETS}/things/preview", json={}).json()["labels"][0]
    assert (again["added"], again["removed"], again["kept"]) == (0, 0, red["added"])
    bearing = [one["id"] for one in api.get("/v1/videos", params={"filter": "tag in [red]"}).json()["videos"]]
    assert len(bearing) == red["added"]
    (tag,) = api.get(f"/v1/videos/{bearing[0]}/tagged").json()["tags"]
    assert (tag["label_set"], tag["version"], tag["label"], tag["group"]) == ("things", 1, "red", "colour")
    assert tag["segments"] and max(one["score"] for one in tag["segments"]) == tag["score"] >= tag["threshold"]
    assert api.delete(f"{SETS}/things").json()["state"] == "retired"
    assert api.get("/v1/tags").json() == {} and api.get(f"/v1/videos/{bearing[0]}/tagged").json() == {"tags": []}
    assert api.get("/v1/videos/none/tagged").status_code == 404


def test_what_is_wrong_with_a_version_is_told_before_a_job_is_made(api: TestClient) -> None:
    api.put(f"{SETS}/things", json={"labels": [{**RED, "rule": {"precision": 0.9}}]})
    for what in ("apply", "preview"):
        answer = api.post(f"{SETS}/things/{what}", json={})
        assert answer.status_code == 400 and "needs 10 answers, and there are 0" in answer.text
    assert api.get("/v1/jobs", params={"kind": "tag"}).json()["jobs"] == []


def test_a_label_is_answered_at_its_line_and_fitted_anew(api: TestClient) -> None:
    api.put(f"{SETS}/things", json={"labels": [RED]})
    url = f"{SETS}/things/labels/red"
    found = api.get(url).json()
    assert found["segments"] == len(found["above"]) > 1 and found["above"][0]["score"] >= found["threshold"]
    assert found["precision"] is None and found["answers"] == {"yes": 0, "no": 0}
    assert {"above", "below", "counts_at", "histogram", "kind", "rule", "videos", "model"} <= set(found)
    lines = [line for line, _ in found["counts_at"]]
    assert lines == sorted(lines)
    assert api.get(url, params={"threshold": 9}).json()["above"] == []
    first, other = found["above"][0]["segment_id"], found["below"][0]["segment_id"]
    said = api.post(f"{url}/answers", json={"segment_id": first, "yes": True}).json()
    assert said["answers"] == {"yes": 1, "no": 0} and said["precision"]["estimate"] == 1.0 and said["precision"]["answered"] == 1
    assert api.post(f"{url}/answers", json={"segment_id": other, "yes": False}).json()["answers"] == {"yes": 1, "no": 1}
    assert {one["segment_id"]: one["answer"] for one in api.get(url).json()["above"]}[first] is True
    assert api.post(f"{url}/answers", json={"segment_id": first, "yes": None}).json()["answers"] == {"yes": 0, "no": 1}
    assert api.post(f"{url}/answers", json={"segment_id": first, "yes": True}).status_code == 200
    made = api.post(f"{url}/refit").json()["labels"][0]
    assert (made["examples_for"], made["examples_against"], made["kind"]) == ([first], [other], None)
    assert api.get(url).json()["kind"] == "probe"
    for address, body in ((f"{SETS}/things/labels/none/answers", first), (f"{url}/answers", "none")):
        assert api.post(address, json={"segment_id": body, "yes": True}).status_code == 404
    assert api.get(f"{SETS}/things/labels/none").status_code == api.post(f"{SETS}/things/labels/none/refit").status_code == 404
    api.put(f"{SETS}/others", json={"labels": [BLUE]})
    assert api.post(f"{SETS}/others/labels/blue/refit").status_code == 400


def test_a_label_by_precision_can_be_looked_at_before_there_are_answers(api: TestClient) -> None:
    """It was refused until there were ten answers, which nobody could give who could not look at it."""
    api.put(f"{SETS}/things", json={"labels": [{**RED, "rule": {"precision": 0.5}}]})
    url = f"{SETS}/things/labels/red"
    found = api.get(url).json()
    api.put(f"{SETS}/others", json={"labels": [{**RED, "rule": {"percentile": 99}}]})
    assert found["threshold"] == api.get(f"{SETS}/others/labels/red").json()["threshold"] and found["rule"] == {"precision": 0.5}
    for number, one in enumerate([*found["above"], *found["below"]]):
        answer = api.post(f"{url}/answers", json={"segment_id": one["segment_id"], "yes": number < 2})
        assert answer.status_code == 200 and sum(answer.json()["answers"].values()) == number + 1
    if number + 1 >= 10:
        assert api.get(url).json()["precision"]["estimate"] >= 0.5


def test_a_video_is_told_in_texts_or_labels(api: TestClient) -> None:
    (video,) = [one["id"] for one in api.get("/v1/videos", params={"q": "green"}).json()["videos"]]
    url = f"/v1/videos/{video}/rank"
    found = api.post(url, json={"texts": ["red", "green", "blue"], "limit": 2}).json()
    assert [one["rank"] for one in found["texts"]] == [1, 2] and found["texts"][0]["text"] == "green"
    assert found["texts"][0]["label"] is None
    api.put(f"{SETS}/things", json={"labels": [RED, BLUE, {"name": "grass", "texts": ["blue", "green"]}]})
    best = api.post(url, json={"label_set": "things"}).json()["texts"]
    assert best[0]["label"] == "grass" and best[0]["text"] == "green" and len(best) == 3
    assert api.post(url, json={}).status_code == 400
    assert api.post(url, json={"label_set": "none"}).status_code == 404
    assert api.post("/v1/videos/none/rank", json={"texts": ["red"]}).status_code == 404


def test_ten_thousand_texts_are_ranked_in_one_request(api: TestClient) -> None:
    (video,) = [one["id"] for one in api.get("/v1/videos", params={"q": "green"}).json()["videos"]]
    texts = [f"red {number}" for number in range(9_999)] + ["green"]
    found = api.post(f"/v1/videos/{video}/rank", json={"texts": texts, "limit": 1}).json()
    assert [one["text"] for one in found["texts"]] == ["green"]
    assert api.post(f"/v1/videos/{video}/rank", json={"texts": [*texts, "more"]}).status_code == 422


def test_who_may_do_what(own: Path) -> None:
    with client(own, auth="on") as api:
        opened = service(api)
        roles: list[Role] = ["viewer", "reviewer", "senior"]
        heads = {role: {"Authorization": f"Bearer {opened.access.create(role, role)[0]}"} for role in roles}
        assert api.put(f"{SETS}/things", json={"labels": [RED]}, headers=heads["senior"]).json()["versions"][0]["by"] == "senior"
        shown = api.get(f"{SETS}/things/labels/red", headers=heads["viewer"]).json()["above"][0]["segment_id"]
        answer = {"segment_id": shown, "yes": True}
        for method, url, body, least in (
            ("GET", SETS, None, "viewer"),
            ("POST", f"{SETS}/things/preview", {}, "viewer"),
            ("POST", f"{SETS}/things/labels/red/answers", answer, "reviewer"),
            ("PUT", f"{SETS}/things", {"labels": [RED]}, "senior"),
            ("POST", f"{SETS}/things/labels/red/refit", None, "senior"),
            ("POST", f"{SETS}/things/apply", {}, "senior"),
            ("DELETE", f"{SETS}/things", None, "senior"),
        ):
            for role in roles:
                status = api.request(method, url, json=body, headers=heads[role]).status_code
                assert (status == 403) == (roles.index(role) < roles.index(least)), (method, url, role)
                assert status in (200, 202, 403)
