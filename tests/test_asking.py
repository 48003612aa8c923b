"""What a search can be told: how queries weigh, what to leave out, filters, pages, groups, explanations, names."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

import tiny_model
from hit import filters
from hit.errors import UserError
from hit.library import Library
from hit.search import DEPTH, Query, embed
from hit.segments import SegmentConfig
from hit.types import Features, Floats, Hit
from library_helpers import by_segment, good_videos
from toy import PLUGIN, ToyEncoder, render

Cli = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("asking")
    good_videos(folder / "videos")
    return make(folder / "lib", folder / "videos")


def make(path: Path, videos: Path, segments: SegmentConfig | None = None) -> Library:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        made = Library.create(path, encoder=ToyEncoder(), segments=segments or SegmentConfig("auto", 4.0, 1.0, 6.0))
        made.index([videos], workers=1)
        assert made.experts
    return made


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.clip.id for hit in hits]


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.clip.path.stem for hit in hits]


# -- several queries


def test_queries_weigh_as_they_are_told() -> None:
    encoder = ToyEncoder()
    rows = encoder.embed_texts(["red", "blue"])
    assert embed(Query(texts=["red", "blue"], mix=[3, 1]), encoder) == pytest.approx(rows[0] * 0.75 + rows[1] * 0.25, abs=1e-6)
    assert embed(Query(texts=["red", "blue"], mix=[0, 2]), encoder) == pytest.approx(rows[1])


@pytest.mark.parametrize("mix", [[], [1], [1, 2, 3], [1, -1], [0, 0], [1, float("nan")], [float("inf"), 1]])
def test_weights_that_are_none_are_refused(mix: list[float]) -> None:
    with pytest.raises(UserError, match="one each, 0 or above"):
        embed(Query(texts=["red", "blue"], mix=mix), ToyEncoder())


# -- a stretch of a video


def test_a_stretch_of_a_video_is_searched_by(library: Library) -> None:
    long = library.path.parent / "videos" / "long.mp4"
    hits = library.search(videos=[f"{long}#t=15,20"], limit=2, level_weights=(1, 0)).hits
    assert sorted(names(hits)) == ["blue", "long"]
    assert names(library.search(videos=[f"{long}#t=,4.5"], limit=2, level_weights=(1, 0)).hits) != names(hits)
    assert library.search(videos=[f"{long}#t=5"], limit=1).hits[0].clip.path == long


@pytest.mark.parametrize(
    ("times", "complaint"),
    [("#t=9,3", "no stretch"), ("#t=1..2,3", "no stretch"), ("#t=50,60", r"is 20\.0 s long"), ("#t=x", "no such file")],
)
def test_times_that_are_none_are_refused(library: Library, times: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        library.search(videos=[f"{library.path.parent / 'videos' / 'long.mp4'}{times}"])


def test_a_file_whose_name_looks_like_a_stretch_is_itself(tmp_path: Path, library: Library) -> None:
    odd = render(tmp_path / "a.mp4", ["blue"]).rename(tmp_path / "a.mp4#t=3,1")
    assert library.search(videos=[odd], limit=1).hits[0].clip.path.stem == "blue"


# -- what is left out


def test_what_is_excluded_is_not_found(library: Library) -> None:
    everything = library.search("red", limit=99).hits
    kept = library.search("red", exclude=["red blue"], limit=99).hits
    vectors, encoder = by_segment(library), ToyEncoder()
    wanted, barred = encoder.embed_texts(["red", "red blue"])
    expected = [hit for hit in everything if float(vectors[hit.clip.id] @ barred) < hit.score]
    assert ids(kept) == ids(expected) and 0 < len(kept) < len(everything)
    assert wanted @ vectors[kept[0].clip.id] == pytest.approx(kept[0].score, abs=1e-5)


def test_an_excluded_video_and_what_is_like_it_are_not_found(library: Library) -> None:
    blue = library.path.parent / "videos" / "sub" / "blue.mp4"
    kept = library.search("red blue", exclude_videos=[blue], limit=99).hits
    assert "blue" not in names(kept) and kept
    assert library.search("red", exclude=["red"]).hits == []


def test_segments_of_which_nothing_is_known_are_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zero-shot model of words has zeros for a clip without any: it fits what is excluded no better than anything else."""

    class Blind(ToyEncoder):
        def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
            return np.zeros((len(clips), self.dim), np.float32)

    monkeypatch.syspath_prepend(str(PLUGIN))
    render(tmp_path / "v" / "red.mp4", ["red"])
    with Library.create(tmp_path / "lib", encoder=Blind()) as library:
        library.index([tmp_path / "v"], workers=1)
        assert names(library.search("a thing", exclude=["blue"]).hits) == ["red"]


