"""What a library holds and what its models are, for whoever asks often."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hit import calibration, settings
from hit.library import Library
from hit.upkeep import info as upkeep

KEPT = 60.0  # seconds for which bytes are not measured again: that looks at every file


class Facts:
    """Facts of an open library. Several threads may ask."""

    def __init__(self, library: Library, clock: Callable[[], float] = time.monotonic) -> None:
        self._library, self._clock = library, clock
        self._measured: tuple[float, Mapping[str, int]] | None = None
        self._guard = threading.Lock()

    def info(self) -> dict[str, Any]:
        """Return what `hit library info` says; its bytes may be a minute old."""
        known = self._measured
        if (known is None or self._clock() - known[0] >= KEPT) and self._guard.acquire(blocking=known is None):
            try:  # one looks; others wait for that only where nothing is known yet
                if self._measured is known:
                    self._measured = self._clock(), upkeep.measure(self._library)
            finally:
                self._guard.release()
        return upkeep.info(self._library, self._measured[1] if self._measured else None)

    def models(self) -> list[dict[str, Any]]:
        """Return the models that there are vectors of, the current one with its card, if it has one."""
        current = self._library.config.model
        folder = settings.model_folder(self._library.path, current)
        found = upkeep.models(self._library)
        for one in found:
            own = one["revision"] == current.revision
            one |= {"id": current.id if own else None, "card": _card(folder) if own and folder else None}
        return found


def _card(folder: Path) -> dict[str, Any] | None:
    card, made = _read(folder / "card.json"), _read(folder / calibration.FILE)
    if card is None:
        return None
    plain = {name: card.get(name) for name in ("name", "seed", "steps", "commit", "licence")}
    tables = {name: card.get(name) or {} for name in ("scores", "data", "clips", "versions", "experts")}
    return {**plain, **tables, "folder": str(folder), "calibration": made}


def _read(path: Path) -> dict[str, Any] | None:
    """Return a file's table; None where there is none: a model is served without its card, too."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
