"""Features as folders of one npy file a video: `--features NAME=FOLDER`, as people save what C3D, CLIP and others give."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit.config import ExpertConfig
from hit.errors import UserError
from hit.importers import Item
from hit.importers.arrays import NAME
from hit.importers.sources import AGAIN, stamp
from hit.types import Features


class Folders:
    """Experts by the folders of their files; row i of each spans the seconds i / rate to (i + 1) / rate of its video.

    A clip that is a part of its video has the rows whose middle lies in it, or the nearest one. The folder's name stands
    for what made the features.
    """

    def __init__(self, specs: Sequence[str], rate: float) -> None:
        if not 0 < rate < math.inf:
            raise UserError(f"--rate {rate:g}", "not a number of rows a second", "for example 4")
        self._rate, self._widths = rate, dict[str, int]()
        self._folders: dict[str, Path] = {}
        for spec in specs:
            name, _, folder = spec.partition("=")
            if not NAME.fullmatch(name) or not folder:
                raise UserError(f"--features '{spec}'", "not NAME=FOLDER", "for example clip=features/clip-vit-b32")
            if name in self._folders:
                raise UserError(f"--features '{spec}'", f"'{name}' is there twice", "name each expert once")
            self._folders[name] = Path(folder)
            if not self._folders[name].is_dir():
                raise UserError(folder, "there is no such folder", "name the folder with one npy file a video")

    def __len__(self) -> int:
        return len(self._folders)

    def made_of(self) -> dict[str, Any]:
        """Return what tells these features from others."""
        stamps = {name: stamp(sorted(folder.glob("**/*.npy"))) for name, folder in self._folders.items()}
        return {"features": stamps, "rate": self._rate} if stamps else {}

    def experts(self) -> Mapping[str, ExpertConfig]:
        """Return the experts with the width of their first file. Raises UserError for a folder that fits no clip."""
        for name, folder in self._folders.items():
            if name not in self._widths:
                raise UserError(folder, "has no npy file of any of the clips", "name the files by the ids of the videos")
        return {
            name: ExpertConfig("given", {"dim": self._widths[name], "source": f"{folder.resolve().name} {self._rate:g}/s"})
            for name, folder in self._folders.items()
        }

    def count(self, item: Item) -> Mapping[str, int]:
        """Return the rows of each expert that has a file for the clip."""
        counts = {}
        for name in self._folders:
            if (array := self._open(name, item)) is not None:
                width = self._widths.setdefault(name, array.shape[1])
                if array.shape[1] != width:
                    why = f"has {array.shape[1]} values a row, the files before it have {width}"
                    raise UserError(self._path(name, item), why, "extract all of them with the same network")
                counts[name] = len(self._rows(len(array), item))
        return counts

    def read(self, item: Item) -> Mapping[str, Features]:
        """Return the clip's rows, with their times in the video."""
        found = {}
        for name in self._folders:
            if (array := self._open(name, item)) is not None:
                rows = self._rows(len(array), item)
                values = np.asarray(array[rows], np.float32)
                if not np.isfinite(values).all():
                    raise UserError(self._path(name, item), "holds NaN or infinite values", "compute it again or remove it")
                found[name] = Features(values, (np.stack([rows, rows + 1], axis=1) / self._rate).astype(np.float32))
        return found

    def _path(self, name: str, item: Item) -> Path:
        return self._folders[name] / f"{item.stem}.npy"

    def _open(self, name: str, item: Item) -> NDArray[Any] | None:
        path = self._path(name, item)
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            raise UserError(path, f"is damaged or holds objects: {error}", "compute it again or remove it") from None
        if array.ndim != 2 or array.dtype.kind != "f":
            raise UserError(path, f"holds {array.dtype} of shape {array.shape}", f"it must be rows (n, d) of floats; {AGAIN}")
        return array

    def _rows(self, count: int, item: Item) -> NDArray[np.int64]:
        middles = (np.arange(count) + 0.5) / self._rate
        inside = np.flatnonzero((middles >= item.start) & (middles < item.end))
        if len(inside) or not count:
            return inside
        return np.array([np.abs(middles - (item.start + min(item.end, middles[-1])) / 2).argmin()])
