"""A search holds: pages while the library changes, many threads at once, numbers that are huge, lists that are long."""

import hashlib
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hit import filters, index, search, settings
from hit.arrays import Matrix
from hit.db import Found, Line, Segment, StaleError, keywords, video_id
from hit.errors import UserError
from hit.library import Library
from hit.search import Query, embed
from hit.stores.local import Local
from hit.types import Floats, Keys
from library_helpers import forget
from toy import ToyEncoder

SEGMENTS = 4
WORDS = "", "alpha beta", "alpha", "beta beta gamma"
KINDS = 10  # of vectors: many segments tie


@pytest.fixture
def library(tmp_path: Path) -> Library:
    made = Library.create(tmp_path / "lib", encoder=ToyEncoder())
    add(made, [f"n{i}" for i in range(20)])
    return made


def add(library: Library, names: Iterable[str], said: str = "") -> list[str]:
    """Add videos of four segments, as indexing would; every second segment says something. Return their ids."""
    rng, found = np.random.default_rng(5), []
    kinds = rng.normal(size=(KINDS, 2, 4))
    kinds = (kinds / np.linalg.norm(kinds, axis=2, keepdims=True)).reshape(KINDS, 8).astype(np.float32)
    for name in names:
        content = hashlib.sha256(name.encode()).hexdigest()
        video, seed = video_id(content), int(content[:8], 16)
        library.db.record_files([Found(f"/v/{name}.mp4", 1, 1, content)])
        places = range(SEGMENTS)
        segments = [Segment(id=f"{video}-{i}", video_id=video, start=float(i), end=i + 1.0, seek=float(i)) for i in places]
        lines = [
            Line(segment_id=one.id, number=0, expert="speech", start=0.0, end=1.0, text=said or WORDS[(seed + i) % 4])
            for i, one in enumerate(segments)
        ]
        rows = np.random.default_rng(seed).integers(0, KINDS, SEGMENTS)
        library.db.finish(video, {"duration": 4.0}, segments, "toy-1", kinds[rows], lines)
        found.append(video)
    index.sync(library.db, library.store, library.stored)
    return found


def remove(library: Library, videos: Iterable[str]) -> None:
    forget(library.db, videos)
    index.sync(library.db, library.store, library.stored)


def paged(library: Library, between: Callable[[int], object] = lambda number: None, **asked: Any) -> list[str]:
    """Return the segments of all pages."""
    token, found = None, list[str]()
    for number in range(1000):
        answer = library.search(page=token, **asked)
        found += [hit.clip.id for hit in answer.hits]
        if (token := answer.next_page_token) is None:
            break
        between(number)
    return found


def whole(library: Library, **asked: Any) -> list[str]:
    return [hit.clip.id for hit in library.search(limit=10_000, **asked).hits]


# -- pages


@pytest.mark.parametrize("mode", ["hybrid", "meaning", "words"])
@pytest.mark.parametrize("group", ["clip", "video"])
def test_pages_are_the_whole_answer(library: Library, mode: str, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "DEPTH", 12)
    for exclude, where in itertools.product(((), ("green",)), (None, filters.parse("path:1"))):
        asked: dict[str, Any] = {"texts": "alpha beta", "mode": mode, "group_by": group, "exclude": exclude, "where": where}
        everything = whole(library, **asked)
        assert len(everything) > 3
        for limit in (3, 7, len(everything)):
            assert paged(library, limit=limit, **asked) == everything


@pytest.mark.parametrize("mode", ["hybrid", "meaning", "words"])
def test_what_comes_later_moves_nothing(library: Library, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "DEPTH", 12)  # what comes later would fill both lists
    asked: dict[str, Any] = {"texts": "alpha", "mode": mode}
    everything = whole(library, **asked)

    def grow(number: int) -> None:
        add(library, [f"later {number} {i}" for i in range(6)], "alpha")

    assert paged(library, grow, limit=10, **asked) == everything


@pytest.mark.parametrize("group", ["clip", "video"])
def test_nothing_is_passed_over_where_what_was_shown_is_removed(library: Library, group: str) -> None:
    asked: dict[str, Any] = {"texts": "alpha beta", "mode": "words", "group_by": group}
    everything = whole(library, **asked)
    gone = {everything[0].split("-")[0]}

    def shrink(number: int) -> None:
        if not number:
            remove(library, gone)

    found = paged(library, shrink, limit=4, **asked)
    assert everything[3].split("-")[0] not in gone  # where the next page goes on
    assert found == everything[:4] + [one for one in everything[4:] if one.split("-")[0] not in gone]


