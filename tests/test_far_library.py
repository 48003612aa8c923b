"""A library whose files are in an object store: the same answers, with nothing of them on this machine; faults; the way back."""

import errno
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hit import chunks, files, index, objects, places, settings, stock
from hit.db import StaleError, upkeep
from hit.errors import AwayError, UserError
from hit.library import KEY, Library
from hit.objects import bucket
from hit.service.media import MediaCache
from hit.stock import Stock
from hit.types import Far
from hit.upkeep import pieces, prune, remove, shelves
from hit.upkeep.backup import backup, restore
from hit.upkeep.verify import verify
from library_helpers import by_segment
from s3 import S3, Gate, gate, moto, s3
from toy import PLUGIN, ToyEncoder, render
from upkeep_helpers import add, vectors

__all__ = ["gate", "moto", "s3"]  # fixtures


def opened(path: Path, mend: bool = True) -> Library:
    return Library.open(path, encoder=ToyEncoder(), mend=mend)


def make(path: Path, url: str, patch: pytest.MonkeyPatch, videos: int = 6) -> Library:
    """Make a library with its files at a URL, as a hit.toml says it."""
    toml = path.parent / f"{path.name}-hit.toml"
    toml.write_text(f'[library]\nobjects = "{url}"\n')
    with pytest.MonkeyPatch.context() as own:
        own.setenv("HIT_CONFIG", str(toml))
        made = Library.create(path, encoder=ToyEncoder())
    add(made, range(videos))
    return made


@pytest.fixture
def url(s3: S3) -> str:
    return f"{s3.bucket()}/libraries/one"


