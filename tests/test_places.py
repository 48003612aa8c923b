"""Places: files known by NAME:PATH, found on every machine that names the same roots, wherever these lie; no name leads out."""

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_helpers import client
from hit import analysis, content, filters, objects, places, sources, trail, video
from hit.db import Found
from hit.errors import UserError
from hit.library import Library
from hit.places import Places
from hit.pool import Beat
from hit.remote import Remote
from hit.segments import SegmentConfig
from hit.sources import find
from hit.types import Clip, Far, FrameWant, Silent
from hit.upkeep import pieces, remove
from hit.watch import End
from s3 import S3, Gate, gate, moto, s3
from toy import PLUGIN, ToyEncoder, render

__all__ = ["gate", "moto", "s3"]  # fixtures

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30).filter(
    lambda name: name not in (".", "..")
)
reuse = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def roots(tmp_path: Path) -> Places:
    named = {
        "videos": str(tmp_path / "a"),
        "deep": str(tmp_path / "a" / "deep"),
        "clips": "s3://bucket/clips/",
        "all": "s3://bucket",
    }
    return Places(named, tmp_path / "lib")


# -- names


@reuse
@given(steps=st.lists(names, min_size=1, max_size=4))
def test_a_name_and_a_place_stand_for_each_other(tmp_path: Path, steps: list[str]) -> None:
    here = roots(tmp_path)
    path = tmp_path.joinpath("a", *steps)
    name = here.name_of(path)
    assert name.startswith("videos:" if steps[0] != "deep" else "deep:") and here.locate(name) == path
    assert places.basename(name) == path.name or (path == tmp_path / "a" / "deep" and name == "deep:")
    far = Far("/".join(("s3://bucket/clips", *steps)))
    assert here.name_of(far) == f"clips:{'/'.join(steps)}" and here.locate(here.name_of(far)) == far
    assert pickle.loads(pickle.dumps(here)).locate(name) == path


def test_the_deepest_root_names_a_file(tmp_path: Path) -> None:
    here = roots(tmp_path)
    assert here.name_of(tmp_path / "a" / "deep" / "x.mp4") == "deep:x.mp4"
    assert here.name_of(tmp_path / "a" / "deeper" / "x.mp4") == "videos:deeper/x.mp4"
    assert here.name_of("s3://bucket/clipsy/x.mp4") == "all:clipsy/x.mp4"
    assert here.name_of("s3://other/x.mp4") == "s3://other/x.mp4"
    assert here.name_of(tmp_path / "lib" / "uploads" / "x.mp4") == "library:uploads/x.mp4"
    assert (here.name_of(tmp_path / "a"), here.name_of("s3://bucket/clips")) == ("videos:", "clips:")
    assert (here.given("videos:"), here.given("clips:")) == (tmp_path / "a", Far("s3://bucket/clips"))


def test_without_roots_paths_are_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = Places({}, Path("lib"))
    assert here.name_of("v/../a b:c.mp4") == str(tmp_path / "a b:c.mp4")
    assert here.locate(str(tmp_path / "a b:c.mp4")) == tmp_path / "a b:c.mp4"
    assert (
        here.name_of("lib/remote/x.mp4") == "library:remote/x.mp4"
        and here.locate("library:remote/x.mp4") == tmp_path / "lib/remote/x.mp4"
    )
    assert here.given("videos:x.mp4") == Path("videos:x.mp4")


def test_a_file_in_no_root_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is in none of the roots: videos = .*/a, deep = .*, clips = s3://bucket/clips/, all = "):
        roots(tmp_path).name_of(tmp_path / "b" / "x.mp4")
    with pytest.raises(UserError, match=r"videos = s3://bucket/x [(]"):
        Places({"videos": "s3://KEY:SECRET@bucket/x"}).name_of(tmp_path)


def test_two_machines_call_a_file_the_same(tmp_path: Path) -> None:
    (tmp_path / "data" / "b" / "cats").mkdir(parents=True)
    touch(tmp_path / "data" / "b" / "cats" / "1.mp4")
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt" / "a").symlink_to(tmp_path / "data" / "b")  # the same folder, mounted elsewhere
    one, other = (
        Places({"videos": f"{tmp_path}/mnt/a"}, tmp_path / "lib"),
        Places({"videos": f"{tmp_path}/data/b"}, tmp_path / "lib"),
    )
    name = one.name_of(tmp_path / "mnt" / "a" / "cats" / "1.mp4")
    assert name == other.name_of(tmp_path / "data" / "b" / "cats" / "1.mp4") == "videos:cats/1.mp4"
    assert one.locate(name) == tmp_path / "mnt/a/cats/1.mp4" and other.locate(name) == tmp_path / "data/b/cats/1.mp4"
    assert one.name_of(tmp_path / "data" / "b" / "cats" / "1.mp4") == name  # by another way to it


