"""From a scene to frames and samples. Everything that the scene leaves open comes from its seed."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from hit.datasets.corpus import backgrounds, sprites
from hit.datasets.corpus.scenes import Scene
from hit.types import Bytes, Floats

WIDTH, HEIGHT, RATE, SAMPLE_RATE = 160, 120, 12, 16000
MARGIN_X, MARGIN_Y = 24, 6  # how much wider and higher the world is than the frame, on each side


@dataclass(frozen=True, slots=True)
class _Track:
    """Where a thing is while its event goes from 0 to 1: x, y and scale from a to b, turns, hops of some height."""

    a: tuple[float, float, float]
    b: tuple[float, float, float]
    turns: float = 0.0
    hops: int = 0
    height: float = 0.0
    tilt: float = 0.0

    def at(self, u: float) -> tuple[float, float, float, float]:
        """Return x, y (pixels of the unpanned frame), scale and angle (turns)."""
        x, y, scale = (start + (end - start) * u for start, end in zip(self.a, self.b, strict=True))
        phase = (u * self.hops) % 1.0
        return x, y - self.height * 4 * phase * (1 - phase), scale, self.tilt + self.turns * u


def frames(scene: Scene) -> Iterator[Bytes]:
    """Yield the clip's frames (120, 160, 3) RGB, RATE a second."""
    rng = np.random.default_rng([scene.seed, 0])
    count = round(scene.seconds * RATE)
    events = scene.facts.events
    shift = rng.uniform(26, 38) * {"left": -1, "right": 1, None: 0}[scene.facts.pan]
    tracks = _layout(scene, rng, abs(shift) / 2)
    pictures = [sprites.draw(event.thing, rng, 1.7 if event.motion in ("grow", "shrink") else 1.0) for event in events]
    world = backgrounds.draw(scene.background, WIDTH + 2 * MARGIN_X, HEIGHT + 2 * MARGIN_Y, rng)
    _place_distractors(world, scene, tracks, rng)
    caption = sprites.write(scene.facts.word, WIDTH, HEIGHT, rng) if scene.facts.word else None
    shake = _wander(count, rng.uniform(0.2, 1.2), rng, 2)
    flicker = (1 + _wander(count, rng.uniform(0.005, 0.03), rng, 1)[:, 0]).tolist()
    grain = rng.normal(0, rng.uniform(1, 4), (HEIGHT + 24, WIDTH + 24, 3)).astype(np.int16)
    eased = [bool(rng.random() < 0.5) for _ in events]
    for index in range(count):
        time = index / RATE
        camera = shake[index] + (shift * (index / max(1, count - 1) - 0.5), 0.0)
        view = np.array([[1, 0, -MARGIN_X - camera[0]], [0, 1, -MARGIN_Y - camera[1]]])
        frame = np.asarray(cv2.warpAffine(world, view, (WIDTH, HEIGHT)), np.uint8)
        for number, (track, picture, (start, end)) in enumerate(zip(tracks, pictures, scene.spans, strict=True)):
            if not _visible(scene, number, time):
                continue
            u = min(1.0, max(0.0, (time - start) / (end - start)))
            x, y, scale, angle = track.at(u * u * (3 - 2 * u) if eased[number] and not track.hops else u)
            sprites.paste(frame, picture, (x - camera[0], y - camera[1]), scale, angle)
        if caption is not None:
            frame = (frame * (1 - caption[..., 3:]) + caption[..., :3]).astype(np.uint8)
        dx, dy = rng.integers(0, 25, 2)
        lit = cv2.convertScaleAbs(frame, alpha=flicker[index])
        yield np.asarray(cv2.add(lit, grain[dy : dy + HEIGHT, dx : dx + WIDTH], dtype=cv2.CV_8U), np.uint8)


def samples(scene: Scene) -> Floats | None:
    """Return the clip's mono sound (n,) at SAMPLE_RATE, or None for a clip without an audio track."""
    if not scene.audio:
        return None
    rng = np.random.default_rng([scene.seed, 1])
    count = round(round(scene.seconds * RATE) / RATE * SAMPLE_RATE)
    room = rng.normal(0, 10 ** rng.uniform(-3.2, -2.3), count)
    if scene.facts.sound is None:
        return room.astype(np.float32)
    length = int(count * rng.uniform(0.6, 1.0))
    start = int(rng.integers(0, count - length + 1))
    room[start : start + length] += rng.uniform(0.15, 0.4) * _sound(scene.facts.sound, length, rng)
    return np.clip(room, -1, 1).astype(np.float32)


def _visible(scene: Scene, number: int, time: float) -> bool:
    """Where the things of two events are not together, the second takes over half-way between the events."""
    if scene.together or len(scene.spans) == 1:
        return True
    turn = (scene.spans[0][1] + scene.spans[1][0]) / 2
    return (time < turn) == (number == 0)


