"""Tagging: what label sets tag, how that changes, and what people's answers make of it; on both databases."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from hit import tagging, trail
from hit.concept import of_texts
from hit.db import keywords
from hit.errors import NotFoundError, UserError
from hit.files import BusyError, locked
from hit.library import Library
from hit.tagging import apply, fitted, sets
from hit.tagging.labels import Label
from hit.tagging.rank import rank
from hit.tagging.thresholds import Rule, precision
from hit.tagging.view import BINS, LINES, NEAR, view
from hit.types import Floats
from library_helpers import by_segment, forget
from toy import ToyEncoder
from upkeep_helpers import add

RED = Label("red", ("red",), rule=Rule("percentile", 70))
BLUE = Label("blue", ("blue", "blue blue"), "colour", rule=Rule("percentile", 60))


@pytest.fixture
def library(tmp_path: Path, database_url: str) -> Iterator[Library]:
    """Open a library of six videos of three segments, whose vectors are random."""
    with Library.create(tmp_path / "lib", encoder=ToyEncoder(), database=database_url) as made:
        add(made, range(6))
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Library]:
    """Open the same library, in SQLite: where the database does not matter."""
    with Library.create(tmp_path / "small", encoder=ToyEncoder()) as made:
        add(made, range(6))
        yield made


def put(library: Library, name: str = "things", *labels: Label) -> int:
    """Save a label set and apply it; return its version."""
    version = sets.save(library, name, labels or (RED, BLUE), "ann").version
    apply.apply(library, name, version)
    return version


def state(library: Library) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that tagging writes, times too."""
    with library.db.read() as session:
        return {
            table: sorted((tuple(row) for row in session.execute(sa.text(f"SELECT * FROM {table}"))), key=str)
            for table in ("tagged", "tags", "label_sets", "documents")
        }


def bearing(library: Library, name: str = "things") -> dict[str, set[str]]:
    """Return the videos by label, by what is noted of a set."""
    found: dict[str, set[str]] = {}
    for label, video in library.db.tagged_by(name):
        found.setdefault(label, set()).add(video)
    return found


def videos_of(library: Library) -> dict[str, str]:
    """Return the video of each segment."""
    rows = library.db.rows(library.stored.revision)
    return {place.segment.id: place.segment.video_id for place in library.db.places(library.stored, rows.tolist()).values()}


def expected(library: Library, label: Label) -> dict[str, list[str]]:
    """Return {video: segments} that a label of texts alone tags, counted segment by segment."""
    direction = of_texts(ToyEncoder(), label.texts).direction.astype(np.float64)
    scores = {key: float(np.float32(vector.astype(np.float64) @ direction)) for key, vector in by_segment(library).items()}
    ordered = sorted(scores.values())
    place = int(np.ceil(label.rule.value / 100 * (len(ordered) - 1)))  # the library is its own background
    owner = videos_of(library)
    found: dict[str, list[str]] = {}
    for key in sorted(scores):
        if scores[key] >= ordered[place]:
            found.setdefault(owner[key], []).append(key)
    return found


# -- what is tagged


def test_what_is_tagged_is_what_one_counts(library: Library) -> None:
    version = put(library)
    for label in (RED, BLUE):
        counted = expected(library, label)
        rows = {video: row for (name, video), row in library.db.tagged_by("things").items() if name == label.name}
        assert {video: [one["segment_id"] for one in row.segments] for video, row in rows.items()} == counted
        assert 0 < len(rows) < 6
        for row in rows.values():
            scores = [one["score"] for one in row.segments]
            assert row.score == max(scores) and min(scores) >= row.threshold
            assert (row.version, row.revision, row.confidence) == (version, "toy-1", None)
            assert all(one["start"] < one["end"] and one["seek"] == one["start"] for one in row.segments)
    tags = library.db.tags(library.db.filmed("toy-1"))
    assert {video for video, names in tags.items() if "red" in names} == bearing(library)["red"]
    assert library.db.tag_counts() == {name: len(videos) for name, videos in sorted(bearing(library).items())}