# -- names that lead elsewhere


@pytest.mark.parametrize(
    "name",
    [
        "videos:../../etc/passwd",
        "videos:/etc/passwd",
        "videos:a/../../x",
        "videos:a//x",
        "videos:./x",
        "videos:a\0.mp4",
        "clips:../x",
        "clips:/x",
        "library:../x",
        "nowhere:x.mp4",
    ],
)
def test_hostile_names_are_refused_in_a_line(tmp_path: Path, name: str) -> None:
    here = roots(tmp_path)
    with pytest.raises(UserError) as caught:
        here.locate(name)
    assert str(caught.value).isprintable()
    assert not here.gone(name)  # and nothing that is known is forgotten for it
    assert str(here.seen(name)).isprintable()


def test_a_link_leads_out_of_no_root(tmp_path: Path) -> None:
    touch(tmp_path / "secret.mp4")
    touch(tmp_path / "a" / "x.mp4")
    (tmp_path / "a" / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "a" / "in.mp4").symlink_to(tmp_path / "a" / "x.mp4")
    here = roots(tmp_path)
    assert (
        here.locate("videos:in.mp4") == tmp_path / "a" / "in.mp4" and here.name_of(tmp_path / "a" / "in.mp4") == "videos:in.mp4"
    )
    with pytest.raises(UserError, match="leads out of the root videos, by a link"):
        here.locate("videos:out.mp4")
    with pytest.raises(UserError, match="in none of the roots"):
        here.name_of(tmp_path / "a" / "out.mp4")


@reuse
@given(text=st.text(max_size=40))
def test_whatever_is_named_stays_inside(tmp_path: Path, text: str) -> None:
    here = roots(tmp_path)
    for root, top in (("videos", tmp_path / "a"), ("library", tmp_path / "lib")):
        try:
            found = here.locate(f"{root}:{text}")
        except UserError as error:
            assert "\n" not in str(error)
            continue
        assert isinstance(found, Path) and Path(os.path.normpath(found)).is_relative_to(top)


# -- what is there


def test_what_cannot_be_looked_at_is_not_gone(tmp_path: Path) -> None:
    here = roots(tmp_path)
    assert not here.gone("videos:x.mp4")  # the root is not mounted
    touch(tmp_path / "a" / "y.mp4")
    assert here.gone("videos:x.mp4") and not here.gone("videos:y.mp4")
    assert here.gone(str(tmp_path / "z.mp4"))  # of before there were roots


def test_a_file_in_a_store_is_gone_only_where_its_root_has_others(gate: Gate, moto: S3) -> None:
    url = moto.bucket()
    folder = objects.folder(url)
    folder.write("full/y.mp4", b"y")
    here = Places({"full": f"{url}/full", "empty": f"{url}/empty", "wrong": "s3://no-such-bucket/full"})
    for name in ("empty:x.mp4", "wrong:x.mp4", "s3://no-such-bucket/x.mp4", "full:y.mp4"):
        assert not here.gone(name), name
    gate.asked.clear()
    assert here.gone(f"{url}/x.mp4") and all(here.gone(f"full:{number}.mp4") for number in range(5))
    assert gate.asked == {"HEAD": 6, "GET": 2}  # a listing of each root


def test_what_users_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = roots(tmp_path)
    assert here.given("videos:x.mp4") == tmp_path / "a" / "x.mp4" and here.given("s3://bucket/x") == Far("s3://bucket/x")
    assert here.given("a/x.mp4") == Path("a/x.mp4") and here.given("no:x.mp4") == Path("no:x.mp4")
    assert here.names_of("a/x.mp4") == ("videos:x.mp4", str(tmp_path / "a" / "x.mp4"), "a/x.mp4")
    assert here.names_of(tmp_path / "b" / "x.mp4") == (str(tmp_path / "b" / "x.mp4"),)
    assert "no:x.mp4" in here.names_of("no:x.mp4")  # what a database calls it, if the root has gone
    assert here.names_of("videos:../x.mp4") == ("videos:../x.mp4",)


