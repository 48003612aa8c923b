"""Search: what hits are, how queries are composed, and what is refused; on libraries and on the command line."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny_model
from hit import cli_search, experts
from hit.analysis import analyse, still
from hit.db import Said, words
from hit.errors import UserError
from hit.library import Library
from hit.search import EVIDENCE, Query, embed, evidence
from hit.segments import SegmentConfig
from hit.types import Hit
from library_helpers import by_segment, dump, good_videos
from nearby import here
from toy import PLUGIN, ToyEncoder, render

Cli = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("search")
    good_videos(made / "videos")
    return made


@pytest.fixture(scope="module")
def library(folder: Path) -> Library:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        made = Library.create(folder / "lib", encoder=ToyEncoder(), segments=SegmentConfig("auto", 4.0, 1.0, 6.0))
        made.index([folder / "videos"], workers=1)
        assert made.experts
    return made


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.clip.path.stem for hit in hits]


# -- what a hit is


def test_a_text_finds_the_moment(library: Library) -> None:
    answer = library.search("red", limit=2, mode="meaning")
    assert sorted(names(answer.hits)) == ["long", "red"]
    moment = next(hit for hit in answer.hits if hit.clip.path.stem == "long")
    assert (moment.clip.start, moment.clip.end, moment.seek) == (5, 10, 5)
    assert [hit.rank for hit in answer.hits] == [1, 2]
    assert (answer.model, answer.revision, answer.no_good_match) == ("toy", "toy-1", None)


def test_order_matters_at_the_level_that_sees_it(library: Library) -> None:
    assert names(library.search("red blue", limit=1, level_weights=(0, 1), mode="meaning").hits) == ["red then blue"]
    backwards = library.search("blue red", limit=99, level_weights=(0, 1), mode="meaning").hits
    assert names(backwards)[-1] == "red then blue"


def test_a_hit_as_json_has_the_names_of_the_product(library: Library, folder: Path) -> None:
    table = json.loads(json.dumps(library.search("green", limit=1).to_json()))
    (hit,) = table["hits"]
    keys = ["rank", "clip_id", "video_id", "start", "end", "seek", "score", "confidence", "thumbnail_url"]
    assert list(hit) == [*keys, "evidence", "metadata"] and hit["confidence"] is None
    assert Path(hit["metadata"]["path"]).is_relative_to(folder / "videos")
    assert hit["clip_id"].startswith(hit["video_id"]) and hit["thumbnail_url"].startswith("file:///")
    assert table["model"] == {"id": "toy", "revision": "toy-1"} and table["no_good_match"] is None


@pytest.mark.parametrize("weights", [None, (1.0, 1.0), (1.0, 0.0), (0.25, 3.0)])
def test_the_score_is_the_weighted_sum_of_the_levels_cosines(library: Library, weights: tuple[float, float] | None) -> None:
    query = ToyEncoder().embed_texts(["red blue"])[0]
    feature, semantic = weights or (1.0, 1.0)
    expected = {
        key: feature * float(query[:4] @ vector[:4]) + semantic * float(query[4:] @ vector[4:])
        for key, vector in by_segment(library).items()
    }
    hits = library.search("red blue", limit=99, level_weights=weights, mode="meaning").hits
    assert {hit.clip.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-6)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) == len(expected) == 8


# -- the words that speak for a hit


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A library of two videos whose expert hears "The picture at 0.0", 0.5, ... in one."""
    folder = tmp_path_factory.mktemp("talking")
    render(folder / "videos" / "talking red.mp4", ["red"])
    render(folder / "videos" / "mute red.mp4", ["red", "grey"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        made = Library.create(folder / "lib", encoder=ToyEncoder())
        made.index([folder / "videos"], workers=1)
        assert made.experts
    return made


def test_lines_that_share_words_with_the_query_are_shown(talking: Library) -> None:
    hits = json.loads(json.dumps(talking.search("red PICTURE").to_json()))["hits"]
    evidence = {Path(hit["metadata"]["path"]).stem: hit["evidence"] for hit in hits}
    assert evidence["mute red"] == []
    starts = [0.0, 0.5, 1.0, 1.5]
    lines = [{"expert": "colour", "start": at, "end": at + 0.5, "text": f"The picture at {at} ?"} for at in starts]
    assert evidence["talking red"] == lines


def test_words_that_prove_nothing_are_no_evidence(talking: Library) -> None:
    assert all(not hit.evidence for hit in talking.search("the red at it").hits)


def test_a_query_without_words_has_no_evidence(talking: Library) -> None:
    video = next(hit.clip.path for hit in talking.search("red").hits)
    assert all(not hit.evidence for hit in talking.search(videos=[here(video)]).hits)


def test_lines_with_more_of_the_words_come_first_and_few_are_shown() -> None:
    texts = ["a dog", "The DOG runs.", "cats", "running dogs", "dog runs", *["dog"] * 9]
    lines = [Said(segment_id="s", number=n, expert="speech", start=n, end=n + 1, text=text) for n, text in enumerate(texts)]
    found = evidence(["a dog", "runs"], lines)
    assert [(line.start, line.text) for line in found] == [
        (1, "The DOG runs."),
        (4, "dog runs"),
        (0, "a dog"),
        (5, "dog"),
        (6, "dog"),
    ]
    assert len(found) == EVIDENCE
    assert evidence([], lines) == evidence(["the"], lines) == evidence(["zebra"], lines) == []


@given(st.text(), st.text())
def test_any_two_texts_share_words_or_not(one: str, two: str) -> None:
    line = Said(segment_id="s", number=0, expert="ocr", start=0.0, end=1.0, text=two)
    assert bool(evidence([one], [line])) == bool(words(one) & words(two))
    assert words(one) == words(one.casefold())


def test_the_table_shows_the_words(talking: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = talking.search("red picture").to_json()
    said: list[object] = []
    monkeypatch.setattr("hit.console.table", lambda *what: said.extend(what))
    cli_search.show_hits(answer)
    _, columns, rows = said
    assert columns == ["rank", "video", "time", "score", "words"]
    assert isinstance(rows, list)
    assert sorted(row[-1].split(" | ")[0] for row in rows) == ["", "0:00.0 The picture at 0.0 ?"]


# -- queries


@pytest.mark.parametrize("name", ["red", "sub/green", "sub/blue", "red then blue"])
def test_a_video_finds_itself_first(library: Library, folder: Path, name: str) -> None:
    hit = library.search(videos=[folder / "videos" / f"{name}.mp4"]).hits[0]
    assert hit.clip.path == folder / "videos" / f"{name}.mp4"
    assert hit.score == pytest.approx(2.0, abs=1e-5)


def test_a_long_video_is_the_mean_of_its_segments(library: Library, folder: Path) -> None:
    answer = library.search(videos=[folder / "videos" / "long.mp4"], limit=99)
    rows = np.array([vector for key, vector in by_segment(library).items() if key.split("-")[0] == long_id(library)])
    mean = rows.mean(axis=0)
    mean = np.concatenate([mean[:4] / np.linalg.norm(mean[:4]), mean[4:] / np.linalg.norm(mean[4:])])
    expected = {key: float(mean @ vector) for key, vector in by_segment(library).items()}
    assert {hit.clip.id: hit.score for hit in answer.hits} == pytest.approx(expected, abs=1e-5)


def long_id(library: Library) -> str:
    return next(hit.clip.video for hit in library.search("red", limit=99).hits if hit.clip.path.stem == "long")


def test_an_image_finds_videos_like_it(library: Library, tmp_path: Path) -> None:
    Image.new("RGB", (90, 40), (20, 20, 220)).save(tmp_path / "picture.png")
    hits = library.search(images=[tmp_path / "picture.png"], limit=2, level_weights=(1, 0)).hits
    assert sorted(names(hits)) == ["blue", "long"]
    assert {hit.clip.start for hit in hits} == {0, 15}


def test_an_image_is_upright_and_of_any_kind(library: Library, tmp_path: Path) -> None:
    image = Image.new("P", (400, 100))
    image.save(tmp_path / "palette.gif")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (400, 100), (1, 2, 3)).save(tmp_path / "turned.jpg", exif=exif)
    wants = experts.wants(library.experts)
    for name, shape in (("palette.gif", (16, 64, 3)), ("turned.jpg", (64, 16, 3))):
        (frames,) = still(tmp_path / name, wants).frames.values()
        assert frames.images.shape == (4, *shape)
        assert frames.times.tolist() == [0, 0.5, 1, 1.5]


def test_several_queries_are_averaged(library: Library, folder: Path) -> None:
    encoder = ToyEncoder()
    both = embed(Query(texts=["red", "blue"]), encoder)
    assert both == pytest.approx(encoder.embed_texts(["red", "blue"]).mean(axis=0))
    features = [piece.features for piece in analyse("q", folder / "videos" / "red.mp4", library.experts, SegmentConfig())]
    mixed = embed(Query(texts=["blue"], examples=[features]), encoder)
    parts = [encoder.embed_texts(["blue"])[0], encoder.embed_clips(features)[0]]
    assert mixed == pytest.approx(np.mean(parts, axis=0), abs=1e-6)


# -- groups and limits


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 99])
def test_grouped_by_video_each_video_appears_once_with_its_best_segment(library: Library, limit: int) -> None:
    clips = library.search("red", limit=99).hits
    best: dict[str, Hit] = {}
    for hit in clips:
        best.setdefault(hit.clip.video, hit)
    grouped = library.search("red", limit=limit, group_by="video").hits
    assert [hit.clip.id for hit in grouped] == [hit.clip.id for hit in best.values()][:limit]
    assert [hit.rank for hit in grouped] == list(range(1, len(grouped) + 1))


