"""MMT's feature release: every row and word is read back from files that other code wrote, and damage is said in one line."""

import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mmt_release
from hit import datasets, experts, features
from hit.errors import UserError
from hit.importers import release as shared
from hit.importers.folders import Folders
from hit.importers.mmt import import_mmt, plan
from hit.importers.release import Terms
from hit.types import Features, Silent
from mmt_release import Release

Run = Callable[..., "subprocess.CompletedProcess[str]"]
STRICT, PARTIAL = Terms(Folders((), 1.0), False, Silent()), Terms(Folders((), 1.0), True, Silent())
MAKERS = {"msrvtt-1ka": mmt_release.msrvtt, "activitynet": mmt_release.activitynet, "lsmdc": mmt_release.lsmdc}


def load(root: Path) -> dict[str, dict[str, Features]]:
    data = datasets.read(root)
    return features.load(root / "features", experts.load_all(data.experts), data.clips)


@pytest.mark.parametrize("cut", MAKERS)
def test_every_row_is_read_back(tmp_path: Path, cut: Any) -> None:
    release = MAKERS[cut](tmp_path / "release")
    import_mmt(release.root, tmp_path / "out", cut, PARTIAL)
    found = load(tmp_path / "out")
    met = dict.fromkeys(release.widths, 0)
    for clip, own in found.items():
        assert set(own) == {name for name, rows in release.rows[clip].items() if rows is not None}
        for name, read in own.items():
            rows = release.rows[clip][name]
            assert rows is not None
            met[name] += 1
            assert np.array_equal(read.values, rows.astype(np.float32))
            assert np.allclose(read.times, times(release, clip, name, len(rows)), atol=1e-5)
    assert all(met.values())
    assert set(met.values()) != {len(found)}  # some were absent
    absent = {name: sum(rows[name] is None for rows in release.rows.values()) for name in release.widths}
    assert absent["vggish"] >= 3  # in each of the three ways


def times(release: Release, clip: str, name: str, count: int) -> Any:
    """Return the times of an expert's rows, by the description."""
    if (clip, name) in release.times:
        return release.times[clip, name][:count]
    step = {"s3d": 1.0, "vggish": 1.0, "rgb": 0.2, "scene": 1.0}.get(name)
    if step is not None:
        return [(i * step, (i + 1) * step) for i in range(count)]
    timed = [
        (other, rows)
        for other, rows in release.rows[clip].items()
        if rows is not None and other in ("s3d", "vggish", "rgb", "scene")
    ]
    return [(0.0, max(np.max(times(release, clip, other, len(rows))) for other, rows in timed))] * count


def test_long_videos_become_shards_of_moderate_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mmt_release.msrvtt(tmp_path / "release")
    import_mmt(tmp_path / "release", tmp_path / "whole", "msrvtt-full", PARTIAL)
    monkeypatch.setattr(shared, "HELD", 100_000)
    import_mmt(tmp_path / "release", tmp_path / "parts", "msrvtt-full", PARTIAL)
    assert len(list(tmp_path.glob("whole/features/s3d-*/*.safetensors"))) == 1
    assert len(list(tmp_path.glob("parts/features/s3d-*/*.safetensors"))) > 2
    whole, parts = load(tmp_path / "whole"), load(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(parts[clip][name].values, one.values) for clip, own in whole.items() for name, one in own.items())


@pytest.mark.parametrize("cut", ["msrvtt-1ka", "msrvtt-1kb", "msrvtt-full"])
def test_captions_of_each_cut(tmp_path: Path, cut: Any) -> None:
    release = mmt_release.msrvtt(tmp_path / "release")
    summary = import_mmt(release.root, tmp_path / "out", cut, PARTIAL)
    texts = {clip: tuple(" ".join(words) for words in own) for clip, own in release.words.items()}
    data = datasets.read(tmp_path / "out")
    assert data.captions["video0"] == texts["video0"]
    test = {clip.id for clip in data.split("test")}
    assert test == {f"video{i}" for i in range(7, 12)}
    assert len(data.split("val")) == (cut == "msrvtt-full")
    for i, clip in enumerate(sorted(test, key=lambda clip: int(clip[5:]))):
        chosen = {"msrvtt-1ka": texts[clip][i % 3 : i % 3 + 1], "msrvtt-1kb": texts[clip][:1], "msrvtt-full": texts[clip]}[cut]
        assert data.captions[clip] == chosen
    assert summary["problems"][0]["what"].startswith("train has ")
    assert "über" in texts["video3"][0] + texts["video2"][0]


