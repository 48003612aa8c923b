"""Kills, full disks and second writers: whatever happens to those who change a library, nothing is lost or doubled.

A child is forked, and killed by SIGKILL at the n-th of the calls by which anything becomes lasting: writes, syncs, renames,
links, removals, commits; before the call, after it, or, of a write, in the middle. Then the library is opened as anybody
would open it, verified, and the same command is given again, which must end as if nothing had happened.
"""

import os
import random
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

import hit.index
import hit.pool
import hit.pulse
from hit import settings, stores
from hit.errors import UserError
from hit.library import Library
from hit.stores.local import Local
from hit.types import Store
from hit.upkeep import prune, remove, shelves
from hit.upkeep.backup import backup, restore
from hit.upkeep.export import export
from hit.upkeep.verify import verify
from library_helpers import dump
from toy import PLUGIN, ToyEncoder, render
from upkeep_helpers import add
from upkeep_helpers import library as make

SEED = 6


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setattr(hit.index, "_BATCH", 2)
    monkeypatch.setattr(hit.pulse, "PAUSE", 600.0)  # or what is counted would depend on how long it takes
    monkeypatch.setattr(hit.pool, "stream", _one_process)  # quicker to start, and what is to be killed is the writer
    monkeypatch.setattr(stores, "open", _open)


def _one_process(function: Any, items: Any, workers: int, initializer: Any, args: Any, *_: Any, **__: Any) -> Iterator[Any]:
    initializer(*args)
    items = list(items)
    return ((items[number], part) for number, part in function(iter(items)))


_REAL_OPEN = stores.open


def _open(where: str | Path, dim: int, name: str = "") -> Store:
    kind, _, folder = str(where).partition("elsewhere:")
    return _REAL_OPEN(where, dim, name) if kind or not folder else Elsewhere(Path(folder) / name, dim)


class Elsewhere(Local):
    """A store that is not in the library, as a server's is."""

    def drop(self) -> None:
        self.close()
        shutil.rmtree(self.folder)


# -- the killer


class Countdown:
    """Counts the calls that make something lasting, and kills its process at one of them."""

    def __init__(self, fatal: int) -> None:
        self.fatal, self.calls = fatal, 0

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = real(*args, **kwargs)
            self.step()
            return result

        setattr(owner, name, wrapped)

    def install(self) -> None:
        """Watch this process from now on."""
        for name in ("fsync", "replace", "rename", "link", "unlink", "rmdir", "mkdir"):
            self.wrap(os, name)
        self.wrap(SQLiteDialect, "do_commit")
        real = os.fdopen

        def fdopen(*args: Any, **kwargs: Any) -> Any:  # by it arrays are written
            return Torn(real(*args, **kwargs), self)

        os.fdopen = fdopen


