"""The demo corpus: what captions say is so, splits hold out combinations, and a folder depends on its arguments alone."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hit import video
from hit.datasets import corpus
from hit.datasets.corpus import grammar, render, scenes, truth
from hit.datasets.corpus.scenes import Event, Facts, Thing
from hit.errors import UserError
from hit.render import render_corpus
from hit.types import Silent

CLIPS, SEED = 24, 5

# ---- An oracle that reads captions. Its lexicon is its own: a word that it does not know fails the test.

COLOURS = {
    "red": "red|crimson|scarlet", "orange": "orange|tangerine", "yellow": "yellow|golden", "green": "green|emerald",
    "blue": "blue|azure", "purple": "purple|violet", "pink": "pink|rosy", "white": "snow-white|white",
}  # fmt: skip
SHAPES = {
    "ball": "ball|circle|disc|sphere", "box": "box|square|block", "triangle": "triangular shape|triangle",
    "star": "five-pointed star|star", "cross": "cross|plus sign", "ring": "ring|hoop|doughnut", "heart": "heart shape|heart",
}  # fmt: skip
SIZES = {"small": "small|little|tiny", "medium": "medium-sized|mid-sized", "large": "large|big|huge"}
TEXTURES = {
    "striped": "striped|stripy|with stripes|covered in stripes", "dotted": "dotted|spotted|with dots|covered in spots",
    "plain": "plain|with a plain surface",
    "checkered": "checkered|chequered|with a checkered pattern|with a checked pattern",
}  # fmt: skip
MOTIONS = {
    "left": r"(?:mov|slid|glid|travell?)(?:es|s|ing) (?:to the )?left(?:wards)?",
    "right": r"(?:mov|slid|glid|travell?)(?:es|s|ing) (?:to the )?right(?:wards)?",
    "rise": r"ris(?:es|ing)|go(?:es|ing) up|climb(?:s|ing)|float(?:s|ing) upwards|mov(?:es|ing) up",
    "fall": r"fall(?:s|ing)|drop(?:s|ping)|go(?:es|ing) down|sink(?:s|ing)|mov(?:es|ing) down",
    "spin": r"spin(?:s|ning)(?: around)?|rotat(?:es|ing)|twirl(?:s|ing)|turn(?:s|ing) around",
    "bounce": r"(?:bounc(?:es|ing)|jump(?:s|ing))(?: up and down)?|hop(?:s|ping)",
    "grow": r"grow(?:s|ing)|get(?:s|ting) bigger|expand(?:s|ing)|becom(?:es|ing) larger",
    "shrink": r"shrink(?:s|ing)|get(?:s|ting) smaller|contract(?:s|ing)|becom(?:es|ing) smaller",
}
SOUNDS = {
    "low tone": "a low tone|a deep hum", "high tone": "a high tone|a high-pitched beep",
    "rising chirp": "a rising chirp|an upward whistle", "falling chirp": "a falling chirp|a downward whistle",
    "knocks": "knocking|a series of knocks", "hiss": "hissing|a loud noise like static",
}  # fmt: skip
GLUE = (
    "a an and is are in on at to of the with as while first then before after once next followed by preceded later end only "
    "afterwards clip footage video we see there here you can watch heard be sound background accompanied below word written "
    "screen says text titled camera"
)


@dataclass
class Reading:
    """What a caption says, in order of time."""

    events: list[dict[str, str]]
    sound: str | None
    word: str | None
    pan: str | None


def find(kind: dict[str, str], text: str) -> list[tuple[int, int, str]]:
    """Return where each phrase of `kind` stands: start, end, what it names."""
    found = ((re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text), name) for name, pattern in kind.items())
    return sorted((match.start(), match.end(), name) for matches, name in found for match in matches)


def take(kind: dict[str, str], text: str) -> tuple[str, str | None]:
    """Cut the one phrase of `kind` out of the text."""
    spots = find(kind, text)
    assert len(spots) <= 1, text
    return (text[: spots[0][0]] + " " + text[spots[0][1] :], spots[0][2]) if spots else (text, None)


def read(caption: str) -> Reading:
    text = caption.lower().rstrip(".").replace('"', "")
    text, sound = take(SOUNDS, text)
    text, word = take({word: word.lower() for word in scenes.WORDS}, text)
    pan = None
    turned = re.search(r"camera (?:pans|turns|panning|moving)(?: to the)? (left|right)", text)
    if turned:
        pan, text = turned[1], text[: turned.start()] + "camera" + text[turned.end() :]
    events: list[dict[str, str]] = []
    begin, starts = 0, []
    rest = ""
    for start, end, motion in find(MOTIONS, text):
        event, phrase = {"motion": motion}, text[begin:start]
        for name, kind in (("texture", TEXTURES), ("colour", COLOURS), ("shape", SHAPES), ("size", SIZES)):
            spots = find(kind, phrase)
            assert len(spots) <= 1, (caption, name)
            if spots:
                event[name] = spots[0][2]
                starts.append(begin + spots[0][0])
                phrase = phrase[: spots[0][0]] + "_" * (spots[0][1] - spots[0][0]) + phrase[spots[0][1] :]
        rest += phrase.replace("_", "")
        events.append(event)
        begin = end
    unknown = set(re.findall(r"[\w-]+", rest + text[begin:])) - set(GLUE.split())
    assert not unknown, (caption, unknown)
    head = min(starts)
    turns_back = re.search(r"\bafter\b|\bpreceded by\b", text[head:]) or re.search(r"\bbefore\b", text[:head])
    return Reading(events[::-1] if turns_back else events, sound, word, pan)


def true_of(event: Event, name: str, value: str) -> bool:
    return value == (event.motion if name == "motion" else getattr(event.thing, name))


def describes(reading: Reading, facts: Facts) -> bool:
    """Is what was read true of the facts? One event is true of any clip in which it happens."""
    for name in ("sound", "word", "pan"):
        if getattr(reading, name) not in (None, getattr(facts, name)):
            return False
    fits = [
        [all(true_of(event, name, value) for name, value in told.items()) for event in facts.events] for told in reading.events
    ]
    if len(fits) == 1:
        return any(fits[0])
    return len(facts.events) == 2 and fits[0][0] and fits[1][1]


def swapped(facts: Facts) -> Facts:
    first, second = facts.events
    one = dataclasses.replace(first, thing=dataclasses.replace(first.thing, colour=second.thing.colour))
    two = dataclasses.replace(second, thing=dataclasses.replace(second.thing, colour=first.thing.colour))
    return dataclasses.replace(facts, events=(one, two))


def turned(facts: Facts) -> Facts:
    return dataclasses.replace(facts, events=facts.events[::-1])


things = st.builds(Thing, *map(st.sampled_from, (scenes.SHAPES, scenes.COLOURS, scenes.SIZES, scenes.TEXTURES)))
events = st.builds(Event, things, st.sampled_from(scenes.MOTIONS))
all_facts = st.builds(
    Facts,
    st.lists(events, min_size=1, max_size=2, unique_by=lambda event: (event.thing.shape, event.thing.colour)).map(tuple),
    *(st.none() | st.sampled_from(options) for options in (scenes.SOUNDS, scenes.WORDS, ("left", "right"))),
)


@settings(max_examples=300, deadline=None)
@given(all_facts, st.integers())
def test_captions_say_only_what_is_so(facts: Facts, wording: int) -> None:
    captions = grammar.captions(facts, 4, str(wording))
    assert len({caption.lower().rstrip(".") for caption in captions}) == 4
    for reading in map(read, captions):
        assert describes(reading, facts)
        assert len(reading.events) == len(facts.events)
        assert all({"colour", "shape", "motion"} <= event.keys() for event in reading.events)
        assert len(facts.events) == 1 or not describes(reading, turned(facts))  # the order is always told
        same_colour = len({event.thing.colour for event in facts.events}) == 1
        assert len(facts.events) == 1 or same_colour or not describes(reading, swapped(facts))


@pytest.fixture(scope="module")
def whole() -> corpus.Corpus:
    """The corpus of `make demo`."""
    return corpus.plan(1600, 0)


def combinations(clip: corpus.PlannedClip) -> set[scenes.Combination]:
    return {event.combination for event in clip.scene.facts.events}


@pytest.mark.parametrize(("clips", "seed"), [(12, 1), (24, 0), (200, 3), (1200, 1), (1600, 0)])
def test_test_clips_are_held_out_by_combination(clips: int, seed: int) -> None:
    planned = corpus.plan(clips, seed)
    assert len({clip.video for clip in planned.clips}) == clips
    sizes = Counter(clip.split for clip in planned.clips)
    assert sizes["test"] >= (200 if clips >= 1200 else 4) and sizes["val"] >= 1
    seen = {combination for clip in planned.clips if clip.split != "test" for combination in combinations(clip)}
    tested = [combinations(clip) for clip in planned.clips if clip.split == "test"]
    assert all(met - seen for met in tested)
    if clips == 1600:  # and what is held out is new only as a whole
        everything = seen.union(*tested)
        assert 0.15 < len(everything - seen) / len(everything) < 0.2
        assert len({c[:2] for c in seen}) == 56 and len({c[1:] for c in seen}) == 56 and len({c[::2] for c in seen}) == 64


def test_a_pair_differs_in_order_or_colour_alone(whole: corpus.Corpus) -> None:
    clips = {clip.video: clip for clip in whole.clips}
    assert Counter(pair.kind for pair in whole.pairs if pair.split == "test") == {"order": 40, "colour": 40}
    for pair in whole.pairs:
        a, b = clips[pair.a], clips[pair.b]
        assert a.split == b.split == pair.split
        assert b.scene.facts == (turned if pair.kind == "order" else swapped)(a.scene.facts)
        first, second = a.scene.facts.events
        assert all(x != y for x, y in zip(first.combination, second.combination, strict=True))
        assert a.scene.seed != b.scene.seed
        for caption, other in zip(a.captions, b.captions, strict=True):
            assert not describes(read(caption), b.scene.facts) and not describes(read(other), a.scene.facts)
            assert len(caption.split()) == len(other.split())  # told in the same way


def test_training_has_pairs_too(whole: corpus.Corpus) -> None:
    scenes_of_two = [c.scene.facts for c in whole.clips if c.split == "train" and len(c.scene.facts.events) == 2]
    known = set(scenes_of_two)
    share = sum(turned(facts) in known or swapped(facts) in known for facts in scenes_of_two) / len(scenes_of_two)
    assert 0.85 < share < 0.97
    assert 0.7 < len(scenes_of_two) / sum(c.split == "train" for c in whole.clips) < 0.8


def test_captions_tell_most_and_fit_few_others(whole: corpus.Corpus) -> None:
    told = Counter[tuple[str, bool]]()
    for clip in whole.clips[::5]:
        readings = [read(caption) for caption in clip.captions]
        for name in ("sound", "word", "pan"):
            if getattr(clip.scene.facts, name):
                told[name, any(getattr(reading, name) for reading in readings)] += 1
        for place, event in enumerate(clip.scene.facts.events):
            if event.motion not in ("grow", "shrink"):
                told["size", any("size" in reading.events[place] for reading in readings)] += 1
            if event.thing.texture != "plain":
                told["texture", any("texture" in reading.events[place] for reading in readings)] += 1
    for name in ("sound", "word", "pan", "size", "texture"):
        assert told[name, True] > 8 * told[name, False]
    tested = [clip for clip in whole.clips if clip.split == "test"]
    told_of_tested = [read(caption) for clip in tested for caption in clip.captions]
    fitting = [sum(describes(reading, clip.scene.facts) for clip in tested) for reading in told_of_tested]
    assert np.mean(1 / np.array(fitting)) > 0.9  # the best R@1 that text -> video can reach on average


# ---- Rendering


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "data"
    report = render_corpus(root, CLIPS, SEED, workers=2, progress=Silent())
    assert (report.clips, report.captions, report.rendered) == (CLIPS, 4 * CLIPS, CLIPS)
    assert report.pairs == {"order": 1, "colour": 1} and sum(report.splits.values()) == CLIPS
    return root


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_tables_and_videos_are_an_ordinary_data_set(rendered: Path) -> None:
    with (rendered / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (rendered / "pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    truth = {line["video"]: line for line in map(json.loads, (rendered / "truth.jsonl").read_text().splitlines())}
    assert list(rows[0]) == ["video", "caption", "split"] and len(rows) == 4 * CLIPS
    assert {row["video"] for row in rows} == set(truth) >= {pair["video_a"] for pair in pairs}
    assert {f"videos/{p.relative_to(rendered / 'videos')}" for p in (rendered / "videos").rglob("*.mp4")} == set(truth)
    for name, line in truth.items():
        info = video.probe(rendered / name)
        assert (info.width, info.height, info.codec) == (render.WIDTH, render.HEIGHT, "h264")
        assert info.duration == pytest.approx(line["seconds"], abs=0.01) and 3 <= info.duration <= 8
        assert info.has_audio == line["audio"] and (line["audio"] or line["sound"] is None)
        assert all(0 <= event["start"] < event["end"] <= line["seconds"] for event in line["events"])


def test_equal_arguments_give_equal_bytes(rendered: Path, tmp_path: Path) -> None:
    render_corpus(tmp_path / "again", CLIPS, SEED, workers=1, progress=Silent())
    assert content(tmp_path / "again") == content(rendered)


def test_other_seeds_give_other_clips() -> None:
    one, other = corpus.plan(CLIPS, 1), corpus.plan(CLIPS, 2)
    assert {clip.captions for clip in one.clips}.isdisjoint(clip.captions for clip in other.clips)


KILLED = """
import os, signal, sys
from pathlib import Path
from hit.render import render_corpus
from hit.types import Silent

