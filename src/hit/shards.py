"""Shards of features, whole or not at all, in a folder of this machine or of an object store."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from hit import objects
from hit.files import write_whole
from hit.types import Far, Floats, Where

T = TypeVar("T")
SUFFIX = ".safetensors"
STALE = 3600.0  # seconds after which a temporary file is taken for the remains of a writer that was killed
_TOGETHER = 8  # requests of an object store at once
_HEAD = 1 << 16  # bytes of a shard that are asked for first: most headers are shorter
_LONGEST = 100_000_000  # bytes of a header, as in the format's own library
_TYPES = {"F32": "<f4", "I64": "<i8", "U8": "u1"}


class Shard(Protocol):
    """An open shard, as safetensors has it."""

    def metadata(self) -> Any:
        """Return the texts of its header."""
        ...

    def keys(self) -> Any:
        """Return the names of its tensors."""
        ...

    def get_tensor(self, name: str) -> Any:
        """Return a tensor."""
        ...

    def get_slice(self, name: str) -> Any:
        """Return what knows a tensor's shape."""
        ...


class Shelf:
    """The shards in a folder. Any number of processes may write to it at once."""

    def __init__(self, path: Where) -> None:
        self.path = path

    @cached_property
    def _far(self) -> objects.Folder | None:
        return objects.folder(self.path.url) if isinstance(self.path, Far) else None

    def names(self) -> set[str]:
        """Return what the shards are called that are there now."""
        if self._far:
            return {one.name for one in self._far.list() if one.name.endswith(SUFFIX) and "/" not in one.name}
        return {one.name for one in Path(str(self.path)).glob(f"*{SUFFIX}")}

    def map(self, work: Callable[[str], T], names: Iterable[str]) -> Iterator[T]:
        """Return what work gives for each shard in order: for several at once where each is to be waited for."""
        if not self._far:
            yield from map(work, names)
            return
        with ThreadPoolExecutor(_TOGETHER) as threads:
            yield from threads.map(work, names)

    @contextmanager
    def open(self, name: str) -> Iterator[Shard]:
        """Open a shard. Raises OSError, ValueError or SafetensorError for one that is damaged."""
        if self._far:
            yield _FarShard(self._far, name)
            return
        with safe_open(self.path / name, "numpy") as file:
            yield file

    def arrays(self, name: str) -> tuple[Floats, Floats]:
        """Return a shard's values and times: mapped where it is a file, else fetched. Raises what `open` does.

        What is written to mapped arrays stays in this process.
        """
        if self._far:
            with self.open(name) as file:
                return file.get_tensor("values"), file.get_tensor("times")
        data = np.memmap(Path(str(self.path)) / name, np.uint8, "c")
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        table = json.loads(data[8:start].tobytes())
        found: list[Floats] = []
        for kind in ("values", "times"):
            begin, end = table[kind]["data_offsets"]
            found.append(data[start + begin : start + end].view(np.ndarray).view("<f4").reshape(table[kind]["shape"]))
        return found[0], found[1]

    def write(self, name: str, data: bytes, about: bytes) -> None:
        """Add a shard, durably; `about` is what its folder's expert.json says. Raises OSError where that cannot be."""
        if self._far:
            if "expert.json" not in {one.name for one in self._far.list()}:
                self._far.write("expert.json", about)
            self._far.write(name, data)
            return
        folder = Path(str(self.path))
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "expert.json").exists():
            write_whole(folder / "expert.json", about)
        for part in folder.glob(".*.part"):
            try:
                if time.time() - part.stat().st_mtime > STALE:
                    part.unlink()
            except FileNotFoundError:
                continue  # its writer has just finished
        write_whole(folder / name, data)


def revisions(root: Where) -> list[tuple[Where, bytes]]:
    """Return the folders of experts in a folder of features, and what expert.json says in each."""
    if isinstance(root, Far):
        folder = objects.folder(root.url)
        names = [one.name for one in folder.list() if one.name.count("/") == 1 and one.name.endswith("/expert.json")]
        return [(root / name.partition("/")[0], folder.read(name)) for name in names]
    return [(path.parent, path.read_bytes()) for path in sorted(root.glob("*/expert.json"))]


class _FarShard:
    """A shard in an object store, of which no more is fetched than is asked for. All that it claims is checked."""

    def __init__(self, folder: objects.Folder, name: str) -> None:
        self._folder, self._name = folder, name
        head = folder.read_range(name, 0, _HEAD)
        size = int.from_bytes(head[:8], "little")
        if len(head) < 8 or size > _LONGEST:
            raise ValueError("it has no header")
        if 8 + size > len(head):
            head += folder.read_range(name, len(head), 8 + size)
        table = json.loads(head[8 : 8 + size])
        self._about, self._begin, self._tensors = table["__metadata__"], 8 + size, table

    def metadata(self) -> Any:
        return self._about

    def keys(self) -> Any:
        return self._tensors.keys() - {"__metadata__"}

    def get_slice(self, name: str) -> "_Shape":
        return _Shape(self._tensors[name]["shape"])

    def get_tensor(self, name: str) -> NDArray[Any]:
        begin, end = self._tensors[name]["data_offsets"]
        data = self._folder.read_range(self._name, self._begin + begin, self._begin + end)
        return np.frombuffer(data, _TYPES[self._tensors[name]["dtype"]]).reshape(self._tensors[name]["shape"])


class _Shape:
    def __init__(self, shape: list[int]) -> None:
        self._shape = shape

    def get_shape(self) -> list[int]:
        return self._shape
