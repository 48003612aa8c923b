"""`hit import mmt`: the feature release of MMT (Multi-modal Transformer, ECCV 2020) for its three data sets.

    symlinked-feats/                                  split lists; of the 1k-A cut also the index of each test caption
    vid_feat_files/mult_h5/<c0>/<c1>/<c2>/<video>.h5  (c0 to c2: the id's first characters) with
        raw_captions.<i>        words of caption i, bytes or str
        features.<expert>       (n, d); the expert is absent where there is no such key, no row, or a NaN first
        features_t.<expert>     (n, 2) seconds, meaningful for s3d and vggish alone

Without such times, rows follow one another at the expert's width in time; those of experts that have none (face, speech, ocr)
span the clip as far as its other experts reach. On ActivityNet and LSMDC the captions of a video are joined.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from hit.config import ExpertConfig
from hit.errors import UserError
from hit.importers import Item, activitynet, lsmdc, msrvtt
from hit.importers.msrvtt import INDEX, caption_index, find
from hit.importers.release import Problem, Published, Release, Terms, assemble, bring
from hit.importers.sources import check_lists, clean, read_ids, stamp
from hit.types import Features, Floats

Cut = Literal["msrvtt-1ka", "msrvtt-1kb", "msrvtt-full", "activitynet", "lsmdc"]
DIMS = {"s3d": 1024, "vggish": 128, "face": 512, "rgb": 2048, "speech": 300, "ocr": 300, "scene": 2208}
SECONDS = {"s3d": 1.0, "vggish": 1.0, "rgb": 0.2, "scene": 1.0}  # that a row spans
TIMED = ("s3d", "vggish")
MOST = 2**31  # bytes of one array; a small file may claim any size
AGAIN = "get this file again, or remove it and import the rest with --allow-partial"
KNOWN_WITHOUT = 5  # training clips of LSMDC that the release has no caption of


@dataclass(frozen=True)
class Plan:
    """What to read of one cut: split lists (the first name that is there), widths, and the published counts."""

    lists: Mapping[str, Sequence[str]]
    dims: Mapping[str, int]
    published: Published
    joined: bool = False


def plan(cut: Cut) -> Plan:
    """Return what to read of a cut."""
    if cut == "activitynet":
        count = {split: (n, n) for split, n in (("train", activitynet.VIDEOS["train"]), ("test", activitynet.VIDEOS["val_1"]))}
        lists = {"train": ("train_list.txt",), "test": ("val_1_list.txt",)}
        return Plan(lists, {name: DIMS[name] for name in TIMED}, count, joined=True)
    if cut == "lsmdc":
        lists = {split: (lsmdc.FILES[split],) for split in ("train", "test")}
        return Plan(lists, {**DIMS, "face": 128}, lsmdc.TEST, joined=True)
    own: msrvtt.Cut = {"msrvtt-1ka": "1ka", "msrvtt-1kb": "1kb", "msrvtt-full": "full"}[cut]  # type: ignore[assignment]
    texts = {split: tuple(n for n in names if n.endswith(".txt")) for split, names in msrvtt.LISTS[own].items()}
    return Plan(texts, DIMS, msrvtt.PUBLISHED[own])


def import_mmt(folder: Path, out: Path, cut: Cut, terms: Terms) -> dict[str, Any]:
    """Make a data set of the release of one data set in `folder`; return its summary.

    Raises UserError for files that are missing or damaged, and for what differs from the published cut.
    """
    chosen, here = plan(cut), folder / "symlinked-feats"
    paths = {split: path for split, names in chosen.lists.items() if (path := find(here, names))}
    lists = {split: _ids(path) for split, path in paths.items()}
    check_lists(here, lists.items())
    index = [here / INDEX] if cut == "msrvtt-1ka" else []
    videos = (Videos.path(folder, clip) for ids in lists.values() for clip in ids)
    made_of = {"importer": "mmt/1", "cut": cut, "features": stamp(videos)}
    return bring(out, made_of, (*paths.values(), *index), lambda: _read(folder, cut, chosen, lists, terms), terms)


def _ids(path: Path) -> list[str]:
    return list(dict.fromkeys(clip for clip, _ in lsmdc.read(path))) if path.suffix == ".csv" else read_ids(path)


def _read(folder: Path, cut: Cut, chosen: Plan, lists: Mapping[str, list[str]], terms: Terms) -> Release:
    videos, captions, problems = Videos(folder, chosen.dims), dict[str, list[str]](), list[Problem]()
    missing = []
    ids = [clip for own in lists.values() for clip in own]
    with terms.progress.task("Reading captions", len(ids)) as task:
        for clip in ids:
            if Videos.path(folder, clip).is_file():
                captions[clip] = videos.captions(clip)
            else:
                missing.append(clip)
            task.advance()
    if missing:
        problems.append(Problem(f"{len(missing)} of {len(ids)} videos have no h5 file", "get all of them", tuple(missing)))
    if chosen.joined:
        captions = {clip: [clean(" ".join(texts))] for clip, texts in captions.items()}
    if cut == "msrvtt-1ka":
        captions |= caption_index(folder / "symlinked-feats" / INDEX, lists["test"], captions)
    elif cut == "msrvtt-1kb":
        captions |= {clip: captions[clip][:1] for clip in lists["test"] if clip in captions}
    lists = {split: [clip for clip in own if clip in captions] for split, own in lists.items()}
    lacking = sum(not any(texts) for texts in captions.values())
    items, more = assemble(lists, captions, blocks=cut != "lsmdc" or lacking > KNOWN_WITHOUT)
    if videos.unread:
        names = ", ".join(sorted(videos.unread))
        problems.append(Problem(f"features of other experts are not read: {names}", "nothing has to be done", blocks=False))
    return Release(folder, items, chosen.published, [*problems, *more], videos)


class Videos:
    """The h5 files of a release, one a video."""

    def __init__(self, root: Path, dims: Mapping[str, int]) -> None:
        self._root, self._dims = root, dims
        self.unread: set[str] = set()  # experts that files have and the release has not

    @staticmethod
    def path(root: Path, clip: str) -> Path:
        """Return where a video's file is."""
        return root.joinpath("vid_feat_files", "mult_h5", *clip[:3], f"{clip}.h5")

    def captions(self, clip: str) -> list[str]:
        """Return a video's captions in their order."""
        with self._opened(clip) as file:
            keys = [key for key in file if key.startswith("raw_captions.")]
            ordered = [f"raw_captions.{i}" for i in range(len(keys))]
            if set(keys) != set(ordered):
                raise _OddError(f"its captions are not numbered from 0: {', '.join(sorted(keys)[:3])}")
            self.unread |= {key[9:] for key in file if key.startswith("features.") and key[9:] not in self._dims}
            return [_text(_dataset(file, key)) for key in ordered]

    def experts(self) -> Mapping[str, ExpertConfig]:
        """Return the experts of the release; the same name and width are the same network in all three data sets."""
        return {name: ExpertConfig("given", {"dim": dim, "source": "mmt release"}) for name, dim in self._dims.items()}

    def count(self, item: Item) -> Mapping[str, int]:
        """Return the rows of each expert that is not absent."""
        with self._opened(item.stem) as file:
            found = {name: _array(file, name, width) for name, width in self._dims.items()}
            return {name: len(array) for name, array in found.items() if array is not None}

    def read(self, item: Item) -> Mapping[str, Features]:
        """Return what each expert that is not absent gave, with its times."""
        rows, times = dict[str, Floats](), dict[str, Floats | None]()
        with self._opened(item.stem) as file:
            for name, width in self._dims.items():
                if (array := _array(file, name, width)) is not None:
                    rows[name] = _finite(array)
                    times[name] = _times(file, name, len(array))
        reach = max((float(own[:, 1].max()) for own in times.values() if own is not None), default=1.0)
        whole = np.array([[0.0, reach]], np.float32)
        return {
            name: Features(values, np.repeat(whole, len(values), axis=0) if (own := times[name]) is None else own)
            for name, values in rows.items()
        }

    @contextmanager
    def _opened(self, clip: str) -> Iterator[h5py.File]:
        path = self.path(self._root, clip)
        try:
            with h5py.File(path, "r", locking=False) as file:
                yield file
        except _OddError as error:
            raise UserError(path, str(error), AGAIN) from None
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(path, f"is damaged: {why}", AGAIN) from None


