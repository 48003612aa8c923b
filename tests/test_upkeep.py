"""Upkeep: what is found wrong, what mends it, and that nothing else is changed by it."""

import contextlib
import gzip
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hit import arrays, files, settings, stores
from hit.cli import app
from hit.db import Found, Job
from hit.errors import UserError
from hit.files import BusyError
from hit.library import Library
from hit.stores.local import Local
from hit.types import Silent, Store
from hit.upkeep import prune, remove, shelves, sizes, tags
from hit.upkeep.backup import backup, restore
from hit.upkeep.export import export
from hit.upkeep.info import info
from hit.upkeep.verify import verify
from library_helpers import by_segment, dump, forget
from postgres import Postgres
from toy import ToyEncoder
from upkeep_helpers import add, vectors
from upkeep_helpers import library as make


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "lib"
    make(path).close()
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "lib")


@pytest.fixture
def library(path: Path) -> Iterator[Library]:
    with opened(path) as made:
        yield made


def opened(path: Path, mend: bool = True) -> Library:
    return Library.open(path, encoder=ToyEncoder(), mend=mend)


def findings(library: Library, full: bool = False, notes: bool = False) -> dict[str, str]:
    """Return what is wrong, by the part of the library; with `notes` what is worth a note instead."""
    result = verify(library, full)
    assert result["sound"] == all(one["note"] for one in result["findings"])
    return {one["part"]: one["what"] for one in result["findings"] if one["note"] == notes}


def sql(path: Path, statement: str) -> None:
    with sqlite3.connect(path / "library.db") as connection:
        connection.execute(statement)


