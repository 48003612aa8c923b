"""The rest of the API: saved searches, descriptions, embeddings, models, searches by upload."""

import base64
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

import tiny_model
from api_helpers import BASE, client
from hit import examples, filters, video
from hit.api import create_app, upload_search
from hit.cli import app
from hit.encoder import load_encoder
from hit.errors import UserError
from hit.library import Library
from hit.service import ServeConfig, Service
from hit.service.facts import KEPT, Facts
from hit.upkeep import info
from toy import COLOURS, PLUGIN, ToyEncoder, render


@pytest.fixture(scope="module")
def api(made: Path) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with client(made / "lib") as opened:
            yield opened


@pytest.fixture
def mine(own: Path) -> Iterator[TestClient]:
    with client(own) as opened:
        yield opened


def ids(api: TestClient) -> dict[str, str]:
    return {video["title"]: video["id"] for video in api.get("/v1/videos").json()["videos"]}


def clips(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["clip_id"] for hit in answer.json()["hits"]]


# -- saved searches


def test_a_search_saved_here_is_asked_from_the_command_line(mine: TestClient, own: Path) -> None:
    long = ids(mine)["long.mp4"]
    query = {
        "query_text": "red",
        "query_video": [{"video_id": long, "start": 5, "end": 10}],
        "exclude": ["blue"],
        "filter": {"field": "duration", "gt": 1},
        "mode": "meaning",
        "limit": 3,
        "mix": [1, 2],
    }
    put = mine.put("/v1/searches/reds", json={"query": query})
    assert put.status_code == 200, put.text
    told = put.json()
    assert (told["name"], told["query"]) == ("reds", query)
    assert mine.get("/v1/searches").json()["searches"] == [told] == [mine.get("/v1/searches/reds").json()]
    here = mine.post("/v1/searches/reds/run", json={})
    assert clips(here) == clips(mine.post("/v1/search", json=query)) and len(clips(here)) == 3
    with Library.open(own, encoder=ToyEncoder()) as library:
        there = library.search(**examples.asked(library.db.saved_search("reds")))
    assert [hit.clip.id for hit in there.hits] == clips(here)


def test_a_search_saved_at_the_command_line_is_asked_here(mine: TestClient, own: Path, made: Path) -> None:
    long = made / "v" / "long.mp4"
    with Library.open(own, encoder=ToyEncoder()) as library:
        library.db.save_search("a run", {"texts": ["red"], "videos": [f"{long}#t=5,10"], "where": 'path:"long"', "limit": 2})
        with pytest.raises(UserError, match="slash"):  # which would be another address
            library.db.save_search("a/run", {"texts": ["red"]})
        library.db.save_search("image", {"texts": ["red"], "images": ["/secret/a.png"]})
        library.db.save_search("file", {"videos": ["/secret/away.mp4"]})
        library.db.save_search("many", {"texts": ["red"], "limit": 5000})
        like = examples.Like(ids(mine)["long.mp4"], 5, 10)
        expected = library.search("red", videos=[like], where=filters.parse('path:"long"'), limit=2).hits
    found = {one["name"]: one for one in mine.get("/v1/searches").json()["searches"]}
    assert found["a run"]["query"]["query_video"] == [{"video_id": ids(mine)["long.mp4"], "start": 5, "end": 10}]
    assert found["a run"]["query"]["filter"] == 'path:"long"'
    ran = mine.post("/v1/searches/a run/run")
    assert [hit["clip_id"] for hit in ran.json()["hits"]] == [hit.clip.id for hit in expected]
    for name, word in [("image", "images"), ("file", "away.mp4"), ("many", "limit")]:
        assert found[name]["query"] is None and word in found[name]["why"] and "/secret" not in found[name]["why"]
        refused = mine.post(f"/v1/searches/{name}/run")
        assert refused.status_code == 400 and "command line" in refused.json()["fix"]


def test_searches_that_are_none_are_not_saved(mine: TestClient) -> None:
    for name, query, status in [
        ("a", {}, 400),
        ("a", {"query_text": " "}, 400),
        ("a", {"query_text": "red", "filter": "dur>1"}, 400),
        ("a", {"query_video": {"video_id": "none"}}, 404),
        ("a", {"query_video": {"segment_id": "none"}}, 404),
        ("a", {"query_text": "red", "limit": 0}, 422),
        ("a%09b", {"query_text": "red"}, 400),
        ("x" * 101, {"query_text": "red"}, 422),
    ]:
        answer = mine.put(f"/v1/searches/{name}", json={"query": query})
        assert answer.status_code == status, (name, query, answer.text)
    assert mine.get("/v1/searches").json() == {"searches": []}
    for answer in (mine.get("/v1/searches/a"), mine.delete("/v1/searches/a"), mine.post("/v1/searches/a/run")):
        assert answer.status_code == 404