def test_many_segments_of_one_video_do_not_crowd_out_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    render(tmp_path / "v" / "long.mp4", ["red"], seconds=40.0)
    render(tmp_path / "v" / "other.mp4", ["blue"])
    config = SegmentConfig("windows", 1.0, 0.5, 1.0)
    with Library.create(tmp_path / "lib", encoder=ToyEncoder(), segments=config) as library:
        library.index([tmp_path / "v"], workers=1)
        assert library.store.count() == 42
        assert names(library.search("red", limit=2, group_by="video").hits) == ["long", "other"]


# -- refusals


def test_what_cannot_be_searched_for_is_told(library: Library, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    asks: dict[str, Callable[[], object]] = {
        "query: is empty": library.search,
        "the query: is empty": lambda: library.search("  "),
        "is below 1": lambda: library.search("red", limit=0),
        "below 1": lambda: library.search("red", limit=-3),
        "no such file": lambda: library.search(images=[tmp_path / "none.png"]),
        "not an image": lambda: library.search(images=[tmp_path / "text.png"]),
        "text.png": lambda: library.search(videos=[tmp_path / "text.png"]),
        "none.mp4": lambda: library.search(videos=[tmp_path / "none.mp4"]),
        "1 given": lambda: library.search("red", level_weights=(1,)),
        "not all 0": lambda: library.search("red", level_weights=(0, 0)),
        "0 or above": lambda: library.search("red", level_weights=(-1, 1)),
    }
    for complaint, ask in asks.items():
        with pytest.raises(UserError, match=complaint):
            ask()


def test_an_empty_library_says_so(tmp_path: Path) -> None:
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library, pytest.raises(UserError, match="no videos yet"):
        library.search("red")


def test_a_folder_that_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not a library"):
        Library.open(tmp_path / "mine")
    for taken in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(UserError, match="not empty"):
            Library.create(taken, encoder=ToyEncoder())


def test_a_library_of_a_newer_program_is_refused(library: Library, folder: Path) -> None:
    shutil.copytree(library.path, folder / "newer")
    toml = folder / "newer" / "library.toml"
    toml.write_text(toml.read_text().replace("format = 1", "format = 2"))
    with pytest.raises(UserError, match="format 2 is newer"):
        Library.open(folder / "newer")


# -- models


def test_another_revision_is_refused_until_everything_is_embedded_anew(
    library: Library, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    path = tmp_path / "lib"
    shutil.copytree(library.path, path)
    before = dump(path, ToyEncoder())
    with Library.open(path, encoder=ToyEncoder("toy-2")) as changed:
        with pytest.raises(UserError, match=r"toy-1.*toy-2.*--model"):
            changed.search("red")
        report = changed.index([], workers=1)
        assert (report.added, report.unchanged) == (5, 0)
        assert changed.search("red").revision == "toy-2"
    with Library.open(path, encoder=ToyEncoder()) as old, pytest.raises(UserError, match=r"toy-2.*toy-1"):
        old.search("red")
    after = dump(path, ToyEncoder("toy-2"))
    assert (after["segments"], after["nearest"]) == (before["segments"], before["nearest"])
    assert after["nearest"] == after["oracle"]


def test_an_expert_of_another_version_than_the_models_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    encoder = ToyEncoder()
    encoder.identities = {"colour": "colour 0.9"}
    render(tmp_path / "a.mp4", ["red"])
    with (
        Library.create(tmp_path / "lib", encoder=encoder) as library,
        pytest.raises(UserError, match=r"is now 'colour 1'.*trained with 'colour 0\.9'"),
    ):
        library.index([tmp_path / "a.mp4"], workers=1)


# -- the command line, with a real if untrained model


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return tiny_model.write(folder / "model")


def test_index_and_search_from_the_command_line(hit: Cli, folder: Path, model: Path) -> None:
    lib, videos = folder / "cli lib", folder / "videos"
    (folder / "bad.mp4").write_text("no video")
    done = hit("index", lib, videos, folder / "bad.mp4", "--model", model, "--json", "--workers", 1)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert {key: report[key] for key in ("videos", "segments", "added", "unchanged")} == {
        "videos": 5,
        "segments": 8,
        "added": 5,
        "unchanged": 0,
    }
    assert [failure["path"] for failure in report["failed"]] == [str(folder / "bad.mp4")]
    assert report["failed"][0]["reason"] and report["library"] == str(lib) and report["seconds"] > 0

    done = hit("search", lib, "a red ball", "--limit", 3, "--json")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [row["rank"] for row in answer["hits"]] == [1, 2, 3] and answer["model"]["id"] == "tiny"

    done = hit("search", lib, "--video", videos / "red.mp4", "--group-by", "video", "--level-weights", "1,0.5")
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if re.match(r"\s*1 ", line))
    assert "red.mp4" in first and "0:00.0 - 0:02.0" in first and "1.500" in first

    (folder / "list.txt").write_text("videos\n")
    done = hit("index", lib, f"{videos}/r*.mp4", "--list", folder / "list.txt", "--http", "--max-download", 1)
    assert "5 unchanged" in done.stdout and "5 videos in 8 segments" in done.stdout
    done = hit("index", lib, "https://a.example/b.mp4")
    assert done.returncode == 2 and "add --http" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["search", "nowhere", "red"], "not a library"),
        (["index", "nowhere", "somewhere.mp4"], "no such file"),
        (["index", "nowhere", "https://a.example/b.mp4"], "add --http"),
        (["index", "nowhere"], "no videos are given"),
        (["index", "nowhere", "/", "--model", "."], "not a model folder"),
        (["search", "nowhere", "red", "--level-weights", "1,x"], "not a list of numbers"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(hit: Cli, tmp_path: Path, words: list[str], complaint: str) -> None:
    done = hit(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_model_beside_its_library_may_move_with_it(folder: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "here" / "model")
    Library.create(tmp_path / "here" / "lib", tmp_path / "here" / "model").close()
    (tmp_path / "here").rename(tmp_path / "there")
    with Library.open(tmp_path / "there" / "lib") as library:
        assert library.encoder.id == "tiny"
    shutil.rmtree(tmp_path / "there" / "model")
    with (
        Library.open(tmp_path / "there" / "lib") as library,
        pytest.raises(UserError, match="is not on this machine"),
    ):
        library.search("red")


def test_a_model_that_was_trained_again_in_its_place_is_refused(folder: Path, tmp_path: Path) -> None:
    model = tiny_model.write(tmp_path / "model")
    with Library.create(tmp_path / "lib", model) as library:
        assert library.index([folder / "videos"], workers=1).added == 5
    shutil.rmtree(model)
    shutil.rmtree(tmp_path / "model text")
    tiny_model.write(model, seed=1)
    with Library.open(tmp_path / "lib") as library:
        for act in (lambda: library.search("red"), lambda: library.index([folder / "videos"])):
            with pytest.raises(UserError, match="revision"):
                act()
    with Library.open(tmp_path / "lib", model) as library:
        assert library.index([], workers=1).added == 5
    with Library.open(tmp_path / "lib") as library:
        assert len(library.search("a red ball").hits) == 8


def test_real_clips_find_themselves_and_their_like(shared_data: Path, model: Path, tmp_path: Path) -> None:
    signs = sorted((shared_data / "clips" / "asl_gestures").glob("*.mkv"))[:6]
    cars = shared_data / "clips" / "car-detection.mp4"
    with Library.create(tmp_path / "lib", model) as library:
        report = library.index([*signs, cars], workers=2)
        assert (report.added, report.failed) == (7, ())
        for path in (signs[0], cars):
            assert library.search(videos=[path]).hits[0].clip.path == path
        found = library.search(videos=[signs[0]], group_by="video", level_weights=(1, 0)).hits
        assert found[-1].clip.path == cars