def test_the_limit_counts_what_is_left(library: Library) -> None:
    all_ = library.search("red", exclude=["blue"], limit=99).hits
    for limit in range(1, len(all_) + 1):
        assert ids(library.search("red", exclude=["blue"], limit=limit).hits) == ids(all_)[:limit]


# -- filters


FILTERS: dict[str, Callable[[Hit], bool]] = {
    "path:sub": lambda hit: "sub" in str(hit.clip.path),
    "duration>=20": lambda hit: hit.clip.path.stem == "long",
    "start>=5 and not start>=15": lambda hit: 5 <= hit.clip.start < 15,
    "audio=true": lambda hit: hit.clip.path.stem == "blue",
    "name=no.mp4": lambda hit: False,
}


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_keeps_what_it_says_and_the_order(library: Library, text: str) -> None:
    everything = library.search("red", limit=99).hits
    found = library.search("red", where=filters.parse(text), limit=99).hits
    assert ids(found) == ids([hit for hit in everything if FILTERS[text](hit)])
    assert [hit.rank for hit in found] == [*range(1, len(found) + 1)]


def test_tags_are_seen_by_filters_at_once(library: Library) -> None:
    video = library.search("green", limit=1).hits[0].clip.video
    where = filters.parse("tag in [keep, later]")
    assert library.search("red", where=where).hits == []
    library.db.tag([video], add=["keep", "other"])
    assert {hit.clip.video for hit in library.search("red", where=where).hits} == {video}
    assert (library.db.tags([video]), library.db.tag_counts()) == ({video: ["keep", "other"]}, {"keep": 1, "other": 1})
    library.db.tag([video], remove=["keep", "nobody"])
    assert library.search("red", where=where).hits == []
    library.db.tag([video], remove=["other"])


# -- pages


def pages_of(library: Library, limit: int, **asked: Any) -> list[list[Hit]]:
    found, token = [], None
    while True:
        answer = library.search("red", limit=limit, page=token, **asked)
        found.append(list(answer.hits))
        token = answer.next_page_token
        if token is None:
            return found


@pytest.mark.parametrize("asked", [{}, {"group_by": "video"}, {"exclude": ["green"]}, {"where": filters.parse("not audio=true")}])
@pytest.mark.parametrize("limit", [1, 3, 8])
def test_pages_together_are_the_whole_answer(library: Library, limit: int, asked: dict[str, Any]) -> None:
    whole = library.search("red", limit=99, **asked).hits
    together = [hit for page in pages_of(library, limit, **asked) for hit in page]
    assert [(hit.rank, hit.clip.id, hit.score) for hit in together] == [(hit.rank, hit.clip.id, hit.score) for hit in whole]


def test_pages_stay_what_they_were_while_the_library_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    good_videos(tmp_path / "videos")
    with make(tmp_path / "lib", tmp_path / "videos") as library:
        for group_by in ("clip", "video"):
            before = library.search("red", limit=99, group_by=group_by).hits
            first = library.search("red", limit=2, group_by=group_by)
            render(tmp_path / "videos" / f"{group_by}.mp4", ["red", "grey" if group_by == "clip" else "blue", "red"], seconds=0.5)
            library.index([tmp_path / "videos"], workers=1)
            rest = library.search("red", limit=99, page=first.next_page_token, group_by=group_by)
            assert ids([*first.hits, *rest.hits]) == ids(before)
            assert len(library.search("red", limit=99, group_by=group_by).hits) == len(before) + 1


def test_a_page_of_another_search_is_refused(library: Library) -> None:
    token = library.search("red", limit=1).next_page_token
    assert library.search("red", limit=5, page=token).hits[0].rank == 2
    for other in ({"texts": "blue"}, {"texts": "red", "exclude": ["blue"]}, {"texts": "red", "level_weights": (1, 0)}):
        with pytest.raises(UserError, match="another search"):
            library.search(page=token, **other)
    with pytest.raises(UserError, match="page token"):
        library.search("red", page="nonsense")


class Jittering(ToyEncoder):
    """One whose rows differ in their last bits from call to call, as they do where texts are embedded together."""

    calls = 0

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        self.calls += 1
        return super().embed_texts(texts) * np.float32(1 + 1e-6 * self.calls)


def test_a_page_goes_on_though_its_text_is_embedded_a_little_differently(library: Library) -> None:
    with Library.open(library.path, encoder=Jittering()) as opened:
        first = opened.search("red", limit=2, exclude=["green"])
        rest = opened.search("red", limit=99, exclude=["green"], page=first.next_page_token)
    assert ids([*first.hits, *rest.hits]) == ids(library.search("red", limit=99, exclude=["green"]).hits)