def answers(library: Library) -> list[tuple[str, float]]:
    """Return what a search says, by segments and scores."""
    return [(hit.clip.id, hit.score) for hit in library.search("red then blue", limit=99).hits]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the address of a store that is not in the library."""
    real = stores.open

    def open_(where: str | Path, dim: int, name: str = "") -> Store:
        kind, _, folder = str(where).partition("elsewhere:")
        return real(where, dim, name) if kind or not folder else Elsewhere(Path(folder) / name, dim)

    monkeypatch.setattr(stores, "open", open_)
    return f"elsewhere:{tmp_path / 'elsewhere'}"


class Elsewhere(Local):
    """A folder that is not the array's own, as a server's is."""

    def drop(self) -> None:
        self.close()
        shutil.rmtree(self.folder)


# -- verify


def test_a_library_that_is_sound_is_said_to_be(library: Library) -> None:
    assert verify(library) == {"library": str(library.path), "sound": True, "findings": []}
    assert verify(library, full=True)["findings"] == []


def test_an_empty_library_is_sound(tmp_path: Path) -> None:
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        assert verify(library)["findings"] == []
        assert info(library)["videos"]["ready"] == 0
        assert shelves.rebuild(library)["vectors"] == 0
        assert prune.prune(library)["dropped"] == []
        backup(library, tmp_path / "empty.tar")
        restore(tmp_path / "empty.tar", tmp_path / "again")
    with opened(tmp_path / "again") as library:
        assert verify(library)["findings"] == []


DAMAGE: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "the store has lost a vector": ("store", lambda path, folder: _store(folder).delete(np.array([3]))),
    "the store has one too many": ("store", lambda path, folder: _store(folder).put(np.array([18]), vectors(1))),
    "the store's state is no state": ("store", lambda path, folder: (folder / "state").write_bytes(b"{}\n")),
    "a row outside the array": ("vectors", lambda path, folder: sql(path, 'UPDATE embeddings SET "row" = 99 WHERE "row" = 1')),
    "an array too short": ("vectors", lambda path, folder: os.truncate(folder / arrays.NAME, 100)),
    "no array": ("vectors", lambda path, folder: (folder / arrays.NAME).unlink()),
    "a vector that is not finite": ("vectors", lambda path, folder: _write(folder, 2, np.full(8, np.nan))),
    "a part that is too long": ("vectors", lambda path, folder: _write(folder, 2, vectors(1)[0] * [1] * 4 + [2, 0, 0, 0] * 2)),
    "a segment without a vector": ("videos", lambda path, folder: sql(path, 'DELETE FROM embeddings WHERE "row" = 1')),
    "a video without segments": (
        "videos",
        lambda path, folder: sql(path, "UPDATE segments SET video_id = (SELECT max(id) FROM videos)"),
    ),
    "a row that refers to nothing": (
        "database",
        lambda path, folder: sql(path, "INSERT INTO lines VALUES ('x', 0, 'ocr', 0, 1, 'y')"),
    ),
    "words that are gone": ("words", lambda path, folder: sql(path, "DELETE FROM documents WHERE id = 2")),
    "words of others": ("words", lambda path, folder: sql(path, "UPDATE documents SET words = 'other' WHERE id = 3")),
    "an index of words that is not": ("words", lambda path, folder: sql(path, "DELETE FROM documents_fts WHERE rowid = 4")),
    "a thumbnail is missing": ("thumbnails", lambda path, folder: next((path / "thumbnails").rglob("*.jpg")).unlink()),
}


def _store(folder: Path) -> Local:
    return Local(folder, 8)


def _write(folder: Path, row: int, vector: Any) -> None:
    with (folder / arrays.NAME).open("rb+") as file:
        file.seek(row * 32)
        file.write(np.asarray(vector, "<f4")[:8].tobytes())


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(path: Path, what: str) -> None:
    with opened(path) as library:
        folder = path / library.stored.name
    part, damage = DAMAGE[what]
    damage(path, folder)
    with opened(path, mend=False) as library:
        found = findings(library)
        assert part in found, found
        assert all("\n" not in line for line in found.values())
    if part in ("store", "words"):  # and mended as it says
        with opened(path, mend=False) as library:
            shelves.rebuild(library)
            assert findings(library) == {}


def test_a_flipped_bit_of_a_large_number_is_found(path: Path) -> None:
    with opened(path) as library:
        file = path / library.stored.name / arrays.NAME
    sound = np.fromfile(file, "<u4")
    at = int(np.argmax(np.abs(np.fromfile(file, "<f4"))))
    for bit in range(11, 32):  # a sign changes no length, and none but the store's copy tells
        flipped = sound.copy()
        flipped[at] ^= np.uint32(1 << bit)
        flipped.tofile(file)
        with opened(path, mend=False) as library:
            assert ("vectors" in findings(library)) == (bit != 31), bit


def test_a_row_is_given_out_once(path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        sql(path, 'UPDATE embeddings SET "row" = 0 WHERE "row" = 1')


def test_a_failed_video_that_an_earlier_model_still_shows_is_sound(library: Library) -> None:
    library.db.fail("0001" * 4, "is damaged", "another revision")
    assert findings(library, full=True) == {}
    assert info(library)["videos"]["failed"] == 1


def test_a_damaged_database_file_is_found(path: Path) -> None:
    with sqlite3.connect(path / "library.db") as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_segments_video_id'").fetchone()
    data = bytearray((path / "library.db").read_bytes())
    data[(page - 1) * 4096 + 8 : (page - 1) * 4096 + 12] = b"\xff\xff\xff\xff"
    (path / "library.db").write_bytes(data)
    with opened(path, mend=False) as library:
        assert "database" in findings(library)


def test_a_vector_that_is_another_in_the_store_is_found(path: Path, elsewhere: str) -> None:
    with opened(path) as library:
        shelves.move(library, elsewhere)
        library.store.put(np.array([5]), vectors(1, seed=77))
        assert "1 of 18 vectors are others" in findings(library, full=True)["store"]
        shelves.rebuild(library)
        assert findings(library, full=True) == {}


def test_what_is_on_its_way_to_the_store_is_not_lost(path: Path) -> None:
    with opened(path) as library:
        forget(library.db, ["0001" * 4])  # and killed before the store was told
        with opened(path, mend=False) as other:
            assert findings(other) == {}


def test_files_that_are_gone_or_changed_are_notes(library: Library) -> None:
    first, second, *_ = library.db.files()
    moved = Path(first).with_suffix(".moved")
    shutil.copy(first, moved)
    files = Path(first), Path(second)
    stat = [file.stat() for file in files], [file.read_bytes() for file in files]
    try:
        files[0].unlink()
        files[1].write_text("something else")
        result = verify(library)
        assert result["sound"] and [one["mend"] for one in result["findings"]] == [
            "hit library remove LIBRARY --missing",
            "hit index LIBRARY SOURCE",
        ]
    finally:  # they are the template's
        for file, data, about in zip(files, stat[1], stat[0], strict=True):
            file.write_bytes(data)
            os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
        moved.unlink()


def test_a_model_that_cannot_be_had_is_found(path: Path) -> None:
    with Library.open(path, mend=False) as library:
        found = findings(library)
    assert set(found) == {"model"}
    with Library.open(path, encoder=ToyEncoder("toy-2"), mend=False) as library:
        assert "the model is of revision toy-2, the library's vectors of toy-1" in findings(library)["model"]


def test_verify_waits_for_no_writer_for_ever(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.library._WAIT", 0.05)
    with library.writing(0), opened(library.path) as other, pytest.raises(BusyError):
        verify(other)


# -- rebuild and move


def test_rebuild_gives_the_same_answers_and_a_reader_notices(library: Library) -> None:
    before = answers(library)
    with opened(library.path) as reader:
        assert answers(reader) == before
        name = library.stored.name
        assert shelves.rebuild(library)["vectors"] == 18
        assert library.stored.name != name and not (library.path / name).exists()
        assert answers(reader) == before == answers(library)
        assert reader.stored.name == library.stored.name
    assert findings(library, full=True) == {}
    (job,) = library.db.jobs(1)
    assert (job.kind, job.state, job.detail["result"]) == ("rebuild", "done", {"vectors": 18})


def test_rebuild_without_second_names_for_files(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    before = answers(library)
    shelves.rebuild(library)
    assert answers(library) == before and findings(library) == {}


def test_a_writer_that_was_open_before_a_rebuild_writes_to_the_new_store(library: Library, tmp_path: Path) -> None:
    with opened(library.path) as other:
        other.store.count()
        shelves.rebuild(library)
        with other.writing():
            add(other, [9])
    assert findings(library) == {} and library.store.count() == 21


def test_move_there_and_back(library: Library, elsewhere: str, tmp_path: Path) -> None:
    before = answers(library)
    with opened(library.path) as reader:
        answers(reader)
        result = shelves.move(library, elsewhere)
        assert result["old"] == {"where": "local", "dropped": False}
        assert answers(reader) == before == answers(library)
        add(library, [7])
        assert reader.search("red", limit=99).hits[20].rank == 21
        assert findings(reader, full=True) == {}
    again = shelves.move(library, elsewhere, drop_old=True)  # of a call that was killed at its end
    assert again["old"] == {"where": "local", "dropped": True}
    assert [file.name for file in (library.path / library.stored.name).iterdir()] == [arrays.NAME]
    assert shelves.move(library, elsewhere)["vectors"] == 21
    shelves.move(library, "local", drop_old=True)  # the old state there knows nothing of what was added
    assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]  # its collection may stay, empty
    assert findings(library, full=True) == {} and library.store.count() == 21


def test_a_library_in_milvus_is_kept_like_any_other(library: Library, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    before = [key for key, _ in answers(library)]
    shelves.move(library, f"milvus+lite:{tmp_path / 'milvus'}")
    add(library, [7])
    remove.remove(library, ["0007" * 4])
    assert findings(library, full=True) == {}
    name = library.store.collection  # type: ignore[attr-defined]
    prune.prune(library)
    shelves.rebuild(library)
    collections = library.store._client.list_collections()  # type: ignore[attr-defined]
    assert collections == [library.store.collection] != [name]  # type: ignore[attr-defined]
    assert findings(library, full=True) == {} and [key for key, _ in answers(library)] == before
    shelves.move(library, "local", drop_old=True)
    assert findings(library, full=True) == {} and [key for key, _ in answers(library)] == before


@pytest.mark.parametrize("verb", ["move", "restore", "create"])
def test_an_address_that_is_none_is_refused(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.chdir(tmp_path)
    backup(library, tmp_path / "b.tar")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="no kind of store is called 'foo'"):
        if verb == "move":
            shelves.move(library, "foo")
        elif verb == "restore":
            restore(tmp_path / "b.tar", tmp_path / "again", store="foo")
        else:
            Library.create(tmp_path / "again", encoder=ToyEncoder(), store="foo")
    left = tmp_path / "again"  # the folder of a library that was not made
    assert [one for one in sorted(tmp_path.iterdir()) if one != left] == before and not (left / "library.toml").exists()
    assert findings(library, full=True) == {}


def test_an_address_names_the_same_store_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        stores.address("milvus+lite:sub/v") == f"milvus+lite:{tmp_path}/sub/v" == stores.address(f"milvus+lite:{tmp_path}/sub/v")
    )
    assert [stores.address(one) for one in ("", "local", "http://host:1")] == ["", "", "http://host:1"]


def test_a_store_that_does_not_give_back_what_it_was_given_is_not_moved_to(
    library: Library, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "put", lambda self, keys, vectors: Local.put(self, keys, vectors * np.float32(1.01)))
    before = answers(library)
    with pytest.raises(UserError, match="18 of 18 vectors are others than in the array"):
        shelves.move(library, elsewhere)
    assert library.config.store == "" and answers(library) == before
    assert opened(library.path).config.store == ""
    assert library.db.jobs(1)[0].state == "failed"


def test_a_store_may_be_dropped_behind_a_reader(library: Library, elsewhere: str) -> None:
    shelves.move(library, elsewhere)
    before = answers(library)
    with opened(library.path) as reader:
        answers(reader)
        shelves.move(library, "local", drop_old=True)
        assert answers(reader) == before


def test_compare_sees_any_single_fault(tmp_path: Path, library: Library) -> None:
    """An oracle: of a store and a copy with one vector changed, lost or added, just the copies are complained about."""
    rng = np.random.default_rng(3)
    rows = library.db.rows("toy-1")
    right = library.db.vectors(library.stored, rows)
    for kind in ("none", "changed", "lost", "added") * 3:
        store, some = Elsewhere(tmp_path / f"{kind}{rng.integers(1 << 30)}", 8), rng.integers(len(rows), size=1)
        store.put(rows, right)
        if kind == "changed":
            store.put(rows[some], right[(some + 1) % len(rows)])
        elif kind == "lost":
            store.delete(rows[some])
        elif kind == "added":
            store.put(np.array([1000]), right[:1])
        complaints = shelves.compare(library, library.stored, store, rows, Silent(), full=True)
        assert bool(complaints) == (kind != "none"), (kind, complaints)


# -- remove


def test_removing_a_video_leaves_its_file_and_the_rest(library: Library) -> None:
    before, first = dict(answers(library)), next(iter(library.db.files()))
    video = library.db.named(first)
    result = remove.remove(library, [first])
    assert result["removed"] == [video] and result["videos"] == 5
    assert Path(first).exists()
    assert dict(answers(library)) == {key: score for key, score in before.items() if not key.startswith("000-")}
    assert findings(library) == {} and findings(library, notes=True) == {}
    with pytest.raises(UserError, match="knows no video"):
        remove.remove(library, [first])


def test_removing_by_id_and_by_folder(library: Library) -> None:
    path = Path(next(iter(library.db.files())))
    assert remove.remove(library, ["0003" * 4])["removed"] == ["0003" * 4]
    assert len(remove.plan(library, [str(path.parent)]).videos) == 5
    assert remove.plan(library, [str(path.parent) + "/"]) == remove.plan(library, [str(path.parent)])
    with pytest.raises(UserError, match="knows no video"):
        remove.plan(library, [str(path.parent)[:-1]])  # no folder, only the beginning of a name


def test_a_video_with_another_file_stays(library: Library) -> None:
    library.db.record_files([Found("/copies/of 002.mp4", 7, 1, "0002" * 16)])
    going = remove.plan(library, ["/copies/of 002.mp4"])
    assert (going.paths, going.videos) == (["/copies/of 002.mp4"], [])
    assert remove.plan(library, missing=True) == going
    assert remove.remove(library, missing=True)["removed"] == [] and library.store.count() == 18
    assert remove.plan(library, ["0002" * 4]).videos == ["0002" * 4]


# -- prune


def test_prune_renumbers_and_readers_stay_right(library: Library) -> None:
    add(library, range(6, 12))
    remove.remove(library, ["0001" * 4, "0004" * 4, "0008" * 4])
    before, kept = answers(library), {key: vector.tobytes() for key, vector in by_segment(library).items()}
    with opened(library.path) as reader:
        assert answers(reader) == before
        would = prune.prune(library, dry_run=True)["would_drop"]
        assert would == [{"what": "vectors of segments that are gone", "count": 9, "bytes": 9 * 32}]
        assert prune.prune(library)["dropped"] == would
        assert library.stored.rows == 27 and library.db.rows("toy-1").tolist() == list(range(27))
        assert sorted(answers(reader)) == sorted(before)  # the same segments and scores: equals may change places
        assert [score for _, score in answers(reader)] == [score for _, score in before]
    assert {key: vector.tobytes() for key, vector in by_segment(library).items()} == kept
    assert (library.path / library.stored.name / arrays.NAME).stat().st_size == 27 * 32
    assert findings(library, full=True) == {} and findings(library, notes=True) == {}
    assert prune.prune(library)["dropped"] == []
    add(library, [12])
    assert findings(library, full=True) == {}


def test_pages_of_before_a_prune_are_refused_in_one_line(library: Library) -> None:
    token = library.search("red", limit=3).next_page_token
    remove.remove(library, ["0001" * 4])
    prune.prune(library)
    with pytest.raises(UserError, match="before the library was rewritten"):
        library.search("red", limit=3, page=token)


def test_vectors_of_other_models_go_and_what_only_they_embedded_waits(library: Library) -> None:
    add(library, [0, 9], revision="toy-2")  # a library half way to another model, and a new video
    assert len(list((library.path / "embeddings").iterdir())) == 2
    assert set(findings(library, notes=True)) == {"videos"}
    dropped = prune.prune(library)["dropped"]
    assert dropped == [{"what": "vectors of model revision toy-2", "count": 6, "bytes": 6 * 32}]
    assert [path.name for path in (library.path / "embeddings").iterdir()] == ["toy-1"]
    states = {known.video[:4]: (known.status, known.revision) for known in library.db.files().values()}
    assert states["0009"] == ("pending", "toy-2") and states["0000"] == ("ready", "toy-1")
    assert findings(library) == {}


def test_what_nothing_names_goes_and_nothing_else(library: Library) -> None:
    remote = library.path / "remote" / "https" / "example.org"
    remote.mkdir(parents=True)
    names = ["kept.mp4", ".kept.mp4.json", "old.mp4", ".old.mp4.json", ".broken.mp4.part"]
    for name in names:
        (remote / name).write_text(name)
    library.db.record_files([Found(str((remote / "kept.mp4").absolute()), 8, 1, "0002" * 16)])
    stray = library.path / "thumbnails" / "zz" / "stray.jpg"
    stray.parent.mkdir()
    stray.write_bytes(b"123")
    parts = [library.path / ".library.toml.77.part", library.path / "embeddings" / "toy-1" / "0" / ".state.77.part"]
    for part in parts:
        part.write_bytes(b"1")
    (library.path / "vectors").mkdir()
    (library.path / "vectors" / "old").write_bytes(b"12")
    orphan = library.path / "embeddings" / "toy-1" / "7"
    orphan.mkdir()
    (orphan / arrays.NAME).write_bytes(bytes(32))
    before = {path for path in sizes.tree(library.path) if path.suffix in (".jpg", ".toml", ".f32")}
    assert set(findings(library, notes=True)) >= {"leftovers"}
    would = prune.prune(library, dry_run=True)["would_drop"]
    assert [one["bytes"] for one in would] == [3, len("old.mp4") + len(".old.mp4.json") + len(".broken.mp4.part"), 32, 2, 2]
    assert all(path.exists() for path in (stray, orphan, *parts))
    assert prune.prune(library)["dropped"] == would
    assert sorted(path.name for path in remote.iterdir()) == [".kept.mp4.json", "kept.mp4"]
    after = {path for path in sizes.tree(library.path) if path.suffix in (".jpg", ".toml", ".f32")}
    assert before - after == {stray, orphan / arrays.NAME} and not stray.parent.exists()
    assert "leftovers" not in findings(library, notes=True)


def test_jobs_that_a_kill_cut_short_are_ended(library: Library) -> None:
    number = library.db.begin_job("index", {}, "killed")
    library.db.begin_job("backup", {}, "alive")
    with library.db.write() as session:
        session.get_one(Job, number).beat_at = datetime.now(UTC) - timedelta(minutes=1)
    library.db.submit_job("index", {"sources": ["later"]})
    prune.prune(library)
    assert [(job.kind, job.state) for job in library.db.jobs()] == [
        ("prune", "done"),
        ("index", "queued"),
        ("backup", "running"),
        ("index", "failed"),
    ]


# -- export


def test_export_is_what_the_library_holds(library: Library, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    remove.remove(library, ["0001" * 4])
    library.db.tag(["0002" * 4], ["goal", "night"])
    about = export(library, tmp_path / "out")
    matrix = np.load(tmp_path / "out" / "vectors.npy")
    segments = parquet.read_table(tmp_path / "out" / "segments.parquet").to_pylist()
    assert matrix.dtype == np.float32 and [row["row"] for row in segments] == list(range(15))
    assert {row["segment"]: matrix[row["row"]].tobytes() for row in segments} == {
        key: vector.tobytes() for key, vector in by_segment(library).items()
    }
    assert {tuple(row["tags"]) for row in segments if row["video"] == "0002" * 4} == {("goal", "night")}
    assert all(Path(row["path"]).name == f"{row['segment'][:3]}.mp4" and row["end"] == row["start"] + 2 for row in segments)
    videos = parquet.read_table(tmp_path / "out" / "videos.parquet").to_pylist()
    assert [(row["video"][:4], row["duration"], len(row["paths"])) for row in videos] == [
        (f"{i:04}", 6.0, 1) for i in (0, 2, 3, 4, 5)
    ]
    lines = parquet.read_table(tmp_path / "out" / "lines.parquet").to_pylist()
    assert {row["segment"]: row["text"] for row in lines} == {
        row["segment"]: f"word{int(row['segment'][:3])}" for row in segments
    }
    said = json.loads((tmp_path / "out" / "library.json").read_text())
    assert said["sha256"] == {path.name: files.sha256(path) for path in (tmp_path / "out").iterdir() if path.suffix != ".json"}
    assert (about["vectors"], said["videos"], said["model"]["revision"]) == (15, 5, "toy-1")
    with pytest.raises(UserError, match="is not empty"):
        export(library, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# -- backup and restore


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_backup_restores_to_the_same_library(library: Library, tmp_path: Path, suffix: str) -> None:
    library.db.tag(["0002" * 4], ["goal"])
    library.db.save_search("mine", {"texts": ["red"]})
    remove.remove(library, ["0001" * 4])
    about = backup(library, tmp_path / f"b{suffix}")
    assert about["vectors"] == 15
    result = restore(tmp_path / f"b{suffix}", tmp_path / "again")
    assert (result["videos"], result["segments"], result["vectors"]) == (5, 15, 15)
    assert dump(tmp_path / "again", ToyEncoder()) == dump(library.path, ToyEncoder())
    with opened(tmp_path / "again", mend=False) as again:
        assert findings(again, full=True) == {} and findings(again, notes=True) == {}
        assert list(again.db.saved_searches()) == ["mine"]
        assert "backup" not in [job.kind for job in again.db.jobs()]  # it was not yet done
        add(again, [9])
        assert findings(again, full=True) == {}
    assert library.db.jobs(1)[0].kind == "backup"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_backup_is_of_one_moment_while_a_writer_is_at_work(library: Library, tmp_path: Path) -> None:
    class Meddler:
        """Writes to the library whenever the backup makes progress."""

        number = 20

        def task(self, title: str, total: float | None) -> "Meddler":
            return self

        def __enter__(self) -> "Meddler":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def advance(self, steps: float = 1, note: str = "") -> None:
            if self.number < 26:
                self.number += 1
                with opened(library.path) as writer, writer.writing():
                    add(writer, [self.number])

    before = dump(library.path, ToyEncoder())
    backup(library, tmp_path / "b.tar", Meddler())
    assert library.store.count() > 18
    restore(tmp_path / "b.tar", tmp_path / "again")
    assert dump(tmp_path / "again", ToyEncoder()) == before


def test_jobs_that_ran_at_a_backup_wait_again(library: Library, tmp_path: Path) -> None:
    for kind, sources in (("index", ["a"]), ("backup", ["b"])):
        library.db.submit_job(kind, {"sources": sources}, "ann")
        number = library.db.claim_job("here", [kind]).id  # type: ignore[union-attr]
    library.db.cancel_job(number)
    library.db.begin_job("move", {}, "a command line")
    backup(library, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "again")
    with opened(tmp_path / "again") as again:
        (job,) = again.db.jobs()
        assert (job.kind, job.state, job.owner, job.begun_at, job.beat_at, job.tries) == ("index", "queued", None, None, None, 0)
        claimed = again.db.claim_job("there", ["index"])
        assert claimed is not None and claimed.detail == {"sources": ["a"]} and claimed.by == "ann"


def test_a_backup_beside_a_prune_is_begun_anew(library: Library, tmp_path: Path) -> None:
    class Pruner(Silent):
        done = False

        def task(self, title: str, total: float | None) -> "Pruner":
            if not self.done:
                self.done = True
                with opened(library.path) as writer:
                    remove.remove(writer, ["0001" * 4])
                    prune.prune(writer)
            return self

    backup(library, tmp_path / "b.tar", Pruner())
    restore(tmp_path / "b.tar", tmp_path / "again")
    assert dump(tmp_path / "again", ToyEncoder()) == dump(library.path, ToyEncoder())


def with_model(path: Path, model: Path) -> Library:
    """Have a library say that its model lies in a folder, and open it."""
    model.mkdir(parents=True, exist_ok=True)
    (model / "card.json").write_text("{}")
    (model / "run" / "checkpoints").mkdir(parents=True)
    (model / "run" / "checkpoints" / "step-1.safetensors").write_text("of its training")
    text = (path / "library.toml").read_text()
    relative = os.path.relpath(model, path)
    (path / "library.toml").write_text(
        text.replace('relative = ""', f'relative = "{relative}"').replace('absolute = ""', f'absolute = "{model}"')
    )
    return opened(path)


@pytest.mark.parametrize("where", ["lib/model", "elsewhere/tiny"])
def test_the_model_is_in_a_backup(path: Path, tmp_path: Path, where: str) -> None:
    with with_model(path, tmp_path / where) as library:
        about = backup(library, tmp_path / "b.tar")
        assert (about["model"]["folder"], about["model"]["bytes"]) == ("in the backup", 2)
    shutil.rmtree(tmp_path / where)  # another machine
    restore(tmp_path / "b.tar", tmp_path / "x" / "again")
    with opened(tmp_path / "x" / "again") as again:
        assert again.config.model.relative == "model" and again.config.model.absolute == str(tmp_path / "x" / "again" / "model")
    model = tmp_path / "x" / "again" / "model"
    assert [(one.name, one.read_text()) for one in model.iterdir()] == [("card.json", "{}")]


def test_a_backup_without_the_model_says_where_it_is(path: Path, tmp_path: Path) -> None:
    model = tmp_path / "elsewhere" / "tiny"
    with with_model(path, model) as library:
        about = backup(library, tmp_path / "b.tar", model=False)
        assert (about["model"]["folder"], about["model"]["bytes"]) == (f"not in the backup: {model}", 0)
        restore(tmp_path / "b.tar", tmp_path / "again")
        with opened(tmp_path / "again") as again:
            assert again.config.model.absolute == str(model) and settings.model_folder(again.path, again.config.model) == model
        shutil.rmtree(model)
        assert backup(library, tmp_path / "c.tar")["model"]["folder"] == f"not in the backup: {model}"


class Meter(Silent):
    """Progress that remembers each task's total and steps."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[float]] = {}

    def task(self, title: str, total: float | None) -> "Meter":
        self.open = self.tasks.setdefault(title, [total or 0.0, 0.0])
        return self

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.open[1] += steps


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_the_bars_of_backup_and_restore_end_at_their_totals(path: Path, tmp_path: Path, suffix: str) -> None:
    meter = Meter()
    with with_model(path, path / "model") as library:
        backup(library, tmp_path / f"b{suffix}", meter)
    restore(tmp_path / f"b{suffix}", tmp_path / "again", progress=meter)
    assert {"Records", "Backup, MB", "Unpacking, MB"} <= set(meter.tasks)
    for title, (total, steps) in meter.tasks.items():
        assert steps == pytest.approx(total, rel=1e-6), title


