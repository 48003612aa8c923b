"""Importers of published annotations: the real files give the published counts, and damage is said in one line."""

import json
import math
import pickle
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hit import datasets, experts, features
from hit.errors import UserError
from hit.importers.activitynet import import_activitynet
from hit.importers.folders import Folders
from hit.importers.lsmdc import import_lsmdc
from hit.importers.mine import import_csv
from hit.importers.msrvtt import import_msrvtt
from hit.importers.msvd import import_msvd
from hit.importers.release import Terms
from hit.importers.sources import read_pickle
from hit.types import Silent

Run = Callable[..., "subprocess.CompletedProcess[str]"]
STRICT, PARTIAL = Terms(Folders((), 1.0), False, Silent()), Terms(Folders((), 1.0), True, Silent())


@pytest.fixture
def annotations(shared_data: Path) -> Path:
    """Return the folder of real annotation files."""
    folder = shared_data / "annotations"
    if not folder.is_dir():
        pytest.skip(f"no real annotation files at {folder}")
    return folder


def counts(summary: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {split: (about["clips"], about["captions"]) for split, about in summary["splits"].items()}


def blocking(summary: dict[str, Any]) -> list[str]:
    return [problem["what"] for problem in summary["problems"] if problem["blocks"]]


@pytest.mark.parametrize(
    ("protocol", "val", "train", "test"),
    [("paragraph", 1, 10_009, 4_917), ("paragraph", 2, 10_009, 4_885), ("clip", 1, 37_421, 17_505), ("clip", 2, 37_421, 17_031)],
)
def test_the_real_activitynet(tmp_path: Path, annotations: Path, protocol: Any, val: int, train: int, test: int) -> None:
    summary = import_activitynet(annotations / "activitynet", tmp_path / "out", protocol, val, STRICT)
    assert counts(summary) == {"train": (train, train), "test": (test, test)}
    assert blocking(summary) == []
    data = datasets.read(tmp_path / "out")
    assert len(data.clips) == train + test
    if protocol == "clip":
        (note,) = summary["problems"]
        assert (note["what"].split(" end ")[0], note["count"]) == ("4 segments", 4)
        first, backwards = data.clips["v_QOlSCBRmfWY:1"], data.clips["v_rhOtqArO-3Y:5"]
        assert (first.video, first.start, first.end) == ("v_QOlSCBRmfWY", 17.37, 60.81)
        assert (backwards.start, backwards.end) == (150.31, 173.44)
        assert data.captions["v_QOlSCBRmfWY:1"] == ("The girl dances around the room while the camera captures her movements.",)
    else:
        assert data.captions["v_QOlSCBRmfWY"][0].startswith(
            "A young woman is seen standing in a room and leads into her dancing. The"
        )


def test_the_real_msvd(tmp_path: Path, annotations: Path) -> None:
    summary = import_msvd(annotations / "msvd", tmp_path / "out", STRICT)
    assert counts(summary) == {"train": (1200, 48_774), "val": (100, 4_290), "test": (670, 27_763)}
    assert (summary["clips"], summary["captions"], summary["problems"]) == (1970, 80_827, [])


def test_the_real_msrvtt_as_far_as_it_is_there(tmp_path: Path, annotations: Path) -> None:
    folder = annotations / "msrvtt"
    with pytest.raises(
        UserError, match=r"msrvtt: train has 0 clips and 0 captions, published are 6,513 clips and 130,260 captions; "
    ):
        import_msrvtt(folder, tmp_path / "full", "full", STRICT)
    assert not list(tmp_path.iterdir())
    assert counts(import_msrvtt(folder, tmp_path / "full", "full", PARTIAL))["test"] == (2990, 59_800)
    summary = import_msrvtt(folder, tmp_path / "1ka", "1ka", PARTIAL)
    assert counts(summary)["test"] == (1000, 1000)
    assert not any("none of the captions" in problem["what"] for problem in summary["problems"])  # csv and json agree
    assert datasets.read(tmp_path / "1ka").captions["video7020"] == ("a woman creating a fondant baby and flower",)
    index = read_pickle(folder / "jsfusion_val_caption_idx.pkl")
    assert (len(index), min(index.values()), max(index.values())) == (1000, 0, 19)


def microsoft(folder: Path, clips: list[str], split: Callable[[int], str] = lambda i: "train") -> dict[str, Any]:
    """Write captions of 20 sentences a video in Microsoft's form."""
    videos = [{"video_id": clip, "id": i, "split": split(i), "start time": 0.0, "end time": 9.0} for i, clip in enumerate(clips)]
    sentences = [{"sen_id": k, "video_id": clip, "caption": f"caption {k} of {clip}"} for k in range(20) for clip in clips]
    content = {"info": {}, "videos": videos, "sentences": sentences}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MSRVTT_data.json").write_text(json.dumps(content))
    return content


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ("1ka", {"train": (9000, 180_000), "test": (1000, 1000)}),
        ("1kb", {"train": (6656, 133_120), "test": (1000, 1000)}),
        ("full", {"train": (6513, 130_260), "val": (497, 9_940), "test": (2990, 59_800)}),
    ],
)
def test_the_real_cuts_of_msrvtt_with_captions_for_all(
    tmp_path: Path, annotations: Path, cut: Any, expected: dict[str, Any]
) -> None:
    """Microsoft's file of captions is not on this machine: a made one of its form stands beside the real lists."""
    source = tmp_path / "msrvtt"
    microsoft(source, [f"video{i}" for i in range(10_000)])
    for path in (annotations / "msrvtt").iterdir():
        if path.suffix != ".json":
            (source / path.name).write_bytes(path.read_bytes())
    summary = import_msrvtt(source, tmp_path / "out", cut, STRICT)
    assert counts(summary) == expected
    assert blocking(summary) == []
    captions = datasets.read(tmp_path / "out").captions
    if cut == "1ka":  # the csv's sentences go before the made ones, and the difference is noted
        assert captions["video9770"] == ("a person is connecting something to system",)
        assert any("test captions of 1000 videos are none of" in problem["what"] for problem in summary["problems"])
        (source / "MSRVTT_JSFUSION_test.csv").unlink()
        (source / "MSRVTT_train.9k.csv").unlink()
        assert counts(import_msrvtt(source, tmp_path / "lists", cut, STRICT)) == expected
        index = read_pickle(source / "jsfusion_val_caption_idx.pkl")
        assert datasets.read(tmp_path / "lists").captions["video9770"] == (f"caption {index['video9770']} of video9770",)
    elif cut == "1kb":
        assert captions["video8782"] == ("caption 0 of video8782",)


