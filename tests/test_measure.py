"""The outcome of every query: its file, the comparison of two of them, and the extra rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from hit import hubness, metrics
from hit.compare import compare
from hit.errors import UserError
from hit.measure import Measured, read_queries, write_queries
from toy import ToyEncoder


def measured(seed: int, noise: float = 0.6) -> Measured:
    """Return nine clips and two captions of each, whose vectors differ by noise."""
    rng = np.random.default_rng(7)
    clip = rng.normal(size=(9, 8))
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(9), 2)
    text = clip[owner] + noise * rng.normal(size=(18, 8))
    texts = [f"what happens in {i}, “{k}”\u2028\ud800" for i in range(9) for k in range(2)]
    return Measured(ToyEncoder(), [f"clip {i}" for i in range(9)], texts, owner, text.astype(np.float32), clip.astype(np.float32))


def test_every_query_of_both_directions_is_written_with_its_outcome(tmp_path: Path) -> None:
    one = measured(0)
    write_queries(tmp_path / "new" / "queries.jsonl", one)
    lines = [json.loads(line) for line in (tmp_path / "new" / "queries.jsonl").read_text().splitlines()]
    assert [line["way"] for line in lines] == ["t2v"] * 18 + ["v2t"] * 9
    assert [line["query"] for line in lines[:18]] == list(one.texts)
    scores = one.text @ one.clip.T
    for i, line in enumerate(lines[:18]):
        assert line["rank"]["fused"] == 1 + (scores[i] > scores[i, i // 2]).sum()
        assert line["first"] == f"clip {scores[i].argmax()}"
        assert (line["first"] == line["clip"]) == (line["rank"]["fused"] == 1)
    assert [line["first"] for line in lines[18:]] == [one.texts[i] for i in scores.argmax(axis=0)]
    found = one.scores()
    for way in ("t2v", "v2t"):
        ranks = [line["rank"]["feature"] for line in lines if line["way"] == way]
        assert found[way]["feature"]["MnR"] == pytest.approx(np.mean(ranks))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    one = measured(0)
    one.clip[4:7] = one.clip[4]  # ties
    write_queries(tmp_path / "queries.jsonl", one)
    read = read_queries(tmp_path / "queries.jsonl")
    for way, levels in one.ranks.items():
        for level, pair in levels.items():
            assert [part.tolist() for part in read[way].ranks[level]] == [part.tolist() for part in pair]
        groups = read[way].groups()
        assert [groups[0] == own for own in groups] == [own == 0 for own in one.groups(way)]
    assert one.ranks["t2v"]["fused"][1].any()


def test_two_runs_are_compared_on_the_same_queries(tmp_path: Path) -> None:
    better, worse = measured(0, 0.1), measured(1, 3.0)
    for name, one in (("better", better), ("worse", worse)):
        write_queries(tmp_path / name, one)
    found = compare(tmp_path / "worse", tmp_path / "better")
    about = found["t2v"]["fused"]["R1"]
    assert about["first"] == pytest.approx(worse.scores()["t2v"]["fused"]["R1"])
    assert about["second"] == pytest.approx(better.scores()["t2v"]["fused"]["R1"])
    assert about["difference"] > 20
    assert about["p"] < 0.05
    assert set(found["v2t"]) == {"feature", "semantic", "fused"}


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    write_queries(tmp_path / "a", measured(0))
    lines = (tmp_path / "a").read_text().splitlines(keepends=True)
    (tmp_path / "other").write_text("".join([lines[0].replace("what happens", "who comes"), *lines[1:]]))
    with pytest.raises(UserError, match="other: has other queries than"):
        compare(tmp_path / "a", tmp_path / "other")
    (tmp_path / "half").write_text("".join(lines[:18]))
    with pytest.raises(UserError, match="half: has not the queries of both directions"):
        compare(tmp_path / "a", tmp_path / "half")
    (tmp_path / "damaged").write_text(lines[0] + '{"way": "sideways"}\n')
    with pytest.raises(UserError, match="damaged, line 2: is no query's outcome"):
        compare(tmp_path / "damaged", tmp_path / "a")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    with pytest.raises(UserError, match="binary, line 1: is no query's outcome"):
        compare(tmp_path / "binary", tmp_path / "a")
    with pytest.raises(UserError, match="absent: cannot be read: No such file"):
        compare(tmp_path / "a", tmp_path / "absent")


def test_extra_rows_are_the_fused_scores_rescored(tmp_path: Path) -> None:
    one, bank = measured(0), measured(3)
    found = one.rescored(bank)
    clips, owner = np.arange(9), one.owner
    half = np.float32(0.5)
    text, clip, bank_clip = one.text * half, one.clip * half, bank.clip * half  # both levels weigh one: a mean of cosines
    rule = hubness.query_bank(bank_clip, one.text)
    assert found["query bank"]["v2t"] == metrics.summary(*metrics.ranks(clip, one.text, clips, owner, rescore=rule))
    rule = hubness.dual_softmax(text, one.clip)
    assert found["dual softmax"]["t2v"] == metrics.summary(*metrics.ranks(text, one.clip, owner, clips, rescore=rule))