def test_a_lost_thumbnail_does_not_keep_the_rest_from_a_backup(library: Library, tmp_path: Path) -> None:
    (library.path / "thumbnails" / "00" / "000-0.jpg").unlink()
    about = backup(library, tmp_path / "b.tar")
    assert (about["thumbnails"], about["lost"]) == (17, 1)
    restore(tmp_path / "b.tar", tmp_path / "again")
    with opened(tmp_path / "again") as again:
        assert set(findings(again, full=True)) == {"thumbnails"}


def test_a_lost_array_is_one_line(library: Library, tmp_path: Path) -> None:
    (library.path / library.stored.name / "vectors.f32").unlink()
    with pytest.raises(UserError, match=r"vectors\.f32: is missing"):
        backup(library, tmp_path / "b.tar")
    assert not [one for one in tmp_path.iterdir() if ".tar" in one.name]


def test_a_backup_holds_no_address_of_a_database_or_a_store(library: Library, elsewhere: str, tmp_path: Path) -> None:
    shelves.move(library, elsewhere)
    backup(library, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert b"elsewhere:" not in tar.extractfile("library.toml").read()  # type: ignore[union-attr]
    restore(tmp_path / "b.tar", tmp_path / "again")
    with opened(tmp_path / "again") as again:
        assert again.config.store == "" and answers(again) == answers(library)
    restore(tmp_path / "b.tar", tmp_path / "third", store=elsewhere)  # two libraries in one store
    with opened(tmp_path / "third") as third:
        remove.remove(third, ["0001" * 4])
        assert findings(third, full=True) == findings(library, full=True) == {}


@pytest.fixture
def server(postgres: Postgres) -> str:
    """Return the URL of an empty PostgreSQL database."""
    return postgres.database()


def test_a_backup_goes_to_another_kind_of_database_and_back(library: Library, server: str, tmp_path: Path) -> None:
    library.db.tag(["0002" * 4], ["goal"])
    remove.remove(library, ["0001" * 4])
    expected = dump(library.path, ToyEncoder())
    backup(library, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "server", database=server)
    assert not list((tmp_path / "server").glob("library.db*"))
    with opened(tmp_path / "server") as there:
        assert info(there)["database"]["kind"] == "postgresql"
        assert findings(there, full=True) == {} and answers(there) == answers(library)
        assert there.search("word3", mode="words").hits[0].clip.id.startswith("003-")
        add(there, [9])  # numbers go on where they were
        there.db.begin_job("index", {})
        remove.remove(there, ["0009" * 4])
        prune.prune(there)
        shelves.rebuild(there)
        assert findings(there, full=True) == {}
        backup(there, tmp_path / "c.tar.gz")
    with pytest.raises(UserError, match="holds a library already"):
        restore(tmp_path / "b.tar", tmp_path / "third", database=server)
    restore(tmp_path / "c.tar.gz", tmp_path / "again")
    assert dump(tmp_path / "again", ToyEncoder()) == expected


def test_a_backup_of_postgresql_is_of_one_moment(library: Library, server: str, tmp_path: Path) -> None:
    backup(library, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "server", database=server)

    class Meddler(Silent):
        number = 20

        def task(self, title: str, total: float | None) -> "Meddler":
            return self

        def advance(self, steps: float = 1, note: str = "") -> None:
            if self.number < 23:
                self.number += 1
                with opened(tmp_path / "server") as writer, writer.writing():
                    add(writer, [self.number])

    with opened(tmp_path / "server") as there:
        backup(there, tmp_path / "c.tar", Meddler())
        assert there.store.count() == 27
    restore(tmp_path / "c.tar", tmp_path / "again")
    assert dump(tmp_path / "again", ToyEncoder()) == dump(library.path, ToyEncoder())


def test_restore_refuses_what_is_there(library: Library, tmp_path: Path) -> None:
    backup(library, tmp_path / "b.tar")
    (tmp_path / "d.tar").mkdir()
    with pytest.raises(UserError, match="is not empty"):
        restore(tmp_path / "b.tar", library.path)
    with pytest.raises(UserError, match="no such file"):
        restore(tmp_path / "none.tar", tmp_path / "new")
    for name, why in (("b.zip", "no name for a backup"), ("none/b.tar", "folder is not there"), ("d.tar", "is a folder")):
        with pytest.raises(UserError, match=why):
            backup(library, tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".new.part").mkdir()
    (tmp_path / ".new.part" / "rest").write_text("of a killed call")
    restore(tmp_path / "b.tar", tmp_path / "new")
    restore(tmp_path / "b.tar", tmp_path / "empty")
    assert not (tmp_path / "new" / "rest").exists() and not (tmp_path / ".new.part").exists()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite://", "does not name a file in full"),  # in memory: all would be lost
        ("sqlite:///x.db", "does not name a file in full"),  # another one in each folder
        ("postgresql://me:pass@host/db", "bears a password"),
    ],
)
def test_a_database_that_would_not_be_found_again_is_refused(library: Library, tmp_path: Path, url: str, why: str) -> None:
    backup(library, tmp_path / "b.tar")
    with pytest.raises(UserError, match=why):
        restore(tmp_path / "b.tar", tmp_path / "again", database=url)
    assert not (tmp_path / "again").exists()


