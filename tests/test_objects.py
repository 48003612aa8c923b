"""Folders of files: one contract over a disk, a URL of a disk, S3 and memory; and what only a server can do wrong."""

import errno
import hashlib
import io
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hit import objects
from hit.errors import AwayError, UserError
from hit.objects import Folder, bucket, contract
from s3 import S3, Gate, environment, gate, moto, s3

__all__ = ["gate", "moto", "s3"]  # fixtures
KINDS = ("disk", "file", "memory", "s3")
_numbers = itertools.count()


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """Return an empty folder of each kind."""
    return objects.folder(place(request, str(request.param), tmp_path))


def place(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> str:
    """Return the URL of a folder, not the top one of its place, with letters that URLs write otherwise."""
    if kind == "s3":
        server: S3 = request.getfixturevalue("s3")
        return f"{server.bucket()}/a b/c%20ü"
    tops = {"disk": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://test{next(_numbers)}"}
    return f"{tops[kind]}/top"


def names(folder: Folder, prefix: str = "") -> list[str]:
    return [entry.name for entry in folder.list(prefix)]


# -- the contract


def test_what_is_written_is_read(folder: Folder) -> None:
    folder.write("a/b.bin", b"one")
    before = folder.head("a/b.bin")
    assert (before.name, before.size) == ("a/b.bin", 3) and folder.read("a/b.bin") == b"one"
    folder.write("a/b.bin", b"and two")
    after = folder.head("a/b.bin")
    assert folder.read("a/b.bin") == b"and two" and after.mark != before.mark and after.modified >= before.modified
    folder.write("empty", b"")
    assert folder.read("empty") == b"" and folder.open("empty").read() == b""
    assert pickle.loads(pickle.dumps(folder)).read("a/b.bin") == b"and two"


def test_of_many_who_make_a_file_one_does(folder: Folder) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: folder.create("a/b", b"%d" % number), range(8)))
    assert sum(made) == 1 and folder.read("a/b") == b"%d" % made.index(True)
    assert names(folder) == ["a/b"] and not folder.create("a/b", b"x")


def test_a_disk_that_is_full_or_knows_no_second_names_makes_a_file_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = objects.folder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(UserError, match="there is no room"):
            folder.create("a", b"x")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "link", refuse)
    assert folder.create("a", b"x") and not folder.create("a", b"y") and folder.read("a") == b"x"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_folder_is_the_first_ones_and_who_fails_leaves_what_is_anothers(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ZeroDivisionError), objects.claimed(folder.url, "one"):
        _ = 1 / 0
    assert names(folder) == []
    with pytest.raises(ZeroDivisionError), objects.claimed(folder.url, "one"):
        folder.write(objects.OWNER, b"two")
        _ = 1 / 0
    assert folder.read(objects.OWNER) == b"two"
    read, asked = type(folder).read, []

    def late(self: Folder, name: str) -> bytes:
        asked.append(name)
        if len(asked) == 1:  # the other one writes after this look
            raise FileNotFoundError
        return read(self, name)

    monkeypatch.setattr(type(folder), "read", late)
    with pytest.raises(UserError, match="files of another library"):
        objects.claim(folder.url, "one")
    assert folder.read(objects.OWNER) == b"two" and not objects.claim(folder.url, "two")


def test_threads_that_write_the_same_file_never_show_a_part(tmp_path: Path) -> None:
    source, target = tmp_path / "source", objects.folder(tmp_path / "top")
    source.write_bytes(b"x" * 100_000)
    with ThreadPoolExecutor(8) as pool:
        for writing in (lambda _: target.write("a", source.read_bytes()), lambda _: target.upload("a", source)):
            for done in [pool.submit(writing, number) for number in range(24)]:
                done.result()  # none of them took another's away
                assert target.head("a").size == 100_000
    assert [path.name for path in (tmp_path / "top").iterdir()] == ["a"]