def test_tags_are_found_as_words_and_by_filters(library: Library) -> None:
    put(library, "things", replace(RED, name="crimson"))
    hits = library.search("crimson", mode="words", group_by="video").hits
    assert {hit.clip.video for hit in hits} == bearing(library)["crimson"]
    assert library.db.tag_counts() == {"crimson": len(bearing(library)["crimson"])}


def test_again_is_the_same_as_once(library: Library) -> None:
    put(library)
    before = state(library)
    everything = library.db.filmed("toy-1")
    for videos in (None, everything, everything[:2], [], ["no such video"]):
        done = tagging.refresh(library, videos)
        assert (done["added"], done["removed"]) == (0, 0)
        assert state(library) == before
    apply.apply(library, "things")
    assert state(library) == before


def test_a_library_that_grows_is_tagged_as_one_that_was_whole(library: Library) -> None:
    label = replace(RED, rule=Rule("score", 0.4))
    version = put(library, "things", label)
    new = add(library, range(6, 12))
    assert set(bearing(library)["red"]).isdisjoint(new)
    done = tagging.refresh(library, new)
    assert done == {"label_sets": 1, "videos": 6, "added": len(bearing(library)["red"] & set(new)), "removed": 0}
    assert done["added"] > 0
    grown = bearing(library)
    assert tagging.refresh(library)["added"] == 0
    sets.save(library, "whole", [label], "ann")
    apply.apply(library, "whole")
    assert bearing(library, "whole") == grown and library.db.label_set("things").version == version


def test_without_an_active_set_nothing_is_done(small: Library) -> None:
    sets.save(small, "things", [RED], "ann")
    with locked(small.path / ".lock", 0):  # else it would have to wait
        assert tagging.refresh(small)["label_sets"] == 0


def test_what_fits_an_exception_better_is_not_tagged(small: Library) -> None:
    put(small, "plain", replace(RED, rule=Rule("score", -5)))
    assert len(bearing(small, "plain")["red"]) == 6
    put(small, "things", replace(RED, exceptions=("blue",), rule=Rule("score", -5)))
    red, blue = (of_texts(ToyEncoder(), [word]).direction.astype(np.float64) for word in ("red", "blue"))
    left = {key for key, vector in by_segment(small).items() if vector @ red > vector @ blue}
    shown = {one["segment_id"] for row in small.db.tagged_by("things").values() for one in row.segments}
    assert shown == left and 0 < len(left) < 18


def test_where_the_model_found_nothing_nothing_is_tagged(small: Library) -> None:
    """In a library of words most segments have none: all of them scored 0, which reached the line of such a background."""
    made = fitted.make(small, "things", [replace(RED, rule=Rule("score", -5)), BLUE])
    vectors = np.concatenate([np.zeros((1, 8), np.float32), trail.background(small)[:1]])
    assert (made.scores(vectors) == fitted.NOTHING).tolist() == [[True, True], [False, False]]


# -- how it changes


def test_a_preview_says_what_applying_then_does(library: Library) -> None:
    first = put(library)
    before = bearing(library)
    sets.save(library, "things", [replace(RED, rule=Rule("percentile", 30)), Label("grey", ("grey",))], "bob")
    now = state(library)
    told = apply.preview(library, "things")
    held = state(library)
    assert {name: held[name] for name in held if name != "label_sets"} == {
        name: now[name] for name in now if name != "label_sets"
    }
    assert (told["before"], told["version"], told["videos"]) == (first, first + 1, 6)
    done = apply.apply(library, "things")
    after = bearing(library)
    for one in told["labels"]:
        old, new = before.get(one["name"], set()), after.get(one["name"], set())
        counts = (len(old), len(new), len(new - old), len(old - new), len(old & new))
        assert (one["before"], one["after"], one["added"], one["removed"], one["kept"]) == counts
    assert {one["name"] for one in told["labels"]} == {"red", "blue", "grey"}
    assert done["added"] == sum(one["added"] for one in told["labels"]) > 0
    assert done["removed"] == sum(one["removed"] for one in told["labels"]) > 0
    owner = videos_of(library)
    for sample in told["samples"]:
        old, new = before.get(sample["label"], set()), after.get(sample["label"], set())
        changed = new - old if sample["change"] == "added" else old - new
        assert owner[sample["segment_id"]] in changed
    assert {one["change"] for one in told["samples"]} == {"added", "removed"}