class Torn:
    """A file whose writes may be cut in the middle."""

    def __init__(self, file: IO[bytes], countdown: Countdown) -> None:
        self._file, self._countdown = file, countdown

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._countdown.step()
        return half + self._file.write(data[half:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Torn":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def run(work: Callable[[], object], fatal: int = 0) -> tuple[bool, int, str]:
    """Do work in a child; return whether it was killed, how many calls it made, and the error that it ended with."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        countdown, said = Countdown(fatal), ""
        try:
            countdown.install()
            work()
        except UserError as error:
            said = str(error)
        except BaseException:
            said = traceback.format_exc()
        os.write(writer, f"{countdown.calls} {said}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        calls, _, said = pipe.read().decode().partition(" ")
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), int(calls or 0), said


# -- what is killed


@dataclass
class Case:
    """Something that is done to a library at `path`; `again` is what a user does after a kill."""

    work: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda path: None
    again: Callable[[Path], object] | None = None
    after: Callable[[Path], Path] = lambda path: path  # where the library is in the end
    encoder: str = "toy-1"


def _index(path: Path, revision: str = "toy-1") -> None:
    with Library.open(path, encoder=ToyEncoder(revision)) as library:
        library.index([path.parent / "videos"], workers=1)


def _real(path: Path) -> None:
    """Leave only videos that another model can look at."""
    _index(path)
    _opened(path, lambda library: remove.remove(library, [f"{number:04}" * 4 for number in range(4)]))


def _opened(path: Path, work: Callable[[Library], object]) -> None:
    with Library.open(path, encoder=ToyEncoder()) as library:
        work(library)


def _shrink(path: Path) -> None:
    """Leave rows dead, files stray and a revision behind."""
    with Library.open(path, encoder=ToyEncoder()) as library:
        add(library, range(20, 24))
        remove.remove(library, ["0014" * 4, "0016" * 4])
        add(library, [23], revision="toy-0")
    (path / "thumbnails" / "stray.jpg").write_bytes(b"stray")


def _remove_again(path: Path) -> None:
    """Give the command again; where it was killed late, the video is gone already, and only a poster may be left."""
    try:
        _opened(path, lambda library: remove.remove(library, ["0003" * 4, "0001" * 4]))
    except UserError as error:
        assert "knows no video" in str(error)
    with Library.open(path, encoder=ToyEncoder()) as library:
        for stray in _strays(library):
            stray.unlink()


def _strays(library: Library) -> list[Path]:
    from hit.upkeep import leftovers

    return [path for one in leftovers.find(library) if one.what.startswith("thumbnails") for path in one.paths]


def _back_up_and_restore(path: Path) -> None:
    _opened(path, lambda library: backup(library, path.parent / "b.tar"))
    restore(path.parent / "b.tar", path.parent / "again")


CASES = {
    "add": Case(_index),
    "swap": Case(lambda path: _index(path, "toy-2"), prepare=_real, encoder="toy-2"),
    "remove": Case(
        lambda path: _opened(path, lambda library: remove.remove(library, ["0003" * 4, "0001" * 4])), again=_remove_again
    ),
    "rebuild": Case(lambda path: _opened(path, shelves.rebuild)),
    "prune": Case(lambda path: _opened(path, prune.prune), prepare=_shrink),
    "move": Case(
        lambda path: _opened(path, lambda library: shelves.move(library, f"elsewhere:{path.parent / 'elsewhere'}", drop_old=True))
    ),
    "restore": Case(
        lambda path: restore(path.parent / "b.tar", path.parent / "again"),
        prepare=lambda path: _opened(path, lambda library: backup(library, path.parent / "b.tar")),
        after=lambda path: path.parent / "again",
    ),
    "backup": Case(
        lambda path: _opened(path, lambda library: backup(library, path.parent / "b.tar")),
        again=_back_up_and_restore,
        after=lambda path: path.parent / "again",
    ),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a library of four videos, and two videos that are not in it."""
    folder = tmp_path_factory.mktemp("start")
    make(folder / "lib", videos=4).close()
    render(folder / "videos" / "red.mp4", ["red"], seconds=1.0)
    render(folder / "videos" / "long.mp4", ["green", "red", "blue"], seconds=5.0)
    return folder


def _same(folder: Path, path: Path, case: Case) -> dict[str, Any]:
    """Return what the library is, without what differs from folder to folder, and without unfinished files."""
    found = dump(case.after(path), ToyEncoder(case.encoder))
    found["posters"] = {name: digest for name, digest in found["posters"].items() if not name.endswith(".part")}
    found["files"] = sorted((str(row[0]).replace(str(folder), ""), *row[1:3]) for row in found["files"])
    return found


def kill_and_compare(start: Path, tmp_path: Path, name: str, kills: int) -> int:
    """Kill a command at `kills` points, spread over all of its calls; return how many kills there were."""
    case, rng, killed = CASES[name], random.Random(f"{SEED} {name}"), 0

    def fresh(label: str) -> Path:
        folder = tmp_path / label
        shutil.copytree(start, folder)
        case.prepare(folder / "lib")
        return folder / "lib"

    path = fresh("undisturbed")
    dead, calls, said = run(lambda: case.work(path))
    assert (dead, said) == (False, "") and calls > 4
    if name == "backup":
        restore(path.parent / "b.tar", path.parent / "again")
    expected = _same(path.parent, path, case)
    assert expected["nearest"] == expected["oracle"] and expected["unsynced"] == []
    for number in range(kills):
        fatal = 1 + int((number + rng.random()) * calls / kills)
        path = fresh(f"{name}-{number}")
        dead, _, said = run(lambda path=path, fatal=fatal: case.work(path), fatal)  # type: ignore[misc]
        assert dead or not said, (fatal, said)
        killed += dead
        if number % 3 == 2 and name not in ("remove", "backup"):  # and once more, somewhere else
            killed += run(lambda path=path: case.work(path), rng.randrange(1, calls))[0]  # type: ignore[misc]
        with Library.open(path, encoder=ToyEncoder(settings.read(path).model.revision)) as library:
            wrong = [one for one in verify(library, full=True)["findings"] if not one["note"]]
            assert wrong == [], f"{name} killed at call {fatal} of {calls}: {wrong}"
        if case.after(path) == path or not case.after(path).exists():  # what was restored before the kill is there
            (case.again or case.work)(path)
        assert _same(path.parent, path, case) == expected, f"{name} killed at call {fatal} of {calls}"
        with Library.open(case.after(path), encoder=ToyEncoder(case.encoder)) as library:
            assert verify(library, full=True)["sound"]
        shutil.rmtree(path.parent)
    return killed


# -- what is killed, and what became of it


@pytest.mark.parametrize("name", CASES)
def test_a_kill_loses_nothing(start: Path, tmp_path: Path, name: str) -> None:
    assert kill_and_compare(start, tmp_path, name, 2) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_many_kills_lose_nothing(start: Path, tmp_path: Path, name: str) -> None:
    assert kill_and_compare(start, tmp_path, name, 24) >= 15


# -- two writers at once


@pytest.mark.parametrize("name", ["add", "remove", "rebuild", "prune", "move"])
def test_a_second_writer_waits_or_is_told(start: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shutil.copytree(start, tmp_path / "two") / "lib"
    monkeypatch.setattr("hit.library._WAIT", 0.05)
    with Library.open(path, encoder=ToyEncoder()) as first, first.writing():
        _, _, said = run(lambda: CASES[name].work(path))
        assert "another process is writing to it" in said and "\n" not in said
        add(first, [40])
    monkeypatch.setattr("hit.library._WAIT", 30.0)
    (ready, go), (started, start_) = os.pipe(), os.pipe()
    child = os.fork()  # before there is a lock: a child would hold it too
    if child == 0:
        code = 1
        try:
            os.read(ready, 1)
            os.write(start_, b"!")
            CASES[name].work(path)  # waits
            code = 0
        finally:
            os._exit(code)
    with Library.open(path, encoder=ToyEncoder()) as first:
        with first.writing():
            os.write(go, b"!")
            os.read(started, 1)
            add(first, [41])
        assert os.waitpid(child, 0)[1] == 0
        assert verify(first, full=True)["sound"]
        assert {"0028" * 4, "0029" * 4} <= {known.video for known in first.db.files().values()}


# -- no room


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"a small disk cannot be mounted: {error}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _fill(folder: Path, free: int) -> None:
    """Leave so many bytes."""
    with (folder / "ballast").open("wb") as file:
        about = os.statvfs(folder)
        file.write(bytes(max(0, about.f_bavail * about.f_frsize - free)))


FULL: dict[str, Callable[[Path], object]] = {
    "add": _index,
    "remove": lambda path: _opened(path, lambda library: remove.remove(library, ["0003" * 4])),
    "rebuild": lambda path: _opened(path, shelves.rebuild),
    "prune": lambda path: _opened(path, prune.prune),
    "backup": lambda path: _opened(path, lambda library: backup(library, path.parent / "b.tar")),
    "export": lambda path: _opened(path, lambda library: export(library, path.parent / "out")),
    "restore": lambda path: restore(path.parent / "b.tar", path.parent / "again"),
    "move": lambda path: _opened(path, lambda library: shelves.move(library, f"elsewhere:{path.parent / 'elsewhere'}")),
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_is_one_clear_line_and_the_library_is_whole(start: Path, small_disk: Path, name: str) -> None:
    path = small_disk / "lib"
    shutil.copytree(start / "lib", path)
    (small_disk / "videos").symlink_to(start / "videos")
    _shrink(path)
    if name == "restore":
        FULL["backup"](path)
    told, done = 0, False
    for free in (0, 8192, 24576, 65536, 131072, 10**9):
        _fill(small_disk, free)
        try:
            FULL[name](path)
            done = True
        except UserError as error:
            done = "knows no video" in str(error)  # only to note that it is done had no room
            told += not done
            assert "\n" not in str(error) and (done or "room" in str(error) or "space" in str(error)), str(error)
        (small_disk / "ballast").unlink()
        with Library.open(path, encoder=ToyEncoder()) as library:
            assert [one for one in verify(library, full=True)["findings"] if not one["note"]] == []
        if done:
            break
    assert told and done
    names = [made.name for made in small_disk.iterdir()]
    assert not [name for name in names if name.startswith(".")]


def test_a_folder_that_cannot_be_written_to_is_one_clear_line(start: Path, small_disk: Path) -> None:
    path = small_disk / "lib"
    shutil.copytree(start / "lib", path)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        for name, work in FULL.items():
            if name == "restore":
                continue
            with pytest.raises(UserError) as error:
                work(path)
            assert "\n" not in str(error.value), name
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