BAD = ["cut", "cut gzip", "text", "empty", "flipped", "one lacks", "no manifest", "newer", "above", "absolute", "stranger"]
BAD += ["deep", "symlink", "hardlink", "device", "twice", "sparse", "endless", "negative", "folder", "dotted"]


def _bad(kind: str, good: Path, bad: Path) -> None:
    """Write a backup that is no good one."""
    data = good.read_bytes()
    if kind == "cut":
        bad.write_bytes(data[: len(data) // 2])
    elif kind == "cut gzip":
        bad.write_bytes(gzip.compress(data)[:-200])
    elif kind == "text":
        bad.write_text("no backup\n" * 1000)
    elif kind == "empty":
        bad.touch()
    elif kind == "flipped":
        with tarfile.open(good) as tar:
            at = tar.getmember("embeddings/toy-1/0/vectors.f32").offset_data + 17
        bad.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    else:
        with tarfile.open(good) as tar, tarfile.open(bad, "w") as out:
            for member in tar:
                if kind == "one lacks" and member.name == "thumbnails/00/000-0.jpg":
                    continue
                if member.name == "MANIFEST.json":
                    _odd(kind, out)
                    if kind == "no manifest":
                        continue
                    if kind == "newer":
                        text = json.dumps({"format": 99, "files": {}}).encode()
                        member.size = len(text)
                        out.addfile(member, io.BytesIO(text))
                        continue
                out.addfile(member, tar.extractfile(member))


def _odd(kind: str, out: tarfile.TarFile) -> None:
    names = {"above": "../evil", "absolute": "/tmp/evil", "stranger": "evil", "deep": "thumbnails/../../evil"}
    if kind in names:
        info = tarfile.TarInfo(names[kind])
        info.size = 4
        out.addfile(info, io.BytesIO(b"evil"))
    elif kind in ("sparse", "endless", "negative"):
        info = tarfile.TarInfo("thumbnails/evil")
        info.size = {"sparse": 0, "endless": 1 << 50, "negative": -(1 << 20)}[kind]
        if kind == "sparse":  # a terabyte of zeros in a kilobyte of file
            info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}
        out.fileobj.write(info.tobuf(tarfile.PAX_FORMAT if kind == "sparse" else tarfile.GNU_FORMAT))
    elif kind in ("folder", "dotted"):
        info = tarfile.TarInfo("thumbnails/evil" if kind == "folder" else "./library.toml")
        info.type = tarfile.DIRTYPE if kind == "folder" else tarfile.REGTYPE
        out.addfile(info)
    elif kind in ("symlink", "hardlink", "device", "twice"):
        info = tarfile.TarInfo("thumbnails/evil" if kind != "twice" else "library.toml")
        info.type = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}.get(
            kind, tarfile.REGTYPE
        )
        info.linkname = "library.toml" if kind == "hardlink" else "/etc/passwd"
        out.addfile(info)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_backup_is_refused_in_one_line_and_leaves_nothing(template: Path, tmp_path: Path, kind: str) -> None:
    with opened(shutil.copytree(template, tmp_path / "lib")) as library:
        backup(library, tmp_path / "good.tar")
    _bad(kind, tmp_path / "good.tar", tmp_path / "bad.tar")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        restore(tmp_path / "bad.tar", tmp_path / "new")
    assert "\n" not in str(error.value) and "bad.tar" in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
    if kind == "flipped":
        assert "embeddings/toy-1/0/vectors.f32 is not what it was" in str(error.value)
    if kind == "newer":
        assert "upgrade hit" in str(error.value)


