"""Bytes on the disk."""

import os
from collections.abc import Iterator
from pathlib import Path


def tree(path: Path) -> Iterator[Path]:
    """Yield all files under a folder, and links as themselves, in the order of their names; of a file, itself."""
    if path.is_symlink() or path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def of(path: Path) -> int:
    """Return how many bytes a file or folder holds; 0 where there is none."""
    total = 0
    for file in tree(path):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:  # a writer is at work
            continue
    return total


def words(count: float) -> str:
    """Write bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
