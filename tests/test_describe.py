"""Describe: texts ranked for videos as evaluation ranks them."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

import tiny_model
from hit import describe, metrics
from hit.errors import UserError
from hit.library import Library
from toy import PLUGIN, ToyEncoder, render

TEXTS = ["red", "green", "blue", "red blue", "blue red", "grey"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("describe")
    render(folder / "videos" / "turn.mp4", ["red", "blue"])
    render(folder / "videos" / "long.mp4", ["green", "red", "grey", "blue"], seconds=5.0)
    render(folder / "apart.mp4", ["green"])
    (folder / "texts.txt").write_text("\n".join(["", *TEXTS, " red ", ""]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        made = Library.create(folder / "lib", encoder=ToyEncoder())
        made.index([folder / "videos"], workers=1)
        assert made.experts
    return made


def test_each_video_is_told_what_it_shows_and_where(library: Library) -> None:
    folder = library.path.parent
    names = [folder / "videos" / "turn.mp4", folder / "apart.mp4", folder / "videos" / "long.mp4"]
    turn, apart, long = library.describe(names, folder / "texts.txt", limit=3)["videos"]
    assert turn["texts"][0]["text"] == "red blue" and turn["path"] == str(names[0])
    assert apart["texts"][0]["text"] == "green" and (apart["texts"][0]["start"], apart["texts"][0]["end"]) == (0, 2)
    assert {one["text"]: one["start"] for one in library.describe(names, folder / "texts.txt")["videos"][2]["texts"]}[
        "blue"
    ] == 15
    assert [one["rank"] for one in long["texts"]] == [1, 2, 3]


def test_a_video_of_the_library_is_described_as_one_that_is_not(library: Library, tmp_path: Path) -> None:
    known = library.path.parent / "videos" / "long.mp4"
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(known.read_bytes())
    one, other = library.describe([known, copy], library.path.parent / "texts.txt")["videos"]
    assert [text["text"] for text in one["texts"]] == [text["text"] for text in other["texts"]]
    assert [text["score"] for text in one["texts"]] == pytest.approx([text["score"] for text in other["texts"]], abs=1e-5)


def test_ranks_are_those_of_evaluation() -> None:
    rng, encoder = np.random.default_rng(0), ToyEncoder()
    vectors = rng.normal(size=(9, 8)).astype(np.float32)
    videos = [describe.Seen(Path(str(i)), [(0.0, 1.0)], row[None]) for i, row in enumerate(vectors)]
    texts = encoder.embed_texts(TEXTS)
    group = np.zeros(1, np.int64)
    for video, vector in zip(describe.describe(videos, TEXTS, encoder, limit=99), vectors, strict=True):
        parts = np.concatenate([vector[:4] / np.linalg.norm(vector[:4]), vector[4:] / np.linalg.norm(vector[4:])])
        for one in video["texts"]:
            right = np.where(np.array(TEXTS) == one["text"], 0, 1).astype(np.int64)
            above, _ = metrics.ranks(parts[None].astype(np.float32), texts, group, right)
            assert one["rank"] == above[0] + 1


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "\ufeffone\r\n\n two \none\n", ["one", "two"]),
        ("a.csv", 'id,text\n1,"one, two"\n2,\n', ["one, two"]),
        ("a.jsonl", '{"text": "one"}\n\n{"text": "zwei ü"}\n', ["one", "zwei ü"]),
    ],
)
def test_texts_come_from_lists_of_three_kinds(tmp_path: Path, name: str, content: str, texts: list[str]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert describe.read_texts(tmp_path / name) == texts


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b" \n", "holds no texts"),
        ("a.csv", b"id,words\n1,one\n", "column `text`"),
        ("a.jsonl", b"[1]\n", "column `text`"),
        ("a.jsonl", b"{", "column `text`"),
        ("a.txt", b"\xff\xfe\x00", "no list of texts"),
        (".", None, "cannot be read"),
        ("none.txt", None, "cannot be read"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        describe.read_texts(tmp_path / name)


def test_from_the_command_line(hit: Callable[..., "CompletedProcess[str]"], tmp_path: Path) -> None:
    video = render(tmp_path / "a.mp4", ["red"])
    (tmp_path / "texts.txt").write_text("a red thing\na blue thing\n")
    assert hit("index", "lib", video, "--model", tiny_model.write(tmp_path / "model"), cwd=tmp_path).returncode == 0
    done = hit("describe", "lib", "a.mp4", "--texts", "texts.txt", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["videos"]
    assert sorted(one["text"] for one in found["texts"]) == ["a blue thing", "a red thing"]
    assert found["texts"][0]["score"] >= found["texts"][1]["score"]
    table = hit("describe", "lib", "a.mp4", "--texts", "texts.txt", cwd=tmp_path)
    assert "a red thing" in table.stdout
