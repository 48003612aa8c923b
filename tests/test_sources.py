"""Sources: which files a name, a pattern and a list mean; every file once, whatever it is called."""

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hit.errors import UserError
from hit.places import Places
from hit.remote import Remote
from hit.sources import find
from nearby import here

names = st.binary(min_size=1, max_size=40).filter(lambda raw: not {0, ord("/")} & set(raw) and raw not in (b".", b".."))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)
reuse = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def touch(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(paths)


def found(folder: Path, *given: Path | str, lists: Sequence[Path | str] = ()) -> list[Path]:
    remote = Remote(folder / "copies")
    videos = find([str(name) for name in given], lists=[str(one) for one in lists], remote=remote, roots=Places())
    assert videos.failed == []
    return [here(path) for path in videos.paths]


def refused(folder: Path, *given: Path | str, lists: Sequence[Path | str] = ()) -> str:
    with pytest.raises(UserError) as caught:
        found(folder, *given, lists=lists)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- names and patterns


def test_a_file_is_found_once_and_in_the_order_of_what_names_it(tmp_path: Path) -> None:
    b, a, c = touch(tmp_path / "v" / "b.mp4", tmp_path / "v" / "a.mp4", tmp_path / "v" / "sub" / "c.MKV")
    touch(tmp_path / "v" / "notes.txt", tmp_path / "v" / ".b.mp4")
    assert found(tmp_path, b, tmp_path / "v", a, tmp_path / "v" / "*.mp4") == [b, a, c]


def test_patterns(tmp_path: Path) -> None:
    a, b, c = touch(tmp_path / "a.mp4", tmp_path / "x" / "b.mp4", tmp_path / "x" / "y" / "c.mp4")
    touch(tmp_path / "a.csv", tmp_path / ".z" / "d.mp4", tmp_path / "x" / ".e.mp4")
    (tmp_path / "x" / "ring").symlink_to(tmp_path / "x")
    assert found(tmp_path, tmp_path / "*") == [a, b, c]  # a folder that it fits is walked
    assert found(tmp_path, tmp_path / "**" / "[bc].mp4") == [b, c]
    assert found(tmp_path, tmp_path / "?" / "?.mp4") == [b]


def test_what_is_called_like_a_pattern_is_no_pattern(tmp_path: Path) -> None:
    odd, _, star = touch(tmp_path / "a[1].mp4", tmp_path / "a1.mp4", tmp_path / "*" / "b.mp4")
    assert found(tmp_path, odd) == [odd]
    assert found(tmp_path, tmp_path / "*") == [star]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("none.mp4", "no such file"),
        ("*.mov", "neither a file nor a pattern"),
        ("a.mp4/*", "neither a file nor a pattern"),
        ("**x", "not a pattern"),
        ("a\0b", "no such file"),
        ("x" * 300, "too long"),
    ],
)
def test_what_fits_nothing_has_its_line(tmp_path: Path, name: str, complaint: str) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.txt")
    assert complaint in refused(tmp_path, tmp_path / name)


def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "shut" / "b.mp4")
    real = os.scandir

    def scandir(path: str) -> object:  # root may read everything, so that no mode shuts a folder here
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    videos = find([str(tmp_path)], remote=Remote(tmp_path), roots=Places())
    assert list(videos.paths) == [tmp_path / "a.mp4"]
    assert [(one.path, one.reason) for one in videos.failed] == [(str(tmp_path / "shut"), "Permission denied")]


@reuse
@given(raw=names)
def test_a_file_may_have_any_name(tmp_path: Path, raw: bytes) -> None:
    folder = tmp_path / raw.hex()
    [path] = touch(folder / os.fsdecode(raw))
    [video] = touch(folder / "sub" / os.fsdecode(b"v" + raw + b".mp4"))
    assert found(tmp_path, path) == [path]
    assert found(tmp_path, folder / "sub") == [video]
    assert set(found(tmp_path, folder / "**" / "*.mp4")) >= {video}


# -- lists


@reuse
@given(chosen=st.lists(texts, min_size=1, max_size=4, unique=True))
def test_lists_name_files_to_the_letter(tmp_path: Path, chosen: list[str]) -> None:
    folder = tmp_path / "lists"
    paths = touch(*(folder / "v" / name for name in chosen))
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["Caption", " Video "], *(["a, b", f"v/{name}"] for name in chosen)])
    (folder / "a.csv").write_bytes(b"\xef\xbb\xbf" + table.getvalue().encode())
    (folder / "b.jsonl").write_text("".join(json.dumps({"file": f"v/{n}"}, ensure_ascii=False) + "\n" for n in chosen))
    (folder / "c.jsonl").write_text("\n\n".join(json.dumps(str(path)) for path in paths))
    (folder / "d.txt").write_bytes("".join(f"v/{name}\0" for name in chosen).encode())
    for kind in ("a.csv", "b.jsonl", "c.jsonl", "d.txt"):
        assert found(tmp_path, lists=[folder / kind]) == paths, kind


def test_a_list_a_line_each(tmp_path: Path) -> None:
    a, b = touch(tmp_path / " a b.mp4", tmp_path / "v" / "b.mp4")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf a b.mp4\r\n\r\nv\r\n")
    assert found(tmp_path, b, lists=[tmp_path / "list.txt"]) == [b, a]


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    paths = touch(tmp_path / "ü b.mp4", tmp_path / os.fsdecode(b"\xff.mp4"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(os.fsencode(path.name) + end for path in paths))))
    assert found(tmp_path, lists=["-"]) == paths


def test_what_a_list_names_and_is_not_there_is_a_failure(tmp_path: Path) -> None:
    [a] = touch(tmp_path / "a.mp4")
    (tmp_path / "list.csv").write_text("path\nb.mp4\na.mp4\n*.mp4\n")  # no pattern: a list is written by programs
    videos = find([], lists=[str(tmp_path / "list.csv")], remote=Remote(tmp_path), roots=Places())
    assert list(videos.paths) == [a]
    assert [Path(one.path).name for one in videos.failed] == ["b.mp4", "*.mp4"]
    assert videos.failed[0].reason == f"there is no such file or folder ({tmp_path}/list.csv, line 2)"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"path\na.mp4\n\xff.mp4\n", "a.csv, line 3: is not UTF-8 text"),
        ("a.csv", b"name,caption\na.mp4,b\n", "its columns are 'name,caption'"),
        ("a.csv", b"", "its columns are ''"),
        ("a.csv", b'path,caption\na.mp4,b\n"a.mp4', "line 3: not a csv line"),
        ("a.csv", b'path,caption\na.mp4,"x\ny"\n,c\n', "line 4: names no video"),
        ("a.jsonl", b'"a.mp4"\n{"path": \n', "line 2: not JSON"),
        ("a.jsonl", b'{"path": 3}', "line 1: names no video"),
        ("a.jsonl", b'["a.mp4"]', "line 1: names no video"),
        ("a.jsonl", b'\n""', "line 2: names no video"),
        ("a.txt", "a.mp4".encode("utf-16"), "line 1: is not UTF-8 text"),
        ("a.json", b'["a.mp4"]', "no list of videos ends in '.json'"),
        ("absent.txt", None, "cannot be read: No such file"),
        ("a.txt", b"http://localhost/a.mp4", "http://localhost/a.mp4: web addresses are not fetched"),
    ],
)
def test_a_bad_list_has_its_line(tmp_path: Path, name: str, content: bytes | None, complaint: str) -> None:
    touch(tmp_path / "a.mp4")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert complaint in refused(tmp_path, lists=[tmp_path / name])