def test_labels_that_are_not_saved_can_be_previewed(small: Library) -> None:
    now = state(small)
    told = apply.preview_labels(small, "things", [RED])
    assert told["version"] is None and told["before"] is None and state(small) == now
    put(small, "things", RED)
    assert told["labels"][0]["after"] == len(bearing(small)["red"])


def test_a_stricter_threshold_untags(library: Library) -> None:
    put(library, "things", replace(RED, rule=Rule("percentile", 10)))
    loose = bearing(library)["red"]
    put(library, "things", replace(RED, rule=Rule("percentile", 90)))
    strict = bearing(library)["red"]
    assert strict < loose
    assert {video for video, names in library.db.tags(loose).items() if "red" in names} == strict
    put(library, "things", replace(RED, rule=Rule("score", 5)))
    assert bearing(library) == {} and library.db.tag_counts() == {}
    assert {hit.clip.video for hit in library.search("red", mode="words").hits} == set()


def test_what_a_user_says_stands(library: Library) -> None:
    everything = library.db.filmed("toy-1")
    library.db.tag(everything[:3], add=["red"])
    put(library, "things", replace(RED, rule=Rule("score", -5)))
    library.db.tag(everything[3:4], add=["red"])  # after the label gave it
    library.db.tag(everything[4:5], remove=["red"])
    put(library, "things", replace(RED, rule=Rule("score", -4)))
    assert "red" not in library.db.tags(everything[4:5]).get(everything[4], [])
    sets.save(library, "things", [replace(RED, rule=Rule("score", 5))], "ann")
    apply.apply(library, "things")
    assert set(library.db.tags(everything)) == set(everything[:4])
    apply.retire(library, "things")
    assert set(library.db.tags(everything)) == set(everything[:4])


def test_two_sets_with_a_label_of_one_name_do_not_fight(library: Library) -> None:
    everything = library.db.filmed("toy-1")
    put(library, "one", replace(RED, rule=Rule("score", -5)))
    put(library, "two", replace(RED, rule=Rule("score", -5)))
    for _ in range(2):
        tagging.refresh(library)
    apply.retire(library, "one")
    assert library.db.tag_counts() == {"red": 6} and bearing(library, "one") == {}
    put(library, "one", replace(RED, rule=Rule("score", -5)))
    put(library, "two", replace(RED, rule=Rule("score", 5)))
    assert library.db.tag_counts() == {"red": 6}
    assert apply.retire(library, "one")["removed"] == 6
    assert library.db.tags(everything) == {}


def test_a_video_that_is_removed_takes_all_with_it(library: Library) -> None:
    put(library, "things", replace(RED, rule=Rule("score", -5)))
    gone = library.db.filmed("toy-1")[0]
    library.db.answer_label("things", "red", "000-0", True, "ann")
    library.db.answer_label("things", "red", "001-0", True, "ann")
    forget(library.db, [gone])
    assert gone not in bearing(library)["red"] and library.db.label_answers("things") == {"red": {"001-0": True}}
    assert tagging.refresh(library) == {"label_sets": 1, "videos": 5, "added": 0, "removed": 0}


