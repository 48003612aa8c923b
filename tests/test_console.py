"""Bars on a terminal, few lines elsewhere; tables that can be read and grepped; nothing of a stranger's steers the terminal."""

import contextlib
import io
import pty
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hit import console


def test_a_pipe_gets_at_most_a_line_per_tenth() -> None:
    stream = io.StringIO()
    with console.Bars(stream).task("extract", 1000) as task:
        for i in range(1000):
            task.advance(note=f"clip {i}")
    lines = stream.getvalue().splitlines()
    assert [line.split()[:3] for line in lines] == [["extract:", f"{k}0%", f"{k}00/1000"] for k in range(1, 11)]
    assert all("ETA" in line for line in lines[:-1])
    assert lines[-1].endswith("done  clip 999")


@pytest.mark.parametrize(("total", "steps", "most"), [(None, 1000, 12), (3, 3, 3), (1000, 1, 2), (0, 0, 1), (5, 9, 10)])
def test_any_length_is_sparse(total: float | None, steps: int, most: int) -> None:
    stream = io.StringIO()
    with console.Bars(stream).task("index", total) as task:
        for _ in range(steps):
            task.advance()
    assert 1 <= len(stream.getvalue().splitlines()) <= most


def test_one_big_step_is_one_line() -> None:
    stream = io.StringIO()
    with console.Bars(stream).task("render", 100) as task:
        task.advance(95, "resumed")
        task.advance(5)
    assert len(stream.getvalue().splitlines()) == 2


def test_a_failed_task_says_so_and_lets_the_error_pass() -> None:
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), console.Bars(stream).task("train", 10) as task:
        task.advance(1 / 0)
    assert "stopped" in stream.getvalue()


def on_terminal(monkeypatch: pytest.MonkeyPatch, show: Callable[[console.Bars], None]) -> str:
    """Return what bars write to a real (pseudo) terminal of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    with ThreadPoolExecutor() as reader:
        seen = reader.submit(drained, leader)
        with open(follower, "w") as terminal:  # noqa: PTH123  # a number, not a path
            show(console.Bars(terminal))
        return seen.result().decode()


def drained(leader: int) -> bytes:
    """Return all that comes out of a pseudo terminal until its other end is closed: in pieces, when the kernel pleases."""
    seen = b""
    with contextlib.suppress(OSError), open(leader, "rb", buffering=0) as reader:  # Linux ends with an error
        while piece := reader.read(1 << 16):
            seen += piece
    return seen


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(bars: console.Bars) -> None:
        with bars.task("extract [red]", 40) as outer:
            outer.advance(39, "a\x1b[2J.mp4 [bold]")
            with bars.task("count", None) as inner:
                inner.advance(7)
            outer.advance()
        with bars.task("second", 1) as task:
            task.advance()

    seen = on_terminal(monkeypatch, show)
    for word in ("extract [red]", "40/40", "100%", "ETA", "[bold]", "count", "7/?", "second", "1/1", "0:00:00"):
        assert word in seen, word
    assert "\x1b[2J" not in seen


def test_table_is_aligned_whole_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    console.table("Scores [b]", ["name", "R@1", "n"], [["[red]a", 7.5, 1], [long, 100.0, 20], ["b\x1b[31m\nc", None, 300]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "Scores [b]"
    assert lines[1].split() == ["name", "R@1", "n"]
    rows = lines[3:]
    assert [row.split()[0] for row in rows] == ["[red]a", long, "b\N{REPLACEMENT CHARACTER}[31m"]
    assert len({row.index(number) + len(number) for row, number in zip(rows, ["7.50", "100.00"], strict=False)}) == 1
    assert len({len(row) for row in rows}) == 1  # the last column ends where every row ends


@pytest.mark.parametrize(
    ("t", "text"), [(0, "0:00.0"), (0.04, "0:00.0"), (59.94, "0:59.9"), (59.96, "1:00.0"), (61.25, "1:01.2"), (3661.0, "61:01.0")]
)
def test_seconds(t: float, text: str) -> None:
    assert console.seconds(t) == text


@given(st.floats(0, 1e6))
def test_seconds_are_within_a_twentieth(t: float) -> None:
    minutes, rest = console.seconds(t).split(":")
    assert float(rest) < 60
    assert abs(int(minutes) * 60 + float(rest) - t) <= 0.05 + 1e-6


@given(st.text())
def test_printable_is_one_harmless_line(text: str) -> None:
    line = console.printable(text)
    assert line.isprintable()
    line.encode()