@pytest.mark.parametrize("name", ["../../mine.jpg", "/tmp/mine.jpg"])
def test_a_backup_whose_records_name_files_elsewhere_is_refused(path: Path, tmp_path: Path, name: str) -> None:
    """Else a later `remove` would delete them, and a later backup would hold them."""
    with opened(path) as library:
        backup(library, tmp_path / "good.tar")
        sql(path, f"UPDATE segments SET thumbnail = '{name}' WHERE id = '001-0'")
        with pytest.raises(UserError, match=r"mine\.jpg: is no name"):
            backup(library, tmp_path / "b.tar")
        assert "database" in findings(library)
    tree = tmp_path / "tree"
    with tarfile.open(tmp_path / "good.tar") as tar:
        tar.extractall(tree, filter="data")
    with contextlib.closing(sqlite3.connect(tree / "library.db")) as records, records:  # closed, so that the file has it
        records.execute("UPDATE segments SET thumbnail = ? WHERE id = '001-0'", [name])
    about = json.loads((tree / "MANIFEST.json").read_text())
    about["files"]["library.db"] = {"size": (tree / "library.db").stat().st_size, "sha256": files.sha256(tree / "library.db")}
    (tree / "MANIFEST.json").write_text(json.dumps(about))
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        for file in [*about["files"], "MANIFEST.json"]:
            tar.add(tree / file, file)
    with pytest.raises(UserError, match=r"mine\.jpg: is no name"):
        restore(tmp_path / "bad.tar", tmp_path / "again")
    assert not (tmp_path / "again").exists()