def test_vectors_of_another_model_are_never_scored(library: Library) -> None:
    version = put(library, "things", replace(RED, rule=Rule("score", -5)))
    stranger = add(library, [9], revision="toy-2")
    assert tagging.refresh(library, stranger) == {"label_sets": 1, "videos": 0, "added": 0, "removed": 0}
    add(library, [0, 1], revision="toy-2")
    library.change(replace(library.config, model=replace(library.config.model, revision="toy-2")))
    with pytest.raises(UserError, match="was indexed with model revision toy-2"):
        tagging.refresh(library)
    with Library.open(library.path, encoder=ToyEncoder("toy-2")) as other:
        done = tagging.refresh(other, stranger)  # which are not all that has to be looked at
        assert (done["videos"], done["added"], done["removed"]) == (3, 1, 4)
        rows = other.db.tagged_by("things").values()
        assert {row.revision for row in rows} == {"toy-2"} and {row.version for row in rows} == {version}
        assert tagging.refresh(other)["added"] == 0


def test_another_writer_is_waited_for_but_not_for_ever(small: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    put(small)
    monkeypatch.setattr("hit.library._WAIT", 0.0)
    with locked(small.path / ".lock", 0):
        with pytest.raises(BusyError):
            tagging.refresh(small)
        with pytest.raises(BusyError):
            apply.apply(small, "things")


def test_all_of_it_counts_or_nothing(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    put(library)
    sets.save(library, "things", [replace(RED, rule=Rule("percentile", 20))], "ann")
    fitted.of_version(library, library.db.label_set("things"))
    before = state(library)

    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(keywords, "refresh", broken)
        with pytest.raises(OSError, match="the disk is gone"):
            apply.apply(library, "things")
    assert state(library) == before
    assert apply.apply(library, "things")["added"] > 0


# -- versions


def test_drafts_are_replaced_and_what_is_active_stays(library: Library) -> None:
    assert [sets.save(library, "things", [RED], "ann").version for _ in range(2)] == [1, 1]
    apply.apply(library, "things")
    assert sets.save(library, "things", [BLUE], "bob").version == 2
    (listed,) = library.db.label_sets()
    assert (listed.newest.version, listed.active, listed.newest.by) == (2, 1, "bob")
    assert listed.tagged == len(bearing(library)["red"])
    apply.apply(library, "things")
    assert [(one.version, one.state) for one in library.db.label_versions("things")] == [(2, "active"), (1, "retired")]
    apply.apply(library, "things", 1)  # back again
    assert [(one.version, one.state) for one in library.db.label_versions("things")] == [(2, "retired"), (1, "active")]
    assert set(bearing(library)) == {"red"}
    assert sets.save(library, "things", [BLUE], "bob").version == 3
    for name, version in (("things", 4), ("none", None), ("none", 1)):
        with pytest.raises(NotFoundError):
            library.db.label_set(name, version)
    with pytest.raises(NotFoundError):
        apply.retire(library, "none")


def test_what_was_written_anew_meanwhile_is_not_made_active(library: Library) -> None:
    old = sets.save(library, "things", [RED], "ann")
    sets.save(library, "things", [BLUE], "bob")
    with pytest.raises(NotFoundError, match="has changed meanwhile"):
        library.db.activate_labels(old, [], [])
    put(library, "others", RED)
    active = library.db.label_set("others")
    apply.retire(library, "others")
    with pytest.raises(NotFoundError, match="has changed meanwhile"):
        library.db.activate_labels(active, [], [])
    assert [one.state for one in library.db.label_versions("others")] == ["retired"]


def test_the_same_file_again_makes_no_version(small: Library) -> None:
    first = sets.saved(small, "things", [RED, BLUE], "ann")
    apply.apply(small, "things")
    assert sets.saved(small, "things", [RED, BLUE], "bob").version == first.version
    assert sets.saved(small, "things", [BLUE, RED], "bob").version == first.version + 1


def test_examples_are_segments_that_are_or_were_there(small: Library) -> None:
    shown = replace(RED, examples_for=("000-0",), examples_against=("001-1",))
    with pytest.raises(NotFoundError, match="segment 9: an example of 'red' that the library does not know"):
        sets.save(small, "things", [replace(RED, examples_for=("000-0", "9"))], "ann")
    sets.save(small, "things", [shown], "ann")
    forget(small.db, [small.db.filmed("toy-1")[0]])
    one = sets.save(small, "things", [replace(shown, texts=("a red thing",))], "ann")
    found = fitted.of_version(small, one)
    alone = fitted.make(small, "things", [replace(shown, examples_for=(), texts=("a red thing",))])
    assert found.concepts[0].direction.tobytes() == alone.concepts[0].direction.tobytes()


def test_what_is_fitted_is_kept_and_read_as_it_was(small: Library) -> None:
    label = replace(RED, exceptions=("blue", "grey"), examples_for=("000-0", "000-1"), examples_against=("001-1",))
    one = sets.save(small, "things", [label, BLUE], "ann")
    made = fitted.of_version(small, one)
    kept = fitted.kept(small.db.label_set("things"), "toy-1")
    assert kept is not None and fitted.kept(small.db.label_set("things"), "toy-2") is None
    assert kept.to_json() == made.to_json() == fitted.make(small, "things", [label, BLUE]).to_json()
    shown = np.array(list(by_segment(small).values()))
    np.testing.assert_array_equal(kept.scores(shown), made.scores(shown))
    np.testing.assert_array_equal(kept.concepts[0].honest(shown), made.concepts[0].honest(shown))
    assert [concept.kind for concept in kept.concepts] == ["probe", "text"]


def test_a_label_by_itself_is_fitted_as_among_the_others(small: Library) -> None:
    group = [
        Label(name, (name,), "colour", examples_for=("000-0",) if name == "grey" else ()) for name in ("red", "blue", "grey")
    ]
    one = sets.save(small, "things", [*group, Label("fast", ("red blue",))], "ann")
    alone = {name: fitted.of_label(small, one, name) for name in ("red", "grey", "fast")}
    whole = fitted.of_version(small, one)
    for name, found in alone.items():
        assert found.to_json()["labels"] == whole.only(name).to_json()["labels"]
    assert [found.concepts[0].kind for found in alone.values()] == ["contrast", "probe", "text"]


def test_an_empty_library_says_so(tmp_path: Path) -> None:
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        sets.save(library, "things", [RED], "ann")
        with pytest.raises(UserError, match="holds no videos yet"):
            apply.preview(library, "things")


# -- answers


def test_answers_become_examples_of_a_new_draft(library: Library) -> None:
    put(library, "things", replace(RED, examples_for=("000-0", "000-1"), examples_against=("001-0",)))
    before = state(library)
    with pytest.raises(UserError, match="nobody has answered anything yet"):
        sets.refit(library, "things", "red", "bob")
    for segment, yes in (("000-1", False), ("002-0", False), ("002-0", True), ("003-0", True), ("004-0", True)):
        sets.answer(library, "things", "red", segment, yes, "bob")
    assert sets.answer(library, "things", "red", "004-0", None, "bob") == {"yes": 2, "no": 1}
    assert state(library) == before, "nothing changes silently"
    one = sets.refit(library, "things", "red", "bob")
    (label,) = sets.labels_of(one)
    assert label.examples_for == ("000-0", "002-0", "003-0") and label.examples_against == ("001-0", "000-1")
    assert (one.state, one.version) == ("draft", 2)
    first = fitted.of_version(library, one)
    again = sets.refit(library, "things", "red", "ann")
    assert fitted.of_version(library, again).to_json() == first.to_json()
    assert apply.apply(library, "things")["version"] == 2


def test_answers_about_what_is_not_there(library: Library) -> None:
    put(library)
    for name, label, segment in (("none", "red", "000-0"), ("things", "none", "000-0"), ("things", "red", "none")):
        with pytest.raises(NotFoundError):
            sets.answer(library, name, label, segment, True, "ann")
    assert sets.tally(library, "things", "red") == {"yes": 0, "no": 0}


def test_a_threshold_by_precision_is_what_answers_make_it(small: Library) -> None:
    label = replace(RED, rule=Rule("precision", 0.75))
    sets.save(small, "things", [BLUE, label], "ann")
    with pytest.raises(UserError, match="label red: a threshold by precision: needs 10 answers, and there are 0"):
        apply.preview(small, "things")
    direction = of_texts(ToyEncoder(), ["red"]).direction
    scores = {key: float(vector @ direction) for key, vector in by_segment(small).items()}
    ordered = sorted(scores, key=scores.__getitem__, reverse=True)
    said = dict(zip(ordered[:11], [1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0], strict=True))
    for segment, yes in said.items():
        sets.answer(small, "things", "red", segment, bool(yes), "ann")
    apply.apply(small, "things")
    assert fitted.of_version(small, small.db.label_set("things")).thresholds[1] == pytest.approx(scores[ordered[4]], abs=1e-6)
    for segment in ordered[:3]:
        sets.answer(small, "things", "red", segment, False, "bob")
    before = state(small)
    assert tagging.refresh(small)["removed"] == 0 and state(small) == before, "an active set moves on command only"
    sets.save(small, "things", [BLUE, replace(label, rule=Rule("precision", 0.1))], "ann")
    line = fitted.of_version(small, small.db.label_set("things")).thresholds[1]
    sets.answer(small, "things", "red", ordered[11], True, "ann")
    assert fitted.of_version(small, small.db.label_set("things")).thresholds[1] < line, "a draft follows the answers"


class Likely:
    """A calibration: the chance is the score's own, and the number of segments is noted."""

    threshold = 0.5

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int]] = []

    def judge(self, query: Floats, scores: Floats, segments: int, way: str = "t2v") -> Floats:
        self.asked.append((query.tobytes(), segments))
        found: Floats = (1 / (1 + np.exp(-scores))).astype(np.float32)
        return found

    def normalise(self, query: Floats, scores: Floats, vectors: Floats) -> Floats:
        raise AssertionError


