"""The report: a whole page without requests, with the numbers of hit.metrics and the queries that are truly the worst."""

import base64
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tiny_model
import toy
from hit import datasets, experts, metrics, report
from hit.config import Recipe, to_table
from hit.datasets import Dataset
from hit.encoder import read_card
from hit.errors import UserError
from hit.evaluate import evaluate
from hit.extract import extract
from hit.measure import measure
from hit.splits import Split
from hit.types import Clip, Features, Floats, Silent

CLIPS, CAPTIONS, DIM = 30, 3, 6
BAD = 'a <script>alert(1)</script> & "so" on it\'s'
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Known:
    """An encoder whose embeddings are given: the i-th text's, and the clip's that its features count."""

    id, revision, dim = "known", "1", 2 * DIM
    parts: Mapping[str, slice] = {"feature": slice(0, DIM), "semantic": slice(DIM, 2 * DIM)}
    weights: Mapping[str, float] = {"feature": 0.5, "semantic": 1.0}

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.clips = unit(rng.normal(size=(CLIPS, 2, DIM)))
        texts = np.repeat(self.clips.reshape(CLIPS, 2, DIM), CAPTIONS, axis=0) + rng.normal(0, 0.7, (CLIPS * CAPTIONS, 2, DIM))
        self.texts = unit(texts)

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        return self.texts

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        return self.clips


def unit(values: "np.ndarray[Any, np.dtype[np.float64]]") -> Floats:
    long = np.linalg.norm(values, axis=2, keepdims=True)
    rows: Floats = (values / long).reshape(len(values), 2 * DIM).astype(np.float32)
    return rows


def data(root: Path) -> tuple[Split, Dataset]:
    """Return clips of which every second has a video: by turns a real one, the end of a long one, and one that is no video."""
    real = toy.render(root / "real.mp4", ["red", "blue"])
    broken = root / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    clips, captions = {}, {}
    for i in range(CLIPS):
        path, *span = [(real,), (root / "absent.mp4",), (real, 2.0, 4.0), (broken,), (root,), (real, 900.0, 910.0)][i % 6]
        clips[f"clip{i}"] = Clip(f"clip{i}", f"clip{i}.mp4", path, *span)  # type: ignore[arg-type]
        captions[f"clip{i}"] = tuple(f"caption {i}.{j} {BAD}" for j in range(CAPTIONS))
    split = Split(list(clips), [{}] * CLIPS, [list(own) for own in captions.values()])
    return split, Dataset(root, clips, captions, dict.fromkeys(clips, "val"))