@pytest.mark.parametrize("cut", ["activitynet", "lsmdc"])
def test_sentences_are_joined(tmp_path: Path, cut: Any) -> None:
    release = MAKERS[cut](tmp_path / "release")
    summary = import_mmt(release.root, tmp_path / "out", cut, PARTIAL)
    captions = datasets.read(tmp_path / "out").captions
    assert len(captions) == (9 if cut == "activitynet" else 8)
    for clip, texts in captions.items():
        assert texts == (" ".join(word for words in release.words[clip] for word in words),)
    if cut == "lsmdc":  # five clips of the real release have none: no reason to stop
        (note,) = [problem for problem in summary["problems"] if "no caption" in problem["what"]]
        assert (note["count"], note["blocks"]) == (1, False)


def test_what_the_published_counts_are() -> None:
    assert plan("msrvtt-1ka").published == {"train": (9000, 180_000), "test": (1000, 1000)}
    assert plan("activitynet").published == {"train": (10_009, 10_009), "test": (4_917, 4_917)}
    assert plan("lsmdc").published == {"test": (1000, 1000)}
    assert plan("lsmdc").dims["face"] == 128


def test_the_command(tmp_path: Path, hit: Run) -> None:
    release = mmt_release.msrvtt(tmp_path / "MSRVTT")
    words = ["import", "mmt", release.root, tmp_path / "out", "--cut", "msrvtt-1ka"]
    done = hit(*words)
    problem = "train has 7 clips and 21 captions, published are 9,000 clips and 180,000 captions"
    assert (done.returncode, done.stdout, f"hit: {release.root}: {problem}; test has 5" in done.stderr) == (2, "", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MSRVTT"]
    summary = json.loads(hit(*words, "--allow-partial", "--json").stdout)
    assert summary["experts"]["s3d"]["clips"] == 12
    assert summary["experts"]["rgb"]["clips"] < 12
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert json.loads(hit(*words, "--allow-partial", "--json").stdout) == summary  # the same again is left as it is
    assert f"hit: {tmp_path / 'out'}: was imported with --allow-partial: train has 7 clips" in hit(*words).stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    release.video("video3", 1, 3)
    assert "out: holds another import: not the same features" in hit(*words).stderr


def test_videos_that_are_missing_are_listed(tmp_path: Path) -> None:
    release = mmt_release.msrvtt(tmp_path / "release")
    release.path("video2").unlink()
    with h5py.File(release.path("video3"), "a") as file:
        file["features.audio_c"] = np.zeros((1, 3))
    with pytest.raises(UserError, match=r"1 of 12 videos have no h5 file, such as 'video2'"):
        import_mmt(release.root, tmp_path / "out", "msrvtt-full", STRICT)
    summary = import_mmt(release.root, tmp_path / "out", "msrvtt-full", PARTIAL)
    assert "video2" not in datasets.read(tmp_path / "out").clips
    assert [p["ids"] for p in summary["problems"] if "no h5 file" in p["what"]] == [["video2"]]
    assert any("other experts are not read: audio_c" in problem["what"] for problem in summary["problems"])


def _cut(release: Release) -> None:
    path = release.path("video4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _scramble(release: Release) -> None:
    path = release.path("video4")
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8)


def _put(key: str, change: Callable[[Any], Any]) -> Callable[[Release], None]:
    def damage(release: Release) -> None:
        with h5py.File(release.path("video4"), "a") as file:
            array = change(file[key][()] if key in file else None)
            if key in file:
                del file[key]
            file[key] = array

    return damage


def _nan(array: Any) -> Any:
    array[-1, 5] = np.nan
    return array


def _hostile(release: Release) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (release.root / "trap",)

    (release.lists / "jsfusion_val_caption_idx.pkl").write_bytes(pickle.dumps({"video7": Trap()}, 2))


def _list(name: str, text: str) -> Callable[[Release], None]:
    def damage(release: Release) -> None:
        (release.lists / name).write_text(text)

    return damage


def _outside(release: Release) -> None:
    with h5py.File(release.root / "other.h5", "w") as file:
        file["x"] = np.zeros((2, 1024))
    with h5py.File(release.path("video4"), "a") as file:
        del file["features.s3d"]
        file["features.s3d"] = h5py.ExternalLink(str(release.root / "other.h5"), "/x")


def _external(release: Release) -> None:
    with h5py.File(release.path("video4"), "a") as file:
        del file["features.s3d"]
        file.create_dataset("features.s3d", (1, 1024), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def _vast(release: Release) -> None:
    with h5py.File(release.path("video4"), "a") as file:
        del file["features.s3d"]
        file.create_dataset("features.s3d", (10**9, 1024), "f4", chunks=(1, 1024))


def _uncaptioned(release: Release) -> None:
    with h5py.File(release.path("video4"), "a") as file:
        del file["raw_captions.1"]


DAMAGE: dict[str, tuple[Callable[[Release], None], str]] = {
    "truncated": (
        _cut,
        r"video4.h5: is damaged: .*truncated file.*\(get this file again, or remove it and .* --allow-partial\)$",
    ),
    "scrambled": (_scramble, r"video4.h5: is damaged: "),
    "missing list": (
        lambda r: (r.lists / "train_list_jsfusion.txt").unlink(),
        r"symlinked-feats: has no train_list_jsfusion.txt",
    ),
    "missing index": (lambda r: (r.lists / "jsfusion_val_caption_idx.pkl").unlink(), r"caption_idx.pkl: there is no such file"),
    "hostile pickle": (_hostile, r"idx.pkl: is not a pickle of plain values: it asks for .* nothing in it was executed"),
    "wrong width": (
        _put("features.s3d", lambda a: a[:, :9]),
        r"video4.h5: 'features.s3d' has the shape \(\d, 9\), not \(n, 1024\)",
    ),
    "flat": (_put("features.s3d", lambda a: a[0]), r"video4.h5: 'features.s3d' has the shape \(1024,\), not \(n, 1024\)"),
    "integers": (_put("features.s3d", lambda a: np.ones((2, 1024), int)), r"'features.s3d' holds int64, not floats"),
    "nan inside": (_put("features.s3d", _nan), r"video4.h5: 'features.s3d' holds NaN or infinite values, such as in row \d"),
    "too large": (_put("features.s3d", lambda a: np.full((1, 1024), 1e300)), r"'features.s3d' holds NaN or infinite values"),
    "few times": (_put("features_t.s3d", lambda a: np.zeros((0, 2))), r"'features_t.s3d' has the shape \(0, 2\), not \(\d, 2\)"),
    "nan times": (_put("features_t.s3d", lambda a: np.full((9, 2), np.nan)), r"'features_t.s3d' holds NaN"),
    "numbers as words": (_put("raw_captions.1", lambda a: np.ones(3)), r"video4.h5: 'raw_captions.1' holds float64, not words"),
    "odd bytes": (_put("raw_captions.1", lambda a: np.array([b"a\xff"])), r"video4.h5: is damaged: 'utf-8' codec"),
    "a caption too few": (_uncaptioned, r"video4.h5: its captions are not numbered from 0: raw_captions.0, raw_captions.2"),
    "a link outside": (_outside, r"video4.h5: 'features.s3d' is not an array in this file"),
    "an array outside": (_external, r"video4.h5: 'features.s3d' is not an array in this file"),
    "a vast array": (_vast, r"video4.h5: 'features.s3d' claims 4,096,000,000,000 bytes"),
    "an id twice": (
        _list("train_list_jsfusion.txt", "video0\nvideo1\nvideo0\n"),
        r"jsfusion.txt, line 3: the id 'video0' is in line 1",
    ),
    "in both lists": (_list("train_list_jsfusion.txt", "video7\n"), r"symlinked-feats: 'video7' is in both train and test"),
    "an id that climbs": (_list("train_list_jsfusion.txt", "../../x\n"), r"line 1: '../../x' is not an id: it could lead out"),
    "index too high": (
        lambda r: r.index(dict.fromkeys([f"video{i}" for i in range(7, 12)], 3)),
        r"caption_idx.pkl: the index 3 of 'video7' is none of its 3 captions",
    ),
    "index below 0": (
        lambda r: r.index(dict.fromkeys([f"video{i}" for i in range(7, 12)], -1)),
        r"the index -1 of 'video7' is none",
    ),
    "index of others": (lambda r: r.index({"video0": 0}), r"caption_idx.pkl: has no index for the test video 'video7'"),
    "index of words": (
        lambda r: (r.lists / "jsfusion_val_caption_idx.pkl").write_bytes(pickle.dumps({"video7": "1"})),  # type: ignore[dict-item]
        r"caption_idx.pkl: is not a dict of video ids and whole numbers",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_release_is_named_and_nothing_is_left(tmp_path: Path, kind: str) -> None:
    release = mmt_release.msrvtt(tmp_path / "release")
    damage, complaint = DAMAGE[kind]
    damage(release)
    with pytest.raises(UserError, match=complaint) as caught:
        import_mmt(release.root, tmp_path / "out", "msrvtt-1ka", PARTIAL)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [release.root]
    assert not (release.root / "trap").exists()


def test_damaged_annotations_of_lsmdc_are_named(tmp_path: Path) -> None:
    release = mmt_release.lsmdc(tmp_path / "release")
    (release.lists / "LSMDC16_annos_training.csv").write_text("clip,sentence\n")
    with pytest.raises(UserError, match=r"training.csv, line 1: has 1 columns, not 6 \(they are separated by tabs"):
        import_mmt(release.root, tmp_path / "out", "lsmdc", PARTIAL)
    assert list(tmp_path.iterdir()) == [release.root]
