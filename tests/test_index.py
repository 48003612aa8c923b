"""Index: what a run does to each file, and that neither a kill nor a second process changes the result."""

import functools
import http.server
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hit import analysis, console, pool, video, watch
from hit.errors import UserError
from hit.index import Report
from hit.journal import Journal
from hit.library import Library
from hit.segments import SegmentConfig
from hit.stores.local import Local
from library_helpers import dump, good_videos
from nearby import here
from postgres import Postgres
from toy import PLUGIN, ToyEncoder, render


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    return tmp_path / "diary"


@pytest.fixture
def library(tmp_path: Path, diary: Path) -> Iterator[Library]:
    with Library.create(tmp_path / "lib", encoder=ToyEncoder(diary=diary)) as made:
        yield made


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("five")
    good_videos(folder)
    return folder


def index(library: Library, *paths: Path, retry: bool = False) -> Report:
    return library.index(paths, workers=1, retry=retry)


def numbers(report: Report) -> dict[str, int]:
    keys = ("added", "unchanged", "moved", "duplicates")
    return {key: getattr(report, key) for key in keys if getattr(report, key)} | (
        {"failed": len(report.failed)} if report.failed else {}
    )


def seen(diary: Path) -> list[str]:
    return diary.read_text().split() if diary.exists() else []


