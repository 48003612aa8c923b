"""Many reviewers at once, in processes of which one is killed: nothing is decided twice, late, or never. No speed is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from postgres import Postgres


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_reviewers_who_die_lose_nothing(root: Path, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "postgresql":
        assert isinstance(request.getfixturevalue("postgres"), Postgres)  # or the test is skipped
    words = [sys.executable, str(root / "benchmarks" / "review.py"), "--tiny", *(["--sqlite"] if kind == "sqlite" else [])]
    (line,) = subprocess.run(words, capture_output=True, text=True, check=True, timeout=600).stdout.splitlines()
    found = json.loads(line)
    assert (found["benchmark"], found["database"], found["cases"]) == ("review", kind, 60)
    for name in ("twice", "late", "left_over", "not_blind", "lost", "findings"):
        assert found[name] == 0, found
    assert found["links"] >= 66, "six cases have two seats"


@pytest.mark.slow
def test_the_time_of_a_claim_among_many_is_told(root: Path) -> None:
    words = [sys.executable, str(root / "benchmarks" / "review.py"), "--sqlite", "--cases", "100001", "--claims", "200"]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=600).stdout)
    assert found["claim_ms"] <= found["claim_p99_ms"] and found["count_ms"] > 0