def test_a_root_that_was_not_named_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = roots(tmp_path)
    for name in ("nosuch:", "nosuch:x.mp4", "nosuch:*.mp4"):
        with pytest.raises(UserError, match=r"no root is called 'nosuch' .*which has: videos, deep, clips, all"):
            find([name], remote=Remote(tmp_path / "remote"), roots=here)
    (tmp_path / "a").mkdir()
    assert here.named("videos:x.mp4") == tmp_path / "a" / "x.mp4" and here.named("new") == Path("new")
    (tmp_path / "nosuch:x.mp4").touch()  # which is then in no root, but there
    assert here.named("nosuch:x.mp4") == Path("nosuch:x.mp4")


# -- in a library


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.delenv("HIT_CONFIG", raising=False)
    yield


def roots_are(patch: pytest.MonkeyPatch, tmp_path: Path, **named: Path | str) -> None:
    """Have hit.toml name these roots."""
    lines = "".join(f'{name} = "{place}"\n' for name, place in named.items())
    (tmp_path / "hit.toml").write_text(f"[roots]\n{lines}")
    patch.setenv("HIT_CONFIG", str(tmp_path / "hit.toml"))


def files(library: Library) -> list[str]:
    return sorted(library.db.files())


@pytest.mark.usefixtures("machine")
def test_machines_that_mount_a_root_elsewhere_share_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(tmp_path / "a" / "cats" / "red.mp4", ["red"])
    render(tmp_path / "a" / "blue.mp4", ["blue"])
    roots_are(monkeypatch, tmp_path, videos=tmp_path / "a")
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        assert library.index([tmp_path / "a"], workers=1).added == 2
        assert files(library) == ["videos:blue.mp4", "videos:cats/red.mp4"]
        [hit] = library.search("red", limit=1).hits
        assert hit.to_json()["metadata"]["path"] == str(tmp_path / "a" / "cats" / "red.mp4")
    (tmp_path / "a").rename(tmp_path / "b")
    roots_are(monkeypatch, tmp_path, videos=tmp_path / "b")
    with Library.open(tmp_path / "lib", encoder=ToyEncoder()) as library:
        report = library.index(["videos:"], workers=1)
        assert (report.unchanged, report.added, report.moved, report.failed) == (2, 0, 0, ())
        [hit] = library.search("blue", limit=1, where=filters.given("name = blue.mp4")).hits  # a file right in a root
        assert str(hit.clip.path) == str(tmp_path / "b" / "blue.mp4")
        [hit] = library.search("blue", limit=1, where=filters.given('path: "videos:cats"')).hits
        assert hit.clip.path == tmp_path / "b" / "cats" / "red.mp4"
        assert library.db.video(hit.clip.video).title == "red.mp4" and library.db.named("videos:cats/red.mp4") == hit.clip.video
        assert [card.title for card in library.db.videos(order="title")[0]] == ["blue.mp4", "red.mp4"]
        (tmp_path / "b" / "cats").rename(tmp_path / "b" / "dogs")
        assert library.index(["videos:"], workers=1).moved == 1 and files(library) == ["videos:blue.mp4", "videos:dogs/red.mp4"]
        for name in (tmp_path / "b" / "dogs", "videos:dogs"):
            assert remove.plan(library, [str(name)]).paths == ["videos:dogs/red.mp4"]
        shutil.move(tmp_path / "b", tmp_path / "c")  # as if it were not mounted
        assert remove.plan(library, missing=True).paths == []
        render(tmp_path / "d.mp4", ["grey"])
        with pytest.raises(UserError, match=r"d\.mp4: is in none of the roots: videos = "):
            library.index([tmp_path / "d.mp4"], workers=1)
    roots_are(monkeypatch, tmp_path, others=tmp_path / "c")  # the root has gone
    with Library.open(tmp_path / "lib") as library:
        assert remove.plan(library, ["videos:"]).paths == ["videos:blue.mp4", "videos:dogs/red.mp4"]
        assert remove.plan(library, ["videos:dogs/red.mp4"]).paths == ["videos:dogs/red.mp4"]