class _OddError(Exception):
    """A file that can be read, of content that cannot be used."""


def _dataset(file: h5py.File, key: str) -> Any:
    """Return an array of the file itself: links may lead to other files, and external or virtual arrays do."""
    found = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise _OddError(f"'{key}' is not an array in this file")
    if found.nbytes > MOST:
        raise _OddError(f"'{key}' claims {found.nbytes:,} bytes")
    return found


def _text(words: Any) -> str:
    found = [word.decode() if isinstance(word, bytes) else word for word in np.atleast_1d(words[()]).ravel().tolist()]
    if not all(isinstance(word, str) for word in found):
        raise _OddError(f"'{words.name[1:]}' holds {words.dtype}, not words")
    return clean(" ".join(found))


def _array(file: h5py.File, name: str, width: int) -> Any:
    """Return the array of an expert, None where the expert is absent."""
    key = f"features.{name}"
    if key not in file:
        return None
    found = _dataset(file, key)
    if not found.size:
        return None
    if found.dtype.kind != "f":
        raise _OddError(f"'{key}' holds {found.dtype}, not floats")
    if np.isnan(found[(0,) * found.ndim]):
        return None
    if found.ndim != 2 or found.shape[1] != width:
        raise _OddError(f"'{key}' has the shape {found.shape}, not (n, {width})")
    return found


def _finite(array: Any) -> Floats:
    with np.errstate(over="ignore"):
        values: Floats = array[()].astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(values).all(axis=1))):
        raise _OddError(f"'{array.name[1:]}' holds NaN or infinite values, such as in row {bad[0]}")
    return values


def _times(file: h5py.File, name: str, count: int) -> Floats | None:
    """Return the times of an expert's rows, None where they are unknown."""
    key = f"features_t.{name}"
    if name in TIMED and key in file:
        found = _dataset(file, key)
        if found.dtype.kind not in "fiu" or found.ndim != 2 or found.shape[1] != 2 or len(found) < count:
            raise _OddError(f"'{key}' has the shape {found.shape}, not ({count}, 2)")
        return _finite(found)[:count]  # some files have a time or two more than rows
    if name not in SECONDS:
        return None
    starts = np.arange(count) * SECONDS[name]
    return np.stack([starts, starts + SECONDS[name]], axis=1).astype(np.float32)