def test_names_of_all_kinds(folder: Folder) -> None:
    odd = ["ü/ö ä.mp4", "100%/%41", "a#b?c", "a+b&c=d", "*[x]", "..x", ".hidden/y", "a:b", "~"]
    for number, name in enumerate(odd):
        folder.write(name, bytes([number]))
    assert names(folder) == sorted(odd, key=str.encode)
    assert [folder.read(name)[0] for name in odd] == list(range(len(odd)))


@pytest.mark.parametrize("name", ["", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".", "a/./b", "..", "a\nb", "a\x00b"])
def test_a_name_that_leads_elsewhere_is_refused(folder: Folder, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"x")
    for act in (
        lambda: folder.read(name),
        lambda: folder.read_range(name, 0, 1),
        lambda: folder.write(name, b""),
        lambda: folder.upload(name, target),
        lambda: folder.download(name, target),
        lambda: folder.open(name),
        lambda: folder.head(name),
        lambda: folder.delete([name]),
    ):
        with pytest.raises(UserError, match="is no name for a file"):
            act()
    assert target.read_bytes() == b"x" and sorted(path.name for path in tmp_path.iterdir()) == ["target"]


def test_what_is_not_there_is_said(folder: Folder, tmp_path: Path) -> None:
    folder.write("a/b", b"x")
    for name in ("none", "a", "a/b/c"):
        for act in (folder.read, folder.head, folder.open, lambda it: folder.download(it, tmp_path / "copy")):
            with pytest.raises(FileNotFoundError):
                act(name)
    assert list(tmp_path.glob("*copy*")) == [] and names(folder, "none") == []
    folder.delete(["none", "a/b", "nor/this"])
    assert names(folder) == []


def test_ranges(folder: Folder) -> None:
    data = bytes(range(100))
    folder.write("x", data)
    mark = folder.head("x").mark
    for start, end in ((0, 100), (3, 4), (5, 5), (90, 200), (100, 110), (150, 160)):
        assert folder.read_range("x", start, end) == data[start:end] == folder.read_range("x", start, end, mark)


def test_what_changed_since_it_was_looked_at_is_not_taken_for_it(folder: Folder) -> None:
    folder.write("x", b"before")
    mark = folder.head("x").mark
    folder.write("x", b"after.")
    with pytest.raises(UserError, match="changed while it was read"):
        folder.read_range("x", 0, 3, mark)


def test_a_listing_is_of_folders_in_order(folder: Folder) -> None:
    some = ["b", "a/2", "a/10", "a/b/c", "a-b", "a.b", "ab/c"]
    for name in some:
        folder.write(name, name.encode())
    assert names(folder) == sorted(some)
    assert names(folder, "a") == ["a/10", "a/2", "a/b/c"]  # and neither ab/c nor a-b
    assert names(folder, "a/b") == ["a/b/c"] and names(folder, "x") == []
    assert {entry.size for entry in folder.list("a/b")} == {5}
    folder.delete(some[:3])
    assert names(folder) == ["a-b", "a.b", "a/b/c", "ab/c"]


def test_large_files_go_and_come_in_parts(folder: Folder, tmp_path: Path) -> None:
    data = os.urandom(contract.PIECE + (1 << 20) + 7)
    (tmp_path / "in").write_bytes(data)
    folder.upload("v/large.mp4", tmp_path / "in")
    assert folder.head("v/large.mp4").size == len(data)
    folder.download("v/large.mp4", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    folder.write("v/large.mp4", data[::-1])
    assert hashlib.sha256(folder.read("v/large.mp4")).digest() == hashlib.sha256(data[::-1]).digest()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(-10, 400_000), st.integers(0, 150_000), st.sampled_from([0, 1, 2])), max_size=6))