def _layout(scene: Scene, rng: Generator, pan: float) -> list[_Track]:
    """Draw tracks inside the frame; of things on screen together, such as overlap little."""
    best: tuple[float, list[_Track]] = (-np.inf, [])
    radii = [sprites.RADII[event.thing.size] for event in scene.facts.events]
    for _ in range(60):
        tracks = [
            _track(event.motion, radius, end - start, pan, rng)
            for event, radius, (start, end) in zip(scene.facts.events, radii, scene.spans, strict=True)
        ]
        if not scene.together:
            return tracks
        # While the first moves the second waits at its start; while the second moves the first rests at its end.
        moments = [(u, 0.0) for u in np.linspace(0, 1, 9)] + [(1.0, u) for u in np.linspace(0, 1, 9)]
        gaps = []
        for moment in moments:
            (x, y, size, _), (x2, y2, size2, _) = (track.at(u) for track, u in zip(tracks, moment, strict=True))
            sizes = (
                sprites.RADII[scene.facts.events[0].thing.size] * size + sprites.RADII[scene.facts.events[1].thing.size] * size2
            )
            gaps.append(float(np.hypot(x - x2, y - y2)) - sizes)
        if min(gaps) > best[0]:
            best = min(gaps), tracks
        if min(gaps) > 2:
            break
    return best[1]


def _track(motion: str, radius: float, seconds: float, pan: float, rng: Generator) -> _Track:
    """Draw where a thing of `radius` starts and ends; a camera that pans by +-`pan` keeps it in view."""
    largest = radius * (1.7 if motion in ("grow", "shrink") else 1.0)
    left, right, top, bottom = largest + pan + 3, WIDTH - largest - pan - 3, largest + 4, HEIGHT - largest - 4
    left, right = min(left, WIDTH / 2 - 1), max(right, WIDTH / 2 + 1)
    x, y = rng.uniform(left, right), rng.uniform(top, bottom)
    tilt = rng.uniform(-0.03, 0.03)
    if motion in ("left", "right"):
        slack = (right - left) * 0.2
        far, near = right - rng.uniform(0, slack), left + rng.uniform(0, slack)
        start, end = (far, near) if motion == "left" else (near, far)
        return _Track((start, y, 1), (end, y + rng.uniform(-4, 4), 1), tilt=tilt)
    if motion in ("rise", "fall"):
        slack = (bottom - top) * 0.15
        low, high = bottom - rng.uniform(0, slack), top + rng.uniform(0, slack)
        start, end = (low, high) if motion == "rise" else (high, low)
        return _Track((x, start, 1), (x + rng.uniform(-4, 4), end, 1), tilt=tilt)
    if motion == "spin":
        turns = max(1.0, rng.uniform(0.4, 0.8) * seconds) * rng.choice((-1, 1))
        return _Track((x, y, 1), (x, y, 1), turns=turns, tilt=tilt)
    if motion == "bounce":
        height = rng.uniform(0.55, 0.85) * (bottom - top)
        hops = max(2, round(seconds / rng.uniform(0.6, 0.9)))
        floor = rng.uniform(top + height, bottom)
        return _Track((x, floor, 1), (x, floor, 1), hops=hops, height=height, tilt=tilt)
    small, big = rng.uniform(0.45, 0.6), rng.uniform(1.5, 1.7)
    start, end = (small, big) if motion == "grow" else (big, small)
    return _Track((x, y, start), (x, y, end), tilt=tilt)


def _place_distractors(world: Bytes, scene: Scene, tracks: list[_Track], rng: Generator) -> None:
    """Paint distractors into the world, out of the way of what moves where there is room."""
    path = np.array([track.at(u)[:2] for track in tracks for u in np.linspace(0, 1, 7)])
    for thing in scene.distractors:
        spots = rng.uniform((10, 10), (WIDTH - 10, HEIGHT - 10), (12, 2))
        clear = np.linalg.norm(spots[:, None] - path, axis=2).min(1)
        x, y = spots[np.argmax(np.minimum(clear, 30))]
        sprites.paste(world, sprites.draw(thing, rng), (x + MARGIN_X, y + MARGIN_Y), 1.0, rng.uniform(-0.1, 0.1))


def _wander(count: int, size: float, rng: Generator, axes: int) -> Floats:
    """Return `count` smooth random offsets (count, axes) of about `size`."""
    steps = rng.normal(0, size, (count + 4, axes))
    return np.stack([steps[i : i + 5].mean(0) * 2 for i in range(count)]).astype(np.float32)


def _sound(kind: str, length: int, rng: Generator) -> Floats:
    """Return `length` samples of a sound in [-1, 1]."""
    time = np.arange(length) / SAMPLE_RATE
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.05)
    if kind in ("low tone", "high tone"):
        pitch = rng.uniform(110, 240) if kind == "low tone" else rng.uniform(1400, 2600)
        wave = np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(4 * np.pi * pitch * time)
    elif kind in ("rising chirp", "falling chirp"):
        low, high, sweep = rng.uniform(250, 500), rng.uniform(1800, 3200), rng.uniform(0.9, 1.6)
        u = (time / sweep) % 1.0
        ends = (low, high) if kind == "rising chirp" else (high, low)
        wave = np.sin(2 * np.pi * np.cumsum(ends[0] * (ends[1] / ends[0]) ** u) / SAMPLE_RATE) * np.minimum(1, (1 - u) * 20)
    elif kind == "knocks":
        wave, gap = np.zeros(length), rng.uniform(0.25, 0.5)
        knock = np.exp(-np.arange(1600) / 220) * np.sin(2 * np.pi * rng.uniform(150, 420) * np.arange(1600) / SAMPLE_RATE)
        for start in itertools.takewhile(lambda s: s + 1600 < length, itertools.count(0, int(gap * SAMPLE_RATE))):
            wave[start : start + 1600] += 2 * knock + 0.3 * rng.normal(size=1600) * np.exp(-np.arange(1600) / 60)
    else:
        wave = rng.normal(0, 0.4, length)
    return np.asarray(wave / 1.3 * fade, np.float32)