@pytest.mark.usefixtures("machine")
def test_paths_of_before_become_names_and_nothing_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    red = render(tmp_path / "a" / "red.mp4", ["red"])
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        library.index([red], workers=1)
        assert files(library) == [str(red)]
        upload = tmp_path / "lib" / "uploads" / "1.mp4"
        upload.parent.mkdir()
        shutil.copy(red, upload)
        look = content.look(upload)
        ((_, digest),) = content.digests([upload], Silent())
        library.db.record_files([Found(str(upload), look.size, look.mtime_ns, str(digest))])  # by an earlier program
    roots_are(monkeypatch, tmp_path, videos=tmp_path / "a")
    with Library.open(tmp_path / "lib", encoder=ToyEncoder()) as library:
        [hit] = library.search("red", limit=1).hits
        assert hit.clip.path == red  # before it is indexed again
        monkeypatch.setattr(content, "_sha256", None)
        report = library.index([red], workers=1)
        assert report.unchanged == 1 and files(library) == ["library:uploads/1.mp4", "videos:red.mp4"]
    (tmp_path / "lib").rename(tmp_path / "moved")
    with Library.open(tmp_path / "moved", encoder=ToyEncoder()) as library:
        assert library.db.roots.locate("library:uploads/1.mp4") == tmp_path / "moved" / "uploads" / "1.mp4"
        assert not library.db.roots.gone("library:uploads/1.mp4")


@pytest.mark.usefixtures("machine")
def test_a_worker_finds_a_file_where_its_own_machine_has_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(tmp_path / "b" / "red.mp4", ["red"])
    roots_are(monkeypatch, tmp_path, videos=tmp_path / "b")
    toy = ToyEncoder()
    crew = analysis.crew(toy.experts, toy.identities, SegmentConfig())
    sent = [analysis.Job(name, tmp_path / "a" / "red.mp4", 0, 0, name) for name in ("videos:red.mp4", "videos:../b/red.mp4")]
    told = [(job.video, part) for job, part in crew(sent, 1) if not isinstance(part, Beat)]
    assert [part.clip.path for name, part in told if isinstance(part, analysis.Piece)] == [tmp_path / "b" / "red.mp4"]
    errors = {name: part.error for name, part in told if isinstance(part, End)}
    assert errors["videos:red.mp4"] is None and "there is no such file" in str(errors["videos:../b/red.mp4"])


# -- in object stores


