"""Features on disk: a folder per expert and revision, holding shards that are written whole or not at all.

    features/appearance-1a2b3c4d/expert.json              name, dim and identity of the expert
    features/appearance-1a2b3c4d/<hash>.safetensors       values (n, dim) and times (n, 2) float32 of some clips, rows
                                                          (clips,) int64; where rows stand for words, texts (bytes,)
                                                          uint8, JSON: a list of strings a clip or null; the header
                                                          holds the clips' ids, what they were made from, and a
                                                          generation
    features/journal.jsonl                                what became of each file, see `hit.journal`

The folder may be in an object store. A data set whose features are not in its own folder says where they are in a file
`features.url`: a URL, or NAME:PATH of a root of hit.toml.

Another identity is another folder, so that features of two revisions never mix. Of a clip that was written twice, because its
video was replaced, those of the later generation hold.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from hit import places, shards
from hit.errors import UserError
from hit.files import write_whole
from hit.journal import MAKE_ROOM, Journal
from hit.types import Far, Features, Floats, Where

JOURNAL, NOTE = "journal.jsonl", "features.url"


class Described(Protocol):
    """The part of an Expert that its features on disk depend on."""

    name: str
    dim: int
    identity: str


class Folder:
    """The features of one expert in one revision. Any number of processes may write to it at once."""

    def __init__(self, root: Where, expert: Described):
        self.name, self.dim, self.identity = expert.name, expert.dim, expert.identity
        self.path = root / f"{expert.name}-{hashlib.sha256(expert.identity.encode()).hexdigest()[:8]}"
        self.shelf = shards.Shelf(self.path)
        self._where: dict[str, str] = {}  # shard of each clip
        self._contents: dict[str, str] = {}  # what each clip's features were made from
        self._generation: dict[str, int] = {}  # how often they were replaced
        self._read: set[str] = set()

    def done(self) -> set[str]:
        """Return the ids of all clips that were written, absent ones too. Raises UserError for a damaged shard."""
        self._look()
        return set(self._where)

    def contents(self) -> dict[str, str]:
        """Return {clip id: what its features were made from}, "" where that is not known; see `write`."""
        self._look()
        return dict(self._contents)

    def write(self, clips: Mapping[str, Features | None], contents: Mapping[str, str] | None = None) -> None:
        """Add one shard with these clips; None stands for a clip to which the expert does not apply.

        `contents` names what they were made from: the digest of a file and a stretch of time, say. Durable on return; a crash
        or a full disk leaves nothing of it. Raises UserError where it cannot be written.
        """
        if not clips:
            return
        ids = sorted(clips)
        found = [features for clip in ids if (features := clips[clip]) is not None]
        for features in found:
            assert features.values.shape[1] == self.dim, f"{self.name}: {features.values.shape[1]} values a row, not {self.dim}"
        rows = [-1 if (features := clips[clip]) is None else len(features.values) for clip in ids]
        values = np.concatenate([np.zeros((0, self.dim), np.float32), *(features.values for features in found)])
        times = np.concatenate([np.zeros((0, 2), np.float32), *(features.times for features in found)])
        tensors: dict[str, NDArray[Any]] = {
            "values": values.astype(np.float32, copy=False),
            "times": times.astype(np.float32, copy=False),
            "rows": np.array(rows, np.int64),
        }
        texts = [None if (features := clips[clip]) is None else features.texts for clip in ids]
        if any(text is not None for text in texts):
            # As it stands, so that any string comes back, even a lone surrogate from a broken file.
            content = json.dumps(texts, ensure_ascii=False).encode(errors="surrogatepass")
            tensors["texts"] = np.frombuffer(content, np.uint8)
        made_from = [(contents or {}).get(clip, "") for clip in ids]
        self._look()
        generation = max(self._generation.get(clip, -1) for clip in ids) + 1
        header = json.dumps({"ids": ids, "contents": made_from, "generation": generation})
        name = hashlib.sha256(header.encode()).hexdigest()[:20]
        try:
            about = json.dumps({"name": self.name, "dim": self.dim, "identity": self.identity}, indent=1).encode()
            self.shelf.write(f"{name}{shards.SUFFIX}", save(tensors, {"clips": header}), about)
        except OSError as error:
            raise UserError(self.path, f"cannot be written: {error.strerror}", MAKE_ROOM) from None

    def read(self, ids: Iterable[str]) -> dict[str, Features]:
        """Return the features of those of the clips that have any. Raises UserError for a damaged shard."""
        self._look()
        by_shard: defaultdict[str, set[str]] = defaultdict(set)
        for clip in ids:
            if clip in self._where:
                by_shard[self._where[clip]].add(clip)
        found: dict[str, Features] = {}
        for loaded in self.shelf.map(lambda shard: self._load(shard, by_shard[shard]), sorted(by_shard)):
            found.update(loaded)
        return found

    def counts(self) -> dict[str, int | None]:
        """Return the rows of each clip that was written, None where the expert does not apply. Raises UserError for damage."""
        return {clip: end - start if end >= 0 else None for clip, (_, start, end) in self.spans().items()}

    def spans(self) -> dict[str, tuple[str, int, int]]:
        """Return the shard of each clip that was written, and the first row of it there and the one after its last.

        Both are -1 where the expert does not apply. Raises UserError for damage.
        """
        self._look()
        found: dict[str, tuple[str, int, int]] = {}
        names = sorted(self._read)
        for shard, (ids, rows) in zip(names, self.shelf.map(self._rows, names), strict=True):
            ends = np.maximum(rows, 0).cumsum().tolist()
            for clip, count, end in zip(ids, rows.tolist(), ends, strict=True):
                if self._where[clip] == shard:
                    found[clip] = (shard, end - count, end) if count >= 0 else (shard, -1, -1)
        return found

    def _rows(self, shard: str) -> tuple[list[str], NDArray[np.int64]]:
        try:
            with self.shelf.open(shard) as file:
                return _clips(file)[0], file.get_tensor("rows")
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            raise _damaged(self.path / shard, error) from None

    def _look(self) -> None:
        """Take note of the shards that have come since the last look."""
        fresh = sorted(self.shelf.names() - self._read)
        for shard, (generation, contents) in zip(fresh, self.shelf.map(self._header, fresh), strict=True):
            for clip, made_from in contents.items():
                if generation >= self._generation.get(clip, 0):
                    self._where[clip], self._contents[clip], self._generation[clip] = shard, made_from, generation
            self._read.add(shard)

    def _header(self, shard: str) -> tuple[int, dict[str, str]]:
        try:
            with self.shelf.open(shard) as file:
                ids, contents, generation = _clips(file)
                if len(ids) != file.get_slice("rows").get_shape()[0] or file.get_slice("values").get_shape()[1] != self.dim:
                    raise ValueError("its parts do not fit each other")
            return generation, dict(zip(ids, contents, strict=True))
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            raise _damaged(self.path / shard, error) from None

    def arrays(self, shard: str) -> tuple[Floats, Floats]:
        """Return a shard's values and times, mapped where they can be. Raises UserError for a damaged shard."""
        try:
            return self.shelf.arrays(shard)
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            raise _damaged(self.path / shard, error) from None

    def _load(self, shard: str, wanted: Collection[str]) -> dict[str, Features]:
        found = {}
        try:
            with self.shelf.open(shard) as file:
                ids, rows = _clips(file)[0], file.get_tensor("rows")
                values, times = file.get_tensor("values"), file.get_tensor("times")
                texts = json.loads(file.get_tensor("texts").tobytes()) if "texts" in file.keys() else [None] * len(ids)  # noqa: SIM118
            ends = np.maximum(rows, 0).cumsum()
            if len(ends) and ends[-1] != len(values):
                raise ValueError("its parts do not fit each other")
            for clip, count, end, text in zip(ids, rows, ends, texts, strict=True):
                if count >= 0 and clip in wanted:
                    words = None if text is None else tuple(text)
                    # Copies: a view would keep the whole shard in memory for the sake of one clip.
                    found[clip] = Features(values[end - count : end].copy(), times[end - count : end].copy(), words)
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            raise _damaged(self.path / shard, error) from None
        return found


