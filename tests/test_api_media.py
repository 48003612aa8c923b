"""What videos are shown by, over HTTP: files and parts of them, pictures, sprites, clips, and the cache behind them."""

import io
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import odd_files
from api_helpers import client
from hit import video
from hit.errors import EndedError, NotFoundError
from hit.files import BusyError, locked
from hit.library import Library
from hit.pulse import Pulse
from hit.service import media
from hit.service.media import MediaCache
from hit.upkeep import info, leftovers, remove
from nearby import here
from toy import COLOURS, PLUGIN, ToyEncoder, render

ODD = {odd.name: odd for odd in odd_files.ODD}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a library, `lib`, of videos in `v`: of some, browsers play nothing."""
    folder = tmp_path_factory.mktemp("shown")
    render(folder / "v" / "three colours.mp4", ["red", "green", "blue"], seconds=4.0, sound=True)
    for name in ("hevc.mp4", "stream.ts"):
        ODD[name].make(folder / "v" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with Library.create(folder / "lib", encoder=ToyEncoder()) as library:
            library.index([folder / "v"], workers=1)
    return folder


@pytest.fixture(scope="module")
def api(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client(shutil.copytree(shelf / "lib", tmp_path_factory.mktemp("own") / "lib")) as opened:
        yield opened


def named(api: TestClient, name: str) -> str:
    """Return where a video is, by its name."""
    (found,) = api.get("/v1/videos", params={"q": name}).json()["videos"]
    return f"/v1/videos/{found['id']}"


@pytest.fixture
def film(api: TestClient) -> str:
    return named(api, "three colours")


# -- files and parts of them


def test_a_file_is_sent_as_it_is(api: TestClient, film: str, shelf: Path) -> None:
    content = (shelf / "v" / "three colours.mp4").read_bytes()
    answer = api.get(f"{film}/stream")
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == "inline; filename*=utf-8''three%20colours.mp4"
    assert "immutable" in answer.headers["cache-control"]
    head = api.head(f"{film}/stream")
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "x-request-id": ""} == {**answer.headers, "x-request-id": ""}


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("bytes=0-0", slice(0, 1)), ("bytes=10-19", slice(10, 20)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None))],
)
def test_parts_of_a_file(api: TestClient, film: str, shelf: Path, wanted: str, part: slice) -> None:
    content = (shelf / "v" / "three colours.mp4").read_bytes()
    answer = api.get(f"{film}/stream", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, content[part])
    begin, end, _ = part.indices(len(content))
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(content)}"
    assert api.head(f"{film}/stream", headers={"Range": wanted}).headers["content-length"] == str(end - begin)


def test_several_parts_of_a_file(api: TestClient, film: str, shelf: Path) -> None:
    content = (shelf / "v" / "three colours.mp4").read_bytes()
    answer = api.get(f"{film}/stream", headers={"Range": "bytes=0-9, 50-59"})
    assert answer.status_code == 206 and answer.headers["content-type"].startswith("multipart/byteranges")
    assert content[:10] in answer.content and content[50:60] in answer.content


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0", "bytes=5-2"])
def test_parts_that_are_not_there(api: TestClient, film: str, shelf: Path, wanted: str) -> None:
    answer = api.get(f"{film}/stream", headers={"Range": wanted})
    assert (answer.status_code, answer.headers["content-type"]) == (416, "application/problem+json")
    assert answer.headers["content-range"] == f"bytes */{(shelf / 'v' / 'three colours.mp4').stat().st_size}"


@pytest.mark.parametrize("wanted", ["bytes=", "bytes=a-b", "pages=1-2", "bytes=1", "bytes=1 0-20", f"bytes={'9' * 5000}-"])
def test_what_is_no_range(api: TestClient, film: str, wanted: str) -> None:
    answer = api.get(f"{film}/stream", headers={"Range": wanted})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_what_is_known_is_not_sent_again(api: TestClient, film: str) -> None:
    for place in ("stream", "thumbnail", "sprites.jpg", "clip?start=1&end=2"):
        tag = api.get(f"{film}/{place}").headers["etag"]
        again = api.get(f"{film}/{place}", headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert api.get(f"{film}/{place}", headers={"If-None-Match": '"other"'}).status_code == 200
    tag = api.get(f"{film}/stream").headers["etag"]
    for given, status in [(tag, 206), ('"other"', 200), (f"W/{tag}", 200)]:
        answer = api.get(f"{film}/stream", headers={"Range": "bytes=0-9", "If-Range": given})
        assert answer.status_code == status


@pytest.mark.parametrize("place", ["stream", "thumbnail", "sprites.jpg", "sprites.vtt", "clip?start=0&end=1"])
def test_a_video_that_is_not_known(api: TestClient, place: str) -> None:
    for name in ("0123456789abcdef", "none", "..%2f..%2flibrary.db"):
        assert api.get(f"/v1/videos/{name}/{place}").status_code in (404, 422)


def test_a_file_that_is_not_what_it_was(tmp_path: Path) -> None:
    for name in ("gone", "changed"):
        render(tmp_path / "v" / f"{name}.mp4", ["red"] if name == "gone" else ["blue"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
            library.index([tmp_path / "v"], workers=1)
    with client(tmp_path / "lib") as api:
        places = {name: named(api, name) for name in ("gone", "changed")}
        (tmp_path / "v" / "gone.mp4").unlink()
        (tmp_path / "v" / "changed.mp4").write_bytes(b"something else")
        for name, why in [("gone", "is not there any more"), ("changed", "has changed")]:
            for place in ("stream", "thumbnail", "sprites.jpg", "clip?start=0&end=1"):
                answer = api.get(f"{places[name]}/{place}")
                assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
                assert why in answer.json()["detail"] and str(tmp_path) not in answer.text


# -- what browsers do not play


def test_what_browsers_do_not_play_is_converted_by_a_job(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "lib", tmp_path / "lib")
    with client(tmp_path / "lib", jobs=True) as api:
        place = named(api, "stream.ts")
        answer = api.get(f"{place}/stream")
        assert answer.status_code == 409 and "container mpegts" in answer.json()["detail"]
        job = answer.json()["job"]
        original = api.get(f"{place}/stream", params={"rendition": "original"})
        assert (original.status_code, original.content) == (200, (shelf / "v" / "stream.ts").read_bytes())
        assert "event: end" in api.get(f"/v1/jobs/{job}/events").text  # once it is done
        done = api.get(f"/v1/jobs/{job}").json()
        assert (done["state"], done["by"], done["kind"], done["progress"]["total"]) == ("done", "local", "rendition", 1.0), done
        answer = api.get(f"{place}/stream")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
        assert answer.headers["content-disposition"] == 'inline; filename="stream.mp4"'
        (tmp_path / "got.mp4").write_bytes(answer.content)
        assert video.facts(tmp_path / "got.mp4").playable
        assert answer.headers["etag"] != original.headers["etag"]
        assert len(answer.content) == done["result"]["bytes"]


def test_a_conversion_is_started_once(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "lib", tmp_path / "lib")
    with client(tmp_path / "lib") as api:
        place, served = named(api, "stream.ts"), api.app.state.service  # type: ignore[attr-defined]
        job = api.get(f"{place}/stream").json()["job"]
        served.db.claim_job("me", ["rendition"], 60)
        assert api.head(f"{place}/stream").status_code == 409
        assert api.get(f"{place}/stream", headers={"Range": "bytes=0-"}).json()["job"] == job
        served.db.end_job(job, "me", "cancelled", {})
        assert api.get(f"{place}/stream").json()["job"] > job


def test_a_conversion_that_failed_is_told(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "lib", tmp_path / "lib")
    with client(tmp_path / "lib") as api:
        place = named(api, "hevc.mp4")
        served, job = api.app.state.service, api.get(f"{place}/stream").json()["job"]  # type: ignore[attr-defined]
        served.db.claim_job("me", ["rendition"], 60)
        served.db.end_job(job, "me", "failed", {}, "no luck")
        answer = api.get(f"{place}/stream")
        assert answer.status_code == 409 and answer.json()["job"] == job and "no luck" in answer.json()["detail"]
        assert len(served.jobs.list()) == len({one.id for one in served.jobs.list()}) and not served.jobs.list(state="queued")


@pytest.fixture
def pulse(shelf: Path, tmp_path: Path) -> Iterator[tuple[Library, Pulse, str]]:
    """Return a library of one's own, a job at work in it, and a video's id."""
    shutil.copytree(shelf / "lib", tmp_path / "lib")
    with Library.open(tmp_path / "lib", encoder=ToyEncoder()) as library:
        name = library.db.videos(text="hevc")[0][0].video.id
        job = library.db.submit_job("rendition", {"video": name})
        library.db.claim_job("me", ["rendition"], 60)
        yield library, Pulse(library.db, job.id, "me"), name


def test_a_cancelled_conversion_leaves_nothing(pulse: tuple[Library, Pulse, str]) -> None:
    library, beats, name = pulse
    library.db.cancel_job(beats.number)
    beats.say()
    with pytest.raises(EndedError):
        media.render(library, beats, {"video": name})
    assert [path.name for path in (library.path / "cache").glob("*/*")] == [f".lock {name[0]}"]


def test_sprites_by_a_job(pulse: tuple[Library, Pulse, str]) -> None:
    library, beats, name = pulse
    media.picture(library, beats, {"video": name})
    assert MediaCache(library.path / "cache", 1e9).find("sprites", name)


def test_a_job_whose_work_another_does_waits_its_turn(pulse: tuple[Library, Pulse, str]) -> None:
    library, beats, name = pulse
    folder = library.path / "cache" / "renditions"
    folder.mkdir(parents=True)
    with locked(folder / f".lock {name[0]}", 0), pytest.raises(BusyError):
        media.render(library, beats, {"video": name})
    with pytest.raises(NotFoundError):
        media.render(library, beats, {"video": "none"})


# -- pictures, sprites, clips


def test_heads(api: TestClient, film: str) -> None:
    for place in ("stream", "thumbnail", "sprites.jpg", "sprites.vtt", "clip?start=1&end=2"):
        head, whole = api.head(f"{film}/{place}"), api.get(f"{film}/{place}")
        assert head.status_code == 200
        assert {**head.headers, "x-request-id": ""} == {**whole.headers, "x-request-id": ""}


def test_pictures_of_any_moment(api: TestClient, film: str) -> None:
    for t, colour in [(1.0, "red"), (5.0, "green"), (11.0, "blue"), (1e6, "blue")]:
        answer = api.get(f"{film}/thumbnail", params={"t": t, "size": 48})
        image = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert image.shape == (48, 64, 3)
        assert image[30:].mean((0, 1)) == pytest.approx(COLOURS[colour], abs=25)
    for params in ({"t": -1}, {"t": "nan"}, {"t": "inf"}, {"size": 4}, {"size": 5000}):
        assert api.get(f"{film}/thumbnail", params=params).status_code == 422


def test_sprites_and_where_they_lie(api: TestClient, film: str) -> None:
    track = api.get(f"{film}/sprites.vtt")
    assert track.headers["content-type"] == "text/vtt; charset=utf-8"
    cues = re.findall(r"(\S+) --> \S+\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)", track.text)
    assert len(cues) == 12 and {cue[1] for cue in cues} == {f"{film}/sprites.jpg"}
    answer = api.get(cues[0][1])
    assert answer.headers["content-type"] == "image/jpeg"
    sheet = np.asarray(Image.open(io.BytesIO(answer.content)))
    for second, (_, _, *place) in enumerate(cues):
        x, y, width, height = map(int, place)
        tile = sheet[y + height // 2 : y + height, x : x + width]
        assert tile.mean((0, 1)) == pytest.approx(COLOURS[("red", "green", "blue")[second // 4]], abs=40)


def test_the_sprites_of_a_long_video_are_made_by_a_job(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.api.media.LONG", 0.1)
    answer = api.get(f"{named(api, 'hevc.mp4')}/sprites.jpg")
    assert answer.status_code == 409 and answer.json()["job"]
    assert answer.headers["retry-after"] == "2"


def test_clips(api: TestClient, film: str, tmp_path: Path) -> None:
    answer = api.get(f"{film}/clip", params={"start": 3, "end": 5})
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''three%20colours%203.0-5.0.mp4"
    (tmp_path / "got.mp4").write_bytes(answer.content)
    assert video.probe(tmp_path / "got.mp4").duration == pytest.approx(2.0, abs=0.6)
    assert video.frame(tmp_path / "got.mp4", 0.0, 48)[30:].mean((0, 1)) == pytest.approx(COLOURS["red"], abs=25)
    assert api.get(f"{film}/clip", params={"start": 3, "end": 5}, headers={"Range": "bytes=0-9"}).content == answer.content[:10]
    for start, end in [(5, 3), (3, 3), (0, 5000), (-1, 3), (50, 51)]:
        refused = api.get(f"{film}/clip", params={"start": start, "end": end})
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")


# -- the cache


def test_what_many_ask_for_at_once_is_made_once(tmp_path: Path) -> None:
    cache, made, release = MediaCache(tmp_path, 1e9), [], threading.Event()

    def make(path: Path) -> None:
        made.append(path)
        release.wait(10)
        path.write_bytes(b"x")

    def ask() -> None:
        assert here(cache.make("sprites", "a1", make)).read_bytes() == b"x"

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    with pytest.raises(BusyError):
        while not made:
            pass
        MediaCache(tmp_path, 1e9).make("sprites", "a1", make, wait=0)
    release.set()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_what_was_asked_for_longest_ago_goes(tmp_path: Path) -> None:
    cache = MediaCache(tmp_path, 250)
    for count, name in enumerate(("a", "b")):
        path = here(cache.make("renditions", name, lambda path: path.write_bytes(bytes(100))))
        os.utime(path, ns=(count, path.stat().st_mtime_ns))
    before = (tmp_path / "renditions" / "a.mp4").stat().st_mtime_ns
    assert cache.find("renditions", "a") and not cache.find("renditions", "c")
    assert (tmp_path / "renditions" / "a.mp4").stat().st_mtime_ns == before
    cache.make("renditions", "c", lambda path: path.write_bytes(bytes(100)))
    assert cache.find("renditions", "a") and not cache.find("renditions", "b") and cache.find("renditions", "c")
    large = cache.make("clips", "d", lambda path: path.write_bytes(bytes(1000)))
    assert here(large).exists() and not cache.find("renditions", "a"), "what is used now stays, however large"


def test_what_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    process = context.Process(target=_die, args=(tmp_path, begun))
    process.start()
    begun.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (left,) = (tmp_path / "clips").glob("*.part")
    cache = MediaCache(tmp_path, 1e9)
    assert cache.find("clips", "a") is None
    assert here(cache.make("clips", "a", lambda path: path.write_bytes(b"whole"), wait=0)).read_bytes() == b"whole"
    assert not left.exists()


def _die(folder: Path, begun: Any) -> None:
    def make(path: Path) -> None:
        path.with_name(f".{path.name}.{os.getpid()}.part").write_bytes(b"half")
        begun.set()
        signal.pause()

    MediaCache(folder, 1e9).make("clips", "a", make)


def test_all_that_was_made_of_a_video_goes_with_it(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "lib", tmp_path / "lib")
    with Library.open(tmp_path / "lib", encoder=ToyEncoder()) as library:
        gone, stays = (library.db.videos(text=name)[0][0].video.id for name in ("hevc", "stream.ts"))
        cache = MediaCache(library.path / "cache", 1e9)
        for name in (gone, stays, "0123456789abcdef"):
            cache.make("renditions", name, lambda path: path.write_bytes(b"x"))
            cache.make("clips", f"{name}-1-2", lambda path: path.write_bytes(b"x"))
        assert info.info(library)["bytes"]["cache"] == 6
        remove.remove(library, [gone])
        of = next(one for one in leftovers.find(library) if one.what == "what was made of videos that are gone")
        assert {path.name for path in of.paths} == {"0123456789abcdef.mp4", "0123456789abcdef-1-2.mp4"}
        left = {path.name for path in (library.path / "cache").glob("*/[!.]*")} - {path.name for path in of.paths}
        assert left == {f"{stays}.mp4", f"{stays}-1-2.mp4"}
