"""Writes releases of the form of MMT's, from the form's description alone: the reader shares no line with it."""

import pickle
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

WIDTHS = {"s3d": 1024, "vggish": 128, "face": 512, "rgb": 2048, "speech": 300, "ocr": 300, "scene": 2208}
COLOURS = ("red", "green", "blue", "white", "black", "yellow", "brown", "pink")
THINGS = ("dog", "car", "boat", "guitar", "tree", "horse", "ball", "plane")
WORDS = ("a", "red", "ball", "rolls", "über", "the", "floor")
Rows = dict[str, NDArray[Any] | None]  # what each expert gave; None: absent


class Release:
    """A release in the making; `rows` keeps what was written, by video and expert, `words` the captions."""

    def __init__(self, root: Path, dataset: str, seed: int = 0) -> None:
        self.root, self.dataset = root, dataset
        self.lists = root / "symlinked-feats"
        self.widths = {"MSRVTT": WIDTHS, "ActivityNet": {n: WIDTHS[n] for n in ("s3d", "vggish")}}.get(
            dataset, {**WIDTHS, "face": 128}
        )
        self.rows: dict[str, Rows] = {}
        self.times: dict[tuple[str, str], NDArray[Any]] = {}
        self.words: dict[str, list[list[str]]] = {}
        self._rng = np.random.default_rng(seed)
        self.lists.mkdir(parents=True)

    def path(self, clip: str) -> Path:
        """Return where a video's file lies."""
        return self.root / "vid_feat_files" / "mult_h5" / clip[0] / clip[1] / clip[2] / f"{clip}.h5"

    def list(self, name: str, clips: Sequence[str]) -> None:
        """Write a split list."""
        (self.lists / name).write_text("".join(f"{clip}\n" for clip in clips))

    def index(self, numbers: dict[str, int]) -> None:
        """Write the index of the test captions, in an old protocol as the release has it."""
        (self.lists / "jsfusion_val_caption_idx.pkl").write_bytes(pickle.dumps(numbers, 2))

    def videos(self, clips: Sequence[str], captions: int) -> None:
        """Write files of every kind that the description allows, in turn."""
        for i, clip in enumerate(clips):
            self.video(clip, i, captions)

    def video(self, clip: str, kind: int, captions: int) -> None:
        """Write one file; `kind` chooses the types of its words and numbers, and how experts are absent."""
        at = 37 * len(self.rows) % 64  # 64 videos in a row show 64 different things
        self.seen = (COLOURS[at % 8], THINGS[at // 8])
        self.words[clip] = [[*self.seen, *WORDS[: 2 + (kind + k) % 5], f"{clip}-{k}"] for k in range(captions)]
        self.rows[clip] = {}
        self.path(clip).parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(self.path(clip), "w") as file:
            for k, words in enumerate(self.words[clip]):
                if (kind + k) % 2:
                    file.create_dataset(f"raw_captions.{k}", data=words, dtype=h5py.string_dtype())
                else:  # bytes, all as long as the longest
                    file[f"raw_captions.{k}"] = np.array([word.encode() for word in words])
                if k % 2:
                    file[f"raw_captions_t.{k}"] = np.zeros((len(words), 2))
            for key, array in self._arrays(clip, kind):
                file[key] = array

    def _arrays(self, clip: str, kind: int) -> Iterator[tuple[str, NDArray[Any]]]:
        absent = {"rgb": kind % 5, "ocr": (kind + 1) % 5, "vggish": (kind + 2) % 5, "face": (kind + 3) % 5}
        for name, width in self.widths.items():
            count = int(self._rng.integers(1, 5))
            shown = sum(np.random.default_rng((zlib.crc32(word.encode()), width)).normal(size=width) for word in self.seen)
            array = (self._rng.normal(size=(count, width)) + shown).astype((np.float16, np.float32, np.float64)[kind % 3])
            way = absent.get(name, 4)
            self.rows[clip][name] = array if way > 2 else None
            if way == 1:
                yield f"features.{name}", np.zeros((0, width) if kind % 2 else (0,), array.dtype)
            elif way == 2:
                yield f"features.{name}", np.full((1, width) if kind % 2 else (1, 1), np.nan, array.dtype)
            elif way > 2:
                yield f"features.{name}", array
            if way and name in ("s3d", "vggish") and kind % 4:  # with a time too many now and then; elsewhere times say nothing
                starts = np.arange(count + (kind % 4 == 2)) * 1.5
                self.times[clip, name] = np.stack([starts, starts + 1.0], axis=1)
                yield f"features_t.{name}", self.times[clip, name]
            elif way > 2 and name in ("scene", "face"):
                yield f"features_t.{name}", np.full((count, 2), np.nan)


def msrvtt(root: Path, train: int = 7, test: int = 5) -> Release:
    """Write a small MSR-VTT with the lists of all three cuts."""
    release = Release(root, "MSRVTT")
    clips = [f"video{i}" for i in range(train + test)]
    release.videos(clips, 3)
    for cut, end in (("jsfusion", "val"), ("miech", "test")):
        release.list(f"train_list_{cut}.txt", clips[:train])
        release.list(f"{end}_list_{cut}.txt", clips[train:])
    for split, own in (("train", clips[: train - 1]), ("val", clips[train - 1 : train]), ("test", clips[train:])):
        release.list(f"{split}_list.txt", own)
    release.index({clip: i % 3 for i, clip in enumerate(clips[train:])})
    return release


def activitynet(root: Path, train: int = 6, test: int = 3) -> Release:
    """Write a small ActivityNet."""
    release = Release(root, "ActivityNet")
    clips = [f"v_{i:03d}xy" for i in range(train + test)]
    release.videos(clips, 4)
    release.list("train_list.txt", clips[:train])
    release.list("val_1_list.txt", clips[train:])
    return release


def lsmdc(root: Path, train: int = 6, test: int = 3) -> Release:
    """Write a small LSMDC, whose lists are its annotation files, one training clip without a caption."""
    release = Release(root, "LSMDC")
    clips = [f"{i:04d}_Some_Film_00.00.{i:02d}.000-00.00.{i:02d}.900" for i in range(train + test)]
    release.videos(clips[1:], 2)
    release.video(clips[0], 0, 0)
    for name, own in (("LSMDC16_annos_training.csv", clips[:train]), ("LSMDC16_challenge_1000_publictect.csv", clips[train:])):
        times = "\t".join(["00.00.01.000"] * 4)
        (release.lists / name).write_text("".join(f"{clip}\t{times}\tSOMEONE waits.\n" for clip in own))
    return release
