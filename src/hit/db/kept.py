"""What was read from a library, or worked out from it, and holds until its content changes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

MOST = 128 << 20  # bytes, about
_NUMBER, _THING = 250, 700  # bytes of a number or nothing, and of something larger, with its key, as Python holds them


class Kept:
    """Values by kind and key, all of one state of the content: those that were asked for last, up to `most` bytes."""

    def __init__(self, most: int = MOST) -> None:
        self.most, self.bytes = most, 0
        self.asked = self.found = 0  # keys, and those of them that were known
        self._state = -1
        self._values: OrderedDict[tuple[Hashable, Hashable], Any] = OrderedDict()
        self._guard = threading.Lock()

    def find(self, state: int, kind: Hashable, keys: Sequence[Hashable]) -> dict[Any, Any]:
        """Return those values that are known of a state; with another one than before, what was kept is dropped."""
        with self._guard:
            if state != self._state:
                self._values.clear()
                self._state, self.bytes = state, 0
            found = {}
            for key in keys:
                if (kind, key) in self._values:
                    found[key] = self._values[kind, key]
                    self._values.move_to_end((kind, key))
            self.asked += len(keys)
            self.found += len(found)
            return found

    def keep(self, state: int, kind: Hashable, values: Mapping[Any, Any]) -> None:
        """Keep values that were read when this was the state: not if it is another one by now."""
        with self._guard:
            if state != self._state:
                return
            for key, value in values.items():
                self._drop((kind, key))
                self._values[kind, key] = value
                self.bytes += _weight(value)
            while self.bytes > self.most:
                self._drop(next(iter(self._values)))

    def _drop(self, key: tuple[Hashable, Hashable]) -> None:
        if key in self._values:
            self.bytes -= _weight(self._values.pop(key))


def _weight(value: Any) -> int:
    """Return about how many bytes a value takes: an array's own, else so many for each of the things in it."""
    if value is None or isinstance(value, int):
        return _NUMBER
    return int(getattr(value, "nbytes", 0)) + _THING * (max(1, len(value)) if isinstance(value, list) else 1)
