"""What the local store knows of its rows: which of them live, and which have codes."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit.stores.codes import Index
from hit.types import Keys

Flags = NDArray[np.bool_]
FORMAT = 2


@dataclass(frozen=True)
class State:
    """A store's state but for its bitmaps."""

    dim: int
    rows: int = 0  # how many the bitmaps speak of
    norm: float = 0.0  # no row has been longer
    change: int = 0
    index: Index | None = None
    booked: int = 0  # how many vectors there were when the book was made, or when none was found that serves
    format: int = FORMAT


@dataclass(frozen=True)
class View:
    """What a search sees: later changes make new arrays, and only write rows that do not live here."""

    state: State
    live: Flags
    coded: Flags
    mask: Flags  # both
    tail: Keys  # live and not coded
    count: int

    @classmethod
    def of(cls, state: State, live: Flags, coded: Flags) -> "View":
        """Return what there is to see of a state and its bitmaps."""
        return cls(state, live, coded, live & coded, np.flatnonzero(live & ~coded).astype(np.int64), int(live.sum()))


def parse(line: bytes, bits: bytes) -> tuple[State, Flags, Flags]:
    """Return a state and its bitmaps. Raises ValueError, TypeError or KeyError for what is none."""
    found: dict[str, Any] = json.loads(line)
    found["index"] = Index.from_json(found["index"]) if found["index"] else None
    state = State(**found)
    half = -(-state.rows // 8)
    if state.format != FORMAT or len(bits) != 2 * half:
        raise ValueError("it is of another format, or cut off")
    live, coded = (
        np.unpackbits(np.frombuffer(part, np.uint8), count=state.rows, bitorder="little").view(np.bool_)
        for part in (bits[:half], bits[half:])
    )
    return state, live, coded


def dump(state: State, live: Flags, coded: Flags) -> bytes:
    """Return what `parse` undoes: a line, and the bitmaps."""
    bits = [np.packbits(flags, bitorder="little").tobytes() for flags in (live, coded)]
    return b"".join([json.dumps(asdict(state)).encode(), b"\n", *bits])