def noise(path: Path, seconds: int) -> Path:
    """Write a video of noise, a picture a second, each a key picture of about 60 kB; what says where they are comes last."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuvj420p"
        for _ in range(seconds):
            picture = av.VideoFrame.from_ndarray(rng.integers(0, 255, (480, 640, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def test_a_stretch_of_a_long_file_is_read_by_its_ranges(gate: Gate, moto: S3, tmp_path: Path) -> None:
    path, bucket = noise(tmp_path / "long.mov", 240), moto.bucket()
    objects.folder(bucket).upload("v/long.mov", path)
    far, want, got = Far(f"{bucket}/v/long.mov"), FrameWant(1.0, 96), gate.got
    seen = [list(video.read(one, [Clip("", "", one, 230.0, 235.0)], [want])) for one in (far, path)]
    assert (
        np.array_equal(seen[0][0].frames[want].images, seen[1][0].frames[want].images) and len(seen[0][0].frames[want].times) == 5
    )
    assert video.probe(far) == video.probe(path) and video.facts(far) == video.facts(path)
    size = path.stat().st_size
    assert size > 14 << 20 and gate.got - got < size / 2, (gate.got - got, size)  # read, probed, and looked at for its facts
    assert np.array_equal(video.frame(far, 100.0, 48), video.frame(path, 100.0, 48))


def test_who_reads_on_has_the_next_block_fetched_meanwhile_and_none_twice(gate: Gate, moto: S3) -> None:
    bucket, data = moto.bucket(), np.random.default_rng(0).bytes((5 << 20) + 7)
    objects.folder(bucket).write("x", data)
    gate.asked.clear()
    file = places.open_far(Far(f"{bucket}/x"))
    assert file.read(10) == data[:10] and gate.asked == {"HEAD": 1, "GET": 1}
    assert file.read(2 << 20) == data[10 : 10 + (2 << 20)]
    assert file.seek(0) == 0 and file.read() == data
    assert gate.asked == {"HEAD": 1, "GET": 6}


def test_a_file_that_is_replaced_while_it_is_read_is_told(s3: S3, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bucket = s3.bucket()
    folder = objects.folder(bucket)
    folder.upload("long.mov", noise(tmp_path / "long.mov", 100))
    far = places.look(Far(f"{bucket}/long.mov"))
    noted = content.look(far)
    media = video.read(far, [Clip("", "", far, 10.0 * i, 10.0 * i + 1) for i in range(10)], [FrameWant(1.0, 48)])
    next(media)
    assert not content.changed(far, noted)
    folder.write("long.mov", bytes(1 << 20))
    with pytest.raises(UserError, match=r"long\.mov: changed while it was read"):
        list(media)
    assert "Traceback" not in capfd.readouterr().err  # PyAV prints what it cannot raise
    assert content.changed(far, noted)
    ((_, why),) = content.digests([far], Silent())
    assert isinstance(why, UserError) and "changed while it was read" in str(why)
    folder.delete(["long.mov"])
    assert content.changed(far, noted) and not places.exists(far)
    for name, data, reason in (
        ("long.mov", b"", "there is no such file"),
        ("empty.mp4", b"", "is empty"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a readable video"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile /etc/hostname\n", "not read here|not a readable video"),
    ):
        if "." in name and name != "long.mov":
            folder.write(name, data)
        with pytest.raises(UserError, match=reason):
            video.probe(Far(f"{bucket}/{name}"))


def test_videos_in_a_store_are_listed_once_with_their_subtitles(gate: Gate, moto: S3, tmp_path: Path) -> None:
    bucket = moto.bucket()
    for key in ("v/a.mp4", "v/a.en.srt", "v/b c.mkv", "v/.c.mp4", "v/d/e.mp4", "v/notes.txt"):
        objects.folder(bucket).write(key, key.encode())
    roots, asked = Places({"films": f"{bucket}/v"}), gate.asked.total()
    found = find(["films:", f"{bucket}/v/d/*.mp4"], remote=Remote(tmp_path), roots=roots)
    assert [roots.name_of(one) for one in found.paths] == ["films:a.mp4", "films:b c.mkv", "films:d/e.mp4"]
    looks = [content.look(one) for one in found.paths]
    assert gate.asked.total() - asked <= 5  # three listings, and two looks for a file that is called so
    assert [look.size for look in looks] == [len("v/a.mp4") + len("v/a.en.srt"), 9, 9]
    assert looks == [content.look(Far(one.url)) for one in found.paths if isinstance(one, Far)]
    assert len({look.mtime_ns for look in looks}) == 3
    assert find([f"S3{bucket.removeprefix('s3')}/v"], remote=Remote(tmp_path), roots=roots).paths == found.paths
    local = tmp_path / "a.mp4"
    local.write_bytes(b"v/a.mp4")
    local.with_name("a.en.srt").write_bytes(b"v/a.en.srt")
    (there, here) = (content.digests([one], Silent()) for one in (found.paths[0], local))
    assert next(there)[1] == next(here)[1]
    missing = find([f"{bucket}/none"], remote=Remote(tmp_path), roots=roots)
    assert [(one.path, one.reason) for one in missing.failed] == [
        (f"{bucket}/none", "there is no such file, and no video in such a folder")
    ]
    with pytest.raises(UserError, match="credentials are not taken from a URL"):
        find(["s3://me:pa55@bucket/x.mp4"], remote=Remote(tmp_path), roots=roots)


@pytest.mark.usefixtures("machine")
def test_a_library_over_a_store_copies_nothing_and_shows_it(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, red = s3.bucket(), render(tmp_path / "red.mp4", ["red", "green"])
    folder = objects.folder(bucket)
    folder.upload("v/red.mp4", red)
    folder.upload("other.mp4", render(tmp_path / "other.mp4", ["blue"]))
    roots_are(monkeypatch, tmp_path, films=f"{bucket}/v")
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        report = library.index(["films:", f"{bucket}/other.mp4"], workers=1)
        assert (report.added, report.failed) == (2, ()) and not (tmp_path / "lib" / "remote").exists()
        assert files(library) == ["films:red.mp4", f"{bucket}/other.mp4"]
        assert library.index(["films:", f"{bucket}/other.mp4"], workers=1).unchanged == 2
        [hit] = library.search("red", limit=1).hits
        assert hit.to_json()["metadata"]["path"] == f"{bucket}/v/red.mp4"
        [same] = library.search(videos=["films:red.mp4#t=0,2"], limit=1).hits
        assert same.clip.id == hit.clip.id
        for named in ("films:red.mp4", f"{bucket}/v/red.mp4"):
            [about] = library.describe([named], ["red green", "blue"])["videos"]
            assert (about["path"], about["video_id"]) == (f"{bucket}/v/red.mp4", hit.clip.video)
            assert about["texts"][0]["text"] == "red green"
        with library.db.read() as session:
            rows = [str(row) for table in ("files", "jobs") for row in session.execute(sa.text(f"SELECT * FROM {table}"))]
        assert "films:" in " ".join(rows) and str(tmp_path) not in " ".join(rows)
        key = hit.clip.video
    data = red.read_bytes()
    with client(tmp_path / "lib") as api:
        route = f"/v1/videos/{key}/stream"
        whole = api.get(route)
        assert whole.content == data and whole.headers["Content-Type"] == "video/mp4"
        for given, part in (("bytes=0-99", data[:100]), ("bytes=-7", data[-7:]), (f"bytes={len(data) - 3}-", data[-3:])):
            answer = api.get(route, headers={"Range": given})
            assert (answer.status_code, answer.content) == (206, part), given
        assert api.get(route, headers={"Range": "bytes=9-2"}).status_code == 416
        assert api.get(route, headers={"Range": "bytes=0-1,4-5"}).content == data  # all of it may be sent
        assert api.get(route, headers={"Range": "bytes=0-1", "If-Range": '"another"'}).status_code == 200
        head = api.head(route, headers={"Range": "bytes=0-9"})
        assert (head.status_code, head.headers["Content-Length"], head.content) == (206, "10", b"")
        assert api.get(f"/v1/videos/{key}/thumbnail", params={"t": 1, "size": 48}).status_code == 200
        assert api.get(f"/v1/videos/{key}/clip", params={"start": 1, "end": 3}).status_code == 200
        assert api.get(f"/v1/videos/{key}").json()["paths"] == [f"{bucket}/v/red.mp4"]
        folder.write("v/red.mp4", b"something else")
        answer = api.get(route)
        assert answer.status_code == 404 and "its file has changed since it was looked at" in answer.text


@pytest.mark.usefixtures("machine")
def test_what_is_sent_to_a_library_lies_in_its_object_store(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, red = f"{s3.bucket()}/lib", render(tmp_path / "red.mp4", ["red"])
    Library.create(tmp_path / "lib", encoder=ToyEncoder()).close()
    with client(tmp_path / "lib") as api:
        key = api.post("/v1/videos/upload", params={"name": "first.mp4"}, content=red.read_bytes()).json()["video"]["id"]
    with Library.open(tmp_path / "lib", encoder=ToyEncoder()) as library:
        [first] = files(library)
        assert first.startswith("library:uploads/")
        pieces.move(library, url, drop_old=True)
        assert trail.source(library, key) == Far(f"{url}/{first.removeprefix('library:')}")
    other = render(tmp_path / "blue.mp4", ["blue"])
    with client(tmp_path / "lib") as api:
        assert api.get(f"/v1/videos/{key}/stream").content == red.read_bytes()
        sent = api.post("/v1/videos/upload", params={"name": "second.mp4"}, content=other.read_bytes()).json()
        again = api.post("/v1/videos/upload", params={"name": "again.mp4"}, content=other.read_bytes()).json()
        assert (sent["duplicate"], again["duplicate"]) == (False, True) and sent["video"]["title"] == "second.mp4"
        assert (
            api.get(f"/v1/videos/{sent['video']['id']}/stream", headers={"Range": "bytes=1-4"}).content == other.read_bytes()[1:5]
        )
    assert not [one for one in (tmp_path / "lib" / "uploads").iterdir() if one.is_file()]
    with Library.open(tmp_path / "lib", encoder=ToyEncoder()) as library:
        report = library.index(files(library), workers=1)
        assert (report.added, report.failed) == (2, ()) and all(name.startswith("library:uploads/") for name in files(library))
        remove.remove(library, [sent["video"]["id"]])
        assert [entry.name for entry in library.db.home.list("uploads")] == [first.removeprefix("library:")]
        pieces.move(library, "local", drop_old=True)
        assert trail.source(library, key) == tmp_path / "lib" / first.removeprefix("library:")


def test_a_copy_goes_where_all_machines_find_it(s3: S3, tmp_path: Path) -> None:
    url = f"{s3.bucket()}/lib"
    copy = tmp_path / "remote" / "http" / "127.0.0.1%3A80" / "a b.mp4"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"one")
    remote, roots = Remote(tmp_path / "remote", shared=objects.folder(url)), Places({}, tmp_path, url)
    there = sources._shared(copy, remote, roots)
    assert isinstance(there, Far) and roots.name_of(there) == "library:remote/http/127.0.0.1%3A80/a b.mp4"
    assert b"".join(places.blocks(there)) == b"one"
    mark = places.look(there).mark
    copy.write_bytes(b"another")
    changed = sources._shared(copy, remote, roots)
    assert isinstance(changed, Far) and changed.mark != mark and b"".join(places.blocks(changed)) == b"another"
