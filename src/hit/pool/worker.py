"""What happens in a worker process: it asks its parent for items, and tells of them."""

import logging
import math
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

GONE = (EOFError, BrokenPipeError, ConnectionResetError)  # what a pipe says whose other end has died
WANT, BEAT, PART, END, ERROR, LOG = b"w", b"b", b"p", b"e", b"x", b"l"  # the first byte of a message
PAUSE = 1.0  # seconds between two signs of life, at least

_line: "Line | None" = None
_beaten = -math.inf  # when the last sign of life was given
_speaking = threading.Lock()


def beat(number: int = 0, note: Any = None) -> None:
    """In a worker, from any of its threads: show that it is alive, and say how far it is with an item.

    One a second is heard. Anywhere else this does nothing.
    """
    global _beaten  # noqa: PLW0603  # of this worker process
    if _line is not None and time.monotonic() >= _beaten + PAUSE:
        _beaten = time.monotonic()
        _say(_line, BEAT, (number, note))


def one_by_one(function: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """Work on items one after the other, as `pool.stream` has it: (number, (result,)) or (number, exception), then None."""
    for number, item in enumerate(items):
        try:
            yield number, (function(item),)  # in a tuple, as None may be a result
        except Exception as error:  # whatever it is, it is this item's outcome
            yield number, portable(error)
        yield number, None


class Line(Protocol):
    """What a worker hears and speaks through. Its methods raise one of GONE where nobody is at the other end."""

    def recv_bytes(self) -> bytes:
        """Return the next message."""
        ...

    def send_bytes(self, message: bytes, /) -> None:
        """Send a message."""
        ...


def work(pipe: Connection) -> None:
    """Do what the parent says, until it says no more or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; it is for the parent to act on
    threading.Thread(target=_follow_parent, daemon=True).start()
    serve(pipe, pipe.recv)


def serve(line: Line, setup: Callable[[], Any]) -> None:
    """Initialise as the setup says, and work on what comes, as often as more comes, until nobody listens."""
    global _line  # noqa: PLW0603  # a process's own
    try:
        problem, function, memory = _prepare(setup)
        _say(line, END, problem)
        if problem is not None:
            return
        _line = line
        logging.getLogger("hit").addHandler(_Relay())
        logging.getLogger("hit").propagate = False
        _limit(memory)
        try:
            first: list[bytes] = []
            while True:
                for part in function(_drawn(line, first)):
                    _say(line, PART, part)
                _say(line, END, None)
                first.append(line.recv_bytes())
        except GONE:
            raise
        except Exception as error:  # in which all items end that this worker has
            _say(line, ERROR, portable(error))
    except GONE:
        pass  # the parent has no more work, or is gone


class _Relay(logging.Handler):
    """Has the parent log what this process logs."""

    def emit(self, record: logging.LogRecord) -> None:
        if _line is not None and record.levelno >= logging.WARNING:
            _say(_line, LOG, (record.name, record.levelno, record.getMessage()))


def _drawn(line: Line, first: list[bytes]) -> Iterator[Any]:
    while True:
        _say(line, WANT, None)
        drawn = pickle.loads(first.pop() if first else line.recv_bytes())  # noqa: S301 from our own parent
        if drawn is None:
            return
        yield drawn[0]


def _say(line: Line, kind: bytes, content: Any) -> None:
    message = kind + pickle.dumps(content)
    with _speaking:  # a thread that decodes ahead asks for items, and has signs of life to give
        line.send_bytes(message)


def _limit(memory: float) -> None:
    """Have the system refuse this process more than so many bytes beyond what it holds now."""
    if memory < math.inf:
        held = 0
        with suppress(OSError):  # no /proc: then what it holds counts too
            about = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            held = int(about["VmData"].split()[0]) * 1024
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = held + int(memory)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))


def _follow_parent() -> None:
    """End this process when its parent has died: a long item would otherwise go on for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    wait([parent.sentinel])
    os._exit(1)


def _prepare(setup: Callable[[], Any]) -> tuple[Exception | None, Callable[[Any], Any], float]:
    try:
        function, initializer, arguments, memory = setup()
        if initializer is not None:
            initializer(*arguments)
    except GONE:
        raise
    except Exception as error:
        return portable(error), str, math.inf
    return None, function, memory


def portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or, where it would not survive pickling, one that says the same."""
    trace = "".join(traceback.format_exception(error))
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 made on this very line
        assert isinstance(copy, Exception)
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"in a worker process:\n{trace}")
    return copy
