"""Imports: what comes in is what was there, whole or not at all, and what is wrong with it is said in one line."""

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny_model
from hit import datasets, experts, extract, features, splits
from hit import train as training
from hit.config import DataConfig, ExpertConfig, LossConfig, ModelConfig, Recipe, TextTowerConfig, TrainConfig, VideoTowerConfig
from hit.datasets import Dataset, table, writer
from hit.errors import UserError
from hit.evaluate import evaluate
from hit.importers.arrays import import_arrays
from hit.types import Clip, Features, Silent

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Arrays = dict[str, Any]  # by name, as numpy.savez takes them
WORDS = ("red ball rises", "green box spins", "a blue ball")


def source(folder: Path, clips: int = 7, seed: int = 0, dtype: type = np.float16) -> Arrays:
    """Write captions.csv and features.npz with one to three captions and up to four rows a clip; return the arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, clips).astype(np.int32)
    counts[0] = 3
    ids = np.array([f"clip {i}" for i in rng.permutation(clips)])
    arrays: Arrays = {"ids": ids, "n_frames": counts, "values": rng.normal(size=(counts.sum(), 5)).astype(dtype)}
    np.savez(folder / "features.npz", **arrays)
    lines = [
        (f"clip {i}", "test" if i % 3 == 2 else "train", f"{text}, Größe {i}")
        for i in range(clips)
        for text in WORDS[: 1 + i % 3]
    ]
    (folder / "captions.csv").write_bytes(table.to_bytes(("id", "split", "caption"), lines))
    return arrays


def bring(folder: Path, out: Path, **options: Any) -> dict[str, Any]:
    chosen = {"expert": "image", "source": None, "rate": 1.0, "progress": Silent(), **options}
    return import_arrays(folder / "captions.csv", folder / "features.npz", out, **chosen)


def load(root: Path) -> dict[str, Features]:
    """Return all features of a data set that has one expert."""
    data = datasets.read(root)
    (name,) = data.experts
    found = features.load(root / "features", experts.load_all(data.experts), data.clips)
    return {clip: by_name[name] for clip, by_name in found.items()}


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def same_rows(arrays: Arrays, root: Path, rate: float) -> None:
    """Check what was imported against the arrays, cut up the slow way."""
    found, at = load(root), 0
    for clip, count in zip(arrays["ids"], arrays["n_frames"], strict=True):
        expected = arrays["values"][at : at + count].astype(np.float32)
        at += count
        assert np.array_equal(found[clip].values, expected)
        assert np.allclose(found[clip].times, [(i / rate, (i + 1) / rate) for i in range(count)] or np.zeros((0, 2)))
    assert at == len(arrays["values"])


@pytest.mark.parametrize(("dtype", "rate"), [(np.float16, 1.0), (np.float32, 4.0), (np.float32, 0.1)])
def test_every_row_is_read_back(tmp_path: Path, dtype: type, rate: float) -> None:
    arrays = source(tmp_path / "source", 40, dtype=dtype)
    bring(tmp_path / "source", tmp_path / "out", rate=rate)
    same_rows(arrays, tmp_path / "out", rate)
    data = datasets.read(tmp_path / "out")
    assert data.captions["clip 1"] == ("red ball rises, Größe 1", "green box spins, Größe 1")
    assert (data.splits["clip 1"], data.splits["clip 2"]) == ("train", "test")
    assert list(data.clips) == [f"clip {i}" for i in range(40)]
    (expert,) = experts.load_all(data.experts).values()
    assert (expert.name, expert.dim) == ("image", 5)


def test_many_clips_become_shards_of_moderate_size(tmp_path: Path) -> None:
    arrays = source(tmp_path / "source", 2 * writer.SHARD + 5)
    bring(tmp_path / "source", tmp_path / "out")
    assert len(list(tmp_path.glob("out/features/*/*.safetensors"))) == 3
    same_rows(arrays, tmp_path / "out", 1.0)


def test_the_summary_counts(tmp_path: Path, hit: Run) -> None:
    arrays = source(tmp_path, 6)
    words = ["import", "arrays", tmp_path / "captions.csv", tmp_path / "features.npz", tmp_path / "out", "--expert", "image"]
    done = hit(*words, "--rate", "2", "--json")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    summary = json.loads(done.stdout)
    assert summary == {
        "out": str(tmp_path / "out"),
        "clips": 6,
        "captions": 12,
        "words_per_caption": 5.0,
        "splits": {
            "train": {"clips": 4, "captions": 6, "words_per_caption": 5.0},
            "test": {"clips": 2, "captions": 6, "words_per_caption": 5.0},
        },
        "experts": {
            "image": {
                "width": 5,
                "clips": int((arrays["n_frames"] > 0).sum()),
                "rows": {
                    "least": arrays["n_frames"].min(),
                    "mean": round(arrays["n_frames"].mean(), 2),
                    "most": arrays["n_frames"].max(),
                },
            }
        },
        "left_out": {"without_caption": [], "without_features": []},
    }
    assert json.loads(hit(*words, "--rate", "2", "--json").stdout) == summary
    shown = hit(*words, "--rate", "2").stdout
    assert all(word in shown for word in ("train", "test", "all", "captions", "words a caption", "image: 5 values a row"))
    assert "left out" not in shown
    assert np.allclose(
        load(tmp_path / "out")["clip 0"].times[:1], [(0, 0.5)] if len(load(tmp_path / "out")["clip 0"].times) else 0
    )


def test_what_only_one_file_has_is_left_out_and_listed(tmp_path: Path, hit: Run) -> None:
    source(tmp_path, 30)
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("clip 0,train,one more\nelsewhere,train,a red ball\n")
    lines = (tmp_path / "captions.csv").read_text().splitlines(keepends=True)
    (tmp_path / "captions.csv").write_text("".join(line for line in lines if not line.startswith("clip 1")))
    words = ["import", "arrays", tmp_path / "captions.csv", tmp_path / "features.npz", tmp_path / "out", "--expert", "image"]
    done = hit(*words)
    assert done.returncode == 0, done.stderr
    assert "left out, 1 without features: elsewhere" in done.stdout
    assert "left out, 11 without caption: " in done.stdout
    assert "and 1 more" in done.stdout
    summary = json.loads(hit(*words, "--json").stdout)
    assert summary["clips"] == 19
    assert sorted(summary["left_out"]["without_caption"]) == sorted(["clip 1", *(f"clip {i}" for i in range(10, 20))])
    assert "elsewhere" not in datasets.read(tmp_path / "out").clips
    assert len(load(tmp_path / "out")) == 19


def _without(name: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        del arrays[name]

    return change


def _with(name: str, make: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = make(arrays[name])

    return change


def _put(name: str, at: Any, value: object) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][at] = value

    return change


def _empty(arrays: Arrays) -> None:
    arrays.update(ids=arrays["ids"][:0], n_frames=arrays["n_frames"][:0], values=arrays["values"][:0])


DAMAGE: Mapping[str, tuple[Callable[[Arrays], None], str]] = {
    "no ids": (_without("ids"), r"has no array 'ids' \(it needs ids \(N\) strings\)"),
    "no counts": (_without("n_frames"), r"has no array 'n_frames'"),
    "no values": (_without("values"), r"has no array 'values'"),
    "numbers as ids": (
        _with("ids", lambda a: np.arange(len(a))),
        r"its 'ids' is int64 of shape \(7,\) \(it must be \(N\) strings",
    ),
    "objects as ids": (_with("ids", lambda a: a.astype(object)), r"is damaged or holds objects"),
    "fractions as counts": (_with("n_frames", lambda a: a + 0.5), r"its 'n_frames' is float64"),
    "integers as values": (_with("values", lambda a: a.astype(np.int8)), r"its 'values' is int8 of shape \(\d+, 5\)"),
    "flat values": (_with("values", np.ravel), r"its 'values' is float16 of shape \(\d+,\)"),
    "fewer ids": (_with("ids", lambda a: a[1:]), r"has 6 ids and 7 n_frames"),
    "fewer rows": (_with("values", lambda a: a[1:]), r"n_frames add up to (\d+), but values has \d+ rows"),
    "less than no rows": (_put("n_frames", 2, -1), r"n_frames of 'clip \d' is -1"),
    "the same id twice": (_put("ids", 3, "clip 0"), r"the id 'clip 0' is there twice"),
    "an empty id": (_put("ids", 3, " "), r"one of its ids is empty"),
    "nan": (_put("values", (0, 3), np.nan), r"values of 1 of its clips are not finite, such as those of '{first}'"),
    "infinite": (
        _put("values", (slice(0, 4), 1), -np.inf),
        r"values of 2 of its clips are not finite, such as those of '{first}'",
    ),
    "nothing": (_empty, r"has 0 ids and 0 n_frames"),
    "other names": (
        _with("ids", lambda a: np.char.add(a, ".mp4")),
        r"has none of the ids of .*'clip \d.mp4' here, 'clip 0' there",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_arrays_are_named(tmp_path: Path, kind: str) -> None:
    arrays = source(tmp_path)
    change, complaint = DAMAGE[kind]
    arrays["n_frames"][:2] = 3, 2
    arrays["values"] = np.ones((arrays["n_frames"].sum(), 5), np.float16)
    first = str(arrays["ids"][0])
    change(arrays)
    np.savez(tmp_path / "features.npz", **arrays)
    with pytest.raises(UserError, match=complaint.replace("{first}", first)):
        bring(tmp_path, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.csv", "features.npz"]


def test_a_file_that_is_no_npz_is_named(tmp_path: Path) -> None:
    arrays = source(tmp_path, 60)
    path = tmp_path / "features.npz"
    whole = path.read_bytes()
    for data in (b"", b"no numbers", whole[:-100]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"features.npz: is not an npz, or is cut off"):
            bring(tmp_path, tmp_path / "out")
    np.save(tmp_path / "values.npy", arrays["values"])
    path.write_bytes((tmp_path / "values.npy").read_bytes())
    with pytest.raises(UserError, match=r"features.npz: is not an npz"):
        bring(tmp_path, tmp_path / "out")
    where = whole.index(arrays["values"].tobytes()[:40])
    path.write_bytes(whole[:where] + b"xxxx" + whole[where + 4 :])
    with pytest.raises(UserError, match=r"features.npz: is damaged or holds objects"):
        bring(tmp_path, tmp_path / "out")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("values.npy", b"not an array")
    with pytest.raises(UserError, match=r"features.npz: has no array 'ids'|is damaged"):
        bring(tmp_path, tmp_path / "out")
    path.unlink()
    with pytest.raises(UserError, match=r"features.npz: there is no such file"):
        bring(tmp_path, tmp_path / "out")
    path.mkdir()
    with pytest.raises(UserError, match=r"features.npz: cannot be read: Is a directory"):
        bring(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", r"the first line must name id,split,caption"),
        (b"video,split,caption\na,train,x\n", r"its columns are 'video,split,caption'"),
        (b"id,caption\na,x\n", r"its columns are 'id,caption'"),
        (b"id,split,caption\n", r"holds no captions"),
        (b"id,split,caption\nclip 0,train,x\nclip 0,train, \n", r"line 3: the caption is empty"),
        (b"id,split,caption\nclip 0,,x\n", r"line 2: the split is empty"),
        (b"id,split,caption\n,train,x\n", r"line 2: the id is empty"),
        (b"id,split,caption\nclip 0,train,x\nclip 0,test,y\n", r"line 3: 'clip 0' is in split 'train' by an earlier line"),
        (b"id,split,caption\nclip 0,train,B\xe4lle\n", r"is not UTF-8 text"),
        (b'id,split,caption\nclip 0,train,"x\n', r"line 2: not a csv line"),
    ],
)
def test_damaged_captions_are_named_with_their_line(tmp_path: Path, text: bytes, complaint: str) -> None:
    source(tmp_path)
    (tmp_path / "captions.csv").write_bytes(text)
    with pytest.raises(UserError, match=complaint):
        bring(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_one_line_at_the_door(tmp_path: Path, hit: Run) -> None:
    source(tmp_path)
    words = ["import", "arrays", tmp_path / "captions.csv", tmp_path / "features.npz", tmp_path / "out"]
    for more, line in {
        ("--expert", "a/b"): "hit: --expert 'a/b': not a name (use letters, digits, - and _)\n",
        ("--expert", "image", "--rate", "0"): "hit: --rate 0: not a number of rows a second (for example 4)\n",
        ("--expert", "image", "--rate", "nan"): "hit: --rate nan: not a number of rows a second (for example 4)\n",
        (): "hit: Missing option '--expert' (see `hit import arrays --help`)\n",
    }.items():
        done = hit(*words, *more)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    (tmp_path / "captions.csv").unlink()
    done = hit(*words, "--expert", "image")
    assert (done.returncode, done.stderr) == (2, f"hit: {tmp_path / 'captions.csv'}: there is no such file\n")


def test_the_same_again_is_left_alone_and_anything_else_refused(tmp_path: Path) -> None:
    source(tmp_path / "a")
    source(tmp_path / "b", seed=1)
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is as good as none
    summary = bring(tmp_path / "a", out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert bring(tmp_path / "a", out) == summary
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(UserError, match=r"out: holds another import: not the same features \(choose another folder"):
        bring(tmp_path / "b", out)
    for options, differs in (({"rate": 2.0}, "rate"), ({"expert": "other"}, "expert"), ({"source": "x"}, "source")):
        with pytest.raises(UserError, match=f"not the same {differs} "):
            bring(tmp_path / "a", out, **options)
    with pytest.raises(UserError, match=r"a: exists already"):
        bring(tmp_path / "b", tmp_path / "a")
    with pytest.raises(UserError, match=r"captions.csv: exists already"):
        bring(tmp_path / "b", tmp_path / "a" / "captions.csv")
    (out / "import.json").write_text("{")
    with pytest.raises(UserError, match=r"import.json: is damaged"):
        bring(tmp_path / "a", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out"]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from hit import files
from hit.datasets import writer
from hit.types import Silent
from test_importers import bring

class Killer(Silent):
    def advance(self, steps=1, note=""):
        self.kill()

    left = int(sys.argv[4])

    @classmethod
    def kill(cls):
        cls.left -= 1
        if cls.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

writer.SHARD = 2
write = files.write_whole
def write_whole(path, data):
    if path.name in ("captions.csv", "import.json"):
        Killer.kill()
    write(path, data)
writer.files.write_whole = write_whole
bring(Path(sys.argv[2]), Path(sys.argv[3]), progress=Killer())
"""