def test_an_open_file_is_a_file(folder: Folder, moves: list[tuple[int, int, int]]) -> None:
    data = bytes(range(256)) * 1200  # 307,200 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket, "_BLOCK", 50_000)
        patch.setattr(bucket, "_BLOCKS", 2)
        folder.write("x", data)
        ours, theirs = folder.open("x"), io.BytesIO(data)
        assert ours.seekable() and ours.readable()
        for offset, count, whence in moves:
            base = (0, theirs.tell(), len(data))[whence]
            if base + offset >= 0:
                assert ours.seek(offset, whence) == theirs.seek(base + offset)
            assert ours.read(count) == theirs.read(count) and ours.tell() == theirs.tell()
        ours.close()


def test_an_open_file_stays_what_it_was_or_says_so(folder: Folder) -> None:
    old, new = b"o" * (3 << 20), b"n" * (3 << 20)
    folder.write("x", old)
    file = folder.open("x")
    assert file.read(10) == old[:10]
    folder.write("x", new)
    file.seek(2 << 20)
    try:
        assert file.read() == old[2 << 20 :]  # a disk
    except UserError as error:
        assert error.why == "changed while it was read"


DYING = """
import os, sys, pathlib
from hit import objects
folder = objects.folder(sys.argv[1])
print("begun", flush=True)
while True:
    folder.upload("x", pathlib.Path(sys.argv[2])); folder.write("y", pathlib.Path(sys.argv[2]).read_bytes())
    print("once", flush=True)
"""


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_a_writer_that_is_killed_leaves_whole_files_alone(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    url, large = place(request, kind, tmp_path), tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (9 << 12))
    folder = objects.folder(url)
    for line in ("begun", "once"):  # killed in its first round, and in its second
        with subprocess.Popen([sys.executable, "-c", DYING, url, str(large)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while process.stdout.readline().strip() != line:
                assert process.poll() is None
            threading.Event().wait(0.02)  # somewhere in the middle
            process.send_signal(signal.SIGKILL)
        for entry in folder.list():
            assert entry.name in ("x", "y") and folder.read(entry.name) == large.read_bytes()
    assert names(folder) == ["x", "y"]


# -- places


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("s3://user:pa55@bucket/x", "s3://bucket/x: its credentials are not taken from a URL"),
        ("s3://pa55@bucket", "its credentials are not taken from a URL"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://b?pa55=1/x", "names no bucket"),
        ("s3://bucket/../other", "is no name"),
        ("s3://bucket/a//b", "is no name"),
        ("ftp://host/x", "no files are kept by 'ftp'"),
        ("https://u:pa55@host/x", "no files are kept by 'https'"),
        ("file://other/x", "is no folder of this machine"),
    ],
)
def test_a_place_that_cannot_be_is_told(url: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        objects.folder(url)
    assert complaint in str(caught.value) and "pa55" not in str(caught.value)


def test_a_place_has_one_name() -> None:
    assert objects.check("s3://b/x/") == "s3://b/x" and objects.check("gs://b/") == "gs://b"
    assert objects.check("file:///data/") == "file:///data" and objects.check("lib") == str(Path.cwd() / "lib")


def test_without_obstore_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UserError, match="hit-video\\[remote\\]"):
        objects.folder("s3://bucket/x")


# -- what a server can do wrong


def test_failures_that_pass_are_tried_again(gate: Gate, moto: S3, tmp_path: Path) -> None:
    folder = objects.folder(f"{moto.bucket()}/lib")
    gate.fail = [500, 503]
    folder.write("x", b"data")
    gate.fail = [503, 0]  # hangs up
    assert folder.read("x") == b"data" and gate.asked == {"PUT": 3, "GET": 3}
    gate.fail = [500, 503]
    assert names(folder) == ["x"]
    (tmp_path / "large").write_bytes(bytes(contract.PIECE + 1))
    gate.fail = [500, 503]
    folder.upload("large", tmp_path / "large")
    assert folder.head("large").size == contract.PIECE + 1


def test_a_server_that_stays_away_is_told_in_one_line_without_credentials(gate: Gate, moto: S3, tmp_path: Path) -> None:
    folder = objects.folder(f"{moto.bucket()}/lib")
    folder.write("x", b"data")
    (tmp_path / "large").write_bytes(bytes(contract.PIECE + 1))
    file = folder.open("x")
    gate.shut = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bucket._RETRY, "max_retries", 1)
        folder = objects.folder(folder.url)
        for act in (
            lambda: folder.read("x"),
            lambda: folder.upload("large", tmp_path / "large"),
            lambda: names(folder),
            lambda: folder.delete(["x"]),
            file.read,
        ):
            with pytest.raises(AwayError, match="cannot be reached") as caught:
                act()
            told = str(caught.value)
            assert "\n" not in told and "s3cret" not in told and "testkey" not in told
    gate.shut = False
    assert names(objects.folder(folder.url)) == ["x"]  # of what was sent in part there is nothing