class Killer(Silent):
    left = 5
    def task(self, title, total):
        return self
    def advance(self, steps=1, note=""):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    render_corpus(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), workers=2, progress=Killer())
"""


def test_a_killed_run_is_taken_up_again(rendered: Path, tmp_path: Path) -> None:
    script, root = tmp_path / "killed.py", tmp_path / "data"
    script.write_text(KILLED)
    code = subprocess.run([sys.executable, script, root, str(CLIPS), str(SEED)], check=False).returncode
    assert code == -9 and not (root / "captions.csv").exists()
    assert 4 <= len(list(root.rglob("*.mp4"))) < CLIPS
    (root / "videos" / "train" / ".00001.mp4.1.part").write_bytes(b"half a clip")
    report = render_corpus(root, CLIPS, SEED, workers=2, progress=Silent())
    assert 0 < report.rendered < CLIPS - 3
    assert content(root) == content(rendered)
    assert render_corpus(root, CLIPS, SEED, workers=2, progress=Silent()).rendered == 0


def test_corpora_are_not_mixed(rendered: Path, tmp_path: Path) -> None:
    before = content(rendered)
    for clips, seed in ((CLIPS, SEED + 1), (CLIPS + 1, SEED)):
        with pytest.raises(UserError, match="holds a corpus of"):
            render_corpus(rendered, clips, seed, progress=Silent())
    assert content(rendered) == before
    shutil.copytree(rendered / "videos" / "val", tmp_path / "mine" / "videos")
    with pytest.raises(UserError, match="holds other videos"):
        render_corpus(tmp_path / "mine", CLIPS, SEED, progress=Silent())
    with pytest.raises(UserError, match="too few"):
        render_corpus(tmp_path / "few", 3, SEED, progress=Silent())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a folder"):
        render_corpus(tmp_path / "file", CLIPS, SEED, progress=Silent())


def scene_of(motion: str, **facts: str) -> scenes.Scene:
    event = Event(Thing("ball", "red", "medium", "striped"), motion)
    return scenes.Scene(Facts((event,), **facts), 4.0, ((0.2, 3.8),), False, "gradient", (), True, 7)


def red(frame: np.ndarray) -> tuple[float, float, int]:
    """Return the middle and the area of what is red."""
    r, g, b = np.moveaxis(frame.astype(int), 2, 0)
    y, x = np.nonzero((r > 110) & (g < 80) & (b < 80))
    return float(x.mean()), float(y.mean()), len(x)


@pytest.mark.parametrize(
    ("motion", "axis", "sign"),
    [("left", 0, -1), ("right", 0, 1), ("rise", 1, -1), ("fall", 1, 1), ("grow", 2, 1), ("shrink", 2, -1)],
)
def test_things_move_as_said(motion: str, axis: int, sign: int) -> None:
    first, *_, last = render.frames(scene_of(motion))
    a, b = red(first), red(last)
    assert sign * (b[axis] - a[axis]) > (30 if axis < 2 else 200)
    if axis < 2:
        assert abs(b[1 - axis] - a[1 - axis]) < 12


def test_a_spin_stays_in_place_and_a_bounce_goes_up_and_down() -> None:
    spinning = np.array([red(frame)[:2] for frame in render.frames(scene_of("spin"))])
    assert np.ptp(spinning, axis=0).max() < 8
    heights = np.array([red(frame)[1] for frame in render.frames(scene_of("bounce"))])
    assert np.ptp(heights) > 30 and np.sum(np.diff(np.sign(heights - heights.mean())) != 0) >= 4


@pytest.mark.parametrize(("pan", "sign"), [("left", 1), ("right", -1)])
def test_a_pan_moves_the_whole_picture_the_other_way(pan: str, sign: int) -> None:
    first, *_, last = render.frames(scene_of("spin", pan=pan))
    assert sign * (red(last)[0] - red(first)[0]) > 15


@pytest.mark.parametrize("kind", scenes.SOUNDS)
def test_sounds_sound_as_said(kind: str) -> None:
    samples = render.samples(scene_of("spin", sound=kind))
    quiet = render.samples(scene_of("spin"))
    assert samples is not None and quiet is not None
    assert len(samples) == len(quiet) == 4 * render.SAMPLE_RATE and np.abs(samples).max() <= 1
    assert np.std(samples) > 4 * np.std(quiet)
    windows = samples[: len(samples) // 800 * 800].reshape(-1, 800)
    loud = windows[windows.std(1) > 0.5 * windows.std(1).max()]
    peaks = np.abs(np.fft.rfft(loud * np.hanning(800))).argmax(1) * render.SAMPLE_RATE / 800
    steps = np.sign(np.diff(peaks))
    if kind == "low tone":
        assert np.median(peaks) < 300
    if kind == "high tone":
        assert np.median(peaks) > 1200
    if "chirp" in kind:
        assert (steps.sum() > 0) == (kind == "rising chirp")
    if kind == "knocks":
        assert len(loud) < 0.5 * len(windows)
    if kind == "hiss":
        assert np.std(peaks) > 1000


# ---- Truth


def test_the_words_of_a_label_say_what_it_is_called() -> None:
    kinds = {"colour": COLOURS, "shape": SHAPES, "motion": MOTIONS, "sound": SOUNDS}
    said = {
        group: {label: {find(kinds[group], text)[0][2] for text in texts} for label, texts in labels.items()}
        for group, labels in truth.LABELS.items()
    }
    assert said == {group: {label: {label} for label in kind} for group, kind in kinds.items()}


def test_a_clip_has_the_labels_that_its_captions_tell(rendered: Path) -> None:
    found = truth.read(rendered)
    with (rendered / "captions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            told, labels = read(row["caption"]), found[row["video"]]
            assert {event["motion"] for event in told.events} | {event["colour"] for event in told.events} <= labels
            assert told.sound is None or told.sound in labels
            assert all(f"{event['colour']} {event['motion']}" in labels for event in told.events)
