"""Policies: what they say, how they judge, their way from draft to retired, and what is written of it."""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from hit import moderation, trail
from hit.db import Base, Database, Delivery, Endpoint, Found, Judged, Segment, StaleError, video_id
from hit.errors import NotFoundError, UserError
from hit.library import Library
from hit.moderation import document as documents
from hit.moderation import export, lifecycle, verdicts
from hit.moderation.document import Document
from hit.moderation.judging import Fit, Lines, averaged, bench, draw, fit, lasting
from hit.moderation.trial import trial
from toy import PLUGIN, ToyEncoder

RED = {"texts": ["red"], "review": {"score": 1.4}, "block": {"score": 1.9}}
TABLES = ("policies", "policy_changes", "verdicts", "standing", "deliveries", "cases", "assignments", "prints", "bank", "changes")


@pytest.fixture
def library(own: Path) -> Iterator[Library]:
    """Open a library of five videos of plain colours by the toy encoder, which the test may change."""
    with Library.open(own, encoder=ToyEncoder()) as opened:
        yield opened


def digest(db: Database) -> str:
    """Return a hash of all rows that moderation and review may write."""
    with db.read() as session:
        rows = {name: sorted(map(str, session.execute(sa.select(Base.metadata.tables[name])).all())) for name in TABLES}
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def endpoint(db: Database, *events: str) -> None:
    now = datetime.now(UTC)
    db.add_endpoint(Endpoint(name="all", url="http://127.0.0.1:9/", events=list(events), salt="", by="", created_at=now))


def told(db: Database) -> list[tuple[str, Any, Any]]:
    """Return the title-less gist of all events `verdict.changed`, in the order of their making."""
    found = [one for one in reversed(db.deliveries(limit=1000)) if one.event == "verdict.changed"]
    return [(one.body["video_id"], one.body["before"], one.body["after"]) for one in found]


def titled(library: Library, name: str, version: int) -> dict[str, str]:
    said = library.db.said(name, version)
    return {card.title: said[key] for key, card in library.db.titles(said).items()}


def force(library: Library, table: dict[str, Any], state: lifecycle.State = "enforced", name: str = "reds") -> dict[str, Any]:
    lifecycle.draft(library, name, table, "ann")
    lifecycle.enter(library, name, state, "ann")
    return moderation.judge(library)


# -- documents


TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20).filter(str.strip)
RULES = st.one_of(
    st.fixed_dictionaries({"percentile": st.floats(0, 100)}),
    st.fixed_dictionaries({"precision": st.floats(0, 1)}),
    st.fixed_dictionaries({"score": st.floats(-10, 10)}),
)


