"""Benchmarks run and print one JSON line with what they promise. How fast anything is, no test asserts."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import model_folders
from hit.moderation import bank

ROWS = {"packed", "padded", "in_batch"}


def run(root: Path, name: str, *words: str) -> dict[str, Any]:
    """Run a benchmark with sizes to try it by; return its line."""
    command: list[str | Path] = [sys.executable, root / "benchmarks" / f"{name}.py", "--tiny", *words]
    (line,) = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280).stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["benchmark"] == name
    return found


def test_train_step(root: Path) -> None:
    found = run(root, "train_step", "--batch", "4", "--steps", "2", "--device", "cpu")
    assert set(found["cpu_s_per_pair"]) == ROWS
    assert all(seconds > 0 for seconds in found["cpu_s_per_pair"].values())
    for ratio in ("packed_speedup", "momentum_cost"):
        low, high = found["ranges"][ratio]
        assert 0 < low <= found[ratio] <= high
    tokens = found["tokens"]
    assert (tokens["video_padded"], tokens["text_padded"]) == (4 * 218, 4 * 30)
    assert 4 * 30 < tokens["video_packed"] < tokens["video_padded"]
    assert 4 * 4 <= tokens["text_packed"] < tokens["text_padded"]
    assert 0 < tokens["filled_share"] < 1
    assert (found["batch"], found["steps"], found["threads"], found["device"]) == (4, 2, 1, "cpu")
    assert set(found["present"]) == {"s3d", "vggish", "face", "rgb", "speech", "ocr", "scene"}


@pytest.mark.slow
def test_train_step_with_options(root: Path) -> None:
    options = run(root, "train_step", "--batch", "4", "--steps", "2", "--device", "cpu", "--options")["options"]
    assert set(options) == {"packed, bfloat16", "packed, compiled", "padded, compiled"}
    for name, row in options.items():
        assert row["cpu_s_per_pair"] > 0
        assert row["against"] > 0
        assert row["range"][0] <= row["faster"] <= row["range"][1]
        assert ("compile_s" in row) == ("compiled" in name)


def test_prints(root: Path) -> None:
    found = run(root, "prints")
    assert set(found["reported"]["recall"]) == {"encoded", "mirrored"} and found["reported"]["of_pairs"] > 0
    assert 0 < found["chosen"]["share"] <= 1 and found["in_use"]["bits"] == bank.NEAR


def test_memory(root: Path) -> None:
    found = run(root, "memory")
    assert [point["negatives"] for point in found["points"]] == [64, 256]
    assert all(point["bank_mb"] > 0 and point["in_batch_mb"] > 0 for point in found["points"])
    assert found["ratio"] > 0
    assert found["ratio_at"] == 256
    assert [row["batch"] for row in found["batches"]] == [8, 16]
    assert all(row["bank_adds_mb"] > 0 and row["without_mb"] > 0 for row in found["batches"])
    assert found["banks_mb"] == 16.0


def test_gather(root: Path) -> None:
    found = run(root, "gather")
    full, sharded = found["measured"]
    assert (full["kind"], sharded["kind"], full["processes"]) == ("full", "sharded", 2)
    assert full["bank_mb"] == 2 * sharded["bank_mb"] == round(256 * 4 * 256 * 4 / 2**20, 3)
    vectors = 4 * 256 * 4 * found["each"]
    assert full["handed"]["all_gather"] == vectors + 8 * found["each"] == sharded["handed"]["all_gather"]
    assert full["handed"]["gradients"] == sharded["handed"]["gradients"]
    assert 2 * vectors < sharded["handed"]["all_reduce"] - full["handed"]["all_reduce"] < 2.1 * vectors
    assert all(one["wire_mb"] >= one["predicted_mb"] > 0 for one in (full, sharded))
    assert [one["gpus"] for one in found["model"][:7]] == [1, 2, 4, 8, 16, 32, 64]


def test_reading(root: Path) -> None:
    found = run(root, "reading")
    loaded, mapped = (found["processes"]["2"][how] for how in ("loaded", "mapped"))
    assert found["features_mb"] == 15.0
    assert mapped["own_mb"] < loaded["own_mb"] and mapped["mapped_mb"] > 0
    assert mapped["clip_us"] > 0 and loaded["clip_us"] > 0


def test_search(root: Path) -> None:
    found = run(root, "search")
    row = found["5000"]
    assert (found["dim"], found["queries"], row["by_codes"]) == (64, 40, False)  # so few are quicker looked at one by one
    rows = [
        row,
        row["filter_20pct"],
        row["filter_0_5pct"],
        row["with_10k_added"],
        *map(row["weighted"].get, ("1, 0", "0.3, 1", "0, 1")),
    ]
    assert all(one["p50_ms"] > 0 and one["recall_at_10"] == 1.0 for one in rows)
    assert row["weighted"]["recall_at_10"] == 1.0
    assert row["p99_ms"] >= row["p50_ms"]
    assert all(row[name] > 0 for name in ("batch32_ms", "brute_force_ms", "speedup_over_brute_force", "disk_mb"))
    assert all(row[name] >= 0 for name in ("build_s", "open_s", "add_10k_s", "build_after_10k_s"))


def test_library(root: Path) -> None:
    found = run(root, "library")
    assert (found["segments"], found["dim"]) == (5000, 64)
    assert {name: found[f"filter_{name}"]["kept"] for name in ("20pct", "0_5pct")} == {"20pct": 1000, "0_5pct": 50}
    assert found["bytes_a_segment"]["array"] == 4 * 64
    assert found["rebuild_s"] >= 0 and all(found[name] > 0 for name in ("open_to_first_answer_s", "search_ms", "by_video_ms"))
    assert set(found["words"]) == {"common", "rare", "phrase"}


def test_explore(root: Path) -> None:
    found = run(root, "explore")
    assert (found["segments"], found["dim"]) == (2000, 64)
    assert [(one["videos"], one["found"], one["planted"]) for one in found["by_segments_a_video"].values()] == [
        (2000, 20, 20),
        (40, 0, 0),
    ]
    assert all(one["duplicates_s"] > 0 and one["ratio"] > 0 for one in found["by_segments_a_video"].values())


@pytest.mark.slow  # it starts six workers, one or two at a time
def test_ingest(root: Path, tmp_path: Path) -> None:
    model = model_folders.vit(tmp_path / "vit")
    found = run(root, "ingest", "--repeats", "1", "--model", str(model), "--folder", str(tmp_path / "films"))
    limits = {"full_over_ffmpeg", "full_over_ffmpeg_2", "keyframe_speedup"}
    for figures in (found, found["by_cpu"]):
        assert all((figures[name] is None) is (shutil.which("ffmpeg") is None) for name in limits)
    assert all(found[name] for name in ("two_workers_speedup", "overlap"))
    assert 50 < found["rss_mb_4k"] < 1024
    assert all(cost["wall"] > 0 for cost in found["seconds"].values())
    assert found["cores"] >= 1
    assert isinstance(found["two_cores_free"], bool)
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == ["large.mp4", "many", "short"]


@pytest.mark.slow  # it indexes 5,000 segments with MiniLM, and serves them
def test_serve(root: Path) -> None:
    found = run(root, "serve", "--streams", "2")
    assert (found["segments"], found["clients"], found["errors"], found["first_errors"]) == (5000, 4, 0, [])
    for one in (found["alone"], found["crowd"]):
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert one["qps"] > 0 and one["answers"] > 0
    assert found["encoder_qps"]["best"] == max(value for name, value in found["encoder_qps"].items() if name != "best")
    assert all(found["cpu_ms"][name] > 0 for name in ("server", "client"))
    assert found["memory_mb"]["before"] > 0
    assert found["streams"]["count"] == 2 and found["streams"]["mb_s"] > 0


def test_confidence_without_a_demo_says_so(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "benchmarks" / "confidence.py"), str(tmp_path)]
    (line,) = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280).stdout.splitlines()
    assert "has no calibration" in json.loads(line)["skipped"]


def test_the_queries_that_nothing_answers_are_as_many_as_they_are_said_to_be(root: Path) -> None:
    lines = [line for line in (root / "benchmarks" / "out_of_corpus.txt").read_text().splitlines() if line[0] != "#"]
    kinds = Counter(line.split("\t")[0] for line in lines)
    assert kinds == {"everyday": 80, "shared": 20, "letters": 35, "salad": 35, "script": 30}
    assert all(line.count("\t") == 1 and line.split("\t")[1].strip() for line in lines)
    assert len(set(lines)) == len(lines)


def test_media(root: Path, tmp_path: Path) -> None:
    found = run(root, "media", "--repeats", "1", "--folder", str(tmp_path))
    assert found["against"] == ("ffmpeg" if shutil.which("ffmpeg") else "decoding all")
    assert all(found[f"{name}_{what}"] > 0 for name in ("sprites", "cut", "rendition") for what in ("s", "over_ffmpeg"))
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_pool(root: Path) -> None:
    pytest.importorskip("ray")
    found = run(root, "pool")
    assert list(found["workers"]) == ["1"] and found["clips"] == 6
    row = found["workers"]["1"]
    assert row["ray_over_local"] == pytest.approx(row["ray"]["clips_per_s"] / row["local"]["clips_per_s"], abs=0.01)