@pytest.mark.parametrize("after", [1, 3, 5, 6])  # of 4 shards, captions.csv and import.json
def test_a_killed_import_leaves_nothing_and_is_repeated(tmp_path: Path, after: int) -> None:
    source(tmp_path / "source")
    out = tmp_path / "out"
    words = [Path(__file__).parent, tmp_path / "source", out, after]
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    assert list((tmp_path / ".out.part" / "features").rglob("*.safetensors"))
    bring(tmp_path / "source", out)
    bring(tmp_path / "source", tmp_path / "undisturbed")
    assert content(out) == content(tmp_path / "undisturbed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source", "undisturbed"]


def test_an_import_that_fails_midway_cleans_up(tmp_path: Path) -> None:
    source(tmp_path / "source")

    class Stop(Silent):
        def advance(self, steps: float = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(tmp_path / "source", tmp_path / "new" / "out", progress=Stop())
    assert list((tmp_path / "new").iterdir()) == []


def test_a_second_import_into_the_same_folder_waits_its_turn(tmp_path: Path) -> None:
    source(tmp_path / "source")
    seen = []

    class Rival(Silent):
        def advance(self, steps: float = 1, note: str = "") -> None:
            with pytest.raises(UserError, match="another process is writing to it"):
                bring(tmp_path / "source", tmp_path / "out")
            seen.append(1)

    bring(tmp_path / "source", tmp_path / "out", progress=Rival())
    assert seen


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from hit.errors import UserError
from test_importers import bring
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    bring(Path(sys.argv[2]), Path(sys.argv[2]) / "out")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("size", [1000, 10_000])  # too little for the features, and for the captions
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, size: int) -> None:
    source(tmp_path, 200)
    words = [sys.executable, "-c", FULL, str(Path(__file__).parent), str(tmp_path), str(size)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "cannot be written: File too large (free some space or name another folder" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.csv", "features.npz"]


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    source(tmp_path)
    with pytest.raises(UserError, match=r"out: cannot be written: Not a directory"):
        bring(tmp_path, tmp_path / "captions.csv" / "out")


letters = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).map(str.strip).filter(bool)
spans = st.one_of(
    st.just((0.0, float("inf"))),
    st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1])),
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(letters, st.tuples(st.lists(letters, min_size=1), letters, st.booleans(), spans), min_size=1))
def test_a_data_set_that_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    root = tmp_path_factory.mktemp("data") / "out"
    videos = {clip: f"sub/{i}.mp4" if named else "" for i, (clip, (_, _, named, _)) in enumerate(content.items())}
    data = Dataset(
        root,
        {c: Clip(c, videos[c], root / "videos" / videos[c], *span) for c, (_, _, _, span) in content.items()},
        {clip: tuple(texts) for clip, (texts, _, _, _) in content.items()},
        {clip: split for clip, (_, split, _, _) in content.items()},
        {"faces": ExpertConfig("given", {"dim": 3, "source": "x"})},
    )
    writer.write(data, [], {"a": 1}, {})
    assert datasets.read(root) == data