@given(
    st.fixed_dictionaries(
        {"texts": st.lists(TEXT, min_size=1, max_size=3)},
        optional={
            "exceptions": st.lists(TEXT, max_size=3),
            "examples_for": st.lists(st.sampled_from("abc"), max_size=2),
            "examples_against": st.lists(st.sampled_from("xyz"), max_size=2),
            "review": RULES,
            "block": RULES,
            "severity": st.integers(1, 5),
            "audit_share": st.floats(0, 1),
            "window": st.floats(0, 3600),
            "min_duration": st.floats(0, 100),
            "scope": st.sampled_from(["", "duration>=3", "tag=beach"]),
            "reviewers": st.integers(1, 2),
            "bank": st.booleans(),
            "note": st.text(st.characters(exclude_categories=["C"]), max_size=20),
        },
    )
)
def test_a_document_goes_through_json_and_toml_unchanged(table: dict[str, Any]) -> None:
    try:
        made = documents.read(table)
    except UserError as error:
        assert "review" in error.what
        assert "block" in table
        return
    assert documents.read(json.loads(json.dumps(made.to_table()))).to_table() == made.to_table()
    again = documents.read(tomllib.loads(documents.to_toml(made)))
    assert again.to_table() == made.to_table()
    assert documents.diff(made, again) == []


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"txts": ["a"]}, "has no texts"),
        ({"texts": ["a"], "exeptions": []}, "did you mean 'exceptions'?"),
        ({"texts": []}, "has no texts"),
        ({"texts": [" "]}, "each of 1 to"),
        ({"texts": "a fight"}, "expected"),
        ({"texts": ["a"], "severity": 6}, "6 is not from 1 to 5"),
        ({"texts": ["a"], "audit_share": 1.1}, "1.1 is not from 0 to 1"),
        ({"texts": ["a"], "audit_share": float("nan")}, "nan is not from"),
        ({"texts": ["a"], "reviewers": 3}, "3 is not from 1 to 2"),
        ({"texts": ["a"], "review": {"percentle": 99}}, "there is no rule"),
        ({"texts": ["a"], "review": {"score": 1.0}, "block": {"score": 0.5}}, "block is reached before review"),
        ({"texts": ["a"], "scope": "duration>>3"}, "duration"),
        ({"texts": ["a"], "examples_for": ["s"], "examples_against": ["s"]}, "s is for and against it"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(table: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        documents.read(table)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_a_policy_that_is_no_toml_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("texts = [")
    with pytest.raises(UserError, match="not a TOML file"):
        documents.load(tmp_path / "p.toml")
    with pytest.raises(UserError, match="cannot be read"):
        documents.load(tmp_path / "q.toml")


# -- scores


@st.composite
def stretches(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return scores (n,) and times (n, 2), on a grid of a quarter of a second; they may overlap and leave gaps."""
    count = draw(st.integers(1, 8))
    starts = draw(st.lists(st.integers(0, 40), min_size=count, max_size=count))
    lengths = draw(st.lists(st.integers(1, 16), min_size=count, max_size=count))
    times = np.array([(a / 4, (a + b) / 4) for a, b in zip(starts, lengths, strict=True)])
    scores = draw(st.lists(st.floats(-2, 2, width=16), min_size=count, max_size=count))
    return np.array(scores, np.float32), times[np.argsort(times[:, 0], kind="stable")]


@given(stretches(), st.integers(1, 40), st.data())
def test_scores_are_averaged_over_time(given_: Any, window: int, data: st.DataObject) -> None:
    scores, times = given_
    counted = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    found = averaged(scores, times, window / 4, counted)
    for i, (start, end) in enumerate(times):
        low, high = (start + end) / 2 - window / 8, (start + end) / 2 + window / 8
        shared = np.maximum(np.minimum(times[:, 1], high) - np.maximum(times[:, 0], low), 0) * counted
        expected = (shared @ scores) / shared.sum() if shared.sum() > 1e-9 else scores[i]
        assert found[i] == pytest.approx(expected, abs=1e-5)


@given(stretches(), st.integers(0, 60))
def test_the_score_is_the_highest_that_lasts(given_: Any, least: int) -> None:
    scores, times = given_

    def covered(chosen: Any) -> int:
        return len({quarter for a, b in times[chosen] for quarter in range(round(a * 4), round(b * 4))})

    whole = covered(np.ones(len(scores), bool))
    fits = [float(score) for score in scores if covered(scores >= score) >= min(least, whole)]
    assert lasting(scores, times, least / 4) == max(fits)


def test_a_short_video_cannot_hide_behind_a_long_minimum() -> None:
    assert lasting(np.array([2.0], np.float32), np.array([[0.0, 3.0]]), 60.0) == 2.0


def test_the_audit_is_drawn_by_content_and_policy_and_by_nothing_else() -> None:
    drawn = np.array([draw(f"{number:064x}", "p") for number in range(4000)])
    assert drawn.tolist() == [draw(f"{number:064x}", "p") for number in range(4000)]
    assert np.all((drawn >= 0) & (drawn < 1))
    assert np.histogram(drawn, 10, (0, 1))[0] == pytest.approx(400, abs=100)  # 5 deviations
    assert abs(np.corrcoef(drawn, [draw(f"{number:064x}", "q") for number in range(4000)])[0, 1]) < 0.1


@pytest.mark.parametrize(("score", "verdict"), [(0.99, "pass"), (1.0, "review"), (1.99, "review"), (2.0, "block")])
def test_bands_begin_at_their_lines(score: float, verdict: str) -> None:
    assert Lines(1.0, 2.0).verdict(score) == verdict
    assert Lines(1.0, None).verdict(score) == ("pass" if score < 1.0 else "review")


# -- judging


def test_colours_are_judged_and_a_second_run_writes_nothing(library: Library) -> None:
    endpoint(library.db)
    report = force(library, RED)
    assert titled(library, "reds", 1) == {
        "red.mp4": "block",
        "red then blue.mp4": "pass",
        "long.mp4": "block",
        "green.mp4": "pass",
        "blue.mp4": "pass",
    }
    (long,) = [one for one in library.db.verdicts("reds", 1)[0] if len(one.evidence) and one.evidence[0]["start"] > 1]
    assert [(one["start"], one["end"]) for one in long.evidence] == [(5.0, 10.0)]
    assert report["policies"][0]["changed"] == 5 and not report["failed"]
    before = digest(library.db)
    again = moderation.judge(library)
    assert again["policies"][0]["changed"] == 0
    assert digest(library.db) == before
    assert sorted(after for _, _, after in told(library.db)) == ["block", "block", "pass", "pass", "pass"]


def test_what_shows_an_exception_is_no_evidence(library: Library) -> None:
    force(library, {**RED, "exceptions": ["red"]})
    assert set(titled(library, "reds", 1).values()) == {"pass"}


def test_where_the_model_found_nothing_nothing_is_flagged(library: Library) -> None:
    force(library, {**RED, "review": {"score": -5}, "block": {"score": -4}})
    made, _ = verdicts.ready(library, library.db.policy("reds"))
    reel = next(trail.reels(library))
    blank = replace(reel, vectors=np.zeros_like(reel.vectors))
    said = [made.judge(one, "hash") for one in (reel, blank)]
    assert [one and one.verdict for one in said] == ["block", "pass"]


def test_only_what_is_in_the_scope_is_judged_and_what_leaves_it_is_forgotten(library: Library) -> None:
    endpoint(library.db)
    force(library, {**RED, "scope": "duration>=10"})
    assert titled(library, "reds", 1) == {"long.mp4": "block"}
    (key,) = library.db.said("reds", 1)
    lifecycle.draft(library, "greens", {"texts": ["red"], "review": {"score": 1.4}, "scope": "start>=4 and end<=10.5"}, "ann")
    lifecycle.enter(library, "greens", "shadow", "ann")
    moderation.judge(library, names=["greens"])
    assert titled(library, "greens", 1) == {"long.mp4": "review"}  # by its second segment alone
    lifecycle.draft(library, "tagged", {**RED, "scope": "tag=x"}, "ann")
    lifecycle.enter(library, "tagged", "enforced", "ann")
    library.db.tag([key], add=["x"])
    moderation.judge(library, names=["tagged"])
    assert library.db.said("tagged", 1) == {key: "block"}
    library.db.tag([key], remove=["x"])
    moderation.judge(library, names=["tagged"])
    assert library.db.said("tagged", 1) == {}
    assert told(library.db)[-2:] == [(key, None, "block"), (key, "block", None)]


def test_an_audited_share_of_what_passes_is_looked_at(library: Library) -> None:
    force(library, {**RED, "audit_share": 1.0})
    rows = library.db.verdicts("reds", 1)[0]
    assert {one.verdict: one.audit for one in rows} == {"block": False, "pass": True}
    cases, total, _ = library.db.cases()
    assert total == 3 and all(docket.case.audit and docket.case.evidence for docket in cases)


def test_a_shadow_asks_nobody_and_tells_nobody(library: Library) -> None:
    endpoint(library.db, "verdict.changed")
    force(library, {**RED, "block": None, "audit_share": 1.0}, "shadow")
    assert titled(library, "reds", 1)["red.mp4"] == "review"
    assert library.db.cases()[1] == 0 and not library.db.deliveries()
    lifecycle.enter(library, "reds", "enforced", "ann")  # the same rows, now in force
    report = moderation.judge(library)
    assert report["policies"][0]["changed"] == 0 and report["policies"][0]["cases"] == 5
    assert len(told(library.db)) == 5


def test_enforcing_another_version_retires_the_one_before_and_tells_what_changes(library: Library) -> None:
    endpoint(library.db)
    force(library, RED)
    first = told(library.db)
    lifecycle.draft(library, "reds", {**RED, "block": None}, "bob")
    found = trial(library, "reds")
    assert found["previous"] == {"version": 1, "state": "enforced", "counts": {"pass": 3, "review": 0, "block": 2}}
    assert found["changed"] == 2 and {(one["before"], one["after"]) for one in found["changes"]} == {("block", "review")}
    lifecycle.enter(library, "reds", "enforced", "bob")
    moderation.judge(library)
    assert [one.state for one in library.db.policies(["reds"])] == ["retired", "enforced"]
    assert sorted(told(library.db)[len(first) :]) == sorted((one["video_id"], "block", "review") for one in found["changes"])
    changes = [(one.version, one.change, one.by) for one in reversed(library.db.policy_changes("reds"))]
    assert changes == [
        (1, "draft", "ann"),
        (1, "enforced", "ann"),
        (2, "draft", "bob"),
        (1, "retired", "bob"),
        (2, "enforced", "bob"),
    ]
    assert library.db.cases(state="open")[1] == 2
    lifecycle.enter(library, "reds", "retired", "bob")
    assert library.db.cases(state="open")[1] == 0
    assert moderation.judge(library)["policies"] == []


def test_a_dry_run_writes_nothing_and_says_what_enforcing_then_does(library: Library) -> None:
    lifecycle.draft(library, "reds", {**RED, "window": 8.0, "min_duration": 3.0, "audit_share": 0.5}, "ann")
    before = digest(library.db)
    found = trial(library, "reds")
    assert digest(library.db) == before
    free = trial(library, "reds", document=documents.read({**RED, "window": 8.0, "min_duration": 3.0, "audit_share": 0.5}))
    assert {**free, "version": 1} == found
    lifecycle.enter(library, "reds", "enforced", "ann")
    moderation.judge(library)
    assert library.db.verdict_counts()["reds", 1] == found["counts"]
    rows = library.db.verdicts("reds", 1)[0]
    assert sum(one.audit for one in rows) == found["audit"]
    assert sum(found["histogram"]["library"]) == 5 and sum(found["histogram"]["background"]) == library.db.counts()["segments"]
    named = {one["video_id"]: one["score"] for kind in ("review", "block", "passed") for one in found[kind]}
    assert named == {one.video_id: one.score for one in rows}


def test_lines_are_drawn_once_and_stay_while_the_library_changes(library: Library) -> None:
    report = force(library, {"texts": ["red"], "review": {"percentile": 40}})
    kept = lifecycle.shown(library, "reds")["fitted"]
    assert kept["kind"] == "text" and kept["revision"] == "toy-1" and not report["policies"][0]["fitted"]
    library.db.record_files([], [path for path in library.db.files() if path.endswith("long.mp4")])
    before = digest(library.db)
    moderation.judge(library)
    assert digest(library.db) == before and lifecycle.shown(library, "reds")["fitted"] == kept
    lifecycle.draft(library, "reds", {"texts": ["red"], "review": {"percentile": 40}}, "ann")
    assert fit(library, "reds", documents.read({"texts": ["red"], "review": {"percentile": 40}})).lines.review != kept["review"]


def test_another_revision_of_the_model_fits_a_policy_anew_and_says_so(own: Path, made: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    with Library.open(own, encoder=ToyEncoder()) as library:
        force(library, {"texts": ["red"], "review": {"percentile": 80}})
        rows = {one.video_id: one.revision for one in library.db.verdicts("reds", 1)[0]}
        assert set(rows.values()) == {"toy-1"}
    with Library.open(own, encoder=ToyEncoder("toy-2")) as library:
        library.index([made / "v"], workers=1)
        report = moderation.judge(library)
        assert report["policies"][0]["fitted"] and report["policies"][0]["changed"] == 5
        assert {one.revision for one in library.db.verdicts("reds", 1)[0]} == {"toy-2"}
        assert library.db.policy_changes("reds")[0].change == "fitted"
        assert set(library.db.policy("reds").fitted or {}) == {"toy-1", "toy-2"}


def test_a_rule_that_cannot_be_kept_stops_the_enforcement_in_one_line(library: Library) -> None:
    lifecycle.draft(library, "reds", {"texts": ["red"], "review": {"precision": 0.9}}, "ann")
    with pytest.raises(UserError, match="needs 10 answers, and there are 0"):
        lifecycle.enter(library, "reds", "enforced", "ann")
    assert library.db.policy("reds").state == "draft"


def test_examples_make_a_probe_which_is_kept_as_it_is(library: Library) -> None:
    reels = {library.db.titles([reel.video])[reel.video].title: reel for reel in trail.reels(library)}
    table = {
        "texts": ["grey"],
        "examples_for": [reels["red.mp4"].segments[0].id, reels["long.mp4"].segments[1].id],
        "examples_against": [reels["green.mp4"].segments[0].id],
        "review": {"percentile": 70},
    }
    force(library, table)
    kept = (library.db.policy("reds").fitted or {})["toy-1"]
    again = Fit.from_json("toy-1", json.loads(json.dumps(kept)))
    assert kept["kind"] == "probe" and again.to_json() == kept
    made = bench(library, "reds", documents.read(table), again)
    assert {one.verdict for one in library.db.verdicts("reds", 1)[0]} >= {"review"}
    assert all(one.confidence is not None for one in library.db.verdicts("reds", 1)[0])
    row = library.db.verdicts_of("reds", 1, [reels["red.mp4"].video])[reels["red.mp4"].video]
    said = made.judge(reels["red.mp4"], "")
    assert said and (said.score, said.confidence, said.verdict) == (row.score, row.confidence, row.verdict)
    with pytest.raises(UserError, match="knows no segment"):
        lifecycle.draft(library, "reds", {**table, "examples_for": ["nothing"]}, "ann")


def test_an_empty_library_takes_policies_and_fits_them_when_videos_come(tmp_path: Path, made: Path) -> None:
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        force(library, RED)
        assert lifecycle.shown(library, "reds")["fitted"] is None
        with pytest.raises(UserError, match="holds no videos"):
            trial(library, "reds")


def test_export_has_every_verdict_and_no_formula(library: Library) -> None:
    force(library, RED)
    policy = library.db.policy("reds")
    key = next(iter(library.db.said("reds", 1)))
    with library.db.write() as session:
        session.execute(sa.text("UPDATE videos SET title = '=1+1' WHERE id = :key"), {"key": key})
    rows = [json.loads(line) for line in export.lines(library, policy, "jsonl")]
    assert {row["video_id"]: row["verdict"] for row in rows} == library.db.said("reds", 1)
    assert {row["title"] for row in rows} >= {"=1+1"}
    table = list(export.lines(library, policy, "csv"))
    assert len(table) == 6 and sum("'=1+1" in line for line in table) == 1


# -- in both databases


def put(db: Database, name: str) -> str:
    content = hashlib.sha256(name.encode()).hexdigest()
    db.record_files([Found(f"/{name}", 1, 1, content)])
    key = video_id(content)
    one = Segment(id=f"s{name}", video_id=key, start=0.0, end=2.0, seek=0.0, thumbnail=None)
    db.finish(key, {"duration": 2.0}, [one], "r1", np.ones((1, 3), np.float32))
    return key


def said(video: str, verdict: Any = "pass", score: float = 0.5, **more: Any) -> Judged:
    return replace(Judged(video, "set", "r1", verdict, score, None, False, []), **more)


def test_versions_and_states(db: Database) -> None:
    document = Document(texts=("a",)).to_table()
    with pytest.raises(NotFoundError, match="there are: none"):
        db.policy("p")
    for name in ("a/b", "bank"):
        with pytest.raises(UserError, match="slash"):
            db.draft_policy(name, document, "ann")
    assert db.draft_policy("p", document, "ann").version == 1
    assert db.draft_policy("p", {**document, "note": "x"}, "bob").version == 1  # the draft is replaced
    assert (db.policy("p").document["note"], db.policy("p").by) == ("x", "bob")
    db.set_policy("p", 1, "shadow", "ann", {"r1": {"review": 1.0}})
    db.set_policy("p", 1, "shadow", "ann", {"r1": {"review": 2.0}})
    assert db.policy("p").fitted == {"r1": {"review": 1.0}}  # what is drawn once stays
    assert db.draft_policy("p", document, "ann").version == 2
    db.set_policy("p", 2, "enforced", "ann")
    assert [one.state for one in db.policies(["p"])] == ["shadow", "enforced"]
    db.draft_policy("p", document, "ann")
    db.set_policy("p", 3, "shadow", "ann")
    assert [one.state for one in db.policies(["p"])] == ["retired", "enforced", "shadow"]
    db.set_policy("p", 3, "enforced", "ann")
    assert [one.state for one in db.policies(["p"], ["enforced"])] == ["enforced"] and db.policy("p", 2).state == "retired"


def test_verdicts_are_written_once_and_told_once(db: Database) -> None:
    a, b, c = sorted(put(db, name) for name in "abc")
    endpoint(db, "verdict.changed")
    db.draft_policy("p", Document(texts=("a",)).to_table(), "ann")
    assert db.record_verdicts("p", 1, [said(a)]) == 0  # a draft says nothing
    db.set_policy("p", 1, "enforced", "ann")
    assert db.unjudged("p", 1, "r1") == [a, b, c]
    evidence = [{"segment_id": "s", "start": 0.1, "end": 2.0, "seek": 0.1, "score": 0.1 + 0.2}]
    first = [said(a, evidence=evidence), said(b, "block", 1 / 3, confidence=0.1), said("gone")]
    assert db.record_verdicts("p", 1, first) == 2
    assert db.record_verdicts("p", 1, first) == 0
    assert db.unjudged("p", 1, "r1") == [c] and db.unjudged("p", 1, "r2") == []
    assert sorted(told(db)) == [(a, None, "pass"), (b, None, "block")]
    assert db.record_verdicts("p", 1, [said(a, evidence=[]), said(b, "review", 1 / 3)]) == 2
    assert told(db)[2:] == [(b, "block", "review")]
    assert db.record_verdicts("p", 1, [], out=[b]) == 1
    assert told(db)[3:] == [(b, "review", None)]
    assert [(policy.name, one.verdict) for policy, one in db.verdicts_on(a)] == [("p", "pass")]
    assert db.verdict_counts() == {("p", 1): {"pass": 1, "review": 0, "block": 0}}
    db.record_files([], ["/a", "/b", "/c"])
    assert db.said("p", 1) == {}  # they go with their videos


def test_verdicts_page_by_page(db: Database) -> None:
    keys = [put(db, f"v{number}") for number in range(7)]
    db.draft_policy("p", Document(texts=("a",)).to_table(), "ann")
    db.set_policy("p", 1, "shadow", "ann")
    db.record_verdicts("p", 1, [said(key, score=number // 2 / 7) for number, key in enumerate(keys)])
    expected = [key for _, key in sorted((-(number // 2 / 7), key) for number, key in enumerate(keys))]
    found, page = list[str](), None
    while True:
        some, total, page = db.verdicts("p", 1, limit=3, page=page)
        found += [one.video_id for one in some]
        if page is None:
            break
    assert found == expected and total == 7
    assert db.verdicts("p", 1, verdict="block")[1] == 0
    with pytest.raises(UserError, match="page token"):
        db.verdicts("p", 1, page="WyJhIl0")


def test_a_retired_policy_has_told_nothing_that_stands(db: Database) -> None:
    key = put(db, "a")
    endpoint(db, "verdict.changed")
    db.draft_policy("p", Document(texts=("a",)).to_table(), "ann")
    db.set_policy("p", 1, "enforced", "ann")
    db.record_verdicts("p", 1, [said(key)])
    db.set_policy("p", 1, "retired", "ann")
    assert db.record_verdicts("p", 1, [said(key, "block")]) == 0
    db.set_policy("p", 1, "enforced", "ann")
    db.record_verdicts("p", 1, [said(key)])
    assert told(db) == [(key, None, "pass"), (key, None, "pass")]


def test_a_change_and_its_event_stand_or_fall_together(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint(db)
    db.draft_policy("p", Document(texts=("a",)).to_table(), "ann")
    made = len(db.deliveries())

    def fail(*_: object, **__: object) -> Delivery:
        raise ZeroDivisionError

    monkeypatch.setattr("hit.db.webhooks._delivery", fail)
    with pytest.raises(ZeroDivisionError):
        db.set_policy("p", 1, "enforced", "ann")
    assert db.policy("p").state == "draft" and len(db.deliveries()) == made == 1


def test_judging_begins_anew_where_rows_were_numbered_anew(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle.draft(library, "reds", RED, "ann")
    lifecycle.enter(library, "reds", "enforced", "ann")
    plain, tried = trail.reels, list[int]()

    def stale(*given: Any) -> Any:
        tried.append(1)
        if len(tried) < 3:
            raise StaleError
        return plain(*given)

    monkeypatch.setattr(trail, "reels", stale)
    assert moderation.judge(library)["videos"] == 5 and len(tried) == 3