def test_msrvtt_in_parts_with_microsofts_own_marks(tmp_path: Path) -> None:
    source = tmp_path / "source"
    microsoft(source, ["video0", "video1"], lambda i: ("train", "validate")[i])
    (source / "MSRVTT_data.json").rename(source / "train_val_videodatainfo.json")
    microsoft(source, ["video2"], lambda i: "test")
    (source / "MSRVTT_data.json").rename(source / "test_videodatainfo.json")
    summary = import_msrvtt(source, tmp_path / "out", "full", PARTIAL)
    assert counts(summary) == {"train": (1, 20), "val": (1, 20), "test": (1, 20)}
    assert summary["splits"]["val"]["published"] == {"clips": 497, "captions": 9_940}


def lsmdc(folder: Path, clips: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    times = "00.00.01.000\t00.00.03.000\t00.00.01.000\t00.00.03.000"
    name = "0001_American_Beauty_00.00.0{}.000-00.00.0{}.000"
    lines = [f'{name.format(i, i + 1)}\t{times}\tSOMEONE "waits, {i}.' for i in range(clips)]
    lines += [f"{name.format(0, 1)}\t{times}\tHe leaves.", f"{name.format(7, 8)}\t{times}"]
    (folder / "LSMDC16_annos_training.csv").write_text("\n".join(lines) + "\n")
    lines = [f"1004_Juno_00.0{i // 100}.{i % 100}.000-00.59.01.000\t{times}\tSOMEONE nods {i}." for i in range(1000)]
    (folder / "LSMDC16_challenge_1000_publictect.csv").write_text("\r\n".join(lines))


def test_lsmdc(tmp_path: Path) -> None:
    lsmdc(tmp_path / "source")
    with pytest.raises(
        UserError,
        match=r"source: train has 5 lines, published are 101,079 \(get the file again, or import a part of it with --allow",
    ):
        import_lsmdc(tmp_path / "source", tmp_path / "out", STRICT)
    summary = import_lsmdc(tmp_path / "source", tmp_path / "out", PARTIAL)
    assert counts(summary) == {"test": (1000, 1000), "train": (3, 3)}
    assert [problem["count"] for problem in summary["problems"] if "no sentence" in problem["what"]] == [1]
    data = datasets.read(tmp_path / "out")
    clip = "0001_American_Beauty_00.00.00.000-00.00.01.000"
    assert data.captions[clip] == ('SOMEONE "waits, 0. He leaves.',)
    assert data.clips[clip].video == f"0001_American_Beauty/{clip}"


def test_ones_own_csv_with_features(tmp_path: Path, hit: Run) -> None:
    rng = np.random.default_rng(0)
    lines = ["Name,Text,Part,From,To,File", "a,one,train,0,2,x.mp4", "b,two,test,2,,x.mp4", "b,three,test,2,,x.mp4", "c,four,,,,"]
    (tmp_path / "my.csv").write_text("\n".join(lines))
    (tmp_path / "net v1").mkdir()
    arrays = {stem: rng.normal(size=(n, 3)).astype(np.float16) for stem, n in (("x", 8), ("c", 1))}
    for stem, array in arrays.items():
        np.save(tmp_path / "net v1" / f"{stem}.npy", array)
    words = [
        "import",
        "csv",
        tmp_path / "my.csv",
        tmp_path / "out",
        "--rate",
        "2",
        "--features",
        f"net={tmp_path / 'net v1'}",
        "--split",
        "rest",
    ]
    done = hit(*words)
    assert (done.returncode, "its columns are 'name,text,part" in done.stderr) == (2, True)
    columns = ("id=Name", "caption=Text", "split=Part", "start=From", "end=To", "video=File")
    words += [word for column in columns for word in ("--column", column)]
    done = hit(*words, "--json")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    summary = json.loads(done.stdout)
    assert counts(summary) == {"train": (1, 1), "test": (1, 2), "rest": (1, 1)}
    assert summary["experts"] == {"net": {"width": 3, "clips": 3, "rows": {"least": 1, "mean": 3.0, "most": 4}}}
    data = datasets.read(tmp_path / "out")
    assert (data.clips["b"].start, data.clips["b"].end) == (2.0, math.inf)
    found = features.load(tmp_path / "out" / "features", experts.load_all(data.experts), data.clips)
    assert np.array_equal(found["b"]["net"].values, arrays["x"][4:].astype(np.float32))
    assert found["b"]["net"].times.tolist() == [[2.0, 2.5], [2.5, 3.0], [3.0, 3.5], [3.5, 4.0]]
    assert data.experts["net"].options == {"dim": 3, "source": "net v1 2/s"}
    assert json.loads(hit(*words, "--json").stdout) == summary  # the same again is left as it is
    assert "net: 3 values a row, 1 to 4 rows a clip, 3.00 on average; 3 of 3 clips have some" in hit(*words).stdout


def test_a_segment_between_two_rows_has_the_nearest_one(tmp_path: Path) -> None:
    entry = {"duration": 9.0, "timestamps": [[2.6, 2.8], [8.0, 9.0], [0.0, 3.0]], "sentences": ["one", "two", "three"]}
    for name in ("train", "val_1"):
        (tmp_path / f"{name}.json").write_text(json.dumps({f"v_{name}": entry}))
    (tmp_path / "c3d").mkdir()
    np.save(tmp_path / "c3d" / "v_train.npy", np.arange(10, dtype=np.float64).reshape(5, 2))
    folders = Folders([f"c3d={tmp_path / 'c3d'}"], 1.0)
    with pytest.raises(UserError, match=r"; 3 clips have no features and are left out, such as 'v_val_1:0'"):
        import_activitynet(tmp_path, tmp_path / "out", "clip", 1, replace(STRICT, folders=folders))
    import_activitynet(tmp_path, tmp_path / "out", "clip", 1, replace(PARTIAL, folders=folders))
    data = datasets.read(tmp_path / "out")
    found = features.load(tmp_path / "out" / "features", experts.load_all(data.experts), data.clips)
    assert {clip: one["c3d"].values[:, 0].tolist() for clip, one in found.items()} == {
        "v_train:0": [4.0],
        "v_train:1": [8.0],
        "v_train:2": [0.0, 2.0, 4.0],
    }


def _npy(folder: Path, **arrays: Any) -> None:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"a": np.ones((2, 3)), "b": np.ones((2, 4))}, r"b.npy: has 4 values a row, the files before it have 3"),
        ({"a": np.ones((2, 3)), "b": np.full((2, 3), np.nan)}, r"b.npy: holds NaN or infinite values"),
        ({"a": np.ones(3), "b": np.ones((2, 3))}, r"a.npy: holds float64 of shape \(3,\)"),
        ({"a": np.array([{}]), "b": np.ones((2, 3))}, r"a.npy: is damaged or holds objects"),
        ({"a": np.ones((2, 3))}, r"1 clips have no features and are left out, such as 'b'"),
        ({"x": np.ones((2, 3))}, r"2 clips have no features and are left out, such as 'a'"),
    ],
)
def test_damaged_npy_files_are_named(tmp_path: Path, arrays: dict[str, Any], complaint: str) -> None:
    (tmp_path / "my.csv").write_text("id,caption\na,one\nb,two\n")
    _npy(tmp_path / "net", **arrays)
    folders = Folders([f"net={tmp_path / 'net'}"], 1.0)
    with pytest.raises(UserError, match=complaint):
        import_csv(tmp_path / "my.csv", tmp_path / "out", (), "train", replace(STRICT, folders=folders))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.csv", "net"]
    if "x" in arrays:
        with pytest.raises(UserError, match=r"nothing of it can be imported"):
            import_csv(tmp_path / "my.csv", tmp_path / "out", (), "train", replace(PARTIAL, folders=folders))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [("net", "not NAME=FOLDER"), ("a/b=.", "not NAME=FOLDER"), ("net=nowhere", "nowhere: there is no such folder")],
)
def test_odd_feature_options(spec: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Folders([spec], 1.0)
    with pytest.raises(UserError, match="--rate 0: not a number of rows a second"):
        Folders((), 0.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,caption\na,\n", r"line 2: the caption is empty"),
        ("id,caption\n,x\n", r"line 2: the id is empty"),
        ("id,caption\n../../x,x\n", r"line 2: '../../x' is not an id: it could lead out of the folder"),
        ("id,caption,video\nx,x,/etc/x.mp4\n", r"line 2: '/etc/x.mp4' is not an id"),
        ("id,caption\nx.png,x\n", r"line 2: 'x.png' is an image"),
        ("id,caption,split\na,x,train\na,y,test\n", r"line 3: 'a' has another split, video or time by an earlier line"),
        ("id,caption,start,end\na,x,3,2\n", r"line 2: a clip cannot begin at 3 and end at 2"),
        ("id,caption\n", r"nothing of it can be imported"),
    ],
)
def test_damaged_csv_files_are_named_with_their_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "my.csv").write_text(text)
    with pytest.raises(UserError, match=complaint):
        import_csv(tmp_path / "my.csv", tmp_path / "out", (), "train", STRICT)
    with pytest.raises(UserError, match=r"--column 'name=x': not KEY=COLUMN"):
        import_csv(tmp_path / "my.csv", tmp_path / "out", ("name=x",), "train", STRICT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.csv"]


def msvd(folder: Path) -> None:
    """Write three videos with the words of their captions, in the pickle that the field passes on."""
    folder.mkdir()
    clips = {"train": "-4wsuPCjDBc_5_15", "val": "b_1_2", "test": "c_1_2"}
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps({clip: [["a", "dog"], ["a", "cat"]] for clip in clips.values()}))
    for split, clip in clips.items():
        (folder / f"{split}_list.txt").write_text(f"{clip}\n")