# -- tags, saved searches, info


def test_tags(library: Library) -> None:
    first = next(iter(library.db.files()))
    found = tags.tag(library, [first, "0003" * 4], ["  cup   final ", "goal"])
    assert found["videos"] == {"0000" * 4: ["cup final", "goal"], "0003" * 4: ["cup final", "goal"]}
    assert tags.tag(library, [first], [], ["goal", "never there"])["videos"] == {"0000" * 4: ["cup final"]}
    assert tags.tag(library, [])["tags"] == {"cup final": 2, "goal": 1}
    for bad in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(UserError, match="printable"):
            tags.tag(library, [first], [bad])
    with pytest.raises(UserError, match="no videos are given"):
        tags.tag(library, [], ["goal"])


def test_info_counts_bytes_and_rows(library: Library) -> None:
    remove.remove(library, ["0001" * 4])
    about = info(library)
    assert about["videos"] == {"ready": 5, "indexing": 0, "pending": 0, "failed": 0} and about["segments"] == about["lines"] == 15
    assert about["models"] == [
        {"revision": "toy-1", "current": True, "dim": 8, "vectors": 15, "dead": 3, "bytes": 18 * 32},
    ]
    assert about["store"]["in_step"] and about["store"]["vectors"] == 15 and about["database"]["kind"] == "sqlite"
    assert about["bytes"]["arrays"] == 18 * 32
    assert about["bytes"]["all"] == sum(path.stat().st_size for path in library.path.rglob("*") if path.is_file())
    assert about["jobs"][0]["kind"] == "remove"