def test_what_an_example_shows_tells_pages_apart(library: Library) -> None:
    red, blue = (library.path.parent / "videos" / name for name in ("red.mp4", "sub/blue.mp4"))
    token = library.search("x", videos=[red], limit=1).next_page_token
    assert library.search("x", videos=[red], limit=1, page=token).hits[0].rank == 2
    with pytest.raises(UserError, match="another search"):
        library.search("x", videos=[blue], limit=1, page=token)


# -- groups


def test_a_videos_hit_has_its_moments_and_its_curve(library: Library) -> None:
    hits = library.search("red", limit=99, group_by="video").hits
    long = next(hit for hit in hits if hit.clip.path.stem == "long")
    clips = {hit.clip.start: hit.score for hit in library.search("red", limit=99).hits if hit.clip.video == long.clip.video}
    assert long.curve is not None and long.moments is not None
    assert [(start, end) for start, end, _ in long.curve] == [(0, 5), (5, 10), (10, 15), (15, 20)]
    assert {start: score for start, _, score in long.curve} == pytest.approx(clips, abs=1e-6)
    assert (long.moments[0].start, long.moments[0].seek) == (5, 5)
    assert long.moments[0].score == pytest.approx(long.score, abs=1e-6)
    table = long.to_json()
    assert table["moments"][0]["start"] == 5 and len(table["curve"]) == 4
    assert "moments" not in library.search("red", limit=1).hits[0].to_json()


# -- explanations


def test_an_explanation_adds_up(library: Library) -> None:
    for weights in (None, (0.25, 3.0)):
        for hit in library.search("red blue", limit=99, level_weights=weights, explain=True).hits:
            assert hit.explanation is not None
            assert sum(hit.explanation["parts"].values()) == pytest.approx(hit.score, abs=1e-6)
            assert list(hit.explanation["parts"]) == ["feature", "semantic"]
    assert library.search("red", limit=1).hits[0].explanation is None