def test_words_are_found_however_many_segments_have_them(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = whole(library, texts="alpha", mode="words")
    monkeypatch.setattr(search, "DEPTH", 5)
    assert whole(library, texts="alpha", mode="words") == everything and len(everything) > 20
    assert paged(library, texts="alpha", mode="words", limit=4) == everything


# -- what is left out


def test_a_video_that_is_left_out_brings_nothing_back(library: Library) -> None:
    class Sure:
        threshold = 0.5

        def judge(self, query: Floats, scores: Floats, segments: int, way: str = "t2v") -> Floats:
            return np.where(scores > 0.2, 0.9, 0.1).astype(np.float32)

    encoder = ToyEncoder()
    far = np.zeros(8, np.float32)
    shelf = search.Shelf(library.db, library.store, library.stored, encoder, library.path / "thumbnails", Sure())  # type: ignore[arg-type]

    def ask(**asked: Any) -> set[str]:
        return {hit.clip.id for hit in search.search(Query(texts=["red"], limit=1000, **asked), shelf).hits}

    encoder.embed_clips = lambda clips: np.stack([far] * len(clips))  # type: ignore[method-assign]
    kept = ask(exclude=["blue"])
    assert ask(exclude=["blue"], exclude_examples=[[{}]]) <= kept < ask()


def test_nothing_to_leave_out_is_no_text(library: Library) -> None:
    with pytest.raises(UserError, match="left out"):
        library.search("red", exclude=[" "])
    for asked in ({"texts": "a \udcff"}, {"texts": "red", "exclude": "\ud800"}):
        with pytest.raises(UserError, match="UTF-8"):
            library.search(**asked)  # type: ignore[arg-type]
    assert library.search("red", exclude="green") == library.search("red", exclude=["green"])


@pytest.mark.parametrize("asked", [{"where": filters.parse("start>=2")}, {"exclude": ["green"]}])
def test_moments_are_of_what_may_be_found(library: Library, asked: dict[str, Any]) -> None:
    clips = {(hit.clip.video, hit.seek) for hit in library.search("red", limit=1000, **asked).hits}
    hits = library.search("red", limit=1000, group_by="video", **asked).hits
    assert hits
    for hit in hits:
        assert hit.moments and {(hit.clip.video, moment.seek) for moment in hit.moments} <= clips
        assert hit.moments[0].score == hit.score and hit.curve and len(hit.curve) == SEGMENTS


# -- numbers


def test_a_query_has_the_models_own_weights_where_none_are_given() -> None:
    encoder = ToyEncoder()
    encoder.weights = {"feature": 0.25, "semantic": 3.0}
    assert np.array_equal(embed(Query(texts=["red"]), encoder), embed(Query(texts=["red"], weights=encoder.weights), encoder))


def test_large_numbers_make_no_infinite_ones(library: Library) -> None:
    even = library.search(["red", "blue"]).hits
    assert library.search(["red", "blue"], mix=[1e308, 1e308]).hits == even
    with pytest.raises(UserError, match="at most"):
        library.search("red", level_weights=(1e38, 1))
    assert len(library.search("red", limit=10**30).hits) == 80


# -- a small filter, and words that many have


@pytest.mark.parametrize("few", [0, 2_000])
@pytest.mark.parametrize("many", [10, 30])
@pytest.mark.parametrize("text", ["alpha", "alpha gamma", '"alpha beta"'])
def test_a_filter_finds_the_same_by_either_way(
    library: Library, few: int, many: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keywords, "MANY", many)
    everything = library.db.matches(library.stored, text, 1000)
    allowed = library.db.allowed(library.stored, filters.parse("path:n1.mp4 or path:n5 or path:n7"))
    assert len(allowed) in range(11, 30)
    monkeypatch.setattr(keywords, "_FEW", few)
    kept = [match.row for match in everything if match.row in set(allowed.tolist())]
    assert [match.row for match in library.db.matches(library.stored, text, 1000, allowed)] == kept
    assert kept or text != "alpha"
    assert not library.db.matches(library.stored, text, 1000, allowed[:0])


# -- many at once


def test_threads_get_what_one_gets(library: Library) -> None:
    queries = [("red alpha", filters.parse(f"start<{i + 1} or width={i}")) for i in range(60)]  # more than are kept

    def ask(library: Library, query: tuple[str, filters.Node]) -> list[str]:
        return [hit.clip.id for hit in library.search(query[0], where=query[1], limit=20).hits]

    alone = [ask(library, query) for query in queries]
    for fresh in (library, Library.open(library.path, encoder=ToyEncoder())):
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda query, here=fresh: ask(here, query), queries)) == alone