def test_msvd_from_its_pickle(tmp_path: Path) -> None:
    msvd(tmp_path / "source")
    summary = import_msvd(tmp_path / "source", tmp_path / "out", PARTIAL)
    assert counts(summary) == {"train": (1, 2), "val": (1, 2), "test": (1, 2)}
    assert datasets.read(tmp_path / "out").captions["c_1_2"] == ("a dog", "a cat")


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("train_list.txt", b"", r"train_list.txt: is empty"),
        ("train_list.txt", b"a\n\xff\n", r"train_list.txt: is not UTF-8 text"),
        ("train_list.txt", b"a\nb_1_2\na\n", r"train_list.txt, line 3: the id 'a' is in line 1 already"),
        ("train_list.txt", b"b_1_2\n", r"source: 'b_1_2' is in both train and val"),
        ("train_list.txt", b"../../x\n", r"train_list.txt, line 1: '../../x' is not an id"),
        ("train_list.txt", None, r"train_list.txt: there is no such file"),
        ("raw-captions.pkl", None, r"source: has no captions_msvd.json and no raw-captions.pkl"),
        ("captions_msvd.json", b'{"a": ["x"', r"captions_msvd.json: is not readable json"),
        ("captions_msvd.json", b'{"a": ["x"], "a": ["y"]}', r"captions_msvd.json: is not readable json: 'a' is there twice"),
        ("captions_msvd.json", b'["a"]', r"captions_msvd.json: has not the form of MSVD's captions"),
        ("captions_msvd.json", b'{"../x": ["x"]}', r"captions_msvd.json: '../x' is not an id"),
        ("captions_msvd.json", b'{"a": 1}', r"captions_msvd.json: has not the form of MSVD's captions"),
    ],
)
def test_damaged_releases_are_named(tmp_path: Path, name: str, data: bytes | None, complaint: str) -> None:
    msvd(tmp_path / "source")
    if data is None:
        (tmp_path / "source" / name).unlink()
    else:
        (tmp_path / "source" / name).write_bytes(data)
    with pytest.raises(UserError, match=complaint):
        import_msvd(tmp_path / "source", tmp_path / "out", PARTIAL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


class _Calls:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_calls_nothing(tmp_path: Path, protocol: int) -> None:
    trap, path = tmp_path / "trap", tmp_path / "captions.pkl"
    path.write_bytes(pickle.dumps({"a": _Calls(trap)}, protocol))
    with pytest.raises(
        UserError, match=r"captions.pkl: is not a pickle of plain values: it asks for .* nothing in it was executed"
    ):
        read_pickle(path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())
    assert trap.exists()  # it would have


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        pickle.dumps({"a": {1}}),
        pickle.dumps([True]),
        pickle.dumps({"a": 1})[:-2],
        pickle.dumps(1j),
        b"\x80\x02}r\xf0\xff\xff\x7f.",  # a place in the memo for which gigabytes would be set aside
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00.",  # a text of a terabyte
        b"P1\n.",
        b"\x82\x01.",
    ],
)
def test_odd_pickles_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(UserError, match=r"x.pkl: is not a pickle of plain values"):
        read_pickle(tmp_path / "x.pkl")


