"""Kinds of jobs for tests, in a module of their own: a job's process imports them by name."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hit.library import Library
from hit.pulse import Pulse


def hold(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the process's number to the file `pid`, and go on until there is a file `go`; `deaf`: whatever SIGTERM says."""
    if detail.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with library.writing(), pulse.watched().task("Holding", 10) as task:
        task.advance(4)
        part = Path(detail["pid"] + ".part")
        part.write_text(str(os.getpid()))
        part.replace(detail["pid"])
        while not Path(detail["go"]).exists():
            time.sleep(0.02)
            if not detail.get("deaf"):
                task.advance(0)
    return {"held": True}


def stumble(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fail by a defect."""
    raise ZeroDivisionError("a defect")