def sound_only(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


# -- good and bad files


def test_bad_files_have_their_line_and_stop_nothing(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "six"
    good = [render(folder / "good 1.mp4", ["red"]), render(folder / "good 2.mp4", ["green"], sound=True)]
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    whole = render(tmp_path / "whole.mp4", ["blue", "red"]).read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "beheaded.mp4").write_bytes(whole[:300])
    sound_only(folder / "sound.mp4")
    video.write(folder / "one.mp4", [np.full((48, 64, 3), 200, np.uint8)], 25.0)
    video.write(folder / "4k.mp4", [np.full((2160, 3840, 3), i, np.uint8) for i in range(4)], 10.0)
    report = library.index([folder], workers=2)
    assert numbers(report) == {"added": 5, "failed": 4}
    assert (report.videos, report.segments) == (5, 5)
    reasons = {Path(failure.path).name: failure.reason for failure in report.failed}
    assert list(reasons) == ["beheaded.mp4", "sound.mp4", "text.mp4", "zero.mp4"]
    assert "no pictures" in reasons["sound.mp4"]
    assert all(reason and "\n" not in reason and str(folder) not in reason for reason in reasons.values()), reasons
    paths = {hit.clip.path for hit in library.search("red", limit=99).hits}
    assert paths == {*good, folder / "one.mp4", folder / "4k.mp4", folder / "truncated.mp4"}
    log = (library.path / "library.log").read_text()
    assert all(name in log for name in reasons)
    entries = {Path(name).name: entry for name, entry in Journal(library.path / "journal.jsonl").read().items()}
    assert {name: entry.reason for name, entry in entries.items() if entry.status == "failed"} == reasons
    assert {name for name, entry in entries.items() if entry.status == "done"} == {path.name for path in paths}
    assert entries["good 1.mp4"].duration == pytest.approx(2.0)
    assert entries["good 1.mp4"].seconds > 0
    again = library.index([folder], workers=2)
    assert numbers(again) == {"unchanged": 5, "failed": 4} and again.failed == report.failed


def _kill_or_hang(config: SegmentConfig, job: analysis.Job, *rest: Any) -> watch.Plan:
    if job.path.stem == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.path.stem == "hangs":
        signal.pause()
    return _PLAN(config, job, *rest)


_PLAN = analysis._plan


def test_files_that_kill_or_hang_their_worker_have_their_line(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "four"
    for number, name in enumerate(["a", "hangs", "kills", "z"]):
        render(folder / f"{name}.mp4", ["red"], seconds=1 + number / 4)
    monkeypatch.setattr(analysis, "_plan", _kill_or_hang)
    report = library.index([folder], workers=1, limits=pool.Limits(silence=5))
    assert numbers(report) == {"added": 2, "failed": 2}
    reasons = {Path(failure.path).stem: failure.reason for failure in report.failed}
    assert "no progress for 5 s" in reasons["hangs"]
    assert "SIGKILL" in reasons["kills"]


def test_the_segment_of_a_truncated_video_ends_with_its_pictures(library: Library, tmp_path: Path) -> None:
    whole = render(tmp_path / "whole.mp4", ["blue", "red", "green", "blue"]).read_bytes()
    path = tmp_path / "part.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    assert numbers(index(library, path)) == {"added": 1}
    hit = library.search("blue").hits[0]
    assert 1 < hit.clip.end < 7


def test_a_worker_that_dies_or_raises_costs_its_file_only(library: Library, tmp_path: Path) -> None:
    for i, name in enumerate(["a", "deadly", "m", "puzzling", "z"]):
        render(tmp_path / "v" / f"{name}.mp4", ["red", "blue"], seconds=1 + i / 8)
    report = index(library, tmp_path / "v")
    assert numbers(report) == {"added": 3, "failed": 2}
    reasons = {Path(failure.path).name: failure.reason for failure in report.failed}
    assert "died" in reasons["deadly.mp4"] and "a puzzle" in reasons["puzzling.mp4"]
    assert "Traceback" in (library.path / "library.log").read_text()  # a defect of the expert's keeps its traceback


def test_a_path_that_does_not_exist_is_told_before_work_begins(library: Library, tmp_path: Path, diary: Path) -> None:
    path = render(tmp_path / "a.mp4", ["red"])
    with pytest.raises(UserError, match="no such file"):
        index(library, path, tmp_path / "b.mp4")
    assert seen(diary) == []


def test_files_that_cannot_be_read_or_named(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    render(folder / "a.mp4", ["red"])
    (folder / "dangling.mp4").symlink_to("nowhere")
    shutil.copy(folder / "a.mp4", folder / os.fsdecode(b"\xff.mp4"))
    report = index(library, folder)
    assert numbers(report) == {"added": 1, "failed": 2}
    assert {Path(failure.path).name: failure.reason for failure in report.failed} == {
        "dangling.mp4": "No such file or directory",
        "\\xff.mp4": "its name is not valid UTF-8",
    }


# -- which files


def test_folders_are_walked_with_sense(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    odd = ["ünï 動画.MP4", "with space.mkv", "new\nline.mp4", "-dash.mp4", "deep/er/x.mov"]
    for i, name in enumerate(odd):
        made = render(folder / f"{i}.mp4", ["red"], seconds=1 + i / 8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        made.rename(folder / name)
    render(folder / ".hidden.mp4", ["blue"])
    render(folder / ".trash" / "old.mp4", ["blue"])
    (folder / "notes.txt").write_text("not a video")
    (folder / "deep" / "loop").symlink_to(folder)
    report = index(library, folder, folder / "deep")
    assert numbers(report) == {"added": 5}
    assert {str(here(hit.clip.path).relative_to(folder)) for hit in library.search("red").hits} == set(odd)


def test_a_file_that_is_named_is_tried_whatever_its_name(library: Library, tmp_path: Path) -> None:
    path = render(tmp_path / "x.mp4", ["red"]).rename(tmp_path / ".hidden")
    assert numbers(index(library, path)) == {"added": 1}


def test_relative_paths_are_recorded_as_absolute(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(tmp_path / "v" / "a.mp4", ["red"])
    monkeypatch.chdir(tmp_path / "v")
    index(library, Path("a.mp4"), Path(), Path("../v/a.mp4"))
    assert [hit.clip.path for hit in library.search("red").hits] == [tmp_path / "v" / "a.mp4"]


def test_patterns_lists_and_urls_are_taken(library: Library, tmp_path: Path) -> None:
    good_videos(tmp_path / "v")
    (tmp_path / "list.csv").write_text("video,caption\nv/sub/blue.mp4,no caption is needed\nv/none.mp4,\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "v"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        url = f"http://127.0.0.1:{server.server_port}/sub/green.mp4"

        def run() -> Report:
            return library.index([tmp_path / "v" / "r*.mp4", url], lists=[str(tmp_path / "list.csv")], http=True, workers=1)

        with pytest.raises(UserError, match="add --http"):
            library.index([url])
        report = run()
        assert numbers(report) == {"added": 4, "failed": 1}
        assert report.failed[0].path == str(tmp_path / "v" / "none.mp4")
        assert numbers(run()) == {"unchanged": 4, "failed": 1}
        server.shutdown()
    paths = {here(hit.clip.path).relative_to(tmp_path) for hit in library.search("green", limit=99).hits}
    copy = Path("lib", "remote", "http", f"127.0.0.1%3A{server.server_port}", "sub", "green.mp4")
    assert paths == {Path("v/red.mp4"), Path("v/red then blue.mp4"), Path("v/sub/blue.mp4"), copy}


# -- runs after the first


def test_a_second_run_does_nothing(library: Library, five: Path, diary: Path) -> None:
    first = index(library, five)
    assert numbers(first) == {"added": 5}
    before, looked = dump(library.path, ToyEncoder()), seen(diary)
    times = {path: path.stat().st_mtime_ns for path in library.path.rglob("*.*") if ".db" not in path.name}
    second = index(library, five)
    assert numbers(second) == {"unchanged": 5}
    assert (second.videos, second.segments) == (first.videos, first.segments)
    assert seen(diary) == looked and dump(library.path, ToyEncoder()) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert before["nearest"] == before["oracle"]


def test_renamed_copied_and_touched_files_are_not_decoded_again(library: Library, tmp_path: Path, diary: Path) -> None:
    folder = tmp_path / "v"
    red, blue = render(folder / "red.mp4", ["red"]), render(folder / "blue.mp4", ["blue"])
    index(library, folder)
    looked = seen(diary)
    ids = {hit.clip.id for hit in library.search("red").hits}
    red.rename(folder / "rouge.mp4")
    shutil.copy(blue, folder / "copy of blue.mp4")
    os.utime(blue, (1, 1))
    assert numbers(index(library, folder)) == {"unchanged": 1, "moved": 1, "duplicates": 1}
    assert seen(diary) == looked
    hits = library.search("red").hits
    assert {hit.clip.id for hit in hits} == ids
    assert hits[0].clip.path == folder / "rouge.mp4"
    assert numbers(index(library, folder)) == {"unchanged": 3}


def test_equal_files_are_recorded_once(library: Library, tmp_path: Path, diary: Path) -> None:
    red = render(tmp_path / "v" / "red.mp4", ["red"])
    for i in range(3):
        shutil.copy(red, red.with_name(f"{i}.mp4"))
    assert numbers(index(library, red.parent)) == {"added": 1, "duplicates": 3}
    assert len(seen(diary)) == 1 and len(library.search("red").hits) == 1


def test_a_file_with_new_content_is_indexed_anew(library: Library, tmp_path: Path) -> None:
    path = render(tmp_path / "v" / "a.mp4", ["red"])
    render(tmp_path / "v" / "b.mp4", ["green"])
    index(library, path.parent)
    old = library.search("red").hits[0]
    render(path, ["blue"])
    assert numbers(index(library, path.parent)) == {"added": 1, "unchanged": 1}
    hits = library.search("red").hits
    assert len(hits) == 2 and old.clip.id not in {hit.clip.id for hit in hits}
    assert not here(old.thumbnail).exists()
    assert library.search("blue").hits[0].clip.path == path
    assert library.store.count() == 2
    state = dump(library.path, ToyEncoder())
    assert state["nearest"] == state["oracle"] and state["unsynced"] == []


def test_a_file_that_turns_bad_is_no_longer_found(library: Library, tmp_path: Path) -> None:
    path = render(tmp_path / "v" / "a.mp4", ["red"])
    render(tmp_path / "v" / "b.mp4", ["green"])
    index(library, path.parent)
    path.write_text("no video")
    assert numbers(index(library, path.parent)) == {"unchanged": 1, "failed": 1}
    state = dump(library.path, ToyEncoder())
    assert (len(state["ids"]), len(state["posters"]), state["unsynced"]) == (1, 1, [])


def test_a_copy_elsewhere_is_no_move(library: Library, tmp_path: Path) -> None:
    path = render(tmp_path / "here" / "a.mp4", ["red"])
    index(library, path)
    (tmp_path / "there").mkdir()
    copy = Path(shutil.copy(path, tmp_path / "there"))
    assert numbers(index(library, copy.parent)) == {"duplicates": 1}
    assert library.search("red").hits[0].clip.path == path
    path.unlink()
    assert numbers(index(library, copy)) == {"unchanged": 1}
    assert library.search("red").hits[0].clip.path == copy


def test_a_failed_file_is_tried_again_when_it_changed_or_on_request(library: Library, tmp_path: Path, diary: Path) -> None:
    path = render(tmp_path / "puzzling.mp4", ["red"])
    for retry, expected in ((False, 1), (False, 1), (True, 2)):
        assert numbers(index(library, path, retry=retry)) == {"failed": 1}
        assert len(seen(diary)) == expected
    os.utime(path, (1, 1))
    index(library, path)
    assert len(seen(diary)) == 3
    shutil.move(path, tmp_path / "solved.mp4")  # the toy expert has no trouble with this name
    assert numbers(index(library, tmp_path / "solved.mp4")) == {"added": 1}


def test_a_file_that_changes_while_it_is_read_is_not_recorded_as_what_it_was(library: Library, tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", ["red"])
    other = render(tmp_path / "b.mp4", ["blue"]).read_bytes()

    class Meddler:
        def task(self, title: str, total: float | None) -> "Meddler":
            if title == "Indexing":
                path.write_bytes(other)
            return self

        def __enter__(self) -> "Meddler":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def advance(self, steps: float = 1, note: str = "") -> None:
            pass

    report = library.index([path], workers=1, progress=Meddler())
    assert [failure.reason for failure in report.failed] == ["changed while it was read (index it again)"]
    assert numbers(index(library, path)) == {"added": 1}


def test_what_was_done_to_the_end_is_said_to_be_done(library: Library, five: Path) -> None:
    said = io.StringIO()
    library.index([five / "long.mp4"], workers=1, progress=console.Bars(said))
    assert [line.split(":")[0] for line in said.getvalue().splitlines() if "done" in line] == ["Reading files", "Indexing"]


# -- segments


def test_long_videos_are_cut_at_their_shots(library: Library, five: Path) -> None:
    index(library, five / "long.mp4")
    hits = sorted(library.search("red", limit=99).hits, key=lambda hit: hit.clip.start)
    assert [(hit.clip.start, hit.clip.end) for hit in hits] == [(0, 5), (5, 10), (10, 15), (15, 20)]
    assert [hit.seek for hit in hits] == [0, 5, 10, 15]
    assert library.search("red").hits[0].clip.start == 5
    assert all(here(hit.thumbnail).read_bytes()[:2] == b"\xff\xd8" for hit in hits)


def test_windows_where_that_is_asked_for(tmp_path: Path, five: Path) -> None:
    config = SegmentConfig("windows", window=4.0)
    with Library.create(tmp_path / "lib", encoder=ToyEncoder(), segments=config) as library:
        index(library, five / "long.mp4")
    with Library.open(tmp_path / "lib", encoder=ToyEncoder()) as library:
        hits = library.search("red", limit=99).hits
        assert sorted(hit.clip.start for hit in hits) == [0, 4, 8, 12, 16]


# -- kills, and several processes

RUN = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {plugin!r}]
from toy import ToyEncoder
import hit.db, hit.files, hit.index, hit.library, hit.pool, hit.stores.local

hit.index._BATCH = 2
hit.library._WAIT = 100.0  # for tests on a machine at work
fatal, calls = int(sys.argv[3]), 0

def mine(owner, name):
    real = getattr(owner, name)
    def wrapped(*args, **kwargs):
        global calls
        for step in (0, 1):  # before, and after
            calls += 1
            if calls == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            if step == 0:
                result = real(*args, **kwargs)
        return result
    setattr(owner, name, wrapped)

def one_process(function, items, workers, initializer, args, *_, **__):  # quicker to start
    initializer(*args)
    items = list(items)
    return ((items[number], part) for number, part in function(iter(items)))

if fatal:
    hit.pool.stream = one_process
for name in ("record_files", "begin", "finish", "synced"):
    mine(hit.db.Database, name)
mine(hit.stores.local.Local, "_publish")
mine(hit.arrays.Matrix, "write")
mine(hit.files, "write_whole")

if __name__ == "__main__":
    from hit.library import Library
    path = Path(sys.argv[1])
    if (path / "library.toml").exists():
        library = Library.open(path, encoder=ToyEncoder())
    else:
        library = Library.create(path, encoder=ToyEncoder(), database=sys.argv[4])
    report = library.index([Path(sys.argv[2])], workers=1)
    print(calls, report.added)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "run.py"
    path.write_text(RUN.format(tests=str(Path(__file__).parent), plugin=str(PLUGIN)))
    return path


def start(script: Path, library: Path, videos: Path, fatal: int = 0, database: str = "") -> "subprocess.Popen[str]":
    words = [sys.executable, str(script), str(library), str(videos), str(fatal), database]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> list[int]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [int(word) for word in out.split()]


def test_a_kill_at_any_point_then_the_same_command_equals_an_undisturbed_run(script: Path, tmp_path: Path, five: Path) -> None:
    calls, added = finish(start(script, tmp_path / "undisturbed", five, 10**9))
    assert added == 5
    expected = dump(tmp_path / "undisturbed", ToyEncoder())
    assert expected["nearest"] == expected["oracle"] and len(expected["ids"]) == 8
    killed = 0
    for fatal in range(1, calls, calls // 7):
        process = start(script, tmp_path / "killed", five, fatal)
        process.communicate(timeout=120)
        killed += process.returncode == -signal.SIGKILL
        if fatal % 2:  # now and then the second run is killed as well
            start(script, tmp_path / "killed", five, max(2, calls - fatal)).communicate(timeout=120)
        finish(start(script, tmp_path / "killed", five, 10**9))
        assert dump(tmp_path / "killed", ToyEncoder()) == expected, f"killed at call {fatal} of {calls}"
        shutil.rmtree(tmp_path / "killed")
    assert killed >= 8


def test_a_kill_at_some_points_on_postgresql(script: Path, tmp_path: Path, five: Path, postgres: Postgres) -> None:
    """Fewer points than on SQLite, which show that its transactions are ours; what happens between them is the same code."""
    calls, _ = finish(start(script, tmp_path / "undisturbed", five, 10**9))
    expected = dump(tmp_path / "undisturbed", ToyEncoder())
    for fatal in range(calls // 4, calls, calls // 2):
        database = postgres.database()
        process = start(script, tmp_path / "killed", five, fatal, database)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        finish(start(script, tmp_path / "killed", five, 10**9, database))
        assert dump(tmp_path / "killed", ToyEncoder()) == expected, f"killed at call {fatal} of {calls}"
        shutil.rmtree(tmp_path / "killed")


def test_two_processes_at_once_lose_nothing(script: Path, tmp_path: Path, five: Path, database_url: str) -> None:
    Library.create(tmp_path / "lib", encoder=ToyEncoder(), database=database_url).close()
    processes = [start(script, tmp_path / "lib", five) for _ in range(2)]
    assert sorted(finish(process)[1] for process in processes) == [0, 5]  # the second one waited
    finish(start(script, tmp_path / "alone", five))
    assert dump(tmp_path / "lib", ToyEncoder()) == dump(tmp_path / "alone", ToyEncoder())


def test_who_waits_too_long_is_told(library: Library, five: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.library._WAIT", 0.05)
    with library.writing(0), Library.open(library.path, encoder=ToyEncoder()) as other:
        with pytest.raises(UserError, match="another process is writing"):
            index(other, five)
        assert other.store.count() == 0  # reading goes on


def test_lost_and_stray_vectors_are_made_good_at_opening(library: Library, five: Path) -> None:
    index(library, five)
    expected = dump(library.path, ToyEncoder())
    (library.path / library.stored.name / "state").unlink()
    assert dump(library.path, ToyEncoder()) == expected
    with Library.open(library.path, encoder=ToyEncoder()) as opened:
        opened.store.delete(opened.store.keys()[:2])
        opened.store.put(np.array([99]), np.ones((1, 8), np.float32))
    assert dump(library.path, ToyEncoder()) == expected


def test_torch_is_not_needed(tmp_path: Path, five: Path, script: Path) -> None:
    code = f"""
import sys
sys.argv = ["run.py", {str(tmp_path / "lib")!r}, {str(five)!r}, "0", ""]
if __name__ == "__main__":
    exec(open({str(script)!r}).read())
    print(library.search("green", videos=[Path({str(five / "sub" / "green.mp4")!r})]).hits[-1].clip.path.name)
    assert "torch" not in sys.modules
"""
    (tmp_path / "code.py").write_text(code)
    done = subprocess.run([sys.executable, str(tmp_path / "code.py")], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 and done.stdout.split("\n")[-2] == "red then blue.mp4", done.stderr


def test_a_store_that_has_grown_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is, the local store makes codes; of next to nothing here."""
    for name, value in {"_SMALL": 16, "_SPARSE": 1, "_LOST": 1.0, "_SLACKS": (99.0,)}.items():
        monkeypatch.setattr(f"hit.stores.local.{name}", value)
    few, more = render(tmp_path / "few.mp4", ["red"]), render(tmp_path / "more.mp4", ["red", "blue", "green"], seconds=3.0)
    with Library.create(tmp_path / "lib", encoder=ToyEncoder(), segments=SegmentConfig("windows", 0.5, 0.25, 0.5)) as library:
        index(library, few)
        assert isinstance(library.store, Local) and library.store.recall() is None
        index(library, more)
        assert library.db.counts()["segments"] > 16 and library.store.recall() == 1.0