# -- the command line


def test_the_commands(path: Path, tmp_path: Path) -> None:
    def run(*words: object, code: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["library", *map(str, words), "--json"])
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}

    assert run("info", path)["segments"] == 18
    assert run("verify", path, code=1)["findings"][0]["part"] == "model"  # the toy has no folder
    assert run("rebuild", path)["vectors"] == 18
    assert run("remove", path, "0001" * 4, "--dry-run")["would_remove"] == ["0001" * 4]
    assert run("remove", path, "0001" * 4)["removed"] == ["0001" * 4]
    assert run("prune", path, "--dry-run")["would_drop"][0]["count"] == 3
    assert run("prune", path)["dropped"][0]["count"] == 3
    assert run("tag", path, "0002" * 4, "--add", "goal")["videos"] == {"0002" * 4: ["goal"]}
    assert run("searches", path)["searches"] == []
    assert run("backup", path, tmp_path / "b.tar")["vectors"] == 15
    assert run("restore", tmp_path / "b.tar", tmp_path / "again")["segments"] == 15
    assert run("export", path, tmp_path / "out")["vectors"] == 15
    for words in (["info", path], ["tag", path], ["prune", path], ["remove", path, "0002" * 4], ["rebuild", path]):
        done = CliRunner().invoke(app, ["library", *map(str, words)])
        assert done.exit_code == 0 and done.stdout, done.output


def test_missing_files_are_forgotten_only_when_somebody_is_sure(path: Path) -> None:
    sql(path, "INSERT INTO files VALUES ('/unmounted/002.mp4', '" + "0002" * 4 + "', 1, 1)")
    done = CliRunner().invoke(app, ["library", "remove", str(path), "--missing"])
    assert isinstance(done.exception, UserError) and "--yes" in str(done.exception)
    done = CliRunner().invoke(app, ["library", "remove", str(path), "--missing", "--yes", "--json"])
    assert json.loads(done.stdout)["files"] == ["/unmounted/002.mp4"]