def test_confidence_is_the_probes_or_that_of_a_search_or_none(small: Library) -> None:
    judge = Likely()
    small._judge = judge
    probed = replace(BLUE, name="probed", examples_for=("000-0", "001-0"), examples_against=("002-0",))
    put(small, "things", RED, BLUE, probed)
    rows = small.db.tagged_by("things")
    found = fitted.of_version(small, small.db.label_set("things"))
    sure: Mapping[str, Callable[[float], float | None]] = {
        "red": lambda score: 1 / (1 + np.exp(-score)),
        "blue": lambda _: None,  # several texts: a search for them has no confidence either
        "probed": lambda score: float((found.concepts[2].probabilities(np.array([score], np.float32)) or [0])[0]),
    }
    assert {label for label, _ in rows} == set(sure)
    for (label, _), row in rows.items():
        assert row.confidence == pytest.approx(sure[label](row.score), abs=1e-6)
    assert judge.asked == [(of_texts(ToyEncoder(), ["red"]).direction.tobytes(), 18)]


# -- the line


def test_a_label_is_shown_at_its_line(small: Library) -> None:
    put(small, "things", replace(RED, exceptions=("green",), rule=Rule("percentile", 60)))
    direction, barred = (of_texts(ToyEncoder(), [word]).direction.astype(np.float64) for word in ("red", "green"))
    scores = {
        key: float(np.float32(vector.astype(np.float64) @ direction))
        for key, vector in by_segment(small).items()
        if vector.astype(np.float64) @ direction > vector.astype(np.float64) @ barred
    }
    ordered = sorted(scores, key=scores.__getitem__)
    owner = videos_of(small)
    best = {video: max(scores[key] for key in scores if owner[key] == video) for video in {owner[key] for key in scores}}
    own = small.db.label_set("things")
    line = fitted.of_version(small, own).thresholds[0]
    for threshold in (None, scores[ordered[3]], -9.0, 9.0):
        found = view(small, "things", "red", threshold=threshold)
        at = line if threshold is None else threshold
        assert found["threshold"] == at and found["rule"] == {"percentile": 60.0} and found["kind"] == "text"
        assert found["segments"] == sum(score >= at for score in scores.values())
        assert found["videos"] == sum(score >= at for score in best.values())
        above, below = [key for key in ordered if scores[key] >= at], [key for key in ordered if scores[key] < at]
        assert [one["segment_id"] for one in found["above"]] == above[:NEAR]
        assert [one["segment_id"] for one in found["below"]] == below[::-1][:NEAR]
        assert found["counts_at"] == [(edge, sum(score >= edge for score in best.values())) for edge, _ in found["counts_at"]]
        assert found["counts_at"][0][1] == len(best) and found["counts_at"][-1][1] >= 1 and len(found["counts_at"]) == LINES
        bars = found["histogram"]
        assert len(bars["edges"]) == BINS + 1 and sum(bars["library"]) == len(scores) and sum(bars["background"]) == 18
        for one in found["above"] + found["below"]:
            assert one["score"] == scores[one["segment_id"]] and 0 <= one["percentile"] <= 100 and one["confidence"] is None
    assert view(small, "things", "red")["videos"] == len(bearing(small)["red"])
    with pytest.raises(NotFoundError):
        view(small, "things", "green")