def card(history: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    return {
        "name": "<b>HiT</b>",
        "revision": "0123456789ab",
        "recipe": to_table(Recipe()),
        "clips": {"train": 1, "validation": CLIPS},
        "captions": {"train": 2, "validation": CLIPS * CAPTIONS},
        "experts": {"sound": "sound/1 mels=40"},
        "seed": 3,
        "steps": 20,
        "seconds": 12.5,
        "parameters": {"all": 1234567, "trained": 1234},
        "history": list(history),
        "versions": {"torch": "2.0"},
        "commit": None,
    }


class Page(HTMLParser):
    """What a page holds; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def encoder() -> Known:
    return Known()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, encoder: Known) -> report.Findings:
    split, dataset = data(tmp_path_factory.mktemp("data"))
    return report.collect(measure(encoder, split), dataset, "split val")


@pytest.fixture(scope="module")
def history(found: report.Findings) -> list[dict[str, Any]]:
    terms = {"feature/v2t": 1.0, "feature/t2v": 2.0, "semantic/v2t": 3.0, "semantic/t2v": 4.0}
    scores = {way: found.scores[way] for way in metrics.WAYS}
    return [{"step": step, "loss": 10.0, **scores, **({"terms": terms} if step > 10 else {})} for step in (10, 20)]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, found: report.Findings, history: list[dict[str, Any]]) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(path, card(history), found)
    return path.read_text()


def test_the_worst_misses_are_those_of_the_full_matrix(encoder: Known, found: report.Findings) -> None:
    texts = [f"caption {i}.{j} {BAD}" for i in range(CLIPS) for j in range(CAPTIONS)]
    weighted = encoder.texts * np.repeat(np.array([0.5, 1.0], np.float32), DIM)
    matrix = (weighted @ encoder.clips.T).astype(np.float64)
    owner = np.repeat(np.arange(CLIPS), CAPTIONS)
    ranks = 1 + (matrix > matrix[np.arange(len(owner)), owner][:, None]).sum(axis=1)
    assert (ranks > 1).sum() > report.MISSES, "this test needs an encoder that errs"
    assert [miss.rank for miss in found.misses] == sorted(ranks, reverse=True)[: report.MISSES]
    for miss in found.misses:
        row = texts.index(miss.caption)
        assert ranks[row] == miss.rank
        assert (miss.right.clip, miss.first.clip) == (f"clip{owner[row]}", f"clip{matrix[row].argmax()}")
        for shown, clip in ((miss.right, owner[row]), (miss.first, matrix[row].argmax())):
            cosines = [encoder.texts[row, part] @ encoder.clips[clip, part] for part in encoder.parts.values()]
            assert list(shown.cosines.values()) == pytest.approx([*cosines, matrix[row, clip]], abs=1e-6)
            assert shown.caption.startswith(f"caption {clip}.")
            assert shown.caption != miss.caption
    assert len({miss.caption for miss in found.misses}) == report.MISSES


def test_no_miss_where_every_caption_finds_its_clip() -> None:
    assert report.worst(np.ones(40)).tolist() == []
    assert report.worst(np.array([1, 7, 2.5, 7, 1])).tolist() == [1, 3, 2]


def test_a_clip_is_shown_by_a_small_picture_where_its_video_can_be_read(tmp_path: Path) -> None:
    _, dataset = data(tmp_path)
    pictures = [report.picture(dataset.clips[f"clip{i}"]) for i in range(6)]
    assert [picture is not None for picture in pictures] == [True, False, True, False, False, False]
    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures if picture]
    assert min(images[0].size) == 180
    red, _, blue = images[1].resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
    assert blue > red + 100  # the stretch from 2 to 4 s is the blue half


def test_scores_and_curves_are_those_of_metrics(encoder: Known, found: report.Findings, tmp_path: Path) -> None:
    split, _ = data(tmp_path)
    scores = measure(encoder, split).scores()
    assert dict(found.scores) == scores
    for way in metrics.WAYS:
        for level, curve in found.curves[way].items():
            assert [curve[k - 1] for k in (1, 5, 10, 50)] == [scores[way][level][f"R{k}"] for k in (1, 5, 10, 50)]


def test_the_table_says_what_metrics_say(text: str, found: report.Findings) -> None:
    rows = [row for row in Page(text).rows if len(row) == 8]
    names = list(next(iter(found.scores["t2v"].values())))
    assert names == ["R1", "R5", "R10", "R50", "geometric_mean", "MdR", "MnR"]
    assert rows[0] == ["level", "R@1", "R@5", "R@10", "R@50", "GM", "MdR", "MnR"]
    expected = [[level, *(f"{v:.1f}" for v in s.values())] for way in metrics.WAYS for level, s in found.scores[way].items()]
    assert rows[1:] == expected
    assert len(expected) == 6


def test_the_page_is_whole_and_fetches_nothing(text: str) -> None:
    page = Page(text)
    assert page.headings == [
        "<b>HiT</b>",
        *("Scores", "Training", "Recall by the number of answers", "Worst misses", "Configuration", "Environment"),
    ]
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) == names
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "b")
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "@import" not in text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_captions_are_escaped_and_pictures_described(text: str, found: report.Findings) -> None:
    page = Page(text)
    assert "<script" not in text
    shown = "".join(page.words)
    assert all(miss.caption in shown and miss.right.caption in shown and miss.first.caption in shown for miss in found.misses)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    sides = [side for miss in found.misses for side in (miss.right, miss.first) if side.picture]
    assert [image["alt"] for image in images] == [f"A frame of {side.clip}: {side.caption}" for side in sides]
    assert images
    for image, side in zip(images, sides, strict=True):
        assert base64.b64decode((image["src"] or "").partition(",")[2]) == side.picture


def test_the_run_s_curves_use_what_the_history_has(text: str, tmp_path: Path, history: list[dict[str, Any]]) -> None:
    titles = re.findall(r"<title>([^<]*)</title>", text)
    curves = ["Training loss", "Training loss by matching", "Validation, text to video", "Validation, video to text"]
    assert titles[1:] == [*curves, "Recall, text to video", "Recall, video to text"]
    assert {"feature v2t", "feature t2v", "semantic v2t", "semantic t2v"} <= set(Page(text).words)
    report.write(tmp_path / "old.html", card([{k: v for k, v in entry.items() if k != "terms"} for entry in history]), None)
    old = (tmp_path / "old.html").read_text()
    assert re.findall(r"<title>([^<]*)</title>", old)[1:] == ["Training loss", *curves[2:]]


def test_a_run_without_held_out_clips_has_a_page_too(tmp_path: Path) -> None:
    report.write(tmp_path / "new" / "report.html", card(), None)
    page = Page((tmp_path / "new" / "report.html").read_text())
    assert page.rows == []
    assert page.headings[1:] == ["Scores", "Training", "Configuration", "Environment"]
    shown = "".join(page.words)
    assert "1,234,567, of which 1,234 are trained" in shown
    assert "momentum = 0.995" in shown


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        report.write(tmp_path / "file" / "report.html", card(), None)
    with pytest.raises(UserError, match="cannot be written"):
        report.write(tmp_path, card(), None)


def test_evaluate_writes_the_page_of_any_split(tmp_path: Path, hit: "Callable[..., CompletedProcess[str]]") -> None:
    folder = tmp_path / "data"
    lines = ["video,caption,split"]
    for name, colours in {"a": ["red"], "b": ["blue"], "c": ["green", "red"]}.items():
        toy.render(folder / "videos" / f"{name}.mp4", colours, sound=True)
        lines += [f"{name}.mp4,a {colour} ball {name},other" for colour in colours]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    extract(datasets.read(folder), experts.DEFAULT, workers=1, progress=Silent())
    model = tiny_model.write(tmp_path / "model")
    (model / "card.json").write_text(json.dumps({**card(), "revision": read_card(model)["revision"]}))
    queries = tmp_path / "queries.jsonl"
    files = ("--report", tmp_path / "report.html", "--queries", queries)
    done = hit("evaluate", model, folder, "--split", "other", *files, "--json")
    assert done.returncode == 0, done.stderr
    answer, plain = json.loads(done.stdout), evaluate(model, folder, "other", Silent())
    assert answer["intervals"]["t2v"]["R5"] == [100, 100]  # three clips are always among the first five
    assert (answer.pop("report"), answer.pop("per_query")) == (str(tmp_path / "report.html"), str(queries))
    assert answer == plain
    compared = hit("compare", queries, queries)
    assert compared.returncode == 0, compared.stderr
    assert "1.0000" in compared.stdout  # p
    none = hit("evaluate", model, folder, "--split", "other", "--post")
    assert none.returncode == 2
    assert "its split 'train' has no clips" in none.stderr
    page = Page((tmp_path / "report.html").read_text())
    fused = [f"{value:.1f}" for value in answer["t2v"]["fused"].values()]
    assert ["fused", *fused] in page.rows
    assert "split other" in "".join(page.words)
