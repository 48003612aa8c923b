"""What follows on indexing: new videos are judged by what is in force, by whatever door they came."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hit import intake
from hit.jobs import work
from hit.library import Library
from hit.moderation import lifecycle
from hit.pulse import working
from toy import PLUGIN, ToyEncoder, render

RED = {"texts": ["red"], "review": {"score": 1.4}, "block": {"score": 1.9}}


@pytest.fixture
def library(own: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.syspath_prepend(str(PLUGIN))
    with Library.open(own, encoder=ToyEncoder()) as opened:
        lifecycle.draft(opened, "reds", RED, "ann")
        lifecycle.enter(opened, "reds", "enforced", "ann")
        lifecycle.draft(opened, "shadow", {**RED, "scope": "duration>=3", "block": None}, "ann")
        lifecycle.enter(opened, "shadow", "shadow", "ann")
        intake.follow(opened)
        yield opened


def job(library: Library, kind: str, **detail: Any) -> dict[str, Any]:
    with working(library.db, kind, detail) as pulse:
        library.pulse = pulse
        try:
            return dict(work.KINDS[kind](library, pulse, detail))
        finally:
            library.pulse = None


def changed(result: dict[str, Any]) -> dict[str, int]:
    return {one["name"]: one["changed"] for one in result["judged"]["policies"]}


def test_a_new_video_is_judged_by_the_job_that_indexes_it(library: Library, tmp_path: Path) -> None:
    render(tmp_path / "new.mp4", ["red"], seconds=4)
    result = job(library, "index", sources=[str(tmp_path / "new.mp4")])
    assert result["judged"]["videos"] == 1 and changed(result) == {"reds": 1, "shadow": 1}
    key = library.db.named(str(tmp_path / "new.mp4")) or ""
    assert library.db.said("reds", 1)[key] == "block" and library.db.said("shadow", 1)[key] == "review"
    again = job(library, "index", sources=[str(tmp_path / "new.mp4")])
    assert again["unchanged"] == 1 and again["judged"]["videos"] == 0


def test_what_a_killed_run_left_unjudged_is_judged_by_the_next(library: Library, tmp_path: Path) -> None:
    render(tmp_path / "new.mp4", ["red"], seconds=4)
    library.index([tmp_path / "new.mp4"], workers=1)  # and nothing followed
    key = library.db.named(str(tmp_path / "new.mp4")) or ""
    assert key not in library.db.said("reds", 1)
    assert changed(job(library, "index", sources=[str(tmp_path / "new.mp4")])) == {"reds": 1, "shadow": 1}
    assert library.db.said("reds", 1)[key] == "block"


def test_a_video_that_is_looked_at_anew_is_judged_anew_and_the_same(library: Library, made: Path) -> None:
    key = library.db.named(str(made / "v" / "long.mp4")) or ""
    before = library.db.verdicts_of("reds", 1, [key])[key]
    result = job(library, "reindex", videos=[key])
    assert result["judged"]["videos"] == 1 and changed(result) == {"reds": 0, "shadow": 0}
    assert library.db.verdicts_of("reds", 1, [key])[key].at == before.at


def test_the_job_judge_does_all_or_what_it_is_told(library: Library) -> None:
    assert [one["name"] for one in job(library, "judge")["policies"]] == ["reds", "shadow"]
    found = job(library, "judge", policies=["shadow"])
    assert [one["name"] for one in found["policies"]] == ["shadow"] and found["videos"] == 5


def test_a_policy_that_cannot_be_fitted_stops_neither_the_others_nor_the_indexing(library: Library, tmp_path: Path) -> None:
    library.db.draft_policy("strict", {"texts": ["red"], "review": {"precision": 0.9}}, "ann")
    library.db.set_policy("strict", 1, "enforced", "ann")  # as one is whose answers went with their videos
    render(tmp_path / "new.mp4", ["red"], seconds=3)
    result = job(library, "index", sources=[str(tmp_path / "new.mp4")])
    assert changed(result)["reds"] == 1
    (failed,) = result["judged"]["failed"]
    assert failed["policy"] == "strict" and "needs 10 answers" in failed["why"]