def test_a_given_expert_looks_at_nothing(tmp_path: Path) -> None:
    expert = experts.load("faces", ExpertConfig("given", {"dim": 3, "source": "vggface 1/s"}))
    assert (expert.name, expert.dim, expert.identity, expert.wants) == ("faces", 3, "given/1 vggface 1/s dim=3", ())
    with pytest.raises(UserError, match=r"expert 'faces': its features were imported and cannot be computed for new videos"):
        expert.extract(None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="lacks the option 'dim'"):
        experts.load("faces", ExpertConfig("given", {"source": "x"}))


def test_extracting_from_clips_without_videos_is_refused(tmp_path: Path, hit: Run) -> None:
    source(tmp_path)
    bring(tmp_path, tmp_path / "out")
    done = hit("extract", tmp_path / "out")
    assert (done.returncode, done.stdout.split(",")[:2]) == (0, ["0 clips done", " 7 were there"]), done.stderr
    done = hit("extract", tmp_path / "out", "--recipe", "tiny")
    why = "none of its clips has a video file, and 7 lack features, such as 'clip 0'"
    fix = f"put the videos into {tmp_path / 'out' / 'videos'} and name them in clips.csv"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"hit: {tmp_path / 'out'}: {why} ({fix})\n")
    data = datasets.read(tmp_path / "out")
    here = tmp_path / "here.mp4"
    here.write_bytes(b"no video")
    clips = {"here": Clip("here", "here.mp4", here), "gone": Clip("gone", "gone.mp4", tmp_path / "gone.mp4"), **data.clips}
    report = extract.extract(replace(data, clips=clips), {"sound": ExpertConfig()}, tmp_path / "features", workers=1)
    reasons = dict(report.failed)
    assert "not a readable video" in reasons["here"]
    assert reasons["gone"] == "there is no such file"
    assert reasons["clip 0"] == "clips.csv names no video for it"


