"""What can be in a clip of the demo corpus: the vocabulary, the facts a caption may tell, and the staging it may not."""

import dataclasses
import itertools
from dataclasses import dataclass
from random import Random
from typing import Any

SHAPES = ("ball", "box", "triangle", "star", "cross", "ring", "heart")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted", "checkered")
MOTIONS = ("left", "right", "rise", "fall", "spin", "bounce", "grow", "shrink")
SOUNDS = ("low tone", "high tone", "rising chirp", "falling chirp", "knocks", "hiss")
WORDS = ("EXIT", "HELLO", "SALE", "NEWS", "STOP", "OPEN", "TAXI", "MUSIC", "WATER", "NIGHT", "GAME", "COFFEE")
BACKGROUNDS = ("noise", "gradient", "grid", "wood", "bricks", "clutter")
DULL = ("grey", "brown", "black")
ROUND = ("ball", "ring")  # whose spinning only a texture shows

Combination = tuple[str, str, str]  # colour, shape, motion: what the splits hold out


@dataclass(frozen=True, slots=True)
class Thing:
    """An object."""

    shape: str
    colour: str
    size: str
    texture: str


@dataclass(frozen=True, slots=True)
class Event:
    """A thing doing something."""

    thing: Thing
    motion: str

    @property
    def combination(self) -> Combination:
        """The (colour, shape, motion) of this event."""
        return self.thing.colour, self.thing.shape, self.motion


@dataclass(frozen=True, slots=True)
class Facts:
    """All that captions may tell of a clip: events in order of time, and what accompanies them (None: nothing does)."""

    events: tuple[Event, ...]
    sound: str | None = None
    word: str | None = None
    pan: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip: its facts, and what no caption mentions.

    `spans` are the seconds in which each event happens; `together` says that the things of two events are on screen all
    the time, each still when it is not its turn. `seed` decides everything else that the renderer draws.
    """

    facts: Facts
    seconds: float
    spans: tuple[tuple[float, float], ...]
    together: bool
    background: str
    distractors: tuple[Thing, ...]
    audio: bool
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return every fact as plain JSON."""
        facts = self.facts
        events = [
            {**dataclasses.asdict(event.thing), "motion": event.motion, "start": start, "end": end}
            for event, (start, end) in zip(facts.events, self.spans, strict=True)
        ]
        return {
            "seconds": self.seconds,
            "events": events,
            "sound": facts.sound,
            "word": facts.word,
            "pan": facts.pan,
            "together": self.together,
            "background": self.background,
            "distractors": [dataclasses.asdict(thing) for thing in self.distractors],
            "audio": self.audio,
        }


def dice(*key: object) -> Random:
    """Return a generator that `key` alone decides."""
    return Random("/".join(map(str, key)))  # noqa: S311


def draw_event(rng: Random, combination: Combination) -> Event:
    """Draw the size and the texture of an event."""
    colour, shape, motion = combination
    textures = TEXTURES[1:] if motion == "spin" and shape in ROUND else ("plain", *TEXTURES)
    return Event(Thing(shape, colour, rng.choice(SIZES), rng.choice(textures)), motion)


def draw_facts(rng: Random, combinations: list[Combination]) -> Facts:
    """Draw the facts of a clip in which these combinations happen, one after the other."""
    events = tuple(draw_event(rng, combination) for combination in combinations)
    sound = rng.choice(SOUNDS) if rng.random() < 0.6 else None
    word = rng.choice(WORDS) if rng.random() < 0.3 else None
    pan = rng.choice(("left", "right")) if rng.random() < 0.15 else None
    return Facts(events, sound, word, pan)


def stage(facts: Facts, rng: Random) -> Scene:
    """Draw all that captions do not mention."""
    two = len(facts.events) == 2
    seconds = round(4 * (rng.uniform(4.5, 8) if two else rng.uniform(3, 5.5))) / 4
    turns = [0.0, seconds * rng.uniform(0.45, 0.55), seconds] if two else [0.0, seconds]
    spans = tuple(
        (round(start + rng.uniform(0.1, 0.3), 2), round(end - rng.uniform(0.1, 0.3), 2))
        for start, end in itertools.pairwise(turns)
    )
    distractors = tuple(
        Thing(rng.choice(SHAPES), rng.choice(COLOURS if rng.random() < 0.4 else DULL), "tiny", rng.choice(TEXTURES[:2]))
        for _ in range(rng.choice((0, 1, 1, 2)))
    )
    audio = facts.sound is not None or rng.random() > 0.12  # no sound to speak of in 40 %: no track at all in 5 %
    together = two and rng.random() < 0.5
    return Scene(facts, seconds, spans, together, rng.choice(BACKGROUNDS), distractors, audio, rng.getrandbits(53))
