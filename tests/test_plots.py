"""Plots are well-formed, show what they were given, stay the same, and stand side by side in one page."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from hit import plots

SVG = "{http://www.w3.org/2000/svg}"
LINES = {"feature": ([1, 10, 100], [0.0, 20.0, 40.0]), "semantic": ([1, 10, 100], [30.0, 15.0, 0.0])}


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def points(svg: str, colour: str) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Return the corners of the widest path in that colour: the line, not its marks and not its sample in the legend."""
    paths = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}path") if f"stroke: {colour}" in e.get("style", "")]
    found = [np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d", "")), np.float64) for path in paths]
    return max(found, key=lambda corners: float(np.ptp(corners[:, 0])))


def test_lines_go_through_their_points() -> None:
    svg = plots.lines({"a": ([0, 1, 2, 3], [0.0, 1.0, 4.0, 9.0])}, "Squares", "x", "y")
    line = points(svg, plots.STYLES[0][0])
    assert np.diff(line[:, 0]) == pytest.approx([np.diff(line[:, 0])[0]] * 3)
    rise = line[0, 1] - line[:, 1]  # SVG's y axis points down
    assert rise / rise[1] == pytest.approx([0, 1, 4, 9], abs=1e-3)


@pytest.mark.parametrize("values", [[15.0, 17.4], [0.0, 0.0], [5.0]])
def test_no_mark_is_cut_off_at_the_top(values: list[float]) -> None:
    svg = plots.lines({"a": (list(range(len(values))), values)}, "Loss", "step", "nats")
    top = min(float(rect.get("y", "")) for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect"))
    marks = re.findall(rf'<use [^>]*y="([^"]+)"[^>]*{plots.STYLES[0][0]}', svg)
    assert len(marks) == len(values)
    assert min(map(float, marks)) > top + 4  # the radius of a mark and its edge


def test_with_ticks_the_x_axis_is_logarithmic() -> None:
    svg = plots.lines(LINES, "Recall", "k", "R@k", (1, 10, 100))
    line = points(svg, plots.STYLES[0][0])
    assert line[1, 0] - line[0, 0] == pytest.approx(line[2, 0] - line[1, 0])
    assert {"1", "10", "100", "Recall", "k", "R@k", "feature", "semantic"} <= set(words(svg))
    falling = points(svg, plots.STYLES[1][0])
    assert (np.diff(falling[:, 1]) > 0).all()


def test_bars_are_as_long_as_their_means_and_say_their_numbers() -> None:
    svg = plots.bars({"HiT": (50.0, 2.0), "without <banks>": (25.0, 0.0)}, "Ablation", "R@1")
    assert {"HiT", "without <banks>", "50.0 ± 2.0", "25.0"} <= set(words(svg))
    boxes = [
        np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d", "")), np.float64)
        for path in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if f"fill: {plots.STYLES[0][0]}" in path.get("style", "")
    ]
    widths = [np.ptp(box[:, 0]) for box in boxes]
    assert widths[0] == pytest.approx(2 * widths[1], rel=1e-3)
    assert boxes[0][:, 1].mean() < boxes[1][:, 1].mean()  # the first one is on top
    caps = rf"<use [^>]*{plots.STYLES[1][0]}"
    assert len(re.findall(caps, svg)) == 2  # the second bar has no spread


def test_the_same_numbers_give_the_same_bytes_in_another_process() -> None:
    code = f"from hit import plots; print(plots.lines({LINES!r}, 'Recall', 'k', 'R@k'), end='')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout == plots.lines(LINES, "Recall", "k", "R@k")


def test_nothing_is_fetched_and_nothing_is_painted_behind() -> None:
    svg = plots.lines(LINES, 'Recall & "more" <b>', "k", "R@k")
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<]+", svg)) == names
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.findtext(f"{SVG}title")) == ("img", 'Recall & "more" <b>')
    assert not re.search(r"fill: (#ffffff|white)", svg)


def test_figures_in_one_page_share_no_id() -> None:
    pages = [plots.lines(LINES, title, "k", "R@k") for title in ("text to video", "video to text")]
    ids = [set(re.findall(r' id="([^"]+)"', page)) for page in pages]
    assert all(ids)
    assert not ids[0] & ids[1]
    for page, own in zip(pages, ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', page)) <= own


def test_a_single_point_can_be_seen_at_a_whole_step() -> None:
    svg = plots.lines({"total": ([2], [100.0])}, "Loss", "step", "nats")
    assert "2" in words(svg)
    assert not any("." in word for word in words(svg))
    assert re.search(rf"<use [^>]*{plots.STYLES[0][0]}", svg)


def test_no_global_state_of_matplotlib_is_touched() -> None:
    code = """
import sys
import matplotlib
def state():
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}  # asking for it chooses one
before = state()
from hit import plots
plots.bars({"a": (1.0, 0.1)}, "t", "x")
assert "matplotlib.pyplot" not in sys.modules
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