def plan(data: Path, text: Path, **changes: Any) -> Recipe:
    """Return two steps of a model of a few kilobytes, over whatever experts the data set comes with."""
    video = VideoTowerConfig(width=32, layers=2, heads=2, ffn=64)
    return Recipe(
        data=DataConfig(str(data), val_split="dev"),
        model=ModelConfig(dim=16, video=video, text=TextTowerConfig(str(text))),
        loss=LossConfig(bank=16),
        train=TrainConfig(steps=2, batch=4, threads=1, **changes),
    )


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.text_encoder(tmp_path_factory.mktemp("text") / "bert")


def test_a_model_learns_from_one_import_and_is_judged_on_another(tmp_path: Path, bert: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        source(tmp_path / name, 20, seed)
        bring(tmp_path / name, tmp_path / f"{name} set", source="a net")
    bring(tmp_path / "b", tmp_path / "other set")
    card = training.train(plan(tmp_path / "a set", bert), tmp_path / "model", Silent(), page=False)
    assert card["experts"] == {"image": "given/1 a net 1/s dim=5"}
    assert evaluate(tmp_path / "model", tmp_path / "b set", "test", Silent())["videos"] > 2
    with pytest.raises(
        UserError, match=r"no features of 'image'.*its revision is 'given/1 a net.*there are features of 'given/1 "
    ):
        evaluate(tmp_path / "model", tmp_path / "other set", "test", Silent())


def test_real_features_train_a_model(shared_data: Path, tmp_path: Path, bert: Path) -> None:
    folder = shared_data / "exercises"
    if not folder.is_dir():
        pytest.skip(f"no imported features at {folder}")
    summary = bring(folder, tmp_path / "out", expert="frames", rate=4.0)
    assert (summary["clips"], summary["captions"], summary["experts"]["frames"]["width"]) == (961, 961, 1280)
    assert {split: counts["clips"] for split, counts in summary["splits"].items()} == {"train": 868, "dev": 93}
    with np.load(folder / "features.npz") as file:
        same_rows(dict(file), tmp_path / "out", 4.0)
    card = training.train(plan(tmp_path / "out", bert), tmp_path / "model", Silent(), page=False)
    assert card["clips"] == {"train": 868, "validation": 93}
    assert card["history"][-1]["step"] == 2
    assert (
        len(splits.load(datasets.read(tmp_path / "out"), "dev", experts.load_all(datasets.read(tmp_path / "out").experts)).ids)
        == 93
    )
