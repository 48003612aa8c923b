"""What a check says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]
OK: State = "ok"
WARN: State = "warn"
FAIL: State = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """How a part is: what was looked at and seen, whether that is well, and what mends it, in a line."""

    part: str
    what: str
    state: State
    mend: str = ""


Check = Callable[[], Iterator[Finding]]


def size(number: float) -> str:
    """Write bytes for people."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def skew(part: str, whose: str, ahead: float, within: float = 0.0) -> Finding:
    """Return how a clock is that is so many seconds ahead of ours, give or take `within`."""
    off = max(0.0, abs(ahead) - within)
    state = FAIL if off > 30 else WARN if off > 1 else OK
    word = "ahead of" if ahead > 0 else "behind"
    what = f"{whose} clock is {off:.1f} s {word} this machine's" if state != OK else f"{whose} clock is this machine's"
    return Finding(part, what, state, "" if state == OK else "set all clocks by NTP (chrony, systemd-timesyncd)")