# -- words and meaning


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Ten blue videos, of which one says "The picture at ...", and one is called after a zebra."""
    folder = tmp_path_factory.mktemp("words")
    for i, name in enumerate(["talking blue", "Zebra_crossing-01", *[f"mute {i}" for i in range(8)]]):
        render(folder / "videos" / f"{name}.mp4", ["blue"], seconds=1.0 + 0.25 * i)
    return make(folder / "lib", folder / "videos")


def test_words_that_are_said_or_in_a_name_bring_a_video_up(talking: Library) -> None:
    by_meaning = names(talking.search("zebra", limit=99, mode="meaning").hits)
    assert len(by_meaning) == 10
    for text, stem in {"zebra": "Zebra_crossing-01", "the picture": "talking blue"}.items():
        first = talking.search(text, limit=1, explain=True).hits[0]
        assert first.clip.path.stem == stem and first.explanation is not None
        assert first.explanation["words_rank"] == 1
        assert names(talking.search(text, mode="words").hits) == [stem]
        assert sorted(names(talking.search(text, limit=99).hits)) == sorted(by_meaning)
    assert talking.search("giraffe", mode="words").hits == []


def test_ranks_are_fused_as_reciprocal_rank_fusion_has_it(talking: Library) -> None:
    text = "zebra crossing picture"  # two words of three in one video; one alone is too few
    by_words = ids(talking.search(text, mode="words", limit=99).hits)
    by_meaning = ids(talking.search(text, mode="meaning", limit=99).hits)
    assert by_words and len(by_meaning) <= DEPTH

    def fused(name: str) -> float:
        places = [ranked.index(name) + 1 for ranked in (by_meaning, by_words) if name in ranked]
        return sum(1 / (60 + place) for place in places)

    hits = talking.search(text, limit=99, explain=True).hits
    assert ids(hits) == sorted(by_meaning, key=lambda name: -fused(name))
    assert all(hit.explanation and hit.explanation["fused"] == pytest.approx(fused(hit.clip.id)) for hit in hits)


def test_pages_of_fused_lists_fit_together(talking: Library) -> None:
    whole = ids(talking.search("zebra", limit=99).hits)
    token, found = None, list[str]()
    while True:
        answer = talking.search("zebra", limit=3, page=token)
        found += ids(answer.hits)
        token = answer.next_page_token
        if token is None:
            break
    assert found == whole


def test_tags_are_words_too(talking: Library) -> None:
    video = talking.search("blue", limit=1).hits[0].clip.video
    talking.db.tag([video], add=["Übung"])
    assert [hit.clip.video for hit in talking.search("übung", mode="words").hits] == [video]
    talking.db.tag([video], remove=["Übung"])
    assert talking.search("übung", mode="words").hits == []


# -- a calibrated model


class Sure:
    """A judge by a threshold: what scores 1.9 or more is right with 0.9, else with 0.2; it dislikes one segment."""

    threshold = 0.5

    def __init__(self, hub: Floats | None = None) -> None:
        self.hub = hub
        self.asked: list[int] = []

    def judge(self, query: Floats, scores: Floats, segments: int, way: str = "t2v") -> Floats:
        self.asked.append(segments)
        return np.where(scores >= 1.9, 0.9, 0.2).astype(np.float32)

    def normalise(self, query: Floats, scores: Floats, vectors: Floats) -> Floats:
        return scores - (np.abs(vectors - self.hub).max(axis=1) < 1e-6 if self.hub is not None else 0)


@pytest.fixture
def judged(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(library, "_judge", Sure(), raising=False)
    return library


def test_confidence_comes_with_one_text_and_the_models_own_weights(judged: Library) -> None:
    answer = judged.search("red", limit=3)
    assert [hit.confidence for hit in answer.hits] == pytest.approx([0.9 if hit.score >= 1.9 else 0.2 for hit in answer.hits])
    assert answer.no_good_match is False
    unlike = judged.search("grey blue green", limit=3)
    assert unlike.no_good_match is (max(hit.score for hit in unlike.hits) < 1.9)
    video = judged.path.parent / "videos" / "red.mp4"
    for other in (judged.search(["red", "blue"]), judged.search("red", level_weights=(1, 2)), judged.search(videos=[video])):
        assert other.no_good_match is None and all(hit.confidence is None for hit in other.hits)


def test_a_filter_makes_the_library_as_small_as_it_is(judged: Library) -> None:
    judge = judged._judge
    assert isinstance(judge, Sure)
    judged.search("red", limit=1)
    judged.search("red", limit=1, where=filters.parse("path:sub"))
    assert judge.asked == [8, 2]


def test_scores_made_anew_change_the_order_and_not_the_scores(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = library.search("red", limit=99, mode="meaning").hits
    monkeypatch.setattr(library, "_judge", Sure(by_segment(library)[plain[0].clip.id]), raising=False)
    made = library.search("red", limit=99, mode="normalised").hits
    assert ids(made) == [*ids(plain)[1:], plain[0].clip.id] or made[0].clip.id != plain[0].clip.id
    assert {hit.clip.id: hit.score for hit in made} == {hit.clip.id: hit.score for hit in plain}


def test_without_a_bank_there_is_nothing_to_normalise_with(library: Library) -> None:
    with pytest.raises(UserError, match="hit calibrate"):
        library.search("red", mode="normalised")


# -- the command line


def clips(printed: str) -> list[tuple[str, float]]:
    return [(hit["clip_id"], hit["score"]) for hit in json.loads(printed)["hits"]]


def test_a_search_is_saved_and_asked_again(hit: Cli, tmp_path: Path) -> None:
    for name in ("red", "blue"):
        render(tmp_path / "v" / f"{name}.mp4", [name])
    assert hit("index", "lib", "v", "--model", tiny_model.write(tmp_path / "model"), cwd=tmp_path).returncode == 0
    asked = ["red", "blue", "--mix", "2,1", "--filter", "path:red", "--explain", "--json"]
    first = hit("search", "lib", *asked, "--save", "mine", cwd=tmp_path)
    assert first.returncode == 0 and "@mine" in first.stderr, first.stderr
    again = hit("search", "lib", "@mine", "--explain", "--json", cwd=tmp_path)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    (found,) = json.loads(first.stdout)["hits"]
    assert found["metadata"]["path"].endswith("red.mp4") and found["explanation"]["parts"]
    one = hit("search", "../lib", "--video", "red.mp4#t=0,1", "--save", "like", "--json", cwd=tmp_path / "v")
    for more_words, limit in (["@like"], 2), (["@like", "--limit", "1", "--filter", "path:blue"], 1):
        more = hit("search", "lib", *more_words, "--json", cwd=tmp_path)
        assert len(json.loads(more.stdout)["hits"]) == limit, more.stderr
        assert limit == 1 or clips(more.stdout) == clips(one.stdout)
    assert "blue" in more.stdout
    other = hit("search", "lib", "@mine", "--filter", "path:blue", "--json", cwd=tmp_path)  # all else as it was
    assert [Path(one["metadata"]["path"]).name for one in json.loads(other.stdout)["hits"]] == ["blue.mp4"]
    table = hit("search", "lib", "red", "--explain", "--limit", "1", cwd=tmp_path)
    assert "rank by words" in table.stdout and "more: --page " in table.stdout
    for words, complaint in {
        ("@yours",): "there are: like, mine",
        ("red", "--filter", "duraton>3"): "duration",
        ("red", "--mix", "1,2"): "one each",
        ("red", "--save", " "): "printable",
    }.items():
        done = hit("search", "lib", *words, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and complaint in done.stderr
