"""The API on a small library: search, videos, segments, and errors as problems."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api_helpers import client


@pytest.fixture(scope="module")
def api(made: Path) -> Iterator[TestClient]:
    with client(made / "lib") as opened:
        yield opened


def test_a_text_finds_the_moment(api: TestClient) -> None:
    answer = api.post("/v1/search", json={"query_text": "red", "limit": 3})
    assert answer.status_code == 200, answer.text
    hit = answer.json()["hits"][0]
    assert hit["metadata"]["title"] == "red.mp4"
    assert api.get(hit["thumbnail_url"]).headers["content-type"] == "image/jpeg"
    assert api.get("/v1/search", params={"q": "red", "limit": 3}).json() == answer.json()


def test_a_video_of_the_library_finds_itself(api: TestClient) -> None:
    hit = api.get("/v1/search", params={"q": "green"}).json()["hits"][0]
    for example in ({"video_id": hit["video_id"]}, {"segment_id": hit["clip_id"]}):
        found = api.post("/v1/search", json={"query_video": example}).json()["hits"]
        assert found[0]["video_id"] == hit["video_id"]
        assert found[0]["score"] == pytest.approx(2.0, abs=1e-5)  # two levels, each the cosine of a vector with itself
    assert api.post("/v1/search", json={"query_video": {"video_id": "none"}}).status_code == 404
    assert api.post("/v1/search", json={"query_video": {}}).status_code == 400


def test_pages_of_videos_are_the_whole_list(api: TestClient) -> None:
    for sort in ("added", "title", "duration"):
        whole = api.get("/v1/videos", params={"sort": sort}).json()
        assert whole["total"] == len(whole["videos"]) == 5
        token, titles = None, []
        while True:
            page = api.get("/v1/videos", params={"sort": sort, "limit": 2, **({"page_token": token} if token else {})}).json()
            titles += [video["title"] for video in page["videos"]]
            if not (token := page["next_page_token"]):
                break
        assert titles == [video["title"] for video in whole["videos"]]
    assert [v["title"] for v in api.get("/v1/videos", params={"q": "GREEN"}).json()["videos"]] == ["green.mp4"]
    assert api.get("/v1/videos", params={"filter": "duration>60"}).json()["videos"] == []


def test_moments_of_a_video(api: TestClient) -> None:
    (video,) = api.get("/v1/videos", params={"q": "long"}).json()["videos"]
    found = api.get(f"/v1/videos/{video['id']}/moments", params={"q": "blue"}).json()
    best = max(found["curve"], key=lambda one: one[2])
    assert found["moments"][0]["seek"] == pytest.approx(best[0], abs=1.0)
    assert 14 <= best[0] <= 20  # the last of four stretches of five seconds


def test_what_is_wrong_is_a_problem(api: TestClient) -> None:
    for answer, status, word in [
        (api.post("/v1/search", json={"query_text": ""}), 400, "empty"),
        (api.post("/v1/search", json={"query_txt": "red"}), 422, "Extra inputs"),
        (api.post("/v1/search", content=b"{"), 422, ""),
        (api.get("/v1/videos/none"), 404, "no video"),
        (api.get("/v1/none"), 404, ""),
        (api.put("/v1/search"), 405, ""),
        (api.post("/v1/search", json={"query_text": "red", "filter": "dur>1"}), 400, "dur"),
    ]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["status"] == status
        assert word in body["detail"] + body["title"]
        assert body["request_id"] == answer.headers["x-request-id"]
