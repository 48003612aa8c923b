"""Captions of a clip's facts: they may leave out, but never name what is not there."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from hit.datasets.corpus.scenes import Event, Facts, dice

T = TypeVar("T")

SHAPES = {
    "ball": ("ball", "ball", "circle", "disc", "sphere"),
    "box": ("box", "box", "square", "block"),
    "triangle": ("triangle", "triangle", "triangular shape"),
    "star": ("star", "star", "five-pointed star"),
    "cross": ("cross", "cross", "plus sign"),
    "ring": ("ring", "ring", "hoop", "doughnut"),
    "heart": ("heart", "heart", "heart shape"),
}
COLOURS = {  # the first is usual, the rest are used sparingly
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white", "snow-white"),
}
SIZES = {"small": ("small", "little", "tiny"), "medium": ("medium-sized", "mid-sized"), "large": ("large", "big", "huge")}
TEXTURES = {  # an adjective, and what may follow the noun instead
    "plain": (("plain", "with a plain surface"),),
    "striped": (("striped", "with stripes"), ("stripy", "covered in stripes")),
    "dotted": (("dotted", "with dots"), ("spotted", "covered in spots")),
    "checkered": (("checkered", "with a checkered pattern"), ("chequered", "with a checked pattern")),
}
MOTIONS = {  # third person, participle
    "left": (("moves left", "moving left"), ("moves to the left", "moving to the left"),
             ("slides to the left", "sliding to the left"), ("travels leftwards", "travelling leftwards"),
             ("glides left", "gliding left")),
    "right": (("moves right", "moving right"), ("moves to the right", "moving to the right"),
              ("slides to the right", "sliding to the right"), ("travels rightwards", "travelling rightwards"),
              ("glides right", "gliding right")),
    "rise": (("rises", "rising"), ("goes up", "going up"), ("climbs", "climbing"), ("floats upwards", "floating upwards"),
             ("moves up", "moving up")),
    "fall": (("falls", "falling"), ("drops", "dropping"), ("goes down", "going down"), ("sinks", "sinking"),
             ("moves down", "moving down")),
    "spin": (("spins", "spinning"), ("rotates", "rotating"), ("twirls", "twirling"), ("turns around", "turning around"),
             ("spins around", "spinning around")),
    "bounce": (("bounces", "bouncing"), ("hops", "hopping"), ("jumps up and down", "jumping up and down"),
               ("bounces up and down", "bouncing up and down")),
    "grow": (("grows", "growing"), ("gets bigger", "getting bigger"), ("expands", "expanding"),
             ("becomes larger", "becoming larger")),
    "shrink": (("shrinks", "shrinking"), ("gets smaller", "getting smaller"), ("contracts", "contracting"),
               ("becomes smaller", "becoming smaller")),
}  # fmt: skip
SOUNDS = {
    "low tone": ("a low tone", "a deep hum"),
    "high tone": ("a high tone", "a high-pitched beep"),
    "rising chirp": ("a rising chirp", "an upward whistle"),
    "falling chirp": ("a falling chirp", "a downward whistle"),
    "knocks": ("knocking", "a series of knocks"),
    "hiss": ("hissing", "a loud noise like static"),
}
SOUND_FRONT = ("to the sound of {}, ", "with {} in the background, ")
SOUND_BACK = (" while {} is heard", " with {}", ", and {} can be heard", ", accompanied by {}")
WORD_FRONT = ("below the word {}, ", "with {} written on the screen, ")
WORD_BACK = (" with the word {} on screen", ", and the screen says {}", " next to the text {}", ", titled {}")
PAN_FRONT = ("as the camera pans {}, ", "with the camera moving to the {}, ")
PAN_BACK = (" as the camera pans to the {}", " while the camera turns {}", ", the camera panning {}")

# x, y: a clause ("a red ball rises"); xs, ys: a participle phrase ("a red ball rising"). x happens before y.
ONE = ("{x}", "{x}", "{xs}", "a clip of {xs}", "footage of {xs}", "{xs} in a video", "we see {xs}",
       "there is {xs}", "here {x}", "you can watch {xs}")  # fmt: skip
TWO = ("first {x}, then {y}", "{x}, then {y}", "{x} and then {y}", "{x} before {y}", "before {y}, {x}", "after {x}, {y}",
       "{y} after {x}", "once {x}, {y}", "{x}; next, {y}", "{x}, followed by {ys}", "a clip of {xs} followed by {ys}",
       "{ys}, preceded by {xs}", "at first {x}, and afterwards {y}", "we see {xs} and later {ys}",
       "{xs}, and in the end {ys}", "{x}, and only then {y}")  # fmt: skip


def captions(facts: Facts, count: int, wording: str) -> tuple[str, ...]:
    """Return `count` distinct captions, each true of `facts` and each telling colour, shape and motion of every event.

    The words depend on `wording` alone: two clips that share it are described in the same way, so that the captions of a
    pair differ only in what the clips differ in.
    """
    found: dict[str, str] = {}  # the same words as a sentence and as none are not distinct
    attempt = 0
    while len(found) < count:
        caption = _caption(facts, f"{wording}/{attempt}")
        found.setdefault(caption.lower().rstrip("."), caption)
        attempt += 1
    return tuple(found.values())


def _caption(facts: Facts, wording: str) -> str:
    rng = dice(wording, "frame")
    bare = rng.random() < 0.15  # as in headlines, without articles
    phrases: dict[str, str] = {}
    for letter, event in zip("xy", facts.events, strict=False):
        # A thing's words follow its motion, not its place in the clip: a pair's other member uses them for the same thing.
        again = event.motion == facts.events[0].motion and event is not facts.events[0]
        phrases |= _event(event, letter, dice(wording, event.motion, again), bare, len(facts.events) == 1)
    text = _pick(rng, TWO if len(facts.events) == 2 else ONE).format_map(phrases)
    for fact, front, back in (
        (_pick(rng, SOUNDS[facts.sound]) if facts.sound else None, SOUND_FRONT, SOUND_BACK),
        (_word(facts.word, rng), WORD_FRONT, WORD_BACK),
        (facts.pan, PAN_FRONT, PAN_BACK),
    ):
        told, ahead, choice = rng.random() < 0.6, rng.random() < 0.25, rng.random()
        if fact and told:
            frames = front if ahead else back
            frame = frames[int(choice * len(frames))].format(fact)
            text = frame + text if ahead else text + frame
    return text[0].upper() + text[1:] + "." if rng.random() < 0.4 else text


def _event(event: Event, letter: str, rng: Random, bare: bool, alone: bool) -> dict[str, str]:
    """Return the event as clause (`letter`) and as participle phrase (`letter`s)."""
    thing, share = event.thing, 0.6 if alone else 0.5
    usual, *rare = COLOURS[thing.colour]
    synonym = rng.random() < 0.12
    colour = _pick(rng, rare) if synonym else usual
    adjective, suffix = _pick(rng, TEXTURES[thing.texture])
    size = _pick(rng, SIZES[thing.size])
    noun = _pick(rng, SHAPES[thing.shape])
    present, participle = _pick(rng, MOTIONS[event.motion])
    if rng.random() > share or event.motion in ("grow", "shrink"):  # whose size is no lasting fact
        size = ""
    if rng.random() > (share if thing.texture != "plain" else 0.1):
        adjective = suffix = ""
    form, progressive = rng.random(), alone and rng.random() < 0.3
    if form < 0.5:
        words = [size, adjective, colour, noun]
    elif form < 0.7:
        words = [size, colour, adjective, noun]
    else:
        words = [size, colour, noun, suffix]
    name = " ".join(filter(None, words))
    if not bare:
        name = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    verb = f"is {participle}" if progressive else present
    return {letter: f"{name} {verb}", f"{letter}s": f"{name} {participle}"}


def _word(word: str | None, rng: Random) -> str | None:
    style = rng.random()
    if word is None:
        return None
    return f'"{word}"' if style < 0.4 else word if style < 0.7 else word.lower()


def _pick(rng: Random, options: Sequence[T]) -> T:
    """Draw one, using up the same randomness however many options there are."""
    return options[int(rng.random() * len(options))]