@pytest.fixture
def library(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    with make(tmp_path / "lib", url, monkeypatch) as made:
        yield made


def names(url: str, top: str = "") -> list[str]:
    return [entry.name for entry in objects.folder(url).list(top)]


def findings(library: Library, full: bool = False, notes: bool = False) -> dict[str, str]:
    return {one["part"]: one["what"] for one in verify(library, full)["findings"] if one["note"] == notes}


def answers(library: Library) -> list[tuple[str, float]]:
    return [(hit.clip.id, hit.score) for hit in library.search("red then blue", limit=99).hits]


def lose(library: Library) -> None:
    """Remove this machine's copies of what is in the object store, and the store that is made of it."""
    library.close()
    for name in ("embeddings", "fetched", "thumbnails"):
        shutil.rmtree(library.path / name, ignore_errors=True)


# -- the same library


def test_files_are_in_the_object_store_and_answers_are_the_same(library: Library, url: str, tmp_path: Path) -> None:
    assert library.config.objects == url and settings.read(library.path).objects == url
    assert len(names(url, "thumbnails")) == 18 and len(names(url, "embeddings")) == 6
    assert not (library.path / "thumbnails").exists()
    with Library.create(tmp_path / "local", encoder=ToyEncoder()) as local:
        add(local, range(6))
        assert by_segment(local).keys() == by_segment(library).keys()
        wanted, found = answers(local), by_segment(library)
        assert all(np.array_equal(vector, found[key]) for key, vector in by_segment(local).items())
    assert answers(library) == wanted
    hit = library.search("red", limit=1).hits[0]
    assert hit.to_json()["thumbnail_url"] == f"{url}/thumbnails/{hit.clip.id[:2]}/{hit.clip.id}.jpg"
    lose(library)
    with opened(library.path) as again:
        assert answers(again) == wanted and findings(again, full=True) == {}
        assert again.db.stock.read("thumbnails/00/000-1.jpg") == b"poster of 000-1"
        assert (again.path / "fetched" / "thumbnails" / "00" / "000-1.jpg").exists()
        add(again, [6])
        assert findings(again) == {} == findings(again, notes=True)
    assert len(names(url, "embeddings")) == 7


def test_two_readers_see_what_a_writer_adds(library: Library) -> None:
    with opened(library.path) as one, opened(library.path) as two:
        for number in (7, 8):
            add(library, [number])
            shutil.rmtree(library.path / "embeddings" / "toy-1" / "0", ignore_errors=False)
            library.store.close()
            rows = library.db.rows("toy-1")
            for reader in (one, two):
                reader.renew()
                stored = reader.db.stored("toy-1", 8)
                assert np.array_equal(reader.db.vectors(stored, rows[-3:]), vectors(3, number))


def test_small_pieces_are_merged_while_others_read(library: Library, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_MANY", 4)
    before = by_segment(library)
    stored = library.stored
    old = library.db.pieces(stored)
    library.db.merge(stored)
    (merged,) = library.db.pieces(stored)
    assert (merged.first, merged.last) == (0, 18) and names(url, "embeddings") == [merged.name]
    assert merged.name not in {piece.name for piece in old}
    library.db.merge(stored)
    assert names(url, "embeddings") == [merged.name]
    lose(library)
    with opened(library.path) as again:
        found = by_segment(again)
        assert all(np.array_equal(vector, found[key]) for key, vector in before.items())
        assert findings(again, full=True) == {}


def test_who_lost_the_turn_merges_nothing(library: Library, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_MANY", 3)
    stored, before, send = library.stored, library.db.piece_names(), chunks.send

    def lost(session: object) -> None:
        raise AwayError("the database", "the turn was lost", "")

    library.db.ensured(lost)
    with pytest.raises(AwayError):
        library.db.merge(stored)
    with pytest.raises(AwayError):
        library.db.set_pieces(stored, [])
    library.db.ensured(None)

    def slow(*given: Any) -> str:
        upkeep.turn(library.db, stored)  # another machine has rebuilt the store meanwhile
        return send(*given)

    monkeypatch.setattr(chunks, "send", slow)
    with pytest.raises(StaleError):
        library.db.merge(stored)
    assert library.db.piece_names() == before and before <= set(names(url, "embeddings"))


def test_another_library_may_not_have_the_same_folder(
    library: Library, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="has the files of another library"):
        make(tmp_path / "other", url, monkeypatch)
    with Library.create(tmp_path / "third", encoder=ToyEncoder()) as third, pytest.raises(UserError, match="another library"):
        pieces.move(third, url)


# -- upkeep


def test_what_was_removed_goes_from_the_object_store(library: Library, url: str) -> None:
    library.db.stock.read("thumbnails/00/000-1.jpg")
    remove.remove(library, [next(iter(library.db.files()))])
    assert len(names(url, "thumbnails")) == 15 and not (library.path / "fetched/thumbnails/00/000-1.jpg").exists()
    before = answers(library)
    old = names(url, "embeddings")
    assert {one["what"] for one in prune.prune(library, dry_run=True)["would_drop"]} == {"vectors of segments that are gone"}
    prune.prune(library)
    (fresh,) = names(url, "embeddings")
    assert fresh not in old and answers(library) == before and library.stored.rows == 15
    assert findings(library, full=True) == {} == findings(library, notes=True)
    lose(library)
    with opened(library.path) as again:
        assert answers(again) == before


def test_a_rebuilt_store_leaves_the_object_store_as_it_is(library: Library, url: str) -> None:
    before, there = answers(library), names(url)
    assert shelves.rebuild(library)["vectors"] == 18
    assert names(url) == there and answers(library) == before and findings(library, full=True) == {}
    lose(library)
    with opened(library.path) as again:
        assert answers(again) == before


def damage(url: str, what: str) -> str:
    """Damage something in the object store, and return the part of the library that `verify` is to find it in."""
    folder = objects.folder(url)
    top = "thumbnails" if what == "a lost thumbnail" else "embeddings"
    name = next(iter(names(url, top)))
    if "lost" in what:
        folder.delete([name])
    elif "short" in what:
        folder.write(name, folder.read(name)[:-4])
    else:
        data = bytearray(folder.read(name))
        data[0] ^= 1  # which no look at its numbers would find
        folder.write(name, bytes(data))
    return "thumbnails" if top == "thumbnails" else "vectors"


@pytest.mark.parametrize("what", ["a lost piece", "a short piece", "a piece with a flipped bit", "a lost thumbnail"])
def test_damage_in_the_object_store_is_found_and_mended(library: Library, url: str, what: str) -> None:
    part = damage(url, what)
    with opened(library.path, mend=False) as other:
        found = findings(other, full="bit" in what)
        assert list(found) == [part], found
        mends = {one["mend"] for one in verify(other, full="bit" in what)["findings"]}
        if part == "vectors":  # this machine has a copy
            assert mends == {f"hit library move LIBRARY --objects {url}"}
            pieces.move(other, url)
            assert findings(other, full=True) == {}
        shutil.rmtree(library.path / "embeddings")
    damage(url, what)
    with opened(library.path, mend=False) as other:
        found = verify(other, full="bit" in what)["findings"]
        if part == "vectors":
            assert "hit library restore" in {one["mend"] for one in found if one["part"] == "vectors"}
            with pytest.raises(UserError, match="is lost, and there is no copy"):
                pieces.move(other, url)


def test_what_nothing_names_is_found_and_goes(library: Library, url: str) -> None:
    folder = objects.folder(url)
    stray = ["embeddings/toy-1/0-0.f32", "thumbnails/zz/stray.jpg", "cache/renditions/0123456789abcdef.mp4"]
    for name in (*stray, "uploads/fresh.mp4", "mine/notes.txt"):
        folder.write(name, b"x")
    there = names(url)
    assert findings(library, notes=True) == {"leftovers": "3 files in the object store that nothing names"}
    assert [one["count"] for one in prune.prune(library)["dropped"]] == [3]
    assert sorted(set(there) - set(names(url))) == sorted(stray) and findings(library, notes=True) == {}


def test_there_and_back(tmp_path: Path, s3: S3) -> None:
    url, other = f"{s3.bucket()}/lib", f"file://{tmp_path / 'shared'}"
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        add(library, range(5))
        before = answers(library)
        with opened(library.path) as reader:
            for place, old in ((url, "local"), (other, url), ("local", other), (url, "local")):
                moved = pieces.move(library, place, drop_old=True)
                assert moved["files"] == 15 and moved["old"] == {"where": old, "dropped": True}
                assert answers(reader) == before == answers(library) and reader.config.objects == (
                    "" if place == "local" else place
                )
                assert findings(library, full=True) == {} == findings(reader, notes=True)
                assert (library.path / "thumbnails/00/000-0.jpg").exists() == (place == "local")
                if old != "local":
                    assert names(old) == []
        assert pieces.move(library, url)["old"] is None
        add(library, [9])
        assert findings(library, full=True) == {}


def with_key_and_model(path: Path, model: Path) -> None:
    """Make a library that has a key of webhooks, and says that its model lies in a folder."""
    with Library.create(path, encoder=ToyEncoder()) as made:
        add(made, range(2))
    (path / KEY).write_bytes(b"k" * 32)
    model.mkdir()
    (model / "card.json").write_text('{"revision": "toy-1"}')
    config = settings.read(path)
    settings.write(path, replace(config, model=replace(config.model, relative="gone", absolute=str(model))))


def test_a_move_takes_the_key_and_the_model_along_and_leaves_what_is_not_the_librarys(tmp_path: Path, s3: S3) -> None:
    one, two, path, model = f"{s3.bucket()}/videos", f"{s3.bucket()}/two", tmp_path / "lib", tmp_path / "model"
    strange = [f"{top}/mine.mp4" for top in ("films", "embeddings/x", "models-of-mine", "thumbnails", "uploads", "cache")]
    with_key_and_model(path, model)
    with opened(path) as library:
        pieces.move(library, one)
        for name in strange:
            objects.folder(one).write(name, b"a stranger's")
        shutil.rmtree(model)  # what follows happens on a machine that has joined
        (path / KEY).unlink()
        objects.folder(one).write("cache/sprites/0123456789abcdef.jpg", b"sheet")
        pieces.move(library, two, drop_old=True)
        assert sorted(names(one)) == sorted(strange)
        assert objects.folder(two).read(KEY) == b"k" * 32 and names(two, "models") == ["models/toy-1/card.json"]
        pieces.move(library, "local", drop_old=True)
        assert (path / KEY).read_bytes() == b"k" * 32 and (path / KEY).stat().st_mode & 0o777 == 0o600
        assert settings.revision(settings.model_here(path, library.config)) == "toy-1"
        assert names(two, "models") == names(two, "embeddings") == names(two, "thumbnails") == []


def test_a_backup_of_a_machine_that_joined_has_the_key_and_the_right_model(tmp_path: Path) -> None:
    url, path, model = f"file://{tmp_path / 'far'}", tmp_path / "lib", tmp_path / "model"
    with_key_and_model(path, model)
    with opened(path) as library:
        pieces.move(library, url)
        (path / KEY).unlink()
        (model / "card.json").write_text('{"revision": "toy-2"}')
        assert backup(library, tmp_path / "a.tar")["model"]["folder"] == "in the backup"
        objects.folder(url).delete(["models/toy-1/card.json"])
        shutil.rmtree(path / "models")
        about = backup(library, tmp_path / "b.tar")["model"]
    assert about["folder"] == f"not in the backup: {model} is of revision toy-2, and the library of toy-1" and not about["bytes"]
    restore(tmp_path / "a.tar", tmp_path / "again")
    assert (tmp_path / "again" / KEY).read_bytes() == b"k" * 32
    assert (tmp_path / "again" / KEY).stat().st_mode & 0o777 == 0o600
    assert settings.revision(tmp_path / "again" / "model") == "toy-1"


def test_a_move_that_broke_off_is_gone_on_with(tmp_path: Path, gate: Gate, moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{moto.bucket()}/lib"
    monkeypatch.setitem(bucket._RETRY, "max_retries", 0)
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        add(library, range(3))
        before = answers(library)
        for count in (2, 7, 10):  # requests that are answered: its mark, some thumbnails, all but the array
            gate.fail = [-1] * count + [0] * 60
            with pytest.raises(UserError, match="cannot be reached"):
                pieces.move(library, url)
            gate.fail = []
            assert library.config.objects == "" and answers(library) == before and findings(library) == {}
        pieces.move(library, url)
        assert answers(library) == before and findings(library, full=True) == {}
        assert len(names(url, "embeddings")) == 1 and findings(library, notes=True) == {}


def test_a_backup_and_back(library: Library, tmp_path: Path, url: str) -> None:
    before = answers(library)
    lose(library)
    with opened(library.path, mend=False) as far:
        about = backup(far, tmp_path / "lib.tar")
    assert (about["vectors"], about["thumbnails"], about["lost"]) == (18, 18, 0)
    restore(tmp_path / "lib.tar", tmp_path / "again")
    with opened(tmp_path / "again") as again:
        assert again.config.objects == "" and answers(again) == before and findings(again, full=True) == {}
        pieces.move(again, f"{url.rpartition('/')[0]}/two")
        assert answers(again) == before and findings(again, full=True) == {}


# -- faults


DYING = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from hit import chunks
from hit.library import Library
from toy import PLUGIN, ToyEncoder, render
from upkeep_helpers import add
send = chunks.send
def dying(*given):
    name = send(*given)
    os.kill(os.getpid(), signal.SIGKILL)
with Library.open(Path(sys.argv[1]), encoder=ToyEncoder()) as library:
    if sys.argv[2] == "merge":
        chunks._MANY = 4
        chunks.send = dying
        library.db.merge(library.stored)
    else:
        chunks.send = dying
        add(library, [7])
"""


@pytest.mark.parametrize("when", ["append", "merge"])
def test_a_writer_killed_after_sending_leaves_an_orphan_and_no_harm(library: Library, url: str, when: str) -> None:
    before = answers(library)
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", DYING, str(library.path), when, str(here)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(names(url, "embeddings")) == 7
    with opened(library.path) as again:
        assert answers(again) == before and findings(again, full=True) == {}
        orphans = 1 if when == "merge" else 4  # with the thumbnails
        assert f"{orphans} files in the object store" in findings(again, notes=True)["leftovers"]
        add(again, [7])
        prune.prune(again)
        assert len(names(url, "embeddings")) == 7 and findings(again, full=True) == {} == findings(again, notes=True)


def test_an_object_store_that_goes_away_is_one_line_and_nothing_is_lost(
    tmp_path: Path, gate: Gate, moto: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bucket._RETRY, "max_retries", 0)
    url = f"{moto.bucket()}/lib"
    with make(tmp_path / "lib", url, monkeypatch, 2) as library:
        before: Any = answers(library)
        gate.shut = True
        with pytest.raises(UserError, match="cannot be reached") as caught:
            add(library, [5])
        assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)
        assert answers(library) == before  # what is here is enough to search
        gate.shut = False
        add(library, [5])
        assert library.store.count() == 9 and findings(library, full=True) == {}


def test_an_index_that_breaks_off_is_gone_on_with(tmp_path: Path, gate: Gate, moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setitem(bucket._RETRY, "max_retries", 0)
    monkeypatch.setattr(index, "_BATCH", 1)
    films = [render(tmp_path / "v" / f"{colour}.mp4", [colour], seconds=1.0) for colour in ("red", "green", "blue")]
    url = f"{moto.bucket()}/lib"
    with make(tmp_path / "lib", url, monkeypatch, 0) as library:
        gate.fail = [-1] * 3 + [0] * 100  # a video's, and the next one's poster
        with pytest.raises(UserError, match="cannot be reached") as caught:
            library.index(films, workers=1)
        assert "\n" not in str(caught.value) and library.db.jobs(1)[0].state == "failed"
        gate.fail = []
        known = library.db.counts()["videos"]
        assert known < 3 and findings(library) == {}
        report = library.index(films, workers=1)
        assert (report.added, report.videos, report.failed) == (3 - known, 3, ())
        assert findings(library, full=True) == {} and len(answers(library)) == 3
        assert all(library.db.stock.read(f"thumbnails/{name}")[:2] == b"\xff\xd8" for name in pieces.thumbnails(library))


def test_what_was_made_of_a_video_is_there_for_all_machines(library: Library, tmp_path: Path, url: str) -> None:
    made: list[Path] = []

    def maker(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"sheet")

    video = library.db.filmed("toy-1")[0]
    here, there = (MediaCache(tmp_path / name, 1e9, library.db) for name in ("here", "there"))
    assert here.find("sprites", video) is None
    assert here.make("sprites", video, maker) == tmp_path / "here" / "sprites" / f"{video}.jpg"
    found = there.make("sprites", video, maker)
    assert isinstance(found, Far) and (str(found), found.size) == (f"{url}/cache/sprites/{video}.jpg", 5) and len(made) == 1
    assert b"".join(places.blocks(found)) == b"sheet"
    there.make("clips", video, maker)  # few ask for one
    assert names(url, "cache") == [f"cache/sprites/{video}.jpg"] and findings(library, notes=True) == {}
    remove.remove(library, [video])
    assert names(url, "cache") == [] and there.find("sprites", video) is None


def test_copies_are_bounded_and_may_fail(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Stock(library.db.home, tmp_path / "few", 40)
    monkeypatch.setattr(stock, "_TIDY", -1.0)
    every = sorted(f"thumbnails/{name}" for name in pieces.thumbnails(library))
    for name in every:
        assert few.read(name) == library.db.home.read(name)
        assert sum(path.stat().st_size for path in (tmp_path / "few").rglob("*") if path.is_file()) <= 40
    assert (tmp_path / "few" / every[-1]).exists() and not (tmp_path / "few" / every[0]).exists()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_whole", full)
        assert few.read(every[0]) == library.db.home.read(every[0])
        rows = library.db.rows("toy-1")
        wanted = library.db.vectors(library.stored, rows)
        shutil.rmtree(library.path / "embeddings")
        with opened(library.path, mend=False) as other:
            assert np.array_equal(other.db.vectors(other.stored, rows), wanted)  # without a copy
            with pytest.raises(UserError, match="there is no room"):
                other.db.matrix(other.stored).view(len(rows))  # which is the copy


def test_requests_for_a_video(tmp_path: Path, gate: Gate, moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/storage.md says: a PUT for each segment's thumbnail, and one for the vectors of a video."""
    with make(tmp_path / "lib", f"{moto.bucket()}/lib", monkeypatch, 2) as library:
        gate.asked.clear()
        add(library, range(10, 14), segments=8)
        assert gate.asked == {"PUT": 4 * (8 + 1)}
        gate.asked.clear()
        answers(library)
        by_segment(library)
        index.repair(library.db, library.store, library.stored)
        assert gate.asked == {}