def test_a_part_that_is_refused_leaves_no_file(gate: Gate, moto: S3, tmp_path: Path) -> None:
    folder = objects.folder(f"{moto.bucket()}/lib")
    (tmp_path / "large").write_bytes(bytes(3 * contract.PIECE))
    gate.fail = [400]
    with pytest.raises(UserError, match="answered 400"):
        folder.upload("large", tmp_path / "large")
    assert names(folder) == []


@pytest.mark.parametrize(("status", "complaint"), [(403, "may not be used"), (401, "may not be used"), (400, "answered 400")])
def test_refusals_are_told_in_one_line(gate: Gate, moto: S3, status: int, complaint: str) -> None:
    folder = objects.folder(moto.bucket())
    for act in (lambda: folder.write("x", b""), lambda: folder.read("x"), lambda: folder.head("x"), lambda: names(folder)):
        gate.fail = [status]
        with pytest.raises(UserError, match=complaint) as caught:
            act()
        assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("status", "away"), [(400, False), (403, False), (429, True), (500, True), (503, True)])
def test_who_may_answer_later_is_away(gate: Gate, moto: S3, monkeypatch: pytest.MonkeyPatch, status: int, away: bool) -> None:
    monkeypatch.setitem(bucket._RETRY, "max_retries", 0)
    folder = objects.folder(moto.bucket())
    gate.fail = [status]
    with pytest.raises(UserError) as caught:
        folder.read("x")
    assert isinstance(caught.value, AwayError) == away


def test_azure_s_tags_are_alike_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    folder = bucket._Bucket("az://container/lib")
    about = {"path": "lib/x", "size": 1, "last_modified": datetime.now(UTC)}
    assert folder._entry({**about, "e_tag": "0x8D"}) == folder._entry({**about, "e_tag": '"0x8D"'})


def test_a_bucket_that_is_not_there_is_told(s3: S3) -> None:
    folder = objects.folder("s3://no-such-bucket/lib")
    for act in (lambda: folder.write("x", b""), lambda: names(folder)):
        with pytest.raises(UserError, match="there is no such bucket"):
            act()


def test_a_file_is_read_by_ranges(gate: Gate, moto: S3) -> None:
    folder = objects.folder(moto.bucket())
    folder.write("x", bytes(6 << 20))
    gate.asked.clear()
    gate.got = 0
    file = folder.open("x")
    file.seek(-100, io.SEEK_END)
    file.read()
    file.seek(0)
    file.read(1000)
    file.read(5000)
    assert gate.asked == {"HEAD": 1, "GET": 2} and gate.got == 2 << 20


def test_a_file_that_is_cut_short_is_not_taken_for_whole(s3: S3) -> None:
    folder = objects.folder(s3.bucket())
    folder.write("x", bytes(3 << 20))
    file = folder.open("x")
    folder.write("x", bytes(1 << 20))
    with pytest.raises(UserError, match="changed while it was read"):
        file.read()


def test_without_credentials_it_is_said_where_they_go(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_url = s3.bucket()
    for name in environment(""):
        if "KEY" in name:
            monkeypatch.delenv(name)
    monkeypatch.setitem(bucket._RETRY, "max_retries", 0)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://169.254.169.254:1")
    with pytest.raises(UserError, match=r"no credentials for it|may not be used"):
        objects.folder(folder_url).read("x")