class Mapped(Sequence[Mapping[str, Features]]):
    """Clips' features where they lie: read when they are asked for, and not kept. Without texts.

    Shards of this machine are mapped into memory: what was looked at stays in the system's cache of files as long as there is
    room, once for all processes. Those of an object store are fetched at once, and kept. Raises UserError where a shard turns
    out to be damaged.
    """

    def __init__(self, ids: Sequence[str], folders: Mapping[str, Folder]) -> None:
        self.ids, self._folders, nowhere = ids, folders, ("", -1, -1)
        self._spans: dict[str, NDArray[np.int64]] = {}  # by expert: number of the shard, first row, row after the last (N, 3)
        self._shards: dict[str, list[str]] = {}
        self._arrays: dict[tuple[str, str], tuple[Floats, Floats]] = {}  # values and times by expert and shard
        for name, folder in folders.items():
            own = folder.spans()
            mine = [own.get(clip, nowhere) for clip in ids]
            self._shards[name] = needed = sorted({shard for shard, _, end in mine if end >= 0})
            number = {shard: i for i, shard in enumerate(needed)}
            rows = [(number.get(shard, -1), first, end) for shard, first, end in mine]
            self._spans[name] = np.array(rows, np.int64).reshape(-1, 3)
            if isinstance(folder.path, Far):
                fetched = folder.shelf.map(folder.arrays, needed)
                self._arrays |= {(name, shard): arrays for shard, arrays in zip(needed, fetched, strict=True)}

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Features]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Mapping[str, Features]]: ...

    def __getitem__(self, index: int | slice) -> Mapping[str, Features] | list[Mapping[str, Features]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return {name: self._one(name, *spans[index]) for name, spans in self._spans.items() if spans[index, 2] >= 0}

    def seen(self) -> NDArray[np.bool_]:
        """Tell of each clip whether any expert saw anything in it (N,)."""
        seen: NDArray[np.bool_] = np.any([spans[:, 2] > spans[:, 1] for spans in self._spans.values()], axis=0)
        return seen

    def take(self, rows: Sequence[int]) -> "Mapped":
        """Return some of the clips."""
        chosen = copy(self)
        chosen.ids = [self.ids[i] for i in rows]
        chosen._spans = {name: spans[rows] for name, spans in self._spans.items()}
        return chosen

    def _one(self, name: str, number: int, start: int, end: int) -> Features:
        folder, shard = self._folders[name], self._shards[name][number]
        if (name, shard) not in self._arrays:
            self._arrays[name, shard] = folder.arrays(shard)
        values, times = self._arrays[name, shard]
        try:
            return Features(values[start:end], times[start:end])
        except ValueError as error:
            raise _damaged(folder.path / shard, error) from None


def _clips(file: Any) -> tuple[list[str], list[str], int]:
    """Return a shard's clip ids, what each was made from, and the generation."""
    header = file.metadata()
    if "clips" not in header:  # by a version that did not know what features were made from
        ids = json.loads(header["ids"])
        return ids, [""] * len(ids), 0
    about = json.loads(header["clips"])
    return about["ids"], about["contents"], int(about["generation"])


def home(data: Path) -> Where:
    """Return where the features of the data set in a folder are. Raises UserError for a `features.url` that says it not."""
    note = data / NOTE
    try:
        text = note.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return data / "features"
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(note, f"cannot be read: {error}") from None
    where = places.deployed().given(text)
    if not text or (isinstance(where, Path) and not where.is_absolute()):
        raise UserError(
            note, f"'{text}' is no place of features", "write a URL, a path in full, or NAME:PATH of a root of hit.toml"
        )
    return where


def settle(data: Path, root: Where) -> None:
    """Note in a data set that its features are elsewhere, where it has none of its own."""
    if isinstance(root, Far) and not (data / "features").exists():
        write_whole(data / NOTE, f"{places.deployed().portable(root)}\n".encode())


def load(root: Where, experts: Mapping[str, Described], ids: Iterable[str]) -> dict[str, dict[str, Features]]:
    """Return {clip id: {expert: features}} of clips, in the order of `ids`, without those that are known as failed.

    An expert that does not apply to a clip is an absent key. Raises UserError where a clip has not been extracted.
    """
    folders, left = _extracted(root, experts, ids)
    found: dict[str, dict[str, Features]] = {clip: {} for clip in left}
    for name, folder in folders.items():
        for clip, features in folder.read(left).items():
            found[clip][name] = features
    return found


def mapped(root: Where, experts: Mapping[str, Described], ids: Iterable[str]) -> Mapped:
    """Return what `load` does, but read when it is asked for. Raises UserError as `load` does."""
    folders, left = _extracted(root, experts, ids)
    return Mapped(left, folders)


def _extracted(root: Where, experts: Mapping[str, Described], ids: Iterable[str]) -> tuple[dict[str, Folder], list[str]]:
    """Return the experts' folders, and the clips without those that are known as failed."""
    ids = list(ids)
    folders = {name: Folder(root, expert) for name, expert in experts.items()}
    lacking = {name: set(ids) - folder.done() for name, folder in folders.items()}
    failed = set(failures(root))
    for name, clips in lacking.items():
        if missing := sorted(clips - failed):
            lack = f"{len(missing)} of {len(ids)} clips have no features of '{name}', such as '{missing[0]}'"
            why = f"{lack}; its revision is '{folders[name].identity}'{_others(root, folders[name])}"
            raise UserError(root, why, "run `hit extract`")
    return folders, [clip for clip in ids if not any(clip in clips for clips in lacking.values())]


def _others(root: Where, folder: Folder) -> str:
    """Say of which other revisions of an expert there are features."""
    about = [json.loads(about) for path, about in shards.revisions(root) if path != folder.path]
    found = ", ".join(f"'{one['identity']}'" for one in about if one["name"] == folder.name)
    return f", there are features of {found}" if found else ""


def failures(root: Where) -> dict[str, str]:
    """Return {clip id: reason} of all clips that ever could not be extracted, those that later could too."""
    return {clip: reason for entry in Journal(root / JOURNAL).entries() for clip, reason in entry.clips.items()}


def _damaged(path: Where, error: Exception) -> UserError:
    return UserError(path, f"is damaged: {error}", "delete this file and run `hit extract` again")
