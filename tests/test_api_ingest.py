"""What comes into a library over HTTP: by path, within the roots and never outside of them, and by upload."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api_helpers import client
from hit import objects, remote
from hit.db import Found
from hit.jobs import work
from hit.library import Library
from hit.pulse import Pulse
from hit.service.config import ServeConfig
from hit.service.uploads import Uploads, title
from hit.upkeep import leftovers, pieces, remove
from hit.upkeep.backup import backup, restore
from hit.upkeep.info import info
from toy import PLUGIN, ToyEncoder, render


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder that may be indexed, beside one that may not; links lead out of it."""
    root = tmp_path / "root"
    render(root / "talks" / "red.mp4", ["red"], seconds=1.0)
    render(tmp_path / "secret" / "grey.mp4", ["grey"], seconds=1.0)
    (root / "empty").mkdir()
    (root / ".hidden").mkdir()
    (root / "talks" / "notes.txt").write_text("no video")
    (root / "way out").symlink_to(tmp_path / "secret")
    (root / "talks" / "out.mp4").symlink_to(tmp_path / "secret" / "grey.mp4")
    (root / "circle").symlink_to(root / "circle")
    return root


@pytest.fixture
def api(own: Path, root: Path) -> Iterator[TestClient]:
    with client(own, roots=(str(root),), upload_mib=1, quota_gib=2 / 1024) as opened:
        yield opened