def test_a_thread_whose_store_another_one_gave_up_asks_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole(library, texts="red")
    find, gone = Local.search, [True]

    def search_once(store: Local, queries: Floats, limit: int, allowed: Keys | None = None) -> Any:
        if gone:
            gone.clear()
            library.change(replace(library.config, id="other"))  # as another thread does by `renew`
            raise OSError("the store is closed")
        return find(store, queries, limit, allowed)

    monkeypatch.setattr(Local, "search", search_once)
    assert whole(library, texts="red") == expected and not gone

    def never(*_: object) -> Any:
        raise OSError("the store is broken")

    monkeypatch.setattr(Local, "search", never)
    with pytest.raises(OSError, match="broken"):
        library.search("red")


def test_a_search_sees_the_rows_that_its_codes_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.stores.local._SMALL", 64)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20 + 3000, 16)).astype(np.float32)
    writer = Local(tmp_path, 16)
    writer.put(np.arange(3000), vectors[:3000])
    assert writer.build() is not None
    reader = Local(tmp_path, 16)
    ready = Local._ready

    def overtaken(store: Local) -> Any:
        found = ready(store)
        monkeypatch.setattr(Local, "_ready", ready)
        writer.put(np.arange(3000, 3020), 9 * vectors[3000:])  # the best for many queries
        assert writer.build() is not None
        return found

    monkeypatch.setattr(Local, "_ready", overtaken)
    ((before, _),) = reader.search(vectors[3000:3001], 5)
    assert before.max() < 3000  # as it was when the search began
    ((after, _),) = reader.search(vectors[3000:3001], 5)
    assert 3000 in after


# -- other models, other settings


def test_the_judge_of_one_model_is_not_asked_about_another(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_judge", object())
    library.change(replace(library.config, model=replace(library.config.model, revision="toy-2")))
    assert library.judge is None


def test_settings_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "library.toml"
    path.write_text('format = "two"')
    with pytest.raises(UserError, match="format"):
        settings.read(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        settings.read(tmp_path)


def test_describing_takes_notice_of_what_another_process_made(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    (library.path / "texts").write_text("red\nblue\n")
    expected = library.describe([Path("/v/n1.mp4")], library.path / "texts")
    find, turns = library.db.segments, [True]

    def stale(*asked: Any) -> Any:
        if turns:
            turns.clear()
            raise StaleError
        return find(*asked)

    monkeypatch.setattr(library.db, "segments", stale)
    assert library.describe([Path("/v/n1.mp4")], library.path / "texts") == expected and not turns
    with Library.open(library.path, encoder=ToyEncoder()) as other:
        other.change(replace(other.config, model=replace(other.config.model, revision="toy-2")))
    with pytest.raises(UserError, match="toy-2"):
        library.describe([Path("/v/n1.mp4")], library.path / "texts")


def test_an_array_of_before_is_let_go(library: Library) -> None:
    stored = library.stored
    kept, before = library.db.matrix(replace(stored, revision="toy-2")), library.db.matrix(stored)
    assert library.db.matrix(replace(stored, generation=1)) is not before
    assert library.db.matrix(replace(stored, revision="toy-2")) is kept
    assert [*library.db._matrices.values()].count(before) == 0


class Overtaken(Matrix):
    """What it maps, another thread replaces at once by what it mapped before."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value[:3] if name == "_view" else value)


def test_a_view_is_as_long_as_it_was_asked_for_whoever_else_maps(tmp_path: Path) -> None:
    matrix, vectors = Overtaken(tmp_path, 2), np.arange(20, dtype=np.float32).reshape(10, 2)
    matrix.write(np.arange(10), vectors)
    assert matrix.view(10).tolist() == vectors.tolist()
