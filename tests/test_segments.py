"""Segments cover a video and keep to their lengths; cuts are found where they are; posters show something."""

import io
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from hit.errors import UserError
from hit.segments import CUT_WANT, SegmentConfig, divide, find_cuts, poster
from hit.types import Bytes, Frames

MODES = st.sampled_from(["auto", "shots", "windows"])


@given(duration=st.floats(0.01, 500), cuts=st.lists(st.floats(0, 500), max_size=60), mode=MODES)
def test_segments_tile_the_video_within_their_bounds(duration: float, cuts: list[float], mode: str) -> None:
    config = SegmentConfig(mode=mode)  # type: ignore[arg-type]
    segments = divide(duration, [cut for cut in cuts if cut < duration], config)
    assert (segments[0][0], segments[-1][1]) == (0, duration)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(segments))
    lengths = [end - start for start, end in segments]
    assert max(lengths) <= config.longest + 0.001
    assert min(lengths) >= min(config.shortest, duration) - 0.001


@pytest.mark.parametrize(
    ("duration", "cuts", "expected"),
    [
        (9.0, [], [(0, 9)]),
        (30.0, [5, 14], [(0, 5), (5, 14), (14, 22), (22, 30)]),  # a shot that is too long is halved
        (20.0, [1, 9, 9.5, 19], [(0, 9), (9, 20)]),  # scraps join the shot before them
        (25.0, [], [(0, 6.25), (6.25, 12.5), (12.5, 18.75), (18.75, 25)]),
    ],
)
def test_division_by_hand(duration: float, cuts: list[float], expected: list[tuple[float, float]]) -> None:
    assert divide(duration, cuts, SegmentConfig()) == expected


def test_which_videos_are_looked_through_for_cuts() -> None:
    lengths = (5.0, 12.0, 12.1)
    assert [SegmentConfig("auto").needs_cuts(t) for t in lengths] == [False, False, True]
    assert [SegmentConfig("shots").needs_cuts(t) for t in lengths] == [True, True, True]
    assert [SegmentConfig("windows").needs_cuts(t) for t in lengths] == [False, False, False]


@pytest.mark.parametrize(("window", "shortest", "longest"), [(8, 5, 12), (13, 2, 12), (8, 0, 12), (float("nan"), 2, 12)])
def test_lengths_that_do_not_go_together_are_refused(window: float, shortest: float, longest: float) -> None:
    with pytest.raises(UserError, match="do not go together"):
        SegmentConfig("auto", window, shortest, longest)


def shots(lengths: list[int], stretch: int) -> Iterator[Frames]:
    """Textured shots of so many frames each, in which a bright square moves fast and the light flickers."""
    rng = np.random.default_rng(0)
    images = []
    for length in lengths:
        noise = Image.fromarray(rng.integers(0, 255, (9, 16, 3), np.uint8)).resize((160, 90), Image.Resampling.BICUBIC)
        base = np.asarray(noise).astype(int) // 2 + rng.integers(0, 128, 3)
        for i in range(length):
            image = base + rng.integers(-6, 7) + rng.integers(-3, 4, base.shape)
            image[30:50, (20 * i) % 140 : (20 * i) % 140 + 20] = 250
            images.append(np.clip(image, 0, 255).astype(np.uint8))
    for start in range(0, len(images), stretch):
        part = np.stack(images[start : start + stretch])
        yield Frames(part, (np.arange(start, start + len(part)) / CUT_WANT.rate + 0.02).astype(np.float32))


def test_cuts_are_found_where_they_are_and_motion_is_none() -> None:
    """The detector is fed our own frames, in stretches: no decoder of its own."""
    lengths = [20, 31, 12, 40]
    expected = [20 / 4 + 0.02, 51 / 4 + 0.02, 63 / 4 + 0.02]
    for stretch in (7, 1000):
        assert find_cuts(shots(lengths, stretch)) == pytest.approx(expected)
    assert find_cuts(shots([60], 60)) == []
    assert find_cuts(iter([])) == []


def test_the_poster_is_neither_black_nor_white_nor_blurred() -> None:
    rng = np.random.default_rng(1)
    sharp = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).resize((320, 240), Image.Resampling.NEAREST)
    blurred = sharp.filter(ImageFilter.GaussianBlur(9))
    flat = [np.full((240, 320, 3), value, np.uint8) for value in (0, 255, 128)]
    images: Bytes = np.stack([flat[0], np.asarray(blurred), flat[1], np.asarray(sharp), flat[2]])
    shown = np.asarray(Image.open(io.BytesIO(poster(images)))).astype(float)
    assert shown.shape == (240, 320, 3)
    assert [np.abs(shown - image).mean() < 20 for image in images] == [False, False, False, True, False]
    assert poster(images[:1])  # a black video has a poster all the same


@given(st.floats(0.1, 500), st.floats(4, 12), st.floats(0, 0.5))
def test_windows_overlap_by_what_was_asked(duration: float, window: float, share: float) -> None:
    config = SegmentConfig("windows", window, shortest=2.0, longest=12.0, overlap=int(window * share * 1000) / 1000)
    found = divide(duration, [], config)
    assert (found[0][0], found[-1][1]) == (0.0, duration)
    for (start, end), (following, last) in itertools.pairwise(found):
        assert start < following < last
        assert end - following == pytest.approx(config.overlap, abs=0.0011)
    assert all(end - start <= max(window, 12.0 * (len(found) == 1)) + 0.002 for start, end in found)
    assert len(found) == 1 or len({round(end - start, 1) for start, end in found[:-1]}) <= 2, "of one length"


def test_an_overlap_that_leaves_no_progress_is_refused() -> None:
    with pytest.raises(UserError, match="overlap"):
        SegmentConfig(window=8.0, overlap=4.1)
