"""Explore: clusters and near-duplicates that were planted are found, whatever else there is; by each door."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api_helpers import client
from conftest import Run
from hit.api import explore
from hit.api.cards import SegmentCard, VideoCard
from hit.db import Line, Segment, Video
from hit.db.schema import Array, Embedding, File
from hit.embeddings import joined
from hit.errors import NotFoundError, UserError
from hit.library import Library
from hit.tagging import clusters, duplicates, names
from hit.tagging.duplicates import Sets, aligned, link, shortened
from hit.types import Floats
from toy import ToyEncoder

WORDS = ("red", "green", "blue", "grey")


class Wide(ToyEncoder):
    """An encoder of texts into places of their own: `red` is the first axis of both parts, and so on."""

    def __init__(self) -> None:
        super().__init__("wide-1")
        self.dim, self.parts = 64, {"feature": slice(0, 32), "semantic": slice(32, 64)}
        self.weights = {"feature": 0.5, "semantic": 1.0}

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        rows = np.full((len(texts), 2, 32), 0.01, np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:, [WORDS.index(word) for word in text.split() if word in WORDS]] = 1
        return halves(rows.reshape(len(texts), 64))


def halves(vectors: Floats) -> Floats:
    parts = vectors.reshape(len(vectors), 2, 32)
    made: Floats = (parts / np.maximum(np.linalg.norm(parts, axis=2, keepdims=True), 1e-12)).reshape(vectors.shape)
    return made.astype(np.float32)


def planted(folder: Path, films: Mapping[str, Floats], said: Mapping[str, str] = {}) -> Library:
    """Return a library of videos with these segments (n, 64); `said`: words in the first one."""
    library = Library.create(folder, encoder=Wide())
    rows = np.concatenate([np.zeros((0, 64), np.float32), *films.values()])
    owners = [(name, i) for name, vectors in films.items() for i in range(len(vectors))]
    with library.db.write() as session:
        for name in films:
            facts = {"status": "ready", "revision": "wide-1", "added_at": datetime.now(UTC)}
            session.add(Video(id=name, content_hash=name, **facts))
            session.flush()
            session.execute(sa.insert(File), [{"path": f"/v/{name}.mp4", "video_id": name, "size": 1, "mtime_ns": 1}])
        session.add(Array(revision="wide-1", generation=0, dim=64, rows=len(rows)))
        for row, (name, i) in enumerate(owners):
            session.add(Segment(id=f"{name}-{i}", video_id=name, start=8.0 * i, end=8.0 * i + 8, seek=8.0 * i, thumbnail=None))
            session.flush()
            session.add(Embedding(segment_id=f"{name}-{i}", revision="wide-1", row=row))
        for name, text in said.items():
            session.add(Line(segment_id=f"{name}-0", number=0, expert="speech", start=0.0, end=1.0, text=text))
        library.db.matrix(library.stored).write(np.arange(len(rows)), rows)
    return library


def coloured(rng: np.random.Generator, word: str, n: int, noise: float = 0.3) -> Floats:
    """Return segments (n, 64) that show a colour."""
    return halves(Wide().embed_texts([word] * n) + noise * rng.standard_normal((n, 64)).astype(np.float32) / 32**0.5)


@pytest.fixture(scope="module")
def coloured_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Three colours of 40, 24 and 16 segments, a copy of a film in other noise, and a film in which nothing was found."""
    rng = np.random.default_rng(0)
    sizes = {"red": 40, "green": 24, "blue": 16}
    films = {f"{word}{i}": coloured(rng, word, 4) for word, many in sizes.items() for i in range(many // 4)}
    films["red9x"] = halves(films["red9"] + 0.003 * rng.standard_normal((4, 64)).astype(np.float32))
    films["zero"] = np.zeros((2, 64), np.float32)
    with planted(tmp_path_factory.mktemp("explore") / "lib", films) as library:
        yield library


# -- clusters


@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_planted_clusters_are_found_and_named(coloured_library: Library, method: clusters.Method) -> None:
    found = clusters.find(coloured_library, method, 3 if method == "kmeans" else None, {word: [word] for word in WORDS})
    assert [one.names[0][0] for one in found.clusters] == ["red", "green", "blue"]
    sizes = [one.size for one in found.clusters]
    assert sizes == [44, 24, 16] if method == "kmeans" else sum(sizes) >= 70
    assert sum(sizes) + found.noise == found.segments == 86 and found.noise >= 2  # those that are zero at least
    for one, colour in zip(found.clusters, WORDS, strict=False):
        assert one.share == pytest.approx(one.size / 86, abs=1e-4) and one.videos <= one.size
        assert {sample.segment.video_id.strip("0123456789x") for sample in one.samples} == {colour}
        assert len({sample.segment.video_id for sample in one.samples}) == min(one.videos, clusters.SAMPLES)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["segments"] == 86


def test_the_samples_are_the_most_central_of_their_videos(coloured_library: Library) -> None:
    """Looked at one by one: the mean of all that is red, and each video's nearest segment to it."""
    red = clusters.find(coloured_library, "kmeans", 3).clusters[0]
    stored = coloured_library.stored
    rows, videos = coloured_library.db.owners(stored)
    encoder = Wide()
    points = joined(coloured_library.db.vectors(stored, rows), encoder.parts, encoder.weights).astype(np.float64)
    own = np.array([video.startswith("red") for video in videos])
    centre = points[own].mean(axis=0)
    near = points @ centre / np.linalg.norm(centre)
    best = sorted((-max(near[np.array(videos) == video]), video) for video in {v for v in videos if v.startswith("red")})
    shown = {sample.segment.video_id: sample.score for sample in red.samples}
    assert shown == pytest.approx({video: -score for score, video in best[: clusters.SAMPLES]}, abs=1e-3)


def test_what_a_sample_does_not_hold_goes_to_the_nearest_cluster(
    coloured_library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    phrases = {word: [word] for word in WORDS}
    whole = clusters.find(coloured_library, "kmeans", 3, phrases)
    monkeypatch.setattr(clusters, "SAMPLE", {"kmeans": 30, "hdbscan": 60})
    monkeypatch.setattr(clusters, "_BLOCK", 7)
    part = clusters.find(coloured_library, "kmeans", 3, {**phrases, "other": ["grey"]})  # asked otherwise, so not remembered
    assert [one.size for one in part.clusters] == [one.size for one in whole.clusters]
    dense = clusters.find(coloured_library, "hdbscan", 2)
    assert len(dense.clusters) == 2 and dense.noise >= 86 - 44 - 24
    assert sum(one.size for one in dense.clusters) + dense.noise == 86


def test_the_same_content_gives_the_same_answer(coloured_library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first = clusters.find(coloured_library), duplicates.find(coloured_library, 0.9)
    made: list[int] = []
    plain = clusters._kmeans

    def counted(points: Floats, count: int) -> Floats:
        made.append(count)
        return plain(points, count)

    monkeypatch.setattr(clusters, "_kmeans", counted)
    assert clusters.find(coloured_library) == first[0] and not made  # it is remembered
    coloured_library.db.tag(["red0"], ["carmine"], [])
    again = clusters.find(coloured_library)
    assert made and [one.samples for one in again.clusters] == [one.samples for one in first[0].clusters]
    assert duplicates.find(coloured_library, 0.9) == first[1]


def test_names_are_the_librarys_own_words_too_and_no_two_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    films = {f"{word}{i}": coloured(rng, word, 1, 0.1) for word in ("red", "green") for i in range(8)}
    said = {f"{word}{i}": f"look at the {word} thing" for word in ("red", "green") for i in range(2)}
    with planted(tmp_path / "lib", films, said | {f"green{i}": "look at the thing" for i in range(2, 8)}) as library:
        library.db.tag(["green0"], ["grey"], [])
        found = clusters.find(library, count=2)
    assert {one.names[0][0] for one in found.clusters} == {"red", "green"}
    every = [name for one in found.clusters for name, _ in one.names]
    assert len(every) == len(set(every))
    counts = names.own([["red green"], ["red", "thing"], ["thing"], ["thing"], ["once"]], [("b", 1), ("a", 1), ("c", 2)])
    assert counts == ["c", "a", "b", "red"]  # `thing` is in most segments, and of the others only `red` comes twice


def test_names_are_given_where_they_tell_most() -> None:
    """Both clusters fit `thing` best; each is called what it is and the other one is not."""
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.1, 0.4]], np.float32)
    first, second = names.choose(scores, ["thing", "red", "blue"])
    assert (first[0][0], second[0][0]) == ("red", "blue")
    assert ("thing", 0.05) in first and len(second) == 1
    assert names.choose(scores[:1], ["thing", "red", "blue"]) == [[("thing", 0.9), ("red", 0.5), ("blue", 0.1)]]
    assert names.choose(scores, ["thing"]) == [[], []] or len(names.choose(scores[:, :1], ["thing"])[0]) == 1
    assert len(names.PLAIN) == len(set(names.PLAIN))


def test_the_labels_of_a_set_name_clusters(coloured_library: Library) -> None:
    phrases = {"carmine": ["something red", "red"], "grass": ["green"], "sky": ["blue"]}
    document = {"labels": [{"name": name, "texts": texts} for name, texts in phrases.items()]}
    coloured_library.db.put_label_set("colours", document, "anna")
    found = clusters.find(coloured_library, count=3, named=clusters.labels(coloured_library, "colours"))
    assert [one.names[0][0] for one in found.clusters] == list(phrases)
    with pytest.raises(NotFoundError):
        clusters.labels(coloured_library, "shapes")


@pytest.mark.parametrize("count", [0, clusters.MOST + 1])
def test_counts_that_are_none_are_refused(coloured_library: Library, count: int) -> None:
    with pytest.raises(UserError, match="number of clusters"):
        clusters.find(coloured_library, count=count)
    with pytest.raises(UserError, match="names of clusters"):
        clusters.find(coloured_library, named={})


@pytest.mark.parametrize("segments", [1, 5])
def test_one_video_is_one_cluster_or_as_many_as_it_has_scenes(tmp_path: Path, segments: int) -> None:
    with planted(tmp_path / "lib", {"a": np.repeat(Wide().embed_texts(["red"]), segments, axis=0)}) as library:
        for method in ("kmeans", "hdbscan"):
            found = clusters.find(library, method, 4)
            assert [(one.size, one.videos, one.names[0][0]) for one in found.clusters] == [(segments, 1, "red")]
        assert duplicates.find(library) == duplicates.Duplicates([], 1)


def test_a_library_in_which_nothing_was_found_has_nothing_to_show(tmp_path: Path) -> None:
    with planted(tmp_path / "lib", {"a": np.zeros((3, 64), np.float32)}) as library:
        assert clusters.find(library) == clusters.Clusters("kmeans", [], 3, 3)
        assert clusters.find(library, "hdbscan") == clusters.Clusters("hdbscan", [], 3, 3)
        assert duplicates.find(library) == duplicates.Duplicates([], 0)
    with planted(tmp_path / "none", {}) as library:
        assert clusters.find(library) == clusters.Clusters("kmeans", [], 0, 0)
        assert duplicates.find(library) == duplicates.Duplicates([], 0)


# -- duplicates


class Known(duplicates.Films):
    """Videos (V) of given segments, without a library."""

    def __init__(self, films: Sequence[Floats]) -> None:
        self.films, encoder = films, Wide()
        self.counts = np.array([len(one) for one in films], np.int64)
        sums = np.array([one.sum(axis=0) for one in films], np.float32).reshape(-1, 64)
        self.means = joined(sums, encoder.parts, encoder.weights)
        self.ids = [f"{i:04d}" for i in range(len(films))]

    def _segments(self, numbers: list[int]) -> Floats:
        return joined(np.concatenate([self.films[i] for i in numbers]), Wide().parts, Wide().weights)


def likeness(films: Known, one: int, other: int) -> float:
    """Return how alike two videos are, by the definition, segment by segment."""
    a, b = (films._segments([i]).astype(np.float64) for i in (one, other))
    mean = float(films.means[one].astype(np.float64) @ films.means[other].astype(np.float64))
    there = float(np.mean([max(float(x @ y) for y in b) for x in a]))
    back = float(np.mean([max(float(x @ y) for x in a) for y in b]))
    return min(mean, there, back)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 16), spread=st.sampled_from([0.05, 0.3, 1.0]))