def done(own: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Do a job here, as its process does it, and return its result."""
    kind = work.KINDS[job["kind"]]
    with Library.open(own, encoder=ToyEncoder()) as library:
        assert library.db.claim_job("test", [job["kind"]]) is not None
        with Pulse(library.db, job["id"], "test") as pulse:
            library.pulse = pulse
            result = kind(library, pulse, library.db.job(job["id"]).detail)
        library.db.end_job(job["id"], "test", "done", result)
        return {**pulse.result, **result}


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))


# -- by path


def test_a_folder_under_a_root_is_indexed_and_its_links_lead_nowhere(api: TestClient, own: Path, root: Path) -> None:
    answer = api.post("/v1/videos", json={"sources": [str(root)]})
    assert answer.status_code == 202, answer.text
    result = done(own, answer.json())
    assert (result["added"], result["failed"]) == (1, 2)
    assert {(Path(one["path"]).name, one["reason"]) for one in result["failures"]} == {
        ("out.mp4", "leads out of the folders that may be indexed"),
        ("grey.mp4", "leads out of the folders that may be indexed"),
    }
    (video,) = api.get("/v1/videos", params={"q": "talks"}).json()["videos"]
    assert video["title"] == "red.mp4" and video["status"] == "ready"


@pytest.mark.parametrize(
    "source", ["..", "../secret", "way out/grey.mp4", "talks/out.mp4", "circle", "a\0b", "../root/../secret/none.mp4"]
)
def test_what_is_outside_of_the_roots_is_refused(api: TestClient, root: Path, source: str) -> None:
    answer = api.post("/v1/videos", json={"sources": [f"{root}/{source}"]})
    assert answer.status_code == 403, answer.text
    assert "these may" in answer.json()["fix"] and str(root) in answer.json()["fix"]
    assert api.get("/v1/jobs", params={"state": "queued"}).json()["jobs"] == []


def test_what_cannot_be_indexed_is_said(api: TestClient, root: Path) -> None:
    assert api.post("/v1/videos", json={"sources": [f"{root}/none.mp4"]}).status_code == 404
    assert api.post("/v1/videos", json={"sources": [f"{root}/{'a' * 300}"]}).status_code == 404
    assert api.post("/v1/videos", json={"sources": ["talks"]}).status_code == 403
    assert api.post("/v1/videos", json={"sources": []}).status_code == 422
    refused = api.post("/v1/videos", json={"sources": ["http://169.254.169.254/latest"]})
    assert refused.status_code == 403 and "not fetched" in refused.json()["detail"]
    assert api.post("/v1/videos", json={"sources": ["file:///etc/passwd"]}).status_code == 403


def test_a_web_address_is_fetched_where_the_server_may(own: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PAUSES", ())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with client(own, roots=(str(root),), urls=True) as api:
        answer = api.post("/v1/videos", json={"sources": ["http://127.0.0.1:9/x.mp4", str(root / "talks" / "red.mp4")]})
        assert answer.status_code == 202, answer.text
        result = done(own, answer.json())
    (failure,) = result["failures"]  # nobody listens there
    assert (result["added"], failure["path"]) == (1, "http://127.0.0.1:9/x.mp4") and "Connect" in failure["reason"]


def test_without_roots_nothing_is_indexed_by_path(own: Path, root: Path) -> None:
    with client(own) as api:
        answer = api.post("/v1/videos", json={"sources": [str(root)]})
        assert answer.status_code == 403 and "none" in answer.json()["fix"]
        assert api.get("/v1/roots").json() == []


def test_roots_and_their_folders(api: TestClient, root: Path) -> None:
    assert api.get("/v1/roots").json() == [{"number": 0, "path": str(root)}]
    found = api.get("/v1/roots/0/folders").json()
    assert [(one["name"], one["videos"]) for one in found["folders"]] == [("empty", 0), ("talks", 2)]
    assert found["videos"] == 0 and found["path"] == str(root)
    assert api.get("/v1/roots/0/folders", params={"path": "talks"}).json()["videos"] == 2
    for path, status in (("..", 403), ("way out", 403), ("none", 404), ("talks/red.mp4", 404), ("a\0", 403)):
        assert api.get("/v1/roots/0/folders", params={"path": path}).status_code == status, path
    assert api.get("/v1/roots/1/folders").status_code == 404


def test_a_video_is_looked_at_anew_and_removed(api: TestClient, own: Path, made: Path) -> None:
    (video,) = api.get("/v1/videos", params={"q": "green"}).json()["videos"]
    url = f"/v1/videos/{video['id']}"
    api.post(f"{url}/tags", json={"add": ["goal"]})
    assert done(own, api.post(f"{url}/reindex").json())["added"] == 1
    assert api.get(url).json()["tags"] == ["goal"] and api.get(url).json()["segments"] == video["segments"]
    again = [api.delete(url), api.delete(url)]
    assert [one.status_code for one in again] == [202, 202]
    assert again[0].json()["id"] == again[1].json()["id"]  # the same work waits once
    assert done(own, again[0].json())["removed"] == [video["id"]]
    assert api.get(url).status_code == api.delete(url).status_code == api.post(f"{url}/reindex").status_code == 404
    assert (made / "v" / "sub" / "green.mp4").exists()


# -- by upload


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return render(tmp_path / "film.mp4", ["blue", "green"], seconds=1.0).read_bytes()


def left(own: Path) -> list[str]:
    return sorted(path.name for path in (own / "uploads").iterdir()) if (own / "uploads").exists() else []


def test_an_upload_becomes_a_video_with_its_senders_title(api: TestClient, own: Path, film: bytes) -> None:
    name = "../../etc/Kick\noff \u202eNight.mp4"
    answer = api.post("/v1/videos/upload", params={"name": name}, content=film)
    assert answer.status_code == 202, answer.text
    video = answer.json()["video"]
    assert (video["title"], video["status"]) == ("Kick off Night.mp4", "pending")
    assert answer.json()["job"]["detail"]["title"] == "Kick off Night.mp4"  # what the job is about, for whoever sees it
    assert left(own) == [Path(video["paths"][0]).name] and len(left(own)[0]) == 32 + len(".mp4")
    twice = api.post("/v1/videos/upload", content=film)  # nobody has looked at it yet: that is still to be done, once
    assert (twice.status_code, twice.json()["duplicate"], twice.json()["job"]["id"]) == (202, True, answer.json()["job"]["id"])
    assert done(own, answer.json()["job"])["added"] == 1
    shown = api.get(f"/v1/videos/{video['id']}").json()
    assert (shown["title"], shown["status"]) == ("Kick off Night.mp4", "ready")
    found = api.post("/v1/search", json={"query_text": "kick night", "mode": "words"}).json()["hits"]
    assert {hit["video_id"] for hit in found} == {video["id"]}
    again = api.post("/v1/videos/upload", files={"file": ("other.mp4", film)})
    assert (again.status_code, again.json()["duplicate"], again.json()["job"]) == (200, True, None)
    assert again.json()["video"]["id"] == video["id"] and len(left(own)) == 1
    with Library.open(own, encoder=ToyEncoder()) as library:
        assert info(library)["bytes"]["uploads"] == len(film)
        remove.remove(library, [video["id"]])
    assert left(own) == []


def test_an_upload_goes_to_where_a_move_has_brought_the_library(own: Path, tmp_path: Path, film: bytes) -> None:
    one, two = (f"file://{tmp_path / name}" for name in ("one", "two"))
    with (
        Library.open(own, encoder=ToyEncoder()) as served,
        Library.open(own, encoder=ToyEncoder()) as mover,
        pytest.MonkeyPatch.context() as patch,
    ):
        uploads, record = Uploads(served, ServeConfig()), served.db.record_files
        pieces.move(mover, one)

        def slow(*given: Any, **named: Any) -> None:  # while it is kept, the library moves once more
            record(*given, **named)
            pieces.move(mover, two, drop_old=True) if mover.config.objects == one else None

        patch.setattr(served.db, "record_files", slow)
        with uploads.begin() as upload:
            upload.write(film)
            kept = upload.keep("film.mp4")
        name = kept.path.partition(":")[2]
        assert objects.folder(two).read(name) == film and not (own / name).exists()
        assert served.config.objects == two and not served.db.roots.gone(kept.path)


def test_uploads_that_a_move_has_not_seen_are_not_dropped(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, change = f"file://{tmp_path / 'far'}", Library.change
    with Library.open(own, encoder=ToyEncoder()) as library:
        home = library.db.home
        home.write("uploads/a.mp4", b"early")

        def late(self: Library, *given: Any) -> None:  # after all was compared, before what is old is dropped
            home.write("uploads/b.mp4", b"late")
            library.db.record_files([Found("library:uploads/b.mp4", 4, 0, "b" * 64)])
            change(self, *given)

        monkeypatch.setattr(Library, "change", late)
        pieces.move(library, target, drop_old=True)
        assert library.db.home.read("uploads/b.mp4") == b"late" and left(own) == ["a.mp4"]  # the one that no record names


def test_a_form_is_taken_apart_as_it_comes(api: TestClient, own: Path, film: bytes) -> None:
    answer = api.post("/v1/videos/upload", files={"file": ("C:\\films\\Ärger.mp4", film, "video/mp4")}, data={"x": "y" * 5000})
    assert answer.status_code == 202, answer.text
    assert answer.json()["video"]["title"] == "Ärger.mp4"
    assert (own / "uploads" / left(own)[0]).read_bytes() == film


def test_forms_that_are_wrong_leave_nothing(api: TestClient, own: Path, film: bytes) -> None:
    two = [("a", ("a.mp4", film)), ("b", ("b.mp4", film))]
    assert api.post("/v1/videos/upload", files=two).status_code == 400
    kind = {"content-type": "multipart/form-data; boundary=x"}
    broken = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + film
    for body in (b"", b"nonsense", broken, b"--x--\r\n"):
        assert api.post("/v1/videos/upload", content=body, headers=kind).status_code == 400, body[:20]
    for odd in ("", "; boundary", '; boundary=""', f"; boundary={'x' * 5000}", "; boundary=\xe9", "; filename*0*=x; boundary*=q"):
        kind = {"content-type": f"multipart/form-data{odd}".encode("latin-1")}  # type: ignore[dict-item]
        assert api.post("/v1/videos/upload", content=film, headers=kind).status_code == 400, odd[:30]
    assert left(own) == []


def test_what_is_no_video_is_refused_by_its_content(api: TestClient, own: Path, film: bytes) -> None:
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    broken = film[:8] + bytes(4000)
    for body in (b"", b"x", playlist, b"PK\x03\x04" + bytes(2000), b"<html>" * 300, broken):
        answer = api.post("/v1/videos/upload", params={"name": "a.mp4"}, content=body)
        assert answer.status_code == 415, (body[:10], answer.text)
    assert left(own) == [] and api.get("/v1/jobs", params={"state": "queued"}).json()["jobs"] == []


def test_too_large_and_too_much(api: TestClient, own: Path, film: bytes) -> None:
    large = film + bytes(1 << 20)
    assert api.post("/v1/videos/upload", content=large).status_code == 413
    assert api.post("/v1/videos/upload", content=iter([large[:50_000]] * 40)).status_code == 413  # its length is not said
    assert api.post("/v1/videos/upload", files={"file": ("a.mp4", large)}).status_code == 413
    assert api.post("/v1/videos/upload", files={"f": ("a.mp4", film)}, data={"x": "y" * (3 << 20)}).status_code == 413
    assert left(own) == []
    (own / "uploads" / "there.mp4").write_bytes(bytes(2 << 20))
    answer = api.post("/v1/videos/upload", content=film)
    assert answer.status_code == 413 and "quota" in answer.json()["detail"]
    assert left(own) == ["there.mp4"]


@pytest.mark.parametrize("verdict", [0, 1])
def test_the_scanner_decides(own: Path, tmp_path: Path, film: bytes, verdict: int) -> None:
    scanner = tmp_path / "scanner.py"
    scanner.write_text(
        f"import sys; open({str(tmp_path / 'seen')!r}, 'wb').write(open(sys.argv[2], 'rb').read()); sys.exit({verdict})"
    )
    with client(own, scanner=(sys.executable, str(scanner), "--fast")) as api:
        answer = api.post("/v1/videos/upload", content=film)
    assert (tmp_path / "seen").read_bytes() == film
    assert answer.status_code == (422 if verdict else 202)
    assert len(left(own)) == (0 if verdict else 1)


def test_uploads_that_broke_off_are_left_over_and_others_are_not(api: TestClient, own: Path, film: bytes) -> None:
    api.post("/v1/videos/upload", content=film)
    kept = left(own)
    old, fresh = own / "uploads" / ".old.part", own / "uploads" / ".fresh.part"
    for path in (old, fresh):
        path.write_bytes(b"part")
    for path in (old, own / "uploads" / kept[0]):
        os.utime(path, (time.time() - 100_000,) * 2)
    moved = own.rename(own.with_name("moved"))  # the names say what is whose, wherever the library lies
    with Library.open(moved, encoder=ToyEncoder()) as library:
        found = {one.what: one.paths for one in leftovers.find(library)}
    assert found["uploads that broke off, or that nothing names"] == [moved / "uploads" / ".old.part"]


def test_titles() -> None:
    assert title("a/b\\c.mp4") == "c.mp4"
    assert title("") == title("///") == title("\0\x1b") == "upload"
    assert title("x" * 300) == "x" * 200
    assert title("<b>&.mp4") == "<b>&.mp4"  # pages escape what they show


def test_a_backup_has_the_uploads(api: TestClient, own: Path, film: bytes, tmp_path: Path) -> None:
    sent = api.post("/v1/videos/upload", params={"name": "Final.mp4"}, content=film).json()
    done(own, sent["job"])
    with Library.open(own, encoder=ToyEncoder()) as library:
        (own / "uploads" / ".x.part").write_bytes(b"part")
        assert backup(library, tmp_path / "b.tar")["uploads"] == 1
    restore(tmp_path / "b.tar", tmp_path / "again")
    assert left(tmp_path / "again") == [Path(sent["video"]["paths"][0]).name]
    with Library.open(tmp_path / "again", encoder=ToyEncoder()) as library:
        card = library.db.video(sent["video"]["id"])
        assert (card.title, card.paths) == ("Final.mp4", [str(tmp_path / "again" / "uploads" / left(own)[-1])])
        report = library.index([tmp_path / "again" / "uploads"], workers=1)
        assert (report.added, report.unchanged) == (0, 1)
        remove.remove(library, [card.video.id])
    assert left(tmp_path / "again") == [] and len(left(own)) == 2