def test_a_saved_search_is_replaced_and_forgotten(mine: TestClient) -> None:
    for text in ("red", "blue"):
        mine.put("/v1/searches/colour", json={"query": {"query_text": text, "page_token": "x", "explain": True}})
    assert mine.get("/v1/searches/colour").json()["query"] == {"query_text": "blue"}
    answer = mine.delete("/v1/searches/colour")
    assert (answer.status_code, answer.content) == (204, b"")
    pages = [mine.post("/v1/searches/colour/run").status_code, mine.put("/v1/searches/c", json={"query": {"query_text": "red"}})]
    assert pages[0] == 404
    first = mine.post("/v1/searches/c/run", json={"limit": 2})
    second = mine.post("/v1/searches/c/run", json={"limit": 2, "page_token": first.json()["next_page_token"]})
    assert clips(first) + clips(second) == clips(mine.post("/v1/search", json={"query_text": "red", "limit": 4}))


# -- describe


def test_descriptions_are_those_of_the_library(api: TestClient, made: Path, tmp_path: Path) -> None:
    known = ids(api)
    texts = ["red", "green", " blue ", "red blue", "blue"]
    answer = api.post("/v1/describe", json={"video_ids": [known["red then blue.mp4"], known["long.mp4"]], "texts": texts})
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["videos"]
    assert first["video_id"] == known["red then blue.mp4"] and first["texts"][0]["text"] == "red blue"
    assert {one["text"]: one["start"] for one in second["texts"]}["blue"] == 15
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    with Library.open(made / "lib", encoder=ToyEncoder()) as library:
        found = library.describe([made / "v" / "long.mp4"], tmp_path / "texts.txt")["videos"]
    assert found == [{"path": str(made / "v" / "long.mp4"), **second}]
    for asked, status in [
        ({"video_ids": ["none"], "texts": ["a"]}, 404),
        ({"video_ids": [], "texts": ["a"]}, 422),
        ({"video_ids": [known["long.mp4"]], "texts": [" "]}, 400),
        ({"video_ids": [known["long.mp4"]], "texts": ["a"], "level_weights": [1]}, 400),
        ({"video_ids": [known["long.mp4"]], "texts": ["a\ud800"]}, 422),
    ]:
        answer = api.post("/v1/describe", content=json.dumps(asked), headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text


# -- embeddings


def test_embeddings_have_the_shape_of_openai(api: TestClient) -> None:
    texts = ["red", "green blue"]
    plain = api.post("/v1/embeddings", json={"input": texts, "model": "toy"}).json()
    assert set(plain) == {"object", "data", "model", "usage"} and plain["object"] == "list"
    assert [(one["object"], one["index"]) for one in plain["data"]] == [("embedding", 0), ("embedding", 1)]
    rows = ToyEncoder().embed_texts(texts)
    assert np.array([one["embedding"] for one in plain["data"]], np.float32).tolist() == rows.tolist()
    # what the client of OpenAI sends by default, and how it reads it
    coded = api.post("/v1/embeddings", json={"input": "red", "model": "toy-1", "encoding_format": "base64"}).json()
    assert np.frombuffer(base64.b64decode(coded["data"][0]["embedding"]), "<f4").tolist() == rows[0].tolist()
    assert coded["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    for asked, status in [
        ({"input": "red", "model": "gpt"}, 404),
        ({"input": "red", "dimensions": 3}, 400),
        ({"input": [""]}, 400),
        ({"input": []}, 422),
        ({"input": [[1, 2]]}, 422),
        ({"input": ["red"] * 257}, 422),
    ]:
        assert api.post("/v1/embeddings", json=asked).status_code == status, asked
    assert api.post("/v1/embeddings", json={"input": "red", "dimensions": 8}).status_code == 200


def test_tokens_are_counted_by_the_model(tmp_path: Path) -> None:
    encoder = load_encoder(tiny_model.write(tmp_path / "model"))
    assert encoder.count_tokens(["a", "a a"]) == sum(len(ids) for ids in encoder._tokenizer(["a", "a a"])) > 4


def test_a_score_can_be_made_of_embeddings(api: TestClient) -> None:
    text = api.post("/v1/embed/text", json={"texts": ["red"]}).json()
    query = {"query_text": "red", "mode": "meaning", "limit": 50}
    for hit in api.post("/v1/search", json=query).json()["hits"]:
        found = api.post("/v1/embed/video", json={"segment_id": hit["clip_id"], "segments": True}).json()
        assert [one["id"] for one in found["segments"]] == [hit["clip_id"]]
        vector, other = np.array(found["embedding"]), np.array(text["embeddings"][0])
        parts = [(slice(p["start"], p["end"]), p["weight"]) for p in found["parts"].values()]
        assert sum(weight * vector[part] @ other[part] for part, weight in parts) == pytest.approx(hit["score"], abs=1e-5)
    whole = api.post("/v1/embed/video", json={"video_id": ids(api)["long.mp4"], "segments": True}).json()
    assert len(whole["segments"]) > 2 and whole["model"] == {"id": "toy", "revision": "toy-1"}
    assert api.post("/v1/embed/video", json={"video_id": "none"}).status_code == 404
    assert api.post("/v1/embed/video", json={"video_id": ids(api)["long.mp4"], "start": 900}).status_code == 400
    assert api.post("/v1/embed/video", json={}).status_code == 400


# -- models, library


def test_models_and_totals_are_told(api: TestClient, made: Path) -> None:
    (model,) = api.get("/v1/models").json()["models"]
    assert (model["id"], model["revision"], model["current"], model["card"]) == ("toy", "toy-1", True, None)
    assert model["parts"]["semantic"] == {"start": 4, "end": 8, "weight": 1.0}
    found = api.get("/v1/library").json()
    with Library.open(made / "lib", encoder=ToyEncoder()) as library:
        own = info.info(library)
    assert (found["videos"], found["segments"], found["seconds"]) == (own["videos"], own["segments"], own["seconds"])
    assert found["bytes"] == own["bytes"] and found["path"] == str(made / "lib")


def test_a_card_is_told_without_its_paths(tmp_path: Path, made: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    card = {
        "name": "m",
        "seed": 3,
        "commit": "abc",
        "data": {"path": "/secret", "train_digest": "d"},
        "scores": {"v": {"R@1": 5}},
    }
    (folder / "card.json").write_text(json.dumps(card))
    with Library.open(made / "lib", encoder=ToyEncoder()) as library:
        facts = Facts(library)
        library.config = library.config.__class__(
            library.config.model.__class__("toy", "toy-1", 8, "", str(folder)), library.config.segments
        )
        (model,) = facts.models()
        assert model["card"]["calibration"] is None and model["card"]["seed"] == 3 and model["card"]["folder"] == str(folder)
        (folder / "card.json").write_text("[")
        assert facts.models()[0]["card"] is None


def test_bytes_are_measured_once_a_minute(own: Path) -> None:
    now = 0.0
    with Library.open(own, encoder=ToyEncoder()) as library:
        facts = Facts(library, lambda: now)
        before = facts.info()["bytes"]["all"]
        (own / "library.log").write_text("x" * 1000)
        assert facts.info()["bytes"]["all"] == before
        now = KEPT
        assert facts.info()["bytes"]["all"] >= before + 1000


# -- searches by upload


def picture(colour: str, size: tuple[int, int] = (64, 48), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(file, kind)
    return file.getvalue()


def upload(api: TestClient, content: bytes, request: Any = None, name: str = "a.bin", **parts: Any) -> Any:
    asked = {} if request is None else {"request": (None, json.dumps(request), "application/json")}
    return api.post("/v1/search/upload", files={"file": (name, content, "text/html"), **asked, **parts})


@pytest.fixture
def nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_an_image_finds_what_is_like_it(api: TestClient, nothing_stays: Path, kind: str) -> None:
    answer = upload(api, picture("green", kind=kind), {"limit": 2, "filter": "duration<3"}, name="../../x.html")
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"][0]["metadata"]["title"] == "green.mp4" and len(answer.json()["hits"]) == 2


def test_a_video_finds_itself_and_pages_go_on(api: TestClient, made: Path, nothing_stays: Path) -> None:
    content = (made / "v" / "red then blue.mp4").read_bytes()
    first = upload(api, content, {"limit": 2}).json()
    assert first["hits"][0]["metadata"]["title"] == "red then blue.mp4"
    second = upload(api, content, {"limit": 2, "page_token": first["next_page_token"]}).json()
    assert [hit["rank"] for hit in second["hits"]] == [3, 4]
    both = upload(api, content, {"query_text": "green", "mix": [1, 0], "mode": "meaning"})
    assert clips(both) == clips(api.post("/v1/search", json={"query_text": "green", "mode": "meaning"}))


def test_what_is_neither_image_nor_short_video_is_refused(
    api: TestClient, nothing_stays: Path, monkeypatch: pytest.MonkeyPatch, made: Path
) -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    bomb = picture("red", (8000, 8000))
    short = (made / "v" / "red.mp4").read_bytes()
    cases: list[tuple[bytes, Any, int, str]] = [
        (b"", None, 415, ""),
        (b"hello", None, 415, ""),
        (playlist, None, 415, ""),
        (script, None, 415, ""),
        (short[:200], None, 415, ""),
        (picture("red")[:60], None, 400, "truncated"),
        (bomb, None, 413, "pixels"),
        (short, {"limit": 0}, 422, "limit"),
        (short, {"query": "red"}, 422, "query"),
        (short, {"query_video": {}}, 400, "example"),
    ]
    for content, request, status, word in cases:
        answer = upload(api, content, request)
        assert answer.status_code == status, (content[:20], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert word in answer.text and str(nothing_stays) not in answer.text
    monkeypatch.setattr(upload_search, "SECONDS", 1.0)
    assert upload(api, short).status_code == 413
    monkeypatch.setattr(upload_search, "IMAGE_BYTES", 100)
    assert upload(api, picture("red")).status_code == 413
    monkeypatch.setattr(upload_search, "VIDEO_BYTES", -upload_search._SLACK + 500)
    assert upload(api, short).status_code == 413


def test_a_form_has_one_file_and_one_request(api: TestClient, nothing_stays: Path) -> None:
    content = picture("red")
    assert upload(api, content, file2=("b", b"x", "text/plain")).status_code == 400  # more than one file
    assert upload(api, content, other=(None, "x", "text/plain")).status_code == 422
    assert upload(api, content, {"query_text": "x" * 200_000}).status_code == 400
    assert api.post("/v1/search/upload", files={"request": (None, "{}", "application/json")}).status_code == 422
    assert api.post("/v1/search/upload", json={}).status_code == 415
    for kind in ("multipart/form-data", "multipart/form-data; boundary=a"):
        assert api.post("/v1/search/upload", content=b"--b\r\nx", headers={"Content-Type": kind}).status_code == 400


def test_a_defect_leaves_nothing_behind(api: TestClient, nothing_stays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(video, "probe", broken)
    answer = upload(api, b"hello")
    assert answer.status_code == 500 and "ZeroDivision" not in answer.text


# -- what browsers make of answers


def test_markup_in_names_stays_text(mine: TestClient, own: Path, tmp_path: Path) -> None:
    """What a file, a tag or a search is called comes back as JSON, and as nothing that a browser would run."""
    evil = "<img src=x onerror=alert(1)>"
    video_id = ids(mine)["red.mp4"]
    tagged = mine.post(f"/v1/videos/{video_id}/tags", json={"add": [evil]})
    assert tagged.json()["tags"] == [evil]
    mine.put(f"/v1/searches/{evil}", json={"query": {"query_text": evil}})
    answers = [
        tagged,
        mine.get("/v1/tags"),
        mine.get("/v1/searches"),
        mine.get(f"/v1/searches/{evil}x"),
        mine.get("/v1/search", params={"q": "red", "filter": evil}),
        mine.post("/v1/search", json={"query_text": "red"}),
        mine.get(f"/v1/{evil}"),
    ]
    for answer in answers:
        assert answer.headers["content-type"] in ("application/json", "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"
        json.loads(answer.text)


def test_both_doors_ask_what_either_saved(tmp_path: Path) -> None:
    """In the browser by a video's id, asked as `hit search LIB @NAME`; by a file's path at the command line, asked over HTTP."""
    film = render(tmp_path / "v" / "a.mp4", ["red"])
    with Library.create(tmp_path / "lib", tiny_model.write(tmp_path / "model")) as library:
        library.index([film.parent], workers=1)

    def hit(*words: object) -> Any:
        done = CliRunner().invoke(app, ["search", str(tmp_path / "lib"), *map(str, words), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout.splitlines()[-1])["hits"]

    hit("a word", "--video", f"{film}#t=0,1", "--save", "typed", "--filter", "duration>=1")
    with TestClient(create_app(Service(tmp_path / "lib", ServeConfig(jobs=False))), base_url=BASE) as api:
        [video_id] = ids(api).values()
        assert api.put("/v1/searches/clicked", json={"query": {"query_video": {"video_id": video_id}}}).status_code == 200
        typed = api.get("/v1/searches/typed").json()["query"]
        assert typed["query_video"] == [{"video_id": video_id, "start": 0, "end": 1}] and typed["filter"] == "duration>=1"
        here = {name: api.post(f"/v1/searches/{name}/run").json()["hits"] for name in ("typed", "clicked")}
    there = hit("@clicked")
    assert [one["clip_id"] for one in there] == [one["clip_id"] for one in here["clicked"]]
    assert there[0]["score"] == pytest.approx(here["clicked"][0]["score"], abs=1e-5)
    assert [one["clip_id"] for one in here["typed"]] == [one["clip_id"] for one in hit("@typed")]