def test_groups_are_those_of_all_pairs_looked_at_one_by_one(seed: int, count: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((4, 64))
    films = Known(
        [
            halves((centres[rng.integers(4)] + spread * rng.standard_normal((rng.integers(1, 4), 64))).astype(np.float32))
            for _ in range(count)
        ]
    )
    alike = np.array([[likeness(films, i, j) for j in range(count)] for i in range(count)])
    assert films.alike(0, np.arange(count)) == pytest.approx(alike[0], abs=1e-5)
    line = float(np.quantile(alike, 0.7)) + 3e-6
    if np.abs(alike - line).min() < 1e-5 or not 0 < line <= 1:
        return  # too near to the line to be told by rounding
    sets = Sets(count)
    assert sum(link(films, line, sets, chunk=5)) == count
    group = np.arange(count)
    for i, j in np.argwhere(alike >= line).tolist():
        group[group == group[j]] = group[i]
    wanted = {tuple(np.flatnonzero(group == one).tolist()) for one in set(group.tolist())}
    assert {tuple(one.tolist()) for one in sets.several()} == {one for one in wanted if len(one) > 1}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 64))
def test_short_vectors_bound_the_products(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.standard_normal((40, rank)) @ rng.standard_normal((rank, 64))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    short = shortened(vectors).astype(np.float64)
    assert short.shape == (40, 9)
    assert (short @ short.T >= vectors.astype(np.float64) @ vectors.astype(np.float64).T - 1e-6).all()


def test_a_part_of_a_video_is_no_duplicate_of_it() -> None:
    red, green = Wide().embed_texts(["red", "green"])
    films = Known([np.array([red, red, red, green]), np.array([red, red, red]), np.array([red, green, red, red])])
    apart = likeness(Known([red[None], green[None]]), 0, 1)
    assert films.alike(0, np.array([1, 2])) == pytest.approx([0.75 + 0.25 * apart, 1.0])
    whole, both = films._segments([0]), films._segments([1, 2])
    assert aligned(whole, both, np.array([0, 3])) == pytest.approx([0.75 + 0.25 * apart, 1.0])


def test_planted_duplicates_are_found_at_any_size_of_block(coloured_library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    found = duplicates.find(coloured_library)
    assert [one.videos for one in found.groups] in ([("red9", "red9x")], [("red9x", "red9")])
    assert found.compared == 21 and 0.97 <= found.groups[0].similarity <= 1
    monkeypatch.setattr(duplicates, "_BLOCK", 5)
    monkeypatch.setattr(duplicates, "_PAIRS", 20)
    coloured_library.db.tag(["red0"], ["again"], [])
    assert duplicates.find(coloured_library) == found
    everything = duplicates.find(coloured_library, 0.5)
    assert [len(one.videos) for one in everything.groups] == [11, 6, 4]


def test_copies_are_alike_to_the_last_even_at_one(tmp_path: Path) -> None:
    red = coloured(np.random.default_rng(3), "red", 3)
    films = {name: np.concatenate([red, np.zeros((i, 64), np.float32)]) for i, name in enumerate("abc")}  # and black ones
    with planted(tmp_path / "lib", films) as library:
        assert duplicates.find(library, 1.0).groups == [duplicates.Group(1.0, ("a", "b", "c"))]


@pytest.mark.parametrize("similarity", [0.0, 1.01, float("nan")])
def test_a_similarity_that_is_none_is_refused(coloured_library: Library, similarity: float) -> None:
    with pytest.raises(UserError, match="the similarity"):
        duplicates.find(coloured_library, similarity)


def test_more_videos_than_are_compared_here_are_refused(coloured_library: Library) -> None:
    with pytest.raises(UserError, match="holds 21 videos, more than the 20"):
        duplicates.find(coloured_library, 0.931, most=20)


# -- doors


@pytest.fixture(scope="module")
def api(made: Path) -> Iterator[TestClient]:
    with client(made / "lib") as opened:
        yield opened


def test_the_api_shows_clusters_and_duplicates(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    found = api.get("/v1/clusters?count=3").json()
    assert sum(one["size"] for one in found["clusters"]) + found["noise"] == found["segments"]
    sample = found["clusters"][0]["samples"][0]
    assert set(sample) == set(SegmentCard.model_fields)
    assert api.get(sample["poster_url"]).status_code == api.get(sample["page_url"]).status_code == 200
    same = api.get("/v1/duplicates?similarity=0.05").json()
    (group,) = same["groups"][:1]
    assert group["size"] == len(group["videos"]) >= 2 and same["compared"] == 5
    assert set(group["videos"][0]) == set(VideoCard.model_fields)
    assert all(api.get(video["poster_url"]).status_code == 200 for video in group["videos"])
    monkeypatch.setattr(explore, "SHOWN", 1)
    monkeypatch.setattr(explore, "COMPARED", 4)
    (short,) = api.get("/v1/duplicates?similarity=0.05&limit=1").json()["groups"]
    assert len(short["videos"]) == 1 and short["size"] == group["size"]
    refused = api.get("/v1/duplicates?similarity=0.04")
    assert refused.status_code == 400 and "hit explore" in refused.json()["fix"], refused.text
    for wrong in ("clusters?count=0", "clusters?method=guess", "duplicates?similarity=0", "duplicates?limit=0"):
        assert api.get(f"/v1/{wrong}").status_code == 422


def test_the_command_line_shows_the_same(api: TestClient, own: Path, hit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.library._load", lambda _: ToyEncoder())
    monkeypatch.setattr("hit.settings.model_folder", lambda *_: None)

    def told(*words: object) -> Any:
        ran = hit("explore", own, *words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    there = api.get("/v1/clusters?count=3").json()
    here = told("clusters", "--count", 3)
    assert [one["names"] for one in here["clusters"]] == [one["names"] for one in there["clusters"]]
    same, over = told("duplicates", "--similarity", 0.05), api.get("/v1/duplicates?similarity=0.05").json()
    assert [[v["video_id"] for v in one["videos"]] for one in same["groups"]] == [
        [v["video_id"] for v in one["videos"]] for one in over["groups"]
    ]
    assert "Clusters" in hit("explore", own, "clusters").stdout
    assert "groups among 5 videos" in hit("explore", own, "duplicates").stdout
    wrong = hit("explore", own, "duplicates", "--similarity", 2)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
