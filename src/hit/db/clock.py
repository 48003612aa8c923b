"""The time by which leases run: it never goes backwards, whatever becomes of the machine's wall clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

# Counts on while a machine sleeps, where there is such a clock: a lease ends however long its holder's lid was shut.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Return seconds since some moment, which nobody can set."""
    return time.clock_gettime(_STEADY)


class Clock:
    """A process's clock: at its start the later of the wall's time and `latest`, the highest that is written down anywhere.

    From then on it counts by itself. A wall clock that is set back therefore neither frees a lease nor freezes one.
    """

    def __init__(
        self, latest: datetime | None = None, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady
    ) -> None:
        self._steady = steady
        self._ahead = max(wall(), latest.timestamp() if latest else 0.0) - steady()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self._ahead + self._steady(), UTC)