def test_answers_say_how_right_a_line_is(small: Library) -> None:
    put(small, "things", replace(RED, rule=Rule("percentile", 50)))
    assert view(small, "things", "red")["precision"] is None
    shown = view(small, "things", "red")["above"]
    for i, one in enumerate(shown[:4]):
        sets.answer(small, "things", "red", one["segment_id"], i > 0, "ann")
    sets.answer(small, "things", "red", view(small, "things", "red")["below"][0]["segment_id"], False, "ann")
    found = view(small, "things", "red")
    assert found["answers"] == {"yes": 3, "no": 2} and [one["answer"] for one in found["above"][:5]] == [
        False,
        True,
        True,
        True,
        None,
    ]
    assert found["precision"] == precision(np.ones(4, np.float32), np.array([False, True, True, True]), 0.5)
    assert view(small, "things", "red", threshold=shown[1]["score"])["precision"]["answered"] == 3


# -- from a video to texts


def test_texts_and_labels_are_ranked_as_in_a_description(small: Library) -> None:
    video = small.db.filmed("toy-1")[2]
    texts = ["red", "green", "blue", "grey", "red blue"]
    plain = small.describe([Path("/none")] and [_like(video)], texts, 5)["videos"][0]["texts"]
    found = rank(small, video, None, texts, 3)
    assert [{key: one[key] for key in plain[0]} for one in found["texts"]] == plain[:3]
    sets.save(small, "things", [Label("warm", ("red", "grey")), Label("cold", ("green", "blue")), Label("both", ("red",))], "ann")
    labels = rank(small, video, "things", [], 10)["texts"]
    scores = {one["text"]: one["score"] for one in plain}
    assert {one["label"]: one["text"] for one in labels} == {
        "warm": max("red", "grey", key=scores.__getitem__),
        "cold": max("green", "blue", key=scores.__getitem__),
        "both": "red",
    }
    assert [one["rank"] for one in labels] == [1, 2, 3]
    assert [one["score"] for one in labels] == sorted((one["score"] for one in labels), reverse=True)
    for label_set, given in (("things", ["red"]), (None, [])):
        with pytest.raises(UserError, match="names both a label set and texts, or neither"):
            rank(small, video, label_set, given, 3)
    for name, one in (("none", video), ("things", "none")):
        with pytest.raises(NotFoundError):
            rank(small, one, name, [], 3)


def _like(video: str) -> Any:
    from hit.examples import Like

    return Like(video)