def test_plain_pickles_are_read(tmp_path: Path) -> None:
    plain = {"a": [1, 2.5, "x", b"y", (3, -(2**70))]}
    for protocol in range(3, 6):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(plain, protocol))
        assert read_pickle(tmp_path / "x.pkl") == plain
    knot: list[Any] = []
    knot.append(knot)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(knot))
    assert len(read_pickle(tmp_path / "x.pkl")) == 1


def _segments(**changes: Any) -> Any:
    return {"v_a": {"duration": 2.0, "timestamps": [[0, 1]], "sentences": ["x"], **changes}}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], r"train.json: is not a json object of videos"),
        ({"v_a": {}}, r"train.json, video 'v_a': has not sentences and timestamps: KeyError"),
        (_segments(timestamps=[[0]]), r"video 'v_a': has not sentences and timestamps"),
        (_segments(timestamps=[]), r"video 'v_a': has 1 sentences and 0 timestamps"),
        (_segments(timestamps=[[-1, 2]]), r"video 'v_a': has a timestamp that is no time"),
        (_segments(sentences=[" "]), r"source: .*; 1 captions are empty"),
        ({"a/../b": {}}, r"'a/../b' is not an id"),
        ({"v_b": _segments()["v_a"]}, r"'v_b' is in both train and test"),
    ],
)
def test_damaged_activitynet_is_named(tmp_path: Path, content: Any, complaint: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.json").write_text(json.dumps(content))
    (source / "val_1.json").write_text(json.dumps({"v_b": _segments()["v_a"]}))
    with pytest.raises(UserError, match=complaint):
        import_activitynet(source, tmp_path / "out", "clip", 1, STRICT)
    assert list(tmp_path.iterdir()) == [source]


def test_what_differs_is_one_line_at_the_door(tmp_path: Path, hit: Run) -> None:
    microsoft(tmp_path / "source", ["video0", "video1", "video2"], lambda i: ("train", "validate", "test")[i])
    words = ["import", "msrvtt", tmp_path / "source", tmp_path / "out", "--cut", "full"]
    done = hit(*words)
    counted = "; ".join(
        f"{split} has 1 clips and 20 captions, published are {right} captions"
        for split, right in (
            ("train", "6,513 clips and 130,260"),
            ("val", "497 clips and 9,940"),
            ("test", "2,990 clips and 59,800"),
        )
    )
    line = f"hit: {tmp_path / 'source'}: {counted} (get all files of the release, or import a part of it with --allow-partial)\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    shown = hit(*words, "--allow-partial")
    assert shown.returncode == 0, shown.stderr
    assert "published" in shown.stdout
    assert "problem: val has 1 clips and 20 captions" in shown.stdout
    done = hit("import", "msrvtt", tmp_path / "source", tmp_path / "other", "--cut", "1ka")
    assert (done.returncode, "has no MSRVTT_train.9k.csv and no train_list_jsfusion.txt" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"{", r"MSRVTT_data.json: is not readable json"),
        (b'{"sentences": [{"video": "a"}]}', r"has not the form of MSR-VTT's captions: KeyError\('video_id'\)"),
        (b'[{"video": "a.mp4", "caption": ["x"]}, {"video": "a.mp4", "caption": ["y"]}]', r"the video 'a' is there twice"),
        (b"3", r"has not the form of MSR-VTT's captions"),
    ],
)
def test_damaged_msrvtt_is_named(tmp_path: Path, data: bytes, complaint: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "MSRVTT_data.json").write_bytes(data)
    for split in ("train", "val", "test"):
        (source / f"{split}_list_full.txt").write_text(f"video-{split}\n")
    with pytest.raises(UserError, match=complaint):
        import_msrvtt(source, tmp_path / "out", "full", PARTIAL)
    (source / "MSRVTT_data.json").unlink()
    with pytest.raises(UserError, match="nothing of it can be imported"):
        import_msrvtt(source, tmp_path / "out", "full", PARTIAL)
    (source / "val_list_full.txt").unlink()
    with pytest.raises(UserError, match=r"source: has no split lists"):
        import_msrvtt(source, tmp_path / "out", "full", PARTIAL)
    (source / "train_list_jsfusion.txt").write_text("a\n")
    (source / "MSRVTT_JSFUSION_test.csv").write_text("key,video\nret0,video7\n")
    with pytest.raises(
        UserError, match=r"JSFUSION_test.csv: its columns are 'key,video' \(the first line must name video_id,sentence\)"
    ):
        import_msrvtt(source, tmp_path / "out", "1ka", PARTIAL)
    (source / "MSRVTT_JSFUSION_test.csv").write_text("video_id,sentence\nb,x\nb,y\n")
    with pytest.raises(UserError, match=r"JSFUSION_test.csv, line 3: the id 'b' has a line already"):
        import_msrvtt(source, tmp_path / "out", "1ka", PARTIAL)
    assert list(tmp_path.iterdir()) == [source]
