"""Files that a test itself has made on this machine."""

from pathlib import Path

from hit.types import Where


def here(where: Where | None) -> Path:
    """Return the path of a file that is on this machine."""
    assert isinstance(where, Path)
    return where
